// Shares of powers: exact for every degree and at the ends of every range, as long as planned, and
// hidden from the client by masks that look uniform.
#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include <QTest>

#include "engine/he/parameters.h"
#include "engine/he/sampling.h"
#include "engine/he/wire.h"
#include "engine/offline/two_party/powers.h"
#include "engine/offline/two_party/powers_scheme.h"
#include "engine/protocol/activation.h"
#include "engine/protocol/honeybadger.h"
#include "engine/ring/narrow.h"
#include "tests/support/random_words.h"

using namespace pillarbox;
using namespace pillarbox::offline::two_party;

namespace {

constexpr std::uint32_t kF = 12, kTruncation = 12;
constexpr double kHidingBits = powers::kHidingBits;

I128 signedWord(std::uint64_t word) {
  return static_cast<std::int64_t>(word);
}

/// A polynomial in which no coefficient is zero.
models::Polynomial allTerms(std::uint32_t degree) {
  models::Polynomial polynomial;
  polynomial.coefficients.assign(degree + 1, 1);
  return polynomial;
}

/// Both sides of one group, in one process; true if every message was as long as planned.
struct Run {
  PowersClient client;
  PowersEngine engine;
  bool lengthsAsPlanned = true;

  Run(const PowersPlan& plan, const PowersSecretKey& secret, const PowersPublicKey& key,
      std::span<const std::uint64_t> lambda0, std::span<const std::uint64_t> lambda1)
      : client(plan, secret, lambda0), engine(plan, key, lambda1) {
    for (std::uint32_t level = 0; level < plan.levels(); ++level) {
      const auto request = client.request().value();
      const auto answer = engine.answer(request).value();
      lengthsAsPlanned = lengthsAsPlanned && request.size() == plan.requestBytes(level) &&
                         answer.size() == plan.answerBytes(level) && client.finish(answer).ok();
    }
  }
};

}  // namespace

class TestHePowers : public QObject {
  Q_OBJECT

 private:
  testing::RandomWords m_data;

  SecureVector<std::uint64_t> clientLambda(std::size_t count) {
    SecureVector<std::uint64_t> lambda(count);
    for (auto& value : lambda) {
      value = static_cast<std::uint64_t>(static_cast<std::int64_t>(m_data.word()) >> kTruncation);
    }
    return lambda;
  }

 private Q_SLOTS:
  // Each pair of shares adds up to λ^k modulo 2^K, and HoneyBadger on them gives the polynomial.
  void sharesAreExact_data() {
    QTest::addColumn<uint>("degree");
    QTest::addColumn<uint>("slots");
    for (uint degree = 2; degree <= 8; ++degree) {
      QTest::addRow("degree %u", degree) << degree << 8192U;
    }
    QTest::newRow("degree 2, 16384 slots") << 2U << 16384U;
    QTest::newRow("degree 4, 32768 slots") << 4U << 32768U;
  }
  void sharesAreExact() {
    QFETCH(uint, degree);
    QFETCH(uint, slots);
    const auto plan = PowersPlan::create({degree, 10, kF, kTruncation}, slots, slots).value();
    const auto secret = PowersSecretKey::create(plan).value();
    QCOMPARE(secret.publicKey().size(), plan.publicKeyBytes());
    const auto key = PowersPublicKey::parse(plan, secret.publicKey()).value();

    // A group that is not full; the ends of both ranges, in all combinations.
    const std::size_t count = slots - 5;
    auto lambda0 = clientLambda(count);
    auto lambda1 = plan.drawLambda(count).value();
    const std::array<std::int64_t, 5> ends0{0, -(std::int64_t{1} << (63 - kTruncation)),
                                            (std::int64_t{1} << (63 - kTruncation)) - 1, 1, -1};
    const std::array<std::int64_t, 4> ends1{0, -(std::int64_t{1} << 55),
                                            (std::int64_t{1} << 55) - 1, -1};
    for (std::size_t i = 0; i < ends0.size() * ends1.size(); ++i) {
      lambda0[i] = static_cast<std::uint64_t>(ends0[i / ends1.size()]);
      lambda1[i] = static_cast<std::uint64_t>(ends1[i % ends1.size()]);
    }
    Run run(plan, secret, key, lambda0, lambda1);
    QVERIFY(run.lengthsAsPlanned);
    QCOMPARE(run.client.powers().size(), std::size_t{degree});

    const std::uint32_t unused = 128 - plan.ringBits();
    for (std::size_t i = 0; i < count; ++i) {
      const auto lambda = static_cast<U128>(signedWord(lambda0[i]) + signedWord(lambda1[i]));
      U128 power = 1;
      for (std::uint32_t k = 0; k < degree; ++k) {
        power *= lambda;
        const U128 sum = run.client.powers()[k][i] + run.engine.powers()[k][i];
        if ((sum - power) << unused != 0)
          QFAIL(qPrintable(QString("λ^%1 of %2").arg(k + 1).arg(i)));
      }
      QVERIFY(run.client.powers()[0][i] == static_cast<U128>(signedWord(lambda0[i])));
    }

    // The low bits are enough: p(z) comes out for random z in [-4, 4].
    models::Polynomial polynomial;
    for (std::uint32_t j = 0; j <= degree; ++j) {
      polynomial.coefficients.push_back(m_data.between(-1024, 1024) >> (j == 0 ? 0 : 2 * j - 2));
    }
    polynomial.coefficients.back() = 1;
    const protocol::HoneyBadger honeyBadger(polynomial, kF);
    std::vector<std::uint64_t> opening(count), client(count), engine(count);
    std::vector<std::int64_t> z(count);
    for (std::size_t i = 0; i < count; ++i) {
      z[i] = m_data.between(-(std::int64_t{1} << (kF + 2)), std::int64_t{1} << (kF + 2));
      opening[i] = static_cast<std::uint64_t>(z[i]) - lambda0[i] - lambda1[i];
    }
    const auto coefficients = [&](offline::Party party, const auto& powers) {
      std::vector<SecureVector<U128>> shares(powers.begin(), powers.end());
      offline::powersToCoefficients(polynomial, kF, party, shares);
      return shares;
    };
    const auto pointers = [](const auto& shares) {
      std::vector<const U128*> result;
      for (const auto& tensor : shares) result.push_back(tensor.data());
      return result;
    };
    const auto ofClient = coefficients(offline::Party::Client, run.client.powers());
    const auto ofEngine = coefficients(offline::Party::Engine, run.engine.powers());
    honeyBadger.evaluateClient(opening, pointers(ofClient), client);
    honeyBadger.evaluateEngine(opening, pointers(ofEngine), engine);
    // With all 128 bits in use the truncation's wrap is likely enough (2^-15) to be met.
    const std::size_t checked = unused == 0 ? 16 : count;
    for (std::size_t i = 0; i < checked; ++i) {
      long double exact = 0;
      for (std::uint32_t j = degree + 1; j-- > 0;) {
        exact = exact * (static_cast<long double>(z[i]) / (1 << kF)) +
                static_cast<long double>(polynomial.coefficients[j]) / 1024;
      }
      const I128 got = signedWord(ring::narrow(client[i] + engine[i]));
      const long double error = static_cast<long double>(got) - exact * (1 << kF);
      if (error < -1.01L || error > 1.01L) QFAIL(qPrintable(QString("p(z) of %1").arg(i)));
    }
  }

  // Shares of sums of products, for the sums that ESPN and Beaver triples ask for; factors at the
  // ends of their range too.
  void productsAreExact_data() {
    QTest::addColumn<int>("protocol");
    QTest::addColumn<uint>("degree");
    QTest::addColumn<uint>("slots");
    for (const auto protocol :
         {offline::Protocol::Espn, offline::Protocol::SquareMultiply, offline::Protocol::Horner}) {
      for (const uint degree : {2U, 4U, 8U}) {
        QTest::addRow("%s, degree %u", offline::toString(protocol), degree)
            << static_cast<int>(protocol) << degree << 8192U;
      }
      QTest::addRow("%s, 32768 slots", offline::toString(protocol))
          << static_cast<int>(protocol) << 4U << 32768U;
    }
  }
  void productsAreExact() {
    QFETCH(int, protocol);
    QFETCH(uint, degree);
    QFETCH(uint, slots);
    const auto activation = protocol::Activation::make(static_cast<offline::Protocol>(protocol),
                                                       allTerms(degree), kF, 5);
    const offline::ProductPlan& products = *activation->products();
    const auto plan = PowersPlan::forProducts(products, slots, slots).value();
    QCOMPARE(plan.levels(), 1U);
    const auto secret = PowersSecretKey::create(plan).value();
    const auto key = PowersPublicKey::parse(plan, secret.publicKey()).value();
    const std::size_t count = slots - 3;
    constexpr std::array<std::uint64_t, 4> kEnds{0, std::uint64_t{1} << 63, ~std::uint64_t{0},
                                                 (std::uint64_t{1} << 63) - 1};
    const auto draw = [&](std::uint32_t factors, std::size_t period) {
      std::vector<SecureVector<std::uint64_t>> drawn;
      for (std::uint32_t f = 0; f < factors; ++f) {
        auto& factor = drawn.emplace_back(count);
        for (auto& value : factor) value = m_data.word();
        for (std::size_t i = 0; i < 16; ++i) factor[i] = kEnds[i / period % 4];
      }
      return drawn;
    };
    const auto u = draw(products.clientFactors, 1), v = draw(products.engineFactors, 4);
    PowersClient client(plan, secret, u);
    PowersEngine engine(plan, key, v);
    const auto request = client.request().value();
    const auto answer = engine.answer(request).value();
    QCOMPARE(request.size(), plan.requestBytes(0));
    QCOMPARE(answer.size(), plan.answerBytes(0));
    QVERIFY(client.finish(answer).ok());
    std::array<std::size_t, 16> bins{};
    for (std::size_t s = 0; s < products.sums.size(); ++s) {
      for (std::size_t i = 0; i < count; ++i) {
        std::uint64_t exact = 0;
        for (const auto& term : products.sums[s]) exact += u[term.client][i] * v[term.engine][i];
        const auto own = static_cast<std::uint64_t>(client.sum(s)[i]);
        QCOMPARE(own + static_cast<std::uint64_t>(engine.sum(s)[i]), exact);
        ++bins[own >> 60];
      }
    }
    // The client's share is uniform, the ends of the range included.
    const double expected = static_cast<double>(products.sums.size() * count) / 16;
    double chi = 0;
    for (const std::size_t bin : bins) {
      chi += std::pow(static_cast<double>(bin) - expected, 2) / expected;
    }
    QVERIFY2(chi < 60, qPrintable(QString::number(chi)));
  }

  // The numbers at the top of powers.h, for the most products that a protocol asks for.
  void productsAreHidden() {
    for (const auto protocol :
         {offline::Protocol::Espn, offline::Protocol::SquareMultiply, offline::Protocol::Horner}) {
      for (const std::uint32_t degree : {2U, 4U, 8U}) {
        const auto activation = protocol::Activation::make(protocol, allTerms(degree), kF, 5);
        for (const std::uint32_t slots : {8192U, 16384U, 32768U}) {
          const auto plan = PowersPlan::forProducts(*activation->products(), slots, slots).value();
          const PowersPlan::Scheme& scheme = plan.scheme();
          for (std::uint32_t k = scheme.firstSum(); k <= scheme.values; ++k) {
            const auto terms = static_cast<double>(scheme.terms[k].size());
            const double value = terms * std::exp2(126.0);
            const double mask = 7 * std::exp2(scheme.tBits[k] - 3.0);
            QVERIFY(value / mask <= std::exp2(-kHidingBits));
            double t = 0;
            for (const he::Modulus& p : scheme.crt[k].primes) t += std::log2(double(p.value()));
            QVERIFY((mask + 2 * value) / std::exp2(t) < 0.97);
            for (std::size_t p = 0; p < scheme.parts.size(); ++p) {
              if (scheme.parts[p].answerT[k] == 0) continue;
              const auto& answer = *scheme.tables[p].answer[k];
              const double n = slots;
              const double error =
                  std::log2(9.8 * he::kErrorDeviation * std::sqrt(terms * n)) + answer.t.bits() - 1;
              for (const powers::Term& term : scheme.terms[k]) {
                const double scale =
                    scheme.tables[p].d.prefix(scheme.parts[p].sentD[term.sent]).bits();
                const double flooding = answer.floodingBits - 1.0 - answer.d.bits();
                QVERIFY2(flooding - (error - scale) >= kHidingBits - 0.1,
                         qPrintable(QString::number(flooding - (error - scale))));
                const double mean = error - std::log2(9.8);  // of the magnitude, at most
                QVERIFY(flooding + 1 - (mean - scale) >= powers::kMeanFloodingBits);
              }
              const double units = std::exp2(answer.floodingBits - 1.0 - answer.d.bits()) +
                                   9.8 * std::sqrt(n / 18) / std::exp2(scheme.answerBits1) +
                                   0.5 / std::exp2(powers::kAnswerBits0);
              QVERIFY2(units < 0.47, qPrintable(QString::number(units)));
              QVERIFY(scheme.tables[p].all.bits() <= he::Parameters::securityBound(slots));
            }
          }
        }
      }
    }
  }

  // No two encryptions of a message take their uniform halves from one stream.
  void streamsAreDistinct() {
    const auto activation = protocol::Activation::make(offline::Protocol::Espn, allTerms(8), kF, 5);
    const auto plan = PowersPlan::forProducts(*activation->products(), 8192, 8192).value();
    const PowersPlan::Scheme& scheme = plan.scheme();
    std::set<std::uint64_t> used;
    std::size_t total = 0;
    for (std::size_t p = 0; p < scheme.parts.size(); ++p) {
      for (std::uint32_t k = 1; k <= scheme.values; ++k) {
        for (std::size_t i = 0; i < scheme.tables[p].sent[k].count(); ++i, ++total) {
          used.insert(powers::streamOf(p, k) + i);
        }
      }
    }
    QVERIFY(scheme.parts.size() > 1 && total > 100);
    QCOMPARE(used.size(), total);
  }

  // What the client keeps of an answer is v + m: uniform, whatever v is, in its low and high bits.
  void masksLookUniform() {
    constexpr std::size_t kSlots = 8192, kBins = 128;
    const auto plan = PowersPlan::create({2, 10, kF, kTruncation}, kSlots, kSlots).value();
    const auto secret = PowersSecretKey::create(plan).value();
    const auto key = PowersPublicKey::parse(plan, secret.publicKey()).value();
    const SecureVector<std::uint64_t> lambda0(kSlots, std::uint64_t{1} << 50);
    const SecureVector<std::uint64_t> lambda1(kSlots, std::uint64_t{1} << 54);
    Run run(plan, secret, key, lambda0, lambda1);
    for (const std::uint32_t shift : {1U, 50U, 120U}) {
      std::array<std::size_t, kBins> counts{};
      for (std::size_t i = 0; i < kSlots; ++i) {
        const U128 kept = run.client.powers()[1][i] - (U128{1} << 100);
        ++counts[static_cast<std::size_t>(kept >> shift) % kBins];
      }
      double chi = 0;
      constexpr double kExpected = static_cast<double>(kSlots) / kBins;
      for (const std::size_t c : counts) {
        chi +=
            (static_cast<double>(c) - kExpected) * (static_cast<double>(c) - kExpected) / kExpected;
      }
      // 127 degrees of freedom: mean 127, deviation 16.
      QVERIFY2(chi < 260 && chi > 45, qPrintable(QString("%1 at bit %2").arg(chi).arg(shift)));
    }
  }

  void lambdaFillsItsRange() {
    const auto plan = PowersPlan::create({2, 10, kF, kTruncation}, 1).value();
    const auto lambda = plan.drawLambda(4096).value();
    I128 low = 0, high = 0;
    for (const std::uint64_t value : lambda) {
      low = std::min(low, signedWord(value));
      high = std::max(high, signedWord(value));
    }
    const I128 bound = I128{1} << 55;
    QVERIFY(low >= -bound && low < -bound / 100 * 99 && high < bound && high > bound / 100 * 99);
  }

  // Bytes an activation, as documented; and that parameters exist wherever a model may lie.
  void bytesAsDocumented() {
    const std::array<double, 5> documented{95.6, 220.3, 308.4, 576.4, 797.1};
    const std::array<std::uint32_t, 5> degrees{2, 3, 4, 6, 8};
    constexpr std::uint64_t kCount = 17 * 32768;  // ResNet-18 for CIFAR-10
    for (std::size_t i = 0; i < degrees.size(); ++i) {
      const auto plan = PowersPlan::create({degrees[i], 10, kF, kTruncation}, kCount).value();
      const auto bytes = static_cast<double>(plan.bytesToEngine() + plan.bytesToClient());
      std::uint32_t bits = 0;
      for (const auto& part : plan.scheme().parts) bits = std::max(bits, part.bits());
      qInfo("degree %u: %.1f to the engine, %.1f back, %u slots, log2 Q %u, %u round trips",
            degrees[i], static_cast<double>(plan.bytesToEngine()) / kCount,
            static_cast<double>(plan.bytesToClient()) / kCount, plan.slots(), bits, plan.levels());
      QVERIFY2(std::abs(bytes / kCount - documented[i]) < 0.06,
               qPrintable(QString::number(bytes / kCount)));
    }
    const std::array<std::pair<offline::Protocol, double>, 3> products{
        {{offline::Protocol::Espn, 328.8},
         {offline::Protocol::SquareMultiply, 211.8},
         {offline::Protocol::Horner, 319.1}}};
    for (const auto& [protocol, expected] : products) {
      const auto activation =
          protocol::Activation::make(protocol, {10, {322, 512, 160, 0, -3}}, kF, 5);
      const auto plan = PowersPlan::forProducts(*activation->products(), kCount).value();
      const double bytes =
          static_cast<double>(plan.bytesToEngine() + plan.bytesToClient()) / kCount;
      qInfo("%s: %.1f to the engine, %.1f back, %u slots", offline::toString(protocol),
            static_cast<double>(plan.bytesToEngine()) / kCount,
            static_cast<double>(plan.bytesToClient()) / kCount, plan.slots());
      QVERIFY2(std::abs(bytes - expected) < 0.06, qPrintable(QString::number(bytes)));
    }
    for (const std::uint32_t precision : {4U, 8U, 18U}) {
      for (const std::uint32_t degree : {1U, 2U, 4U, 7U, 8U}) {
        for (const std::uint32_t truncation : {4U, 30U}) {
          QVERIFY(PowersPlan::create({degree, 0, precision, truncation}, 1000).ok());
        }
      }
    }
    QCOMPARE(PowersPlan::create({2, 10, 19, 12}, 1).error().code, ErrorCode::Unsupported);
    QCOMPARE(PowersPlan::create({9, 10, 12, 12}, 1).error().code, ErrorCode::InvalidArgument);
  }

  // The argument at the top of powers.h, number by number, wherever a model may lie.
  void widthsHide_data() {
    QTest::addColumn<uint>("slots");
    for (const uint slots : {8192U, 16384U, 32768U}) QTest::addRow("%u slots", slots) << slots;
  }
  void widthsHide() {
    QFETCH(uint, slots);
    for (std::uint32_t degree = 2; degree <= 8; ++degree) {
      for (const PowersShape shape :
           {PowersShape{degree, 10, kF, kTruncation}, PowersShape{degree, 0, 4, 4},
            PowersShape{degree, 32, 18, 30}}) {
        const auto plan = PowersPlan::create(shape, slots, slots).value();
        const PowersPlan::Scheme& scheme = plan.scheme();
        const auto width = [&](std::uint32_t k, std::uint32_t lambdaBits, std::uint32_t ringBits) {
          return static_cast<double>(k == 1 ? lambdaBits : ringBits - 1);
        };
        for (std::uint32_t k = 2; k <= degree; ++k) {
          const auto [a, b] = scheme.split[k];
          QCOMPARE(a + b, k);
          const auto client = [&](std::uint32_t j) {
            return width(j, 63 - shape.truncation, plan.ringBits());
          };
          const auto engine = [&](std::uint32_t j) {
            return width(j, ring::kNarrowBits - 1, plan.ringBits() - (a == b ? 1 : 0));
          };
          double value = std::exp2(client(a) + engine(b));
          if (a != b) value += std::exp2(client(b) + engine(a));
          const double mask = 7 * std::exp2(scheme.tBits[k] - 3.0);
          QVERIFY(value / mask <= std::exp2(-kHidingBits));
          double t = 0;
          for (const he::Modulus& p : scheme.crt[k].primes) t += std::log2(double(p.value()));
          QVERIFY((mask + 2 * value) / std::exp2(t) < 0.97);

          for (std::size_t p = 0; p < scheme.parts.size(); ++p) {
            if (scheme.parts[p].answerT[k] == 0) continue;
            const auto& answer = *scheme.tables[p].answer[k];
            const double n = slots;
            const double error =
                std::log2(9.8 * he::kErrorDeviation * std::sqrt(a == b ? n : 2 * n)) +
                answer.t.bits() - 1;
            for (const std::uint32_t sent : {a, b}) {
              // Relative to the scale of the encryption that the error stems from.
              const double scale = scheme.tables[p].d.prefix(scheme.parts[p].sentD[sent]).bits();
              const double flooding = answer.floodingBits - 1.0 - answer.d.bits();
              QVERIFY2(flooding - (error - scale) >= kHidingBits - 0.1,
                       qPrintable(QString::number(flooding - (error - scale))));
              const double mean = error - std::log2(9.8);  // of the magnitude, at most
              QVERIFY(flooding + 1 - (mean - scale) >= powers::kMeanFloodingBits);
            }
            const double units = std::exp2(answer.floodingBits - 1.0 - answer.d.bits()) +
                                 9.8 * std::sqrt(n / 18) / std::exp2(scheme.answerBits1) +
                                 0.5 / std::exp2(powers::kAnswerBits0);
            QVERIFY2(units < 0.47, qPrintable(QString::number(units)));
            QVERIFY(scheme.tables[p].all.bits() <= he::Parameters::securityBound(slots));
          }
        }
      }
    }
  }

  // |e·P| at the widest factors of degree 4: random slots, and all coefficients at the end of their
  // range. e·P is read off its remainder modulo t·2^43.
  void errorStaysBelowBound() {
    const auto plan = PowersPlan::create({4, 10, kF, kTruncation}, 32768, 32768).value();
    const PowersPlan::Scheme& scheme = plan.scheme();
    const he::Basis& t = scheme.tables[0].answer[4]->t;
    const he::Basis wide = t.with(scheme.tables[0].d.prefix(1));
    const auto lift = he::BasisChange::lifting(t, wide);
    he::Sampler sampler = he::Sampler::fresh().value();
    const double bound = powers::noiseBits(powers::sum(scheme.parts[0].tBits, t.count()), 15, 1);
    for (const bool extreme : {false, true}) {
      he::Poly low(t);
      for (std::size_t i = 0; i < t.count(); ++i) {
        const std::uint64_t q = t.modulus(i).value();
        for (std::size_t j = 0; j < t.degree(); ++j) {
          // ±(t - 1) / 2, signs at random.
          const std::uint64_t half = (q - 1) / 2;
          low.limb(i)[j] = extreme ? half : m_data.word() % q;
        }
      }
      if (extreme) {
        for (std::size_t j = 0; j < t.degree(); ++j) {
          if ((m_data.word() & 1) == 0) continue;
          for (std::size_t i = 0; i < t.count(); ++i) low.limb(i)[j] += 1;
        }
      }
      he::Poly factor = lift.apply(low), error = sampler.error(wide);
      he::forward(wide, factor);
      he::forward(wide, error);
      he::Poly product = he::multiply(wide, factor, error);
      he::inverse(wide, product);
      long double greatest = 0, sum = 0;
      for (std::size_t j = 0; j < wide.degree(); ++j) {
        long double fraction = 0;
        for (std::size_t i = 0; i < wide.count(); ++i) {
          const he::Modulus& q = wide.modulus(i);
          std::uint64_t others = 1;
          for (std::size_t l = 0; l < wide.count(); ++l) {
            if (l != i) others = q.multiply(others, q.reduce(wide.modulus(l).value()));
          }
          fraction += static_cast<long double>(q.multiply(product.limb(i)[j], q.inverse(others))) /
                      static_cast<long double>(q.value());
        }
        const long double magnitude = std::abs(fraction - std::round(fraction));
        greatest = std::max(greatest, magnitude);
        sum += magnitude;
      }
      const double bits = std::log2(static_cast<double>(greatest)) + wide.bits();
      qInfo("|e P| reaches 2^%.1f, bound 2^%.0f", bits, bound);
      QVERIFY(bits < bound && bits > bound - 4);
      // What counts behind flooding.
      const double mean =
          std::log2(static_cast<double>(sum) / static_cast<double>(wide.degree())) + wide.bits();
      qInfo("in the mean 2^%.1f", mean);
      QVERIFY(mean < bound - (powers::kMeanFloodingBits - powers::kHidingBits - 1) &&
              mean > bound - 7);
    }
  }

  // A second client, written from the description of the messages: it sees the error of an answer,
  // which must be flooding and rounding and stay below half a unit.
  void answersAreFlooded() {
    constexpr std::uint32_t kSlots = 16384;
    const auto plan = PowersPlan::create({2, 10, kF, kTruncation}, kSlots, kSlots).value();
    const PowersPlan::Scheme& scheme = plan.scheme();
    QCOMPARE(scheme.parts.size(), std::size_t{1});
    const powers::PartTables& part = scheme.tables[0];
    he::Sampler sampler = he::Sampler::fresh().value();
    const he::Poly secret = sampler.ternary(part.all);
    he::Poly transformed = secret;
    he::forward(part.all, transformed);

    const auto encryptZero = [&](const he::Basis& basis, std::uint32_t power) {
      const random::Seed seed = sampler.seed();
      he::Poly c0 = sampler.error(basis);
      he::forward(basis, c0);
      he::subtractFrom(
          basis, c0,
          he::multiply(basis, he::expandUniform(basis, seed, powers::streamOf(0, power)),
                       transformed));
      std::vector<std::byte> bytes;
      for (const std::uint8_t b : seed.bytes) bytes.push_back(std::byte{b});
      for (std::size_t i = 0; i < basis.count(); ++i) {
        std::vector<std::byte> limb(he::packedBytes(basis.modulus(i), kSlots));
        he::pack(basis.modulus(i), {c0.limb(i), kSlots}, limb);
        bytes.insert(bytes.end(), limb.begin(), limb.end());
      }
      return bytes;
    };
    const auto key = PowersPublicKey::parse(plan, encryptZero(part.all, 0)).value();
    const SecureVector<std::uint64_t> lambda1(kSlots, std::uint64_t{1} << 54);
    PowersEngine engine(plan, key, lambda1);
    const auto answer = engine.answer(encryptZero(part.sent[1], 1)).value();

    // c0 modulo t (whole limbs), then modulo 8; c1 modulo t, then modulo 2^w.
    const std::size_t limbs = he::packedBytes(part.answer[2]->t);
    const auto wordAt = [&](std::size_t first, std::uint32_t bits, std::size_t j) {
      std::uint64_t word = 0;
      for (std::uint32_t b = 0; b < bits; ++b) {
        const std::size_t at = j * bits + b;
        word |= (static_cast<std::uint64_t>(answer[first + at / 8]) >> (at % 8) & 1) << b;
      }
      return word;
    };
    const std::uint32_t w = scheme.answerBits1;
    const std::size_t low0 = limbs, low1 = 2 * limbs + kSlots * powers::kAnswerBits0 / 8;
    QCOMPARE(answer.size(), low1 + kSlots * w / 8);

    // c1·s modulo 2^w by a product modulo one prime.
    const he::Basis prime = part.all.prefix(1);
    he::Poly c1(prime), s(prime);
    for (std::size_t j = 0; j < kSlots; ++j) c1.limb(0)[j] = wordAt(low1, w, j);
    std::copy_n(transformed.limb(0), kSlots, s.limb(0));
    he::forward(prime, c1);
    he::Poly product = he::multiply(prime, c1, s);
    he::inverse(prime, product);
    const std::uint64_t q = prime.modulus(0).value(), mask = (1U << w) - 1;
    double greatest = 0;
    constexpr std::size_t kBins = 32;
    std::array<std::size_t, kBins> counts{};
    for (std::size_t j = 0; j < kSlots; ++j) {
      std::uint64_t value = product.limb(0)[j];
      if (value > q / 2) value -= q;
      value += wordAt(low0, powers::kAnswerBits0, j) << (w - powers::kAnswerBits0);
      auto error = static_cast<double>(value & mask) / (1 << w);
      if (error >= 0.5) error -= 1;
      greatest = std::max(greatest, std::abs(error));
      ++counts[static_cast<std::size_t>((error + 0.5) * kBins)];
    }
    qInfo("errors reach %.3f of a unit", greatest);
    QVERIFY(greatest > 0.24 && greatest < 0.46);
    // Uniform over ±1/4: the 16 middle bins, less the edges that rounding blurs.
    double chi = 0;
    const double expected =
        static_cast<double>(kSlots) /
        std::exp2(scheme.tables[0].answer[2]->floodingBits - scheme.tables[0].answer[2]->d.bits()) /
        kBins;
    for (std::size_t b = 12; b < 20; ++b) {
      const double difference = static_cast<double>(counts[b]) - expected;
      chi += difference * difference / expected;
    }
    QVERIFY2(chi < 40, qPrintable(QString::number(chi)));  // 8 degrees of freedom: 2^-18
  }

  // Stages of one degree and scale lie one after the other; each value has one slot.
  void stagesShareGroups() {
    models::PublicModel model;
    models::Polynomial square, quartic;
    square.coefficients = {1, 2, 3};
    quartic.coefficients = {1, 2, 3, 0, 5};
    const auto add = [&](std::uint32_t size, const models::Polynomial* polynomial) {
      models::Stage& stage = model.stages.emplace_back();
      stage.output = {size, 1, 1};
      if (polynomial != nullptr) stage.activation = *polynomial;
    };
    add(20000, &square);
    add(5, &quartic);
    add(30000, &square);
    add(7, &square);
    add(10, nullptr);
    const auto batches = planPowers(model).value();
    QCOMPARE(batches.size(), std::size_t{2});
    QCOMPARE(batches[0].plan.count(), std::uint64_t{50007});
    QCOMPARE(batches[1].plan.count(), std::uint64_t{5});
    for (const PowersBatch& batch : batches) {
      QCOMPARE(batch.groups.size(), batch.plan.groups());
      std::vector<std::uint64_t> next(model.stages.size(), 0);
      for (std::size_t g = 0; g < batch.groups.size(); ++g) {
        std::size_t slot = 0;
        for (const PowersPiece& piece : batch.groups[g]) {
          QCOMPARE(piece.slot, slot);
          QCOMPARE(piece.first, next[piece.stage]);
          slot += piece.count;
          next[piece.stage] += piece.count;
        }
        QCOMPARE(slot, batch.plan.valuesIn(g));
      }
      for (std::size_t s = 0; s < next.size(); ++s) {
        QVERIFY(next[s] == 0 || next[s] == model.stages[s].output.size());
      }
    }
  }

  void badBytesAreErrors() {
    const auto plan = PowersPlan::create({2, 10, kF, kTruncation}, 8192, 8192).value();
    const auto secret = PowersSecretKey::create(plan).value();
    const auto lambda = plan.drawLambda(100).value();
    auto bytes = secret.publicKey();
    std::fill(bytes.begin() + 32, bytes.end(), std::byte{0xFF});
    QCOMPARE(PowersPublicKey::parse(plan, bytes).error().code, ErrorCode::Protocol);
    bytes.pop_back();
    QCOMPARE(PowersPublicKey::parse(plan, bytes).error().code, ErrorCode::Protocol);

    const auto key = PowersPublicKey::parse(plan, secret.publicKey()).value();
    PowersEngine engine(plan, key, lambda);
    PowersClient client(plan, secret, lambda);
    auto request = client.request().value();
    auto wrong = request;
    std::fill(wrong.end() - 100, wrong.end(), std::byte{0xFF});
    QCOMPARE(engine.answer(wrong).error().code, ErrorCode::Protocol);
    wrong.resize(10);
    QCOMPARE(engine.answer(wrong).error().code, ErrorCode::Protocol);
    auto answer = engine.answer(request).value();
    QVERIFY_EXCEPTION_THROWN((void)engine.answer(request), std::logic_error);
    wrong = answer;
    std::fill(wrong.begin(), wrong.begin() + 100, std::byte{0xFF});
    QCOMPARE(client.finish(wrong).error().code, ErrorCode::Protocol);
    wrong.push_back(std::byte{0});
    QCOMPARE(client.finish(wrong).error().code, ErrorCode::Protocol);
    QVERIFY(client.finish(answer).ok());
    QVERIFY_EXCEPTION_THROWN((void)client.request(), std::logic_error);
  }
};

QTEST_GUILESS_MAIN(TestHePowers)
#include "test_he_powers.moc"

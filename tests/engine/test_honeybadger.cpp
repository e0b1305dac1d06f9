// HoneyBadger against independent known values, against exact integers on uniform shares, and at
// the edge of the range.
#include <pthread.h>

#include <cmath>
#include <cstring>

#include <QFile>
#include <QTest>
#include <nlohmann/json.hpp>

#include "engine/protocol/honeybadger.h"
#include "engine/ring/reference.h"
#include "tests/support/random_words.h"
#include "tests/support/taylor_shift.h"

using namespace pillarbox;
using offline::Party;
using protocol::HoneyBadger;

namespace {

U128 parseWide(const std::string& text) {
  U128 value = 0;
  for (const char digit : text) value = value * 10 + static_cast<unsigned>(digit - '0');
  return value;
}
std::uint64_t parseWord(const std::string& text) {
  return static_cast<std::uint64_t>(parseWide(text));
}

/// A party's shares, a tensor each.
using Shares = std::vector<SecureVector<U128>>;

std::vector<const U128*> pointersTo(const Shares& shares) {
  std::vector<const U128*> pointers;
  for (const auto& tensor : shares) pointers.push_back(tensor.data());
  return pointers;
}

/// One activation each, all steps of the dealer mode, on fresh masks.
struct Activation {
  std::int64_t value;  // of the result, f fraction bits
  std::int64_t opening;
};
std::vector<Activation> activate(const models::Polynomial& polynomial, std::uint32_t f,
                                 testing::RandomWords& data, const std::vector<std::int64_t>& z,
                                 std::uint32_t truncation) {
  Shares client(polynomial.degree()), engine(polynomial.degree());
  std::vector<std::uint64_t> opening;
  for (const std::int64_t value : z) {
    const std::uint64_t z0 = data.word(), z1 = static_cast<std::uint64_t>(value) - z0;
    const std::uint64_t lambda0 = data.word(), lambda1 = data.word();
    const std::uint64_t d0 = ring::truncateClient(z0, truncation) - lambda0;
    opening.push_back(ring::truncateEngine(z1, truncation) + d0 - lambda1);
    const I128 lambda = static_cast<std::int64_t>(lambda0 + lambda1);
    U128 power = 1;
    for (std::uint32_t k = 0; k < polynomial.degree(); ++k) {
      power *= static_cast<U128>(lambda);
      engine[k].push_back(data.wide());
      client[k].push_back(power - engine[k].back());
    }
  }
  offline::powersToCoefficients(polynomial, f, Party::Client, client);
  offline::powersToCoefficients(polynomial, f, Party::Engine, engine);
  const HoneyBadger honeyBadger(polynomial, f);
  std::vector<std::uint64_t> y0(z.size()), y1(z.size());
  honeyBadger.evaluateClient(opening, pointersTo(client), y0);
  honeyBadger.evaluateEngine(opening, pointersTo(engine), y1);
  std::vector<Activation> results;
  for (std::size_t i = 0; i < z.size(); ++i) {
    results.push_back(
        {static_cast<std::int64_t>(y0[i] + y1[i]), static_cast<std::int64_t>(opening[i])});
  }
  return results;
}

}  // namespace

class TestHoneyBadger : public QObject {
  Q_OBJECT

 private:
  testing::RandomWords m_data;

 private Q_SLOTS:
  void reproducesIndependentVectors() {
    QFile file(PILLARBOX_SOURCE_DIR "/tests/engine/activation_vectors.json");
    QVERIFY(file.open(QIODevice::ReadOnly));
    const auto rows = nlohmann::json::parse(file.readAll().toStdString());
    QCOMPARE(rows.size(), std::size_t{160});
    for (const auto& row : rows) {
      const auto f = row["f"].get<std::uint32_t>(), fw = row["fw"].get<std::uint32_t>();
      const models::Polynomial polynomial{row["fc"].get<std::uint32_t>(),
                                          row["coeffs"].get<std::vector<std::int64_t>>()};
      const HoneyBadger honeyBadger(polynomial, f);
      const auto word = [&](const char* key) { return parseWord(row[key].get<std::string>()); };
      const std::uint64_t z0 = ring::truncateClient(word("z0"), fw);
      const std::uint64_t z1 = ring::truncateEngine(word("z1"), fw);
      std::uint64_t opening = 0;
      if (row["mode"] == "dealer") {
        QCOMPARE(z0 - word("lambda0"), word("d0"));
        opening = z1 + word("d0") - word("lambda1");
      } else {
        QCOMPARE(z0, word("lambda0"));
        opening = z1 - word("lambda1");
      }
      QCOMPARE(std::to_string(static_cast<std::int64_t>(opening)),
               row["opening_signed"].get<std::string>());
      const auto coefficients = [&](const char* powers, Party party) {
        Shares shares;
        for (const auto& share : row[powers]) shares.emplace_back(1, parseWide(share));
        offline::powersToCoefficients(polynomial, f, party, shares);
        return shares;
      };
      const Shares client = coefficients("lambda_powers_p0", Party::Client);
      const Shares engine = coefficients("lambda_powers_p1", Party::Engine);
      const auto untruncated = [&](Party party, const Shares& shares) {
        std::vector<U128> values;
        for (const auto& tensor : shares) values.push_back(tensor[0]);
        return honeyBadger.value(party, opening, values);
      };
      QVERIFY(untruncated(Party::Client, client) == parseWide(row["y0"]));
      QVERIFY(untruncated(Party::Engine, engine) == parseWide(row["y1"]));
      std::uint64_t y0 = 0, y1 = 0;
      honeyBadger.evaluateClient({&opening, 1}, pointersTo(client), {&y0, 1});
      honeyBadger.evaluateEngine({&opening, 1}, pointersTo(engine), {&y1, 1});
      QCOMPARE(y0, word("y0_truncated"));
      QCOMPARE(y1, word("y1_truncated"));
      QCOMPARE(y0 - word("r"), word("m"));
      QCOMPARE(y0 - word("r") + y1, word("masked"));
    }
  }

  void matchesExactIntegers_data() {
    QTest::addColumn<int>("f");
    QTest::addColumn<int>("fc");
    QTest::addColumn<QVector<qint64>>("coefficients");
    QTest::newRow("degree 2") << 12 << 10 << QVector<qint64>{250, 512, 200};
    QTest::newRow("degree 4") << 12 << 10 << QVector<qint64>{322, 512, 160, 0, -3};
    QTest::newRow("degree 4, odd terms") << 12 << 10 << QVector<qint64>{-7, 900, 33, -41, 5};
    QTest::newRow("degree 6") << 12 << 12 << QVector<qint64>{800, 2048, 900, 0, -60, 0, 2};
    QTest::newRow("degree 8") << 10 << 12 << QVector<qint64>{700, 2048, 950, 0, -90, 0, 7, 0, -1};
  }
  void matchesExactIntegers() {
    QFETCH(int, f);
    QFETCH(int, fc);
    QFETCH(QVector<qint64>, coefficients);
    const models::Polynomial polynomial{static_cast<std::uint32_t>(fc),
                                        {coefficients.begin(), coefficients.end()}};
    const auto bits = static_cast<std::uint32_t>(f);
    const std::uint32_t drop = polynomial.degree() * bits + polynomial.fractionBits - bits;
    std::vector<std::int64_t> values(20000);
    for (auto& z : values) {
      z = m_data.between(-(std::int64_t{6} << (f + 12)), std::int64_t{6} << (f + 12));
    }
    const auto results = activate(polynomial, bits, m_data, values, 12);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::int64_t z = values[i];
      const Activation got = results[i];
      // The truncation of z may round up or down: the value is that of one of both neighbours.
      bool matches = false;
      for (const std::int64_t neighbour : {z >> 12, (z >> 12) + 1}) {
        const auto exact = static_cast<std::int64_t>(
            static_cast<I128>(ring::reference::polynomial(polynomial, bits, neighbour)) >> drop);
        matches = matches || (got.value - exact >= 0 && got.value - exact <= 1);
      }
      QVERIFY2(matches, qPrintable(QString("z = %1 gives %2").arg(z).arg(got.value)));
    }
  }

  // A wrap in any step would be off by a power of two far outside the tolerance.
  void noWrapAtTheEdgeOfTheRange() {
    const models::Polynomial polynomial{10, {322, 512, 160, 0, -3}};
    std::vector<std::int64_t> values(1000000);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::int64_t edge = (std::int64_t{5} << 24) - m_data.between(0, 4096);
      values[i] = (i & 1) != 0 ? edge : -edge;
    }
    const auto results = activate(polynomial, 12, m_data, values, 12);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::int64_t z = values[i];
      const Activation got = results[i];
      const auto exact = static_cast<std::int64_t>(
          static_cast<I128>(ring::reference::polynomial(polynomial, 12, z >> 12)) >> 46);
      QVERIFY2(std::abs(got.value - exact) <= 4,
               qPrintable(QString("z = %1: %2, not %3").arg(z).arg(got.value).arg(exact)));
    }
  }

  // What the client sees is uniform, whatever z is: each of the top four bits' 16 values equally
  // often (chi-square with 15 degrees of freedom; 60 has probability below 1e-6).
  void openingsAreUniform() {
    const models::Polynomial polynomial{10, {322, 512, 160, 0, -3}};
    constexpr int kSamples = 32000;
    for (const std::int64_t z : {std::int64_t{0}, std::int64_t{5} << 24}) {
      for (const int shift : {60, 0}) {
        std::array<int, 16> counts{};
        for (const Activation& got :
             activate(polynomial, 12, m_data, std::vector<std::int64_t>(kSamples, z), 12)) {
          ++counts[(static_cast<std::uint64_t>(got.opening) >> shift) & 15];
        }
        double chiSquare = 0;
        for (const int count : counts) {
          chiSquare += std::pow(count - kSamples / 16.0, 2) / (kSamples / 16.0);
        }
        QVERIFY2(chiSquare < 60, qPrintable(QString::number(chiSquare)));
      }
    }
  }

  // What a party computes is linear in its shares, so it can be held against the definition for any
  // shares, consistent or not: sum_k q_k(δ) [λ^k] with q_k(δ) = sum_j C_j 2^(f(d-j)) binom(j, k)
  // δ^(j-k), q_0 the engine's; here by shifting the polynomial to where the share of λ counts.
  void coefficientsStandForPowers_data() {
    QTest::addColumn<QVector<qint64>>("coefficients");
    QTest::addColumn<int>("bits");
    QTest::newRow("degree 4") << QVector<qint64>{322, 512, 160, 0, -3} << 12;
    QTest::newRow("degree 1") << QVector<qint64>{-5, 1024} << 20;
    QTest::newRow("degree 2, all negative") << QVector<qint64>{-1, -2, -3} << 24;
    QTest::newRow("degree 3, large") << QVector<qint64>{1LL << 40, -(1LL << 40), 7, 99} << 16;
    QTest::newRow("degree 5") << QVector<qint64>{4, -3, 0, 1, 0, 7} << 12;
    QTest::newRow("degree 6") << QVector<qint64>{14107, 32768, 15024, 0, -727, 0, 15} << 13;
    QTest::newRow("degree 7") << QVector<qint64>{1, 2, 3, 4, 5, 6, -7, 8} << 11;
    QTest::newRow("degree 8") << QVector<qint64>{1, -2, 3, -4, 5, -6, 7, -8, 9} << 11;
  }
  void coefficientsStandForPowers() {
    QFETCH(QVector<qint64>, coefficients);
    QFETCH(int, bits);
    models::Polynomial polynomial;
    polynomial.coefficients.assign(coefficients.begin(), coefficients.end());
    const auto f = static_cast<std::uint32_t>(bits);
    const std::uint32_t degree = polynomial.degree();
    const HoneyBadger honeyBadger(polynomial, f);
    constexpr std::size_t kCount = 1005;
    std::vector<std::uint64_t> opening = m_data.words(kCount);
    const std::uint64_t extremes[] = {0,
                                      1,
                                      ~std::uint64_t{0},
                                      std::uint64_t{1} << 63,
                                      (std::uint64_t{1} << 63) - 1,
                                      (std::uint64_t{1} << 52) - 1,
                                      std::uint64_t{1} << 52};
    std::copy(std::begin(extremes), std::end(extremes), opening.begin());
    Shares powers(degree);
    for (auto& power : powers) {
      for (std::size_t i = 0; i < kCount; ++i) power.push_back(m_data.wide());
      for (std::size_t i = 100; i < 200; ++i) power[i] = 0;
      for (std::size_t i = 200; i < 300; ++i) power[i] = ~static_cast<U128>(0);
    }
    Shares client(powers.begin(), powers.end()), engine(powers.begin(), powers.end());
    offline::powersToCoefficients(polynomial, f, Party::Client, client);
    offline::powersToCoefficients(polynomial, f, Party::Engine, engine);
    std::vector<std::uint64_t> y0(kCount), y1(kCount);
    honeyBadger.evaluateClient(opening, pointersTo(client), y0);
    honeyBadger.evaluateEngine(opening, pointersTo(engine), y1);
    for (std::size_t n = 0; n < kCount; ++n) {
      // The coefficients of p(δ + X) are the q_k(δ).
      const auto q = testing::taylorShift(
          polynomial, f,
          static_cast<U128>(static_cast<I128>(static_cast<std::int64_t>(opening[n]))));
      U128 expected = 0;
      for (std::uint32_t k = 1; k <= degree; ++k) expected += q[k] * powers[k - 1][n];
      const std::uint32_t drop = honeyBadger.truncation();
      QCOMPARE(y0[n], static_cast<std::uint64_t>(ring::truncateClient(expected, drop)));
      QCOMPARE(y1[n], static_cast<std::uint64_t>(ring::truncateEngine(expected + q[0], drop)));
    }
    // In place, as the executor calls it.
    std::vector<std::uint64_t> inPlace = opening;
    honeyBadger.evaluateEngine(inPlace, pointersTo(engine), inPlace);
    QVERIFY(inPlace == y1);
  }

  void refusesPowersOfDifferentSizes() {
    const models::Polynomial polynomial{10, {322, 512, 160}};
    Shares shares(2);
    shares[0].resize(4);
    shares[1].resize(5);
    QVERIFY_EXCEPTION_THROWN(offline::powersToCoefficients(polynomial, 12, Party::Client, shares),
                             std::logic_error);
    shares[1].resize(4);
    // 2 * 64 bits are all of the ring.
    QVERIFY_EXCEPTION_THROWN(offline::powersToCoefficients(polynomial, 64, Party::Client, shares),
                             std::logic_error);
    shares.emplace_back(4);
    QVERIFY_EXCEPTION_THROWN(offline::powersToCoefficients(polynomial, 12, Party::Client, shares),
                             std::logic_error);
  }

  // Neither making the coefficients nor evaluating leaves shares on the stack.
  void sharesDoNotStayOnTheStack() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    QSKIP("instrumented code keeps copies of its own; what is shipped is not instrumented");
#endif
    struct Work {
      models::Polynomial polynomial{10, {322, 512, 160, 0, -3}};
      std::vector<std::uint64_t> opening, out;
      Shares shares, powers;
    } work;
    work.opening = m_data.words(3);
    work.out.resize(3);
    for (std::uint32_t k = 0; k < work.polynomial.degree(); ++k) {
      auto& share = work.shares.emplace_back();
      for (int i = 0; i < 3; ++i) share.push_back(m_data.wide());
    }
    work.powers = work.shares;
    // A thread on memory that can be looked through afterwards.
    constexpr std::size_t kStack = std::size_t{1} << 20;
    std::vector<std::uint64_t> stack(kStack / 8 + 512);
    void* const aligned = reinterpret_cast<void*>(
        (reinterpret_cast<std::uintptr_t>(stack.data()) + 4095) / 4096 * 4096);
    pthread_attr_t attributes;
    QCOMPARE(pthread_attr_init(&attributes), 0);
    QCOMPARE(pthread_attr_setstack(&attributes, aligned, kStack), 0);
    pthread_t thread{};
    const auto run = [](void* argument) -> void* {
      auto& todo = *static_cast<Work*>(argument);
      offline::powersToCoefficients(todo.polynomial, 12, Party::Client, todo.shares);
      HoneyBadger(todo.polynomial, 12)
          .evaluateClient(todo.opening, pointersTo(todo.shares), todo.out);
      return nullptr;
    };
    QCOMPARE(pthread_create(&thread, &attributes, run, &work), 0);
    QCOMPARE(pthread_join(thread, nullptr), 0);
    pthread_attr_destroy(&attributes);
    const auto found = [&stack](std::uint64_t word) {
      return std::find(stack.begin(), stack.end(), word) != stack.end();
    };
    // It was the thread's stack.
    QVERIFY(std::any_of(stack.begin(), stack.end(), [](std::uint64_t word) { return word != 0; }));
    for (const Shares& shares : {work.powers, work.shares}) {
      for (const auto& share : shares) {
        for (const U128 value : share) {
          QVERIFY(!found(static_cast<std::uint64_t>(value)));
          QVERIFY(!found(static_cast<std::uint64_t>(value >> 64)));
        }
      }
    }
  }

  void refusesWhatDoesNotFitTheRing() {
    const models::Polynomial polynomial{12, {1, 1, 1, 1, 1, 1, 1, 1, 1}};
    QVERIFY_EXCEPTION_THROWN(HoneyBadger(polynomial, 14), std::logic_error);
  }
};

QTEST_GUILESS_MAIN(TestHoneyBadger)
#include "test_honeybadger.moc"

// Primes, transforms and kernels: against the definition, against each other, against known values.
#include <QTest>

#include "engine/he/ntt.h"
#include "engine/he/rns.h"
#include "tests/support/random_words.h"

using namespace pillarbox;

namespace {

std::vector<std::uint64_t> residues(testing::RandomWords& data, const he::Modulus& q,
                                    std::size_t count) {
  std::vector<std::uint64_t> values = data.words(count);
  for (auto& value : values) value %= q.value();
  values[0] = 0;
  values[1] = q.value() - 1;
  return values;
}

/// Product in Z_q[X]/(X^n + 1), from the definition.
std::vector<std::uint64_t> negacyclicProduct(const he::Modulus& q,
                                             const std::vector<std::uint64_t>& a,
                                             const std::vector<std::uint64_t>& b) {
  const std::size_t n = a.size();
  std::vector<std::uint64_t> out(n, 0);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      const auto term = static_cast<std::uint64_t>(U128{a[i]} * b[j] % q.value());
      std::uint64_t& place = out[(i + j) % n];
      place = static_cast<std::uint64_t>((U128{place} + (i + j < n ? term : q.value() - term)) %
                                         q.value());
    }
  }
  return out;
}

}  // namespace

class TestHeNtt : public QObject {
  Q_OBJECT

 private:
  testing::RandomWords m_data;

 private Q_SLOTS:
  void primesAreKnown() {
    // Independently known: the greatest primes below 2^bits that are 1 mod 2n, by trial division
    // of the definition for small sizes.
    he::PrimeSource source(32);
    std::uint64_t previous = std::uint64_t{1} << 20;
    for (int i = 0; i < 5; ++i) {
      const std::uint64_t prime = source.next(20);
      for (std::uint64_t skipped = previous - 1; skipped >= prime; --skipped) {
        bool divides = false;
        for (std::uint64_t d = 2; d * d <= skipped && !divides; ++d) divides = skipped % d == 0;
        QCOMPARE(!divides && skipped % 64 == 1, skipped == prime);
      }
      previous = prime;
    }
    QVERIFY(he::isPrime(1125899906842597) && !he::isPrime(1125899906842597ULL * 3));
    QVERIFY(!he::isPrime(3215031751));  // a strong pseudoprime to 2, 3, 5 and 7
    QVERIFY_EXCEPTION_THROWN(he::PrimeSource(8192).next(51), std::logic_error);
  }

  void reductionsAreExact() {
    he::PrimeSource source(32768);
    for (const std::uint32_t bits : {20U, 37U, 46U, 50U}) {
      const he::Modulus q(source.next(bits));
      for (int i = 0; i < 20000; ++i) {
        const U128 x = i == 0 ? ~U128{0} : i == 1 ? 0 : m_data.wide() >> (m_data.word() % 128);
        QCOMPARE(q.reduce(x), static_cast<std::uint64_t>(x % q.value()));
        const auto s = static_cast<I128>(x);
        const I128 r = s % static_cast<I128>(q.value());
        QCOMPARE(q.fromSigned(s),
                 static_cast<std::uint64_t>(r < 0 ? r + static_cast<I128>(q.value()) : r));
        const auto word = static_cast<std::int64_t>(static_cast<std::uint64_t>(x));
        QCOMPARE(q.fromSigned(word), q.fromSigned(static_cast<I128>(word)));
      }
    }
  }

  void transformsMultiply_data() {
    QTest::addColumn<int>("kernel");
    QTest::addColumn<int>("bits");
    for (std::size_t k = 0; k < 3; ++k) {
      for (const int bits : {20, 37, 50}) {
        QTest::addRow("kernel %zu, %d bits", k, bits) << static_cast<int>(k) << bits;
      }
    }
  }
  void transformsMultiply() {
    QFETCH(int, kernel);
    QFETCH(int, bits);
    const auto available = he::availableKernels();
    if (static_cast<std::size_t>(kernel) >= available.size()) {
      QSKIP("this processor has no such instructions");
    }
    const he::Kernels& k = *available[static_cast<std::size_t>(kernel)];
    for (const std::size_t n : {32U, 64U, 512U}) {
      he::PrimeSource source(n);
      const he::Modulus q(source.next(static_cast<std::uint32_t>(bits)));
      const he::Ntt ntt(n, q);
      auto a = residues(m_data, q, n), b = residues(m_data, q, n);
      const auto expected = negacyclicProduct(q, a, b);
      const auto original = a;
      k.forward(ntt.tables(), a.data());
      k.forward(ntt.tables(), b.data());
      // Entry 0 is the value at ψ, entry 1 that at ψ^(n + 1) = −ψ; ψ is roots[n / 2], by Horner.
      const std::uint64_t root = ntt.tables().roots[n / 2];
      for (const std::size_t entry : {0U, 1U}) {
        const std::uint64_t point = entry == 0 ? root : q.negate(root);
        std::uint64_t value = 0;
        for (std::size_t i = n; i-- > 0;) value = q.add(q.multiply(value, point), original[i]);
        QCOMPARE(a[entry], value);
      }
      std::vector<std::uint64_t> product(n);
      const std::uint64_t *pa = a.data(), *pb = b.data();
      k.dot(q, &pa, &pb, 1, product.data(), n);
      k.inverse(ntt.tables(), product.data());
      QCOMPARE(product, expected);
      k.inverse(ntt.tables(), a.data());
      QCOMPARE(a, original);
    }
  }

  // All implementations give the same bits, at the sizes in use and at extreme values.
  void kernelsAgree() {
    const auto available = he::availableKernels();
    if (available.size() == 1) QSKIP("only the portable kernels run on this processor");
    const he::Kernels& reference = *available.front();
    for (const std::size_t n : {32U, 1024U, 8192U, 32768U}) {
      he::PrimeSource source(n);
      for (const std::uint32_t bits : {20U, 37U, 46U, 47U, 48U, 50U}) {
        const he::Modulus q(source.next(bits));
        const he::Ntt ntt(n, q);
        for (int pattern = 0; pattern < 3; ++pattern) {
          auto a = residues(m_data, q, n), b = residues(m_data, q, n);
          if (pattern == 1) std::fill(a.begin(), a.end(), q.value() - 1);
          if (pattern == 2) std::fill(b.begin(), b.end(), q.value() - 1);
          auto wide = m_data.words(n);
          for (auto& value : wide) value &= (std::uint64_t{1} << 50) - 1;
          const std::uint64_t *l0 = a.data(), *l1 = b.data();
          const std::uint64_t* left[] = {a.data(), b.data(), b.data()};
          const std::uint64_t* right[] = {b.data(), a.data(), b.data()};
          const std::uint64_t* wides[] = {wide.data(), a.data()};
          const double reciprocals[] = {1.0 / static_cast<double>(q.value()), 0.7654321};
          const std::uint64_t* many[] = {l0, l1, l1, l0, l1, l1, l0, l0, l1};
          const std::uint64_t* right9[] = {l0, l1, l0, l1, l1, l0, l1, l1, l0};
          const std::uint64_t scalars[] = {q.value() - 1, m_data.word() % q.value()};
          const auto run = [&](const he::Kernels& k) {
            std::vector<std::vector<std::uint64_t>> results(10, std::vector<std::uint64_t>(n));
            results[0] = a;
            k.forward(ntt.tables(), results[0].data());
            results[1] = b;
            k.inverse(ntt.tables(), results[1].data());
            k.add(q, a.data(), b.data(), results[2].data(), n);
            k.subtract(q, a.data(), b.data(), results[3].data(), n);
            k.dot(q, left, right, 3, results[4].data(), n);
            k.combine(q, wides, scalars, 2, results[5].data(), n);
            for (std::size_t i = 0; i < n; ++i) results[6][i] = a[i] + (i % 2) * q.value();
            k.reduceOnce(q, results[6].data(), results[6].data(), n);
            k.quotients(wides, reciprocals, 2, results[9].data(), n);
            std::vector<std::int64_t> small(n);
            for (std::size_t i = 0; i < n; ++i) {
              small[i] = static_cast<std::int64_t>(a[i]) * (i % 2 == 0 ? 1 : -1);
            }
            k.fromSmall(q, small.data(), results[8].data(), n);
            k.dot(q, many, right9, 9, results[7].data(), n);
            return results;
          };
          const auto expected = run(reference);
          for (const he::Kernels* k : available) {
            const auto results = run(*k);
            for (std::size_t r = 0; r < results.size(); ++r) {
              QVERIFY2(results[r] == expected[r],
                       qPrintable(QStringLiteral("%1, operation %2, degree %3, %4 bits")
                                      .arg(QLatin1String(k->name))
                                      .arg(r)
                                      .arg(n)
                                      .arg(bits)));
            }
          }
        }
      }
    }
  }

  // The longest lazy sums, of the greatest residues.
  void lazySumsDoNotOverflow() {
    constexpr std::size_t kCount = 32;
    he::PrimeSource source(32768);
    const he::Modulus q(source.next(50));
    const std::vector<std::uint64_t> largest(kCount, q.value() - 1);
    const std::vector<const std::uint64_t*> rows(he::kMaxTerms, largest.data());
    const std::vector<std::uint64_t> scalars(he::kMaxTerms, q.value() - 1);
    for (const he::Kernels* k : he::availableKernels()) {
      std::vector<std::uint64_t> out(kCount), combined(kCount);
      k->dot(q, rows.data(), rows.data(), rows.size(), out.data(), kCount);
      k->combine(q, rows.data(), scalars.data(), rows.size(), combined.data(), kCount);
      QCOMPARE(out, std::vector<std::uint64_t>(kCount, he::kMaxTerms));  // (-1)^2 each
      QCOMPARE(combined, out);
    }
  }

  void rescalingRounds() {
    constexpr std::size_t kDegree = 1024;
    he::PrimeSource source(kDegree);
    const he::Basis from = he::Basis::ofBits(source, kDegree, 62);
    const he::Basis to = he::Basis::ofBits(source, kDegree, 45);
    const auto a0 = from.modulus(0).value(), a1 = from.modulus(1).value();
    const U128 product = U128{a0} * a1;
    const std::uint64_t target = to.modulus(0).value();
    std::vector<U128> x(kDegree);
    he::Poly in(from);
    for (std::size_t i = 0; i < kDegree; ++i) {
      x[i] = i == 0 ? 0 : i == 1 ? product - 1 : i == 2 ? product / 2 : m_data.wide() % product;
      in.limb(0)[i] = static_cast<std::uint64_t>(x[i] % a0);
      in.limb(1)[i] = static_cast<std::uint64_t>(x[i] % a1);
    }
    const he::Poly out = he::BasisChange::rescaling(from, to).apply(in);
    const he::Poly lifted = he::BasisChange::lifting(from, to).apply(in);
    for (std::size_t i = 0; i < kDegree; ++i) {
      const U128 rounded = (x[i] * target + product / 2) / product;  // below 2^107
      QCOMPARE(out.limb(0)[i], static_cast<std::uint64_t>(rounded % target));
      const I128 centred = x[i] > product / 2 ? static_cast<I128>(x[i]) - static_cast<I128>(product)
                                              : static_cast<I128>(x[i]);
      QCOMPARE(lifted.limb(0)[i], to.modulus(0).fromSigned(centred));
    }
    QVERIFY_EXCEPTION_THROWN(he::BasisChange::rescaling(from, from.prefix(1)), std::logic_error);
  }

  void wordsRoundTrip() {
    constexpr std::size_t kDegree = 64;
    he::PrimeSource source(kDegree);
    const he::Basis basis = he::Basis::ofBits(source, kDegree, 94);
    const he::Word64 word64(basis);
    const U128 product = U128{basis.modulus(0).value()} * basis.modulus(1).value();
    auto x = m_data.words(kDegree);
    x[0] = 0;
    x[1] = ~std::uint64_t{0};
    x[2] = std::uint64_t{1} << 63;
    const he::Poly encoded = word64.encode(x);
    for (std::size_t i = 0; i < kDegree; ++i) {
      // product * x / 2^64 to the nearest, from the halves of the product.
      const U128 high = (product >> 64) * x[i];
      const U128 low = U128{static_cast<std::uint64_t>(product)} * x[i];
      const U128 rounded = high + (low >> 64) + ((static_cast<std::uint64_t>(low) >> 63) & 1);
      QCOMPARE(encoded.limb(0)[i], static_cast<std::uint64_t>(rounded % basis.modulus(0).value()));
      QCOMPARE(encoded.limb(1)[i], static_cast<std::uint64_t>(rounded % basis.modulus(1).value()));
    }
    std::vector<std::uint32_t> all(kDegree);
    for (std::uint32_t i = 0; i < kDegree; ++i) all[i] = i;
    std::vector<std::uint64_t> back(kDegree);
    word64.decode(encoded, all, back);
    QCOMPARE(back, x);
  }
};

QTEST_GUILESS_MAIN(TestHeNtt)
#include "test_he_ntt.moc"

// Parameters, samplers, encryption and replies: correctness against the definition, and bytes.
#include <QCryptographicHash>
#include <QTest>

#include "engine/he/rlwe.h"
#include "engine/he/wire.h"
#include "tests/support/random_words.h"

using namespace pillarbox;

namespace {

std::shared_ptr<const he::Parameters> linearParameters() {
  return he::Parameters::create({8192, {46, 46, 46}, {46}, {37, 37}, {}}).value();
}

/// Product in Z_2^64[X]/(X^n + 1) with a sparse right side of (exponent, value).
std::vector<std::uint64_t> sparseProduct(
    const std::vector<std::uint64_t>& x,
    const std::vector<std::pair<std::size_t, std::int64_t>>& sparse) {
  std::vector<std::uint64_t> out(x.size(), 0);
  for (const auto& [exponent, value] : sparse) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::uint64_t term = x[i] * static_cast<std::uint64_t>(value);
      const std::size_t at = i + exponent;
      out[at % x.size()] += at < x.size() ? term : 0 - term;
    }
  }
  return out;
}

}  // namespace

class TestHeRlwe : public QObject {
  Q_OBJECT

 private:
  testing::RandomWords m_data;

 private Q_SLOTS:
  void unsafeParametersAreRefused() {
    const std::pair<std::uint32_t, std::uint32_t> bounds[] = {
        {1024, 27}, {2048, 54}, {4096, 109}, {8192, 218}, {16384, 438}, {32768, 881}};
    for (const auto& [degree, bound] : bounds) {
      QCOMPARE(he::Parameters::securityBound(degree), bound);
      he::ParameterShape shape{degree, {}, {}, {27}, {}};
      std::uint32_t left = bound;
      for (; left >= 70; left -= 50) shape.ciphertextBits.push_back(50);
      for (; left > 50; left -= 25) shape.specialBits.push_back(25);
      shape.ciphertextBits.push_back(left);
      const auto largest = he::Parameters::create(shape);
      QVERIFY2(largest.ok(), largest.ok() ? "" : largest.error().message.c_str());
      QVERIFY((*largest)->full().bits() <= bound && (*largest)->full().bits() > bound - 0.01);
      ++shape.ciphertextBits.back();
      const auto refused = he::Parameters::create(shape);
      QVERIFY(!refused.ok() && refused.error().code == ErrorCode::InvalidArgument);
    }
    const he::ParameterShape bad[] = {{8191, {46}, {}, {37}, {}},
                                      {512, {20}, {}, {20}, {}},
                                      {65536, {46}, {}, {37}, {}},
                                      {8192, {}, {46}, {37}, {}},
                                      {8192, {46}, {}, {}, {}},
                                      {8192, {51}, {}, {37}, {}},
                                      {8192, {19}, {}, {37}, {}},
                                      {8192, {46}, {}, {37}, {0}},
                                      {32768, {46}, {}, {20, 20, 20, 20, 20, 20, 20, 20, 20}, {}},
                                      {8192, {46}, {}, std::vector<std::uint32_t>(25, 40), {}}};
    for (const auto& shape : bad) QVERIFY(!he::Parameters::create(shape).ok());
  }

  void replyHoldsTheSum_data() {
    QTest::addColumn<bool>("large");
    QTest::newRow("n = 8192") << false;
    QTest::newRow("n = 16384") << true;
  }
  /// The whole way: encrypt, serialise, parse, multiply, reply, serialise, parse, decrypt.
  void replyHoldsTheSum() {
    QFETCH(bool, large);
    const auto shared =
        large ? he::Parameters::create({16384, {50, 50, 50}, {}, {40, 40}, {}}).value()
              : linearParameters();
    const he::Parameters& p = *shared;
    const std::size_t n = p.degree();
    he::Sampler client = he::Sampler::fresh().value(), engine = he::Sampler::fresh().value();
    const he::SecretKey secret = he::SecretKey::generate(p, client);
    const auto keyBytes = he::serialize(p, he::makePublicKey(p, secret, client));
    QCOMPARE(keyBytes.size(), he::publicKeyBytes(p));
    const he::PublicKey key = he::parsePublicKey(p, keyBytes).value();
    const he::Word64 words(p.q()), returnWords(p.returned());

    std::vector<std::uint64_t> expected(n, 0);
    std::vector<he::Ciphertext> ciphertexts;
    std::vector<he::Poly> factors;
    for (int k = 0; k < 3; ++k) {
      const auto x = m_data.words(n);
      const auto bytes = he::serialize(p, he::encrypt(p, secret, words.encode(x), client));
      QCOMPARE(bytes.size(), he::seededCiphertextBytes(p));
      ciphertexts.push_back(he::expand(p, he::parseSeededCiphertext(p, bytes).value()));
      std::vector<std::int64_t> factor(n, 0);
      std::vector<std::pair<std::size_t, std::int64_t>> sparse;
      for (int j = 0; j < 20; ++j) {
        const std::size_t at = m_data.word() % n;
        if (factor[at] != 0) continue;
        factor[at] = static_cast<std::int64_t>(m_data.word() % 65536) - 32768;
        sparse.emplace_back(at, factor[at]);
      }
      factors.push_back(he::makeFactor(p, factor));
      const auto product = sparseProduct(x, sparse);
      for (std::size_t i = 0; i < n; ++i) expected[i] += product[i];
    }
    const he::Ciphertext* left[] = {&ciphertexts[0], &ciphertexts[1], &ciphertexts[2]};
    const he::Poly* right[] = {&factors[0], &factors[1], &factors[2]};
    const he::Ciphertext sum = he::multiplyAccumulate(p, left, right);

    const auto mask = m_data.words(n);
    std::vector<std::uint32_t> wanted;
    for (std::uint32_t i = 0; i < n; ++i) {
      if (m_data.word() % 3 == 0) wanted.push_back(i);
    }
    const auto bytes =
        he::serialize(p, he::reply(p, key, sum, words.encode(mask), 72, wanted, engine));
    QCOMPARE(bytes.size(), he::replyBytes(p, wanted.size()));
    const he::Poly phase =
        he::decrypt(p, secret, he::parseReply(p, wanted.size(), bytes).value(), wanted);
    std::vector<std::uint64_t> got(wanted.size());
    returnWords.decode(phase, wanted, got);
    for (std::size_t k = 0; k < wanted.size(); ++k) {
      QCOMPARE(got[k], expected[wanted[k]] + mask[wanted[k]]);
    }
  }

  /// Against X → X^k on the coefficients: small error; and twice it as one sum.
  void automorphismsPermute_data() {
    QTest::addColumn<int>("special");
    QTest::newRow("one special prime") << 1;
    QTest::newRow("two special primes") << 2;
  }
  void automorphismsPermute() {
    QFETCH(int, special);
    const he::ParameterShape shape{
        4096, {36}, std::vector<std::uint32_t>(static_cast<std::size_t>(special), 36), {37}, {}};
    const auto shared = special == 1 ? linearParameters() : he::Parameters::create(shape).value();
    const he::Parameters& p = *shared;
    const std::size_t n = p.degree();
    he::Sampler sampler = he::Sampler::fresh().value();
    const he::SecretKey secret = he::SecretKey::generate(p, sampler);
    const he::Poly message = he::expandUniform(p.q(), sampler.seed());
    const he::Ciphertext ciphertext = he::expand(p, he::encrypt(p, secret, message, sampler));
    const auto last = static_cast<std::uint32_t>(2 * n - 1);
    for (const std::uint32_t exponent : {3U, 5U, static_cast<std::uint32_t>(n + 1), last}) {
      const he::GaloisKey made = he::makeGaloisKey(p, secret, exponent, sampler);
      const auto bytes = he::serialize(p, made);
      QCOMPARE(bytes.size(), he::galoisKeyBytes(p));
      const he::GaloisKey key = he::parseGaloisKey(p, exponent, bytes).value();
      const he::Ciphertext image = he::automorphism(p, key, ciphertext);
      const he::Ciphertext wide{he::widened(p, ciphertext.c0), ciphertext.c1};
      he::Ciphertext twice{he::Poly(p.full()), he::Poly(p.q())};
      twice.c0.setZero();
      twice.c1.setZero();
      he::addAutomorphism(p, key, wide, twice);
      he::addAutomorphism(p, key, wide, twice);
      twice.c0 = he::narrowed(p, twice.c0);
      he::subtractFrom(p, twice, image);
      he::subtractFrom(p, twice, image);
      const he::Poly rounding = he::decrypt(p, secret, twice);  // one division instead of two
      for (const std::uint64_t residue : std::span(rounding.limb(0), n)) {
        QVERIFY(residue <= 1 || residue == p.q().modulus(0).value() - 1);
      }
      QVERIFY_EXCEPTION_THROWN(he::addAutomorphism(p, key, ciphertext, twice), std::logic_error);
      const he::Poly phase = he::decrypt(p, secret, image);
      std::int64_t greatest = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const std::size_t at = i * exponent % (2 * n);
        std::int64_t noise = 0;
        for (std::size_t limb = 0; limb < p.q().count(); ++limb) {
          const he::Modulus& q = p.q().modulus(limb);
          const std::uint64_t expected =
              at < n ? message.limb(limb)[i] : q.negate(message.limb(limb)[i]);
          const std::uint64_t off = q.subtract(phase.limb(limb)[at % n], expected);
          const auto here = static_cast<std::int64_t>(off) -
                            (off > q.value() / 2 ? static_cast<std::int64_t>(q.value()) : 0);
          if (limb == 0) noise = here;
          QCOMPARE(here, noise);  // the same small integer mod every prime
        }
        greatest = std::max(greatest, std::abs(noise));
      }
      QVERIFY2(greatest < 4000, qPrintable(QString::number(greatest)));
    }
    QVERIFY_EXCEPTION_THROWN(he::makeGaloisKey(p, secret, 4, sampler), std::logic_error);
    QVERIFY_EXCEPTION_THROWN(he::makeGaloisKey(p, secret, last + 2, sampler), std::logic_error);
  }

  /// Written down from he_reference.py, which computes with big integers from the definitions:
  /// the first 16 bytes of SHA-256 of each object's bytes, and decrypted words.
  void knownAnswers() {
    const auto shared = he::Parameters::create({4096, {36, 36}, {36}, {30, 37}, {}}).value();
    const he::Parameters& p = *shared;
    const std::size_t n = p.degree();
    const auto digest = [](const std::vector<std::byte>& bytes) {
      const QByteArray data(reinterpret_cast<const char*>(bytes.data()),
                            static_cast<qsizetype>(bytes.size()));
      return QCryptographicHash::hash(data, QCryptographicHash::Sha256).toHex().left(32);
    };
    const auto sampler = [](int offset) {
      random::Seed secret, open;
      for (int i = 0; i < 32; ++i) {
        secret.bytes[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(i + offset);
        open.bytes[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(100 + i + offset);
      }
      return he::Sampler(secret, open);
    };
    he::Sampler client = sampler(0), engine = sampler(200);
    const he::SecretKey secret = he::SecretKey::generate(p, client);
    const he::PublicKey key = he::makePublicKey(p, secret, client);
    QCOMPARE(digest(he::serialize(p, key)), QByteArray("8132f1372c2a497e74633fcabde72eb8"));

    std::vector<std::uint64_t> x(n), mask(n);
    std::vector<std::int64_t> weights(n);
    for (std::size_t i = 0; i < n; ++i) {
      x[i] = (i + 1) * 0x9E3779B97F4A7C15;
      mask[i] = x[i] * x[i];
      weights[i] = static_cast<std::int64_t>((7 * i) % 16) - 8;
    }
    const he::Word64 words(p.q());
    const he::SeededCiphertext fresh = he::encrypt(p, secret, words.encode(x), client);
    QCOMPARE(digest(he::serialize(p, fresh)), QByteArray("2ba6f3921eb1c09c48ff3a175c2d0975"));
    const he::GaloisKey galois = he::makeGaloisKey(p, secret, 5, client);
    QCOMPARE(digest(he::serialize(p, galois)), QByteArray("f531ccc61bd7b42d23b3fca2443e3d68"));

    const he::Ciphertext ciphertext = he::expand(p, fresh);
    const he::Poly factor = he::makeFactor(p, weights);
    const he::Ciphertext* left[] = {&ciphertext};
    const he::Poly* right[] = {&factor};
    const he::Ciphertext image =
        he::automorphism(p, galois, he::multiplyAccumulate(p, left, right));
    std::vector<std::byte> bytes;
    for (const he::Poly* half : {&image.c0, &image.c1}) {
      for (std::size_t i = 0; i < p.q().count(); ++i) {
        const he::Modulus& q = p.q().modulus(i);
        std::vector<std::byte> limb(he::packedBytes(q, n));
        he::pack(q, {half->limb(i), n}, limb);
        bytes.insert(bytes.end(), limb.begin(), limb.end());
      }
    }
    QCOMPARE(digest(bytes), QByteArray("e9769c3bc6e199188de83a39facbd085"));

    const std::vector<std::uint32_t> wanted{0, 7, 1000, 4095};
    const he::Reply reply = he::reply(p, key, image, words.encode(mask), 20, wanted, engine);
    QCOMPARE(digest(he::serialize(p, reply)), QByteArray("e75ad8bc377185af82003a4d5f5abcd5"));
    std::vector<std::uint64_t> decoded(wanted.size());
    he::Word64(p.returned()).decode(he::decrypt(p, secret, reply, wanted), wanted, decoded);
    QCOMPARE(decoded, (std::vector<std::uint64_t>{0x14226c62981a09af, 0xbe17b2a1965ac159,
                                                  0x497bdbc076d315a8, 0x912d2cc25b5c8bd1}));
  }

  void samplersHaveTheirDistributions() {
    const auto shared = linearParameters();
    const he::Basis& q = shared->q();
    he::Sampler sampler = he::Sampler::fresh().value();
    const auto centred = [&](const he::Poly& x, std::size_t limb, std::size_t i) {
      const auto value = static_cast<std::int64_t>(x.limb(limb)[i]);
      const auto modulus = static_cast<std::int64_t>(q.modulus(limb).value());
      return value > modulus / 2 ? value - modulus : value;
    };
    const auto n = static_cast<double>(q.degree());
    double counts[3] = {}, square = 0, mean = 0;
    const he::Poly s = sampler.ternary(q), e = sampler.error(q);
    for (std::size_t i = 0; i < q.degree(); ++i) {
      const std::int64_t value = centred(s, 0, i), error = centred(e, 0, i);
      QVERIFY(value >= -1 && value <= 1 && std::abs(error) <= he::kErrorBound);
      for (std::size_t limb = 1; limb < q.count(); ++limb) {
        QCOMPARE(centred(s, limb, i), value);
        QCOMPARE(centred(e, limb, i), error);
      }
      ++counts[value + 1];
      mean += static_cast<double>(error);
      square += static_cast<double>(error * error);
    }
    for (const double count : counts) QVERIFY(std::abs(count - n / 3) < 7 * std::sqrt(n * 2 / 9));
    QVERIFY(std::abs(mean / n) < 7 * he::kErrorDeviation / std::sqrt(n));
    QVERIFY(std::abs(square / n - 10.5) < 7 * 10.5 * std::sqrt(2 / n));

    for (const std::uint32_t bits : {1U, 40U, 48U, 49U, 72U, 100U}) {
      const he::Poly flood = sampler.flooding(q, bits);
      // As integers: lifted from the first three primes (138 bits) to 128 bits.
      const U128 q0 = q.modulus(0).value(), q1 = q.modulus(1).value(), q01 = q0 * q1;
      const he::Modulus& second = q.modulus(1);
      const std::uint64_t inverse = second.inverse(second.reduce(q0));
      const U128 offset = U128{1} << (bits - 1);
      std::size_t high = 0;
      for (std::size_t i = 0; bits <= 90 && i < q.degree(); ++i) {
        const std::uint64_t x0 = flood.limb(0)[i];
        const std::uint64_t digit =
            second.multiply(second.subtract(flood.limb(1)[i], second.reduce(x0)), inverse);
        const U128 shifted = (U128{x0} + q0 * digit + offset) % q01;
        QVERIFY(shifted < offset * 2);
        high += shifted >= offset ? 1 : 0;
      }
      if (bits <= 90) {
        QVERIFY(std::abs(static_cast<double>(high) - n / 2) < 7 * std::sqrt(n / 4));
      }
    }
    QVERIFY_EXCEPTION_THROWN(sampler.flooding(q, 0), std::logic_error);
    QVERIFY_EXCEPTION_THROWN(sampler.flooding(q, 1001), std::logic_error);

    // A public polynomial: the same from the same seed, other streams differ, all below the prime.
    he::PrimeSource source(32);
    const he::Basis small = he::Basis::ofBits(source, 32, 20);
    const random::Seed seed = sampler.seed();
    const he::Poly a = he::expandUniform(q, seed);
    QVERIFY(std::ranges::equal(a.words(), he::expandUniform(q, seed).words()));
    QVERIFY(!std::ranges::equal(a.words(), he::expandUniform(q, seed, 1).words()));
    for (std::size_t i = 0; i < q.count(); ++i) {
      for (std::size_t k = 0; k < q.degree(); ++k) QVERIFY(a.limb(i)[k] < q.modulus(i).value());
    }
  }
};

QTEST_GUILESS_MAIN(TestHeRlwe)
#include "test_he_rlwe.moc"

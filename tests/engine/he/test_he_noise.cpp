// Errors at the worst case against the bounds of engine/he/noise.h, and a million decryptions.
#include <cmath>

#include <QTest>

#include "engine/he/galois.h"
#include "engine/he/noise.h"
#include "tests/support/random_words.h"

using namespace pillarbox;

namespace {

/// The parameters of the example in noise.h, and its largest factors: every coefficient used.
constexpr std::size_t kDegree = 8192;
constexpr std::int64_t kWeight = 8192;  // times the degree: 2^26
constexpr std::uint32_t kFloodingBits = 72;

struct Fixture {
  std::uint32_t bits = 46;
  std::shared_ptr<const he::Parameters> shared =
      he::Parameters::create({kDegree, {bits, bits, bits}, {bits}, {37, 37}, {}}).value();
  const he::Parameters& p = *shared;
  he::Sampler client = he::Sampler::fresh().value(), engine = he::Sampler::fresh().value();
  he::SecretKey secret = he::SecretKey::generate(p, client);
  he::PublicKey key = he::makePublicKey(p, secret, client);
  he::Word64 words{p.q()}, returnWords{p.returned()};
};

/// The greatest magnitude of x as an integer mod the basis, each coefficient below the half of the
/// first two primes' product.
double greatest(const he::Basis& basis, const he::Poly& x) {
  const he::Modulus &q0 = basis.modulus(0), &q1 = basis.modulus(1);
  const U128 product = U128{q0.value()} * q1.value();
  const std::uint64_t inverse = q1.inverse(q1.reduce(q0.value()));
  U128 most = 0;
  for (std::size_t i = 0; i < basis.degree(); ++i) {
    const std::uint64_t low = x.limb(0)[i];
    const std::uint64_t digit = q1.multiply(q1.subtract(x.limb(1)[i], q1.reduce(low)), inverse);
    const U128 value = U128{low} + U128{q0.value()} * digit;
    most = std::max(most, std::min(value, product - value));
  }
  return static_cast<double>(most);
}

/// The mean of the magnitudes of integers that are smaller than half of the first prime.
double mean(const he::Basis& basis, const he::Poly& x) {
  const std::uint64_t q = basis.modulus(0).value();
  double sum = 0;
  for (std::size_t i = 0; i < basis.degree(); ++i) {
    sum += static_cast<double>(std::min(x.limb(0)[i], q - x.limb(0)[i]));
  }
  return sum / static_cast<double>(basis.degree());
}

/// (1 + X + ... + X^(n-1))·c times x mod 2^64, by running sums.
std::vector<std::uint64_t> timesAllOnes(const std::vector<std::uint64_t>& x, std::int64_t c) {
  std::uint64_t all = 0, running = 0;
  for (const std::uint64_t value : x) all += value;
  std::vector<std::uint64_t> out;
  for (const std::uint64_t value : x) {
    running += value;
    out.push_back((2 * running - all) * static_cast<std::uint64_t>(c));
  }
  return out;
}

void within(double measured, double bound, double atLeast, const char* what) {
  std::printf("%-28s %12.5g of %12.5g (2^%.1f of 2^%.1f)\n", what, measured, bound,
              std::log2(measured), std::log2(bound));
  QVERIFY2(measured <= bound, what);
  QVERIFY2(measured >= bound * atLeast, what);  // the measurement is not of nothing
}

}  // namespace

class TestHeNoise : public QObject {
  Q_OBJECT

 private:
  testing::RandomWords m_data;

 private Q_SLOTS:
  void errorsStayBelowTheirBounds() {
    Fixture f;
    const he::Parameters& p = f.p;
    const he::Basis& q = p.q();

    // Equal signs, random signs, and those that an engine cannot know: the ones that add up all
    // errors in the last coefficient.
    for (const int signs : {0, 1, 2}) {
      const he::Poly message = f.words.encode(m_data.words(kDegree));
      const he::Ciphertext fresh = he::expand(p, he::encrypt(p, f.secret, message, f.client));
      he::Poly error = he::decrypt(p, f.secret, fresh);
      he::subtractFrom(q, error, message);
      within(greatest(q, error), he::kFreshNoise, 0.3, "encryption");
      std::vector<std::int64_t> weights(kDegree, kWeight);
      for (std::size_t i = 0; i < kDegree; ++i) {
        const bool negative = error.limb(0)[kDegree - 1 - i] > q.modulus(0).value() / 2;
        if (signs == 1 ? m_data.word() % 2 == 0 : signs == 2 && negative) weights[i] = -kWeight;
      }
      const he::Poly factor = he::makeFactor(p, weights);
      const he::Ciphertext* left[] = {&fresh};
      const he::Poly* right[] = {&factor};
      const he::Ciphertext product = he::multiplyAccumulate(p, left, right);
      he::Poly exact = message;
      he::forward(q, exact);
      exact = he::multiply(q, exact, factor);
      he::inverse(q, exact);
      error = he::decrypt(p, f.secret, product);
      he::subtractFrom(q, error, exact);
      within(greatest(q, error), he::kFreshNoise * kWeight * kDegree, signs == 2 ? 0.1 : 1e-3,
             "product");

      // The automorphism's own error: against the permuted phase of what it was given.
      const he::GaloisKey galois = he::makeGaloisKey(p, f.secret, kDegree / 2 + 1, f.client);
      const he::Poly image = he::decrypt(p, f.secret, he::automorphism(p, galois, product));
      he::Poly expected = he::decrypt(p, f.secret, product);
      he::forward(q, expected);
      error = image;
      he::forward(q, error);
      he::Poly permuted(q);
      for (std::size_t limb = 0; limb < q.count(); ++limb) {
        for (std::size_t i = 0; i < kDegree; ++i) {
          permuted.limb(limb)[i] = expected.limb(limb)[galois.permutation[i]];
        }
      }
      he::subtractFrom(q, error, permuted);
      he::inverse(q, error);
      within(greatest(q, error), he::keySwitchNoise(p), 0.05, "automorphism");
      QVERIFY(he::keySwitchNoise(p) < he::keySwitchNoiseCertain(p));

      const he::Ciphertext zero = he::encryptZero(p, f.key, f.engine);
      within(greatest(q, he::decrypt(p, f.secret, zero)), he::zeroNoise(p), 0.1, "zero");

      // The reply: its phase against (q'/Q)·(w·x), the error being all there is.
      std::vector<std::uint32_t> all(kDegree);
      for (std::uint32_t i = 0; i < kDegree; ++i) all[i] = i;
      he::Poly minus(q);
      minus.setZero();
      he::subtractFrom(q, minus, exact);  // so that only the error is left
      const he::Reply reply = he::reply(p, f.key, product, minus, kFloodingBits, all, f.engine);
      const double measured = greatest(p.returned(), he::decrypt(p, f.secret, reply, all));
      within(measured, he::replyNoise(p, he::kFreshNoise * kWeight * kDegree, kFloodingBits), 0.3,
             "reply");
      // Without flooding only the rounding remains.
      const he::Reply rounded = he::reply(p, f.key, product, minus, 1, all, f.engine);
      within(greatest(p.returned(), he::decrypt(p, f.secret, rounded, all)),
             he::roundingNoise(p) + 1, 0.2, "rounding");
    }
    QVERIFY(he::replyNoise(p, he::kFreshNoise * kWeight * kDegree, kFloodingBits) <
            he::decodableNoise(p, 64));
    QVERIFY(he::hidingBits(he::kFreshNoise * kWeight * kDegree, kFloodingBits) > 41.5);
  }

  /// Errors are hidden to the mean of their magnitudes, so that is measured too.
  void meansStayBelowTheirBounds() {
    Fixture f;
    const he::Parameters& p = f.p;
    const he::Basis& q = p.q();
    // Few large factors, whose sum of magnitudes and sum of squares are both as large as linear
    // layers allow them to be: 2^24 and 2^40.
    std::vector<std::int64_t> weights(kDegree);
    for (std::size_t i = 0; i < 256; ++i) {
      weights[32 * i + m_data.word() % 32] = m_data.word() % 2 == 0 ? 1 << 16 : -(1 << 16);
    }
    const he::Poly factor = he::makeFactor(p, weights);
    const he::Poly message = f.words.encode(m_data.words(kDegree));
    const he::Ciphertext fresh = he::expand(p, he::encrypt(p, f.secret, message, f.client));
    const he::Ciphertext* left[] = {&fresh};
    const he::Poly* right[] = {&factor};
    const he::Ciphertext product = he::multiplyAccumulate(p, left, right);
    he::Poly exact = message;
    he::forward(q, exact);
    exact = he::multiply(q, exact, factor);
    he::inverse(q, exact);
    he::Poly error = he::decrypt(p, f.secret, product);
    he::subtractFrom(q, error, exact);
    within(mean(q, error), he::productNoiseMean(0x1p24, 0x1p20), 0.15, "mean of a product");

    // Over many keys: digits are not negative, so one key's errors have much in common.
    he::Poly expected = he::decrypt(p, f.secret, product);
    he::forward(q, expected);
    constexpr int kKeys = 24;
    double sum = 0;
    for (int round = 0; round < kKeys; ++round) {
      const he::GaloisKey galois = he::makeGaloisKey(p, f.secret, kDegree / 2 + 1, f.client);
      he::Poly permuted(q);
      for (std::size_t limb = 0; limb < q.count(); ++limb) {
        for (std::size_t i = 0; i < kDegree; ++i) {
          permuted.limb(limb)[i] = expected.limb(limb)[galois.permutation[i]];
        }
      }
      he::inverse(q, permuted);
      error = he::decrypt(p, f.secret, he::automorphism(p, galois, product));
      he::subtractFrom(q, error, permuted);
      sum += mean(q, error);
    }
    within(sum / kKeys, he::keySwitchNoiseMean(p), 0.2, "mean of an automorphism");

    const he::Ciphertext zero = he::encryptZero(p, f.key, f.engine);
    within(mean(q, he::decrypt(p, f.secret, zero)), he::zeroNoiseMean(p), 0.6, "mean of a zero");
    // And of a fresh encryption: a factor of 1.
    error = he::decrypt(p, f.secret, fresh);
    he::subtractFrom(q, error, message);
    within(mean(q, error), he::productNoiseMean(1, 1), 0.6, "mean of an encryption");
  }

  /// With the parameters and the flooding of the linear layers, and greater factors than theirs.
  void aMillionValuesAreRight() {
    Fixture f{50};
    constexpr std::uint32_t kLinearFloodingBits = 85;
    const he::Parameters& p = f.p;
    constexpr std::uint32_t kExponent = kDegree + 1;
    const he::GaloisKey galois = he::makeGaloisKey(p, f.secret, kExponent, f.client);
    std::vector<std::uint32_t> all(kDegree);
    for (std::uint32_t i = 0; i < kDegree; ++i) all[i] = i;
    std::size_t decrypted = 0, wrong = 0;
    for (std::int64_t round = 0; decrypted < 1000000; ++round) {
      auto x = m_data.words(kDegree);
      const std::int64_t weight = round % 2 == 0 ? kWeight - round : round - kWeight;
      const he::Poly factor = he::makeFactor(p, std::vector<std::int64_t>(kDegree, weight));
      const he::Ciphertext fresh =
          he::expand(p, he::encrypt(p, f.secret, f.words.encode(x), f.client));
      const he::Ciphertext* left[] = {&fresh};
      const he::Poly* right[] = {&factor};
      const he::Ciphertext image =
          he::automorphism(p, galois, he::multiplyAccumulate(p, left, right));
      const auto mask = m_data.words(kDegree);
      const he::Reply reply =
          he::reply(p, f.key, image, f.words.encode(mask), kLinearFloodingBits, all, f.engine);
      std::vector<std::uint64_t> got(kDegree);
      f.returnWords.decode(he::decrypt(p, f.secret, reply, all), all, got);
      const auto product = timesAllOnes(x, weight);
      for (std::size_t i = 0; i < kDegree; ++i) {
        const std::size_t to = i * kExponent % (2 * kDegree);
        const std::uint64_t value = to < kDegree ? product[i] : 0 - product[i];
        wrong += got[to % kDegree] != value + mask[to % kDegree];
      }
      decrypted += kDegree;
    }
    QCOMPARE(wrong, std::size_t{0});
  }
};

QTEST_GUILESS_MAIN(TestHeNoise)
#include "test_he_noise.moc"

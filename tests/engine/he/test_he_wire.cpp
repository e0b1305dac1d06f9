// The bytes of ciphertexts and keys: packing, and everything that parsers must refuse.
#include <functional>

#include <QTest>

#include "engine/he/wire.h"
#include "tests/support/random_words.h"

using namespace pillarbox;

namespace {

using Bytes = std::vector<std::byte>;
/// Parses; returns what serialising the result again gives.
using Again = std::function<Result<Bytes>(const he::Parameters&, std::span<const std::byte>)>;

struct Object {
  const char* name;
  Bytes bytes;
  std::size_t start;  ///< of the packed residues
  Again again;
};

constexpr std::uint32_t kExponent = 5;
constexpr std::size_t kWanted = 5;  // 27 bits each: there are fill bits

std::shared_ptr<const he::Parameters> smallParameters() {
  return he::Parameters::create({2048, {27}, {27}, {27}, {}}).value();
}

template <typename T>
Result<Bytes> written(const he::Parameters& p, Result<T> parsed) {
  if (!parsed.ok()) return parsed.error();
  return he::serialize(p, *parsed);
}

std::vector<Object> objects(const he::Parameters& p) {
  he::Sampler sampler = he::Sampler::fresh().value();
  const he::SecretKey secret = he::SecretKey::generate(p, sampler);
  const he::PublicKey key = he::makePublicKey(p, secret, sampler);
  he::Poly zero(p.q());
  zero.setZero();
  const he::SeededCiphertext fresh = he::encrypt(p, secret, zero, sampler);
  const std::vector<std::uint32_t> wanted{0, 1, 2, 3, 4};
  static_assert(kWanted == 5);
  const he::Reply reply = he::reply(p, key, he::expand(p, fresh), zero, 5, wanted, sampler);
  using Span = std::span<const std::byte>;
  return {
      {"a ciphertext", he::serialize(p, fresh), he::kObjectHeaderBytes + 32,
       [](const he::Parameters& q, Span b) { return written(q, he::parseSeededCiphertext(q, b)); }},
      {"a public key", he::serialize(p, key), he::kObjectHeaderBytes + 32,
       [](const he::Parameters& q, Span b) { return written(q, he::parsePublicKey(q, b)); }},
      {"a Galois key", he::serialize(p, he::makeGaloisKey(p, secret, kExponent, sampler)),
       he::kObjectHeaderBytes + 36,
       [](const he::Parameters& q, Span b) {
         return written(q, he::parseGaloisKey(q, kExponent, b));
       }},
      {"a reply", he::serialize(p, reply), he::kObjectHeaderBytes,
       [](const he::Parameters& q, Span b) { return written(q, he::parseReply(q, kWanted, b)); }}};
}

}  // namespace

class TestHeWire : public QObject {
  Q_OBJECT

 private:
  testing::RandomWords m_data;

  static void refused(const Object& object, const Result<Bytes>& result, ErrorCode code) {
    QVERIFY2(!result.ok(), object.name);
    QCOMPARE(static_cast<int>(result.error().code), static_cast<int>(code));
    const QString message = QString::fromStdString(result.error().message);
    QVERIFY2(code == ErrorCode::Version || message.contains(QLatin1String(object.name)),
             qPrintable(message));
  }

 private Q_SLOTS:
  void packingIsExact() {
    for (const std::uint32_t bits : {20U, 27U, 32U, 46U, 50U}) {
      he::PrimeSource source(2048);
      const he::Modulus q(source.next(bits));
      for (const std::size_t count : {0U, 1U, 2U, 3U, 5U, 8U, 64U, 1000U}) {
        auto residues = m_data.words(count);
        for (auto& residue : residues) residue %= q.value();
        if (count > 1) residues[1] = q.value() - 1;
        Bytes bytes(he::packedBytes(q, count));
        QCOMPARE(bytes.size(), (count * bits + 7) / 8);
        he::pack(q, residues, bytes);
        for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {  // the definition
          const bool expected =
              bit < count * bits && (residues[bit / bits] >> (bit % bits) & 1) != 0;
          QCOMPARE((bytes[bit / 8] >> (bit % 8) & std::byte{1}) != std::byte{0}, expected);
        }
        std::vector<std::uint64_t> back(count);
        QVERIFY(he::unpack(q, bytes, back));
        QCOMPARE(back, residues);
      }
    }
  }

  void onlyWholeObjectsAreTaken() {
    const auto shared = smallParameters();
    const he::Parameters& p = *shared;
    for (const Object& o : objects(p)) {
      const auto same = o.again(p, o.bytes);
      QVERIFY2(same.ok() && *same == o.bytes, o.name);

      for (std::size_t size = 0; size < o.bytes.size(); size += size < 64 ? 1 : 97) {
        refused(o, o.again(p, std::span(o.bytes).first(size)), ErrorCode::Format);
      }
      refused(o, o.again(p, std::span(o.bytes).first(o.bytes.size() - 1)), ErrorCode::Format);
      Bytes longer = o.bytes;
      longer.push_back(std::byte{0});
      refused(o, o.again(p, longer), ErrorCode::Format);

      for (const std::size_t at : {0U, 3U, 5U, 6U, 7U}) {
        Bytes bad = o.bytes;
        bad[at] ^= std::byte{0x40};
        refused(o, o.again(p, bad), ErrorCode::Format);
      }
      Bytes version = o.bytes;
      version[4] = std::byte{2};
      refused(o, o.again(p, version), ErrorCode::Version);

      Bytes large = o.bytes;  // the first residue becomes the greatest 27-bit number
      for (std::size_t i = 0; i < 3; ++i) large[o.start + i] = std::byte{0xFF};
      large[o.start + 3] |= std::byte{7};
      refused(o, o.again(p, large), ErrorCode::Format);

      // Of the same shape, but made for other primes.
      const auto other = he::Parameters::create({2048, {26}, {27}, {27}, {}}).value();
      refused(o, o.again(*other, o.bytes), ErrorCode::Protocol);
      Bytes foreign = o.bytes;
      foreign[8] ^= std::byte{1};
      refused(o, o.again(p, foreign), ErrorCode::Protocol);
    }
    const auto all = objects(p);
    for (const Object& o : all) {
      for (const Object& mistaken : all) {
        if (o.name != mistaken.name) refused(o, o.again(p, mistaken.bytes), ErrorCode::Format);
      }
    }
    // Fill bits behind the five wanted residues; another number of them; another automorphism.
    const Object& reply = all[3];
    Bytes filled = reply.bytes;
    filled[he::kObjectHeaderBytes + he::packedBytes(p.returned().modulus(0), kWanted) - 1] |=
        std::byte{0x80};
    refused(reply, reply.again(p, filled), ErrorCode::Format);
    QVERIFY(!he::parseReply(p, kWanted + 1, reply.bytes).ok());
    QVERIFY_EXCEPTION_THROWN(he::parseReply(p, p.degree() + 1, reply.bytes).ok(), std::logic_error);
    const auto wrong = he::parseGaloisKey(p, 3, all[2].bytes);
    QVERIFY(!wrong.ok() &&
            wrong.error().message.find("exponent 5 instead of 3") != std::string::npos);
  }

  /// Random damage: either refused with a sentence, or an object that has these very bytes.
  void damageIsRefusedOrHarmless() {
    const auto shared = smallParameters();
    const he::Parameters& p = *shared;
    for (const Object& o : objects(p)) {
      for (int round = 0; round < 300; ++round) {
        Bytes bad = o.bytes;
        const std::size_t hits = 1 + m_data.word() % 4;
        for (std::size_t k = 0; k < hits; ++k) {
          bad[m_data.word() % bad.size()] ^= static_cast<std::byte>(1 + m_data.word() % 255);
        }
        if (m_data.word() % 8 == 0) bad.resize(m_data.word() % bad.size());
        const auto result = o.again(p, bad);
        if (result.ok()) {
          QVERIFY2(*result == bad, o.name);
        } else {
          QVERIFY(!result.error().message.empty());
        }
      }
      Bytes noise(o.bytes.size());
      for (auto& byte : noise) byte = static_cast<std::byte>(m_data.word());
      QVERIFY(!o.again(p, noise).ok());
    }
  }
};

QTEST_GUILESS_MAIN(TestHeWire)
#include "test_he_wire.moc"

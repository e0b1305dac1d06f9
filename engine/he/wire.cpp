#include "engine/he/wire.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace pillarbox::he {

namespace {

enum class Kind : std::uint8_t { SeededCiphertext = 1, PublicKey = 2, GaloisKey = 3, Reply = 4 };

constexpr std::array<char, 4> kMagic{'P', 'B', 'H', 'E'};
constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kSeedBytes = 32, kExponentBytes = 4;

const char* nameOf(Kind kind) {
  switch (kind) {
    case Kind::SeededCiphertext:
      return "a ciphertext";
    case Kind::PublicKey:
      return "a public key";
    case Kind::Reply:
      return "a reply";
    case Kind::GaloisKey:
      return "a Galois key";
  }
  return "an object";
}

Error malformed(Kind kind, const std::string& why) {
  return {ErrorCode::Format, std::string("the other side sent ") + nameOf(kind) + ' ' + why};
}

/// Into zeroed bytes.
void writeHeader(Kind kind, const std::array<std::uint8_t, 8>& id, std::span<std::byte> out) {
  std::memcpy(out.data(), kMagic.data(), kMagic.size());
  out[4] = std::byte{kVersion};
  out[5] = static_cast<std::byte>(kind);
  std::memcpy(out.data() + 8, id.data(), id.size());
}

Status checkHeader(Kind kind, const std::array<std::uint8_t, 8>& id,
                   std::span<const std::byte> bytes) {
  if (bytes.size() < kObjectHeaderBytes) {
    return malformed(kind, "of only " + std::to_string(bytes.size()) + " bytes");
  }
  if (std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
    return malformed(kind, "that does not begin like one");
  }
  if (bytes[4] != std::byte{kVersion}) {
    return Error{ErrorCode::Version, "the other side speaks version " +
                                         std::to_string(static_cast<int>(bytes[4])) +
                                         " of the encryption format, this program version 1"};
  }
  if (bytes[5] != static_cast<std::byte>(kind) || bytes[6] != std::byte{0} ||
      bytes[7] != std::byte{0}) {
    return malformed(kind, "with the header of something else");
  }
  if (std::memcmp(bytes.data() + 8, id.data(), id.size()) != 0) {
    return Error{ErrorCode::Protocol, std::string("the other side sent ") + nameOf(kind) +
                                          " for other encryption parameters than agreed"};
  }
  return {};
}

Status checkObject(Kind kind, const Parameters& parameters, std::size_t expected,
                   std::span<const std::byte> bytes) {
  PILLARBOX_TRY(checkHeader(kind, parameters.id(), bytes));
  if (bytes.size() != expected) {
    return malformed(kind, "of " + std::to_string(bytes.size()) + " bytes instead of " +
                               std::to_string(expected));
  }
  return {};
}

void packPoly(const Basis& basis, const Poly& x, std::span<std::byte> out) {
  for (std::size_t i = 0; i < basis.count(); ++i) {
    const std::size_t bytes = packedBytes(basis.modulus(i), basis.degree());
    pack(basis.modulus(i), {x.limb(i), basis.degree()}, out.first(bytes));
    out = out.subspan(bytes);
  }
}

bool unpackPoly(const Basis& basis, std::span<const std::byte> in, Poly& x) {
  x = Poly(basis);
  for (std::size_t i = 0; i < basis.count(); ++i) {
    const std::size_t bytes = packedBytes(basis.modulus(i), basis.degree());
    if (!unpack(basis.modulus(i), in.first(bytes), {x.limb(i), basis.degree()})) return false;
    in = in.subspan(bytes);
  }
  return true;
}

std::vector<std::byte> serializeSeeded(Kind kind, const Parameters& parameters,
                                       const random::Seed& seed, const Poly& poly) {
  std::vector<std::byte> out(kObjectHeaderBytes + kSeedBytes + packedBytes(parameters.q()));
  writeHeader(kind, parameters.id(), out);
  std::memcpy(out.data() + kObjectHeaderBytes, seed.bytes.data(), kSeedBytes);
  packPoly(parameters.q(), poly, std::span(out).subspan(kObjectHeaderBytes + kSeedBytes));
  return out;
}

Status parseSeeded(Kind kind, const Parameters& parameters, std::span<const std::byte> bytes,
                   random::Seed& seed, Poly& poly) {
  const std::size_t expected = kObjectHeaderBytes + kSeedBytes + packedBytes(parameters.q());
  PILLARBOX_TRY(checkObject(kind, parameters, expected, bytes));
  std::memcpy(seed.bytes.data(), bytes.data() + kObjectHeaderBytes, kSeedBytes);
  if (!unpackPoly(parameters.q(), bytes.subspan(kObjectHeaderBytes + kSeedBytes), poly)) {
    return malformed(kind, "with a number outside its modulus");
  }
  return {};
}

}  // namespace

std::size_t packedBytes(const Modulus& q, std::size_t count) {
  return (count * q.bits() + 7) / 8;
}

std::size_t packedBytes(const Basis& basis) {
  std::size_t sum = 0;
  for (std::size_t i = 0; i < basis.count(); ++i) {
    sum += packedBytes(basis.modulus(i), basis.degree());
  }
  return sum;
}

void pack(const Modulus& q, std::span<const std::uint64_t> residues, std::span<std::byte> out) {
  std::size_t at = 0;
  U128 pending = 0;
  std::uint32_t held = 0;
  for (const std::uint64_t residue : residues) {
    pending |= U128{residue} << held;
    held += q.bits();
    if (held >= 64) {
      const auto word = static_cast<std::uint64_t>(pending);
      std::memcpy(out.data() + at, &word, 8);
      at += 8;
      pending >>= 64;
      held -= 64;
    }
  }
  const auto word = static_cast<std::uint64_t>(pending);
  std::memcpy(out.data() + at, &word, (held + 7) / 8);
}

bool unpack(const Modulus& q, std::span<const std::byte> in, std::span<std::uint64_t> residues) {
  const std::size_t bits = q.bits();  // at most 50: a residue lies within 8 bytes
  const std::uint64_t mask = (std::uint64_t{1} << bits) - 1, value = q.value();
  std::uint64_t tooLarge = 0;
  const auto take = [&](std::size_t i, std::uint64_t word) {
    const std::uint64_t residue = word >> (i * bits % 8) & mask;
    residues[i] = residue;
    tooLarge |= (value - 1 - residue) >> 63;
  };
  std::size_t i = 0;
  for (; i < residues.size() && i * bits / 8 + 8 <= in.size(); ++i) {
    std::uint64_t word;
    std::memcpy(&word, in.data() + i * bits / 8, 8);
    take(i, word);
  }
  for (; i < residues.size(); ++i) {
    std::uint64_t word = 0;
    const std::size_t at = i * bits / 8;
    std::memcpy(&word, in.data() + at, in.size() - at);
    take(i, word);
  }
  const std::size_t fill = 8 * in.size() - residues.size() * bits;  // below 8
  const bool filled = fill != 0 && static_cast<unsigned>(in.back()) >> (8 - fill) != 0;
  return tooLarge == 0 && !filled;
}

std::size_t seededCiphertextBytes(const Parameters& parameters) {
  return kObjectHeaderBytes + kSeedBytes + packedBytes(parameters.q());
}

std::size_t publicKeyBytes(const Parameters& parameters) {
  return seededCiphertextBytes(parameters);
}

std::size_t galoisKeyBytes(const Parameters& parameters) {
  return kObjectHeaderBytes + kExponentBytes + kSeedBytes +
         parameters.q().count() * packedBytes(parameters.full());
}

std::size_t replyBytes(const Parameters& parameters, std::size_t wanted) {
  std::size_t sum = kObjectHeaderBytes + packedBytes(parameters.returned());
  for (std::size_t i = 0; i < parameters.returned().count(); ++i) {
    sum += packedBytes(parameters.returned().modulus(i), wanted);
  }
  return sum;
}

std::vector<std::byte> serialize(const Parameters& parameters, const SeededCiphertext& ciphertext) {
  return serializeSeeded(Kind::SeededCiphertext, parameters, ciphertext.seed, ciphertext.c0);
}

std::vector<std::byte> serialize(const Parameters& parameters, const PublicKey& key) {
  return serializeSeeded(Kind::PublicKey, parameters, key.seed, key.b);
}

std::vector<std::byte> serialize(const Parameters& parameters, const GaloisKey& key) {
  const Basis& full = parameters.full();
  std::vector<std::byte> out(galoisKeyBytes(parameters));
  writeHeader(Kind::GaloisKey, parameters.id(), out);
  std::span<std::byte> rest = std::span(out).subspan(kObjectHeaderBytes);
  std::memcpy(rest.data(), &key.exponent, kExponentBytes);
  std::memcpy(rest.data() + kExponentBytes, key.seed.bytes.data(), kSeedBytes);
  rest = rest.subspan(kExponentBytes + kSeedBytes);
  for (const Poly& b : key.b) {
    packPoly(full, b, rest);
    rest = rest.subspan(packedBytes(full));
  }
  return out;
}

std::vector<std::byte> serialize(const Parameters& parameters, const Reply& reply) {
  const Basis& returned = parameters.returned();
  const std::size_t wanted = reply.c0.size() / returned.count();
  std::vector<std::byte> out(replyBytes(parameters, wanted));
  writeHeader(Kind::Reply, parameters.id(), out);
  std::span<std::byte> rest = std::span(out).subspan(kObjectHeaderBytes);
  for (std::size_t i = 0; i < returned.count(); ++i) {
    const std::size_t bytes = packedBytes(returned.modulus(i), wanted);
    pack(returned.modulus(i), std::span(reply.c0).subspan(i * wanted, wanted), rest.first(bytes));
    rest = rest.subspan(bytes);
  }
  packPoly(returned, reply.c1, rest);
  return out;
}

Result<SeededCiphertext> parseSeededCiphertext(const Parameters& parameters,
                                               std::span<const std::byte> bytes) {
  SeededCiphertext result;
  PILLARBOX_TRY(parseSeeded(Kind::SeededCiphertext, parameters, bytes, result.seed, result.c0));
  return result;
}

Result<PublicKey> parsePublicKey(const Parameters& parameters, std::span<const std::byte> bytes) {
  PublicKey result;
  PILLARBOX_TRY(parseSeeded(Kind::PublicKey, parameters, bytes, result.seed, result.b));
  result.a = expandUniform(parameters.q(), result.seed);
  return result;
}

Result<GaloisKey> parseGaloisKey(const Parameters& parameters, std::uint32_t exponent,
                                 std::span<const std::byte> bytes) {
  PILLARBOX_TRY(checkObject(Kind::GaloisKey, parameters, galoisKeyBytes(parameters), bytes));
  const Basis& full = parameters.full();
  std::span<const std::byte> rest = bytes.subspan(kObjectHeaderBytes);
  GaloisKey key;
  std::memcpy(&key.exponent, rest.data(), kExponentBytes);
  if (key.exponent != exponent) {
    return malformed(Kind::GaloisKey, "for exponent " + std::to_string(key.exponent) +
                                          " instead of " + std::to_string(exponent));
  }
  std::memcpy(key.seed.bytes.data(), rest.data() + kExponentBytes, kSeedBytes);
  rest = rest.subspan(kExponentBytes + kSeedBytes);
  key.permutation = galoisPermutation(parameters.degree(), exponent);
  for (std::size_t i = 0; i < parameters.q().count(); ++i) {
    if (!unpackPoly(full, rest.first(packedBytes(full)), key.b.emplace_back())) {
      return malformed(Kind::GaloisKey, "with a number outside its modulus");
    }
    rest = rest.subspan(packedBytes(full));
    key.a.push_back(expandUniform(full, key.seed, i * full.count()));
  }
  return key;
}

Result<Reply> parseReply(const Parameters& parameters, std::size_t wanted,
                         std::span<const std::byte> bytes) {
  if (wanted > parameters.degree()) {
    throw std::logic_error("a reply has at most as many coefficients as the degree");
  }
  PILLARBOX_TRY(checkObject(Kind::Reply, parameters, replyBytes(parameters, wanted), bytes));
  const Basis& returned = parameters.returned();
  Reply reply;
  reply.c0.resize(returned.count() * wanted);
  std::span<const std::byte> rest = bytes.subspan(kObjectHeaderBytes);
  bool fine = true;
  for (std::size_t i = 0; i < returned.count(); ++i) {
    const std::size_t size = packedBytes(returned.modulus(i), wanted);
    fine &= unpack(returned.modulus(i), rest.first(size),
                   std::span(reply.c0).subspan(i * wanted, wanted));
    rest = rest.subspan(size);
  }
  if (!fine || !unpackPoly(returned, rest, reply.c1)) {
    return malformed(Kind::Reply, "with a number outside its modulus");
  }
  return reply;
}

}  // namespace pillarbox::he

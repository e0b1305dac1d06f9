// Ciphertexts and keys as bytes. (Parameters do not travel: both parties derive them from the
// public description of the network.)
//
// Every object opens with a header of 16 bytes:
//
//   bytes 0..3    "PBHE"          bytes 6..7    zero
//   byte  4       version (1)     bytes 8..15   Parameters::id()
//   byte  5       kind: 1 seeded ciphertext, 2 public key, 3 Galois key, 4 reply
//
// followed by a body whose exact length both sides know from the parameters (and, for replies, from
// the number of wanted coefficients), so that nothing in the bytes decides how much memory is
// taken: a parser compares the length first and allocates afterwards. Polynomials are their limbs
// one after the other; a limb is its residues, each in the bits of its prime, packed without gaps
// from the least significant bit of the first byte on, and filled with zero bits to a whole byte. A
// residue that is not below its prime, and fill bits that are not zero, are refused: every object
// has one encoding.
//
//   seeded ciphertext, public key: seed (32 bytes), c0 or b over Q
//   Galois key: exponent (4 bytes, little-endian), seed, b_i over Q·P for each digit
//   reply: c0 at the wanted coefficients, c1, over the return basis
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "engine/he/galois.h"

namespace pillarbox::he {

inline constexpr std::size_t kObjectHeaderBytes = 16;

/// Exact sizes, header included.
std::size_t seededCiphertextBytes(const Parameters& parameters);
std::size_t publicKeyBytes(const Parameters& parameters);
std::size_t galoisKeyBytes(const Parameters& parameters);
std::size_t replyBytes(const Parameters& parameters, std::size_t wanted);

std::vector<std::byte> serialize(const Parameters& parameters, const SeededCiphertext& ciphertext);
std::vector<std::byte> serialize(const Parameters& parameters, const PublicKey& key);
std::vector<std::byte> serialize(const Parameters& parameters, const GaloisKey& key);
std::vector<std::byte> serialize(const Parameters& parameters, const Reply& reply);

/// Errors, of all of these: Format with a sentence that names the object and what is wrong with it
/// (length, header, kind, a residue out of range, fill bits); Version; Protocol if it was made for
/// other parameters.
Result<SeededCiphertext> parseSeededCiphertext(const Parameters& parameters,
                                               std::span<const std::byte> bytes);
Result<PublicKey> parsePublicKey(const Parameters& parameters, std::span<const std::byte> bytes);
/// @param exponent  the automorphism that is expected
Result<GaloisKey> parseGaloisKey(const Parameters& parameters, std::uint32_t exponent,
                                 std::span<const std::byte> bytes);
/// @param wanted  how many coefficients of c0 it must hold
Result<Reply> parseReply(const Parameters& parameters, std::size_t wanted,
                         std::span<const std::byte> bytes);

/// Residues of one modulus, packed; exposed for objects that other files define.
std::size_t packedBytes(const Modulus& q, std::size_t count);
std::size_t packedBytes(const Basis& basis);
void pack(const Modulus& q, std::span<const std::uint64_t> residues, std::span<std::byte> out);
/// False if a residue or a fill bit is out of range.
[[nodiscard]] bool unpack(const Modulus& q, std::span<const std::byte> in,
                          std::span<std::uint64_t> residues);

}  // namespace pillarbox::he

// Encryption under learning with errors over rings: the symmetric and public-key operations that
// the two-party offline phase is built of.
//
// R_Q = Z_Q[X]/(X^n + 1), s a ternary secret of the client. A ciphertext is a pair (c0, c1) with
//
//   c0 + c1·s = m + e   (the phase)
//
// for a message m that the caller has scaled to Q in its own way (Word64: round(Q·x / 2^64); slots
// over a product t of primes: round(Q·x / t)) and an error e that is small beside the scale. The
// client sends fresh symmetric encryptions, whose c1 is a seed; the engine multiplies them by
// polynomials that only it knows and adds up; and what goes back, a Reply, is made by reply()
// alone, which hides everything but the message: a fresh encryption of zero under the client's
// public key makes c1 independent of the engine's polynomials, a uniform flooding drowns the error,
// whose size depends on them, and the switch to a smaller modulus shortens the result.
//
// All ciphertexts are kept transformed (ntt.h) over Q; messages are coefficients.
#pragma once

#include <cstdint>
#include <span>

#include "engine/he/parameters.h"
#include "engine/he/sampling.h"

namespace pillarbox::he {

/// The client's secret. Never leaves it.
class SecretKey {
 public:
  static SecretKey generate(const Parameters& parameters, Sampler& sampler);
  /// Transformed, over the full basis (its first limbs are those over Q) and the return basis.
  const Poly& full() const { return m_full; }
  const Poly& returned() const { return m_returned; }

 private:
  Poly m_full, m_returned;
};

/// Over Q, transformed.
struct Ciphertext {
  Poly c0, c1;
};

/// A fresh symmetric encryption: c1 is expandUniform(Q, seed).
struct SeededCiphertext {
  random::Seed seed;
  Poly c0;  ///< over Q, transformed
};

/// An encryption of zero: (b, a) with b = −a·s + e and a = expandUniform(Q, seed).
struct PublicKey {
  random::Seed seed;
  Poly b, a;  ///< over Q, transformed
};

/// What goes back to the client: over the return basis, coefficients; c0 only where it is wanted.
struct Reply {
  SecureVector<std::uint64_t> c0;  ///< limb by limb, one residue for each wanted coefficient
  Poly c1;
};

PublicKey makePublicKey(const Parameters& parameters, const SecretKey& key, Sampler& sampler);

/// @param message  over Q, coefficients, scaled by the caller
SeededCiphertext encrypt(const Parameters& parameters, const SecretKey& key, const Poly& message,
                         Sampler& sampler);
/// Expands the seed.
Ciphertext expand(const Parameters& parameters, const SeededCiphertext& ciphertext);

/// A fresh encryption of zero under the public key; one for each reply, never used again.
Ciphertext encryptZero(const Parameters& parameters, const PublicKey& key, Sampler& sampler);

/// An integer polynomial, ready to multiply ciphertexts: transformed over Q. Its norms enter the
/// error: see noise.h. Missing coefficients are
/// zero. Throws std::logic_error for more than the degree, or what fromSmall refuses.
Poly makeFactor(const Parameters& parameters, std::span<const std::int64_t> coefficients);

/// Sum of ciphertexts[k] * factors[k]; at least one term, at most kMaxTerms.
/// Throws std::logic_error on other counts or if they differ.
Ciphertext multiplyAccumulate(const Parameters& parameters,
                              std::span<const Ciphertext* const> ciphertexts,
                              std::span<const Poly* const> factors);
void addTo(const Parameters& parameters, Ciphertext& x, const Ciphertext& y);
void subtractFrom(const Parameters& parameters, Ciphertext& x, const Ciphertext& y);

/// The only way in which a result leaves the engine: result + encryption of zero + addend +
/// flooding, switched to the return basis, cut to the wanted coefficients.
///
/// @param result       any combination of the client's ciphertexts
/// @param addend       over Q, coefficients: what is added to the message (the negated mask)
/// @param floodingBits uniform in [−2^(b−1), 2^(b−1)); at least 40 more than the error's bound
/// @param wanted       the coefficients that the client decrypts, each below the degree
Reply reply(const Parameters& parameters, const PublicKey& key, const Ciphertext& result,
            const Poly& addend, std::uint32_t floodingBits, std::span<const std::uint32_t> wanted,
            Sampler& sampler);

/// Phase of a reply over the return basis, coefficients; zero where not wanted. `wanted` must be
/// the list that the reply was made with.
Poly decrypt(const Parameters& parameters, const SecretKey& key, const Reply& reply,
             std::span<const std::uint32_t> wanted);
/// Phase of a ciphertext over Q, coefficients.
Poly decrypt(const Parameters& parameters, const SecretKey& key, const Ciphertext& ciphertext);

}  // namespace pillarbox::he

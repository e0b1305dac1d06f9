// Which rings an encryption lives in, and the check that they are large enough to be safe.
//
// A ciphertext is a pair of polynomials of degree n over Q, a product of primes. Key switching
// (galois.h) works over Q·P with special primes P, a reply travels over a smaller product, the
// return basis, and slots of several plaintext primes may be wanted beside them. Everything is
// derived from the sizes alone (ParameterShape), the greatest primes first, so that both parties
// compute the same lists.
//
// Safety. Learning with errors over rings, ternary secret, errors of standard deviation 3.24: the
// table of the HomomorphicEncryption.org standard bounds log2 of the greatest modulus under which
// anything was encrypted with one secret (here Q·P) for 128 bits against classical attacks:
//
//   n         1024  2048  4096  8192  16384  32768
//   log2 QP     27    54   109   218    438    881
//
// Nothing above it can be constructed. Source: M. Albrecht et al., "Homomorphic Encryption
// Standard", 2018, table 1 (uniform ternary secret).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/core/result.h"
#include "engine/he/rns.h"

namespace pillarbox::he {

/// Sizes in bits of the primes of each basis.
struct ParameterShape {
  std::uint32_t degree = 0;
  std::vector<std::uint32_t> ciphertextBits;  ///< Q; at least one
  std::vector<std::uint32_t> specialBits;     ///< P, for key switching; may be empty
  std::vector<std::uint32_t> returnBits;      ///< what replies are switched to; at least one
  std::vector<std::uint32_t> plaintextBits;   ///< primes with n slots each; may be empty
  bool operator==(const ParameterShape&) const = default;
};

/// At most this many primes in each of the four lists.
inline constexpr std::size_t kMaxPrimes = 24;

class Parameters {
 public:
  /// Errors: InvalidArgument if the degree is none of the table's, a list is too long, empty where
  /// it may not be, or has a size outside kMinPrimeBits..kMaxPrimeBits (or too few primes of a size
  /// exist), or if Q·P is above the table's bound.
  static Result<std::shared_ptr<const Parameters>> create(const ParameterShape& shape);

  const ParameterShape& shape() const { return m_shape; }
  std::size_t degree() const { return m_shape.degree; }
  const Basis& q() const { return m_q; }
  const Basis& special() const { return m_special; }
  /// The primes of Q, then those of P.
  const Basis& full() const { return m_full; }
  const Basis& returned() const { return m_returned; }
  const Basis& plaintext() const { return m_plaintext; }
  /// From Q to the return basis.
  const BasisChange& toReturned() const { return m_toReturned; }
  /// Of key switching: the division by P, and P^(-1) mod each prime of Q. Only where P has primes.
  const BasisChange& dropSpecial() const { return *m_dropSpecial; }
  const std::vector<std::uint64_t>& specialInverse() const { return m_specialInverse; }
  /// A digest of degree and primes: what objects on the wire name.
  const std::array<std::uint8_t, 8>& id() const { return m_id; }

  /// The bound on log2(QP) for a degree; 0 if the table has no such degree.
  static std::uint32_t securityBound(std::uint32_t degree);

 private:
  Parameters(const ParameterShape& shape, Basis q, Basis special, Basis returned, Basis plaintext);
  ParameterShape m_shape;
  Basis m_q, m_special, m_full, m_returned, m_plaintext;
  BasisChange m_toReturned;
  std::optional<BasisChange> m_dropSpecial;
  std::vector<std::uint64_t> m_specialInverse;
  std::array<std::uint8_t, 8> m_id{};
};

}  // namespace pillarbox::he

// HoneyBadger: a polynomial on secret shares in a single opening.
//
// Both parties know the opening δ = z − λ as a signed integer, equal to it over the integers and so
// valid in any larger ring, and hold additive shares of the coefficients R_i of
//
//   p(z) * 2^(d*f + f_c) = C_d δ^d + R_{d-1} δ^(d-1) + ... + R_0        in Z_2^128,
//
// which they made of shares of the powers of λ beforehand (engine/offline/coefficients.h). That is
// linear in the shares: each evaluates its own polynomial by Horner's rule, the engine with the
// public C_d in front. Truncation by d*f + f_c - f bits brings the value back to f fraction bits,
// in the low 64 bits.
//
// What each party sees: δ only, which the engine sends, modulo 2^56 (engine/ring/narrow.h). The
// client's view of it is z behind λ: λ1 is uniform modulo 2^56, so what travels is uniform and
// independent of z. Nothing else moves here.
//
// Accuracy: 1 ulp above the exact value of the polynomial at z, except with probability
// |p(z)| 2^(d*f+f_c) / 2^127 an element (the 128-bit shares wrap): below 2^-60 for degree 4, f
// = 12. Source: PILLAR / HoneyBadger, section 4.3; the lift to the integers and the polynomial in δ
// are ours.
//
// Speed: d products of 128 by 64 bits a value, and 16 d + 16 bytes of memory: about what memory
// gives.
#pragma once

#include <cstdint>
#include <span>

#include "engine/offline/coefficients.h"
#include "models/description.h"

namespace pillarbox::protocol {

/// What an operation costs online; compared with the channel's meter in tests.
struct Cost {
  std::uint32_t messages = 0;       ///< causally dependent one-way messages
  std::uint64_t bytesToClient = 0;  ///< payload
  std::uint64_t bytesToEngine = 0;
};

class HoneyBadger {
 public:
  static constexpr std::uint32_t kMaxDegree = 8;
  /// @param polynomial  degree 1 to 8, integers over 2^fractionBits
  /// @param f           fraction bits of z and of the result
  /// Throws std::logic_error if d*f + f_c + 16 exceeds 127: the ring would be too small.
  HoneyBadger(const models::Polynomial& polynomial, std::uint32_t f);

  std::uint32_t degree() const { return m_degree; }
  /// For evaluators on other hardware: C_d mod 2^128, and the bits that truncation drops.
  U128 leading() const { return m_leading; }
  std::uint32_t truncation() const { return m_truncation; }

  /// The opening: one message of 8 bytes a value from engine to client. Evaluation costs nothing.
  static Cost cost(std::uint64_t values);

  /// The client's share of p(z), f fraction bits, truncated.
  /// @param opening       δ, n words
  /// @param coefficients  [i] points to n shares of R_i, i = 0..d-1
  /// @param out           n words; may be `opening` itself
  void evaluateClient(std::span<const std::uint64_t> opening,
                      std::span<const U128* const> coefficients,
                      std::span<std::uint64_t> out) const;
  /// The engine's share; as above.
  void evaluateEngine(std::span<const std::uint64_t> opening,
                      std::span<const U128* const> coefficients,
                      std::span<std::uint64_t> out) const;

  /// One value's share before truncation, for tests against known values.
  U128 value(offline::Party party, std::uint64_t opening, std::span<const U128> coefficients) const;

 private:
  std::uint32_t m_degree;
  std::uint32_t m_truncation;
  U128 m_leading = 0;
};

}  // namespace pillarbox::protocol

// HoneyBadger: a polynomial on secret shares in a single opening.
//
// Both parties know the opening δ = z − λ as a signed integer, equal to it over the integers and so
// valid in any larger ring, and hold additive shares of λ^k mod 2^128. With integer coefficients
// C_j (over 2^f_c) and z at f fraction bits,
//
//   p(z) * 2^(d*f + f_c) = sum_j C_j 2^(f(d-j)) (δ + λ)^j = sum_k q_k(δ) λ^k,
//   q_k(δ) = sum_{j >= k} C_j 2^(f(d-j)) binom(j, k) δ^(j-k)   in Z_2^128,
//
// which is linear in the shares. The engine adds q_0(δ). Truncation by d*f + f_c - f bits brings
// the value back to f fraction bits, in the low 64 bits.
//
// What each party sees: δ only, which the engine sends, modulo 2^56 (engine/ring/narrow.h). The
// client's view of it is z behind λ: λ1 is uniform modulo 2^56, so what travels is uniform and
// independent of z. Nothing else moves here.
//
// Accuracy: 1 ulp above the exact value of the polynomial at z, except with probability
// |p(z)| 2^(d*f+f_c) / 2^127 an element (the 128-bit shares wrap): below 2^-60 for degree 4, f
// = 12. Source: PILLAR / HoneyBadger, section 4.3; the lift to the integers is ours.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/protocol/honeybadger_ifma.h"
#include "engine/ring/fixed_point.h"
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
  /// For evaluators on other hardware: q_k's coefficients of δ^i, [k][i], mod 2^128, and the bits
  /// that truncation drops.
  const std::vector<std::vector<U128>>& coefficients() const { return m_coefficients; }
  std::uint32_t truncation() const { return m_truncation; }

  /// The opening: one message of 8 bytes a value from engine to client. Evaluation costs nothing.
  static Cost cost(std::uint64_t values);

  /// The client's share of p(z), f fraction bits, truncated.
  /// @param opening  δ, n words @param powers  [k-1] points to n shares of λ^k, k = 1..d
  /// @param out      n words; may be `opening` itself
  void evaluateClient(std::span<const std::uint64_t> opening, std::span<const U128* const> powers,
                      std::span<std::uint64_t> out) const;
  /// The engine's share; as above, with q_0(δ).
  void evaluateEngine(std::span<const std::uint64_t> opening, std::span<const U128* const> powers,
                      std::span<std::uint64_t> out) const;

  /// The same before truncation, for tests against known values.
  U128 clientValue(std::uint64_t opening, std::span<const U128> powers) const;
  U128 engineValue(std::uint64_t opening, std::span<const U128> powers) const;

  /// Leaves the processor's vector instructions unused: the slow path, for tests and measurements.
  void useScalar() { m_vectorised = false; }

 private:
  U128 q(std::uint32_t k, U128 opening) const;
  void evaluate(ifma::Party party, std::span<const std::uint64_t> opening,
                std::span<const U128* const> powers, std::span<std::uint64_t> out) const;

  std::uint32_t m_degree;
  std::uint32_t m_truncation;
  std::vector<std::vector<U128>> m_coefficients;  // [k][j-k] = C_j 2^(f(d-j)) binom(j, k)
  ifma::Plan m_plan;
  bool m_vectorised;
};

}  // namespace pillarbox::protocol

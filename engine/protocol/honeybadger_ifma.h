// HoneyBadger's evaluation on eight values at a time, with AVX-512 IFMA.
//
// A value mod 2^128 is three limbs of 52 bits; the 52 x 52 bit multiply-add of IFMA gives low and
// high halves. The opening is read as the unsigned δ' = δ + 2^63, two limbs, and the public
// polynomials are shifted accordingly, q'_k(δ') = q_k(δ' − 2^63): then no product needs a sign.
// A Horner step is eight multiply-adds and one pass of carries, a product with a share nine. The
// multiplier ignores bits above 52 of its operands, so limbs may keep their carries.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/core/int128.h"

namespace pillarbox::protocol::ifma {

/// Whether this processor has what evaluate() needs (AVX-512 F, DQ, IFMA, VBMI2).
bool available();

using Limbs = std::array<std::uint64_t, 3>;

/// The public side of an evaluation.
struct Plan {
  std::uint32_t degree = 0;
  std::uint32_t truncation = 0;
  std::vector<std::vector<Limbs>> coefficients;  ///< [k][power of δ'], of q'_k

  /// @param q  [k][power of δ], mod 2^128
  static Plan make(const std::vector<std::vector<U128>>& q, std::uint32_t truncation);
};

enum class Party { Client, Engine };

/// Evaluates the first multiple of eight values and returns how many that were.
/// @param powers  as HoneyBadger::evaluateClient @param out  may be `opening`
std::size_t evaluate(const Plan& plan, Party party, std::span<const std::uint64_t> opening,
                     std::span<const U128* const> powers, std::uint64_t* out);

}  // namespace pillarbox::protocol::ifma

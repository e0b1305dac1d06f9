// From shares of powers to shares of the polynomial that is left to evaluate.
//
// Both parties will know the opening δ = z − λ, and hold shares of the powers of λ. For integer
// coefficients C_j over 2^f_c and z at f fraction bits,
//
//   p(z) 2^(d f + f_c) = sum_j C_j 2^(f(d-j)) (δ + λ)^j = C_d δ^d + sum_{i<d} R_i δ^i,
//   R_i = sum_{k<=d-i} C_{i+k} 2^(f(d-i-k)) binom(i+k, k) λ^k          in Z_2^128:
//
// a polynomial in δ of which everything but the leading coefficient depends on λ alone, and
// linearly on its powers. So the parties turn their shares of λ^1 .. λ^d into shares of
// R_0 .. R_{d-1} as soon as they have them, in the same memory, and nothing is left for the
// inference but d products a value (engine/protocol/honeybadger.h), instead of d(d+3)/2.
//
// Nobody sees anything here: each party computes with its own shares and public numbers.
#pragma once

#include <cstdint>
#include <span>

#include "engine/core/int128.h"
#include "engine/core/secure_vector.h"
#include "models/description.h"

namespace pillarbox::offline {

enum class Party : std::uint8_t { Client, Engine };

/// In place.
/// @param polynomial  of degree d @param f  fraction bits of z
/// @param shares      d tensors of n: this party's shares of λ^k at [k - 1]; then of R_i at [i]
/// Constants without λ are in the engine's shares. Throws std::logic_error unless there are d
/// tensors of one size and d f is below 128 (a description that was checked sees to the latter).
/// Cost: at most d(d+1)/2 products a value.
void powersToCoefficients(const models::Polynomial& polynomial, std::uint32_t f, Party party,
                          std::span<SecureVector<U128>> shares);

}  // namespace pillarbox::offline

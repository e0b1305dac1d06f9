// Fixed point in Z_2^64 and Z_2^128, and truncation of shares.
//
// A real x with f fraction bits is the ring element round(x * 2^f). Shares are uniform ring
// elements whose sum is the element; signed values are read in two's complement.
#pragma once

#include <cstdint>
#include <span>

#include "engine/core/int128.h"

namespace pillarbox::ring {

/// round(value * 2^bits), ties away from zero. |value * 2^bits| must be below 2^63.
std::uint64_t encode(double value, std::uint32_t bits);

/// The real number that a ring element with `bits` fraction bits stands for.
double decode(std::uint64_t element, std::uint32_t bits);

/// One value of the two truncations below; `bits` is 0..63 (0..127).
inline std::uint64_t truncateClient(std::uint64_t share, std::uint32_t bits) {
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(share) >> bits);
}
inline std::uint64_t truncateEngine(std::uint64_t share, std::uint32_t bits) {
  return 0 - static_cast<std::uint64_t>(static_cast<std::int64_t>(0 - share) >> bits);
}
inline U128 truncateClient(U128 share, std::uint32_t bits) {
  return static_cast<U128>(static_cast<I128>(share) >> bits);
}
inline U128 truncateEngine(U128 share, std::uint32_t bits) {
  return 0 - static_cast<U128>(static_cast<I128>(0 - share) >> bits);
}

/// Divides a sharing by 2^bits without communication, in place: the client's part (floor) and the
/// engine's (negate, floor, negate).
///
/// @param share  this party's share, any shape; the secret is signed and below 2^k, k < 63
/// @param bits   low bits to drop, 0..63
/// Cost:      0 rounds, 0 bytes, no correlation.
/// Accuracy:  1 ulp, except with probability 2^(k-63) an element (the shares wrap).
/// Source:    SecureML, eprint 2017/396, theorem 1.
void truncateClient(std::span<std::uint64_t> share, std::uint32_t bits);
void truncateEngine(std::span<std::uint64_t> share, std::uint32_t bits);

}  // namespace pillarbox::ring

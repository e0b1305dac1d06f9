// What happens to a tensor between two linear maps, in one pass over memory each.
//
// The loops are plain C++, compiled once for each instruction set (64-bit products and arithmetic
// shifts exist in AVX-512 only, which makes them about three times as fast as the baseline).
#pragma once

#include <cstdint>
#include <span>

namespace pillarbox::kernels {

/// Turns L(ŷ) into what the engine sends, in place, mod 2^64:
/// share = truncateEngine(share + outputMask + bias, truncation) + openingMask.
///
/// @param bias         one word for each of equally long runs of the tensor (its channels), or for
///                     each element
/// @param truncation   bits to drop, 0..63
/// @param openingMask  as long as the tensor, or empty: nothing to add
void finishShare(std::span<std::uint64_t> share, std::span<const std::uint64_t> outputMask,
                 std::span<const std::int64_t> bias, std::uint32_t truncation,
                 std::span<const std::uint64_t> openingMask);

/// out = factor * in, or out += factor * in, mod 2^64.
void scale(std::uint64_t factor, std::span<const std::uint64_t> in, std::span<std::uint64_t> out);
void addScaled(std::uint64_t factor, std::span<const std::uint64_t> in,
               std::span<std::uint64_t> out);

}  // namespace pillarbox::kernels

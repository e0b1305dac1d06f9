// The innermost loop of the convolution, compiled once for each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/kernels/linear.h"

namespace pillarbox::kernels::cpu {

/// Output channels computed together, and values of a row computed together.
constexpr std::size_t kChannelBlock = 4;
constexpr std::size_t kRowBlock = 32;

/// acc[c][i] = sum over t < taps of weights[t * kChannelBlock + c] * base[offsets[t] + i], for
/// c < kChannelBlock, i < kRowBlock, mod 2^64. Reads base[offsets[t] .. offsets[t] + kRowBlock).
using RowKernel = void (*)(const std::uint64_t* base, const std::uint32_t* offsets,
                           const std::uint64_t* weights, std::size_t taps,
                           std::uint64_t (*acc)[kRowBlock]);

void rowKernelPortable(const std::uint64_t*, const std::uint32_t*, const std::uint64_t*,
                       std::size_t, std::uint64_t (*)[kRowBlock]);
#if defined(__x86_64__)
void rowKernelAvx2(const std::uint64_t*, const std::uint32_t*, const std::uint64_t*, std::size_t,
                   std::uint64_t (*)[kRowBlock]);
void rowKernelAvx512(const std::uint64_t*, const std::uint32_t*, const std::uint64_t*, std::size_t,
                     std::uint64_t (*)[kRowBlock]);
#endif

/// The one of a method other than Tiles, which must be available.
RowKernel rowKernel(Method method);

}  // namespace pillarbox::kernels::cpu

// What happens to a tensor between two linear maps, on the device: one thread a value, or eight
// values where they are packed, so that words of memory are whole (eight values of seven bytes are
// seven words).
//
// Compiled by nvcc, and by a C++ compiler for the emulation of tests. No branch and no address
// depends on a value.
#pragma once

#ifdef __CUDACC__
#include "engine/device/cuda/launch.cuh"
#endif
#include "engine/kernels/cuda/ring_table.h"

namespace pillarbox::kernels::cuda {

inline constexpr std::uint32_t kThreads = 256;

inline std::uint32_t blocksFor(std::uint64_t work, std::uint32_t threads) {
  return static_cast<std::uint32_t>((work + threads - 1) / threads);
}

/// The signed representative modulo 2^56; see engine/ring/narrow.h.
__device__ inline std::uint64_t narrowWord(std::uint64_t value) {
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(value << 8) >> 8);
}

/// This thread's place in a one-dimensional grid.
__device__ inline std::uint32_t threadNumber() {
  return blockIdx.x * blockDim.x + threadIdx.x;
}

__global__ void arriveKernel(ArriveArguments a) {
  const std::uint32_t group = threadNumber(), first = 8 * group;
  if (first >= a.count) return;
  // Words of the packed bytes beyond the last value are read as zero.
  const std::uint64_t words = (std::uint64_t{7} * a.count + 7) / 8;
  const auto* packed = reinterpret_cast<const std::uint64_t*>(a.packed) + std::uint64_t{7} * group;
  std::uint64_t in[8];
#pragma unroll
  for (std::uint32_t i = 0; i < 7; ++i) {
    in[i] = std::uint64_t{7} * group + i < words ? packed[i] : 0;
  }
  in[7] = 0;
#pragma unroll
  for (std::uint32_t i = 0; i < 8; ++i) {
    // Value i begins at bit 56 i: in word (7 i) / 8, 8 ((7 i) % 8) bits up.
    const std::uint32_t word = 7 * i / 8, up = 56 * i % 64;
    std::uint64_t value = in[word] >> up;
    if (up > 8) value |= in[word + 1] << (64 - up);
    if (first + i >= a.count) return;
    value = narrowWord(value);
    if (a.own != nullptr) value = narrowWord(value + a.own[first + i]);
    a.out[first + i] = value;
  }
}

__global__ void packKernel(PackArguments a) {
  const std::uint32_t group = threadNumber(), first = 8 * group;
  if (first >= a.count) return;
  const std::uint64_t words = (std::uint64_t{7} * a.count + 7) / 8;
  std::uint64_t value[8];
#pragma unroll
  for (std::uint32_t i = 0; i < 8; ++i) {
    value[i] = first + i < a.count ? a.words[first + i] & ((std::uint64_t{1} << 56) - 1) : 0;
  }
  auto* packed = reinterpret_cast<std::uint64_t*>(a.packed) + std::uint64_t{7} * group;
#pragma unroll
  for (std::uint32_t i = 0; i < 7; ++i) {
    // Word i holds the rest of value i, 8 i bits down, and the beginning of the next.
    const std::uint64_t word = (value[i] >> (8 * i)) | (value[i + 1] << (56 - 8 * i));
    if (std::uint64_t{7} * group + i < words) packed[i] = word;
  }
}

__global__ void finishKernel(FinishArguments a) {
  const std::uint32_t i = threadNumber();
  if (i >= a.count) return;
  const std::uint64_t sum = a.share[i] + a.mask[i] + static_cast<std::uint64_t>(a.bias[i / a.run]);
  // The engine's truncation; see ring::truncateEngine.
  std::uint64_t share =
      0 - static_cast<std::uint64_t>(static_cast<std::int64_t>(0 - sum) >> a.truncation);
  if (a.opening != nullptr) share += a.opening[i];
  a.share[i] = a.narrow ? narrowWord(share) : share;
}

__global__ void poolKernel(PoolArguments a) {
  const Window& w = a.window;
  const std::uint32_t area = w.outHeight * w.outWidth, i = threadNumber();
  if (i >= a.channels * area) return;
  const std::uint32_t channel = i / area, y = i % area / w.outWidth, x = i % w.outWidth;
  const std::uint64_t* in = a.in + std::uint64_t{channel} * w.inHeight * w.inWidth;
  std::uint64_t sum = 0;
  for (std::uint32_t ky = 0; ky < w.kernelHeight; ++ky) {
    const std::int32_t row = static_cast<std::int32_t>(y * w.strideHeight + ky) - w.padTop;
    if (row < 0 || row >= static_cast<std::int32_t>(w.inHeight)) continue;
    for (std::uint32_t kx = 0; kx < w.kernelWidth; ++kx) {
      const std::int32_t column = static_cast<std::int32_t>(x * w.strideWidth + kx) - w.padLeft;
      if (column < 0 || column >= static_cast<std::int32_t>(w.inWidth)) continue;
      sum += in[static_cast<std::uint32_t>(row) * w.inWidth + static_cast<std::uint32_t>(column)];
    }
  }
  a.out[i] = sum;
}

__global__ void combineKernel(CombineArguments a) {
  const std::uint32_t i = threadNumber();
  if (i >= a.count) return;
  std::uint64_t sum = a.add ? a.out[i] : 0;
#pragma unroll
  for (std::uint32_t k = 0; k < CombineArguments::kMaxInputs; ++k) {
    if (k < a.inputCount) sum += a.factors[k] * a.inputs[k][i];
  }
  a.out[i] = sum;
}

inline void arrive(device::Stream stream, const ArriveArguments& a) {
  device::launch(stream, arriveKernel, blocksFor((a.count + 7) / 8, kThreads), kThreads, a);
}
inline void pack(device::Stream stream, const PackArguments& a) {
  device::launch(stream, packKernel, blocksFor((a.count + 7) / 8, kThreads), kThreads, a);
}
inline void finish(device::Stream stream, const FinishArguments& a) {
  device::launch(stream, finishKernel, blocksFor(a.count, kThreads), kThreads, a);
}
inline void pool(device::Stream stream, const PoolArguments& a) {
  const std::uint32_t outputs = a.channels * a.window.outHeight * a.window.outWidth;
  device::launch(stream, poolKernel, blocksFor(outputs, kThreads), kThreads, a);
}
inline void combine(device::Stream stream, const CombineArguments& a) {
  device::launch(stream, combineKernel, blocksFor(a.count, kThreads), kThreads, a);
}

}  // namespace pillarbox::kernels::cuda

// What the device could do at best, for measurements only: the loops of linear.cuh without their
// memory, and a copy. What they compute means nothing, but it is written, so that no compiler
// leaves it out.
#pragma once

#include "engine/kernels/cuda/linear.cuh"

namespace pillarbox::kernels::cuda {

/// Products of tiles, eight independent sums a warp.
__global__ void __launch_bounds__(kBlockThreads) tilePeakKernel(PeakArguments a) {
  const std::uint32_t thread = threadNumber();
  const std::uint32_t left[4] = {thread, thread * 3, thread * 5, thread * 7};
  const std::uint32_t right[2] = {thread * 11, thread * 13};
  std::int32_t sums[PeakArguments::kTiles][4] = {};
  for (std::uint32_t round = 0; round < a.rounds; ++round) {
#pragma unroll
    for (std::uint32_t n = 0; n < PeakArguments::kTiles; ++n) multiplyTile(sums[n], left, right);
  }
  std::uint64_t sum = 0;
#pragma unroll
  for (std::uint32_t n = 0; n < PeakArguments::kTiles; ++n) {
#pragma unroll
    for (std::uint32_t i = 0; i < 4; ++i) sum += static_cast<std::uint32_t>(sums[n][i]);
  }
  a.out[thread] = sum;
}

/// Words times weights, sixteen sums a thread. The word changes in a way that no compiler can turn
/// the products into sums.
__global__ void __launch_bounds__(kBlockThreads) wordPeakKernel(PeakArguments a) {
  const std::uint32_t thread = threadNumber();
  std::uint64_t word = 0x9e3779b97f4a7c15 * (thread + 1);
  std::int32_t weights[PeakArguments::kWords];
  std::uint64_t sums[PeakArguments::kWords] = {};
#pragma unroll
  for (std::uint32_t n = 0; n < PeakArguments::kWords; ++n) {
    weights[n] = static_cast<std::int32_t>(thread * (2 * n + 1)) - 4096;
  }
  for (std::uint32_t round = 0; round < a.rounds; ++round) {
#pragma unroll
    for (std::uint32_t n = 0; n < PeakArguments::kWords; ++n) {
      sums[n] += word * static_cast<std::uint64_t>(std::int64_t{weights[n]});
    }
    word = (word >> 1) ^ (word << 13);
  }
  std::uint64_t sum = 0;
#pragma unroll
  for (std::uint32_t n = 0; n < PeakArguments::kWords; ++n) sum += sums[n];
  a.out[thread] = sum;
}

/// Sixteen bytes a thread, from the first half of `count` words to the second.
__global__ void __launch_bounds__(kBlockThreads) copyPeakKernel(PeakArguments a) {
  const std::uint64_t place = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (place >= a.count / 4) return;
  auto* words = reinterpret_cast<SixteenBytes*>(a.out);
  words[a.count / 4 + place] = words[place];
}

inline void peakTiles(device::Stream stream, const PeakArguments& a) {
  device::launch(stream, tilePeakKernel, a.blocks, kBlockThreads, a);
}
inline void peakWords(device::Stream stream, const PeakArguments& a) {
  device::launch(stream, wordPeakKernel, a.blocks, kBlockThreads, a);
}
inline void peakCopy(device::Stream stream, const PeakArguments& a) {
  device::launch(stream, copyPeakKernel,
                 static_cast<std::uint32_t>((a.count / 4 + kBlockThreads - 1) / kBlockThreads),
                 kBlockThreads, a);
}

}  // namespace pillarbox::kernels::cuda

// Linear ops on the device: 64-bit words times small weights, exact mod 2^64.
//
// Tiles. As on AMX (engine/kernels/cpu/tile_linear.h): a word is eight unsigned bytes, a weight of
// 16 bits two signed ones, and
//
//   x w mod 2^64 = sum_{s<8} 2^(8s) g_s,   g_s = x_s w_0 + x_(s-1) w_1,
//
// 15 products of bytes instead of 64, which the tensor cores sum in 32 bits. A tap adds at most
// 65280 to a |g_s|; g_0..g_3 must be exact, of g_4..g_7 the low 32 bits matter. The tensor cores'
// rows are output positions, their columns output channels; no matrix of patches is built, as the
// rows of a product are loaded from wherever the tap finds them.
//
// The layout of the planes, [position][8 channels][byte of the word][channel], makes the eight
// bytes of eight channels 64 contiguous bytes, four loads of 16, and is what one lane needs of a
// row: lane quad q multiplies the channels 8 q .. 8 q + 7 of a step's 32. (Which channel stands
// where in the sum is free as long as the weights agree; weights.cpp packs them so.)
//
// A warp makes 16 positions x 16 channels. The four warps of a block make four such tiles, or where
// there are too few tiles to fill the device, one of them, each a quarter of the sum.
//
// Words. A thread makes eight output channels at one position by 64-bit multiply-adds; the four
// warps of a block share the input channels. For few channels, small ops, and large weights.
//
// Rows. A warp makes one output of a matrix-vector product, reading weights as they lie.
//
// No branch and no address depends on a value.
#pragma once

#include "engine/kernels/cuda/elementwise.cuh"
#include "engine/kernels/cuda/tile_product.cuh"

namespace pillarbox::kernels::cuda {

inline constexpr std::uint32_t kBlockThreads = 32 * kWarps;

struct alignas(16) SixteenBytes {
  std::uint32_t words[4];
};

/// Four words of four bytes each, turned: out[s] has byte s of every word.
__device__ inline void transposeBytes(const std::uint32_t (&in)[4], std::uint32_t (&out)[4]) {
  const std::uint32_t low01 = __byte_perm(in[0], in[1], 0x5140);
  const std::uint32_t high01 = __byte_perm(in[0], in[1], 0x7362);
  const std::uint32_t low23 = __byte_perm(in[2], in[3], 0x5140);
  const std::uint32_t high23 = __byte_perm(in[2], in[3], 0x7362);
  out[0] = __byte_perm(low01, low23, 0x5410);
  out[1] = __byte_perm(low01, low23, 0x7632);
  out[2] = __byte_perm(high01, high23, 0x5410);
  out[3] = __byte_perm(high01, high23, 0x7632);
}

/// The planes of one position and eight channels.
__global__ void spreadKernel(ConvolutionArguments a) {
  const std::uint32_t area = a.window.inHeight * a.window.inWidth;
  const std::uint32_t groups = (a.inChannels + kStepChannels - 1) / kStepChannels * 4;
  const std::uint32_t position = threadNumber(), group = blockIdx.y;
  if (position >= area) return;
  std::uint32_t planes[8][2];
#pragma unroll
  for (std::uint32_t half = 0; half < 2; ++half) {
    std::uint32_t low[4], high[4], turned[4];
#pragma unroll
    for (std::uint32_t j = 0; j < 4; ++j) {
      const std::uint32_t channel = 8 * group + 4 * half + j;
      const std::uint64_t word =
          channel < a.inChannels ? a.in[std::uint64_t{channel} * area + position] : 0;
      low[j] = static_cast<std::uint32_t>(word);
      high[j] = static_cast<std::uint32_t>(word >> 32);
    }
    transposeBytes(low, turned);
#pragma unroll
    for (std::uint32_t s = 0; s < 4; ++s) planes[s][half] = turned[s];
    transposeBytes(high, turned);
#pragma unroll
    for (std::uint32_t s = 0; s < 4; ++s) planes[4 + s][half] = turned[s];
  }
  auto* out =
      reinterpret_cast<SixteenBytes*>(a.planes) + (std::uint64_t{position} * groups + group) * 4;
#pragma unroll
  for (std::uint32_t i = 0; i < 4; ++i) {
    out[i] = {{planes[2 * i][0], planes[2 * i][1], planes[2 * i + 1][0], planes[2 * i + 1][1]}};
  }
}

/// Where an output position's window begins in the input.
struct Corner {
  std::int32_t row, column;
  bool valid;
};
__device__ inline Corner cornerOf(const Window& w, std::uint32_t position) {
  const std::uint32_t y = position / w.outWidth, x = position % w.outWidth;
  return {static_cast<std::int32_t>(y * w.strideHeight) - w.padTop,
          static_cast<std::int32_t>(x * w.strideWidth) - w.padLeft,
          position < w.outHeight * w.outWidth};
}
/// The input position under a tap, or -1 outside the image.
__device__ inline std::int32_t under(const Window& w, const Corner& corner, std::uint32_t ky,
                                     std::uint32_t kx) {
  const std::int32_t row = corner.row + static_cast<std::int32_t>(ky);
  const std::int32_t column = corner.column + static_cast<std::int32_t>(kx);
  const bool inside = corner.valid && row >= 0 && row < static_cast<std::int32_t>(w.inHeight) &&
                      column >= 0 && column < static_cast<std::int32_t>(w.inWidth);
  return inside ? row * static_cast<std::int32_t>(w.inWidth) + column : -1;
}

/// @param split  1: the block's warps have a tile each; kWarps: they share one
__global__ void __launch_bounds__(kBlockThreads)
    tileKernel(ConvolutionArguments a, std::uint32_t split) {
  __shared__ std::uint64_t shared[kWarps][8][32];
  const Window& w = a.window;
  const std::uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const std::uint32_t row = lane / 4, quad = lane % 4;
  const std::uint32_t tile = (blockIdx.x * kWarps + warp) / split, part = warp % split;
  const std::uint32_t firstChannel = a.firstOut + blockIdx.y * kTileChannels;
  const std::uint32_t blocks = (a.inChannels + kStepChannels - 1) / kStepChannels;
  const std::uint32_t taps = w.kernelHeight * w.kernelWidth;

  Corner corners[2];
#pragma unroll
  for (std::uint32_t half = 0; half < 2; ++half) {
    corners[half] = cornerOf(w, tile * kTilePositions + row + 8 * half);
  }
  const auto* planes = reinterpret_cast<const SixteenBytes*>(a.planes);
  const auto* weights = reinterpret_cast<const SixteenBytes*>(a.weights) +
                        std::uint64_t{firstChannel} / 8 * taps * blocks * 32 + lane;

  std::int32_t sums[2][8][4] = {};  // [8 output channels][s][of the tile]
  std::uint32_t tap = 0, block = part, ky = 0, kx = 0;
  for (;;) {
    while (block >= blocks) {
      block -= blocks;
      ++tap;
      if (++kx == w.kernelWidth) kx = 0, ++ky;
    }
    if (tap >= taps) break;
    SixteenBytes bytes[2][4];
#pragma unroll
    for (std::uint32_t half = 0; half < 2; ++half) {
      const std::int32_t position = under(w, corners[half], ky, kx);
      const std::uint64_t place =
          ((position < 0 ? 0 : static_cast<std::uint64_t>(position)) * blocks + block) * 16 +
          quad * 4;
#pragma unroll
      for (std::uint32_t i = 0; i < 4; ++i) {
        bytes[half][i] = position < 0 ? SixteenBytes{} : planes[place + i];
      }
    }
    SixteenBytes digits[2];
#pragma unroll
    for (std::uint32_t n = 0; n < 2; ++n) {
      digits[n] = weights[((std::uint64_t{n} * taps + tap) * blocks + block) * 32];
    }
#pragma unroll
    for (std::uint32_t s = 0; s < 8; ++s) {
      const std::uint32_t word = s % 2 * 2;
      const std::uint32_t left[4] = {bytes[0][s / 2].words[word], bytes[1][s / 2].words[word],
                                     bytes[0][s / 2].words[word + 1],
                                     bytes[1][s / 2].words[word + 1]};
#pragma unroll
      for (std::uint32_t n = 0; n < 2; ++n) {
        const std::uint32_t low[2] = {digits[n].words[0], digits[n].words[1]};
        const std::uint32_t high[2] = {digits[n].words[2], digits[n].words[3]};
        multiplyTile(sums[n][s], left, low);
        if (s < 7) multiplyTile(sums[n][(s + 1) % 8], left, high);
      }
    }
    block += split;
  }

  std::uint64_t result[8];
#pragma unroll
  for (std::uint32_t n = 0; n < 2; ++n) {
#pragma unroll
    for (std::uint32_t i = 0; i < 4; ++i) {
      std::uint64_t low = 0;
      std::uint32_t high = 0;
#pragma unroll
      for (std::uint32_t s = 0; s < 4; ++s) {
        low += static_cast<std::uint64_t>(std::int64_t{sums[n][s][i]}) << (8 * s);
        high += static_cast<std::uint32_t>(sums[n][s + 4][i]) << (8 * s);
      }
      result[4 * n + i] = low + (std::uint64_t{high} << 32);
    }
  }
  if (split > 1) {
#pragma unroll
    for (std::uint32_t i = 0; i < 8; ++i) shared[warp][i][lane] = result[i];
    __syncthreads();
    if (part != 0) return;
    for (std::uint32_t other = 1; other < split; ++other) {
#pragma unroll
      for (std::uint32_t i = 0; i < 8; ++i) result[i] += shared[warp + other][i][lane];
    }
  }
  const std::uint32_t area = w.outHeight * w.outWidth;
#pragma unroll
  for (std::uint32_t i = 0; i < 8; ++i) {
    const std::uint32_t channel = firstChannel + 8 * (i / 4) + 2 * quad + i % 2;
    const std::uint32_t position = tile * kTilePositions + row + i % 4 / 2 * 8;
    if (channel < a.firstOut + a.outs && position < area) {
      a.out[std::uint64_t{channel} * area + position] = result[i];
    }
  }
}

/// Of the output channels of a thread, at one tap: two loads of 16 bytes.
struct EightWeights {
  struct alignas(16) Four {
    std::int32_t weights[4];
  };
  Four halves[2];
};
static_assert(sizeof(EightWeights) == kWordChannels * sizeof(std::int32_t));

__global__ void __launch_bounds__(kBlockThreads) wordKernel(ConvolutionArguments a) {
  __shared__ std::uint64_t shared[kWarps][kWordChannels][32];
  const Window& w = a.window;
  const std::uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const std::uint32_t position = blockIdx.x * 32 + lane;
  const std::uint32_t firstChannel = a.firstOut + blockIdx.y * kWordChannels;
  const std::uint32_t inArea = w.inHeight * w.inWidth, area = w.outHeight * w.outWidth;
  const std::uint32_t taps = w.kernelHeight * w.kernelWidth;
  const Corner corner = cornerOf(w, position);
  const auto* weights = reinterpret_cast<const EightWeights*>(a.weights) +
                        std::uint64_t{firstChannel} / kWordChannels * a.inChannels * taps;
  std::uint64_t sums[kWordChannels] = {};
  for (std::uint32_t c = warp; c < a.inChannels; c += kWarps) {
    const std::uint64_t* in = a.in + std::uint64_t{c} * inArea;
    const EightWeights* these = weights + std::uint64_t{c} * taps;
    for (std::uint32_t ky = 0; ky < w.kernelHeight; ++ky) {
      for (std::uint32_t kx = 0; kx < w.kernelWidth; ++kx, ++these) {
        const std::int32_t at = under(w, corner, ky, kx);
        const std::uint64_t word = at < 0 ? 0 : in[at];
        const EightWeights eight = *these;
#pragma unroll
        for (std::uint32_t n = 0; n < kWordChannels; ++n) {
          sums[n] +=
              word * static_cast<std::uint64_t>(std::int64_t{eight.halves[n / 4].weights[n % 4]});
        }
      }
    }
  }
#pragma unroll
  for (std::uint32_t n = 0; n < kWordChannels; ++n) shared[warp][n][lane] = sums[n];
  __syncthreads();
  // Each warp finishes its share of the channels.
  for (std::uint32_t n = warp; n < kWordChannels; n += kWarps) {
    std::uint64_t sum = 0;
#pragma unroll
    for (std::uint32_t other = 0; other < kWarps; ++other) sum += shared[other][n][lane];
    if (firstChannel + n < a.firstOut + a.outs && position < area) {
      a.out[std::uint64_t{firstChannel + n} * area + position] = sum;
    }
  }
}

__global__ void __launch_bounds__(kBlockThreads) rowKernel(VectorArguments a) {
  const std::uint32_t lane = threadIdx.x % 32;
  const std::uint32_t row = blockIdx.x * kWarps + threadIdx.x / 32;
  std::uint64_t sum = 0;
  if (row < a.outs) {
    const std::int32_t* weights = a.weights + std::uint64_t{row} * a.ins;
    for (std::uint32_t i = lane; i < a.ins; i += 32) {
      sum += a.in[i] * static_cast<std::uint64_t>(std::int64_t{weights[i]});
    }
  }
  for (std::uint32_t bits = 16; bits > 0; bits /= 2) sum += __shfl_xor_sync(0xffffffff, sum, bits);
  if (row < a.outs && lane == 0) a.out[row] = sum;
}

inline void spread(device::Stream stream, const ConvolutionArguments& a) {
  const std::uint32_t area = a.window.inHeight * a.window.inWidth;
  const std::uint32_t groups = blocksFor(a.inChannels, kStepChannels) * 4;
  const std::uint32_t threads = 64;
  device::launch(stream, spreadKernel, dim3(blocksFor(area, threads), groups), threads, a);
}

inline void convolveTiles(device::Stream stream, const ConvolutionArguments& a) {
  const std::uint32_t tiles = blocksFor(a.window.outHeight * a.window.outWidth, kTilePositions);
  const std::uint32_t columns = blocksFor(a.outs, kTileChannels);
  const std::uint64_t steps = std::uint64_t{a.window.kernelHeight} * a.window.kernelWidth *
                              blocksFor(a.inChannels, kStepChannels);
  // One tile a warp fills an H100 from about 2000 tiles on; long sums are split for exactness.
  constexpr std::uint64_t kManyTiles = 2048, kFewSteps = 8, kExactSteps = 1024;
  const bool share =
      steps > kExactSteps || (std::uint64_t{tiles} * columns < kManyTiles && steps >= kFewSteps);
  const std::uint32_t split = share ? kWarps : 1;
  device::launch(stream, tileKernel, dim3(blocksFor(std::uint64_t{tiles} * split, kWarps), columns),
                 kBlockThreads, a, split);
}

inline void convolveWords(device::Stream stream, const ConvolutionArguments& a) {
  const std::uint32_t area = a.window.outHeight * a.window.outWidth;
  device::launch(stream, wordKernel, dim3(blocksFor(area, 32), blocksFor(a.outs, kWordChannels)),
                 kBlockThreads, a);
}

inline void multiplyVector(device::Stream stream, const VectorArguments& a) {
  device::launch(stream, rowKernel, blocksFor(a.outs, kWarps), kBlockThreads, a);
}

}  // namespace pillarbox::kernels::cuda

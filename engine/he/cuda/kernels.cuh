// The kernels behind he_table.h, and their launchers. Compiled by nvcc, and by a C++ compiler for
// the emulation of tests.
//
// Transforms. A radix-2^s unit of Cooley-Tukey butterflies takes 2^s values into registers, does s
// stages on them and writes them back. The first stages (gaps of 4096 and more) are one such pass
// over global memory; the others lie inside chunks of 4096 values, which one block takes through
// shared memory eight values at a time (padded by one word in 16, so that the 16 lanes of half a
// warp meet different banks). Products with roots are Shoup's with 2^64; values stay below 4q
// (Harvey), q < 2^50, and are canonical at the end.
//
// Sums of products are kept in 128 bits and reduced (Barrett) at the end, or every 4096 terms.
#pragma once

#ifdef __CUDACC__
#include "engine/device/cuda/launch.cuh"
#endif
#include <stdexcept>

#include "engine/core/int128.h"
#include "engine/he/cuda/aes.cuh"
#include "engine/he/cuda/he_table.h"

namespace pillarbox::he::cuda {

inline constexpr std::uint32_t kThreads = 256;
inline constexpr std::uint32_t kLogChunk = 12;
inline constexpr std::uint32_t kChunk = 1U << kLogChunk;
/// Products of 100 bits that are added up before they are reduced.
inline constexpr std::uint32_t kMaxLazyTerms = 4096;

// ----------------------------------------------------------------------------------- arithmetic

__device__ inline std::uint64_t mulHigh(std::uint64_t a, std::uint64_t b) {
#if defined(__CUDA_ARCH__)
  return __umul64hi(a, b);
#else
  return static_cast<std::uint64_t>((U128{a} * b) >> 64);
#endif
}

/// x - bound if that is not negative, else x; for x below 2^63.
__device__ inline std::uint64_t fold(std::uint64_t x, std::uint64_t bound) {
  const std::uint64_t y = x - bound;
  return y + (bound & (0 - (y >> 63)));
}

/// w * x mod q in [0, 2q), for any x; wShoup = floor(w * 2^64 / q).
__device__ inline std::uint64_t shoupProduct(std::uint64_t x, std::uint64_t w, std::uint64_t wShoup,
                                             std::uint64_t q) {
  return x * w - mulHigh(x, wShoup) * q;
}

/// x mod q for any 128-bit x, as Modulus::reduce.
__device__ inline std::uint64_t reduce(const Prime& q, U128 x) {
  const auto x0 = static_cast<std::uint64_t>(x), x1 = static_cast<std::uint64_t>(x >> 64);
  const U128 middle = U128{x0} * q.ratioHigh + mulHigh(x0, q.ratioLow);
  const U128 other = U128{x1} * q.ratioLow + static_cast<std::uint64_t>(middle);
  const std::uint64_t quotient = x1 * q.ratioHigh + static_cast<std::uint64_t>(middle >> 64) +
                                 static_cast<std::uint64_t>(other >> 64);
  return fold(x0 - quotient * q.value, q.value);
}
/// x mod q for a 64-bit x: the quotient by floor(2^64 / q) is one too small at most.
__device__ inline std::uint64_t reduce(const Prime& q, std::uint64_t x) {
  return fold(x - mulHigh(x, q.ratioHigh) * q.value, q.value);
}
__device__ inline std::uint64_t product(const Prime& q, std::uint64_t a, std::uint64_t b) {
  return reduce(q, U128{a} * b);
}
__device__ inline std::uint64_t sum(const Prime& q, std::uint64_t a, std::uint64_t b) {
  return fold(a + b, q.value);
}
__device__ inline std::uint64_t difference(const Prime& q, std::uint64_t a, std::uint64_t b) {
  return fold(a + q.value - b, q.value);
}
/// An integer above -q and below q.
__device__ inline std::uint64_t fromSmall(const Prime& q, std::int64_t x) {
  return static_cast<std::uint64_t>(x) + (q.value & static_cast<std::uint64_t>(x >> 63));
}

// -------------------------------------------------------------------------------------- batches

/// The limb that a block works on: blocks of `parts` pieces a limb, limb by limb.
struct Place {
  std::uint32_t poly, limb, part;
};
__device__ inline Place placeOf(std::uint32_t block, std::uint32_t parts, std::uint32_t width) {
  const std::uint32_t row = block / parts;
  return {row / width, row % width, block % parts};
}
__device__ inline std::uint64_t* limbOf(const Ring& ring, const Rows& rows, const Place& at) {
  return rows.data + ((std::uint64_t{at.poly} * rows.stride + at.limb) << ring.logDegree);
}
__device__ inline const Prime& primeOf(const Ring& ring, const Rows& rows, const Place& at) {
  return ring.primes[rows.prime + at.limb / rows.inner];
}
/// Where this thread is in a launch with a thread for each coefficient of `rows`.
__device__ inline Place coefficientPlace(const Ring& ring, const Rows& rows, std::uint32_t* index) {
  const Place at = placeOf(blockIdx.x, (1U << ring.logDegree) / blockDim.x, rows.width);
  *index = at.part * blockDim.x + threadIdx.x;
  return at;
}

// ----------------------------------------------------------------------------------- transforms

/// s = kLog stages on 2^s values: group i of the stage with m groups, and its descendants.
template <bool kForward, int kLog>
__device__ inline void stages(std::uint64_t* v, const std::uint64_t* roots, std::uint64_t q,
                              std::uint32_t m, std::uint32_t i) {
#pragma unroll
  for (int step = 0; step < kLog; ++step) {
    const int t = kForward ? step : kLog - 1 - step;
    const int half = 1 << (kLog - 1 - t);
#pragma unroll
    for (int k = 0; k < (1 << kLog); ++k) {
      if ((k & half) != 0) continue;
      const std::uint64_t* root =
          roots + 2 * std::uint64_t{((m + i) << t) + (static_cast<std::uint32_t>(k) >> (kLog - t))};
      const std::uint64_t w = root[0], wShoup = root[1];
      if (kForward) {
        const std::uint64_t x = fold(v[k], 2 * q);
        const std::uint64_t y = shoupProduct(v[k + half], w, wShoup, q);
        v[k] = x + y;
        v[k + half] = x - y + 2 * q;
      } else {
        const std::uint64_t x = v[k], y = v[k + half];
        v[k] = fold(x + y, 2 * q);
        v[k + half] = shoupProduct(x - y + 2 * q, w, wShoup, q);
      }
    }
  }
}

__device__ inline std::uint64_t scaleDown(const Prime& q, std::uint64_t x) {
  return fold(shoupProduct(x, q.inverseDegree, q.inverseDegreeShoup, q.value), q.value);
}

__device__ inline bool onDiagonal(const Rows& rows, const Place& at) {
  return at.limb / rows.inner == at.limb % rows.inner;
}

/// The kLog outermost stages, in global memory: a thread takes values n / 2^kLog apart.
template <bool kForward, int kLog>
__global__ void outerStages(Ring ring, Rows rows, bool diagonal) {
  const std::uint32_t stride = 1U << (ring.logDegree - kLog);
  const Place at = placeOf(blockIdx.x, stride / blockDim.x, rows.width);
  if (diagonal && onDiagonal(rows, at)) return;
  const Prime& q = primeOf(ring, rows, at);
  std::uint64_t* values = limbOf(ring, rows, at) + at.part * blockDim.x + threadIdx.x;
  std::uint64_t v[1 << kLog];
#pragma unroll
  for (int k = 0; k < (1 << kLog); ++k) v[k] = values[k * stride];
  stages<kForward, kLog>(v, kForward ? q.roots : q.inverseRoots, q.value, 1, 0);
#pragma unroll
  for (int k = 0; k < (1 << kLog); ++k) {
    values[k * stride] = kForward ? v[k] : scaleDown(q, v[k]);
  }
}

/// A chunk with one word of padding after every 16.
__device__ inline std::uint32_t padded(std::uint32_t i) {
  return i + (i >> 4);
}

/// Stages of a chunk from that with 2^done of its groups on.
template <bool kForward, int kLog>
__device__ inline void sharedPass(std::uint64_t* shared, const Prime& q, std::uint32_t logChunk,
                                  std::uint32_t done, std::uint32_t chunks, std::uint32_t chunk) {
  const std::uint32_t logSpan = logChunk - done, logStride = logSpan - kLog;
  for (std::uint32_t unit = threadIdx.x; unit < (1U << (logChunk - kLog)); unit += blockDim.x) {
    const std::uint32_t group = unit >> logStride, offset = unit & ((1U << logStride) - 1);
    const std::uint32_t first = (group << logSpan) + offset;
    std::uint64_t v[1 << kLog];
#pragma unroll
    for (std::uint32_t k = 0; k < (1U << kLog); ++k)
      v[k] = shared[padded(first + (k << logStride))];
    stages<kForward, kLog>(v, kForward ? q.roots : q.inverseRoots, q.value, chunks << done,
                           (chunk << done) + group);
#pragma unroll
    for (std::uint32_t k = 0; k < (1U << kLog); ++k)
      shared[padded(first + (k << logStride))] = v[k];
  }
  __syncthreads();
}

/// All stages inside chunks of 2^logChunk values, a chunk a block. Forward it is the last pass; the
/// inverse's last pass if the chunk is all.
template <bool kForward>
__global__ void innerStages(Ring ring, Rows rows, std::uint32_t logChunk, bool diagonal) {
  __shared__ std::uint64_t shared[kChunk + kChunk / 16];
  const std::uint32_t chunks = 1U << (ring.logDegree - logChunk);
  const Place at = placeOf(blockIdx.x, chunks, rows.width);
  if (diagonal && onDiagonal(rows, at)) return;
  const Prime& q = primeOf(ring, rows, at);
  std::uint64_t* values = limbOf(ring, rows, at) + (std::uint64_t{at.part} << logChunk);
  for (std::uint32_t i = threadIdx.x; i < (1U << logChunk); i += blockDim.x) {
    shared[padded(i)] = values[i];
  }
  __syncthreads();
  for (std::uint32_t done = 0; done < logChunk;) {
    const std::uint32_t left = logChunk - done, log = left < 3 ? left : 3;
    const std::uint32_t from = kForward ? done : left - log;
    if (log == 3) {
      sharedPass<kForward, 3>(shared, q, logChunk, from, chunks, at.part);
    } else if (log == 2) {
      sharedPass<kForward, 2>(shared, q, logChunk, from, chunks, at.part);
    } else {
      sharedPass<kForward, 1>(shared, q, logChunk, from, chunks, at.part);
    }
    done += log;
  }
  for (std::uint32_t i = threadIdx.x; i < (1U << logChunk); i += blockDim.x) {
    const std::uint64_t x = shared[padded(i)];
    values[i] = kForward ? fold(fold(x, 2 * q.value), q.value) : chunks == 1 ? scaleDown(q, x) : x;
  }
}

// --------------------------------------------------------------------- entry by entry, and sums

__global__ void addKernel(Ring ring, Rows out, Rows a, Rows b) {
  std::uint32_t i;
  const Place at = coefficientPlace(ring, out, &i);
  limbOf(ring, out, at)[i] =
      sum(primeOf(ring, out, at), limbOf(ring, a, at)[i], limbOf(ring, b, at)[i]);
}

__global__ void multiplyKernel(Ring ring, Rows out, Rows a, Rows b) {
  std::uint32_t i;
  const Place at = coefficientPlace(ring, out, &i);
  limbOf(ring, out, at)[i] =
      product(primeOf(ring, out, at), limbOf(ring, a, at)[i], limbOf(ring, b, at)[i]);
}

__global__ void scaleKernel(Ring ring, Rows out, Rows a, Scalars scalars) {
  std::uint32_t i;
  const Place at = coefficientPlace(ring, out, &i);
  limbOf(ring, out, at)[i] =
      product(primeOf(ring, out, at), limbOf(ring, a, at)[i], scalars.values[at.limb]);
}

__global__ void butterflyKernel(Ring ring, Rows even, Rows odd, Rows shift, Rows less) {
  std::uint32_t i;
  const Place at = coefficientPlace(ring, even, &i);
  const Prime& q = primeOf(ring, even, at);
  std::uint64_t& x = limbOf(ring, even, at)[i];
  const std::uint64_t y = product(q, limbOf(ring, odd, at)[i], limbOf(ring, shift, at)[i]);
  limbOf(ring, less, at)[i] = difference(q, x, y);
  x = sum(q, x, y);
}

/// Two neighbouring coefficients, read at once.
struct alignas(16) Two {
  std::uint64_t low, high;
};

__global__ void dotPairKernel(Ring ring, Rows first, Rows second, Operand shared, Operand a,
                              Operand b, std::uint32_t ys, std::uint32_t terms) {
  const std::uint32_t half = ring.logDegree - 1;
  const Place at = placeOf(blockIdx.x, (1U << half) / blockDim.x, first.width);
  const std::uint32_t i = at.part * blockDim.x + threadIdx.x;
  const std::uint64_t x = at.poly / ys, y = at.poly % ys;
  const auto begin = [&](const Operand& operand) {
    const std::uint64_t row = x * operand.x + y * operand.y + std::uint64_t{at.limb} * operand.limb;
    return reinterpret_cast<const Two*>(operand.data) + (row << half) + i;
  };
  const Two *s = begin(shared), *u = begin(a), *v = begin(b);
  const Prime& q = primeOf(ring, first, at);
  U128 sums[4] = {0, 0, 0, 0};
  for (std::uint32_t k = 0; k < terms; ++k) {
    const Two factor = s[(std::uint64_t{k} * shared.term) << half];
    const Two left = u[(std::uint64_t{k} * a.term) << half];
    const Two right = v[(std::uint64_t{k} * b.term) << half];
    sums[0] += U128{factor.low} * left.low;
    sums[1] += U128{factor.high} * left.high;
    sums[2] += U128{factor.low} * right.low;
    sums[3] += U128{factor.high} * right.high;
    if ((k + 1) % kMaxLazyTerms == 0) {
      for (U128& total : sums) total = reduce(q, total);
    }
  }
  reinterpret_cast<Two*>(limbOf(ring, first, at))[i] = {reduce(q, sums[0]), reduce(q, sums[1])};
  reinterpret_cast<Two*>(limbOf(ring, second, at))[i] = {reduce(q, sums[2]), reduce(q, sums[3])};
}

__global__ void liftKernel(Ring ring, Rows out, Rows in, Rows same) {
  std::uint32_t i;
  const Place at = coefficientPlace(ring, out, &i);
  const Place from{at.poly, at.limb % in.width, 0};
  limbOf(ring, out, at)[i] = onDiagonal(out, at)
                                 ? limbOf(ring, same, from)[i]
                                 : reduce(primeOf(ring, out, at), limbOf(ring, in, from)[i]);
}

/// The addresses are a public permutation's.
__global__ void permuteAddKernel(Ring ring, Rows out, Rows in, const std::uint32_t* from) {
  std::uint32_t i;
  const Place at = coefficientPlace(ring, out, &i);
  std::uint64_t& x = limbOf(ring, out, at)[i];
  x = sum(primeOf(ring, out, at), x, limbOf(ring, in, at)[from[i]]);
}

/// Threads of a change of basis: each has a column of shared memory.
inline constexpr std::uint32_t kChangeThreads = 128;

__global__ void changeKernel(Ring ring, Rows out, Rows in, Change change) {
  __shared__ std::uint64_t columns[(kMaxBasis + 1) * kChangeThreads];
  const std::uint32_t parts = (1U << ring.logDegree) / blockDim.x;
  const std::uint32_t poly = blockIdx.x / parts;
  const std::uint32_t i = blockIdx.x % parts * blockDim.x + threadIdx.x;
  std::uint64_t* column = columns + threadIdx.x;
  double quotient = 0.5;
  for (std::uint32_t k = 0; k < change.inputs; ++k) {
    const Place at{poly, k, 0};
    const std::uint64_t u = product(primeOf(ring, in, at), limbOf(ring, in, at)[i], change.in[k]);
    column[k * kChangeThreads] = u;
    const auto value = static_cast<double>(static_cast<std::int64_t>(u));
#if defined(__CUDA_ARCH__)  // rounded one by one, as the processor does
    quotient = __dadd_rn(quotient, __dmul_rn(value, change.reciprocals[k]));
#else
    const double term = value * change.reciprocals[k];
    quotient += term;
#endif
  }
  column[change.inputs * kChangeThreads] =
      static_cast<std::uint64_t>(static_cast<std::int64_t>(quotient));
  for (std::uint32_t l = 0; l < change.outputs; ++l) {
    const std::uint64_t* factors = change.out + l * (change.inputs + 1);
    U128 total = 0;
    for (std::uint32_t k = 0; k <= change.inputs; ++k) {
      total += U128{column[k * kChangeThreads]} * factors[k];
    }
    const Place at{poly, l, 0};
    limbOf(ring, out, at)[i] = reduce(primeOf(ring, out, at), total);
  }
}

__global__ void gatherKernel(Ring ring, std::uint64_t* out, Rows in, const std::uint32_t* wanted,
                             const std::uint32_t* counts) {
  std::uint32_t i;
  const Place at = coefficientPlace(ring, in, &i);
  if (i >= counts[at.poly]) return;
  const std::uint64_t row = std::uint64_t{at.poly} * in.width + at.limb;
  const std::uint32_t index = wanted[(std::uint64_t{at.poly} << ring.logDegree) + i];
  out[(row << ring.logDegree) + i] = limbOf(ring, in, at)[index];
}

__global__ void encodeKernel(Ring ring, Rows out, const std::uint64_t* words, std::uint64_t factor,
                             Scalars scalars) {
  std::uint32_t i;
  const Place at = coefficientPlace(ring, out, &i);
  const Prime& q = primeOf(ring, out, at);
  const std::uint64_t x = words[(std::uint64_t{at.poly} << ring.logDegree) + i] * factor;
  const std::uint64_t residue = difference(q, reduce(q, x), q.two64 & (0 - (x >> 63)));
  limbOf(ring, out, at)[i] = product(q, residue, scalars.values[at.limb]);
}

/// The addresses follow from the public map.
__global__ void factorsKernel(Ring ring, Rows out, const std::int32_t* weights, std::uint64_t count,
                              const std::int32_t* map, Leaves leaves) {
  std::uint32_t i;
  const Place at = coefficientPlace(ring, out, &i);
  const std::uint32_t group = at.poly % leaves.groups, leaf = at.poly / leaves.groups;
  const std::int32_t entry = map[(std::uint64_t{group} << ring.logDegree) + i];
  std::int64_t value = 0;
  if (entry != 0) {
    const auto source = static_cast<std::uint64_t>(entry < 0 ? -entry : entry) - 1;
    const std::uint64_t number = leaves.first + leaf % leaves.blocks * leaves.blockStep +
                                 std::uint64_t{leaf / leaves.blocks} * leaves.step;
    const std::uint64_t place = number * leaves.weights + source;
    if (place < count) value = entry < 0 ? -std::int64_t{weights[place]} : weights[place];
  }
  limbOf(ring, out, at)[i] = fromSmall(primeOf(ring, out, at), value);
}

// ------------------------------------------------------------------------------------- sampling

__global__ void keysKernel(std::uint32_t* schedules, const std::uint8_t* seeds,
                           std::uint32_t count) {
  const std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count)
    keySchedule(seeds + std::uint64_t{i} * 32, schedules + std::uint64_t{i} * kKeyWords);
}

__global__ void wordsKernel(std::uint64_t* words, const std::uint32_t* schedules,
                            std::uint64_t stream, std::uint64_t firstFour, std::uint64_t count) {
  const auto quads = static_cast<std::uint32_t>(count / 4);
  const std::uint32_t parts = (quads + blockDim.x - 1) / blockDim.x;
  const std::uint64_t poly = blockIdx.x / parts;
  const std::uint32_t quad = blockIdx.x % parts * blockDim.x + threadIdx.x;
  if (quad >= quads) return;
  std::uint64_t four[4];
  streamWords(schedules + poly * kKeyWords, stream, firstFour + quad, four);
  std::uint64_t* out = words + poly * count + 4 * std::uint64_t{quad};
  for (int k = 0; k < 4; ++k) out[k] = four[k];
}

/// floor(3 w / 2^64) - 1.
__global__ void ternaryKernel(Ring ring, Rows out, const std::uint64_t* words,
                              std::uint64_t stride) {
  std::uint32_t i;
  const Place at = coefficientPlace(ring, out, &i);
  const std::uint64_t word = words[at.poly * stride + i];
  limbOf(ring, out, at)[i] =
      fromSmall(primeOf(ring, out, at), static_cast<std::int64_t>(mulHigh(word, 3)) - 1);
}

/// popcount of bits 0..20 minus popcount of bits 21..41, by sums of neighbouring fields.
__global__ void errorKernel(Ring ring, Rows out, const std::uint64_t* words, std::uint64_t stride) {
  std::uint32_t i;
  const Place at = coefficientPlace(ring, out, &i);
  const std::uint64_t word = words[at.poly * stride + i];
  constexpr std::uint64_t kBits = (std::uint64_t{1} << 21) - 1;
  std::uint64_t x = (word & kBits) | ((word >> 21 & kBits) << 32);
  x -= x >> 1 & 0x5555555555555555;
  x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
  x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F;
  x += x >> 8;
  x += x >> 16;
  limbOf(ring, out, at)[i] =
      fromSmall(primeOf(ring, out, at),
                static_cast<std::int64_t>(x & 0x3F) - static_cast<std::int64_t>(x >> 32 & 0x3F));
}

/// Digits of 48 bits of a flooding polynomial.
inline constexpr std::uint32_t kFloodingDigit = 48;

__global__ void floodingKernel(Ring ring, Rows out, const std::uint64_t* words,
                               std::uint64_t stride, std::uint32_t bits,
                               const std::uint64_t* scalars) {
  std::uint32_t i;
  const Place at = coefficientPlace(ring, out, &i);
  const std::uint32_t digits = (bits + kFloodingDigit - 1) / kFloodingDigit;
  const std::uint64_t* factors = scalars + at.limb * (digits + 1);
  std::uint64_t& x = limbOf(ring, out, at)[i];
  U128 total = U128{factors[digits]} + x;
  for (std::uint32_t d = 0; d < digits; ++d) {
    const std::uint32_t left = bits - d * kFloodingDigit;
    const std::uint32_t width = left < kFloodingDigit ? left : kFloodingDigit;
    const std::uint64_t word =
        words[at.poly * stride + (std::uint64_t{d} << ring.logDegree) + i] >> (64 - width);
    total += U128{word} * factors[d];
  }
  x = reduce(primeOf(ring, out, at), total);
}

/// The first n words of a stream that, cut to the bits of the prime, are below it: a block a limb.
/// In each round every thread takes the next four words; a prefix sum of how many each keeps says
/// where they go. What branches here depends on public words only.
__global__ void uniformKernel(Ring ring, Rows out, const std::uint32_t* schedules,
                              std::uint64_t firstStream) {
  __shared__ std::uint32_t sums[2 * kThreads];
  const Place at = placeOf(blockIdx.x, 1, out.width);
  const Prime& q = primeOf(ring, out, at);
  const std::uint64_t mask = (std::uint64_t{1} << q.bits) - 1;
  const std::uint32_t* schedule = schedules + std::uint64_t{at.poly} * kKeyWords;
  std::uint64_t* row = limbOf(ring, out, at);
  const std::uint32_t n = 1U << ring.logDegree;
  std::uint32_t kept = 0;
  for (std::uint64_t quad = threadIdx.x; kept < n; quad += blockDim.x) {
    std::uint64_t words[4];
    streamWords(schedule, firstStream + at.limb, quad, words);
    std::uint32_t mine = 0;
    for (int k = 0; k < 4; ++k) {
      words[k] &= mask;
      mine += words[k] < q.value ? 1 : 0;
    }
    std::uint32_t* from = sums;
    std::uint32_t* to = sums + kThreads;
    from[threadIdx.x] = mine;
    __syncthreads();
    for (std::uint32_t reach = 1; reach < blockDim.x; reach *= 2) {
      to[threadIdx.x] = from[threadIdx.x] + (threadIdx.x >= reach ? from[threadIdx.x - reach] : 0);
      __syncthreads();
      std::uint32_t* const other = from;
      from = to;
      to = other;
    }
    std::uint32_t place = kept + from[threadIdx.x] - mine;
    kept += from[blockDim.x - 1];
    for (int k = 0; k < 4; ++k) {
      if (words[k] < q.value && place < n) row[place++] = words[k];
    }
    __syncthreads();
  }
}

// ------------------------------------------------------------------------------------ launchers

/// Threads of a launch with a thread for each of `work` items of every limb.
inline std::uint32_t threadsFor(std::uint32_t work, std::uint32_t most = kThreads) {
  return work < most ? work : most;
}
inline std::uint32_t limbsOf(const Rows& rows) {
  return rows.polys * rows.width;
}

/// Launches a kernel with a thread for each coefficient of `rows`.
template <typename... Parameters, typename... Arguments>
void launchEach(device::Stream stream, void (*kernel)(Parameters...), const Ring& ring,
                const Rows& rows, const Arguments&... arguments) {
  const std::uint32_t n = 1U << ring.logDegree, threads = threadsFor(n);
  if (limbsOf(rows) == 0) return;
  device::launch(stream, kernel, limbsOf(rows) * (n / threads), threads, ring, arguments...);
}

template <bool kForward>
void launchOuter(device::Stream stream, const Ring& ring, const Rows& rows, bool diagonal) {
  const std::uint32_t log = ring.logDegree - kLogChunk;
  const std::uint32_t blocks = limbsOf(rows) * (kChunk / kThreads);
  if (log == 1) {
    device::launch(stream, outerStages<kForward, 1>, blocks, kThreads, ring, rows, diagonal);
  } else if (log == 2) {
    device::launch(stream, outerStages<kForward, 2>, blocks, kThreads, ring, rows, diagonal);
  } else if (log == 3) {
    device::launch(stream, outerStages<kForward, 3>, blocks, kThreads, ring, rows, diagonal);
  } else if (log == 4) {
    device::launch(stream, outerStages<kForward, 4>, blocks, kThreads, ring, rows, diagonal);
  } else {
    throw std::logic_error("no transform of this degree on the device");
  }
}

template <bool kForward>
void launchTransform(device::Stream stream, const Ring& ring, const Rows& rows, bool diagonal) {
  if (limbsOf(rows) == 0) return;
  const std::uint32_t logChunk = ring.logDegree < kLogChunk ? ring.logDegree : kLogChunk;
  const std::uint32_t blocks = limbsOf(rows) << (ring.logDegree - logChunk);
  const std::uint32_t threads = threadsFor((1U << logChunk) / 8);
  const bool outer = ring.logDegree > kLogChunk;
  if (kForward && outer) launchOuter<true>(stream, ring, rows, diagonal);
  device::launch(stream, innerStages<kForward>, blocks, threads, ring, rows, logChunk, diagonal);
  if (!kForward && outer) launchOuter<false>(stream, ring, rows, diagonal);
}

inline void forward(device::Stream stream, Ring ring, Rows rows, bool diagonal) {
  launchTransform<true>(stream, ring, rows, diagonal);
}
inline void inverse(device::Stream stream, Ring ring, Rows rows) {
  launchTransform<false>(stream, ring, rows, false);
}
inline void add(device::Stream stream, Ring ring, Rows out, Rows a, Rows b) {
  launchEach(stream, addKernel, ring, out, out, a, b);
}
inline void multiply(device::Stream stream, Ring ring, Rows out, Rows a, Rows b) {
  launchEach(stream, multiplyKernel, ring, out, out, a, b);
}
inline void scale(device::Stream stream, Ring ring, Rows out, Rows a, Scalars scalars) {
  launchEach(stream, scaleKernel, ring, out, out, a, scalars);
}
inline void butterfly(device::Stream stream, Ring ring, Rows even, Rows odd, Rows shift,
                      Rows less) {
  launchEach(stream, butterflyKernel, ring, even, even, odd, shift, less);
}
inline void dotPair(device::Stream stream, Ring ring, Rows first, Rows second, Operand shared,
                    Operand a, Operand b, std::uint32_t ys, std::uint32_t terms) {
  const std::uint32_t halves = 1U << (ring.logDegree - 1), threads = threadsFor(halves);
  if (limbsOf(first) == 0) return;
  device::launch(stream, dotPairKernel, limbsOf(first) * (halves / threads), threads, ring, first,
                 second, shared, a, b, ys, terms);
}
inline void lift(device::Stream stream, Ring ring, Rows out, Rows in, Rows same) {
  launchEach(stream, liftKernel, ring, out, out, in, same);
}
inline void permuteAdd(device::Stream stream, Ring ring, Rows sum, Rows in,
                       const std::uint32_t* from) {
  launchEach(stream, permuteAddKernel, ring, sum, sum, in, from);
}
inline void change(device::Stream stream, Ring ring, Rows out, Rows in, Change change) {
  const std::uint32_t n = 1U << ring.logDegree, threads = threadsFor(n, kChangeThreads);
  if (out.polys == 0) return;
  device::launch(stream, changeKernel, out.polys * (n / threads), threads, ring, out, in, change);
}
inline void gather(device::Stream stream, Ring ring, std::uint64_t* out, Rows in,
                   const std::uint32_t* wanted, const std::uint32_t* counts) {
  launchEach(stream, gatherKernel, ring, in, out, in, wanted, counts);
}
inline void encode(device::Stream stream, Ring ring, Rows out, const std::uint64_t* words,
                   std::uint64_t factor, Scalars scalars) {
  launchEach(stream, encodeKernel, ring, out, out, words, factor, scalars);
}
inline void factors(device::Stream stream, Ring ring, Rows out, const std::int32_t* weights,
                    std::uint64_t count, const std::int32_t* map, Leaves leaves) {
  launchEach(stream, factorsKernel, ring, out, out, weights, count, map, leaves);
}
inline void keys(device::Stream stream, std::uint32_t* schedules, const std::uint8_t* seeds,
                 std::uint32_t count) {
  if (count == 0) return;
  constexpr std::uint32_t kKeyThreads = 32;
  device::launch(stream, keysKernel, (count + kKeyThreads - 1) / kKeyThreads, kKeyThreads,
                 schedules, seeds, count);
}
inline void words(device::Stream stream, std::uint64_t* words, const std::uint32_t* schedules,
                  std::uint32_t polys, std::uint64_t number, std::uint64_t firstFour,
                  std::uint64_t count) {
  const auto quads = static_cast<std::uint32_t>(count / 4);
  const std::uint32_t threads = threadsFor(quads);
  if (polys == 0 || quads == 0) return;
  device::launch(stream, wordsKernel, polys * ((quads + threads - 1) / threads), threads, words,
                 schedules, number, firstFour, count);
}
inline void ternary(device::Stream stream, Ring ring, Rows out, const std::uint64_t* words,
                    std::uint64_t stride) {
  launchEach(stream, ternaryKernel, ring, out, out, words, stride);
}
inline void error(device::Stream stream, Ring ring, Rows out, const std::uint64_t* words,
                  std::uint64_t stride) {
  launchEach(stream, errorKernel, ring, out, out, words, stride);
}
inline void flooding(device::Stream stream, Ring ring, Rows out, const std::uint64_t* words,
                     std::uint64_t stride, std::uint32_t bits, const std::uint64_t* scalars) {
  launchEach(stream, floodingKernel, ring, out, out, words, stride, bits, scalars);
}
inline void uniform(device::Stream stream, Ring ring, Rows out, const std::uint32_t* schedules,
                    std::uint64_t first) {
  if (limbsOf(out) == 0) return;
  device::launch(stream, uniformKernel, limbsOf(out), kThreads, ring, out, schedules, first);
}

}  // namespace pillarbox::he::cuda

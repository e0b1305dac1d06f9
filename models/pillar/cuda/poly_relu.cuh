// The activation's passes as kernels: the mathematics of the processor's loops in
// models/pillar/poly_relu.cpp, one value a lane.
//
// All three are bound by memory: a value is read and written once, 16 bytes a thread at a time
// where addresses allow, and what is added up on the way stays in registers until a block's threads
// join their sums. Threads of one block and blocks of one row take values in turns. A second kernel
// of one block a row adds the blocks' sums; nothing is added atomically, so that the order, and
// with it the result, is always the same.
//
// Degree and exponent are the same for all threads. A switch leads to code for them once for every
// 16 bytes, which costs less than loops over coefficients would for every value.
//
// Compiled by nvcc, and by a C++ compiler for the emulation of tests. Which of them starts a kernel
// is `launch` below: launch(kernel, grid, arguments...), with blocks of kThreads.
#pragma once

#include <cmath>
#include <cstdint>

#include "models/pillar/cuda/poly_relu.h"

namespace pillarbox::pillar::cuda {

inline constexpr std::uint32_t kThreads = 256;
inline constexpr std::uint32_t kWarps = kThreads / 32;
inline constexpr std::uint32_t kPackBytes = 16;

/// Values as they are stored, and how they become numbers.
struct StoredFloat {
  using Bits = float;
  __device__ static float load(float value) { return value; }
  __device__ static float store(float value) { return value; }
};
struct StoredBFloat16 {
  using Bits = std::uint16_t;
  __device__ static float load(std::uint16_t bits) {
    return __uint_as_float(std::uint32_t{bits} << 16);
  }
  /// To the nearest, ties to even.
  __device__ static std::uint16_t store(float value) {
    const std::uint32_t bits = __float_as_uint(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;  // not a number
    return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
};

template <typename Stored>
inline constexpr int kLanes = kPackBytes / sizeof(typename Stored::Bits);

template <typename Stored>
struct alignas(kPackBytes) Pack {
  typename Stored::Bits values[kLanes<Stored>];
};

template <typename Stored, int N>
__device__ inline void load(const typename Stored::Bits* from, float (&values)[N]) {
  if constexpr (N == 1) {
    values[0] = Stored::load(*from);
  } else {
    const Pack<Stored> pack = *reinterpret_cast<const Pack<Stored>*>(from);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = Stored::load(pack.values[i]);
  }
}
template <typename Stored, int N>
__device__ inline void store(typename Stored::Bits* to, const float (&values)[N]) {
  if constexpr (N == 1) {
    *to = Stored::store(values[0]);
  } else {
    Pack<Stored> pack;
#pragma unroll
    for (int i = 0; i < N; ++i) pack.values[i] = Stored::store(values[i]);
    *reinterpret_cast<Pack<Stored>*>(to) = pack;
  }
}

__device__ inline bool isAligned(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) % kPackBytes == 0;
}

template <int N>
struct Lanes {};

/// Gives this thread its values of a row: body(Lanes<N>, index of the first of N). Packs where the
/// addresses are aligned; what does not fill one, or all where they are not, by single values.
template <typename Stored, typename Body>
__device__ inline void eachOwn(bool aligned, std::uint64_t count, const Body& body) {
  const std::uint64_t threads = std::uint64_t{gridDim.y} * kThreads;
  const std::uint64_t own = std::uint64_t{blockIdx.y} * kThreads + threadIdx.x;
  const std::uint64_t packs = aligned ? count / kLanes<Stored> : 0;
  for (std::uint64_t i = own; i < packs; i += threads) {
    body(Lanes<kLanes<Stored>>{}, i * kLanes<Stored>);
  }
  for (std::uint64_t i = packs * kLanes<Stored> + own; i < count; i += threads) {
    body(Lanes<1>{}, i);
  }
}

/// A NaN stays one.
__device__ inline float clampTo(float x, float limit) {
  const float low = x < -limit ? -limit : x;
  return low > limit ? limit : low;
}

template <int Degree>
__device__ inline float horner(const float* c, float x) {
  float y = c[Degree];
#pragma unroll
  for (int i = Degree - 1; i >= 0; --i) y = y * x + c[i];
  return y;
}

template <int Half>
__device__ inline float power(float square) {  // square^Half
  float y = 1;
#pragma unroll
  for (int i = 0; i < Half; ++i) y *= square;
  return y;
}

template <int Degree, int N>
__device__ inline void polynomialOf(const float* c, const float (&x)[N], float (&y)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) y[i] = horner<Degree>(c, x[i]);
}

/// y = p(x) for a polynomial of degree 0 to 8.
template <int N>
__device__ inline void polynomial(const float* c, int degree, const float (&x)[N], float (&y)[N]) {
  switch (degree) {
    case 0:
      return polynomialOf<0>(c, x, y);
    case 1:
      return polynomialOf<1>(c, x, y);
    case 2:
      return polynomialOf<2>(c, x, y);
    case 3:
      return polynomialOf<3>(c, x, y);
    case 4:
      return polynomialOf<4>(c, x, y);
    case 5:
      return polynomialOf<5>(c, x, y);
    case 6:
      return polynomialOf<6>(c, x, y);
    case 7:
      return polynomialOf<7>(c, x, y);
    default:
      return polynomialOf<8>(c, x, y);
  }
}

/// |u|^e with u = |x| / R up to the knee, the tangent beyond it.
template <int Exponent, int N>
__device__ inline float penaltyOf(float inverseRange, const float (&x)[N]) {
  constexpr float kKnee = kPenaltyKnee;
  float sum = 0;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const float u = fabsf(x[i]) * inverseRange;
    const float v = u < kKnee ? u : kKnee;
    const float steep = power<Exponent / 2 - 1>(v * v) * v;  // v^(e-1)
    sum += steep * (v + Exponent * (u - v));
  }
  return sum;
}

template <int N>
__device__ inline float penalty(int exponent, float inverseRange, const float (&x)[N]) {
  switch (exponent) {
    case 0:
      return 0;
    case 2:
      return penaltyOf<2>(inverseRange, x);
    case 4:
      return penaltyOf<4>(inverseRange, x);
    case 6:
      return penaltyOf<6>(inverseRange, x);
    case 8:
      return penaltyOf<8>(inverseRange, x);
    case 10:
      return penaltyOf<10>(inverseRange, x);
    case 12:
      return penaltyOf<12>(inverseRange, x);
    case 14:
      return penaltyOf<14>(inverseRange, x);
    default:
      return penaltyOf<16>(inverseRange, x);
  }
}

template <int Exponent, int N>
__device__ inline void addPenaltySlopeOf(float scale, float inverseRange, const float (&x)[N],
                                         float (&dx)[N]) {
  const float factor = scale * Exponent * inverseRange;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const float v = clampTo(x[i] * inverseRange, kPenaltyKnee);
    dx[i] += factor * power<Exponent / 2 - 1>(v * v) * v;
  }
}

template <int N>
__device__ inline void addPenaltySlope(int exponent, float scale, float inverseRange,
                                       const float (&x)[N], float (&dx)[N]) {
  switch (exponent) {
    case 0:
      return;
    case 2:
      return addPenaltySlopeOf<2>(scale, inverseRange, x, dx);
    case 4:
      return addPenaltySlopeOf<4>(scale, inverseRange, x, dx);
    case 6:
      return addPenaltySlopeOf<6>(scale, inverseRange, x, dx);
    case 8:
      return addPenaltySlopeOf<8>(scale, inverseRange, x, dx);
    case 10:
      return addPenaltySlopeOf<10>(scale, inverseRange, x, dx);
    case 12:
      return addPenaltySlopeOf<12>(scale, inverseRange, x, dx);
    case 14:
      return addPenaltySlopeOf<14>(scale, inverseRange, x, dx);
    default:
      return addPenaltySlopeOf<16>(scale, inverseRange, x, dx);
  }
}

/// Joins all threads' values of a block, in a fixed order, for thread 0. `shared` holds kWarps of
/// them, of this call alone. All threads come here.
template <typename T, typename Join>
__device__ inline T joinBlock(T value, T* shared, const Join& join) {
#pragma unroll
  for (unsigned by = 16; by > 0; by /= 2) {
    value = join(value, __shfl_down_sync(0xffffffff, value, by));
  }
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x == 0) {
#pragma unroll
    for (std::uint32_t warp = 1; warp < kWarps; ++warp) value = join(value, shared[warp]);
  }
  return value;
}

struct Add {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Larger {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};

template <typename Stored>
__global__ void __launch_bounds__(kThreads) forwardKernel(ForwardArguments a) {
  using Bits = typename Stored::Bits;
  const Constants& k = a.constants;
  const std::uint64_t begin = blockIdx.x * a.count;
  const Bits* const x = static_cast<const Bits*>(a.x) + begin;
  Bits* const y = a.y == nullptr ? nullptr : static_cast<Bits*>(a.y) + begin;
  float c[kMaxCoefficients];
#pragma unroll
  for (int i = 0; i < kMaxCoefficients; ++i) {
    c[i] = k.coefficients[i];
    if (a.coefficients != nullptr && i <= k.degree) c[i] = static_cast<float>(a.coefficients[i]);
  }
  float sum = 0;
  std::uint32_t outside = 0, largest = 0;  // the bits of a magnitude have the order of magnitudes
  eachOwn<Stored>(isAligned(x) && isAligned(y), a.count, [&]<int N>(Lanes<N>, std::uint64_t at) {
    float in[N];
    load<Stored>(x + at, in);
    sum += penalty(k.exponent, k.inversePenaltyRange, in);
    if (a.seen != nullptr) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const float magnitude = fabsf(in[i]);
        outside += magnitude <= k.range ? 0 : 1;  // a NaN is outside
        largest = Larger{}(largest, __float_as_uint(magnitude));
      }
    }
    if (y == nullptr) return;
    float out[N];
#pragma unroll
    for (int i = 0; i < N; ++i) in[i] = clampTo(in[i], k.clipTo);
    polynomial(c, k.degree, in, out);
    store<Stored>(y + at, out);
  });
  if (a.partials == nullptr) return;
  __shared__ float sums[kWarps];
  __shared__ std::uint32_t counts[kWarps], magnitudes[kWarps];
  sum = joinBlock(sum, sums, Add{});
  outside = joinBlock(outside, counts, Add{});
  largest = joinBlock(largest, magnitudes, Larger{});
  if (threadIdx.x != 0) return;
  // Infinity, or not a number, is infinitely large.
  constexpr std::uint32_t kInfinity = 0x7f800000;
  a.partials[std::uint64_t{blockIdx.x} * gridDim.y + blockIdx.y] = {
      sum, outside, __uint_as_float(largest < kInfinity ? largest : kInfinity)};
}

/// One block a row: adds what the row's blocks have.
__global__ void __launch_bounds__(kThreads)
    gatherForwardKernel(const Partial* partials, std::uint32_t blocks, float* penalty,
                        double* seen) {
  const std::uint32_t row = blockIdx.x;
  double sum = 0;
  std::uint64_t outside = 0;
  float largest = 0;
  for (std::uint32_t b = threadIdx.x; b < blocks; b += kThreads) {
    const Partial& part = partials[std::uint64_t{row} * blocks + b];
    sum += part.penalty;
    outside += part.outside;
    largest = Larger{}(largest, part.largest);
  }
  __shared__ double sums[kWarps];
  __shared__ std::uint64_t counts[kWarps];
  __shared__ float magnitudes[kWarps];
  sum = joinBlock(sum, sums, Add{});
  outside = joinBlock(outside, counts, Add{});
  largest = joinBlock(largest, magnitudes, Larger{});
  if (threadIdx.x != 0) return;
  if (penalty != nullptr) penalty[row] = static_cast<float>(sum);
  if (seen != nullptr) {
    seen[2 * row] = static_cast<double>(outside);
    seen[2 * row + 1] = largest;
  }
}

template <typename Stored>
__global__ void __launch_bounds__(kThreads) backwardKernel(BackwardArguments a) {
  using Bits = typename Stored::Bits;
  const Constants& k = a.constants;
  const Bits* const x = static_cast<const Bits*>(a.x);
  const Bits* const dy = static_cast<const Bits*>(a.dy);
  Bits* const dx = static_cast<Bits*>(a.dx);
  float c[kMaxCoefficients];
#pragma unroll
  for (int i = 0; i < kMaxCoefficients; ++i) c[i] = k.derivative[i];
  if (a.coefficients != nullptr) {
#pragma unroll
    for (int i = 0; i + 1 < kMaxCoefficients; ++i) {
      if (i < k.degree) c[i] = static_cast<float>((i + 1) * a.coefficients[i + 1]);
    }
  }
  // Where nothing is asked of the penalty, a NaN in x must not come through it.
  const float scale = a.penaltyGradient == nullptr ? 0 : *a.penaltyGradient;
  const int exponent = scale == 0 ? 0 : k.exponent;
  eachOwn<Stored>(isAligned(x) && isAligned(dy) && isAligned(dx), a.count,
                  [&]<int N>(Lanes<N>, std::uint64_t at) {
                    float in[N], slope[N];
                    load<Stored>(x + at, in);
                    polynomial(c, k.degree - 1, in, slope);
                    if (dy != nullptr) {
                      float gradient[N];
                      load<Stored>(dy + at, gradient);
#pragma unroll
                      for (int i = 0; i < N; ++i) slope[i] *= gradient[i];
                    }
#pragma unroll
                    for (int i = 0; i < N; ++i) {
                      slope[i] = fabsf(in[i]) <= k.clipTo ? slope[i] : 0;
                    }
                    addPenaltySlope(exponent, scale, k.inversePenaltyRange, in, slope);
                    store<Stored>(dx + at, slope);
                  });
}

template <typename Stored>
__global__ void __launch_bounds__(kThreads) powerKernel(PowerArguments a) {
  using Bits = typename Stored::Bits;
  const Bits* const x = static_cast<const Bits*>(a.x);
  const Bits* const dy = static_cast<const Bits*>(a.dy);
  float sums[kMaxCoefficients] = {};
  eachOwn<Stored>(isAligned(x) && isAligned(dy), a.count, [&]<int N>(Lanes<N>, std::uint64_t at) {
    float in[N], term[N];
    load<Stored>(x + at, in);
#pragma unroll
    for (int i = 0; i < N; ++i) in[i] = clampTo(in[i], a.limit), term[i] = 1;
    if (dy != nullptr) load<Stored>(dy + at, term);
#pragma unroll
    for (int j = 0; j < kMaxCoefficients; ++j) {
      if (j < a.powers) {
#pragma unroll
        for (int i = 0; i < N; ++i) {
          sums[j] += term[i];
          term[i] *= in[i];
        }
      }
    }
  });
  __shared__ float shared[kMaxCoefficients][kWarps];
#pragma unroll
  for (int j = 0; j < kMaxCoefficients; ++j) {
    const float sum = joinBlock(sums[j], shared[j], Add{});
    if (threadIdx.x == 0) a.partials[blockIdx.y * kMaxCoefficients + j] = sum;
  }
}

/// One block a power.
__global__ void __launch_bounds__(kThreads)
    gatherPowersKernel(const double* partials, std::uint32_t blocks, double* sums) {
  double sum = 0;
  for (std::uint32_t b = threadIdx.x; b < blocks; b += kThreads) {
    sum += partials[b * kMaxCoefficients + blockIdx.x];
  }
  __shared__ double shared[kWarps];
  sum = joinBlock(sum, shared, Add{});
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

inline std::uint32_t blocksFor(std::uint64_t count, Element element) {
  const std::uint64_t lanes =
      element == Element::BFloat16 ? kLanes<StoredBFloat16> : kLanes<StoredFloat>;
  const std::uint64_t blocks = (count + lanes * kThreads - 1) / (lanes * kThreads);
  return static_cast<std::uint32_t>(blocks < 1 ? 1 : blocks > kMostBlocks ? kMostBlocks : blocks);
}

/// The kernel for how the values are stored.
template <typename Arguments>
using Kernel = void (*)(Arguments);

template <typename Launch>
void launchForward(const Launch& launch, const ForwardArguments& a) {
  if (a.rows == 0) return;
  const Kernel<ForwardArguments> kernel =
      a.element == Element::BFloat16 ? forwardKernel<StoredBFloat16> : forwardKernel<StoredFloat>;
  const std::uint32_t blocks = blocksFor(a.count, a.element);
  launch(kernel, dim3(a.rows, blocks), a);
  if (a.partials == nullptr) return;
  launch(gatherForwardKernel, dim3(a.rows), a.partials, blocks, a.penalty, a.seen);
}

template <typename Launch>
void launchBackward(const Launch& launch, const BackwardArguments& a) {
  const Kernel<BackwardArguments> kernel =
      a.element == Element::BFloat16 ? backwardKernel<StoredBFloat16> : backwardKernel<StoredFloat>;
  launch(kernel, dim3(1, blocksFor(a.count, a.element)), a);
}

template <typename Launch>
void launchPowers(const Launch& launch, const PowerArguments& a) {
  const Kernel<PowerArguments> kernel =
      a.element == Element::BFloat16 ? powerKernel<StoredBFloat16> : powerKernel<StoredFloat>;
  const std::uint32_t blocks = blocksFor(a.count, a.element);
  launch(kernel, dim3(1, blocks), a);
  launch(gatherPowersKernel, dim3(static_cast<unsigned>(a.powers)), a.partials, blocks, a.sums);
}

}  // namespace pillarbox::pillar::cuda

// CUDA's words for a C++ compiler, so that the kernels in .cuh files run on the processor: tests
// see their logic, their indices and their barriers without a GPU. What it cannot see is speed, and
// what nvcc or the hardware would do differently.
//
// Include this first, then the .cuh file. Every thread of a block is a fiber; between two barriers
// they run one after the other in an order that is drawn anew, so that a missing barrier shows.
// Shared memory is a static variable: one block runs at a time. What a GPU would answer with
// undefined behaviour throws: threads that wait at different barriers or have left before one, and
// warp functions without all 32 lanes.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>

#include "engine/device/table.h"

#define __global__ inline
#define __device__
#define __host__
#define __shared__ static
#define __constant__ static
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned width = 1, unsigned height = 1, unsigned depth = 1)
      : x(width), y(height), z(depth) {}
};

// Of the running thread.
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace pillarbox::testing {

/// Runs a block after the other. Throws std::logic_error as above, and what the body throws.
void runGrid(dim3 grid, std::uint32_t threads, const std::function<void()>& body);

void blockBarrier();
void warpBarrier();
std::uint32_t laneNumber();
/// What lane `lane` of this thread's warp gave to the same call. All lanes take part.
std::uint64_t exchange(std::uint64_t value, std::uint32_t lane);

/// Work for an emulated stream (emulated_device.h); done at once where that is null.
void enqueue(device::Stream stream, std::function<void()> work);

void requireFullMask(std::uint32_t mask);

template <typename T>
std::uint64_t toBits(T value) {
  static_assert(sizeof(T) <= 8);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}
template <typename T>
T fromBits(std::uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 with the fragments that PTX documents: acc (16 x
/// 8) += a (16 x 32, unsigned bytes) * b (32 x 8, signed bytes), sums mod 2^32.
void multiplyTile(std::int32_t (&acc)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]);

}  // namespace pillarbox::testing

inline void __syncthreads() {
  pillarbox::testing::blockBarrier();
}
inline void __syncwarp(std::uint32_t mask = 0xffffffff) {
  pillarbox::testing::requireFullMask(mask);
  pillarbox::testing::warpBarrier();
}
template <typename T>
T __shfl_sync(std::uint32_t mask, T value, unsigned lane) {
  using namespace pillarbox::testing;
  requireFullMask(mask);
  return fromBits<T>(exchange(toBits(value), lane % 32));
}
template <typename T>
T __shfl_xor_sync(std::uint32_t mask, T value, unsigned bits) {
  return __shfl_sync(mask, value, pillarbox::testing::laneNumber() ^ bits);
}
template <typename T>
T __shfl_down_sync(std::uint32_t mask, T value, unsigned by) {
  const unsigned lane = pillarbox::testing::laneNumber();
  return __shfl_sync(mask, value, lane + by < 32 ? lane + by : lane);
}
inline float __uint_as_float(std::uint32_t bits) {
  return pillarbox::testing::fromBits<float>(bits);
}
inline std::uint32_t __float_as_uint(float value) {
  return static_cast<std::uint32_t>(pillarbox::testing::toBits(value));
}
template <typename T>
T __ldg(const T* address) {
  return *address;
}
inline std::uint32_t __umulhi(std::uint32_t a, std::uint32_t b) {
  return static_cast<std::uint32_t>((std::uint64_t{a} * b) >> 32);
}
inline std::uint64_t __umul64hi(std::uint64_t a, std::uint64_t b) {
  __extension__ typedef unsigned __int128 Wide;
  return static_cast<std::uint64_t>((static_cast<Wide>(a) * b) >> 64);
}
inline std::uint32_t __byte_perm(std::uint32_t low, std::uint32_t high, std::uint32_t selector) {
  const std::uint64_t bytes = (std::uint64_t{high} << 32) | low;
  std::uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned choice = (selector >> (4 * i)) & 7;
    result |= static_cast<std::uint32_t>((bytes >> (8 * choice)) & 255) << (8 * i);
  }
  return result;
}

namespace pillarbox::device {

/// As engine/device/cuda/launch.cuh.
template <typename... Parameters, typename... Arguments>
void launch(Stream stream, void (*kernel)(Parameters...), dim3 grid, std::uint32_t threads,
            const Arguments&... arguments) {
  testing::enqueue(stream, [=] { testing::runGrid(grid, threads, [&] { kernel(arguments...); }); });
}

}  // namespace pillarbox::device

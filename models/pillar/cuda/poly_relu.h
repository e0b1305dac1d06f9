// The activation's passes on a GPU: what they are given and how they are started. Raw pointers, so
// that neither side reads the other's headers: nvcc not LibTorch's, the trainer not CUDA's.
#pragma once

#include <cstdint>

#include "models/pillar/poly_constants.h"

struct CUstream_st;  // CUDA's name for what a cudaStream_t points to

namespace pillarbox::pillar::cuda {

using Stream = CUstream_st*;

/// How a tensor's values are stored. Sums and polynomials are single precision either way.
enum class Element : std::uint32_t { Float32, BFloat16 };

/// What one block of threads adds up. Blocks' sums are added in a fixed order, in double precision:
/// the same input gives the same result, on every GPU.
struct Partial {
  double penalty;
  std::uint64_t outside;
  float largest;
};

/// Blocks that a row of values (below) is shared by: at most kMostBlocks.
inline constexpr std::uint32_t kMostBlocks = 2048;
std::uint32_t blocksOf(std::uint64_t count, Element element);

/// One pass over `rows` runs of `count` values each, one after the other in memory: y =
/// p(clamp(x)), the penalty's sum, and by row how many values are out of range and the largest
/// magnitude.
struct ForwardArguments {
  Constants constants;
  const double* coefficients;  ///< in place of those of `constants`; null: not
  const void* x;
  void* y;  ///< null: not wanted
  Element element;
  std::uint64_t count;
  std::uint32_t rows;
  Partial* partials;  ///< rows * blocksOf(count, element)
  float* penalty;     ///< by row; null: not wanted
  /// By row, two numbers: the values with |x| > range or not a number; the largest |x|, infinity if
  /// any was not finite. Null: not wanted.
  double* seen;
};

/// dx = p'(x) dy where |x| <= clipTo, else 0, plus the penalty's slope times *penaltyGradient.
struct BackwardArguments {
  Constants constants;
  const double* coefficients;    ///< as above
  const float* penaltyGradient;  ///< on the device, so that nobody waits for it; null: none
  const void* x;
  const void* dy;  ///< null: ones
  void* dx;
  Element element;
  std::uint64_t count;
};

/// sums[j] = sum of dy * clamp(x, -limit, limit)^j for j = 0 .. powers - 1.
struct PowerArguments {
  float limit;
  std::int32_t powers;  ///< at most kMaxCoefficients
  const void* x;
  const void* dy;  ///< null: ones
  Element element;
  std::uint64_t count;
  double* partials;  ///< kMaxCoefficients * blocksOf(count, element)
  double* sums;
};

/// Each enqueues its kernels on the stream, on the calling thread's current device, and returns.
/// All pointers are to that device's memory; x, y, dy and dx have the same layout, any that leaves
/// no gaps. Throws std::runtime_error where a launch fails.
void forward(Stream stream, const ForwardArguments& arguments);
void backward(Stream stream, const BackwardArguments& arguments);
void sumPowers(Stream stream, const PowerArguments& arguments);

}  // namespace pillarbox::pillar::cuda

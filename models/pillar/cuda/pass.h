// The activation's passes over tensors on a GPU: between LibTorch and the kernels.
//
// Everything is enqueued on LibTorch's current stream and returns at once. What a pass adds up
// stays on the device, as tensors; only who asks for a number waits for it.
#pragma once

#include <torch/torch.h>

#include "models/pillar/poly_constants.h"

namespace pillarbox::pillar::cuda {

/// Whether this build has the passes: it was made with nvcc and a LibTorch that has CUDA. If not,
/// nothing below is defined.
#ifdef PILLARBOX_FUSED_CUDA
inline constexpr bool kHasPass = true;
#else
inline constexpr bool kHasPass = false;
#endif

/// Whether a pass takes such a tensor: on a GPU, float32 or bfloat16.
inline bool takes(const torch::Tensor& x) {
  return kHasPass && x.is_cuda() &&
         (x.scalar_type() == torch::kFloat || x.scalar_type() == torch::kBFloat16);
}

struct ForwardResult {
  torch::Tensor penalty;  ///< float32 scalar; undefined where it was not wanted
  torch::Tensor seen;     ///< float64 [rows, 2]: out of range, largest |x|; undefined likewise
};

/// @param x             takes() it; any layout without gaps
/// @param coefficients  float64 on x's device, contiguous, in place of the constants' ones; or
///                      undefined
/// @param y             like x, the result; undefined: not wanted
/// @param rows          in how many equal parts of the storage values are counted, 0: not at all;
///                      one, where a penalty is wanted
ForwardResult forward(const Constants& constants, const torch::Tensor& coefficients,
                      const torch::Tensor& x, const torch::Tensor& y, bool wantsPenalty,
                      std::int64_t rows);

/// @param penaltyGradient  float32 scalar on x's device; or undefined
/// @param dy               as x in device, type and layout; undefined: ones
/// @param dx               likewise, the result
void backward(const Constants& constants, const torch::Tensor& coefficients,
              const torch::Tensor& penaltyGradient, const torch::Tensor& x, const torch::Tensor& dy,
              const torch::Tensor& dx);

/// The sums of dy * clamp(x, -limit, limit)^j for j = 0 .. powers - 1: float64, on x's device. dy
/// as in backward().
torch::Tensor sumPowers(const torch::Tensor& x, const torch::Tensor& dy, float limit,
                        std::int64_t powers);

}  // namespace pillarbox::pillar::cuda

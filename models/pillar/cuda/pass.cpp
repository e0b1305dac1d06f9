#include "models/pillar/cuda/pass.h"

#include <algorithm>

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "models/pillar/cuda/poly_relu.h"

namespace pillarbox::pillar::cuda {
namespace {

Element elementOf(const torch::Tensor& x) {
  return x.scalar_type() == torch::kBFloat16 ? Element::BFloat16 : Element::Float32;
}

Stream currentStream(const torch::Tensor& x) {
  return c10::cuda::getCurrentCUDAStream(x.device().index()).stream();
}

template <typename T = void>
T* addressOf(const torch::Tensor& tensor) {
  return tensor.defined() ? static_cast<T*>(tensor.data_ptr()) : nullptr;
}

// Memory for blocks' sums. Given back when the tensor goes, for later work of the same stream only:
// LibTorch's allocator sees to that.
torch::Tensor scratch(const torch::Tensor& x, std::size_t bytes) {
  return torch::empty({static_cast<std::int64_t>(bytes)}, x.options().dtype(torch::kByte));
}

}  // namespace

ForwardResult forward(const Constants& constants, const torch::Tensor& coefficients,
                      const torch::Tensor& x, const torch::Tensor& y, bool wantsPenalty,
                      std::int64_t rows) {
  const c10::cuda::CUDAGuard guard(x.device());
  ForwardResult result;
  torch::Tensor partials;
  const std::int64_t parts = std::max<std::int64_t>(rows, 1);
  const auto count = static_cast<std::uint64_t>(x.numel() / parts);
  const Element element = elementOf(x);
  if (wantsPenalty) result.penalty = torch::empty({}, x.options().dtype(torch::kFloat));
  if (rows > 0) result.seen = torch::empty({rows, 2}, x.options().dtype(torch::kDouble));
  if (wantsPenalty || rows > 0) {
    partials =
        scratch(x, static_cast<std::size_t>(parts) * blocksOf(count, element) * sizeof(Partial));
  }
  forward(currentStream(x), {.constants = constants,
                             .coefficients = addressOf<const double>(coefficients),
                             .x = addressOf(x),
                             .y = addressOf(y),
                             .element = element,
                             .count = count,
                             .rows = static_cast<std::uint32_t>(parts),
                             .partials = addressOf<Partial>(partials),
                             .penalty = addressOf<float>(result.penalty),
                             .seen = addressOf<double>(result.seen)});
  return result;
}

void backward(const Constants& constants, const torch::Tensor& coefficients,
              const torch::Tensor& penaltyGradient, const torch::Tensor& x, const torch::Tensor& dy,
              const torch::Tensor& dx) {
  const c10::cuda::CUDAGuard guard(x.device());
  backward(currentStream(x), {.constants = constants,
                              .coefficients = addressOf<const double>(coefficients),
                              .penaltyGradient = addressOf<const float>(penaltyGradient),
                              .x = addressOf(x),
                              .dy = addressOf(dy),
                              .dx = addressOf(dx),
                              .element = elementOf(x),
                              .count = static_cast<std::uint64_t>(x.numel())});
}

torch::Tensor sumPowers(const torch::Tensor& x, const torch::Tensor& dy, float limit,
                        std::int64_t powers) {
  const c10::cuda::CUDAGuard guard(x.device());
  const auto count = static_cast<std::uint64_t>(x.numel());
  const Element element = elementOf(x);
  const torch::Tensor sums = torch::empty({powers}, x.options().dtype(torch::kDouble));
  const torch::Tensor partials =
      scratch(x, blocksOf(count, element) * kMaxCoefficients * sizeof(double));
  sumPowers(currentStream(x), {.limit = limit,
                               .powers = static_cast<std::int32_t>(powers),
                               .x = addressOf(x),
                               .dy = addressOf(dy),
                               .element = element,
                               .count = count,
                               .partials = addressOf<double>(partials),
                               .sums = addressOf<double>(sums)});
  return sums;
}

}  // namespace pillarbox::pillar::cuda

// The polynomial activation that PILLAR trains with, and the penalty that keeps its inputs in
// range.
//
// A low-degree polynomial imitates ReLU only on [-B, B]; outside, its highest power takes over, and
// because every layer feeds the next one a single escaping value ends in infinity a few layers
// later. Training therefore does three things to the input x of every activation (PILLAR, eprint
// 2023, "Fast and Private Inference of Deep Neural Networks by Co-designing Activation Functions",
// section 5):
//
//   y       = p(clamp(x, -B, B))            clamped while training, never afterwards
//   penalty = sum over x of |x / R|^e       R a little smaller than B, e = 10
//
// The penalty is a sum over all inputs, not a mean: one outlier has to hurt, however many values
// behave. It is taken before the clamp, so that it pulls on values whose gradient the clamp cuts.
//
// |x / R|^10 overflows a float at a few thousand and its derivative dwarfs every other gradient
// long before. Beyond |x| = kPenaltyKnee * R it continues as its own tangent, which leaves the
// penalty convex, continuously differentiable and bounded in slope.
//
// Written as tensor operations this costs about ten passes over memory, more than half of a
// training step on a CPU. Here the forward pass reads x once and writes y once, the backward pass
// reads x and dy and writes dx; penalty, out-of-range count and largest |x| are taken from the same
// cache lines. On a GPU kernels do the same (cuda/poly_relu.cuh) where the build has them.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "models/pillar/poly_constants.h"

namespace pillarbox::pillar {

/// What an activation layer does to its input.
struct ActivationSettings {
  /// p's coefficients, constant term first, 2 to 9 of them.
  std::vector<double> coefficients{322 / 1024.0, 512 / 1024.0, 160 / 1024.0, 0.0, -3 / 1024.0};
  double range = 5.0;         ///< B: what counts as out of range, and where clipping happens
  double penaltyRange = 4.8;  ///< R
  int penaltyExponent = 10;   ///< even, 2 to 16; 0 takes no penalty
  bool clip = true;           ///< clamp to [-B, B] before the polynomial
};

/// What passes saw of an activation's inputs. A GPU's counts stay there until somebody asks: the
/// first look at them waits for the GPU and copies 16 bytes, so ask when the whole network's work
/// is under way. Not for several threads at once, looks included.
class ActivationStatistics {
 public:
  ActivationStatistics() = default;
  ActivationStatistics(std::int64_t count, std::int64_t outOfRange, float largest)
      : m_count(count), m_outOfRange(outOfRange), m_largest(largest) {}
  /// @param counted  two float64 on a GPU, of `count` values: out of range, and the largest |x|
  ActivationStatistics(std::int64_t count, torch::Tensor counted)
      : m_count(count), m_counted(std::move(counted)) {}

  /// Values seen.
  std::int64_t count() const { return m_count; }
  /// Of them with |x| > B or not a number.
  std::int64_t outOfRange() const;
  /// The largest |x|; infinity if any was not finite.
  float largest() const;
  /// Waits for a GPU only where both have counts there.
  void add(const ActivationStatistics& other);

 private:
  void settle() const;

  std::int64_t m_count = 0;
  // What is known here, without what m_counted holds.
  mutable std::int64_t m_outOfRange = 0;
  mutable float m_largest = 0;
  mutable torch::Tensor m_counted;
};

/// Whether what follows is one pass over such a tensor, by loops or kernels of its own: on the CPU
/// float32; on a GPU float32 and bfloat16, where the build has the kernels. If not, ordinary tensor
/// operations do the same, more slowly.
bool isFused(const torch::Tensor& x);

struct ActivationOutput {
  torch::Tensor value;    ///< p(x), shape and memory format of x
  torch::Tensor penalty;  ///< scalar, float32, differentiable
};

/// Applies the activation. Fused, nothing here waits for a GPU; unfused, statistics do.
///
/// @param x           floating point, any shape
/// @param settings    see above; throws std::invalid_argument if out of the stated limits
/// @param statistics  added to, if not null
ActivationOutput polyRelu(const torch::Tensor& x, const ActivationSettings& settings,
                          ActivationStatistics* statistics = nullptr);

/// The same function as a composition of differentiable tensor operations, on any device: slower,
/// and the ground truth of the fused pass in the tests.
ActivationOutput polyReluReference(const torch::Tensor& x, const ActivationSettings& settings);

/// The same with trainable coefficients: `coefficients` (float64, one dimension, constant term
/// first, 2 to 9 of them) take the place of settings.coefficients and receive a gradient where they
/// require one; the polynomial's value at the clamped input is what they are responsible for.
ActivationOutput polyRelu(const torch::Tensor& x, const torch::Tensor& coefficients,
                          const ActivationSettings& settings,
                          ActivationStatistics* statistics = nullptr);

/// The means of clamp(x, -limit, limit)^j for j = 0 .. count - 1 (count at most 9), as a float64
/// tensor that x receives a gradient through. Fused, two passes over x, one each way.
torch::Tensor powerMeans(const torch::Tensor& x, double limit, int count);

/// Statistics of x alone. Fused, one pass without temporaries.
ActivationStatistics measure(const torch::Tensor& x, double range);

/// Statistics of every x[i]; the same cost, and at most one wait for a GPU.
std::vector<ActivationStatistics> measureEach(const torch::Tensor& x, double range);

inline constexpr std::size_t kHistogramBins = 60;
inline constexpr double kHistogramReach = 1.5;  ///< times B

/// Counts every sixteenth value of x, at least, into kHistogramBins equal bins over
/// [-kHistogramReach * range, kHistogramReach * range]; what lies beyond (or is not a number) goes
/// into the outermost ones. An empty histogram is sized first.
void addHistogram(const torch::Tensor& x, double range, std::vector<std::uint64_t>& histogram);

/// The penalty's exponent and coefficient in an epoch (counted from 0): in the first four they rise
/// to their final values (4, 6, 8, 10 and a hundredth, a fiftieth, a tenth, a fifth).
struct PenaltyStrength {
  int exponent = 10;
  double coefficient = 5e-5;
};
PenaltyStrength penaltyAt(int epoch, const PenaltyStrength& final);

}  // namespace pillarbox::pillar

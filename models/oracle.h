// What the two parties should arrive at, computed by one party in plain sight.
//
// Two evaluations of a model, neither of which shares code with the engine:
//
// - evaluateFloat: the network as the file states it, in double precision. What any ONNX runtime
//   answers, up to its own rounding.
// - FixedPointOracle: the quantised network in exact integers. z is the exact sum of products, is
//   truncated by floor(z / 2^t); the polynomial is evaluated exactly, as
//   sum_j C_j 2^(f (d - j)) z^j, and truncated by floor as well. The two-party result differs from
//   it by the ulps of local truncation (each truncation is off by 0 or 1) and what the following
//   layers make of them, never by more.
//
// Plaintext: for tests, the trainer's report and model checks. Never part of an inference.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "models/description.h"
#include "models/float_graph.h"

namespace pillarbox::models {

/// The logits of a normalised image (channels first) in double precision.
/// Precondition: image.size() == graph.input.size().
std::vector<double> evaluateFloat(const FloatGraph& graph, std::span<const float> image);

/// What happened in one stage.
struct StageStatistics {
  double largest = 0;            ///< greatest |z|, as a real number
  std::uint64_t outOfRange = 0;  ///< elements with |z| > range; 0 in the last stage
};

struct FixedPointResult {
  std::vector<std::int64_t> logits;  ///< with outputBits fraction bits
  std::vector<StageStatistics> stages;
};

/// Every intermediate tensor of one evaluation, by stage.
struct FixedPointTrace {
  std::vector<std::vector<std::int64_t>> z;        ///< before truncation, mod 2^64
  std::vector<std::vector<std::int64_t>> outputs;  ///< after truncation and activation
};

class FixedPointOracle {
 public:
  /// `model` and `weights` must be valid together (see validate); both are copied.
  /// Cost: eight bytes a weight.
  FixedPointOracle(PublicModel model, ModelWeights weights, double range = 5.0);
  ~FixedPointOracle();
  FixedPointOracle(FixedPointOracle&&) noexcept;
  FixedPointOracle& operator=(FixedPointOracle&&) noexcept;

  /// The image as the client shares it: round(x * 2^f), ties away from zero.
  std::vector<std::int64_t> toFixed(std::span<const float> image) const;

  /// Evaluates one normalised image. Thread-safe.
  /// Precondition: image.size() == model.input.size().
  FixedPointResult evaluate(std::span<const float> image, FixedPointTrace* trace = nullptr) const;
  /// The same from integers with f fraction bits.
  FixedPointResult evaluateFixed(std::span<const std::int64_t> image,
                                 FixedPointTrace* trace = nullptr) const;
  /// Many images on `threads` threads (0: one a core). Rethrows what a thread threw.
  std::vector<FixedPointResult> evaluateAll(std::span<const std::vector<float>> images,
                                            unsigned threads = 0) const;

 private:
  struct State;
  std::unique_ptr<State> m_state;
};

/// p(z) truncated to f fraction bits by floor, exactly: the activation of the oracle.
/// |z| < 2^63 has f fraction bits; arithmetic is mod 2^128, the result mod 2^64.
std::int64_t evaluatePolynomial(const Polynomial& polynomial, std::int64_t z,
                                std::uint32_t precisionBits);

/// Index of the greatest logit, the first of equals.
std::size_t largestIndex(std::span<const std::int64_t> logits);
std::size_t largestIndex(std::span<const double> logits);

}  // namespace pillarbox::models

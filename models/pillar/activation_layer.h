// An activation layer with a polynomial of its own.
//
// PILLAR uses one fixed polynomial everywhere (models/pillar/poly_relu.h). What has since been
// found to bring polynomial networks closer to ReLU gives every layer its own, and this module
// holds what that needs. All variants end, in inference, in one polynomial a layer with
// coefficients that are multiples of 2^-fractionBits: what a model file can hold and the two
// parties can evaluate.
//
// - Trainable coefficients: learned with the weights. The forward pass uses them rounded to their
//   final precision (a straight-through estimator passes the gradient), so that training sees what
//   inference will compute.
// - Coefficient tuning (SmartPAF, "Accurate Low-Degree Polynomial Approximation of Non-polynomial
//   Operators for Fast Private Inference in Homomorphic Encryption", MLSys 2024): start from the
//   least-squares fit of ReLU under the distribution of the layer's inputs, not a uniform one.
// - Dynamic scaling (SmartPAF): in training a layer's inputs are divided by what brings the largest
//   of the batch to B, ReLU being homogeneous: s * p(x / s). Inference uses the running maximum,
//   and after the dynamic phase training does too (static scaling). s goes into the coefficients.
// - Separately normalised terms (after AESPA, "Accuracy Preserving Low-degree Polynomial Activation
//   for Fast Private Inference", 2022): y = w_0 + sum_n w_n (h_n(x) - mean) / deviation with the
//   Hermite polynomials h_n, each normalised by its own statistics, the weights starting at ReLU's
//   Hermite expansion. AESPA normalises channel by channel in place of a batch norm; here the
//   batch norm before the activation stays and statistics are a layer's, which is why the result
//   is still one polynomial a layer.
//
// Statistics are taken of the clipped input, so an outlier moves nothing but the penalty.
#pragma once

#include <cstdint>
#include <vector>

#include <torch/torch.h>

#include "models/pillar/poly_relu.h"

namespace pillarbox::pillar {

struct LayerOptions {
  bool trainable = false;   ///< coefficients are parameters
  bool normalised = false;  ///< Hermite terms normalised separately; degree 2 to 4
  bool scaled = false;      ///< inputs are scaled into the range; excludes normalised
  bool tuned = false;       ///< coefficients are set once, layer by layer (setCoefficients)
  int fractionBits = 10;    ///< coefficients are multiples of 2^-this
  /// Whether layers differ at all; if not, no module is needed.
  bool any() const { return trainable || normalised || scaled || tuned; }
};

class PolyLayerImpl : public torch::nn::Module {
 public:
  /// Throws std::invalid_argument where the settings' degree does not suit the options.
  PolyLayerImpl(const ActivationSettings& settings, const LayerOptions& options);

  /// `settings` as for polyRelu; its coefficients are not looked at, its ranges are in units of the
  /// scaled input. With `dynamic` the scale follows the batch (training mode only).
  ActivationOutput forward(const torch::Tensor& x, const ActivationSettings& settings,
                           ActivationStatistics* statistics, bool dynamic);

  /// The polynomial of inference: integers over 2^fractionBits, constant term first.
  std::vector<std::int64_t> integers() const;
  /// What the layer's ranges are multiplied with: the scale, 1 without scaling.
  double scale() const;
  /// Sets the coefficients (of powers of x; not for normalised terms).
  void setCoefficients(const std::vector<double>& coefficients);
  /// The trainable parameter (of powers of x, or of normalised terms).
  const torch::Tensor& weights() const { return m_weights; }

 private:
  torch::Tensor effective(const torch::Tensor& means, double scale) const;
  torch::Tensor rounded(const torch::Tensor& coefficients) const;

  LayerOptions m_options;
  double m_range;
  std::int64_t m_count;     // of coefficients
  torch::Tensor m_hermite;  // [count][count]: the Hermite polynomials' coefficients
  torch::Tensor m_weights;
  torch::Tensor m_means;  // running means of powers, for normalised terms
  torch::Tensor m_scale;  // running scale
};
TORCH_MODULE(PolyLayer);

/// The least-squares fit of ReLU by a polynomial of this degree, under the distribution of the
/// values of x (clipped to [-range, range]) with a tenth of a uniform distribution mixed in, which
/// keeps the polynomial near ReLU where values are rare. Constant term first.
std::vector<double> fitToInputs(const torch::Tensor& x, int degree, double range);

}  // namespace pillarbox::pillar

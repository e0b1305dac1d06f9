// Writes model files (models/FORMAT.md): ordinary ONNX operators only, batch norms folded in, the
// activation in Horner's form, facts as metadata.
//
// IR version 8, operator set 17. Coefficients are written as the float32 nearest to k / 2^p, which
// is exact for p up to 24, so that any runtime evaluates the very polynomial that the two parties
// do.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/core/result.h"
#include "models/architectures/architecture.h"

namespace pillarbox::training {

/// A convolution's weights [out][in][k][k] or a fully connected layer's [out][in], and its bias.
struct LayerWeights {
  std::vector<float> weight;
  std::vector<float> bias;
};

struct ModelFacts {
  std::string name;  ///< the graph's name
  std::vector<std::string> labels;
  std::array<float, 3> mean{};
  std::array<float, 3> std{};
  int precisionBits = 12;
  std::vector<std::int64_t> polynomial;  ///< over 2^fractionBits, constant term first
  int fractionBits = 10;
  double range = 5.0;
  /// Where activation layers differ: one each, in order, over 2^fractionBits like `polynomial`,
  /// which is then not looked at. Empty: all have `polynomial`.
  std::vector<std::vector<std::int64_t>> layerPolynomials;
  nlohmann::json training = nlohmann::json::object();
};

/// The bytes of a model file. `weights` has an entry for each Convolution and Linear layer.
/// Errors: InvalidArgument (a layer without weights, or of other sizes; labels that do not match;
/// weights that are not finite), Unsupported (a batch norm that cannot be folded).
Result<std::string> makeOnnx(const architectures::Architecture& architecture,
                             const std::map<std::string, LayerWeights>& weights,
                             const ModelFacts& facts);

}  // namespace pillarbox::training

// A network from an ONNX file as the start of a training run.
//
// Files come from PyTorch's exporter, as a rule in evaluation mode, where batch norms have been
// folded into the convolutions before them. Training for polynomial activations wants them back: an
// input that drifts out of range has nothing else to rein it in. So every convolution gets a batch
// norm that does nothing at first, and calibrate() then gives it the statistics of its inputs and
// the scale and shift that undo them: the network computes what it did, and trains as if it had had
// batch norms all along.
//
// An activation in the file (ReLU, or a polynomial) becomes whatever the run is configured to use.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/core/result.h"
#include "models/architectures/architecture.h"
#include "models/training/network.h"
#include "models/training/onnx_writer.h"

namespace pillarbox::training {

struct ImportedNetwork {
  architectures::Architecture architecture;
  std::map<std::string, LayerWeights> weights;  ///< of convolutions and fully connected layers
  /// Scale and shift a channel of batch norms that the file has; the others do nothing.
  std::map<std::string, LayerWeights> norms;
  std::vector<std::string> labels;  ///< empty where the file has none
  std::vector<float> mean, std;     ///< the same
};

/// Reads networks as PyTorch's exporters write them (models/FORMAT.md, section 1.7).
/// Errors: those of models::readForTraining; Unsupported (windows or paddings that differ between
/// height and width, an input that is not square with three channels, a batch norm that follows
/// neither convolution nor fully connected layer).
Result<ImportedNetwork> importOnnx(const std::filesystem::path& path);

/// Copies the weights. Layers whose size is another in `network` (the last one, where the run has
/// other classes) keep what they have.
void loadImported(const ImportedNetwork& imported, Network network);

/// Gives every batch norm the statistics of its inputs on these images (normalised), without
/// changing what the network computes in evaluation mode. Activations are taken to be ReLU.
void calibrate(Network network, const torch::Tensor& images);

nlohmann::json toJson(const architectures::Architecture& architecture);
/// Errors: Format.
Result<architectures::Architecture> architectureFromJson(const nlohmann::json& value);

}  // namespace pillarbox::training

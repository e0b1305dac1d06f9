// The networks that measurements run on: model files, and the paper's networks with random weights,
// for which nothing has to be trained.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "models/loaded_model.h"

namespace pillarbox::bench {

/// "minionn", "vgg16", "resnet18", "resnet110" (CIFAR-10), "resnet32" (CIFAR-100), "resnet50"
/// (ImageNet, 224 pixels), and "pillar7", the shape of the shipped model.
std::vector<std::string> networkNames();

/// One of them, with random weights and activations of degree 4 that stay within their range for
/// images from randomImage(). Errors: NotFound (names the networks).
Result<models::LoadedModel> randomNetwork(const std::string& name, std::uint64_t seed = 1);

/// A normalised image: uniform values in [-1.5, 1.5).
std::vector<float> randomImage(const models::Shape& shape, std::uint64_t seed);

struct Layer {
  models::LinearOp op;      ///< convolution or fully connected; without name, inputs and weights
  std::uint32_t count = 1;  ///< how often the network has it
};

/// The different shapes among a network's layers with weights, in order of appearance.
std::vector<Layer> layersOf(const models::PublicModel& model);

/// Multiply-adds of one application.
std::uint64_t multiplyAdds(const models::LinearOp& op);
std::uint64_t multiplyAdds(const models::PublicModel& model);

/// For example "64->128 3x3/2 @32".
std::string shapeText(const models::LinearOp& op);

}  // namespace pillarbox::bench

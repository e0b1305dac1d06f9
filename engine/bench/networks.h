// Layer shapes of the networks in the paper, for measurements that need no trained model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/description.h"

namespace pillarbox::bench {

struct Layer {
  models::LinearOp op;      ///< convolution or fully connected
  std::uint32_t count = 1;  ///< how often the network has it
};

struct Network {
  std::string name;
  std::vector<Layer> layers;
  std::uint64_t activations = 0;  ///< values through a polynomial
  std::uint64_t multiplyAdds() const;
};

/// Multiply-adds of one application.
std::uint64_t multiplyAdds(const models::LinearOp& op);

/// For example "64->128 3x3/2 @32".
std::string shapeText(const models::LinearOp& op);

/// "minionn" and "resnet18" (CIFAR-10, 32 x 32), "resnet32" (CIFAR-100), "resnet50" (ImageNet,
/// 224).
const std::vector<Network>& networks();

}  // namespace pillarbox::bench

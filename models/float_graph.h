// A network as its model file states it: real-valued layers, before any of it becomes integers.
//
// This is the ground truth that the fixed-point network is compared with. The reader of model files
// (models/onnx_reader.h) builds it, models/quantise.h turns it into stages, models/oracle.h
// evaluates it. Batch norms are kept as they are (Affine), so that the float evaluation does not
// share the folding with the code that it checks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/description.h"

namespace pillarbox::models {

enum class NodeKind : std::uint8_t {
  Convolution,
  FullyConnected,
  Affine,       ///< scale and shift a channel: batch norm at inference
  AveragePool,  ///< divides by the whole window, zeros outside included
  Add,          ///< two or more inputs of one shape
  Polynomial,   ///< an activation, element by element
  Relu,         ///< only in networks that are yet to be trained (readForTraining)
};

/// One layer. Value 0 is the image; node i computes value i + 1.
struct FloatNode {
  NodeKind kind = NodeKind::Add;
  std::string name;  ///< the ONNX node's, printable
  std::vector<std::uint32_t> inputs;
  Shape in;  ///< of the first input
  Shape out;
  std::uint32_t kernelH = 1, kernelW = 1;
  std::uint32_t strideH = 1, strideW = 1;
  std::uint32_t padTop = 0, padLeft = 0, padBottom = 0, padRight = 0;
  std::vector<float> weights;  ///< Convolution [outC][inC][kH][kW]; FullyConnected [out][in]
  std::vector<double> scale;   ///< Affine, one a channel
  std::vector<double> bias;    ///< Convolution, FullyConnected, Affine: one a channel
  Polynomial polynomial;       ///< Polynomial
};

struct FloatGraph {
  Shape input;
  std::vector<FloatNode> nodes;  ///< every input comes before its use
  std::uint32_t output = 0;      ///< the value that holds the logits

  const Shape& shape(std::uint32_t value) const {
    return value == 0 ? input : nodes[value - 1].out;
  }
};

}  // namespace pillarbox::models

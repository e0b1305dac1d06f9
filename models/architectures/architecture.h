// The networks that can be trained, as lists of layers.
//
// An architecture is data: the module that trains it, the export to ONNX and the counts below all
// walk the same list. Shapes and sizes follow PILLAR's networks (with batch norm before every
// activation and average instead of maximum pooling, so that everything between two activations is
// linear and costs one round trip), plus two that wait less:
//
//   pillar7    six 3x3 convolutions (32, 64 | 96, 96 | 128, 128), two average poolings, a global
//   one,
//              one fully connected layer: 7 round trips, 163,840 activations, 0.4 M parameters.
//              MiniONN's cost, but widening where the image shrinks.
//   resnet9    shallow and wide, for links with long round trips: eight 3x3 convolutions (64, 128 |
//              128, 128, 256 | 512 | 512, 512; two pairs with a shortcut around them), three
//              average poolings, a global one, one fully connected layer: 9 round trips where
//              ResNet-18 has 18, 376,832 activations, 6.6 M parameters. The structure is that of
//              David Page's ResNet-9, with averages for maxima.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "models/description.h"

namespace pillarbox::architectures {

enum class LayerKind : std::uint8_t {
  Convolution,
  BatchNorm,
  Activation,
  AveragePool,  ///< zeros outside the image count
  GlobalAveragePool,
  Flatten,
  Linear,
  Add,
};

/// One layer. Value 0 is the image; layer i computes value i + 1, the last one the logits.
struct Layer {
  LayerKind kind = LayerKind::Add;
  std::string name;         ///< unique; of letters, digits and '_'
  std::vector<int> inputs;  ///< values; one, except for Add
  int outputs = 0;          ///< Convolution, Linear: channels, features
  int kernel = 1;
  int stride = 1;
  int padding = 0;
  bool bias = false;  ///< Convolution, Linear
};

struct Architecture {
  std::string name;
  models::Shape input;
  int classes = 10;
  std::vector<Layer> layers;
};

/// A network by name, for listings.
struct ArchitectureInfo {
  std::string name;
  std::string summary;
  std::uint32_t inputSize;     ///< the one it was designed for
  std::uint32_t sizeMultiple;  ///< input sizes must be multiples of this
  double penaltyRange;         ///< R of the penalty (models/pillar/poly_relu.h) that suits it
};

/// All networks.
const std::vector<ArchitectureInfo>& architectureList();

/// Builds a network. Errors: NotFound (lists the names), InvalidArgument (classes, size).
Result<Architecture> makeArchitecture(const std::string& name, int classes,
                                      std::uint32_t inputSize);

/// The shape of every value (layers.size() + 1 of them).
/// Errors: InvalidArgument, naming a layer whose inputs do not fit.
Result<std::vector<models::Shape>> inferShapes(const Architecture& architecture);

struct Counts {
  std::uint64_t parameters = 0;    ///< weights, biases, batch norm scales and shifts
  std::uint64_t activations = 0;   ///< values that go through a polynomial
  std::uint64_t multiplyAdds = 0;  ///< of one inference
  int convolutions = 0;
  int rounds = 0;  ///< stages: activation layers + 1
};
Counts countsOf(const Architecture& architecture);

}  // namespace pillarbox::architectures

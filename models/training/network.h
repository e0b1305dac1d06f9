// An architecture as a trainable module.
//
// The module walks the architecture's list of layers; parameters carry the layers' names (conv1,
// bn1, fc, ...), which is what checkpoints are keyed by.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "models/architectures/architecture.h"
#include "models/pillar/activation_layer.h"
#include "models/pillar/poly_relu.h"

namespace pillarbox::training {

class Group;

enum class ActivationKind { Polynomial, Relu };

/// What a forward pass saw at one activation layer.
struct LayerStatistics {
  std::string name;
  pillar::ActivationStatistics values;
  std::vector<std::uint64_t> histogram;  ///< of a sample (pillar::addHistogram); where taken
};

/// How to run the network.
struct ForwardOptions {
  bool clip = false;        ///< clamp activations' inputs (training)
  int penaltyExponent = 0;  ///< 0 takes no penalty
  /// Added to, one entry an activation layer, if not null (see Network::emptyStatistics).
  std::vector<LayerStatistics>* statistics = nullptr;
  /// If not null, receives for each image of the batch the largest |x| over all activation layers,
  /// in units in which every layer's range is that of the settings (scaled layers have others).
  std::vector<float>* largestPerImage = nullptr;
  bool dynamicScale = false;  ///< scaled layers follow the batch (training mode)
  /// If not null, receives the input of the layer with this name.
  torch::Tensor* inputsOf = nullptr;
  std::string inputsOfLayer{};
  /// The processes whose parts of the batch make up the whole one (training
  /// mode).
  Group* group = nullptr;
};

class NetworkImpl : public torch::nn::Module {
 public:
  /// Weights are drawn from the global generator (torch::manual_seed).
  NetworkImpl(architectures::Architecture architecture, pillar::ActivationSettings activation,
              ActivationKind kind, const pillar::LayerOptions& layers = {});

  struct Output {
    torch::Tensor logits;   ///< [n, classes]
    torch::Tensor penalty;  ///< scalar: the activation layers' penalties, averaged over the layers
  };
  Output forward(torch::Tensor images, const ForwardOptions& options);

  const architectures::Architecture& architecture() const { return m_architecture; }
  const pillar::ActivationSettings& activation() const { return m_activation; }
  ActivationKind kind() const { return m_kind; }
  int activationLayers() const { return m_activationLayers; }

  /// Stores convolutions' weights channel by channel last, in which order
  /// convolutions are fastest where the images come in it too.
  void useChannelsLast();

  /// Progressive replacement: the first `count` activation layers are polynomials, the others still
  /// ReLU (with the penalty on their inputs all the same). All are polynomials at first.
  void replaceLayers(int count) { m_replaced = count; }

  /// Fits every layer's polynomial to its inputs on these images (normalised, on the network's
  /// device), with ReLU everywhere. The network's layers must have polynomials of their own.
  void tuneCoefficients(const torch::Tensor& images);

  /// One activation layer's polynomial in inference.
  struct LayerPolynomial {
    std::vector<std::int64_t> coefficients;  ///< over 2^fractionBits, constant term first
    double range = 5.0;
  };
  /// By layer, in order; empty where all layers share the settings' polynomial.
  std::vector<LayerPolynomial> layerPolynomials() const;

  /// Trainable coefficients, one tensor a layer; empty if there are none.
  std::vector<torch::Tensor> coefficientParameters() const;
  std::vector<LayerStatistics> emptyStatistics() const;

  /// A convolution's or fully connected layer's weights with the batch norm that follows it
  /// multiplied in, as inference wants them.
  struct Folded {
    torch::Tensor weight;  ///< float32, contiguous
    torch::Tensor bias;
  };
  /// By layer name. The result of running statistics, not of a batch's.
  std::map<std::string, Folded> foldBatchNorms() const;

 private:
  void initialise();
  pillar::PolyLayerImpl* ownPolynomial(const std::string& name) const;

  architectures::Architecture m_architecture;
  pillar::ActivationSettings m_activation;
  ActivationKind m_kind;
  std::vector<int> m_lastUse;  // by value: the last layer that reads it
  int m_activationLayers = 0;
  int m_replaced = std::numeric_limits<int>::max();
};
TORCH_MODULE(Network);

}  // namespace pillarbox::training

// An architecture as a trainable module.
//
// The module walks the architecture's list of layers; parameters carry the layers' names (conv1,
// bn1, fc, ...), which is what checkpoints are keyed by.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "models/architectures/architecture.h"
#include "models/pillar/poly_relu.h"

namespace pillarbox::training {

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
  /// If not null, receives the largest |x| over all activation layers for each image of the batch.
  std::vector<float>* largestPerImage = nullptr;
};

class NetworkImpl : public torch::nn::Module {
 public:
  /// Weights are drawn from the global generator (torch::manual_seed).
  NetworkImpl(architectures::Architecture architecture, pillar::ActivationSettings activation,
              ActivationKind kind);

  struct Output {
    torch::Tensor logits;   ///< [n, classes]
    torch::Tensor penalty;  ///< scalar: the activation layers' penalties, averaged over the layers
  };
  Output forward(torch::Tensor images, const ForwardOptions& options);

  const architectures::Architecture& architecture() const { return m_architecture; }
  const pillar::ActivationSettings& activation() const { return m_activation; }
  ActivationKind kind() const { return m_kind; }
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

  architectures::Architecture m_architecture;
  pillar::ActivationSettings m_activation;
  ActivationKind m_kind;
  std::vector<int> m_lastUse;  // by value: the last layer that reads it
  int m_activationLayers = 0;
};
TORCH_MODULE(Network);

}  // namespace pillarbox::training

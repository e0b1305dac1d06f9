#include "models/architectures/graph.h"

#include <string>
#include <utility>

#include "models/quantise.h"

namespace pillarbox::architectures {

using models::FloatNode;
using models::NodeKind;

models::FloatGraph graphOf(const Architecture& architecture, const models::Polynomial& activation,
                           const WeightsFor& weights) {
  const std::vector<models::Shape> shapes = inferShapes(architecture).value();
  models::FloatGraph graph;
  graph.input = architecture.input;
  std::vector<std::uint32_t> valueOf = {0};  // of a layer's output in the graph
  for (std::size_t i = 0; i < architecture.layers.size(); ++i) {
    const Layer& layer = architecture.layers[i];
    FloatNode node;
    node.name = layer.name;
    node.out = shapes[i + 1];
    node.kernelH = node.kernelW = static_cast<std::uint32_t>(layer.kernel);
    node.strideH = node.strideW = static_cast<std::uint32_t>(layer.stride);
    node.padTop = node.padLeft = node.padBottom = node.padRight =
        static_cast<std::uint32_t>(layer.padding);
    for (const int input : layer.inputs) {
      node.inputs.push_back(valueOf[static_cast<std::size_t>(input)]);
    }
    node.in = graph.shape(node.inputs.front());  // not flat, where a flattening is passed over
    switch (layer.kind) {
      case LayerKind::BatchNorm:  // folded into the weights before it
      case LayerKind::Flatten:
        valueOf.push_back(node.inputs.front());
        continue;
      case LayerKind::Convolution:
        node.kind = NodeKind::Convolution;
        weights(node);
        break;
      case LayerKind::Linear:
        node.kind = NodeKind::FullyConnected;
        weights(node);
        break;
      case LayerKind::Activation:
        node.kind = NodeKind::Polynomial;
        node.polynomial = activation;
        break;
      case LayerKind::GlobalAveragePool:
        node.kernelH = node.in.height;
        node.kernelW = node.in.width;
        [[fallthrough]];
      case LayerKind::AveragePool:
        node.kind = NodeKind::AveragePool;
        break;
      case LayerKind::Add:
        node.kind = NodeKind::Add;
        break;
    }
    graph.nodes.push_back(std::move(node));
    valueOf.push_back(static_cast<std::uint32_t>(graph.nodes.size()));
  }
  graph.output = valueOf.back();
  return graph;
}

Result<models::PublicModel> publicModelOf(const Architecture& architecture,
                                          const models::Polynomial& activation) {
  if (auto shapes = inferShapes(architecture); !shapes.ok()) return shapes.error();
  const models::FloatGraph graph = graphOf(architecture, activation, [](FloatNode& node) {
    const std::size_t fanIn = node.kind == NodeKind::FullyConnected
                                  ? node.in.size()
                                  : std::size_t{node.in.channels} * node.kernelH * node.kernelW;
    node.weights.assign(node.out.channels * fanIn, 0.0F);
    node.bias.assign(node.out.channels, 0.0);
  });
  PILLARBOX_ASSIGN(models::QuantisedNetwork network, models::quantise(graph, {}));
  models::PublicModel model;
  model.name = architecture.name;
  model.input = architecture.input;
  model.mean.assign(model.input.channels, 0.5F);
  model.std.assign(model.input.channels, 0.25F);
  model.precisionBits = network.precisionBits;
  model.outputBits = network.outputBits;
  model.stages = std::move(network.stages);
  for (std::uint64_t i = 0; i < model.stages.back().output.size(); ++i) {
    model.labels.push_back("class " + std::to_string(i));
  }
  PILLARBOX_TRY(models::validate(model));
  return model;
}

}  // namespace pillarbox::architectures

#include "engine/bench/networks.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <utility>

#include "models/architectures/architecture.h"
#include "models/quantise.h"

namespace pillarbox::bench {

namespace {

using architectures::Architecture;
using architectures::LayerKind;
using models::FloatNode;
using models::NodeKind;

int classesOf(const std::string& name) {
  return name == "resnet50" ? 1000 : name == "resnet32" ? 100 : 10;
}

/// Rows of `fanIn` weights of Euclidean norm `gain`, their sums near zero: what a layer puts out
/// then hardly depends on the mean of what goes in.
std::vector<float> randomWeights(std::size_t rows, std::size_t fanIn, double gain,
                                 std::mt19937_64& random) {
  std::vector<float> weights(rows * fanIn);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (std::size_t r = 0; r < rows; ++r) {
    float* row = weights.data() + r * fanIn;
    float mean = 0, norm = 0;
    for (std::size_t i = 0; i < fanIn; ++i) mean += row[i] = uniform(random);
    mean /= static_cast<float>(fanIn);
    for (std::size_t i = 0; i < fanIn; ++i) {
      row[i] -= 0.9F * mean;
      norm += row[i] * row[i];
    }
    const float factor = static_cast<float>(gain) / std::sqrt(norm);
    for (std::size_t i = 0; i < fanIn; ++i) row[i] *= factor;
  }
  return weights;
}

models::FloatGraph randomGraph(const Architecture& architecture,
                               const models::Polynomial& polynomial, std::uint64_t seed) {
  const std::vector<models::Shape> shapes = inferShapes(architecture).value();
  // The last convolution before a sum is small: many of them add up along the shortcuts.
  std::set<int> beforeSum;
  for (const auto& layer : architecture.layers) {
    if (layer.kind == LayerKind::Add) beforeSum.insert(layer.inputs.front());
  }
  std::mt19937_64 random(seed);
  models::FloatGraph graph;
  graph.input = architecture.input;
  std::vector<std::uint32_t> valueOf = {0};  // of a layer's output in the graph
  for (std::size_t i = 0; i < architecture.layers.size(); ++i) {
    const auto& layer = architecture.layers[i];
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
      case LayerKind::Convolution: {
        const bool small = beforeSum.contains(static_cast<int>(i) + 2);  // a batch norm between
        node.kind = NodeKind::Convolution;
        node.weights = randomWeights(node.out.channels,
                                     std::size_t{node.in.channels} * node.kernelH * node.kernelW,
                                     small ? 0.15 : 1.2, random);
        node.bias.resize(node.out.channels, 0.05);
        break;
      }
      case LayerKind::Linear:
        node.kind = NodeKind::FullyConnected;
        node.weights = randomWeights(node.out.channels, node.in.size(), 1.2, random);
        node.bias.resize(node.out.channels, 0.05);
        break;
      case LayerKind::Activation:
        node.kind = NodeKind::Polynomial;
        node.polynomial = polynomial;
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

}  // namespace

std::vector<std::string> networkNames() {
  std::vector<std::string> names;
  for (const auto& info : architectures::architectureList()) names.push_back(info.name);
  return names;
}

Result<models::LoadedModel> randomNetwork(const std::string& name, std::uint64_t seed) {
  PILLARBOX_ASSIGN(
      const Architecture architecture,
      architectures::makeArchitecture(name, classesOf(name), name == "resnet50" ? 224 : 32));
  models::LoadedModel loaded;
  loaded.graph = randomGraph(architecture, {10, {322, 512, 160, 0, -3}}, seed);
  PILLARBOX_ASSIGN(models::QuantisedNetwork network, models::quantise(loaded.graph, {}));
  models::PublicModel& model = loaded.model;
  model.name = name;
  model.input = architecture.input;
  model.mean.assign(model.input.channels, 0.5F);
  model.std.assign(model.input.channels, 0.25F);
  model.precisionBits = network.precisionBits;
  model.outputBits = network.outputBits;
  model.stages = std::move(network.stages);
  for (std::uint64_t i = 0; i < model.stages.back().output.size(); ++i) {
    model.labels.push_back("class " + std::to_string(i));
  }
  loaded.weights = std::move(network.weights);
  PILLARBOX_TRY(models::validate(model));
  PILLARBOX_TRY(models::validate(model, loaded.weights));
  loaded.failure = models::truncationFailureBound(model, 2 * loaded.range);
  return loaded;
}

std::vector<float> randomImage(const models::Shape& shape, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> uniform(-1.5F, 1.5F);
  std::vector<float> image(shape.size());
  for (float& value : image) value = uniform(random);
  return image;
}

std::vector<Layer> layersOf(const models::PublicModel& model) {
  std::vector<Layer> layers;
  for (const models::Stage& stage : model.stages) {
    for (models::LinearOp op : stage.ops) {
      if (!op.hasWeights()) continue;
      op.name.clear();
      op.inputs.clear();
      op.weightIndex = 0;
      const auto same = std::find_if(layers.begin(), layers.end(),
                                     [&](const Layer& layer) { return layer.op == op; });
      if (same != layers.end()) {
        ++same->count;
      } else {
        layers.push_back({std::move(op), 1});
      }
    }
  }
  return layers;
}

std::uint64_t multiplyAdds(const models::LinearOp& op) {
  if (op.kind == models::OpKind::FullyConnected) return op.weightCount();
  return op.out.size() * op.in.channels * op.kernelH * op.kernelW;
}

std::uint64_t multiplyAdds(const models::PublicModel& model) {
  std::uint64_t sum = 0;
  for (const Layer& layer : layersOf(model)) sum += layer.count * multiplyAdds(layer.op);
  return sum;
}

std::string shapeText(const models::LinearOp& op) {
  std::string text =
      std::to_string(op.kind == models::OpKind::FullyConnected ? op.in.size() : op.in.channels);
  text += "->" + std::to_string(op.out.channels);
  if (op.kind == models::OpKind::FullyConnected) return text + " dense";
  text += " " + std::to_string(op.kernelH) + "x" + std::to_string(op.kernelW);
  if (op.strideH != 1) text += "/" + std::to_string(op.strideH);
  return text + " @" + std::to_string(op.in.height);
}

}  // namespace pillarbox::bench

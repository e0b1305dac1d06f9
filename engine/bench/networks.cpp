#include "engine/bench/networks.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <utility>

#include "models/architectures/architecture.h"
#include "models/architectures/graph.h"
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
  // The last convolution before a sum is small: many of them add up along the shortcuts. Between
  // the two there is a batch norm.
  std::set<std::string> beforeSum;
  const auto layerOf = [&](int value) -> const architectures::Layer& {
    return architecture.layers[static_cast<std::size_t>(value - 1)];
  };
  for (const auto& layer : architecture.layers) {
    if (layer.kind != LayerKind::Add) continue;
    beforeSum.insert(layerOf(layerOf(layer.inputs.front()).inputs.front()).name);
  }
  std::mt19937_64 random(seed);
  return architectures::graphOf(architecture, polynomial, [&](FloatNode& node) {
    const std::size_t fanIn = node.kind == NodeKind::FullyConnected
                                  ? node.in.size()
                                  : std::size_t{node.in.channels} * node.kernelH * node.kernelW;
    node.weights =
        randomWeights(node.out.channels, fanIn, beforeSum.contains(node.name) ? 0.15 : 1.2, random);
    node.bias.resize(node.out.channels, 0.05);
  });
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

#include "models/training/onnx_import.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "models/onnx_reader.h"

namespace pillarbox::training {
namespace {

using architectures::Layer;
using architectures::LayerKind;
using models::FloatNode;
using models::NodeKind;
using nlohmann::json;

constexpr std::array<const char*, 8> kKinds = {
    "convolution",         "batch_norm", "activation", "average_pool",
    "global_average_pool", "flatten",    "linear",     "add"};

Error unsupported(const FloatNode& node, const std::string& why) {
  return Error{ErrorCode::Unsupported, "Node '" + node.name + "': " + why + "."};
}

class Converter {
 public:
  explicit Converter(const models::FloatGraph& graph) : m_graph(graph) {}

  Result<ImportedNetwork> run() {
    const models::Shape& input = m_graph.input;
    if (input.channels != 3 || input.height != input.width) {
      return Error{ErrorCode::Unsupported, "The network's input is not a square colour image."};
    }
    m_uses.assign(m_graph.nodes.size() + 1, 0);
    for (const FloatNode& node : m_graph.nodes) {
      for (const auto value : node.inputs) ++m_uses[value];
    }
    m_result.architecture.name = "imported";
    m_result.architecture.input = input;
    m_result.architecture.classes = static_cast<int>(m_graph.shape(m_graph.output).channels);
    m_values.assign(m_graph.nodes.size() + 1, 0);
    for (std::uint32_t i = 0; i < m_graph.nodes.size(); ++i) {
      PILLARBOX_TRY(convert(i));
    }
    // The layers' order makes the last one the output.
    auto& layers = m_result.architecture.layers;
    if (m_values[m_graph.output] != static_cast<int>(layers.size()) ||
        layers.back().kind != LayerKind::Linear) {
      return Error{ErrorCode::Unsupported,
                   "The network does not end with a fully connected layer."};
    }
    PILLARBOX_TRY(inferShapes(m_result.architecture));
    return std::move(m_result);
  }

 private:
  int add(Layer layer) {
    m_result.architecture.layers.push_back(std::move(layer));
    return static_cast<int>(m_result.architecture.layers.size());
  }
  std::string name(const char* kind) { return kind + std::to_string(++m_counts[kind]); }

  // Whether the only use of a value is a batch norm.
  bool normFollows(std::uint32_t value) const {
    if (m_uses[value] != 1) return false;
    for (const FloatNode& node : m_graph.nodes) {
      if (std::find(node.inputs.begin(), node.inputs.end(), value) != node.inputs.end()) {
        return node.kind == NodeKind::Affine;
      }
    }
    return false;
  }

  static Status square(const FloatNode& node) {
    const bool good = node.kernelH == node.kernelW && node.strideH == node.strideW &&
                      node.padTop == node.padLeft && node.padTop == node.padBottom &&
                      node.padTop == node.padRight;
    if (good) return {};
    return unsupported(node, "windows, strides and paddings must be the same in both directions");
  }

  Status convert(std::uint32_t index) {
    const FloatNode& node = m_graph.nodes[index];
    const std::uint32_t value = index + 1;
    const int in = m_values[node.inputs[0]];
    int out = 0;
    switch (node.kind) {
      case NodeKind::Convolution: {
        PILLARBOX_TRY(square(node));
        const std::string own = name("conv");
        out = add({LayerKind::Convolution,
                   own,
                   {in},
                   static_cast<int>(node.out.channels),
                   static_cast<int>(node.kernelH),
                   static_cast<int>(node.strideH),
                   static_cast<int>(node.padTop),
                   true});
        m_result.weights[own] = weightsOf(node);
        if (!normFollows(value)) out = add({LayerKind::BatchNorm, name("bn"), {out}});
        break;
      }
      case NodeKind::FullyConnected: {
        int flat = in;
        if (in == 0 || m_result.architecture.layers[static_cast<std::size_t>(in - 1)].kind !=
                           LayerKind::Flatten) {
          if (m_flat.find(in) == m_flat.end()) {
            flat = linearInput(in);
          } else {
            flat = m_flat[in];
          }
        }
        const std::string own = name("fc");
        out = add(
            {LayerKind::Linear, own, {flat}, static_cast<int>(node.out.channels), 1, 1, 0, true});
        m_result.weights[own] = weightsOf(node);
        break;
      }
      case NodeKind::Affine: {
        const Layer* before =
            in == 0 ? nullptr : &m_result.architecture.layers[static_cast<std::size_t>(in - 1)];
        if (before && before->kind == LayerKind::Linear && m_uses[node.inputs[0]] == 1) {
          fold(node, m_result.weights[before->name]);
          out = in;
          break;
        }
        if (before && before->kind == LayerKind::BatchNorm && m_uses[node.inputs[0]] == 1) {
          // Scale and shift by separate nodes are one norm.
          LayerWeights& norm = m_result.norms.at(before->name);
          for (std::size_t c = 0; c < norm.weight.size(); ++c) {
            norm.weight[c] = static_cast<float>(norm.weight[c] * node.scale[c]);
            norm.bias[c] = static_cast<float>(norm.bias[c] * node.scale[c] + node.bias[c]);
          }
          out = in;
          break;
        }
        while (before && before->kind == LayerKind::AveragePool && before->padding == 0) {
          const int earlier = before->inputs.front();
          before = earlier == 0
                       ? nullptr
                       : &m_result.architecture.layers[static_cast<std::size_t>(earlier - 1)];
        }
        if (!before || before->kind != LayerKind::Convolution) {
          return unsupported(node,
                             "a batch norm must follow a convolution or a fully connected layer");
        }
        const std::string own = name("bn");
        out = add({LayerKind::BatchNorm, own, {in}});
        LayerWeights& norm = m_result.norms[own];
        norm.weight.assign(node.scale.begin(), node.scale.end());
        norm.bias.assign(node.bias.begin(), node.bias.end());
        break;
      }
      case NodeKind::AveragePool:
        PILLARBOX_TRY(square(node));
        if (node.out.height == 1 && node.out.width == 1 && node.kernelH == node.in.height) {
          out = add({LayerKind::GlobalAveragePool, name("global"), {in}});
        } else {
          out = add({LayerKind::AveragePool,
                     name("pool"),
                     {in},
                     0,
                     static_cast<int>(node.kernelH),
                     static_cast<int>(node.strideH),
                     static_cast<int>(node.padTop)});
        }
        break;
      case NodeKind::Add:
        out = in;
        for (std::size_t i = 1; i < node.inputs.size(); ++i) {
          out = add({LayerKind::Add, name("add"), {out, m_values[node.inputs[i]]}});
        }
        break;
      case NodeKind::Polynomial:
      case NodeKind::Relu:
        out = add({LayerKind::Activation, name("act"), {in}});
        break;
    }
    m_values[value] = out;
    return {};
  }

  // A fully connected layer reads its input flat.
  int linearInput(int in) {
    const auto& layers = m_result.architecture.layers;
    // The output of a linear layer, with or without an activation, is flat already.
    int at = in;
    while (at > 0 && layers[static_cast<std::size_t>(at - 1)].kind == LayerKind::Activation) {
      at = layers[static_cast<std::size_t>(at - 1)].inputs.front();
    }
    const bool flat = at > 0 && layers[static_cast<std::size_t>(at - 1)].kind == LayerKind::Linear;
    return m_flat[in] = flat ? in : add({LayerKind::Flatten, name("flatten"), {in}});
  }

  static LayerWeights weightsOf(const FloatNode& node) {
    LayerWeights weights;
    weights.weight = node.weights;
    weights.bias.assign(node.bias.begin(), node.bias.end());
    return weights;
  }

  static void fold(const FloatNode& norm, LayerWeights& weights) {
    const std::size_t rows = weights.bias.size();
    const std::size_t columns = weights.weight.size() / rows;
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < columns; ++c) {
        float& w = weights.weight[r * columns + c];
        w = static_cast<float>(static_cast<double>(w) * norm.scale[r]);
      }
      weights.bias[r] =
          static_cast<float>(static_cast<double>(weights.bias[r]) * norm.scale[r] + norm.bias[r]);
    }
  }

  const models::FloatGraph& m_graph;
  ImportedNetwork m_result;
  std::vector<int> m_values;  // by value of the graph: the layers' value
  std::vector<int> m_uses;
  std::map<int, int> m_flat;
  std::map<std::string, int> m_counts;
};

void copyInto(const torch::Tensor& target, const std::vector<float>& values) {
  if (static_cast<std::size_t>(target.numel()) != values.size()) return;
  const torch::NoGradGuard guard;
  target.copy_(torch::tensor(values).view(target.sizes()));
}

}  // namespace

Result<ImportedNetwork> importOnnx(const std::filesystem::path& path) {
  PILLARBOX_ASSIGN(const models::TrainableGraph read, models::readForTraining(path));
  auto result = Converter(read.graph).run();
  if (!result.ok()) {
    return Error{result.error().code, path.string() + ": " + result.error().message};
  }
  result->labels = read.labels;
  result->mean = read.mean;
  result->std = read.std;
  return result;
}

void loadImported(const ImportedNetwork& imported, Network network) {
  const auto modules = network->named_children();
  for (const Layer& layer : network->architecture().layers) {
    if (const auto found = imported.weights.find(layer.name); found != imported.weights.end()) {
      const auto& [name, weights] = *found;
      if (auto* convolution = modules[name]->as<torch::nn::Conv2d>()) {
        copyInto(convolution->weight, weights.weight);
        copyInto(convolution->bias, weights.bias);
      } else if (auto* linear = modules[name]->as<torch::nn::Linear>()) {
        copyInto(linear->weight, weights.weight);
        copyInto(linear->bias, weights.bias);
      }
    }
    if (layer.kind == LayerKind::BatchNorm) {
      auto* norm = modules[layer.name]->as<torch::nn::BatchNorm2d>();
      const torch::NoGradGuard guard;
      norm->running_mean.zero_();
      norm->running_var.fill_(1 - norm->options.eps());
      norm->weight.fill_(1);
      norm->bias.zero_();
      if (const auto found = imported.norms.find(layer.name); found != imported.norms.end()) {
        copyInto(norm->weight, found->second.weight);
        copyInto(norm->bias, found->second.bias);
      }
    }
  }
}

void calibrate(Network network, const torch::Tensor& images) {
  const torch::NoGradGuard guard;
  const bool wasTraining = network->is_training();
  network->eval();
  network->replaceLayers(0);
  const auto modules = network->named_children();
  for (const Layer& layer : network->architecture().layers) {
    if (layer.kind != LayerKind::BatchNorm) continue;
    torch::Tensor inputs;
    ForwardOptions options;
    options.inputsOf = &inputs;
    options.inputsOfLayer = layer.name;
    network->forward(images, options);
    auto* norm = modules[layer.name]->as<torch::nn::BatchNorm2d>();
    const double eps = norm->options.eps();
    const torch::Tensor scale = norm->weight / torch::sqrt(norm->running_var + eps);
    const torch::Tensor shift = norm->bias - norm->running_mean * scale;
    norm->running_mean.copy_(inputs.mean({0, 2, 3}));
    norm->running_var.copy_(inputs.var({0, 2, 3}, /*unbiased=*/false));
    norm->weight.copy_(scale * torch::sqrt(norm->running_var + eps));
    norm->bias.copy_(shift + norm->running_mean * scale);
  }
  network->replaceLayers(network->activationLayers());
  network->train(wasTraining);
}

json toJson(const architectures::Architecture& a) {
  json layers = json::array();
  for (const Layer& l : a.layers) {
    layers.push_back({{"kind", kKinds[static_cast<std::size_t>(l.kind)]},
                      {"name", l.name},
                      {"inputs", l.inputs},
                      {"outputs", l.outputs},
                      {"kernel", l.kernel},
                      {"stride", l.stride},
                      {"padding", l.padding},
                      {"bias", l.bias}});
  }
  return {{"name", a.name}, {"size", a.input.height}, {"classes", a.classes}, {"layers", layers}};
}

Result<architectures::Architecture> architectureFromJson(const json& value) {
  architectures::Architecture a;
  try {
    value.at("name").get_to(a.name);
    const auto size = value.at("size").get<std::uint32_t>();
    a.input = {3, size, size};
    value.at("classes").get_to(a.classes);
    for (const json& item : value.at("layers")) {
      Layer layer;
      const auto kind = std::find(kKinds.begin(), kKinds.end(), item.at("kind").get<std::string>());
      if (kind == kKinds.end()) {
        return Error{ErrorCode::Format, "The network has a layer of an unknown kind."};
      }
      layer.kind = static_cast<LayerKind>(kind - kKinds.begin());
      item.at("name").get_to(layer.name);
      item.at("inputs").get_to(layer.inputs);
      item.at("outputs").get_to(layer.outputs);
      item.at("kernel").get_to(layer.kernel);
      item.at("stride").get_to(layer.stride);
      item.at("padding").get_to(layer.padding);
      item.at("bias").get_to(layer.bias);
      const bool two = layer.kind == LayerKind::Add;
      const auto known = static_cast<int>(a.layers.size());
      if (layer.inputs.size() != (two ? 2U : 1U) || layer.kernel < 1 || layer.stride < 1 ||
          layer.padding < 0 || std::any_of(layer.inputs.begin(), layer.inputs.end(), [&](int i) {
            return i < 0 || i > known;
          })) {
        return Error{ErrorCode::Format, "Layer " + layer.name + " makes no sense."};
      }
      a.layers.push_back(std::move(layer));
    }
  } catch (const json::exception& e) {
    return Error{ErrorCode::Format, std::string("The network's layers are damaged: ") + e.what()};
  }
  PILLARBOX_TRY(inferShapes(a));
  return a;
}

}  // namespace pillarbox::training

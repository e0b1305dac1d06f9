#include "models/training/network.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "models/training/group.h"

namespace pillarbox::training {
namespace {

using architectures::Layer;
using architectures::LayerKind;

// The largest |x| of every image of a batch, merged into what earlier layers gave.
// `scale` is what the layer's range is larger by than the settings'.
void mergeLargest(const torch::Tensor& x, double range, double scale, std::vector<float>& largest,
                  std::vector<LayerStatistics>* statistics, std::size_t layer) {
  const auto images = static_cast<std::size_t>(x.size(0));
  largest.resize(images, 0.0F);
  const auto seen = pillar::measureEach(x, range);
  for (std::size_t i = 0; i < images; ++i) {
    largest[i] = std::max(largest[i], static_cast<float>(seen[i].largest() / scale));
    if (statistics) (*statistics)[layer].values.add(seen[i]);
  }
  if (statistics) pillar::addHistogram(x, range, (*statistics)[layer].histogram);
}

}  // namespace

NetworkImpl::NetworkImpl(architectures::Architecture architecture,
                         pillar::ActivationSettings activation, ActivationKind kind,
                         const pillar::LayerOptions& layers)
    : m_architecture(std::move(architecture)), m_activation(std::move(activation)), m_kind(kind) {
  const std::vector<models::Shape> shapes = inferShapes(m_architecture).value();
  m_lastUse.assign(shapes.size(), -1);
  for (std::size_t i = 0; i < m_architecture.layers.size(); ++i) {
    const Layer& layer = m_architecture.layers[i];
    for (const int input : layer.inputs)
      m_lastUse[static_cast<std::size_t>(input)] = static_cast<int>(i);
    const std::int64_t in = shapes[static_cast<std::size_t>(layer.inputs.front())].channels;
    switch (layer.kind) {
      case LayerKind::Convolution:
        register_module(layer.name,
                        torch::nn::Conv2d(torch::nn::Conv2dOptions(in, layer.outputs, layer.kernel)
                                              .stride(layer.stride)
                                              .padding(layer.padding)
                                              .bias(layer.bias)));
        break;
      case LayerKind::BatchNorm:
        register_module(layer.name, torch::nn::BatchNorm2d(in));
        break;
      case LayerKind::Linear:
        register_module(layer.name, torch::nn::Linear(in, layer.outputs));
        break;
      case LayerKind::Activation:
        ++m_activationLayers;
        if (kind == ActivationKind::Polynomial && layers.any()) {
          register_module(layer.name, pillar::PolyLayer(m_activation, layers));
        }
        break;
      default:
        break;
    }
  }
  initialise();
}

void NetworkImpl::initialise() {
  const torch::NoGradGuard guard;
  for (const auto& child : named_children()) {
    if (auto* convolution = child.value()->as<torch::nn::Conv2d>()) {
      torch::nn::init::kaiming_normal_(convolution->weight, 0, torch::kFanOut, torch::kReLU);
      if (convolution->bias.defined()) convolution->bias.zero_();
    }
  }
}

void NetworkImpl::useChannelsLast() {
  for (auto& parameter : parameters()) {
    if (parameter.dim() == 4) {
      parameter.set_data(parameter.data().contiguous(torch::MemoryFormat::ChannelsLast));
    }
  }
}

std::vector<LayerStatistics> NetworkImpl::emptyStatistics() const {
  std::vector<LayerStatistics> result;
  for (const Layer& layer : m_architecture.layers) {
    if (layer.kind == LayerKind::Activation) result.push_back({layer.name, {}, {}});
  }
  return result;
}

NetworkImpl::Output NetworkImpl::forward(torch::Tensor images, const ForwardOptions& options) {
  std::vector<torch::Tensor> values(m_lastUse.size());
  values[0] = std::move(images);
  torch::Tensor penalty;
  pillar::ActivationSettings settings = m_activation;
  settings.clip = options.clip;
  settings.penaltyExponent = options.penaltyExponent;
  std::size_t activation = 0;
  const auto modules = named_children();
  for (std::size_t i = 0; i < m_architecture.layers.size(); ++i) {
    const Layer& layer = m_architecture.layers[i];
    const torch::Tensor& x = values[static_cast<std::size_t>(layer.inputs.front())];
    torch::Tensor y;
    if (options.inputsOf && options.inputsOfLayer == layer.name) *options.inputsOf = x.detach();
    switch (layer.kind) {
      case LayerKind::Convolution:
        y = modules[layer.name]->as<torch::nn::Conv2d>()->forward(x);
        break;
      case LayerKind::BatchNorm:
        if (options.group && is_training()) {
          y = batchNorm(x.to(torch::kFloat), *modules[layer.name]->as<torch::nn::BatchNorm2d>(),
                        *options.group);
        } else {
          y = modules[layer.name]->as<torch::nn::BatchNorm2d>()->forward(x);
        }
        break;
      case LayerKind::Linear:
        y = modules[layer.name]->as<torch::nn::Linear>()->forward(x);
        break;
      case LayerKind::AveragePool:
        y = torch::avg_pool2d(x, {layer.kernel, layer.kernel}, {layer.stride, layer.stride},
                              {layer.padding, layer.padding});
        break;
      case LayerKind::GlobalAveragePool:
        y = x.mean({2, 3}, /*keepdim=*/true);
        break;
      case LayerKind::Flatten:
        y = x.flatten(1);
        break;
      case LayerKind::Add:
        y = x + values[static_cast<std::size_t>(layer.inputs[1])];
        break;
      case LayerKind::Activation: {
        pillar::ActivationStatistics* seen = nullptr;
        pillar::PolyLayerImpl* own = ownPolynomial(layer.name);
        const int number = static_cast<int>(activation);
        if (options.largestPerImage) {
          const double scale = own ? own->scale() : 1.0;
          mergeLargest(x.detach(), settings.range * scale, scale, *options.largestPerImage,
                       options.statistics, activation);
        } else if (options.statistics) {
          seen = &(*options.statistics)[activation].values;
        }
        if (m_kind == ActivationKind::Relu) {
          if (seen) seen->add(pillar::measure(x, settings.range));
          y = torch::relu(x);
        } else {
          auto out = own ? own->forward(x, settings, seen, options.dynamicScale)
                         : pillar::polyRelu(x, settings, seen);
          y = number < m_replaced ? std::move(out.value) : torch::relu(x);
          if (settings.penaltyExponent != 0) {
            penalty = penalty.defined() ? penalty + out.penalty : out.penalty;
          }
        }
        ++activation;
        break;
      }
    }
    for (const int input : layer.inputs) {
      if (m_lastUse[static_cast<std::size_t>(input)] == static_cast<int>(i)) {
        values[static_cast<std::size_t>(input)] = torch::Tensor();
      }
    }
    values[i + 1] = std::move(y);
  }
  if (penalty.defined()) {
    penalty = penalty / static_cast<double>(m_activationLayers);
  } else {
    penalty = torch::zeros({}, values.back().options());
  }
  return {values.back(), penalty};
}

pillar::PolyLayerImpl* NetworkImpl::ownPolynomial(const std::string& name) const {
  const auto module = named_children();
  const auto* found = module.find(name);
  return found ? (*found)->as<pillar::PolyLayer>() : nullptr;
}

void NetworkImpl::tuneCoefficients(const torch::Tensor& images) {
  const torch::NoGradGuard guard;
  const bool wasTraining = is_training();
  const int wasReplaced = m_replaced;
  eval();
  m_replaced = 0;
  const int degree = static_cast<int>(m_activation.coefficients.size()) - 1;
  for (const Layer& layer : m_architecture.layers) {
    if (layer.kind != LayerKind::Activation) continue;
    pillar::PolyLayerImpl* own = ownPolynomial(layer.name);
    if (!own) throw std::logic_error("the layers have no polynomials of their own to tune");
    torch::Tensor inputs;
    ForwardOptions options;
    options.inputsOf = &inputs;
    options.inputsOfLayer = layer.name;
    forward(images, options);
    own->setCoefficients(pillar::fitToInputs(inputs, degree, m_activation.range));
  }
  m_replaced = wasReplaced;
  train(wasTraining);
}

std::vector<NetworkImpl::LayerPolynomial> NetworkImpl::layerPolynomials() const {
  std::vector<LayerPolynomial> result;
  for (const Layer& layer : m_architecture.layers) {
    if (layer.kind != LayerKind::Activation) continue;
    if (const auto* own = ownPolynomial(layer.name)) {
      result.push_back({own->integers(), own->scale() * m_activation.range});
    }
  }
  return result;
}

std::vector<torch::Tensor> NetworkImpl::coefficientParameters() const {
  std::vector<torch::Tensor> result;
  for (const auto& parameter : named_parameters()) {
    if (parameter.key().ends_with(".coefficients")) result.push_back(parameter.value());
  }
  return result;
}

std::map<std::string, NetworkImpl::Folded> NetworkImpl::foldBatchNorms() const {
  const torch::NoGradGuard guard;
  std::map<std::string, Folded> result;
  const auto modules = named_children();
  const auto asDouble = [](const torch::Tensor& t) {
    return t.detach().to(torch::kCPU).to(torch::kDouble);
  };
  std::map<std::string, std::pair<torch::Tensor, torch::Tensor>> exact;
  for (const Layer& layer : m_architecture.layers) {
    if (layer.kind == LayerKind::Convolution) {
      const auto* module = modules[layer.name]->as<torch::nn::Conv2d>();
      exact[layer.name] = {asDouble(module->weight),
                           module->bias.defined() ? asDouble(module->bias)
                                                  : torch::zeros({layer.outputs}, torch::kDouble)};
    } else if (layer.kind == LayerKind::Linear) {
      const auto* module = modules[layer.name]->as<torch::nn::Linear>();
      exact[layer.name] = {asDouble(module->weight), asDouble(module->bias)};
    } else if (layer.kind == LayerKind::BatchNorm) {
      // A channel's scale and shift pass through an average pooling without padding unchanged, so
      // the layer to fold into may lie before one.
      int value = layer.inputs.front();
      const Layer* from = nullptr;
      while (value > 0) {
        from = &m_architecture.layers[static_cast<std::size_t>(value - 1)];
        if (from->kind != LayerKind::AveragePool || from->padding != 0) break;
        value = from->inputs.front();
      }
      if (!from || (from->kind != LayerKind::Convolution && from->kind != LayerKind::Linear)) {
        throw std::logic_error("batch norm " + layer.name + " does not follow a linear layer");
      }
      const auto* module = modules[layer.name]->as<torch::nn::BatchNorm2d>();
      const torch::Tensor scale =
          asDouble(module->weight) /
          torch::sqrt(asDouble(module->running_var) + module->options.eps());
      auto& [weight, bias] = exact.at(from->name);
      std::vector<std::int64_t> shape(static_cast<std::size_t>(weight.dim()), 1);
      shape[0] = -1;
      weight = weight * scale.reshape(shape);
      bias = (bias - asDouble(module->running_mean)) * scale + asDouble(module->bias);
    }
  }
  for (auto& [name, pair] : exact) {
    result[name] = {pair.first.to(torch::kFloat).contiguous(),
                    pair.second.to(torch::kFloat).contiguous()};
  }
  return result;
}

}  // namespace pillarbox::training

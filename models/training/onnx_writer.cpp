#include "models/training/onnx_writer.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include <onnx/onnx_pb.h>

namespace pillarbox::training {
namespace {

using architectures::Layer;
using architectures::LayerKind;
using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "ONNX raw data is little-endian");

class Writer {
 public:
  Writer(const architectures::Architecture& a, const std::map<std::string, LayerWeights>& weights,
         const ModelFacts& facts)
      : m_a(a), m_weights(weights), m_facts(facts) {}

  Result<std::string> write() {
    if (m_facts.labels.size() != static_cast<std::size_t>(m_a.classes)) {
      return Error{ErrorCode::InvalidArgument,
                   "The network has " + std::to_string(m_a.classes) + " outputs but " +
                       std::to_string(m_facts.labels.size()) + " labels."};
    }
    if (m_facts.fractionBits < 0 || m_facts.fractionBits > 24 ||
        (m_facts.layerPolynomials.empty() && !exact(m_facts.polynomial))) {
      return Error{ErrorCode::InvalidArgument, "The activation's coefficients are out of range."};
    }
    PILLARBOX_ASSIGN(m_shapes, inferShapes(m_a));
    m_model.set_ir_version(8);
    m_model.set_producer_name("pillarbox-train");
    m_model.set_producer_version(PILLARBOX_VERSION);
    auto* opset = m_model.add_opset_import();
    opset->set_domain("");
    opset->set_version(17);
    m_graph = m_model.mutable_graph();
    m_graph->set_name(m_facts.name);
    describe(m_graph->add_input(), "image",
             {-1, m_a.input.channels, m_a.input.height, m_a.input.width});
    describe(m_graph->add_output(), "logits", {-1, m_a.classes});

    if (m_facts.layerPolynomials.empty()) addCoefficients("", m_facts.polynomial);
    m_names.assign(m_a.layers.size() + 1, "");
    m_names[0] = "image";
    for (std::size_t i = 0; i < m_a.layers.size(); ++i) PILLARBOX_TRY(addLayer(i));
    metadata();
    std::string bytes;
    if (!m_model.SerializeToString(&bytes)) {
      return Error{ErrorCode::Exhausted, "The model is too large for one ONNX file."};
    }
    return bytes;
  }

 private:
  // A float holds 24 bits, which is what coefficients must fit to be the same everywhere.
  static bool exact(const std::vector<std::int64_t>& polynomial) {
    bool good = polynomial.size() >= 2;
    for (const std::int64_t c : polynomial) good = good && c > -(1 << 24) && c < (1 << 24);
    return good;
  }

  static std::string coefficient(const std::string& layer, std::size_t j) {
    return (layer.empty() ? "" : layer + "_") + "coefficient_" + std::to_string(j);
  }

  void addCoefficients(const std::string& layer, const std::vector<std::int64_t>& polynomial) {
    for (std::size_t j = 0; j < polynomial.size(); ++j) {
      const auto value =
          static_cast<float>(std::ldexp(static_cast<double>(polynomial[j]), -m_facts.fractionBits));
      addTensor(coefficient(layer, j), {}, {&value, 1});
    }
  }

  static void describe(onnx::ValueInfoProto* value, const std::string& name,
                       const std::vector<std::int64_t>& sizes) {
    value->set_name(name);
    auto* type = value->mutable_type()->mutable_tensor_type();
    type->set_elem_type(onnx::TensorProto::FLOAT);
    for (const std::int64_t size : sizes) {
      auto* dimension = type->mutable_shape()->add_dim();
      if (size < 0) {
        dimension->set_dim_param("N");
      } else {
        dimension->set_dim_value(size);
      }
    }
  }

  void addTensor(const std::string& name, const std::vector<std::int64_t>& sizes,
                 std::span<const float> values) {
    auto* tensor = m_graph->add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(onnx::TensorProto::FLOAT);
    for (const std::int64_t size : sizes) tensor->add_dims(size);
    tensor->set_raw_data(values.data(), values.size_bytes());
  }

  onnx::NodeProto* addNode(const std::string& op, const std::string& name,
                           const std::vector<std::string>& inputs, const std::string& output) {
    auto* node = m_graph->add_node();
    node->set_op_type(op);
    node->set_name(name);
    for (const auto& input : inputs) node->add_input(input);
    node->add_output(output);
    return node;
  }

  static void integers(onnx::NodeProto* node, const std::string& name,
                       const std::vector<std::int64_t>& values) {
    auto* attribute = node->add_attribute();
    attribute->set_name(name);
    attribute->set_type(onnx::AttributeProto::INTS);
    for (const std::int64_t value : values) attribute->add_ints(value);
  }

  static void integer(onnx::NodeProto* node, const std::string& name, std::int64_t value) {
    auto* attribute = node->add_attribute();
    attribute->set_name(name);
    attribute->set_type(onnx::AttributeProto::INT);
    attribute->set_i(value);
  }

  Status addWeights(const Layer& layer, const std::vector<std::int64_t>& sizes) {
    const auto found = m_weights.find(layer.name);
    std::size_t count = 1;
    for (const std::int64_t size : sizes) count *= static_cast<std::size_t>(size);
    if (found == m_weights.end() || found->second.weight.size() != count ||
        found->second.bias.size() != static_cast<std::size_t>(sizes[0])) {
      return Error{ErrorCode::InvalidArgument,
                   "Layer " + layer.name + " has no weights of the right size."};
    }
    for (const auto* values : {&found->second.weight, &found->second.bias}) {
      for (const float value : *values) {
        if (!std::isfinite(value)) {
          return Error{ErrorCode::InvalidArgument,
                       "Layer " + layer.name + " has a weight that is not finite."};
        }
      }
    }
    addTensor(layer.name + "_weight", sizes, found->second.weight);
    addTensor(layer.name + "_bias", {sizes[0]}, found->second.bias);
    return {};
  }

  Status addLayer(std::size_t index) {
    const Layer& layer = m_a.layers[index];
    const std::string& x = m_names[static_cast<std::size_t>(layer.inputs.front())];
    const auto channels = static_cast<std::int64_t>(
        m_shapes[static_cast<std::size_t>(layer.inputs.front())].channels);
    std::string y = index + 1 == m_a.layers.size() ? "logits" : layer.name + "_out";
    const std::vector<std::int64_t> kernel(2, layer.kernel), stride(2, layer.stride),
        pads(4, layer.padding);
    switch (layer.kind) {
      case LayerKind::Convolution: {
        PILLARBOX_TRY(addWeights(layer, {layer.outputs, channels, layer.kernel, layer.kernel}));
        auto* node =
            addNode("Conv", layer.name, {x, layer.name + "_weight", layer.name + "_bias"}, y);
        integers(node, "kernel_shape", kernel);
        integers(node, "strides", stride);
        integers(node, "pads", pads);
        break;
      }
      case LayerKind::Linear: {
        PILLARBOX_TRY(addWeights(layer, {layer.outputs, channels}));
        auto* node =
            addNode("Gemm", layer.name, {x, layer.name + "_weight", layer.name + "_bias"}, y);
        integer(node, "transB", 1);
        break;
      }
      case LayerKind::AveragePool: {
        auto* node = addNode("AveragePool", layer.name, {x}, y);
        integers(node, "kernel_shape", kernel);
        integers(node, "strides", stride);
        integers(node, "pads", pads);
        integer(node, "count_include_pad", 1);
        break;
      }
      case LayerKind::GlobalAveragePool:
        addNode("GlobalAveragePool", layer.name, {x}, y);
        break;
      case LayerKind::Flatten:
        integer(addNode("Flatten", layer.name, {x}, y), "axis", 1);
        break;
      case LayerKind::Add:
        addNode("Add", layer.name, {x, m_names[static_cast<std::size_t>(layer.inputs[1])]}, y);
        break;
      case LayerKind::Activation: {
        const bool own = !m_facts.layerPolynomials.empty();
        const std::string prefix = own ? layer.name : "";
        if (own) {
          if (m_activation >= m_facts.layerPolynomials.size() ||
              !exact(m_facts.layerPolynomials[m_activation])) {
            return Error{ErrorCode::InvalidArgument,
                         "Activation " + layer.name +
                             " has no coefficients, or one that a 32-bit float does not hold."};
          }
          addCoefficients(prefix, m_facts.layerPolynomials[m_activation]);
        }
        const auto& polynomial = own ? m_facts.layerPolynomials[m_activation] : m_facts.polynomial;
        std::size_t j = polynomial.size() - 1;
        // What has vanished in rounding is not part of the layer's degree.
        while (own && j > 0 && polynomial[j] == 0) --j;
        if (j < 2) {
          return Error{ErrorCode::InvalidArgument, "Activation " + layer.name +
                                                       " has become a straight line; train with "
                                                       "more --fraction-bits."};
        }
        ++m_activation;
        std::string sum = coefficient(prefix, j);
        while (j-- > 0) {
          const std::string step = layer.name + "_" + std::to_string(j);
          addNode("Mul", layer.name + "_mul_" + std::to_string(j), {x, sum}, step + "_product");
          sum = j == 0 ? y : step + "_sum";
          addNode("Add", layer.name + "_add_" + std::to_string(j),
                  {step + "_product", coefficient(prefix, j)}, sum);
        }
        break;
      }
      case LayerKind::BatchNorm:
        y = x;  // is in the weights
        break;
    }
    m_names[index + 1] = y;
    return {};
  }

  void property(const std::string& key, const json& value) {
    auto* entry = m_model.add_metadata_props();
    entry->set_key(key);
    entry->set_value(value.dump());
  }

  static json decimals(const std::array<float, 3>& values) {
    json list = json::array();
    // Four decimals, as the trainer rounds them; as doubles, so that 0.4914 is not 0.491400003.
    for (const float value : values)
      list.push_back(std::round(static_cast<double>(value) * 1e4) / 1e4);
    return list;
  }

  void metadata() {
    property("pillarbox.format", 1);
    property("pillarbox.labels", m_facts.labels);
    property("pillarbox.mean", decimals(m_facts.mean));
    property("pillarbox.std", decimals(m_facts.std));
    property("pillarbox.precision_bits", m_facts.precisionBits);
    if (m_facts.layerPolynomials.empty()) {
      property("pillarbox.polynomial", {{"degree", m_facts.polynomial.size() - 1},
                                        {"fraction_bits", m_facts.fractionBits},
                                        {"coefficients", m_facts.polynomial},
                                        {"range", m_facts.range}});
    } else {
      property("pillarbox.range", m_facts.range);
    }
    property("pillarbox.training", m_facts.training);
  }

  const architectures::Architecture& m_a;
  const std::map<std::string, LayerWeights>& m_weights;
  const ModelFacts& m_facts;
  std::vector<models::Shape> m_shapes;
  onnx::ModelProto m_model;
  onnx::GraphProto* m_graph = nullptr;
  std::size_t m_activation = 0;      // number of the next activation layer
  std::vector<std::string> m_names;  // by value: the ONNX tensor that holds it
};

}  // namespace

Result<std::string> makeOnnx(const architectures::Architecture& architecture,
                             const std::map<std::string, LayerWeights>& weights,
                             const ModelFacts& facts) {
  return Writer(architecture, weights, facts).write();
}

}  // namespace pillarbox::training

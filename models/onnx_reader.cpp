// ONNX file -> LoadedModel, in five steps:
//
//   1. scan: walk the Protocol Buffers wire format without allocating, so that a small file cannot
//      unfold into a large tree of empty messages;
//   2. parse with the ONNX library's generated classes;
//   3. import the graph node by node into a FloatGraph. Element-wise arithmetic is carried
//      *symbolically*: a tensor is a polynomial in some base tensor. Mul, Add, Sub, Pow, Div and
//      Neg combine polynomials of one base, and the moment any other operator consumes a polynomial
//      of degree two or more it becomes an activation. So every way of writing the activation is
//      understood (Horner, powers, a model-local function), and none needs a pattern;
//   4. quantise (models/quantise.h);
//   5. check the result against the metadata, the limits and the accuracy bound.
#include "models/onnx_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include <nlohmann/json.hpp>
#include <onnx/onnx_pb.h>

#include "models/quantise.h"

namespace pillarbox::models {

namespace {

static_assert(std::endian::native == std::endian::little, "raw tensor data is little-endian");

using Json = nlohmann::json;

constexpr std::int64_t kMinIrVersion = 4;
constexpr std::int64_t kMaxIrVersion = 10;
constexpr std::int64_t kMinOpset = 11;
constexpr std::int64_t kMaxOpset = 21;
constexpr std::size_t kMaxNodes = 32768;  ///< with model-local functions expanded
constexpr int kMaxFunctionDepth = 4;
constexpr double kDefaultRange = 5.0;
/// How many images there are, where a network computes with it: not known, and equal to nothing.
constexpr double kBatchSize = std::numeric_limits<double>::quiet_NaN();

Error fault(ErrorCode code, std::string message) {
  return Error{code, std::move(message)};
}
Error formatError(std::string message) {
  return fault(ErrorCode::Format, std::move(message));
}
Error unsupported(std::string message) {
  return fault(ErrorCode::Unsupported, std::move(message));
}

/// Text from the file for a message or a name: printable ASCII, bounded.
std::string printable(const std::string& text) {
  constexpr std::size_t kLongest = 100;
  std::string result;
  for (char c : text.substr(0, kLongest)) result += c >= 0x20 && c < 0x7F && c != '\'' ? c : '?';
  if (text.size() > kLongest) result += "...";
  return result;
}

// ---------------------------------------------------------------------------------------- scan

enum class Message { Model, Graph, Node, Attribute, Tensor, Function, Other };

/// The message type of a length-delimited field, as far as the scan descends.
Message childOf(Message parent, std::uint64_t field) {
  switch (parent) {
    case Message::Model:
      return field == 7 ? Message::Graph : field == 25 ? Message::Function : Message::Other;
    case Message::Graph:
      return field == 1 ? Message::Node : field == 5 ? Message::Tensor : Message::Other;
    case Message::Node:
      return field == 5 ? Message::Attribute : Message::Other;
    case Message::Attribute:
      return field == 5 ? Message::Tensor : Message::Other;
    case Message::Function:
      return field == 7 ? Message::Node : Message::Other;
    default:
      return Message::Other;
  }
}

bool readVarint(std::span<const std::byte>* bytes, std::uint64_t* value) {
  *value = 0;
  for (std::size_t i = 0; i < 10 && i < bytes->size(); ++i) {
    const auto byte = static_cast<std::uint8_t>((*bytes)[i]);
    *value |= std::uint64_t{byte & 0x7Fu} << (7 * i);
    if ((byte & 0x80) == 0) {
      *bytes = bytes->subspan(i + 1);
      return true;
    }
  }
  return false;
}

/// Adds the bytes of tensor numbers under `bytes` to `*payload`. False if it is not wire format.
bool scan(Message type, std::span<const std::byte> bytes, std::uint64_t* payload) {
  while (!bytes.empty()) {
    std::uint64_t tag = 0;
    if (!readVarint(&bytes, &tag)) return false;
    const std::uint64_t field = tag >> 3;
    std::uint64_t length = 0;
    bool counts = false;
    switch (tag & 7) {
      case 0: {
        std::uint64_t ignored = 0;
        if (!readVarint(&bytes, &ignored)) return false;
        continue;
      }
      case 1:
        length = 8;
        break;
      case 2:
        if (!readVarint(&bytes, &length)) return false;
        counts = type == Message::Tensor && (field == 4 || field == 9);
        break;
      case 5:
        length = 4;
        counts = type == Message::Tensor && field == 4;
        break;
      default:
        return false;  // groups are not used by ONNX
    }
    if (length > bytes.size()) return false;
    const auto content = bytes.first(static_cast<std::size_t>(length));
    bytes = bytes.subspan(static_cast<std::size_t>(length));
    if (counts) {
      *payload += length;
    } else if ((tag & 7) == 2) {
      const Message child = childOf(type, field);
      if (child != Message::Other && !scan(child, content, payload)) return false;
    }
  }
  return true;
}

// ----------------------------------------------------------------------------------- constants

/// Most numbers of a list of sizes.
constexpr std::size_t kMostSizes = 64;

/// A constant tensor: a reference into the file's message, or numbers of a Constant attribute.
struct Constant {
  std::vector<std::int64_t> dims;
  const onnx::TensorProto* tensor = nullptr;
  std::vector<double> numbers;  ///< where there is no tensor
};

/// Number of elements; nothing if a dimension is negative or the product over the limit.
std::optional<std::uint64_t> elementCount(const std::vector<std::int64_t>& dims) {
  std::uint64_t count = 1;
  for (std::int64_t dim : dims) {
    if (dim < 0 || static_cast<std::uint64_t>(dim) > Limits::kMaxWeights) return std::nullopt;
    count *= static_cast<std::uint64_t>(dim);
    if (count > Limits::kMaxWeights) return std::nullopt;
  }
  return count;
}

Result<Constant> makeConstant(const onnx::TensorProto& tensor, const std::string& where) {
  if (tensor.data_location() == onnx::TensorProto_DataLocation_EXTERNAL ||
      tensor.external_data_size() != 0) {
    return unsupported(where +
                       " keeps its numbers in another file. Save the model as a single file, with "
                       "its weights inside (in PyTorch: torch.onnx.export(..., "
                       "external_data=False)).");
  }
  if (tensor.has_segment()) return unsupported(where + " is stored in segments.");
  Constant constant;
  constant.dims.assign(tensor.dims().begin(), tensor.dims().end());
  constant.tensor = &tensor;
  if (constant.dims.size() > 8 || !elementCount(constant.dims)) {
    return fault(ErrorCode::Exhausted, where +
                                           " has a size that is negative or over the limit of " +
                                           std::to_string(Limits::kMaxWeights) + " elements.");
  }
  return constant;
}

/// Copies little-endian numbers of type T out of raw_data, which must hold exactly `count`.
template <typename T>
bool copyRaw(const std::string& raw, std::uint64_t count, std::vector<T>* out) {
  if (raw.size() != count * sizeof(T)) return false;
  out->resize(static_cast<std::size_t>(count));
  if (count != 0) std::memcpy(out->data(), raw.data(), raw.size());
  return true;
}

Error wrongCount(const std::string& where) {
  return formatError(where +
                     " has more or fewer numbers than its shape says: the file is damaged.");
}

/// All numbers of a float tensor; NaN and infinity are refused.
Result<std::vector<float>> floats(const Constant& constant, const std::string& where) {
  std::vector<float> values;
  const std::uint64_t count = *elementCount(constant.dims);
  if (constant.tensor == nullptr) {
    values.assign(constant.numbers.begin(), constant.numbers.end());
  } else {
    const onnx::TensorProto& tensor = *constant.tensor;
    if (tensor.data_type() != onnx::TensorProto_DataType_FLOAT) {
      return unsupported(where + " has ONNX data type " + std::to_string(tensor.data_type()) +
                         "; weights must be 32-bit floats (type 1). Export the model in float32.");
    }
    if (tensor.has_raw_data()) {
      if (!copyRaw(tensor.raw_data(), count, &values)) return wrongCount(where);
    } else {
      values.assign(tensor.float_data().begin(), tensor.float_data().end());
    }
  }
  if (values.size() != count) return wrongCount(where);
  for (float v : values) {
    if (!std::isfinite(v)) {
      return formatError(where +
                         " contains a number that is infinite or not a number. The training "
                         "diverged or the file is damaged.");
    }
  }
  return values;
}

/// All numbers of a small tensor of any numeric type that constants of activations and shapes have.
Result<std::vector<double>> numbers(const Constant& constant, const std::string& where) {
  const std::uint64_t count = *elementCount(constant.dims);
  if (count > kMostSizes) return unsupported(where + " has more numbers than expected here.");
  if (constant.tensor == nullptr) return constant.numbers;
  const onnx::TensorProto& tensor = *constant.tensor;
  std::vector<double> values;
  const auto convert = [&](auto typed, const auto& list) -> bool {
    if (tensor.has_raw_data()) {
      if (!copyRaw(tensor.raw_data(), count, &typed)) return false;
      values.assign(typed.begin(), typed.end());
    } else {
      if (static_cast<std::uint64_t>(list.size()) != count) return false;
      values.assign(list.begin(), list.end());
    }
    return true;
  };
  bool complete = false;
  switch (tensor.data_type()) {
    case onnx::TensorProto_DataType_FLOAT:
      complete = convert(std::vector<float>(), tensor.float_data());
      break;
    case onnx::TensorProto_DataType_DOUBLE:
      complete = convert(std::vector<double>(), tensor.double_data());
      break;
    case onnx::TensorProto_DataType_INT32:
      complete = convert(std::vector<std::int32_t>(), tensor.int32_data());
      break;
    case onnx::TensorProto_DataType_INT64:
      complete = convert(std::vector<std::int64_t>(), tensor.int64_data());
      break;
    default:
      return unsupported(where + " has ONNX data type " + std::to_string(tensor.data_type()) +
                         ", which is not supported here.");
  }
  if (!complete) return wrongCount(where);
  for (double v : values) {
    if (!std::isfinite(v)) return formatError(where + " contains a number that is not finite.");
  }
  return values;
}

// -------------------------------------------------------------------------------------- import

/// A tensor that depends on the image: sum_j coefficients[j] * base^j, element by element.
struct Symbol {
  std::uint32_t base = 0;  ///< a value of the graph
  std::vector<double> coefficients{0.0, 1.0};
  bool flat = false;  ///< two dimensions: [batch, features]
};

struct Tensor {
  std::optional<Constant> constant;
  Symbol symbol;  ///< where there is no constant
};

using Scope = std::unordered_map<std::string, Tensor>;
using Coefficients = std::vector<double>;

void trim(Coefficients* c) {
  while (c->size() > 1 && c->back() == 0.0) c->pop_back();
}

Coefficients sum(const Coefficients& a, const Coefficients& b, double sign) {
  Coefficients c(std::max(a.size(), b.size()), 0.0);
  for (std::size_t i = 0; i < a.size(); ++i) c[i] += a[i];
  for (std::size_t i = 0; i < b.size(); ++i) c[i] += sign * b[i];
  trim(&c);
  return c;
}

Coefficients product(const Coefficients& a, const Coefficients& b) {
  Coefficients c(a.size() + b.size() - 1, 0.0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t j = 0; j < b.size(); ++j) c[i + j] += a[i] * b[j];
  }
  trim(&c);
  return c;
}

/// How the metadata describes the activation.
struct StatedPolynomial {
  Polynomial polynomial;
  double range = kDefaultRange;
};

/// Without leading zeros, then filled up to an even degree of at least two.
std::vector<std::int64_t> evenDegree(std::vector<std::int64_t> c) {
  while (c.size() > 1 && c.back() == 0) c.pop_back();
  while (c.size() < 3 || c.size() % 2 == 0) c.push_back(0);
  return c;
}

class Importer {
 public:
  /// `training`: the network may have ReLUs, and all that PyTorch's exporters write around layers.
  Importer(const onnx::ModelProto& file, const std::optional<StatedPolynomial>& stated,
           bool training = false)
      : m_file(file), m_stated(stated), m_training(training) {}

  Result<FloatGraph> run() {
    const onnx::GraphProto& graph = m_file.graph();
    if (graph.sparse_initializer_size() != 0) {
      return unsupported("The model has sparse tensors. Export it with dense weights.");
    }
    for (const onnx::FunctionProto& function : m_file.functions()) {
      if (!m_functions.emplace(std::make_pair(function.domain(), function.name()), &function)
               .second) {
        return formatError("The model defines the function '" + printable(function.name()) +
                           "' twice.");
      }
    }
    Scope scope;
    for (const onnx::TensorProto& tensor : graph.initializer()) {
      const std::string where = "Tensor '" + printable(tensor.name()) + "'";
      PILLARBOX_ASSIGN(Constant constant, makeConstant(tensor, where));
      if (tensor.name().empty() || !scope.emplace(tensor.name(), Tensor{constant, {}}).second) {
        return formatError(where + " is defined twice or has no name.");
      }
    }
    PILLARBOX_TRY(importInput(graph, &scope));
    for (const onnx::NodeProto& node : graph.node()) {
      PILLARBOX_TRY(importNode(node, &scope, "", 0));
    }
    if (graph.output_size() != 1) {
      return unsupported("The model has " + std::to_string(graph.output_size()) +
                         " outputs; Pillarbox needs exactly one, the logits.");
    }
    const std::string& name = graph.output(0).name();
    const auto found = scope.find(name);
    if (found == scope.end() || found->second.constant) {
      return formatError("No node computes the model's output '" + printable(name) + "'.");
    }
    PILLARBOX_ASSIGN(m_graph.output,
                     materialise(found->second.symbol, "output " + printable(name)));
    if (!found->second.symbol.flat) {
      return unsupported("The model's output '" + printable(name) +
                         "' is not of shape [batch, classes]. Add a Flatten before it.");
    }
    return std::move(m_graph);
  }

 private:
  /// The node at work: what messages call it, and its attributes.
  struct Context {
    const onnx::NodeProto* node = nullptr;
    std::string name;   ///< printable, never empty
    std::string where;  ///< "Node 'conv1' (Conv)"
    Scope* scope = nullptr;
  };

  Status importInput(const onnx::GraphProto& graph, Scope* scope) {
    const onnx::ValueInfoProto* input = nullptr;
    for (const onnx::ValueInfoProto& candidate : graph.input()) {
      if (scope->count(candidate.name()) != 0) continue;  // an initializer listed as an input
      if (input != nullptr) {
        return unsupported("The model has more than one input ('" + printable(input->name()) +
                           "' and '" + printable(candidate.name()) +
                           "'); Pillarbox needs exactly one, the image.");
      }
      input = &candidate;
    }
    if (input == nullptr) return formatError("The model has no input.");
    const std::string where = "The model's input '" + printable(input->name()) + "'";
    const onnx::TypeProto_Tensor& type = input->type().tensor_type();
    if (!input->type().has_tensor_type() || !type.has_shape() ||
        type.elem_type() != onnx::TensorProto_DataType_FLOAT || type.shape().dim_size() != 4) {
      return unsupported(where +
                         " must be a float tensor of shape [batch, channels, height, width].");
    }
    std::array<std::uint32_t, 3> dims{};
    for (int i = 0; i < 3; ++i) {
      const auto& dim = type.shape().dim(i + 1);
      if (!dim.has_dim_value() || dim.dim_value() < 1 || dim.dim_value() > Limits::kMaxDimension) {
        return unsupported(where + " needs fixed channels, height and width between 1 and " +
                           std::to_string(Limits::kMaxDimension) + ".");
      }
      dims[static_cast<std::size_t>(i)] = static_cast<std::uint32_t>(dim.dim_value());
    }
    m_graph.input = Shape{dims[0], dims[1], dims[2]};
    if (m_graph.input.size() > Limits::kMaxTensorElements) {
      return fault(ErrorCode::Exhausted, where + " is too large.");
    }
    scope->emplace(input->name(), Tensor{});
    return {};
  }

  Status importNode(const onnx::NodeProto& node, Scope* scope, const std::string& caller,
                    int depth) {
    Context at;
    at.node = &node;
    at.scope = scope;
    at.name = printable(node.name());
    if (at.name.empty()) {
      at.name = node.output_size() > 0 ? printable(node.output(0)) : std::string();
    }
    if (at.name.empty()) at.name = "unnamed";
    if (!caller.empty()) at.name = caller;
    at.where = "Node '" + at.name + "' (" + printable(node.op_type()) + ")";
    if (++m_nodeCount > kMaxNodes) {
      return fault(ErrorCode::Exhausted,
                   at.where + ": the model has more than " + std::to_string(kMaxNodes) + " nodes.");
    }
    const auto function = m_functions.find({node.domain(), node.op_type()});
    if (function != m_functions.end()) return importCall(at, *function->second, depth);
    if (!node.domain().empty() && node.domain() != "ai.onnx") {
      return unsupported(at.where + ": operators of the domain '" + printable(node.domain()) +
                         "' are not supported unless the model defines them as functions.");
    }
    PILLARBOX_ASSIGN(Tensor result, evaluate(at));
    return define(at, 0, std::move(result));
  }

  Status define(const Context& at, int output, Tensor tensor) {
    if (output >= at.node->output_size() || at.node->output(output).empty()) {
      return formatError(at.where + ": has no output.");
    }
    if (!at.scope->emplace(at.node->output(output), std::move(tensor)).second) {
      return formatError(at.where + ": its output '" + printable(at.node->output(output)) +
                         "' exists already.");
    }
    return {};
  }

  /// Expands a model-local function in place, in a scope of its own.
  Status importCall(const Context& at, const onnx::FunctionProto& function, int depth) {
    if (depth >= kMaxFunctionDepth) {
      return unsupported(at.where + ": functions that call each other are nested too deeply.");
    }
    if (at.node->input_size() > function.input_size() ||
        at.node->output_size() > function.output_size()) {
      return formatError(at.where + ": passes more inputs or outputs than its function has.");
    }
    Scope scope;
    for (int i = 0; i < at.node->input_size(); ++i) {
      PILLARBOX_ASSIGN(Tensor tensor, input(at, i));
      scope.emplace(function.input(i), std::move(tensor));
    }
    for (const onnx::NodeProto& node : function.node()) {
      onnx::NodeProto bound = node;
      bound.clear_attribute();
      for (const onnx::AttributeProto& attribute : node.attribute()) {
        if (attribute.ref_attr_name().empty()) {
          *bound.add_attribute() = attribute;
          continue;
        }
        for (const onnx::AttributeProto& given : at.node->attribute()) {
          if (given.name() != attribute.ref_attr_name()) continue;
          onnx::AttributeProto* copy = bound.add_attribute();
          *copy = given;
          copy->set_name(attribute.name());
        }
      }
      // Constants refer to the node they come from, so it must outlive the import.
      m_boundNodes.push_back(std::make_unique<onnx::NodeProto>(std::move(bound)));
      PILLARBOX_TRY(importNode(*m_boundNodes.back(), &scope, at.name, depth + 1));
    }
    for (int i = 0; i < at.node->output_size(); ++i) {
      if (at.node->output(i).empty()) continue;  // an output that the caller does not want
      const auto found = scope.find(function.output(i));
      if (found == scope.end()) {
        return formatError(at.where + ": no node of its function computes the output '" +
                           printable(function.output(i)) + "'.");
      }
      PILLARBOX_TRY(define(at, i, found->second));
    }
    return {};
  }

  // --- inputs and attributes

  bool hasInput(const Context& at, int index) const {
    return index < at.node->input_size() && !at.node->input(index).empty();
  }

  Result<Tensor> input(const Context& at, int index) const {
    if (!hasInput(at, index)) {
      return formatError(at.where + ": its input " + std::to_string(index + 1) + " is missing.");
    }
    const std::string& name = at.node->input(index);
    const auto found = at.scope->find(name);
    if (found == at.scope->end()) {
      return formatError(at.where + ": its input '" + printable(name) +
                         "' is not computed by any node before it. The nodes must be in "
                         "topological order and without cycles.");
    }
    return found->second;
  }

  Result<Symbol> symbolInput(const Context& at, int index) const {
    PILLARBOX_ASSIGN(Tensor tensor, input(at, index));
    if (tensor.constant) {
      return unsupported(at.where + ": its input " + std::to_string(index + 1) +
                         " does not depend on the image.");
    }
    return tensor.symbol;
  }

  /// Input `index` as a graph value; a pending polynomial becomes an activation.
  Result<Symbol> valueInput(const Context& at, int index) {
    PILLARBOX_ASSIGN(Symbol symbol, symbolInput(at, index));
    PILLARBOX_ASSIGN(symbol.base, materialise(symbol, at.name));
    symbol.coefficients = {0.0, 1.0};
    return symbol;
  }

  Result<Constant> constantInput(const Context& at, int index) const {
    PILLARBOX_ASSIGN(Tensor tensor, input(at, index));
    if (!tensor.constant) {
      return unsupported(at.where + ": its input '" + printable(at.node->input(index)) +
                         "' must be a constant of the model.");
    }
    return *tensor.constant;
  }

  std::string inputName(const Context& at, int index) const {
    return at.where + ": its tensor '" + printable(at.node->input(index)) + "'";
  }

  /// Refuses attributes that could change the operator's meaning without our noticing.
  Status onlyAttributes(const Context& at, std::initializer_list<const char*> known) const {
    for (const onnx::AttributeProto& attribute : at.node->attribute()) {
      const auto same = [&](const char* name) { return attribute.name() == name; };
      if (std::none_of(known.begin(), known.end(), same)) {
        return unsupported(at.where + ": does not support the attribute '" +
                           printable(attribute.name()) + "'.");
      }
    }
    return {};
  }

  const onnx::AttributeProto* attribute(const Context& at, const char* name) const {
    for (const onnx::AttributeProto& candidate : at.node->attribute()) {
      if (candidate.name() == name) return &candidate;
    }
    return nullptr;
  }

  std::int64_t integer(const Context& at, const char* name, std::int64_t fallback) const {
    const onnx::AttributeProto* found = attribute(at, name);
    return found == nullptr ? fallback : found->i();
  }

  double real(const Context& at, const char* name, double fallback) const {
    const onnx::AttributeProto* found = attribute(at, name);
    return found == nullptr ? fallback : static_cast<double>(found->f());
  }

  /// A list of `count` integers within [low, kMaxDimension]; `fallback` for each where absent.
  Result<std::vector<std::uint32_t>> sizes(const Context& at, const char* name, std::size_t count,
                                           std::int64_t low, std::uint32_t fallback) const {
    std::vector<std::uint32_t> result(count, fallback);
    const onnx::AttributeProto* found = attribute(at, name);
    if (found == nullptr) return result;
    if (static_cast<std::size_t>(found->ints_size()) != count) {
      return unsupported(at.where + ": '" + name + "' must have " + std::to_string(count) +
                         " numbers; only layers over images (two dimensions) are supported.");
    }
    for (std::size_t i = 0; i < count; ++i) {
      const std::int64_t v = found->ints(static_cast<int>(i));
      if (v < low || v > Limits::kMaxDimension) {
        return unsupported(at.where + ": '" + name + "' has a value of " + std::to_string(v) +
                           ", outside " + std::to_string(low) + ".." +
                           std::to_string(Limits::kMaxDimension) + ".");
      }
      result[i] = static_cast<std::uint32_t>(v);
    }
    return result;
  }

  // --- the graph under construction

  Result<std::uint32_t> addNode(FloatNode node) {
    const auto bounded = [](std::uint32_t v) { return v >= 1 && v <= Limits::kMaxDimension; };
    m_elements += node.out.size();
    if (!bounded(node.out.channels) || !bounded(node.out.height) || !bounded(node.out.width) ||
        node.out.size() > Limits::kMaxTensorElements || m_elements > Limits::kMaxTotalElements) {
      return fault(ErrorCode::Exhausted,
                   "Node '" + node.name + "': its output of " + std::to_string(node.out.channels) +
                       "x" + std::to_string(node.out.height) + "x" +
                       std::to_string(node.out.width) + " is over the limits on a network's size.");
    }
    m_graph.nodes.push_back(std::move(node));
    return static_cast<std::uint32_t>(m_graph.nodes.size());
  }

  /// Turns a symbol into a value of the graph: itself, a scaling, or an activation.
  Result<std::uint32_t> materialise(const Symbol& symbol, const std::string& name) {
    const Coefficients& c = symbol.coefficients;
    if (c.size() == 2 && c[0] == 0.0 && c[1] == 1.0) return symbol.base;
    const auto key = std::make_pair(symbol.base, c);
    if (const auto found = m_materialised.find(key); found != m_materialised.end()) {
      return found->second;
    }
    const std::string& author = m_authors.count(key) != 0 ? m_authors[key] : name;
    FloatNode node;
    node.name = author;
    node.inputs = {symbol.base};
    node.in = m_graph.shape(symbol.base);
    node.out = node.in;
    if (c.size() < 2) {
      return unsupported("Node '" + author + "': its result does not depend on the image.");
    }
    if (c.size() == 2) {
      node.kind = NodeKind::Affine;
      node.scale.assign(node.in.channels, c[1]);
      node.bias.assign(node.in.channels, c[0]);
    } else {
      node.kind = NodeKind::Polynomial;
      PILLARBOX_ASSIGN(node.polynomial, activation(c, author));
    }
    PILLARBOX_ASSIGN(const std::uint32_t value, addNode(std::move(node)));
    m_materialised.emplace(key, value);
    return value;
  }

  /// Rounds real coefficients to the integers that they must be multiples of 2^-bits of.
  static std::optional<std::vector<std::int64_t>> exactIntegers(const Coefficients& c,
                                                                std::uint32_t bits) {
    std::vector<std::int64_t> integers;
    for (double v : c) {
      const double scaled = std::ldexp(v, static_cast<int>(bits));
      const double rounded = std::nearbyint(scaled);
      // Slack for the float32 arithmetic of whoever wrote the constants.
      if (!(std::abs(rounded) < static_cast<double>(Limits::kMaxCoefficient)) ||
          std::abs(scaled - rounded) > 1e-3 + 1e-6 * std::abs(rounded)) {
        return std::nullopt;
      }
      integers.push_back(static_cast<std::int64_t>(rounded));
    }
    return evenDegree(std::move(integers));
  }

  Result<Polynomial> activation(const Coefficients& c, const std::string& name) const {
    const std::string where = "Node '" + name + "' (activation)";
    if (m_stated) {
      const auto integers = exactIntegers(c, m_stated->polynomial.fractionBits);
      if (!integers || *integers != m_stated->polynomial.coefficients) {
        std::string found;
        for (double v : c) {
          found +=
              (found.empty() ? "" : ", ") +
              std::to_string(std::ldexp(v, static_cast<int>(m_stated->polynomial.fractionBits)));
        }
        return formatError(where + " computes the coefficients [" + found + "] / 2^" +
                           std::to_string(m_stated->polynomial.fractionBits) +
                           ", which disagree with the metadata key pillarbox.polynomial. Export "
                           "the model again with both from one source.");
      }
      return m_stated->polynomial;
    }
    for (std::uint32_t bits = 10; bits <= 24; ++bits) {
      if (auto integers = exactIntegers(c, bits)) {
        // A zero leading coefficient here is one that vanished in rounding.
        if (std::ldexp(std::abs(c.back()), static_cast<int>(bits)) < 0.5) continue;
        return Polynomial{bits, std::move(*integers)};
      }
    }
    return unsupported(where +
                       " has coefficients that are not multiples of 2^-24. Round them to multiples "
                       "of 2^-10, as pillarbox-train does.");
  }

  /// A symbol that elementwise arithmetic at `at` produced; remembers who did, for messages.
  Result<Tensor> symbolic(const Context& at, const Symbol& base, Coefficients c) {
    if (c.size() > Limits::kMaxDegree + 1) {
      return unsupported(at.where + ": makes a polynomial of degree " +
                         std::to_string(c.size() - 1) + "; activations have degree " +
                         std::to_string(Limits::kMaxDegree) +
                         " at most, with a layer between two of them.");
    }
    for (double v : c) {
      if (!std::isfinite(v)) return formatError(at.where + ": a coefficient overflows.");
    }
    Tensor tensor;
    tensor.symbol = base;
    tensor.symbol.coefficients = std::move(c);
    m_authors[{base.base, tensor.symbol.coefficients}] = at.name;
    return tensor;
  }

  // --- operators

  Result<Tensor> evaluate(const Context& at) {
    const std::string& op = at.node->op_type();
    if (op == "Conv") return convolution(at);
    if (op == "Gemm") return gemm(at);
    if (op == "BatchNormalization") return batchNorm(at);
    if (op == "AveragePool") return averagePool(at);
    if (op == "GlobalAveragePool") return globalAveragePool(at);
    if (op == "Flatten") return flatten(at);
    if (op == "Reshape") return reshape(at);
    if (op == "Identity") return input(at, 0);
    if (op == "Constant") return constant(at);
    if (op == "Add" || op == "Sub" || op == "Mul" || op == "Div" || op == "Pow") {
      return binary(at, op);
    }
    if (op == "Neg") {
      PILLARBOX_TRY(onlyAttributes(at, {}));
      PILLARBOX_ASSIGN(const Symbol x, symbolInput(at, 0));
      return symbolic(at, x, product(x.coefficients, {-1.0}));
    }
    if (m_training) {
      if (op == "Relu") return relu(at);
      if (op == "Dropout") return dropout(at);
      if (op == "MatMul") return matrixProduct(at);
      if (op == "ReduceMean") return reduceMean(at);
      if (op == "Squeeze" || op == "Unsqueeze") return squeeze(at);
      if (op == "Shape") return shapeOf(at);
      if (op == "Gather") return gather(at);
      if (op == "Slice") return slice(at);
      if (op == "Concat") return concat(at);
      if (op == "Cast") return cast(at);
    }
    static const std::map<std::string, const char*> kAdvice = {
        {"Relu", "activations"},     {"LeakyRelu", "activations"}, {"PRelu", "activations"},
        {"Clip", "activations"},     {"Sigmoid", "activations"},   {"Tanh", "activations"},
        {"Elu", "activations"},      {"Gelu", "activations"},      {"HardSwish", "activations"},
        {"Softmax", "softmax"},      {"LogSoftmax", "softmax"},    {"MaxPool", "maxpool"},
        {"GlobalMaxPool", "maxpool"}};
    const auto advice = kAdvice.find(op);
    const std::string kind = advice == kAdvice.end() ? "" : advice->second;
    if (kind == "activations") {
      return unsupported(at.where +
                         ": only polynomial activations can be evaluated privately. Train the "
                         "network with pillarbox-train, which replaces this one by a polynomial.");
    }
    if (kind == "maxpool") {
      return unsupported(at.where +
                         ": maxima cannot be evaluated privately. Replace it by AveragePool and "
                         "train the network with pillarbox-train.");
    }
    if (kind == "softmax") {
      return unsupported(at.where +
                         ": the model must end with its logits; the client computes probabilities. "
                         "Remove this node and export the model again.");
    }
    const std::string activations =
        m_training
            ? "Relu, MatMul, ReduceMean over height and width, and polynomial activations of "
            : "and polynomial activations of ";
    return unsupported(at.where +
                       ": this operator is not supported. Supported are Conv, Gemm, "
                       "BatchNormalization, AveragePool, GlobalAveragePool, Add, Flatten, Reshape "
                       "to [batch, features], Identity, Constant, " +
                       activations +
                       "Add, Sub, Mul, Div, Neg and Pow. Train a network of these with "
                       "pillarbox-train.");
  }

  /// Padding and output size of a window, explicit or automatic.
  Status window(const Context& at, FloatNode* node) const {
    PILLARBOX_ASSIGN(const auto strides, sizes(at, "strides", 2, 1, 1));
    PILLARBOX_ASSIGN(const auto pads, sizes(at, "pads", 4, 0, 0));
    PILLARBOX_ASSIGN(const auto dilations, sizes(at, "dilations", 2, 1, 1));
    if (dilations[0] != 1 || dilations[1] != 1) {
      return unsupported(at.where + ": dilations other than 1 are not supported.");
    }
    node->strideH = strides[0];
    node->strideW = strides[1];
    const onnx::AttributeProto* automatic = attribute(at, "auto_pad");
    const std::string mode = automatic == nullptr ? "NOTSET" : automatic->s();
    if (mode == "NOTSET") {
      node->padTop = pads[0];
      node->padLeft = pads[1];
      node->padBottom = pads[2];
      node->padRight = pads[3];
    } else {
      if (attribute(at, "pads") != nullptr &&
          std::any_of(pads.begin(), pads.end(), [](std::uint32_t p) { return p != 0; })) {
        return formatError(at.where + ": has both pads and auto_pad.");
      }
      if (mode == "SAME_UPPER" || mode == "SAME_LOWER") {
        const bool upper = mode == "SAME_UPPER";
        const auto split = [upper](std::uint32_t in, std::uint32_t kernel, std::uint32_t stride,
                                   std::uint32_t* before, std::uint32_t* after) {
          const std::uint32_t out = (in + stride - 1) / stride;
          const std::uint64_t covered = std::uint64_t{out - 1} * stride + kernel;
          const auto total = static_cast<std::uint32_t>(covered > in ? covered - in : 0);
          *before = upper ? total / 2 : total - total / 2;
          *after = total - *before;
        };
        split(node->in.height, node->kernelH, node->strideH, &node->padTop, &node->padBottom);
        split(node->in.width, node->kernelW, node->strideW, &node->padLeft, &node->padRight);
      } else if (mode != "VALID") {
        return unsupported(at.where + ": auto_pad '" + printable(mode) + "' is not supported.");
      }
    }
    if (node->padTop >= node->kernelH || node->padBottom >= node->kernelH ||
        node->padLeft >= node->kernelW || node->padRight >= node->kernelW) {
      return unsupported(at.where + ": its padding must be smaller than its kernel.");
    }
    const std::uint32_t height = node->in.height + node->padTop + node->padBottom;
    const std::uint32_t width = node->in.width + node->padLeft + node->padRight;
    if (node->kernelH > height || node->kernelW > width) {
      return formatError(at.where + ": its kernel is larger than its input of " +
                         std::to_string(node->in.height) + "x" + std::to_string(node->in.width) +
                         " with padding.");
    }
    if (integer(at, "ceil_mode", 0) != 0 && ((height - node->kernelH) % node->strideH != 0 ||
                                             (width - node->kernelW) % node->strideW != 0)) {
      return unsupported(at.where + ": ceil_mode is not supported where it changes the output.");
    }
    node->out.height = (height - node->kernelH) / node->strideH + 1;
    node->out.width = (width - node->kernelW) / node->strideW + 1;
    return {};
  }

  Result<Tensor> finish(const Context& at, FloatNode node, bool flat) {
    node.name = at.name;
    Tensor tensor;
    PILLARBOX_ASSIGN(tensor.symbol.base, addNode(std::move(node)));
    tensor.symbol.flat = flat;
    return tensor;
  }

  Result<Symbol> imageInput(const Context& at) {
    PILLARBOX_ASSIGN(Symbol x, valueInput(at, 0));
    if (x.flat) return formatError(at.where + ": needs an input of four dimensions.");
    return x;
  }

  Status countWeights(const Context& at, std::uint64_t count) {
    m_weights += count;
    if (m_weights > Limits::kMaxWeights) {
      return fault(ErrorCode::Exhausted, at.where + ": the model has more than " +
                                             std::to_string(Limits::kMaxWeights) + " weights.");
    }
    return {};
  }

  Result<std::vector<double>> channelVector(const Context& at, int index,
                                            std::uint32_t channels) const {
    PILLARBOX_ASSIGN(const Constant constant, constantInput(at, index));
    if (*elementCount(constant.dims) != channels) {
      return formatError(inputName(at, index) + " should have " + std::to_string(channels) +
                         " numbers.");
    }
    PILLARBOX_ASSIGN(const std::vector<float> values, floats(constant, inputName(at, index)));
    return std::vector<double>(values.begin(), values.end());
  }

  Result<Tensor> convolution(const Context& at) {
    PILLARBOX_TRY(
        onlyAttributes(at, {"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"}));
    PILLARBOX_ASSIGN(const Symbol x, imageInput(at));
    PILLARBOX_ASSIGN(const Constant weights, constantInput(at, 1));
    if (integer(at, "group", 1) != 1) {
      return unsupported(at.where + ": grouped convolutions are not supported; group must be 1.");
    }
    FloatNode node;
    node.kind = NodeKind::Convolution;
    node.inputs = {x.base};
    node.in = m_graph.shape(x.base);
    const auto fits = [](std::int64_t d) { return d >= 1 && d <= Limits::kMaxDimension; };
    if (weights.dims.size() != 4 || !std::all_of(weights.dims.begin(), weights.dims.end(), fits) ||
        weights.dims[1] != node.in.channels) {
      return formatError(inputName(at, 1) + " should have the shape [out, " +
                         std::to_string(node.in.channels) + ", height, width].");
    }
    node.out.channels = static_cast<std::uint32_t>(weights.dims[0]);
    node.kernelH = static_cast<std::uint32_t>(weights.dims[2]);
    node.kernelW = static_cast<std::uint32_t>(weights.dims[3]);
    if (attribute(at, "kernel_shape") != nullptr) {
      PILLARBOX_ASSIGN(const auto kernel, sizes(at, "kernel_shape", 2, 1, 1));
      if (kernel[0] != node.kernelH || kernel[1] != node.kernelW) {
        return formatError(at.where + ": kernel_shape disagrees with its weights.");
      }
    }
    PILLARBOX_TRY(window(at, &node));
    PILLARBOX_TRY(countWeights(at, *elementCount(weights.dims)));
    PILLARBOX_ASSIGN(node.weights, floats(weights, inputName(at, 1)));
    node.bias.assign(node.out.channels, 0.0);
    if (hasInput(at, 2)) {
      PILLARBOX_ASSIGN(node.bias, channelVector(at, 2, node.out.channels));
    }
    return finish(at, std::move(node), false);
  }

  Result<Tensor> gemm(const Context& at) {
    PILLARBOX_TRY(onlyAttributes(at, {"alpha", "beta", "transA", "transB"}));
    PILLARBOX_ASSIGN(const Symbol x, valueInput(at, 0));
    PILLARBOX_ASSIGN(const Constant weights, constantInput(at, 1));
    if (!x.flat) {
      return formatError(at.where + ": needs an input of two dimensions. Put a Flatten before it.");
    }
    if (integer(at, "transA", 0) != 0) return unsupported(at.where + ": transA must be 0.");
    const bool transposed = integer(at, "transB", 0) != 0;
    const double alpha = real(at, "alpha", 1.0);
    const double beta = real(at, "beta", 1.0);
    if (!std::isfinite(alpha) || !std::isfinite(beta)) {
      return formatError(at.where + ": alpha and beta must be finite.");
    }
    FloatNode node;
    node.kind = NodeKind::FullyConnected;
    node.inputs = {x.base};
    node.in = m_graph.shape(x.base);
    const std::uint64_t in = node.in.size();
    if (weights.dims.size() != 2 ||
        static_cast<std::uint64_t>(weights.dims[transposed ? 1 : 0]) != in ||
        weights.dims[transposed ? 0 : 1] < 1 ||
        weights.dims[transposed ? 0 : 1] > Limits::kMaxDimension) {
      return formatError(inputName(at, 1) + " does not fit its input of " + std::to_string(in) +
                         " features.");
    }
    const auto out = static_cast<std::uint32_t>(weights.dims[transposed ? 0 : 1]);
    node.out = Shape{out, 1, 1};
    PILLARBOX_TRY(countWeights(at, in * out));
    PILLARBOX_ASSIGN(std::vector<float> given, floats(weights, inputName(at, 1)));
    if (transposed) {
      node.weights = std::move(given);
    } else {
      node.weights.resize(given.size());
      for (std::size_t i = 0; i < in; ++i) {
        for (std::size_t o = 0; o < out; ++o) node.weights[o * in + i] = given[i * out + o];
      }
    }
    if (alpha != 1.0) {
      for (float& w : node.weights) w = static_cast<float>(alpha * static_cast<double>(w));
    }
    node.bias.assign(out, 0.0);
    if (hasInput(at, 2)) {
      PILLARBOX_ASSIGN(const Constant bias, constantInput(at, 2));
      const std::uint64_t count = *elementCount(bias.dims);
      if (bias.dims.size() > 2 || (count != 1 && count != out) ||
          (bias.dims.size() == 2 && bias.dims[0] != 1)) {
        return formatError(inputName(at, 2) + " should have " + std::to_string(out) + " numbers.");
      }
      PILLARBOX_ASSIGN(const std::vector<float> values, floats(bias, inputName(at, 2)));
      for (std::size_t o = 0; o < out; ++o) {
        node.bias[o] = beta * static_cast<double>(values[count == 1 ? 0 : o]);
      }
    }
    return finish(at, std::move(node), true);
  }

  Result<Tensor> batchNorm(const Context& at) {
    PILLARBOX_TRY(onlyAttributes(at, {"epsilon", "momentum", "training_mode", "spatial"}));
    if (integer(at, "training_mode", 0) != 0 || integer(at, "spatial", 1) != 1) {
      return unsupported(at.where + ": is in training mode. Export the model in evaluation mode.");
    }
    PILLARBOX_ASSIGN(const Symbol x, valueInput(at, 0));
    FloatNode node;
    node.kind = NodeKind::Affine;
    node.inputs = {x.base};
    node.in = m_graph.shape(x.base);
    node.out = node.in;
    if (x.flat && node.in.height * node.in.width != 1) {
      return unsupported(at.where + ": a batch norm over flattened images is not supported.");
    }
    const std::uint32_t channels = node.in.channels;
    PILLARBOX_ASSIGN(const auto gamma, channelVector(at, 1, channels));
    PILLARBOX_ASSIGN(const auto beta, channelVector(at, 2, channels));
    PILLARBOX_ASSIGN(const auto mean, channelVector(at, 3, channels));
    PILLARBOX_ASSIGN(const auto variance, channelVector(at, 4, channels));
    const double epsilon = real(at, "epsilon", 1e-5);
    node.scale.resize(channels);
    node.bias.resize(channels);
    for (std::size_t c = 0; c < channels; ++c) {
      const double deviation = std::sqrt(variance[c] + epsilon);
      if (!(deviation > 0)) {
        return formatError(at.where + ": the variance of channel " + std::to_string(c) +
                           " is not positive.");
      }
      node.scale[c] = gamma[c] / deviation;
      node.bias[c] = beta[c] - mean[c] * node.scale[c];
    }
    return finish(at, std::move(node), x.flat);
  }

  Result<Tensor> averagePool(const Context& at) {
    PILLARBOX_TRY(onlyAttributes(at, {"auto_pad", "ceil_mode", "count_include_pad", "dilations",
                                      "kernel_shape", "pads", "strides"}));
    PILLARBOX_ASSIGN(const Symbol x, imageInput(at));
    if (attribute(at, "kernel_shape") == nullptr) {
      return formatError(at.where + ": has no kernel_shape.");
    }
    PILLARBOX_ASSIGN(const auto kernel, sizes(at, "kernel_shape", 2, 1, 1));
    FloatNode node;
    node.kind = NodeKind::AveragePool;
    node.inputs = {x.base};
    node.in = m_graph.shape(x.base);
    node.out.channels = node.in.channels;
    node.kernelH = kernel[0];
    node.kernelW = kernel[1];
    PILLARBOX_TRY(window(at, &node));
    if (node.padTop + node.padLeft + node.padBottom + node.padRight != 0 &&
        integer(at, "count_include_pad", 0) != 1) {
      return unsupported(at.where +
                         ": an average pooling with padding must count the padding "
                         "(count_include_pad = 1), or have no padding.");
    }
    return finish(at, std::move(node), false);
  }

  Result<Tensor> globalAveragePool(const Context& at) {
    PILLARBOX_TRY(onlyAttributes(at, {}));
    PILLARBOX_ASSIGN(const Symbol x, imageInput(at));
    FloatNode node;
    node.kind = NodeKind::AveragePool;
    node.inputs = {x.base};
    node.in = m_graph.shape(x.base);
    node.out = Shape{node.in.channels, 1, 1};
    node.kernelH = node.in.height;
    node.kernelW = node.in.width;
    return finish(at, std::move(node), false);
  }

  Result<Tensor> flatten(const Context& at) {
    PILLARBOX_TRY(onlyAttributes(at, {"axis"}));
    PILLARBOX_ASSIGN(Symbol x, symbolInput(at, 0));
    const std::int64_t axis = integer(at, "axis", 1);
    if (axis != 1 && axis != (x.flat ? -1 : -3)) {
      return unsupported(at.where + ": axis must be 1.");
    }
    Tensor tensor;
    tensor.symbol = std::move(x);
    tensor.symbol.flat = true;
    return tensor;
  }

  Result<Tensor> reshape(const Context& at) {
    PILLARBOX_TRY(onlyAttributes(at, {"allowzero"}));
    PILLARBOX_ASSIGN(Symbol x, symbolInput(at, 0));
    PILLARBOX_ASSIGN(const Constant target, constantInput(at, 1));
    PILLARBOX_ASSIGN(const std::vector<double> shape, numbers(target, inputName(at, 1)));
    const auto size = static_cast<double>(m_graph.shape(x.base).size());
    const bool zeroCopies = integer(at, "allowzero", 0) == 0;
    const bool batch =
        shape.size() == 2 && ((shape[0] == 0 && zeroCopies) || shape[0] == 1 ||
                              std::isnan(shape[0]) || (shape[0] == -1 && shape[1] == size));
    if (!batch || (shape[1] != -1 && shape[1] != size)) {
      return unsupported(at.where +
                         ": only a reshape to [batch, features] is supported. Use Flatten.");
    }
    Tensor tensor;
    tensor.symbol = std::move(x);
    tensor.symbol.flat = true;
    return tensor;
  }

  Result<Tensor> constant(const Context& at) {
    Constant result;
    if (const onnx::AttributeProto* value = attribute(at, "value")) {
      PILLARBOX_ASSIGN(result, makeConstant(value->t(), at.where + ": its value"));
    } else if (const onnx::AttributeProto* single = attribute(at, "value_float")) {
      result.numbers = {static_cast<double>(single->f())};
    } else if (const onnx::AttributeProto* whole = attribute(at, "value_int")) {
      result.numbers = {static_cast<double>(whole->i())};
    } else if (const onnx::AttributeProto* list = attribute(at, "value_floats")) {
      result.numbers.assign(list->floats().begin(), list->floats().end());
      result.dims = {list->floats_size()};
    } else if (const onnx::AttributeProto* ints = attribute(at, "value_ints")) {
      result.numbers.assign(ints->ints().begin(), ints->ints().end());
      result.dims = {ints->ints_size()};
    } else {
      return unsupported(at.where + ": only numeric constants are supported.");
    }
    for (double v : result.numbers) {
      if (!std::isfinite(v)) return formatError(at.where + ": its value is not finite.");
    }
    return Tensor{std::move(result), {}};
  }

  /// The single number of a constant, whatever its rank (up to an image's).
  Result<double> scalar(const Context& at, int index, const Constant& c) const {
    if (c.dims.size() > 4 || *elementCount(c.dims) != 1) {
      return unsupported(inputName(at, index) +
                         " must be a single number: arithmetic with constant tensors is only "
                         "supported inside Conv, Gemm and BatchNormalization.");
    }
    PILLARBOX_ASSIGN(const std::vector<double> values, numbers(c, inputName(at, index)));
    if (values.size() != 1) return wrongCount(inputName(at, index));
    return values[0];
  }

  Result<Tensor> binary(const Context& at, const std::string& op) {
    PILLARBOX_TRY(onlyAttributes(at, {}));
    PILLARBOX_ASSIGN(const Tensor a, input(at, 0));
    PILLARBOX_ASSIGN(const Tensor b, input(at, 1));
    if (m_training && a.constant.has_value() != b.constant.has_value()) {
      const int index = a.constant ? 0 : 1;
      const Constant& numbers = a.constant ? *a.constant : *b.constant;
      if (elementCount(numbers.dims) != 1) {
        return perChannel(at, op, a.constant ? b.symbol : a.symbol, numbers, index);
      }
    }
    Coefficients left = a.symbol.coefficients;
    Coefficients right = b.symbol.coefficients;
    if (a.constant) {
      PILLARBOX_ASSIGN(const double number, scalar(at, 0, *a.constant));
      left = {number};
    }
    if (b.constant) {
      PILLARBOX_ASSIGN(const double number, scalar(at, 1, *b.constant));
      right = {number};
    }
    if (!a.constant && !b.constant) {
      if (a.symbol.flat != b.symbol.flat ||
          m_graph.shape(a.symbol.base) != m_graph.shape(b.symbol.base)) {
        return unsupported(at.where + ": its two inputs have different shapes.");
      }
      if (a.symbol.base != b.symbol.base) {
        if (op == "Add") return shortcut(at);
        return unsupported(at.where +
                           ": combines two different tensors; only their sum is supported.");
      }
    }
    if (op == "Pow" || op == "Div") {
      if (!b.constant) {
        return unsupported(at.where + ": its second input must be a constant number.");
      }
      if (op == "Div") {
        if (right[0] == 0.0) return formatError(at.where + ": divides by zero.");
        for (double& c : left) c /= right[0];
      } else {
        const double exponent = right[0];
        if (exponent < 0 || exponent > Limits::kMaxDegree || exponent != std::floor(exponent)) {
          return unsupported(at.where + ": its exponent must be a whole number from 0 to " +
                             std::to_string(Limits::kMaxDegree) + ".");
        }
        const Coefficients base = left;
        left = {1.0};
        for (int i = 0; i < static_cast<int>(exponent); ++i) left = product(left, base);
      }
    } else if (op == "Mul") {
      left = product(left, right);
    } else {
      left = sum(left, right, op == "Add" ? 1.0 : -1.0);
    }
    if (a.constant && b.constant) {
      Constant result;
      result.numbers = {left[0]};
      if (!std::isfinite(left[0])) return formatError(at.where + ": its result is not finite.");
      return Tensor{std::move(result), {}};
    }
    return symbolic(at, a.constant ? b.symbol : a.symbol, std::move(left));
  }

  Result<Tensor> shortcut(const Context& at) {
    PILLARBOX_ASSIGN(const Symbol a, valueInput(at, 0));
    PILLARBOX_ASSIGN(const Symbol b, valueInput(at, 1));
    FloatNode node;
    node.kind = NodeKind::Add;
    node.inputs = {a.base, b.base};
    node.in = m_graph.shape(a.base);
    node.out = node.in;
    return finish(at, std::move(node), a.flat);
  }

  // --- what PyTorch's exporters write besides: only in networks that are to be trained on

  Result<Tensor> relu(const Context& at) {
    PILLARBOX_TRY(onlyAttributes(at, {}));
    PILLARBOX_ASSIGN(const Symbol x, valueInput(at, 0));
    FloatNode node;
    node.kind = NodeKind::Relu;
    node.inputs = {x.base};
    node.in = node.out = m_graph.shape(x.base);
    return finish(at, std::move(node), x.flat);
  }

  /// Does nothing outside training.
  Result<Tensor> dropout(const Context& at) {
    PILLARBOX_TRY(onlyAttributes(at, {"ratio", "seed"}));
    bool training = false;
    if (hasInput(at, 2)) {
      PILLARBOX_ASSIGN(const Constant mode, constantInput(at, 2));
      const onnx::TensorProto* tensor = mode.tensor;
      training = tensor == nullptr ||
                 !((tensor->has_raw_data() && tensor->raw_data() == std::string(1, '\0')) ||
                   (tensor->int32_data_size() == 1 && !tensor->int32_data(0)));
    }
    if (training || at.node->output_size() != 1) {
      return unsupported(at.where + ": is in training mode. Export the model in evaluation mode.");
    }
    PILLARBOX_ASSIGN(Tensor x, input(at, 0));
    return x;
  }

  /// A fully connected layer whose bias, if there is one, is added by another node.
  Result<Tensor> matrixProduct(const Context& at) {
    PILLARBOX_TRY(onlyAttributes(at, {}));
    return gemm(at);
  }

  /// `scale` and `shift` of each channel: an addition or multiplication by as many numbers.
  Result<Tensor> perChannel(const Context& at, const std::string& op, const Symbol& x,
                            const Constant& constant, int index) {
    Symbol symbol = x;
    PILLARBOX_ASSIGN(symbol.base, materialise(x, at.name));
    FloatNode node;
    node.kind = NodeKind::Affine;
    node.inputs = {symbol.base};
    node.in = node.out = m_graph.shape(symbol.base);
    const std::uint32_t channels = node.in.channels;
    // Broadcasting aligns the last dimensions: [batch, channels, height, width] or [batch,
    // features].
    const std::size_t rank = x.flat ? 2 : 4;
    std::vector<std::int64_t> dims = constant.dims;
    bool fits = dims.size() <= rank && (!x.flat || node.in.height * node.in.width == 1);
    while (fits && dims.size() < rank) dims.insert(dims.begin(), 1);
    for (std::size_t i = 0; fits && i < rank; ++i) fits = dims[i] == (i == 1 ? channels : 1);
    const bool known = op == "Add" || op == "Sub" || op == "Mul" || (op == "Div" && index == 1);
    if (!fits || !known) {
      return unsupported(inputName(at, index) +
                         " must be a single number, or one for each channel that is added, "
                         "subtracted or multiplied.");
    }
    PILLARBOX_ASSIGN(const std::vector<double> numbers, channelVector(at, index, channels));
    node.scale.assign(channels, 1.0);
    node.bias.assign(channels, 0.0);
    for (std::size_t c = 0; c < channels; ++c) {
      if (op == "Add") node.bias[c] = numbers[c];
      if (op == "Mul") node.scale[c] = numbers[c];
      if (op == "Sub") {
        node.bias[c] = index == 1 ? -numbers[c] : numbers[c];
        node.scale[c] = index == 1 ? 1.0 : -1.0;
      }
      if (op == "Div") node.scale[c] = 1.0 / numbers[c];
      if (!std::isfinite(node.scale[c])) return formatError(at.where + ": divides by zero.");
    }
    return finish(at, std::move(node), x.flat);
  }

  /// The axes of a node, as an input (since operator set 13 or 18) or an attribute, from 0 to
  /// `rank` - 1 and ascending. Nothing where there are none.
  Result<std::optional<std::vector<std::int64_t>>> axes(const Context& at,
                                                        std::int64_t rank) const {
    std::vector<std::int64_t> result;
    if (hasInput(at, 1)) {
      PILLARBOX_ASSIGN(const Constant given, constantInput(at, 1));
      PILLARBOX_ASSIGN(const std::vector<double> values, numbers(given, inputName(at, 1)));
      for (const double v : values) {
        const bool fits = std::abs(v) <= static_cast<double>(rank);
        result.push_back(fits ? static_cast<std::int64_t>(v) : rank);  // refused below
      }
    } else if (const onnx::AttributeProto* given = attribute(at, "axes")) {
      result.assign(given->ints().begin(), given->ints().end());
    } else {
      return std::optional<std::vector<std::int64_t>>();
    }
    for (std::int64_t& axis : result) {
      if (axis < -rank || axis >= rank) return formatError(at.where + ": has no such axis.");
      if (axis < 0) axis += rank;
    }
    std::sort(result.begin(), result.end());
    return std::optional(std::move(result));
  }

  /// Over height and width: a global average pooling.
  Result<Tensor> reduceMean(const Context& at) {
    PILLARBOX_TRY(onlyAttributes(at, {"axes", "keepdims", "noop_with_empty_axes"}));
    PILLARBOX_ASSIGN(const Symbol x, imageInput(at));
    PILLARBOX_ASSIGN(const auto over, axes(at, 4));
    if (!over || *over != std::vector<std::int64_t>{2, 3}) {
      return unsupported(at.where + ": only the mean over height and width is supported.");
    }
    FloatNode node;
    node.kind = NodeKind::AveragePool;
    node.inputs = {x.base};
    node.in = m_graph.shape(x.base);
    node.out = Shape{node.in.channels, 1, 1};
    node.kernelH = node.in.height;
    node.kernelW = node.in.width;
    return finish(at, std::move(node), integer(at, "keepdims", 1) == 0);
  }

  /// Of an image of one pixel, which becomes [batch, features] or comes from it; and of sizes.
  Result<Tensor> squeeze(const Context& at) {
    PILLARBOX_TRY(onlyAttributes(at, {"axes"}));
    PILLARBOX_ASSIGN(Tensor x, input(at, 0));
    const bool removes = at.node->op_type() == "Squeeze";
    if (x.constant) {
      PILLARBOX_ASSIGN(Constant sizes, sizeList(at, 0));
      if (sizes.numbers.size() != 1) return notOfSizes(at);
      sizes.dims = removes ? std::vector<std::int64_t>{} : std::vector<std::int64_t>{1};
      return Tensor{std::move(sizes), {}};
    }
    PILLARBOX_ASSIGN(const auto given, axes(at, 4));
    const Shape shape = m_graph.shape(x.symbol.base);
    if (!given || *given != std::vector<std::int64_t>{2, 3} || shape.height * shape.width != 1 ||
        x.symbol.flat == removes) {
      return unsupported(at.where +
                         ": only the height and width of a single pixel can be removed or added.");
    }
    x.symbol.flat = removes;
    return x;
  }

  Error notOfSizes(const Context& at) const {
    return unsupported(at.where + ": is only supported where sizes are computed for a Reshape.");
  }

  /// A constant of at most one dimension, its numbers copied.
  Result<Constant> sizeList(const Context& at, int index) const {
    PILLARBOX_ASSIGN(const Tensor x, input(at, index));
    if (!x.constant || x.constant->dims.size() > 1 || x.constant->numbers.size() > kMostSizes) {
      return notOfSizes(at);
    }
    Constant sizes;
    PILLARBOX_ASSIGN(sizes.numbers, numbers(*x.constant, inputName(at, index)));
    sizes.dims = x.constant->dims;
    return sizes;
  }

  Result<Tensor> shapeOf(const Context& at) {
    PILLARBOX_TRY(onlyAttributes(at, {"start", "end"}));
    PILLARBOX_ASSIGN(const Symbol x, symbolInput(at, 0));
    const Shape shape = m_graph.shape(x.base);
    std::vector<double> dims{kBatchSize};
    if (x.flat) {
      dims.push_back(static_cast<double>(shape.size()));
    } else {
      for (const std::uint32_t d : {shape.channels, shape.height, shape.width}) dims.push_back(d);
    }
    const auto rank = static_cast<std::int64_t>(dims.size());
    const auto bound = [&](const char* name, std::int64_t fallback) {
      const std::int64_t given = integer(at, name, fallback);
      return std::clamp<std::int64_t>(given < 0 ? given + rank : given, 0, rank);
    };
    const std::int64_t first = bound("start", 0);
    const std::int64_t last = std::max(first, bound("end", rank));
    return list({dims.begin() + first, dims.begin() + last});
  }

  static Tensor list(std::vector<double> numbers) {
    Constant result;
    result.dims = {static_cast<std::int64_t>(numbers.size())};
    result.numbers = std::move(numbers);
    return Tensor{std::move(result), {}};
  }

  Result<Tensor> gather(const Context& at) {
    PILLARBOX_TRY(onlyAttributes(at, {"axis"}));
    PILLARBOX_ASSIGN(const Constant sizes, sizeList(at, 0));
    PILLARBOX_ASSIGN(const Constant indices, sizeList(at, 1));
    if (integer(at, "axis", 0) != 0) return notOfSizes(at);
    Constant result;
    result.dims = indices.dims;
    const auto count = static_cast<double>(sizes.numbers.size());
    for (double index : indices.numbers) {
      if (index < 0) index += count;
      if (!(index >= 0 && index < count)) return formatError(at.where + ": has no such element.");
      result.numbers.push_back(sizes.numbers[static_cast<std::size_t>(index)]);
    }
    return Tensor{std::move(result), {}};
  }

  Result<Tensor> slice(const Context& at) {
    PILLARBOX_TRY(onlyAttributes(at, {}));
    PILLARBOX_ASSIGN(const Constant sizes, sizeList(at, 0));
    const auto count = static_cast<double>(sizes.numbers.size());
    double range[2] = {0, 0};
    for (int i = 0; i < 2; ++i) {
      PILLARBOX_ASSIGN(const Constant given, sizeList(at, i + 1));
      if (given.numbers.size() != 1) return notOfSizes(at);
      const double v = given.numbers[0];
      range[i] = std::clamp(v < 0 ? v + count : v, 0.0, count);
    }
    for (int i = 3; i < 5; ++i) {  // along axis 0, in steps of 1
      if (!hasInput(at, i)) continue;
      PILLARBOX_ASSIGN(const Constant given, sizeList(at, i));
      if (given.numbers != std::vector<double>{i == 3 ? 0.0 : 1.0}) return notOfSizes(at);
    }
    std::vector<double> numbers;
    for (double i = range[0]; i < range[1]; ++i) {
      numbers.push_back(sizes.numbers[static_cast<std::size_t>(i)]);
    }
    return list(std::move(numbers));
  }

  Result<Tensor> concat(const Context& at) {
    PILLARBOX_TRY(onlyAttributes(at, {"axis"}));
    std::vector<double> numbers;
    for (int i = 0; i < at.node->input_size(); ++i) {
      PILLARBOX_ASSIGN(const Constant sizes, sizeList(at, i));
      numbers.insert(numbers.end(), sizes.numbers.begin(), sizes.numbers.end());
      if (numbers.size() > kMostSizes) return notOfSizes(at);
    }
    return list(std::move(numbers));
  }

  Result<Tensor> cast(const Context& at) {
    PILLARBOX_TRY(onlyAttributes(at, {"to", "saturate"}));
    const std::int64_t to = integer(at, "to", 0);
    PILLARBOX_ASSIGN(Tensor x, input(at, 0));
    if (!x.constant && to == onnx::TensorProto_DataType_FLOAT) return x;  // it is that already
    if (to != onnx::TensorProto_DataType_INT64 && to != onnx::TensorProto_DataType_INT32) {
      return notOfSizes(at);
    }
    PILLARBOX_ASSIGN(Constant sizes, sizeList(at, 0));
    return Tensor{std::move(sizes), {}};
  }

  const onnx::ModelProto& m_file;
  const std::optional<StatedPolynomial>& m_stated;
  bool m_training;
  std::map<std::pair<std::string, std::string>, const onnx::FunctionProto*> m_functions;
  std::vector<std::unique_ptr<onnx::NodeProto>> m_boundNodes;
  FloatGraph m_graph;
  std::map<std::pair<std::uint32_t, Coefficients>, std::uint32_t> m_materialised;
  std::map<std::pair<std::uint32_t, Coefficients>, std::string> m_authors;
  std::size_t m_nodeCount = 0;
  std::uint64_t m_elements = 0;
  std::uint64_t m_weights = 0;
};

// ------------------------------------------------------------------------------------ metadata

class Metadata {
 public:
  static Result<Metadata> read(const onnx::ModelProto& file) {
    Metadata metadata;
    for (const onnx::StringStringEntryProto& entry : file.metadata_props()) {
      if (!metadata.m_values.emplace(entry.key(), entry.value()).second) {
        return formatError("The metadata key '" + printable(entry.key()) + "' appears twice.");
      }
    }
    return metadata;
  }

  bool has(const std::string& key) const { return m_values.count(key) != 0; }

  Result<std::string> text(const std::string& key) const {
    const auto found = m_values.find(key);
    if (found == m_values.end()) {
      return formatError("The metadata key " + key +
                         " is missing. Write the file with pillarbox-train, or add the keys that "
                         "models/FORMAT.md lists.");
    }
    return found->second;
  }

  Result<int> integer(const std::string& key, int low, int high) const {
    PILLARBOX_ASSIGN(const std::string value, text(key));
    int number = 0;
    const char* end = value.data() + value.size();
    const auto [stop, code] = std::from_chars(value.data(), end, number);
    if (code != std::errc() || stop != end || number < low || number > high) {
      return formatError("The metadata key " + key + " is '" + printable(value) +
                         "'; it must be a whole number from " + std::to_string(low) + " to " +
                         std::to_string(high) + ".");
    }
    return number;
  }

  Result<Json> json(const std::string& key) const {
    PILLARBOX_ASSIGN(const std::string value, text(key));
    Json parsed = Json::parse(value, nullptr, false);
    if (parsed.is_discarded()) {
      return formatError("The metadata key " + key + " is not valid JSON.");
    }
    return parsed;
  }

  Result<std::vector<float>> floats(const std::string& key) const {
    PILLARBOX_ASSIGN(const Json parsed, json(key));
    std::vector<float> values;
    bool good = parsed.is_array() && parsed.size() <= Limits::kMaxDimension;
    if (good) {
      for (const Json& item : parsed) {
        good = good && item.is_number();
        if (good) values.push_back(static_cast<float>(item.get<double>()));
      }
    }
    if (!good) return formatError("The metadata key " + key + " must be a JSON array of numbers.");
    return values;
  }

 private:
  std::map<std::string, std::string> m_values;
};

Result<std::vector<std::string>> readLabels(const Metadata& metadata) {
  const std::string key = "pillarbox.labels";
  PILLARBOX_ASSIGN(const Json parsed, metadata.json(key));
  std::vector<std::string> labels;
  if (!parsed.is_array() || parsed.empty() || parsed.size() > Limits::kMaxLabels) {
    return formatError("The metadata key " + key + " must be a JSON array of 1 to " +
                       std::to_string(Limits::kMaxLabels) + " strings.");
  }
  for (const Json& item : parsed) {
    if (!item.is_string()) {
      return formatError("The metadata key " + key + " must contain strings only.");
    }
    labels.push_back(item.get<std::string>());
  }
  return labels;
}

Result<std::optional<StatedPolynomial>> readPolynomial(const Metadata& metadata) {
  const std::string key = "pillarbox.polynomial";
  if (!metadata.has(key)) return std::optional<StatedPolynomial>();
  PILLARBOX_ASSIGN(const Json parsed, metadata.json(key));
  const Error malformed = formatError(
      "The metadata key " + key +
      " must be an object like {\"degree\":4,\"fraction_bits\":10,\"coefficients\":[322,512,160,0,"
      "-3],\"range\":5.0}, with integer coefficients, the constant first, of degree 2 to 8.");
  if (!parsed.is_object()) return malformed;
  for (const char* field : {"degree", "fraction_bits", "coefficients", "range"}) {
    if (!parsed.contains(field)) return malformed;
  }
  const Json& degree = parsed["degree"];
  const Json& bits = parsed["fraction_bits"];
  const Json& coefficients = parsed["coefficients"];
  const Json& range = parsed["range"];
  if (!degree.is_number_unsigned() || !bits.is_number_unsigned() || !coefficients.is_array() ||
      !range.is_number() || degree.get<std::uint64_t>() < 2 ||
      degree.get<std::uint64_t>() > Limits::kMaxDegree ||
      coefficients.size() != degree.get<std::uint64_t>() + 1 ||
      bits.get<std::uint64_t>() > Limits::kMaxCoefficientFractionBits) {
    return malformed;
  }
  StatedPolynomial stated;
  stated.polynomial.fractionBits = bits.get<std::uint32_t>();
  for (const Json& item : coefficients) {
    // An unsigned number beyond the signed range would come back negative.
    if (!item.is_number_integer() ||
        (item.is_number_unsigned() &&
         item.get<std::uint64_t>() >= static_cast<std::uint64_t>(Limits::kMaxCoefficient))) {
      return malformed;
    }
    const auto c = item.get<std::int64_t>();
    if (c >= Limits::kMaxCoefficient || c <= -Limits::kMaxCoefficient) return malformed;
    stated.polynomial.coefficients.push_back(c);
  }
  stated.polynomial.coefficients = evenDegree(std::move(stated.polynomial.coefficients));
  stated.range = range.get<double>();
  if (!(stated.range > 0) || stated.range > 1000) return malformed;
  return std::optional<StatedPolynomial>(std::move(stated));
}

Status checkVersions(const onnx::ModelProto& file, const Metadata& metadata) {
  if (!metadata.has("pillarbox.format")) {
    return formatError(
        "This ONNX file was not made for Pillarbox: the metadata key pillarbox.format is missing. "
        "Train the network with pillarbox-train, or add the keys that models/FORMAT.md lists.");
  }
  PILLARBOX_ASSIGN(const std::string format, metadata.text("pillarbox.format"));
  if (format != std::to_string(kModelFormat)) {
    return fault(ErrorCode::Version,
                 "The metadata key pillarbox.format is '" + printable(format) +
                     "'; this program reads version " + std::to_string(kModelFormat) +
                     ". Use a release of Pillarbox that matches the file, or export it again.");
  }
  if (file.ir_version() < kMinIrVersion || file.ir_version() > kMaxIrVersion) {
    return fault(ErrorCode::Version, "The file has ONNX IR version " +
                                         std::to_string(file.ir_version()) + "; supported are " +
                                         std::to_string(kMinIrVersion) + " to " +
                                         std::to_string(kMaxIrVersion) + ".");
  }
  bool found = false;
  for (const onnx::OperatorSetIdProto& opset : file.opset_import()) {
    if (!opset.domain().empty() && opset.domain() != "ai.onnx") continue;
    found = true;
    if (opset.version() < kMinOpset || opset.version() > kMaxOpset) {
      return fault(ErrorCode::Version,
                   "The file uses ONNX operator set " + std::to_string(opset.version()) +
                       "; supported are " + std::to_string(kMinOpset) + " to " +
                       std::to_string(kMaxOpset) + ". Export it with operator set 13 or 17.");
    }
  }
  if (!found) return formatError("The file does not say which ONNX operator set it uses.");
  return {};
}

Result<onnx::ModelProto> parse(std::span<const std::byte> bytes) {
  if (bytes.size() > kMaxModelFileBytes) {
    return fault(ErrorCode::Exhausted,
                 "The file is larger than " + std::to_string(kMaxModelFileBytes >> 20) + " MiB.");
  }
  std::uint64_t payload = 0;
  if (bytes.empty() || !scan(Message::Model, bytes, &payload)) {
    return formatError("This is not an ONNX file, or it is truncated or damaged.");
  }
  if (bytes.size() - payload > kMaxModelStructureBytes) {
    return fault(ErrorCode::Exhausted,
                 "The file holds more than " + std::to_string(kMaxModelStructureBytes >> 20) +
                     " MiB beside its weights; that is no network that Pillarbox can evaluate.");
  }
  onnx::ModelProto file;
  if (!file.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return formatError("This is not an ONNX file, or it is truncated or damaged.");
  }
  return file;
}

Result<LoadedModel> interpret(std::span<const std::byte> bytes) {
  PILLARBOX_ASSIGN(const onnx::ModelProto file, parse(bytes));
  PILLARBOX_ASSIGN(const Metadata metadata, Metadata::read(file));
  PILLARBOX_TRY(checkVersions(file, metadata));

  LoadedModel loaded;
  PublicModel& model = loaded.model;
  PILLARBOX_ASSIGN(model.labels, readLabels(metadata));
  PILLARBOX_ASSIGN(model.mean, metadata.floats("pillarbox.mean"));
  PILLARBOX_ASSIGN(model.std, metadata.floats("pillarbox.std"));
  QuantiseOptions options;
  PILLARBOX_ASSIGN(const int precision,
                   metadata.integer("pillarbox.precision_bits", Limits::kMinPrecisionBits,
                                    Limits::kMaxPrecisionBits));
  options.precisionBits = static_cast<std::uint32_t>(precision);
  options.outputBits = options.precisionBits;
  if (metadata.has("pillarbox.weight_bits")) {
    PILLARBOX_ASSIGN(const int bits, metadata.integer("pillarbox.weight_bits", 6, 20));
    options.weightBits = static_cast<std::uint32_t>(bits);
  }
  if (metadata.has("pillarbox.output_bits")) {
    PILLARBOX_ASSIGN(const int bits,
                     metadata.integer("pillarbox.output_bits", Limits::kMinOutputBits, precision));
    options.outputBits = static_cast<std::uint32_t>(bits);
  }
  PILLARBOX_ASSIGN(const std::optional<StatedPolynomial> stated, readPolynomial(metadata));
  if (metadata.has("pillarbox.training")) {
    PILLARBOX_ASSIGN(const Json training, metadata.json("pillarbox.training"));
    if (!training.is_object()) {
      return formatError("The metadata key pillarbox.training must be a JSON object.");
    }
    PILLARBOX_ASSIGN(loaded.training, metadata.text("pillarbox.training"));
  }
  loaded.weightBits = options.weightBits;
  loaded.range = stated ? stated->range : kDefaultRange;
  if (!stated && metadata.has("pillarbox.range")) {
    PILLARBOX_ASSIGN(const Json range, metadata.json("pillarbox.range"));
    if (!range.is_number() || !(range.get<double>() > 0) || range.get<double>() > 1000) {
      return formatError("The metadata key pillarbox.range must be a number, 0 to 1000.");
    }
    loaded.range = range.get<double>();
  }

  PILLARBOX_ASSIGN(loaded.graph, Importer(file, stated).run());
  for (const FloatNode& node : loaded.graph.nodes) {
    if (node.kind == NodeKind::Polynomial &&
        node.polynomial.degree() * options.precisionBits + node.polynomial.fractionBits >
            Limits::kMaxPolynomialBits) {
      return unsupported("Node '" + node.name + "' (activation): degree " +
                         std::to_string(node.polynomial.degree()) + " at " +
                         std::to_string(options.precisionBits) +
                         " precision bits does not fit 128-bit arithmetic. Lower "
                         "pillarbox.precision_bits.");
    }
  }
  PILLARBOX_ASSIGN(QuantisedNetwork network, quantise(loaded.graph, options));
  model.name = printable(file.graph().name());
  if (model.name.empty()) model.name = "model";
  model.input = loaded.graph.input;
  model.precisionBits = network.precisionBits;
  model.outputBits = network.outputBits;
  model.stages = std::move(network.stages);
  loaded.weights = std::move(network.weights);
  if (model.mean.size() != model.input.channels || model.std.size() != model.input.channels) {
    return formatError("The metadata keys pillarbox.mean and pillarbox.std must each have " +
                       std::to_string(model.input.channels) + " numbers, one an input channel.");
  }
  const std::uint64_t outputs = model.stages.back().output.size();
  if (model.labels.size() != outputs) {
    return formatError("The metadata key pillarbox.labels has " +
                       std::to_string(model.labels.size()) + " labels for the model's " +
                       std::to_string(outputs) + " outputs.");
  }
  PILLARBOX_TRY(validate(model));
  PILLARBOX_TRY(validate(model, loaded.weights));
  if (serialize(model).size() > Limits::kMaxDescriptionBytes) {
    return fault(ErrorCode::Exhausted, "The network's public description is larger than " +
                                           std::to_string(Limits::kMaxDescriptionBytes) +
                                           " bytes: it has too many layers or labels.");
  }
  loaded.failure = truncationFailureBound(model, 2 * loaded.range);
  if (!(loaded.failure.total() <= kMaxTruncationFailure)) {
    return unsupported(
        "At " + std::to_string(model.precisionBits) +
        " precision bits an inference of this model would fail with a probability of up to 2^" +
        std::to_string(std::log2(loaded.failure.total())) +
        ", above the limit of 2^-10. Lower pillarbox.precision_bits or pillarbox.weight_bits, or "
        "use a polynomial of lower degree.");
  }
  return loaded;
}

/// Closes a file descriptor at the end of a scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : m_fd(fd) {}
  ~Descriptor() {
    if (m_fd >= 0) ::close(m_fd);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return m_fd; }

 private:
  int m_fd;
};

Result<TrainableGraph> interpretForTraining(std::span<const std::byte> bytes) {
  PILLARBOX_ASSIGN(const onnx::ModelProto file, parse(bytes));
  PILLARBOX_ASSIGN(const Metadata metadata, Metadata::read(file));
  for (const onnx::OperatorSetIdProto& opset : file.opset_import()) {
    if ((opset.domain().empty() || opset.domain() == "ai.onnx") && opset.version() < kMinOpset) {
      return fault(ErrorCode::Version, "The file uses ONNX operator set " +
                                           std::to_string(opset.version()) +
                                           "; export it again with operator set 13 or later.");
    }
  }
  TrainableGraph result;
  if (metadata.has("pillarbox.labels")) {
    PILLARBOX_ASSIGN(result.labels, readLabels(metadata));
  }
  if (metadata.has("pillarbox.mean") && metadata.has("pillarbox.std")) {
    PILLARBOX_ASSIGN(result.mean, metadata.floats("pillarbox.mean"));
    PILLARBOX_ASSIGN(result.std, metadata.floats("pillarbox.std"));
  }
  const std::optional<StatedPolynomial> none;
  PILLARBOX_ASSIGN(result.graph, Importer(file, none, true).run());
  return result;
}

// Reads a whole regular file of at most kMaxModelFileBytes.
Result<std::vector<std::byte>> readModelFile(const std::filesystem::path& path) {
  const std::string origin = path.string();
  const auto systemError = [&](ErrorCode code, int number) {
    return Error{code, "Cannot read " + origin + ": " + std::strerror(number) + "."};
  };
  // Non-blocking, so that a pipe or device without a writer cannot hang us before the check below.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.get() < 0) {
    return systemError(errno == ENOENT || errno == ENOTDIR ? ErrorCode::NotFound : ErrorCode::Io,
                       errno);
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return systemError(ErrorCode::Io, errno);
  if (!S_ISREG(status.st_mode)) {
    return Error{ErrorCode::InvalidArgument, origin + " is not a file."};
  }
  if (static_cast<std::uint64_t>(status.st_size) > kMaxModelFileBytes) {
    return Error{ErrorCode::Exhausted, origin + ": The file is larger than " +
                                           std::to_string(kMaxModelFileBytes >> 20) + " MiB."};
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(status.st_size));
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return systemError(ErrorCode::Io, errno);
    if (count == 0) break;  // it shrank while we read: a truncated file
    done += static_cast<std::size_t>(count);
  }
  bytes.resize(done);
  return bytes;
}

}  // namespace

Result<LoadedModel> loadOnnx(std::span<const std::byte> bytes, const std::string& origin) {
  Result<LoadedModel> result = interpret(bytes);
  if (!result.ok()) return Error{result.error().code, origin + ": " + result.error().message};
  return result;
}

Result<LoadedModel> loadOnnx(const std::filesystem::path& path) {
  PILLARBOX_ASSIGN(const std::vector<std::byte> bytes, readModelFile(path));
  return loadOnnx(bytes, path.string());
}

Result<TrainableGraph> readForTraining(const std::filesystem::path& path) {
  PILLARBOX_ASSIGN(const std::vector<std::byte> bytes, readModelFile(path));
  Result<TrainableGraph> result = interpretForTraining(bytes);
  if (!result.ok())
    return Error{result.error().code, path.string() + ": " + result.error().message};
  return result;
}

Result<bool> isModelFile(const std::filesystem::path& path) {
  PILLARBOX_ASSIGN(const std::vector<std::byte> bytes, readModelFile(path));
  const auto file = parse(bytes);
  if (!file.ok()) return Error{file.error().code, path.string() + ": " + file.error().message};
  const auto& entries = file->metadata_props();
  return std::any_of(entries.begin(), entries.end(),
                     [](const auto& entry) { return entry.key() == "pillarbox.format"; });
}

}  // namespace pillarbox::models

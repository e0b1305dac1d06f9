// The ONNX builder and the paper's networks; see onnx_builder.h.
#include "tests/support/onnx_builder.h"

#include <cmath>
#include <sstream>
#include <stdexcept>

namespace pillarbox::testing {

namespace {

using models::Polynomial;
using models::Shape;

void fillFloats(onnx::TensorProto* tensor, const std::vector<std::int64_t>& dims,
                const std::vector<float>& values) {
  for (std::int64_t dim : dims) tensor->add_dims(dim);
  tensor->set_data_type(onnx::TensorProto_DataType_FLOAT);
  tensor->set_raw_data(values.data(), values.size() * sizeof(float));
}

/// A node of a function body, whose names are local to it.
onnx::NodeProto* bodyNode(onnx::FunctionProto* function, const char* type, const std::string& out,
                          std::initializer_list<std::string> inputs) {
  onnx::NodeProto* node = function->add_node();
  node->set_op_type(type);
  node->set_name(out);
  node->add_output(out);
  for (const std::string& in : inputs) node->add_input(in);
  return node;
}

float realCoefficient(const Polynomial& polynomial, std::size_t j) {
  return static_cast<float>(std::ldexp(static_cast<double>(polynomial.coefficients[j]),
                                       -static_cast<int>(polynomial.fractionBits)));
}

}  // namespace

Polynomial reluFit(std::uint32_t degree) {
  switch (degree) {
    case 2:
      return Polynomial{10, {480, 512, 96}};
    case 4:
      return Polynomial{10, {322, 512, 160, 0, -3}};
    case 6:
      return Polynomial{16, {14000, 32768, 15120, 0, -739, 0, 15}};
    case 8:
      return Polynomial{24, {2822400, 8388608, 4967424, 0, -430510, 0, 20664, 0, -358}};
    default:
      throw std::logic_error("no fit of this degree");
  }
}

OnnxBuilder::OnnxBuilder(Shape input, std::uint64_t seed) : m_random(seed) {
  m_file.set_ir_version(8);
  m_file.set_producer_name("pillarbox-tests");
  onnx::OperatorSetIdProto* opset = m_file.add_opset_import();
  opset->set_domain("");
  opset->set_version(17);
  graph().set_name("test");
  onnx::ValueInfoProto* image = graph().add_input();
  image->set_name("image");
  onnx::TypeProto_Tensor* type = image->mutable_type()->mutable_tensor_type();
  type->set_elem_type(onnx::TensorProto_DataType_FLOAT);
  type->mutable_shape()->add_dim()->set_dim_param("N");
  for (std::uint32_t dim : {input.channels, input.height, input.width}) {
    type->mutable_shape()->add_dim()->set_dim_value(dim);
  }
  m_shapes["image"] = input;
}

void OnnxBuilder::setInts(onnx::NodeProto* node, const char* name,
                          std::initializer_list<std::int64_t> values) {
  onnx::AttributeProto* attribute = nullptr;
  for (onnx::AttributeProto& existing : *node->mutable_attribute()) {
    if (existing.name() == name) attribute = &existing;
  }
  if (attribute == nullptr) attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto_AttributeType_INTS);
  attribute->clear_ints();
  for (std::int64_t v : values) attribute->add_ints(v);
}

void OnnxBuilder::setInt(onnx::NodeProto* node, const char* name, std::int64_t value) {
  onnx::AttributeProto* attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto_AttributeType_INT);
  attribute->set_i(value);
}

void OnnxBuilder::setText(onnx::NodeProto* node, const char* name, const std::string& value) {
  onnx::AttributeProto* attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto_AttributeType_STRING);
  attribute->set_s(value);
}

std::string OnnxBuilder::op(const std::string& type, const std::vector<std::string>& inputs,
                            Shape outputShape) {
  const std::string name = type + std::to_string(++m_count);
  onnx::NodeProto* node = graph().add_node();
  node->set_op_type(type);
  node->set_name(name);
  for (const std::string& in : inputs) node->add_input(in);
  node->add_output(name + "_out");
  m_shapes[name + "_out"] = outputShape;
  return name + "_out";
}

onnx::NodeProto* OnnxBuilder::node(const std::string& tensor) {
  for (onnx::NodeProto& candidate : *graph().mutable_node()) {
    if (candidate.output_size() > 0 && candidate.output(0) == tensor) return &candidate;
  }
  throw std::logic_error("no node computes " + tensor);
}

std::string OnnxBuilder::floatTensor(const std::vector<std::int64_t>& dims,
                                     const std::vector<float>& values) {
  onnx::TensorProto* tensor = graph().add_initializer();
  tensor->set_name("tensor" + std::to_string(++m_count));
  fillFloats(tensor, dims, values);
  return tensor->name();
}

std::string OnnxBuilder::scalar(double value) {
  return floatTensor({}, {static_cast<float>(value)});
}

std::vector<float> OnnxBuilder::filters(std::size_t out, std::size_t fanIn, double gain) {
  std::vector<float> weights(out * fanIn);
  for (std::size_t o = 0; o < out; ++o) {
    double mean = 0;
    std::vector<double> row(fanIn);
    for (double& w : row) mean += w = m_random.uniform(-1.0, 1.0);
    mean /= static_cast<double>(fanIn);
    double norm = 0;
    for (double& w : row) {
      if (fanIn > 4) w -= 0.9 * mean;
      norm += w * w;
    }
    for (std::size_t i = 0; i < fanIn; ++i) {
      weights[o * fanIn + i] = static_cast<float>(row[i] * gain / std::sqrt(norm));
    }
  }
  return weights;
}

void OnnxBuilder::setWindow(onnx::NodeProto* node, const Window& window) {
  setInts(node, "kernel_shape", {window.kernelH, window.kernelW});
  setInts(node, "strides", {window.strideH, window.strideW});
  setInts(node, "pads", {window.padTop, window.padLeft, window.padBottom, window.padRight});
}

Shape OnnxBuilder::windowed(const std::string& x, std::uint32_t channels,
                            const Window& window) const {
  const Shape in = shape(x);
  return Shape{channels,
               (in.height + window.padTop + window.padBottom - window.kernelH) / window.strideH + 1,
               (in.width + window.padLeft + window.padRight - window.kernelW) / window.strideW + 1};
}

std::string OnnxBuilder::conv(const std::string& x, std::uint32_t outChannels, const Window& window,
                              bool bias, double gain) {
  const std::uint32_t in = shape(x).channels;
  const std::size_t fanIn = std::size_t{in} * window.kernelH * window.kernelW;
  std::vector<std::string> inputs = {x,
                                     floatTensor({outChannels, in, window.kernelH, window.kernelW},
                                                 filters(outChannels, fanIn, gain))};
  if (bias) {
    std::vector<float> values(outChannels);
    for (float& v : values) v = static_cast<float>(m_random.uniform(-0.2, 0.2));
    inputs.push_back(floatTensor({outChannels}, values));
  }
  const std::string out = op("Conv", inputs, windowed(x, outChannels, window));
  setWindow(node(out), window);
  return out;
}

std::string OnnxBuilder::batchNorm(const std::string& x) {
  const std::uint32_t channels = shape(x).channels;
  const auto vector = [&](double low, double high) {
    std::vector<float> values(channels);
    for (float& v : values) v = static_cast<float>(m_random.uniform(low, high));
    return floatTensor({channels}, values);
  };
  const std::string gamma = vector(0.8, 1.2);
  const std::string beta = vector(-0.2, 0.2);
  const std::string mean = vector(-0.2, 0.2);
  const std::string variance = vector(0.8, 1.2);
  return op("BatchNormalization", {x, gamma, beta, mean, variance}, shape(x));
}

std::string OnnxBuilder::averagePool(const std::string& x, const Window& window) {
  const std::string out = op("AveragePool", {x}, windowed(x, shape(x).channels, window));
  setWindow(node(out), window);
  if (window.padTop + window.padLeft + window.padBottom + window.padRight != 0) {
    setInt(node(out), "count_include_pad", 1);
  }
  return out;
}

std::string OnnxBuilder::globalAveragePool(const std::string& x) {
  return op("GlobalAveragePool", {x}, Shape{shape(x).channels, 1, 1});
}

std::string OnnxBuilder::add(const std::string& a, const std::string& b) {
  return op("Add", {a, b}, shape(a));
}

std::string OnnxBuilder::flatten(const std::string& x) {
  const auto size = static_cast<std::uint32_t>(shape(x).size());
  return op("Flatten", {x}, Shape{size, 1, 1});
}

std::string OnnxBuilder::gemm(const std::string& x, std::uint32_t out, bool bias, double gain) {
  const auto in = static_cast<std::uint32_t>(shape(x).size());
  std::vector<std::string> inputs = {x, floatTensor({out, in}, filters(out, in, gain))};
  if (bias) {
    std::vector<float> values(out);
    for (float& v : values) v = static_cast<float>(m_random.uniform(-0.2, 0.2));
    inputs.push_back(floatTensor({out}, values));
  }
  const std::string result = op("Gemm", inputs, Shape{out, 1, 1});
  setInt(node(result), "transB", 1);
  return result;
}

std::string OnnxBuilder::functionFor(const Polynomial& polynomial) {
  const std::string name = "PolynomialActivation";
  for (const onnx::FunctionProto& function : m_file.functions()) {
    if (function.name() == name) return name;
  }
  onnx::FunctionProto* function = m_file.add_functions();
  function->set_name(name);
  function->set_domain("pillarbox.test");
  function->add_input("x");
  function->add_output("y");
  onnx::OperatorSetIdProto* opset = function->add_opset_import();
  opset->set_domain("");
  opset->set_version(17);
  m_file.add_opset_import()->set_domain("pillarbox.test");
  m_file.mutable_opset_import(m_file.opset_import_size() - 1)->set_version(1);
  const std::size_t degree = polynomial.degree();
  std::string value;
  for (std::size_t j = degree + 1; j-- > 0;) {
    const std::string index = std::to_string(j);
    onnx::NodeProto* constant = bodyNode(function, "Constant", "c" + index, {});
    onnx::AttributeProto* attribute = constant->add_attribute();
    attribute->set_name("value");
    attribute->set_type(onnx::AttributeProto_AttributeType_TENSOR);
    fillFloats(attribute->mutable_t(), {}, {realCoefficient(polynomial, j)});
    if (j == degree) {
      value = "c" + index;
      continue;
    }
    bodyNode(function, "Mul", "m" + index, {value, "x"});
    value = j == 0 ? "y" : "a" + index;
    bodyNode(function, "Add", value, {"m" + index, "c" + index});
  }
  return name;
}

std::string OnnxBuilder::activation(const std::string& x, const Polynomial& polynomial,
                                    ActivationForm form) {
  const Shape s = shape(x);
  const std::size_t degree = polynomial.degree();
  if (form == ActivationForm::Function) {
    const std::string out = op(functionFor(polynomial), {x}, s);
    node(out)->set_domain("pillarbox.test");
    return out;
  }
  if (form == ActivationForm::Powers) {
    std::string total;
    for (std::size_t j = 0; j <= degree; ++j) {
      if (polynomial.coefficients[j] == 0) continue;
      const std::string c = scalar(static_cast<double>(realCoefficient(polynomial, j)));
      std::string term = c;
      if (j > 0) {
        term = op("Mul", {op("Pow", {x, scalar(static_cast<double>(j))}, s), c}, s);
      }
      total = total.empty() ? term : op("Add", {total, term}, s);
    }
    return total;
  }
  std::string value = scalar(static_cast<double>(realCoefficient(polynomial, degree)));
  for (std::size_t j = degree; j-- > 0;) {
    value = op("Mul", {value, x}, s);
    value = op("Add", {value, scalar(static_cast<double>(realCoefficient(polynomial, j)))}, s);
  }
  return value;
}

void OnnxBuilder::removeMetadata(const std::string& key) {
  auto* entries = m_file.mutable_metadata_props();
  for (int i = entries->size(); i-- > 0;) {
    if (entries->Get(i).key() == key) entries->DeleteSubrange(i, 1);
  }
}

void OnnxBuilder::setMetadata(const std::string& key, const std::string& value) {
  removeMetadata(key);
  onnx::StringStringEntryProto* entry = m_file.add_metadata_props();
  entry->set_key(key);
  entry->set_value(value);
}

void OnnxBuilder::statePolynomial(const Polynomial& polynomial, double range) {
  std::ostringstream text;
  text << "{\"degree\":" << polynomial.degree() << ",\"fraction_bits\":" << polynomial.fractionBits
       << ",\"coefficients\":[";
  for (std::size_t j = 0; j < polynomial.coefficients.size(); ++j) {
    text << (j == 0 ? "" : ",") << polynomial.coefficients[j];
  }
  text << "],\"range\":" << range << "}";
  setMetadata("pillarbox.polynomial", text.str());
}

onnx::ModelProto& OnnxBuilder::finish(const std::string& tensor) {
  onnx::ValueInfoProto* output = graph().add_output();
  output->set_name(tensor);
  const auto classes = static_cast<std::uint32_t>(shape(tensor).size());
  onnx::TypeProto_Tensor* type = output->mutable_type()->mutable_tensor_type();
  type->set_elem_type(onnx::TensorProto_DataType_FLOAT);
  type->mutable_shape()->add_dim()->set_dim_param("N");
  type->mutable_shape()->add_dim()->set_dim_value(classes);

  const auto fallback = [&](const std::string& key, const std::string& value) {
    for (const onnx::StringStringEntryProto& entry : m_file.metadata_props()) {
      if (entry.key() == key) return;
    }
    setMetadata(key, value);
  };
  const auto repeated = [](std::uint32_t count, const std::string& item, bool numbered) {
    std::string list = "[";
    for (std::uint32_t i = 0; i < count; ++i) {
      list += i == 0 ? "" : ",";
      list += numbered ? "\"" + item + std::to_string(i) + "\"" : item;
    }
    return list + "]";
  };
  const std::uint32_t channels = m_shapes.at("image").channels;
  fallback("pillarbox.format", "1");
  fallback("pillarbox.labels", repeated(classes, "class ", true));
  fallback("pillarbox.mean", repeated(channels, "0.5", false));
  fallback("pillarbox.std", repeated(channels, "0.25", false));
  fallback("pillarbox.precision_bits", "12");
  return m_file;
}

// ------------------------------------------------------------------------------------ networks

namespace {

/// Precision that the degree leaves room for (see accuracy_bound.h).
const char* precisionFor(const Polynomial& polynomial) {
  return polynomial.degree() > 6 ? "8" : "12";
}

std::string convNorm(OnnxBuilder* b, const std::string& x, std::uint32_t out, std::uint32_t kernel,
                     std::uint32_t stride, double gain = 1.2) {
  return b->batchNorm(b->conv(x, out, Window::square(kernel, stride, kernel / 2), false, gain));
}

std::string basicBlock(OnnxBuilder* b, const std::string& x, std::uint32_t channels,
                       std::uint32_t stride, const Polynomial& p) {
  std::string y = b->activation(convNorm(b, x, channels, 3, stride), p);
  y = convNorm(b, y, channels, 3, 1, 0.4);
  const bool project = stride != 1 || b->shape(x).channels != channels;
  const std::string shortcut = project ? convNorm(b, x, channels, 1, stride) : x;
  return b->activation(b->add(y, shortcut), p);
}

std::string bottleneck(OnnxBuilder* b, const std::string& x, std::uint32_t channels,
                       std::uint32_t stride, const Polynomial& p) {
  std::string y = b->activation(convNorm(b, x, channels, 1, 1), p);
  y = b->activation(convNorm(b, y, channels, 3, stride), p);
  y = convNorm(b, y, 4 * channels, 1, 1, 0.4);
  const bool project = stride != 1 || b->shape(x).channels != 4 * channels;
  const std::string shortcut = project ? convNorm(b, x, 4 * channels, 1, stride) : x;
  return b->activation(b->add(y, shortcut), p);
}

onnx::ModelProto classifier(OnnxBuilder* b, const std::string& x, std::uint32_t classes,
                            const Polynomial& p) {
  b->statePolynomial(p);
  b->setMetadata("pillarbox.precision_bits", precisionFor(p));
  return b->finish(b->gemm(b->flatten(x), classes));
}

}  // namespace

onnx::ModelProto miniOnn(const Polynomial& p, std::uint64_t seed, std::uint32_t classes) {
  OnnxBuilder b(Shape{3, 32, 32}, seed);
  const auto layer = [&](const std::string& x, std::uint32_t out, std::uint32_t kernel) {
    const Window window = Window::square(kernel, 1, kernel / 2);
    return b.activation(b.batchNorm(b.conv(x, out, window)), p);
  };
  const Window half = Window::square(2, 2);
  std::string x = layer(b.input(), 64, 3);
  x = b.averagePool(layer(x, 64, 3), half);
  x = layer(x, 64, 3);
  x = b.averagePool(layer(x, 64, 3), half);
  x = layer(x, 64, 3);
  x = layer(x, 64, 1);
  x = layer(x, 16, 1);
  return classifier(&b, x, classes, p);
}

onnx::ModelProto vgg16(const Polynomial& p, std::uint64_t seed, std::uint32_t classes) {
  OnnxBuilder b(Shape{3, 32, 32}, seed);
  constexpr std::uint32_t kChannels[] = {64, 128, 256, 512, 512};
  constexpr int kLayers[] = {2, 2, 3, 3, 3};
  std::string x = b.input();
  for (int group = 0; group < 5; ++group) {
    for (int i = 0; i < kLayers[group]; ++i) {
      x = b.batchNorm(b.conv(x, kChannels[group], Window::square(3, 1, 1)));
      if (i + 1 == kLayers[group]) x = b.averagePool(x, Window::square(2, 2));
      x = b.activation(x, p);
    }
  }
  x = b.flatten(x);
  x = b.activation(b.gemm(x, 512), p);
  x = b.activation(b.gemm(x, 512), p);
  b.statePolynomial(p);
  b.setMetadata("pillarbox.precision_bits", precisionFor(p));
  return b.finish(b.gemm(x, classes));
}

onnx::ModelProto resNet18(const Polynomial& p, std::uint64_t seed, std::uint32_t classes) {
  OnnxBuilder b(Shape{3, 32, 32}, seed);
  std::string x = b.activation(convNorm(&b, b.input(), 64, 3, 1), p);
  for (std::uint32_t stage = 0; stage < 4; ++stage) {
    for (std::uint32_t block = 0; block < 2; ++block) {
      x = basicBlock(&b, x, 64u << stage, stage > 0 && block == 0 ? 2 : 1, p);
    }
  }
  return classifier(&b, b.averagePool(x, Window::square(4)), classes, p);
}

onnx::ModelProto resNetCifar(std::uint32_t depth, const Polynomial& p, std::uint64_t seed,
                             std::uint32_t classes) {
  OnnxBuilder b(Shape{3, 32, 32}, seed);
  const std::uint32_t blocks = (depth - 2) / 6;
  std::string x = b.activation(convNorm(&b, b.input(), 16, 3, 1), p);
  for (std::uint32_t stage = 0; stage < 3; ++stage) {
    for (std::uint32_t block = 0; block < blocks; ++block) {
      x = basicBlock(&b, x, 16u << stage, stage > 0 && block == 0 ? 2 : 1, p);
    }
  }
  return classifier(&b, b.averagePool(x, Window::square(8)), classes, p);
}

onnx::ModelProto resNet50(const Polynomial& p, std::uint64_t seed, std::uint32_t classes) {
  OnnxBuilder b(Shape{3, 224, 224}, seed);
  constexpr std::uint32_t kBlocks[] = {3, 4, 6, 3};
  std::string x = b.activation(convNorm(&b, b.input(), 64, 7, 2), p);
  x = b.averagePool(x, Window::square(3, 2, 1));
  for (std::uint32_t stage = 0; stage < 4; ++stage) {
    for (std::uint32_t block = 0; block < kBlocks[stage]; ++block) {
      x = bottleneck(&b, x, 64u << stage, stage > 0 && block == 0 ? 2 : 1, p);
    }
  }
  return classifier(&b, b.globalAveragePool(x), classes, p);
}

}  // namespace pillarbox::testing

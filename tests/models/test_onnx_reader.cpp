// The reader of model files: what it understands, the rules of rounding, what it refuses and how.
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>

#include <QTemporaryDir>
#include <QTest>

#include "models/onnx_reader.h"
#include "models/oracle.h"
#include "models/quantise.h"
#include "tests/support/model_factory.h"
#include "tests/support/onnx_builder.h"

using namespace pillarbox::models;
using namespace pillarbox::testing;
using pillarbox::ErrorCode;
using pillarbox::Result;

namespace {

const Window kSame = Window::square(3, 1, 1);

Result<LoadedModel> load(const std::string& bytes) {
  return loadOnnx(std::as_bytes(std::span(bytes)), "test.onnx");
}
Result<LoadedModel> load(const onnx::ModelProto& file) {
  return load(file.SerializeAsString());
}

/// Loads what must load.
LoadedModel loaded(const onnx::ModelProto& file) {
  auto result = load(file);
  if (!result.ok()) throw std::logic_error(result.error().message);
  return std::move(result).value();
}

std::vector<float>& rawFloats(onnx::TensorProto* tensor, std::vector<float>* store) {
  store->resize(tensor->raw_data().size() / sizeof(float));
  std::memcpy(store->data(), tensor->raw_data().data(), tensor->raw_data().size());
  return *store;
}

onnx::TensorProto* initializer(onnx::ModelProto& file, const std::string& name) {
  for (onnx::TensorProto& tensor : *file.mutable_graph()->mutable_initializer()) {
    if (tensor.name() == name) return &tensor;
  }
  throw std::logic_error("no tensor " + name);
}

/// conv -> activation -> flatten -> gemm, with the names of its tensors at hand.
struct Small {
  OnnxBuilder builder{Shape{3, 6, 6}, 5};
  std::string conv, activated, flat, logits;

  explicit Small(ActivationForm form = ActivationForm::Horner) {
    conv = builder.conv(builder.input(), 4, kSame);
    activated = builder.activation(conv, reluFit(4), form);
    flat = builder.flatten(activated);
    logits = builder.gemm(flat, 5);
    builder.statePolynomial(reluFit(4));
    builder.finish(logits);
  }
  onnx::ModelProto& file() { return builder.file(); }
  onnx::TensorProto* convWeights() { return initializer(file(), builder.node(conv)->input(1)); }
};

struct Refusal {
  const char* name;
  ErrorCode code;
  std::vector<const char*> mentions;
  std::function<onnx::ModelProto()> make;
};

/// A refusal that comes from one change to the small network.
std::function<onnx::ModelProto()> changed(const std::function<void(Small&)>& change) {
  return [change] {
    Small small;
    change(small);
    return small.file();
  };
}

/// A small network with an operator between the convolution and the activation.
std::function<onnx::ModelProto()> withOperator(const std::string& type) {
  return [type] {
    OnnxBuilder b(Shape{3, 6, 6}, 1);
    const std::string x = b.conv(b.input(), 4, kSame);
    return b.finish(b.gemm(b.flatten(b.op(type, {x}, b.shape(x))), 5));
  };
}

const std::vector<Refusal>& refusals() {
  static const std::vector<Refusal> kRefusals = {
      {"relu",
       ErrorCode::Unsupported,
       {"Relu1", "Relu", "pillarbox-train"},
       [] {
         OnnxBuilder b(Shape{3, 6, 6}, 1);
         return b.finish(b.gemm(b.flatten(b.op("Relu", {b.input()}, Shape{3, 6, 6})), 5));
       }},
      {"max pool", ErrorCode::Unsupported, {"MaxPool", "AveragePool"}, withOperator("MaxPool")},
      {"softmax", ErrorCode::Unsupported, {"Softmax", "logits"}, withOperator("Softmax")},
      {"unknown operator",
       ErrorCode::Unsupported,
       {"Einsum", "Supported are"},
       withOperator("Einsum")},
      {"foreign domain",
       ErrorCode::Unsupported,
       {"com.example"},
       [] {
         OnnxBuilder b(Shape{3, 6, 6}, 1);
         const std::string x = b.op("Thing", {b.input()}, Shape{3, 6, 6});
         b.node(x)->set_domain("com.example");
         return b.finish(b.gemm(b.flatten(x), 5));
       }},
      {"two layers without activation",
       ErrorCode::Unsupported,
       {"Conv4", "Conv7", "activation between"},
       [] {
         OnnxBuilder b(Shape{3, 6, 6}, 1);
         b.scalar(1);
         const std::string x = b.conv(b.conv(b.input(), 4, kSame), 4, kSame);
         return b.finish(b.gemm(b.flatten(b.activation(x, reluFit(4))), 5));
       }},
      {"activation at the end",
       ErrorCode::Unsupported,
       {"ends with an activation"},
       [] {
         OnnxBuilder b(Shape{3, 6, 6}, 1);
         return b.finish(b.activation(b.gemm(b.flatten(b.input()), 5), reluFit(4)));
       }},
      {"batch norm on the image",
       ErrorCode::Unsupported,
       {"BatchNormalization", "no layer"},
       [] {
         OnnxBuilder b(Shape{3, 6, 6}, 1);
         return b.finish(b.gemm(b.flatten(b.activation(b.batchNorm(b.input()), reluFit(4))), 5));
       }},
      {"batch norm of an identity shortcut",
       ErrorCode::Unsupported,
       {"no layer"},
       [] {
         OnnxBuilder b(Shape{3, 6, 6}, 1);
         const std::string sum = b.add(b.conv(b.input(), 3, kSame), b.input());
         return b.finish(b.gemm(b.flatten(b.activation(b.batchNorm(sum), reluFit(4))), 5));
       }},
      {"activation of degree ten",
       ErrorCode::Unsupported,
       {"Mul", "degree 10"},
       [] {
         OnnxBuilder b(Shape{3, 6, 6}, 1);
         const std::string x = b.conv(b.input(), 3, kSame);
         const std::string p = b.op("Pow", {x, b.scalar(5)}, b.shape(x));
         return b.finish(b.gemm(b.flatten(b.op("Mul", {p, p}, b.shape(x))), 5));
       }},
      {"coefficients that are no multiples",
       ErrorCode::Unsupported,
       {"2^-24"},
       [] {
         OnnxBuilder b(Shape{3, 6, 6}, 1);
         const std::string x = b.conv(b.input(), 3, kSame);
         const std::string p =
             b.op("Mul", {b.op("Mul", {x, x}, b.shape(x)), b.scalar(1e-9)}, b.shape(x));
         return b.finish(b.gemm(b.flatten(p), 5));
       }},
      {"product of two tensors",
       ErrorCode::Unsupported,
       {"Mul", "only their sum"},
       [] {
         OnnxBuilder b(Shape{3, 6, 6}, 1);
         const std::string x =
             b.op("Mul", {b.conv(b.input(), 3, kSame), b.input()}, Shape{3, 6, 6});
         return b.finish(b.gemm(b.flatten(x), 5));
       }},
      {"constant tensor in a sum",
       ErrorCode::Unsupported,
       {"Add", "single number"},
       [] {
         OnnxBuilder b(Shape{3, 6, 6}, 1);
         const std::string x = b.conv(b.input(), 3, kSame);
         const std::string c = b.floatTensor({1, 3, 1, 1}, {1, 2, 3});
         return b.finish(b.gemm(b.flatten(b.add(x, c)), 5));
       }},
      {"polynomial differs from metadata",
       ErrorCode::Format,
       {"pillarbox.polynomial", "activation"},
       changed([](Small& s) {
         s.builder.statePolynomial(Polynomial{10, {322, 512, 160, 0, -4}});
       })},
      {"polynomial with another constant",
       ErrorCode::Format,
       {"pillarbox.polynomial"},
       changed([](Small& s) {
         s.builder.statePolynomial(Polynomial{10, {323, 512, 160, 0, -3}});
       })},
      {"polynomial metadata malformed",
       ErrorCode::Format,
       {"pillarbox.polynomial"},
       changed([](Small& s) {
         s.builder.setMetadata("pillarbox.polynomial",
                               R"({"degree":4,"fraction_bits":10,"coefficients":[1,2],"range":5})");
       })},
      {"polynomial metadata overflow",
       ErrorCode::Format,
       {"pillarbox.polynomial"},
       changed([](Small& s) {
         s.builder.setMetadata("pillarbox.polynomial",
                               R"({"degree":2,"fraction_bits":10,)"
                               R"("coefficients":[1,2,18446744073709551615],"range":5})");
       })},
      {"polynomial range", ErrorCode::Format, {"pillarbox.polynomial"}, changed([](Small& s) {
         s.builder.statePolynomial(reluFit(4), -1.0);
       })},
      {"no format key",
       ErrorCode::Format,
       {"pillarbox.format", "pillarbox-train"},
       changed([](Small& s) { s.builder.removeMetadata("pillarbox.format"); })},
      {"other format", ErrorCode::Version, {"pillarbox.format", "'2'"}, changed([](Small& s) {
         s.builder.setMetadata("pillarbox.format", "2");
       })},
      {"format with an escape", ErrorCode::Version, {"'?[2J1'"}, changed([](Small& s) {
         s.builder.setMetadata("pillarbox.format", "\033[2J1");
       })},
      {"no labels", ErrorCode::Format, {"pillarbox.labels"}, changed([](Small& s) {
         s.builder.removeMetadata("pillarbox.labels");
       })},
      {"too few labels",
       ErrorCode::Format,
       {"pillarbox.labels", "3 labels", "5 outputs"},
       changed([](Small& s) { s.builder.setMetadata("pillarbox.labels", R"(["a","b","c"])"); })},
      {"labels no JSON", ErrorCode::Format, {"pillarbox.labels", "JSON"}, changed([](Small& s) {
         s.builder.setMetadata("pillarbox.labels", "a, b");
       })},
      {"labels no strings", ErrorCode::Format, {"pillarbox.labels"}, changed([](Small& s) {
         s.builder.setMetadata("pillarbox.labels", "[1,2,3,4,5]");
       })},
      {"label not printable", ErrorCode::Format, {"Label 2"}, changed([](Small& s) {
         s.builder.setMetadata("pillarbox.labels", R"(["a","b\u001b","c","d","e"])");
       })},
      {"no mean", ErrorCode::Format, {"pillarbox.mean"}, changed([](Small& s) {
         s.builder.removeMetadata("pillarbox.mean");
       })},
      {"mean of two channels",
       ErrorCode::Format,
       {"pillarbox.mean", "3 numbers"},
       changed([](Small& s) { s.builder.setMetadata("pillarbox.mean", "[0.5,0.5]"); })},
      {"std of zero", ErrorCode::Format, {"standard deviation"}, changed([](Small& s) {
         s.builder.setMetadata("pillarbox.std", "[0.5,0,1]");
       })},
      {"std beyond floats", ErrorCode::Format, {"standard deviation"}, changed([](Small& s) {
         s.builder.setMetadata("pillarbox.std", "[0.5,1e300,1]");
       })},
      {"precision no number",
       ErrorCode::Format,
       {"pillarbox.precision_bits", "12 bits"},
       changed([](Small& s) { s.builder.setMetadata("pillarbox.precision_bits", "12 bits"); })},
      {"precision too high", ErrorCode::Format, {"pillarbox.precision_bits"}, changed([](Small& s) {
         s.builder.setMetadata("pillarbox.precision_bits", "40");
       })},
      {"no precision", ErrorCode::Format, {"pillarbox.precision_bits"}, changed([](Small& s) {
         s.builder.removeMetadata("pillarbox.precision_bits");
       })},
      {"output bits above precision",
       ErrorCode::Format,
       {"pillarbox.output_bits"},
       changed([](Small& s) { s.builder.setMetadata("pillarbox.output_bits", "13"); })},
      {"training no object", ErrorCode::Format, {"pillarbox.training"}, changed([](Small& s) {
         s.builder.setMetadata("pillarbox.training", "[]");
       })},
      {"key twice", ErrorCode::Format, {"pillarbox.format", "twice"}, changed([](Small& s) {
         *s.file().add_metadata_props() = s.file().metadata_props(0);
         s.file()
             .mutable_metadata_props(s.file().metadata_props_size() - 1)
             ->set_key("pillarbox.format");
       })},
      {"fails too often",
       ErrorCode::Unsupported,
       {"2^-", "precision_bits"},
       [] {
         OnnxBuilder b(Shape{3, 6, 6}, 1);
         const std::string x = b.activation(b.conv(b.input(), 4, kSame), reluFit(8));
         b.statePolynomial(reluFit(8));
         b.setMetadata("pillarbox.precision_bits", "11");
         return b.finish(b.gemm(b.flatten(x), 5));
       }},
      {"more than 128 bits",
       ErrorCode::Unsupported,
       {"activation", "128-bit", "pillarbox.precision_bits"},
       [] {
         OnnxBuilder b(Shape{3, 6, 6}, 1);
         const std::string x = b.activation(b.conv(b.input(), 4, kSame), reluFit(8));
         return b.finish(b.gemm(b.flatten(x), 5));
       }},
      {"IR version", ErrorCode::Version, {"IR version 99"}, changed([](Small& s) {
         s.file().set_ir_version(99);
       })},
      {"operator set", ErrorCode::Version, {"operator set 7"}, changed([](Small& s) {
         s.file().mutable_opset_import(0)->set_version(7);
       })},
      {"no operator set", ErrorCode::Format, {"operator set"}, changed([](Small& s) {
         s.file().clear_opset_import();
       })},
      {"NaN weight", ErrorCode::Format, {"Conv", "not a number"}, changed([](Small& s) {
         std::vector<float> w;
         rawFloats(s.convWeights(), &w)[7] = std::numeric_limits<float>::quiet_NaN();
         s.convWeights()->set_raw_data(w.data(), w.size() * sizeof(float));
       })},
      {"infinite weight", ErrorCode::Format, {"Conv", "infinite"}, changed([](Small& s) {
         std::vector<float> w;
         rawFloats(s.convWeights(), &w)[0] = std::numeric_limits<float>::infinity();
         s.convWeights()->set_raw_data(w.data(), w.size() * sizeof(float));
       })},
      {"weight too large",
       ErrorCode::Format,
       {"Conv3", "weight of 2048", "weight_bits"},
       changed([](Small& s) {
         std::vector<float> w;
         rawFloats(s.convWeights(), &w)[0] = 2048.0F;
         s.convWeights()->set_raw_data(w.data(), w.size() * sizeof(float));
       })},
      {"half precision",
       ErrorCode::Unsupported,
       {"Conv", "data type 10", "float32"},
       changed(
           [](Small& s) { s.convWeights()->set_data_type(onnx::TensorProto_DataType_FLOAT16); })},
      {"external data", ErrorCode::Unsupported, {"another file"}, changed([](Small& s) {
         s.convWeights()->set_data_location(onnx::TensorProto_DataLocation_EXTERNAL);
         auto* entry = s.convWeights()->add_external_data();
         entry->set_key("location");
         entry->set_value("/etc/passwd");
       })},
      {"too few numbers", ErrorCode::Format, {"Conv", "shape"}, changed([](Small& s) {
         s.convWeights()->mutable_raw_data()->resize(40);
       })},
      {"too many numbers", ErrorCode::Format, {"Conv", "shape"}, changed([](Small& s) {
         s.convWeights()->mutable_raw_data()->append(4, '\0');
       })},
      {"negative dimension", ErrorCode::Exhausted, {"negative"}, changed([](Small& s) {
         s.convWeights()->set_dims(0, -4);
       })},
      {"dimensions that overflow", ErrorCode::Exhausted, {"limit"}, changed([](Small& s) {
         s.convWeights()->set_dims(0, std::int64_t{1} << 32);
         s.convWeights()->set_dims(1, std::int64_t{1} << 32);
       })},
      {"many dimensions", ErrorCode::Exhausted, {"limit"}, changed([](Small& s) {
         for (int i = 0; i < 100; ++i) s.convWeights()->add_dims(1);
       })},
      {"weights of another input",
       ErrorCode::Format,
       {"Conv", "[out, 3, height, width]"},
       changed([](Small& s) {
         s.convWeights()->set_dims(1, 1);
         s.convWeights()->set_dims(2, 9);
       })},
      {"grouped", ErrorCode::Unsupported, {"Conv", "group"}, changed([](Small& s) {
         OnnxBuilder::setInt(s.builder.node(s.conv), "group", 3);
       })},
      {"dilated", ErrorCode::Unsupported, {"Conv", "dilations"}, changed([](Small& s) {
         OnnxBuilder::setInts(s.builder.node(s.conv), "dilations", {2, 2});
       })},
      {"unknown attribute",
       ErrorCode::Unsupported,
       {"Conv", "activation_mode"},
       changed(
           [](Small& s) { OnnxBuilder::setInt(s.builder.node(s.conv), "activation_mode", 3); })},
      {"padding as large as the kernel",
       ErrorCode::Unsupported,
       {"Conv", "padding"},
       changed([](Small& s) {
         OnnxBuilder::setInts(s.builder.node(s.conv), "pads", {3, 0, 0, 0});
       })},
      {"negative padding", ErrorCode::Unsupported, {"Conv", "pads"}, changed([](Small& s) {
         OnnxBuilder::setInts(s.builder.node(s.conv), "pads", {-1, 0, 0, 0});
       })},
      {"stride zero", ErrorCode::Unsupported, {"Conv", "strides"}, changed([](Small& s) {
         OnnxBuilder::setInts(s.builder.node(s.conv), "strides", {0, 1});
       })},
      {"pads of a volume",
       ErrorCode::Unsupported,
       {"Conv", "two dimensions"},
       changed([](Small& s) {
         OnnxBuilder::setInts(s.builder.node(s.conv), "pads", {0, 0, 0, 0, 0, 0});
       })},
      {"kernel_shape disagrees", ErrorCode::Format, {"kernel_shape"}, changed([](Small& s) {
         OnnxBuilder::setInts(s.builder.node(s.conv), "kernel_shape", {5, 5});
       })},
      {"kernel larger than the image",
       ErrorCode::Format,
       {"Conv", "larger"},
       [] {
         OnnxBuilder b(Shape{1, 8, 8}, 1);
         const std::string x = b.conv(b.input(), 2, Window::square(7));
         onnx::ModelProto& file = b.finish(b.gemm(b.flatten(x), 5));
         file.mutable_graph()
             ->mutable_input(0)
             ->mutable_type()
             ->mutable_tensor_type()
             ->mutable_shape()
             ->mutable_dim(2)
             ->set_dim_value(3);
         return file;
       }},
      {"padded pooling",
       ErrorCode::Unsupported,
       {"AveragePool", "count_include_pad"},
       [] {
         OnnxBuilder b(Shape{3, 6, 6}, 1);
         const std::string x = b.averagePool(b.input(), Window::square(3, 1, 1));
         b.node(x)->mutable_attribute()->RemoveLast();
         return b.finish(b.gemm(b.flatten(x), 5));
       }},
      {"ceil mode",
       ErrorCode::Unsupported,
       {"AveragePool", "ceil_mode"},
       [] {
         OnnxBuilder b(Shape{3, 7, 7}, 1);
         const std::string x = b.averagePool(b.input(), Window::square(2, 2));
         OnnxBuilder::setInt(b.node(x), "ceil_mode", 1);
         return b.finish(b.gemm(b.flatten(x), 5));
       }},
      {"batch norm in training",
       ErrorCode::Unsupported,
       {"BatchNormalization", "evaluation"},
       [] {
         OnnxBuilder b(Shape{3, 6, 6}, 1);
         const std::string x = b.batchNorm(b.conv(b.input(), 3, kSame));
         OnnxBuilder::setInt(b.node(x), "training_mode", 1);
         return b.finish(b.gemm(b.flatten(x), 5));
       }},
      {"negative variance",
       ErrorCode::Format,
       {"BatchNormalization", "variance of channel 1"},
       [] {
         OnnxBuilder b(Shape{3, 6, 6}, 1);
         const std::string x = b.batchNorm(b.conv(b.input(), 3, kSame));
         const std::string name = b.floatTensor({3}, {1.0F, -1.0F, 1.0F});
         b.node(x)->set_input(4, name);
         return b.finish(b.gemm(b.flatten(x), 5));
       }},
      {"gemm without flatten", ErrorCode::Format, {"Gemm", "Flatten"}, changed([](Small& s) {
         s.builder.node(s.logits)->set_input(0, s.activated);
       })},
      {"gemm of another width", ErrorCode::Format, {"Gemm", "144 features"}, changed([](Small& s) {
         initializer(s.file(), s.builder.node(s.logits)->input(1))->set_dims(1, 143);
       })},
      {"reshape to an image",
       ErrorCode::Unsupported,
       {"Reshape", "Flatten"},
       [] {
         OnnxBuilder b(Shape{3, 6, 6}, 1);
         onnx::TensorProto* shape = b.file().mutable_graph()->add_initializer();
         shape->set_name("shape");
         shape->set_data_type(onnx::TensorProto_DataType_INT64);
         shape->add_dims(4);
         for (std::int64_t d : {1, 3, 4, 9}) shape->add_int64_data(d);
         return b.finish(b.gemm(b.op("Reshape", {b.input(), "shape"}, Shape{108, 1, 1}), 5));
       }},
      {"missing input", ErrorCode::Format, {"Conv", "missing"}, changed([](Small& s) {
         s.builder.node(s.conv)->mutable_input()->DeleteSubrange(1, 2);
       })},
      {"dangling input",
       ErrorCode::Format,
       {"Gemm", "'nowhere'", "topological"},
       changed([](Small& s) { s.builder.node(s.logits)->set_input(0, "nowhere"); })},
      {"cycle", ErrorCode::Format, {"topological"}, changed([](Small& s) {
         s.builder.node(s.conv)->set_input(0, s.activated);
       })},
      {"reversed nodes", ErrorCode::Format, {"topological"}, changed([](Small& s) {
         auto* nodes = s.file().mutable_graph()->mutable_node();
         std::reverse(nodes->pointer_begin(), nodes->pointer_end());
       })},
      {"output twice", ErrorCode::Format, {"exists already"}, changed([](Small& s) {
         *s.file().mutable_graph()->add_node() = *s.builder.node(s.conv);
       })},
      {"weights that depend on the image",
       ErrorCode::Unsupported,
       {"Conv", "constant"},
       changed([](Small& s) { s.builder.node(s.conv)->set_input(1, "image"); })},
      {"two inputs", ErrorCode::Unsupported, {"more than one input"}, changed([](Small& s) {
         s.file().mutable_graph()->add_input()->set_name("second");
       })},
      {"no input", ErrorCode::Format, {"no input"}, changed([](Small& s) {
         s.file().mutable_graph()->clear_input();
       })},
      {"input of unknown size", ErrorCode::Unsupported, {"image", "fixed"}, changed([](Small& s) {
         s.file()
             .mutable_graph()
             ->mutable_input(0)
             ->mutable_type()
             ->mutable_tensor_type()
             ->mutable_shape()
             ->mutable_dim(2)
             ->set_dim_param("H");
       })},
      {"huge input", ErrorCode::Unsupported, {"image", "16384"}, changed([](Small& s) {
         s.file()
             .mutable_graph()
             ->mutable_input(0)
             ->mutable_type()
             ->mutable_tensor_type()
             ->mutable_shape()
             ->mutable_dim(3)
             ->set_dim_value(std::int64_t{1} << 40);
       })},
      {"integer input", ErrorCode::Unsupported, {"image", "float"}, changed([](Small& s) {
         s.file()
             .mutable_graph()
             ->mutable_input(0)
             ->mutable_type()
             ->mutable_tensor_type()
             ->set_elem_type(onnx::TensorProto_DataType_UINT8);
       })},
      {"two outputs", ErrorCode::Unsupported, {"2 outputs"}, changed([](Small& s) {
         s.file().mutable_graph()->add_output()->set_name(s.conv);
       })},
      {"output nobody computes", ErrorCode::Format, {"output 'gone'"}, changed([](Small& s) {
         s.file().mutable_graph()->mutable_output(0)->set_name("gone");
       })},
      {"output that is an image",
       ErrorCode::Unsupported,
       {"[batch, classes]"},
       changed([](Small& s) { s.file().mutable_graph()->mutable_output(0)->set_name(s.conv); })},
      {"constant output", ErrorCode::Format, {"computes the model's output"}, changed([](Small& s) {
         s.file().mutable_graph()->mutable_output(0)->set_name(s.convWeights()->name());
       })},
      {"sparse weights", ErrorCode::Unsupported, {"sparse"}, changed([](Small& s) {
         s.file().mutable_graph()->add_sparse_initializer();
       })},
      {"no graph", ErrorCode::Format, {"no input"}, changed([](Small& s) {
         s.file().clear_graph();
       })},
      {"recursive function",
       ErrorCode::Unsupported,
       {"nested"},
       [] {
         Small s(ActivationForm::Function);
         onnx::NodeProto* node = s.file().mutable_functions(0)->mutable_node(0);
         node->set_op_type("PolynomialActivation");
         node->set_domain("pillarbox.test");
         node->add_input("x");
         return s.file();
       }},
      {"function without its output",
       ErrorCode::Format,
       {"'z'"},
       [] {
         Small s(ActivationForm::Function);
         s.file().mutable_functions(0)->set_output(0, "z");
         return s.file();
       }},
      {"poolings that take for ever",
       ErrorCode::Exhausted,
       {"AveragePool", "additions"},
       [] {
         OnnxBuilder b(Shape{1, 2048, 2048}, 1);
         const std::string x = b.conv(b.input(), 1, Window::square(1));
         const std::string y = b.averagePool(x, Window::square(1024, 1, 512));
         return b.finish(b.gemm(b.flatten(b.averagePool(y, Window::square(1024, 512))), 5));
       }},
      {"huge padding", ErrorCode::Unsupported, {"pads"}, changed([](Small& s) {
         OnnxBuilder::setInts(s.builder.node(s.conv), "pads",
                              {std::numeric_limits<std::int64_t>::max(), 0, 0, 0});
       })},
  };
  return kRefusals;
}

}  // namespace

class TestOnnxReader : public QObject {
  Q_OBJECT

 private Q_SLOTS:
  void formsOfActivationsAgree();
  void activationsWithoutMetadata();
  void oddDegreesAreFilledUp();
  void automaticPadding();
  void gemmVariants();
  void reshapeVariants();
  void constantsOfEveryKind();
  void batchNormFolds();
  void scalesOfPoolings();
  void scalesOfShortcuts();
  void stagesWithoutWeights();
  void biasOfPaddedPooling();
  void scalingsFold();
  void deadNodesAreLeftOut();
  void sharedLayersAreRepeated();
  void metadataIsRead();
  void refuses_data();
  void refuses();
  void files();
  void structureIsBounded();
  void hostileBytes_data();
  void hostileBytes();
};

void TestOnnxReader::formsOfActivationsAgree() {
  const LoadedModel horner = loaded(Small(ActivationForm::Horner).file());
  QCOMPARE(horner.model.stages.size(), std::size_t{2});
  QVERIFY(horner.model.stages[0].activation == reluFit(4));
  for (ActivationForm form : {ActivationForm::Powers, ActivationForm::Function}) {
    const LoadedModel other = loaded(Small(form).file());
    QVERIFY(other.model.stages[0].activation == reluFit(4));
    QCOMPARE(other.model.stages[0].truncation, 12U);
  }
  // Written with Sub, Div and Neg: -(x (3 x^3 - 160 x - 512) / 1024 - 322/1024).
  OnnxBuilder b(Shape{3, 6, 6}, 5);
  const std::string x = b.conv(b.input(), 4, kSame);
  const Shape s = b.shape(x);
  std::string y = b.op("Mul", {b.scalar(3), b.op("Pow", {x, b.scalar(3)}, s)}, s);
  y = b.op("Sub", {y, b.op("Mul", {x, b.scalar(160)}, s)}, s);
  y = b.op("Mul", {b.op("Sub", {y, b.scalar(512)}, s), x}, s);
  y = b.op("Sub", {b.op("Div", {y, b.scalar(1024)}, s), b.scalar(322.0 / 1024)}, s);
  const LoadedModel mixed = loaded(b.finish(b.gemm(b.flatten(b.op("Neg", {y}, s)), 5)));
  QVERIFY(mixed.model.stages[0].activation == reluFit(4));
}

void TestOnnxReader::activationsWithoutMetadata() {
  Small small;
  small.builder.removeMetadata("pillarbox.polynomial");
  QVERIFY(loaded(small.file()).model.stages[0].activation == reluFit(4));
  // Finer coefficients get the fraction bits that they need, here 16.
  OnnxBuilder b(Shape{3, 6, 6}, 5);
  const Polynomial fine{16, {3, 32768, 15121, 0, -739}};
  const std::string x = b.activation(b.conv(b.input(), 4, kSame), fine);
  QVERIFY(loaded(b.finish(b.gemm(b.flatten(x), 5))).model.stages[0].activation == fine);
}

void TestOnnxReader::oddDegreesAreFilledUp() {
  const Polynomial five{10, {322, 512, 160, 4, -3, 1}};
  const std::vector<std::int64_t> expected{322, 512, 160, 4, -3, 1, 0};
  for (bool stated : {true, false}) {
    OnnxBuilder b(Shape{3, 6, 6}, 5);
    const std::string x = b.activation(b.conv(b.input(), 4, kSame), five);
    if (stated) b.statePolynomial(five);
    const LoadedModel model = loaded(b.finish(b.gemm(b.flatten(x), 5)));
    QCOMPARE(model.model.stages[0].activation->coefficients, expected);
  }
}

void TestOnnxReader::automaticPadding() {
  struct Row {
    const char* mode;
    std::uint32_t size, kernel, stride, before, after;
  };
  // From the definition: out = ceil(in / stride), total = (out - 1) * stride + kernel - in.
  const Row rows[] = {{"SAME_UPPER", 6, 3, 1, 1, 1}, {"SAME_UPPER", 6, 3, 2, 0, 1},
                      {"SAME_LOWER", 6, 3, 2, 1, 0}, {"SAME_UPPER", 7, 4, 1, 1, 2},
                      {"SAME_LOWER", 7, 4, 1, 2, 1}, {"SAME_UPPER", 5, 1, 2, 0, 0},
                      {"VALID", 7, 3, 2, 0, 0}};
  for (const Row& row : rows) {
    const auto build = [&row](bool automatic) {
      OnnxBuilder b(Shape{2, row.size, row.size}, 5);
      const std::string x = b.conv(b.input(), 3,
                                   Window{row.kernel, row.kernel, row.stride, row.stride,
                                          row.before, row.before, row.after, row.after});
      if (automatic) {
        b.node(x)->mutable_attribute()->RemoveLast();  // pads
        OnnxBuilder::setText(b.node(x), "auto_pad", row.mode);
      }
      return loaded(b.finish(b.gemm(b.flatten(b.activation(x, reluFit(4))), 5)));
    };
    const LoadedModel expected = build(false);
    const LoadedModel actual = build(true);
    QVERIFY2(actual.model == expected.model, row.mode);
    QVERIFY(actual.weights.weights == expected.weights.weights);
  }
  OnnxBuilder b(Shape{2, 6, 6}, 5);
  const std::string x = b.averagePool(b.conv(b.input(), 3, kSame), Window::square(3, 2));
  b.node(x)->mutable_attribute()->RemoveLast();
  OnnxBuilder::setText(b.node(x), "auto_pad", "SAME_UPPER");
  OnnxBuilder::setInt(b.node(x), "count_include_pad", 1);
  const std::string y = b.activation(x, reluFit(4));
  // The builder reckons without padding, so the shape is given by hand.
  const std::string flat = b.op("Flatten", {y}, Shape{27, 1, 1});
  const LoadedModel pooled = loaded(b.finish(b.gemm(flat, 5)));
  const LinearOp& pool = pooled.model.stages[0].ops[1];
  QCOMPARE(pool.padTop + 10 * pool.padBottom + 100 * pool.padLeft + 1000 * pool.padRight, 1010U);
  QVERIFY(pool.out == (Shape{3, 3, 3}));
}

void TestOnnxReader::gemmVariants() {
  const LoadedModel expected = loaded(Small().file());
  const auto same = [&](const std::function<void(Small&, onnx::NodeProto*, onnx::TensorProto*,
                                                 onnx::TensorProto*)>& change) {
    Small small;
    onnx::NodeProto* node = small.builder.node(small.logits);
    change(small, node, initializer(small.file(), node->input(1)),
           initializer(small.file(), node->input(2)));
    const LoadedModel actual = loaded(small.file());
    return actual.weights.weights == expected.weights.weights &&
           actual.weights.bias == expected.weights.bias && actual.model == expected.model;
  };
  const auto scaled = [](onnx::TensorProto* tensor, float factor) {
    std::vector<float> values;
    for (float& v : rawFloats(tensor, &values)) v *= factor;
    tensor->set_raw_data(values.data(), values.size() * sizeof(float));
  };
  const auto setReal = [](onnx::NodeProto* node, const char* name, float value) {
    onnx::AttributeProto* attribute = node->add_attribute();
    attribute->set_name(name);
    attribute->set_type(onnx::AttributeProto_AttributeType_FLOAT);
    attribute->set_f(value);
  };
  QVERIFY(same([](Small&, onnx::NodeProto* node, onnx::TensorProto* w, onnx::TensorProto*) {
    std::vector<float> values;
    rawFloats(w, &values);
    std::vector<float> transposed(values.size());
    for (std::size_t o = 0; o < 5; ++o) {
      for (std::size_t i = 0; i < 144; ++i) transposed[i * 5 + o] = values[o * 144 + i];
    }
    w->set_raw_data(transposed.data(), transposed.size() * sizeof(float));
    w->set_dims(0, 144);
    w->set_dims(1, 5);
    node->clear_attribute();
  }));
  QVERIFY(same([&](Small&, onnx::NodeProto* node, onnx::TensorProto* w, onnx::TensorProto* b) {
    scaled(w, 0.5F);
    scaled(b, 4.0F);
    setReal(node, "alpha", 2.0F);
    setReal(node, "beta", 0.25F);
  }));
  QVERIFY(same([](Small&, onnx::NodeProto*, onnx::TensorProto*, onnx::TensorProto* b) {
    b->clear_dims();
    b->add_dims(1);
    b->add_dims(5);
  }));
  // float_data instead of raw_data
  QVERIFY(same([](Small&, onnx::NodeProto*, onnx::TensorProto* w, onnx::TensorProto*) {
    std::vector<float> values;
    for (float v : rawFloats(w, &values)) w->add_float_data(v);
    w->clear_raw_data();
  }));
  // And a change that must show.
  QVERIFY(!same([&](Small&, onnx::NodeProto*, onnx::TensorProto* w, onnx::TensorProto*) {
    scaled(w, 1.01F);
  }));
}

void TestOnnxReader::reshapeVariants() {
  const LoadedModel expected = loaded(Small().file());
  const std::vector<std::vector<std::int64_t>> shapes = {
      {0, -1}, {-1, 144}, {1, -1}, {1, 144}, {0, 144}};
  for (const auto& target : shapes) {
    Small small;
    onnx::TensorProto* tensor = small.file().mutable_graph()->add_initializer();
    tensor->set_name("target");
    tensor->set_data_type(onnx::TensorProto_DataType_INT64);
    tensor->add_dims(2);
    for (std::int64_t d : target) tensor->add_int64_data(d);
    onnx::NodeProto* node = small.builder.node(small.flat);
    node->set_op_type("Reshape");
    node->add_input("target");
    QVERIFY(loaded(small.file()).model == expected.model);
    tensor->set_int64_data(1, 143);
    QVERIFY(!load(small.file()).ok());
  }
}

void TestOnnxReader::constantsOfEveryKind() {
  OnnxBuilder b(Shape{3, 6, 6}, 5);
  const std::string x = b.conv(b.input(), 4, kSame);
  const Shape s = b.shape(x);
  const auto constant = [&](const std::function<void(onnx::AttributeProto*)>& fill) {
    const std::string name = b.op("Constant", {}, Shape{1, 1, 1});
    fill(b.node(name)->add_attribute());
    return name;
  };
  const std::string two = constant([](auto* a) {
    a->set_name("value_int");
    a->set_i(2);
  });
  const std::string half = constant([](auto* a) {
    a->set_name("value_float");
    a->set_f(0.5F);
  });
  const std::string eighth = constant([](auto* a) {
    a->set_name("value_floats");
    a->add_floats(0.125F);
  });
  const std::string third = constant([](auto* a) {
    a->set_name("value");
    a->mutable_t()->set_data_type(onnx::TensorProto_DataType_DOUBLE);
    a->mutable_t()->add_double_data(0.375);
    for (int i = 0; i < 4; ++i) a->mutable_t()->add_dims(1);
  });
  const std::string alias = b.op("Identity", {half}, Shape{1, 1, 1});
  // 0.375 + 0.5 x + (0.125 * 2) x^2, the last factor by arithmetic between constants.
  const std::string quarter = b.op("Mul", {eighth, two}, Shape{1, 1, 1});
  std::string y = b.op("Mul", {b.op("Pow", {x, two}, s), quarter}, s);
  y = b.op("Add", {y, b.op("Mul", {alias, x}, s)}, s);
  y = b.op("Add", {third, y}, s);
  const LoadedModel model = loaded(b.finish(b.gemm(b.flatten(y), 5)));
  QVERIFY(model.model.stages[0].activation == (Polynomial{10, {384, 512, 256}}));
}

void TestOnnxReader::batchNormFolds() {
  const auto vector = [](OnnxBuilder& b, const std::string& tensor) {
    std::vector<float> values;
    return rawFloats(initializer(b.file(), tensor), &values);
  };
  enum Order { Plain, AfterPool, AfterSum };
  for (Order order : {Plain, AfterPool, AfterSum}) {
    OnnxBuilder b(Shape{3, 6, 6}, 5);
    const std::string first = b.conv(b.input(), 4, kSame);
    std::string second;
    std::string x = first;
    if (order == AfterPool) x = b.averagePool(x, Window::square(2, 2));
    if (order == AfterSum) x = b.add(x, second = b.conv(b.input(), 4, Window::square(1)));
    const std::string norm = b.batchNorm(x);
    const LoadedModel model =
        loaded(b.finish(b.gemm(b.flatten(b.activation(norm, reluFit(4))), 5)));
    const onnx::NodeProto& bn = *b.node(norm);
    const auto gamma = vector(b, bn.input(1));
    const auto beta = vector(b, bn.input(2));
    const auto mean = vector(b, bn.input(3));
    const auto variance = vector(b, bn.input(4));
    std::vector<double> constant(4, 0.0);
    std::size_t tensor = 0;
    for (const std::string& conv : {first, second}) {
      if (conv.empty()) continue;
      const auto weights = vector(b, b.node(conv)->input(1));
      const auto bias = vector(b, b.node(conv)->input(2));
      const auto& integers = model.weights.weights[tensor++];
      QCOMPARE(integers.size(), weights.size());
      for (std::size_t i = 0; i < weights.size(); ++i) {
        const std::size_t c = i / (weights.size() / 4);
        const double factor =
            static_cast<double>(gamma[c]) / std::sqrt(static_cast<double>(variance[c]) + 1e-5);
        // Half a unit of rounding, and a little for the order of the factors.
        const double exact = static_cast<double>(weights[i]) * factor * 4096;
        QVERIFY(std::abs(integers[i] - exact) <= 0.5 + 1e-6);
      }
      for (std::size_t c = 0; c < 4; ++c) constant[c] += static_cast<double>(bias[c]);
    }
    const int bits = 12 + static_cast<int>(model.model.stages[0].truncation);
    QCOMPARE(bits, order == AfterPool ? 26 : 24);
    for (std::size_t c = 0; c < 4; ++c) {
      const double factor =
          static_cast<double>(gamma[c]) / std::sqrt(static_cast<double>(variance[c]) + 1e-5);
      const double exact =
          (constant[c] - static_cast<double>(mean[c])) * factor + static_cast<double>(beta[c]);
      QCOMPARE(model.weights.bias[0].size(), std::size_t{4});
      QVERIFY(std::abs(static_cast<double>(model.weights.bias[0][c]) - std::ldexp(exact, bits)) <
              2.0);
    }
  }
}

void TestOnnxReader::scalesOfPoolings() {
  struct Row {
    Window window;
    std::uint32_t truncation;
    double factor;  ///< weights are round(W * factor)
  };
  const Row rows[] = {
      {Window::square(2, 2), 12 + 2, 4096.0},
      {Window::square(3, 3), 12 + 3, 32768.0 / 9},
      {Window{2, 3, 2, 3, 0, 0, 0, 0}, 1 + 12 + 1, 8192.0 / 3},
      {Window::square(6), 2 + 12 + 3, 32768.0 / 9},
  };
  for (const Row& row : rows) {
    OnnxBuilder b(Shape{3, 6, 6}, 5);
    std::string x = b.activation(b.conv(b.input(), 4, kSame), reluFit(4));
    const std::string y = b.gemm(b.flatten(b.averagePool(x, row.window)), 5);
    const LoadedModel model = loaded(b.finish(y));
    const Stage& stage = model.model.stages[1];
    QCOMPARE(stage.ops.size(), std::size_t{2});
    QVERIFY(stage.ops[0].kind == OpKind::SumPool);
    QCOMPARE(stage.truncation, row.truncation);
    std::vector<float> weights;
    rawFloats(initializer(b.file(), b.node(y)->input(1)), &weights);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      QCOMPARE(static_cast<double>(model.weights.weights[1][i]),
               std::nearbyint(static_cast<double>(weights[i]) * row.factor));
    }
  }
  // Before an activation: a power of two needs no op, nine needs a multiplication.
  for (std::uint32_t kernel : {2U, 3U}) {
    OnnxBuilder b(Shape{3, 6, 6}, 5);
    const std::string x =
        b.averagePool(b.conv(b.input(), 4, kSame), Window::square(kernel, kernel));
    const LoadedModel model = loaded(b.finish(b.gemm(b.flatten(b.activation(x, reluFit(4))), 5)));
    const Stage& stage = model.model.stages[0];
    QCOMPARE(stage.ops.size(), std::size_t{kernel});
    QCOMPARE(stage.truncation, kernel == 2 ? 14U : 12U + 15U);
    if (kernel == 3) QCOMPARE(stage.ops[2].multipliers, std::vector<std::int64_t>{3641});
  }
}

void TestOnnxReader::scalesOfShortcuts() {
  const LoadedModel identity = makeTinyModel("identity_shortcut");
  const Stage& sum = identity.model.stages[2];
  QCOMPARE(sum.inputs, (std::vector<std::uint32_t>{1, 2}));
  QCOMPARE(sum.ops.size(), std::size_t{2});
  QVERIFY(sum.ops[0].kind == OpKind::Convolution);
  QCOMPARE(sum.ops[0].inputs, std::vector<std::uint32_t>{1});
  QVERIFY(sum.ops[1].kind == OpKind::Combine);
  QCOMPARE(sum.ops[1].inputs, (std::vector<std::uint32_t>{2, 0}));
  QCOMPARE(sum.ops[1].multipliers, (std::vector<std::int64_t>{1, 4096}));
  QCOMPARE(sum.truncation, 12U);

  const LoadedModel projection = makeTinyModel("projection_shortcut");
  QCOMPARE(projection.model.stages[2].ops.back().multipliers, (std::vector<std::int64_t>{1, 1}));

  // A convolution (24 bits) + pooling over 4 (14 bits), then + pooling over 9 (12 bits, ninths).
  const LoadedModel pooled = makeTinyModel("pooled_shortcut");
  const Stage& stage = pooled.model.stages[1];
  QCOMPARE(stage.ops.size(), std::size_t{5});
  QCOMPARE(stage.ops[2].multipliers, (std::vector<std::int64_t>{1, 1024}));
  QCOMPARE(stage.ops[4].multipliers, (std::vector<std::int64_t>{8, 3641}));
  QCOMPARE(stage.truncation, 15U);
}

void TestOnnxReader::stagesWithoutWeights() {
  const LoadedModel image = makeTinyModel("activation_of_the_image");
  QCOMPARE(image.model.stages[0].ops.size(), std::size_t{1});
  QCOMPARE(image.model.stages[0].ops[0].multipliers, std::vector<std::int64_t>{4096});
  QCOMPARE(image.model.stages[0].truncation, 12U);
  const LoadedModel pools = makeTinyModel("pool_between_activations");
  QCOMPARE(pools.model.stages[1].ops[1].multipliers, std::vector<std::int64_t>{1024});
  QCOMPARE(pools.model.stages[1].truncation, 12U);
  QCOMPARE(pools.model.stages[2].ops[1].multipliers, std::vector<std::int64_t>{2731});
  QCOMPARE(pools.model.stages[2].truncation, 14U);
}

void TestOnnxReader::biasOfPaddedPooling() {
  OnnxBuilder b(Shape{3, 9, 9}, 5);
  const std::string conv = b.conv(b.input(), 6, kSame);
  const std::string x = b.averagePool(conv, Window::square(3, 2, 1));
  const LoadedModel model = loaded(b.finish(b.gemm(b.flatten(b.activation(x, reluFit(4))), 5)));
  std::vector<float> bias;
  rawFloats(initializer(b.file(), b.node(conv)->input(2)), &bias);
  const auto& integers = model.weights.bias[0];
  QCOMPARE(integers.size(), std::size_t{6 * 25});
  QCOMPARE(model.weights.bias[1].size(), std::size_t{5});
  const int bits = 12 + static_cast<int>(model.model.stages[0].truncation);
  for (std::size_t i = 0; i < integers.size(); ++i) {
    const auto inside = [](std::size_t at) { return at == 0 || at == 4 ? 2.0 : 3.0; };
    const double share = inside(i / 5 % 5) * inside(i % 5) / 9;
    const double exact = std::ldexp(static_cast<double>(bias[i / 25]) * share, bits);
    QVERIFY(std::abs(static_cast<double>(integers[i]) - exact) < 1.0);
  }
}

void TestOnnxReader::scalingsFold() {
  // 0.5 x - 0.25 between convolution and activation is a batch norm of sorts.
  OnnxBuilder b(Shape{3, 6, 6}, 5);
  const std::string conv = b.conv(b.input(), 4, kSame);
  const Shape s = b.shape(conv);
  const std::string halved = b.op("Mul", {conv, b.scalar(0.5)}, s);
  const std::string moved = b.globalAveragePool(b.op("Sub", {halved, b.scalar(0.25)}, s));
  const LoadedModel model = loaded(b.finish(b.gemm(b.flatten(b.activation(moved, reluFit(4))), 5)));
  std::vector<float> weights;
  rawFloats(initializer(b.file(), b.node(conv)->input(1)), &weights);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    QCOMPARE(static_cast<double>(model.weights.weights[0][i]),
             std::nearbyint(static_cast<double>(weights[i]) * 2048));
  }
}

void TestOnnxReader::deadNodesAreLeftOut() {
  const LoadedModel expected = loaded(Small().file());
  Small small;
  const std::string dead = small.builder.conv(small.activated, 7, kSame);
  small.builder.activation(small.builder.conv(dead, 7, kSame), reluFit(4));
  const LoadedModel actual = loaded(small.file());
  QVERIFY(actual.model == expected.model);
  QVERIFY(actual.weights.weights == expected.weights.weights);
}

void TestOnnxReader::sharedLayersAreRepeated() {
  // x0 = conv(image), x_k = x_(k-1) + conv_k(act(x_(k-1))): stage k holds k convolutions.
  const LoadedModel model = makeTinyModel("pre_activation_blocks");
  QCOMPARE(model.model.stages.size(), std::size_t{5});
  QCOMPARE(model.weights.weights.size(), std::size_t{1 + 2 + 3 + 4 + 1});
  QVERIFY(model.weights.weights[0] == model.weights.weights[1]);
  QCOMPARE(model.model.stages[3].inputs, (std::vector<std::uint32_t>{0, 1, 2, 3}));
}

void TestOnnxReader::metadataIsRead() {
  Small small;
  small.builder.setMetadata("pillarbox.labels", R"(["Katze","Hund","猫","犬","bird"])");
  small.builder.setMetadata("pillarbox.mean", "[0.25,0.5,0.75]");
  small.builder.setMetadata("pillarbox.std", "[1,2,3]");
  small.builder.setMetadata("pillarbox.precision_bits", "11");
  small.builder.setMetadata("pillarbox.output_bits", "7");
  small.builder.setMetadata("pillarbox.weight_bits", "10");
  small.builder.setMetadata("pillarbox.training", R"({"epochs":3})");
  small.builder.setMetadata("author", "somebody");
  small.builder.statePolynomial(reluFit(4), 4.5);
  small.file().mutable_graph()->set_name("tiny\n\xFF");
  const LoadedModel model = loaded(small.file());
  QCOMPARE(model.model.labels, (std::vector<std::string>{"Katze", "Hund", "猫", "犬", "bird"}));
  QCOMPARE(model.model.mean, (std::vector<float>{0.25F, 0.5F, 0.75F}));
  QCOMPARE(model.model.std, (std::vector<float>{1, 2, 3}));
  QCOMPARE(model.model.precisionBits, 11U);
  QCOMPARE(model.model.outputBits, 7U);
  QCOMPARE(model.weightBits, 10U);
  QCOMPARE(model.model.stages[0].truncation, 10U);
  QCOMPARE(model.model.stages[1].truncation, 14U);
  QCOMPARE(model.range, 4.5);
  QCOMPARE(model.training, std::string(R"({"epochs":3})"));
  QCOMPARE(model.model.name, std::string("tiny??"));
}

void TestOnnxReader::refuses_data() {
  QTest::addColumn<int>("index");
  int index = 0;
  for (const Refusal& refusal : refusals()) QTest::newRow(refusal.name) << index++;
}

void TestOnnxReader::refuses() {
  QFETCH(int, index);
  const Refusal& refusal = refusals()[static_cast<std::size_t>(index)];
  const auto result = load(refusal.make());
  QVERIFY(!result.ok());
  const std::string& message = result.error().message;
  QVERIFY2(result.error().code == refusal.code, message.c_str());
  QVERIFY2(message.rfind("test.onnx: ", 0) == 0, message.c_str());
  for (const char* part : refusal.mentions) {
    QVERIFY2(message.find(part) != std::string::npos, message.c_str());
  }
  for (char c : message) QVERIFY2(c >= 0x20 && c < 0x7F, message.c_str());
}

void TestOnnxReader::files() {
  QTemporaryDir folder;
  const std::filesystem::path base = folder.path().toStdString();
  const std::string bytes = Small().file().SerializeAsString();
  const auto write = [](const std::filesystem::path& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
    return path;
  };
  const auto good = loadOnnx(write(base / "good.onnx", bytes));
  QVERIFY(good.ok());
  QVERIFY(good->model == load(bytes)->model);

  const auto code = [](const std::filesystem::path& path) {
    const auto result = loadOnnx(path);
    return result.ok() ? ErrorCode::Internal : result.error().code;
  };
  QCOMPARE(code(base / "missing.onnx"), ErrorCode::NotFound);
  QCOMPARE(code(base / "good.onnx" / "below"), ErrorCode::NotFound);
  QCOMPARE(code(base), ErrorCode::InvalidArgument);
  QCOMPARE(code("/dev/zero"), ErrorCode::InvalidArgument);
  QCOMPARE(::mkfifo((base / "pipe").c_str(), 0600), 0);
  QCOMPARE(code(base / "pipe"), ErrorCode::InvalidArgument);
  QCOMPARE(code(write(base / "empty.onnx", "")), ErrorCode::Format);
  QCOMPARE(code(write(base / "text.onnx", "This is no model.")), ErrorCode::Format);
  const auto large = write(base / "large.onnx", bytes);
  std::filesystem::resize_file(large, kMaxModelFileBytes + 1);  // sparse
  QCOMPARE(code(large), ErrorCode::Exhausted);
  QVERIFY(loadOnnx(base / "missing.onnx").error().message.find("missing.onnx") !=
          std::string::npos);
  // Cut anywhere, the file is refused: the metadata come last.
  for (std::size_t length = 0; length < bytes.size(); length += 1 + bytes.size() / 300) {
    QVERIFY(!load(bytes.substr(0, length)).ok());
  }
}

void TestOnnxReader::structureIsBounded() {
  const auto field = [](int number, const std::string& content) {
    std::string text(1, static_cast<char>(number << 3 | 2));
    std::size_t length = content.size();
    while (length >= 0x80) {
      text += static_cast<char>((length & 0x7F) | 0x80);
      length >>= 7;
    }
    return text + static_cast<char>(length) + content;
  };
  std::string nodes;
  for (int i = 0; i < 5'000'000; ++i) nodes += std::string("\x0A\x00", 2);
  rusage before{};
  ::getrusage(RUSAGE_SELF, &before);
  const auto result = load(field(7, nodes));
  rusage after{};
  ::getrusage(RUSAGE_SELF, &after);
  QVERIFY(!result.ok());
  QCOMPARE(result.error().code, ErrorCode::Exhausted);
  QVERIFY(after.ru_maxrss - before.ru_maxrss < 100'000);  // KiB
  // A million functions calling nothing, a model of nested attributes: refused one way or another.
  std::string nested;
  for (int i = 0; i < 2000; ++i) nested = field(7, field(1, field(5, field(6, nested))));
  QVERIFY(!load(nested).ok());
  // Functions that fan out: 50 calls of a function with 50 calls, four deep.
  Small small(ActivationForm::Function);
  for (int level = 0; level < 4; ++level) {
    onnx::FunctionProto* function = small.file().add_functions();
    function->set_domain("fan");
    function->set_name("f" + std::to_string(level));
    function->add_input("x");
    function->add_output("y49");
    for (int i = 0; i < 50; ++i) {
      onnx::NodeProto* node = function->add_node();
      node->set_op_type(level == 0 ? "Identity" : "f" + std::to_string(level - 1));
      if (level != 0) node->set_domain("fan");
      node->add_input(i == 0 ? "x" : "y" + std::to_string(i - 1));
      node->add_output("y" + std::to_string(i));
    }
  }
  onnx::NodeProto* activation = small.builder.node(small.activated);
  activation->set_domain("fan");
  activation->set_op_type("f3");
  const auto fanned = load(small.file());
  QVERIFY(!fanned.ok());
  QVERIFY2(fanned.error().code == ErrorCode::Exhausted, fanned.error().message.c_str());
}

void TestOnnxReader::hostileBytes_data() {
  QTest::addColumn<int>("form");
  QTest::newRow("Horner") << 0;
  QTest::newRow("powers") << 1;
  QTest::newRow("function") << 2;
}

void TestOnnxReader::hostileBytes() {
  QFETCH(int, form);
  Small small(static_cast<ActivationForm>(form));
  const std::string original = small.file().SerializeAsString();
  RandomValues random(static_cast<std::uint64_t>(77 + form));
  int accepted = 0;
  int refused = 0;
  for (int round = 0; round < 6000; ++round) {
    std::string bytes = original;
    const std::uint64_t changes = 1 + random.below(3);
    for (std::uint64_t i = 0; i < changes; ++i) {
      const std::size_t at = random.below(bytes.size());
      switch (random.below(6)) {
        case 0:
          bytes[at] = static_cast<char>(random.word());
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
          break;
        case 2:
          bytes.erase(at, 1 + random.below(8));
          break;
        case 3:
          bytes.insert(at, bytes.substr(random.below(bytes.size()), random.below(60)));
          break;
        case 4:
          bytes[at] = '\xFF';
          break;
        default:
          bytes.resize(1 + random.below(bytes.size()));
          break;
      }
      if (bytes.empty()) bytes.assign(1, 'x');
    }
    const auto result = load(bytes);
    if (!result.ok()) {
      ++refused;
      QVERIFY(!result.error().message.empty());
      continue;
    }
    // Most bytes of the file are weights: what is accepted must be a model that can be run.
    ++accepted;
    QVERIFY(validate(result->model).ok());
    QVERIFY(validate(result->model, result->weights).ok());
    const FixedPointOracle oracle(result->model, result->weights);
    const auto logits = oracle.evaluate(std::vector<float>(result->model.input.size(), 0.5F));
    QCOMPARE(logits.logits.size(), result->model.labels.size());
  }
  QVERIFY(accepted > 100);
  QVERIFY(refused > 1000);
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  QVERIFY(usage.ru_maxrss < 1'000'000);  // KiB
}

QTEST_GUILESS_MAIN(TestOnnxReader)
#include "test_onnx_reader.moc"

// Builds ONNX model files for tests: random weights, real structure.
//
// The builder keeps the shape of every tensor it names, so that a network is a chain of calls, and
// gives access to the message under construction, so that a test can damage it in any way.
//
// Weights are drawn so that activations neither die nor leave [-5, 5], however deep the network:
// each filter has nearly zero mean over its inputs and a norm set by `gain`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include <onnx/onnx_pb.h>

#include "models/description.h"
#include "tests/support/random_values.h"

namespace pillarbox::testing {

/// Kernel, stride and explicit padding of a convolution or pooling.
struct Window {
  std::uint32_t kernelH = 3, kernelW = 3;
  std::uint32_t strideH = 1, strideW = 1;
  std::uint32_t padTop = 0, padLeft = 0, padBottom = 0, padRight = 0;

  static Window square(std::uint32_t kernel, std::uint32_t stride = 1, std::uint32_t pad = 0) {
    return Window{kernel, kernel, stride, stride, pad, pad, pad, pad};
  }
};

/// How an activation is written as operators.
enum class ActivationForm {
  Horner,    ///< ((c2 * x + c1) * x + c0) with Mul and Add
  Powers,    ///< c0 + c1 * x + c2 * Pow(x, 2) + ...
  Function,  ///< a call of a model-local function in Horner form
};

/// Least-squares fits of ReLU on [-5, 5]; degree 2, 4, 6 or 8. Degree 4 is the paper's.
models::Polynomial reluFit(std::uint32_t degree);

class OnnxBuilder {
 public:
  explicit OnnxBuilder(models::Shape input, std::uint64_t seed = 1);

  /// The name of the image tensor.
  std::string input() const { return "image"; }
  models::Shape shape(const std::string& tensor) const { return m_shapes.at(tensor); }

  std::string conv(const std::string& x, std::uint32_t outChannels, const Window& window,
                   bool bias = true, double gain = 1.2);
  std::string batchNorm(const std::string& x);
  std::string averagePool(const std::string& x, const Window& window);
  std::string globalAveragePool(const std::string& x);
  std::string add(const std::string& a, const std::string& b);
  std::string flatten(const std::string& x);
  std::string gemm(const std::string& x, std::uint32_t out, bool bias = true, double gain = 1.2);
  std::string activation(const std::string& x, const models::Polynomial& polynomial,
                         ActivationForm form = ActivationForm::Horner);

  /// Any other node; `outputShape` of what it computes.
  std::string op(const std::string& type, const std::vector<std::string>& inputs,
                 models::Shape outputShape);
  /// The node that computes `tensor`.
  onnx::NodeProto* node(const std::string& tensor);
  std::string scalar(double value);
  std::string floatTensor(const std::vector<std::int64_t>& dims, const std::vector<float>& values);

  void setMetadata(const std::string& key, const std::string& value);
  void removeMetadata(const std::string& key);
  /// The metadata key pillarbox.polynomial for `polynomial`.
  void statePolynomial(const models::Polynomial& polynomial, double range = 5.0);

  /// Declares `tensor` the output, writes the metadata that are not set yet (labels "class 0"...,
  /// mean 0.5, std 0.25, 12 bits), and returns the message. Call once.
  onnx::ModelProto& finish(const std::string& tensor);
  std::string bytes() const { return m_file.SerializeAsString(); }
  onnx::ModelProto& file() { return m_file; }

  static void setInts(onnx::NodeProto* node, const char* name,
                      std::initializer_list<std::int64_t> values);
  static void setInt(onnx::NodeProto* node, const char* name, std::int64_t value);
  static void setText(onnx::NodeProto* node, const char* name, const std::string& value);

 private:
  onnx::GraphProto& graph() { return *m_file.mutable_graph(); }
  std::vector<float> filters(std::size_t out, std::size_t fanIn, double gain);
  void setWindow(onnx::NodeProto* node, const Window& window);
  models::Shape windowed(const std::string& x, std::uint32_t channels, const Window& window) const;
  std::string functionFor(const models::Polynomial& polynomial);

  onnx::ModelProto m_file;
  std::map<std::string, models::Shape> m_shapes;
  RandomValues m_random;
  int m_count = 0;
};

/// The networks of the paper with random weights, every activation `polynomial`.
onnx::ModelProto miniOnn(const models::Polynomial& polynomial, std::uint64_t seed = 1,
                         std::uint32_t classes = 10);
onnx::ModelProto vgg16(const models::Polynomial& polynomial, std::uint64_t seed = 1,
                       std::uint32_t classes = 10);
/// ResNet-18 for 32-pixel images.
onnx::ModelProto resNet18(const models::Polynomial& polynomial, std::uint64_t seed = 1,
                          std::uint32_t classes = 10);
/// The thin CIFAR family: depth 32 or 110 (6n + 2).
onnx::ModelProto resNetCifar(std::uint32_t depth, const models::Polynomial& polynomial,
                             std::uint64_t seed = 1, std::uint32_t classes = 10);
/// ResNet-50 for 224-pixel images.
onnx::ModelProto resNet50(const models::Polynomial& polynomial, std::uint64_t seed = 1,
                          std::uint32_t classes = 1000);

}  // namespace pillarbox::testing

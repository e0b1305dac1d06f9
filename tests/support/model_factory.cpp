// Tiny networks for every layer type; see model_factory.h.
#include "tests/support/model_factory.h"

#include <stdexcept>
#include <utility>

#include "models/onnx_reader.h"
#include "tests/support/onnx_builder.h"

namespace pillarbox::testing {

namespace {

using models::LoadedModel;
using models::Polynomial;
using models::Shape;

LoadedModel load(const std::string& bytes, const std::string& name) {
  auto loaded = models::loadOnnx(std::as_bytes(std::span(bytes)), name);
  if (!loaded.ok()) throw std::logic_error(loaded.error().message);
  return std::move(loaded).value();
}

/// Ends a tiny network: flatten, fully connected to five classes.
std::string head(OnnxBuilder* b, const std::string& x) {
  return b->gemm(b->flatten(x), 5);
}

struct Recipe {
  const char* name;
  Shape input;
  std::uint32_t degree;
  std::string (*build)(OnnxBuilder* b, const Polynomial& p);
};

const Window kSame = Window::square(3, 1, 1);

/// Two convolutions with activations: what the degrees and forms of activations are tested on.
std::string plain(OnnxBuilder* b, const Polynomial& p, ActivationForm form) {
  const std::string x = b->activation(b->conv(b->input(), 4, kSame), p, form);
  return head(b, b->activation(b->conv(x, 3, Window::square(3, 2)), p, form));
}

const Recipe kRecipes[] = {
    {"conv_padded",
     {3, 8, 8},
     4,
     [](OnnxBuilder* b, const Polynomial& p) { return plain(b, p, ActivationForm::Horner); }},
    {"conv_stride_2_asymmetric_padding",
     {3, 9, 7},
     4,
     [](OnnxBuilder* b, const Polynomial& p) {
       const std::string x =
           b->activation(b->conv(b->input(), 5, Window{3, 2, 2, 1, 0, 1, 2, 0}), p);
       return head(b, b->activation(b->conv(x, 4, Window{2, 3, 1, 2, 1, 0, 0, 2}, false), p));
     }},
    {"conv_1x1_and_5x5",
     {2, 10, 10},
     4,
     [](OnnxBuilder* b, const Polynomial& p) {
       const std::string x = b->activation(b->conv(b->input(), 6, Window::square(5, 1, 2)), p);
       return head(b, b->activation(b->conv(x, 4, Window::square(1, 2)), p));
     }},
    {"fully_connected",
     {3, 4, 4},
     4,
     [](OnnxBuilder* b, const Polynomial& p) {
       const std::string x = b->activation(b->gemm(b->flatten(b->input()), 32), p);
       return b->gemm(b->activation(b->gemm(x, 24, false), p), 5);
     }},
    {"batch_norm",
     {3, 8, 8},
     4,
     [](OnnxBuilder* b, const Polynomial& p) {
       const std::string x = b->activation(b->batchNorm(b->conv(b->input(), 6, kSame, false)), p);
       const std::string y = b->activation(b->batchNorm(b->conv(x, 6, kSame)), p);
       return b->batchNorm(head(b, y));
     }},
    {"pool_after_activation",
     {3, 8, 8},
     4,
     [](OnnxBuilder* b, const Polynomial& p) {
       std::string x = b->activation(b->conv(b->input(), 6, kSame), p);
       x = b->averagePool(x, Window::square(2, 2));
       return head(b, b->activation(b->conv(x, 6, kSame), p));
     }},
    {"pool_before_activation",
     {3, 8, 8},
     4,
     [](OnnxBuilder* b, const Polynomial& p) {
       std::string x = b->batchNorm(b->conv(b->input(), 6, kSame));
       x = b->activation(b->averagePool(x, Window::square(2, 2)), p);
       return head(
           b, b->activation(
                  b->batchNorm(b->averagePool(b->conv(x, 6, kSame), Window::square(2, 2))), p));
     }},
    {"pool_3x3_before_weights",
     {3, 9, 9},
     4,
     [](OnnxBuilder* b, const Polynomial& p) {
       std::string x = b->activation(b->conv(b->input(), 6, kSame), p);
       x = b->averagePool(x, Window::square(3, 2, 1));
       return head(b, b->activation(b->conv(x, 4, kSame), p));
     }},
    {"pool_3x3_before_activation",
     {3, 9, 9},
     4,
     [](OnnxBuilder* b, const Polynomial& p) {
       // Padding over a bias: the bias differs within a channel.
       std::string x = b->averagePool(b->conv(b->input(), 6, kSame), Window::square(3, 2, 1));
       return head(b, b->activation(x, p));
     }},
    {"pool_between_activations",
     {3, 8, 8},
     4,
     [](OnnxBuilder* b, const Polynomial& p) {
       // Two stages without weights, one of them with a window that is no power of two.
       std::string x = b->activation(b->conv(b->input(), 4, kSame), p);
       x = b->activation(b->averagePool(x, Window::square(2, 2)), p);
       x = b->activation(b->averagePool(x, Window{3, 2, 1, 1, 0, 0, 0, 0}), p);
       return head(b, x);
     }},
    {"global_average_pool",
     {3, 6, 6},
     4,
     [](OnnxBuilder* b, const Polynomial& p) {
       const std::string x = b->activation(b->conv(b->input(), 16, kSame), p);
       return head(b, b->globalAveragePool(x));
     }},
    {"identity_shortcut",
     {3, 8, 8},
     4,
     [](OnnxBuilder* b, const Polynomial& p) {
       const std::string x = b->activation(b->conv(b->input(), 6, kSame), p);
       std::string y = b->activation(b->conv(x, 6, kSame), p);
       y = b->add(b->conv(y, 6, kSame, true, 0.5), x);
       return head(b, b->activation(y, p));
     }},
    {"projection_shortcut",
     {3, 8, 8},
     4,
     [](OnnxBuilder* b, const Polynomial& p) {
       const std::string x = b->activation(b->conv(b->input(), 4, kSame), p);
       std::string y = b->activation(b->batchNorm(b->conv(x, 8, Window::square(3, 2, 1))), p);
       y = b->batchNorm(b->conv(y, 8, kSame, false, 0.6));
       const std::string shortcut = b->batchNorm(b->conv(x, 8, Window::square(1, 2), false));
       return head(b, b->activation(b->add(y, shortcut), p));
     }},
    {"pooled_shortcut",
     {4, 8, 8},
     4,
     [](OnnxBuilder* b, const Polynomial& p) {
       // The terms of the sum come at three different scales, one divided by nine.
       const std::string x = b->activation(b->conv(b->input(), 4, kSame), p);
       std::string y = b->conv(x, 4, Window::square(2, 2), true, 0.5);
       y = b->add(y, b->averagePool(x, Window::square(2, 2)));
       y = b->add(y, b->averagePool(x, Window::square(3, 2, 1)));
       return head(b, b->activation(y, p));
     }},
    {"pre_activation_blocks",
     {3, 6, 6},
     4,
     [](OnnxBuilder* b, const Polynomial& p) {
       // Sums that no activation follows: later stages read several earlier activations.
       std::string x = b->conv(b->input(), 4, kSame);
       for (int i = 0; i < 3; ++i) x = b->add(x, b->conv(b->activation(x, p), 4, kSame, true, 0.4));
       return head(b, b->activation(x, p));
     }},
    {"image_shortcut",
     {3, 6, 6},
     4,
     [](OnnxBuilder* b, const Polynomial& p) {
       const std::string x = b->activation(b->add(b->conv(b->input(), 3, kSame), b->input()), p);
       return head(b, x);
     }},
    {"activation_of_the_image",
     {3, 6, 6},
     4,
     [](OnnxBuilder* b, const Polynomial& p) { return head(b, b->activation(b->input(), p)); }},
    {"one_stage",
     {3, 6, 6},
     4,
     [](OnnxBuilder* b, const Polynomial&) { return head(b, b->input()); }},
    {"degree_2",
     {3, 8, 8},
     2,
     [](OnnxBuilder* b, const Polynomial& p) { return plain(b, p, ActivationForm::Horner); }},
    {"degree_6",
     {3, 8, 8},
     6,
     [](OnnxBuilder* b, const Polynomial& p) { return plain(b, p, ActivationForm::Powers); }},
    {"degree_8",
     {3, 8, 8},
     8,
     [](OnnxBuilder* b, const Polynomial& p) { return plain(b, p, ActivationForm::Horner); }},
    {"odd_terms",
     {3, 8, 8},
     0,
     [](OnnxBuilder* b, const Polynomial& p) { return plain(b, p, ActivationForm::Powers); }},
    {"activation_function",
     {3, 8, 8},
     4,
     [](OnnxBuilder* b, const Polynomial& p) { return plain(b, p, ActivationForm::Function); }},
};

}  // namespace

std::vector<std::string> tinyModelNames() {
  std::vector<std::string> names;
  for (const Recipe& recipe : kRecipes) names.emplace_back(recipe.name);
  return names;
}

std::string tinyModelFile(const std::string& name, std::uint64_t seed) {
  for (const Recipe& recipe : kRecipes) {
    if (name != recipe.name) continue;
    // Degree 0 stands for a polynomial in which no coefficient is zero.
    const Polynomial polynomial =
        recipe.degree == 0 ? Polynomial{10, {-100, 400, 130, 12, -5}} : reluFit(recipe.degree);
    OnnxBuilder builder(recipe.input, seed);
    builder.statePolynomial(polynomial);
    if (recipe.degree == 8) builder.setMetadata("pillarbox.precision_bits", "8");
    return builder.finish(recipe.build(&builder, polynomial)).SerializeAsString();
  }
  throw std::logic_error("no tiny model is called " + name);
}

LoadedModel makeTinyModel(const std::string& name, std::uint64_t seed) {
  return load(tinyModelFile(name, seed), name);
}

std::vector<std::string> paperModelNames() {
  return {"minionn", "vgg16", "resnet18", "resnet32", "resnet110", "resnet50"};
}

std::string paperModelFile(const std::string& name, std::uint32_t degree, std::uint64_t seed) {
  const Polynomial p = reluFit(degree);
  if (name == "minionn") return miniOnn(p, seed).SerializeAsString();
  if (name == "vgg16") return vgg16(p, seed).SerializeAsString();
  if (name == "resnet18") return resNet18(p, seed).SerializeAsString();
  if (name == "resnet32") return resNetCifar(32, p, seed).SerializeAsString();
  if (name == "resnet110") return resNetCifar(110, p, seed).SerializeAsString();
  if (name == "resnet50") return resNet50(p, seed).SerializeAsString();
  throw std::logic_error("the paper has no network called " + name);
}

LoadedModel makePaperModel(const std::string& name, std::uint32_t degree, std::uint64_t seed) {
  return load(paperModelFile(name, degree, seed), name);
}

std::vector<float> randomImage(const Shape& shape, std::uint64_t seed) {
  RandomValues random(seed);
  std::vector<float> image(shape.size());
  for (float& v : image) v = static_cast<float>(random.uniform(-1.5, 1.5));
  return image;
}

}  // namespace pillarbox::testing

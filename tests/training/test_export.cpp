// Exported files, read back by the engine's reader and evaluated by the plaintext oracle, against
// LibTorch's forward pass; and the published sizes of the networks.
#include <cmath>
#include <fstream>
#include <span>

#include "engine/inference/executor.h"
#include "engine/offline/dealing.h"
#include "models/onnx_reader.h"
#include "models/oracle.h"
#include "models/pillar/fit_report.h"
#include "models/training/export.h"
#include "models/training/model_report.h"
#include "models/training/onnx_import.h"
#include "models/training/trainer.h"
#include "tests/support/onnx_builder.h"
#include "tests/training/expect.h"
#include "tests/training/small_data.h"

namespace {

using namespace pillarbox;
using namespace pillarbox::training;
using pillarbox::test::TemporaryFolder;

struct Published {
  const char* name;
  std::uint64_t parameters;  // 0: not checked exactly
  double millions;           // as published
  std::uint64_t activations;
  int rounds;
  int convolutions;
};

void publishedSizes() {
  const Published list[] = {
      {"pillar7", 0, 0.42, 163840, 7, 6},           {"minionn", 0, 0.166, 173056, 8, 7},
      {"resnet9", 0, 6.57, 376832, 9, 8},           {"vgg16", 0, 15.2, 183808, 16, 13},
      {"resnet18", 11173962, 11.2, 557056, 18, 20}, {"resnet32", 0, 0.47, 303104, 32, 33},
      {"resnet110", 0, 1.73, 1048576, 110, 111},    {"resnet50", 23528522, 23.5, 9608704, 50, 53}};
  for (const auto& p : list) {
    for (const auto& info : architectures::architectureList()) {
      if (info.name != p.name) continue;
      const auto a = architectures::makeArchitecture(p.name, 10, info.inputSize);
      EXPECT(a.ok());
      const auto counts = architectures::countsOf(*a);
      if (p.parameters) EXPECT_EQUAL(counts.parameters, p.parameters);
      EXPECT(std::abs(static_cast<double>(counts.parameters) / 1e6 / p.millions - 1) < 0.06);
      EXPECT_EQUAL(counts.activations, p.activations);
      EXPECT_EQUAL(counts.rounds, p.rounds);
      EXPECT_EQUAL(counts.convolutions, p.convolutions);
      if (counts.parameters < 1000000) {
        // The module holds what the list of layers says.
        TrainingConfig config;
        config.network = p.name;
        std::uint64_t held = 0;
        const auto network = makeNetwork(config, 10);
        EXPECT(network.ok());
        for (const auto& parameter : (*network)->parameters()) {
          held += static_cast<std::uint64_t>(parameter.numel());
        }
        EXPECT_EQUAL(held, counts.parameters);
      }
    }
  }
}

// Perturbs what training would have changed, so that folding has something to fold.
void disturb(Network& network) {
  const torch::NoGradGuard guard;
  for (const auto& child : network->named_children()) {
    if (auto* norm = child.value()->as<torch::nn::BatchNorm2d>()) {
      norm->weight.mul_(torch::rand_like(norm->weight) * 0.2 + 0.9);
      norm->bias.add_(torch::randn_like(norm->bias) * 0.02);
    }
  }
}

void roundTrip(const std::string& name, std::uint32_t size, bool disturbed = true) {
  auto network = randomNetwork(name, 7, size, 3);
  EXPECT(network.ok());
  if (!network.ok()) return;
  if (disturbed) disturb(*network);
  const auto bytes = exportNetwork(*network, randomFacts(*network, 3));
  EXPECT(bytes.ok());
  if (!bytes.ok()) return;
  const auto model = models::loadOnnx(std::as_bytes(std::span(*bytes)), name);
  if (!model.ok()) std::cerr << model.error().message << "\n";
  EXPECT(model.ok());
  if (!model.ok()) return;
  const auto counts = architectures::countsOf((*network)->architecture());
  EXPECT_EQUAL(static_cast<int>(model->model.stages.size()), counts.rounds);
  EXPECT_EQUAL(model->model.activationCount(), counts.activations);
  EXPECT_EQUAL(model->model.labels.size(), 7U);
  EXPECT(std::abs(model->model.mean[0] - 0.5F) < 1e-6F);
  // What the report predicts is the same from the architecture and from the file, and is what the
  // parties declare, whose own tests hold that against the channels' meters.
  const auto cost = networkCost(model->model);
  const auto planned = networkCost((*network)->architecture(), 4);
  EXPECT(planned.ok() && toJson(cost) == toJson(*planned));
  EXPECT_EQUAL(cost.multiplyAdds, counts.multiplyAdds);
  const auto online = inference::onlineCost(model->model);
  EXPECT_EQUAL(cost.rounds, online.rounds);
  EXPECT_EQUAL(cost.bytesToEngine, online.bytesToEngine);
  EXPECT_EQUAL(cost.bytesToClient, online.bytesToClient);
  const auto dealt = offline::offlineCost(model->model);
  EXPECT_EQUAL(cost.dealerBytesToClient, 8 * dealt.correctionWords);
  EXPECT_EQUAL(cost.dealerBytesFromClient, 8 * dealt.clientWords);
  const auto plan = offline::two_party::SetPlan::create(
      std::make_shared<const models::PublicModel>(model->model));
  EXPECT(plan.ok() && cost.preparation.has_value());
  if (plan.ok() && cost.preparation) {
    const auto& set = (*plan)->cost();
    EXPECT_EQUAL(cost.preparation->bytesToEngine, set.bytesToEngine);
    EXPECT_EQUAL(cost.preparation->bytesToClient, set.bytesToClient);
    EXPECT_EQUAL(cost.preparation->keyBytes, set.keyBytes);
    EXPECT_EQUAL(cost.preparation->rounds, set.rounds);
    // The two phases are kept apart, and neither is less than its bytes and rounds take.
    for (const Link& link : {kNearLink, kFarLink}) {
      const auto least = [&](std::uint32_t rounds, std::uint64_t bytes) {
        return rounds * link.roundTrip + 8.0 * static_cast<double>(bytes) / link.bandwidth;
      };
      EXPECT(cost.seconds(link) >= least(online.rounds, online.bytesToEngine));
      EXPECT(cost.preparationSeconds(link) >= least(set.rounds, set.bytesToEngine));
      EXPECT(cost.preparationSeconds(link) >= least(set.rounds, set.bytesToClient));
    }
    const auto report = modelReport(*model, nlohmann::json(), {});
    EXPECT_EQUAL(report["preparation_bytes_to_engine"].get<std::uint64_t>(), set.bytesToEngine);
    EXPECT(report["preparation_seconds_at_100ms_100mbit"].get<double>() > 0);
  }
  for (const auto& stage : model->model.stages) {
    if (!stage.activation) continue;
    EXPECT_EQUAL(stage.activation->fractionBits, 10U);
    EXPECT((stage.activation->coefficients == std::vector<std::int64_t>{322, 512, 160, 0, -3}));
  }

  const torch::NoGradGuard guard;
  (*network)->eval();
  const torch::Tensor images = syntheticImages(2, size);
  auto statistics = (*network)->emptyStatistics();
  ForwardOptions options;
  options.statistics = &statistics;
  const torch::Tensor logits = (*network)->forward(images, options).logits;
  for (const auto& layer : statistics) {  // usable, not just finite
    if (!(layer.values.largest() < 8))
      std::cerr << layer.name << " " << layer.values.largest() << "\n";
    EXPECT(layer.values.largest() < 8);
  }
  for (int i = 0; i < 2; ++i) {
    const torch::Tensor image = images[i].contiguous();
    const std::span<const float> values(image.data_ptr<float>(),
                                        static_cast<std::size_t>(image.numel()));
    const auto answer = models::evaluateFloat(model->graph, values);
    EXPECT_EQUAL(answer.size(), 7U);
    for (int c = 0; c < 7; ++c) {
      const double expected = logits[i][c].item<double>();
      EXPECT(std::abs(answer[static_cast<std::size_t>(c)] - expected) <
             1e-3 * std::max(1.0, std::abs(expected)));
    }
  }
}

void smallNetworks() {
  roundTrip("pillar7", 32);
  roundTrip("minionn", 32);
  roundTrip("resnet32", 16);
  roundTrip("resnet9", 16);
}

void poolingBeforeNorm() {
  roundTrip("vgg16", 32);
}

void bottlenecks() {
  roundTrip("resnet50", 32);
}

void refuses() {
  TrainingConfig config;
  config.activation = ActivationKind::Relu;
  auto relu = makeNetwork(config, 10);
  EXPECT(relu.ok());
  const auto bytes = exportNetwork(*relu, randomFacts(*relu, 1));
  EXPECT(!bytes.ok() && bytes.error().code == ErrorCode::Unsupported);

  config.activation = ActivationKind::Polynomial;
  auto network = makeNetwork(config, 10);
  ModelFacts facts = randomFacts(*network, 1);
  facts.labels.pop_back();
  EXPECT(!exportNetwork(*network, facts).ok());
  {
    const torch::NoGradGuard guard;
    (*network)->parameters().front()[0][0][0][0] = std::nan("");
  }
  const auto bad = exportNetwork(*network, randomFacts(*network, 1));
  EXPECT(!bad.ok() && bad.error().message.find("conv1") != std::string::npos);

  EXPECT(!architectures::makeArchitecture("resnet19", 10, 32).ok());
  EXPECT(!architectures::makeArchitecture("vgg16", 10, 40).ok());
  EXPECT(!architectures::makeArchitecture("pillar7", 1, 32).ok());
}

void fitPlotAndCache() {
  TemporaryFolder folder;
  models::pillar::FitRequest request;
  const auto fit = models::pillar::fitReluCached(request, folder.path());
  EXPECT(fit.ok());
  if (!fit.ok()) return;
  EXPECT(fit->optimal());
  const std::string svg = models::pillar::plotSvg(request, *fit);
  EXPECT(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
  EXPECT(svg.find("nan") == std::string::npos);
  // What is in the cache is what is answered: change it and ask again.
  std::filesystem::path file;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) file = entry.path();
  EXPECT(!file.empty());
  std::ifstream in(file);
  auto stored = nlohmann::json::parse(in);
  stored["nodes"] = 123456789;
  std::ofstream(file) << stored.dump();
  EXPECT_EQUAL(models::pillar::fitReluCached(request, folder.path())->nodes, 123456789U);
  std::ofstream(file) << "{ damaged";
  const auto again = models::pillar::fitReluCached(request, folder.path());
  EXPECT(again.ok() && again->nodes != 123456789U && again->coefficients == fit->coefficients);
}

// A network as PyTorch exports it: ReLU, one batch norm left over, a shortcut,
// no metadata.
std::string reluNetwork(const std::filesystem::path& file) {
  using testing::Window;
  const Window same = Window::square(3, 1, 1);
  testing::OnnxBuilder b({3, 8, 8}, 11);
  const auto relu = [&](const std::string& x) { return b.op("Relu", {x}, b.shape(x)); };
  std::string x = relu(b.conv(b.input(), 8, same));
  const std::string shortcut = x;
  x = relu(b.batchNorm(b.conv(x, 8, same, false)));
  x = relu(b.add(b.conv(x, 8, same), shortcut));
  x = b.averagePool(x, Window::square(2, 2));
  x = relu(b.conv(x, 12, Window::square(1)));
  x = b.gemm(b.flatten(b.globalAveragePool(x)), 3);
  b.finish(x).clear_metadata_props();
  EXPECT(writeFileAtomically(file, b.bytes()).ok());
  return file.string();
}

void importsWhatPyTorchExports() {
  TemporaryFolder folder;
  const std::string file = reluNetwork(folder.path() / "relu.onnx");
  const auto imported = importOnnx(file);
  if (!imported.ok()) std::cerr << imported.error().message << "\n";
  EXPECT(imported.ok());
  if (!imported.ok()) return;
  EXPECT_EQUAL(imported->architecture.classes, 3);
  EXPECT(imported->labels.empty() && imported->mean.empty());

  TrainingConfig config = test::smallConfig(folder.path() / "data");
  config.network = imported->architecture.name;
  config.architecture = toJson(imported->architecture);
  config.activation = ActivationKind::Relu;
  // The settings survive being written down.
  auto restored = configFromJson(nlohmann::json::parse(toJson(config).dump()));
  EXPECT(restored.ok());
  auto network = makeNetwork(*restored, 3).value();
  loadImported(*imported, network);
  network->eval();
  const torch::NoGradGuard guard;
  const torch::Tensor images = syntheticImages(20, 8);
  const auto graph = models::readForTraining(file).value().graph;
  const auto check = [&](double tolerance) {
    const torch::Tensor logits = network->forward(images, {}).logits;
    for (int i = 0; i < 20; ++i) {
      const torch::Tensor image = images[i].contiguous();
      const auto expected = models::evaluateFloat(
          graph, {image.data_ptr<float>(), static_cast<std::size_t>(image.numel())});
      for (int c = 0; c < 3; ++c) {
        EXPECT(std::abs(logits[i][c].item<double>() - expected[static_cast<std::size_t>(c)]) <
               tolerance);
      }
    }
  };
  check(1e-4);
  calibrate(network, images);
  check(1e-3);  // the same function, now through batch norms with statistics

  // As the start of a conversion: it runs, and what comes out can be exported.
  test::writeSmallData(folder.path() / "data");
  EXPECT(applyPreset(*restored, "convert").ok());
  TrainingConfig conversion = *restored;
  conversion.activation = ActivationKind::Polynomial;
  conversion.from = file;
  conversion.epochs = 2;
  auto run = RunFolder::create(folder.path() / "run", conversion).value();
  const torch::AutoGradMode training(true);
  const auto outcome = train(run, test::readSmallData(folder.path() / "data"), {});
  if (!outcome.ok()) std::cerr << outcome.error().message << "\n";
  EXPECT(outcome.ok());
  const auto model = exportRun(run, "last", folder.path() / "model.onnx");
  if (!model.ok()) std::cerr << model.error().message << "\n";
  EXPECT(model.ok() && model->model.stages.size() == 5U);

  // What cannot be converted is refused with its name.
  testing::OnnxBuilder bad({3, 8, 8}, 1);
  const std::string pooled = bad.op("MaxPool", {bad.input()}, {3, 4, 4});
  bad.finish(bad.gemm(bad.flatten(pooled), 3));
  EXPECT(writeFileAtomically(folder.path() / "bad.onnx", bad.bytes()).ok());
  const auto refused = importOnnx(folder.path() / "bad.onnx");
  EXPECT(!refused.ok() && refused.error().message.find("MaxPool") != std::string::npos);
}

// The same two networks in the ways in which PyTorch's exporters write them: the TorchScript-based
// one computes the sizes of a view, the dynamo-based one writes means for global poolings, others
// split layers. Weights are drawn in the same order, so all must compute the same.
class Exported {
 public:
  explicit Exported(const std::string& style) : m_style(style), m_b({3, 8, 8}, 5) {
    using testing::Window;
    std::string x = relu(m_b.conv(m_b.input(), 8, Window::square(3, 1, 1)));
    x = m_b.averagePool(x, Window::square(2, 2));
    x = relu(m_b.conv(x, 12, Window::square(1)));
    x = style.starts_with("global") ? pooled(x) : flattened(x);
    x = relu(layer(x, 6));
    x = m_b.gemm(x, 3);
    m_b.finish(x).clear_metadata_props();
    if (style == "flat, constants are nodes") constantsAsNodes();
    if (style == "flat, external data") {
      m_b.file().mutable_graph()->mutable_initializer(0)->set_data_location(
          onnx::TensorProto_DataLocation_EXTERNAL);
    }
  }
  std::string bytes() const { return m_b.bytes(); }

 private:
  std::string relu(const std::string& x) { return m_b.op("Relu", {x}, m_b.shape(x)); }

  std::string integers(std::vector<std::int64_t> dims, const std::vector<std::int64_t>& values) {
    onnx::TensorProto* tensor = m_b.file().mutable_graph()->add_initializer();
    tensor->set_name("integers" + std::to_string(++m_count));
    tensor->set_data_type(onnx::TensorProto_DataType_INT64);
    for (const auto d : dims) tensor->add_dims(d);
    tensor->set_raw_data(values.data(), values.size() * sizeof(std::int64_t));
    return tensor->name();
  }
  std::string list(const std::vector<std::int64_t>& values) {
    return integers({static_cast<std::int64_t>(values.size())}, values);
  }

  // One size of `x`, as x.size(i) is written.
  std::string size(const std::string& x, std::int64_t i) {
    const std::string shape = m_b.op("Shape", {x}, {4, 1, 1});
    return m_b.op("Gather", {shape, integers({}, {i})}, {1, 1, 1});
  }
  std::string joined(const std::vector<std::string>& parts) {
    const std::string sizes = m_b.op("Concat", parts, {2, 1, 1});
    m_b.setInt(m_b.node(sizes), "axis", 0);
    return sizes;
  }
  std::string vectorOf(const std::string& scalar) {
    return m_b.op("Unsqueeze", {scalar, list({0})}, {1, 1, 1});
  }
  std::string reshaped(const std::string& x, const std::string& sizes) {
    const auto features = static_cast<std::uint32_t>(m_b.shape(x).size());
    return m_b.op("Reshape", {x, sizes}, {features, 1, 1});
  }

  std::string flattened(const std::string& x) {
    const auto features = static_cast<std::int64_t>(m_b.shape(x).size());
    if (m_style == "flat, view(x.size(0), -1)") {
      return reshaped(x, joined({vectorOf(size(x, 0)), list({-1})}));
    }
    if (m_style == "flat, view(-1, x.size(1) * x.size(2) * x.size(3))") {
      std::string product = m_b.op("Mul", {size(x, 1), size(x, 2)}, {1, 1, 1});
      product = m_b.op("Mul", {product, size(x, 3)}, {1, 1, 1});
      return reshaped(x, joined({list({-1}), vectorOf(product)}));
    }
    if (m_style == "flat, shape[:1]") {
      const std::string shape = m_b.op("Shape", {x}, {4, 1, 1});
      const std::string batch =
          m_b.op("Slice", {shape, list({0}), list({1}), list({0}), list({1})}, {1, 1, 1});
      return reshaped(x, joined({batch, list({features})}));
    }
    if (m_style == "flat, Shape with an end") {
      const std::string batch = m_b.op("Shape", {x}, {1, 1, 1});
      m_b.setInt(m_b.node(batch), "start", 0);
      m_b.setInt(m_b.node(batch), "end", 1);
      const std::string whole = m_b.op("Cast", {batch}, {1, 1, 1});
      m_b.setInt(m_b.node(whole), "to", onnx::TensorProto_DataType_INT64);
      return reshaped(x, joined({whole, list({features})}));
    }
    if (m_style == "flat, constant sizes") {
      const std::string out = reshaped(x, list({-1, features}));
      m_b.setInt(m_b.node(out), "allowzero", 1);
      return out;
    }
    if (m_style == "flat, features first") {  // another network
      return reshaped(x, joined({list({features}), vectorOf(size(x, 0))}));
    }
    return m_b.flatten(x);
  }

  std::string pooled(const std::string& x) {
    const std::uint32_t channels = m_b.shape(x).channels;
    if (m_style == "global, mean with an attribute") {
      const std::string out = m_b.op("ReduceMean", {x}, {channels, 1, 1});
      m_b.setInts(m_b.node(out), "axes", {-1, -2});
      m_b.setInt(m_b.node(out), "keepdims", 0);
      return out;
    }
    if (m_style == "global, mean with an input") {
      const std::string out = m_b.op("ReduceMean", {x, list({2, 3})}, {channels, 1, 1});
      m_b.setInt(m_b.node(out), "keepdims", 1);
      m_b.setInt(m_b.node(out), "noop_with_empty_axes", 0);
      return reshaped(out, list({0, -1}));
    }
    if (m_style == "global, mean of one axis") {  // another network
      return m_b.op("ReduceMean", {x, list({3})}, {channels, 1, 1});
    }
    const std::string out = m_b.globalAveragePool(x);
    if (m_style == "global, squeezed") {
      return m_b.op("Squeeze", {out, list({2, 3})}, {channels, 1, 1});
    }
    return m_b.flatten(out);
  }

  // A fully connected layer.
  std::string layer(const std::string& x, std::uint32_t out) {
    const std::string whole = m_b.gemm(x, out);
    if (m_style == "global, dropout") return m_b.op("Dropout", {whole}, m_b.shape(whole));
    if (m_style != "flat, MatMul and Add") return whole;
    onnx::NodeProto* node = m_b.node(whole);
    const std::string bias = node->input(2);
    node->mutable_input()->RemoveLast();
    node->clear_attribute();
    node->set_op_type("MatMul");
    for (onnx::TensorProto& tensor : *m_b.file().mutable_graph()->mutable_initializer()) {
      if (tensor.name() != node->input(1)) continue;
      const auto rows = static_cast<std::size_t>(tensor.dims(0));
      const auto columns = static_cast<std::size_t>(tensor.dims(1));
      const std::string raw = tensor.raw_data();
      std::string turned(raw.size(), '\0');
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t c = 0; c < columns; ++c) {
          std::copy_n(raw.begin() + static_cast<std::ptrdiff_t>(4 * (r * columns + c)), 4,
                      turned.begin() + static_cast<std::ptrdiff_t>(4 * (c * rows + r)));
        }
      }
      tensor.set_raw_data(turned);
      tensor.set_dims(0, static_cast<std::int64_t>(columns));
      tensor.set_dims(1, static_cast<std::int64_t>(rows));
    }
    return m_b.op("Add", {bias, whole}, m_b.shape(whole));
  }

  void constantsAsNodes() {
    onnx::GraphProto* graph = m_b.file().mutable_graph();
    const onnx::GraphProto before = *graph;
    graph->clear_node();
    graph->clear_initializer();
    for (const onnx::TensorProto& tensor : before.initializer()) {
      onnx::NodeProto* node = graph->add_node();
      node->set_op_type("Constant");
      node->add_output(tensor.name());
      onnx::AttributeProto* value = node->add_attribute();
      value->set_name("value");
      value->set_type(onnx::AttributeProto_AttributeType_TENSOR);
      *value->mutable_t() = tensor;
    }
    for (const onnx::NodeProto& node : before.node()) *graph->add_node() = node;
  }

  std::string m_style;
  testing::OnnxBuilder m_b;
  int m_count = 0;
};

void importsEveryStyle() {
  TemporaryFolder folder;
  const auto file = folder.path() / "network.onnx";
  const torch::NoGradGuard guard;
  torch::manual_seed(3);
  const torch::Tensor images = syntheticImages(4, 8);
  const auto logits = [&](const std::string& style) -> Result<torch::Tensor> {
    EXPECT(writeFileAtomically(file, Exported(style).bytes()).ok());
    PILLARBOX_ASSIGN(const ImportedNetwork imported, importOnnx(file));
    TrainingConfig config;
    config.network = imported.architecture.name;
    config.architecture = toJson(imported.architecture);
    config.imageSize = 8;
    config.activation = ActivationKind::Relu;
    PILLARBOX_ASSIGN(Network network, makeNetwork(config, 3));
    loadImported(imported, network);
    network->eval();
    return network->forward(images, {}).logits;
  };
  for (const char* kind : {"flat", "global"}) {
    const auto expected = logits(kind);
    EXPECT(expected.ok());
    if (!expected.ok()) continue;
    EXPECT(expected->abs().max().item<double>() > 0.05);
    for (const char* way :
         {"flat, view(x.size(0), -1)", "flat, view(-1, x.size(1) * x.size(2) * x.size(3))",
          "flat, shape[:1]", "flat, Shape with an end", "flat, constant sizes",
          "flat, MatMul and Add", "flat, constants are nodes", "global, mean with an attribute",
          "global, mean with an input", "global, squeezed", "global, dropout"}) {
      if (!std::string(way).starts_with(kind)) continue;
      const auto got = logits(way);
      if (!got.ok()) std::cerr << way << ": " << got.error().message << "\n";
      EXPECT(got.ok());
      if (got.ok()) EXPECT((*got - *expected).abs().max().item<double>() < 1e-6);
    }
  }
  const auto refused = [&](const char* style, const char* word) {
    const auto got = logits(style);
    EXPECT(!got.ok());
    if (got.ok()) return;
    if (got.error().message.find(word) == std::string::npos)
      std::cerr << got.error().message << "\n";
    EXPECT(got.error().message.find(word) != std::string::npos);
  };
  refused("flat, features first", "Reshape");
  refused("flat, external data", "external_data=False");
  refused("global, mean of one axis", "height and width");
}

}  // namespace

int main() {
  at::set_num_threads(2);
  return pillarbox::test::run({{"published sizes", publishedSizes},
                               {"round trip of small networks", smallNetworks},
                               {"round trip with pooling before batch norm", poolingBeforeNorm},
                               {"round trip of bottlenecks", bottlenecks},
                               {"refusals", refuses},
                               {"networks from PyTorch", importsWhatPyTorchExports},
                               {"every style of PyTorch's exporters", importsEveryStyle},
                               {"fit plot and cache", fitPlotAndCache}});
}

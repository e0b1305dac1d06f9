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
  // What the report predicts is the same from the architecture and from the
  // file, and is what the protocol does.
  const auto cost = inferenceCost(model->model);
  EXPECT(toJson(cost) == toJson(inferenceCost((*network)->architecture(), 4)));
  EXPECT_EQUAL(cost.multiplyAdds, counts.multiplyAdds);
  const auto online = inference::onlineCost(model->model);
  const auto headers = [](std::uint64_t values) {
    return (values + inference::kChunkWords - 1) / inference::kChunkWords * net::kFrameHeaderBytes;
  };
  std::uint64_t toEngine = cost.bytesToEngine + headers(model->model.input.size());
  std::uint64_t toClient = cost.bytesToClient;
  for (const auto& stage : model->model.stages) {
    toClient += headers(stage.output.size());
    if (stage.activation) toEngine += headers(stage.output.size());
  }
  EXPECT_EQUAL(toEngine, online.bytesToEngine);
  EXPECT_EQUAL(toClient, online.bytesToClient);
  const auto dealt = offline::offlineCost(model->model);
  EXPECT_EQUAL(cost.offlineToClient, 8 * dealt.correctionWords);
  EXPECT_EQUAL(cost.offlineFromClient, 8 * dealt.clientWords);
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
    if (!(layer.values.largest < 8)) std::cerr << layer.name << " " << layer.values.largest << "\n";
    EXPECT(layer.values.largest < 8);
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

}  // namespace

int main() {
  at::set_num_threads(2);
  return pillarbox::test::run({{"published sizes", publishedSizes},
                               {"round trip of small networks", smallNetworks},
                               {"round trip with pooling before batch norm", poolingBeforeNorm},
                               {"round trip of bottlenecks", bottlenecks},
                               {"refusals", refuses},
                               {"networks from PyTorch", importsWhatPyTorchExports},
                               {"fit plot and cache", fitPlotAndCache}});
}

#include "models/training/export.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <span>
#include <utility>

#include "models/onnx_reader.h"
#include "models/training/config.h"
#include "models/training/model_report.h"
#include "models/training/trainer.h"

namespace pillarbox::training {
namespace {

using nlohmann::json;

std::vector<float> values(const torch::Tensor& tensor) {
  const float* data = tensor.data_ptr<float>();
  return {data, data + tensor.numel()};
}

json trainingFacts(const TrainingConfig& config, const DataFacts& data, const TrainingState& state,
                   const Network& network) {
  json facts = toJson(config);
  // Paths say where the data lay on one machine; file names are enough to know which data it was.
  for (auto& path : facts["data"]) {
    path = std::filesystem::path(path.get<std::string>()).filename().string();
  }
  facts["from"] = std::filesystem::path(config.from).filename().string();
  facts["teacher"] = std::filesystem::path(config.teacher).filename().string();
  for (const char* key :
       {"polynomial", "fraction_bits", "range", "threads", "device", "checkpoint_minutes",
        "precision_bits", "architecture", "mixed_precision"}) {
    facts.erase(key);
  }
  facts["epochs_done"] = state.epoch;
  facts["seconds"] = std::round(state.seconds);
  facts["train_images"] = data.trainImages;
  facts["test_images"] = data.testImages;
  if (state.evaluation.is_object()) {
    facts["test_accuracy"] = state.evaluation.value("accuracy", 0.0);
    facts["out_of_range_ratio"] = state.evaluation.value("out_of_range", 0.0);
    facts["lost_images"] = state.evaluation.value("lost_images", 0);
    facts["layers"] = state.evaluation.value("layers", json::array());
  }
  const auto counts = architectures::countsOf(network->architecture());
  facts["parameters"] = counts.parameters;
  facts["activations"] = counts.activations;
  facts["rounds"] = counts.rounds;
  return facts;
}

}  // namespace

Result<std::string> exportNetwork(const Network& network, const ModelFacts& facts) {
  if (network->kind() != ActivationKind::Polynomial) {
    return Error{ErrorCode::Unsupported,
                 "Only networks with polynomial activations can be exported; "
                 "this one uses ReLU."};
  }
  std::map<std::string, LayerWeights> weights;
  for (const auto& [name, folded] : network->foldBatchNorms()) {
    weights[name] = {values(folded.weight), values(folded.bias)};
  }
  ModelFacts own = facts;
  const auto polynomials = network->layerPolynomials();
  for (const auto& layer : polynomials) {
    own.layerPolynomials.push_back(layer.coefficients);
    own.range = std::max(own.range, layer.range);
  }
  return makeOnnx(network->architecture(), weights, own);
}

Result<models::LoadedModel> exportRun(const RunFolder& run, const std::string& checkpoint,
                                      const std::filesystem::path& out,
                                      const ReportOptions& report) {
  const TrainingConfig& config = run.config();
  PILLARBOX_ASSIGN(const DataFacts data, run.loadData());
  PILLARBOX_ASSIGN(Network network, makeNetwork(config, static_cast<int>(data.classes.size())));
  PILLARBOX_ASSIGN(Network average, makeNetwork(config, static_cast<int>(data.classes.size())));
  CheckpointParts parts{network, average, nullptr, {}};
  PILLARBOX_TRY(run.loadCheckpoint(checkpoint, parts));

  ModelFacts facts;
  facts.name = out.stem().string();
  facts.labels = data.classes;
  facts.mean = data.normalisation.mean;
  facts.std = data.normalisation.std;
  facts.precisionBits = config.precisionBits;
  facts.polynomial = config.polynomial;
  facts.fractionBits = config.fractionBits;
  facts.range = config.range;
  facts.training = trainingFacts(config, data, parts.state, average);
  const auto origin = out.string();
  PILLARBOX_ASSIGN(const std::string plain, exportNetwork(average, facts));
  FixedPointAccuracy fixed;
  {
    PILLARBOX_ASSIGN(const auto model, models::loadOnnx(std::as_bytes(std::span(plain)), origin));
    if (report.test && report.images > 0) {
      fixed = fixedPointAccuracy(model, *report.test, data.normalisation, report.images);
    }
    facts.training["report"] = modelReport(model, parts.state.evaluation, fixed);
  }
  PILLARBOX_ASSIGN(const std::string bytes, exportNetwork(average, facts));
  PILLARBOX_ASSIGN(auto loaded, models::loadOnnx(std::as_bytes(std::span(bytes)), origin));
  PILLARBOX_TRY(writeFileAtomically(out, bytes));
  return loaded;
}

torch::Tensor syntheticImages(std::int64_t count, std::int64_t side) {
  torch::Tensor images = 0.4 * torch::randn({count, 3, side, side});
  for (std::int64_t cells = 1; cells <= side / 4; cells *= 4) {
    images += 0.6 * torch::upsample_nearest2d(torch::randn({count, 3, cells, cells}), {side, side});
  }
  return images;
}

Result<Network> randomNetwork(const std::string& architecture, int classes, std::uint32_t imageSize,
                              std::uint64_t seed) {
  TrainingConfig config;
  config.network = architecture;
  config.imageSize = imageSize;
  torch::manual_seed(seed);
  PILLARBOX_ASSIGN(Network network, makeNetwork(config, classes));
  const torch::NoGradGuard guard;
  const std::int64_t side = imageSize;
  const std::int64_t batch = std::clamp<std::int64_t>(64 * 32 * 32 / (side * side), 8, 64);
  // Scales below one keep the tails of every activation's input well inside the range. What a block
  // adds to its shortcut is smaller still: up to eighteen of them add up.
  std::set<std::string> branchEnds;
  const auto& layers = network->architecture().layers;
  for (const auto& layer : layers) {
    if (layer.kind == architectures::LayerKind::Add) {
      branchEnds.insert(layers[static_cast<std::size_t>(layer.inputs.front() - 1)].name);
    }
  }
  for (const auto& child : network->named_children()) {
    if (auto* norm = child.value()->as<torch::nn::BatchNorm2d>()) {
      norm->weight.fill_(branchEnds.contains(child.key()) ? 0.15 : 0.5);
      // The cumulative mean over the batches that follow, instead of a moving average.
      norm->options.momentum(c10::nullopt);
    }
  }
  network->train();
  for (int i = 0; i < 3; ++i) network->forward(syntheticImages(batch, side), {.clip = true});
  // A channel that hardly varied would be blown up to the others' size, and with it whatever
  // differs in another image; in a deep network that snowballs.
  for (const auto& child : network->named_children()) {
    if (auto* norm = child.value()->as<torch::nn::BatchNorm2d>()) {
      norm->running_var.clamp_min_(norm->running_var.mean().item<float>());
    }
  }
  network->eval();
  return network;
}

ModelFacts randomFacts(const Network& network, std::uint64_t seed) {
  const TrainingConfig config;
  const auto& a = network->architecture();
  ModelFacts facts;
  facts.name = a.name + "-random";
  for (int i = 0; i < a.classes; ++i) facts.labels.push_back("class " + std::to_string(i));
  facts.mean = {0.5F, 0.5F, 0.5F};
  facts.std = {0.25F, 0.25F, 0.25F};
  facts.polynomial = config.polynomial;
  facts.fractionBits = config.fractionBits;
  facts.range = config.range;
  const auto counts = architectures::countsOf(a);
  facts.training = {{"network", a.name},
                    {"random_weights", seed},
                    {"parameters", counts.parameters},
                    {"activations", counts.activations},
                    {"rounds", counts.rounds}};
  return facts;
}

}  // namespace pillarbox::training

#include "models/training/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>
#include <thread>
#include <utility>

#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>

#include "models/training/onnx_import.h"

namespace pillarbox::training {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr int kMaxRecoveries = 4;

double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string now() {
  const std::time_t t = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&t, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

// JSON has no infinity.
json number(double value) {
  return std::isfinite(value) ? json(value) : json("infinite");
}

std::unique_ptr<torch::optim::SGD> makeOptimizer(const TrainingConfig& config, Network& network) {
  std::vector<torch::Tensor> weights, others;
  for (const auto& parameter : network->named_parameters()) {
    if (parameter.key().ends_with(".coefficients")) continue;
    (parameter.value().dim() > 1 ? weights : others).push_back(parameter.value());
  }
  std::vector<torch::Tensor> coefficients = network->coefficientParameters();
  const auto options = [&](double decay) {
    return torch::optim::SGDOptions(config.learningRate)
        .momentum(config.momentum)
        .nesterov(true)
        .weight_decay(decay);
  };
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(std::move(weights),
                      std::make_unique<torch::optim::SGDOptions>(options(config.weightDecay)));
  groups.emplace_back(std::move(others), std::make_unique<torch::optim::SGDOptions>(options(0)));
  if (!coefficients.empty()) {  // the third group, wherever there is one
    groups.emplace_back(std::move(coefficients),
                        std::make_unique<torch::optim::SGDOptions>(options(0)));
  }
  return std::make_unique<torch::optim::SGD>(std::move(groups), options(0));
}

// Parameters and buffers of a network in a fixed order.
std::vector<torch::Tensor> tensorsOf(const Network& network) {
  std::vector<torch::Tensor> result = network->parameters();
  for (const auto& buffer : network->buffers()) result.push_back(buffer);
  return result;
}

void updateAverage(const std::vector<torch::Tensor>& from, const std::vector<torch::Tensor>& to,
                   double decay) {
  const torch::NoGradGuard guard;
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (to[i].is_floating_point()) {
      to[i].lerp_(from[i], 1 - decay);
    } else {
      to[i].copy_(from[i]);
    }
  }
}

// Copies weights of one network into another of the same architecture, by name. What only one of
// them has (the coefficients of its activations) stays as it is.
Status copyWeights(const Network& from, const Network& to, const std::string& origin) {
  const torch::NoGradGuard guard;
  const auto copy = [&](const auto& sources, const auto& targets) -> Status {
    for (const auto& target : targets) {
      const torch::Tensor* source = sources.find(target.key());
      const bool own = target.key().ends_with(".coefficients") ||
                       target.key().ends_with(".means") || target.key().ends_with(".scale");
      if (source && source->sizes() == target.value().sizes()) {
        target.value().copy_(*source);
      } else if (!own) {
        return Error{ErrorCode::InvalidArgument, origin + " holds another network: it has no " +
                                                     target.key() + " of this size."};
      }
    }
    return {};
  };
  PILLARBOX_TRY(copy(from->named_parameters(), to->named_parameters()));
  return copy(from->named_buffers(), to->named_buffers());
}

std::string decimal(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

// The first layer that went wrong, and with what value, for people. `earlier` is what layers had
// seen in the steps before.
std::string explain(const std::vector<LayerStatistics>& layers,
                    const std::vector<LayerStatistics>& earlier, const Network& network,
                    double range) {
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const float largest = layers[i].values.largest();
    if (std::isfinite(largest) && largest <= kDivergence * range) continue;
    std::string text = "activation " + layers[i].name + " received ";
    if (std::isfinite(largest)) {
      text += "an input of " + decimal(largest) + ", far outside its range of +-" + decimal(range);
    } else {
      text += "an input that is not finite";
    }
    if (i > 0) {
      text += "; the largest input of " + layers[i - 1].name + ", before it, was " +
              decimal(layers[i - 1].values.largest());
    }
    if (earlier[i].values.count() > 0) {
      text += "; until then " + layers[i].name + " had seen inputs up to " +
              decimal(earlier[i].values.largest());
    }
    return text;
  }
  for (const auto& parameter : network->named_parameters()) {
    const torch::Tensor& gradient = parameter.value().grad();
    if (!gradient.defined()) continue;
    const double norm = gradient.norm().item<double>();
    if (!std::isfinite(norm)) {
      return "the activations' inputs were in range, but the gradient of " + parameter.key() +
             " is not finite";
    }
  }
  return "the activations' inputs and every gradient were finite, but the loss was not";
}

// The most extreme layer of an evaluation in which images were lost.
json explainLost(const Evaluation& evaluation, double range) {
  for (const auto& layer : evaluation.layers) {
    if (std::isfinite(layer.values.largest()) && layer.values.largest() <= kEscapeFactor * range) {
      continue;
    }
    return {{"layer", layer.name}, {"largest", number(layer.values.largest())}};
  }
  return {};
}

// While it lives, convolutions and products on a GPU run in bf16 (and keep
// float32's range).
class Autocast {
 public:
  explicit Autocast(bool on) : m_on(on) {
    if (!on) return;
    at::autocast::set_autocast_gpu_dtype(torch::kBFloat16);
    at::autocast::set_enabled(true);
  }
  ~Autocast() {
    if (!m_on) return;
    at::autocast::clear_cache();
    at::autocast::set_enabled(false);
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool m_on;
};

// Statistics that a process takes of its own part of a batch, if activations
// have any.
std::vector<torch::Tensor> ownStatistics(const Network& network) {
  std::vector<torch::Tensor> result;
  for (const auto& buffer : network->named_buffers()) {
    if (buffer.key().ends_with(".means") || buffer.key().ends_with(".scale")) {
      result.push_back(buffer.value());
    }
  }
  return result;
}

bool isOnnx(const std::string& path) {
  return std::filesystem::path(path).extension() == ".onnx";
}

// Data sets up to this size are kept on the GPU.
constexpr std::size_t kMostOnDevice = std::size_t{4} << 30;

// Where a path to a run or to one of its checkpoints leads.
std::pair<std::filesystem::path, std::string> runAndCheckpoint(const std::string& path) {
  const std::filesystem::path given(path);
  if (given.extension() == ".pt") return {given.parent_path(), given.stem().string()};
  std::error_code error;
  const bool best = std::filesystem::exists(given / "best.pt", error);
  return {given, best ? "best" : "last"};
}

/// Where the penalty's warm-up of four epochs is in this one. A short run passes it faster, so that
/// at least half of it has the full penalty: a network that never had it sends inputs far out of
/// range, and images are lost.
int warmupStep(int epoch, int epochs) {
  const int warmup = std::min(4, epochs / 2);
  return epoch < warmup ? epoch * 4 / warmup : 4;
}

}  // namespace

double Evaluation::outOfRangeRatio() const {
  pillar::ActivationStatistics total;
  for (const auto& layer : layers) total.add(layer.values);
  return total.count() == 0
             ? 0
             : static_cast<double>(total.outOfRange()) / static_cast<double>(total.count());
}

json toJson(const Evaluation& e) {
  json layers = json::array();
  for (const auto& layer : e.layers) {
    const auto count = static_cast<double>(std::max<std::int64_t>(1, layer.values.count()));
    layers.push_back({{"name", layer.name},
                      {"out_of_range", static_cast<double>(layer.values.outOfRange()) / count},
                      {"largest", number(layer.values.largest())},
                      {"histogram", layer.histogram}});
  }
  json perClass = json::array();
  for (std::size_t c = 0; c < e.confusion.size(); ++c) {
    std::uint64_t total = 0;
    for (const auto n : e.confusion[c]) total += n;
    perClass.push_back(
        total == 0 ? json()
                   : json(static_cast<double>(e.confusion[c][c]) / static_cast<double>(total)));
  }
  return {{"images", e.images},
          {"loss", number(e.loss)},
          {"accuracy", e.accuracy},
          {"top5", e.topFive},
          {"lost_images", e.lost},
          {"lost_ratio",
           e.images == 0 ? 0.0 : static_cast<double>(e.lost) / static_cast<double>(e.images)},
          {"out_of_range", e.outOfRangeRatio()},
          {"layers", layers},
          {"class_accuracy", perClass},
          {"confusion", e.confusion}};
}

double escapeBound(const Network& network) {
  return network->kind() == ActivationKind::Relu ? std::numeric_limits<double>::infinity()
                                                 : kEscapeFactor * network->activation().range;
}

Evaluation evaluate(Network network, const data::ImageSet& images,
                    const data::Normalisation& normalisation, bool clip,
                    const std::atomic<bool>* stop) {
  const torch::NoGradGuard guard;
  const bool wasTraining = network->is_training();
  network->eval();
  const torch::Device device = network->parameters().front().device();
  const auto classes = static_cast<std::size_t>(network->architecture().classes);
  const double escape = escapeBound(network);
  // Large images in small batches: a layer's values of one batch stay below 64 MB or so.
  const std::size_t batch =
      std::clamp<std::size_t>(250 * 32 * 32 / (images.size * images.size), 4, 250);
  Evaluation result;
  result.layers = network->emptyStatistics();
  result.confusion.assign(classes, std::vector<std::uint32_t>(classes, 0));
  std::uint64_t correct = 0, inTopFive = 0;
  double loss = 0;
  std::size_t seen = 0;
  for (std::size_t first = 0; first < images.count() && !(stop && stop->load()); first += batch) {
    const std::size_t n = std::min(batch, images.count() - first);
    seen += n;
    const data::Batch part = data::gather(images, first, n, normalisation);
    std::vector<float> largest;
    ForwardOptions options;
    options.clip = clip;
    options.statistics = &result.layers;
    options.largestPerImage = &largest;
    const torch::Tensor logits =
        network->forward(part.images.to(device), options).logits.to(torch::kCPU).contiguous();
    const torch::Tensor losses = torch::nn::functional::cross_entropy(
        logits, part.labels,
        torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kSum));
    loss += losses.item<double>();
    const auto scores = logits.accessor<float, 2>();
    const auto labels = part.labels.accessor<std::int64_t, 1>();
    for (std::size_t i = 0; i < n; ++i) {
      const auto row = scores[static_cast<std::int64_t>(i)];
      const std::int64_t label = labels[static_cast<std::int64_t>(i)];
      bool finite = true;
      std::size_t answer = 0;
      std::size_t better = 0;
      for (std::size_t c = 0; c < classes; ++c) {
        const float score = row[static_cast<std::int64_t>(c)];
        finite = finite && std::isfinite(score);
        if (score > row[static_cast<std::int64_t>(answer)]) answer = c;
        if (static_cast<std::int64_t>(c) != label && !(score < row[label])) ++better;
      }
      if (!finite || !(largest[i] <= escape)) ++result.lost;
      if (!finite) continue;  // neither right nor in the confusion matrix
      ++result.confusion[static_cast<std::size_t>(label)][answer];
      if (static_cast<std::int64_t>(answer) == label) ++correct;
      if (better < 5) ++inTopFive;
    }
  }
  result.images = seen;
  const double count = std::max<double>(1, static_cast<double>(seen));
  result.loss = loss / count;
  result.accuracy = static_cast<double>(correct) / count;
  result.topFive = static_cast<double>(inTopFive) / count;
  network->train(wasTraining);
  return result;
}

Result<torch::Device> chooseDevice(const std::string& setting) {
  const bool wanted = setting.starts_with("cuda");
  const bool cuda = setting != "cpu" && torch::cuda::is_available();
  const bool numbered = setting.starts_with("cuda:");
  const int number = numbered ? std::stoi(setting.substr(5)) : 0;
  if (wanted && (!cuda || number >= static_cast<int>(torch::cuda::device_count()))) {
    return Error{ErrorCode::Unsupported,
                 cuda ? "This machine has " + std::to_string(torch::cuda::device_count()) +
                            " CUDA devices; " + setting + " is not one of them."
                      : "This machine, or its LibTorch, has no CUDA device; use --device cpu."};
  }
  if (!cuda) return torch::Device(torch::kCPU);
  // Started by torchrun or the like, with several processes on this machine:
  // each takes its own.
  if (const char* local = std::getenv("LOCAL_RANK"); local && *local && !numbered) {
    const int own = std::atoi(local) % static_cast<int>(torch::cuda::device_count());
    return torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(std::max(0, own)));
  }
  return numbered ? torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(number))
                  : torch::Device(torch::kCUDA);
}

void prepareLibTorch(const TrainingConfig& config) {
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  at::set_num_threads(config.threads > 0 ? config.threads : static_cast<int>(cores));
  torch::manual_seed(config.seed);
}

Result<architectures::Architecture> architectureOf(const TrainingConfig& config, int classes) {
  if (config.architecture.is_null()) {
    return architectures::makeArchitecture(config.network, classes, config.imageSize);
  }
  PILLARBOX_ASSIGN(auto architecture, architectureFromJson(config.architecture));
  architecture.classes = classes;
  architecture.layers.back().outputs = classes;
  return architecture;
}

Result<Network> makeNetwork(const TrainingConfig& config, int classes) {
  PILLARBOX_ASSIGN(auto architecture, architectureOf(config, classes));
  return Network(std::move(architecture), config.activationSettings(), config.activation,
                 config.layerOptions());
}

Result<TrainedNetwork> loadTrained(const std::string& path) {
  const auto [folder, checkpoint] = runAndCheckpoint(path);
  PILLARBOX_ASSIGN(const RunFolder run, RunFolder::open(folder));
  TrainedNetwork result;
  PILLARBOX_ASSIGN(result.facts, run.loadData());
  const int classes = static_cast<int>(result.facts.classes.size());
  PILLARBOX_ASSIGN(Network network, makeNetwork(run.config(), classes));
  PILLARBOX_ASSIGN(result.network, makeNetwork(run.config(), classes));
  CheckpointParts parts{network, result.network, nullptr, {}};
  PILLARBOX_TRY(run.loadCheckpoint(checkpoint, parts));
  result.network->eval();
  return result;
}

Result<TrainOutcome> train(RunFolder& run, const data::Dataset& dataset,
                           const TrainCallbacks& callbacks, Group* group) {
  const TrainingConfig& config = run.config();
  prepareLibTorch(config);
  PILLARBOX_ASSIGN(const torch::Device device, chooseDevice(config.device));
  const bool leads = !group || group->leads();
  const auto parties = static_cast<std::size_t>(group ? group->size() : 1);
  PILLARBOX_ASSIGN(const std::size_t batch, batchFor(config, dataset.train.count(), parties));

  // A resumed run keeps the normalisation it began with.
  DataFacts facts;
  if (!leads) {
    facts = dataFactsFromJson(json::parse(group->broadcast(std::string())));
    if (facts.classes != dataset.classes || facts.trainImages != dataset.train.count()) {
      return Error{ErrorCode::InvalidArgument, "The data is not that of the leading process."};
    }
  } else if (auto stored = run.loadData(); stored.ok()) {
    facts = std::move(stored).value();
    if (facts.classes != dataset.classes) {
      return Error{ErrorCode::InvalidArgument,
                   "The data has other classes than when this run began."};
    }
    if (facts.trainImages != dataset.train.count() || facts.testImages != dataset.test.count()) {
      return Error{ErrorCode::InvalidArgument,
                   "The data has another number of images than when this run began."};
    }
  } else {
    facts = {dataset.classes, data::normalisationOf(dataset.train), dataset.train.count(),
             dataset.test.count()};
    // Weights expect the inputs that they were trained on.
    if (isOnnx(config.from)) {
      PILLARBOX_ASSIGN(const ImportedNetwork imported, importOnnx(config.from));
      if (imported.mean.size() == 3 && imported.std.size() == 3) {
        std::copy(imported.mean.begin(), imported.mean.end(), facts.normalisation.mean.begin());
        std::copy(imported.std.begin(), imported.std.end(), facts.normalisation.std.begin());
      }
    }
    for (const std::string& other : {config.from, config.teacher}) {
      if (other.empty() || isOnnx(other)) continue;
      PILLARBOX_ASSIGN(const TrainedNetwork trained, loadTrained(other));
      if (trained.facts.classes != facts.classes) {
        return Error{ErrorCode::InvalidArgument, other + " was trained on other classes."};
      }
      facts.normalisation = trained.facts.normalisation;
      break;
    }
    PILLARBOX_TRY(run.saveData(facts, dataset.skipped));
  }
  if (group && leads) group->broadcast(toJson(facts).dump());

  PILLARBOX_ASSIGN(Network network, makeNetwork(config, static_cast<int>(facts.classes.size())));
  PILLARBOX_ASSIGN(Network average, makeNetwork(config, static_cast<int>(facts.classes.size())));
  network->to(device);
  average->to(device);
  if (device.is_cuda()) {
    network->useChannelsLast();
    average->useChannelsLast();
  }
  const auto from = tensorsOf(network);
  const auto to = tensorsOf(average);
  updateAverage(from, to, 0);
  auto optimizer = makeOptimizer(config, network);
  CheckpointParts parts{network, average, optimizer.get(), {}};
  TrainingState& state = parts.state;

  const auto emit = [&](json event) -> Status {
    if (!leads) return {};
    event["time"] = now();
    if (callbacks.event) callbacks.event(event);
    return run.log(event);
  };
  const auto save = [&](const char* name) -> Status {
    if (!leads) return {};
    PILLARBOX_TRY(run.saveCheckpoint(name, parts));
    if (callbacks.event) {
      callbacks.event({{"event", "checkpoint"},
                       {"name", name},
                       {"epoch", state.epoch},
                       {"step", state.stepInEpoch}});
    }
    return {};
  };
  // Whether the leader has this checkpoint; and it, for all.
  const auto exists = [&](const char* name) {
    const bool here = leads && run.hasCheckpoint(name);
    return group ? !group->broadcast(std::string(here ? "yes" : "")).empty() : here;
  };
  const auto restore = [&](const char* name) -> Status {
    if (!group) return run.loadCheckpoint(name, parts);
    std::string bytes;
    if (leads) {
      PILLARBOX_ASSIGN(bytes, run.readCheckpoint(name));
    }
    return RunFolder::parseCheckpoint(group->broadcast(bytes), name, parts);
  };
  const auto stopping = [&] { return callbacks.stop && callbacks.stop->load(); };
  const auto position = [&](const char* event) -> json {
    return {{"event", event}, {"epoch", state.epoch}, {"step", state.stepInEpoch}};
  };
  const auto steps = static_cast<std::int64_t>(dataset.train.count() / batch);

  if (exists("last")) {
    PILLARBOX_TRY(restore("last"));
    json event = position("resume");
    event["epochs"] = config.epochs;
    event["steps_per_epoch"] = steps;
    event["range"] = config.range;
    PILLARBOX_TRY(emit(std::move(event)));
  } else {
    const auto someImages = [&] {
      const std::size_t count = std::min<std::size_t>(dataset.train.count(), 256);
      std::vector<std::uint32_t> some = data::shuffledOrder(dataset.train.count(), config.seed, -1);
      some.resize(count);
      return data::gatherAugmented(dataset.train, some, facts.normalisation, {0, false}, 0, 0)
          .images.to(device);
    };
    if (leads && isOnnx(config.from)) {
      PILLARBOX_ASSIGN(const ImportedNetwork imported, importOnnx(config.from));
      loadImported(imported, network);
      calibrate(network, someImages());
    } else if (leads && !config.from.empty()) {
      PILLARBOX_ASSIGN(const TrainedNetwork start, loadTrained(config.from));
      PILLARBOX_TRY(copyWeights(start.network, network, config.from));
    }
    if (leads && config.tuneCoefficients && config.activation == ActivationKind::Polynomial) {
      network->tuneCoefficients(someImages());
    }
    if (group) group->broadcast(from);
    updateAverage(from, to, 0);
    const auto counts = architectures::countsOf(network->architecture());
    PILLARBOX_TRY(save("last"));
    PILLARBOX_TRY(emit({{"event", "start"},
                        {"epochs", config.epochs},
                        {"steps_per_epoch", steps},
                        {"range", config.range},
                        {"network", config.network},
                        {"parameters", counts.parameters},
                        {"activations", counts.activations},
                        {"multiply_adds", counts.multiplyAdds},
                        {"rounds", counts.rounds},
                        {"train_images", facts.trainImages},
                        {"test_images", facts.testImages},
                        {"skipped_files", dataset.skipped.size()},
                        {"mean", facts.normalisation.mean},
                        {"std", facts.normalisation.std},
                        {"device", device.str()},
                        {"processes", parties},
                        {"threads", at::get_num_threads()}}));
  }

  const double totalSteps = static_cast<double>(steps) * config.epochs;
  auto lastCheckpoint = Clock::now();
  auto lastProgress = Clock::time_point{};
  auto mark = Clock::now();  // time up to here is in state.seconds
  double rate = 0;           // images a second, smoothed
  int recoveries = 0;
  std::vector<LayerStatistics> seen = network->emptyStatistics();
  std::vector<LayerStatistics> inEpoch = network->emptyStatistics();

  Network teacher{nullptr};
  torch::Tensor teacherScale, teacherShift;  // from the student's normalisation to the teacher's
  if (!config.teacher.empty()) {
    PILLARBOX_ASSIGN(const TrainedNetwork trained, loadTrained(config.teacher));
    if (trained.facts.classes != facts.classes ||
        trained.network->architecture().input != network->architecture().input) {
      return Error{ErrorCode::InvalidArgument,
                   config.teacher + " cannot teach: it knows other classes or image sizes."};
    }
    teacher = trained.network;
    teacher->to(device);
    const auto tensor = [&](const std::array<float, 3>& v) {
      return torch::tensor(std::vector<float>(v.begin(), v.end())).view({1, 3, 1, 1}).to(device);
    };
    const auto& mine = facts.normalisation;
    const auto& its = trained.facts.normalisation;
    if (mine.mean != its.mean || mine.std != its.std) {
      teacherScale = tensor(mine.std) / tensor(its.std);
      teacherShift = (tensor(mine.mean) - tensor(its.mean)) / tensor(its.std);
    }
  }
  ObjectiveOptions goal;
  goal.labelSmoothing = config.labelSmoothing;
  goal.temperature = config.teacherTemperature;
  goal.teacherWeight = config.teacherWeight;
  if (config.classWeights) {
    goal.classWeights = balancedWeights(dataset.train.labels, facts.classes.size()).to(device);
  }
  const bool onDevice = device.is_cuda() && dataset.train.pixels.size() <= kMostOnDevice;
  const auto resident = onDevice ? data::toDevice(dataset.train, device) : data::DeviceImages{};
  const std::size_t share = batch / parties;  // of every batch, this process'
  const std::size_t mine = share * static_cast<std::size_t>(group ? group->rank() : 0);
  const auto shared = group ? ownStatistics(network) : std::vector<torch::Tensor>{};
  while (state.epoch < config.epochs) {
    const auto order = data::shuffledOrder(dataset.train.count(), config.seed, state.epoch);
    const auto strength =
        config.penaltyWarmup
            ? pillar::penaltyAt(warmupStep(state.epoch, config.epochs), config.penalty)
            : config.penalty;
    const bool penalised =
        config.activation == ActivationKind::Polynomial && strength.coefficient > 0;
    bool diverged = false;
    const int layers = network->activationLayers();
    const int replaced =
        config.progressiveEpochs == 0
            ? layers
            : std::min(layers, (layers * (state.epoch + 1) + config.progressiveEpochs - 1) /
                                   config.progressiveEpochs);
    network->replaceLayers(replaced);
    average->replaceLayers(replaced);
    // In turns: coefficients in even epochs, counted from 0, weights in odd ones.
    const bool coefficientsRest = config.alternate && state.epoch % 2 == 1;
    const bool weightsRest = config.alternate && state.epoch % 2 == 0;
    if (state.stepInEpoch == 0) inEpoch = network->emptyStatistics();
    network->train();
    while (state.stepInEpoch < steps) {
      const std::int64_t step = state.epoch * steps + state.stepInEpoch;
      const double learningRate = learningRateAt(config, step, steps) * state.rateScale;
      auto& groups = optimizer->param_groups();
      for (std::size_t g = 0; g < groups.size(); ++g) {
        static_cast<torch::optim::SGDOptions&>(groups[g].options())
            .lr(g == 2 ? learningRate * config.coefficientRate : learningRate);
      }
      const std::span<const std::uint32_t> indices(
          order.data() + static_cast<std::size_t>(state.stepInEpoch) * batch + mine, share);
      data::Batch part = onDevice
                             ? data::gatherAugmented(resident, indices, facts.normalisation,
                                                     config.augmentation, config.seed, state.epoch)
                             : data::gatherAugmented(dataset.train, indices, facts.normalisation,
                                                     config.augmentation, config.seed, state.epoch);
      if (device.is_cuda()) {
        part.images = part.images.to(device).contiguous(torch::MemoryFormat::ChannelsLast);
      }
      const MixedBatch mixed = mix(part.images, part.labels.to(device), config.mixing, config.seed,
                                   state.epoch, state.stepInEpoch);
      torch::Tensor wanted;
      const bool narrow = device.is_cuda() && config.mixedPrecision;
      if (teacher) {
        const torch::NoGradGuard guard;
        const Autocast cast(narrow);
        const torch::Tensor images =
            teacherScale.defined() ? mixed.images * teacherScale + teacherShift : mixed.images;
        wanted = teacher->forward(images, {}).logits;
      }

      for (auto& layer : seen) layer.values = {};
      ForwardOptions options;
      options.clip = true;
      options.penaltyExponent = penalised ? strength.exponent : 0;
      options.statistics = &seen;
      options.dynamicScale = state.epoch < config.scaleEpochs;
      options.group = group;
      optimizer->zero_grad();
      const auto out = [&] {
        const Autocast cast(narrow);
        return network->forward(mixed.images, options);
      }();
      // A mean over the whole batch, of which this is a part; the penalty is a
      // sum.
      const torch::Tensor loss =
          objective(out.logits, mixed, wanted, goal) / static_cast<double>(parties);
      const torch::Tensor penalty = out.penalty * strength.coefficient;
      (loss + penalty).backward();
      if (group) group->sumGradients(network->parameters());
      if (config.alternate) {  // without a gradient the optimiser leaves a parameter alone
        for (auto& group : groups) {
          const bool rests = &group == &groups.back() ? coefficientsRest : weightsRest;
          for (auto& parameter : group.params()) {
            if (rests) parameter.mutable_grad().reset();
          }
        }
      }
      const double limit = config.gradientClip > 0 ? config.gradientClip : 1e30;
      const double norm = torch::nn::utils::clip_grad_norm_(network->parameters(), limit);
      bool escaped = false;
      for (const auto& layer : seen) {
        escaped = escaped || !(layer.values.largest() <= kDivergence * config.range);
      }
      // What all processes saw, and whether any is asked to stop.
      torch::Tensor counts =
          torch::tensor({loss.item<double>(), penalty.item<double>(),
                         out.logits.argmax(1).eq(mixed.labels).sum().item<double>(),
                         escaped ? 1.0 : 0.0, stopping() ? 1.0 : 0.0},
                        torch::kDouble);
      if (group) group->sum(counts);
      const double* all = counts.data_ptr<double>();
      const double lossValue = all[0];
      escaped = all[3] > 0;
      const bool voted = all[4] > 0;
      const auto stopNow = [&] { return group ? voted : stopping(); };
      if (!std::isfinite(norm) || !std::isfinite(lossValue) ||
          (escaped && config.activation == ActivationKind::Polynomial)) {
        diverged = true;
        break;
      }
      for (std::size_t i = 0; i < seen.size(); ++i) inEpoch[i].values.add(seen[i].values);
      optimizer->step();
      if (!shared.empty()) group->broadcast(shared);
      updateAverage(from, to,
                    std::min(config.averageDecay, (1.0 + static_cast<double>(step)) /
                                                      (10.0 + static_cast<double>(step))));

      state.lossSum += lossValue * static_cast<double>(batch);
      state.penaltySum += all[1] * static_cast<double>(batch);
      state.correct += static_cast<std::uint64_t>(all[2]);
      state.seen += batch;
      ++state.stepInEpoch;

      const double took = secondsSince(mark);
      mark = Clock::now();
      state.seconds += took;
      const double speed = static_cast<double>(batch) / std::max(took, 1e-6);
      rate = rate == 0 ? speed : 0.98 * rate + 0.02 * speed;
      if (leads && callbacks.progress && secondsSince(lastProgress) > 0.5) {
        lastProgress = mark;
        const double images = static_cast<double>(state.seen);
        const double left = totalSteps - static_cast<double>(step + 1);
        callbacks.progress({state.epoch + 1, config.epochs, 1 - left / totalSteps,
                            state.lossSum / images, static_cast<double>(state.correct) / images,
                            rate, left * static_cast<double>(batch) / rate});
      }
      // The others wait for a pausing leader's next batch.
      const auto paused = [&] { return leads && callbacks.pause && callbacks.pause->load(); };
      const bool leaving = stopNow();
      const bool pausing = !leaving && paused();
      if (leaving || pausing || secondsSince(lastCheckpoint) > 60 * config.checkpointMinutes) {
        PILLARBOX_TRY(save("last"));
        lastCheckpoint = Clock::now();
      }
      if (pausing) {
        PILLARBOX_TRY(emit(position("paused")));
        while (paused() && !stopping()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
        // In a group, stopping takes one more batch: the others must hear of
        // it.
        if (group || !stopping()) PILLARBOX_TRY(emit(position("continued")));
        mark = Clock::now();
      }
      if (leaving || (pausing && stopNow())) {
        PILLARBOX_TRY(emit(position("stopped")));
        return TrainOutcome::Stopped;
      }
    }

    if (diverged) {
      const std::string why = explain(seen, inEpoch, network, config.range);
      if (++recoveries > kMaxRecoveries) {
        return Error{ErrorCode::Exhausted,
                     "Training diverged in epoch " + std::to_string(state.epoch + 1) + ": " + why +
                         ". Going back to the last checkpoint did not help; try a lower "
                         "--learning-rate or a higher --penalty-coefficient."};
      }
      const double scale = state.rateScale / 2;
      const int epoch = state.epoch + 1;
      // A checkpoint from which training diverged twice may carry the cause: go further back.
      const bool back = recoveries > 2 && exists("best");
      PILLARBOX_TRY(restore(back ? "best" : "last"));
      state.rateScale = scale;
      PILLARBOX_TRY(emit({{"event", "recovery"},
                          {"epoch", epoch},
                          {"reason", why},
                          {"rate_scale", scale},
                          {"resumed_epoch", state.epoch + 1},
                          {"resumed_step", state.stepInEpoch}}));
      mark = Clock::now();
      continue;
    }

    const Evaluation evaluation =
        leads ? evaluate(average, dataset.test, facts.normalisation, false, callbacks.stop)
              : Evaluation{};
    bool cutShort = evaluation.images < dataset.test.count();
    if (group) cutShort = !group->broadcast(std::string(cutShort ? "cut short" : "")).empty();
    if (cutShort) {  // the evaluation is made up for at resumption
      PILLARBOX_TRY(save("last"));
      PILLARBOX_TRY(emit(position("stopped")));
      return TrainOutcome::Stopped;
    }
    state.seconds += secondsSince(mark);
    mark = Clock::now();
    const double images = static_cast<double>(std::max<std::uint64_t>(1, state.seen));
    json training = json::array();
    for (const auto& layer : inEpoch) {
      const auto count = static_cast<double>(std::max<std::int64_t>(1, layer.values.count()));
      training.push_back({{"name", layer.name},
                          {"out_of_range", static_cast<double>(layer.values.outOfRange()) / count},
                          {"largest", number(layer.values.largest())}});
    }
    ++state.epoch;
    json event = {{"event", "epoch"},
                  {"epoch", state.epoch},
                  {"loss", state.lossSum / images},
                  {"penalty", state.penaltySum / images},
                  {"accuracy", static_cast<double>(state.correct) / images},
                  {"images_per_second", rate},
                  {"seconds", state.seconds},
                  {"layers", training},
                  {"polynomial_layers", replaced},
                  {"test", toJson(evaluation)}};
    if (evaluation.lost > 0) event["escape"] = explainLost(evaluation, config.range);
    if (const auto own = network->layerPolynomials(); !own.empty()) {
      json list = json::array();
      for (const auto& layer : average->layerPolynomials()) {
        list.push_back({{"coefficients", layer.coefficients}, {"range", layer.range}});
      }
      event["polynomials"] = list;
    }
    state.evaluation = toJson(evaluation);
    state.stepInEpoch = 0;
    state.lossSum = state.penaltySum = 0;
    state.correct = state.seen = 0;
    recoveries = 0;
    // A network with ReLUs left in it is not what will be used.
    const bool best = evaluation.accuracy > state.bestAccuracy && replaced == layers;
    if (best) state.bestAccuracy = evaluation.accuracy;
    PILLARBOX_TRY(save("last"));
    if (best) PILLARBOX_TRY(save("best"));
    lastCheckpoint = Clock::now();
    PILLARBOX_TRY(emit(event));
    if (state.epoch == callbacks.stopAfterEpoch && state.epoch < config.epochs) {
      PILLARBOX_TRY(emit(position("stopped")));
      return TrainOutcome::Stopped;
    }
  }
  PILLARBOX_TRY(emit({{"event", "finished"},
                      {"epochs", state.epoch},
                      {"seconds", state.seconds},
                      {"accuracy", state.evaluation.value("accuracy", 0.0)}}));
  return TrainOutcome::Finished;
}

}  // namespace pillarbox::training

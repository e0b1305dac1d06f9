// Each option that narrows the distance to ReLU does what it says, and what it trains is a model
// that the engine's reader accepts and evaluates to the same logits.
#include <cmath>
#include <span>

#include "models/onnx_reader.h"
#include "models/oracle.h"
#include "models/pillar/activation_layer.h"
#include "models/training/export.h"
#include "models/training/trainer.h"
#include "tests/training/expect.h"
#include "tests/training/small_data.h"

namespace {

using namespace pillarbox;
using namespace pillarbox::training;
using nlohmann::json;
using pillarbox::test::readSmallData;
using pillarbox::test::smallConfig;
using pillarbox::test::TemporaryFolder;
using pillarbox::test::writeSmallData;

bool near(double a, double b, double tolerance) {
  return std::abs(a - b) <= tolerance * std::max(1.0, std::abs(b));
}

// The fused pass against LibTorch's differentiation of a composition of tensor operations.
void coefficientGradients() {
  torch::manual_seed(1);
  for (const int degree : {2, 3, 4, 6, 8}) {
    const torch::Tensor start = torch::randn({40, 33}) * 3;
    const torch::Tensor dy = torch::randn_like(start);
    pillar::ActivationSettings settings;
    settings.range = 2;
    settings.penaltyExponent = 4;
    torch::Tensor c = torch::randn({degree + 1}, torch::kDouble) * 0.3;
    torch::Tensor results[2][3];
    for (const bool fused : {false, true}) {
      torch::Tensor x = start.clone().requires_grad_();
      torch::Tensor k = c.clone().requires_grad_();
      torch::Tensor y;
      if (fused) {
        y = pillar::polyRelu(x, k, settings).value;
      } else {
        const torch::Tensor v = torch::clamp(x.to(torch::kDouble), -2, 2);
        y = torch::zeros_like(v);
        for (int j = 0; j <= degree; ++j) y = y + k[j] * torch::pow(v, j);
      }
      (y * dy).sum().backward();
      results[fused][0] = y.detach().to(torch::kDouble);
      results[fused][1] = x.grad().to(torch::kDouble);
      results[fused][2] = k.grad();
    }
    for (int i = 0; i < 3; ++i) {
      const double scale = results[0][i].abs().max().item<double>();
      EXPECT((results[0][i] - results[1][i]).abs().max().item<double>() < 1e-5 * scale);
    }
  }
}

void powerMeansAndSlopes() {
  torch::manual_seed(2);
  const torch::Tensor start = torch::randn({7, 211}) * 2;
  const torch::Tensor weights = torch::randn({5}, torch::kDouble);
  torch::Tensor results[2][2];
  for (const bool fused : {false, true}) {
    torch::Tensor x = start.clone().requires_grad_();
    torch::Tensor means;
    if (fused) {
      means = pillar::powerMeans(x, 3, 5);
    } else {
      const torch::Tensor v = torch::clamp(x.to(torch::kDouble), -3, 3);
      std::vector<torch::Tensor> list;
      for (int j = 0; j < 5; ++j) list.push_back(torch::pow(v, j).mean());
      means = torch::stack(list);
    }
    (means * weights).sum().backward();
    results[fused][0] = means.detach();
    results[fused][1] = x.grad().to(torch::kDouble);
  }
  EXPECT(torch::allclose(results[0][0], results[1][0], 1e-5, 1e-6));
  EXPECT(torch::allclose(results[0][1], results[1][1], 1e-4, 1e-8));
}

double meanSquare(const torch::Tensor& x, const std::vector<double>& c) {
  const torch::Tensor v = x.to(torch::kDouble);
  torch::Tensor y = torch::zeros_like(v);
  for (std::size_t j = 0; j < c.size(); ++j) {
    y = y + c[j] * torch::pow(v, static_cast<double>(j));
  }
  return (y - v.clamp_min(0)).pow(2).mean().item<double>();
}

void tuningFollowsTheInputs() {
  torch::manual_seed(3);
  const torch::Tensor narrow = torch::randn({20000}) * 0.7 + 0.4;
  const auto tuned = pillar::fitToInputs(narrow, 4, 5);
  const std::vector<double> uniform{322 / 1024.0, 0.5, 160 / 1024.0, 0, -3 / 1024.0};
  EXPECT(meanSquare(narrow, tuned) < 0.5 * meanSquare(narrow, uniform));
  // Still ReLU-like where there were no values.
  const torch::Tensor wide = torch::linspace(-5, 5, 1001);
  EXPECT(meanSquare(wide, tuned) < 0.2);
  // Uniform inputs give the uniform fit.
  const auto flat = pillar::fitToInputs(wide, 4, 5);
  for (std::size_t j = 0; j < 5; ++j) EXPECT(near(flat[j], uniform[j], 0.03));
}

void termsAreNormalisedSeparately() {
  torch::manual_seed(4);
  pillar::ActivationSettings settings;
  settings.coefficients = {0.2, 0.5, 0.2};
  settings.penaltyExponent = 0;
  settings.range = 100;  // nothing is clipped
  pillar::LayerOptions options;
  options.trainable = options.normalised = true;
  options.fractionBits = 20;
  pillar::PolyLayer layer(settings, options);
  const torch::Tensor x = torch::randn({8, 4, 25, 25}) * 1.7 + 0.6;  // not what h_2 is made for
  for (const int term : {1, 2}) {
    const torch::NoGradGuard guard;
    layer->weights().fill_(0);
    layer->weights()[term] = 1;
    const torch::Tensor y = layer->forward(x, settings, nullptr, false).value;
    EXPECT(near(y.mean().item<double>(), 0, 1e-3));
    EXPECT(near(y.var().item<double>(), 1, 2e-3));
  }
  // Inference uses running statistics: one fixed polynomial, the one that is exported.
  for (int i = 0; i < 60; ++i) layer->forward(x, settings, nullptr, false);
  layer->eval();
  settings.clip = false;
  const torch::Tensor y = layer->forward(x, settings, nullptr, false).value;
  const auto k = layer->integers();
  const torch::Tensor expected = (static_cast<double>(k[0]) + static_cast<double>(k[1]) * x +
                                  static_cast<double>(k[2]) * x * x) *
                                 std::ldexp(1.0, -20);
  EXPECT(torch::allclose(y, expected, 1e-4, 1e-4));
  EXPECT(near(y.var().item<double>(), 1, 0.02));
  // The gradient flows through the statistics: scaling x changes nothing about h_1.
  layer->train();
  torch::Tensor free = x.clone().requires_grad_();
  {
    const torch::NoGradGuard guard;
    layer->weights().fill_(0);
    layer->weights()[1] = 1;
  }
  settings.clip = true;
  layer->forward(free, settings, nullptr, false).value.pow(4).sum().backward();
  EXPECT(std::abs((free.grad() * free).sum().item<double>()) <
         1e-2 * (free.grad() * free).abs().sum().item<double>());
}

void scalingIsDynamicThenStatic() {
  pillar::ActivationSettings settings;
  settings.penaltyExponent = 0;
  pillar::LayerOptions options;
  options.scaled = true;
  options.fractionBits = 20;
  pillar::PolyLayer layer(settings, options);
  const torch::Tensor x = torch::linspace(-15, 15, 1001);  // three times the range
  pillar::ActivationStatistics seen;
  const torch::Tensor y = layer->forward(x, settings, &seen, true).value;
  EXPECT_EQUAL(seen.outOfRange(), 0);
  EXPECT((y - x.clamp_min(0)).abs().max().item<double>() < 3 * 0.35);  // 3 p(x / 3)
  EXPECT(near(layer->scale(), 0.9 + 0.1 * 3, 1e-6));
  for (int i = 0; i < 200; ++i) layer->forward(x, settings, nullptr, true);
  EXPECT(near(layer->scale(), 3, 1e-6));
  // Static: the batch no longer matters, in training or in inference.
  layer->forward(x * 7, settings, nullptr, false);
  EXPECT(near(layer->scale(), 3, 1e-6));
  const auto k = layer->integers();
  const double unit = std::ldexp(1.0, 20);
  EXPECT(near(static_cast<double>(k[0]) / unit, 3 * 322 / 1024.0, 1e-5));
  EXPECT(near(static_cast<double>(k[4]) / unit, -3 / 1024.0 / 27, 1e-5));
}

void mixedBatches() {
  torch::manual_seed(5);
  const torch::Tensor images = torch::rand({6, 3, 16, 16});
  const torch::Tensor labels = torch::arange(6, torch::kLong);
  const auto same = mix(images, labels, {}, 1, 0, 0);
  EXPECT(torch::equal(same.images, images) && same.share == 1);
  bool cutSeen = false, blendSeen = false;
  for (int step = 0; step < 40; ++step) {
    const auto mixed = mix(images, labels, {1.0, 1.0}, 9, 2, step);
    const auto again = mix(images, labels, {1.0, 1.0}, 9, 2, step);
    EXPECT(torch::equal(mixed.images, again.images) && mixed.share == again.share);
    EXPECT(torch::equal(mixed.partner, labels.flip(0)));
    const torch::Tensor own = (mixed.images == images).to(torch::kFloat);
    const torch::Tensor other = (mixed.images == images.flip(0)).to(torch::kFloat);
    if (torch::equal(own + other, torch::ones_like(own))) {  // every pixel is one or the other's
      cutSeen = true;
      EXPECT(near(own.mean().item<double>(), mixed.share, 1e-6));
    } else {
      blendSeen = true;
      EXPECT(
          torch::allclose(mixed.images, images * mixed.share + images.flip(0) * (1 - mixed.share)));
    }
  }
  EXPECT(cutSeen && blendSeen);
}

void losses() {
  torch::manual_seed(6);
  const torch::Tensor logits = torch::randn({4, 3});
  const torch::Tensor labels = torch::tensor({0, 2, 1, 2}, torch::kLong);
  const torch::Tensor logs = torch::log_softmax(logits, 1);
  MixedBatch batch{{}, labels, labels.flip(0), 0.3};
  double expected = 0;
  for (int i = 0; i < 4; ++i) {
    expected -= (0.3 * logs[i][labels[i].item<std::int64_t>()].item<double>() +
                 0.7 * logs[i][labels[3 - i].item<std::int64_t>()].item<double>()) /
                4;
  }
  EXPECT(near(objective(logits, batch, {}, {}).item<double>(), expected, 1e-5));
  // A student that answers as its teacher does has nothing to learn from it.
  ObjectiveOptions options;
  options.teacherWeight = 1;
  EXPECT(near(objective(logits, batch, logits + 2.5, options).item<double>(), 0, 1e-5));
  // KL by hand, at a temperature of 2 and a weight of 0.4.
  options.teacherWeight = 0.4;
  options.temperature = 2;
  const torch::Tensor teacher = torch::randn({4, 3});
  const torch::Tensor p = torch::softmax(teacher / 2, 1), q = torch::softmax(logits / 2, 1);
  const double divergence = (p * (p / q).log()).sum().item<double>() / 4;
  EXPECT(near(objective(logits, batch, teacher, options).item<double>(),
              0.6 * expected + 0.4 * 4 * divergence, 1e-4));
  // Nine images of one class, three of another: each class counts the same as a whole.
  std::vector<std::uint16_t> unequal(12, 0);
  unequal[3] = unequal[5] = unequal[7] = 1;
  const torch::Tensor weights = balancedWeights(unequal, 2);
  EXPECT(near(weights[0].item<double>() * 9, 6, 1e-5) &&
         near(weights[1].item<double>() * 3, 6, 1e-5));
}

struct Trained {
  RunFolder run;
  std::vector<json> epochs;
};

Trained trainRun(const std::filesystem::path& folder, const TrainingConfig& config,
                 const data::Dataset& dataset, int stopAfter = 0) {
  auto run = RunFolder::create(folder, config);
  if (!run.ok()) throw std::runtime_error(run.error().message);
  Trained result{std::move(run).value(), {}};
  TrainCallbacks callbacks;
  callbacks.stopAfterEpoch = stopAfter;
  callbacks.event = [&](const json& event) {
    if (event["event"] == "epoch") result.epochs.push_back(event);
  };
  const auto outcome = train(result.run, dataset, callbacks);
  if (!outcome.ok()) throw std::runtime_error(outcome.error().message);
  return result;
}

// The trained network, written, read by the engine's reader and evaluated by the oracle.
void exportsFaithfully(const RunFolder& run, const std::filesystem::path& file) {
  const auto model = exportRun(run, "last", file);
  if (!model.ok()) std::cerr << model.error().message << "\n";
  EXPECT(model.ok());
  if (!model.ok()) return;
  auto trained = loadTrained((run.path() / "last.pt").string()).value();
  const torch::NoGradGuard guard;
  torch::manual_seed(8);
  const torch::Tensor images = torch::randn({3, 3, 8, 8});
  const torch::Tensor logits = trained.network->forward(images, {}).logits;
  const models::FixedPointOracle oracle(model->model, model->weights, model->range);
  for (int i = 0; i < 3; ++i) {
    const torch::Tensor image = images[i].contiguous();
    const std::span<const float> pixels(image.data_ptr<float>(),
                                        static_cast<std::size_t>(image.numel()));
    const auto exact = models::evaluateFloat(model->graph, pixels);
    const auto fixed = oracle.evaluate(pixels).logits;
    for (int c = 0; c < 3; ++c) {
      const double expected = logits[i][c].item<double>();
      EXPECT(near(exact[static_cast<std::size_t>(c)], expected, 2e-3));
      EXPECT(near(std::ldexp(static_cast<double>(fixed[static_cast<std::size_t>(c)]),
                             -static_cast<int>(model->model.outputBits)),
                  expected, 0.1));
    }
  }
}

void presetsTrainAndExport() {
  TemporaryFolder folder;
  writeSmallData(folder.path() / "data");
  const auto dataset = readSmallData(folder.path() / "data");
  auto config = smallConfig(folder.path() / "data");
  config.activation = ActivationKind::Relu;
  const auto relu = trainRun(folder.path() / "relu", config, dataset);
  EXPECT(relu.epochs.back()["test"]["accuracy"].get<double>() > 0.9);

  for (const auto& preset : presetList()) {
    auto own = smallConfig(folder.path() / "data");
    EXPECT(applyPreset(own, preset.name).ok());
    own.epochs = 3;
    own.progressiveEpochs = std::min(own.progressiveEpochs, 2);
    own.warmupEpochs = 1;
    if (own.tuneCoefficients) own.from = (folder.path() / "relu").string();
    own.teacher = (folder.path() / "relu").string();
    const auto result = trainRun(folder.path() / preset.name, own, dataset);
    const double accuracy = result.epochs.back()["test"]["accuracy"].get<double>();
    if (accuracy < 0.8) std::cerr << preset.name << " reached " << accuracy << "\n";
    EXPECT(accuracy > 0.8);
    if (own.trainableCoefficients) {
      const json& polynomials = result.epochs.back()["polynomials"];
      EXPECT_EQUAL(polynomials.size(), 6U);
      EXPECT(polynomials[0]["coefficients"] != polynomials[5]["coefficients"]);
      EXPECT(polynomials != result.epochs.front()["polynomials"]);
    }
    exportsFaithfully(result.run, folder.path() / (preset.name + ".onnx"));
  }
  TrainingConfig unknown;
  EXPECT(applyPreset(unknown, "nothing").error().message.find("quadratic") != std::string::npos);
}

/// Learned coefficients of high powers would throw the network away; fixed ones may have them.
void highDegreesAreNotLearned() {
  TrainingConfig config = smallConfig("data");
  EXPECT(applyPreset(config, "trainable").ok());
  EXPECT(validate(config).ok());
  config.polynomial = {224160, 524288, 241735, 0, -11799, 0, 245};
  config.fractionBits = 20;
  const Status refused = validate(config);
  EXPECT(!refused.ok());
  EXPECT(refused.error().message.find("--fixed-coefficients") != std::string::npos);
  config.trainableCoefficients = false;
  EXPECT(validate(config).ok());
}

void replacedOneAfterAnother() {
  TemporaryFolder folder;
  writeSmallData(folder.path() / "data");
  const auto dataset = readSmallData(folder.path() / "data");
  auto config = smallConfig(folder.path() / "data");
  config.progressiveEpochs = 3;
  const auto result = trainRun(folder.path() / "run", config, dataset);
  const int expected[] = {2, 4, 6, 6};
  for (std::size_t e = 0; e < 4; ++e) {
    EXPECT_EQUAL(result.epochs[e]["polynomial_layers"].get<int>(), expected[e]);
  }
  // None replaced is the ReLU network; all replaced is the polynomial one.
  torch::manual_seed(1);
  auto mixed = makeNetwork(config, 3).value();
  config.activation = ActivationKind::Relu;
  torch::manual_seed(1);
  auto relu = makeNetwork(config, 3).value();
  const torch::Tensor images = torch::randn({4, 3, 8, 8});
  mixed->eval();
  relu->eval();
  const torch::Tensor all = mixed->forward(images, {}).logits;
  mixed->replaceLayers(0);
  const torch::Tensor none = mixed->forward(images, {}).logits;
  EXPECT(torch::equal(none, relu->forward(images, {}).logits));
  mixed->replaceLayers(3);
  const torch::Tensor some = mixed->forward(images, {}).logits;
  EXPECT(!torch::equal(some, none) && !torch::equal(some, all));
}

std::pair<std::vector<torch::Tensor>, std::vector<torch::Tensor>> weightsAndCoefficients(
    const RunFolder& run) {
  auto network = makeNetwork(run.config(), 3).value();
  auto average = makeNetwork(run.config(), 3).value();
  CheckpointParts parts{network, average, nullptr, {}};
  EXPECT(run.loadCheckpoint("last", parts).ok());
  std::vector<torch::Tensor> weights;
  for (const auto& p : network->named_parameters()) {
    if (!p.key().ends_with(".coefficients")) weights.push_back(p.value());
  }
  return {weights, network->coefficientParameters()};
}

bool allEqual(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  bool equal = a.size() == b.size();
  for (std::size_t i = 0; equal && i < a.size(); ++i) equal = torch::equal(a[i], b[i]);
  return equal;
}

void trainedInTurns() {
  TemporaryFolder folder;
  writeSmallData(folder.path() / "data");
  const auto dataset = readSmallData(folder.path() / "data");
  auto config = smallConfig(folder.path() / "data");
  EXPECT(applyPreset(config, "trainable").ok());
  config.alternate = true;
  config.epochs = 3;
  torch::manual_seed(config.seed);
  const auto fresh = makeNetwork(config, 3).value();
  auto one = trainRun(folder.path() / "run", config, dataset, 1);
  const auto [weights1, coefficients1] = weightsAndCoefficients(one.run);
  EXPECT_EQUAL(coefficients1.size(), 6U);
  EXPECT(!allEqual(coefficients1, fresh->coefficientParameters()));
  std::vector<torch::Tensor> drawn;
  for (const auto& p : fresh->named_parameters()) {
    if (!p.key().ends_with(".coefficients")) drawn.push_back(p.value());
  }
  EXPECT(allEqual(weights1, drawn));
  TrainCallbacks callbacks;
  callbacks.stopAfterEpoch = 2;
  EXPECT(train(one.run, dataset, callbacks).ok());
  const auto [weights2, coefficients2] = weightsAndCoefficients(one.run);
  EXPECT(allEqual(coefficients1, coefficients2));
  EXPECT(!allEqual(weights1, weights2));
}

void escapesAreExplained() {
  TemporaryFolder folder;
  writeSmallData(folder.path() / "data");
  const auto dataset = readSmallData(folder.path() / "data");
  auto config = smallConfig(folder.path() / "data");
  config.learningRate = 10;  // nothing survives this
  config.warmupEpochs = 0;
  config.gradientClip = 0;
  config.penalty.coefficient = 1;
  auto run = RunFolder::create(folder.path() / "run", config).value();
  std::string reason;
  TrainCallbacks callbacks;
  callbacks.event = [&](const json& event) {
    if (event["event"] == "recovery" && reason.empty()) reason = event["reason"];
  };
  const auto outcome = train(run, dataset, callbacks);
  EXPECT(!reason.empty());
  EXPECT(reason.find("act") != std::string::npos || reason.find("gradient of") != reason.npos);
  if (!outcome.ok()) EXPECT(outcome.error().message.find("--learning-rate") != std::string::npos);
}

}  // namespace

int main() {
  at::set_num_threads(1);
  return pillarbox::test::run({{"gradients of coefficients", coefficientGradients},
                               {"means of powers and their slopes", powerMeansAndSlopes},
                               {"tuning follows the inputs", tuningFollowsTheInputs},
                               {"terms are normalised separately", termsAreNormalisedSeparately},
                               {"scaling is dynamic, then static", scalingIsDynamicThenStatic},
                               {"mixup and cutmix", mixedBatches},
                               {"losses", losses},
                               {"presets train and export", presetsTrainAndExport},
                               {"high degrees are not learned", highDegreesAreNotLearned},
                               {"layers are replaced in order", replacedOneAfterAnother},
                               {"coefficients and weights in turns", trainedInTurns},
                               {"escapes are explained", escapesAreExplained}});
}

#include "models/training/config.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

namespace pillarbox::training {

using nlohmann::json;

pillar::ActivationSettings TrainingConfig::activationSettings() const {
  pillar::ActivationSettings settings;
  settings.coefficients.clear();
  for (const std::int64_t c : polynomial) {
    settings.coefficients.push_back(std::ldexp(static_cast<double>(c), -fractionBits));
  }
  settings.range = range;
  settings.penaltyRange = penaltyRange;
  settings.penaltyExponent = penalty.exponent;
  return settings;
}

pillar::LayerOptions TrainingConfig::layerOptions() const {
  pillar::LayerOptions options;
  options.trainable = trainableCoefficients;
  options.normalised = normalisedTerms;
  options.scaled = scaleEpochs > 0;
  options.tuned = tuneCoefficients;
  options.fractionBits = fractionBits;
  return options;
}

const std::vector<PresetInfo>& presetList() {
  static const std::vector<PresetInfo> list{
      {"pillar", "the paper's recipe: one fixed polynomial of degree 4"},
      {"trainable", "every layer learns its own coefficients, at 16 bits"},
      {"quadratic", "degree 2: terms normalised separately, learned, at 16 bits"},
      {"smartpaf",
       "conversion of a trained ReLU network (--from): fitted to each layer's "
       "inputs, replaced "
       "layer "
       "by layer, coefficients and weights in turns, scaled inputs"},
      {"convert",
       "short conversion of a trained ReLU network (--from): fitted "
       "to each layer's inputs, "
       "learned "
       "coefficients, all layers at once"},
      {"precise", "degree 6 at 20 bits (fitted unless --polynomial is given)"}};
  return list;
}

Status applyPreset(TrainingConfig& c, const std::string& name) {
  if (name == "pillar") return {};
  if (name == "trainable" || name == "smartpaf" || name == "convert") {
    c.trainableCoefficients = true;
    c.polynomial = {20608, 32768, 10240, 0, -192};  // the same polynomial, at 16 bits
    c.fractionBits = 16;
    if (name == "trainable") return {};
    c.tuneCoefficients = true;
    c.learningRate = 0.02;
    c.epochs = 10;
    c.warmupEpochs = 1;
    if (name == "convert") return {};
    c.progressiveEpochs = 4;
    c.alternate = true;
    c.scaleEpochs = 6;
    c.epochs = 12;
  } else if (name == "quadratic") {
    c.trainableCoefficients = true;
    c.normalisedTerms = true;
    c.polynomial = {13073, 32768, 13073};  // what the terms come to at first
    c.fractionBits = 16;
  } else if (name == "precise") {
    c.polynomial = {224160, 524288, 241735, 0, -11799, 0, 245};  // fit-poly --degree 6 --bits 20
    c.fractionBits = 20;
  } else {
    std::string names;
    for (const auto& preset : presetList()) names += (names.empty() ? "" : ", ") + preset.name;
    return Error{ErrorCode::NotFound,
                 "There is no preset \"" + name + "\"; known are " + names + "."};
  }
  return {};
}

Result<std::size_t> batchFor(const TrainingConfig& config, std::size_t images,
                             std::size_t processes) {
  auto batch = static_cast<std::size_t>(config.batch);
  if (batch == 0) {
    batch =
        std::min({std::size_t{128}, std::max(std::bit_floor(images / 8), std::size_t{8}), images});
    batch = std::max(batch / processes, std::size_t{2}) * processes;
  }
  if (batch % processes != 0 || batch < 2 * processes) {
    return Error{ErrorCode::InvalidArgument,
                 "A batch of " + std::to_string(batch) + " images cannot be shared by " +
                     std::to_string(processes) +
                     " processes; use a multiple of their number, two images each at least "
                     "(--batch)."};
  }
  if (images < batch) {
    return Error{ErrorCode::InvalidArgument,
                 "There are only " + std::to_string(images) + " training images, fewer than the " +
                     std::to_string(batch) +
                     " of a batch; add images or use a smaller batch (--batch)."};
  }
  return batch;
}

json toJson(const TrainingConfig& c) {
  return {{"data", c.data},
          {"network", c.network},
          {"architecture", c.architecture},
          {"activation", c.activation == ActivationKind::Relu ? "relu" : "polynomial"},
          {"image_size", c.imageSize},
          {"epochs", c.epochs},
          {"batch", c.batch},
          {"learning_rate", c.learningRate},
          {"momentum", c.momentum},
          {"weight_decay", c.weightDecay},
          {"warmup_epochs", c.warmupEpochs},
          {"label_smoothing", c.labelSmoothing},
          {"gradient_clip", c.gradientClip},
          {"average_decay", c.averageDecay},
          {"crop_padding", c.augmentation.cropPadding},
          {"flip", c.augmentation.flip},
          {"polynomial", c.polynomial},
          {"fraction_bits", c.fractionBits},
          {"range", c.range},
          {"penalty_range", c.penaltyRange},
          {"penalty_exponent", c.penalty.exponent},
          {"penalty_coefficient", c.penalty.coefficient},
          {"penalty_warmup", c.penaltyWarmup},
          {"from", c.from},
          {"teacher", c.teacher},
          {"teacher_weight", c.teacherWeight},
          {"teacher_temperature", c.teacherTemperature},
          {"mixup", c.mixing.mixup},
          {"cutmix", c.mixing.cutmix},
          {"class_weights", c.classWeights},
          {"trainable_coefficients", c.trainableCoefficients},
          {"coefficient_rate", c.coefficientRate},
          {"tune_coefficients", c.tuneCoefficients},
          {"normalised_terms", c.normalisedTerms},
          {"scale_epochs", c.scaleEpochs},
          {"progressive_epochs", c.progressiveEpochs},
          {"alternate", c.alternate},
          {"seed", c.seed},
          {"threads", c.threads},
          {"device", c.device},
          {"mixed_precision", c.mixedPrecision},
          {"checkpoint_minutes", c.checkpointMinutes},
          {"precision_bits", c.precisionBits}};
}

Result<TrainingConfig> configFromJson(const json& j) {
  TrainingConfig c;
  const json known = toJson(c);
  if (!j.is_object()) return Error{ErrorCode::Format, "The configuration is not a JSON object."};
  for (const auto& [key, value] : j.items()) {
    if (!known.contains(key)) {
      return Error{ErrorCode::Format, "The configuration has an unknown key \"" + key + "\"."};
    }
  }
  try {
    std::string activation;
    const auto get = [&](const char* key, auto& value) { j.at(key).get_to(value); };
    get("data", c.data);
    get("network", c.network);
    get("activation", activation);
    get("image_size", c.imageSize);
    get("epochs", c.epochs);
    get("batch", c.batch);
    get("learning_rate", c.learningRate);
    get("momentum", c.momentum);
    get("weight_decay", c.weightDecay);
    get("warmup_epochs", c.warmupEpochs);
    get("label_smoothing", c.labelSmoothing);
    get("gradient_clip", c.gradientClip);
    get("average_decay", c.averageDecay);
    get("crop_padding", c.augmentation.cropPadding);
    get("flip", c.augmentation.flip);
    get("polynomial", c.polynomial);
    get("fraction_bits", c.fractionBits);
    get("range", c.range);
    get("penalty_range", c.penaltyRange);
    get("penalty_exponent", c.penalty.exponent);
    get("penalty_coefficient", c.penalty.coefficient);
    get("penalty_warmup", c.penaltyWarmup);
    get("from", c.from);
    // Not in the runs of earlier versions, which had none of it.
    const auto getNew = [&](const char* key, auto& value) {
      if (j.contains(key)) j.at(key).get_to(value);
    };
    if (j.contains("architecture")) c.architecture = j.at("architecture");
    getNew("mixed_precision", c.mixedPrecision);
    getNew("teacher", c.teacher);
    getNew("teacher_weight", c.teacherWeight);
    getNew("teacher_temperature", c.teacherTemperature);
    getNew("mixup", c.mixing.mixup);
    getNew("cutmix", c.mixing.cutmix);
    getNew("class_weights", c.classWeights);
    getNew("trainable_coefficients", c.trainableCoefficients);
    getNew("coefficient_rate", c.coefficientRate);
    getNew("tune_coefficients", c.tuneCoefficients);
    getNew("normalised_terms", c.normalisedTerms);
    getNew("scale_epochs", c.scaleEpochs);
    getNew("progressive_epochs", c.progressiveEpochs);
    getNew("alternate", c.alternate);
    get("seed", c.seed);
    get("threads", c.threads);
    get("device", c.device);
    get("checkpoint_minutes", c.checkpointMinutes);
    get("precision_bits", c.precisionBits);
    if (activation != "relu" && activation != "polynomial") {
      return Error{ErrorCode::Format, "The activation \"" + activation + "\" is not known."};
    }
    c.activation = activation == "relu" ? ActivationKind::Relu : ActivationKind::Polynomial;
  } catch (const json::exception& e) {
    return Error{ErrorCode::Format, std::string("The configuration is damaged: ") + e.what() + "."};
  }
  PILLARBOX_TRY(validate(c));
  return c;
}

Status validate(const TrainingConfig& c) {
  const auto check = [](bool good, const char* rule) -> Status {
    if (good) return {};
    return Error{ErrorCode::InvalidArgument, std::string("Invalid setting: ") + rule + "."};
  };
  PILLARBOX_TRY(check(c.epochs >= 1 && c.epochs <= 100000, "epochs must be 1 to 100000"));
  PILLARBOX_TRY(
      check(c.batch == 0 || (c.batch >= 2 && c.batch <= 65536), "batch must be 2 to 65536, or 0"));
  PILLARBOX_TRY(check(c.learningRate > 0 && c.learningRate <= 10,
                      "the learning rate must be above 0 and at most 10"));
  PILLARBOX_TRY(check(c.momentum > 0 && c.momentum < 1, "momentum must be between 0 and 1"));
  PILLARBOX_TRY(check(c.weightDecay >= 0 && c.weightDecay < 1, "weight decay must be 0 to 1"));
  PILLARBOX_TRY(check(c.warmupEpochs >= 0, "warm-up epochs must not be negative"));
  PILLARBOX_TRY(check(c.labelSmoothing >= 0 && c.labelSmoothing < 1,
                      "label smoothing must be at least 0 and below 1"));
  PILLARBOX_TRY(check(c.gradientClip >= 0, "the gradient limit must not be negative"));
  PILLARBOX_TRY(check(c.averageDecay >= 0 && c.averageDecay < 1,
                      "the average's decay must be at least 0 and below 1"));
  PILLARBOX_TRY(check(
      c.augmentation.cropPadding >= 0 && c.augmentation.cropPadding < static_cast<int>(c.imageSize),
      "the crop padding must be smaller than the image"));
  PILLARBOX_TRY(check(c.polynomial.size() >= 3 && c.polynomial.size() <= 9,
                      "the polynomial needs 3 to 9 coefficients (degree 2 to 8)"));
  PILLARBOX_TRY(check(c.fractionBits >= 0 && c.fractionBits <= 24,
                      "the coefficients' fraction bits must be 0 to 24"));
  PILLARBOX_TRY(check(c.range > 0 && c.range <= 64, "the range must be above 0 and at most 64"));
  PILLARBOX_TRY(check(c.penaltyRange > 0 && c.penaltyRange <= c.range,
                      "the penalty's range must be above 0 and at most the range"));
  PILLARBOX_TRY(
      check(c.penalty.exponent >= 2 && c.penalty.exponent <= 16 && c.penalty.exponent % 2 == 0,
            "the penalty's exponent must be even, 2 to 16"));
  PILLARBOX_TRY(check(c.penalty.coefficient >= 0 && std::isfinite(c.penalty.coefficient),
                      "the penalty's coefficient must not be negative"));
  PILLARBOX_TRY(
      check(c.teacherWeight >= 0 && c.teacherWeight <= 1, "the teacher's weight must be 0 to 1"));
  PILLARBOX_TRY(check(c.teacherTemperature > 0 && c.teacherTemperature <= 100,
                      "the teacher's temperature must be above 0 and at most 100"));
  PILLARBOX_TRY(check(c.mixing.mixup >= 0 && c.mixing.mixup <= 100 && c.mixing.cutmix >= 0 &&
                          c.mixing.cutmix <= 100,
                      "mixup and cutmix must be 0 to 100"));
  PILLARBOX_TRY(check(c.coefficientRate >= 0 && c.coefficientRate <= 10,
                      "the coefficients' learning rate must be 0 to 10 times "
                      "that of the weights"));
  PILLARBOX_TRY(check(c.scaleEpochs >= 0 && c.progressiveEpochs >= 0,
                      "epochs of scaling and of replacement must not be negative"));
  PILLARBOX_TRY(check(c.progressiveEpochs < c.epochs,
                      "replacing activations must end before the last epoch"));
  PILLARBOX_TRY(check(
      !c.normalisedTerms || (c.polynomial.size() <= 5 && c.scaleEpochs == 0 && !c.tuneCoefficients),
      "separately normalised terms need degree 2 to 4, and neither scaling nor "
      "tuning"));
  // At the end of the range, 5, the gradient of x^6's coefficient is 5^5 = 3125 times that of x's.
  // A step of the same size for all threw a network away within 27 batches (docs/accuracy.md).
  PILLARBOX_TRY(check(!c.trainableCoefficients || c.polynomial.size() <= 5,
                      "coefficients can be learned up to degree 4 only; with "
                      "--fixed-coefficients they may have a higher degree, and "
                      "--tune-coefficients still fits them to each layer's inputs"));
  PILLARBOX_TRY(check(!c.alternate || c.trainableCoefficients,
                      "training in turns needs trainable coefficients"));
  PILLARBOX_TRY(check(c.threads >= 0 && c.threads <= 1024, "threads must be 0 to 1024"));
  const bool numbered = c.device.starts_with("cuda:") && c.device.size() > 5 &&
                        c.device.size() < 9 &&
                        c.device.find_first_not_of("0123456789", 5) == std::string::npos;
  PILLARBOX_TRY(check(c.device == "auto" || c.device == "cpu" || c.device == "cuda" || numbered,
                      "the device must be auto, cpu, cuda or cuda:N"));
  PILLARBOX_TRY(check(c.checkpointMinutes > 0, "the minutes between checkpoints must be above 0"));
  PILLARBOX_TRY(
      check(c.precisionBits >= 4 && c.precisionBits <= 24, "precision bits must be 4 to 24"));
  return {};
}

double learningRateAt(const TrainingConfig& c, std::int64_t step, std::int64_t stepsPerEpoch) {
  const double warmup = static_cast<double>(std::min(c.warmupEpochs, c.epochs) * stepsPerEpoch);
  const double total = static_cast<double>(c.epochs * stepsPerEpoch);
  const auto at = static_cast<double>(step);
  if (at < warmup) return c.learningRate * (0.01 + 0.99 * at / warmup);
  const double progress = (at - warmup) / std::max(1.0, total - warmup);
  return c.learningRate * 0.5 * (1 + std::cos(std::numbers::pi * progress));
}

}  // namespace pillarbox::training

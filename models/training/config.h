// The settings of a training run, as kept in its folder (config.json).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/core/result.h"
#include "models/data/image_set.h"
#include "models/pillar/activation_layer.h"
#include "models/pillar/poly_relu.h"
#include "models/training/network.h"
#include "models/training/objective.h"

namespace pillarbox::training {

struct TrainingConfig {
  std::vector<std::string> data;  ///< absolute paths, see models/data/readers.h
  std::string network = "pillar7";
  nlohmann::json architecture;  ///< of the network "imported" (toJson(Architecture)); else null
  ActivationKind activation = ActivationKind::Polynomial;
  std::uint32_t imageSize = 32;

  int epochs = 30;
  int batch = 0;               ///< images a step; 0: see batchFor()
  double learningRate = 0.06;  ///< the peak
  double momentum = 0.9;       ///< Nesterov's
  double weightDecay = 5e-4;   ///< of weights; not of biases and batch norms
  int warmupEpochs = 2;        ///< the rate rises linearly from a hundredth, then falls as a cosine
  double labelSmoothing = 0.05;
  double gradientClip = 2.0;    ///< largest norm of the gradient; 0 for no limit
  double averageDecay = 0.998;  ///< of the moving average of the weights
  data::Augmentation augmentation;

  std::vector<std::int64_t> polynomial{322, 512, 160, 0, -3};  ///< over 2^fractionBits
  int fractionBits = 10;
  double range = 5.0;
  double penaltyRange = 4.8;
  pillar::PenaltyStrength penalty;
  bool penaltyWarmup = true;  ///< weaker in the first four epochs
  std::string from;           ///< run, checkpoint or ONNX file with the first weights, or empty

  // Closing the gap to ReLU: see models/pillar/activation_layer.h, objective.h and trainer.h.
  std::string teacher;         ///< run or checkpoint to imitate, or empty
  double teacherWeight = 0.7;  ///< of imitation in the loss; the rest is the labels'
  double teacherTemperature = 4;
  MixingOptions mixing;
  bool classWeights = false;  ///< every class as a whole counts the same
  bool trainableCoefficients = false;
  double coefficientRate = 0.1;   ///< their learning rate over that of the weights
  bool tuneCoefficients = false;  ///< start from a fit to each layer's inputs
  bool normalisedTerms = false;
  int scaleEpochs = 0;        ///< inputs of activations are scaled, dynamically in so many epochs
  int progressiveEpochs = 0;  ///< ReLUs are replaced one by one, all of them after so many epochs
  bool alternate = false;     ///< coefficients and weights train in turns, an epoch each

  std::uint64_t seed = 1;
  int threads = 0;               ///< 0: one a core
  std::string device = "auto";   ///< auto, cpu, cuda or cuda:N
  bool mixedPrecision = true;    ///< on a GPU: convolutions and products in bf16
  double checkpointMinutes = 3;  ///< a checkpoint at least this often, and after every epoch
  int precisionBits = 12;        ///< f of the exported model

  pillar::ActivationSettings activationSettings() const;
  pillar::LayerOptions layerOptions() const;
};

nlohmann::json toJson(const TrainingConfig& config);

/// Reads what toJson wrote. Errors: Format (a key is missing, unknown or of the wrong type).
Result<TrainingConfig> configFromJson(const nlohmann::json& json);

/// The images of a step: those that the configuration names, otherwise 128, or so few of a small
/// set that an epoch has eight steps, but eight images at least where there are as many. A multiple
/// of `processes`, which share every batch. Errors: InvalidArgument where the processes cannot
/// share the batch, or there are fewer images.
Result<std::size_t> batchFor(const TrainingConfig& config, std::size_t images,
                             std::size_t processes);

/// Sets the settings of a preset, leaving the others. Names and what they are for: presetList().
/// Errors: NotFound, naming all.
Status applyPreset(TrainingConfig& config, const std::string& name);
struct PresetInfo {
  std::string name, summary;
};
const std::vector<PresetInfo>& presetList();

/// Checks every number. Errors: InvalidArgument, naming the setting and its limits.
Status validate(const TrainingConfig& config);

/// The learning rate of a step (counted from 0).
double learningRateAt(const TrainingConfig& config, std::int64_t step, std::int64_t stepsPerEpoch);

}  // namespace pillarbox::training

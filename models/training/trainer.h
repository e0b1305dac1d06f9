// Trains a network by PILLAR's recipe: cross entropy plus the range penalty, SGD with Nesterov
// momentum, linear warm-up and cosine decay, a moving average of the weights that is what gets
// evaluated and exported.
//
// Every epoch ends with an evaluation *without* clipping, which is how the network will run. It
// reports the ratio of values outside [-B, B] and the largest |x| of every activation layer, and
// the share of images that are lost: a value beyond kEscapeFactor * B somewhere, or logits that are
// not finite. A loss or gradient that is not finite ends neither the run nor the network: training
// goes back to the last checkpoint and continues with half the learning rate, and the log names the
// layer and the value that started it. The same happens when an input of an activation is beyond
// kDivergence * B: with everything clipped in training that means that the weights have run away.
//
// What narrows the distance to ReLU is described where it is implemented: distillation, mixing of
// images and class weights in objective.h, polynomials of their own for every layer in
// models/pillar/activation_layer.h. Two of SmartPAF's techniques are schedules and live here:
// progressive replacement (in epoch e of P, counted from 1, the first ceil(L e / P) of L activation
// layers are polynomials, the others ReLU) and training in turns (coefficients in the first, third,
// ... epoch, weights in the others).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/core/result.h"
#include "models/data/image_set.h"
#include "models/training/group.h"
#include "models/training/run_folder.h"

namespace pillarbox::training {

/// An image counts as lost when one of its activations' inputs exceeds this many times B: there the
/// polynomial has left ReLU for good.
inline constexpr double kEscapeFactor = 1.5;
/// The |x| from which on an image is lost in this network: infinite for ReLU, which has no range.
double escapeBound(const Network& network);

struct Evaluation {
  std::uint64_t images = 0;
  double loss = 0;
  double accuracy = 0;     ///< 0 to 1
  double topFive = 0;      ///< 0 to 1
  std::uint64_t lost = 0;  ///< images
  std::vector<LayerStatistics> layers;
  std::vector<std::vector<std::uint32_t>> confusion;  ///< [true class][answer]
  double outOfRangeRatio() const;                     ///< over all layers
};
/// An input beyond this many times B in training counts as a divergence, NaN or not.
inline constexpr double kDivergence = 100;
nlohmann::json toJson(const Evaluation& evaluation);

/// Evaluates in inference mode (running statistics); `clip` clamps activations' inputs to [-B, B].
/// Ends early, with what was seen so far, when `*stop` is set.
Evaluation evaluate(Network network, const data::ImageSet& images,
                    const data::Normalisation& normalisation, bool clip,
                    const std::atomic<bool>* stop = nullptr);

/// The device that a setting of "auto", "cpu", "cuda" or "cuda:N" means here. Errors: Unsupported.
Result<torch::Device> chooseDevice(const std::string& setting);

/// Sets LibTorch's threads (0: one a core) and seeds its generator.
void prepareLibTorch(const TrainingConfig& config);

/// Where training stands, a few times a second at most.
struct Progress {
  int epoch = 0;  ///< under way, from 1
  int epochs = 0;
  double done = 0;                ///< of the whole run, 0 to 1
  double loss = 0, accuracy = 0;  ///< of this epoch so far, on augmented images
  double imagesPerSecond = 0;
  double secondsLeft = 0;
};

struct TrainCallbacks {
  std::function<void(const Progress&)> progress;
  /// What also goes to log.jsonl, and "checkpoint" events (see main.cpp).
  std::function<void(const nlohmann::json&)> event;
  int stopAfterEpoch = 0;                    ///< return after this epoch; 0: after the last
  const std::atomic<bool>* stop = nullptr;   ///< set: write a checkpoint and return
  const std::atomic<bool>* pause = nullptr;  ///< set: write a checkpoint and wait
};

enum class TrainOutcome { Finished, Stopped };

/// Trains from the folder's last checkpoint, or from the start, to the end. In a group, every
/// process calls it with the same settings and data; those that do not lead, with
/// RunFolder::follower, and their callbacks get no events. Evaluation is the leader's work.
///
/// On a GPU, small data sets are kept there, layouts are channels-last, and convolutions and
/// products run in bf16 where the settings say so.
/// Errors: InvalidArgument, Format (data and network do not fit), Io, Exhausted (diverges even
/// after recoveries; the message says where).
Result<TrainOutcome> train(RunFolder& run, const data::Dataset& dataset,
                           const TrainCallbacks& callbacks, Group* group = nullptr);

/// The layers of a run's network for `classes` classes.
/// Errors: those of makeArchitecture and architectureFromJson.
Result<architectures::Architecture> architectureOf(const TrainingConfig& config, int classes);
/// The network of a run for `classes` classes.
Result<Network> makeNetwork(const TrainingConfig& config, int classes);

/// A network that a run has trained (the moving average), in evaluation mode on the CPU.
struct TrainedNetwork {
  Network network{nullptr};
  DataFacts facts;
};
/// `path` is a run's folder (its best checkpoint, or the last where there is no best) or a .pt file
/// in one. Errors: those of RunFolder::open and loadCheckpoint.
Result<TrainedNetwork> loadTrained(const std::string& path);

}  // namespace pillarbox::training

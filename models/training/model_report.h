// What a model file says about itself: the report that an export puts into its metadata.
//
// Accuracies are measured on test images: by LibTorch in floating point, without clipping, and by
// the plaintext oracle (models/oracle.h) in the very integers that the two parties compute with.
// The costs follow from the network's public description: rounds and bytes are those that the
// channels will count, asked of the code that moves them (engine/inference/executor.h,
// engine/offline). An inference and its preparation, which happens before the image is known, are
// kept apart. Predicted seconds are
//
//   rounds * round-trip time + bytes of the busier direction / bandwidth + computation
//
// since both directions of a link carry at the same time, for a link in one building (0.25 ms,
// 1 Gbit/s) and one across an ocean (100 ms, 100 Mbit/s). An inference computes its multiply-adds
// at kMultiplyAddsPerSecond. The preparation in two-party mode, the default, computes on
// ciphertexts; what that takes is proportional to how many travel, for linear layers and for powers
// of activations each at a rate of its own (docs/benchmarks.md), half of it at either party.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "engine/offline/two_party/party.h"
#include "models/architectures/architecture.h"
#include "models/data/image_set.h"
#include "models/loaded_model.h"

namespace pillarbox::training {

/// What the engine's kernels do on one common core; for predictions only.
inline constexpr double kMultiplyAddsPerSecond = 4e9;
/// Processor time of both parties together for a byte of the preparation, either way.
inline constexpr double kLinearSecondsPerByte = 1.2e-7;
inline constexpr double kPowersSecondsPerByte = 1.6e-8;

struct Link {
  double roundTrip;  ///< seconds
  double bandwidth;  ///< bits a second
};
inline constexpr Link kNearLink{0.25e-3, 1e9};
inline constexpr Link kFarLink{0.1, 1e8};

struct NetworkCost {
  std::uint32_t rounds = 0;         ///< of an inference
  std::uint64_t bytesToEngine = 0;  ///< with the frames' headers
  std::uint64_t bytesToClient = 0;
  std::uint64_t multiplyAdds = 0;
  /// The preparation of an inference in two-party mode; none where that mode cannot serve the
  /// network, for the reason that `unprepared` gives.
  std::optional<offline::two_party::SetCost> preparation;
  std::string unprepared;
  std::uint64_t dealerBytesToClient = 0;  ///< its preparation with a dealer, without headers
  std::uint64_t dealerBytesFromClient = 0;

  /// Predicted, as above.
  double seconds(const Link& link) const;
  /// The same of the preparation in two-party mode, if there is one; without the keys, which go
  /// over once a session.
  double preparationSeconds(const Link& link) const;
};
nlohmann::json toJson(const NetworkCost& cost);
NetworkCost networkCost(const models::PublicModel& model);
/// The same of a network that has not been exported, with polynomials of this degree.
/// Errors: those of architectures::publicModelOf.
Result<NetworkCost> networkCost(const architectures::Architecture& architecture,
                                std::uint32_t degree);

struct FixedPointAccuracy {
  std::uint64_t images = 0;
  std::uint64_t correct = 0;
  std::uint64_t agree = 0;  ///< with the answer of the network in real numbers
};
/// Evaluates `count` test images, evenly spread over the set, with the oracle on all cores.
/// Cost: some tenths of a second an image of a small network.
FixedPointAccuracy fixedPointAccuracy(const models::LoadedModel& model, const data::ImageSet& test,
                                      const data::Normalisation& normalisation, std::size_t count);

/// The report, ready for pillarbox.training's key "report".
/// @param evaluation  toJson(Evaluation) of the network, or null
/// @param fixed       without images: left out
nlohmann::json modelReport(const models::LoadedModel& model, const nlohmann::json& evaluation,
                           const FixedPointAccuracy& fixed);

}  // namespace pillarbox::training

// What a model file says about itself: the report that an export puts into its metadata.
//
// Accuracies are measured on test images: by LibTorch in floating point, without clipping, and by
// the plaintext oracle (models/oracle.h) in the very integers that the two parties compute with.
// The costs follow from the network's public description. Predicted seconds of one inference are
//
//   rounds * round-trip time + bytes both ways / bandwidth + multiply-adds / kMultiplyAddsPerSecond
//
// for a link in one building (0.25 ms, 1 Gbit/s) and one across an ocean (100
// ms, 100 Mbit/s). The preparation that precedes an inference is left out of
// the seconds; its bytes are given for a dealer's correlations
// (engine/offline/dealing.h): of n values of an activation of degree d the
// client receives n (1 + 2 d) words of eight bytes and sends n.
#pragma once

#include <cstdint>

#include <nlohmann/json.hpp>

#include "models/architectures/architecture.h"
#include "models/data/image_set.h"
#include "models/loaded_model.h"

namespace pillarbox::training {

/// What the engine's kernels do on one common core; for predictions only.
inline constexpr double kMultiplyAddsPerSecond = 4e9;

struct Link {
  double roundTrip;  ///< seconds
  double bandwidth;  ///< bits a second
};
inline constexpr Link kNearLink{0.25e-3, 1e9};
inline constexpr Link kFarLink{0.1, 1e8};

struct InferenceCost {
  std::uint32_t rounds = 0;
  std::uint64_t bytesToEngine = 0;  ///< online, seven a value, without the frames' headers
  std::uint64_t bytesToClient = 0;
  std::uint64_t offlineToClient = 0;  ///< with a dealer
  std::uint64_t offlineFromClient = 0;
  std::uint64_t multiplyAdds = 0;
  /// Predicted, as above.
  double seconds(const Link& link) const;
};
nlohmann::json toJson(const InferenceCost& cost);
InferenceCost inferenceCost(const models::PublicModel& model);
/// The same of a network that has not been exported, with polynomials of this
/// degree.
InferenceCost inferenceCost(const architectures::Architecture& architecture, std::uint32_t degree);

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

// One inference, seen from each party. Roles are separate functions; both run the same plan.
//
//   client                                  engine
//   x − r                        ------>    ŷ_0
//   for every stage but the last:
//                                <------    δ            (linear stage, truncation, opening)
//   y0 − r  (polynomial)         ------>    ŷ_k = m + y1 (polynomial)
//   last stage:
//                                <------    z1 of the logits, truncated to outputBits
//
// Cost: one round trip a stage; 8 bytes a value each way, in chunks, so that the client answers the
// first values of a tensor while the last are still on their way.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/kernels/packed.h"
#include "engine/offline/correlation_set.h"
#include "models/description.h"
#include "net/channel.h"

namespace pillarbox::inference {

/// Exact prediction of what Channel's meter will show for one inference.
struct OnlineCost {
  std::uint32_t rounds = 0;
  std::uint64_t bytesToEngine = 0;  ///< with frame headers
  std::uint64_t bytesToClient = 0;
  std::uint64_t multiplyAdds = 0;  ///< at the engine
};
OnlineCost onlineCost(const models::PublicModel& model);

/// A model as the engine computes with it. Immutable, shared by sessions.
class EngineModel {
 public:
  EngineModel(models::PublicModel description, models::ModelWeights weights);
  ~EngineModel();
  const models::PublicModel& description() const { return m_description; }
  const models::ModelWeights& weights() const { return m_weights; }
  /// The weights by LinearOp::weightIndex, packed for this machine.
  std::span<const kernels::PackedWeights> packedWeights() const { return m_packed; }
  const models::Sha256& hash() const { return m_hash; }

 private:
  models::PublicModel m_description;
  models::ModelWeights m_weights;
  std::vector<kernels::PackedWeights> m_packed;
  models::Sha256 m_hash;
};

/// Given to the client after every stage, on its thread.
struct StageProgress {
  std::uint32_t round = 0;  ///< 1..rounds, just finished
  std::uint32_t rounds = 0;
  double roundSeconds = 0;  ///< from this round's first word sent to the answer's last received
  net::MeterReading meter;  ///< cumulative, of the channel
};
using ProgressSink = std::function<void(const StageProgress&)>;

struct ClientOutcome {
  std::vector<double> logits;
  std::vector<double> probabilities;  ///< softmax of the logits
  std::uint32_t rounds = 0;           ///< as metered
  std::uint64_t bytesSent = 0;
  std::uint64_t bytesReceived = 0;
  double seconds = 0;
  /// Empty, or why the answer may be wrong (logits far outside what a network in range produces:
  /// an activation has left the polynomial's range, or shares have wrapped). For people.
  std::string warning;
};

/// Logits above this are not plausible: one in range has a few tens.
constexpr double kPlausibleLogit = 1024;

/// Runs the client's side. The set is consumed whatever happens.
/// @param image  normalised pixels, model.input.size() values, channel by channel
/// Errors: those of the channel; InvalidArgument for a pixel that is not finite or out of range.
/// Cancel from another thread with channel.cancel().
Result<ClientOutcome> runClient(net::Channel& channel, const models::PublicModel& model,
                                offline::ClientSet set, std::span<const float> image,
                                const ProgressSink& progress = {});

/// Tensors and scratch that one session reuses from inference to inference, so that after the first
/// no large memory is taken. Holds masked values only, which the engine may see; not thread safe.
class EngineMemory {
 public:
  /// A tensor of that size, contents undefined.
  SecureVector<std::uint64_t> take(std::size_t words);
  void giveBack(SecureVector<std::uint64_t>&& tensor);
  kernels::Workspace workspace;

 private:
  std::vector<SecureVector<std::uint64_t>> m_free;
};

/// Runs the engine's side. The set is consumed whatever happens.
/// @param memory  the session's, or null: taken for this inference
Status runEngine(net::Channel& channel, const EngineModel& model, offline::EngineSet set,
                 EngineMemory* memory = nullptr);

}  // namespace pillarbox::inference

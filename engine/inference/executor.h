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
// Cost: one round trip a stage; 7 bytes a value each way (engine/ring/narrow.h: the hiding is
// perfect, and the masks are drawn so that 56 bits say all), 8 a logit, in chunks of kChunkWords. A
// tensor streams: the client answers its first values while the last are on their way, the engine
// accumulates the next linear stage over the channels that have arrived (and has computed what does
// not depend on them, such as a shortcut's convolution, while it waited), and sends the first
// output channels while it computes the others. So a stage takes a round trip, the bytes one way,
// and what is left to compute after the last chunk. After a session's first inference neither side
// takes memory here, but for the client's one buffer.
//
// That is HoneyBadger. By the other protocols (engine/protocol), stage by stage and not streamed,
// their own messages take the place of δ, 8 bytes a word; what the client opens first travels
// behind its y0 − r, so that a stage takes half as many round trips as the protocol has messages,
// rounded up. x − r, y0 − r and the logits are as above.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/inference/activations.h"
#include "engine/kernels/packed.h"
#include "engine/kernels/stage.h"
#include "engine/offline/correlation_set.h"
#include "engine/protocol/honeybadger.h"
#include "models/description.h"
#include "net/channel.h"

namespace pillarbox::inference {

/// Words that travel together, in one frame. Large enough that headers and calls don't count, small
/// enough that the answer to the first chunk of a tensor leaves early: 2.3 ms at 100 Mbit/s.
constexpr std::size_t kChunkWords = std::size_t{1} << 12;

/// Exact prediction of what Channel's meter will show for one inference.
struct OnlineCost {
  std::uint32_t rounds = 0;
  std::uint64_t bytesToEngine = 0;  ///< with frame headers
  std::uint64_t bytesToClient = 0;
  std::uint64_t multiplyAdds = 0;  ///< at the engine
};
/// @param activations  of the model, as in all functions here; null: HoneyBadger
OnlineCost onlineCost(const models::PublicModel& model, const Activations* activations = nullptr);

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
  /// By this protocol. Errors: those of Activations::make.
  Result<std::shared_ptr<const Activations>> activations(offline::Protocol protocol) const;
  /// Of every stage but the last.
  std::span<const protocol::HoneyBadger> polynomials() const { return m_polynomials; }
  /// For every activation, the last stage that reads it: its tensor is released after that.
  std::span<const std::size_t> lastUses() const { return m_lastUses; }

 private:
  models::PublicModel m_description;
  models::ModelWeights m_weights;
  std::vector<kernels::PackedWeights> m_packed;
  std::vector<protocol::HoneyBadger> m_polynomials;
  std::vector<Result<std::shared_ptr<const Activations>>> m_activations;  ///< as allProtocols()
  std::vector<std::size_t> m_lastUses;
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
/// Errors: those of the channel; InvalidArgument for a pixel that is not finite or out of range;
/// Internal for a set of another model or protocol.
/// Cancel from another thread with channel.cancel().
Result<ClientOutcome> runClient(net::Channel& channel, const models::PublicModel& model,
                                offline::ClientSet set, std::span<const float> image,
                                const ProgressSink& progress = {},
                                const Activations* activations = nullptr);

/// Tensors and scratch that one session reuses from inference to inference, so that after the first
/// no large memory is taken. Holds masked values only, which the engine may see; not thread safe.
class EngineMemory {
 public:
  /// A tensor of that size, contents undefined.
  SecureVector<std::uint64_t> take(std::size_t words);
  void giveBack(SecureVector<std::uint64_t>&& tensor);
  kernels::Workspace workspace;
  kernels::StageStream stream;
  SecureVector<std::byte> packet;                      ///< a chunk as it travels
  std::vector<SecureVector<std::uint64_t>> masked;     ///< ŷ by activation number
  std::vector<std::span<const std::uint64_t>> inputs;  ///< of the stage being computed

 private:
  std::vector<SecureVector<std::uint64_t>> m_free;
};

/// Runs the engine's side. The set is consumed whatever happens.
/// @param memory  the session's, or null: taken for this inference
Status runEngine(net::Channel& channel, const EngineModel& model, offline::EngineSet set,
                 EngineMemory* memory = nullptr, const Activations* activations = nullptr);

}  // namespace pillarbox::inference

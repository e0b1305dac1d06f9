// What measurements share: both parties' preparation and inference in one process, and the floor
// that the time is compared with.
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "engine/bench/connection.h"
#include "engine/core/result.h"
#include "engine/inference/device_executor.h"
#include "engine/inference/executor.h"
#include "engine/offline/correlation_set.h"
#include "engine/offline/dealing.h"
#include "models/loaded_model.h"

namespace pillarbox::bench {

struct CorrelationSets {
  offline::ClientSet client;
  offline::EngineSet engine;
};

/// Makes correlation sets for a model in one of the dealt modes. The dealer is a third thread.
class Dealing {
 public:
  /// Masks the weights, which happens once a model. @param mode  Dealer or FirstParty
  /// @param activations  of the model, as below; null: HoneyBadger
  Dealing(const inference::EngineModel& model, offline::Mode mode,
          const inference::Activations* activations = nullptr);

  /// One set. @param dealer  its engine end is the dealer's, its client end the client's
  /// @param direct           from client to engine
  Result<CorrelationSets> deal(ChannelPair& dealer, ChannelPair& direct) const;

  /// E, which the client needs once a model: bytes, nothing in first-party mode.
  std::uint64_t weightBytes() const;

 private:
  const inference::EngineModel& m_model;
  const offline::CorrelationPlan m_plan;
  offline::WideWeights m_mask;
  std::unique_ptr<const offline::WideWeights> m_masked;
};

/// Two ends in memory, for what a measurement leaves out.
ChannelPair memoryPair();

/// The engine's side where it is computed on a device.
struct OnDevice {
  OnDevice(device::DevicePtr device, std::shared_ptr<const inference::EngineModel> computed)
      : engine(std::move(device)), model(std::move(computed)) {}
  inference::DeviceEngine engine;
  std::shared_ptr<const inference::EngineModel> model;
};

/// The engine's side of an inference, on the device if one is given, else on the processor.
/// @param memory  the session's, for the processor
/// @param times   of the device
/// @param activations  of the set's protocol, for the processor; null: HoneyBadger
Status runEngineSide(net::Channel& channel, const inference::EngineModel& model,
                     offline::EngineSet set, inference::EngineMemory* memory,
                     OnDevice* device = nullptr, inference::DeviceTimes* times = nullptr,
                     const inference::Activations* activations = nullptr);

struct InferenceRun {
  inference::ClientOutcome client;
  double engineSeconds = 0;       ///< of the engine's thread on the processor
  double clientSeconds = 0;       ///< of the client's
  inference::DeviceTimes device;  ///< where there is one
};

/// One inference, the engine on a thread of its own.
/// Errors: what either party met, the first of the two.
Result<InferenceRun> runBoth(ChannelPair& channels, const inference::EngineModel& model,
                             CorrelationSets sets, std::span<const float> image,
                             inference::EngineMemory* memory = nullptr, OnDevice* device = nullptr,
                             const inference::Activations* activations = nullptr);

/// Seconds that the engine's linear maps of one inference take on one core, the least of `repeats`,
/// in processor time of the thread.
double linearSeconds(const inference::EngineModel& model, int repeats = 3);

/// Processor time of the calling thread, in seconds.
double threadSeconds();

/// What no implementation can beat on a link: the round trips, and the bytes of the busier
/// direction at the link's rate (both directions carry at once, and one round's bytes may travel
/// while another's are awaited only in part, so this is optimistic).
double wireFloor(const net::LinkShape& link, std::uint32_t rounds, std::uint64_t bytesToEngine,
                 std::uint64_t bytesToClient);

struct Spread {
  double median = 0, least = 0, greatest = 0;
};
/// @param values  at least one
Spread spreadOf(std::vector<double> values);

}  // namespace pillarbox::bench

// Both parties of an inference in one process, over an in-memory connection.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "engine/inference/executor.h"
#include "engine/offline/dealing.h"
#include "models/loaded_model.h"
#include "net/channel.h"
#include "net/memory.h"
#include "tests/support/random_words.h"

namespace pillarbox::testing {

struct DealtSets {
  offline::ClientSet client;
  offline::EngineSet engine;
};

/// Deals one set on fresh seeds, both halves in this process.
/// @param activations  of the model, as below; null: HoneyBadger
DealtSets dealBoth(const inference::EngineModel& model, RandomWords& data,
                   offline::Mode mode = offline::Mode::Dealer, std::uint64_t index = 0,
                   const inference::Activations* activations = nullptr);

/// Two channels back to back.
struct ChannelPair {
  std::unique_ptr<net::Channel> client, engine;
};
ChannelPair makeChannels(const net::MemoryLink& link = {});

struct TwoPartyOutcome {
  Result<inference::ClientOutcome> client;
  Status engine;
};

/// Runs one inference, the engine on a thread of its own.
TwoPartyOutcome runBoth(const inference::EngineModel& model, ChannelPair& channels, DealtSets sets,
                        std::span<const float> image, const inference::ProgressSink& progress = {},
                        const inference::Activations* activations = nullptr);

/// What truncations and the protocol can add up to at each logit, in ulps of the logits: every
/// truncation errs by at most one ulp, every activation by what its protocol declares, and errors
/// grow by the absolute weights and the polynomial's slope.
/// @param limit  activations' inputs stay below this
std::vector<double> logitBound(const models::LoadedModel& loaded, double limit,
                               const inference::Activations* activations = nullptr);

}  // namespace pillarbox::testing

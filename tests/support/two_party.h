// Both parties of an inference in one process, over an in-memory connection.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "engine/inference/executor.h"
#include "engine/offline/dealing.h"
#include "net/channel.h"
#include "net/memory.h"
#include "tests/support/random_words.h"

namespace pillarbox::testing {

struct DealtSets {
  offline::ClientSet client;
  offline::EngineSet engine;
};

/// Deals one set on fresh seeds, both halves in this process.
DealtSets dealBoth(const inference::EngineModel& model, RandomWords& data,
                   offline::Mode mode = offline::Mode::Dealer, std::uint64_t index = 0);

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
                        std::span<const float> image, const inference::ProgressSink& progress = {});

}  // namespace pillarbox::testing

#include "tests/support/two_party.h"

#include <deque>
#include <stdexcept>

namespace pillarbox::testing {

namespace {

/// Words in memory between two steps of one thread.
struct Pipe {
  std::vector<std::uint64_t> words;
  std::size_t read = 0;
  offline::WordSink sink() {
    return [this](std::span<const std::uint64_t> piece) -> Status {
      words.insert(words.end(), piece.begin(), piece.end());
      return {};
    };
  }
  offline::WordSource source() {
    return [this](std::span<std::uint64_t> piece) -> Status {
      if (words.size() - read < piece.size()) return Error{ErrorCode::Closed, "no more words"};
      std::copy_n(words.begin() + static_cast<std::ptrdiff_t>(read), piece.size(), piece.begin());
      read += piece.size();
      return {};
    };
  }
};

}  // namespace

DealtSets dealBoth(const inference::EngineModel& model, RandomWords& data, offline::Mode mode,
                   std::uint64_t index) {
  const models::PublicModel& description = model.description();
  const bool firstParty = mode == offline::Mode::FirstParty;
  const random::Seed maskSeed = data.seed(), clientSeed = data.seed(), engineSeed = data.seed();
  const auto mask = firstParty ? offline::WideWeights::plain(description, model.weights())
                               : offline::WideWeights::expand(description, maskSeed);
  const auto masked = offline::WideWeights::masked(description, model.weights(), maskSeed);
  Pipe toClient, toEngine;
  const Status dealt = offline::dealSet(description, mask, clientSeed, engineSeed, toClient.sink());
  if (!dealt.ok()) throw std::runtime_error(dealt.error().message);
  DealtSets sets;
  sets.client = offline::assembleClientSet(description, firstParty ? nullptr : &masked, index,
                                           clientSeed, toClient.source(), toEngine.sink())
                    .value();
  sets.engine =
      offline::assembleEngineSet(description, index, engineSeed, toEngine.source()).value();
  return sets;
}

ChannelPair makeChannels(const net::MemoryLink& link) {
  auto [left, right] = net::makeMemoryPair(link);
  return {std::make_unique<net::Channel>(std::move(left)),
          std::make_unique<net::Channel>(std::move(right))};
}

TwoPartyOutcome runBoth(const inference::EngineModel& model, ChannelPair& channels, DealtSets sets,
                        std::span<const float> image, const inference::ProgressSink& progress) {
  Status engine;
  std::thread thread([&] {
    engine = inference::runEngine(*channels.engine, model, std::move(sets.engine));
    if (!engine.ok()) channels.engine->cancel();
  });
  Result<inference::ClientOutcome> client = inference::runClient(
      *channels.client, model.description(), std::move(sets.client), image, progress);
  if (!client.ok()) channels.client->cancel();
  thread.join();
  return {std::move(client), std::move(engine)};
}

}  // namespace pillarbox::testing

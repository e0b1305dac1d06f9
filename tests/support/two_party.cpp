#include "tests/support/two_party.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "engine/kernels/stage.h"

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

/// Greatest |p'| on [-limit, limit].
double steepest(const models::Polynomial& polynomial, double limit) {
  double greatest = 0;
  for (double x = -limit; x <= limit; x += limit / 512) {
    double slope = 0;
    for (std::uint32_t j = 1; j <= polynomial.degree(); ++j) {
      slope += j * static_cast<double>(polynomial.coefficients[j]) * std::pow(x, j - 1);
    }
    greatest = std::max(greatest, std::abs(slope) / std::ldexp(1, polynomial.fractionBits));
  }
  return greatest;
}

}  // namespace

DealtSets dealBoth(const inference::EngineModel& model, RandomWords& data, offline::Mode mode,
                   std::uint64_t index, const inference::Activations* activations) {
  const offline::CorrelationPlan plan =
      activations != nullptr ? activations->correlations() : offline::CorrelationPlan();
  const models::PublicModel& description = model.description();
  const bool firstParty = mode == offline::Mode::FirstParty;
  const random::Seed maskSeed = data.seed(), clientSeed = data.seed(), engineSeed = data.seed();
  const auto mask = firstParty ? offline::WideWeights::plain(description, model.weights())
                               : offline::WideWeights::expand(description, maskSeed);
  const auto masked = offline::WideWeights::masked(description, model.weights(), maskSeed);
  Pipe toClient, toEngine;
  const Status dealt =
      offline::dealSet(description, mask, clientSeed, engineSeed, toClient.sink(), plan);
  if (!dealt.ok()) throw std::runtime_error(dealt.error().message);
  DealtSets sets;
  sets.client = offline::assembleClientSet(description, firstParty ? nullptr : &masked, index,
                                           clientSeed, toClient.source(), toEngine.sink(), plan)
                    .value();
  sets.engine =
      offline::assembleEngineSet(description, index, engineSeed, toEngine.source(), plan).value();
  return sets;
}

ChannelPair makeChannels(const net::MemoryLink& link) {
  auto [left, right] = net::makeMemoryPair(link);
  return {std::make_unique<net::Channel>(std::move(left)),
          std::make_unique<net::Channel>(std::move(right))};
}

TwoPartyOutcome runBoth(const inference::EngineModel& model, ChannelPair& channels, DealtSets sets,
                        std::span<const float> image, const inference::ProgressSink& progress,
                        const inference::Activations* activations) {
  Status engine;
  std::thread thread([&] {
    engine =
        inference::runEngine(*channels.engine, model, std::move(sets.engine), nullptr, activations);
    if (!engine.ok()) channels.engine->cancel();
  });
  Result<inference::ClientOutcome> client = inference::runClient(
      *channels.client, model.description(), std::move(sets.client), image, progress, activations);
  if (!client.ok()) channels.client->cancel();
  thread.join();
  return {std::move(client), std::move(engine)};
}

std::vector<double> logitBound(const models::LoadedModel& loaded, double limit,
                               const inference::Activations* activations) {
  models::PublicModel model = loaded.model;
  models::ModelWeights weights = loaded.weights;
  for (auto& tensor : weights.weights) {
    for (auto& w : tensor) w = std::abs(w);
  }
  for (auto& stage : model.stages) {
    for (auto& op : stage.ops) {
      for (auto& multiplier : op.multipliers) multiplier = std::abs(multiplier);
    }
  }
  constexpr std::uint64_t kUlp = 256;  // exact integers in units of 2^-8 ulp
  const auto packed = kernels::packWeights(model.stages, weights.weights);
  kernels::Workspace workspace;
  std::vector<std::vector<std::uint64_t>> errors = {
      std::vector<std::uint64_t>(model.input.size(), 0)};
  for (std::size_t s = 0; s < model.stages.size(); ++s) {
    const models::Stage& stage = model.stages[s];
    const bool declared = stage.activation && activations != nullptr &&
                          activations->protocol() != offline::Protocol::HoneyBadger;
    const double own = declared ? activations->of(s).errorBound() : 1;
    const auto activationError = static_cast<std::uint64_t>(std::ceil(own * kUlp));
    std::vector<std::span<const std::uint64_t>> inputs;
    for (const std::uint32_t input : stage.inputs) inputs.emplace_back(errors[input]);
    std::vector<std::uint64_t> out(stage.output.size());
    kernels::applyStage(stage, inputs, packed, workspace, out);
    for (std::uint64_t& error : out) {
      error = (error >> stage.truncation) + 1 + kUlp;
      if (stage.activation) {
        error = static_cast<std::uint64_t>(
                    std::ceil(static_cast<double>(error) * steepest(*stage.activation, limit))) +
                activationError;
      }
    }
    errors.push_back(std::move(out));
  }
  std::vector<double> bound;
  for (const std::uint64_t error : errors.back())
    bound.push_back(static_cast<double>(error) / kUlp);
  return bound;
}

}  // namespace pillarbox::testing

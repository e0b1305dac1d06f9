#include "engine/bench/party.h"

#include <algorithm>
#include <ctime>
#include <limits>
#include <thread>
#include <utility>

#include "engine/kernels/stage.h"
#include "engine/random/random.h"

namespace pillarbox::bench {

namespace {

offline::WordSink sinkOf(net::Channel& channel) {
  return [&channel](std::span<const std::uint64_t> words) { return channel.sendWords(words); };
}

offline::WordSource sourceOf(net::Channel& channel) {
  return [&channel](std::span<std::uint64_t> words) { return channel.receiveWords(words); };
}

random::Seed seed() {
  return random::freshSeed().value();
}

}  // namespace

Dealing::Dealing(const inference::EngineModel& model, offline::Mode mode,
                 const inference::Activations* activations)
    : m_model(model),
      m_plan(activations != nullptr ? activations->correlations() : offline::CorrelationPlan()) {
  if (mode == offline::Mode::FirstParty) {
    m_mask = offline::WideWeights::plain(model.description(), model.weights());
    return;
  }
  const random::Seed maskSeed = seed();
  m_mask = offline::WideWeights::expand(model.description(), maskSeed);
  m_masked = std::make_unique<const offline::WideWeights>(
      offline::WideWeights::masked(model.description(), model.weights(), maskSeed));
}

std::uint64_t Dealing::weightBytes() const {
  return m_masked ? 8 * m_model.description().weightCount() : 0;
}

Result<CorrelationSets> Dealing::deal(ChannelPair& dealer, ChannelPair& direct) const {
  const models::PublicModel& model = m_model.description();
  const random::Seed clientSeed = seed(), engineSeed = seed();
  Status dealt;
  std::thread dealing([&] {
    dealt = offline::dealSet(model, m_mask, clientSeed, engineSeed, sinkOf(*dealer.engine), m_plan);
    if (!dealt.ok()) dealer.engine->cancel();
  });
  Result<offline::EngineSet> engine = Error{};
  std::thread assembling([&] {
    engine = offline::assembleEngineSet(model, 0, engineSeed, sourceOf(*direct.engine), m_plan);
    if (!engine.ok()) direct.engine->cancel();
  });
  Result<offline::ClientSet> client =
      offline::assembleClientSet(model, m_masked.get(), 0, clientSeed, sourceOf(*dealer.client),
                                 sinkOf(*direct.client), m_plan);
  if (!client.ok()) {
    dealer.client->cancel();
    direct.client->cancel();
  }
  dealing.join();
  assembling.join();
  PILLARBOX_TRY(std::move(dealt));
  PILLARBOX_ASSIGN(offline::ClientSet clientSet, std::move(client));
  PILLARBOX_ASSIGN(offline::EngineSet engineSet, std::move(engine));
  return CorrelationSets{std::move(clientSet), std::move(engineSet)};
}

ChannelPair memoryPair() {
  auto [client, engine] = net::makeMemoryPair({.capacityBytes = std::size_t{16} << 20});
  return {std::make_unique<net::Channel>(std::move(client)),
          std::make_unique<net::Channel>(std::move(engine))};
}

Status runEngineSide(net::Channel& channel, const inference::EngineModel& model,
                     offline::EngineSet set, inference::EngineMemory* memory, OnDevice* device,
                     inference::DeviceTimes* times, const inference::Activations* activations) {
  if (device == nullptr) {
    return inference::runEngine(channel, model, std::move(set), memory, activations);
  }
  PILLARBOX_ASSIGN(inference::DeviceSeat seat, device->engine.seat(device->model));
  PILLARBOX_TRY(seat.take(set));
  PILLARBOX_TRY(seat.run(channel));
  if (times != nullptr) *times = seat.times();
  return {};
}

Result<InferenceRun> runBoth(ChannelPair& channels, const inference::EngineModel& model,
                             CorrelationSets sets, std::span<const float> image,
                             inference::EngineMemory* memory, OnDevice* device,
                             const inference::Activations* activations) {
  Status engine;
  double engineSeconds = 0;
  inference::DeviceTimes deviceTimes;
  std::thread thread([&] {
    const double start = threadSeconds();
    engine = runEngineSide(*channels.engine, model, std::move(sets.engine), memory, device,
                           &deviceTimes, activations);
    engineSeconds = threadSeconds() - start;
    if (!engine.ok()) channels.engine->cancel();
  });
  const double start = threadSeconds();
  Result<inference::ClientOutcome> client = inference::runClient(
      *channels.client, model.description(), std::move(sets.client), image, {}, activations);
  const double clientSeconds = threadSeconds() - start;
  if (!client.ok()) channels.client->cancel();
  thread.join();
  PILLARBOX_ASSIGN(inference::ClientOutcome outcome, std::move(client));
  PILLARBOX_TRY(std::move(engine));
  return InferenceRun{std::move(outcome), engineSeconds, clientSeconds, deviceTimes};
}

double linearSeconds(const inference::EngineModel& model, int repeats) {
  const models::PublicModel& description = model.description();
  random::Expander expander(random::Seed{}, 0);  // measurements need no secrets
  kernels::Workspace workspace;
  SecureVector<std::uint64_t> out;
  std::vector<SecureVector<std::uint64_t>> tensors;
  double best = std::numeric_limits<double>::infinity();
  for (int repeat = 0; repeat <= repeats; ++repeat) {
    double sum = 0;
    for (const models::Stage& stage : description.stages) {
      tensors.clear();
      std::vector<std::span<const std::uint64_t>> inputs;
      for (const std::uint32_t input : stage.inputs) {
        const models::Shape& shape =
            input == 0 ? description.input : description.stages[input - 1].output;
        expander.fill(tensors.emplace_back(shape.size()));
      }
      for (const auto& tensor : tensors) inputs.emplace_back(tensor);
      out.resize(stage.output.size());
      const double start = threadSeconds();
      kernels::applyStage(stage, inputs, model.packedWeights(), workspace, out);
      sum += threadSeconds() - start;
    }
    if (repeat > 0) best = std::min(best, sum);  // the first touches the memory
  }
  return best;
}

double threadSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double wireFloor(const net::LinkShape& link, std::uint32_t rounds, std::uint64_t bytesToEngine,
                 std::uint64_t bytesToClient) {
  const auto bytes = static_cast<double>(std::max(bytesToEngine, bytesToClient));
  return 1e-3 * link.rttMs * rounds + (link.mbit > 0 ? 8e-6 * bytes / link.mbit : 0);
}

Spread spreadOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return {(values[(n - 1) / 2] + values[n / 2]) / 2, values.front(), values.back()};
}

}  // namespace pillarbox::bench

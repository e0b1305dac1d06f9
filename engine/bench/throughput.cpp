#include "engine/bench/throughput.h"

#include <pthread.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "engine/bench/networks.h"
#include "engine/bench/party.h"
#include "engine/bench/text.h"
#include "engine/core/chart.h"

namespace pillarbox::bench {

namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;
using Recording = std::vector<std::byte>;

/// Hands everything on, and keeps what was read.
class RecordingTransport final : public net::Transport {
 public:
  RecordingTransport(std::unique_ptr<net::Transport> transport, Recording& recording)
      : m_transport(std::move(transport)), m_recording(recording) {}
  Status write(std::span<const std::byte> header, std::span<const std::byte> payload) override {
    return m_transport->write(header, payload);
  }
  Status read(std::span<std::byte> bytes) override {
    PILLARBOX_TRY(m_transport->read(bytes));
    m_recording.insert(m_recording.end(), bytes.begin(), bytes.end());
    return {};
  }
  void setTimeout(std::chrono::milliseconds timeout) override { m_transport->setTimeout(timeout); }
  void cancel() noexcept override { m_transport->cancel(); }
  std::string peer() const override { return m_transport->peer(); }

 private:
  std::unique_ptr<net::Transport> m_transport;
  Recording& m_recording;
};

/// Takes everything, and answers with a recording. Times do not depend on what the words are.
class ReplayTransport final : public net::Transport {
 public:
  explicit ReplayTransport(const Recording& recording) : m_recording(recording) {}
  Status write(std::span<const std::byte>, std::span<const std::byte>) override { return {}; }
  Status read(std::span<std::byte> bytes) override {
    if (m_recording.size() - m_place < bytes.size()) {
      return Error{ErrorCode::Closed, "the recording is over"};
    }
    std::memcpy(bytes.data(), m_recording.data() + m_place, bytes.size());
    m_place += bytes.size();
    return {};
  }
  void setTimeout(std::chrono::milliseconds) override {}
  void cancel() noexcept override {}
  std::string peer() const override { return "recording"; }

 private:
  const Recording& m_recording;
  std::size_t m_place = 0;
};

struct Recordings {
  Recording ofClient, ofEngine;  // what each received
};

Result<Recordings> record(const inference::EngineModel& model, CorrelationSets sets,
                          std::span<const float> image) {
  Recordings recordings;
  auto [client, engine] = net::makeMemoryPair();
  ChannelPair channels{std::make_unique<net::Channel>(std::make_unique<RecordingTransport>(
                           std::move(client), recordings.ofClient)),
                       std::make_unique<net::Channel>(std::make_unique<RecordingTransport>(
                           std::move(engine), recordings.ofEngine))};
  PILLARBOX_TRY(runBoth(channels, model, std::move(sets), image));
  return recordings;
}

/// A set once more, for the kernels alone: what they compute goes nowhere.
CorrelationSets copyOf(const CorrelationSets& sets) {
  CorrelationSets copy;
  copy.client.index = sets.client.index;
  copy.client.integerMasks = sets.client.integerMasks;
  copy.client.inputMask = sets.client.inputMask;
  copy.client.stages = sets.client.stages;
  copy.client.logitShare = sets.client.logitShare;
  copy.engine.index = sets.engine.index;
  copy.engine.integerMasks = sets.engine.integerMasks;
  copy.engine.stages = sets.engine.stages;
  return copy;
}

struct Times {
  double seconds = 0, processorSeconds = 0;
};

double processorSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// Runs all of these at the same time, each on a thread that has started beforehand and that a
/// profiler shows by this name (at most 15 characters).
Times runTogether(const char* name, std::span<const std::function<void()>> works) {
  const auto count = static_cast<std::ptrdiff_t>(works.size() + 1);
  std::barrier<> start(count), end(count);
  std::vector<std::jthread> threads;
  for (const auto& work : works) {
    threads.emplace_back([&] {
      pthread_setname_np(pthread_self(), name);
      start.arrive_and_wait();
      work();
      end.arrive_and_wait();
    });
  }
  const double processor = processorSeconds();
  start.arrive_and_wait();
  const auto begin = Clock::now();
  end.arrive_and_wait();
  return {std::chrono::duration<double>(Clock::now() - begin).count(),
          processorSeconds() - processor};
}

/// One client, and what the engine keeps for it.
struct Session {
  ChannelPair channels;
  inference::EngineMemory memory, replayMemory;
  inference::DeviceTimes times;
  std::vector<CorrelationSets> sets;
};

class Measurement {
 public:
  /// @param device  null: the processor
  Measurement(const inference::EngineModel& model, const Recordings& recordings,
              std::vector<Session>& sessions, std::span<const float> image, OnDevice* device)
      : m_model(model),
        m_recordings(recordings),
        m_sessions(sessions),
        m_image(image),
        m_device(device) {}

  Result<Times> networked() {
    const inference::OnlineCost cost = inference::onlineCost(m_model.description());
    std::vector<Status> clients(m_sessions.size()), engines(m_sessions.size());
    std::vector<std::function<void()>> works;
    for (std::size_t i = 0; i < m_sessions.size(); ++i) {
      Session& session = m_sessions[i];
      std::vector<offline::EngineSet> engineSets;
      std::vector<offline::ClientSet> clientSets;
      for (CorrelationSets& sets : session.sets) {
        CorrelationSets copy = copyOf(sets);
        engineSets.push_back(std::move(copy.engine));
        clientSets.push_back(std::move(copy.client));
      }
      const auto engineHalves = std::make_shared<decltype(engineSets)>(std::move(engineSets));
      const auto clientHalves = std::make_shared<decltype(clientSets)>(std::move(clientSets));
      works.emplace_back([this, &session, &status = engines[i], engineHalves] {
        for (offline::EngineSet& set : *engineHalves) {
          status = runEngineSide(*session.channels.engine, m_model, std::move(set), &session.memory,
                                 m_device, &session.times);
          m_deviceNanoseconds += static_cast<std::uint64_t>(1e9 * session.times.computing);
          if (!status.ok()) return session.channels.engine->cancel();
        }
      });
      works.emplace_back([this, &session, &status = clients[i], clientHalves, cost] {
        for (offline::ClientSet& set : *clientHalves) {
          status = ask(*session.channels.client, std::move(set), cost);
          if (!status.ok()) return session.channels.client->cancel();
        }
      });
    }
    const Times times = runTogether("over-tls", works);
    for (const auto& ends : {clients, engines}) {
      for (const Status& status : ends) PILLARBOX_TRY(Status(status));
    }
    return times;
  }

  /// Of the device, since the last call, in networked().
  double deviceSeconds() { return 1e-9 * static_cast<double>(m_deviceNanoseconds.exchange(0)); }

  /// Uses the sets up.
  Result<Times> kernelsAlone() {
    std::vector<Status> results(m_sessions.size());
    std::vector<std::function<void()>> works;
    for (std::size_t i = 0; i < m_sessions.size(); ++i) {
      works.emplace_back([this, &session = m_sessions[i], &status = results[i]] {
        for (CorrelationSets& sets : session.sets) {
          status = replay(std::move(sets), session.replayMemory);
          if (!status.ok()) return;
        }
      });
    }
    const Times times = runTogether("kernels-alone", works);
    for (Status& status : results) PILLARBOX_TRY(std::move(status));
    return times;
  }

 private:
  Status ask(net::Channel& channel, offline::ClientSet set, const inference::OnlineCost& cost) {
    PILLARBOX_ASSIGN(const auto outcome,
                     inference::runClient(channel, m_model.description(), std::move(set), m_image));
    if (outcome.rounds == cost.rounds && outcome.bytesSent == cost.bytesToEngine &&
        outcome.bytesReceived == cost.bytesToClient) {
      return {};
    }
    return Error{ErrorCode::Internal, "rounds or bytes are not what the plan declares"};
  }

  Status replay(CorrelationSets sets, inference::EngineMemory& memory) {
    net::Channel engine(std::make_unique<ReplayTransport>(m_recordings.ofEngine));
    PILLARBOX_TRY(runEngineSide(engine, m_model, std::move(sets.engine), &memory, m_device));
    net::Channel client(std::make_unique<ReplayTransport>(m_recordings.ofClient));
    PILLARBOX_TRY(
        inference::runClient(client, m_model.description(), std::move(sets.client), m_image));
    return {};
  }

  const inference::EngineModel& m_model;
  const Recordings& m_recordings;
  std::vector<Session>& m_sessions;
  const std::span<const float> m_image;
  OnDevice* const m_device;
  std::atomic<std::uint64_t> m_deviceNanoseconds{0};
};

json spreadJson(const std::vector<double>& values) {
  const Spread spread = spreadOf(values);
  return {{"median", spread.median}, {"least", spread.least}, {"greatest", spread.greatest}};
}

}  // namespace

Result<json> measureThroughput(const models::LoadedModel& loaded,
                               const ThroughputOptions& options) {
  const auto shared = std::make_shared<const inference::EngineModel>(loaded.model, loaded.weights);
  const inference::EngineModel& model = *shared;
  std::optional<OnDevice> device;
  if (options.device) device.emplace(options.device, shared);
  const models::PublicModel& description = model.description();
  const inference::OnlineCost cost = inference::onlineCost(description);
  const auto image = randomImage(description.input, 1);
  // Who deals changes nothing that is measured; without a dealer's mask it takes less time.
  const Dealing dealing(model, offline::Mode::FirstParty);
  const auto deal = [&]() {
    ChannelPair dealer = memoryPair(), direct = memoryPair();
    return dealing.deal(dealer, direct);
  };

  PILLARBOX_ASSIGN(CorrelationSets first, deal());
  PILLARBOX_ASSIGN(const Recordings recordings, record(model, std::move(first), image));
  PILLARBOX_ASSIGN(const std::unique_ptr<Link> link, Link::open({}));
  kernels::Team team(options.threads);
  std::vector<Session> sessions(static_cast<std::size_t>(options.clients));
  for (Session& session : sessions) {
    session.memory.workspace.team = session.replayMemory.workspace.team = &team;
    PILLARBOX_ASSIGN(session.channels, link->connect());
  }

  Measurement measurement(model, recordings, sessions, image, device ? &*device : nullptr);
  const double inferences = options.clients * options.each;
  std::vector<double> rates, kernelRates, ratios, processor, kernelProcessor, processorRatios, busy;
  for (int repeat = 0; repeat <= options.repeat; ++repeat) {
    for (Session& session : sessions) {
      session.sets.clear();
      for (int i = 0; i < options.each; ++i) {
        PILLARBOX_ASSIGN(CorrelationSets sets, deal());
        session.sets.push_back(std::move(sets));
      }
    }
    PILLARBOX_ASSIGN(const Times networked, measurement.networked());
    const double onDevice = measurement.deviceSeconds();
    PILLARBOX_ASSIGN(const Times kernels, measurement.kernelsAlone());
    if (repeat == 0) continue;  // connections and memory are warm from the second on
    rates.push_back(inferences / networked.seconds);
    busy.push_back(onDevice / networked.seconds);
    kernelRates.push_back(inferences / kernels.seconds);
    ratios.push_back(kernels.seconds / networked.seconds);
    processor.push_back(networked.processorSeconds / inferences);
    kernelProcessor.push_back(kernels.processorSeconds / inferences);
    processorRatios.push_back(kernels.processorSeconds / networked.processorSeconds);
  }
  json result = {
      {"network", description.name},
      {"clients", options.clients},
      {"each", options.each},
      {"repeat", options.repeat},
      {"cores", std::max(1U, std::thread::hardware_concurrency())},
      {"rounds", cost.rounds},
      {"bytes_to_engine", cost.bytesToEngine},
      {"bytes_to_client", cost.bytesToClient},
      {"inferences_per_second", spreadJson(rates)},
      {"kernels_per_second", spreadJson(kernelRates)},
      {"ratio", spreadOf(ratios).median},
      {"ratios", ratios},
      {"processor_seconds",
       {{"inference", spreadOf(processor).median}, {"kernels", spreadOf(kernelProcessor).median}}},
      {"processor_ratio", spreadOf(processorRatios).median}};
  if (options.device) {
    result["device"] = {{"name", options.device->description()}, {"busy", spreadOf(busy).median}};
  }
  return result;
}

std::string throughputTable(const json& results) {
  std::string text;
  for (const json& row : results) {
    if (&row == &results[0]) {
      text += format("%d clients at the same time, TLS over loopback, both parties on %u cores\n",
                     row["clients"].get<int>(), row["cores"].get<unsigned>());
      text +=
          format("%-16s %6s %9s %9s %12s %12s %8s %12s %12s %8s\n", "network", "rounds", "MB up",
                 "MB down", "inferences/s", "kernels/s", "ratio", "processor", "kernels", "ratio");
    }
    text += format("%-16s %6u %9.3f %9.3f %12.2f %12.2f %8.3f %12s %12s %8.3f\n",
                   row["network"].get<std::string>().c_str(), row["rounds"].get<unsigned>(),
                   1e-6 * row["bytes_to_engine"].get<double>(),
                   1e-6 * row["bytes_to_client"].get<double>(),
                   row["inferences_per_second"]["median"].get<double>(),
                   row["kernels_per_second"]["median"].get<double>(), row["ratio"].get<double>(),
                   secondsText(row["processor_seconds"]["inference"]).c_str(),
                   secondsText(row["processor_seconds"]["kernels"]).c_str(),
                   row["processor_ratio"].get<double>());
    if (row.contains("device")) {
      text += format("  the engine's side on %s, whose streams compute for %.2f seconds a second\n",
                     row["device"]["name"].get<std::string>().c_str(),
                     row["device"]["busy"].get<double>());
    }
  }
  return text +
         "\nkernels: the same arithmetic of both parties on as many threads, without sockets, TLS "
         "and waiting;\nprocessor: seconds of all cores for an inference. Medians; sets were dealt "
         "beforehand.\n";
}

std::string throughputPlot(const json& results) {
  BarChart chart{.title = "Inferences a second", .valueLabel = "inferences a second"};
  chart.bars = {{"over TLS", ChartColour::Blue}, {"kernels alone", ChartColour::Grey}};
  for (const json& row : results) {
    chart.note = format("%d clients, loopback", row["clients"].get<int>());
    chart.groups.push_back({row["network"].get<std::string>(),
                            {row["inferences_per_second"]["median"].get<double>(),
                             row["kernels_per_second"]["median"].get<double>()}});
  }
  return toSvg(chart);
}

}  // namespace pillarbox::bench

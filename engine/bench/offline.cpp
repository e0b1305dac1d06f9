#include "engine/bench/offline.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/bench/networks.h"
#include "engine/bench/party.h"
#include "engine/bench/text.h"
#include "engine/core/chart.h"
#include "engine/offline/two_party/party.h"
#include "models/oracle.h"

namespace pillarbox::bench {

namespace {

using nlohmann::json;
using offline::two_party::SetCost;
using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Processor time of all threads of this process, in seconds.
double processSeconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// A line of /proc/self/status ("VmRSS:", "VmHWM:") in bytes; 0 where there is none.
std::uint64_t memoryOf(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::uint64_t kilobytes = 0;
    if (word == name && status >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

/// The greatest memory is that since the last call, where the system lets it be reset.
void forgetGreatestMemory() {
  std::ofstream("/proc/self/clear_refs") << 5;
}

/// Both sides of one step at the same time, the engine on a thread of its own; either one's error
/// ends the other's waiting.
template <typename ClientWork, typename EngineWork>
Status inBoth(ChannelPair& channels, const ClientWork& clientWork, const EngineWork& engineWork) {
  Status engine;
  std::thread thread([&] {
    engine = engineWork(*channels.engine);
    if (!engine.ok()) channels.engine->sendFailure(engine.error());
  });
  Status client = clientWork(*channels.client);
  if (!client.ok()) channels.client->sendFailure(client.error());
  thread.join();
  PILLARBOX_TRY(std::move(client));
  return engine;
}

Status compare(const char* what, std::uint64_t metered, std::uint64_t declared) {
  if (metered == declared) return {};
  return Error{ErrorCode::Internal, std::string(what) + ": the meter shows " +
                                        std::to_string(metered) + ", the plan declares " +
                                        std::to_string(declared)};
}

}  // namespace

Result<json> measureOffline(const models::LoadedModel& loaded, const OfflineOptions& options) {
  namespace two_party = offline::two_party;
  const auto model = std::make_shared<const inference::EngineModel>(loaded.model, loaded.weights);
  const models::PublicModel& description = model->description();
  const std::uint64_t memoryBefore = memoryOf("VmRSS:");

  const auto ledger = std::make_shared<device::Ledger>();
  PILLARBOX_ASSIGN(const auto activations, model->activations(options.protocol));
  const auto prepareStart = Clock::now();
  PILLARBOX_ASSIGN(const auto plan,
                   two_party::SetPlan::create(
                       std::shared_ptr<const models::PublicModel>(model, &model->description()),
                       activations->correlations()));
  PILLARBOX_ASSIGN(const auto client, two_party::makeClientParty(plan, options.threads));
  PILLARBOX_ASSIGN(const auto engine,
                   two_party::makeEngineParty(
                       plan, std::shared_ptr<const models::ModelWeights>(model, &model->weights()),
                       options.threads, options.device, ledger));
  const double prepare = secondsSince(prepareStart);
  const SetCost& cost = plan->cost();

  PILLARBOX_ASSIGN(const std::unique_ptr<Link> link, Link::open(options.link));
  PILLARBOX_ASSIGN(const double roundTrip, link->measuredRoundTrip());
  PILLARBOX_ASSIGN(ChannelPair channels, link->connect());
  for (net::Channel* channel : {channels.client.get(), channels.engine.get()}) {
    channel->setTimeout(std::chrono::minutes(10));
  }

  const auto keysStart = Clock::now();
  std::shared_ptr<const two_party::EngineKeys> keys;
  PILLARBOX_TRY(inBoth(
      channels, [&](net::Channel& channel) { return client->sendKeys(channel); },
      [&](net::Channel& channel) -> Status {
        PILLARBOX_ASSIGN(keys, engine->receiveKeys(channel));
        return {};
      }));
  const double keysSeconds = secondsSince(keysStart);
  PILLARBOX_TRY(compare("bytes of keys", channels.client->meter().bytesSent, cost.keyBytes));

  std::vector<double> seconds, processor;
  std::uint64_t memory = 0;
  double largestError = 0;
  for (int repeat = 0; repeat < options.repeat; ++repeat) {
    CorrelationSets sets;
    const auto index = static_cast<std::uint64_t>(repeat);
    const net::MeterReading before = channels.client->meter();
    forgetGreatestMemory();
    const double processorStart = processSeconds();
    const auto start = Clock::now();
    PILLARBOX_TRY(inBoth(
        channels,
        [&](net::Channel& channel) -> Status {
          PILLARBOX_ASSIGN(sets.client, client->makeSet(channel, index, {}));
          return {};
        },
        [&](net::Channel& channel) -> Status {
          PILLARBOX_ASSIGN(sets.engine, engine->makeSet(channel, *keys, index, {}));
          return {};
        }));
    seconds.push_back(secondsSince(start));
    processor.push_back(processSeconds() - processorStart);
    memory = std::max(memory, memoryOf("VmHWM:") - memoryBefore);
    const net::MeterReading after = channels.client->meter();
    PILLARBOX_TRY(compare("rounds", net::roundsBetween(before, after), cost.rounds));
    PILLARBOX_TRY(
        compare("bytes to the engine", after.bytesSent - before.bytesSent, cost.bytesToEngine));
    PILLARBOX_TRY(compare("bytes to the client", after.bytesReceived - before.bytesReceived,
                          cost.bytesToClient));
    if (!options.check || repeat + 1 < options.repeat) continue;
    const auto image = randomImage(description.input, index);
    ChannelPair online = memoryPair();
    PILLARBOX_ASSIGN(const InferenceRun run, runBoth(online, *model, std::move(sets), image,
                                                     nullptr, nullptr, activations.get()));
    const auto expected = models::FixedPointOracle(description, loaded.weights).evaluate(image);
    for (std::size_t i = 0; i < expected.logits.size(); ++i) {
      const double exact = std::ldexp(static_cast<double>(expected.logits[i]),
                                      -static_cast<int>(description.outputBits));
      largestError = std::max(largestError, std::abs(run.client.logits[i] - exact));
    }
  }

  const Spread time = spreadOf(seconds), work = spreadOf(processor);
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  const double wire = wireFloor(options.link, cost.rounds, cost.bytesToEngine, cost.bytesToClient);
  const double computation = work.least / std::min(cores, 2 * options.threads);
  const double floor = std::max(wire, computation);
  json result = {{"network", description.name},
                 {"protocol", offline::nameOf(options.protocol)},
                 {"link", linkText(options.link)},
                 {"rtt_ms", options.link.rttMs},
                 {"mbit", options.link.mbit},
                 {"measured_rtt_ms", 1e3 * roundTrip},
                 {"threads", options.threads},
                 {"cores", cores},
                 {"repeat", options.repeat},
                 {"weights", description.weightCount()},
                 {"activations", description.activationCount()},
                 {"prepare_seconds", prepare},
                 {"rounds", cost.rounds},
                 {"keys", {{"bytes", cost.keyBytes}, {"seconds", keysSeconds}}},
                 {"linear",
                  {{"bytes_to_engine", cost.linearBytesToEngine},
                   {"bytes_to_client", cost.linearBytesToClient}}},
                 {"powers",
                  {{"bytes_to_engine", cost.bytesToEngine - cost.linearBytesToEngine},
                   {"bytes_to_client", cost.bytesToClient - cost.linearBytesToClient}}},
                 {"bytes_to_engine", cost.bytesToEngine},
                 {"bytes_to_client", cost.bytesToClient},
                 {"seconds",
                  {{"median", time.median},
                   {"least", time.least},
                   {"greatest", time.greatest},
                   {"all", seconds}}},
                 {"processor_seconds", work.median},
                 {"peak_memory_bytes", memory},
                 {"floor", {{"wire", wire}, {"computation", computation}, {"total", floor}}},
                 {"ratio", time.median / floor}};
  if (options.check) result["largest_error"] = largestError;
  if (options.device) {
    constexpr auto kPurpose = device::Purpose::Preparation;
    result["device"] = {{"name", options.device->description()},
                        {"seconds", ledger->seconds(kPurpose) / options.repeat},
                        {"declined", ledger->declines(kPurpose)}};
  }
  return result;
}

std::string offlineTable(const json& results) {
  std::string text;
  for (const json& row : results) {
    const auto megabytes = [&](const char* part, const char* direction) {
      return 1e-6 * row[part][direction].get<double>();
    };
    text += format(
        "%s, %s, %s, %u threads a party, %u cores\n", row["network"].get<std::string>().c_str(),
        row["protocol"].get<std::string>().c_str(), row["link"].get<std::string>().c_str(),
        row["threads"].get<unsigned>(), row["cores"].get<unsigned>());
    text += format("  a set takes        %10s  (least %s, greatest %s, of %d)\n",
                   secondsText(row["seconds"]["median"]).c_str(),
                   secondsText(row["seconds"]["least"]).c_str(),
                   secondsText(row["seconds"]["greatest"]).c_str(), row["repeat"].get<int>());
    text += format("  floor              %10s  (wire %s, computation %s), ratio %.2f\n",
                   secondsText(row["floor"]["total"]).c_str(),
                   secondsText(row["floor"]["wire"]).c_str(),
                   secondsText(row["floor"]["computation"]).c_str(), row["ratio"].get<double>());
    text += format("  processor time     %10s  of both parties\n",
                   secondsText(row["processor_seconds"]).c_str());
    if (row.contains("device")) {
      text += format("  on the GPU         %10s  (%s; %d passes had no place there)\n",
                     secondsText(row["device"]["seconds"]).c_str(),
                     row["device"]["name"].get<std::string>().c_str(),
                     row["device"]["declined"].get<int>());
    }
    text += format("  round trips        %10u\n", row["rounds"].get<unsigned>());
    text += format("  MB to the engine   %10.2f  (linear %.2f, powers %.2f)\n",
                   1e-6 * row["bytes_to_engine"].get<double>(),
                   megabytes("linear", "bytes_to_engine"), megabytes("powers", "bytes_to_engine"));
    text += format("  MB to the client   %10.2f  (linear %.2f, powers %.2f)\n",
                   1e-6 * row["bytes_to_client"].get<double>(),
                   megabytes("linear", "bytes_to_client"), megabytes("powers", "bytes_to_client"));
    text += format("  keys, once         %10s  %.2f MB\n",
                   secondsText(row["keys"]["seconds"]).c_str(), megabytes("keys", "bytes"));
    text += format("  peak memory        %10.0f  MB, both parties and both halves of the set\n",
                   1e-6 * row["peak_memory_bytes"].get<double>());
    if (row.contains("largest_error")) {
      text += format("  an inference on it has logits within %.2g of the plaintext network's\n",
                     row["largest_error"].get<double>());
    }
  }
  return text +
         "\nNobody but the two parties takes part. Floor: the larger of round trips and bytes of "
         "the busier direction,\nand of the processor time divided by the cores that the threads "
         "can use. Rounds and bytes are metered.\n";
}

std::string offlinePlot(const json& results) {
  BarChart chart{
      .title = "Time of one correlation set", .valueLabel = "seconds", .logarithmic = false};
  chart.bars = {{"measured", ChartColour::Blue},
                {"floor: computation", ChartColour::Orange},
                {"floor: wire", ChartColour::Grey}};
  for (const json& row : results) {
    chart.note = row["link"].get<std::string>();
    chart.groups.push_back(
        {row["network"].get<std::string>(),
         {row["seconds"]["median"].get<double>(), row["floor"]["computation"].get<double>(),
          row["floor"]["wire"].get<double>()}});
  }
  return toSvg(chart);
}

}  // namespace pillarbox::bench

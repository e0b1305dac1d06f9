#include "engine/bench/inference.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/bench/networks.h"
#include "engine/bench/party.h"
#include "engine/bench/text.h"
#include "engine/core/chart.h"
#include "models/oracle.h"

namespace pillarbox::bench {

namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

json spreadJson(const std::vector<double>& values) {
  const Spread spread = spreadOf(values);
  return {{"median", spread.median},
          {"least", spread.least},
          {"greatest", spread.greatest},
          {"all", values}};
}

Error disagreement(const std::string& what, std::uint64_t metered, std::uint64_t declared) {
  return {ErrorCode::Internal, what + ": the meter shows " + std::to_string(metered) +
                                   ", the plan declares " + std::to_string(declared)};
}

/// The meter and the plan must agree, or the figures beside them mean nothing.
Status compare(const inference::ClientOutcome& outcome, const inference::OnlineCost& cost) {
  if (outcome.rounds != cost.rounds) return disagreement("rounds", outcome.rounds, cost.rounds);
  if (outcome.bytesSent != cost.bytesToEngine) {
    return disagreement("bytes to the engine", outcome.bytesSent, cost.bytesToEngine);
  }
  if (outcome.bytesReceived != cost.bytesToClient) {
    return disagreement("bytes to the client", outcome.bytesReceived, cost.bytesToClient);
  }
  return {};
}

}  // namespace

Result<json> measureInference(const models::LoadedModel& loaded, const InferenceOptions& options) {
  const auto shared = std::make_shared<const inference::EngineModel>(loaded.model, loaded.weights);
  const inference::EngineModel& model = *shared;
  const models::PublicModel& description = model.description();
  PILLARBOX_ASSIGN(const auto activations, model.activations(options.protocol));
  const Dealing dealing(model, options.mode, activations.get());
  const inference::OnlineCost cost = inference::onlineCost(description, activations.get());
  std::optional<OnDevice> device;
  if (options.device) device.emplace(options.device, shared);
  const double linear = device ? 0 : linearSeconds(model);

  PILLARBOX_ASSIGN(const std::unique_ptr<Link> link, Link::open(options.link));
  PILLARBOX_ASSIGN(const double roundTrip, link->measuredRoundTrip());
  const auto batch = static_cast<std::size_t>(options.batch);
  std::vector<ChannelPair> channels;
  kernels::Team team(options.threads);
  std::vector<inference::EngineMemory> memories(batch);
  for (auto& memory : memories) memory.workspace.team = &team;
  for (std::size_t i = 0; i < batch; ++i) {
    PILLARBOX_ASSIGN(ChannelPair pair, link->connect());
    channels.push_back(std::move(pair));
  }

  std::vector<double> seconds, offlineSeconds, engineSeconds, clientSeconds, computing, copying;
  std::uint64_t copiedBytes = 0;
  std::uint64_t offlineBytes = 0;
  double wireRatio = 0, largestError = 0;
  std::string warning;
  for (int repeat = 0; repeat <= options.repeat; ++repeat) {
    std::vector<CorrelationSets> sets;
    const auto offlineStart = Clock::now();
    for (std::size_t i = 0; i < batch; ++i) {
      ChannelPair dealer = memoryPair(), direct = memoryPair();
      PILLARBOX_ASSIGN(CorrelationSets made, dealing.deal(dealer, direct));
      sets.push_back(std::move(made));
      offlineBytes = dealer.engine->meter().bytesSent + direct.client->meter().bytesSent;
    }
    const double offline = secondsSince(offlineStart) / options.batch;

    const auto image = randomImage(description.input, static_cast<std::uint64_t>(repeat));
    std::vector<Result<InferenceRun>> runs(batch, Error{});
    const Relay::Carried before = link->carried();
    const auto start = Clock::now();
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < batch; ++i) {
      threads.emplace_back([&, i] {
        runs[i] = runBoth(channels[i], model, std::move(sets[i]), image, &memories[i],
                          device ? &*device : nullptr, activations.get());
      });
    }
    for (std::thread& thread : threads) thread.join();
    const double online = secondsSince(start);
    const Relay::Carried after = link->carried();

    for (const Result<InferenceRun>& run : runs) {
      if (!run.ok()) return run.error();
      PILLARBOX_TRY(compare(run->client, cost));
      if (!run->client.warning.empty()) warning = run->client.warning;
    }
    if (options.check) {
      const auto expected = models::FixedPointOracle(description, loaded.weights).evaluate(image);
      for (const auto& run : runs) {
        for (std::size_t i = 0; i < expected.logits.size(); ++i) {
          const double exact = std::ldexp(static_cast<double>(expected.logits[i]),
                                          -static_cast<int>(description.outputBits));
          largestError = std::max(largestError, std::abs(run->client.logits[i] - exact));
        }
      }
    }
    if (repeat == 0) continue;  // connections and memory are warm from the second on
    const double carried =
        static_cast<double>(after.toService - before.toService + after.toClient - before.toClient);
    wireRatio =
        carried / options.batch / static_cast<double>(cost.bytesToEngine + cost.bytesToClient);
    seconds.push_back(online);
    offlineSeconds.push_back(offline);
    double engine = 0, client = 0;
    for (const auto& run : runs) {
      engine += run->engineSeconds / options.batch;
      client += run->clientSeconds / options.batch;
      computing.push_back(run->device.computing);
      copying.push_back(run->device.copying);
      copiedBytes = run->device.copiedBytes;
    }
    engineSeconds.push_back(engine);
    clientSeconds.push_back(client);
  }

  // Inferences at the same time share the link, and here also the core.
  const double wire =
      wireFloor(options.link, cost.rounds, batch * cost.bytesToEngine, batch * cost.bytesToClient);
  const double floor = wire + linear * options.batch;
  const double median = spreadOf(seconds).median;
  json result = {{"network", description.name},
                 {"protocol", offline::nameOf(options.protocol)},
                 {"link", linkText(options.link)},
                 {"rtt_ms", options.link.rttMs},
                 {"mbit", options.link.mbit},
                 {"measured_rtt_ms", 1e3 * roundTrip},
                 {"mode", offline::toString(options.mode)},
                 {"batch", options.batch},
                 {"repeat", options.repeat},
                 {"rounds", cost.rounds},
                 {"bytes_to_engine", cost.bytesToEngine},
                 {"bytes_to_client", cost.bytesToClient},
                 {"activations", description.activationCount()},
                 {"multiply_adds", cost.multiplyAdds},
                 {"seconds", spreadJson(seconds)},
                 {"processor_seconds",
                  {{"engine", spreadOf(engineSeconds).median},
                   {"client", spreadOf(clientSeconds).median},
                   {"linear", linear}}},
                 {"floor", {{"wire", wire}, {"total", floor}}},
                 {"ratio", median / floor},
                 {"offline",
                  {{"seconds", spreadJson(offlineSeconds)},
                   {"bytes", offlineBytes},
                   {"weight_bytes", dealing.weightBytes()}}}};
  const double arithmetic = device ? spreadOf(computing).median : linear;
  result["gmacs"] = 1e-9 * static_cast<double>(cost.multiplyAdds) / arithmetic;
  if (device) {
    result["device"] = {{"name", options.device->description()},
                        {"computing", spreadJson(computing)},
                        {"copying", spreadJson(copying)},
                        {"copied_bytes", copiedBytes}};
  }
  if (wire > 0) result["ratio_to_wire"] = median / wire;
  if (wireRatio > 0) result["tls_overhead"] = wireRatio - 1;
  if (options.check) result["largest_error"] = largestError;
  if (!warning.empty()) result["warning"] = warning;
  return result;
}

std::string inferenceTable(const json& results) {
  std::string text;
  std::string link;
  for (const json& row : results) {
    const std::string rowLink =
        row["link"].get<std::string>() +
        format(" (a round trip of 8 bytes takes %.2f ms)", row["measured_rtt_ms"].get<double>());
    if (link.empty() || row["link"] != results[0]["link"] || &row == &results[0]) {
      if (rowLink != link) text += (link.empty() ? "" : "\n") + rowLink + "\n";
      link = rowLink;
      text += format("%-12s %-15s %6s %9s %9s %10s %10s %10s %8s %10s %8s %10s %10s\n", "network",
                     "protocol", "rounds", "MB up", "MB down", "online", "least", "wire", "x wire",
                     "floor", "x floor", "offline", "MB");
    }
    const double wire = row["floor"]["wire"].get<double>();
    text += format(
        "%-12s %-15s %6u %9.3f %9.3f %10s %10s %10s %8s %10s %8.2f %10s %10.1f\n",
        row["network"].get<std::string>().c_str(), row["protocol"].get<std::string>().c_str(),
        row["rounds"].get<unsigned>(), 1e-6 * row["bytes_to_engine"].get<double>(),
        1e-6 * row["bytes_to_client"].get<double>(), secondsText(row["seconds"]["median"]).c_str(),
        secondsText(row["seconds"]["least"]).c_str(), secondsText(wire).c_str(),
        wire > 0 ? format("%.2f", row["ratio_to_wire"].get<double>()).c_str() : "-",
        secondsText(row["floor"]["total"]).c_str(), row["ratio"].get<double>(),
        secondsText(row["offline"]["seconds"]["median"]).c_str(),
        1e-6 * row["offline"]["bytes"].get<double>());
  }
  for (const json& row : results) {
    if (row.contains("device")) {
      const json& own = row["device"];
      text += format(
          "%s on %s: computes %s (least %s); its %.1f MB of correlations take %s there\n",
          row["network"].get<std::string>().c_str(), own["name"].get<std::string>().c_str(),
          secondsText(own["computing"]["median"]).c_str(),
          secondsText(own["computing"]["least"]).c_str(), 1e-6 * own["copied_bytes"].get<double>(),
          secondsText(own["copying"]["median"]).c_str());
    }
    if (row.contains("largest_error")) {
      text +=
          format("%s, %s: logits within %.2g of the plaintext network's\n",
                 row["network"].get<std::string>().c_str(),
                 row["protocol"].get<std::string>().c_str(), row["largest_error"].get<double>());
    }
    if (row.contains("warning")) {
      text += row["network"].get<std::string>() + ": " + row["warning"].get<std::string>() + "\n";
    }
  }
  return text +
         "\nonline: median; wire: round trips and bytes of the busier direction; floor: that and "
         "the linear layers\non one core (with a GPU, that alone); offline: dealt in memory, "
         "computation only, and its bytes. Rounds and\nbytes are metered.\n";
}

std::string inferencePlot(const json& results) {
  BarChart chart{.title = "Time of one inference", .valueLabel = "seconds", .logarithmic = false};
  chart.bars = {{"measured", ChartColour::Blue},
                {"floor: wire and linear layers", ChartColour::Orange},
                {"floor: wire", ChartColour::Grey}};
  for (const json& row : results) {
    chart.note = row["link"].get<std::string>();
    const bool usual = row["protocol"] == offline::nameOf(offline::Protocol::HoneyBadger);
    chart.groups.push_back(
        {row["network"].get<std::string>() +
             (usual ? "" : ", " + row["protocol"].get<std::string>()),
         {row["seconds"]["median"].get<double>(), row["floor"]["total"].get<double>(),
          row["floor"]["wire"].get<double>()}});
  }
  return toSvg(chart);
}

}  // namespace pillarbox::bench

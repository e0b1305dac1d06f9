#include "engine/bench/activation.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <thread>
#include <utility>

#include "engine/bench/party.h"
#include "engine/bench/text.h"
#include "engine/core/chart.h"
#include "engine/protocol/activation.h"
#include "engine/ring/reference.h"

namespace pillarbox::bench {

namespace {

using nlohmann::json;
using protocol::Activation;
using protocol::Words;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kFractionBits = 12;
constexpr double kBound = 5;

models::Polynomial paperPolynomial() {
  return {10, {322, 512, 160, 0, -3}};
}

protocol::Wire wireOf(net::Channel& channel) {
  return {[&channel](std::span<const std::uint64_t> words) { return channel.sendWords(words); },
          [&channel](std::span<std::uint64_t> words) { return channel.receiveWords(words); }};
}

random::Seed seed() {
  return random::freshSeed().value();
}

/// One layer, dealt: what each party holds of it.
struct Layer {
  std::vector<std::int64_t> z;
  Words engineShare, clientResult, engineResult;
  std::unique_ptr<protocol::ClientActivation> client;
  std::unique_ptr<protocol::EngineActivation> engine;
};

offline::DealtActivation dealingOf(const Activation& activation, std::size_t values) {
  return {paperPolynomial(), kFractionBits, activation.products(), 0, values};
}

Words randomWords(std::size_t values) {
  Words words(values);
  random::Expander(seed(), 0).fill(std::span<std::uint64_t>(words));
  return words;
}

/// Words in memory, between two that run one after the other.
struct Pipe {
  Words words;
  std::size_t taken = 0;
  offline::WordSink sink() {
    return [this](std::span<const std::uint64_t> piece) -> Status {
      words.insert(words.end(), piece.begin(), piece.end());
      return {};
    };
  }
  offline::WordSource source() {
    return [this](std::span<std::uint64_t> piece) -> Status {
      if (words.size() - taken < piece.size())
        return Error{ErrorCode::Internal, "words are missing"};
      std::copy_n(words.begin() + static_cast<std::ptrdiff_t>(taken), piece.size(), piece.begin());
      taken += piece.size();
      return {};
    };
  }
};

Result<Layer> dealLayer(const Activation& activation, std::size_t values) {
  Layer layer;
  Words clientShare = randomWords(values);
  const Words random = randomWords(values);
  const auto range = static_cast<std::uint64_t>(std::ldexp(2 * kBound, kFractionBits)) - 1;
  for (std::size_t i = 0; i < values; ++i) {
    layer.z.push_back(static_cast<std::int64_t>(random[i] % range) -
                      static_cast<std::int64_t>(range / 2));
    layer.engineShare.push_back(static_cast<std::uint64_t>(layer.z[i]) - clientShare[i]);
  }
  const random::Seed clientSeed = seed(), engineSeed = seed();
  const offline::DealtActivation dealing = dealingOf(activation, values);
  Pipe toClient, toEngine;
  PILLARBOX_TRY(dealing.deal(clientSeed, engineSeed, toClient.sink()));
  PILLARBOX_ASSIGN(auto client, dealing.assembleClient(std::move(clientShare), clientSeed,
                                                       toClient.source(), toEngine.sink()));
  PILLARBOX_ASSIGN(auto engine, dealing.assembleEngine(engineSeed, toEngine.source()));
  layer.client = activation.client(std::move(client));
  layer.engine = activation.engine(std::move(engine));
  layer.clientResult.resize(values);
  layer.engineResult.resize(values);
  return layer;
}

/// The greatest distance from the exact polynomial rounded down, in ulps.
double largestError(const Layer& layer) {
  const models::Polynomial polynomial = paperPolynomial();
  const std::uint32_t drop =
      polynomial.degree() * kFractionBits + polynomial.fractionBits - kFractionBits;
  double largest = 0;
  for (std::size_t i = 0; i < layer.z.size(); ++i) {
    const U128 exact = ring::reference::polynomial(polynomial, kFractionBits, layer.z[i]);
    const auto expected = static_cast<std::uint64_t>(static_cast<I128>(exact) >> drop);
    const auto error =
        static_cast<std::int64_t>(layer.clientResult[i] + layer.engineResult[i] - expected);
    largest = std::max(largest, std::abs(static_cast<double>(error)));
  }
  return largest;
}

/// Round trips until the client has its share: messages go to and fro, the first to the engine.
std::uint32_t roundsOf(const protocol::Cost& cost) {
  return (1 + cost.messages) / 2;
}

Status run(ChannelPair& channels, std::vector<Layer>& layers, std::size_t values) {
  Status engine;
  std::thread thread([&] {
    Words input(values);
    for (Layer& layer : layers) {
      engine = protocol::receiveAll(wireOf(*channels.engine), input);
      if (engine.ok()) {
        engine =
            layer.engine->evaluate(wireOf(*channels.engine), layer.engineShare, layer.engineResult);
      }
      if (!engine.ok()) {
        channels.engine->cancel();
        return;
      }
    }
  });
  Status client;
  const Words* input = &layers.front().clientResult;  // any words of the right number do
  for (Layer& layer : layers) {
    client = protocol::sendAll(wireOf(*channels.client), *input);
    if (client.ok()) client = layer.client->evaluate(wireOf(*channels.client), layer.clientResult);
    if (!client.ok()) {
      channels.client->cancel();
      break;
    }
    input = &layer.clientResult;
  }
  thread.join();
  PILLARBOX_TRY(std::move(client));
  return engine;
}

Result<json> measureProtocol(Link& link, protocol::Protocol which, const Activation& activation,
                             const ActivationOptions& options, double& error) {
  const protocol::Cost cost = activation.cost(options.values);
  const auto layerCount = static_cast<std::size_t>(options.repeat);
  PILLARBOX_ASSIGN(ChannelPair channels, link.connect());
  std::vector<double> seconds;
  // The first pass warms the connection. Three more, of which the median counts.
  for (int pass = 0; pass <= 3; ++pass) {
    std::vector<Layer> layers;
    for (std::size_t i = 0; i < layerCount; ++i) {
      PILLARBOX_ASSIGN(Layer layer, dealLayer(activation, options.values));
      layers.push_back(std::move(layer));
    }
    const net::MeterReading before = channels.client->meter();
    const auto start = Clock::now();
    PILLARBOX_TRY(run(channels, layers, options.values));
    const double passed = std::chrono::duration<double>(Clock::now() - start).count();
    if (pass > 0) seconds.push_back(passed / static_cast<double>(layerCount));

    const net::MeterReading after = channels.client->meter();
    const auto payload = [&](std::uint64_t bytes, std::uint64_t frames) {
      return (bytes - net::kFrameHeaderBytes * frames) / layerCount;
    };
    const std::uint64_t sent =
        payload(after.bytesSent - before.bytesSent, after.framesSent - before.framesSent);
    const std::uint64_t received = payload(after.bytesReceived - before.bytesReceived,
                                           after.framesReceived - before.framesReceived);
    const std::size_t rounds = (after.depth - before.depth) / (2 * layerCount);
    if (sent != 8 * options.values + cost.bytesToEngine || received != cost.bytesToClient ||
        (layerCount > 1 && rounds != roundsOf(cost))) {
      return Error{ErrorCode::Internal, std::string(protocol::toString(which)) +
                                            ": the meter disagrees with the declared cost"};
    }
    for (const Layer& layer : layers) error = std::max(error, largestError(layer));
    if (error > activation.errorBound()) {
      return Error{ErrorCode::Internal, std::string(protocol::toString(which)) +
                                            ": a value is outside the protocol's error bound"};
    }
  }
  const double floor = wireFloor(link.shape(), roundsOf(cost),
                                 8 * options.values + cost.bytesToEngine, cost.bytesToClient);
  const Spread spread = spreadOf(seconds);
  json row = {{"protocol", protocol::toString(which)},
              {"seconds", spread.median},
              {"least", spread.least},
              {"greatest", spread.greatest},
              {"floor", floor}};
  if (floor > 0) row["ratio"] = spread.median / floor;
  return row;
}

}  // namespace

Result<json> measureActivation(const ActivationOptions& options) {
  json result = {{"values", options.values},
                 {"mbit", options.mbit},
                 {"repeat", options.repeat},
                 {"protocols", json::array()},
                 {"links", json::array()}};
  std::vector<std::unique_ptr<const Activation>> activations;
  for (const protocol::Protocol which : protocol::allProtocols()) {
    activations.push_back(Activation::make(which, paperPolynomial(), kFractionBits, kBound));
    const protocol::Cost cost = activations.back()->cost(options.values);
    const auto offline = dealingOf(*activations.back(), options.values).cost();
    result["protocols"].push_back(
        {{"protocol", protocol::toString(which)},
         {"messages", cost.messages},
         {"rounds", roundsOf(cost)},
         {"bytes_to_client", cost.bytesToClient},
         {"bytes_to_engine", 8 * options.values + cost.bytesToEngine},
         {"offline_bytes", 8 * (offline.correctionWords + offline.clientWords)},
         {"error_bound_ulps", activations.back()->errorBound()}});
  }
  std::vector<double> errors(activations.size(), 0);
  for (const double rtt : options.rttMs) {
    PILLARBOX_ASSIGN(const std::unique_ptr<Link> link, Link::open({rtt, options.mbit}));
    PILLARBOX_ASSIGN(const double measured, link->measuredRoundTrip());
    json row = {{"rtt_ms", rtt}, {"measured_rtt_ms", 1e3 * measured}, {"protocols", json::array()}};
    for (std::size_t p = 0; p < activations.size(); ++p) {
      PILLARBOX_ASSIGN(json measuredProtocol, measureProtocol(*link, protocol::allProtocols()[p],
                                                              *activations[p], options, errors[p]));
      row["protocols"].push_back(std::move(measuredProtocol));
    }
    result["links"].push_back(std::move(row));
  }
  for (std::size_t p = 0; p < errors.size(); ++p) {
    result["protocols"][p]["error_ulps"] = errors[p];
  }
  return result;
}

std::string activationTable(const json& result) {
  std::string text = format(
      "one layer of %llu values, degree 4, %s\n\n", result["values"].get<unsigned long long>(),
      result["mbit"].get<double>() > 0 ? format("%g Mbit/s", result["mbit"].get<double>()).c_str()
                                       : "no limit of the rate");
  text += format("%-16s %8s %6s %9s %9s %11s %10s %10s\n", "protocol", "messages", "rounds",
                 "MB up", "MB down", "offline MB", "error", "bound");
  for (const json& row : result["protocols"]) {
    text += format("%-16s %8u %6u %9.3f %9.3f %11.3f %6.0f ulp %6.1f ulp\n",
                   row["protocol"].get<std::string>().c_str(), row["messages"].get<unsigned>(),
                   row["rounds"].get<unsigned>(), 1e-6 * row["bytes_to_engine"].get<double>(),
                   1e-6 * row["bytes_to_client"].get<double>(),
                   1e-6 * row["offline_bytes"].get<double>(), row["error_ulps"].get<double>(),
                   row["error_bound_ulps"].get<double>());
  }
  text += format("\n%10s %10s", "round trip", "measured");
  for (const json& row : result["protocols"]) {
    text += format("  %22s", row["protocol"].get<std::string>().c_str());
  }
  text += "\n";
  for (const json& link : result["links"]) {
    text += format("%7g ms %7.2f ms", link["rtt_ms"].get<double>(),
                   link["measured_rtt_ms"].get<double>());
    for (const json& row : link["protocols"]) {
      const std::string ratio =
          row.contains("ratio") ? format("(%.2f)", row["ratio"].get<double>()) : "";
      text += format("  %13s %8s", secondsText(row["seconds"]).c_str(), ratio.c_str());
    }
    text += "\n";
  }
  return text +
         "\nTime of a layer, median of three passes, and its ratio to round trips and bytes. An "
         "ulp is 2^-12.\n";
}

std::string activationPlot(const json& result) {
  LineChart chart{.title = "One activation layer of " +
                           std::to_string(result["values"].get<std::uint64_t>()) + " values",
                  .note = "degree 4"};
  chart.x = {.label = "round trip, ms", .logarithmic = true};
  chart.y = {.label = "seconds", .logarithmic = true};
  const ChartColour colours[] = {ChartColour::Blue, ChartColour::Orange, ChartColour::Green,
                                 ChartColour::Purple};
  for (std::size_t p = 0; p < result["protocols"].size(); ++p) {
    ChartLine line{.name = result["protocols"][p]["protocol"].get<std::string>(),
                   .colour = colours[p % 4],
                   .dots = true};
    for (const json& link : result["links"]) {
      line.points.emplace_back(link["rtt_ms"].get<double>(),
                               link["protocols"][p]["seconds"].get<double>());
    }
    chart.lines.push_back(std::move(line));
  }
  return toSvg(chart);
}

}  // namespace pillarbox::bench

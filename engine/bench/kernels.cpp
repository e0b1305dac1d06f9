#include "engine/bench/kernels.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "engine/bench/device_kernels.h"
#include "engine/bench/networks.h"
#include "engine/bench/party.h"
#include "engine/bench/text.h"
#include "engine/core/chart.h"
#include "engine/kernels/elementwise.h"
#include "engine/kernels/packed.h"
#include "engine/protocol/honeybadger.h"
#include "engine/random/random.h"

namespace pillarbox::bench {

namespace {

using kernels::Method;
using nlohmann::json;

/// The fastest of as many runs as fit `budget` seconds, and of one at least.
double fastest(double budget, const std::function<void()>& run) {
  double best = std::numeric_limits<double>::infinity();
  const double end = threadSeconds() + budget;
  do {
    const double start = threadSeconds();
    run();
    best = std::min(best, threadSeconds() - start);
  } while (threadSeconds() < end);
  return best;
}

class Data {
 public:
  Data() : m_expander(random::Seed{}, 0) {}
  SecureVector<std::uint64_t> words(std::size_t count) {
    SecureVector<std::uint64_t> result(count);
    m_expander.fill(result);
    return result;
  }
  std::vector<std::int32_t> weights(std::size_t count) {
    std::vector<std::int32_t> result(count);
    const auto random = words(count);
    for (std::size_t i = 0; i < count; ++i) {
      result[i] = static_cast<std::int32_t>(random[i] & 0x1fff) - 4096;
    }
    return result;
  }

 private:
  random::Expander m_expander;  // of a fixed seed: measurements need no secrets
};

json measureLayer(const models::LinearOp& op, const std::vector<Method>& methods, double seconds,
                  const device::DevicePtr& device, Data& data) {
  const auto weights = data.weights(op.weightCount());
  const auto in = data.words(op.in.size());
  SecureVector<std::uint64_t> out(op.out.size());
  json result = {{"shape", shapeText(op)}, {"multiply_adds", multiplyAdds(op)}};
  for (const Method method : methods) {
    kernels::Workspace workspace;
    const kernels::PackedWeights packed(op, weights, method);
    const auto scratch = workspace.bytes(packed.scratchBytes());
    packed.apply(in, scratch, out);  // touch the memory
    result["seconds"][kernels::methodName(method)] =
        fastest(seconds, [&] { packed.apply(in, scratch, out); });
  }
  if (device) result["device"] = measureDeviceLayer(device, op, weights, in, out, seconds);
  return result;
}

/// Nanoseconds a value of what surrounds the linear maps, on tensors of 2^15 values (a chunk).
json measureElementwise(double seconds, Data& data) {
  constexpr std::size_t kCount = std::size_t{1} << 15;
  models::Polynomial polynomial;  // a degree-4 fit of ReLU
  polynomial.coefficients = {322, 512, 160, 0, -3};
  const auto opening = data.words(kCount), mask = data.words(kCount), more = data.words(kCount);
  SecureVector<std::uint64_t> out = data.words(kCount);
  std::vector<SecureVector<std::uint64_t>> shares;
  std::vector<const U128*> coefficients;
  for (std::uint32_t k = 0; k < polynomial.degree(); ++k) {
    shares.push_back(data.words(2 * kCount));
    coefficients.push_back(reinterpret_cast<const U128*>(shares.back().data()));
  }
  const std::vector<std::int64_t> bias(64, 12345);
  json result = json::array();
  const auto measure = [&](const char* name, double bytes, const std::function<void()>& run) {
    const double time = fastest(seconds, run);
    result.push_back({{"operation", name},
                      {"nanoseconds_a_value", 1e9 * time / kCount},
                      {"gigabytes_a_second", 1e-9 * bytes * kCount / time}});
  };
  const protocol::HoneyBadger honeyBadger(polynomial, 12);
  measure("HoneyBadger degree 4, engine", 80,
          [&] { honeyBadger.evaluateEngine(opening, coefficients, out); });
  measure("HoneyBadger degree 4, client", 80,
          [&] { honeyBadger.evaluateClient(opening, coefficients, out); });
  measure("bias, masks and truncation", 32,
          [&] { kernels::finishShare(out, mask, bias, 12, more); });
  measure("shortcut", 24, [&] { kernels::addScaled(4096, mask, out); });
  random::Expander expander(random::Seed{}, 1);
  measure("expanding a seed", 8, [&] { expander.fill(out); });
  return result;
}

}  // namespace

json measureKernels(const KernelOptions& options) {
  const std::vector<Method> methods =
      options.methods.empty() ? kernels::availableMethods() : options.methods;
  Data data;
  json result = {{"linear", json::array()}, {"networks", json::array()}};
  if (options.device) {
    result["device"] = {{"name", options.device->description()},
                        {"peaks", measureDevicePeaks(options.device)}};
  }
  for (const Method method : methods) result["methods"].push_back(kernels::methodName(method));
  for (const std::string& name : options.networks.empty() ? networkNames() : options.networks) {
    const models::PublicModel model = randomNetwork(name).value().model;
    json sum = {{"network", name},
                {"multiply_adds", multiplyAdds(model)},
                {"activations", model.activationCount()},
                {"seconds", json::object()}};
    for (const Layer& layer : layersOf(model)) {
      json measured = measureLayer(layer.op, methods, options.seconds, options.device, data);
      measured["network"] = name;
      measured["count"] = layer.count;
      for (const auto& [method, seconds] : measured["seconds"].items()) {
        sum["seconds"][method] =
            sum["seconds"].value(method, 0.0) + layer.count * seconds.get<double>();
      }
      if (options.device) {
        const json& own = measured["device"];
        const double each = own["seconds"][own["method"].get<std::string>()].get<double>();
        sum["device"]["seconds"] = sum["device"].value("seconds", 0.0) + layer.count * each;
      }
      result["linear"].push_back(std::move(measured));
    }
    result["networks"].push_back(std::move(sum));
  }
  result["elementwise"] = measureElementwise(options.seconds, data);
  return result;
}

namespace {

/// The device's part: what it does by each method, and how much of the ceiling that is.
std::string deviceTable(const json& result) {
  const json& peaks = result["device"]["peaks"];
  std::string text = format(
      "\n%s\nceilings, measured: products of tiles %.0f GMAC/s, words %.0f GMAC/s, copies "
      "%.0f GB/s\n\n",
      result["device"]["name"].get<std::string>().c_str(), peaks["tile_gmacs"].get<double>(),
      peaks["word_gmacs"].get<double>(), peaks["copy_gigabytes"].get<double>());
  text += format("%-10s %-22s %5s %9s %6s %9s %8s %9s %8s %9s   GMAC/s\n", "network", "layer",
                 "count", "MMAC", "used", "tiles", "of peak", "words", "of peak", "rows");
  for (const json& layer : result["linear"]) {
    const json& own = layer["device"];
    const double work = layer["multiply_adds"].get<double>();
    const auto rate = [&](const char* method) {
      return own["seconds"].contains(method) ? 1e-9 * work / own["seconds"][method].get<double>()
                                             : 0.0;
    };
    const auto cell = [](double value) { return value > 0 ? format("%.1f", value) : "-"; };
    const auto share = [](double value, double peak) {
      return value > 0 ? format("%.1f%%", 100 * value / peak) : std::string("-");
    };
    const double tiles = rate("tiles"), words = rate("words");
    text +=
        format("%-10s %-22s %5d %9.1f %6s %9s %8s %9s %8s %9s\n",
               layer["network"].get<std::string>().c_str(),
               layer["shape"].get<std::string>().c_str(), layer["count"].get<int>(), 1e-6 * work,
               own["method"].get<std::string>().c_str(), cell(tiles).c_str(),
               share(tiles, peaks["tile_gmacs"].get<double>()).c_str(), cell(words).c_str(),
               share(words, peaks["word_gmacs"].get<double>()).c_str(), cell(rate("rows")).c_str());
  }
  text += "\n" + format("%-10s %9s %9s %9s\n", "network", "MMAC", "ms", "GMAC/s");
  for (const json& network : result["networks"]) {
    const double seconds = network["device"]["seconds"].get<double>();
    const double work = network["multiply_adds"].get<double>();
    text += format("%-10s %9.1f %9.3f %9.1f\n", network["network"].get<std::string>().c_str(),
                   1e-6 * work, 1e3 * seconds, 1e-9 * work / seconds);
  }
  return text +
         "linear layers of one inference on the device, by the methods that inferences use\n";
}

}  // namespace

std::string kernelTable(const json& result) {
  const auto& methods = result["methods"];
  std::string text = format("%-10s %-22s %5s %9s", "network", "layer", "count", "MMAC");
  for (const auto& method : methods) text += format(" %9s", method.get<std::string>().c_str());
  text += "   GMAC/s\n";
  for (const auto& layer : result["linear"]) {
    const double work = layer["multiply_adds"].get<double>();
    text +=
        format("%-10s %-22s %5d %9.1f", layer["network"].get<std::string>().c_str(),
               layer["shape"].get<std::string>().c_str(), layer["count"].get<int>(), 1e-6 * work);
    for (const auto& method : methods) {
      text += format(" %9.1f", 1e-9 * work / layer["seconds"][method].get<double>());
    }
    text += "\n";
  }
  text += "\n" + format("%-10s %9s %12s", "network", "MMAC", "activations");
  for (const auto& method : methods) text += format(" %9s", method.get<std::string>().c_str());
  text += "   ms, linear layers of one inference\n";
  for (const auto& network : result["networks"]) {
    text += format("%-10s %9.1f %12llu", network["network"].get<std::string>().c_str(),
                   1e-6 * network["multiply_adds"].get<double>(),
                   network["activations"].get<unsigned long long>());
    for (const auto& method : methods) {
      text += format(" %9.2f", 1e3 * network["seconds"][method].get<double>());
    }
    text += "\n";
  }
  text += "\n" + format("%-38s %10s %8s\n", "operation", "ns/value", "GB/s");
  for (const auto& row : result["elementwise"]) {
    text +=
        format("%-38s %10.2f %8.2f\n", row["operation"].get<std::string>().c_str(),
               row["nanoseconds_a_value"].get<double>(), row["gigabytes_a_second"].get<double>());
  }
  return result.contains("device") ? text + deviceTable(result) : text;
}

std::string kernelPlot(const json& result) {
  BarChart chart{.title = "Linear layers of one inference, one core",
                 .valueLabel = "10^9 multiply-adds a second"};
  const ChartColour colours[] = {ChartColour::Blue,   ChartColour::Orange, ChartColour::Green,
                                 ChartColour::Purple, ChartColour::Red,    ChartColour::Grey};
  for (const auto& method : result["methods"]) {
    chart.bars.emplace_back(method.get<std::string>(), colours[chart.bars.size() % 6]);
  }
  if (result.contains("device")) {
    chart.title = "Linear layers of one inference, one core and a GPU";
    chart.bars.emplace_back("GPU", colours[chart.bars.size() % 6]);
    chart.note = result["device"]["name"].get<std::string>();
    chart.logarithmic = true;
  }
  for (const auto& network : result["networks"]) {
    BarGroup group{network["network"].get<std::string>(), {}};
    for (const auto& method : result["methods"]) {
      group.values.push_back(1e-9 * network["multiply_adds"].get<double>() /
                             network["seconds"][method.get<std::string>()].get<double>());
    }
    if (result.contains("device")) {
      group.values.push_back(1e-9 * network["multiply_adds"].get<double>() /
                             network["device"]["seconds"].get<double>());
    }
    chart.groups.push_back(std::move(group));
  }
  return toSvg(chart);
}

}  // namespace pillarbox::bench

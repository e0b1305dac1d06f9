// pillarbox-bench: measurements of this machine, of the protocols and of whole inferences.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "engine/bench/activation.h"
#include "engine/bench/inference.h"
#include "engine/bench/kernels.h"
#include "engine/bench/networks.h"
#include "engine/bench/offline.h"
#include "engine/bench/relay.h"
#include "engine/bench/throughput.h"
#include "engine/inference/device_check.h"
#include "engine/offline/two_party/party.h"
#include "models/onnx_reader.h"
#include "net/message_io.h"

namespace {

using namespace pillarbox;
using nlohmann::json;

constexpr const char* kFooter =
    "Examples:\n"
    "  pillarbox-bench kernels --network resnet18\n"
    "  pillarbox-bench activation --plot activation.svg\n"
    "  pillarbox-bench inference --network resnet18 --link wan --plot resnet18.svg\n"
    "  pillarbox-bench inference --network minionn --protocol espn --protocol horner\n"
    "  pillarbox-bench inference --model models/zoo/cifar10-pillar.onnx --link 20ms,50Mbit\n"
    "  pillarbox-bench offline --model models/zoo/cifar10-pillar.onnx --check\n"
    "  pillarbox-bench throughput --model models/zoo/cifar10-pillar.onnx\n"
    "\n"
    "Links: lan (0.25 ms, 1 Gbit/s), wan (100 ms, 100 Mbit/s), none, or a round trip and a rate\n"
    "such as 100ms,100Mbit. A relay in this process delays and shapes both directions between "
    "real\n"
    "TLS sockets; it needs no root, and loses and congests nothing. Networks have random weights,\n"
    "so nothing has to be trained. What the figures mean: docs/benchmarks.md.";

/// What every subcommand writes beside its table.
struct Output {
  std::string jsonFile, plotFile;

  void addTo(CLI::App* command) {
    command->add_option("--json", jsonFile, "Write the results to this file, \"-\" for stdout")
        ->type_name("FILE");
    command->add_option("--plot", plotFile, "Draw the results to this file")->type_name("FILE.svg");
  }
  void write(const json& result, const std::function<std::string(const json&)>& table,
             const std::function<std::string(const json&)>& chart) const {
    const bool onStdout = jsonFile == "-";
    std::fputs((onStdout ? result.dump(2) + "\n" : table(result)).c_str(), stdout);
    if (!jsonFile.empty() && !onStdout) writeFile(jsonFile, result.dump(2) + "\n");
    if (!plotFile.empty()) writeFile(plotFile, chart(result));
  }

 private:
  static void writeFile(const std::string& path, const std::string& content) {
    std::ofstream out(path);
    out << content;
    out.close();
    if (!out) throw std::runtime_error("the file " + path + " cannot be written");
  }
};

template <typename T>
T orThrow(Result<T> result) {
  if (!result.ok()) throw std::runtime_error(result.error().message);
  return std::move(result).value();
}

/// What computes the engine's side.
struct DeviceChoice {
  std::string name = "cpu";

  void addTo(CLI::App* command) {
    command
        ->add_option(
            "--device", name,
            "What computes the engine's side: the processor, or a GPU (cuda), which must be "
            "there")
        ->check(CLI::IsMember({"cpu", "cuda"}))
        ->capture_default_str();
  }
  /// Null for the processor. Throws where there is no device, or one that computes something else.
  device::DevicePtr open(Status (*checkDevice)(const device::DevicePtr&)) const {
    if (name == "cpu") return nullptr;
    device::DevicePtr device = orThrow(device::Device::load());
    const Status good = checkDevice(device);
    if (!good.ok()) throw std::runtime_error(good.error().message);
    return device;
  }
};

/// Which models a subcommand measures.
struct Models {
  std::vector<std::string> networks, files;

  void addTo(CLI::App* command) {
    command
        ->add_option("--network", networks,
                     "A network of the paper with random weights; may be given several times")
        ->check(CLI::IsMember(bench::networkNames()));
    command->add_option("--model", files, "A model file; may be given several times")
        ->type_name("FILE.onnx");
  }
  /// Calls `use` with each, one after the other; resnet18 where none was asked for.
  void each(const std::function<void(const models::LoadedModel&)>& use) const {
    for (const std::string& file : files) {
      models::LoadedModel loaded = orThrow(models::loadOnnx(std::filesystem::path(file)));
      loaded.model.name = std::filesystem::path(file).stem().string();
      use(loaded);
    }
    for (const std::string& name : networks) use(orThrow(bench::randomNetwork(name)));
    if (files.empty() && networks.empty()) use(orThrow(bench::randomNetwork("resnet18")));
  }
};

struct KernelsCommand {
  explicit KernelsCommand(CLI::App& app)
      : command(app.add_subcommand(
            "kernels", "Linear layers, polynomial and masks, on one core, and on a GPU")) {
    std::vector<std::string> methods;
    for (const kernels::Method method : kernels::availableMethods()) {
      methods.emplace_back(kernels::methodName(method));
    }
    command->add_option("--network", options.networks, "Only the layers of these networks")
        ->check(CLI::IsMember(bench::networkNames()));
    command->add_option("--method", chosen, "Only these methods")->check(CLI::IsMember(methods));
    command->add_option("--seconds", options.seconds, "Time for each measurement")
        ->check(CLI::Range(0.0, 60.0))
        ->capture_default_str();
    device.addTo(command);
    output.addTo(command);
  }
  void run() {
    for (const kernels::Method method : kernels::availableMethods()) {
      const bool wanted =
          std::find(chosen.begin(), chosen.end(), kernels::methodName(method)) != chosen.end();
      if (wanted) options.methods.push_back(method);
    }
    options.device = device.open(inference::checkDevice);
    output.write(bench::measureKernels(options), bench::kernelTable, bench::kernelPlot);
  }

  CLI::App* command;
  DeviceChoice device;
  bench::KernelOptions options;
  std::vector<std::string> chosen;
  Output output;
};

struct ActivationCommand {
  explicit ActivationCommand(CLI::App& app)
      : command(app.add_subcommand("activation",
                                   "One activation layer by every protocol, over many delays")) {
    command->add_option("--rtt-ms", options.rttMs, "Round trips of the links, in milliseconds")
        ->check(CLI::Range(0.01, 10000.0))
        ->capture_default_str();
    command->add_option("--mbit", options.mbit, "Rate of the links, 10^6 bits a second; 0: any")
        ->check(CLI::Range(0.0, 1e6))
        ->capture_default_str();
    command->add_option("--values", options.values, "Values in the layer")
        ->check(CLI::Range(1, 1 << 22))
        ->capture_default_str();
    command->add_option("--repeat", options.repeat, "Layers one after the other")
        ->check(CLI::Range(1, 100))
        ->capture_default_str();
    output.addTo(command);
  }
  void run() const {
    output.write(orThrow(bench::measureActivation(options)), bench::activationTable,
                 bench::activationPlot);
  }

  CLI::App* command;
  bench::ActivationOptions options;
  Output output;
};

struct InferenceCommand {
  explicit InferenceCommand(CLI::App& app)
      : command(app.add_subcommand("inference", "Whole inferences over a link")) {
    models.addTo(command);
    command->add_option("--link", link, "lan, wan, none, or such as 100ms,100Mbit")
        ->capture_default_str();
    command->add_option("--repeat", options.repeat, "Measured inferences; one more comes before")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    command->add_option("--batch", options.batch, "Inferences at the same time, sharing the link")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    command->add_option("--threads", options.threads, "Of the engine; 0: one a core")
        ->check(CLI::Range(0, 256))
        ->capture_default_str();
    command->add_flag("--first-party", firstParty,
                      "Correlations dealt by the engine itself, as in the paper");
    command
        ->add_option("--protocol", protocols,
                     "How activations are evaluated (default: honeybadger); may be given several "
                     "times")
        ->check(CLI::IsMember(offline::protocolNames()));
    command->add_flag("--check", options.check, "Compare the logits with the plaintext network's");
    device.addTo(command);
    output.addTo(command);
  }
  void run() {
    options.link = orThrow(bench::parseLink(link));
    if (firstParty) options.mode = offline::Mode::FirstParty;
    options.device = device.open(inference::checkDevice);
    if (protocols.empty()) protocols.emplace_back(offline::nameOf(options.protocol));
    json results = json::array();
    models.each([&](const models::LoadedModel& loaded) {
      for (const std::string& name : protocols) {
        options.protocol = offline::protocolNamed(name).value();
        results.push_back(orThrow(bench::measureInference(loaded, options)));
      }
    });
    output.write(results, bench::inferenceTable, bench::inferencePlot);
  }

  CLI::App* command;
  Models models;
  DeviceChoice device;
  bench::InferenceOptions options;
  std::string link = "wan";
  std::vector<std::string> protocols;
  bool firstParty = false;
  Output output;
};

struct OfflineCommand {
  explicit OfflineCommand(CLI::App& app)
      : command(app.add_subcommand("offline",
                                   "Correlation sets made by the two parties, without a dealer")) {
    models.addTo(command);
    command->add_option("--link", link, "lan, wan, none, or such as 100ms,100Mbit")
        ->capture_default_str();
    command->add_option("--repeat", options.repeat, "Sets, one after the other")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    command
        ->add_option("--protocol", protocol,
                     "How activations will be evaluated (default: honeybadger)")
        ->check(CLI::IsMember(offline::protocolNames()));
    command->add_option("--threads", options.threads, "Of each party")
        ->check(CLI::Range(1, 256))
        ->capture_default_str();
    command->add_flag("--check", options.check,
                      "Run an inference on the last set and compare its logits");
    device.addTo(command);
    output.addTo(command);
  }
  void run() {
    options.link = orThrow(bench::parseLink(link));
    options.device = device.open(offline::two_party::checkDevice);
    options.protocol = offline::protocolNamed(protocol).value_or(options.protocol);
    json results = json::array();
    models.each([&](const models::LoadedModel& loaded) {
      results.push_back(orThrow(bench::measureOffline(loaded, options)));
    });
    output.write(results, bench::offlineTable, bench::offlinePlot);
  }

  CLI::App* command;
  Models models;
  DeviceChoice device;
  bench::OfflineOptions options;
  std::string link = "none", protocol;
  Output output;
};

struct ThroughputCommand {
  explicit ThroughputCommand(CLI::App& app)
      : command(app.add_subcommand(
            "throughput", "Inferences a second of one engine, beside what its kernels allow")) {
    command->footer(
        "Clients and engine run in this process and share its cores. \"Kernels\" is therefore the\n"
        "arithmetic of both parties, by the same code on as many threads, over a channel that\n"
        "takes everything and answers at once: no sockets, no TLS, no waiting. The two are\n"
        "measured alternately. Correlation sets are dealt beforehand, outside the time.");
    models.addTo(command);
    command->add_option("--clients", options.clients, "At the same time, each with a connection")
        ->check(CLI::Range(1, 256))
        ->capture_default_str();
    command->add_option("--each", options.each, "Inferences of each client in one measurement")
        ->check(CLI::Range(1, 100))
        ->capture_default_str();
    command->add_option("--repeat", options.repeat, "Measurements; one more comes before")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    command->add_option("--threads", options.threads, "Of one inference; 0: one a core")
        ->check(CLI::Range(0, 256))
        ->capture_default_str();
    device.addTo(command);
    output.addTo(command);
  }
  void run() {
    options.device = device.open(inference::checkDevice);
    json results = json::array();
    models.each([&](const models::LoadedModel& loaded) {
      results.push_back(orThrow(bench::measureThroughput(loaded, options)));
    });
    output.write(results, bench::throughputTable, bench::throughputPlot);
  }

  CLI::App* command;
  Models models;
  DeviceChoice device;
  bench::ThroughputOptions options;
  Output output;
};

}  // namespace

int main(int argc, char** argv) try {
  CLI::App app(
      "Measures Pillarbox: the kernels, the protocols and whole inferences, each with\n"
      "rounds, bytes, seconds and the least that they could be.",
      "pillarbox-bench");
  app.set_version_flag("--version", net::softwareName());
  app.footer(kFooter);
  app.require_subcommand(1);
  KernelsCommand kernelsCommand(app);
  ActivationCommand activationCommand(app);
  InferenceCommand inferenceCommand(app);
  OfflineCommand offlineCommand(app);
  ThroughputCommand throughputCommand(app);
  CLI11_PARSE(app, argc, argv);
  if (kernelsCommand.command->parsed()) kernelsCommand.run();
  if (activationCommand.command->parsed()) activationCommand.run();
  if (inferenceCommand.command->parsed()) inferenceCommand.run();
  if (offlineCommand.command->parsed()) offlineCommand.run();
  if (throughputCommand.command->parsed()) throughputCommand.run();
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "pillarbox-bench: %s\n", error.what());
  return 1;
}

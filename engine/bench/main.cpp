// pillarbox-bench: measurements of this machine and of whole inferences.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "engine/bench/kernels.h"
#include "engine/bench/networks.h"
#include "net/message_io.h"

int main(int argc, char** argv) try {
  using namespace pillarbox;
  CLI::App app("Measures Pillarbox on this machine", "pillarbox-bench");
  app.set_version_flag("--version", net::softwareName());
  app.require_subcommand(1);

  CLI::App* kernelsCommand =
      app.add_subcommand("kernels", "Linear layers, polynomial and masks, on one core");
  bench::KernelOptions options;
  std::vector<std::string> names, methods;
  for (const bench::Network& network : bench::networks()) names.push_back(network.name);
  for (const kernels::Method method : kernels::availableMethods()) {
    methods.emplace_back(kernels::methodName(method));
  }
  std::vector<std::string> chosen;
  bool asJson = false;
  kernelsCommand->add_option("--network", options.networks, "Only the layers of these networks")
      ->check(CLI::IsMember(names));
  kernelsCommand->add_option("--method", chosen, "Only these methods")
      ->check(CLI::IsMember(methods));
  kernelsCommand->add_option("--seconds", options.seconds, "Time for each measurement")
      ->check(CLI::Range(0.0, 60.0))
      ->capture_default_str();
  kernelsCommand->add_flag("--json", asJson, "Print JSON instead of a table");
  CLI11_PARSE(app, argc, argv);

  for (const kernels::Method method : kernels::availableMethods()) {
    const bool wanted =
        std::find(chosen.begin(), chosen.end(), kernels::methodName(method)) != chosen.end();
    if (wanted) options.methods.push_back(method);
  }
  const nlohmann::json result = bench::measureKernels(options);
  const std::string text = asJson ? result.dump(2) + "\n" : bench::kernelTable(result);
  std::fputs(text.c_str(), stdout);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "pillarbox-bench: %s\n", error.what());
  return 1;
}

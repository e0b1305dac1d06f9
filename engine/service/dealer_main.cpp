// pillarbox-dealer: makes correlations for engines and their clients; must collude with neither.

#include <chrono>
#include <iostream>

#include <CLI/CLI.hpp>

#include "engine/core/files.h"
#include "engine/core/hardening.h"
#include "engine/service/connection_pool.h"
#include "engine/service/dealer_server.h"
#include "engine/service/log.h"
#include "engine/service/process.h"
#include "engine/service/service_commands.h"
#include "net/message_io.h"

namespace pillarbox::service {
namespace {

constexpr char kProgram[] = "pillarbox-dealer";

struct Flags {
  std::string config, listen, stateDir, readyFile;
};

Status configure(const Flags& flags, DealerConfiguration& configuration) {
  if (!flags.config.empty()) {
    const auto problems = readConfiguration(flags.config, configuration.settings());
    if (!problems.empty()) {
      return Error{ErrorCode::InvalidArgument, describe(flags.config, problems.front())};
    }
  }
  if (!flags.listen.empty()) configuration.listen = flags.listen;
  if (!flags.stateDir.empty()) configuration.stateDir = flags.stateDir;
  return configuration.validate();
}

Status serve(const Flags& flags) {
  DealerConfiguration configuration;
  PILLARBOX_TRY(configure(flags, configuration));
  startLog(configuration.logLevel, configuration.logFormat);
  blockStopSignals();

  PILLARBOX_ASSIGN(const auto stateDir, stateDirectory(configuration.stateDir));
  PILLARBOX_ASSIGN(const net::Endpoint listen, net::parseEndpoint(configuration.listen));
  PILLARBOX_ASSIGN(net::Identity identity, loadOrCreateIdentity(stateDir, kProgram));

  DealerState state(configuration);
  ConnectionPool<DealerConnection> connections(
      static_cast<std::size_t>(configuration.maxConnections),
      [&state](std::uint64_t id, std::unique_ptr<net::Transport> transport) {
        return std::make_unique<DealerConnection>(state, id, std::move(transport));
      });
  net::ListenOptions options{listen, identity};
  options.handshakeTimeout = std::chrono::seconds(configuration.handshakeSeconds);
  // A client that does not take its set in time makes its own thread wait, not this memory grow.
  options.socket.queueBytes = std::size_t{4} << 20;
  PILLARBOX_ASSIGN(const auto listener,
                   net::TlsListener::start(
                       std::move(options),
                       [&connections](std::unique_ptr<net::TlsTransport> transport) {
                         connections.add(std::move(transport));
                       },
                       [](const std::string& peer, const Error& error) {
                         logError(LogLevel::Info, "handshake_failed", error, {{"peer", peer}});
                       }));
  PILLARBOX_TRY(announceReady(*listener, identity, flags.readyFile));

  const std::string signal = waitForStop();
  logEvent(LogLevel::Info, "stopping",
           {{"signal", signal}, {"connections", connections.running()}});
  notifySystemd("STOPPING=1");
  listener->stop();
  connections.shutDown(std::chrono::seconds(configuration.drainSeconds));
  logEvent(LogLevel::Info, "stopped");
  return {};
}

int run(int argc, char** argv) {
  CLI::App app("Pillarbox dealer: makes the correlations that engines and clients consume.",
               kProgram);
  app.set_version_flag("--version", net::softwareName());
  app.require_subcommand(1);
  app.footer(
      "Run it where neither the engine's nor the clients' owner can look into it: together with "
      "either, it could undo the privacy of the other.\n"
      "Exit codes: 0 done, 1 failed (the reason is one sentence on stderr), 2 wrong usage.");

  Flags flags;
  CLI::App& serveCommand = *app.add_subcommand("serve", "Serve engines and clients");
  serveCommand.add_option("--listen", flags.listen, "Where to listen; port 0 picks a free one")
      ->type_name("HOST:PORT");
  serveCommand.add_option("--config", flags.config, "Configuration file; flags win over it")
      ->type_name("FILE.toml");
  serveCommand.add_option("--state-dir", flags.stateDir, "Folder of certificate and key")
      ->type_name("DIR");
  serveCommand
      .add_option("--ready-file", flags.readyFile, "Write the listening line here when ready")
      ->type_name("PATH");

  std::string stateDir, configFile;
  int days = net::kDefaultCertificateDays;
  bool force = false;
  CLI::App& generateCommand =
      *app.add_subcommand("generate-cert", "Make a key and a certificate; print its fingerprint");
  generateCommand.add_option("--state-dir", stateDir, "Folder to write to")->type_name("DIR");
  generateCommand.add_option("--days", days, "Days until it expires")->check(CLI::Range(1, 36500));
  generateCommand.add_flag("--force", force, "Replace an existing certificate");
  CLI::App& fingerprint =
      *app.add_subcommand("fingerprint", "Print the certificate's SHA-256 fingerprint");
  fingerprint.add_option("--state-dir", stateDir, "Folder of the certificate")->type_name("DIR");
  CLI::App& checkCommand = *app.add_subcommand("check-config", "Check a configuration file");
  checkCommand.add_option("FILE", configFile, "Configuration file")->required();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  if (generateCommand.parsed()) return generateCertificateCommand(stateDir, kProgram, days, force);
  if (fingerprint.parsed()) return fingerprintCommand(stateDir);
  if (checkCommand.parsed()) {
    DealerConfiguration configuration;
    return checkConfigCommand(configFile, configuration.settings(),
                              [&configuration] { return configuration.validate(); });
  }
  const Status status = serve(flags);
  return status.ok() ? kExitOk : fail(kProgram, status.error());
}

}  // namespace
}  // namespace pillarbox::service

int main(int argc, char** argv) {
  pillarbox::hardenProcess();
  try {
    return pillarbox::service::run(argc, argv);
  } catch (const std::exception& exception) {
    std::cerr << "pillarbox-dealer: " << exception.what() << std::endl;
    return pillarbox::service::kExitFailure;
  }
}

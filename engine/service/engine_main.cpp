// pillarbox-engine: holds the models, classifies images without seeing them.

#include <atomic>
#include <chrono>
#include <iostream>
#include <set>
#include <thread>

#include <CLI/CLI.hpp>

#include "engine/core/files.h"
#include "engine/core/hardening.h"
#include "engine/service/admin_library.h"
#include "engine/service/admin_session.h"
#include "engine/service/connection_pool.h"
#include "engine/service/dealer_link.h"
#include "engine/service/log.h"
#include "engine/service/process.h"
#include "engine/service/service_commands.h"
#include "engine/service/session.h"
#include "net/local_http.h"
#include "net/message_io.h"

namespace pillarbox::service {
namespace {

constexpr char kProgram[] = "pillarbox-engine";
constexpr std::size_t kMaxAdminSessions = 8;

struct Flags {
  std::string config;
  std::vector<std::string> models;
  std::string listen, metrics, device, offline, dealer, trustDealer, stateDir, readyFile, admin;
  std::vector<std::string> adminCertificates, adminFingerprints;
  bool trustDealerOnFirstUse = false;
  bool allowInsecureFirstParty = false;
};

/// The file first, then what the command line says.
Status configure(const Flags& flags, EngineConfiguration& configuration) {
  if (!flags.config.empty()) {
    const auto problems = readConfiguration(flags.config, configuration.settings());
    if (!problems.empty()) {
      return Error{ErrorCode::InvalidArgument, describe(flags.config, problems.front())};
    }
  }
  if (!flags.models.empty()) configuration.models = flags.models;
  if (!flags.listen.empty()) configuration.listen = flags.listen;
  if (!flags.metrics.empty()) configuration.metrics = flags.metrics;
  if (!flags.device.empty()) configuration.device = flags.device;
  if (!flags.offline.empty()) configuration.offline = flags.offline;
  if (!flags.dealer.empty()) configuration.dealer = flags.dealer;
  if (!flags.trustDealer.empty()) configuration.trustDealer = flags.trustDealer;
  if (!flags.stateDir.empty()) configuration.stateDir = flags.stateDir;
  if (!flags.admin.empty()) configuration.adminListen = flags.admin;
  if (!flags.adminCertificates.empty()) configuration.adminCertificates = flags.adminCertificates;
  for (const std::string& text : flags.adminFingerprints) {
    PILLARBOX_TRY(net::Fingerprint::parse(text).ok()
                      ? Status()
                      : Status(net::Fingerprint::parse(text).error()));
  }
  if (!flags.adminFingerprints.empty()) configuration.adminFingerprints = flags.adminFingerprints;
  configuration.trustDealerOnFirstUse |= flags.trustDealerOnFirstUse;
  configuration.allowInsecureFirstParty |= flags.allowInsecureFirstParty;
  return configuration.validate();
}

Result<std::set<net::Fingerprint>> administrators(const EngineConfiguration& configuration) {
  std::set<net::Fingerprint> known;
  for (const std::string& file : configuration.adminCertificates) {
    PILLARBOX_ASSIGN(const auto fingerprint, net::certificateFingerprint(file));
    known.insert(fingerprint);
  }
  for (const std::string& text : configuration.adminFingerprints) {
    PILLARBOX_ASSIGN(const auto fingerprint, net::Fingerprint::parse(text));
    known.insert(fingerprint);
  }
  return known;
}

Result<TwoPartySource::Party> makeParty(const std::shared_ptr<const inference::EngineModel>& model,
                                        unsigned threads, Accelerator& accelerator) {
  using namespace offline::two_party;
  PILLARBOX_ASSIGN(auto plan, SetPlan::create(std::shared_ptr<const models::PublicModel>(
                                  model, &model->description())));
  const SetCost& cost = plan->cost();
  logEvent(LogLevel::Info, "offline_plan",
           {{"model", model->description().name},
            {"rounds", cost.rounds},
            {"bytes_received", cost.bytesToEngine},
            {"bytes_sent", cost.bytesToClient},
            {"key_bytes", cost.keyBytes},
            {"memory", cost.engineMemoryBytes},
            {"hiding_bits", cost.hidingBits}});
  const auto make = [&](device::DevicePtr device) {
    return makeEngineParty(
        plan, std::shared_ptr<const models::ModelWeights>(model, &model->weights()),
        threads > 0 ? threads : std::max(1U, std::thread::hardware_concurrency()),
        std::move(device), accelerator.ledger());
  };
  if (device::DevicePtr device = accelerator.forPreparation()) {
    auto party = make(std::move(device));
    if (party.ok() || party.error().code == ErrorCode::InvalidArgument) return party;
    logError(LogLevel::Warning, "device_declined", party.error(),
             {{"phase", "preparation"}, {"model", model->description().name}});
  }
  return make(nullptr);
}

Result<std::unique_ptr<CorrelationSource>> makeSource(EngineContext& context,
                                                      const std::filesystem::path& stateDir,
                                                      const net::Endpoint& listen) {
  const EngineConfiguration& configuration = context.configuration;
  if (configuration.offline == "first-party") {
    logEvent(LogLevel::Warning, "insecure_first_party",
             {{"meaning", "this engine makes the clients' masks and could read every image"}});
    return std::unique_ptr<CorrelationSource>(std::make_unique<FirstPartySource>());
  }
  if (configuration.offline == "two-party") {
    auto source = std::make_unique<TwoPartySource>(
        [&context, threads = static_cast<unsigned>(configuration.offlineThreads)](
            const auto& model) { return makeParty(model, threads, context.accelerator); });
    // What this mode cannot serve is said now, not to the first client.
    for (const auto& model : *context.models.current()) {
      const auto party = source->party({model});
      if (!party.ok()) {
        return Error{party.error().code, model->description().name + ": " + party.error().message +
                                             "; this model needs another --offline mode"};
      }
    }
    return std::unique_ptr<CorrelationSource>(std::move(source));
  }
  DealerLink::Options options;
  PILLARBOX_ASSIGN(options.address,
                   net::parseEndpoint(configuration.dealer, net::kDefaultDealerPort));
  if (!configuration.dealerForClients.empty()) {
    PILLARBOX_ASSIGN(options.addressForClients,
                     net::parseEndpoint(configuration.dealerForClients, net::kDefaultDealerPort));
  } else if (net::isLoopback(options.address.host) && !net::isLoopback(listen.host)) {
    logEvent(LogLevel::Warning, "dealer_on_loopback",
             {{"meaning",
               "clients on other machines cannot reach the dealer at this address; set "
               "offline.dealer_for_clients"}});
  }
  if (!configuration.trustDealer.empty()) {
    PILLARBOX_ASSIGN(options.trust, net::Fingerprint::parse(configuration.trustDealer));
  }
  options.trustOnFirstUse = configuration.trustDealerOnFirstUse;
  options.stateDirectory = stateDir;
  options.networkTimeout = std::chrono::seconds(configuration.networkSeconds);
  return std::unique_ptr<CorrelationSource>(
      std::make_unique<DealerLink>(std::move(options), *context.models.current()));
}

/// /healthz: the process answers. /readyz: clients would be served, correlations included.
Result<std::unique_ptr<net::LocalHttp>> startMonitor(EngineContext& context,
                                                     const std::atomic<bool>& stopping) {
  PILLARBOX_ASSIGN(const net::Endpoint endpoint, net::parseEndpoint(context.configuration.metrics));
  auto monitor = net::LocalHttp::start(
      endpoint, [&context, &stopping](const std::string& path) -> net::HttpAnswer {
        if (path == "/metrics") {
          return {200, context.metrics.text(context.accelerator.reading()),
                  "text/plain; version=0.0.4; charset=utf-8"};
        }
        if (path == "/healthz") return {200, "ok\n"};
        if (path == "/readyz") {
          if (stopping) return {503, "the engine is shutting down\n"};
          const Status ready = context.correlations->ready();
          return ready.ok() ? net::HttpAnswer{200, "ready\n"}
                            : net::HttpAnswer{503, ready.error().message + "\n"};
        }
        return {404, "there are /metrics, /healthz and /readyz\n"};
      });
  if (monitor.ok()) logEvent(LogLevel::Info, "metrics", {{"address", (*monitor)->address()}});
  return monitor;
}

/// Sessions with the stripes, and in two-party mode the offline lines, that each may have.
std::size_t connectionLimit(const EngineContext& context) {
  const auto sessions = static_cast<std::size_t>(context.configuration.maxSessions);
  const auto stripes = static_cast<std::size_t>(context.configuration.stripesPerSession);
  const bool twoParty = context.correlations->mode() == offline::Mode::TwoParty;
  return sessions * (stripes + (twoParty ? SetBank::kMaxLines : 0));
}

Status serve(const Flags& flags) {
  EngineConfiguration settings;
  PILLARBOX_TRY(configure(flags, settings));
  EngineContext context(std::move(settings));
  const EngineConfiguration& configuration = context.configuration;
  startLog(configuration.logLevel, configuration.logFormat);
  blockStopSignals();

  PILLARBOX_TRY(
      context.accelerator.start(configuration.device, [] { return device::Device::load(); }));
  PILLARBOX_ASSIGN(const auto stateDir, stateDirectory(configuration.stateDir));
  PILLARBOX_ASSIGN(const net::Endpoint listen, net::parseEndpoint(configuration.listen));
  const bool administered = !configuration.adminListen.empty();
  PILLARBOX_ASSIGN(const auto known, administrators(configuration));
  ModelLibrary::Options libraryOptions;
  libraryOptions.configured = configuration.models;
  if (administered) {
    libraryOptions.directory = configuration.adminModelDir.empty()
                                   ? stateDir / "models"
                                   : std::filesystem::path(configuration.adminModelDir);
    PILLARBOX_TRY(makePrivateDirectory(stateDir));
  }
  libraryOptions.maxUploadBytes = static_cast<std::uint64_t>(configuration.adminMaxUploadMib) << 20;
  libraryOptions.maxModels = static_cast<std::size_t>(configuration.adminMaxModels);
  libraryOptions.serve = [&context](const ModelList& models) {
    context.models.replace(models);
    if (context.correlations) context.correlations->serve(models);
  };
  PILLARBOX_ASSIGN(const auto library, ModelLibrary::open(std::move(libraryOptions)));
  PILLARBOX_ASSIGN(net::Identity identity, loadOrCreateIdentity(stateDir, kProgram));
  PILLARBOX_ASSIGN(context.correlations, makeSource(context, stateDir, listen));

  ConnectionPool<Session> sessions(
      connectionLimit(context),
      [&context](std::uint64_t id, std::unique_ptr<net::Transport> transport) {
        return std::make_unique<Session>(context, id, std::move(transport));
      });
  net::ListenOptions options{listen, identity};
  options.handshakeTimeout = std::chrono::seconds(configuration.handshakeSeconds);
  PILLARBOX_ASSIGN(const auto listener,
                   net::TlsListener::start(
                       std::move(options),
                       [&sessions](std::unique_ptr<net::TlsTransport> transport) {
                         sessions.add(std::move(transport));
                       },
                       [&context](const std::string& peer, const Error& error) {
                         context.metrics.countFailure("handshake", error.code);
                         logError(LogLevel::Info, "handshake_failed", error, {{"peer", peer}});
                       }));
  std::atomic<bool> stopping{false};
  std::unique_ptr<net::LocalHttp> monitor;
  if (!configuration.metrics.empty()) {
    PILLARBOX_ASSIGN(monitor, startMonitor(context, stopping));
  }

  const AdminContext adminContext{*library, known,
                                  std::chrono::seconds(configuration.handshakeSeconds),
                                  std::chrono::seconds(configuration.idleSeconds),
                                  std::chrono::seconds(configuration.networkSeconds)};
  ConnectionPool<AdminSession, net::TlsTransport> adminSessions(
      kMaxAdminSessions,
      [&adminContext](std::uint64_t id, std::unique_ptr<net::TlsTransport> transport) {
        return std::make_unique<AdminSession>(adminContext, id, std::move(transport));
      });
  std::unique_ptr<net::TlsListener> adminListener;
  if (administered) {
    PILLARBOX_ASSIGN(const net::Endpoint address, net::parseEndpoint(configuration.adminListen));
    net::ListenOptions adminOptions{address, identity};
    adminOptions.requestClientCertificate = true;
    adminOptions.handshakeTimeout = std::chrono::seconds(configuration.handshakeSeconds);
    PILLARBOX_ASSIGN(
        adminListener,
        net::TlsListener::start(
            std::move(adminOptions),
            [&adminSessions](std::unique_ptr<net::TlsTransport> transport) {
              adminSessions.add(std::move(transport));
            },
            [](const std::string& peer, const Error& error) {
              logError(LogLevel::Warning, "admin_handshake_failed", error, {{"peer", peer}});
            }));
  }
  PILLARBOX_TRY(announceReady(*listener, identity, flags.readyFile, adminListener.get()));

  const std::string signal = waitForStop();
  logEvent(LogLevel::Info, "stopping", {{"signal", signal}, {"sessions", sessions.running()}});
  notifySystemd("STOPPING=1");
  stopping = true;
  if (adminListener) adminListener->stop();
  listener->stop();
  adminSessions.shutDown(std::chrono::seconds(0));
  sessions.shutDown(std::chrono::seconds(configuration.drainSeconds));
  context.correlations->stop();
  logEvent(LogLevel::Info, "stopped");
  return {};
}

int run(int argc, char** argv) {
  CLI::App app("Pillarbox engine: classifies images that it cannot see.", kProgram);
  app.set_version_flag("--version", net::softwareName());
  app.require_subcommand(1);
  app.footer("Exit codes: 0 done, 1 failed (the reason is one sentence on stderr), 2 wrong usage.");

  Flags flags;
  CLI::App& serveCommand = *app.add_subcommand("serve", "Load models and serve clients");
  serveCommand.add_option("--model", flags.models, "Model file (ONNX); may be given several times")
      ->type_name("FILE.onnx");
  serveCommand.add_option("--listen", flags.listen, "Where to listen; port 0 picks a free one")
      ->type_name("HOST:PORT");
  serveCommand
      .add_option("--metrics", flags.metrics,
                  "Serve /metrics (Prometheus), /healthz and /readyz here; loopback only")
      ->type_name("HOST:PORT");
  serveCommand
      .add_option("--device", flags.device,
                  "What computes: a GPU where one works (auto, the default), the processor (cpu), "
                  "or a GPU or nothing (cuda)")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  serveCommand.add_option("--config", flags.config, "Configuration file; flags win over it")
      ->type_name("FILE.toml");
  serveCommand
      .add_option("--offline", flags.offline,
                  "Who makes the correlations: engine and client themselves (two-party, the "
                  "default), a third host (dealer), or this engine alone (first-party)")
      ->check(CLI::IsMember({"two-party", "dealer", "first-party"}));
  serveCommand.add_option("--dealer", flags.dealer, "Where pillarbox-dealer is")
      ->type_name("HOST:PORT");
  serveCommand
      .add_option("--trust-dealer", flags.trustDealer,
                  "SHA-256 fingerprint of the dealer's certificate")
      ->type_name("SHA256");
  serveCommand.add_flag("--trust-dealer-on-first-use", flags.trustDealerOnFirstUse,
                        "Pin the dealer's certificate at first contact (a dealer on loopback is "
                        "pinned without this)");
  serveCommand.add_flag("--allow-insecure-first-party", flags.allowInsecureFirstParty,
                        "Allow --offline first-party, in which this engine could read the images");
  serveCommand
      .add_option("--admin", flags.admin,
                  "Where administrators may connect (default: nowhere); needs their certificates")
      ->type_name("HOST:PORT");
  serveCommand
      .add_option("--admin-certificate", flags.adminCertificates,
                  "Certificate of an administrator; may be given several times")
      ->type_name("FILE.pem");
  serveCommand
      .add_option("--admin-fingerprint", flags.adminFingerprints,
                  "The same as a SHA-256 fingerprint (pillarbox-cli admin keygen prints it)")
      ->type_name("SHA256");
  serveCommand
      .add_option("--ready-file", flags.readyFile, "Write the listening line here when ready")
      ->type_name("PATH");
  serveCommand.add_option("--state-dir", flags.stateDir, "Folder of certificate, key and pins")
      ->type_name("DIR");

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
    EngineConfiguration configuration;
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
    std::cerr << "pillarbox-engine: " << exception.what() << std::endl;
    return pillarbox::service::kExitFailure;
  }
}

#include "app/client/cli_admin.h"

#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <iomanip>
#include <iostream>

#include <nlohmann/json.hpp>

#include "app/client/engine_admin.h"
#include "engine/core/files.h"

namespace pillarbox::client {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kShownDigits = 12;

std::string shortId(const std::string& id) {
  return id.substr(0, kShownDigits);
}

std::string dateOf(std::int64_t seconds) {
  if (seconds <= 0) return "configured";
  const std::time_t time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  if (gmtime_r(&time, &parts) == nullptr) return "?";
  char text[32];
  return std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts) > 0 ? text : "?";
}

Json jsonOf(const EngineModels& models) {
  Json object;
  object["software"] = models.software;
  object["revision"] = models.revision;
  object["previous"] = models.previous;
  object["max_upload_bytes"] = models.maxUploadBytes;
  object["done"] = models.done;
  object["models"] = Json::array();
  for (const EngineModelEntry& model : models.models) {
    Json entry;
    entry["id"] = model.id;
    entry["name"] = model.name;
    entry["file"] = model.file;
    entry["bytes"] = model.bytes;
    entry["rounds"] = model.rounds;
    entry["activations"] = model.activations;
    entry["weights"] = model.weights;
    entry["classes"] = model.classes;
    entry["added"] = model.added;
    entry["added_by"] = model.addedBy;
    entry["configured"] = model.configured;
    entry["active"] = model.active;
    entry["served"] = model.served;
    object["models"].push_back(std::move(entry));
  }
  return object;
}

void printTable(const EngineModels& models) {
  if (models.models.empty()) {
    std::cout << "The engine has no models; upload one.\n";
    return;
  }
  for (const EngineModelEntry& model : models.models) {
    std::cout << (model.active ? "* " : "  ") << shortId(model.id) << "  " << std::left
              << std::setw(24) << model.name << std::right << "  " << std::setw(3) << model.rounds
              << " rounds  " << std::setw(9) << model.weights << " weights  " << dateOf(model.added)
              << (model.active                  ? "  active"
                  : models.previous == model.id ? "  previous"
                                                : "")
              << "\n";
  }
}

bool askPerson(const std::string& engine, const net::Fingerprint& fingerprint) {
  const bool terminal = ::isatty(STDIN_FILENO) == 1 && ::isatty(STDERR_FILENO) == 1;
  std::cerr << "First contact with the administration of the engine at " << engine
            << ".\nThe SHA-256 fingerprint of its certificate is\n  " << fingerprint.text() << "\n";
  if (!terminal) {
    std::cerr << "If that is right, add --trust " << fingerprint.text()
              << " (or --trust-on-first-use)" << std::endl;
    return false;
  }
  std::cerr << "Compare it with what the engine's owner tells you (pillarbox-engine "
               "fingerprint).\nTrust this engine from now on? [y/N] "
            << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

}  // namespace

struct AdminCommands::Flags {
  CLI::App* admin = nullptr;
  CLI::App* keygen = nullptr;
  CLI::App* list = nullptr;
  CLI::App* upload = nullptr;
  CLI::App* activate = nullptr;
  CLI::App* rollback = nullptr;
  CLI::App* remove = nullptr;
  std::string engine, trust, certificate, key, stateDir, model;
  bool trustOnFirstUse = false, json = false, thenActivate = false;

  Result<AdminOptions> options() const;
  Status makeKey() const;
  Status act(EngineAdmin& admin) const;
};

AdminCommands::AdminCommands(CLI::App& app) : m_flags(std::make_unique<Flags>()) {
  Flags& flags = *m_flags;
  flags.admin = app.add_subcommand("admin", "Administrate an engine's models");
  flags.admin->require_subcommand(1);
  flags.keygen = flags.admin->add_subcommand(
      "keygen", "Make an administrator's key and certificate; print its fingerprint");
  flags.keygen->add_option("--state-dir", flags.stateDir, "Folder to write to")->type_name("DIR");
  const auto command = [&flags](const char* name, const char* what) {
    CLI::App* made = flags.admin->add_subcommand(name, what);
    made->add_option("--engine", flags.engine, "The engine's administration address")
        ->required()
        ->type_name("HOST:PORT");
    auto* trust = made->add_option("--trust", flags.trust,
                                   "Fingerprint that the engine's certificate must have; pinned");
    trust->type_name("SHA256");
    made->add_flag("--trust-on-first-use", flags.trustOnFirstUse,
                   "Pin an unknown engine's certificate without asking")
        ->excludes(trust);
    made->add_option("--certificate", flags.certificate,
                     "Administrator's certificate (default: what keygen made)")
        ->type_name("FILE.pem");
    made->add_option("--key", flags.key, "Its key (default: what keygen made)")
        ->type_name("FILE.pem");
    made->add_option("--state-dir", flags.stateDir, "Folder of key, certificate and pins")
        ->type_name("DIR");
    made->add_flag("--json", flags.json, "End with the list as one JSON object");
    return made;
  };
  flags.list = command("list", "List the engine's models");
  flags.upload = command("upload", "Send a model file to the engine");
  flags.upload->add_flag("--activate", flags.thenActivate, "Activate it at once");
  flags.upload->add_option("FILE", flags.model, "Model file (ONNX)")->required();
  flags.activate = command("activate", "Give clients this model from now on");
  flags.activate
      ->add_option("MODEL", flags.model,
                   "Its id, the first eight or more digits of it, or its name")
      ->required();
  flags.rollback = command("rollback", "Activate the model that was active before");
  flags.remove = command("remove", "Delete an uploaded model");
  flags.remove
      ->add_option("MODEL", flags.model,
                   "Its id, the first eight or more digits of it, or its name")
      ->required();
}

AdminCommands::~AdminCommands() = default;

bool AdminCommands::parsed() const {
  return m_flags->admin->parsed();
}

Result<AdminOptions> AdminCommands::Flags::options() const {
  AdminOptions options;
  PILLARBOX_ASSIGN(options.engine, net::parseEndpoint(engine, net::kDefaultAdminPort));
  PILLARBOX_ASSIGN(options.stateDirectory, stateDirectory(stateDir));
  const AdminKeyFiles files = adminKeyFiles(options.stateDirectory);
  options.certificate =
      certificate.empty() ? files.certificate : std::filesystem::path(certificate);
  options.key = key.empty() ? files.key : std::filesystem::path(key);
  if (!trust.empty()) {
    PILLARBOX_ASSIGN(options.trust, net::Fingerprint::parse(trust));
  }
  const std::string where = net::toString(options.engine);
  if (trustOnFirstUse) {
    options.ask = [where](const net::Fingerprint& fingerprint) {
      std::cerr << "Pinned " << where << " " << fingerprint.text() << std::endl;
      return true;
    };
  } else {
    options.ask = [where](const net::Fingerprint& fingerprint) {
      return askPerson(where, fingerprint);
    };
  }
  return options;
}

Status AdminCommands::Flags::makeKey() const {
  PILLARBOX_ASSIGN(const auto directory, stateDirectory(stateDir));
  PILLARBOX_ASSIGN(const net::Fingerprint fingerprint, makeAdminKey(directory));
  std::cerr << "Give the engine's operator this fingerprint (administration.fingerprints, or "
               "--admin-fingerprint),\nor the file "
            << adminKeyFiles(directory).certificate.string() << "." << std::endl;
  std::cout << fingerprint.text() << std::endl;
  return {};
}

Status AdminCommands::Flags::act(EngineAdmin& connection) const {
  PILLARBOX_TRY(connection.connect());
  const auto said = [&connection](const char* what) {
    const EngineModelEntry* entry = connection.models().find(connection.models().done);
    const std::string id = shortId(connection.models().done);
    std::cerr << what << " " << id << (entry != nullptr ? " (" + entry->name + ")" : "")
              << std::endl;
  };
  if (upload->parsed()) {
    const bool terminal = ::isatty(STDERR_FILENO) == 1;
    const Status sent = connection.upload(model, [terminal](std::uint64_t done, std::uint64_t all) {
      if (terminal) std::cerr << "\r\033[K" << 100 * done / all << "% sent" << std::flush;
    });
    if (terminal) std::cerr << "\r\033[K" << std::flush;
    PILLARBOX_TRY(sent);
    said("uploaded");
    if (thenActivate) {
      PILLARBOX_TRY(connection.activate(std::string(connection.models().done)));
      said("activated");
    }
  } else if (activate->parsed()) {
    PILLARBOX_TRY(connection.activate(model));
    said("activated");
  } else if (rollback->parsed()) {
    PILLARBOX_TRY(connection.rollback());
    said("rolled back to");
  } else if (remove->parsed()) {
    PILLARBOX_TRY(connection.remove(model));
    said("removed");
  }
  if (json) {
    std::cout << jsonOf(connection.models()).dump(-1, ' ', false, Json::error_handler_t::replace)
              << std::endl;
  } else {
    printTable(connection.models());
  }
  return {};
}

Status AdminCommands::run() {
  if (m_flags->keygen->parsed()) return m_flags->makeKey();
  PILLARBOX_ASSIGN(AdminOptions options, m_flags->options());
  EngineAdmin connection(std::move(options));
  return m_flags->act(connection);
}

}  // namespace pillarbox::client

#include "engine/service/configuration.h"

#include <algorithm>
#include <type_traits>

#include <toml++/toml.h>

#include "engine/core/files.h"
#include "net/certificate.h"
#include "net/endpoint.h"
#include "net/striped_transport.h"

namespace pillarbox::service {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxFileBytes = 1 << 20;

std::uint32_t lineOf(const toml::node& node) {
  return node.source().begin.line;
}

std::string fromFolder(const fs::path& file, const std::string& value) {
  if (value.empty() || fs::path(value).is_absolute()) return value;
  return (file.parent_path() / value).lexically_normal().string();
}

/// Stores one value; the returned sentence says what is wrong with it, or is empty.
std::string store(const fs::path& file, const Setting& setting, const toml::node& node) {
  const auto checked = [&setting](const std::string& value) -> std::string {
    if (!setting.check) return {};
    const Status status = setting.check(value);
    return status.ok() ? std::string() : setting.key + ": " + status.error().message;
  };
  return std::visit(
      [&](auto target) -> std::string {
        using T = decltype(target);
        if constexpr (std::is_same_v<T, std::string*>) {
          const auto value = node.value_exact<std::string>();
          if (!value) return setting.key + " must be a string in quotes";
          if (std::string problem = checked(*value); !problem.empty()) return problem;
          *target = *value;
        } else if constexpr (std::is_same_v<T, bool*>) {
          const auto value = node.value_exact<bool>();
          if (!value) return setting.key + " must be true or false";
          *target = *value;
        } else if constexpr (std::is_same_v<T, IntegerTarget>) {
          const auto value = node.value_exact<std::int64_t>();
          if (!value || *value < target.least || *value > target.most) {
            return setting.key + " must be a whole number from " + std::to_string(target.least) +
                   " to " + std::to_string(target.most);
          }
          *target.value = *value;
        } else if constexpr (std::is_same_v<T, PathTarget>) {
          const auto value = node.value_exact<std::string>();
          if (!value) return setting.key + " must be a path in quotes";
          *target.value = fromFolder(file, *value);
        } else {
          constexpr bool kPaths = std::is_same_v<T, PathListTarget>;
          static_assert(kPaths || std::is_same_v<T, TextListTarget>);
          const toml::array* array = node.as_array();
          const std::string problem =
              setting.key + (kPaths ? " must be a list of paths, for example [\"model.onnx\"]"
                                    : " must be a list of strings in quotes");
          if (array == nullptr) return problem;
          std::vector<std::string> values;
          for (const toml::node& element : *array) {
            const auto value = element.value_exact<std::string>();
            if (!value) return problem;
            if constexpr (kPaths) {
              values.push_back(fromFolder(file, *value));
            } else {
              if (std::string wrong = checked(*value); !wrong.empty()) return wrong;
              values.push_back(*value);
            }
          }
          *target.value = std::move(values);
        }
        return {};
      },
      setting.target);
}

void walk(const fs::path& file, const toml::table& table, const std::string& prefix,
          const std::vector<Setting>& settings, std::vector<ConfigurationProblem>& problems) {
  for (const auto& [name, node] : table) {
    const std::string key = prefix + std::string(name.str());
    const auto setting = std::find_if(settings.begin(), settings.end(),
                                      [&key](const Setting& s) { return s.key == key; });
    if (setting != settings.end()) {
      if (std::string problem = store(file, *setting, node); !problem.empty()) {
        problems.push_back({lineOf(node), std::move(problem)});
      }
      continue;
    }
    const bool isTable = std::any_of(settings.begin(), settings.end(), [&key](const Setting& s) {
      return s.key.starts_with(key + ".");
    });
    if (isTable && node.is_table()) {
      walk(file, *node.as_table(), key + ".", settings, problems);
    } else if (isTable) {
      problems.push_back({name.source().begin.line, key + " must be a table: [" + key + "]"});
    } else {
      problems.push_back({name.source().begin.line, "unknown setting " + key});
    }
  }
}

Status checkFingerprint(const std::string& text) {
  const auto parsed = net::Fingerprint::parse(text);
  return parsed.ok() ? Status() : Status(parsed.error());
}

std::function<Status(const std::string&)> oneOf(std::vector<std::string> values) {
  return [values = std::move(values)](const std::string& text) -> Status {
    std::string list;
    for (const std::string& value : values) {
      if (value == text) return {};
      list += (list.empty() ? "\"" : ", \"") + value + "\"";
    }
    return Error{ErrorCode::InvalidArgument, "must be one of " + list};
  };
}

Status checkListenAddress(const std::string& text) {
  const auto parsed = net::parseEndpoint(text);
  return parsed.ok() ? Status() : Status(parsed.error());
}

Status checkMetricsAddress(const std::string& text) {
  const auto parsed = net::parseEndpoint(text);
  if (!parsed.ok()) return parsed.error();
  if (net::isLoopback(parsed->host)) return {};
  return Error{ErrorCode::InvalidArgument,
               "metrics are served to this machine only, as they are neither encrypted nor "
               "protected; use a loopback address, for example 127.0.0.1:9464"};
}

Status checkDealerAddress(const std::string& text) {
  const auto parsed = net::parseEndpoint(text, net::kDefaultDealerPort);
  if (!parsed.ok()) return parsed.error();
  if (parsed->port == 0) return Error{ErrorCode::InvalidArgument, "port 0 is no address to call"};
  return {};
}

}  // namespace

std::string describe(const fs::path& file, const ConfigurationProblem& problem) {
  std::string text = file.string() + ":";
  if (problem.line > 0) text += std::to_string(problem.line) + ":";
  return text + " " + problem.message;
}

std::vector<ConfigurationProblem> readConfiguration(const fs::path& file,
                                                    const std::vector<Setting>& settings) {
  auto text = readFile(file, kMaxFileBytes);
  if (!text.ok()) return {{0, text.error().message}};
  std::vector<ConfigurationProblem> problems;
  try {
    const toml::table table = toml::parse(*text, file.string());
    walk(fs::absolute(file), table, "", settings, problems);
  } catch (const toml::parse_error& error) {
    problems.push_back({error.source().begin.line, std::string(error.description())});
  }
  std::stable_sort(problems.begin(), problems.end(),
                   [](const auto& a, const auto& b) { return a.line < b.line; });
  return problems;
}

std::vector<Setting> EngineConfiguration::settings() {
  return {
      {"models", PathListTarget{&models}, {}},
      {"listen", &listen, checkListenAddress},
      {"metrics", &metrics, checkMetricsAddress},
      {"state_dir", PathTarget{&stateDir}, {}},
      {"drain_seconds", IntegerTarget{&drainSeconds, 0, 3600}, {}},
      {"compute.device", &device, oneOf({"auto", "cpu", "cuda"})},
      {"compute.threads", IntegerTarget{&computeThreads, 0, 256}, {}},
      {"protocols", TextListTarget{&protocols}, oneOf(offline::protocolNames())},
      {"offline.mode", &offline, oneOf({"two-party", "dealer", "first-party"})},
      {"offline.threads", IntegerTarget{&offlineThreads, 0, 256}, {}},
      {"offline.dealer", &dealer, checkDealerAddress},
      {"offline.dealer_for_clients", &dealerForClients, checkDealerAddress},
      {"offline.trust_dealer", &trustDealer, checkFingerprint},
      {"offline.trust_dealer_on_first_use", &trustDealerOnFirstUse, {}},
      {"offline.allow_insecure_first_party", &allowInsecureFirstParty, {}},
      {"administration.listen", &adminListen, checkListenAddress},
      {"administration.certificates", PathListTarget{&adminCertificates}, {}},
      {"administration.fingerprints", TextListTarget{&adminFingerprints}, checkFingerprint},
      {"administration.model_dir", PathTarget{&adminModelDir}, {}},
      {"administration.max_upload_mib", IntegerTarget{&adminMaxUploadMib, 1, 512}, {}},
      {"administration.max_models", IntegerTarget{&adminMaxModels, 1, 1000}, {}},
      {"log.level", &logLevel, oneOf({"debug", "info", "warning", "error"})},
      {"log.format", &logFormat, oneOf({"text", "json"})},
      {"limits.max_sessions", IntegerTarget{&maxSessions, 1, 10000}, {}},
      {"limits.stripes_per_session",
       IntegerTarget{&stripesPerSession, 1, std::int64_t{net::StripedTransport::kMaxStripes}},
       {}},
      {"limits.sets_per_session", IntegerTarget{&setsPerSession, 1, 1024}, {}},
      {"limits.set_memory_mib", IntegerTarget{&setMemoryMib, 1, 1 << 24}, {}},
      {"limits.sets_in_preparation", IntegerTarget{&offlineSets, 0, 1024}, {}},
      {"limits.inferences_per_minute", IntegerTarget{&inferencesPerMinute, 0, 1000000}, {}},
      {"timeouts.handshake_seconds", IntegerTarget{&handshakeSeconds, 1, 3600}, {}},
      {"timeouts.idle_seconds", IntegerTarget{&idleSeconds, 1, 86400}, {}},
      {"timeouts.network_seconds", IntegerTarget{&networkSeconds, 1, 3600}, {}},
  };
}

bool EngineConfiguration::serves(offline::Protocol protocol) const {
  return std::find(protocols.begin(), protocols.end(), offline::nameOf(protocol)) !=
         protocols.end();
}

Status EngineConfiguration::validate() const {
  if (models.empty() && adminListen.empty()) {
    return Error{ErrorCode::InvalidArgument,
                 "no model is given; use --model FILE.onnx or \"models\" in the configuration"};
  }
  if (!adminListen.empty() && adminCertificates.empty() && adminFingerprints.empty()) {
    return Error{ErrorCode::InvalidArgument,
                 "administration needs to know who may administrate; use --admin-certificate "
                 "FILE.pem (pillarbox-cli admin keygen makes one)"};
  }
  if (adminListen.empty() && (!adminCertificates.empty() || !adminFingerprints.empty())) {
    return Error{ErrorCode::InvalidArgument,
                 "administrators are named but no address for them; use --admin HOST:PORT"};
  }
  if (listen.empty()) {
    return Error{ErrorCode::InvalidArgument,
                 "no address is given; use --listen HOST:PORT, for example 127.0.0.1:7120"};
  }
  if (protocols.empty()) {
    return Error{ErrorCode::InvalidArgument,
                 "no protocol is left for activations; name at least one in \"protocols\""};
  }
  if (!metrics.empty()) PILLARBOX_TRY(checkMetricsAddress(metrics));
  if (offline == "first-party") {
    if (!allowInsecureFirstParty) {
      return Error{ErrorCode::InvalidArgument,
                   "in first-party mode the engine makes the client's masks and could read every "
                   "image; if that is wanted, for a comparison, add --allow-insecure-first-party"};
    }
  } else if (offline == "two-party") {
    if (!dealer.empty()) {
      return Error{ErrorCode::InvalidArgument,
                   "a dealer is named, but in two-party mode, the default, there is none; add "
                   "--offline dealer (offline.mode in the configuration), or leave the dealer out"};
    }
  } else if (dealer.empty()) {
    return Error{ErrorCode::InvalidArgument,
                 "dealer mode needs the address of a pillarbox-dealer; use --dealer HOST:PORT"};
  }
  return {};
}

std::vector<Setting> DealerConfiguration::settings() {
  return {
      {"listen", &listen, checkListenAddress},
      {"state_dir", PathTarget{&stateDir}, {}},
      {"drain_seconds", IntegerTarget{&drainSeconds, 0, 3600}, {}},
      {"dealing_threads", IntegerTarget{&dealingThreads, 1, 256}, {}},
      {"log.level", &logLevel, oneOf({"debug", "info", "warning", "error"})},
      {"log.format", &logFormat, oneOf({"text", "json"})},
      {"limits.max_connections", IntegerTarget{&maxConnections, 2, 10000}, {}},
      {"limits.max_models", IntegerTarget{&maxModels, 1, 10000}, {}},
      {"limits.max_models_per_engine", IntegerTarget{&maxModelsPerEngine, 1, 1000}, {}},
      {"limits.max_sessions", IntegerTarget{&maxSessions, 1, 1000000}, {}},
      {"limits.model_memory_mib", IntegerTarget{&modelMemoryMib, 1, 1 << 24}, {}},
      {"timeouts.handshake_seconds", IntegerTarget{&handshakeSeconds, 1, 3600}, {}},
      {"timeouts.idle_seconds", IntegerTarget{&idleSeconds, 1, 86400}, {}},
      {"timeouts.network_seconds", IntegerTarget{&networkSeconds, 1, 3600}, {}},
  };
}

Status DealerConfiguration::validate() const {
  if (listen.empty()) {
    return Error{ErrorCode::InvalidArgument,
                 "no address is given; use --listen HOST:PORT, for example 127.0.0.1:7121"};
  }
  return {};
}

}  // namespace pillarbox::service

// Configuration: one typed table a program.
//
// Every setting of a program is one row: key, type, range, where the value goes. The same rows read
// the TOML file, check it (check-config: every mistake, with file and line) and know the defaults,
// so that none of these can disagree with another. Command-line flags are applied after the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "engine/core/result.h"
#include "engine/offline/correlation_set.h"

namespace pillarbox::service {

struct IntegerTarget {
  std::int64_t* value;
  std::int64_t least, most;
};
struct PathTarget {
  std::string* value;  ///< relative paths are taken from the file's folder
};
struct PathListTarget {
  std::vector<std::string>* value;
};
struct TextListTarget {
  std::vector<std::string>* value;  ///< each is checked
};
using Target =
    std::variant<std::string*, bool*, IntegerTarget, PathTarget, PathListTarget, TextListTarget>;

struct Setting {
  std::string key;  ///< with its table: "limits.max_sessions"
  Target target;
  /// Checks a string's form; not called for other types.
  std::function<Status(const std::string&)> check;
};

/// One mistake in a file; line 0 where it belongs to no line.
struct ConfigurationProblem {
  std::uint32_t line = 0;
  std::string message;
};
/// "FILE:LINE: message".
std::string describe(const std::filesystem::path& file, const ConfigurationProblem& problem);

/// Reads the file into the targets; settings it does not mention keep their values. Returns every
/// problem found (unknown keys, wrong types, values out of range); none: the file is good.
std::vector<ConfigurationProblem> readConfiguration(const std::filesystem::path& file,
                                                    const std::vector<Setting>& settings);

/// What `pillarbox-engine serve` needs to know.
struct EngineConfiguration {
  std::vector<std::string> models;
  std::string listen;
  std::string metrics;          ///< where Prometheus finds this engine; empty: nowhere
  std::string device = "auto";  ///< what computes: "auto", "cpu", "cuda"
  std::string offline = "two-party";
  std::vector<std::string> protocols = offline::protocolNames();  ///< that sessions may choose
  bool serves(offline::Protocol protocol) const;
  std::int64_t computeThreads = 0;  ///< of one inference on the processor; 0: one a core
  std::int64_t offlineThreads = 0;  ///< for one set in two-party mode; 0: one a processor
  std::string dealer;
  std::string dealerForClients;  ///< where clients find it; empty: at the same address
  std::string trustDealer;       ///< SHA-256; empty: the pin, or first use on loopback
  bool trustDealerOnFirstUse = false;
  bool allowInsecureFirstParty = false;
  std::string adminListen;                     ///< empty: no administration
  std::vector<std::string> adminCertificates;  ///< PEM files
  std::vector<std::string> adminFingerprints;
  std::string adminModelDir;  ///< of uploaded models; empty: "models" in the state folder
  std::int64_t adminMaxUploadMib = 512;
  std::int64_t adminMaxModels = 32;
  std::string stateDir;
  std::string logLevel = "info";
  std::string logFormat = "text";
  std::int64_t drainSeconds = 10;
  std::int64_t maxSessions = 64;
  std::int64_t stripesPerSession = 4;  ///< connections that carry one session's inferences
  std::int64_t setsPerSession = 8;
  std::int64_t setMemoryMib = 4096;      ///< correlation sets of all sessions together
  std::int64_t offlineSets = 0;          ///< being made at a time; 0: one a processor
  std::int64_t inferencesPerMinute = 0;  ///< a session; 0: no quota
  std::int64_t handshakeSeconds = 10;
  std::int64_t idleSeconds = 300;
  std::int64_t networkSeconds = 30;  ///< without progress inside a message or an inference

  std::vector<Setting> settings();
  /// Rules that concern several settings at once. Errors: InvalidArgument.
  Status validate() const;
};

/// What `pillarbox-dealer serve` needs to know.
struct DealerConfiguration {
  std::string listen;
  std::string stateDir;
  std::string logLevel = "info";
  std::string logFormat = "text";
  std::int64_t drainSeconds = 10;
  std::int64_t maxConnections = 256;
  std::int64_t maxModels = 64;  ///< of all engines together
  std::int64_t maxModelsPerEngine = 16;
  std::int64_t maxSessions = 4096;     ///< registered by all engines together
  std::int64_t modelMemoryMib = 4096;  ///< weight masks of all models together
  std::int64_t dealingThreads = 2;     ///< sets dealt at the same time
  std::int64_t handshakeSeconds = 10;
  std::int64_t idleSeconds = 300;
  std::int64_t networkSeconds = 30;

  std::vector<Setting> settings();
  Status validate() const;
};

}  // namespace pillarbox::service

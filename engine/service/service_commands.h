// What pillarbox-engine and pillarbox-dealer have in common besides serving: an identity in the
// state folder, the commands generate-cert, fingerprint and check-config, and the way they start
// listening and stop.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/service/configuration.h"
#include "net/certificate.h"
#include "net/tls.h"

namespace pillarbox::service {

/// Exit codes of both programs.
constexpr int kExitOk = 0;
constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;

/// certificate.pem and key.pem in the state folder; made there the first time.
/// Errors: as net::Identity::load and net::writeCertificate; Io where the folder cannot be written.
Result<net::Identity> loadOrCreateIdentity(const std::filesystem::path& stateDirectory,
                                           const std::string& name);

/// Each prints its result on stdout, or one sentence on stderr, and returns an exit code.
int generateCertificateCommand(const std::string& stateDir, const std::string& name, int days,
                               bool force);
int fingerprintCommand(const std::string& stateDir);
int checkConfigCommand(const std::string& file, const std::vector<Setting>& settings,
                       const std::function<Status()>& validate);

/// "pillarbox-engine: sentence" on stderr; returns kExitFailure.
int fail(const std::string& program, const Error& error);

/// Says that the program listens: a log line, "listening on HOST:PORT fingerprint AA:BB:..." on
/// stdout, READY=1 to systemd, and the same words in `readyFile` if that is not empty. Where there
/// is an administration, the line ends in " administration HOST:PORT".
Status announceReady(const net::TlsListener& listener, const net::Identity& identity,
                     const std::string& readyFile,
                     const net::TlsListener* administration = nullptr);

}  // namespace pillarbox::service

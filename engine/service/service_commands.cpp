#include "engine/service/service_commands.h"

#include <cstdio>
#include <iostream>

#include "engine/core/files.h"
#include "engine/service/log.h"
#include "engine/service/process.h"

namespace pillarbox::service {
namespace {

namespace fs = std::filesystem;

fs::path certificateFile(const fs::path& directory) {
  return directory / "certificate.pem";
}
fs::path keyFile(const fs::path& directory) {
  return directory / "key.pem";
}

}  // namespace

Result<net::Identity> loadOrCreateIdentity(const fs::path& stateDirectory,
                                           const std::string& name) {
  std::error_code error;
  const bool hasCertificate = fs::exists(certificateFile(stateDirectory), error);
  const bool hasKey = fs::exists(keyFile(stateDirectory), error);
  if (!hasCertificate && !hasKey) {
    PILLARBOX_TRY(makePrivateDirectory(stateDirectory));
    PILLARBOX_ASSIGN(const auto generated, net::generateCertificate(name));
    PILLARBOX_TRY(
        net::writeCertificate(generated, certificateFile(stateDirectory), keyFile(stateDirectory)));
    logEvent(LogLevel::Info, "certificate_created",
             {{"file", certificateFile(stateDirectory).string()},
              {"fingerprint", generated.fingerprint.text()}});
  }
  return net::Identity::load(certificateFile(stateDirectory), keyFile(stateDirectory));
}

int fail(const std::string& program, const Error& error) {
  std::cerr << program << ": " << error.message << std::endl;
  return kExitFailure;
}

int generateCertificateCommand(const std::string& stateDir, const std::string& name, int days,
                               bool force) {
  const auto directory = stateDirectory(stateDir);
  if (!directory.ok()) return fail(name, directory.error());
  if (const Status made = makePrivateDirectory(*directory); !made.ok()) {
    return fail(name, made.error());
  }
  const auto generated = net::generateCertificate(name, days);
  if (!generated.ok()) return fail(name, generated.error());
  const Status written =
      net::writeCertificate(*generated, certificateFile(*directory), keyFile(*directory),
                            force ? net::Overwrite::Yes : net::Overwrite::No);
  if (!written.ok()) {
    Error error = written.error();
    if (error.code == ErrorCode::InvalidArgument && !force) {
      error.message += "; --force replaces it, and everybody who pinned it will refuse the new one";
    }
    return fail(name, error);
  }
  std::cout << generated->fingerprint.text() << std::endl;
  return kExitOk;
}

int fingerprintCommand(const std::string& stateDir) {
  const auto directory = stateDirectory(stateDir);
  if (!directory.ok()) return fail("fingerprint", directory.error());
  const auto fingerprint = net::certificateFingerprint(certificateFile(*directory));
  if (!fingerprint.ok()) return fail("fingerprint", fingerprint.error());
  std::cout << fingerprint->text() << std::endl;
  return kExitOk;
}

int checkConfigCommand(const std::string& file, const std::vector<Setting>& settings,
                       const std::function<Status()>& validate) {
  const auto problems = readConfiguration(file, settings);
  for (const auto& problem : problems) std::cerr << describe(file, problem) << "\n";
  if (!problems.empty()) return kExitFailure;
  if (const Status status = validate(); !status.ok()) {
    std::cerr << describe(file, {0, status.error().message}) << std::endl;
    return kExitFailure;
  }
  std::cout << file << ": good" << std::endl;
  return kExitOk;
}

Status announceReady(const net::TlsListener& listener, const net::Identity& identity,
                     const std::string& readyFile, const net::TlsListener* administration) {
  const auto addressesOf = [](const net::TlsListener& of) {
    std::string addresses;
    for (const std::string& address : of.addresses()) {
      addresses += (addresses.empty() ? "" : " ") + address;
    }
    return addresses;
  };
  std::string line =
      "listening on " + addressesOf(listener) + " fingerprint " + identity.fingerprint().text();
  logEvent(LogLevel::Info, "listening",
           {{"address", addressesOf(listener)}, {"fingerprint", identity.fingerprint().text()}});
  if (administration != nullptr) {
    line += " administration " + addressesOf(*administration);
    logEvent(LogLevel::Info, "administration_listening",
             {{"address", addressesOf(*administration)}});
  }
  std::cout << line << std::endl;
  notifySystemd("READY=1\nSTATUS=" + line);
  if (readyFile.empty()) return {};
  return writePrivateFile(readyFile, line + "\n");
}

}  // namespace pillarbox::service

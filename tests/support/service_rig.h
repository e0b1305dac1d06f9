// The real programs for tests: pillarbox-engine and pillarbox-dealer as processes on loopback, with
// their state in a temporary folder.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <QProcess>
#include <QString>
#include <QStringList>
#include <QTemporaryDir>

#include "models/loaded_model.h"

namespace pillarbox::testing {

/// Runs a program to its end.
struct Ran {
  int exitCode = -1;
  QString output, errors;
};
/// @param program  "pillarbox-cli", ...
Ran runProgram(const QString& program, const QStringList& arguments, int timeoutMs = 30000);

/// One of the two services as a process. Killed, if need be, when it goes out of scope.
class Service {
 public:
  ~Service();
  /// Starts `program serve ARGUMENTS` and waits until it listens. False if it ended instead.
  bool start(const QString& program, const QStringList& arguments, const QString& readyFile);
  QString address() const { return m_address; }  ///< "127.0.0.1:40123"
  quint16 port() const;
  QString fingerprint() const { return m_fingerprint; }  ///< "AA:BB:..."
  QString log();                                         ///< stderr so far
  void kill();                                           ///< SIGKILL, and waits
  void terminate();                                      ///< SIGTERM, and returns
  /// Waits for the end. -1: still running.
  int waitForEnd(int timeoutMs = 15000);
  bool running() const { return m_process.state() == QProcess::Running; }

 private:
  QProcess m_process;
  QString m_address, m_fingerprint, m_log;
};

/// A small model whose values stay in range: three rounds, 3 x 12 x 12 images, six classes.
std::string smallModelFile(std::uint64_t seed = 1);

/// A dealer, an engine that serves small models, and a folder for both and a client.
class ServiceRig {
 public:
  ServiceRig();
  QString folder() const { return m_folder.path(); }
  QString path(const QString& name) const { return m_folder.filePath(name); }

  /// Writes the small model to `name` in the folder; returns its path.
  QString writeModel(const QString& name, std::uint64_t seed = 1);
  bool startDealer(const QString& listen = "127.0.0.1:0", const QStringList& more = {});
  /// Dealer mode if a dealer runs, else first-party. Serves "model.onnx" unless `more` names one.
  bool startEngine(const QString& listen = "127.0.0.1:0", const QStringList& more = {});

  Service dealer, engine;

 private:
  QTemporaryDir m_folder;
};

/// An image of the small model's size with reproducible contents, saved as PNG. Returns the path.
QString writeImage(const QString& path, unsigned seed, int width = 12, int height = 12);

}  // namespace pillarbox::testing

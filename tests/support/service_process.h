// Starts a real pillarbox-dealer or pillarbox-engine on a free loopback port and waits until it
// listens.
#pragma once

#include <memory>

#include <QProcess>
#include <QString>
#include <QStringList>

namespace pillarbox::test {

class ServiceProcess {
 public:
  /// @param program  path of the executable
  /// @param folder   existing folder for its state and its ready file
  ServiceProcess(QString program, QString folder);
  ~ServiceProcess();
  /// Runs `program serve --listen 127.0.0.1:PORT --state-dir ... arguments`; port 0: a free one,
  /// and the same again at later starts. Empty on success, else what went wrong.
  QString start(const QStringList& arguments, quint16 port = 0);
  /// Ends it with SIGTERM (after five seconds SIGKILL).
  void stop();
  /// Runs another of its commands to the end, with the same state folder. True if it exits with 0.
  bool run(const QStringList& arguments);

  quint16 port() const { return m_port; }
  QString address() const { return QStringLiteral("127.0.0.1:%1").arg(m_port); }
  QString fingerprint() const { return m_fingerprint; }
  /// What it has written so far.
  QString output();

 private:
  QString m_program;
  QString m_folder;
  QProcess m_process;
  QByteArray m_output;
  quint16 m_port = 0;
  QString m_fingerprint;
};

}  // namespace pillarbox::test

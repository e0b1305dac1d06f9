#include "tests/support/service_process.h"

#include <QDir>
#include <QElapsedTimer>
#include <QFile>
#include <QProcess>
#include <QRegularExpression>
#include <QTest>

namespace pillarbox::test {

namespace {
constexpr int kStartMs = 60000;
}

ServiceProcess::ServiceProcess(QString program, QString folder)
    : m_program(std::move(program)), m_folder(std::move(folder)) {
  m_process.setProcessChannelMode(QProcess::MergedChannels);
}

ServiceProcess::~ServiceProcess() {
  stop();
}

QString ServiceProcess::start(const QStringList& arguments, quint16 port) {
  stop();
  m_output.clear();
  const QString readyFile = QDir(m_folder).filePath(QStringLiteral("ready"));
  QFile::remove(readyFile);
  m_process.start(m_program, QStringList{QStringLiteral("serve"), QStringLiteral("--listen"),
                                         QStringLiteral("127.0.0.1:%1").arg(port),
                                         QStringLiteral("--state-dir"), m_folder,
                                         QStringLiteral("--ready-file"), readyFile} +
                                 arguments);
  static const QRegularExpression kReady(
      QStringLiteral("listening on \\S+?:(\\d+)\\b.* fingerprint ([0-9A-F:]{95})"));
  QElapsedTimer waited;
  waited.start();
  while (waited.elapsed() < kStartMs) {
    QTest::qWait(30);
    QFile file(readyFile);
    if (file.open(QIODevice::ReadOnly)) {
      const auto match = kReady.match(QString::fromUtf8(file.readAll()));
      if (match.hasMatch()) {
        m_port = static_cast<quint16>(match.captured(1).toUInt());
        m_fingerprint = match.captured(2);
        return {};
      }
    }
    if (m_process.state() == QProcess::NotRunning) break;
  }
  return QStringLiteral("%1 did not start: %2").arg(m_program, output());
}

void ServiceProcess::stop() {
  if (m_process.state() == QProcess::NotRunning) return;
  m_process.terminate();
  if (!m_process.waitForFinished(5000)) {
    m_process.kill();
    m_process.waitForFinished(5000);
  }
}

bool ServiceProcess::run(const QStringList& arguments) {
  QProcess process;
  process.start(m_program, arguments + QStringList{QStringLiteral("--state-dir"), m_folder});
  return process.waitForFinished(30000) && process.exitCode() == 0;
}

QString ServiceProcess::output() {
  m_output += m_process.readAll();
  return QString::fromUtf8(m_output);
}

}  // namespace pillarbox::test

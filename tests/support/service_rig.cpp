#include "tests/support/service_rig.h"

#include <csignal>
#include <random>

#include <QElapsedTimer>
#include <QFile>
#include <QImage>
#include <QProcess>
#include <QThread>

#include "tests/support/onnx_builder.h"

namespace pillarbox::testing {
namespace {

QString programPath(const QString& program) {
  return QStringLiteral(PILLARBOX_BIN_DIR "/") + program;
}

}  // namespace

Ran runProgram(const QString& program, const QStringList& arguments, int timeoutMs) {
  QProcess process;
  process.setStandardInputFile(QProcess::nullDevice());
  process.start(programPath(program), arguments);
  Ran ran;
  if (process.waitForFinished(timeoutMs) && process.exitStatus() == QProcess::NormalExit) {
    ran.exitCode = process.exitCode();
  } else {
    process.kill();
    process.waitForFinished();
  }
  ran.output = QString::fromUtf8(process.readAllStandardOutput());
  ran.errors = QString::fromUtf8(process.readAllStandardError());
  return ran;
}

Service::~Service() {
  kill();
}

bool Service::start(const QString& program, const QStringList& arguments,
                    const QString& readyFile) {
  QFile::remove(readyFile);
  m_log.clear();
  m_process.start(programPath(program),
                  QStringList{"serve", "--ready-file", readyFile} + arguments);
  QElapsedTimer timer;
  timer.start();
  while (timer.elapsed() < 30000) {
    QFile file(readyFile);
    if (file.open(QIODevice::ReadOnly)) {
      const QStringList words = QString::fromUtf8(file.readAll()).split(' ');
      if (words.size() < 5) return false;
      m_address = words[2];
      m_fingerprint = words[4].trimmed();
      return true;
    }
    if (m_process.waitForFinished(20) || m_process.state() == QProcess::NotRunning) return false;
  }
  return false;
}

quint16 Service::port() const {
  return static_cast<quint16>(m_address.section(':', -1).toUInt());
}

QString Service::log() {
  // Without an event loop QProcess reads its pipes only when it is asked to wait.
  m_process.waitForReadyRead(50);
  m_log += QString::fromUtf8(m_process.readAllStandardError());
  return m_log;
}

void Service::kill() {
  if (m_process.state() == QProcess::NotRunning) return;
  m_process.kill();
  m_process.waitForFinished();
}

void Service::terminate() {
  m_process.terminate();
}

int Service::waitForEnd(int timeoutMs) {
  if (m_process.state() != QProcess::NotRunning && !m_process.waitForFinished(timeoutMs)) return -1;
  return m_process.exitStatus() == QProcess::NormalExit ? m_process.exitCode() : 256;
}

std::string smallModelFile(std::uint64_t seed) {
  OnnxBuilder builder({3, 12, 12}, seed);
  const models::Polynomial polynomial = reluFit(4);
  builder.statePolynomial(polynomial);
  std::string x = builder.conv(builder.input(), 8, Window::square(3, 1, 1));
  x = builder.activation(x, polynomial);
  x = builder.conv(x, 8, Window::square(3, 2, 1));
  x = builder.activation(x, polynomial);
  builder.finish(builder.gemm(builder.flatten(x), 6));
  return builder.bytes();
}

ServiceRig::ServiceRig() = default;

QString ServiceRig::writeModel(const QString& name, std::uint64_t seed) {
  const QString file = path(name);
  const std::string bytes = smallModelFile(seed);
  QFile out(file);
  if (!out.open(QIODevice::WriteOnly) ||
      out.write(bytes.data(), static_cast<qint64>(bytes.size())) !=
          static_cast<qint64>(bytes.size())) {
    throw std::runtime_error("the test model cannot be written");
  }
  return file;
}

bool ServiceRig::startDealer(const QString& listen, const QStringList& more) {
  return dealer.start("pillarbox-dealer",
                      QStringList{"--listen", listen, "--state-dir", path("dealer")} + more,
                      path("dealer.ready"));
}

bool ServiceRig::startEngine(const QString& listen, const QStringList& more) {
  QStringList arguments = {"--listen", listen, "--state-dir", path("engine")};
  if (dealer.running()) {
    arguments += QStringList{"--offline", "dealer", "--dealer", dealer.address()};
  } else if (!more.contains("--offline")) {
    arguments += QStringList{"--offline", "first-party", "--allow-insecure-first-party"};
  }
  if (!more.contains("--model")) {
    const QString model = path("model.onnx");
    if (!QFile::exists(model)) writeModel("model.onnx");
    arguments += QStringList{"--model", model};
  }
  return engine.start("pillarbox-engine", arguments + more, path("engine.ready"));
}

QString writeImage(const QString& path, unsigned seed, int width, int height) {
  QImage image(width, height, QImage::Format_RGB888);
  std::mt19937 random(seed);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      image.setPixel(x, y, qRgb(random() & 255, random() & 255, random() & 255));
    }
  }
  if (!image.save(path, "PNG")) throw std::runtime_error("the test image cannot be written");
  return path;
}

}  // namespace pillarbox::testing

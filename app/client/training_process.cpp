#include "app/client/training_process.h"

#include <csignal>

#include <QCoreApplication>
#include <QDir>
#include <QFileInfo>
#include <QJsonArray>
#include <QJsonDocument>
#include <QStandardPaths>

#include "app/client/training_record.h"

namespace pillarbox::client {
namespace {

constexpr char kProgram[] = "pillarbox-train";
constexpr int kStopped = 3;  ///< exit code
constexpr int kFarewellMs = 10000;
constexpr qsizetype kMaxLine = 16 << 20;

QString lastLineOf(const QByteArray& text) {
  const QStringList lines = QString::fromUtf8(text).split(QLatin1Char('\n'), Qt::SkipEmptyParts);
  QString line = lines.isEmpty() ? QString() : lines.last().trimmed();
  const QString prefix = QString::fromLatin1(kProgram) + QStringLiteral(": ");
  if (line.startsWith(prefix)) line = line.mid(prefix.size());
  return line.left(500);
}

}  // namespace

QStringList trainingArguments(const TrainingRequest& request) {
  QStringList arguments;
  const auto add = [&arguments](const char* name, const QString& value) {
    arguments << QString::fromLatin1(name) << value;
  };
  add("--data", request.data.value(0));
  for (const QString& more : request.data.mid(1)) add("--data", more);
  if (!request.preset.isEmpty()) add("--preset", request.preset);
  add("--network", request.network);
  add("--out", request.folder);
  add("--epochs", QString::number(request.epochs));
  add("--seed", QString::number(request.seed));
  if (!request.polynomial) add("--activation", QStringLiteral("relu"));
  if (request.batch > 0) add("--batch", QString::number(request.batch));
  if (request.imageSize > 0) add("--image-size", QString::number(request.imageSize));
  if (request.threads > 0) add("--threads", QString::number(request.threads));
  if (request.learningRate > 0) add("--learning-rate", QString::number(request.learningRate));
  if (request.weightDecay >= 0) add("--weight-decay", QString::number(request.weightDecay));
  if (request.labelSmoothing >= 0) {
    add("--label-smoothing", QString::number(request.labelSmoothing));
  }
  if (request.penaltyCoefficient >= 0) {
    add("--penalty-coefficient", QString::number(request.penaltyCoefficient));
  }
  if (request.range > 0) add("--range", QString::number(request.range));
  if (!request.device.isEmpty()) add("--device", request.device);
  if (!request.from.isEmpty()) add("--from", request.from);
  if (!request.teacher.isEmpty()) add("--teacher", request.teacher);
  if (request.classWeights) arguments << QStringLiteral("--class-weights");
  return arguments;
}

TrainingProcess::TrainingProcess(const QString& program, QObject* parent)
    : QObject(parent), m_program(program.isEmpty() ? findProgram() : program) {
  m_silence.setSingleShot(true);
  connect(&m_silence, &QTimer::timeout, this, [this] {
    Q_EMIT unresponsive(m_state == State::Stopping
                            ? tr("The training process does not stop. End it now: the run can be "
                                 "resumed from its last checkpoint.")
                            : tr("The training process has said nothing for a while. It may be "
                                 "reading a lot of data; if it stays like this, end it and resume "
                                 "the run from its last checkpoint."));
  });
}

TrainingProcess::~TrainingProcess() {
  if (!m_process) return;
  m_process->disconnect(this);
  m_process->closeWriteChannel();
  if (!m_process->waitForFinished(kFarewellMs)) {
    m_process->kill();
    m_process->waitForFinished(1000);
  }
}

QString TrainingProcess::findProgram() {
  const QString name = QString::fromLatin1(kProgram);
  const QFileInfo beside(QDir(QCoreApplication::applicationDirPath()).filePath(name));
  if (beside.isExecutable()) return beside.absoluteFilePath();
  return QStandardPaths::findExecutable(name);
}

void TrainingProcess::setPatience(int runningMs, int stoppingMs) {
  m_runningPatience = runningMs;
  m_stoppingPatience = stoppingMs;
}

void TrainingProcess::train(const TrainingRequest& request) {
  if (m_state != State::Idle) return;
  m_folder = request.folder;
  QDir().mkpath(QFileInfo(request.folder).absolutePath());
  start(QStringList{QStringLiteral("train")} + trainingArguments(request));
}

void TrainingProcess::resume(const QString& folder, int epochs) {
  if (m_state != State::Idle) return;
  m_folder = folder;
  QStringList arguments{QStringLiteral("resume"), folder};
  if (epochs > 0) arguments << QStringLiteral("--epochs") << QString::number(epochs);
  start(arguments);
}

void TrainingProcess::start(const QStringList& arguments) {
  m_error.clear();
  m_lastLine.clear();
  m_lines.clear();
  m_killed = false;
  setState(State::Starting);
  if (m_program.isEmpty()) {
    finish(
        tr("pillarbox-train is not installed beside this program or in the search path; install "
           "it and try again."));
    return;
  }
  m_process = new QProcess(this);
  connect(m_process, &QProcess::readyReadStandardOutput, this, &TrainingProcess::readLines);
  connect(m_process, &QProcess::readyReadStandardError, this, [this] {
    const QString line = lastLineOf(m_process->readAllStandardError());
    if (!line.isEmpty()) m_lastLine = line;
  });
  connect(m_process, &QProcess::errorOccurred, this, [this](QProcess::ProcessError error) {
    if (error != QProcess::FailedToStart) return;
    finish(tr("%1 cannot be started: %2. Install it again, or check its permissions.")
               .arg(m_program, m_process->errorString()));
  });
  connect(m_process, &QProcess::finished, this, [this](int code, QProcess::ExitStatus status) {
    readLines();
    const QString rest = lastLineOf(m_process->readAllStandardError());
    if (!rest.isEmpty()) m_lastLine = rest;
    finish(problemOf(code, status));
  });
  m_silence.start(m_runningPatience);
  m_process->start(m_program,
                   arguments + QStringList{QStringLiteral("--json"), QStringLiteral("--control")});
}

void TrainingProcess::setState(State state) {
  if (state == m_state) return;
  m_state = state;
  Q_EMIT stateChanged(state);
}

void TrainingProcess::readLines() {
  m_lines += m_process->readAllStandardOutput();
  if (m_state == State::Running || m_state == State::Starting) m_silence.start(m_runningPatience);
  for (;;) {
    const qsizetype end = m_lines.indexOf('\n');
    if (end < 0) break;
    const QJsonObject object = QJsonDocument::fromJson(m_lines.left(end)).object();
    m_lines.remove(0, end + 1);
    const QString kind = object[QStringLiteral("event")].toString();
    if (kind.isEmpty()) continue;
    if (kind == QLatin1String("error")) m_error = object[QStringLiteral("message")].toString();
    if (m_state != State::Stopping) {
      if (kind == QLatin1String("paused")) {
        m_silence.stop();
        setState(State::Paused);
      } else if (kind == QLatin1String("continued") || kind == QLatin1String("start") ||
                 kind == QLatin1String("resume")) {
        setState(State::Running);
      }
    }
    Q_EMIT event(object);
  }
  if (m_lines.size() > kMaxLine) m_lines.clear();
}

void TrainingProcess::send(const char* command) {
  if (!m_process) return;
  m_process->write(command);
  m_process->write("\n");
}

void TrainingProcess::pause() {
  if (m_state == State::Running) send("pause");
}

void TrainingProcess::proceed() {
  if (m_state == State::Paused) send("resume");
}

void TrainingProcess::stop() {
  if (m_state == State::Idle || m_state == State::Stopping) return;
  setState(State::Stopping);
  send("stop");
  m_silence.start(m_stoppingPatience);
}

void TrainingProcess::kill() {
  if (!m_process) return;
  m_killed = true;
  m_process->kill();
}

QString TrainingProcess::problemOf(int exitCode, QProcess::ExitStatus status) {
  const bool memory = m_lastLine.contains(QLatin1String("bad_alloc")) ||
                      m_lastLine.contains(QLatin1String("out of memory"), Qt::CaseInsensitive) ||
                      m_lastLine.contains(QLatin1String("can't allocate memory"));
  const bool saved = QFileInfo::exists(QDir(m_folder).filePath(QStringLiteral("last.pt")));
  const QString next = saved ? tr("The run can be resumed from its last checkpoint.")
                             : tr("There was no checkpoint yet; the run can be started over.");
  if (m_killed) return tr("Training was ended at once. %1").arg(next);
  if (memory || (status == QProcess::CrashExit && exitCode == SIGKILL)) {
    return tr("The training process was killed, most likely because the memory ran out. %1 A new "
              "one "
              "with a smaller batch or smaller images needs less memory.")
        .arg(next);
  }
  if (status == QProcess::CrashExit) {
    return tr("The training process crashed%1. %2")
        .arg(m_lastLine.isEmpty() ? QString() : QStringLiteral(" (%1)").arg(m_lastLine), next);
  }
  if (exitCode == 0 || exitCode == kStopped) return {};
  if (!m_error.isEmpty()) return m_error;
  if (!m_lastLine.isEmpty()) return m_lastLine;
  return tr("The training process ended with code %1 and gave no reason; look at the run's log.")
      .arg(exitCode);
}

void TrainingProcess::finish(const QString& problem) {
  m_silence.stop();
  // A process that can still speak writes its errors into the run's log itself.
  if (!problem.isEmpty() && m_error.isEmpty()) noteInterruption(m_folder, problem);
  if (m_process) {
    m_process->disconnect(this);
    m_process->deleteLater();
    m_process = nullptr;
  }
  setState(State::Idle);
  Q_EMIT ended(problem);
}

TrainingCommand::TrainingCommand(const QString& program, const QStringList& arguments,
                                 QObject* parent)
    : QObject(parent), m_process(new QProcess(this)), m_program(program), m_arguments(arguments) {}

TrainingCommand::~TrainingCommand() {
  m_process->disconnect(this);
  if (m_process->state() == QProcess::NotRunning) return;
  m_process->kill();
  m_process->waitForFinished(1000);
}

void TrainingCommand::start() {
  connect(m_process, &QProcess::errorOccurred, this, [this](QProcess::ProcessError error) {
    if (error != QProcess::FailedToStart) return;
    Q_EMIT failed(tr("pillarbox-train cannot be started; install it beside this program."));
    deleteLater();
  });
  connect(m_process, &QProcess::finished, this, [this](int code, QProcess::ExitStatus status) {
    QVector<QJsonObject> objects;
    for (const QByteArray& line : m_process->readAllStandardOutput().split('\n')) {
      const QJsonObject object = QJsonDocument::fromJson(line).object();
      if (!object.isEmpty()) objects << object;
    }
    const QString line = lastLineOf(m_process->readAllStandardError());
    if (status == QProcess::NormalExit && code == 0) {
      Q_EMIT succeeded(objects);
    } else if (status == QProcess::CrashExit) {
      Q_EMIT failed(
          tr("pillarbox-train crashed or ran out of memory; close other programs and try "
             "again."));
    } else {
      Q_EMIT failed(line.isEmpty() ? tr("pillarbox-train failed and gave no reason.") : line);
    }
    deleteLater();
  });
  m_process->setStandardInputFile(QProcess::nullDevice());
  m_process->start(m_program.isEmpty() ? QString::fromLatin1(kProgram) : m_program,
                   m_arguments + QStringList{QStringLiteral("--json")});
}

QVector<NetworkInfo> networksOf(const QVector<QJsonObject>& objects) {
  QVector<NetworkInfo> networks;
  for (const QJsonObject& object : objects) {
    NetworkInfo network;
    network.name = object[QStringLiteral("name")].toString();
    network.summary = object[QStringLiteral("summary")].toString();
    network.imageSize = object[QStringLiteral("image_size")].toInt();
    network.rounds = object[QStringLiteral("rounds")].toInt();
    network.parameters = object[QStringLiteral("parameters")].toInteger();
    network.activations = object[QStringLiteral("activations")].toInteger();
    const QJsonObject costs = object[QStringLiteral("costs")].toObject();
    network.nearSeconds = costs[QStringLiteral("seconds_at_0.25ms_1gbit")].toDouble(-1);
    network.farSeconds = costs[QStringLiteral("seconds_at_100ms_100mbit")].toDouble(-1);
    network.nearPreparation =
        costs[QStringLiteral("preparation_seconds_at_0.25ms_1gbit")].toDouble(-1);
    network.farPreparation =
        costs[QStringLiteral("preparation_seconds_at_100ms_100mbit")].toDouble(-1);
    if (!network.name.isEmpty()) networks << network;
  }
  return networks;
}

QVector<PresetInfo> presetsOf(const QVector<QJsonObject>& objects) {
  QVector<PresetInfo> presets;
  for (const QJsonObject& object : objects) {
    const QJsonObject settings = object[QStringLiteral("settings")].toObject();
    PresetInfo preset;
    preset.name = object[QStringLiteral("name")].toString();
    preset.summary = object[QStringLiteral("summary")].toString();
    preset.epochs = settings[QStringLiteral("epochs")].toInt(30);
    preset.leastEpochs = settings[QStringLiteral("progressive_epochs")].toInt() + 1;
    preset.converts = settings[QStringLiteral("tune_coefficients")].toBool();
    if (!preset.name.isEmpty()) presets << preset;
  }
  return presets;
}

}  // namespace pillarbox::client

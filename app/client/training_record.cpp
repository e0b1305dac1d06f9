#include "app/client/training_record.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <QCoreApplication>
#include <QDir>
#include <QFile>
#include <QFileInfo>
#include <QJsonArray>
#include <QJsonDocument>

namespace pillarbox::client {
namespace {

constexpr qint64 kMaxReason = 1000;
constexpr qint64 kMaxLogBytes = qint64{256} << 20;

QString tr(const char* text) {
  return QCoreApplication::translate("TrainingRecord", text);
}

/// Numbers that are not finite come as strings.
double number(const QJsonValue& value, double otherwise = 0) {
  if (value.isDouble()) return value.toDouble();
  if (value.isString()) return std::numeric_limits<double>::infinity();
  return otherwise;
}

QString percent(double ratio) {
  return QStringLiteral("%1 %").arg(100 * ratio, 0, 'f', 1);
}

QJsonObject readObject(const QString& path) {
  QFile file(path);
  if (!file.open(QIODevice::ReadOnly)) return {};
  return QJsonDocument::fromJson(file.readAll()).object();
}

/// Whether a process trains in the folder: it holds a lock on a file there.
bool isLocked(const QDir& directory) {
  const QByteArray path = QFile::encodeName(directory.filePath(QStringLiteral("lock")));
  const int file = ::open(path.constData(), O_RDWR | O_CLOEXEC);
  if (file < 0) return false;
  const bool locked = ::lockf(file, F_TEST, 0) != 0;
  ::close(file);
  return locked;
}

/// Calls `use` with every whole line of the run's log.
template <typename Use>
void eachEvent(const QString& folder, Use use) {
  QFile file(QDir(folder).filePath(QStringLiteral("log.jsonl")));
  if (file.size() > kMaxLogBytes || !file.open(QIODevice::ReadOnly)) return;
  while (!file.atEnd()) {
    const QJsonObject event = QJsonDocument::fromJson(file.readLine()).object();
    if (!event.isEmpty()) use(event);
  }
}

QDateTime timeOf(const QJsonObject& event) {
  const QJsonValue value = event[QStringLiteral("time")];
  if (value.isDouble()) return QDateTime::fromSecsSinceEpoch(static_cast<qint64>(value.toDouble()));
  return QDateTime::fromString(value.toString(), Qt::ISODate).toLocalTime();
}

void applyTest(RunRecord& run, EpochRecord& epoch, const QJsonObject& test) {
  epoch.testLoss = number(test[QStringLiteral("loss")]);
  epoch.testAccuracy = number(test[QStringLiteral("accuracy")]);
  epoch.testTopFive = number(test[QStringLiteral("top5")]);
  epoch.outOfRange = number(test[QStringLiteral("out_of_range")]);
  epoch.lostRatio = number(test[QStringLiteral("lost_ratio")]);
  run.confusion.clear();
  for (const auto row : test[QStringLiteral("confusion")].toArray()) {
    QVector<qint64> counts;
    for (const auto count : row.toArray()) counts << count.toInteger();
    run.confusion << counts;
  }
  run.classAccuracy.clear();
  for (const auto value : test[QStringLiteral("class_accuracy")].toArray()) {
    run.classAccuracy << number(value, -1);
  }
  run.layers.clear();
  for (const auto value : test[QStringLiteral("layers")].toArray()) {
    const QJsonObject from = value.toObject();
    LayerRange layer;
    layer.name = from[QStringLiteral("name")].toString();
    layer.outOfRange = number(from[QStringLiteral("out_of_range")]);
    layer.largest = number(from[QStringLiteral("largest")]);
    for (const auto count : from[QStringLiteral("histogram")].toArray()) {
      layer.histogram << number(count);
    }
    run.layers << layer;
  }
}

}  // namespace

double RunRecord::bestAccuracy() const {
  double best = -1;
  for (const EpochRecord& record : history) best = std::max(best, record.testAccuracy);
  return best;
}

QString RunRecord::apply(const QJsonObject& event) {
  const QString kind = event[QStringLiteral("event")].toString();
  if (kind == QLatin1String("progress")) {
    epoch = event[QStringLiteral("epoch")].toInt();
    epochs = event[QStringLiteral("epochs")].toInt(epochs);
    done = number(event[QStringLiteral("done")]);
    imagesPerSecond = number(event[QStringLiteral("images_per_second")]);
    secondsLeft = number(event[QStringLiteral("seconds_left")], -1);
    return {};
  }
  if (kind == QLatin1String("reading")) {
    filesRead = event[QStringLiteral("done")].toInteger();
    filesToRead = event[QStringLiteral("files")].toInteger();
    return {};
  }
  if (kind == QLatin1String("data")) {
    classes.clear();
    classCounts.clear();
    skipped.clear();
    for (const auto name : event[QStringLiteral("classes")].toArray()) classes << name.toString();
    for (const auto count : event[QStringLiteral("class_counts")].toArray()) {
      classCounts << count.toInteger();
    }
    imbalance = number(event[QStringLiteral("imbalance")], 1);
    trainImages = event[QStringLiteral("train_images")].toInteger();
    testImages = event[QStringLiteral("test_images")].toInteger();
    splitMade = event[QStringLiteral("split_made")].toBool();
    skippedFiles = event[QStringLiteral("skipped_files")].toInteger();
    for (const auto value : event[QStringLiteral("skipped")].toArray()) {
      const QJsonObject file = value.toObject();
      skipped << QStringLiteral("%1: %2").arg(file[QStringLiteral("path")].toString(),
                                              file[QStringLiteral("reason")].toString());
    }
    QString line = tr("Data: %1 training and %2 test images in %3 classes.")
                       .arg(trainImages)
                       .arg(testImages)
                       .arg(classes.size());
    if (skippedFiles > 0) line += tr(" %1 files could not be used.").arg(skippedFiles);
    return line;
  }
  if (kind == QLatin1String("start") || kind == QLatin1String("resume")) {
    epochs = event[QStringLiteral("epochs")].toInt(epochs);
    range = number(event[QStringLiteral("range")], range);
    state = RunState::Running;
    problem.clear();
    if (!started.isValid()) started = timeOf(event);
    if (kind == QLatin1String("resume")) {
      return tr("Resumed after epoch %1.").arg(event[QStringLiteral("epoch")].toInt());
    }
    network = event[QStringLiteral("network")].toString(network);
    parameters = event[QStringLiteral("parameters")].toInteger();
    rounds = event[QStringLiteral("rounds")].toInt();
    trainImages = event[QStringLiteral("train_images")].toInteger(trainImages);
    testImages = event[QStringLiteral("test_images")].toInteger(testImages);
    return tr("Started %1 on %2: %3 parameters, %4 round trips.")
        .arg(network, event[QStringLiteral("device")].toString())
        .arg(parameters)
        .arg(rounds);
  }
  if (kind == QLatin1String("epoch")) {
    EpochRecord record;
    record.epoch = event[QStringLiteral("epoch")].toInt();
    record.loss = number(event[QStringLiteral("loss")]);
    record.penalty = number(event[QStringLiteral("penalty")]);
    record.accuracy = number(event[QStringLiteral("accuracy")]);
    record.seconds = number(event[QStringLiteral("seconds")]);
    applyTest(*this, record, event[QStringLiteral("test")].toObject());
    // A run that was killed repeats what its last checkpoint did not hold.
    while (!history.isEmpty() && history.last().epoch >= record.epoch) history.removeLast();
    history << record;
    return tr("Epoch %1: loss %2, training %3, test %4, out of range %5.")
        .arg(record.epoch)
        .arg(record.loss, 0, 'f', 3)
        .arg(percent(record.accuracy), percent(record.testAccuracy),
             QStringLiteral("%1 %").arg(100 * record.outOfRange, 0, 'g', 2));
  }
  if (kind == QLatin1String("checkpoint")) {
    (event[QStringLiteral("name")] == QLatin1String("best") ? hasBest : hasLast) = true;
    return {};
  }
  if (kind == QLatin1String("recovery")) {
    return tr("Recovered in epoch %1 (%2); the learning rate is now %3 of the schedule's.")
        .arg(event[QStringLiteral("epoch")].toInt())
        .arg(event[QStringLiteral("reason")].toString())
        .arg(number(event[QStringLiteral("rate_scale")]));
  }
  if (kind == QLatin1String("paused")) {
    state = RunState::Paused;
    return tr("Paused; a checkpoint is written.");
  }
  if (kind == QLatin1String("continued")) {
    state = RunState::Running;
    return tr("Continued.");
  }
  if (kind == QLatin1String("stopped")) {
    state = RunState::Stopped;
    secondsLeft = -1;
    return tr("Stopped; the run can be resumed.");
  }
  if (kind == QLatin1String("finished")) {
    state = RunState::Finished;
    done = 1;
    secondsLeft = -1;
    return tr("Finished: test accuracy %1.")
        .arg(percent(number(event[QStringLiteral("accuracy")])));
  }
  if (kind == QLatin1String("error") || kind == QLatin1String("interrupted")) {
    state = kind == QLatin1String("error") ? RunState::Failed : RunState::Interrupted;
    problem = event[QStringLiteral("message")].toString();
    secondsLeft = -1;
    return problem;
  }
  return {};
}

RunRecord readRun(const QString& folder) {
  const QDir directory(folder);
  RunRecord run;
  if (!QFileInfo::exists(directory.filePath(QStringLiteral("config.json")))) return run;
  run.folder = directory.absolutePath();
  run.name = directory.dirName();
  run.settings = readObject(directory.filePath(QStringLiteral("config.json")));
  run.network = run.settings[QStringLiteral("network")].toString();
  run.polynomial = run.settings[QStringLiteral("activation")].toString() != QLatin1String("relu");
  run.epochs = run.settings[QStringLiteral("epochs")].toInt();
  run.range = run.settings[QStringLiteral("range")].toDouble(5);
  const QJsonObject data = readObject(directory.filePath(QStringLiteral("data.json")));
  for (const auto name : data[QStringLiteral("classes")].toArray()) run.classes << name.toString();
  run.trainImages = data[QStringLiteral("train_images")].toInteger();
  run.testImages = data[QStringLiteral("test_images")].toInteger();
  run.skippedFiles = data[QStringLiteral("skipped_files")].toInteger();
  if (QFile file(directory.filePath(QStringLiteral("skipped.txt")));
      run.skippedFiles > 0 && file.open(QIODevice::ReadOnly)) {
    run.skipped << QString::fromUtf8(file.readLine(kMaxReason)).trimmed();
  }
  eachEvent(run.folder, [&run](const QJsonObject& event) { run.apply(event); });
  run.epochs = run.settings[QStringLiteral("epochs")].toInt(run.epochs);
  run.hasBest = directory.exists(QStringLiteral("best.pt"));
  run.hasLast = directory.exists(QStringLiteral("last.pt"));
  if (run.active()) {
    run.state = isLocked(directory) ? RunState::Elsewhere : RunState::Interrupted;
  }
  if (run.state == RunState::Finished && run.finishedEpochs() < run.epochs) {
    run.state = RunState::Stopped;  // extended, and not gone on yet
  }
  if (run.epochs > 0 && run.state != RunState::Finished) {
    run.done = static_cast<double>(run.finishedEpochs()) / run.epochs;
  }
  if (!run.started.isValid()) {
    run.started = QFileInfo(directory.filePath(QStringLiteral("config.json"))).lastModified();
  }
  return run;
}

QVector<RunRecord> readRuns(const QString& root) {
  QVector<RunRecord> runs;
  if (root.isEmpty()) return runs;
  const QDir directory(root);
  const auto names = directory.entryList(QDir::Dirs | QDir::NoDotAndDotDot);
  for (const QString& name : names) {
    RunRecord run = readRun(directory.filePath(name));
    if (!run.folder.isEmpty()) runs << run;
  }
  std::stable_sort(runs.begin(), runs.end(),
                   [](const RunRecord& a, const RunRecord& b) { return a.started > b.started; });
  return runs;
}

bool noteInterruption(const QString& folder, const QString& problem) {
  const QDir directory(folder);
  if (!directory.exists(QStringLiteral("config.json"))) return false;
  QFile file(directory.filePath(QStringLiteral("log.jsonl")));
  if (!file.open(QIODevice::ReadWrite)) return false;
  // What was killed may have left half a line.
  QByteArray text;
  if (file.size() > 0 && file.seek(file.size() - 1) && file.read(1) != "\n") text += '\n';
  const QJsonObject event{
      {QStringLiteral("event"), QStringLiteral("interrupted")},
      {QStringLiteral("message"), problem},
      {QStringLiteral("time"), QDateTime::currentDateTimeUtc().toString(Qt::ISODate)}};
  text += QJsonDocument(event).toJson(QJsonDocument::Compact) + '\n';
  return file.seek(file.size()) && file.write(text) == text.size() && file.flush();
}

QString removeRun(const QString& folder) {
  const RunRecord run = readRun(folder);
  if (run.folder.isEmpty()) return tr("There is no training run in %1 any more.").arg(folder);
  if (run.active() || run.state == RunState::Elsewhere) {
    return tr("%1 is being trained; stop it first.").arg(run.name);
  }
  if (QFile::moveToTrash(folder)) return {};
  return tr("%1 cannot be moved to the trash; check that %2 may be written, or delete it yourself.")
      .arg(run.name, folder);
}

QStringList readRunLog(const QString& folder, int limit) {
  QStringList lines;
  RunRecord scratch;
  eachEvent(folder, [&](const QJsonObject& event) {
    const QString line = scratch.apply(event);
    if (line.isEmpty()) return;
    const QDateTime time = timeOf(event);
    lines << (time.isValid() ? time.toString(QStringLiteral("yyyy-MM-dd HH:mm:ss  ")) + line
                             : line);
    if (lines.size() > limit) lines.removeFirst();
  });
  return lines;
}

}  // namespace pillarbox::client

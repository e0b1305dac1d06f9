#include "tests/support/fake_trainer.h"

#include <algorithm>
#include <cmath>

#include <QDateTime>
#include <QDir>
#include <QFile>
#include <QJsonArray>
#include <QJsonDocument>

namespace pillarbox::test {

namespace {

constexpr char kScript[] = R"(#!/bin/sh
here=$(dirname "$0")
case $1 in
  list-models) cat "$here/models.jsonl"; exit 0;;
  list-presets) cat "$here/presets.jsonl"; exit 0;;
esac
printf '%s\n' "$@" > "$here/arguments"
command=$1
shift
case $command in
  classify) cat "$here/classified.jsonl"; exit 0;;
  export)
    while [ $# -gt 1 ]; do
      if [ "$1" = --out ]; then echo model > "$2"; fi
      shift
    done
    echo '{"event": "reading", "done": 1, "files": 2}'
    echo '{"rounds": 8, "weights": 173290,
      "report": {"fixed_point_accuracy": 0.865, "fixed_point_images": 200}}' | tr -d '\n'
    exit 0;;
esac
out=$1
while [ $# -gt 1 ]; do
  if [ "$1" = --out ]; then out=$2; fi
  shift
done
mkdir -p "$out"
if [ ! -f "$out/config.json" ]; then cp "$here/config.json" "$out"; fi
if [ -s "$here/events.jsonl" ]; then : > "$out/last.pt"; fi
cat "$here/events.jsonl"
. "$here/end"
while read -r line; do
  case $line in
    pause) echo '{"event": "paused", "epoch": 12, "step": 5}';;
    resume) echo '{"event": "continued", "epoch": 12, "step": 5}';;
    stop) break;;
  esac
done
echo '{"event": "stopped", "epoch": 12, "step": 5}'
exit 3
)";

void write(const QString& path, const QByteArray& bytes) {
  QFile file(path);
  if (!file.open(QIODevice::WriteOnly) || file.write(bytes) != bytes.size()) {
    qFatal("cannot write %s", qPrintable(path));
  }
}

QByteArray lines(const QVector<QJsonObject>& objects) {
  QByteArray text;
  for (const QJsonObject& object : objects) {
    text += QJsonDocument(object).toJson(QJsonDocument::Compact) + "\n";
  }
  return text;
}

/// A number from 0 to 1 that looks random and is always the same.
double hash(int a, int b, int c = 0) {
  const double x = std::sin(a * 12.9898 + b * 78.233 + c * 37.719) * 43758.5453;
  return x - std::floor(x);
}

QJsonObject settingsOf(const QJsonObject& changes) {
  QJsonObject settings{{"network", "pillar7"},
                       {"activation", "polynomial"},
                       {"epochs", 30},
                       {"range", 5.0},
                       {"batch", 128},
                       {"learning_rate", 0.05},
                       {"weight_decay", 0.0005},
                       {"penalty_coefficient", 5e-5},
                       {"data", QJsonArray{"/srv/images"}}};
  for (const QString& key : changes.keys()) settings[key] = changes[key];
  return settings;
}

}  // namespace

FakeTrainer::FakeTrainer() {
  write(program(), kScript);
  QFile::setPermissions(program(), QFile::ReadOwner | QFile::WriteOwner | QFile::ExeOwner);
  QVector<QJsonObject> models;
  const auto network = [&](const char* name, const char* summary, int size, double parameters,
                           int activations, int rounds) {
    models << QJsonObject{
        {"name", name},
        {"summary", summary},
        {"image_size", size},
        {"parameters", parameters},
        {"activations", activations},
        {"rounds", rounds},
        {"costs", QJsonObject{{"seconds_at_0.25ms_1gbit", 0.004 * rounds},
                              {"seconds_at_100ms_100mbit", 0.11 * rounds},
                              {"preparation_seconds_at_0.25ms_1gbit", 1e-5 * activations},
                              {"preparation_seconds_at_100ms_100mbit", 2e-5 * activations}}}};
  };
  network("pillar7", "MiniONN's network with batch norms", 32, 172'000, 172'000, 8);
  network("resnet18", "ResNet-18 for small images", 32, 11'170'000, 557'000, 18);
  network("resnet50", "ResNet-50", 224, 25'600'000, 9'600'000, 50);
  write(path("models.jsonl"), lines(models));
  QVector<QJsonObject> presets;
  presets << QJsonObject{{"name", "pillar"},
                         {"summary", "the paper's recipe: one fixed polynomial of degree 4"},
                         {"settings", QJsonObject{{"epochs", 30}}}}
          << QJsonObject{{"name", "smartpaf"},
                         {"summary", "conversion of a trained ReLU network, layer by layer"},
                         {"settings", QJsonObject{{"epochs", 12},
                                                  {"progressive_epochs", 4},
                                                  {"tune_coefficients", true}}}};
  write(path("presets.jsonl"), lines(presets));
  QJsonArray names, shares;
  const double scores[] = {0.012,  0.0004, 0.031, 0.861, 0.0102,
                           0.0611, 0.0203, 0.002, 0.001, 0.001};
  for (int i = 0; i < classes().size(); ++i) {
    names << classes()[i];
    shares << scores[i];
  }
  write(path("classified.jsonl"),
        lines({{{"classes", names}, {"probabilities", shares}, {"lost", false}}}));
  write(path("config.json"), QJsonDocument(settingsOf({})).toJson());
  setEvents({});
  setEnd({});
  QDir().mkpath(runs());
}

QString FakeTrainer::program() const {
  return path("pillarbox-train");
}

QString FakeTrainer::runs() const {
  return path("runs");
}

void FakeTrainer::setEvents(const QVector<QJsonObject>& events) {
  write(path("events.jsonl"), lines(events));
}

void FakeTrainer::setEnd(const QString& commands) {
  write(path("end"), commands.toUtf8() + "\n");
}

QStringList FakeTrainer::arguments() const {
  QFile file(path("arguments"));
  if (!file.open(QIODevice::ReadOnly)) return {};
  return QString::fromUtf8(file.readAll()).split('\n', Qt::SkipEmptyParts);
}

QString FakeTrainer::addRun(const QString& name, const QVector<QJsonObject>& log,
                            const QJsonObject& settings) const {
  const QDir folder(QDir(runs()).filePath(name));
  folder.mkpath(".");
  write(folder.filePath("config.json"), QJsonDocument(settingsOf(settings)).toJson());
  QJsonObject facts = data();
  facts["skipped_files"] = 0;
  write(folder.filePath("data.json"), QJsonDocument(facts).toJson());
  write(folder.filePath("log.jsonl"), lines(log));
  write(folder.filePath("last.pt"), "weights");
  write(folder.filePath("best.pt"), "weights");
  return folder.absolutePath();
}

QStringList FakeTrainer::classes() {
  return {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};
}

QJsonObject FakeTrainer::data() {
  QJsonArray counts;
  for (int i = 0; i < classes().size(); ++i) counts << (i == 3 ? 2400 : 5000);
  return {{"event", "data"},
          {"train_images", 47400},
          {"test_images", 10000},
          {"classes", QJsonArray::fromStringList(classes())},
          {"class_counts", counts},
          {"imbalance", 5000.0 / 2400},
          {"split_made", true},
          {"skipped_files", 3},
          {"skipped", QJsonArray{QJsonObject{{"path", "/srv/images/cat/IMG_2041 (1).jpg"},
                                             {"reason", "the file ends too early"}}}}};
}

QJsonObject FakeTrainer::start(int epochs) {
  return {{"event", "start"},
          {"network", "pillar7"},
          {"parameters", 173290},
          {"rounds", 8},
          {"epochs", epochs},
          {"range", 5.0},
          {"train_images", 47400},
          {"test_images", 10000},
          {"device", "cpu"},
          {"time", QDateTime(QDate(2026, 11, 21), QTime(9, 12)).toSecsSinceEpoch()}};
}

QJsonObject FakeTrainer::progress(int epoch, int epochs, double done) {
  return {{"event", "progress"}, {"epoch", epoch},           {"epochs", epochs},
          {"done", done},        {"images_per_second", 743}, {"seconds_left", 5400 * (1 - done)}};
}

QJsonObject FakeTrainer::epoch(int number, int epochs, double strength) {
  const double t = static_cast<double>(number) / epochs;
  const double rise = 1 - std::exp(-4.2 * t);
  const double wobble = 0.012 * (hash(number, 3) - 0.5) * (1.2 - t);
  const double test = 0.31 + strength * (0.565 * rise + wobble);
  const int n = static_cast<int>(classes().size());
  QJsonArray confusion, accuracy;
  for (int row = 0; row < n; ++row) {
    QJsonArray counts;
    double rest = 0;
    QVector<double> parts(n);
    for (int column = 0; column < n; ++column) {
      const bool alike = (row == 3 && column == 5) || (row == 5 && column == 3) ||
                         (row == 1 && column == 9) || (row == 9 && column == 1);
      parts[column] = column == row ? 0 : std::pow(hash(row, column), 3) + (alike ? 3 : 0);
      rest += parts[column];
    }
    const double right = std::clamp(test + 0.14 * (hash(row, 7) - 0.55), 0.0, 1.0);
    for (int column = 0; column < n; ++column) {
      const double part = column == row ? right : (1 - right) * parts[column] / rest;
      counts << static_cast<int>(std::lround(1000 * part));
    }
    confusion << counts;
    accuracy << right;
  }
  QJsonArray layers;
  for (int i = 1; i <= 7; ++i) {
    QJsonArray histogram;
    const double width = 0.95 + 0.06 * i - 0.2 * t;
    for (int bin = 0; bin < 60; ++bin) {
      const double x = (-7.5 + 0.25 * (bin + 0.5)) / width;
      histogram << static_cast<int>(
          std::lround(9000 * std::exp(-0.5 * (x + 0.3) * (x + 0.3)) * (0.9 + 0.2 * hash(bin, i))));
    }
    layers << QJsonObject{{"name", QStringLiteral("act%1").arg(i)},
                          {"out_of_range", 2e-5 * i * i * (1.2 - t)},
                          {"largest", 4.3 + 0.33 * i},
                          {"histogram", histogram}};
  }
  const double gap = 0.03 + 0.05 * t;
  return {{"event", "epoch"},
          {"epoch", number},
          {"loss", 2.15 - 1.35 * rise + wobble},
          {"penalty", 0.004 + 0.05 * std::exp(-5 * t) * (1 + wobble)},
          {"accuracy", std::min(0.995, test + gap)},
          {"seconds", 118.0 * number},
          {"test", QJsonObject{{"loss", 2.2 - strength * 1.25 * rise + 2 * wobble},
                               {"accuracy", test},
                               {"top5", std::min(0.999, 0.7 + 0.3 * rise)},
                               {"out_of_range", 3e-4 * std::exp(-2 * t) * (1 + hash(number, 5))},
                               {"lost_ratio", number < 3 ? 0.004 / number : 0.0},
                               {"class_accuracy", accuracy},
                               {"confusion", confusion},
                               {"layers", layers}}},
          {"time", QDateTime(QDate(2026, 11, 21), QTime(9, 12)).toSecsSinceEpoch() + 118 * number}};
}

QJsonObject FakeTrainer::plain(const QString& event) {
  return {{"event", event}};
}

QVector<QJsonObject> FakeTrainer::history(int last, int epochs, double strength) {
  QVector<QJsonObject> events{start(epochs)};
  for (int i = 1; i <= last; ++i) {
    events << epoch(i, epochs, strength);
    for (const char* name : {"last", "best"}) {
      events << QJsonObject{{"event", "checkpoint"}, {"name", name}, {"epoch", i}};
    }
  }
  return events;
}

}  // namespace pillarbox::test

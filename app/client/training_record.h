// What is known of a training run: its settings, where it stands, what it measured.
//
// A record is built from events, which a run writes to its folder (log.jsonl) and prints while it
// trains; both are the same and go through the same function (models/training/main.cpp lists them).
// Reading a folder therefore shows what watching would have shown.
#pragma once

#include <QDateTime>
#include <QJsonObject>
#include <QString>
#include <QStringList>
#include <QVector>

namespace pillarbox::client {

/// One finished epoch. Ratios are 0 to 1.
struct EpochRecord {
  int epoch = 0;
  double loss = 0, penalty = 0, accuracy = 0;              ///< training
  double testLoss = 0, testAccuracy = 0, testTopFive = 0;  ///< as the network will be used
  double outOfRange = 0;                                   ///< share of activation inputs beyond B
  double lostRatio = 0;  ///< share of test images that ran away to no answer
  double seconds = 0;
};

/// The inputs of one activation layer, over a sample of the test images.
struct LayerRange {
  QString name;
  double outOfRange = 0;
  double largest = 0;         ///< largest |x|; infinite where the network ran away
  QVector<double> histogram;  ///< counts in equal bins over [-1.5 B, 1.5 B]
};

enum class RunState {
  New,          ///< nothing has happened yet
  Running,      ///< a process of this program is training it
  Paused,       ///< the same, waiting
  Stopped,      ///< can be resumed
  Elsewhere,    ///< another process is training it
  Interrupted,  ///< ended without saying so (killed, power lost); can be resumed
  Failed,       ///< ended with an error
  Finished,
};

struct RunRecord {
  QString folder;
  QString name;  ///< the folder's
  QString network;
  bool polynomial = true;
  QJsonObject settings;  ///< config.json
  QDateTime started;
  RunState state = RunState::New;
  QString problem;  ///< why it failed or was interrupted, one sentence

  QStringList classes;
  QVector<qint64> classCounts;  ///< training images of each class
  double imbalance = 1;
  qint64 trainImages = 0, testImages = 0;
  qint64 skippedFiles = 0;
  QStringList skipped;     ///< "path: reason", the first of them
  bool splitMade = false;  ///< there was no test split; a part of each class was set aside

  int epochs = 0;    ///< planned
  double range = 5;  ///< B
  int rounds = 0;
  qint64 parameters = 0;
  QVector<EpochRecord> history;
  QVector<QVector<qint64>> confusion;  ///< [true class][answer] of the last epoch's test
  QVector<double> classAccuracy;       ///< negative where a class has no test images
  QVector<LayerRange> layers;
  bool hasBest = false, hasLast = false;

  // Of the epoch under way; only while it trains.
  int epoch = 0;
  double done = 0;  ///< of the whole run
  double imagesPerSecond = 0, secondsLeft = -1;
  qint64 filesRead = 0, filesToRead = 0;  ///< while the data is being read

  int finishedEpochs() const { return history.isEmpty() ? 0 : history.last().epoch; }
  double bestAccuracy() const;  ///< negative: none yet
  bool active() const { return state == RunState::Running || state == RunState::Paused; }

  /// Takes in one event. Returns a line for people, empty where there is nothing to say.
  QString apply(const QJsonObject& event);
};

/// Reads a run's folder. A record with an empty folder if there is no run in it.
RunRecord readRun(const QString& folder);
/// Every run below `root`, the newest first.
QVector<RunRecord> readRuns(const QString& root);
/// Adds to a run's log that its process ended without saying why itself. False where there is no
/// run, or its log cannot be written.
bool noteInterruption(const QString& folder, const QString& problem);
/// Moves a run that nobody trains to the trash. Returns a sentence where that fails, else nothing.
QString removeRun(const QString& folder);
/// The lines of a run's log that people read, the last `limit`.
QStringList readRunLog(const QString& folder, int limit = 500);

}  // namespace pillarbox::client

// A stand-in for pillarbox-train: a shell script that prints what it is told to, obeys the same
// commands, and leaves folders of runs as the program would. For tests of what watches it.
#pragma once

#include <QJsonObject>
#include <QStringList>
#include <QTemporaryDir>
#include <QVector>

namespace pillarbox::test {

class FakeTrainer {
 public:
  FakeTrainer();

  QString program() const;
  /// Folder for runs; made.
  QString runs() const;
  /// What `train` and `resume` print before they wait for commands.
  void setEvents(const QVector<QJsonObject>& events);
  /// Shell commands that `train` and `resume` end with instead of waiting: "kill -9 $$".
  void setEnd(const QString& commands);
  /// The arguments of the last `train`, `resume`, `classify` or `export`.
  QStringList arguments() const;

  /// A run's folder with these settings (over plausible ones) and this log. With checkpoints.
  QString addRun(const QString& name, const QVector<QJsonObject>& log,
                 const QJsonObject& settings = {}) const;

  static QStringList classes();
  static QJsonObject data();
  static QJsonObject start(int epochs);
  static QJsonObject progress(int epoch, int epochs, double done);
  /// A plausible epoch; `strength` (1 is good) moves the accuracy.
  static QJsonObject epoch(int epoch, int epochs, double strength = 1);
  static QJsonObject plain(const QString& event);
  /// start, all epochs up to `last`.
  static QVector<QJsonObject> history(int last, int epochs, double strength = 1);

 private:
  QString path(const QString& name) const { return m_folder.filePath(name); }
  QTemporaryDir m_folder;
};

}  // namespace pillarbox::test

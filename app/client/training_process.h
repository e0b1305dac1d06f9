// TrainingProcess: pillarbox-train as a child process that is watched.
//
// Training needs gigabytes and hours, and LibTorch; none of that may take the window down with it.
// So it runs on its own: events come in as lines of JSON, commands go out as lines of text, and
// whatever ends it (an error, a crash, the kernel when memory is short) becomes one sentence here,
// with the run's last checkpoint on the disk. When this program ends, the training sees the end of
// its input, writes a checkpoint and stops.
#pragma once

#include <QJsonObject>
#include <QObject>
#include <QProcess>
#include <QString>
#include <QStringList>
#include <QTimer>

namespace pillarbox::client {

/// What to train. Values that are zero or empty are left to pillarbox-train.
struct TrainingRequest {
  QStringList data;
  QString folder;  ///< of the run; new
  QString network = QStringLiteral("pillar7");
  QString preset;  ///< of pillarbox-train; what is given here prevails
  bool polynomial = true;
  int epochs = 30;
  int batch = 0, imageSize = 0, threads = 0;
  double learningRate = 0, weightDecay = -1, labelSmoothing = -1;
  double penaltyCoefficient = -1, range = 0;
  qint64 seed = 1;
  QString device;
  QString from;               ///< folder of a run to start from
  QString teacher;            ///< folder of a run whose answers are imitated
  bool classWeights = false;  ///< small classes count as much as large ones
};

/// One line of `pillarbox-train list-models`.
struct NetworkInfo {
  QString name, summary;
  int imageSize = 0, rounds = 0;
  qint64 parameters = 0, activations = 0;
  double nearSeconds = -1, farSeconds = -1;  ///< predicted, of an inference; negative: not known
  /// The same of its preparation by client and engine, before the image is known.
  double nearPreparation = -1, farPreparation = -1;
};

/// One line of `pillarbox-train list-presets`.
struct PresetInfo {
  QString name, summary;
  int epochs = 0;
  int leastEpochs = 1;    ///< its schedule needs as many
  bool converts = false;  ///< starts from a trained run with ReLU
};

class TrainingProcess : public QObject {
  Q_OBJECT
 public:
  enum class State { Idle, Starting, Running, Paused, Stopping };
  Q_ENUM(State)

  /// @param program  path of pillarbox-train; empty: see findProgram()
  explicit TrainingProcess(const QString& program = {}, QObject* parent = nullptr);
  /// Asks a training process to stop and gives it ten seconds to write its checkpoint.
  ~TrainingProcess() override;

  /// Beside this program, or in the search path; empty where there is none.
  static QString findProgram();
  QString program() const { return m_program; }

  State state() const { return m_state; }
  /// The run's folder while one is under way or was last.
  QString folder() const { return m_folder; }
  /// Of the training process; 0: there is none.
  qint64 processId() const { return m_process ? m_process->processId() : 0; }

  /// One at a time: ignored unless Idle.
  void train(const TrainingRequest& request);
  /// @param epochs  a new total, 0: as it was
  void resume(const QString& folder, int epochs = 0);
  void pause();
  void proceed();
  /// Writes a checkpoint and ends. ended() follows, or unresponsive().
  void stop();
  /// Ends it now; what the last checkpoint does not hold is lost.
  void kill();

  /// How long a process may be silent before unresponsive() is emitted.
  void setPatience(int runningMs, int stoppingMs);

 Q_SIGNALS:
  void stateChanged(pillarbox::client::TrainingProcess::State state);
  void event(const QJsonObject& event);
  /// The process is over. `problem` is empty where it ended as it should, else one sentence on what
  /// happened and what to do.
  void ended(const QString& problem);
  /// It has said nothing for so long that something may be wrong.
  void unresponsive(const QString& message);

 private:
  void start(const QStringList& arguments);
  void setState(State state);
  void readLines();
  void send(const char* command);
  void finish(const QString& problem);
  QString problemOf(int exitCode, QProcess::ExitStatus status);

  QString m_program;
  QString m_folder;
  State m_state = State::Idle;
  QProcess* m_process = nullptr;
  QByteArray m_lines;
  QString m_error;     ///< of an error event
  QString m_lastLine;  ///< of stderr
  bool m_killed = false;
  QTimer m_silence;
  int m_runningPatience = 300000, m_stoppingPatience = 30000;
};

/// The command line of `request`, after "train".
QStringList trainingArguments(const TrainingRequest& request);

/// One short command of pillarbox-train (list-models, export, classify), in the background.
class TrainingCommand : public QObject {
  Q_OBJECT
 public:
  TrainingCommand(const QString& program, const QStringList& arguments, QObject* parent = nullptr);
  ~TrainingCommand() override;
  void start();

 Q_SIGNALS:
  /// The JSON objects that it printed; deletes itself afterwards.
  void succeeded(const QVector<QJsonObject>& objects);
  void failed(const QString& message);

 private:
  QProcess* m_process;
  QString m_program;
  QStringList m_arguments;
};

QVector<NetworkInfo> networksOf(const QVector<QJsonObject>& objects);
QVector<PresetInfo> presetsOf(const QVector<QJsonObject>& objects);

}  // namespace pillarbox::client

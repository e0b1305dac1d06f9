// What watches a training process: its events as records, its folders, its states, and every way in
// which it can end, with a stand-in and with the real program.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <QDir>
#include <QFile>
#include <QFileInfo>
#include <QJsonArray>
#include <QJsonDocument>
#include <QMap>
#include <QTemporaryDir>
#include <QTest>

#include "app/client/training_process.h"
#include "app/client/training_record.h"
#include "tests/support/fake_trainer.h"

using namespace pillarbox;
using namespace pillarbox::client;
using test::FakeTrainer;
using State = TrainingProcess::State;

namespace {

/// A process with what it has said.
struct Watched {
  TrainingProcess process;
  QVector<State> states;
  QStringList events;
  QStringList problems;  ///< one for every end
  QStringList warnings;

  explicit Watched(const QString& program) : process(program) {
    QObject::connect(&process, &TrainingProcess::stateChanged, &process,
                     [this](State state) { states << state; });
    QObject::connect(&process, &TrainingProcess::event, &process,
                     [this](const QJsonObject& event) { events << event["event"].toString(); });
    QObject::connect(&process, &TrainingProcess::ended, &process,
                     [this](const QString& problem) { problems << problem; });
    QObject::connect(&process, &TrainingProcess::unresponsive, &process,
                     [this](const QString& message) { warnings << message; });
  }
  bool waitFor(State state) {
    return QTest::qWaitFor([&] { return process.state() == state; }, 20000);
  }
  bool waitForEvent(const QString& kind, qsizetype count = 1) {
    return QTest::qWaitFor([&] { return events.count(kind) >= count; }, 30000);
  }
  /// Starts with the settings of the stand-in.
  void train(const QString& folder) {
    TrainingRequest request;
    request.data = QStringList{"/images"};
    request.folder = folder;
    process.train(request);
  }
};

/// Three classes of coloured noise, eight pixels wide.
void writeImages(const QString& folder) {
  std::uint32_t state = 1;
  const char* names[] = {"blue", "green", "red"};
  for (int c = 0; c < 3; ++c) {
    for (int i = 0; i < 40; ++i) {
      const QDir split(QDir(folder).filePath(i < 30 ? "train" : "test"));
      split.mkpath(QLatin1String(names[c]));
      QByteArray pixels = "P6\n8 8\n255\n";
      for (int p = 0; p < 64 * 3; ++p) {
        state = state * 1664525U + 1013904223U;
        pixels += static_cast<char>(90 + (p % 3 == 2 - c ? 80 : 0) + static_cast<int>(state >> 26));
      }
      QFile file(split.filePath(QStringLiteral("%1/%2.ppm").arg(QLatin1String(names[c])).arg(i)));
      QVERIFY(file.open(QIODevice::WriteOnly));
      QCOMPARE(file.write(pixels), pixels.size());
    }
  }
}

}  // namespace

class Training : public QObject {
  Q_OBJECT

 private Q_SLOTS:
  void recordFollowsEvents() {
    RunRecord run;
    run.apply({{"event", "reading"}, {"done", 20}, {"files", 50}});
    QCOMPARE(run.filesRead, 20);
    QVERIFY(run.apply(FakeTrainer::data()).contains("47400"));
    QCOMPARE(run.classes.size(), 10);
    QCOMPARE(run.skipped.size(), 1);
    run.apply(FakeTrainer::start(30));
    QCOMPARE(run.state, RunState::Running);
    for (int i = 1; i <= 5; ++i) run.apply(FakeTrainer::epoch(i, 30));
    QCOMPARE(run.finishedEpochs(), 5);
    QCOMPARE(run.confusion.size(), 10);
    QCOMPARE(run.layers.size(), 7);
    QCOMPARE(run.layers[0].histogram.size(), 60);
    // After a kill, epochs are repeated from the last checkpoint.
    run.apply({{"event", "resume"}, {"epoch", 3}, {"epochs", 30}});
    run.apply(FakeTrainer::epoch(4, 30, 0.5));
    QCOMPARE(run.finishedEpochs(), 4);
    QCOMPARE(run.history.size(), 4);
    QVERIFY(run.history.last().testAccuracy < run.bestAccuracy());
    run.apply({{"event", "paused"}});
    QCOMPARE(run.state, RunState::Paused);
    run.apply({{"event", "progress"}, {"done", 0.5}, {"seconds_left", 12.0}});
    QCOMPARE(run.secondsLeft, 12.0);
    QVERIFY(run.apply({{"event", "something new"}}).isEmpty());
    run.apply({{"event", "error"}, {"message", "It diverged in conv1."}});
    QCOMPARE(run.state, RunState::Failed);
    QCOMPARE(run.problem, QStringLiteral("It diverged in conv1."));
  }

  void whatIsNotFiniteIsKept() {
    RunRecord run;
    QJsonObject event = FakeTrainer::epoch(1, 3);
    event["loss"] = "infinite";
    QJsonObject test = event["test"].toObject();
    test["layers"] = QJsonArray{QJsonObject{{"name", "act1"}, {"largest", "infinite"}}};
    test["class_accuracy"] = QJsonArray{QJsonValue::Null, 0.5};
    event["test"] = test;
    run.apply(event);
    QVERIFY(std::isinf(run.history.last().loss));
    QVERIFY(std::isinf(run.layers[0].largest));
    QCOMPARE(run.classAccuracy, (QVector<double>{-1, 0.5}));
  }

  void foldersAreRead() {
    FakeTrainer trainer;
    QVERIFY(readRuns(trainer.runs()).isEmpty());
    QVERIFY(readRun(trainer.runs()).folder.isEmpty());
    QVERIFY(readRuns("/nowhere").isEmpty());
    QDir(trainer.runs()).mkpath("not a run");
    const auto done = FakeTrainer::history(30, 30) << FakeTrainer::plain("finished");
    trainer.addRun("done", done);
    trainer.addRun("extended", done, {{"epochs", 60}});
    trainer.addRun("stopped", FakeTrainer::history(4, 30) << FakeTrainer::plain("stopped"));
    const QString cut = trainer.addRun("cut", FakeTrainer::history(4, 30));
    QFile log(QDir(cut).filePath("log.jsonl"));
    QVERIFY(log.open(QIODevice::Append));
    log.write("\nnot JSON\n[1,2]\n{\"event\": \"finis");  // the power went
    log.close();
    QMap<QString, RunState> states;
    for (const RunRecord& run : readRuns(trainer.runs())) states[run.name] = run.state;
    QCOMPARE(states, (QMap<QString, RunState>{{"done", RunState::Finished},
                                              {"extended", RunState::Stopped},
                                              {"stopped", RunState::Stopped},
                                              {"cut", RunState::Interrupted}}));
    const RunRecord run = readRun(cut);
    QCOMPARE(run.finishedEpochs(), 4);
    QCOMPARE(run.classes.size(), 10);
    QVERIFY(run.hasBest && run.hasLast);
    QCOMPARE(readRunLog(cut).size(), 5);
    QCOMPARE(readRunLog(cut, 2).size(), 2);
    // What is noted of its end survives the half line before it.
    QVERIFY(noteInterruption(cut, "The memory ran out."));
    QCOMPARE(readRun(cut).state, RunState::Interrupted);
    QCOMPARE(readRun(cut).problem, QStringLiteral("The memory ran out."));
    QCOMPARE(readRunLog(cut).size(), 6);
    QVERIFY(!noteInterruption(trainer.runs() + "/not a run", "why"));
    QVERIFY(!QFileInfo::exists(trainer.runs() + "/not a run/log.jsonl"));
  }

  void runsAreRemoved() {
    FakeTrainer trainer;
    QTemporaryDir trash;
    qputenv("XDG_DATA_HOME", QFile::encodeName(trash.path()));
    const QString done =
        trainer.addRun("done", FakeTrainer::history(4, 30) << FakeTrainer::plain("stopped"));
    const QString held = trainer.addRun("held", FakeTrainer::history(4, 30));
    const int lock = ::open(QFile::encodeName(held + "/lock").constData(), O_RDWR | O_CREAT, 0600);
    QVERIFY(lock >= 0);
    const pid_t other = ::fork();  // a process does not see its own locks
    if (other == 0) {
      if (::lockf(lock, F_LOCK, 0) != 0) ::_exit(1);
      for (;;) ::pause();
    }
    QVERIFY(QTest::qWaitFor([&] { return readRun(held).state == RunState::Elsewhere; }, 5000));
    QVERIFY2(removeRun(held).contains("stop it first"), qPrintable(removeRun(held)));
    QVERIFY(QFileInfo::exists(held + "/log.jsonl"));
    ::kill(other, SIGKILL);
    ::waitpid(other, nullptr, 0);
    ::close(lock);
    QVERIFY(removeRun(trainer.runs()).contains("no training run"));
    QVERIFY(QFileInfo::exists(trainer.runs()));
    const QString problem = removeRun(done);  // a file system may have no trash; then it stays
    QCOMPARE(QFileInfo::exists(done), !problem.isEmpty());
    QVERIFY(problem.isEmpty() || problem.contains(done));
    qunsetenv("XDG_DATA_HOME");
  }

  void requestsBecomeArguments() {
    TrainingRequest request;
    request.data = QStringList{"/a", "/b"};
    request.folder = "/runs/x";
    request.preset = "smartpaf";
    request.epochs = 12;
    request.weightDecay = 0;
    request.from = "/runs/relu";
    request.polynomial = false;
    const QStringList arguments = trainingArguments(request);
    QCOMPARE(arguments, (QStringList{"--data",         "/a",       "--data",       "/b",
                                     "--preset",       "smartpaf", "--network",    "pillar7",
                                     "--out",          "/runs/x",  "--epochs",     "12",
                                     "--seed",         "1",        "--activation", "relu",
                                     "--weight-decay", "0",        "--from",       "/runs/relu"}));
  }

  void pausedContinuedStopped() {
    FakeTrainer trainer;
    trainer.setEvents({FakeTrainer::data(), FakeTrainer::start(30), FakeTrainer::epoch(1, 30)});
    Watched run(trainer.program());
    run.train(trainer.runs() + "/one");
    QCOMPARE(run.process.state(), State::Starting);
    QVERIFY(run.waitFor(State::Running));
    QVERIFY(run.process.processId() > 0);
    QVERIFY(run.waitForEvent("epoch"));
    run.train(trainer.runs() + "/two");  // one at a time
    QCOMPARE(run.process.folder(), trainer.runs() + "/one");
    run.process.pause();
    QVERIFY(run.waitFor(State::Paused));
    run.process.pause();
    run.process.proceed();
    QVERIFY(run.waitFor(State::Running));
    run.process.stop();
    QVERIFY(run.waitFor(State::Idle));
    QCOMPARE(run.problems, QStringList{QString()});
    QCOMPARE(run.states, (QVector<State>{State::Starting, State::Running, State::Paused,
                                         State::Running, State::Stopping, State::Idle}));
    QCOMPARE(run.process.processId(), 0);
    run.process.resume(trainer.runs() + "/one", 60);
    QVERIFY(run.waitFor(State::Running));
    QCOMPARE(trainer.arguments().mid(0, 4),
             (QStringList{"resume", trainer.runs() + "/one", "--epochs", "60"}));
    run.process.kill();
    QVERIFY(run.waitFor(State::Idle));
    QVERIFY2(run.problems.last().contains("ended at once"), qPrintable(run.problems.last()));
  }

  void everyEndIsAMessage_data() {
    QTest::addColumn<QString>("end");
    QTest::addColumn<QString>("part");
    QTest::newRow("killed") << "kill -9 $$"
                            << "memory";
    QTest::newRow("crashed") << "echo 'fault in layer 3' >&2; kill -SEGV $$"
                             << "fault in layer 3";
    QTest::newRow("aborted") << "echo \"what():  std::bad_alloc\" >&2; kill -ABRT $$"
                             << "memory";
    QTest::newRow("no memory said")
        << "echo 'pillarbox-train: There is not enough memory; try a smaller --batch.' >&2; exit 1"
        << "There is not enough memory";
    QTest::newRow("an error event")
        << "echo '{\"event\": \"error\", \"message\": \"The data has one class.\"}'; exit 1"
        << "The data has one class.";
    QTest::newRow("only an exit code") << "exit 9"
                                       << "code 9";
    QTest::newRow("finished") << "exit 0"
                              << "";
  }
  void everyEndIsAMessage() {
    QFETCH(QString, end);
    QFETCH(QString, part);
    FakeTrainer trainer;
    trainer.setEvents({FakeTrainer::data(), FakeTrainer::start(30)});
    trainer.setEnd(end);
    Watched run(trainer.program());
    run.train(trainer.runs() + "/one");
    QVERIFY(QTest::qWaitFor([&] { return !run.problems.isEmpty(); }, 20000));
    QCOMPARE(run.process.state(), State::Idle);
    QCOMPARE(run.problems.size(), 1);
    QVERIFY2(part.isEmpty() ? run.problems[0].isEmpty() : run.problems[0].contains(part),
             qPrintable(run.problems[0]));
  }

  void whyARunEndedIsKept() {
    FakeTrainer trainer;
    trainer.setEvents({FakeTrainer::data(), FakeTrainer::start(30)});
    trainer.setEnd("echo 'fault in layer 3' >&2; kill -SEGV $$");
    const QString folder = trainer.addRun("one", FakeTrainer::history(4, 30));
    Watched run(trainer.program());
    run.process.resume(folder);
    QVERIFY(QTest::qWaitFor([&] { return !run.problems.isEmpty(); }, 20000));
    QCOMPARE(readRun(folder).state, RunState::Interrupted);
    QCOMPARE(readRun(folder).problem, run.problems[0]);
    run.process.resume(folder);  // what goes on has no problem any more
    QVERIFY(run.waitForEvent("start", 2));
  }

  void deafProcessIsReported() {
    FakeTrainer trainer;
    trainer.setEvents({FakeTrainer::data(), FakeTrainer::start(30)});
    trainer.setEnd("while :; do sleep 0.05; done");
    Watched run(trainer.program());
    run.process.setPatience(20000, 100);
    run.train(trainer.runs() + "/one");
    QVERIFY(run.waitFor(State::Running));
    QVERIFY(run.warnings.isEmpty());
    run.process.stop();
    QVERIFY(QTest::qWaitFor([&] { return !run.warnings.isEmpty(); }, 5000));
    QVERIFY(run.warnings[0].contains("does not stop"));
    run.process.kill();
    QVERIFY(run.waitFor(State::Idle));
  }

  void missingProgramIsAMessage() {
    Watched run("/nowhere/pillarbox-train");
    run.train("/nowhere/run");
    QVERIFY(QTest::qWaitFor([&] { return !run.problems.isEmpty(); }, 5000));
    QVERIFY2(run.problems[0].contains("/nowhere/pillarbox-train"), qPrintable(run.problems[0]));
    QCOMPARE(run.process.state(), State::Idle);
  }

  void commandsAnswerOrFail() {
    FakeTrainer trainer;
    QVector<QJsonObject> answer;
    QString problem;
    const auto run = [&](const QString& program, const QStringList& arguments) {
      answer.clear();
      problem.clear();
      auto* command = new TrainingCommand(program, arguments, this);
      connect(command, &TrainingCommand::succeeded, this,
              [&](const QVector<QJsonObject>& objects) { answer = objects; });
      connect(command, &TrainingCommand::failed, this, [&](const QString& why) { problem = why; });
      command->start();
      return QTest::qWaitFor([&] { return !answer.isEmpty() || !problem.isEmpty(); }, 10000);
    };
    QVERIFY(run(trainer.program(), {"list-models"}));
    QCOMPARE(networksOf(answer).size(), 3);
    QCOMPARE(networksOf(answer)[1].rounds, 18);
    QVERIFY(std::abs(networksOf(answer)[1].farSeconds - 1.98) < 1e-9);
    QVERIFY(std::abs(networksOf(answer)[1].farPreparation - 11.14) < 1e-9);
    QVERIFY(run(trainer.program(), {"list-presets"}));
    const auto presets = presetsOf(answer);
    QCOMPARE(presets.size(), 2);
    QVERIFY(!presets[0].converts && presets[1].converts);
    QCOMPARE(presets[1].leastEpochs, 5);
    QVERIFY(run("/nowhere/pillarbox-train", {"list-models"}));
    QVERIFY(problem.contains("cannot be started"));
  }

  // The real program, from the first epoch over a kill -9 to the model file.
  void realProgram() {
    const QString program = QStringLiteral(PILLARBOX_BIN_DIR "/pillarbox-train");
    if (!QFileInfo(program).isExecutable()) QSKIP("pillarbox-train is not built");
    QTemporaryDir folder;
    writeImages(folder.filePath("images"));
    Watched run(program);
    TrainingRequest request;
    request.data = QStringList{folder.filePath("images")};
    request.folder = folder.filePath("runs/one");
    request.preset = "pillar";
    request.imageSize = 8;
    request.batch = 30;
    request.threads = 1;
    request.epochs = 5000;
    run.process.train(request);
    QVERIFY2(run.waitForEvent("epoch", 2), qPrintable(run.problems.join(' ')));
    QCOMPARE(run.events[0], QStringLiteral("data"));
    QCOMPARE(run.process.state(), State::Running);
    QVERIFY(run.events.contains("progress"));
    QCOMPARE(readRun(request.folder).state, RunState::Elsewhere);  // it holds the folder's lock
    run.process.pause();
    QVERIFY(run.waitFor(State::Paused));
    run.process.proceed();
    QVERIFY(run.waitFor(State::Running));

    QCOMPARE(::kill(static_cast<pid_t>(run.process.processId()), SIGKILL), 0);
    QVERIFY(run.waitFor(State::Idle));
    QCOMPARE(run.problems.size(), 1);
    QVERIFY2(run.problems[0].contains("was killed"), qPrintable(run.problems[0]));
    const RunRecord broken = readRun(request.folder);
    QCOMPARE(broken.state, RunState::Interrupted);
    QCOMPARE(broken.problem, run.problems[0]);
    QVERIFY(broken.hasLast && broken.finishedEpochs() >= 2);
    QCOMPARE(broken.layers.size(), 6);

    run.process.resume(request.folder, 6000);
    QVERIFY(run.waitForEvent("resume"));
    QVERIFY(run.waitFor(State::Running));
    run.process.stop();
    QVERIFY(run.waitFor(State::Idle));
    QCOMPARE(run.problems.last(), QString());
    const RunRecord stopped = readRun(request.folder);
    QCOMPARE(stopped.state, RunState::Stopped);
    QCOMPARE(stopped.epochs, 6000);
    QCOMPARE(stopped.classes, (QStringList{"blue", "green", "red"}));

    QJsonObject answer;
    QString problem;
    auto* command =
        new TrainingCommand(program,
                            {"classify", request.folder, folder.filePath("images/test/red/30.ppm"),
                             "--checkpoint", "last"},
                            this);
    connect(command, &TrainingCommand::succeeded, this,
            [&](const QVector<QJsonObject>& objects) { answer = objects.value(0); });
    connect(command, &TrainingCommand::failed, this, [&](const QString& why) { problem = why; });
    command->start();
    QVERIFY(QTest::qWaitFor([&] { return !answer.isEmpty() || !problem.isEmpty(); }, 20000));
    QVERIFY2(problem.isEmpty(), qPrintable(problem));
    QCOMPARE(answer["probabilities"].toArray().size(), 3);
  }
};

QTEST_GUILESS_MAIN(Training)
#include "test_training.moc"

// The program's command line where there is no display.
#include <QProcess>
#include <QTest>

class Program : public QObject {
  Q_OBJECT
  QProcessEnvironment bare() const {
    QProcessEnvironment environment = QProcessEnvironment::systemEnvironment();
    for (const char* name : {"DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"}) {
      environment.remove(QLatin1String(name));
    }
    return environment;
  }
  void run(QProcess& process, const QStringList& arguments) {
    process.start(QStringLiteral(PILLARBOX_BIN_DIR "/pillarbox"), arguments);
    QVERIFY(process.waitForFinished(60000));
    QCOMPARE(process.exitStatus(), QProcess::NormalExit);
  }

 private Q_SLOTS:
  void informationNeedsNoDisplay() {
    for (const char* option : {"--version", "--help"}) {
      QProcess process;
      process.setProcessEnvironment(bare());
      run(process, {QLatin1String(option)});
      QCOMPARE(process.exitCode(), 0);
      QVERIFY(process.readAllStandardOutput().contains("pillarbox"));
      QVERIFY(process.readAllStandardError().isEmpty());
    }
  }

  void noDisplay_data() {
    QTest::addColumn<QString>("name");
    QTest::addColumn<QString>("value");
    QTest::newRow("none") << QString() << QString();
    QTest::newRow("not there") << QStringLiteral("DISPLAY") << QStringLiteral(":4711");
    QTest::newRow("no such platform")
        << QStringLiteral("QT_QPA_PLATFORM") << QStringLiteral("nonsense");
  }
  void noDisplay() {
    QFETCH(QString, name);
    QFETCH(QString, value);
    QProcess process;
    QProcessEnvironment environment = bare();
    if (!name.isEmpty()) environment.insert(name, value);
    process.setProcessEnvironment(environment);
    run(process, {});
    QCOMPARE(process.exitCode(), 1);
    const QByteArray said = process.readAllStandardError();
    QVERIFY2(said.contains("display"), said.constData());
    QVERIFY(said.contains("pillarbox-cli"));
  }

  void badArguments() {
    QProcess process;
    process.setProcessEnvironment(bare());
    run(process, {"--engine", "nowhere:0"});
    QCOMPARE(process.exitCode(), 1);
    const QByteArray said = process.readAllStandardError();
    QVERIFY(said.contains("HOST:PORT"));
    QCOMPARE(said.trimmed().count('\n'), 0);
  }
};

QTEST_GUILESS_MAIN(Program)
#include "test_program.moc"

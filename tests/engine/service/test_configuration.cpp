// The configuration files: every mistake has its line, the examples are good.

#include <QFile>
#include <QMap>
#include <QRegularExpression>
#include <QTemporaryDir>
#include <QTest>

#include "engine/service/configuration.h"

using namespace pillarbox;
using namespace pillarbox::service;

namespace {

std::string write(const QTemporaryDir& folder, const QByteArray& text) {
  const QString path = folder.filePath("test.toml");
  QFile file(path);
  if (!file.open(QIODevice::WriteOnly) || file.write(text) != text.size()) {
    throw std::runtime_error("the test file cannot be written");
  }
  return path.toStdString();
}

}  // namespace

class TestConfiguration : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void readsEverySetting() {
    QTemporaryDir folder;
    const std::string file = write(folder,
                                   "models = [\"a.onnx\", \"/opt/b.onnx\"]\n"
                                   "listen = \"[::1]:7000\"\n"
                                   "metrics = \"[::1]:9464\"\n"
                                   "state_dir = \"state\"\n"
                                   "drain_seconds = 3\n"
                                   "[compute]\n"
                                   "device = \"cpu\"\n"
                                   "[offline]\n"
                                   "mode = \"first-party\"\n"
                                   "allow_insecure_first_party = true\n"
                                   "dealer = \"dealer.example:7121\"\n"
                                   "dealer_for_clients = \"dealer.example\"\n"
                                   "trust_dealer_on_first_use = true\n"
                                   "[log]\n"
                                   "level = \"debug\"\n"
                                   "format = \"json\"\n"
                                   "[limits]\n"
                                   "max_sessions = 5\n"
                                   "sets_per_session = 2\n"
                                   "set_memory_mib = 100\n"
                                   "inferences_per_minute = 60\n"
                                   "[timeouts]\n"
                                   "handshake_seconds = 1\n"
                                   "idle_seconds = 2\n"
                                   "network_seconds = 4\n");
    EngineConfiguration configuration;
    QCOMPARE(configuration.device, std::string("auto"));
    QVERIFY(readConfiguration(file, configuration.settings()).empty());
    QCOMPARE(configuration.device, std::string("cpu"));
    QCOMPARE(configuration.models.size(), std::size_t{2});
    QCOMPARE(QString::fromStdString(configuration.models[0]), folder.filePath("a.onnx"));
    QCOMPARE(configuration.models[1], std::string("/opt/b.onnx"));
    QCOMPARE(QString::fromStdString(configuration.stateDir), folder.filePath("state"));
    QCOMPARE(configuration.listen, std::string("[::1]:7000"));
    QCOMPARE(configuration.metrics, std::string("[::1]:9464"));
    QCOMPARE(configuration.offline, std::string("first-party"));
    QCOMPARE(configuration.dealerForClients, std::string("dealer.example"));
    QVERIFY(configuration.allowInsecureFirstParty && configuration.trustDealerOnFirstUse);
    QCOMPARE(configuration.logFormat, std::string("json"));
    QCOMPARE(configuration.maxSessions, std::int64_t{5});
    QCOMPARE(configuration.inferencesPerMinute, std::int64_t{60});
    QCOMPARE(configuration.networkSeconds, std::int64_t{4});
    QCOMPARE(configuration.drainSeconds, std::int64_t{3});
    QVERIFY(configuration.validate().ok());
  }

  void namesTheLine_data() {
    QTest::addColumn<QByteArray>("text");
    QTest::addColumn<int>("line");
    QTest::addColumn<QString>("part");
    QTest::newRow("unknown key") << QByteArray("\nlissen = \"a:1\"\n") << 2 << "lissen";
    QTest::newRow("unknown key in a table")
        << QByteArray("[limits]\n\nmax_session = 3\n") << 3 << "limits.max_session";
    QTest::newRow("unknown table")
        << QByteArray("drain_seconds = 1\n[limit]\na = 1\n") << 2 << "limit";
    QTest::newRow("string for a number")
        << QByteArray("[limits]\nmax_sessions = \"5\"\n") << 2 << "whole number from 1 to 10000";
    QTest::newRow("out of range") << QByteArray("[timeouts]\nidle_seconds = 0\n") << 2
                                  << "from 1 to 86400";
    QTest::newRow("fraction") << QByteArray("drain_seconds = 1.5\n") << 1 << "whole number";
    QTest::newRow("bad address") << QByteArray("listen = \"localhost\"\n") << 1 << "listen";
    QTest::newRow("bad mode") << QByteArray("[offline]\nmode = \"three-party\"\n") << 2 << "dealer";
    QTest::newRow("bad device") << QByteArray("[compute]\ndevice = \"gpu\"\n") << 2 << "cuda";
    QTest::newRow("bad fingerprint")
        << QByteArray("[offline]\ntrust_dealer = \"AA:BB\"\n") << 2 << "trust_dealer";
    QTest::newRow("models is no list") << QByteArray("models = \"a.onnx\"\n") << 1 << "list";
    QTest::newRow("number among the models")
        << QByteArray("models = [\n\"a.onnx\",\n3]\n") << 1 << "list";
    QTest::newRow("table is a value") << QByteArray("limits = 3\n") << 1 << "[limits]";
    QTest::newRow("bad syntax") << QByteArray("listen = \"a:1\"\nmodels = [\n") << 2 << "";
    QTest::newRow("key twice") << QByteArray("drain_seconds = 1\ndrain_seconds = 2\n") << 2 << "";
  }
  void namesTheLine() {
    QFETCH(QByteArray, text);
    QFETCH(int, line);
    QFETCH(QString, part);
    QTemporaryDir folder;
    const std::string file = write(folder, text);
    EngineConfiguration configuration;
    const auto problems = readConfiguration(file, configuration.settings());
    QCOMPARE(problems.size(), std::size_t{1});
    const QString sentence = QString::fromStdString(describe(file, problems.front()));
    QVERIFY2(sentence.startsWith(QString::fromStdString(file) + ":" + QString::number(line) + ": "),
             qPrintable(sentence));
    QVERIFY2(sentence.contains(part), qPrintable(sentence));
  }

  void listsEveryMistake() {
    QTemporaryDir folder;
    DealerConfiguration configuration;
    const auto problems = readConfiguration(
        write(folder, "a = 1\nlisten = 3\n[limits]\nmax_models = 0\n"), configuration.settings());
    QCOMPARE(problems.size(), std::size_t{3});
    QCOMPARE(problems[0].line, 1u);
    QCOMPARE(problems[1].line, 2u);
    QCOMPARE(problems[2].line, 4u);
  }

  void missingFile() {
    EngineConfiguration configuration;
    const auto problems = readConfiguration("/nonexistent/x.toml", configuration.settings());
    QCOMPARE(problems.size(), std::size_t{1});
    QVERIFY(problems.front().message.find("/nonexistent/x.toml") != std::string::npos);
  }

  void refusesUnsafeCombinations() {
    EngineConfiguration configuration;
    configuration.models = {"a.onnx"};
    configuration.listen = "127.0.0.1:0";
    QVERIFY(configuration.validate().ok());  // two-party mode needs nobody
    configuration.offline = "dealer";
    QVERIFY(!configuration.validate().ok());  // dealer mode without a dealer
    configuration.dealer = "127.0.0.1:7121";
    QVERIFY(configuration.validate().ok());
    configuration.offline = "two-party";
    QVERIFY(!configuration.validate().ok());  // whoever names a dealer wants that mode
    configuration.offline = "first-party";
    const Status refused = configuration.validate();
    QVERIFY(!refused.ok());
    QVERIFY(refused.error().message.find("--allow-insecure-first-party") != std::string::npos);
    configuration.allowInsecureFirstParty = true;
    QVERIFY(configuration.validate().ok());
    for (const char* reachable : {"0.0.0.0:9464", "*:9464", "192.0.2.7:9464", "engine.example:1"}) {
      configuration.metrics = reachable;
      QVERIFY(!configuration.validate().ok());
      QVERIFY(configuration.validate().error().message.find("loopback") != std::string::npos);
    }
    configuration.metrics = "127.0.0.1:9464";
    QVERIFY(configuration.validate().ok());
    configuration.protocols = {};
    QVERIFY(!configuration.validate().ok());
  }

  void protocolsAreNamed() {
    EngineConfiguration configuration;
    for (const offline::Protocol protocol : offline::allProtocols()) {
      QVERIFY(configuration.serves(protocol));
      QVERIFY(offline::protocolNamed(offline::nameOf(protocol)) == protocol);
    }
    QTemporaryDir folder;
    const auto good = write(folder, "protocols = [\"espn\", \"square-multiply\"]\n");
    QVERIFY(readConfiguration(good, configuration.settings()).empty());
    QVERIFY(configuration.serves(offline::Protocol::Espn));
    QVERIFY(!configuration.serves(offline::Protocol::HoneyBadger));
    const auto bad = write(folder, "protocols = [\"espn\", \"gauss\"]\n");
    const auto problems = readConfiguration(bad, configuration.settings());
    QCOMPARE(problems.size(), std::size_t{1});
    QVERIFY(problems.front().message.find("square-multiply") != std::string::npos);
  }

  void examplesAreGood() {
    const std::string folder = PILLARBOX_SOURCE_DIR "/resources/";
    EngineConfiguration engine;
    for (const auto& problem :
         readConfiguration(folder + "pillarbox-engine.example.toml", engine.settings())) {
      QFAIL(describe("engine", problem).c_str());
    }
    QVERIFY(engine.validate().ok());
    DealerConfiguration dealer;
    for (const auto& problem :
         readConfiguration(folder + "pillarbox-dealer.example.toml", dealer.settings())) {
      QFAIL(describe("dealer", problem).c_str());
    }
    QVERIFY(dealer.validate().ok());
  }

  // What the examples say about defaults must be what the program does: every setting is in its
  // example, active or commented out, with the default value.
  void examplesStateTheDefaults_data() {
    QTest::addColumn<bool>("engine");
    QTest::newRow("engine") << true;
    QTest::newRow("dealer") << false;
  }
  void examplesStateTheDefaults() {
    QFETCH(bool, engine);
    EngineConfiguration engineDefaults;
    DealerConfiguration dealerDefaults;
    QFile file(QString(PILLARBOX_SOURCE_DIR "/resources/pillarbox-%1.example.toml")
                   .arg(engine ? "engine" : "dealer"));
    QVERIFY(file.open(QIODevice::ReadOnly));
    QString table;
    QMap<QString, QString> values;
    const QRegularExpression header("^\\[(\\w+)\\]$");
    const QRegularExpression assignment("^(?:# )?(\\w+) = (.+)$");
    for (const QString& line : QString::fromUtf8(file.readAll()).split('\n')) {
      if (const auto match = header.match(line); match.hasMatch()) table = match.captured(1) + ".";
      if (const auto match = assignment.match(line); match.hasMatch()) {
        values[table + match.captured(1)] = match.captured(2);
      }
    }
    const auto settings = engine ? engineDefaults.settings() : dealerDefaults.settings();
    for (const Setting& setting : settings) {
      const QString key = QString::fromStdString(setting.key);
      QVERIFY2(values.contains(key), qPrintable(key + " is not in the example"));
      if (const auto* number = std::get_if<IntegerTarget>(&setting.target)) {
        QCOMPARE(values[key], QString::number(*number->value));
      }
    }
  }
};

QTEST_GUILESS_MAIN(TestConfiguration)
#include "test_configuration.moc"

// pillarbox-engine and pillarbox-dealer as a person meets them: commands, errors, exit codes, and
// what strangers send to their ports.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <random>

#include <QFile>
#include <QJsonDocument>
#include <QJsonObject>
#include <QProcess>
#include <QRegularExpression>
#include <QTemporaryDir>
#include <QTest>

#include "net/channel.h"
#include "net/message_io.h"
#include "net/tls.h"
#include "tests/support/service_rig.h"

using namespace pillarbox;
using namespace pillarbox::testing;

namespace {

/// A plain TCP connection to loopback.
class Socket {
 public:
  explicit Socket(quint16 port) : m_descriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    m_connected =
        ::connect(m_descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  ~Socket() { ::close(m_descriptor); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  bool connected() const { return m_connected; }
  void send(const QByteArray& bytes) {
    static_cast<void>(
        ::send(m_descriptor, bytes.data(), static_cast<std::size_t>(bytes.size()), MSG_NOSIGNAL));
  }

  /// Everything until the other side closes.
  QByteArray rest() {
    QByteArray all;
    std::array<char, 4096> piece;
    ssize_t n = 0;
    while ((n = ::recv(m_descriptor, piece.data(), piece.size(), 0)) > 0)
      all.append(piece.data(), n);
    return all;
  }

 private:
  int m_descriptor;
  bool m_connected = false;
};

QByteArray randomBytes(int count, unsigned seed) {
  std::mt19937 random(seed);
  QByteArray bytes(count, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

std::unique_ptr<net::Channel> connectTo(const Service& service) {
  net::ConnectOptions options;
  options.endpoint = {"127.0.0.1", service.port()};
  options.pin.ask = [](const net::Fingerprint&) { return true; };
  auto transport = net::connectTls(std::move(options));
  if (!transport.ok()) return nullptr;
  auto channel = std::make_unique<net::Channel>(std::move(transport).value());
  channel->setTimeout(std::chrono::seconds(10));
  return channel;
}

std::span<const std::byte> asBytes(const QByteArray& bytes) {
  return std::as_bytes(std::span(bytes.data(), static_cast<std::size_t>(bytes.size())));
}

}  // namespace

class TestServicePrograms : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  // Not even where there is a GPU: what is said without one is tested here.
  void initTestCase() { qputenv("CUDA_VISIBLE_DEVICES", ""); }

  void helpAndVersion_data() {
    QTest::addColumn<QString>("program");
    for (const char* program : {"pillarbox-engine", "pillarbox-dealer", "pillarbox-cli"}) {
      QTest::newRow(program) << QString(program);
    }
  }
  void helpAndVersion() {
    QFETCH(QString, program);
    const Ran help = runProgram(program, {"--help"});
    QCOMPARE(help.exitCode, 0);
    QVERIFY(help.output.contains("--version"));
    const Ran version = runProgram(program, {"--version"});
    QCOMPARE(version.exitCode, 0);
    QVERIFY(
        QRegularExpression("^Pillarbox \\d+\\.\\d+\\.\\d+\\n$").match(version.output).hasMatch());
    QCOMPARE(runProgram(program, {"--no-such-flag"}).exitCode, 2);
    QCOMPARE(runProgram(program, {}).exitCode, 2);
  }

  // The engine and the dealer have no business with Qt, nothing but the trainer with LibTorch, and
  // the client none with ONNX.
  void linkGraph_data() {
    QTest::addColumn<QString>("program");
    QTest::addColumn<QString>("forbidden");
    QTest::newRow("engine") << "pillarbox-engine"
                            << "libQt|libtorch|libc10";
    QTest::newRow("dealer") << "pillarbox-dealer"
                            << "libQt|libtorch|libc10|libonnx";
    QTest::newRow("cli") << "pillarbox-cli"
                         << "libQt6Widgets|libtorch|libc10|libonnx";
  }
  void linkGraph() {
    QFETCH(QString, program);
    QFETCH(QString, forbidden);
    QProcess ldd;
    ldd.start("ldd", {QStringLiteral(PILLARBOX_BIN_DIR "/") + program});
    QVERIFY(ldd.waitForFinished());
    const QString libraries = QString::fromUtf8(ldd.readAllStandardOutput());
    QVERIFY(libraries.contains("libc.so"));
    const auto match = QRegularExpression(forbidden).match(libraries);
    QVERIFY2(!match.hasMatch(), qPrintable(match.captured()));
  }

  void certificates_data() {
    QTest::addColumn<QString>("program");
    QTest::newRow("engine") << "pillarbox-engine";
    QTest::newRow("dealer") << "pillarbox-dealer";
  }
  void certificates() {
    QFETCH(QString, program);
    QTemporaryDir folder;
    const QString state = folder.filePath("a/state");
    const Ran none = runProgram(program, {"fingerprint", "--state-dir", state});
    QCOMPARE(none.exitCode, 1);
    QVERIFY(none.errors.contains("certificate.pem"));
    const Ran made = runProgram(program, {"generate-cert", "--state-dir", state});
    QCOMPARE(made.exitCode, 0);
    QVERIFY(QRegularExpression("^([0-9A-F]{2}:){31}[0-9A-F]{2}\\n$").match(made.output).hasMatch());
    QCOMPARE(runProgram(program, {"fingerprint", "--state-dir", state}).output, made.output);
    const auto open = QFile::ReadGroup | QFile::ReadOther | QFile::WriteGroup | QFile::WriteOther;
    QVERIFY(!(QFile::permissions(state + "/key.pem") & open));
    QVERIFY(!(QFile::permissions(state) & open));

    const Ran again = runProgram(program, {"generate-cert", "--state-dir", state});
    QCOMPARE(again.exitCode, 1);
    QVERIFY(again.errors.contains("--force"));
    QCOMPARE(runProgram(program, {"fingerprint", "--state-dir", state}).output, made.output);
    const Ran forced = runProgram(program, {"generate-cert", "--force", "--state-dir", state});
    QCOMPARE(forced.exitCode, 0);
    QVERIFY(forced.output != made.output);

    Service service;
    QStringList arguments = {"--listen", "127.0.0.1:0", "--state-dir", state};
    if (program == "pillarbox-engine") {
      ServiceRig rig;
      arguments += QStringList{"--model", rig.writeModel("m.onnx"), "--offline", "first-party",
                               "--allow-insecure-first-party"};
      QVERIFY2(service.start(program, arguments, folder.filePath("ready")),
               qPrintable(service.log()));
    } else {
      QVERIFY(service.start(program, arguments, folder.filePath("ready")));
    }
    QCOMPARE(service.fingerprint() + "\n", forced.output);
  }

  void checkConfig() {
    QTemporaryDir folder;
    const QString path = folder.filePath("bad.toml");
    QFile file(path);
    QVERIFY(file.open(QIODevice::WriteOnly));
    file.write("listen = \"127.0.0.1:7120\"\n\n[limits]\nmax_sessions = -1\nmaxsets = 2\n");
    file.close();
    const Ran bad = runProgram("pillarbox-engine", {"check-config", path});
    QCOMPARE(bad.exitCode, 1);
    QVERIFY(bad.errors.contains(path + ":4: limits.max_sessions"));
    QVERIFY(bad.errors.contains(path + ":5: unknown setting limits.maxsets"));
    const QString examples = QStringLiteral(PILLARBOX_SOURCE_DIR "/resources/");
    for (const QString program : {"engine", "dealer"}) {
      const Ran good =
          runProgram("pillarbox-" + program,
                     {"check-config", examples + "pillarbox-" + program + ".example.toml"});
      QVERIFY2(good.exitCode == 0, qPrintable(good.errors));
    }
  }

  void oneSentenceAndExitCode_data() {
    QTest::addColumn<QString>("program");
    QTest::addColumn<QStringList>("arguments");
    QTest::addColumn<QString>("part");
    const QStringList insecure = {"--offline", "first-party", "--allow-insecure-first-party"};
    const QStringList listen = {"--listen", "127.0.0.1:0"};
    QTest::newRow("no model") << "pillarbox-engine" << listen + insecure << "--model";
    QTest::newRow("no address") << "pillarbox-engine" << QStringList{"--model", "MODEL"} + insecure
                                << "--listen";
    QTest::newRow("no dealer") << "pillarbox-engine"
                               << QStringList{"--model", "MODEL", "--offline", "dealer"} + listen
                               << "--dealer";
    QTest::newRow("a dealer in two-party mode")
        << "pillarbox-engine" << QStringList{"--model", "MODEL", "--dealer", "127.0.0.1:1"} + listen
        << "--offline dealer";
    QTest::newRow("first party not allowed")
        << "pillarbox-engine"
        << QStringList{"--model", "MODEL", "--offline", "first-party"} + listen
        << "--allow-insecure-first-party";
    QTest::newRow("missing model")
        << "pillarbox-engine" << QStringList{"--model", "FOLDER/none.onnx"} + listen + insecure
        << "none.onnx";
    QTest::newRow("model is garbage")
        << "pillarbox-engine" << QStringList{"--model", "GARBAGE"} + listen + insecure
        << "garbage.onnx";
    QTest::newRow("metrics for everybody")
        << "pillarbox-engine"
        << QStringList{"--model", "MODEL", "--metrics", "0.0.0.0:9464"} + listen + insecure
        << "loopback";
    QTest::newRow("same model twice")
        << "pillarbox-engine"
        << QStringList{"--model", "MODEL", "--model", "MODEL"} + listen + insecure << "same";
    QTest::newRow("port in use") << "pillarbox-engine"
                                 << QStringList{"--model", "MODEL", "--listen", "TAKEN"} + insecure
                                 << "another program listens";
    QTest::newRow("dealer: port in use")
        << "pillarbox-dealer" << QStringList{"--listen", "TAKEN"} << "another program listens";
    QTest::newRow("state folder cannot be made")
        << "pillarbox-dealer" << QStringList{"--state-dir", "GARBAGE/state"} + listen
        << "garbage.onnx";
    QTest::newRow("address of another machine")
        << "pillarbox-dealer" << QStringList{"--listen", "192.0.2.1:7000"} << "192.0.2.1";
    QTest::newRow("bad address") << "pillarbox-dealer" << QStringList{"--listen", "nonsense"}
                                 << "nonsense";
    QTest::newRow("no GPU") << "pillarbox-engine"
                            << QStringList{"--model", "MODEL", "--device", "cuda"} + listen +
                                   insecure
                            << "\"cpu\" to compute on the processor";
    QTest::newRow("bad configuration")
        << "pillarbox-dealer" << QStringList{"--config", "GARBAGE"} + listen << "garbage.onnx:1:";
  }
  void oneSentenceAndExitCode() {
    QFETCH(QString, program);
    QFETCH(QStringList, arguments);
    QFETCH(QString, part);
    ServiceRig rig;
    QFile garbage(rig.path("garbage.onnx"));
    QVERIFY(garbage.open(QIODevice::WriteOnly));
    garbage.write("this is no model\n");
    garbage.close();
    const QString model = rig.writeModel("model.onnx");
    if (arguments.contains("TAKEN")) QVERIFY(rig.startDealer());
    if (!arguments.contains("--state-dir")) {
      arguments += QStringList{"--state-dir", rig.path("state")};
    }
    for (QString& argument : arguments) {
      argument.replace("GARBAGE", garbage.fileName()).replace("FOLDER", rig.folder());
      if (argument == "MODEL") argument = model;
      if (argument == "TAKEN") argument = rig.dealer.address();
    }
    const Ran ran = runProgram(program, QStringList{"serve"} + arguments);
    QCOMPARE(ran.exitCode, 1);
    const QStringList lines = ran.errors.trimmed().split('\n');
    QVERIFY2(lines.last().startsWith(program + ": ") && lines.last().contains(part),
             qPrintable(ran.errors));
    QVERIFY2(!ran.output.contains("listening"), qPrintable(ran.output));
  }

  // Garbage at every layer, to both services; then they still do their work.
  void garbage() {
    ServiceRig rig;
    QVERIFY(rig.startDealer());
    QVERIFY2(rig.startEngine(), qPrintable(rig.engine.log()));
    for (Service* service : {&rig.dealer, &rig.engine}) {
      for (unsigned seed = 0; seed < 20; ++seed) {
        Socket socket(service->port());
        QVERIFY(socket.connected());
        socket.send(randomBytes(1 + 97 * static_cast<int>(seed), seed));
      }
      {
        Socket socket(service->port());
        socket.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
      }
      // Inside TLS: frames that are messages of nothing, the wrong kind of frame, silence, and a
      // good beginning with nonsense after it.
      for (unsigned seed = 0; seed < 10; ++seed) {
        const auto channel = connectTo(*service);
        QVERIFY(channel != nullptr);
        const QByteArray bytes = randomBytes(3 + 31 * static_cast<int>(seed), seed);
        const auto kind = seed % 2 == 0 ? net::FrameKind::Control : net::FrameKind::Bytes;
        QVERIFY(channel->send(kind, asBytes(bytes)).ok());
        QVERIFY(!channel->receive(net::FrameKind::Control, 4096).ok());
      }
      QVERIFY(connectTo(*service) != nullptr);
      {
        const auto channel = connectTo(*service);
        QVERIFY(channel != nullptr);
        const QByteArray tooLong(100000, 'x');
        // The header is refused, so that the send may fail already.
        static_cast<void>(channel->send(net::FrameKind::Control, asBytes(tooLong)).ok());
        QVERIFY(!channel->receive(net::FrameKind::Control, 4096).ok());
      }
    }
    for (const bool greet : {false, true}) {
      const auto channel = connectTo(rig.engine);
      QVERIFY(channel != nullptr);
      net::proto::ToEngine hello;
      hello.mutable_hello()->set_protocol_version(net::kProtocolVersion);
      if (greet) {
        QVERIFY(net::sendMessage(*channel, hello).ok());
        QVERIFY(net::receiveMessage<net::proto::ToClient>(*channel)->has_welcome());
      }
      net::proto::ToEngine request;
      request.mutable_start_inference()->set_index(1);
      QVERIFY(net::sendMessage(*channel, request).ok());
      const auto answer = net::receiveMessage<net::proto::ToClient>(*channel);
      QVERIFY(!answer.ok());
      QCOMPARE(answer.error().code, ErrorCode::Protocol);
    }
    QVERIFY(rig.engine.running());
    QVERIFY(rig.dealer.running());
    const QString image = writeImage(rig.path("image.png"), 1);
    const Ran ran = runProgram(
        "pillarbox-cli", {"classify", "--engine", rig.engine.address(), "--trust",
                          rig.engine.fingerprint(), "--state-dir", rig.path("client"), image});
    QVERIFY2(ran.exitCode == 0, qPrintable(ran.errors));
  }

  void anotherVersionIsRefused_data() {
    QTest::addColumn<bool>("engine");
    QTest::newRow("engine") << true;
    QTest::newRow("dealer") << false;
  }
  void anotherVersionIsRefused() {
    QFETCH(bool, engine);
    ServiceRig rig;
    QVERIFY(engine ? rig.startEngine() : rig.startDealer());
    const auto channel = connectTo(engine ? rig.engine : rig.dealer);
    QVERIFY(channel != nullptr);
    if (engine) {
      net::proto::ToEngine hello;
      hello.mutable_hello()->set_protocol_version(net::kProtocolVersion + 1);
      QVERIFY(net::sendMessage(*channel, hello).ok());
    } else {
      net::proto::ToDealer hello;
      hello.mutable_hello()->set_protocol_version(net::kProtocolVersion + 1);
      hello.mutable_hello()->set_role(net::proto::DEALER_ROLE_CLIENT);
      QVERIFY(net::sendMessage(*channel, hello).ok());
    }
    const auto answer = channel->receive(net::FrameKind::Control, 4096);
    QVERIFY(!answer.ok());
    QCOMPARE(answer.error().code, ErrorCode::Version);
    QVERIFY(answer.error().message.find("version") != std::string::npos);
  }

  // The metrics agree with what the client was told, and tell when the dealer is away.
  void metrics() {
    ServiceRig rig;
    QVERIFY(rig.startDealer());
    QVERIFY2(rig.startEngine("127.0.0.1:0", {"--metrics", "127.0.0.1:0"}),
             qPrintable(rig.engine.log()));
    QString log;
    QRegularExpressionMatch found;
    QTRY_VERIFY(
        (log += rig.engine.log(),
         found = QRegularExpression("metrics.*address=\"?127\\.0\\.0\\.1:(\\d+)").match(log),
         found.hasMatch()));
    const auto port = static_cast<quint16>(found.captured(1).toUInt());
    const auto get = [port](const QByteArray& path) {
      Socket socket(port);
      socket.send("GET " + path + " HTTP/1.1\r\n\r\n");
      return socket.rest();
    };
    const auto value = [&get](const QByteArray& series) {
      for (const QByteArray& line : get("/metrics").split('\n')) {
        if (line.startsWith(series + ' ')) return line.mid(series.size() + 1).toDouble();
      }
      return -1.0;
    };
    // What computes was said before, and why it is not a GPU.
    QVERIFY2(
        QRegularExpression("compute .*device=\"?cpu\"? .*no GPU is used").match(log).hasMatch(),
        qPrintable(log));
    QVERIFY(get("/healthz").contains(" 200 "));
    QTRY_VERIFY(get("/readyz").contains(" 200 "));
    QVERIFY(get("/").contains(" 404 "));
    QCOMPARE(value("pillarbox_inferences_total"), 0.0);

    const QString image = writeImage(rig.path("image.png"), 1);
    const Ran ran =
        runProgram("pillarbox-cli",
                   {"classify", "--json", "--engine", rig.engine.address(), "--trust",
                    rig.engine.fingerprint(), "--state-dir", rig.path("client"), image, image});
    QVERIFY2(ran.exitCode == 0, qPrintable(ran.errors));
    double sent = 0, received = 0, rounds = 0;
    for (const QByteArray& line : ran.output.toUtf8().split('\n')) {
      const QJsonObject result = QJsonDocument::fromJson(line).object();
      sent += result["bytes_sent"].toDouble();
      received += result["bytes_received"].toDouble();
      rounds += result["rounds"].toDouble();
    }
    QTRY_COMPARE(value("pillarbox_sessions"), 0.0);
    QCOMPARE(value("pillarbox_inferences_total"), 2.0);
    QCOMPARE(value("pillarbox_rounds_total"), rounds);
    QCOMPARE(value("pillarbox_device_inferences_total{device=\"cpu\"}"), 2.0);
    QCOMPARE(value("pillarbox_device_inferences_total{device=\"cuda\"}"), 0.0);
    QCOMPARE(value("pillarbox_gpu_usable"), 0.0);
    QCOMPARE(value("pillarbox_gpu_seconds_total{phase=\"preparation\"}"), 0.0);
    QCOMPARE(value("pillarbox_bytes_total{phase=\"online\",direction=\"sent\"}"), received);
    QCOMPARE(value("pillarbox_bytes_total{phase=\"online\",direction=\"received\"}"), sent);
    QVERIFY(sent > 0 && received > 0);
    QCOMPARE(value("pillarbox_phase_seconds_count{phase=\"online\"}"), 2.0);
    QVERIFY(value("pillarbox_phase_seconds_sum{phase=\"online\"}") > 0);
    QVERIFY(value("pillarbox_sets_prepared_total") >= 2.0);
    QCOMPARE(value("pillarbox_correlation_sets"), 0.0);
    QCOMPARE(value("pillarbox_correlation_bytes"), 0.0);
    QCOMPARE(value("pillarbox_sessions_total"), 1.0);

    {
      Socket socket(rig.engine.port());
      socket.send("GET / HTTP/1.1\r\n\r\n");
    }
    QTRY_VERIFY(get("/metrics").contains("pillarbox_failures_total{where=\"handshake\""));
    rig.dealer.kill();
    QTRY_VERIFY(get("/readyz").contains(" 503 "));
    QVERIFY(get("/readyz").contains("dealer"));
    QVERIFY(get("/healthz").contains(" 200 "));
  }

  void stopsOnSigterm() {
    ServiceRig rig;
    QVERIFY(rig.startDealer());
    QVERIFY(rig.startEngine());
    rig.engine.terminate();
    QCOMPARE(rig.engine.waitForEnd(), 0);
    rig.dealer.terminate();
    QCOMPARE(rig.dealer.waitForEnd(), 0);
  }

  void fullOfSessions() {
    ServiceRig rig;
    QFile config(rig.path("engine.toml"));
    QVERIFY(config.open(QIODevice::WriteOnly));
    config.write("[limits]\nmax_sessions = 2\n");
    config.close();
    QVERIFY(rig.startEngine("127.0.0.1:0", {"--config", config.fileName()}));
    net::proto::ToEngine hello;
    hello.mutable_hello()->set_protocol_version(net::kProtocolVersion);
    std::vector<std::unique_ptr<net::Channel>> channels;
    for (int i = 0; i < 3; ++i) {
      channels.push_back(connectTo(rig.engine));
      QVERIFY(channels.back() != nullptr);
      QVERIFY(net::sendMessage(*channels.back(), hello).ok());
      const auto answer = net::receiveMessage<net::proto::ToClient>(*channels.back());
      QCOMPARE(answer.ok(), i < 2);
      if (i == 2) QCOMPARE(answer.error().code, ErrorCode::Exhausted);
    }
    // Whoever leaves makes room.
    channels.clear();
    bool welcome = false;
    for (int attempt = 0; attempt < 50 && !welcome; ++attempt) {
      const auto channel = connectTo(rig.engine);
      QVERIFY(channel != nullptr);
      QVERIFY(net::sendMessage(*channel, hello).ok());
      welcome = net::receiveMessage<net::proto::ToClient>(*channel).ok();
      if (!welcome) QTest::qWait(20);
    }
    QVERIFY(welcome);
  }
};

QTEST_GUILESS_MAIN(TestServicePrograms)
#include "test_service_programs.moc"

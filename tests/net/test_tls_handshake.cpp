// Connecting and listening: the pin at every handshake, and every way in which the other side can
// be absent, silent, something else or hostile.
#include <algorithm>
#include <atomic>

#include <QElapsedTimer>
#include <QTest>

#include "tests/net/tls_fixture.h"

using namespace pillarbox;
using namespace pillarbox::net;
using namespace pillarbox::net::testing;

namespace {

bool contains(const Error& error, const std::string& text) {
  return error.message.find(text) != std::string::npos;
}

const Fingerprint& enginePin() {
  return TestCertificates::engine().identity.fingerprint();
}
const Fingerprint& otherPin() {
  return TestCertificates::other().identity.fingerprint();
}

ConnectOptions optionsFor(std::uint16_t port) {
  ConnectOptions options;
  options.endpoint = {"127.0.0.1", port};
  options.pin.expected = enginePin();
  options.connectTimeout = 3s;
  options.handshakeTimeout = 3s;
  return options;
}

double secondsOf(const QElapsedTimer& timer) {
  return double(timer.elapsed()) / 1000;
}

}  // namespace

class TestTlsHandshake : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void initTestCase() { ignoreSigpipeForRawOpenSsl(); }
  void pinned();
  void byName();
  void changedPin();
  void changedPinNeverAsks();
  void unknownWithoutAsk();
  void askYes();
  void askNo();
  void nothingIsHandedOverBeforeTheAnswer();
  void slowAnswerConnectsAgain();
  void slowAnswerDoesNotCoverAnotherCertificate();
  void askThatThrows();
  void neverResumes();
  void clientCertificates_data();
  void clientCertificates();
  void refusedConnection();
  void unknownHost();
  void invalidEndpoint();
  void unanswered();
  void somethingElseListens_data();
  void somethingElseListens();
  void cancelledBefore();
  void cancelledWhileConnecting_data();
  void cancelledWhileConnecting();
  void listenErrors_data();
  void listenErrors();
  void ipv6();
  void everyAddress();
  void garbagePeers_data();
  void garbagePeers();
  void silentPeersBlockNobody();
  void handshakeTimeout();
  void stop();
  void stopFromTheHandler();
  void handlerThatThrows();
  void manyAtOnce();
};

void TestTlsHandshake::pinned() {
  Server server;
  TlsConnector connector(server.clientOptions());
  auto client = connector.connect();
  QVERIFY2(client.ok(), client.ok() ? "" : client.error().message.c_str());
  const auto engine = server.accepted();
  QVERIFY(engine != nullptr);
  QVERIFY((*client)->peerFingerprint() == enginePin());
  QVERIFY(connector.presented() == enginePin());
  QVERIFY(!engine->peerFingerprint());
  QCOMPARE((*client)->security(), std::string("TLS 1.3, TLS_AES_128_GCM_SHA256"));
  QCOMPARE(engine->security(), (*client)->security());
  QCOMPARE((*client)->peer(), "127.0.0.1:" + std::to_string(server.listener->port()));
  QCOMPARE((*client)->peer(), engine->local());
  QCOMPARE((*client)->local(), engine->peer());
  QVERIFY(connector.connect().ok());  // as often as one likes
}

void TestTlsHandshake::byName() {
  Server server([](ListenOptions& options) { options.endpoint.host = "localhost"; });
  ConnectOptions options = server.clientOptions();
  options.endpoint.host = "localhost";
  const auto client = connectTls(options);
  QVERIFY2(client.ok(), client.ok() ? "" : client.error().message.c_str());
  QVERIFY(server.accepted() != nullptr);
}

void TestTlsHandshake::changedPin() {
  Server server;
  ConnectOptions options = server.clientOptions();
  options.pin.expected = otherPin();
  TlsConnector connector(options);
  const auto client = connector.connect();
  QVERIFY(!client.ok());
  QCOMPARE(int(client.error().code), int(ErrorCode::Untrusted));
  QVERIFY(contains(client.error(), "Expected " + otherPin().text()));
  QVERIFY(contains(client.error(), "presented " + enginePin().text()));
  QVERIFY(connector.presented() == enginePin());
  QCOMPARE(int(server.rejection().error.code), int(ErrorCode::Untrusted));
  QVERIFY(server.accepted(0ms) == nullptr);
}

void TestTlsHandshake::changedPinNeverAsks() {
  Server server;
  ConnectOptions options = server.clientOptions();
  options.pin.expected = otherPin();
  bool asked = false;
  options.pin.ask = [&](const Fingerprint&) { return asked = true; };
  QCOMPARE(int(connectTls(options).error().code), int(ErrorCode::Untrusted));
  QVERIFY(!asked);
}

void TestTlsHandshake::unknownWithoutAsk() {
  Server server;
  ConnectOptions options = server.clientOptions();
  options.pin = {};
  const auto client = connectTls(options);
  QCOMPARE(int(client.error().code), int(ErrorCode::Untrusted));
  QVERIFY(contains(client.error(), enginePin().text()));
}

void TestTlsHandshake::askYes() {
  Server server;
  ConnectOptions options = server.clientOptions();
  int asked = 0;
  Fingerprint shown;
  options.pin = {.ask = [&](const Fingerprint& fingerprint) {
    ++asked;
    shown = fingerprint;
    return true;
  }};
  const auto client = connectTls(options);
  QVERIFY(client.ok());
  QCOMPARE(asked, 1);
  QVERIFY(shown == enginePin());
  QVERIFY(server.accepted() != nullptr);
}

void TestTlsHandshake::askNo() {
  Server server;
  ConnectOptions options = server.clientOptions();
  options.pin = {.ask = [](const Fingerprint&) { return false; }};
  const auto client = connectTls(options);
  QCOMPARE(int(client.error().code), int(ErrorCode::Untrusted));
  QVERIFY(contains(client.error(), "not accepted"));
  QCOMPARE(int(server.rejection().error.code), int(ErrorCode::Untrusted));
}

void TestTlsHandshake::nothingIsHandedOverBeforeTheAnswer() {
  Server server;
  ConnectOptions options = server.clientOptions();
  bool early = true;
  options.pin = {.ask = [&](const Fingerprint&) {
    early = server.accepted(100ms) != nullptr;
    return true;
  }};
  QVERIFY(connectTls(options).ok());
  QVERIFY(!early);
  QVERIFY(server.accepted() != nullptr);
}

void TestTlsHandshake::slowAnswerConnectsAgain() {
  // The server waits 200 ms for a handshake, the person takes longer, and is asked only once.
  Server server([](ListenOptions& options) { options.handshakeTimeout = 200ms; });
  ConnectOptions options = server.clientOptions();
  options.handshakeTimeout = 500ms;
  int asked = 0;
  options.pin = {.ask = [&](const Fingerprint&) {
    ++asked;
    std::this_thread::sleep_for(1100ms);
    return true;
  }};
  const auto client = connectTls(options);
  QVERIFY2(client.ok(), client.ok() ? "" : client.error().message.c_str());
  QCOMPARE(asked, 1);
  const auto engine = server.accepted();
  QVERIFY(engine != nullptr);
  std::array<std::byte, 1> byte{};
  QVERIFY((*client)->write(byte, {}).ok());
  QVERIFY(engine->read(byte).ok());
}

void TestTlsHandshake::slowAnswerDoesNotCoverAnotherCertificate() {
  auto server = std::make_unique<Server>();
  std::unique_ptr<Server> impostor;
  ConnectOptions options = server->clientOptions();
  options.pin = {.ask = [&](const Fingerprint&) {
    server.reset();
    impostor = std::make_unique<Server>([&](ListenOptions& other) {
      other.endpoint.port = options.endpoint.port;
      other.identity = TestCertificates::other().identity;
    });
    std::this_thread::sleep_for(1100ms);
    return true;
  }};
  const auto client = connectTls(options);
  QVERIFY(!client.ok());
  QCOMPARE(int(client.error().code), int(ErrorCode::Untrusted));
  QVERIFY(contains(client.error(), otherPin().text()));
}

void TestTlsHandshake::askThatThrows() {
  Server server;
  ConnectOptions options = server.clientOptions();
  bool first = true;
  options.pin = {.ask = [&](const Fingerprint&) {
    if (std::exchange(first, false)) throw std::runtime_error("no window");
    return true;
  }};
  TlsConnector connector(options);
  QVERIFY_THROWS_EXCEPTION(std::runtime_error, (void)connector.connect());
  QVERIFY(connector.connect().ok());
}

void TestTlsHandshake::neverResumes() {
  Server server;
  RawTls client(RawSocket::connectTo(server.listener->port()), RawTls::Role::Client,
                &RawTls::pillarboxAlpn);
  QVERIFY(client.ok);
  auto engine = server.accepted();
  QVERIFY(engine != nullptr);
  const std::array<std::byte, 1> byte{std::byte{7}};
  QVERIFY(engine->write(byte, {}).ok());
  char got = 0;
  QCOMPARE(SSL_read(client.ssl(), &got, 1), 1);  // anything the server had to add has been read now
  QCOMPARE(int(got), 7);
  QCOMPARE(SSL_SESSION_is_resumable(SSL_get0_session(client.ssl())), 0);
}

void TestTlsHandshake::clientCertificates_data() {
  QTest::addColumn<bool>("requested");
  QTest::addColumn<bool>("presented");
  QTest::newRow("neither") << false << false;
  QTest::newRow("not asked for") << false << true;
  QTest::newRow("asked, none there") << true << false;
  QTest::newRow("asked and shown") << true << true;
}

void TestTlsHandshake::clientCertificates() {
  QFETCH(bool, requested);
  QFETCH(bool, presented);
  Server server([&](ListenOptions& options) { options.requestClientCertificate = requested; });
  ConnectOptions options = server.clientOptions();
  if (presented) options.identity = TestCertificates::other().identity;
  QVERIFY(connectTls(options).ok());
  const auto engine = server.accepted();
  QVERIFY(engine != nullptr);
  QCOMPARE(engine->peerFingerprint().has_value(), requested && presented);
  if (requested && presented) QVERIFY(engine->peerFingerprint() == otherPin());
}

void TestTlsHandshake::refusedConnection() {
  std::uint16_t port = 0;
  { port = Server().listener->port(); }
  const auto client = connectTls(optionsFor(port));
  QCOMPARE(int(client.error().code), int(ErrorCode::Unreachable));
  QCOMPARE(client.error().message, "nothing listens at 127.0.0.1:" + std::to_string(port) +
                                       ": connection refused. Is the engine running?");
}

void TestTlsHandshake::unknownHost() {
  ConnectOptions options = optionsFor(1);
  options.endpoint.host = "no-such-host.invalid";
  const auto client = connectTls(options);
  QCOMPARE(int(client.error().code), int(ErrorCode::Unreachable));
  QVERIFY(contains(client.error(), "no-such-host.invalid"));
}

void TestTlsHandshake::invalidEndpoint() {
  QCOMPARE(int(connectTls(optionsFor(0)).error().code), int(ErrorCode::InvalidArgument));
  ConnectOptions options = optionsFor(1);
  options.endpoint.host.clear();
  QCOMPARE(int(connectTls(options).error().code), int(ErrorCode::InvalidArgument));
}

void TestTlsHandshake::unanswered() {
  // A listener whose queue is full: the kernel drops what else comes.
  const RawServer full({}, 0);
  std::vector<RawSocket> fillers;
  for (int i = 0; i < 3; ++i) {
    RawSocket filler(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(full.port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)::connect(filler.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    fillers.push_back(std::move(filler));
  }
  ConnectOptions options = optionsFor(full.port);
  options.connectTimeout = 200ms;
  QElapsedTimer timer;
  timer.start();
  const auto client = connectTls(options);
  QVERIFY(!client.ok());
  QCOMPARE(int(client.error().code), int(ErrorCode::Unreachable));
  QVERIFY2(contains(client.error(), "no answer"), client.error().message.c_str());
  QVERIFY(secondsOf(timer) < 10);
}

void TestTlsHandshake::somethingElseListens_data() {
  QTest::addColumn<int>("kind");
  QTest::addColumn<int>("code");
  QTest::addColumn<QByteArray>("says");
  QTest::newRow("silent") << 0 << int(ErrorCode::Timeout) << QByteArray("has not answered");
  QTest::newRow("HTTP") << 1 << int(ErrorCode::Protocol) << QByteArray("does not speak TLS");
  QTest::newRow("SSH") << 2 << int(ErrorCode::Protocol) << QByteArray("does not speak TLS");
  QTest::newRow("closes") << 3 << int(ErrorCode::Closed) << QByteArray("closed the connection");
  QTest::newRow("resets") << 4 << int(ErrorCode::Closed) << QByteArray("closed the connection");
  QTest::newRow("TLS 1.2") << 5 << int(ErrorCode::Protocol) << QByteArray("older TLS");
  QTest::newRow("TLS without ALPN")
      << 6 << int(ErrorCode::Protocol) << QByteArray("no Pillarbox engine");
  QTest::newRow("TLS with other ALPN")
      << 7 << int(ErrorCode::Protocol) << QByteArray("not this version of Pillarbox");
  QTest::newRow("half a handshake") << 8 << int(ErrorCode::Timeout) << QByteArray("not answered");
  QTest::newRow("random bytes") << 9 << int(ErrorCode::Protocol) << QByteArray("TLS");
}

void TestTlsHandshake::somethingElseListens() {
  QFETCH(int, kind);
  QFETCH(int, code);
  QFETCH(QByteArray, says);
  RawServer server([kind](RawSocket socket) {
    std::array<char, 16> some;
    switch (kind) {
      case 0:
        socket.drain();
        return;
      case 1:
        (void)::recv(socket.get(), some.data(), some.size(), 0);
        socket.send("HTTP/1.1 400 Bad Request\r\n\r\n");
        socket.drain();
        return;
      case 2:
        socket.send("SSH-2.0-OpenSSH_9.2p1\r\n");
        socket.drain();
        return;
      case 3:
        (void)::recv(socket.get(), some.data(), some.size(), 0);
        ::shutdown(socket.get(), SHUT_WR);
        socket.drain();
        return;
      case 4:
        (void)::recv(socket.get(), some.data(), some.size(), 0);
        socket.reset();
        return;
      case 5: {
        const RawTls tls(std::move(socket), RawTls::Role::Server, [](SSL_CTX* context) {
          SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
        });
        return;
      }
      case 6: {
        const RawTls tls(std::move(socket), RawTls::Role::Server, {});
        return;
      }
      case 7: {
        const RawTls tls(std::move(socket), RawTls::Role::Server, [](SSL_CTX* context) {
          SSL_CTX_set_alpn_select_cb(
              context,
              [](SSL*, const unsigned char**, unsigned char*, const unsigned char*, unsigned,
                 void*) { return SSL_TLSEXT_ERR_ALERT_FATAL; },
              nullptr);
        });
        return;
      }
      case 8:
        socket.send(std::string("\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03", 11));
        socket.drain();
        return;
      case 9:
        socket.send(std::string(64, '\xA7'));
        socket.drain();
        return;
    }
  });
  ConnectOptions options = optionsFor(server.port);
  options.handshakeTimeout = 300ms;
  bool asked = false;
  options.pin = {.ask = [&](const Fingerprint&) { return asked = true; }};
  const auto client = connectTls(options);
  QVERIFY(!client.ok());
  QVERIFY2(contains(client.error(), says.toStdString()), client.error().message.c_str());
  QCOMPARE(int(client.error().code), code);
  QVERIFY(!asked);  // nobody is asked to trust what is no engine
}

void TestTlsHandshake::cancelledBefore() {
  Server server;
  TlsConnector connector(server.clientOptions());
  connector.cancel();
  QCOMPARE(int(connector.connect().error().code), int(ErrorCode::Cancelled));
  connector.cancel();
}

void TestTlsHandshake::cancelledWhileConnecting_data() {
  QTest::addColumn<bool>("handshake");
  QTest::newRow("TCP") << false;
  QTest::newRow("TLS") << true;
}

void TestTlsHandshake::cancelledWhileConnecting() {
  QFETCH(bool, handshake);
  const RawServer silent({}, handshake ? 16 : 0);
  std::vector<RawSocket> fillers;
  if (!handshake) {
    for (int i = 0; i < 3; ++i) {
      RawSocket filler(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(silent.port);
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      (void)::connect(filler.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
      fillers.push_back(std::move(filler));
    }
  }
  ConnectOptions options = optionsFor(silent.port);
  options.connectTimeout = options.handshakeTimeout = 20s;
  TlsConnector connector(options);
  std::thread canceller([&] {
    std::this_thread::sleep_for(60ms);
    connector.cancel();
  });
  QElapsedTimer timer;
  timer.start();
  const auto client = connector.connect();
  canceller.join();
  QCOMPARE(int(client.error().code), int(ErrorCode::Cancelled));
  QVERIFY(secondsOf(timer) >= 0.05);
  QVERIFY(secondsOf(timer) < 10);
}

void TestTlsHandshake::listenErrors_data() {
  QTest::addColumn<QByteArray>("host");
  QTest::addColumn<bool>("samePort");
  QTest::addColumn<int>("code");
  QTest::newRow("in use") << QByteArray("127.0.0.1") << true << int(ErrorCode::Refused);
  QTest::newRow("not ours") << QByteArray("192.0.2.1") << false << int(ErrorCode::Unreachable);
  QTest::newRow("no such name") << QByteArray("no-such-host.invalid") << false
                                << int(ErrorCode::Unreachable);
}

void TestTlsHandshake::listenErrors() {
  QFETCH(QByteArray, host);
  QFETCH(bool, samePort);
  QFETCH(int, code);
  Server server;
  const auto second = TlsListener::start(
      listenOptions(host.toStdString(), samePort ? server.listener->port() : std::uint16_t{0}),
      [](std::unique_ptr<TlsTransport>) {});
  QVERIFY(!second.ok());
  QCOMPARE(int(second.error().code), code);
}

void TestTlsHandshake::ipv6() {
  auto probe = TlsListener::start(listenOptions("::1"), [](std::unique_ptr<TlsTransport>) {});
  if (!probe.ok()) QSKIP("this machine has no IPv6");
  Server server([](ListenOptions& options) { options.endpoint.host = "::1"; });
  ConnectOptions options = server.clientOptions();
  options.endpoint.host = "::1";
  const auto client = connectTls(options);
  QVERIFY2(client.ok(), client.ok() ? "" : client.error().message.c_str());
  QCOMPARE((*client)->peer(), "[::1]:" + std::to_string(server.listener->port()));
  QCOMPARE(server.listener->addresses(), std::vector<std::string>{(*client)->peer()});
}

void TestTlsHandshake::everyAddress() {
  for (const char* host : {"*", "0.0.0.0"}) {
    Server server([&](ListenOptions& options) { options.endpoint.host = host; });
    QVERIFY(server.connect().ok());
    const auto engine = server.accepted();
    QVERIFY(engine != nullptr);
    QVERIFY(engine->peer().starts_with("127.0.0.1:"));  // not "::ffff:127.0.0.1"
  }
}

void TestTlsHandshake::garbagePeers_data() {
  QTest::addColumn<int>("kind");
  QTest::addColumn<int>("code");
  QTest::addColumn<QByteArray>("says");
  QTest::newRow("HTTP") << 0 << int(ErrorCode::Protocol) << QByteArray("plain HTTP");
  QTest::newRow("random") << 1 << int(ErrorCode::Protocol) << QByteArray("does not speak TLS");
  QTest::newRow("zeros") << 2 << int(ErrorCode::Protocol) << QByteArray("TLS");
  QTest::newRow("closes") << 3 << int(ErrorCode::Closed) << QByteArray("went away");
  QTest::newRow("resets") << 4 << int(ErrorCode::Closed) << QByteArray("went away");
  QTest::newRow("TLS 1.2") << 5 << int(ErrorCode::Protocol) << QByteArray("older TLS");
  QTest::newRow("no ALPN") << 6 << int(ErrorCode::Protocol) << QByteArray("not this version");
  QTest::newRow("other ALPN") << 7 << int(ErrorCode::Protocol) << QByteArray("not this version");
  QTest::newRow("cut off") << 8 << int(ErrorCode::Closed) << QByteArray("went away");
  QTest::newRow("frame without TLS") << 9 << int(ErrorCode::Protocol) << QByteArray("TLS");
}

void TestTlsHandshake::garbagePeers() {
  QFETCH(int, kind);
  QFETCH(int, code);
  QFETCH(QByteArray, says);
  Server server;
  RawSocket socket = RawSocket::connectTo(server.listener->port());
  const auto tls = [&](const std::function<void(SSL_CTX*)>& adjust) {
    const RawTls client(std::move(socket), RawTls::Role::Client, adjust);
  };
  switch (kind) {
    case 0:
      socket.send("GET / HTTP/1.1\r\nHost: engine\r\n\r\n");
      break;
    case 1:
      socket.send(std::string(100, '\xA7'));
      break;
    case 2:
      socket.send(std::string(100, '\0'));
      break;
    case 3:
      socket.close();
      break;
    case 4:
      socket.reset();
      break;
    case 5:
      tls([](SSL_CTX* context) {
        RawTls::pillarboxAlpn(context);
        SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
      });
      break;
    case 6:
      tls({});
      break;
    case 7:
      tls([](SSL_CTX* context) {
        SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>("\x02h2"), 3);
      });
      break;
    case 8:
      socket.send(std::string("\x16\x03\x01\x02\x00\x01\x00", 7));
      socket.close();
      break;
    case 9:
      socket.send(std::string("PBX1\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24));
      break;
  }
  const auto rejection = server.rejection();
  QVERIFY2(contains(rejection.error, says.toStdString()), rejection.error.message.c_str());
  QCOMPARE(int(rejection.error.code), code);
  QVERIFY(rejection.peer.starts_with("127.0.0.1:"));
  QVERIFY(server.accepted(0ms) == nullptr);
  QVERIFY(server.connect().ok());  // and nobody else is the worse for it
  QVERIFY(server.accepted() != nullptr);
}

void TestTlsHandshake::silentPeersBlockNobody() {
  Server server([](ListenOptions& options) {
    options.maxHandshakes = 4;
    options.handshakeTimeout = 30s;
  });
  std::vector<RawSocket> silent;
  for (int i = 0; i < 20; ++i) silent.push_back(RawSocket::connectTo(server.listener->port()));
  for (int i = 0; i < 5; ++i) {
    QElapsedTimer timer;
    timer.start();
    QVERIFY(server.connect().ok());
    QVERIFY(server.accepted() != nullptr);
    QVERIFY(secondsOf(timer) < 10);
  }
  for (int i = 0; i < 16; ++i) {
    const auto rejection = server.rejection();
    QCOMPARE(int(rejection.error.code), int(ErrorCode::Exhausted));
  }
  QCOMPARE(silent.front().drain(), std::string());  // the oldest was closed
}

void TestTlsHandshake::handshakeTimeout() {
  Server server([](ListenOptions& options) { options.handshakeTimeout = 100ms; });
  QElapsedTimer timer;
  timer.start();
  RawSocket silent = RawSocket::connectTo(server.listener->port());
  // One that drips: a byte now and then is no handshake either.
  RawSocket dripping = RawSocket::connectTo(server.listener->port());
  for (int i = 0; i < 4; ++i) {
    dripping.send(std::string(1, "\x16\x03\x01\x02"[i]));
    std::this_thread::sleep_for(20ms);
  }
  QCOMPARE(silent.drain(), std::string());
  QCOMPARE(dripping.drain(), std::string());
  QVERIFY(secondsOf(timer) < 10);
  QCOMPARE(int(server.rejection().error.code), int(ErrorCode::Timeout));
  QCOMPARE(int(server.rejection().error.code), int(ErrorCode::Timeout));
}

void TestTlsHandshake::stop() {
  Server server;
  const auto client = server.connect();
  QVERIFY(client.ok());
  const auto engine = server.accepted();
  QVERIFY(engine != nullptr);
  const RawSocket silent = RawSocket::connectTo(server.listener->port());
  server.listener->stop();
  QCOMPARE(silent.drain(), std::string());
  QCOMPARE(int(server.connect().error().code), int(ErrorCode::Unreachable));
  // What was handed over lives on.
  std::array<std::byte, 1> byte{std::byte{5}};
  QVERIFY((*client)->write(byte, {}).ok());
  QVERIFY(engine->read(byte).ok());
  server.listener->stop();
}

void TestTlsHandshake::stopFromTheHandler() {
  std::unique_ptr<TlsListener> listener;
  std::atomic<int> handled = 0;
  std::atomic<bool> ready = false;
  listener = TlsListener::start(listenOptions(), [&](std::unique_ptr<TlsTransport>) {
               while (!ready) std::this_thread::yield();
               listener->stop();
               ++handled;
             }).value();
  ready = true;
  const ConnectOptions options = optionsFor(listener->port());
  QVERIFY(connectTls(options).ok());
  QTRY_COMPARE(handled.load(), 1);
  QCOMPARE(int(connectTls(options).error().code), int(ErrorCode::Unreachable));
  listener.reset();
  QCOMPARE(handled.load(), 1);
}

void TestTlsHandshake::handlerThatThrows() {
  std::atomic<int> calls = 0, rejections = 0;
  const auto listener =
      TlsListener::start(
          listenOptions(),
          [&](std::unique_ptr<TlsTransport>) {
            if (++calls == 1) throw std::runtime_error("no thread left");
          },
          [&](const std::string&, const Error& error) {
            if (error.code == ErrorCode::Internal && error.message == "no thread left")
              ++rejections;
          })
          .value();
  auto client = connectTls(optionsFor(listener->port()));
  QVERIFY(client.ok());
  std::array<std::byte, 1> byte;
  QCOMPARE(int((*client)->read(byte).error().code), int(ErrorCode::Closed));
  QVERIFY(connectTls(optionsFor(listener->port())).ok());
  QTRY_COMPARE(calls.load(), 2);
  QCOMPARE(rejections.load(), 1);
}

void TestTlsHandshake::manyAtOnce() {
  Server server;
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 4; ++i) {
        if (server.connect().ok()) ++good;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  QCOMPARE(good.load(), 32);
  for (int i = 0; i < 32; ++i) QVERIFY(server.accepted() != nullptr);
}

QTEST_GUILESS_MAIN(TestTlsHandshake)
#include "test_tls_handshake.moc"

// The local responder: what it answers, what it refuses, and what strangers cannot make it do.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <random>
#include <stdexcept>

#include <QTest>

#include "net/local_http.h"

using namespace pillarbox;

namespace {

using Clock = std::chrono::steady_clock;

class Socket {
 public:
  explicit Socket(const std::string& address)
      : m_descriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(net::parseEndpoint(address)->port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(m_descriptor, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
      throw std::runtime_error("cannot connect");
    }
  }
  ~Socket() { ::close(m_descriptor); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  void send(const QByteArray& bytes) const {
    static_cast<void>(
        ::send(m_descriptor, bytes.data(), static_cast<std::size_t>(bytes.size()), MSG_NOSIGNAL));
  }
  /// Everything until the other side closes, or nothing comes for `patience`.
  QByteArray rest(int patienceMs = 3000) const {
    QByteArray all;
    char piece[4096];
    for (;;) {
      pollfd fd{m_descriptor, POLLIN, 0};
      if (::poll(&fd, 1, patienceMs) <= 0) return all + "<still open>";
      const ssize_t n = ::recv(m_descriptor, piece, sizeof piece, 0);
      if (n <= 0) return all;
      all.append(piece, n);
    }
  }

 private:
  int m_descriptor;
};

std::unique_ptr<net::LocalHttp> startResponder() {
  auto started = net::LocalHttp::start({"127.0.0.1", 0}, [](const std::string& path) {
    if (path == "/throws") throw std::runtime_error("no");
    return path == "/there" ? net::HttpAnswer{200, "here\n"} : net::HttpAnswer{404, "no\n"};
  });
  if (!started.ok()) throw std::runtime_error(started.error().message);
  return std::move(started).value();
}

}  // namespace

class TestLocalHttp : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void answers_data() {
    QTest::addColumn<QByteArray>("request");
    QTest::addColumn<QByteArray>("status");
    QTest::addColumn<QByteArray>("body");
    const auto row = [](const char* name, const QByteArray& request, const QByteArray& status,
                        const QByteArray& body) {
      QTest::newRow(name) << request << status << body;
    };
    row("get", "GET /there HTTP/1.1\r\nHost: a\r\n\r\n", "200", "here\n");
    row("get 1.0", "GET /there HTTP/1.0\r\n\r\n", "200", "here\n");
    row("query", "GET /there?a=b HTTP/1.1\r\n\r\n", "200", "here\n");
    row("head", "HEAD /there HTTP/1.1\r\n\r\n", "200", "");
    row("another path", "GET /etc/passwd HTTP/1.1\r\n\r\n", "404", "no\n");
    row("handler throws", "GET /throws HTTP/1.1\r\n\r\n", "500", "the answer could not be made\n");
    row("post", "POST /there HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405",
        "only GET and HEAD are answered here\n");
    row("not HTTP", "hello\r\n\r\n", "400", "this is no HTTP/1.1 request\n");
    row("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400", "this is no HTTP/1.1 request\n");
    row("control characters", "GET /there\x01 HTTP/1.1\r\n\r\n", "400",
        "this is no HTTP/1.1 request\n");
    row("absolute target", "GET http://a/there HTTP/1.1\r\n\r\n", "400",
        "this is no HTTP/1.1 request\n");
    row("too long", "GET /" + QByteArray(100000, 'a') + " HTTP/1.1\r\n\r\n", "431",
        "the request is too long\n");
  }
  void answers() {
    QFETCH(QByteArray, request);
    QFETCH(QByteArray, status);
    QFETCH(QByteArray, body);
    const auto responder = startResponder();
    const Socket socket(responder->address());
    socket.send(request);
    const QByteArray answer = socket.rest();
    QVERIFY2(answer.startsWith("HTTP/1.1 " + status + " "), answer.constData());
    const auto end = answer.indexOf("\r\n\r\n");
    QVERIFY(end > 0);
    QCOMPARE(answer.mid(end + 4), body);
    if (request.startsWith("GET")) {
      QVERIFY(answer.contains("Content-Length: " + QByteArray::number(body.size()) + "\r\n"));
    }
  }

  void garbageAndSilence() {
    const auto responder = startResponder();
    std::mt19937 random(1);
    std::vector<std::unique_ptr<Socket>> open;
    for (int i = 0; i < 60; ++i) {
      QByteArray bytes(i * 37, '\0');
      for (char& byte : bytes) byte = static_cast<char>(random());
      open.push_back(std::make_unique<Socket>(responder->address()));
      open.back()->send(bytes);
      if (i % 3 != 0) open.pop_back();
    }
    open.clear();
    QTest::qWait(500);  // until the responder has noticed
    // Silent ones hold every place; one more is turned away, and all are thrown out in time.
    const auto start = Clock::now();
    for (std::size_t i = 0; i < net::kMaxHttpConnections; ++i) {
      open.push_back(std::make_unique<Socket>(responder->address()));
      open.back()->send("GET /there HTTP/1.1\r\n");
    }
    const auto isTurnedAway = [&] {
      const Socket late(responder->address());
      late.send("GET /there HTTP/1.1\r\n\r\n");
      return !late.rest().contains("200 OK");
    };
    // On a busy machine a place of those before may still have been taken when these came.
    QTest::qWait(200);
    for (int i = 0; i < 10 && !isTurnedAway(); ++i) {
      open.push_back(std::make_unique<Socket>(responder->address()));
      open.back()->send("GET /there HTTP/1.1\r\n");
      QTest::qWait(50);
    }
    QVERIFY(isTurnedAway());
    QCOMPARE(open.front()->rest(10000), QByteArray());
    const auto took = Clock::now() - start;
    QVERIFY(took > net::kHttpTime / 2 && took < 2 * net::kHttpTime);
    QTest::qWait(200);
    const Socket after(responder->address());
    after.send("GET /there HTTP/1.1\r\n\r\n");
    QVERIFY(after.rest().endsWith("here\n"));
  }

  void onlyLoopback() {
    const auto handler = [](const std::string&) { return net::HttpAnswer{}; };
    for (const char* host : {"0.0.0.0", "192.0.2.1", "::"}) {
      const auto refused = net::LocalHttp::start({host, 0}, handler);
      QVERIFY(!refused.ok());
      QCOMPARE(refused.error().code, ErrorCode::Refused);
      QVERIFY(refused.error().message.find("loopback") != std::string::npos);
    }
    const auto first = startResponder();
    const auto taken = net::LocalHttp::start(*net::parseEndpoint(first->address()), handler);
    QVERIFY(!taken.ok());
    QCOMPARE(taken.error().code, ErrorCode::Refused);
    QVERIFY(taken.error().message.find("another program") != std::string::npos);
  }
};

QTEST_GUILESS_MAIN(TestLocalHttp)
#include "test_local_http.moc"

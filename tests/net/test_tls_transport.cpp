// An established TLS connection: bytes, back pressure, ends of every kind, cancellation, and what a
// peer can do to the record layer.
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <cstring>

#include <QElapsedTimer>
#include <QTest>

#include "net/frame.h"
#include "tests/net/tls_fixture.h"

using namespace pillarbox;
using namespace pillarbox::net;
using namespace pillarbox::net::testing;

namespace {

std::vector<std::byte> pattern(std::size_t size, std::uint32_t seed = 1) {
  std::vector<std::byte> bytes(size);
  for (auto& byte : bytes) {
    seed = seed * 1664525 + 1013904223;
    byte = std::byte(seed >> 24);
  }
  return bytes;
}

bool contains(const Error& error, const std::string& text) {
  return error.message.find(text) != std::string::npos;
}

/// A bare client of a server whose end is a Pillarbox transport.
struct RawClientPair {
  Server server;
  std::unique_ptr<RawTls> client;
  std::unique_ptr<TlsTransport> engine;
  RawClientPair() {
    client = std::make_unique<RawTls>(RawSocket::connectTo(server.listener->port()),
                                      RawTls::Role::Client, &RawTls::pillarboxAlpn);
    engine = server.accepted();
    if (!client->ok || !engine) throw std::runtime_error("no connection");
    engine->setTimeout(5s);
  }
};

/// Far more than the kernel's buffers hold.
constexpr std::size_t kPlenty = std::size_t{16} << 20;

}  // namespace

class TestTlsTransport : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void initTestCase() { ignoreSigpipeForRawOpenSsl(); }
  void sizes_data();
  void sizes();
  void channelMetersAsInMemory();
  void bothSendFirst();
  void queueIsBounded();
  void holdKeepsEverythingBack();
  void holdEndsByItself();
  void holdOfAFullQueueCostsNoPatience();
  void twoWindowsWhileHeld();
  void holdsInTheMiddle_data();
  void holdsInTheMiddle();
  void heldConnectionsEnd();
  void heldWriterIsCancelled();
  void writeTimeout_data();
  void writeTimeout();
  void readTimeout();
  void drippingPeerTimesOut();
  void cancelARead();
  void cancelAWrite_data();
  void cancelAWrite();
  void cancelIsSticky();
  void closesProperly();
  void sendsEverythingBeforeItCloses();
  void reasonSurvivesUnreadData();
  void halfClosedPeerCanStillBeAnswered();
  void brokenOff_data();
  void brokenOff();
  void truncatedFrame();
  void garbageAfterTheHandshake_data();
  void garbageAfterTheHandshake();
  void keyUpdatesAreFine();
  void keyUpdateFlood();
  void goneWhileWriting();
  void fullDuplex();
  void manyConnections();
  void roundTripTime();
};

void TestTlsTransport::sizes_data() {
  QTest::addColumn<int>("header");
  QTest::addColumn<int>("payload");
  QTest::addColumn<qulonglong>("queue");
  for (const qulonglong queue : {0ULL, 1ULL << 20, 64ULL << 20}) {
    for (const int payload : {0, 1, 16359, 16360, 16361, 16384, 32745, 1 << 20, 2'000'001}) {
      QTest::addRow("24+%d, queue %llu", payload, queue) << 24 << payload << queue;
    }
  }
  QTest::newRow("no header") << 0 << 50'000 << 1000ULL;
  QTest::newRow("long header") << 40'000 << 10 << 1000ULL;
}

void TestTlsTransport::sizes() {
  QFETCH(int, header);
  QFETCH(int, payload);
  QFETCH(qulonglong, queue);
  TlsPair pair({.queueBytes = std::size_t(queue)});
  pair.client->setTimeout(20s);
  pair.engine->setTimeout(20s);
  const auto head = pattern(std::size_t(header), 7), body = pattern(std::size_t(payload), 9);
  // Three times, so that a message can meet the queue of the one before; and read in odd pieces.
  std::thread writer([&] {
    for (int i = 0; i < 3; ++i) QVERIFY(pair.client->write(head, body).ok());
  });
  std::vector<std::byte> got(head.size() + body.size());
  for (int i = 0; i < 3; ++i) {
    std::fill(got.begin(), got.end(), std::byte{});
    std::span<std::byte> left(got);
    for (std::size_t piece = 1; !left.empty(); piece = piece * 5 + 1) {
      const std::size_t n = std::min(piece, left.size());
      const Status read = pair.engine->read(left.first(n));
      if (!read.ok()) qWarning("%s", read.error().message.c_str());
      QVERIFY(read.ok());
      left = left.subspan(n);
    }
    QVERIFY(std::equal(head.begin(), head.end(), got.begin()));
    QVERIFY(std::equal(body.begin(), body.end(), got.begin() + header));
  }
  writer.join();
}

void TestTlsTransport::channelMetersAsInMemory() {
  TlsPair pair;
  Channel a(std::move(pair.client)), b(std::move(pair.engine));
  std::vector<std::uint64_t> words(5000, 3);
  for (int i = 0; i < 3; ++i) {
    for (int chunk = 0; chunk < 4; ++chunk) QVERIFY(a.sendWords(words).ok());
    for (int chunk = 0; chunk < 4; ++chunk) {
      QVERIFY(b.receiveWords(words).ok());
      QVERIFY(b.sendWords(words).ok());
    }
    for (int chunk = 0; chunk < 4; ++chunk) QVERIFY(a.receiveWords(words).ok());
  }
  QCOMPARE(roundsBetween({}, a.meter()), 3U);
  QCOMPARE(a.meter().bytesSent, 12ULL * 40024);
  QCOMPARE(a.meter().bytesReceived, 12ULL * 40024);
  b.sendFailure({ErrorCode::Exhausted, "no sets left"});
  const Status refused = a.receiveWords(words);
  QCOMPARE(int(refused.error().code), int(ErrorCode::Exhausted));
  QCOMPARE(refused.error().message, a.peer() + " says: no sets left");
}

void TestTlsTransport::bothSendFirst() {
  // One thread an end, each sends before it receives: only the queues keep them from a deadlock.
  TlsPair pair;
  pair.client->setTimeout(20s);
  pair.engine->setTimeout(20s);
  const auto data = pattern(kPlenty);
  std::thread other([&] {
    std::vector<std::byte> got(kPlenty);
    QVERIFY(pair.engine->write({}, data).ok());
    QVERIFY(pair.engine->read(got).ok());
    QVERIFY(got == data);
  });
  std::vector<std::byte> got(kPlenty);
  QVERIFY(pair.client->write({}, data).ok());
  QVERIFY(pair.client->read(got).ok());
  QVERIFY(got == data);
  other.join();
}

void TestTlsTransport::queueIsBounded() {
  TlsPair pair({.queueBytes = 1 << 20});
  std::atomic<int> written = 0;
  const auto data = pattern(1 << 20);
  std::thread writer([&] {
    for (int i = 0; i < 16; ++i) {
      QVERIFY(pair.client->write({}, data).ok());
      ++written;
    }
  });
  std::this_thread::sleep_for(300ms);
  QVERIFY(written < 16);
  std::vector<std::byte> got(data.size());
  for (int i = 0; i < 16; ++i) {
    QVERIFY(pair.engine->read(got).ok());
    QVERIFY(got == data);
  }
  writer.join();
}

void TestTlsTransport::holdKeepsEverythingBack() {
  TlsPair pair;
  pair.engine->setTimeout(200ms);
  const auto data = pattern(100'000);
  pair.client->hold(20s);
  QVERIFY(pair.client->write({}, std::span(data).first(50'000)).ok());
  QVERIFY(pair.client->write({}, std::span(data).subspan(50'000)).ok());
  std::vector<std::byte> got(data.size());
  QCOMPARE(int(pair.engine->read(std::span(got).first(1)).error().code), int(ErrorCode::Timeout));
  QVERIFY(pair.engine->write({}, data).ok());  // the other direction is free
  QVERIFY(pair.client->read(got).ok());
  pair.client->hold(0ms);
  pair.engine->setTimeout(20s);
  std::fill(got.begin(), got.end(), std::byte{});
  QVERIFY(pair.engine->read(got).ok());
  QVERIFY(got == data);
}

void TestTlsTransport::holdEndsByItself() {
  TlsPair pair;
  const auto data = pattern(1000);
  std::vector<std::byte> got(data.size());
  QElapsedTimer timer;
  timer.start();
  pair.client->hold(300ms);
  QVERIFY(pair.client->write({}, data).ok());
  QVERIFY(timer.elapsed() < 300);
  QVERIFY(pair.engine->read(got).ok());
  QVERIFY(timer.elapsed() >= 300);
  QVERIFY(got == data);
}

void TestTlsTransport::holdOfAFullQueueCostsNoPatience() {
  TlsPair pair({.queueBytes = 1 << 20});
  pair.client->setTimeout(200ms);
  const auto data = pattern(1 << 20), more = pattern(3 << 20);
  pair.client->hold(1s);
  std::thread reader([&] {
    std::vector<std::byte> got(data.size() + more.size());
    QVERIFY(pair.engine->read(got).ok());
    QVERIFY(std::equal(more.begin(), more.end(), got.begin() + std::ptrdiff_t(data.size())));
  });
  QVERIFY(pair.client->write({}, data).ok());
  QVERIFY(pair.client->write({}, more).ok());  // does not even fit into the queue
  reader.join();
}

/// What two-party sets rely on: neither side reads, both are held, and writing goes on (see
/// engine/offline/two_party/party.h).
void TestTlsTransport::twoWindowsWhileHeld() {
  TlsPair pair;
  const auto window = pattern(std::size_t{31} << 20);
  for (TlsTransport* end : {pair.client.get(), pair.engine.get()}) {
    end->setSendLimits({.background = true});
    end->setTimeout(20s);
    end->hold(60s);
    QElapsedTimer timer;
    timer.start();
    QVERIFY(end->write({}, window).ok());
    QVERIFY(end->write({}, window).ok());
    QVERIFY(timer.elapsed() < 15'000);
  }
  pair.client->hold(0ms);
  pair.engine->hold(0ms);
  const auto readBoth = [&](TlsTransport& end) {
    std::vector<std::byte> got(window.size());
    for (int i = 0; i < 2; ++i) {
      QVERIFY(end.read(got).ok());
      QVERIFY(got == window);
    }
  };
  std::thread other([&] { readBoth(*pair.engine); });
  readBoth(*pair.client);
  other.join();
}

void TestTlsTransport::holdsInTheMiddle_data() {
  QTest::addColumn<bool>("background");
  QTest::newRow("foreground") << false;
  QTest::newRow("background") << true;
}

void TestTlsTransport::holdsInTheMiddle() {
  QFETCH(bool, background);
  TlsPair pair({.queueBytes = 2 << 20});
  pair.client->setSendLimits({.queueBytes = 2 << 20, .background = background});
  pair.client->setTimeout(20s);
  pair.engine->setTimeout(20s);
  std::atomic<bool> done = false;
  std::thread holding([&] {
    for (int i = 0; !done; ++i) {
      pair.client->hold(i % 2 == 0 ? 15ms : 0ms);
      std::this_thread::sleep_for(10ms);
    }
  });
  const auto data = pattern(700'001);
  std::thread writer([&] {
    for (int i = 0; i < 60; ++i) QVERIFY(pair.client->write({}, data).ok());
  });
  std::vector<std::byte> got(data.size());
  for (int i = 0; i < 60; ++i) {
    QVERIFY(pair.engine->read(got).ok());
    QVERIFY(got == data);
  }
  writer.join();
  done = true;
  holding.join();
}

void TestTlsTransport::heldConnectionsEnd() {
  TlsPair pair;
  const auto data = pattern(100'000);
  pair.client->hold(20s);
  QVERIFY(pair.client->write({}, data).ok());
  QElapsedTimer timer;
  timer.start();
  pair.client.reset();
  QVERIFY(timer.elapsed() < 4000);
  std::vector<std::byte> got(data.size());
  QVERIFY(pair.engine->read(got).ok());
  QVERIFY(got == data);
  QVERIFY(contains(pair.engine->read(std::span(got).first(1)).error(), "closed the connection"));
}

void TestTlsTransport::heldWriterIsCancelled() {
  TlsPair pair({.queueBytes = 1 << 20});
  pair.client->hold(20s);
  std::thread canceller([&] {
    std::this_thread::sleep_for(100ms);
    pair.client->cancel();
  });
  const auto data = pattern(1 << 20);
  Status status;
  for (int i = 0; i < 4 && status.ok(); ++i) status = pair.client->write({}, data);
  canceller.join();
  QCOMPARE(int(status.error().code), int(ErrorCode::Cancelled));
}

void TestTlsTransport::writeTimeout_data() {
  QTest::addColumn<qulonglong>("queue");
  QTest::newRow("direct") << 0ULL;
  QTest::newRow("queued") << (1ULL << 20);
}

void TestTlsTransport::writeTimeout() {
  QFETCH(qulonglong, queue);
  TlsPair pair({.queueBytes = std::size_t(queue)});
  pair.client->setTimeout(100ms);
  const auto data = pattern(1 << 20);
  QElapsedTimer timer;
  timer.start();
  Status status;
  for (int i = 0; i < 16 && status.ok(); ++i) status = pair.client->write({}, data);
  QVERIFY(!status.ok());
  QCOMPARE(int(status.error().code), int(ErrorCode::Timeout));
  QVERIFY(contains(status.error(), "stopped taking data"));
  QVERIFY(timer.elapsed() >= 100 && timer.elapsed() < 20000);
  QVERIFY(!pair.client->write({}, data).ok());  // what broke off stays broken
}

void TestTlsTransport::readTimeout() {
  TlsPair pair;
  pair.client->setTimeout(50ms);
  std::array<std::byte, 1> byte;
  QElapsedTimer timer;
  timer.start();
  const Status status = pair.client->read(byte);
  QCOMPARE(int(status.error().code), int(ErrorCode::Timeout));
  QVERIFY(contains(status.error(), "50 ms"));
  QVERIFY(timer.elapsed() >= 50 && timer.elapsed() < 10000);
}

void TestTlsTransport::drippingPeerTimesOut() {
  RawClientPair pair;
  pair.engine->setTimeout(100ms);
  std::atomic<bool> stop = false;
  std::thread dripping([&] {
    while (!stop) {
      if (SSL_write(pair.client->ssl(), "x", 1) != 1) break;
      std::this_thread::sleep_for(20ms);
    }
  });
  std::array<std::byte, kFrameHeaderBytes> header;
  QElapsedTimer timer;
  timer.start();
  const Status status = pair.engine->read(header);
  stop = true;
  dripping.join();
  QCOMPARE(int(status.error().code), int(ErrorCode::Timeout));
  QVERIFY(timer.elapsed() < 5000);
}

void TestTlsTransport::cancelARead() {
  TlsPair pair;
  std::thread canceller([&] {
    std::this_thread::sleep_for(30ms);
    pair.client->cancel();
  });
  std::array<std::byte, 1> byte;
  const Status status = pair.client->read(byte);
  canceller.join();
  QCOMPARE(int(status.error().code), int(ErrorCode::Cancelled));
}

void TestTlsTransport::cancelAWrite_data() {
  writeTimeout_data();
}

void TestTlsTransport::cancelAWrite() {
  QFETCH(qulonglong, queue);
  TlsPair pair({.queueBytes = std::size_t(queue)});
  std::thread canceller([&] {
    std::this_thread::sleep_for(200ms);
    pair.client->cancel();
  });
  const auto data = pattern(1 << 20);
  Status status;
  for (int i = 0; i < 16 && status.ok(); ++i) status = pair.client->write({}, data);
  canceller.join();
  QCOMPARE(int(status.error().code), int(ErrorCode::Cancelled));
  QElapsedTimer timer;
  timer.start();
  pair.client.reset();  // a cancelled connection does not wait for its queue
  QVERIFY(timer.elapsed() < 4000);
}

void TestTlsTransport::cancelIsSticky() {
  TlsPair pair;
  pair.client->cancel();
  pair.client->cancel();
  std::array<std::byte, 1> byte{};
  QCOMPARE(int(pair.client->read(byte).error().code), int(ErrorCode::Cancelled));
  QCOMPARE(int(pair.client->write(byte, {}).error().code), int(ErrorCode::Cancelled));
  pair.client.reset();
  pair.engine->setTimeout(3s);
  QCOMPARE(int(pair.engine->read(byte).error().code), int(ErrorCode::Closed));
}

void TestTlsTransport::closesProperly() {
  TlsPair pair;
  const std::string peer = pair.client->peer();
  pair.engine.reset();
  std::array<std::byte, 1> byte{};
  const Status status = pair.client->read(byte);
  QCOMPARE(int(status.error().code), int(ErrorCode::Closed));
  QCOMPARE(status.error().message, peer + " closed the connection");
  QCOMPARE(pair.client->read(byte).error().message, status.error().message);
  Status write;  // the first may still be taken by the kernel
  for (int i = 0; i < 100 && write.ok(); ++i) {
    write = pair.client->write(byte, {});
    std::this_thread::sleep_for(1ms);
  }
  QCOMPARE(int(write.error().code), int(ErrorCode::Closed));
}

void TestTlsTransport::sendsEverythingBeforeItCloses() {
  TlsPair pair;
  const auto data = pattern(kPlenty);
  std::thread reader([&] {
    std::this_thread::sleep_for(50ms);
    std::vector<std::byte> got(kPlenty);
    QVERIFY(pair.engine->read(got).ok());
    QVERIFY(got == data);
    const Status end = pair.engine->read(std::span(got).first(1));
    QVERIFY(contains(end.error(), "closed the connection"));
  });
  QVERIFY(pair.client->write({}, data).ok());
  pair.client.reset();
  reader.join();
}

void TestTlsTransport::reasonSurvivesUnreadData() {
  // The engine declines and closes with the client's bytes unread. A reset would destroy the
  // reason.
  TlsPair pair;
  Channel client(std::move(pair.client));
  const std::vector<std::byte> data(100'000);
  QVERIFY(client.send(FrameKind::Bytes, data).ok());
  {
    Channel engine(std::move(pair.engine));
    engine.sendFailure({ErrorCode::Refused, "another model"});
  }
  const auto got = client.receive(FrameKind::Control, 100);
  QCOMPARE(int(got.error().code), int(ErrorCode::Refused));
  QVERIFY(contains(got.error(), "another model"));
}

void TestTlsTransport::halfClosedPeerCanStillBeAnswered() {
  RawClientPair pair;
  QVERIFY(SSL_shutdown(pair.client->ssl()) >= 0);  // close_notify, but it goes on reading
  std::array<std::byte, 1> byte{std::byte{9}};
  QVERIFY(contains(pair.engine->read(byte).error(), "closed the connection"));
  QVERIFY(pair.engine->write(byte, {}).ok());
  char got = 0;
  QCOMPARE(SSL_read(pair.client->ssl(), &got, 1), 1);
}

void TestTlsTransport::brokenOff_data() {
  QTest::addColumn<bool>("reset");
  QTest::newRow("end of stream without close_notify") << false;
  QTest::newRow("reset") << true;
}

void TestTlsTransport::brokenOff() {
  QFETCH(bool, reset);
  RawClientPair pair;
  if (reset) {
    pair.client->socket().reset();
  } else {
    pair.client->socket().close();
  }
  std::array<std::byte, 1> byte;
  const Status status = pair.engine->read(byte);
  QCOMPARE(int(status.error().code), int(ErrorCode::Closed));
  QVERIFY2(contains(status.error(), "broke off"), status.error().message.c_str());
}

void TestTlsTransport::truncatedFrame() {
  // Properly closed TLS, but in the middle of a frame.
  TlsPair pair;
  Channel engine(std::move(pair.engine));
  std::vector<std::byte> bytes(24 + 500);
  encodeFrameHeader({FrameKind::Bytes, 1, 1000, 0}, std::span(bytes).first<24>());
  QVERIFY(pair.client->write(bytes, {}).ok());
  pair.client.reset();
  std::vector<std::byte> payload(1000);
  QCOMPARE(int(engine.receiveBytes(payload).error().code), int(ErrorCode::Closed));
  QCOMPARE(engine.meter().framesReceived, 0ULL);
}

void TestTlsTransport::garbageAfterTheHandshake_data() {
  QTest::addColumn<QByteArray>("bytes");
  QTest::newRow("text") << QByteArray("GET / HTTP/1.1\r\n\r\n");
  QTest::newRow("plain alert") << QByteArray::fromHex("15030300020228");
  QTest::newRow("forged record") << QByteArray::fromHex("1703030020") + QByteArray(32, '\x5a');
  QTest::newRow("record too long") << QByteArray::fromHex("170303ffff") + QByteArray(100, 'x');
  QTest::newRow("empty record") << QByteArray::fromHex("1703030000");
  QTest::newRow("unknown type") << QByteArray::fromHex("6303030010") + QByteArray(16, 'x');
}

void TestTlsTransport::garbageAfterTheHandshake() {
  QFETCH(QByteArray, bytes);
  RawClientPair pair;
  pair.client->socket().send(std::string_view(bytes.constData(), std::size_t(bytes.size())));
  std::array<std::byte, 1> byte{};
  const Status status = pair.engine->read(byte);
  QVERIFY(!status.ok());
  QVERIFY2(status.error().code == ErrorCode::Protocol || status.error().code == ErrorCode::Closed,
           status.error().message.c_str());
  QVERIFY(!pair.engine->read(byte).ok());
}

void TestTlsTransport::keyUpdatesAreFine() {
  RawClientPair pair;
  std::array<std::byte, 5> got;
  for (int i = 0; i < 10; ++i) {
    QCOMPARE(SSL_key_update(pair.client->ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
    QCOMPARE(SSL_write(pair.client->ssl(), "hello", 5), 5);
    QVERIFY(pair.engine->read(got).ok());
    QVERIFY(std::memcmp(got.data(), "hello", 5) == 0);
    QVERIFY(pair.engine->write(got, {}).ok());
    char back[5];
    QCOMPARE(SSL_read(pair.client->ssl(), back, 5), 5);
  }
}

void TestTlsTransport::keyUpdateFlood() {
  RawClientPair pair;
  std::thread flood([&] {
    for (int i = 0; i < 20'000; ++i) {
      if (SSL_key_update(pair.client->ssl(), SSL_KEY_UPDATE_NOT_REQUESTED) != 1) break;
      if (SSL_do_handshake(pair.client->ssl()) != 1) break;
    }
  });
  std::array<std::byte, 1> byte;
  const Status status = pair.engine->read(byte);
  flood.join();
  QCOMPARE(int(status.error().code), int(ErrorCode::Protocol));
  QVERIFY2(contains(status.error(), "floods"), status.error().message.c_str());
}

void TestTlsTransport::goneWhileWriting() {
  // Neither a signal nor a hang: an error.
  TlsPair pair({.queueBytes = 1 << 20});
  pair.client->setTimeout(10s);
  std::thread leaving([&] {
    std::this_thread::sleep_for(100ms);
    pair.engine.reset();
  });
  const auto data = pattern(1 << 20);
  Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) status = pair.client->write({}, data);
  leaving.join();
  QVERIFY(!status.ok());
  QCOMPARE(int(status.error().code), int(ErrorCode::Closed));
}

void TestTlsTransport::fullDuplex() {
  // Reader and writer of both ends at work at once, with a queue that is often full.
  TlsPair pair({.queueBytes = 100'000});
  const auto run = [](TlsTransport& transport, std::uint32_t mine, std::uint32_t theirs) {
    transport.setTimeout(30s);
    std::thread writer([&, mine] {
      for (std::uint32_t i = 0; i < 150; ++i) {
        const auto data = pattern(i * 397 % 60'000, mine + i);
        QVERIFY(transport.write({}, data).ok());
      }
    });
    for (std::uint32_t i = 0; i < 150; ++i) {
      const auto want = pattern(i * 397 % 60'000, theirs + i);
      std::vector<std::byte> got(want.size());
      QVERIFY(transport.read(got).ok());
      QVERIFY(got == want);
    }
    writer.join();
  };
  std::thread engine([&] { run(*pair.engine, 1000, 2000); });
  run(*pair.client, 2000, 1000);
  engine.join();
}

void TestTlsTransport::manyConnections() {
  Server server;
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int t = 0; t < 12; ++t) {
    threads.emplace_back([&] {
      auto client = server.connect();
      if (!client.ok()) return;
      Channel channel(std::move(client).value());
      std::vector<std::uint64_t> words(3000, 5);
      for (int i = 0; i < 10; ++i) {
        if (!channel.sendWords(words).ok() || !channel.receiveWords(words).ok()) return;
      }
      if (roundsBetween({}, channel.meter()) == 10) ++good;
    });
    threads.emplace_back([&] {
      auto engine = server.accepted();
      if (!engine) return;
      Channel channel(std::move(engine));
      std::vector<std::uint64_t> words(3000);
      while (channel.receiveWords(words).ok() && channel.sendWords(words).ok()) {
      }
    });
  }
  for (auto& thread : threads) thread.join();
  QCOMPARE(good.load(), 12);
}

void TestTlsTransport::roundTripTime() {
  // A generous bound that a delayed acknowledgement (40 ms) or a hand-over by polling would break.
  TlsPair pair;
  constexpr int kTrips = 300;
  std::thread echo([&] {
    std::array<std::byte, 32> bytes;
    for (int i = 0; i < kTrips; ++i) {
      QVERIFY(pair.engine->read(bytes).ok());
      QVERIFY(pair.engine->write(std::span(bytes).first(24), std::span(bytes).subspan(24)).ok());
    }
  });
  std::array<std::byte, 32> bytes{};
  std::vector<qint64> times;
  for (int i = 0; i < kTrips; ++i) {
    QElapsedTimer timer;
    timer.start();
    QVERIFY(pair.client->write(std::span(bytes).first(24), std::span(bytes).subspan(24)).ok());
    QVERIFY(pair.client->read(bytes).ok());
    times.push_back(timer.nsecsElapsed());
  }
  echo.join();
  std::nth_element(times.begin(), times.begin() + kTrips / 2, times.end());
  const double median = double(times[kTrips / 2]) / 1000;
  QVERIFY2(median < 5000, qPrintable(QString("median %1 us").arg(median)));
}

QTEST_GUILESS_MAIN(TestTlsTransport)
#include "test_tls_transport.moc"

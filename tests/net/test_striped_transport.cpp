// One stream over several connections: every byte arrives in its place whatever the sizes, the
// meter does not notice, and what goes wrong on one connection, by accident or on purpose, ends
// the stream with a sentence that says what.

#include <atomic>
#include <random>
#include <thread>

#include <QTest>

#include "net/frame.h"
#include "net/memory.h"
#include "net/striped_transport.h"
#include "tests/net/tls_fixture.h"

using namespace pillarbox;
using namespace pillarbox::net;
using namespace pillarbox::net::testing;

namespace {

constexpr std::size_t kPiece = StripedTransport::kPieceBytes;

std::vector<std::byte> randomBytes(std::size_t count, unsigned seed) {
  std::mt19937_64 generator(seed);
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(generator());
  return bytes;
}

/// Two ends of a stream over so many connections in memory.
struct Pair {
  explicit Pair(std::size_t stripes, const MemoryLink& link = {}) {
    auto [mine, theirs] = makeMemoryPair(link);
    client = std::make_unique<StripedTransport>(std::move(mine));
    engine = std::make_unique<StripedTransport>(std::move(theirs));
    std::vector<std::unique_ptr<Transport>> ofClient, ofEngine;
    for (std::size_t i = 1; i < stripes; ++i) {
      auto [a, b] = makeMemoryPair(link);
      ofClient.push_back(std::move(a));
      ofEngine.push_back(std::move(b));
    }
    if (stripes == 1) return;
    client->widen(std::move(ofClient));
    engine->widen(std::move(ofEngine));
  }
  std::unique_ptr<StripedTransport> client, engine;
};

/// A client's end whose connections are the test's, to say on each what an honest peer would not.
struct OpenPair {
  explicit OpenPair(std::size_t stripes) {
    auto [first, theirs] = makeMemoryPair();
    lines.push_back(std::move(first));
    auto stream = std::make_unique<StripedTransport>(std::move(theirs));
    std::vector<std::unique_ptr<Transport>> further;
    for (std::size_t i = 1; i < stripes; ++i) {
      auto [a, b] = makeMemoryPair();
      lines.push_back(std::move(a));
      further.push_back(std::move(b));
    }
    stream->widen(std::move(further));
    channel = std::make_unique<Channel>(std::move(stream));
    channel->setTimeout(300ms);
  }

  /// Puts a stream on the connections as an honest peer does, beginning with connection `first`.
  void send(std::span<const std::byte> bytes, std::size_t first = 0) {
    for (std::size_t stripe = first; !bytes.empty(); ++stripe) {
      const auto piece = bytes.first(std::min(bytes.size(), kPiece));
      QVERIFY(lines[stripe % lines.size()]->write({}, piece).ok());
      bytes = bytes.subspan(piece.size());
    }
  }

  std::vector<std::unique_ptr<Transport>> lines;
  std::unique_ptr<Channel> channel;
};

/// A frame as it lies on the wire.
std::vector<std::byte> frameOf(std::span<const std::byte> payload, std::uint64_t sequence) {
  FrameHeader header;
  header.kind = FrameKind::Bytes;
  header.depth = 1;
  header.length = static_cast<std::uint32_t>(payload.size());
  header.sequence = sequence;
  std::array<std::byte, kFrameHeaderBytes> head;
  encodeFrameHeader(header, head);
  std::vector<std::byte> frame(head.begin(), head.end());
  frame.insert(frame.end(), payload.begin(), payload.end());
  return frame;
}

bool contains(const Error& error, const char* text) {
  return error.message.find(text) != std::string::npos;
}

}  // namespace

class TestStripedTransport : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void everyByteInItsPlace_data() {
    QTest::addColumn<int>("stripes");
    for (int n = 1; n <= int(StripedTransport::kMaxStripes); ++n) {
      QTest::addRow("%d", n) << n;
    }
  }
  /// Random sizes, the sides' cuts independent of each other, both directions at once.
  void everyByteInItsPlace() {
    QFETCH(int, stripes);
    Pair pair(static_cast<std::size_t>(stripes));
    QCOMPARE(pair.client->stripes(), static_cast<std::size_t>(stripes));
    const auto up = randomBytes(300'000, 1), down = randomBytes(200'001, 2);
    const auto send = [](Transport& to, std::span<const std::byte> bytes, unsigned seed) {
      std::mt19937 generator(seed);
      while (!bytes.empty()) {
        const std::size_t head = std::min<std::size_t>(bytes.size(), generator() % 60);
        const std::size_t body = std::min<std::size_t>(bytes.size() - head, generator() % 30'000);
        QVERIFY(to.write(bytes.first(head), bytes.subspan(head, body)).ok());
        bytes = bytes.subspan(head + body);
      }
    };
    const auto receive = [](Transport& from, const std::vector<std::byte>& expected,
                            unsigned seed) {
      std::mt19937 generator(seed);
      std::vector<std::byte> got(expected.size());
      std::span<std::byte> left(got);
      while (!left.empty()) {
        const auto piece = left.first(std::min<std::size_t>(left.size(), generator() % 20'000));
        QVERIFY(from.read(piece).ok());
        left = left.subspan(piece.size());
      }
      QVERIFY(got == expected);
    };
    std::thread engine([&] {
      std::thread writer([&] { send(*pair.engine, down, 3); });
      receive(*pair.engine, up, 4);
      writer.join();
    });
    std::thread writer([&] { send(*pair.client, up, 5); });
    receive(*pair.client, down, 6);
    writer.join();
    engine.join();
  }

  /// What the bytes travel over is no part of what is counted.
  void theMeterCountsAsOnOneConnection() {
    MeterReading readings[2];
    for (const std::size_t stripes : {1, 4}) {
      Pair pair(stripes);
      Channel client(std::move(pair.client)), engine(std::move(pair.engine));
      std::vector<std::byte> tensor(28'672), small(11);
      for (int round = 0; round < 5; ++round) {
        QVERIFY(client.send(FrameKind::Control, small).ok());
        for (int i = 0; i < 7; ++i) QVERIFY(client.send(FrameKind::Bytes, tensor).ok());
        QVERIFY(engine.receive(FrameKind::Control, 100).ok());
        for (int i = 0; i < 7; ++i) QVERIFY(engine.receiveBytes(tensor).ok());
        QVERIFY(engine.send(FrameKind::Bytes, tensor).ok());
        QVERIFY(client.receiveBytes(tensor).ok());
      }
      readings[stripes == 1 ? 0 : 1] = client.meter();
    }
    QCOMPARE(readings[1].bytesSent, readings[0].bytesSent);
    QCOMPARE(readings[1].bytesReceived, readings[0].bytesReceived);
    QCOMPARE(readings[1].framesSent, readings[0].framesSent);
    QCOMPARE(readings[1].depth, readings[0].depth);
    QCOMPARE(roundsBetween({}, readings[1]), 5U);
  }

  /// Frames before, the agreement, frames after; sizes that end inside pieces.
  void widensBetweenTwoFrames() {
    auto [mine, theirs] = makeMemoryPair();
    auto* first = new StripedTransport(std::move(mine));
    auto* second = new StripedTransport(std::move(theirs));
    Channel client{std::unique_ptr<Transport>(first)}, engine{std::unique_ptr<Transport>(second)};
    auto [a, b] = makeMemoryPair();
    const auto before = randomBytes(10'001, 1), after = randomBytes(50'003, 2);
    std::vector<std::byte> got(before.size());
    QVERIFY(client.send(FrameKind::Bytes, before).ok());
    QVERIFY(engine.receiveBytes(got).ok());
    QVERIFY(engine.send(FrameKind::Bytes, before).ok());
    std::vector<std::unique_ptr<Transport>> ofEngine, ofClient;
    ofEngine.push_back(std::move(b));
    second->widen(std::move(ofEngine));
    QVERIFY(engine.send(FrameKind::Bytes, after).ok());  // before the client has widened
    QVERIFY(client.receiveBytes(got).ok());
    ofClient.push_back(std::move(a));
    first->widen(std::move(ofClient));
    got.resize(after.size());
    QVERIFY(client.receiveBytes(got).ok());
    QVERIFY(got == after);
    QVERIFY(client.send(FrameKind::Bytes, after).ok());
    QVERIFY(engine.receiveBytes(got).ok());
    QVERIFY(got == after);
  }

  void widensOnceAndWithinTheLimit() {
    const auto some = [](std::size_t count) {
      std::vector<std::unique_ptr<Transport>> further;
      for (std::size_t i = 0; i < count; ++i) further.push_back(makeMemoryPair().first);
      return further;
    };
    StripedTransport stream(makeMemoryPair().first);
    QVERIFY_THROWS_EXCEPTION(std::logic_error, stream.widen({}));
    QVERIFY_THROWS_EXCEPTION(std::logic_error, stream.widen(some(StripedTransport::kMaxStripes)));
    stream.widen(some(1));
    QVERIFY_THROWS_EXCEPTION(std::logic_error, stream.widen(some(1)));
    QVERIFY_THROWS_EXCEPTION(std::logic_error, stream.release());
  }

  void aSmallFrameTakesOneConnection() {
    // Connection 1 stands still; what fits into the piece on connection 0 does not wait for it.
    auto [mine, theirs] = makeMemoryPair();
    auto [stuck, unread] = makeMemoryPair({.capacityBytes = 1});
    StripedTransport stream(std::move(mine));
    std::vector<std::unique_ptr<Transport>> further;
    further.push_back(std::move(stuck));
    stream.widen(std::move(further));
    stream.setTimeout(200ms);
    const auto small = randomBytes(kPiece / 4, 1);
    for (int i = 0; i < 3; ++i) QVERIFY(stream.write({}, small).ok());
    std::vector<std::byte> got(3 * small.size());
    QVERIFY(theirs->read(got).ok());
    const Status status = stream.write(small, small);  // over the end of the piece
    QCOMPARE(int(status.error().code), int(ErrorCode::Timeout));
    QVERIFY(contains(status.error(), "connection 2 of the session's 2"));
  }

  void aConnectionThatEnds_data() {
    QTest::addColumn<int>("which");
    QTest::newRow("the session's own") << 0;
    QTest::newRow("the second") << 1;
    QTest::newRow("the last") << 3;
  }
  void aConnectionThatEnds() {
    QFETCH(int, which);
    OpenPair pair(4);
    const auto frame = frameOf(randomBytes(5 * kPiece, 1), 0);
    std::vector<std::byte> got(5 * kPiece);
    std::thread receiver([&] {
      pair.channel->setTimeout(10s);
      const Status status = pair.channel->receiveBytes(got);
      QCOMPARE(int(status.error().code), int(ErrorCode::Closed));
      const std::string name = "connection " + std::to_string(which + 1) + " of the session's 4";
      QCOMPARE(contains(status.error(), name.c_str()), which > 0);
    });
    pair.send(std::span(frame).first(static_cast<std::size_t>(which) * kPiece));
    pair.lines[static_cast<std::size_t>(which)].reset();
    receiver.join();
    QVERIFY(!pair.channel->receiveBytes(got).ok());  // and stays so
    // Writing meets it at the latest when its turn comes.
    Status sent;
    for (int i = 0; i < 8 && sent.ok(); ++i) sent = pair.channel->send(FrameKind::Bytes, got);
    QVERIFY(!sent.ok());
  }

  void aConnectionThatIsSilent() {
    OpenPair pair(3);
    const auto frame = frameOf(randomBytes(5 * kPiece, 1), 0);
    pair.send(std::span(frame).first(2 * kPiece));  // connection 2 says nothing
    QVERIFY(pair.lines[0]->write({}, std::span(frame).first(kPiece)).ok());
    std::vector<std::byte> got(5 * kPiece);
    const Status status = pair.channel->receiveBytes(got);
    QCOMPARE(int(status.error().code), int(ErrorCode::Timeout));
    QVERIFY(contains(status.error(), "connection 3 of the session's 3"));
  }

  /// Bytes where a frame should begin.
  void garbage() {
    OpenPair pair(2);
    auto stream = frameOf(randomBytes(kPiece - kFrameHeaderBytes, 1), 0);  // fills one piece
    std::vector<std::byte> got(kPiece - kFrameHeaderBytes);
    const auto garbage = randomBytes(kPiece, 2);
    stream.insert(stream.end(), garbage.begin(), garbage.end());
    pair.send(stream);
    QVERIFY(pair.channel->receiveBytes(got).ok());
    QCOMPARE(int(pair.channel->receiveBytes(got).error().code), int(ErrorCode::Protocol));
  }

  /// Two frames of a piece each, the second where the first belongs: the other order, or twice.
  void movedAndRepeatedPieces() {
    const auto payload = randomBytes(kPiece - kFrameHeaderBytes, 1);
    const auto first = frameOf(payload, 0), second = frameOf(payload, 1);
    std::vector<std::byte> got(payload.size());
    {
      OpenPair swapped(2);
      QVERIFY(swapped.lines[0]->write({}, second).ok());
      QVERIFY(swapped.lines[1]->write({}, first).ok());
      const Status status = swapped.channel->receiveBytes(got);
      QCOMPARE(int(status.error().code), int(ErrorCode::Protocol));
      QVERIFY(contains(status.error(), "lost, repeated or moved"));
    }
    {
      OpenPair repeated(2);
      QVERIFY(repeated.lines[0]->write({}, first).ok());
      QVERIFY(repeated.lines[1]->write({}, first).ok());
      QVERIFY(repeated.channel->receiveBytes(got).ok());
      const Status status = repeated.channel->receiveBytes(got);
      QCOMPARE(int(status.error().code), int(ErrorCode::Protocol));
      QVERIFY(contains(status.error(), "lost, repeated or moved"));
    }
    {
      OpenPair shifted(3);  // a peer that begins with another connection
      shifted.send(first, 1);
      QCOMPARE(int(shifted.channel->receiveBytes(got).error().code), int(ErrorCode::Timeout));
    }
  }

  /// Every piece in time by itself, and all of them too slow: the pieces' limits must not add up.
  void aDrippingPeerTimesOut() {
    OpenPair pair(2);
    pair.channel->setTimeout(400ms);
    constexpr std::size_t kPieces = 10;
    const auto frame = frameOf(randomBytes(kPieces * kPiece, 1), 0);
    std::atomic<bool> stop = false;
    std::thread dripping([&] {
      std::span<const std::byte> left(frame);
      for (std::size_t part = 0; !stop && !left.empty(); ++part) {
        // Halves of a piece, 0.2 s apart: 0.4 s a piece, which by itself may take 0.57 s.
        const std::size_t half = kPiece / 2;
        const auto bytes = left.first(std::min(left.size(), half));
        if (!pair.lines[part / 2 % 2]->write({}, bytes).ok()) return;
        left = left.subspan(bytes.size());
        std::this_thread::sleep_for(200ms);
      }
    });
    std::vector<std::byte> got(kPieces * kPiece);
    const Status status = pair.channel->receiveBytes(got);
    stop = true;
    dripping.join();
    QCOMPARE(int(status.error().code), int(ErrorCode::Timeout));
    QVERIFY2(contains(status.error(), "too slowly"), status.error().message.c_str());
  }

  void cancelEndsReadsAndWritesOnAllOfThem() {
    Pair pair(4, {.capacityBytes = 1000});
    std::thread canceller([&] {
      std::this_thread::sleep_for(50ms);
      pair.client->cancel();
    });
    std::thread writer([&] {
      const auto bytes = randomBytes(100'000, 1);
      QCOMPARE(int(pair.client->write({}, bytes).error().code), int(ErrorCode::Cancelled));
    });
    std::vector<std::byte> got(100);
    QCOMPARE(int(pair.client->read(got).error().code), int(ErrorCode::Cancelled));
    writer.join();
    canceller.join();
    QCOMPARE(int(pair.client->read(got).error().code), int(ErrorCode::Cancelled));
  }

  void widenAfterCancelIsCancelled() {
    auto [mine, theirs] = makeMemoryPair();
    auto [a, b] = makeMemoryPair();
    StripedTransport stream(std::move(mine));
    stream.cancel();
    std::vector<std::unique_ptr<Transport>> further;
    further.push_back(std::move(a));
    stream.widen(std::move(further));
    std::vector<std::byte> got(2 * kPiece);
    QCOMPARE(int(stream.read(got).error().code), int(ErrorCode::Cancelled));
  }

  void aReleasedConnectionGoesOnElsewhere() {
    auto [mine, theirs] = makeMemoryPair();
    StripedTransport stream(std::move(mine));
    const std::string peer = stream.peer();
    const auto bytes = randomBytes(100, 1);
    QVERIFY(stream.write({}, bytes).ok());
    const auto released = stream.release();
    QVERIFY(released->write({}, bytes).ok());
    std::vector<std::byte> got(200);
    QVERIFY(theirs->read(got).ok());
    QCOMPARE(int(stream.write({}, bytes).error().code), int(ErrorCode::Closed));
    QCOMPARE(int(stream.read(got).error().code), int(ErrorCode::Closed));
    QCOMPARE(stream.peer(), peer);
    stream.cancel();  // does not reach what was given away
    QVERIFY(theirs->write({}, bytes).ok());
    QVERIFY(released->read(std::span(got).first(100)).ok());
  }

  /// Over real connections: both sides send plenty before they receive.
  void overTls() {
    Server server;
    std::vector<std::unique_ptr<Transport>> ofClient, ofEngine;
    for (int i = 0; i < 4; ++i) {
      ofClient.push_back(server.connect().value());
      ofEngine.push_back(server.accepted());
      QVERIFY(ofEngine.back() != nullptr);
    }
    const auto streamOf = [](std::vector<std::unique_ptr<Transport>> lines) {
      auto stream = std::make_unique<StripedTransport>(std::move(lines.front()));
      lines.erase(lines.begin());
      stream->widen(std::move(lines));
      stream->setTimeout(20s);
      return stream;
    };
    auto client = streamOf(std::move(ofClient)), engine = streamOf(std::move(ofEngine));
    const auto data = randomBytes(std::size_t{24} << 20, 1);
    std::thread other([&] {
      std::vector<std::byte> got(data.size());
      QVERIFY(engine->write({}, data).ok());
      QVERIFY(engine->read(got).ok());
      QVERIFY(got == data);
      engine.reset();
    });
    std::vector<std::byte> got(data.size());
    QVERIFY(client->write({}, data).ok());
    QVERIFY(client->read(got).ok());
    QVERIFY(got == data);
    other.join();
    QCOMPARE(int(client->read(std::span(got).first(1)).error().code), int(ErrorCode::Closed));
  }
};

QTEST_GUILESS_MAIN(TestStripedTransport)
#include "test_striped_transport.moc"

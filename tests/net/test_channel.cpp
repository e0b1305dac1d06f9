// Frames and their meter over the in-memory transport: what an honest pair sees, what is counted,
// and what every kind of dishonest byte ends in.
#include <array>
#include <atomic>
#include <cstring>
#include <thread>

#include <QElapsedTimer>
#include <QFile>
#include <QTest>

#include "net/channel.h"
#include "net/failure.pb.h"
#include "net/frame.h"
#include "net/memory.h"

using namespace pillarbox;
using namespace pillarbox::net;
using namespace std::chrono_literals;

namespace {

std::vector<std::byte> bytesOf(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// A channel, and the bare transport of a peer that may send anything.
struct Hostile {
  std::unique_ptr<Channel> channel;
  std::unique_ptr<Transport> peer;

  Hostile() {
    auto [a, b] = makeMemoryPair();
    channel = std::make_unique<Channel>(std::move(a));
    channel->setTimeout(2s);
    peer = std::move(b);
  }
  void write(const FrameHeader& header, std::span<const std::byte> payload) {
    std::array<std::byte, kFrameHeaderBytes> bytes;
    encodeFrameHeader(header, bytes);
    QVERIFY(peer->write(bytes, payload).ok());
  }
  void write(FrameKind kind, std::uint32_t depth, std::uint64_t sequence,
             std::string_view payload = {}) {
    write({kind, depth, static_cast<std::uint32_t>(payload.size()), sequence}, bytesOf(payload));
  }
};

struct Pair {
  std::unique_ptr<Channel> a, b;
  explicit Pair(const MemoryLink& link = {}) {
    auto [x, y] = makeMemoryPair(link);
    a = std::make_unique<Channel>(std::move(x));
    b = std::make_unique<Channel>(std::move(y));
  }
};

void echo(Pair& pair, std::vector<std::uint64_t>& words) {
  QVERIFY(pair.a->sendWords(words).ok());
  QVERIFY(pair.b->receiveWords(words).ok());
  QVERIFY(pair.b->sendWords(words).ok());
  QVERIFY(pair.a->receiveWords(words).ok());
}

}  // namespace

class TestChannel : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void headerBytes();
  void headerRoundTrip();
  void carriesEveryKind();
  void metersBytesAndRounds();
  void chunksShareARound();
  void roundsOfOneSidedStart();
  void waitingIsCounted();
  void failureReachesTheOtherSide_data();
  void failureReachesTheOtherSide();
  void failureTextIsSanitised();
  void failureBeatsClosedOnSend();
  void hostileHeaders_data();
  void hostileHeaders();
  void hostileHeadersAfterTraffic_data();
  void hostileHeadersAfterTraffic();
  void replayedFrame();
  void reorderedFrames();
  void truncation_data();
  void truncation();
  void claimedLengthCostsNothing();
  void damagedFailure_data();
  void damagedFailure();
  void poisoned();
  void oversizeSendIsRefusedLocally();
  void cancelFromAnotherThread();
  void timeout();
  void drippingPeerTimesOut();
  void fullDuplexFromManyThreads();
};

void TestChannel::headerBytes() {
  std::array<std::byte, kFrameHeaderBytes> bytes;
  encodeFrameHeader({FrameKind::Words, 0x01020304, 0x00112233, 0x8877665544332211ULL}, bytes);
  const QByteArray got(reinterpret_cast<const char*>(bytes.data()), qsizetype(bytes.size()));
  QCOMPARE(got.toHex(), QByteArray("50425831"
                                   "0200"
                                   "0000"
                                   "04030201"
                                   "33221100"
                                   "1122334455667788"));
}

void TestChannel::headerRoundTrip() {
  for (const FrameHeader& header :
       {FrameHeader{FrameKind::Control, 1, 0, 0}, FrameHeader{FrameKind::Bytes, 9, 1U << 30, 77},
        FrameHeader{FrameKind::Failure, 0xFFFFFFFF, 4096, ~0ULL}}) {
    std::array<std::byte, kFrameHeaderBytes> bytes;
    encodeFrameHeader(header, bytes);
    const auto back = decodeFrameHeader(bytes);
    QVERIFY(back.ok());
    QVERIFY(*back == header);
  }
}

void TestChannel::carriesEveryKind() {
  Pair pair;
  QVERIFY(pair.a->send(FrameKind::Control, bytesOf("hello")).ok());
  QVERIFY(pair.a->send(FrameKind::Bytes, bytesOf("seed")).ok());
  const std::vector<std::uint64_t> words = {0, 1, ~0ULL, 0x0123456789ABCDEFULL};
  QVERIFY(pair.a->sendWords(words).ok());
  QVERIFY(pair.a->sendWords({}).ok());
  const auto control = pair.b->receive(FrameKind::Control, 100);
  QVERIFY(control.ok());
  QVERIFY(*control == bytesOf("hello"));
  std::array<std::byte, 4> seed;
  QVERIFY(pair.b->receiveBytes(seed).ok());
  QVERIFY(std::memcmp(seed.data(), "seed", 4) == 0);
  std::vector<std::uint64_t> got(4);
  QVERIFY(pair.b->receiveWords(got).ok());
  QVERIFY(got == words);
  QVERIFY(pair.b->receiveWords({}).ok());
}

void TestChannel::metersBytesAndRounds() {
  Pair pair;
  std::vector<std::uint64_t> words(1000, 7);
  const MeterReading before = pair.a->meter();
  for (int i = 0; i < 5; ++i) echo(pair, words);
  const MeterReading a = pair.a->meter(), b = pair.b->meter();
  QCOMPARE(roundsBetween(before, a), 5U);
  QCOMPARE(a.bytesSent, 5ULL * (24 + 8000));
  QCOMPARE(a.bytesReceived, 5ULL * (24 + 8000));
  QCOMPARE(a.framesSent, 5ULL);
  QCOMPARE(a.framesReceived, 5ULL);
  QCOMPARE(b.bytesSent, a.bytesReceived);
  QCOMPARE(b.bytesReceived, a.bytesSent);
  QCOMPARE(b.depth, a.depth);
  QCOMPARE(a.depth, 10U);
}

void TestChannel::chunksShareARound() {
  // A tensor in 16 chunks, each answered at once, while the later chunks are still being sent: the
  // same two rounds as in one piece.
  Pair pair;
  std::vector<std::uint64_t> chunk(10);
  const MeterReading before = pair.a->meter();
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 16; ++i) QVERIFY(pair.a->sendWords(chunk).ok());
    for (int i = 0; i < 16; ++i) {
      QVERIFY(pair.b->receiveWords(chunk).ok());
      QVERIFY(pair.b->sendWords(chunk).ok());
    }
    for (int i = 0; i < 16; ++i) QVERIFY(pair.a->receiveWords(chunk).ok());
  }
  QCOMPARE(roundsBetween(before, pair.a->meter()), 2U);
  QCOMPARE(pair.a->meter().framesSent, 32ULL);
  QCOMPARE(pair.a->meter().bytesSent, 32ULL * (24 + 80));

  // Interleaved: the answers come back before the last chunk has left. Still one more round, since
  // the engine's frames of one stage depend on nothing of that stage's answers.
  for (int i = 0; i < 4; ++i) QVERIFY(pair.a->sendWords(chunk).ok());
  for (int i = 0; i < 4; ++i) {
    QVERIFY(pair.b->receiveWords(chunk).ok());
    QVERIFY(pair.b->sendWords(chunk).ok());
    QVERIFY(pair.a->receiveWords(chunk).ok());
  }
  QCOMPARE(roundsBetween(before, pair.a->meter()), 3U);
}

void TestChannel::roundsOfOneSidedStart() {
  Pair pair;
  std::vector<std::uint64_t> words(1);
  echo(pair, words);
  QVERIFY(pair.a->sendWords(words).ok());  // one way only: half a round, shown as one
  QVERIFY(pair.b->receiveWords(words).ok());
  QCOMPARE(roundsBetween({}, pair.b->meter()), 2U);
  const MeterReading before = pair.b->meter();
  QCOMPARE(roundsBetween(before, pair.b->meter()), 0U);
  MeterReading earlier = before;
  earlier.depth += 5;  // readings in the wrong order are no reason for a wrap
  QCOMPARE(roundsBetween(earlier, before), 0U);
}

void TestChannel::waitingIsCounted() {
  Pair pair;
  std::thread late([&] {
    std::this_thread::sleep_for(50ms);
    QVERIFY(pair.b->send(FrameKind::Control, {}).ok());
  });
  QVERIFY(pair.a->receive(FrameKind::Control, 0).ok());
  late.join();
  QVERIFY(pair.a->meter().waitedSeconds > 0.030);
  QVERIFY(pair.a->meter().waitedSeconds < 5);
  QCOMPARE(pair.b->meter().waitedSeconds, 0.0);
}

void TestChannel::failureReachesTheOtherSide_data() {
  QTest::addColumn<int>("sent");
  QTest::addColumn<int>("received");
  const auto row = [](ErrorCode sent, ErrorCode received) {
    QTest::newRow(toString(sent)) << int(sent) << int(received);
  };
  row(ErrorCode::InvalidArgument, ErrorCode::InvalidArgument);
  row(ErrorCode::NotFound, ErrorCode::NotFound);
  row(ErrorCode::Io, ErrorCode::Io);
  row(ErrorCode::Format, ErrorCode::Format);
  row(ErrorCode::Unsupported, ErrorCode::Unsupported);
  row(ErrorCode::Version, ErrorCode::Version);
  row(ErrorCode::Unreachable, ErrorCode::Unreachable);
  row(ErrorCode::Timeout, ErrorCode::Timeout);
  row(ErrorCode::Closed, ErrorCode::Closed);
  row(ErrorCode::Cancelled, ErrorCode::Closed);
  row(ErrorCode::Protocol, ErrorCode::Protocol);
  row(ErrorCode::Untrusted, ErrorCode::Refused);
  row(ErrorCode::Refused, ErrorCode::Refused);
  row(ErrorCode::Exhausted, ErrorCode::Exhausted);
  row(ErrorCode::Internal, ErrorCode::Internal);
}

void TestChannel::failureReachesTheOtherSide() {
  QFETCH(int, sent);
  QFETCH(int, received);
  Pair pair;
  std::vector<std::uint64_t> words(3);
  echo(pair, words);
  pair.a->sendFailure({ErrorCode(sent), "no such model"});
  const Status status = pair.b->receiveWords(words);
  QVERIFY(!status.ok());
  QCOMPARE(int(status.error().code), received);
  QCOMPARE(status.error().message, std::string("memory says: no such model"));
  // Both ends are done with this connection.
  QCOMPARE(pair.b->sendWords(words).error().message, status.error().message);
  QCOMPARE(pair.a->sendWords(words).error().message, std::string("no such model"));
}

void TestChannel::failureTextIsSanitised() {
  Hostile h;
  Failure failure;
  failure.set_code(FAILURE_REFUSED);
  failure.set_message("go\x1b]0;away\x07\n" + std::string(3000, 'x'));
  h.write(FrameKind::Failure, 1, 0, failure.SerializeAsString());
  const auto got = h.channel->receive(FrameKind::Control, 10);
  QCOMPARE(int(got.error().code), int(ErrorCode::Refused));
  QVERIFY(got.error().message.starts_with("memory says: go ]0;away  xxx"));
  QVERIFY(got.error().message.size() <= kMaxFailureText + 20);
  for (const char c : got.error().message) QVERIFY(static_cast<unsigned char>(c) >= 0x20);
}

void TestChannel::failureBeatsClosedOnSend() {
  // The engine declines and hangs up while the client is still sending: the client's error is the
  // reason, not the hang-up.
  Hostile h;
  Failure failure;
  failure.set_code(FAILURE_EXHAUSTED);
  failure.set_message("too many sessions");
  h.write(FrameKind::Control, 1, 0, "something nobody reads any more");
  h.write(FrameKind::Failure, 1, 1, failure.SerializeAsString());
  h.peer.reset();
  const Status status = h.channel->send(FrameKind::Bytes, bytesOf("data"));
  QCOMPARE(int(status.error().code), int(ErrorCode::Exhausted));
  QCOMPARE(status.error().message, std::string("memory says: too many sessions"));
}

void TestChannel::hostileHeaders_data() {
  QTest::addColumn<QByteArray>("header");
  QTest::addColumn<QByteArray>("says");
  // magic, kind, reserved, depth, length, sequence
  const auto row = [](const char* name, const char* hex, const char* says) {
    QTest::newRow(name) << QByteArray::fromHex(hex) << QByteArray(says);
  };
  row("HTTP", "474554202f20485454502f312e310d0a486f73743a206578", "no Pillarbox frame");
  row("zeros", "000000000000000000000000000000000000000000000000", "no Pillarbox frame");
  row("next magic", "504258320100000001000000000000000000000000000000", "no Pillarbox frame");
  row("kind 0", "504258310000000001000000000000000000000000000000", "unknown kind 0");
  row("kind 5", "504258310500000001000000000000000000000000000000", "unknown kind 5");
  row("kind 257", "504258310101000001000000000000000000000000000000", "unknown kind 257");
  row("reserved", "504258310100010001000000000000000000000000000000", "another version");
  row("depth 0", "504258310100000000000000000000000000000000000000", "depth 0");
  row("depth 2", "504258310100000002000000000000000000000000000000", "depth 2");
  row("depth 2^32-1", "5042583101000000ffffffff000000000000000000000000", "depth 4294967295");
  row("over the caller's limit", "504258310100000001000000110000000000000000000000",
      "17 bytes of control where at most 16");
  row("over a GiB", "504258310100000001000000010000400000000000000000", "1073741825 bytes");
  row("4 GiB", "504258310100000001000000ffffffff0000000000000000", "4294967295 bytes");
  row("sequence 1", "504258310100000001000000000000000100000000000000", "frame 1 where frame 0");
  row("sequence 2^32", "504258310100000001000000000000000000000001000000",
      "frame 4294967296 where frame 0");
  row("wrong kind", "504258310200000001000000080000000000000000000000",
      "words where control was due");
  row("long failure", "504258310400000001000000011000000000000000000000", "4097 bytes");
}

void TestChannel::hostileHeaders() {
  QFETCH(QByteArray, header);
  QFETCH(QByteArray, says);
  QCOMPARE(header.size(), 24);
  Hostile h;
  QVERIFY(h.peer->write(std::as_bytes(std::span(header.constData(), 24)), {}).ok());
  const auto got = h.channel->receive(FrameKind::Control, 16);
  QVERIFY(!got.ok());
  QCOMPARE(int(got.error().code), int(ErrorCode::Protocol));
  QVERIFY2(got.error().message.find(says.toStdString()) != std::string::npos,
           got.error().message.c_str());
  QVERIFY(got.error().message.starts_with("memory "));
}

void TestChannel::hostileHeadersAfterTraffic_data() {
  QTest::addColumn<quint32>("depth");
  QTest::addColumn<bool>("accepted");
  // The channel has sent depths 1 and 3 and received depth 2.
  QTest::newRow("falls") << 1U << false;
  QTest::newRow("same as before") << 2U << true;
  QTest::newRow("parallel to ours") << 3U << true;
  QTest::newRow("answer") << 4U << true;
  QTest::newRow("answer to what was never sent") << 5U << false;
}

void TestChannel::hostileHeadersAfterTraffic() {
  QFETCH(quint32, depth);
  QFETCH(bool, accepted);
  Hostile h;
  QVERIFY(h.channel->send(FrameKind::Control, {}).ok());
  h.write(FrameKind::Control, 2, 0);
  QVERIFY(h.channel->receive(FrameKind::Control, 0).ok());
  QVERIFY(h.channel->send(FrameKind::Control, {}).ok());
  h.write(FrameKind::Control, depth, 1);
  QCOMPARE(h.channel->receive(FrameKind::Control, 0).ok(), accepted);
}

void TestChannel::replayedFrame() {
  Hostile h;
  h.write(FrameKind::Bytes, 1, 0, "12345678");
  h.write(FrameKind::Bytes, 1, 0, "12345678");
  std::array<std::byte, 8> bytes;
  QVERIFY(h.channel->receiveBytes(bytes).ok());
  const Status again = h.channel->receiveBytes(bytes);
  QCOMPARE(int(again.error().code), int(ErrorCode::Protocol));
  QVERIFY(again.error().message.find("frame 0 where frame 1 was due") != std::string::npos);
}

void TestChannel::reorderedFrames() {
  Hostile h;
  h.write(FrameKind::Bytes, 1, 1, "second");
  h.write(FrameKind::Bytes, 1, 0, "first.");
  std::array<std::byte, 6> bytes;
  QCOMPARE(int(h.channel->receiveBytes(bytes).error().code), int(ErrorCode::Protocol));
  QCOMPARE(int(h.channel->receiveBytes(bytes).error().code), int(ErrorCode::Protocol));
}

void TestChannel::truncation_data() {
  QTest::addColumn<int>("keep");
  for (const int keep : {0, 1, 23, 24, 25, 24 + 79}) {
    QTest::addRow("%d bytes", keep) << keep;
  }
}

void TestChannel::truncation() {
  QFETCH(int, keep);
  Hostile h;
  std::vector<std::byte> whole(24 + 80);
  encodeFrameHeader({FrameKind::Words, 1, 80, 0}, std::span(whole).first<24>());
  QVERIFY(h.peer->write(std::span(whole).first(std::size_t(keep)), {}).ok());
  h.peer.reset();
  std::vector<std::uint64_t> words(10);
  const Status got = h.channel->receiveWords(words);
  QCOMPARE(int(got.error().code), int(ErrorCode::Closed));
  QCOMPARE(h.channel->meter().framesReceived, 0ULL);
  QCOMPARE(h.channel->meter().bytesReceived, 0ULL);
}

void TestChannel::claimedLengthCostsNothing() {
  // A gibibyte is announced and allowed, a hundred bytes come: the memory taken must follow the
  // hundred bytes. Checked against the process's own peak.
  const auto peakKib = [] {
    QFile status("/proc/self/status");
    if (!status.open(QIODevice::ReadOnly)) return 0LL;
    for (const QByteArray& line : status.readAll().split('\n')) {
      if (line.startsWith("VmHWM:")) return line.mid(6).trimmed().split(' ').first().toLongLong();
    }
    return 0LL;
  };
  const auto before = peakKib();
  if (before == 0) QSKIP("no /proc/self/status here");
  Hostile h;
  h.write({FrameKind::Bytes, 1, std::uint32_t(kMaxPayload), 0}, std::vector<std::byte>(100));
  h.peer.reset();
  QCOMPARE(int(h.channel->receive(FrameKind::Bytes, kMaxPayload).error().code),
           int(ErrorCode::Closed));
  QVERIFY(peakKib() - before < 64 * 1024);
}

void TestChannel::damagedFailure_data() {
  QTest::addColumn<QByteArray>("payload");
  QTest::addColumn<int>("code");
  QTest::newRow("empty") << QByteArray() << int(ErrorCode::Refused);
  QTest::newRow("unknown code") << QByteArray::fromHex("08e707") << int(ErrorCode::Refused);
  QTest::newRow("not protobuf") << QByteArray::fromHex("ffffffff") << int(ErrorCode::Protocol);
  QTest::newRow("cut off") << QByteArray::fromHex("080d12ff01616263") << int(ErrorCode::Protocol);
  QTest::newRow("not UTF-8") << QByteArray::fromHex("080d1203ff41fe") << int(ErrorCode::Refused);
}

void TestChannel::damagedFailure() {
  QFETCH(QByteArray, payload);
  QFETCH(int, code);
  Hostile h;
  h.write(FrameKind::Failure, 1, 0, payload.toStdString());
  const auto got = h.channel->receive(FrameKind::Words, 100);
  QCOMPARE(int(got.error().code), code);
  QVERIFY(!got.error().message.empty());
  QVERIFY(QString::fromStdString(got.error().message).isValidUtf16());
}

void TestChannel::poisoned() {
  Hostile h;
  h.write(FrameKind::Words, 1, 0, "12345678");
  h.write(FrameKind::Control, 1, 1);
  const auto wrong = h.channel->receive(FrameKind::Control, 0);
  QCOMPARE(int(wrong.error().code), int(ErrorCode::Protocol));
  // A good frame afterwards changes nothing, and nothing is sent any more...
  QCOMPARE(h.channel->receive(FrameKind::Control, 0).error().message, wrong.error().message);
  QCOMPARE(h.channel->send(FrameKind::Control, {}).error().message, wrong.error().message);
  // ...except the reason.
  h.channel->sendFailure(wrong.error());
  std::array<std::byte, kFrameHeaderBytes> bytes;
  QVERIFY(h.peer->read(bytes).ok());
  const auto header = decodeFrameHeader(bytes);
  QVERIFY(header.ok());
  QCOMPARE(int(header->kind), int(FrameKind::Failure));
  QCOMPARE(header->sequence, 0ULL);
}

void TestChannel::oversizeSendIsRefusedLocally() {
  Pair pair;
  // Only the length is looked at, so that the test needs no gibibyte.
  static const std::byte anything{};
  const std::span<const std::byte> huge(&anything, kMaxPayload + 1);
  QCOMPARE(int(pair.a->send(FrameKind::Bytes, huge).error().code), int(ErrorCode::InvalidArgument));
  QVERIFY(pair.a->send(FrameKind::Bytes, {}).ok());
}

void TestChannel::cancelFromAnotherThread() {
  Pair pair;
  std::thread canceller([&] {
    std::this_thread::sleep_for(30ms);
    pair.a->cancel();
  });
  std::vector<std::uint64_t> words(1);
  const Status status = pair.a->receiveWords(words);
  canceller.join();
  QCOMPARE(int(status.error().code), int(ErrorCode::Cancelled));
  QCOMPARE(int(pair.a->sendWords(words).error().code), int(ErrorCode::Cancelled));
  pair.a->cancel();  // idempotent
}

void TestChannel::timeout() {
  Pair pair;
  pair.a->setTimeout(40ms);
  QElapsedTimer timer;
  timer.start();
  std::vector<std::uint64_t> words(1);
  QCOMPARE(int(pair.a->receiveWords(words).error().code), int(ErrorCode::Timeout));
  QVERIFY(timer.elapsed() >= 40);
  QVERIFY(timer.elapsed() < 10000);
}

void TestChannel::drippingPeerTimesOut() {
  // One byte every 20 ms never makes a pause of 100 ms, yet must not hold a session.
  Hostile h;
  h.channel->setTimeout(100ms);
  std::atomic<bool> stop = false;
  std::thread dripping([&] {
    const std::byte drop{};
    while (!stop && h.peer->write(std::span(&drop, 1), {}).ok()) std::this_thread::sleep_for(20ms);
  });
  QElapsedTimer timer;
  timer.start();
  const auto got = h.channel->receive(FrameKind::Control, 100);
  stop = true;
  dripping.join();
  QCOMPARE(int(got.error().code), int(ErrorCode::Timeout));
  QVERIFY(timer.elapsed() < 5000);
}

void TestChannel::fullDuplexFromManyThreads() {
  // Two senders an end, one receiver an end, and somebody reading the meter: nothing is torn.
  Pair pair(MemoryLink{.capacityBytes = 5000});
  constexpr int kFrames = 300;
  const auto sender = [](Channel& channel, std::uint64_t mark) {
    const std::vector<std::uint64_t> words(100, mark);
    for (int i = 0; i < kFrames; ++i) QVERIFY(channel.sendWords(words).ok());
  };
  const auto receiver = [](Channel& channel) {
    std::vector<std::uint64_t> words(100);
    for (int i = 0; i < 2 * kFrames; ++i) {
      QVERIFY(channel.receiveWords(words).ok());
      for (const auto word : words) QCOMPARE(word, words.front());
    }
  };
  std::atomic<bool> stop = false;
  std::thread watcher([&] {
    std::uint64_t last = 0;
    while (!stop) {
      const auto now = pair.a->meter().bytesReceived;
      QVERIFY(now >= last);
      last = now;
      std::this_thread::sleep_for(1ms);
    }
  });
  std::vector<std::thread> threads;
  for (Channel* channel : {pair.a.get(), pair.b.get()}) {
    threads.emplace_back(receiver, std::ref(*channel));
    threads.emplace_back(sender, std::ref(*channel), 1);
    threads.emplace_back(sender, std::ref(*channel), 2);
  }
  for (auto& thread : threads) thread.join();
  stop = true;
  watcher.join();
  QCOMPARE(pair.a->meter().bytesSent, 2ULL * kFrames * 824);
  QCOMPARE(pair.a->meter().bytesReceived, 2ULL * kFrames * 824);
  QCOMPARE(pair.b->meter().bytesReceived, 2ULL * kFrames * 824);
}

QTEST_GUILESS_MAIN(TestChannel)
#include "test_channel.moc"

// The relay between real TLS sockets: every byte arrives, in order, never too early, and not much
// too late.
#include <chrono>
#include <cmath>
#include <thread>
#include <vector>

#include <QTest>

#include "engine/bench/connection.h"
#include "engine/bench/relay.h"
#include "tests/support/random_words.h"

using namespace pillarbox;
using Clock = std::chrono::steady_clock;

namespace {

double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

using Words = std::vector<std::uint64_t>;

}  // namespace

class TestRelay : public QObject {
  Q_OBJECT

 private:
  testing::RandomWords m_data;

  Words randomWords(std::size_t count) {
    Words words(count);
    for (auto& word : words) word = m_data.word();
    return words;
  }

 private Q_SLOTS:
  void links_data() {
    QTest::addColumn<QString>("text");
    QTest::addColumn<double>("rttMs");
    QTest::addColumn<double>("mbit");
    QTest::addColumn<QString>("shown");
    QTest::newRow("none") << "none" << 0.0 << 0.0 << "loopback";
    QTest::newRow("lan") << "lan" << 0.25 << 1000.0 << "0.25 ms, 1 Gbit/s";
    QTest::newRow("wan") << "wan" << 100.0 << 100.0 << "100 ms, 100 Mbit/s";
    QTest::newRow("both") << "250us,2.5Gbit" << 0.25 << 2500.0 << "0.25 ms, 2.5 Gbit/s";
    QTest::newRow("turned round") << "512kbit,1s" << 1000.0 << 0.512 << "1000 ms, 0.512 Mbit/s";
    QTest::newRow("delay") << "20ms" << 20.0 << 0.0 << "20 ms";
    QTest::newRow("rate") << "8Mbit" << 0.0 << 8.0 << "no delay, 8 Mbit/s";
  }
  void links() {
    QFETCH(QString, text);
    QFETCH(double, rttMs);
    QFETCH(double, mbit);
    QFETCH(QString, shown);
    const auto link = bench::parseLink(text.toStdString());
    QVERIFY(link.ok());
    QVERIFY(std::abs(link->rttMs - rttMs) < 1e-12);
    QVERIFY(std::abs(link->mbit - mbit) < 1e-9);
    QCOMPARE(QString::fromStdString(bench::linkText(*link)), shown);
  }

  void noLinks_data() {
    QTest::addColumn<QString>("text");
    for (const char* text : {"", "fast", "100", "ms", "-1ms", "1ms,2ms", "1Mbit,1Gbit", "1ms,",
                             ",1ms", "nanms", "1e9ms", "1ms 1Mbit", "1msx"}) {
      QTest::newRow(text) << text;
    }
  }
  void noLinks() {
    QFETCH(QString, text);
    const auto link = bench::parseLink(text.toStdString());
    QVERIFY(!link.ok());
    QCOMPARE(link.error().code, ErrorCode::InvalidArgument);
  }

  // Frames of many sizes, both directions at once, one after the other unharmed.
  void everyByteArrivesInOrder() {
    const auto link = bench::Link::open({1, 400});
    QVERIFY2(link.ok(), link.ok() ? "" : link.error().message.c_str());
    auto pair = (*link)->connect();
    QVERIFY(pair.ok());
    std::vector<Words> sent;
    std::size_t total = 0;
    for (const std::size_t count : {1, 1000, 7, 30000, 2, 100000}) {
      sent.push_back(randomWords(count));
      total += count;
    }
    const auto send = [&](net::Channel& channel) {
      for (const Words& words : sent) {
        if (!channel.sendWords(words).ok()) return false;
      }
      return true;
    };
    const auto receive = [&](net::Channel& channel) {
      for (const Words& words : sent) {
        Words received(words.size());
        if (!channel.receiveWords(received).ok() || received != words) return false;
      }
      return true;
    };
    bool engineGood = false;
    std::thread engine([&] { engineGood = send(*pair->engine) && receive(*pair->engine); });
    const bool clientGood = send(*pair->client) && receive(*pair->client);
    engine.join();
    QVERIFY(clientGood);
    QVERIFY(engineGood);
    QCOMPARE(pair->client->meter().bytesReceived, pair->engine->meter().bytesSent);
    // The relay counts what it has written, which is a moment after it was received.
    QTRY_VERIFY((*link)->carried().toService >= 8 * total);
    QTRY_VERIFY((*link)->carried().toClient >= 8 * total);
    QVERIFY((*link)->carried().toClient < 8.2 * static_cast<double>(total) + 1e4);
  }

  void everyTripIsDelayed() {
    constexpr double kRtt = 0.040;
    const auto link = bench::Link::open({1e3 * kRtt, 0});
    QVERIFY(link.ok());
    auto pair = (*link)->connect();
    QVERIFY(pair.ok());
    std::thread engine([&] {
      Words word(1);
      for (int i = 0; i < 5; ++i) {
        if (!pair->engine->receiveWords(word).ok() || !pair->engine->sendWords(word).ok()) return;
      }
    });
    double fastest = 1e9;
    for (int i = 0; i < 5; ++i) {
      Words word = {m_data.word()};
      const Words sent = word;
      const auto start = Clock::now();
      QVERIFY(pair->client->sendWords(word).ok());
      QVERIFY(pair->client->receiveWords(word).ok());
      const double trip = secondsSince(start);
      QCOMPARE(word, sent);
      QVERIFY2(trip >= kRtt, qPrintable(QString::number(trip)));
      fastest = std::min(fastest, trip);
    }
    engine.join();
    QVERIFY2(fastest < kRtt + 0.25, qPrintable(QString::number(fastest)));
  }

  // Two connections together have the rate of the link, in each direction.
  void theRateIsShared() {
    constexpr double kMbit = 80;
    constexpr std::size_t kWords = 50000;  // 0.04 s of the link
    const auto link = bench::Link::open({0, kMbit});
    QVERIFY(link.ok());
    auto one = (*link)->connect();
    auto two = (*link)->connect();
    QVERIFY(one.ok() && two.ok());
    const Words words = randomWords(kWords);
    const auto start = Clock::now();
    std::thread first([&] { QVERIFY(one->client->sendWords(words).ok()); });
    std::thread second([&] { QVERIFY(two->client->sendWords(words).ok()); });
    Words received(kWords);
    QVERIFY(one->engine->receiveWords(received).ok());
    QCOMPARE(received, words);
    QVERIFY(two->engine->receiveWords(received).ok());
    QCOMPARE(received, words);
    const double seconds = secondsSince(start);
    first.join();
    second.join();
    const double floor = 2 * 8.0 * kWords * 8 / (1e6 * kMbit);
    QVERIFY2(seconds >= floor, qPrintable(QString::number(seconds)));
    QVERIFY2(seconds < floor + 1.0, qPrintable(QString::number(seconds)));
  }

  // A full queue makes the sender wait and loses nothing.
  void aFullQueueHoldsTheSenderBack() {
    const auto link = bench::Link::open({2, 200}, 10000);
    QVERIFY(link.ok());
    auto pair = (*link)->connect();
    QVERIFY(pair.ok());
    const Words words = randomWords(std::size_t{1} << 19);  // 4 MiB
    bool sent = false;
    std::thread client([&] { sent = pair->client->sendWords(words).ok(); });
    Words received(words.size());
    QVERIFY(pair->engine->receiveWords(received).ok());
    client.join();
    QVERIFY(sent);
    QVERIFY(received == words);
  }

  void theEndOfAConnectionIsPassedOn() {
    const auto link = bench::Link::open({20, 0});
    QVERIFY(link.ok());
    auto pair = (*link)->connect();
    QVERIFY(pair.ok());
    const Words words = randomWords(1000);
    QVERIFY(pair->client->sendWords(words).ok());
    pair->client.reset();
    Words received(words.size());
    QVERIFY(pair->engine->receiveWords(received).ok());  // what was sent before still arrives
    QVERIFY(received == words);
    const Status after = pair->engine->receiveWords(received);
    QVERIFY(!after.ok());
    QCOMPARE(after.error().code, ErrorCode::Closed);
  }

  // A relay that goes does not wait for a slow link to drain.
  void aRelayThatGoesBreaksItsConnections() {
    auto link = bench::Link::open({0, 1});
    QVERIFY(link.ok());
    auto pair = (*link)->connect();
    QVERIFY(pair.ok());
    QVERIFY(pair->client->sendWords(randomWords(125000)).ok());  // eight seconds of the link
    const auto start = Clock::now();
    link->reset();
    QVERIFY(secondsSince(start) < 4);
    Words received(1);
    QVERIFY(!pair->client->receiveWords(received).ok());
  }

  void theRoundTripIsMeasured() {
    const auto link = bench::Link::open({10, 0});
    QVERIFY(link.ok());
    const auto seconds = (*link)->measuredRoundTrip();
    QVERIFY(seconds.ok());
    QVERIFY2(*seconds >= 0.010 && *seconds < 0.2, qPrintable(QString::number(*seconds)));
  }
};

QTEST_GUILESS_MAIN(TestRelay)
#include "test_relay.moc"

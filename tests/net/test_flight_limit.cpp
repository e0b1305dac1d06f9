// A background connection on a simulated path: it fills the path without a queue to speak of, finds
// out when there is more room and when there is less, and asks rarely where nothing moves.

#include <algorithm>
#include <deque>

#include <QTest>

#include "net/flight_limit.h"

using namespace pillarbox::net;
using namespace std::chrono_literals;
using Clock = FlightLimit::Clock;

namespace {

/// Senders that share one link of a rate and a delay, in steps of a tenth of a millisecond.
class Path {
 public:
  Path(double bytesPerSecond, Clock::duration roundTrip, std::size_t senders)
      : m_rate(bytesPerSecond), m_roundTrip(roundTrip), m_senders(senders) {}

  struct Sender {
    FlightLimit limit;
    std::uint64_t sent = 0, acknowledged = 0;
    Clock::time_point asleepUntil{};
    bool active = true;
    std::uint64_t asked = 0;
  };

  void run(Clock::duration time) {
    const Clock::time_point end = m_now + time;
    for (; m_now < end; m_now += kStep) {
      for (std::size_t i = 0; i < m_senders.size(); ++i) feed(i);
      m_budget += m_rate * std::chrono::duration<double>(kStep).count();
      while (!m_queue.empty() && m_budget >= kRecord) {
        m_budget -= kRecord;
        m_queued -= kRecord;
        m_onTheWay.push_back({m_queue.front(), m_now + m_roundTrip});
        m_queue.pop_front();
        m_carried += kRecord;
      }
      if (m_queue.empty()) m_budget = std::min(m_budget, double{kRecord});
      while (!m_onTheWay.empty() && m_onTheWay.front().due <= m_now) {
        m_senders[m_onTheWay.front().sender].acknowledged += kRecord;
        m_onTheWay.pop_front();
      }
      m_worstQueue = std::max(m_worstQueue, m_queued);
    }
  }

  /// Since the last call: carried bytes a second over the rate, and the longest queue in seconds.
  std::pair<double, double> measure(Clock::duration time) {
    m_carried = 0;
    m_worstQueue = m_queued;
    run(time);
    return {static_cast<double>(m_carried) / std::chrono::duration<double>(time).count() / m_rate,
            static_cast<double>(m_worstQueue) / m_rate};
  }

  std::vector<Sender>& senders() { return m_senders; }
  void setRate(double bytesPerSecond) { m_rate = bytesPerSecond; }
  Clock::time_point now() const { return m_now; }

 private:
  static constexpr auto kStep = 100us;
  static constexpr std::uint64_t kRecord = 16 * 1024;
  struct Flying {
    std::size_t sender;
    Clock::time_point due;
  };

  void feed(std::size_t index) {
    Sender& sender = m_senders[index];
    while (sender.active && sender.asleepUntil <= m_now) {
      const FlightLimit::Reading reading{
          sender.sent - sender.acknowledged, sender.acknowledged, 1448, m_roundTrip,
          m_roundTrip + std::chrono::duration_cast<Clock::duration>(
                            std::chrono::duration<double>(double(m_queued) / m_rate))};
      ++sender.asked;
      if (const auto pause = sender.limit.mustWait(reading, m_now)) {
        sender.asleepUntil = m_now + *pause;
        return;
      }
      sender.sent += kRecord;
      m_queue.push_back(index);
      m_queued += kRecord;
    }
  }

  double m_rate;
  const Clock::duration m_roundTrip;
  std::vector<Sender> m_senders;
  Clock::time_point m_now{1h};
  std::deque<std::size_t> m_queue;
  std::uint64_t m_queued = 0, m_worstQueue = 0, m_carried = 0;
  std::deque<Flying> m_onTheWay;
  double m_budget = 0;
};

}  // namespace

class TestFlightLimit : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void fillsThePathWithoutAQueue_data() {
    QTest::addColumn<double>("mbit");
    QTest::addColumn<double>("ms");
    QTest::addColumn<int>("senders");
    QTest::newRow("far") << 100.0 << 100.0 << 1;
    QTest::newRow("far, two") << 100.0 << 100.0 << 2;
    QTest::newRow("farther and faster") << 1000.0 << 200.0 << 1;
    QTest::newRow("slow") << 10.0 << 100.0 << 2;
    QTest::newRow("near") << 1000.0 << 2.0 << 2;
  }
  void fillsThePathWithoutAQueue() {
    QFETCH(double, mbit);
    QFETCH(double, ms);
    QFETCH(int, senders);
    const auto roundTrip =
        std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(ms / 1e3));
    Path path(mbit * 1e6 / 8, roundTrip, static_cast<std::size_t>(senders));
    path.run(40 * roundTrip + 1s);  // it finds the rate, and forgets what it thought at first
    const auto [used, queue] = path.measure(40 * roundTrip + 1s);
    QVERIFY2(used > 0.95, qPrintable(QString::number(used)));
    // Half a round trip and a bit, or what 64 KiB of each and a record take on a link that is too
    // slow for less.
    const double least = senders * 80 * 1024 / (mbit * 1e6 / 8);
    QVERIFY2(queue < std::max(0.6 * ms / 1e3 + 0.004, least), qPrintable(QString::number(queue)));
  }

  void findsTheRateWithinASecond() {
    Path path(12.5e6, 100ms, 1);
    path.run(1s);
    QVERIFY(path.measure(500ms).first > 0.9);
  }

  void noticesLessAndMoreRoom() {
    Path path(12.5e6, 50ms, 1);
    path.run(3s);
    path.setRate(2.5e6);
    path.run(6s);
    const auto less = path.measure(2s);
    QVERIFY(less.first > 0.95);
    QVERIFY2(less.second < 0.05, qPrintable(QString::number(less.second)));
    path.setRate(12.5e6);
    path.run(3s);
    QVERIFY(path.measure(2s).first > 0.95);
  }

  /// A pause of any length, as of a hold, does not make it forget the path.
  void remembersThroughAPause() {
    Path path(12.5e6, 100ms, 1);
    path.run(4s);
    path.senders()[0].active = false;
    path.run(10s);
    path.senders()[0].active = true;
    path.run(200ms);
    const auto [used, queue] = path.measure(1s);
    QVERIFY2(used > 0.95, qPrintable(QString::number(used)));
    QVERIFY2(queue < 0.07, qPrintable(QString::number(queue)));
  }

  /// The other side takes nothing any more: asked about again ever less often, for as long as it
  /// takes.
  void asksRarelyWhereNothingMoves() {
    Path path(12.5e6, 1ms, 1);
    path.run(1s);
    path.setRate(1e-9);
    path.run(1s);
    const std::uint64_t before = path.senders()[0].asked;
    path.run(10s);
    QVERIFY(path.senders()[0].asked - before < 1500);
    QVERIFY(path.senders()[0].asked - before > 100);
  }

  void aNewConnectionMaySendAFewSegments() {
    FlightLimit limit;
    const FlightLimit::Reading fresh{0, 0, 1448, 100ms, 100ms};
    QCOMPARE(limit.allowance(fresh), std::uint64_t{64 * 1024});
    // On loopback a segment has 64 KB, and fewer than several are acknowledged late.
    const FlightLimit::Reading loopback{0, 0, 65483, 20us, 20us};
    QCOMPARE(limit.allowance(loopback), std::uint64_t{8 * 65483});
    QVERIFY(!limit.mustWait(fresh, Clock::now()));
    QVERIFY(limit.mustWait({64 * 1024, 0, 1448, 100ms, 100ms}, Clock::now()));
  }
};

QTEST_GUILESS_MAIN(TestFlightLimit)
#include "test_flight_limit.moc"

// Helpers take a share of the work while cores are idle: every item is done once, callers never
// wait for help that does not come, and busy cores get none.
#include <atomic>
#include <thread>

#include <QElapsedTimer>
#include <QTest>

#include "engine/kernels/team.h"

using pillarbox::kernels::Team;

namespace {

/// Whether it comes true within that time.
template <typename Done>
bool eventually(const Done& done, int milliseconds = 20000) {
  QElapsedTimer timer;
  timer.start();
  while (timer.elapsed() < milliseconds) {
    if (done()) return true;
    std::this_thread::yield();
  }
  return false;
}

}  // namespace

class TestTeam : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void everyItemOnce_data() {
    QTest::addColumn<uint>("cores");
    for (const uint cores : {0U, 1U, 2U, 5U}) QTest::addRow("%u cores", cores) << cores;
  }
  void everyItemOnce() {
    QFETCH(uint, cores);
    Team team(cores);
    for (const std::size_t count : {0, 1, 2, 3, 17, 1000}) {
      std::vector<std::atomic<int>> times(count);
      team.run(count, [&](std::size_t i) { ++times[i]; });
      for (const auto& each : times) QCOMPARE(each.load(), 1);
    }
  }

  void manyCallersAtOnce() {
    Team team(3);
    std::atomic<int> wrong = 0;
    {
      std::vector<std::jthread> callers;
      for (int caller = 0; caller < 5; ++caller) {
        callers.emplace_back([&] {
          for (int repeat = 0; repeat < 300; ++repeat) {
            std::vector<std::atomic<int>> times(static_cast<std::size_t>(1 + repeat % 9));
            team.run(times.size(), [&](std::size_t i) { ++times[i]; });
            for (const auto& each : times) wrong += each == 1 ? 0 : 1;
          }
        });
      }
    }
    QCOMPARE(wrong.load(), 0);
  }

  /// The items wait for each other for a while, which a thread alone does in vain. (A helper that
  /// has only just been started is not asked yet.)
  void aHelperJoinsIn() {
    Team team(2);
    std::atomic<bool> together = false;
    QVERIFY(eventually([&] {
      std::atomic<int> there = 0;
      team.run(2, [&](std::size_t) {
        ++there;
        if (eventually([&] { return there == 2; }, 200) && team.joined() > 0) together = true;
      });
      return together.load();
    }));
  }

  void aloneOnItsOwnThread() {
    Team team(1);
    const auto self = std::this_thread::get_id();
    int elsewhere = 0;
    team.run(100, [&](std::size_t) { elsewhere += std::this_thread::get_id() == self ? 0 : 1; });
    QCOMPARE(elsewhere, 0);
    QCOMPARE(team.joined(), std::uint64_t{0});
  }

  /// Two callers keep two cores busy.
  void busyCoresGetNoHelp() {
    Team team(2);
    std::atomic<bool> inside = false, done = false;
    std::jthread other([&] {
      team.run(1, [&](std::size_t) {
        inside = true;
        (void)eventually([&] { return done.load(); });
      });
    });
    QVERIFY(eventually([&] { return inside.load(); }));
    const auto self = std::this_thread::get_id();
    std::atomic<int> elsewhere = 0;
    for (int repeat = 0; repeat < 50; ++repeat) {
      team.run(100, [&](std::size_t) { elsewhere += std::this_thread::get_id() == self ? 0 : 1; });
    }
    done = true;
    QCOMPARE(elsewhere.load(), 0);
    QCOMPARE(team.joined(), std::uint64_t{0});
  }
};

QTEST_GUILESS_MAIN(TestTeam)
#include "test_team.moc"

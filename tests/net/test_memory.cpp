// The in-memory link: bytes, closing, back pressure, and the shape of a long or narrow wire.
#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <thread>

#include <QElapsedTimer>
#include <QTest>

#include "net/memory.h"

using namespace pillarbox;
using namespace pillarbox::net;
using namespace std::chrono_literals;

namespace {

double seconds(const std::function<void()>& work) {
  QElapsedTimer timer;
  timer.start();
  work();
  return double(timer.nsecsElapsed()) * 1e-9;
}

/// Checks that `work` takes at least `floor` seconds every time, and at most `floor` + `slack`
/// once: a busy machine may be late, the link may never be early.
void takes(double floor, double slack, const std::function<void()>& work) {
  double best = 1e9;
  for (int attempt = 0; attempt < 40 && best > floor + slack; ++attempt) {
    const double took = seconds(work);
    QVERIFY2(took >= floor, qPrintable(QString::number(took)));
    best = std::min(best, took);
  }
  QVERIFY2(best <= floor + slack, qPrintable(QString::number(best)));
}

constexpr double kSlack = 0.04;

}  // namespace

class TestMemory : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void bytesKeepTheirOrder();
  void closing();
  void boundedWritesBlock();
  void latency();
  void latencyPipelines();
  void bandwidth();
  void directionsAreIndependent();
  void partsArriveBeforeTheWhole();
  void cancelUnblocksAWriter();
  void writeTimeout();
};

void TestMemory::bytesKeepTheirOrder() {
  auto [a, b] = makeMemoryPair({.capacityBytes = 777});
  std::vector<std::byte> sent(100'000);
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = std::byte(i * 31 >> 3);
  std::thread writer([&, &out = a] {
    std::size_t at = 0;
    for (std::size_t size = 1; at < sent.size(); size = size * 3 % 5003 + 1) {
      const std::size_t n = std::min(size, sent.size() - at);
      QVERIFY(out->write(std::span(sent).subspan(at, n / 2),
                         std::span(sent).subspan(at + n / 2, n - n / 2))
                  .ok());
      at += n;
    }
  });
  std::vector<std::byte> got(sent.size());
  std::size_t at = 0;
  for (std::size_t size = 1; at < got.size(); size = size * 7 % 3001 + 1) {
    const std::size_t n = std::min(size, got.size() - at);
    QVERIFY(b->read(std::span(got).subspan(at, n)).ok());
    at += n;
  }
  writer.join();
  QVERIFY(got == sent);
}

void TestMemory::closing() {
  auto [a, b] = makeMemoryPair();
  const std::array<std::byte, 3> data{};
  QVERIFY(a->write(data, {}).ok());
  a.reset();
  std::array<std::byte, 2> got;
  QVERIFY(b->read(got).ok());  // what was sent before stays readable
  QCOMPARE(int(b->read(got).error().code), int(ErrorCode::Closed));
  QCOMPARE(int(b->write(data, {}).error().code), int(ErrorCode::Closed));
}

void TestMemory::boundedWritesBlock() {
  auto [a, b] = makeMemoryPair({.capacityBytes = 1000});
  std::atomic<bool> written = false;
  const std::vector<std::byte> data(1500);
  std::thread writer([&, &out = a] {
    QVERIFY(out->write(data, {}).ok());
    written = true;
  });
  std::this_thread::sleep_for(50ms);
  QVERIFY(!written);
  std::vector<std::byte> got(1500);
  QVERIFY(b->read(got).ok());
  writer.join();
  QVERIFY(written);
}

void TestMemory::latency() {
  auto [a, b] = makeMemoryPair({.shape = {.rttMs = 40}});
  std::thread echo([&end = b] {
    std::array<std::byte, 8> bytes;
    while (end->read(bytes).ok() && end->write(bytes, {}).ok()) {
    }
  });
  std::array<std::byte, 8> bytes{};
  takes(0.120, kSlack, [&, &end = a] {
    for (int i = 0; i < 3; ++i) {
      QVERIFY(end->write(bytes, {}).ok());
      QVERIFY(end->read(bytes).ok());
    }
  });
  a.reset();
  echo.join();
}

void TestMemory::latencyPipelines() {
  // A hundred messages that do not wait for each other cost one delay, not a hundred.
  auto [a, b] = makeMemoryPair({.shape = {.rttMs = 100}});
  std::array<std::byte, 8> bytes{};
  takes(0.050, kSlack, [&, &in = a, &out = b] {
    for (int i = 0; i < 100; ++i) QVERIFY(in->write(bytes, {}).ok());
    for (int i = 0; i < 100; ++i) QVERIFY(out->read(bytes).ok());
  });
}

void TestMemory::bandwidth() {
  auto [a, b] = makeMemoryPair({.shape = {.rttMs = 20, .mbit = 80}});
  std::vector<std::byte> bytes(500'000);  // 50 ms at 10 MB/s
  takes(0.110, kSlack, [&, &in = a, &out = b] {
    for (int i = 0; i < 2; ++i) QVERIFY(in->write(bytes, {}).ok());
    for (int i = 0; i < 2; ++i) QVERIFY(out->read(bytes).ok());
  });
}

void TestMemory::directionsAreIndependent() {
  auto [a, b] = makeMemoryPair({.shape = {.mbit = 80}});
  std::vector<std::byte> forth(1'000'000), back(1'000'000);  // 100 ms each
  takes(0.100, kSlack, [&, &x = a, &y = b] {
    QVERIFY(x->write(forth, {}).ok());
    QVERIFY(y->write(back, {}).ok());
    QVERIFY(x->read(back).ok());
    QVERIFY(y->read(forth).ok());
  });
}

void TestMemory::partsArriveBeforeTheWhole() {
  std::vector<std::byte> bytes(1'000'000);  // takes a second as a whole
  takes(0.099, kSlack, [&] {
    auto [a, b] = makeMemoryPair({.shape = {.mbit = 8}});
    QVERIFY(a->write(bytes, {}).ok());
    QVERIFY(b->read(std::span(bytes).first(100'000)).ok());
  });
}

void TestMemory::cancelUnblocksAWriter() {
  auto [a, b] = makeMemoryPair({.capacityBytes = 10});
  std::thread canceller([&end = a] {
    std::this_thread::sleep_for(30ms);
    end->cancel();
  });
  const std::vector<std::byte> data(100);
  QCOMPARE(int(a->write(data, {}).error().code), int(ErrorCode::Cancelled));
  canceller.join();
}

void TestMemory::writeTimeout() {
  auto [a, b] = makeMemoryPair({.capacityBytes = 10});
  a->setTimeout(40ms);
  const std::vector<std::byte> data(100);
  QCOMPARE(int(a->write(data, {}).error().code), int(ErrorCode::Timeout));
}

QTEST_GUILESS_MAIN(TestMemory)
#include "test_memory.moc"

// The in-memory link: bytes, closing, back pressure, and the shape of a long or narrow wire.
#include <array>
#include <atomic>
#include <functional>
#include <thread>

#include <QtTest>

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

/// The scheduler's slack on a busy machine.
constexpr double kSlack = 0.15;

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
    for (int i = 0; i < 3; ++i) {
      QVERIFY(end->read(bytes).ok());
      QVERIFY(end->write(bytes, {}).ok());
    }
  });
  std::array<std::byte, 8> bytes{};
  const double took = seconds([&, &end = a] {
    for (int i = 0; i < 3; ++i) {
      QVERIFY(end->write(bytes, {}).ok());
      QVERIFY(end->read(bytes).ok());
    }
  });
  echo.join();
  QVERIFY2(took >= 0.120, qPrintable(QString::number(took)));
  QVERIFY2(took < 0.120 + kSlack, qPrintable(QString::number(took)));
}

void TestMemory::latencyPipelines() {
  // A hundred messages that do not wait for each other cost one delay, not a hundred.
  auto [a, b] = makeMemoryPair({.shape = {.rttMs = 100}});
  std::array<std::byte, 8> bytes{};
  const double took = seconds([&, &in = a, &out = b] {
    for (int i = 0; i < 100; ++i) QVERIFY(in->write(bytes, {}).ok());
    for (int i = 0; i < 100; ++i) QVERIFY(out->read(bytes).ok());
  });
  QVERIFY2(took >= 0.050, qPrintable(QString::number(took)));
  QVERIFY2(took < 0.050 + kSlack, qPrintable(QString::number(took)));
}

void TestMemory::bandwidth() {
  auto [a, b] = makeMemoryPair({.shape = {.rttMs = 20, .mbit = 80}});
  std::vector<std::byte> bytes(500'000);  // 50 ms at 10 MB/s
  const double took = seconds([&, &in = a, &out = b] {
    for (int i = 0; i < 2; ++i) QVERIFY(in->write(bytes, {}).ok());
    for (int i = 0; i < 2; ++i) QVERIFY(out->read(bytes).ok());
  });
  QVERIFY2(took >= 0.110, qPrintable(QString::number(took)));
  QVERIFY2(took < 0.110 + kSlack, qPrintable(QString::number(took)));
}

void TestMemory::directionsAreIndependent() {
  auto [a, b] = makeMemoryPair({.shape = {.mbit = 80}});
  std::vector<std::byte> forth(1'000'000), back(1'000'000);  // 100 ms each
  const double took = seconds([&, &x = a, &y = b] {
    QVERIFY(x->write(forth, {}).ok());
    QVERIFY(y->write(back, {}).ok());
    QVERIFY(x->read(back).ok());
    QVERIFY(y->read(forth).ok());
  });
  QVERIFY2(took >= 0.100, qPrintable(QString::number(took)));
  QVERIFY2(took < 0.100 + kSlack, qPrintable(QString::number(took)));
}

void TestMemory::partsArriveBeforeTheWhole() {
  auto [a, b] = makeMemoryPair({.shape = {.mbit = 8}});
  std::vector<std::byte> bytes(1'000'000);  // a second
  QVERIFY(a->write(bytes, {}).ok());
  const double took =
      seconds([&, &out = b] { QVERIFY(out->read(std::span(bytes).first(100'000)).ok()); });
  QVERIFY2(took >= 0.099, qPrintable(QString::number(took)));
  QVERIFY2(took < 0.100 + kSlack, qPrintable(QString::number(took)));
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

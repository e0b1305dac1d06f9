// Every activation protocol against the exact polynomial on fresh random values, its declared
// messages and bytes against the channel's meter, and what each party sees against uniform words.
#include <array>
#include <cmath>
#include <thread>

#include <QTest>

#include "engine/protocol/activation.h"
#include "engine/protocol/espn.h"
#include "engine/ring/fixed_point.h"
#include "models/oracle.h"
#include "net/channel.h"
#include "net/memory.h"
#include "tests/support/random_words.h"

using namespace pillarbox;
using protocol::Activation;
using protocol::Protocol;
using protocol::Words;

namespace {

struct Evaluated {
  std::vector<std::int64_t> values;  // p(z), f fraction bits
  net::MeterReading client, engine;
  Words toClient, toEngine;  // online, after the start
  Words offlineToEngine;
};

struct Row {
  std::uint32_t f, fractionBits;
  std::vector<std::int64_t> coefficients;
};

protocol::Wire wireOf(net::Channel& channel, Words& received) {
  return {[&channel](std::span<const std::uint64_t> words) { return channel.sendWords(words); },
          [&channel, &received](std::span<std::uint64_t> words) -> Status {
            PILLARBOX_TRY(channel.receiveWords(words));
            received.insert(received.end(), words.begin(), words.end());
            return {};
          }};
}

offline::WordSink sinkInto(Words& words) {
  return [&words](std::span<const std::uint64_t> piece) -> Status {
    words.insert(words.end(), piece.begin(), piece.end());
    return {};
  };
}

offline::WordSource sourceFrom(const Words& words) {
  return [&words, taken = std::size_t{0}](std::span<std::uint64_t> piece) mutable -> Status {
    if (words.size() - taken < piece.size()) return Error{ErrorCode::Closed, "no more words"};
    std::copy_n(words.begin() + static_cast<std::ptrdiff_t>(taken), piece.size(), piece.begin());
    taken += piece.size();
    return {};
  };
}

struct Dealt {
  offline::ClientStage client;
  offline::EngineStage engine;
};

/// @param toEngine  becomes what the client sends the engine
Dealt deal(const Activation& activation, const models::Polynomial& polynomial, std::uint32_t f,
           const Words& share, testing::RandomWords& data, Words& toEngine) {
  const offline::DealtActivation dealing{polynomial, f, activation.products(), 7, share.size()};
  const random::Seed clientSeed = data.seed(), engineSeed = data.seed();
  Words corrections;
  if (!dealing.deal(clientSeed, engineSeed, sinkInto(corrections)).ok()) qFatal("not dealt");
  if (corrections.size() != dealing.cost().correctionWords) qFatal("corrections");
  Dealt dealt;
  dealt.client =
      dealing.assembleClient(share, clientSeed, sourceFrom(corrections), sinkInto(toEngine))
          .value();
  if (toEngine.size() != dealing.cost().clientWords) qFatal("words");
  dealt.engine = dealing.assembleEngine(engineSeed, sourceFrom(toEngine)).value();
  return dealt;
}

Evaluated evaluate(const Activation& activation, const models::Polynomial& polynomial,
                   std::uint32_t f, const std::vector<std::int64_t>& z,
                   testing::RandomWords& data) {
  const std::size_t n = z.size();
  Words client(n), engine(n);
  for (std::size_t i = 0; i < n; ++i) {
    client[i] = data.word();
    engine[i] = static_cast<std::uint64_t>(z[i]) - client[i];
  }
  Evaluated result;
  Dealt dealt = deal(activation, polynomial, f, client, data, result.offlineToEngine);
  const auto clientHalf = activation.client(std::move(dealt.client));
  const auto engineHalf = activation.engine(std::move(dealt.engine));

  auto [left, right] = net::makeMemoryPair();
  net::Channel clientChannel(std::move(left)), engineChannel(std::move(right));
  Words y0(n), y1(n);
  std::thread thread([&] {
    Words start(1);
    if (!engineChannel.receiveWords(start).ok()) qFatal("the start is lost");
    if (!engineHalf->evaluate(wireOf(engineChannel, result.toEngine), engine, y1).ok()) {
      qFatal("the engine failed");
    }
  });
  const Words start(1, 1);
  if (!clientChannel.sendWords(start).ok()) qFatal("no start");
  if (!clientHalf->evaluate(wireOf(clientChannel, result.toClient), y0).ok()) {
    qFatal("the client failed");
  }
  thread.join();
  for (std::size_t i = 0; i < n; ++i) {
    result.values.push_back(static_cast<std::int64_t>(y0[i] + y1[i]));
  }
  result.client = clientChannel.meter();
  result.engine = engineChannel.meter();
  return result;
}

/// 16 bins of four bits, at three places of a word: 60 is far beyond any chance.
/// @param bits  of a word that are used
bool looksUniform(const Words& words, int bits = 64) {
  for (const int shift : {0, 20, bits - 4}) {
    std::array<double, 16> counts{};
    for (const std::uint64_t word : words) ++counts[(word >> shift) & 15];
    const double expected = static_cast<double>(words.size()) / 16;
    double chiSquare = 0;
    for (const double count : counts) chiSquare += std::pow(count - expected, 2) / expected;
    if (!(chiSquare < 60)) return false;
  }
  return true;
}

}  // namespace

class TestActivation : public QObject {
  Q_OBJECT

 private:
  static constexpr double kBound = 5;
  testing::RandomWords m_data;

  std::vector<std::int64_t> randomValues(std::size_t count, std::uint32_t f) {
    const auto limit = static_cast<std::int64_t>(std::ldexp(kBound, static_cast<int>(f))) - 1;
    std::vector<std::int64_t> z = {0, 1, -1, limit, -limit};
    while (z.size() < count) z.push_back(m_data.between(-limit, limit));
    return z;
  }

  void addRows() {
    QTest::addColumn<int>("protocol");
    QTest::addColumn<int>("f");
    QTest::addColumn<int>("fc");
    QTest::addColumn<QVector<qint64>>("coefficients");
    for (const Protocol protocol : protocol::allProtocols()) {
      const auto row = [&](const char* name, int f, int fc, const QVector<qint64>& coefficients) {
        QTest::newRow(qPrintable(QString("%1, %2").arg(protocol::toString(protocol), name)))
            << static_cast<int>(protocol) << f << fc << coefficients;
      };
      row("degree 1", 12, 10, {100, -700});
      row("degree 2", 12, 10, {250, 512, 200});
      row("degree 3", 12, 10, {-30, 512, 100, 20});
      row("degree 4", 12, 10, {322, 512, 160, 0, -3});
      row("degree 4, odd terms", 12, 10, {-7, 900, 33, -41, 5});
      row("degree 5", 11, 10, {20, 400, 100, -30, 4, 1});
      row("degree 6", 12, 12, {800, 2048, 900, 0, -60, 0, 2});
      row("degree 8", 10, 12, {700, 2048, 950, 0, -90, 0, 7, 0, -1});
    }
  }
  static models::Polynomial polynomialOf(int fc, const QVector<qint64>& coefficients) {
    return {static_cast<std::uint32_t>(fc), {coefficients.begin(), coefficients.end()}};
  }

 private Q_SLOTS:
  void matchesThePolynomial_data() { addRows(); }
  void matchesThePolynomial() {
    QFETCH(int, protocol);
    QFETCH(int, f);
    QFETCH(int, fc);
    QFETCH(QVector<qint64>, coefficients);
    const models::Polynomial polynomial = polynomialOf(fc, coefficients);
    const auto bits = static_cast<std::uint32_t>(f);
    const auto activation =
        Activation::make(static_cast<Protocol>(protocol), polynomial, bits, kBound);
    const auto z = randomValues(3000, bits);
    const Evaluated result = evaluate(*activation, polynomial, bits, z, m_data);
    double worst = 0;
    for (std::size_t i = 0; i < z.size(); ++i) {
      const auto error = result.values[i] - models::evaluatePolynomial(polynomial, z[i], bits);
      worst = std::max(worst, std::abs(static_cast<double>(error)));
    }
    QVERIFY2(worst <= activation->errorBound(),
             qPrintable(QString("%1 ulps, bound %2").arg(worst).arg(activation->errorBound())));
  }

  // More values than a frame holds.
  void costsAreAsDeclared_data() { addRows(); }
  void costsAreAsDeclared() {
    QFETCH(int, protocol);
    QFETCH(int, f);
    QFETCH(int, fc);
    QFETCH(QVector<qint64>, coefficients);
    const auto bits = static_cast<std::uint32_t>(f);
    const models::Polynomial polynomial = polynomialOf(fc, coefficients);
    const auto activation =
        Activation::make(static_cast<Protocol>(protocol), polynomial, bits, kBound);
    const std::size_t n = protocol::kFrameWords + 100;
    const Evaluated result = evaluate(*activation, polynomial, bits, randomValues(n, bits), m_data);
    const protocol::Cost cost = activation->cost(n);
    QCOMPARE(result.client.bytesReceived - net::kFrameHeaderBytes * result.client.framesReceived,
             cost.bytesToClient);
    QCOMPARE(result.engine.bytesReceived - net::kFrameHeaderBytes * result.engine.framesReceived,
             cost.bytesToEngine + 8);  // and the start
    QCOMPARE(std::max(result.client.depth, result.engine.depth), cost.messages + 1);
  }

  void theKnownCostsOfDegreeFour() {
    const models::Polynomial relu{10, {322, 512, 160, 0, -3}};
    const auto cost = [&](Protocol protocol) {
      return Activation::make(protocol, relu, 12, kBound)->cost(1);
    };
    QCOMPARE(cost(Protocol::HoneyBadger).messages, 1U);
    QCOMPARE(cost(Protocol::HoneyBadger).bytesToClient, std::uint64_t{8});
    QCOMPARE(cost(Protocol::Espn).messages, 1U);
    QCOMPARE(cost(Protocol::Espn).bytesToClient, std::uint64_t{8 * (1 + 3)});
    QCOMPARE(cost(Protocol::Espn).bytesToEngine, std::uint64_t{0});
    QCOMPARE(cost(Protocol::SquareMultiply).messages, 2U);
    QCOMPARE(cost(Protocol::SquareMultiply).bytesToEngine, std::uint64_t{8 * 2});
    QCOMPARE(cost(Protocol::Horner).messages, 3U);
    QCOMPARE(cost(Protocol::Horner).bytesToEngine, std::uint64_t{8 * 3});
  }

  // 33 bits for z^k: k (log2 5 + w) <= 33.
  void workingPrecision() {
    const protocol::Espn espn({10, {1, 1, 1, 1, 1, 1, 1}}, 12, 5);
    QCOMPARE(espn.workingPrecision(2), 12U);
    QCOMPARE(espn.workingPrecision(3), 8U);
    QCOMPARE(espn.workingPrecision(4), 5U);
    QCOMPARE(espn.workingPrecision(6), 3U);
    QVERIFY_THROWS_EXCEPTION(std::logic_error, protocol::Espn({10, {0, 0, 0, 0, 0, 0, 1}}, 12, 64));
  }

  // Whatever z is, what goes to a party looks like uniform words.
  void viewsAreUniform_data() {
    QTest::addColumn<int>("protocol");
    for (const Protocol protocol : protocol::allProtocols()) {
      QTest::newRow(protocol::toString(protocol)) << static_cast<int>(protocol);
    }
  }
  void viewsAreUniform() {
    QFETCH(int, protocol);
    const models::Polynomial polynomial{10, {322, 512, 160, 12, -3}};
    const auto activation =
        Activation::make(static_cast<Protocol>(protocol), polynomial, 12, kBound);
    for (const std::int64_t value : {std::int64_t{0}, std::int64_t{1} << 14}) {
      const std::vector<std::int64_t> z(4000, value);
      const Evaluated result = evaluate(*activation, polynomial, 12, z, m_data);
      QVERIFY(!result.toClient.empty());
      // HoneyBadger's openings have 56 bits.
      QVERIFY(looksUniform(result.toClient,
                           static_cast<Protocol>(protocol) == Protocol::HoneyBadger ? 56 : 64));
      QVERIFY(!result.toEngine.empty() || activation->cost(1).bytesToEngine == 0);
      QVERIFY(looksUniform(result.toEngine) || result.toEngine.empty());
      QVERIFY(looksUniform(result.offlineToEngine) || result.offlineToEngine.empty());
    }
  }

  void aLostPeerIsAnError_data() { viewsAreUniform_data(); }
  void aLostPeerIsAnError() {
    QFETCH(int, protocol);
    const models::Polynomial polynomial{10, {322, 512, 160, 12, -3}};
    const auto activation =
        Activation::make(static_cast<Protocol>(protocol), polynomial, 12, kBound);
    Words toEngine, out(10);
    Dealt dealt = deal(*activation, polynomial, 12, Words(10, 1), m_data, toEngine);
    const auto client = activation->client(std::move(dealt.client));
    const Error lost{ErrorCode::Closed, "lost"};
    const Status status = client->evaluate({[](std::span<const std::uint64_t>) { return Status(); },
                                            [&](std::span<std::uint64_t>) { return Status(lost); }},
                                           out);
    QVERIFY(!status.ok());
    QCOMPARE(status.error().code, ErrorCode::Closed);
  }
};

QTEST_GUILESS_MAIN(TestActivation)
#include "test_activation.moc"

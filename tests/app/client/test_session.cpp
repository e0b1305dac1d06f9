// One client session against the real engine and dealer: two and three processes over TLS on
// loopback. What is right is said by the plaintext oracle, the declared cost and the meter; what
// goes wrong must be a clear error, and burn the set.

#include <atomic>
#include <cmath>
#include <numeric>
#include <thread>

#include <QDir>
#include <QElapsedTimer>
#include <QFile>
#include <QFileInfo>
#include <QTest>
#include <QThread>

#include "app/client/engine_session.h"
#include "models/onnx_reader.h"
#include "models/oracle.h"
#include "net/message_io.h"
#include "tests/support/faulty_transport.h"
#include "tests/support/model_factory.h"
#include "tests/support/onnx_builder.h"
#include "tests/support/service_rig.h"
#include "tests/support/two_party.h"

using namespace pillarbox;
using namespace pillarbox::client;
using namespace pillarbox::testing;
using net::proto::ToClient;
using net::proto::ToEngine;

namespace {

/// The StartInference message: frame header, envelope, fixed64.
constexpr std::uint64_t kStartInferenceBytes = net::kFrameHeaderBytes + 11;

models::LoadedModel smallModel(std::uint64_t seed = 1) {
  const std::string bytes = smallModelFile(seed);
  return models::loadOnnx(std::as_bytes(std::span(bytes)), "small").value();
}

SessionOptions optionsFor(const ServiceRig& rig, const QString& client = "client") {
  SessionOptions options;
  options.engine = {"127.0.0.1", rig.engine.port()};
  options.trust = net::Fingerprint::parse(rig.engine.fingerprint().toStdString()).value();
  options.stateDirectory = rig.path(client).toStdString();
  options.cacheDirectory = rig.path(client + "/cache").toStdString();
  options.patience = std::chrono::seconds(10);
  return options;
}

QString writeConfiguration(const ServiceRig& rig, const QByteArray& text) {
  QFile file(rig.path("engine.toml"));
  if (!file.open(QIODevice::WriteOnly) || file.write(text) != text.size()) {
    throw std::runtime_error("the configuration cannot be written");
  }
  return file.fileName();
}

/// Speaks the session protocol by hand, to say what an honest client would not.
class RawClient {
 public:
  /// @param fault  of the frame that faulty() is armed for
  explicit RawClient(const ServiceRig& rig, Fault fault = {}) {
    net::ConnectOptions options;
    options.endpoint = {"127.0.0.1", rig.engine.port()};
    options.pin.expected = net::Fingerprint::parse(rig.engine.fingerprint().toStdString()).value();
    auto transport =
        std::make_unique<FaultyTransport>(net::connectTls(std::move(options)).value(), fault);
    m_faulty = transport.get();
    m_channel = std::make_unique<net::Channel>(std::move(transport));
    m_channel->setTimeout(std::chrono::seconds(10));
    ToEngine hello;
    hello.mutable_hello()->set_protocol_version(net::kProtocolVersion);
    m_welcome = ask(hello).value().welcome();
  }

  net::Channel& channel() { return *m_channel; }
  FaultyTransport& faulty() { return *m_faulty; }
  const net::proto::Welcome& welcome() const { return m_welcome; }
  const models::PublicModel& model() const { return m_model; }

  Result<ToClient> ask(const ToEngine& request) {
    PILLARBOX_TRY(net::sendMessage(*m_channel, request));
    return net::receiveMessage<ToClient>(*m_channel);
  }

  Status open() {
    ToEngine request;
    request.mutable_open_model()->set_hash(m_welcome.models(0).hash());
    PILLARBOX_ASSIGN(const ToClient answer, ask(request));
    if (!answer.has_model_opened()) return Error{ErrorCode::Refused, "not opened"};
    std::vector<std::byte> bytes(answer.model_opened().description_bytes());
    PILLARBOX_TRY(m_channel->receiveBytes(bytes));
    PILLARBOX_ASSIGN(m_model, models::parsePublicModel(bytes));
    return {};
  }

  /// First-party mode: has set `index` dealt, assembles it and uploads the engine's part.
  Result<offline::ClientSet> prepare(std::uint64_t index) {
    ToEngine request;
    request.mutable_prepare_set()->set_index(index);
    PILLARBOX_ASSIGN(const ToClient answer, ask(request));
    if (answer.has_declined()) return net::errorOf(answer.declined(), "engine");
    random::Seed seed;
    PILLARBOX_TRY(m_channel->receiveBytes(std::as_writable_bytes(std::span(seed.bytes))));
    net::WordStreamReader reader(*m_channel, answer.set_dealt().words());
    m_openings.clear();
    PILLARBOX_ASSIGN(auto set,
                     offline::assembleClientSet(
                         m_model, nullptr, index, seed,
                         [&](std::span<std::uint64_t> words) { return reader.read(words); },
                         [&](std::span<const std::uint64_t> words) -> Status {
                           m_openings.insert(m_openings.end(), words.begin(), words.end());
                           return {};
                         }));
    PILLARBOX_TRY(upload(index));
    return set;
  }

  /// Uploads what the last prepare() left, as if it were for set `index`.
  Status upload(std::uint64_t index) {
    ToEngine request;
    request.mutable_set_upload()->set_index(index);
    PILLARBOX_TRY(net::sendMessage(*m_channel, request));
    net::WordStreamWriter writer(*m_channel, m_openings.size());
    PILLARBOX_TRY(writer.write(m_openings));
    PILLARBOX_ASSIGN(const ToClient answer, net::receiveMessage<ToClient>(*m_channel));
    if (answer.has_declined()) return net::errorOf(answer.declined(), "engine");
    return answer.has_set_ready() ? Status() : Status(Error{ErrorCode::Protocol, "not ready"});
  }

  Result<inference::ClientOutcome> infer(offline::ClientSet set, std::uint64_t index) {
    ToEngine request;
    request.mutable_start_inference()->set_index(index);
    PILLARBOX_TRY(net::sendMessage(*m_channel, request));
    return inference::runClient(*m_channel, m_model, std::move(set), randomImage(m_model.input, 1));
  }

 private:
  FaultyTransport* m_faulty = nullptr;  ///< the channel's
  std::unique_ptr<net::Channel> m_channel;
  net::proto::Welcome m_welcome;
  models::PublicModel m_model;
  SecureVector<std::uint64_t> m_openings;
};

std::size_t largest(const std::vector<double>& values) {
  return static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

/// How far the difference of the first two logits is from the oracle's.
double deviation(const models::LoadedModel& loaded, const models::FixedPointOracle& oracle,
                 const std::vector<float>& image, const Classification& result) {
  const auto logits = oracle.evaluate(image).logits;
  const double expected = std::ldexp(static_cast<double>(logits[0] - logits[1]),
                                     -static_cast<int>(loaded.model.outputBits));
  return std::abs(std::log(result.probabilities[0] / result.probabilities[1]) - expected);
}

constexpr double kTolerance = 0.05;  // of a logit: a dozen truncations of one ulp each, amplified

}  // namespace

class TestSession : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void classifiesLikeTheOracle_data() {
    QTest::addColumn<bool>("withDealer");
    QTest::newRow("dealer") << true;
    QTest::newRow("first-party") << false;
  }
  void classifiesLikeTheOracle() {
    QFETCH(bool, withDealer);
    ServiceRig rig;
    if (withDealer) QVERIFY(rig.startDealer());
    QVERIFY2(rig.startEngine(), qPrintable(rig.engine.log()));
    const models::LoadedModel loaded = smallModel();
    const models::FixedPointOracle oracle(loaded.model, loaded.weights);
    const inference::OnlineCost cost = inference::onlineCost(loaded.model);
    const offline::OfflineCost offlineCost = offline::offlineCost(loaded.model);

    EngineSession session(optionsFor(rig));
    const Status connected = session.connect();
    QVERIFY2(connected.ok(), connected.ok() ? "" : connected.error().message.c_str());
    QVERIFY(*session.facts().model == loaded.model);
    QVERIFY(session.facts().modelHash == models::modelHash(loaded.model));
    QCOMPARE(session.facts().insecure, !withDealer);
    QCOMPARE(session.facts().trust.find("INSECURE") != std::string::npos, !withDealer);

    int decided = 0;
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
      const std::vector<float> image = randomImage(loaded.model.input, seed);
      std::vector<inference::StageProgress> progress;
      const auto result = session.classify(
          image, [&](const inference::StageProgress& stage) { progress.push_back(stage); });
      QVERIFY2(result.ok(), result.ok() ? "" : result.error().message.c_str());

      const auto logits = oracle.evaluate(image).logits;
      QCOMPARE(result->probabilities.size(), logits.size());
      QVERIFY(deviation(loaded, oracle, image, *result) < kTolerance);
      auto sorted = logits;
      std::sort(sorted.rbegin(), sorted.rend());
      if (std::ldexp(static_cast<double>(sorted[0] - sorted[1]), -12) > 2 * kTolerance) {
        QCOMPARE(largest(result->probabilities), models::largestIndex(logits));
        ++decided;
      }

      QCOMPARE(result->rounds, cost.rounds);
      QCOMPARE(std::size_t{result->rounds}, loaded.model.stages.size());
      QCOMPARE(result->bytesSent, cost.bytesToEngine + kStartInferenceBytes);
      QCOMPARE(result->bytesReceived, cost.bytesToClient);
      QVERIFY(result->onlineSeconds > 0 && result->offlineSeconds > 0);
      QVERIFY(result->offlineBytesReceived >= 8 * offlineCost.correctionWords);
      QVERIFY(result->offlineBytesReceived < 8 * offlineCost.correctionWords + 2000);
      QVERIFY(result->offlineBytesSent >= 8 * offlineCost.clientWords);
      QVERIFY(result->offlineBytesSent < 8 * offlineCost.clientWords + 2000);

      QCOMPARE(progress.size(), std::size_t{cost.rounds});
      for (std::size_t i = 0; i < progress.size(); ++i) {
        QCOMPARE(progress[i].round, static_cast<std::uint32_t>(i + 1));
      }
      QCOMPARE(progress.back().meter.bytesSent, result->bytesSent);
      QCOMPARE(progress.back().meter.bytesReceived, result->bytesReceived);
    }
    QVERIFY(decided >= 3);
    QVERIFY(session.ping().ok());
  }

  void twoPartiesClassifyLikeTheOracle() {
    ServiceRig rig;
    QVERIFY2(rig.startEngine("127.0.0.1:0", {"--offline", "two-party"}),
             qPrintable(rig.engine.log()));
    const models::LoadedModel loaded = smallModel();
    const models::FixedPointOracle oracle(loaded.model, loaded.weights);
    const inference::OnlineCost cost = inference::onlineCost(loaded.model);
    SessionOptions options = optionsFor(rig);
    options.mode = offline::Mode::TwoParty;
    options.parallelSets = 2;
    options.bankTarget = 3;
    {
      EngineSession session(options);
      const Status connected = session.connect();
      QVERIFY2(connected.ok(), connected.ok() ? "" : connected.error().message.c_str());
      QCOMPARE(session.facts().mode, offline::Mode::TwoParty);
      QVERIFY(!session.facts().insecure);
      QVERIFY(session.facts().trust.find("nobody") != std::string::npos);
      const auto predicted = session.facts().predicted.value();

      for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        const std::vector<float> image = randomImage(loaded.model.input, seed);
        const auto result = session.classify(image);
        QVERIFY2(result.ok(), result.ok() ? "" : result.error().message.c_str());
        QVERIFY(deviation(loaded, oracle, image, *result) < kTolerance);
        QCOMPARE(result->rounds, cost.rounds);
        QCOMPARE(result->bytesSent, cost.bytesToEngine + kStartInferenceBytes);
        QCOMPARE(result->bytesReceived, cost.bytesToClient);
        // What was predicted from the public description, and the messages around it.
        QCOMPARE(result->offlineRounds, predicted.rounds + 2);
        QVERIFY(result->offlineBytesSent > predicted.bytesToEngine);
        QVERIFY(result->offlineBytesSent < predicted.bytesToEngine + 100);
        QVERIFY(result->offlineBytesReceived > predicted.bytesToClient);
        QVERIFY(result->offlineBytesReceived < predicted.bytesToClient + 100);
        QVERIFY(result->setup.bytesSent > predicted.keyBytes);
        QVERIFY(result->setup.bytesSent < predicted.keyBytes + 600);
        QVERIFY(result->offlineSeconds > 0);
        QVERIFY(result->peakMemoryBytes > (1 << 20));
      }
      // Idle, it fills the bank.
      QTRY_COMPARE_WITH_TIMEOUT(session.bank().ready, 3, 60000);
      QCOMPARE(session.bank().making, 0);
    }
    // Sets that were not used die with the session.
    QTRY_VERIFY_WITH_TIMEOUT(rig.engine.log().contains("session_end"), 10000);
    QVERIFY(rig.engine.log().contains("inferences=4"));
    QVERIFY(rig.engine.log().contains("sets=7"));
  }

  // Every protocol by every way of preparing sets, between the real programs: the oracle's scores
  // within what the protocol declares, and rounds and bytes as declared, on both sides.
  void protocolsAndModes_data() {
    QTest::addColumn<int>("protocol");
    QTest::addColumn<int>("mode");
    for (const offline::Protocol protocol : offline::allProtocols()) {
      if (protocol == offline::Protocol::HoneyBadger) continue;
      for (const auto mode :
           {offline::Mode::TwoParty, offline::Mode::Dealer, offline::Mode::FirstParty}) {
        QTest::addRow("%s, %s", offline::toString(protocol), offline::toString(mode))
            << static_cast<int>(protocol) << static_cast<int>(mode);
      }
    }
  }
  void protocolsAndModes() {
    QFETCH(int, protocol);
    QFETCH(int, mode);
    const auto which = static_cast<offline::Protocol>(protocol);
    const auto how = static_cast<offline::Mode>(mode);
    ServiceRig rig;
    if (how == offline::Mode::Dealer) QVERIFY(rig.startDealer());
    const QStringList more =
        how == offline::Mode::TwoParty ? QStringList{"--offline", "two-party"} : QStringList();
    QVERIFY2(rig.startEngine("127.0.0.1:0", more), qPrintable(rig.engine.log()));
    const models::LoadedModel loaded = smallModel();
    const models::FixedPointOracle oracle(loaded.model, loaded.weights);
    const auto activations = inference::Activations::make(loaded.model, which).value();
    const inference::OnlineCost cost = inference::onlineCost(loaded.model, activations.get());
    const std::vector<double> bound = logitBound(loaded, 2 * loaded.range, activations.get());
    SessionOptions options = optionsFor(rig);
    options.protocol = which;
    options.mode = how;
    {
      EngineSession session(options);
      const Status connected = session.connect();
      QVERIFY2(connected.ok(), connected.ok() ? "" : connected.error().message.c_str());
      QVERIFY(session.facts().protocol == which);
      for (std::uint64_t seed = 1; seed <= 2; ++seed) {
        const std::vector<float> image = randomImage(loaded.model.input, seed);
        const auto result = session.classify(image);
        QVERIFY2(result.ok(), result.ok() ? "" : result.error().message.c_str());
        QVERIFY(deviation(loaded, oracle, image, *result) <=
                std::ldexp(bound[0] + bound[1], -static_cast<int>(loaded.model.outputBits)));
        QCOMPARE(result->rounds, cost.rounds);
        QCOMPARE(result->bytesSent, cost.bytesToEngine + kStartInferenceBytes);
        QCOMPARE(result->bytesReceived, cost.bytesToClient);
        if (how == offline::Mode::TwoParty) {
          const auto predicted = session.facts().predicted.value();
          QVERIFY(result->offlineBytesSent > predicted.bytesToEngine);
          QVERIFY(result->offlineBytesSent < predicted.bytesToEngine + 100);
          continue;
        }
        const auto dealt = offline::offlineCost(loaded.model, activations->correlations());
        QVERIFY(result->offlineBytesReceived >= 8 * dealt.correctionWords);
        QVERIFY(result->offlineBytesReceived < 8 * dealt.correctionWords + 2000);
        QVERIFY(result->offlineBytesSent >= 8 * dealt.clientWords);
        QVERIFY(result->offlineBytesSent < 8 * dealt.clientWords + 2000);
      }
    }
    QTRY_VERIFY_WITH_TIMEOUT(rig.engine.log().contains("session_end"), 10000);
    QVERIFY(rig.engine.log().contains(QString("protocol=%1").arg(offline::nameOf(which))));
  }

  /// The same image over one connection and over several: the same class, rounds and bytes.
  void overSeveralConnections_data() {
    QTest::addColumn<int>("allowed");
    QTest::addColumn<int>("wanted");
    QTest::addColumn<int>("used");
    QTest::newRow("four") << 4 << 4 << 4;
    QTest::newRow("three") << 4 << 3 << 3;
    QTest::newRow("as many as the engine allows") << 2 << 4 << 2;
    QTest::newRow("the engine allows one") << 1 << 4 << 1;
    QTest::newRow("one is wanted") << 4 << 1 << 1;
    QTest::newRow("near, by itself") << 4 << 0 << 1;
  }
  void overSeveralConnections() {
    QFETCH(int, allowed);
    QFETCH(int, wanted);
    QFETCH(int, used);
    ServiceRig rig;
    const QString config = writeConfiguration(
        rig, "[limits]\nstripes_per_session = " + QByteArray::number(allowed) + "\n");
    QVERIFY2(rig.startEngine("127.0.0.1:0", {"--config", config}), qPrintable(rig.engine.log()));
    const models::LoadedModel loaded = smallModel();
    const models::FixedPointOracle oracle(loaded.model, loaded.weights);
    const inference::OnlineCost cost = inference::onlineCost(loaded.model);
    SessionOptions options = optionsFor(rig);
    options.stripes = wanted;
    EngineSession session(options);
    QVERIFY(session.connect().ok());
    QTRY_COMPARE_WITH_TIMEOUT(session.stripes(), used, 10000);
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      const std::vector<float> image = randomImage(loaded.model.input, seed);
      const auto result = session.classify(image);
      QVERIFY2(result.ok(), result.ok() ? "" : result.error().message.c_str());
      QVERIFY(deviation(loaded, oracle, image, *result) < kTolerance);
      QCOMPARE(result->rounds, cost.rounds);
      QCOMPARE(result->bytesSent, cost.bytesToEngine + kStartInferenceBytes);
      QCOMPARE(result->bytesReceived, cost.bytesToClient);
      // What was said on the further connections before they carried a part of the stream.
      QCOMPARE(result->setup.bytesSent > 0, used > 1);
      QVERIFY(result->setup.bytesSent <= 200u * static_cast<unsigned>(used));
    }
    QCOMPARE(session.stripes(), used);
    QVERIFY(session.ping().ok());
  }

  /// An engine without room for more connections: the session has one, and works.
  void noRoomForMoreConnections() {
    ServiceRig rig;
    const QString config = writeConfiguration(rig, "[limits]\nmax_sessions = 1\n");
    QVERIFY2(rig.startEngine("127.0.0.1:0", {"--config", config}), qPrintable(rig.engine.log()));
    // Four connections are the limit: the session's, and three that say nothing.
    std::vector<std::unique_ptr<net::TlsTransport>> silent;
    for (int i = 0; i < 3; ++i) {
      net::ConnectOptions silentOptions;
      silentOptions.endpoint = {"127.0.0.1", rig.engine.port()};
      silentOptions.pin.expected =
          net::Fingerprint::parse(rig.engine.fingerprint().toStdString()).value();
      silent.push_back(net::connectTls(std::move(silentOptions)).value());
    }
    SessionOptions options = optionsFor(rig);
    options.stripes = 4;
    std::atomic<bool> told = false;
    options.log = [&](const std::string&, const std::string& line) {
      if (line.find("over one connection") != std::string::npos) told = true;
    };
    EngineSession session(options);
    QVERIFY(session.connect().ok());
    QTRY_VERIFY_WITH_TIMEOUT(told, 20000);
    QCOMPARE(session.stripes(), 1);
    QVERIFY(session.classify(randomImage(session.facts().model->input, 1)).ok());
  }

  /// Sessions that end while their further connections are opened, at various moments.
  void endsWhileItWidens() {
    ServiceRig rig;
    QVERIFY2(rig.startEngine(), qPrintable(rig.engine.log()));
    SessionOptions options = optionsFor(rig);
    options.stripes = 4;
    for (int i = 0; i < 12; ++i) {
      QElapsedTimer timer;
      {
        EngineSession session(options);
        QVERIFY(session.connect().ok());
        std::this_thread::sleep_for(std::chrono::microseconds(300 * i));
        if (i % 3 == 0) session.cancel();
        timer.start();
      }
      QVERIFY(timer.elapsed() < 5000);
    }
    EngineSession session(options);
    QVERIFY(session.connect().ok());
    QTRY_COMPARE_WITH_TIMEOUT(session.stripes(), 4, 10000);
    QVERIFY(session.classify(randomImage(session.facts().model->input, 1)).ok());
  }

  void wantsOneModeOnly() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    SessionOptions options = optionsFor(rig);
    options.mode = offline::Mode::TwoParty;
    EngineSession session(options);
    const Status status = session.connect();
    QVERIFY(!status.ok());
    QCOMPARE(status.error().code, ErrorCode::Refused);
    QVERIFY(status.error().message.find("first-party") != std::string::npos);
  }

  void aModelThatTakesTooMuchMemoryIsRefused() {
    ServiceRig rig;
    QVERIFY(rig.startEngine("127.0.0.1:0", {"--offline", "two-party"}));
    SessionOptions options = optionsFor(rig);
    options.offlineMemory = std::uint64_t{1} << 20;
    EngineSession session(options);
    const Status status = session.connect();
    QVERIFY(!status.ok());
    QCOMPARE(status.error().code, ErrorCode::Exhausted);
    QVERIFY(status.error().message.find("--offline-memory") != std::string::npos);
  }

  void engineDiesWhileASetIsMade() {
    ServiceRig rig;
    QVERIFY(rig.startEngine("127.0.0.1:0", {"--offline", "two-party"}));
    EngineSession session(optionsFor(rig));
    QVERIFY(session.connect().ok());
    QTRY_VERIFY_WITH_TIMEOUT(session.bank().making > 0 || session.bank().ready > 0, 20000);
    rig.engine.kill();
    const auto result = session.classify(randomImage(session.facts().model->input, 1));
    QVERIFY(!result.ok());
    QVERIFY(!result.error().message.empty());
  }

  void choosesTheModel() {
    ServiceRig rig;
    const QString first = rig.writeModel("first.onnx", 1);
    OnnxBuilder builder({3, 8, 8}, 3);
    builder.statePolynomial(reluFit(2));
    const std::string x =
        builder.activation(builder.conv(builder.input(), 2, Window::square(3, 2)), reluFit(2));
    builder.finish(builder.gemm(builder.flatten(x), 4));
    const std::string other = builder.bytes();
    QFile file(rig.path("second.onnx"));
    QVERIFY(file.open(QIODevice::WriteOnly));
    file.write(other.data(), static_cast<qint64>(other.size()));
    file.close();
    QVERIFY2(rig.startEngine("127.0.0.1:0", {"--model", first, "--model", file.fileName()}),
             qPrintable(rig.engine.log()));
    const auto expected =
        models::loadOnnx(std::filesystem::path(file.fileName().toStdString())).value().model;
    const std::string hash = models::toHex(models::modelHash(expected));

    SessionOptions options = optionsFor(rig);
    options.model = hash.substr(0, 12);
    EngineSession session(options);
    QVERIFY(session.connect().ok());
    QVERIFY(*session.facts().model == expected);
    QVERIFY(session.classify(randomImage(expected.input, 1)).ok());

    options.model = "no such model";
    EngineSession none(options);
    const Status status = none.connect();
    QVERIFY(!status.ok());
    QCOMPARE(status.error().code, ErrorCode::NotFound);
  }

  void sessionsAreIsolated() {
    ServiceRig rig;
    QVERIFY(rig.startDealer());
    QVERIFY(rig.startEngine());
    const models::LoadedModel loaded = smallModel();
    const models::FixedPointOracle oracle(loaded.model, loaded.weights);
    std::atomic<int> right = 0;
    std::vector<std::thread> clients;
    for (int c = 0; c < 4; ++c) {
      clients.emplace_back([&, c] {
        EngineSession session(optionsFor(rig, QString("client%1").arg(c)));
        if (!session.connect().ok()) return;
        for (int i = 0; i < 3; ++i) {
          const auto image =
              randomImage(loaded.model.input, static_cast<std::uint64_t>(10 * c + i));
          const auto result = session.classify(image);
          if (!result.ok()) return;
          if (deviation(loaded, oracle, image, *result) < kTolerance) ++right;
        }
        // One of them breaks off in the middle; the others must not notice.
        if (c == 0) {
          const auto broken = session.classify(
              randomImage(loaded.model.input, 1),
              [&session](const inference::StageProgress&) { session.cancelInference(); });
          if (!broken.ok() && broken.error().code == ErrorCode::Cancelled) ++right;
        }
      });
    }
    for (std::thread& client : clients) client.join();
    QCOMPARE(right.load(), 4 * 3 + 1);
    QVERIFY(rig.engine.running());
  }

  void engineKilledInTheMiddle() {
    ServiceRig rig;
    QVERIFY(rig.startDealer());
    QVERIFY(rig.startEngine());
    EngineSession session(optionsFor(rig));
    QVERIFY(session.connect().ok());
    const auto image = randomImage(session.facts().model->input, 1);
    QVERIFY(session.classify(image).ok());
    const auto result = session.classify(image, [&rig](const inference::StageProgress& stage) {
      if (stage.round == 1) rig.engine.kill();
    });
    QVERIFY(!result.ok());
    QCOMPARE(result.error().code, ErrorCode::Closed);
    QVERIFY(session.broken().has_value());
    // The sets that were ready are gone with the session.
    QVERIFY(!session.classify(image).ok());
  }

  // Sets that are complete do not need the dealer; new ones do. When it comes back there is a new A
  // and a new E, and the session goes on with them.
  void dealerKilledAndBack() {
    ServiceRig rig;
    QVERIFY(rig.startDealer());
    const QString dealerAddress = rig.dealer.address();
    QVERIFY(rig.startEngine());
    SessionOptions options = optionsFor(rig);
    options.bankTarget = 2;
    options.patience = std::chrono::seconds(1);
    EngineSession session(options);
    QVERIFY(session.connect().ok());
    const models::LoadedModel loaded = smallModel();
    const models::FixedPointOracle oracle(loaded.model, loaded.weights);
    const auto image = randomImage(loaded.model.input, 1);
    QTRY_COMPARE_WITH_TIMEOUT(session.bank().ready, 2, 20000);
    rig.dealer.kill();
    QVERIFY(session.classify(image).ok());
    QVERIFY(session.classify(image).ok());
    const auto none = session.classify(image);
    QVERIFY(!none.ok());
    QVERIFY2(none.error().message.find("dealer") != std::string::npos,
             none.error().message.c_str());
    QVERIFY(!session.broken().has_value());

    QVERIFY(rig.startDealer(dealerAddress));
    Result<Classification> result = Error{};
    for (int attempt = 0; attempt < 30; ++attempt) {
      result = session.classify(image);
      if (result.ok()) break;
    }
    QVERIFY2(result.ok(), result.ok() ? "" : result.error().message.c_str());
    QVERIFY(deviation(loaded, oracle, image, *result) < kTolerance);
  }

  void dealerAwayFromTheStart() {
    ServiceRig rig;
    QVERIFY(rig.startDealer());
    const QString dealerAddress = rig.dealer.address();
    rig.dealer.kill();
    QVERIFY(
        rig.engine.start("pillarbox-engine",
                         {"--listen", "127.0.0.1:0", "--state-dir", rig.path("engine"), "--offline",
                          "dealer", "--dealer", dealerAddress, "--model", rig.writeModel("m.onnx")},
                         rig.path("engine.ready")));
    SessionOptions options = optionsFor(rig);
    options.patience = std::chrono::milliseconds(1);
    EngineSession session(options);
    const Status status = session.connect();
    QVERIFY(!status.ok());
    QCOMPARE(status.error().code, ErrorCode::Unreachable);
    QVERIFY(status.error().message.find("dealer") != std::string::npos);
  }

  void wrongPins() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    const net::Fingerprint right =
        net::Fingerprint::parse(rig.engine.fingerprint().toStdString()).value();
    net::Fingerprint wrong = right;
    wrong.bytes[0] ^= 1;

    SessionOptions options = optionsFor(rig);
    options.trust = wrong;
    options.ask = [](const net::Fingerprint&) { return true; };
    QCOMPARE(EngineSession(options).connect().error().code, ErrorCode::Untrusted);
    options.trust.reset();
    net::Fingerprint asked;
    options.ask = [&asked](const net::Fingerprint& fingerprint) {
      asked = fingerprint;
      return false;
    };
    QCOMPARE(EngineSession(options).connect().error().code, ErrorCode::Untrusted);
    QVERIFY(asked == right);
    options.ask = {};
    QCOMPARE(EngineSession(options).connect().error().code, ErrorCode::Untrusted);
    const net::PinStore pins(options.stateDirectory);
    QVERIFY(pins.list().value().empty());

    options.ask = [](const net::Fingerprint&) { return true; };
    QVERIFY(EngineSession(options).connect().ok());
    QCOMPARE(pins.list().value().size(), std::size_t{1});
    QVERIFY(pins.list().value().front().fingerprint == right);
    // From now on nobody is asked.
    bool askedAgain = false;
    options.ask = [&askedAgain](const net::Fingerprint&) { return askedAgain = true; };
    QVERIFY(EngineSession(options).connect().ok());
    QVERIFY(!askedAgain);
    // Not even --trust replaces a pin.
    options.trust = wrong;
    QCOMPARE(EngineSession(options).connect().error().code, ErrorCode::Untrusted);
  }

  void changedCertificate() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    SessionOptions options = optionsFor(rig);
    QVERIFY(EngineSession(options).connect().ok());
    const std::string before = rig.engine.fingerprint().toStdString();
    const QString address = rig.engine.address();
    rig.engine.kill();
    const Ran generated = runProgram(
        "pillarbox-engine", {"generate-cert", "--force", "--state-dir", rig.path("engine")});
    QCOMPARE(generated.exitCode, 0);
    QVERIFY(rig.startEngine(address));
    const std::string after = rig.engine.fingerprint().toStdString();
    QVERIFY(before != after);
    options.trust.reset();
    options.ask = [](const net::Fingerprint&) { return true; };
    std::string pinned, presented;
    options.onMismatch = [&](const net::Fingerprint& old, const net::Fingerprint& now) {
      pinned = old.text();
      presented = now.text();
    };
    const Status refused = EngineSession(options).connect();
    QVERIFY(!refused.ok());
    QCOMPARE(refused.error().code, ErrorCode::Untrusted);
    QCOMPARE(pinned, before);
    QCOMPARE(presented, after);
    QVERIFY(refused.error().message.find(before) != std::string::npos);
    QVERIFY(refused.error().message.find(after) != std::string::npos);
    QVERIFY(net::PinStore(options.stateDirectory)
                .remove(net::PinKind::Engine, "127.0.0.1", rig.engine.port())
                .value());
    QVERIFY(EngineSession(options).connect().ok());
  }

  // The client's own memory of the dealer says otherwise than the engine.
  void changedDealerCertificate() {
    ServiceRig rig;
    QVERIFY(rig.startDealer());
    QVERIFY(rig.startEngine());
    const SessionOptions options = optionsFor(rig);
    {
      EngineSession session(options);
      QVERIFY(session.connect().ok());
      QVERIFY(session.classify(randomImage(session.facts().model->input, 1)).ok());
    }
    const net::PinStore pins(options.stateDirectory);
    QVERIFY(pins.remove(net::PinKind::Dealer, "127.0.0.1", rig.dealer.port()).value());
    net::Fingerprint other;
    other.bytes[5] = 7;
    QVERIFY(pins.add(net::PinKind::Dealer, "127.0.0.1", rig.dealer.port(), other).ok());
    EngineSession session(options);
    QVERIFY(session.connect().ok());
    const auto result = session.classify(randomImage(session.facts().model->input, 1));
    QVERIFY(!result.ok());
    QCOMPARE(result.error().code, ErrorCode::Untrusted);
    QVERIFY(result.error().message.find(other.text()) != std::string::npos);
    QVERIFY(result.error().message.find(rig.dealer.fingerprint().toStdString()) !=
            std::string::npos);
  }

  void aSetIsUsedOnce_data() {
    QTest::addColumn<QString>("attack");
    for (const char* attack :
         {"inference with a used index", "inference with an unknown index",
          "upload of a used index", "upload of a waiting index", "deal of a waiting index",
          "deal of a smaller index", "upload that nobody dealt"}) {
      QTest::newRow(attack) << QString(attack);
    }
  }
  void aSetIsUsedOnce() {
    QFETCH(QString, attack);
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    RawClient client(rig);
    QVERIFY(client.open().ok());
    auto first = client.prepare(3);
    QVERIFY2(first.ok(), first.ok() ? "" : first.error().message.c_str());
    Error error;
    if (attack == "inference with a used index") {
      QVERIFY(client.infer(std::move(first).value(), 3).ok());
      auto second = client.prepare(4);
      QVERIFY(second.ok());
      error = client.infer(std::move(second).value(), 3).error();
    } else if (attack == "inference with an unknown index") {
      error = client.infer(std::move(first).value(), 2).error();
    } else if (attack == "upload of a used index") {
      QVERIFY(client.infer(std::move(first).value(), 3).ok());
      error = client.upload(3).error();
    } else if (attack == "upload of a waiting index") {
      error = client.upload(3).error();
    } else if (attack == "deal of a waiting index") {
      error = client.prepare(3).error();
    } else if (attack == "deal of a smaller index") {
      QVERIFY(client.infer(std::move(first).value(), 3).ok());
      error = client.prepare(2).error();
    } else {
      // Declined: the engine knows no seed for it. The session goes on, the index is spent.
      const Status declined = client.upload(9);
      QVERIFY(!declined.ok());
      QCOMPARE(declined.error().code, ErrorCode::NotFound);
      QVERIFY(client.infer(std::move(first).value(), 3).ok());
      error = client.prepare(9).error();
    }
    QCOMPARE(error.code, ErrorCode::Protocol);
    // The session is over, the engine is not, and its log says why.
    ToEngine ping;
    ping.mutable_ping();
    QVERIFY(!client.ask(ping).ok());
    RawClient another(rig);
    QVERIFY(another.open().ok());
    QTRY_VERIFY(rig.engine.log().contains("event=session_end"));
    QVERIFY(rig.engine.log().contains("result=protocol"));
  }

  // A set belongs to its session: another client cannot use it.
  void setsOfAnotherSession() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    RawClient first(rig), second(rig);
    QVERIFY(first.welcome().token() != second.welcome().token());
    QVERIFY(first.open().ok() && second.open().ok());
    auto set = first.prepare(1);
    QVERIFY(set.ok());
    QCOMPARE(second.infer(std::move(set).value(), 1).error().code, ErrorCode::Protocol);
  }

  void bankIsLimited() {
    ServiceRig rig;
    QVERIFY(rig.startEngine(
        "127.0.0.1:0", {"--config", writeConfiguration(rig, "[limits]\nsets_per_session = 2\n")}));
    RawClient client(rig);
    QCOMPARE(client.welcome().max_sets(), 2u);
    QVERIFY(client.open().ok());
    auto set = client.prepare(1);
    QVERIFY(set.ok() && client.prepare(2).ok());
    const auto third = client.prepare(3);
    QVERIFY(!third.ok());
    QCOMPARE(third.error().code, ErrorCode::Exhausted);
    QVERIFY(client.infer(std::move(set).value(), 1).ok());
    QVERIFY(client.prepare(4).ok());
  }

  void quota() {
    ServiceRig rig;
    QVERIFY(rig.startEngine(
        "127.0.0.1:0",
        {"--config", writeConfiguration(rig, "[limits]\ninferences_per_minute = 2\n")}));
    EngineSession session(optionsFor(rig));
    QVERIFY(session.connect().ok());
    const auto image = randomImage(session.facts().model->input, 1);
    QVERIFY(session.classify(image).ok());
    QVERIFY(session.classify(image).ok());
    const auto third = session.classify(image);
    QVERIFY(!third.ok());
    QCOMPARE(third.error().code, ErrorCode::Exhausted);
  }

  void anotherModelHash() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    RawClient client(rig);
    ToEngine request;
    request.mutable_open_model()->set_hash(std::string(32, 'x'));
    const auto answer = client.ask(request);
    QVERIFY(!answer.ok());
    QCOMPARE(answer.error().code, ErrorCode::NotFound);
    QTRY_VERIFY(rig.engine.log().contains("result=not_found"));
  }

  // SIGTERM while an inference runs: it finishes, nobody new gets in, the exit code is 0.
  void drains() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    EngineSession session(optionsFor(rig)), idle(optionsFor(rig, "idle"));
    QVERIFY(session.connect().ok() && idle.connect().ok());
    const auto image = randomImage(session.facts().model->input, 1);
    QTRY_COMPARE_WITH_TIMEOUT(idle.bank().ready, 1, 10000);
    bool refused = false;
    const auto result = session.classify(image, [&](const inference::StageProgress& stage) {
      if (stage.round != 1) return;
      rig.engine.terminate();
      for (int i = 0; i < 100 && !refused; ++i) {
        QThread::msleep(20);
        EngineSession late(optionsFor(rig, "late"));
        refused = !late.connect().ok();
      }
    });
    QVERIFY2(result.ok(), result.ok() ? "" : result.error().message.c_str());
    QVERIFY(refused);
    QVERIFY(!idle.classify(image).ok());
    QCOMPARE(rig.engine.waitForEnd(), 0);
  }

  // An inference that does not end is cut off after drain_seconds.
  void drainHasALimit() {
    ServiceRig rig;
    QVERIFY(rig.startEngine("127.0.0.1:0",
                            {"--config", writeConfiguration(rig, "drain_seconds = 1\n")}));
    EngineSession session(optionsFor(rig));
    QVERIFY(session.connect().ok());
    const auto image = randomImage(session.facts().model->input, 1);
    int exitCode = -1;
    const auto result = session.classify(image, [&](const inference::StageProgress& stage) {
      if (stage.round != 1) return;
      rig.engine.terminate();
      exitCode = rig.engine.waitForEnd(10000);
    });
    QVERIFY(!result.ok());
    QCOMPARE(exitCode, 0);
  }

  // A client that opens an inference and then says nothing holds its own session only, and not for
  // ever.
  void silentClient() {
    ServiceRig rig;
    QVERIFY(rig.startEngine(
        "127.0.0.1:0",
        {"--config",
         writeConfiguration(rig, "[timeouts]\nnetwork_seconds = 2\nidle_seconds = 2\n")}));
    RawClient client(rig);
    QVERIFY(client.open().ok());
    QVERIFY(client.prepare(1).ok());
    ToEngine request;
    request.mutable_start_inference()->set_index(1);
    QVERIFY(net::sendMessage(client.channel(), request).ok());
    {
      EngineSession other(optionsFor(rig));
      QVERIFY(other.connect().ok());
      QVERIFY(other.classify(randomImage(client.model().input, 1)).ok());
    }
    RawClient idle(rig);
    for (RawClient* silent : {&client, &idle}) {
      const auto answer = net::receiveMessage<ToClient>(silent->channel());
      QVERIFY(!answer.ok());
      QCOMPARE(answer.error().code, ErrorCode::Timeout);
    }
  }

  // A chunk in the middle of a tensor is too short, too long, in the wrong place, cut off or never
  // sent: that session ends with the reason, and the engine serves the next.
  void brokenChunks() {
    ServiceRig rig;
    QVERIFY(rig.startEngine(
        "127.0.0.1:0",
        {"--model", QStringLiteral(PILLARBOX_SOURCE_DIR "/models/zoo/cifar10-pillar.onnx")}));
    for (const Fault fault :
         {Fault::TooShort, Fault::TooLong, Fault::Swapped, Fault::CutOff, Fault::Killed}) {
      RawClient client(rig, fault);
      QVERIFY(client.open().ok());
      auto set = client.prepare(1);
      QVERIFY(set.ok());
      client.faulty().arm(5);  // StartInference, the image's chunk, three of the first activation
      const auto result = client.infer(std::move(set).value(), 1);
      QVERIFY(client.faulty().struck());
      QVERIFY(!result.ok());
      const bool noticed = fault != Fault::CutOff && fault != Fault::Killed;
      QCOMPARE(result.error().code, noticed ? ErrorCode::Protocol : ErrorCode::Closed);
      if (noticed)
        QVERIFY2(result.error().message.find("says") != std::string::npos,
                 result.error().message.c_str());
      QVERIFY(rig.engine.running());
    }
    EngineSession session(optionsFor(rig));
    QVERIFY(session.connect().ok());
    const auto model = session.facts().model;
    QVERIFY(session.classify(randomImage(model->input, 1)).ok());
  }

  void cacheOfMaskedWeights() {
    ServiceRig rig;
    QVERIFY(rig.startDealer());
    QVERIFY(rig.startEngine());
    const SessionOptions options = optionsFor(rig);
    const models::LoadedModel loaded = smallModel();
    const auto size = static_cast<qint64>(8 * loaded.model.weightCount());
    const auto image = randomImage(loaded.model.input, 1);
    const auto classifyOnce = [&] {
      EngineSession session(options);
      return session.connect().ok() && session.classify(image).ok();
    };
    QVERIFY(classifyOnce());
    const QDir cache(rig.path("client/cache"));
    const QStringList files = cache.entryList({"*.weights"}, QDir::Files);
    QCOMPARE(files.size(), 1);
    QFile file(cache.filePath(files.front()));
    QCOMPARE(file.size(), size);
    QVERIFY(!(file.permissions() & (QFile::ReadGroup | QFile::ReadOther)));
    // Damaged: fetched again.
    QVERIFY(file.open(QIODevice::ReadWrite));
    file.seek(100);
    file.write("damage");
    file.close();
    QVERIFY(classifyOnce());
    QVERIFY(file.open(QIODevice::ReadOnly));
    file.seek(100);
    QVERIFY(file.read(6) != "damage");
    file.close();
    QVERIFY(file.resize(10));
    QVERIFY(classifyOnce());
    QCOMPARE(QFileInfo(file.fileName()).size(), size);
  }

  void unwritableStateFolder() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    QFile blocker(rig.path("blocker"));
    QVERIFY(blocker.open(QIODevice::WriteOnly));
    SessionOptions options = optionsFor(rig);
    options.stateDirectory = (rig.path("blocker") + "/state").toStdString();
    const Status status = EngineSession(options).connect();
    QVERIFY(!status.ok());
    QCOMPARE(status.error().code, ErrorCode::Io);
    QVERIFY(status.error().message.find("blocker") != std::string::npos);
  }

  void cancelling() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    {
      EngineSession session(optionsFor(rig));
      session.cancel();
      QCOMPARE(session.connect().error().code, ErrorCode::Cancelled);
    }
    EngineSession session(optionsFor(rig));
    QVERIFY(session.connect().ok());
    const auto image = randomImage(session.facts().model->input, 1);
    const auto early = session.classify(image, {}, [] { return true; });
    QVERIFY(!early.ok());
    QCOMPARE(early.error().code, ErrorCode::Cancelled);
    QVERIFY(session.classify(image).ok());  // nothing was lost by that
    const auto result = session.classify(
        image, [&session](const inference::StageProgress&) { session.cancelInference(); });
    QVERIFY(!result.ok());
    QCOMPARE(result.error().code, ErrorCode::Cancelled);
    QVERIFY(session.broken().has_value());
  }
};

QTEST_GUILESS_MAIN(TestSession)
#include "test_session.moc"

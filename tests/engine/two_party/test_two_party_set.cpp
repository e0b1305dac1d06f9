// Whole sets, made by both parties over a channel: every relation between the two halves against
// exact arithmetic, the result of an inference on them against the plaintext oracle, the declared
// cost against the meter, and what either side says about messages that are not the other's.

#include <cmath>
#include <thread>

#include <QTest>

#include "engine/kernels/stage.h"
#include "engine/offline/two_party/linear.h"
#include "engine/offline/two_party/party.h"
#include "engine/offline/two_party/powers.h"
#include "engine/ring/fixed_point.h"
#include "models/oracle.h"
#include "tests/support/model_factory.h"
#include "tests/support/two_party.h"

using namespace pillarbox;
using namespace pillarbox::offline::two_party;
using inference::EngineModel;
using testing::ChannelPair;

namespace {

struct Parties {
  explicit Parties(models::LoadedModel loaded, unsigned threads = 2)
      : model(std::make_shared<const EngineModel>(std::move(loaded.model),
                                                  std::move(loaded.weights))) {
    const std::shared_ptr<const models::PublicModel> description(model, &model->description());
    const std::shared_ptr<const models::ModelWeights> weights(model, &model->weights());
    plan = SetPlan::create(description).value();
    client = makeClientParty(plan, threads).value();
    engine = makeEngineParty(plan, weights, threads).value();
    channels = testing::makeChannels();
    channels.client->setTimeout(std::chrono::seconds(60));
    channels.engine->setTimeout(std::chrono::seconds(60));
  }

  void exchangeKeys() {
    std::thread thread([this] { keys = engine->receiveKeys(*channels.engine).value(); });
    const Status sent = client->sendKeys(*channels.client);
    thread.join();
    if (!sent.ok()) throw std::runtime_error(sent.error().message);
  }

  struct Made {
    Result<offline::ClientSet> client = Error{ErrorCode::Internal, "not made"};
    Result<offline::EngineSet> engine = Error{ErrorCode::Internal, "not made"};
  };
  Made make(std::uint64_t index, const Pace& clientPace = {}, const Pace& enginePace = {}) {
    Made made;
    std::thread thread([&] {
      made.engine = engine->makeSet(*channels.engine, *keys, index, enginePace);
      if (!made.engine.ok()) channels.engine->sendFailure(made.engine.error());
    });
    made.client = client->makeSet(*channels.client, index, clientPace);
    if (!made.client.ok()) channels.client->sendFailure(made.client.error());
    thread.join();
    return made;
  }

  std::shared_ptr<const EngineModel> model;
  std::shared_ptr<const SetPlan> plan;
  std::unique_ptr<const ClientParty> client;
  std::shared_ptr<const EngineParty> engine;
  std::shared_ptr<const EngineKeys> keys;
  ChannelPair channels;
};

template <typename T>
const char* why(const Result<T>& result) {
  return result.ok() ? "" : result.error().message.c_str();
}

/// The first relation between the two halves that does not hold, or nothing.
QString wrongIn(const EngineModel& model, const offline::ClientSet& client,
                const offline::EngineSet& engine) {
  const models::PublicModel& description = model.description();
  std::vector<std::span<const std::uint64_t>> masks = {client.inputMask};
  for (const auto& stage : client.stages) masks.emplace_back(stage.mask);
  kernels::Workspace workspace;
  for (std::size_t s = 0; s < description.stages.size(); ++s) {
    const models::Stage& stage = description.stages[s];
    const QString where = QString::fromStdString(stage.name) + " ";
    std::vector<std::span<const std::uint64_t>> inputs;
    for (const std::uint32_t input : stage.inputs) inputs.push_back(masks[input]);
    std::vector<std::uint64_t> share(stage.output.size());
    kernels::applyStage(stage, inputs, model.packedWeights(), workspace, share);
    for (std::size_t i = 0; i < share.size(); ++i) share[i] -= engine.stages[s].outputMask[i];
    ring::truncateClient(share, stage.truncation);
    if (!stage.activation) {
      if (!std::equal(share.begin(), share.end(), client.logitShare.begin(),
                      client.logitShare.end())) {
        return where + "logits";
      }
      continue;
    }
    const PowersShape shape{stage.activation->degree(), stage.activation->fractionBits,
                            description.precisionBits, stage.truncation};
    const std::uint32_t bits = PowersPlan::create(shape, share.size()).value().ringBits();
    const U128 ring = bits == 128 ? ~U128{0} : (U128{1} << bits) - 1;
    const auto& mine = client.stages[s].powers;
    const auto& theirs = engine.stages[s].powers;
    if (mine.size() != shape.degree || theirs.size() != shape.degree) return where + "degree";
    for (std::size_t i = 0; i < share.size(); ++i) {
      const auto lambda0 = static_cast<std::int64_t>(share[i]);
      if (mine[0][i] != static_cast<U128>(static_cast<I128>(lambda0))) return where + "lambda0";
      const auto lambda1 = -static_cast<std::int64_t>(engine.stages[s].openingMask[i]);
      const U128 lambda = static_cast<U128>(static_cast<I128>(lambda0) + lambda1);
      U128 power = 1;
      for (std::uint32_t k = 1; k <= shape.degree; ++k) {
        power *= lambda;
        // Powers whose terms are all zero in a polynomial are not made.
        if (k > 1 && mine[k - 1][i] == 0 && theirs[k - 1][i] == 0) continue;
        if (((mine[k - 1][i] + theirs[k - 1][i] - power) & ring) != 0) {
          return where + "power " + QString::number(k);
        }
      }
    }
  }
  return {};
}

}  // namespace

class TestTwoPartySet : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void halvesFit_data() {
    QTest::addColumn<QString>("name");
    for (const char* name :
         {"conv_stride_2_asymmetric_padding", "pool_3x3_before_weights", "projection_shortcut",
          "image_shortcut", "activation_of_the_image", "one_stage", "degree_2", "degree_8"}) {
      QTest::newRow(name) << name;
    }
  }
  void halvesFit() {
    QFETCH(QString, name);
    Parties parties(testing::makeTinyModel(name.toStdString()));
    parties.exchangeKeys();
    const net::MeterReading keys = parties.channels.client->meter();
    QCOMPARE(keys.bytesSent, parties.plan->cost().keyBytes);

    double last = 0;
    auto made = parties.make(3, [&](double done) -> Status {
      if (done < last || done > 1) return Error{ErrorCode::Internal, "progress went back"};
      last = done;
      return {};
    });
    QVERIFY2(made.client.ok(), why(made.client));
    QVERIFY2(made.engine.ok(), why(made.engine));
    QVERIFY(last > 0.99);
    QCOMPARE(made.client->index, 3u);
    QCOMPARE(made.engine->index, 3u);
    const QString wrong = wrongIn(*parties.model, *made.client, *made.engine);
    QVERIFY2(wrong.isEmpty(), qPrintable(wrong));

    // The cost that everybody can compute beforehand is what the meter shows.
    const net::MeterReading set = parties.channels.client->meter();
    const SetCost& cost = parties.plan->cost();
    QCOMPARE(set.bytesSent - keys.bytesSent, cost.bytesToEngine);
    QCOMPARE(set.bytesReceived - keys.bytesReceived, cost.bytesToClient);
    QCOMPARE(net::roundsBetween(keys, set), cost.rounds);
  }

  void inferenceOnASet() {
    const models::LoadedModel loaded = testing::makeTinyModel("projection_shortcut");
    const models::FixedPointOracle oracle(loaded.model, loaded.weights);
    Parties parties(loaded);
    parties.exchangeKeys();
    for (std::uint64_t index = 1; index <= 2; ++index) {
      auto made = parties.make(index);
      QVERIFY2(made.client.ok(), why(made.client));
      QVERIFY2(made.engine.ok(), why(made.engine));
      const auto image = testing::randomImage(loaded.model.input, index);
      ChannelPair channels = testing::makeChannels();
      const auto outcome =
          testing::runBoth(*parties.model, channels,
                           {std::move(made.client).value(), std::move(made.engine).value()}, image);
      QVERIFY2(outcome.client.ok(), why(outcome.client));
      const auto expected = oracle.evaluate(image).logits;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const double logit = std::ldexp(static_cast<double>(expected[i]),
                                        -static_cast<int>(loaded.model.outputBits));
        QVERIFY(std::abs(logit - outcome.client->logits[i]) < 0.05);
      }
    }
  }

  /// Two sets share nothing: no word of one is a word of the other at the same place.
  void setsAreFresh() {
    Parties parties(testing::makeTinyModel("degree_2"));
    parties.exchangeKeys();
    const auto first = parties.make(1);
    const auto second = parties.make(2);
    QVERIFY(first.client.ok() && first.engine.ok() && second.client.ok() && second.engine.ok());
    const auto differ = [](const auto& a, const auto& b) {
      std::size_t same = 0;
      for (std::size_t i = 0; i < a.size(); ++i) same += a[i] == b[i] ? 1 : 0;
      return a.size() == b.size() && same == 0;
    };
    QVERIFY(differ(first.client->inputMask, second.client->inputMask));
    for (std::size_t s = 0; s < first.client->stages.size(); ++s) {
      QVERIFY(differ(first.client->stages[s].mask, second.client->stages[s].mask));
      QVERIFY(differ(first.client->stages[s].powers[1], second.client->stages[s].powers[1]));
      QVERIFY(differ(first.engine->stages[s].outputMask, second.engine->stages[s].outputMask));
      QVERIFY(differ(first.engine->stages[s].openingMask, second.engine->stages[s].openingMask));
    }
  }

  void paceEndsASet() {
    Parties parties(testing::makeTinyModel("degree_2"));
    parties.exchangeKeys();
    int calls = 0;
    const auto made = parties.make(1, [&](double) -> Status {
      if (++calls < 3) return {};
      return Error{ErrorCode::Cancelled, "enough"};
    });
    QVERIFY(!made.client.ok());
    QCOMPARE(made.client.error().code, ErrorCode::Cancelled);
    QVERIFY(!made.engine.ok());
  }

  /// What the client sends instead of its n-th message, and what the engine makes of it.
  void engineRefuses_data() {
    QTest::addColumn<QByteArray>("message");
    QTest::addColumn<int>("code");
    QTest::newRow("nothing") << QByteArray() << static_cast<int>(ErrorCode::Protocol);
    QTest::newRow("too long") << QByteArray(1 << 22, 0) << static_cast<int>(ErrorCode::Protocol);
    QTest::newRow("zeros") << QByteArray() << static_cast<int>(ErrorCode::Format);
    QTest::newRow("ones") << QByteArray() << static_cast<int>(ErrorCode::Format);
  }
  void engineRefuses() {
    QFETCH(QByteArray, message);
    QFETCH(int, code);
    Parties parties(testing::makeTinyModel("degree_2"));
    parties.exchangeKeys();
    if (code == static_cast<int>(ErrorCode::Format)) {
      // Of the right length, but no ciphertext.
      const bool ones = QByteArray(QTest::currentDataTag()) == "ones";
      const auto bytes = LinearContext::create().value()->sizes().requestBytes;
      message = QByteArray(static_cast<qsizetype>(bytes), ones ? '\xff' : '\0');
    }
    Result<offline::EngineSet> made = Error{ErrorCode::Internal, ""};
    std::thread thread([&] {
      made = parties.engine->makeSet(*parties.channels.engine, *parties.keys, 1, {});
      parties.channels.engine->cancel();
    });
    QVERIFY(parties.channels.client
                ->send(net::FrameKind::Bytes,
                       std::as_bytes(std::span(message.constData(),
                                               static_cast<std::size_t>(message.size()))))
                .ok());
    thread.join();
    QVERIFY(!made.ok());
    QCOMPARE(static_cast<int>(made.error().code), code);
    QVERIFY(!made.error().message.empty());
  }

  void engineRefusesKeys() {
    Parties parties(testing::makeTinyModel("degree_2"));
    // Keys of another client in the wrong order: the second message first.
    ChannelPair wire = testing::makeChannels();
    QVERIFY(parties.client->sendKeys(*wire.client).ok());
    auto first = wire.engine->receive(net::FrameKind::Bytes, 1 << 26);
    auto second = wire.engine->receive(net::FrameKind::Bytes, 1 << 26);
    QVERIFY(first.ok() && second.ok());
    Result<std::shared_ptr<const EngineKeys>> keys = Error{ErrorCode::Internal, ""};
    QVERIFY(parties.channels.client->send(net::FrameKind::Bytes, *second).ok());
    QVERIFY(!parties.engine->receiveKeys(*parties.channels.engine).ok());
    // A single wrong byte in the middle of a residue may be a residue again; of the header never.
    Parties other(testing::makeTinyModel("degree_2"));
    (*first)[8] ^= std::byte{1};
    QVERIFY(other.channels.client->send(net::FrameKind::Bytes, *first).ok());
    const auto refused = other.engine->receiveKeys(*other.channels.engine);
    QVERIFY(!refused.ok());
    QCOMPARE(refused.error().code, ErrorCode::Protocol);
  }

  void clientRefuses() {
    Parties parties(testing::makeTinyModel("degree_2"));
    parties.exchangeKeys();
    std::thread thread([&] {
      const std::vector<std::byte> wrong(100);
      static_cast<void>(parties.channels.engine->send(net::FrameKind::Bytes, wrong).ok());
    });
    const auto made = parties.client->makeSet(*parties.channels.client, 1, {});
    thread.join();
    QVERIFY(!made.ok());
    QCOMPARE(made.error().code, ErrorCode::Protocol);
  }

  void engineIsGone() {
    Parties parties(testing::makeTinyModel("degree_2"));
    parties.exchangeKeys();
    parties.channels.engine.reset();
    const auto made = parties.client->makeSet(*parties.channels.client, 1, {});
    QVERIFY(!made.ok());
    QCOMPARE(made.error().code, ErrorCode::Closed);
  }

  /// The costs that the documentation states, from the public function.
  void costOfTheNetworks_data() {
    QTest::addColumn<QString>("name");
    QTest::addColumn<double>("megabytes");
    QTest::newRow("minionn") << "minionn" << 80.0;
    QTest::newRow("resnet18") << "resnet18" << 300.0;
  }
  void costOfTheNetworks() {
    QFETCH(QString, name);
    QFETCH(double, megabytes);
    auto loaded = testing::makePaperModel(name.toStdString());
    const auto plan =
        SetPlan::create(std::make_shared<const models::PublicModel>(std::move(loaded.model)))
            .value();
    const SetCost& cost = plan->cost();
    qInfo(
        "%s: keys %.2f MB; a set %.2f MB to the engine, %.2f MB back, %u rounds, memory %.0f and "
        "%.0f MB",
        qPrintable(name), 1e-6 * static_cast<double>(cost.keyBytes),
        1e-6 * static_cast<double>(cost.bytesToEngine),
        1e-6 * static_cast<double>(cost.bytesToClient), cost.rounds,
        1e-6 * static_cast<double>(cost.clientMemoryBytes),
        1e-6 * static_cast<double>(cost.engineMemoryBytes));
    QVERIFY(1e-6 * static_cast<double>(cost.bytesToEngine + cost.bytesToClient) < megabytes);
  }
};

QTEST_GUILESS_MAIN(TestTwoPartySet)
#include "test_two_party_set.moc"

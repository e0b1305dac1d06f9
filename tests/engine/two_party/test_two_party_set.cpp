// Whole sets, made by both parties over a channel: every relation between the two halves against
// exact arithmetic, the result of an inference on them against the plaintext oracle, the declared
// cost against the meter, and what either side says about messages that are not the other's.

#include <chrono>
#include <cmath>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include <QTest>

#include "engine/kernels/stage.h"
#include "engine/offline/two_party/linear.h"
#include "engine/offline/two_party/party.h"
#include "engine/offline/two_party/powers.h"
#include "engine/ring/fixed_point.h"
#include "models/oracle.h"
#include "tests/engine/two_party/two_party_ops.h"
#include "tests/support/model_factory.h"
#include "tests/support/taylor_shift.h"
#include "tests/support/two_party.h"

using namespace pillarbox;
using namespace pillarbox::offline::two_party;
using inference::EngineModel;
using testing::ChannelPair;

namespace {

struct Parties {
  explicit Parties(models::LoadedModel loaded, unsigned threads = 2,
                   offline::Protocol protocol = offline::Protocol::HoneyBadger)
      : model(std::make_shared<const EngineModel>(std::move(loaded.model),
                                                  std::move(loaded.weights))) {
    const std::shared_ptr<const models::PublicModel> description(model, &model->description());
    const std::shared_ptr<const models::ModelWeights> weights(model, &model->weights());
    activations = model->activations(protocol).value();
    plan = SetPlan::create(description, activations->correlations()).value();
    client = makeClientParty(plan, threads).value();
    // The engine's party for another protocol is made of the one for HoneyBadger.
    engine = makeEngineParty(SetPlan::create(description).value(), weights, threads).value();
    if (protocol != offline::Protocol::HoneyBadger) {
      engine = engine->with(activations->correlations()).value();
    }
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
  std::shared_ptr<const inference::Activations> activations;
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
    const auto& mine = client.stages[s].coefficients;
    const auto& theirs = engine.stages[s].coefficients;
    if (mine.size() != shape.degree || theirs.size() != shape.degree) return where + "degree";
    for (std::size_t i = 0; i < share.size(); ++i) {
      const auto lambda0 = static_cast<std::int64_t>(share[i]);
      if (client.stages[s].share[i] != share[i]) return where + "lambda0";
      const auto lambda1 = -static_cast<std::int64_t>(engine.stages[s].openingMask[i]);
      const U128 lambda = static_cast<U128>(static_cast<I128>(lambda0) + lambda1);
      const auto expected =
          testing::taylorShift(*stage.activation, description.precisionBits, lambda);
      for (std::uint32_t k = 0; k < shape.degree; ++k) {
        if (((mine[k][i] + theirs[k][i] - expected[k]) & ring) != 0) {
          return where + "coefficient " + QString::number(k);
        }
      }
    }
  }
  return {};
}

using Message = std::vector<std::byte>;
using Counts = std::pair<std::size_t, std::size_t>;  ///< messages to the engine, to the client

enum class How {
  Nothing,
  Empty,
  Shorter,
  Longer,
  Huge,
  Zero,
  Version,
  Kind,
  Parameters,
  Ones,
  Words,
  Missing,
  Twice,
  AfterNext
};

/// What becomes of one message on its way.
struct Tampering {
  bool toEngine = true;
  std::size_t place = 0;
  How how = How::Nothing;
};

void change(Message& message, How how) {
  switch (how) {
    case How::Empty:
      return message.clear();
    case How::Shorter:
      return message.pop_back();
    case How::Longer:
      return message.push_back({});
    case How::Huge:
      return message.resize(std::size_t{64} << 20);
    case How::Zero:
      return std::fill(message.begin(), message.end(), std::byte{0});
    case How::Version:
      message[4] ^= std::byte{2};
      return;
    case How::Kind:
      message[5] ^= std::byte{7};
      return;
    case How::Parameters:
      message[8] ^= std::byte{1};
      return;
    case How::Ones:
      // Behind header and seed.
      return std::fill(message.begin() + 48, message.end(), std::byte{255});
    default:
      return;
  }
}

/// Passes a direction's messages on until one side ends; returns how many there were.
std::size_t passOn(net::Channel& from, net::Channel& to,
                   const std::optional<Tampering>& tampering) {
  std::size_t count = 0;
  std::optional<Message> later;
  for (;; ++count) {
    auto message = from.receive(net::FrameKind::Bytes, std::size_t{1} << 26);
    if (!message.ok()) {
      if (message.error().code != ErrorCode::Cancelled) to.sendFailure(message.error());
      return count;
    }
    auto kind = net::FrameKind::Bytes;
    int copies = 1;
    if (tampering && tampering->place == count) {
      change(*message, tampering->how);
      if (tampering->how == How::Words) kind = net::FrameKind::Words;
      if (tampering->how == How::Twice) copies = 2;
      if (tampering->how == How::Missing || tampering->how == How::AfterNext) copies = 0;
      if (tampering->how == How::AfterNext) later = *message;
    }
    for (; copies > 0; --copies) {
      if (!to.send(kind, *message).ok()) return count;
      if (later && !to.send(kind, *std::exchange(later, {})).ok()) return count;
    }
  }
}

/// A set made by the two parties with somebody between them.
Parties::Made makeThroughRelay(Parties& parties, const Tampering& tampering,
                               Counts* counts = nullptr) {
  ChannelPair left = testing::makeChannels(), right = testing::makeChannels();
  const auto patience = std::chrono::seconds(tampering.how == How::Missing ? 3 : 60);
  left.client->setTimeout(patience);
  right.engine->setTimeout(patience);
  Counts passed;
  std::thread toEngine([&] {
    passed.first = passOn(*left.engine, *right.client,
                          tampering.toEngine ? std::optional(tampering) : std::nullopt);
  });
  std::thread toClient([&] {
    passed.second = passOn(*right.client, *left.engine,
                           tampering.toEngine ? std::nullopt : std::optional(tampering));
  });
  Parties::Made made;
  std::thread engine([&] {
    made.engine = parties.engine->makeSet(*right.engine, *parties.keys, 1, {});
    if (!made.engine.ok()) right.engine->sendFailure(made.engine.error());
  });
  made.client = parties.client->makeSet(*left.client, 1, {});
  if (!made.client.ok()) left.client->sendFailure(made.client.error());
  engine.join();
  left.engine->cancel();
  right.client->cancel();
  toEngine.join();
  toClient.join();
  if (counts != nullptr) *counts = passed;
  return made;
}

}  // namespace

class TestTwoPartySet : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void initTestCase() {
    m_parties =
        std::make_unique<Parties>(testing::makeTinyModel("conv_stride_2_asymmetric_padding"));
    m_parties->exchangeKeys();
    Tampering none;
    QVERIFY(makeThroughRelay(*m_parties, none, &m_messages).client.ok());
  }

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

  void otherProtocols_data() {
    QTest::addColumn<int>("protocol");
    QTest::addColumn<QString>("name");
    for (const offline::Protocol protocol : offline::allProtocols()) {
      if (protocol == offline::Protocol::HoneyBadger) continue;
      for (const char* name : {"projection_shortcut", "odd_terms", "degree_2"}) {
        QTest::addRow("%s, %s", offline::toString(protocol), name)
            << static_cast<int>(protocol) << QString(name);
      }
    }
  }
  /// A set for another protocol: the products of its factors, its cost, and an inference on it
  /// against the oracle, within what the protocol declares.
  void otherProtocols() {
    QFETCH(int, protocol);
    QFETCH(QString, name);
    const auto which = static_cast<offline::Protocol>(protocol);
    const models::LoadedModel loaded = testing::makeTinyModel(name.toStdString(), m_data.word());
    Parties parties(loaded, 2, which);
    const inference::Activations* activations = parties.activations.get();
    parties.exchangeKeys();
    const net::MeterReading keys = parties.channels.client->meter();
    QCOMPARE(keys.bytesSent, parties.plan->cost().keyBytes);
    auto made = parties.make(1);
    QVERIFY2(made.client.ok(), why(made.client));
    QVERIFY2(made.engine.ok(), why(made.engine));
    const net::MeterReading set = parties.channels.client->meter();
    const SetCost& cost = parties.plan->cost();
    QCOMPARE(set.bytesSent - keys.bytesSent, cost.bytesToEngine);
    QCOMPARE(set.bytesReceived - keys.bytesReceived, cost.bytesToClient);
    QCOMPARE(net::roundsBetween(keys, set), cost.rounds);
    QVERIFY(cost.hidingBits >= 40);
    const auto memory = offline::offlineCost(loaded.model, activations->correlations());
    QCOMPARE(made.client->memoryBytes(), memory.clientMemoryBytes);
    QCOMPARE(made.engine->memoryBytes(), memory.engineMemoryBytes);

    // Factors that nobody drew twice, and their products.
    std::set<std::uint64_t> seen;
    std::size_t drawn = 0;
    for (std::size_t s = 0; s < made.client->stages.size(); ++s) {
      const offline::ClientStage& mine = made.client->stages[s];
      const offline::ProductShares& theirs = made.engine->stages[s].products;
      const offline::ProductPlan& plan = *activations->correlations().of(s);
      std::vector<SecureVector<std::uint64_t>> factors = mine.products.factors;
      for (const auto* own : {&mine.products, &theirs}) {
        for (const auto& factor : own->factors) {
          seen.insert(factor.begin(), factor.end());
          drawn += factor.size();
        }
      }
      for (std::uint32_t f = 0; plan.derive && f < plan.clientFactors; ++f) {
        plan.derive(f, mine.share, factors.emplace_back(mine.share.size()));
      }
      QCOMPARE(factors.size(), std::size_t{plan.clientFactors});
      QCOMPARE(mine.products.sums.size(), plan.sums.size());
      for (std::size_t k = 0; k < plan.sums.size(); ++k) {
        for (std::size_t i = 0; i < mine.share.size(); ++i) {
          std::uint64_t exact = 0;
          for (const auto& term : plan.sums[k]) {
            exact += factors[term.client][i] * theirs.factors[term.engine][i];
          }
          QCOMPARE(mine.products.sums[k][i] + theirs.sums[k][i], exact);
        }
      }
    }
    QVERIFY(drawn > 0);
    QCOMPARE(seen.size(), drawn);

    const auto image = testing::randomImage(loaded.model.input, m_data.word());
    const auto expected =
        models::FixedPointOracle(loaded.model, loaded.weights).evaluate(image).logits;
    const auto bound = testing::logitBound(loaded, 2 * loaded.range, activations);
    ChannelPair channels = testing::makeChannels();
    const auto outcome = testing::runBoth(
        *parties.model, channels, {std::move(made.client).value(), std::move(made.engine).value()},
        image, {}, activations);
    QVERIFY2(outcome.client.ok(), why(outcome.client));
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double error =
          std::ldexp(outcome.client->logits[i], static_cast<int>(loaded.model.outputBits)) -
          static_cast<double>(expected[i]);
      QVERIFY2(std::abs(error) <= bound[i],
               qPrintable(QString("%1 ulps, bound %2").arg(error).arg(bound[i])));
    }
    const auto online = inference::onlineCost(loaded.model, activations);
    QCOMPARE(outcome.client->rounds, online.rounds);
    QCOMPARE(outcome.client->bytesSent, online.bytesToEngine);
    QCOMPARE(outcome.client->bytesReceived, online.bytesToClient);
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
      QVERIFY(differ(first.client->stages[s].coefficients[0],
                     second.client->stages[s].coefficients[0]));
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

  /// One message of an honest run is changed on its way: whoever gets it says what is wrong with
  /// it, at once, and no set comes of it on either side.
  void tampered_data() {
    QTest::addColumn<bool>("toEngine");
    QTest::addColumn<int>("place");  // of the message; -1: the last one
    QTest::addColumn<int>("how");
    QTest::addColumn<QString>("says");
    const auto row = [](const char* name, bool toEngine, int place, How how, const char* says) {
      QTest::newRow(name) << toEngine << place << static_cast<int>(how) << says;
    };
    row("engine: nothing in it", true, 0, How::Empty, "bytes");
    row("engine: a byte short", true, 0, How::Shorter, "bytes");
    row("engine: a byte long", true, 1, How::Longer, "bytes");
    row("engine: 64 MiB", true, 0, How::Huge, "bytes");
    row("engine: no header", true, 0, How::Zero, "");
    row("engine: another version", true, 0, How::Version, "version");
    row("engine: another kind of object", true, 1, How::Kind, "");
    row("engine: other parameters", true, 0, How::Parameters, "parameters");
    row("engine: residues too large", true, 0, How::Ones, "");
    row("engine: powers, a byte short", true, -1, How::Shorter, "bytes");
    row("engine: powers, residues too large", true, -1, How::Ones, "out of range");
    row("engine: words for bytes", true, 0, How::Words, "");
    row("engine: one is missing", true, 0, How::Missing, "");
    row("engine: one comes twice", true, 0, How::Twice, "bytes");
    row("client: nothing in it", false, 0, How::Empty, "bytes");
    row("client: a byte long", false, 0, How::Longer, "bytes");
    row("client: other parameters", false, 0, How::Parameters, "parameters");
    row("client: another kind of object", false, 0, How::Kind, "");
    row("client: residues too large", false, 0, How::Ones, "");
    row("client: powers, a byte short", false, -1, How::Shorter, "bytes");
    row("client: powers, residues too large", false, -1, How::Ones, "out of range");
    row("client: one is missing", false, 0, How::Missing, "");
    row("client: one comes twice", false, 0, How::Twice, "bytes");
  }
  void tampered() {
    QFETCH(bool, toEngine);
    QFETCH(int, place);
    QFETCH(int, how);
    QFETCH(QString, says);
    const std::size_t count = toEngine ? m_messages.first : m_messages.second;
    QVERIFY(count > 2);
    Tampering tampering;
    tampering.toEngine = toEngine;
    tampering.place = static_cast<std::size_t>(place < 0 ? static_cast<int>(count) + place : place);
    tampering.how = static_cast<How>(how);
    const auto start = std::chrono::steady_clock::now();
    const auto made = makeThroughRelay(*m_parties, tampering);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    // The engine is done when it has sent its last answer; without the client's FinishSet its half
    // goes no further (set_bank.h).
    const bool last = !toEngine && place == -1;
    QVERIFY(!made.client.ok());
    QVERIFY(last || !made.engine.ok());
    const Error& error = toEngine ? made.engine.error() : made.client.error();
    if (tampering.how == How::Missing) {
      // The next one has the same length, so that the end finds it out, by a length or by waiting.
      QVERIFY(error.code == ErrorCode::Protocol || error.code == ErrorCode::Timeout);
    } else {
      QVERIFY2(error.code == ErrorCode::Protocol || error.code == ErrorCode::Format ||
                   error.code == ErrorCode::Version,
               error.message.c_str());
      QVERIFY2(elapsed.count() < 30, "the error came late");
    }
    QVERIFY2(QString::fromStdString(error.message).contains(says), error.message.c_str());
    QVERIFY(error.message.size() < 512);
    // The other side hears of it, or finds the line closed.
    QVERIFY(last || !(toEngine ? made.client.error() : made.engine.error()).message.empty());
  }

  /// What cannot be told from an honest message harms nobody but the sender: requests in another
  /// order are encryptions like others. The set is useless, and nothing else happens.
  void requestsInAnotherOrder() {
    Tampering tampering;
    tampering.toEngine = true;
    tampering.place = 0;
    tampering.how = How::AfterNext;
    const auto made = makeThroughRelay(*m_parties, tampering);
    QVERIFY2(made.client.ok(), why(made.client));
    QVERIFY2(made.engine.ok(), why(made.engine));
    QVERIFY(!wrongIn(*m_parties->model, *made.client, *made.engine).isEmpty());
  }

  /// After all that, the parties and their keys are as good as before.
  void nothingIsLeftOfIt() {
    const auto made = makeThroughRelay(*m_parties, {});
    QVERIFY2(made.client.ok(), why(made.client));
    QVERIFY2(made.engine.ok(), why(made.engine));
    const QString wrong = wrongIn(*m_parties->model, *made.client, *made.engine);
    QVERIFY2(wrong.isEmpty(), qPrintable(wrong));
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
        "%.0f MB; hidden by %.1f bits",
        qPrintable(name), 1e-6 * static_cast<double>(cost.keyBytes),
        1e-6 * static_cast<double>(cost.bytesToEngine),
        1e-6 * static_cast<double>(cost.bytesToClient), cost.rounds,
        1e-6 * static_cast<double>(cost.clientMemoryBytes),
        1e-6 * static_cast<double>(cost.engineMemoryBytes), cost.hidingBits);
    // Of everything that a client receives for one image, together (docs/security.md).
    QVERIFY(cost.hidingBits >= 40);
    QVERIFY(1e-6 * static_cast<double>(cost.bytesToEngine + cost.bytesToClient) < megabytes);
  }

  /// Requests and replies are streams: beside the set, and its copy where it is put together, a
  /// network of twice as many layers takes no more memory while one is made.
  void memoryDoesNotGrowWithTheLayers() {
    const auto beside = [](std::size_t layers) {
      models::PublicModel model;
      model.input = {64, 32, 32};
      for (std::size_t i = 0; i < layers; ++i) {
        models::Stage& stage = model.stages.emplace_back();
        stage.inputs = {static_cast<std::uint32_t>(i)};
        stage.ops = {testing::convolution(model.input, 64, 3, 3, 1, 1, {1, 1, 1, 1})};
        stage.ops[0].weightIndex = static_cast<std::uint32_t>(i);
        stage.output = stage.ops[0].out;
        if (i + 1 < layers) stage.activation = models::Polynomial{10, {322, 512, 160, 0, -3}};
      }
      offline::OfflineCost set = offline::offlineCost(model);
      set.clientMemoryBytes += 8 * model.activationCount();  // λ0, which dealt sets do not keep
      const auto plan =
          SetPlan::create(std::make_shared<const models::PublicModel>(std::move(model))).value();
      return std::pair(plan->cost().clientMemoryBytes - 2 * set.clientMemoryBytes,
                       plan->cost().engineMemoryBytes - 2 * set.engineMemoryBytes);
    };
    const auto [client, engine] = beside(40);
    const auto [clientTwice, engineTwice] = beside(80);
    QVERIFY2(clientTwice <= client, qPrintable(QString::number(clientTwice - client)));
    QVERIFY2(engineTwice <= engine, qPrintable(QString::number(engineTwice - engine)));
  }

  /// What the engine reserves covers what its threads hold of a pass (LinearEngine::evaluate).
  void memoryCoversTheThreads() {
    models::PublicModel model;
    model.input = {512, 16, 16};
    models::Stage& stage = model.stages.emplace_back();
    stage.inputs = {0};
    stage.ops = {testing::convolution(model.input, 1024, 1, 1, 1, 1, {0, 0, 0, 0})};
    stage.output = stage.ops[0].out;
    models::ModelWeights weights;
    weights.weights.emplace_back(stage.ops[0].weightCount(), 1);
    const auto context = LinearContext::create().value();
    const he::Parameters& ring = context->parameters();
    const LinearPlan layer = context->plan(stage.ops[0]).value();
    const auto plan =
        SetPlan::create(std::make_shared<const models::PublicModel>(std::move(model))).value();
    const auto kept = std::make_shared<const models::ModelWeights>(std::move(weights));
    for (const unsigned threads : {1U, 8U, 64U}) {
      std::uint64_t most = 0;
      for (const Pass& pass : layer.passes()) {
        const std::uint64_t sums = std::min(pass.leaves, threads * (pass.levels + 2));
        most = std::max(most, pass.tiles.size() * 8 * ring.degree() *
                                  (pass.groups * 2 * ring.q().count() +
                                   sums * (ring.full().count() + ring.q().count())));
      }
      const auto engine = makeEngineParty(plan, kept, threads).value();
      QVERIFY2(engine->cost().engineMemoryBytes > most, qPrintable(QString::number(threads)));
    }
  }

 private:
  testing::RandomWords m_data;
  std::unique_ptr<Parties> m_parties;  ///< with keys
  Counts m_messages;                   ///< of one of its sets
};

QTEST_GUILESS_MAIN(TestTwoPartySet)
#include "test_two_party_set.moc"

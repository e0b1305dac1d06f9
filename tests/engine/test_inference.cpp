// Two parties in one process: the result against the plaintext fixed-point oracle and the float
// model, the declared cost against the meter, and what happens when one party breaks off.
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>

#include <QTest>

#include "engine/kernels/stage.h"
#include "engine/ring/fixed_point.h"
#include "engine/ring/narrow.h"
#include "models/oracle.h"
#include "tests/support/faulty_transport.h"
#include "tests/support/model_factory.h"
#include "tests/support/taylor_shift.h"
#include "tests/support/two_party.h"

using namespace pillarbox;
using inference::EngineModel;
using models::LoadedModel;

namespace {

thread_local std::uint64_t allocations = 0;

void* countedAllocation(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  bytes = (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  void* const memory = std::aligned_alloc(alignment, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) {
  return countedAllocation(bytes, alignof(std::max_align_t));
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return countedAllocation(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace {

/// A transport through memory that is there from the beginning.
class FixedPipe : public net::Transport {
 public:
  struct Ring {
    explicit Ring(std::size_t bytes) : memory(bytes) {}
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<std::byte> memory;
    std::size_t written = 0, taken = 0;
  };
  static std::pair<std::unique_ptr<FixedPipe>, std::unique_ptr<FixedPipe>> makePair(
      std::size_t bytes) {
    const auto a = std::make_shared<Ring>(bytes), b = std::make_shared<Ring>(bytes);
    return {std::make_unique<FixedPipe>(a, b), std::make_unique<FixedPipe>(b, a)};
  }
  FixedPipe(std::shared_ptr<Ring> in, std::shared_ptr<Ring> out)
      : m_in(std::move(in)), m_out(std::move(out)) {}

  Status write(std::span<const std::byte> header, std::span<const std::byte> payload) override {
    Ring& ring = *m_out;
    std::unique_lock lock(ring.mutex);
    for (const auto part : {header, payload}) {
      for (const std::byte byte : part) {
        ring.changed.wait(lock, [&] { return ring.written - ring.taken < ring.memory.size(); });
        ring.memory[ring.written++ % ring.memory.size()] = byte;
      }
    }
    ring.changed.notify_all();
    return {};
  }
  Status read(std::span<std::byte> bytes) override {
    Ring& ring = *m_in;
    std::unique_lock lock(ring.mutex);
    for (std::byte& byte : bytes) {
      ring.changed.wait(lock, [&] { return ring.written > ring.taken; });
      byte = ring.memory[ring.taken++ % ring.memory.size()];
    }
    ring.changed.notify_all();
    return {};
  }
  void setTimeout(std::chrono::milliseconds) override {}
  void cancel() noexcept override {}
  std::string peer() const override { return "pipe"; }

 private:
  std::shared_ptr<Ring> m_in, m_out;
};

/// For messages: QVERIFY2 evaluates its text even where the check holds.
template <typename T>
const char* why(const Result<T>& result) {
  return result.ok() ? "" : result.error().message.c_str();
}

/// Gives dealt sets the masks of the two-party mode: λ = λ0 + λ1 over the integers, λ0 the client's
/// truncated share, λ1 of 56 bits and now and then next to an end of its range.
void useIntegerMasks(const models::PublicModel& model, testing::DealtSets& sets,
                     testing::RandomWords& data) {
  const auto widen = [](std::uint64_t word) {
    return static_cast<U128>(static_cast<I128>(static_cast<std::int64_t>(word)));
  };
  constexpr std::uint64_t kNearTheEnd = (std::uint64_t{1} << 55) - (std::uint64_t{1} << 20);
  for (std::size_t s = 0; s < sets.client.stages.size(); ++s) {
    auto& client = sets.client.stages[s];
    auto& engine = sets.engine.stages[s];
    const models::Polynomial& polynomial = *model.stages[s].activation;
    const std::uint32_t degree = polynomial.degree(), f = model.precisionBits;
    client.share.resize(client.mask.size());
    for (std::size_t i = 0; i < client.mask.size(); ++i) {
      // λ as dealt, of R_{d-1} = d C_d λ + 2^f C_{d-1}.
      const U128 next = client.coefficients[degree - 1][i] + engine.coefficients[degree - 1][i];
      const I128 multiple = static_cast<I128>(next) -
                            static_cast<I128>(polynomial.coefficients[degree - 1]) * (I128{1} << f);
      const auto dealt = static_cast<std::uint64_t>(
          multiple / (static_cast<I128>(polynomial.coefficients[degree]) * degree));
      // The share is known up to what lies above 56 bits, which a truncated one does not use.
      const std::uint64_t own = ring::narrow(engine.openingMask[i] + dealt);
      const std::uint64_t other = i % 8 == 0   ? kNearTheEnd
                                  : i % 8 == 1 ? 0 - kNearTheEnd
                                               : ring::narrow(data.word());
      engine.openingMask[i] = 0 - other;
      client.share[i] = own;
      const auto coefficients = testing::taylorShift(polynomial, f, widen(own) + widen(other));
      for (std::uint32_t k = 0; k < degree; ++k) {
        engine.coefficients[k][i] = data.wide();
        client.coefficients[k][i] = coefficients[k] - engine.coefficients[k][i];
      }
    }
  }
  sets.client.integerMasks = sets.engine.integerMasks = true;
}

std::int64_t toUlps(double logit, const models::PublicModel& model) {
  return std::llround(std::ldexp(logit, static_cast<int>(model.outputBits)));
}

}  // namespace

Q_DECLARE_METATYPE(pillarbox::testing::Fault)
Q_DECLARE_METATYPE(pillarbox::ErrorCode)
Q_DECLARE_METATYPE(pillarbox::offline::Mode)
Q_DECLARE_METATYPE(pillarbox::offline::Protocol)

class TestInference : public QObject {
  Q_OBJECT

 private:
  testing::RandomWords m_data;

 private Q_SLOTS:
  void matchesTheOracle_data() {
    QTest::addColumn<QString>("name");
    QTest::addColumn<offline::Mode>("mode");
    using offline::Mode;
    for (const std::string& name : testing::tinyModelNames()) {
      for (const Mode mode : {Mode::Dealer, Mode::FirstParty, Mode::TwoParty}) {
        QTest::newRow((name + ", " + toString(mode)).c_str())
            << QString::fromStdString(name) << mode;
      }
    }
  }
  void matchesTheOracle() {
    QFETCH(QString, name);
    QFETCH(offline::Mode, mode);
    const bool twoParty = mode == offline::Mode::TwoParty;
    const LoadedModel loaded = testing::makeTinyModel(name.toStdString(), m_data.word());
    const EngineModel model(loaded.model, loaded.weights);
    const models::FixedPointOracle oracle(loaded.model, loaded.weights, loaded.range);
    const std::vector<double> bound = testing::logitBound(loaded, 2 * loaded.range);
    auto channels = testing::makeChannels();
    for (int repeat = 0; repeat < 3; ++repeat) {
      const auto image = testing::randomImage(loaded.model.input, m_data.word());
      testing::DealtSets sets =
          testing::dealBoth(model, m_data, twoParty ? offline::Mode::Dealer : mode);
      if (twoParty) useIntegerMasks(loaded.model, sets, m_data);
      const auto outcome = testing::runBoth(model, channels, std::move(sets), image);
      QVERIFY2(outcome.engine.ok(), outcome.engine.error().message.c_str());
      QVERIFY2(outcome.client.ok(), why(outcome.client));
      const auto expected = oracle.evaluate(image);
      const auto real = models::evaluateFloat(loaded.graph, image);
      QCOMPARE(outcome.client->logits.size(), expected.logits.size());
      QCOMPARE(outcome.client->warning, std::string());
      for (std::size_t i = 0; i < expected.logits.size(); ++i) {
        const auto error = toUlps(outcome.client->logits[i], loaded.model) - expected.logits[i];
        QVERIFY2(
            std::abs(static_cast<double>(error)) <= bound[i],
            qPrintable(QString("logit %1: %2 ulps, bound %3").arg(i).arg(error).arg(bound[i])));
        QVERIFY2(std::abs(outcome.client->logits[i] - real[i]) < 0.05,
                 qPrintable(QString("logit %1: %2 against %3 in floating point")
                                .arg(i)
                                .arg(outcome.client->logits[i])
                                .arg(real[i])));
      }
      QVERIFY(outcome.engine.ok());
    }
  }

  // The other protocols, on networks of several stages, shortcuts and degrees, within what each
  // declares, and with the rounds and bytes that each declares, on both sides.
  void otherProtocols_data() {
    QTest::addColumn<QString>("name");
    QTest::addColumn<offline::Protocol>("protocol");
    QTest::addColumn<offline::Mode>("mode");
    for (const offline::Protocol protocol : offline::allProtocols()) {
      if (protocol == offline::Protocol::HoneyBadger) continue;
      for (const char* name : {"projection_shortcut", "pre_activation_blocks", "image_shortcut",
                               "one_stage", "degree_2", "odd_terms", "degree_6"}) {
        // ESPN has three bits left for a sixth power, which no network can live with.
        if (protocol == offline::Protocol::Espn && name == std::string("degree_6")) continue;
        for (const auto mode : {offline::Mode::Dealer, offline::Mode::FirstParty}) {
          QTest::newRow(
              qPrintable(QString("%1, %2, %3")
                             .arg(name, offline::toString(protocol), offline::toString(mode))))
              << QString(name) << protocol << mode;
        }
      }
    }
  }
  void otherProtocols() {
    QFETCH(QString, name);
    QFETCH(offline::Protocol, protocol);
    QFETCH(offline::Mode, mode);
    const LoadedModel loaded = testing::makeTinyModel(name.toStdString(), m_data.word());
    const EngineModel model(loaded.model, loaded.weights);
    const auto activations = model.activations(protocol).value();
    const auto bound = testing::logitBound(loaded, 2 * loaded.range, activations.get());
    const auto cost = inference::onlineCost(loaded.model, activations.get());
    const auto image = testing::randomImage(loaded.model.input, m_data.word());
    auto channels = testing::makeChannels();
    const auto outcome = testing::runBoth(
        model, channels, testing::dealBoth(model, m_data, mode, 0, activations.get()), image, {},
        activations.get());
    QVERIFY2(outcome.engine.ok(), outcome.engine.error().message.c_str());
    QVERIFY2(outcome.client.ok(), why(outcome.client));
    const auto expected =
        models::FixedPointOracle(loaded.model, loaded.weights, loaded.range).evaluate(image);
    for (std::size_t i = 0; i < expected.logits.size(); ++i) {
      const auto error = toUlps(outcome.client->logits[i], loaded.model) - expected.logits[i];
      QVERIFY2(std::abs(static_cast<double>(error)) <= bound[i],
               qPrintable(QString("logit %1: %2 ulps, bound %3").arg(i).arg(error).arg(bound[i])));
    }
    QCOMPARE(outcome.client->rounds, cost.rounds);
    QCOMPARE(outcome.client->bytesSent, cost.bytesToEngine);
    QCOMPARE(outcome.client->bytesReceived, cost.bytesToClient);
    const net::MeterReading engine = channels.engine->meter();
    QCOMPARE(engine.bytesReceived, cost.bytesToEngine);
    QCOMPARE(engine.bytesSent, cost.bytesToClient);
    QCOMPARE(engine.depth, 2 * cost.rounds);
  }

  // Where a tensor takes several frames: rounds and bytes of a network of the paper.
  void otherProtocolsOnANetwork_data() {
    QTest::addColumn<offline::Protocol>("protocol");
    QTest::addColumn<int>("rounds");  // a stage: 1 by one or two messages, 2 by three
    QTest::newRow("ESPN") << offline::Protocol::Espn << 7 + 1;
    QTest::newRow("square-multiply") << offline::Protocol::SquareMultiply << 7 + 1;
    QTest::newRow("Horner") << offline::Protocol::Horner << 2 * 7 + 1;
  }
  void otherProtocolsOnANetwork() {
    QFETCH(offline::Protocol, protocol);
    QFETCH(int, rounds);
    const LoadedModel loaded = testing::makePaperModel("minionn");
    const EngineModel model(loaded.model, loaded.weights);
    const auto activations = model.activations(protocol).value();
    const auto cost = inference::onlineCost(loaded.model, activations.get());
    QCOMPARE(cost.rounds, static_cast<std::uint32_t>(rounds));
    auto channels = testing::makeChannels();
    const auto outcome = testing::runBoth(
        model, channels,
        testing::dealBoth(model, m_data, offline::Mode::Dealer, 0, activations.get()),
        testing::randomImage(loaded.model.input, 3), {}, activations.get());
    QVERIFY2(outcome.client.ok(), why(outcome.client));
    QCOMPARE(outcome.client->rounds, cost.rounds);
    QCOMPARE(outcome.client->bytesSent, cost.bytesToEngine);
    QCOMPARE(outcome.client->bytesReceived, cost.bytesToClient);
  }

  // Every pair of protocols: neither party touches a set that was made for another one.
  void aSetOfAnotherProtocolIsRefused() {
    const LoadedModel loaded = testing::makeTinyModel("degree_2");
    const EngineModel model(loaded.model, loaded.weights);
    for (const offline::Protocol made : offline::allProtocols()) {
      for (const offline::Protocol wanted : offline::allProtocols()) {
        if (made == wanted) continue;
        const auto makers = model.activations(made).value();
        const auto users = model.activations(wanted).value();
        testing::DealtSets sets =
            testing::dealBoth(model, m_data, offline::Mode::Dealer, 0, makers.get());
        auto channels = testing::makeChannels();
        const auto client =
            inference::runClient(*channels.client, loaded.model, std::move(sets.client),
                                 testing::randomImage(loaded.model.input, 1), {}, users.get());
        QVERIFY(!client.ok());
        QVERIFY(client.error().message.find("protocol") != std::string::npos);
        QVERIFY(!inference::runEngine(*channels.engine, model, std::move(sets.engine), nullptr,
                                      users.get())
                     .ok());
        QCOMPARE(channels.client->meter().bytesSent, std::uint64_t{0});
        QCOMPARE(channels.engine->meter().bytesSent, std::uint64_t{0});
      }
    }
  }

  // Horner's accumulators of 34 bits would spoil one image in a few on a network of ten million
  // values; the sentence says so.
  void aProtocolThatIsTooNarrowIsRefused() {
    models::PublicModel model = testing::makeTinyModel("degree_2").model;
    model.stages[0].output = {1, 4096, 4096};
    QVERIFY(inference::Activations::make(model, offline::Protocol::HoneyBadger).ok());
    const auto refused = inference::Activations::make(model, offline::Protocol::Horner);
    QVERIFY(!refused.ok());
    QCOMPARE(refused.error().code, ErrorCode::Unsupported);
    QVERIFY(refused.error().message.find("one image in") != std::string::npos);
  }

  // Rounds and bytes, declared and metered on both sides, also where tensors travel in chunks.
  void costsAreAsDeclared_data() {
    QTest::addColumn<QString>("name");
    for (const std::string& name : testing::tinyModelNames()) {
      QTest::newRow(name.c_str()) << QString::fromStdString(name);
    }
    QTest::newRow("minionn") << "minionn";
    QTest::newRow("resnet32") << "resnet32";
  }
  void costsAreAsDeclared() {
    QFETCH(QString, name);
    const auto tiny = testing::tinyModelNames();
    const bool isTiny = std::find(tiny.begin(), tiny.end(), name.toStdString()) != tiny.end();
    const LoadedModel loaded = isTiny ? testing::makeTinyModel(name.toStdString())
                                      : testing::makePaperModel(name.toStdString());
    const EngineModel model(loaded.model, loaded.weights);
    const auto cost = inference::onlineCost(loaded.model);
    auto channels = testing::makeChannels();
    std::vector<inference::StageProgress> steps;
    const auto outcome =
        testing::runBoth(model, channels, testing::dealBoth(model, m_data),
                         testing::randomImage(loaded.model.input, 3),
                         [&](const inference::StageProgress& step) { steps.push_back(step); });
    QVERIFY2(outcome.client.ok(), why(outcome.client));
    QVERIFY2(outcome.engine.ok(), outcome.engine.error().message.c_str());
    QCOMPARE(cost.rounds, static_cast<std::uint32_t>(loaded.model.stages.size()));
    QCOMPARE(outcome.client->rounds, cost.rounds);
    QCOMPARE(outcome.client->bytesSent, cost.bytesToEngine);
    QCOMPARE(outcome.client->bytesReceived, cost.bytesToClient);
    const net::MeterReading engine = channels.engine->meter();
    QCOMPARE(engine.bytesReceived, cost.bytesToEngine);
    QCOMPARE(engine.bytesSent, cost.bytesToClient);
    QCOMPARE(engine.depth, 2 * cost.rounds);
    QCOMPARE(steps.size(), loaded.model.stages.size());
    for (std::size_t i = 0; i < steps.size(); ++i) {
      QCOMPARE(steps[i].round, static_cast<std::uint32_t>(i + 1));
      QCOMPARE(steps[i].rounds, cost.rounds);
      QVERIFY(steps[i].roundSeconds >= 0);
    }
  }

  // The paper's networks, whole, within a stated distance of floating point.
  void paperNetworks_data() {
    QTest::addColumn<QString>("name");
    QTest::newRow("minionn") << "minionn";
    QTest::newRow("resnet32") << "resnet32";
#ifndef __SANITIZE_THREAD__  // minutes more of the same arithmetic, and no other threads
    QTest::newRow("vgg16") << "vgg16";
    QTest::newRow("resnet18") << "resnet18";
#endif
  }
  void paperNetworks() {
    QFETCH(QString, name);
    const LoadedModel loaded = testing::makePaperModel(name.toStdString(), 4, m_data.word());
    const EngineModel model(loaded.model, loaded.weights);
    const auto image = testing::randomImage(loaded.model.input, m_data.word());
    auto channels = testing::makeChannels();
    const auto outcome = testing::runBoth(model, channels, testing::dealBoth(model, m_data), image);
    QVERIFY2(outcome.client.ok(), why(outcome.client));
    const models::FixedPointOracle oracle(loaded.model, loaded.weights, loaded.range);
    const auto expected = oracle.evaluate(image);
    const auto real = models::evaluateFloat(loaded.graph, image);
    for (std::size_t i = 0; i < real.size(); ++i) {
      const double fixed = std::ldexp(static_cast<double>(expected.logits[i]),
                                      -static_cast<int>(loaded.model.outputBits));
      QVERIFY2(
          std::abs(outcome.client->logits[i] - fixed) < 0.02,
          qPrintable(
              QString("%1 against the oracle's %2").arg(outcome.client->logits[i]).arg(fixed)));
      QVERIFY2(std::abs(outcome.client->logits[i] - real[i]) < 0.1,
               qPrintable(QString("%1 against %2").arg(outcome.client->logits[i]).arg(real[i])));
    }
  }

  // What the engine receives is uniform, whatever the image: black and white images give
  // first messages that no chi-square test tells from uniform words.
  void theEnginesViewIsUniform() {
    const LoadedModel loaded = testing::makePaperModel("minionn");
    const EngineModel model(loaded.model, loaded.weights);
    for (const float pixel : {-2.0F, 2.0F}) {
      auto channels = testing::makeChannels();
      testing::DealtSets sets = testing::dealBoth(model, m_data);
      const std::vector<float> image(loaded.model.input.size(), pixel);
      std::thread client([&] {
        const auto outcome =
            inference::runClient(*channels.client, loaded.model, std::move(sets.client), image);
        if (outcome.ok()) qFatal("an inference without an engine cannot end");
      });
      std::vector<std::byte> packed(ring::kNarrowBytes * image.size());
      const Status received = channels.engine->receiveBytes(packed);
      std::vector<std::uint64_t> first(image.size());
      ring::unpack(packed, first);
      channels.engine->cancel();
      channels.client->cancel();
      client.join();
      QVERIFY(received.ok());
      for (const int shift : {0, 20, 52}) {
        std::array<double, 16> counts{};
        for (const std::uint64_t word : first) ++counts[(word >> shift) & 15];
        double chiSquare = 0;
        const double expected = static_cast<double>(first.size()) / 16;
        for (const double count : counts) chiSquare += std::pow(count - expected, 2) / expected;
        QVERIFY(chiSquare < 60);
      }
    }
  }

  // An image far outside what the network was made for: the answer says that it may be wrong.
  void anEscapingActivationIsReported() {
    LoadedModel loaded = testing::makePaperModel("minionn");
    for (auto& tensor : loaded.weights.weights) {
      for (auto& w : tensor) w *= 8;
    }
    const EngineModel model(loaded.model, loaded.weights);
    auto channels = testing::makeChannels();
    const auto outcome = testing::runBoth(model, channels, testing::dealBoth(model, m_data),
                                          testing::randomImage(loaded.model.input, 1));
    QVERIFY2(outcome.client.ok(), why(outcome.client));
    QVERIFY(!outcome.client->warning.empty());
  }

  // After a session's first inference the engine takes no memory, neither large nor small.
  void theSteadyStateAllocatesNothing() {
    const LoadedModel loaded = testing::makePaperModel("minionn");
    const EngineModel model(loaded.model, loaded.weights);
    auto [left, right] = FixedPipe::makePair(std::size_t{8} << 20);
    net::Channel client(std::move(left)), engine(std::move(right));
    inference::EngineMemory memory;
    std::uint64_t first = 0, second = 0;
    for (std::uint64_t* taken : {&first, &second}) {
      testing::DealtSets sets = testing::dealBoth(model, m_data);
      Status status;
      std::thread thread([&] {
        allocations = 0;
        status = inference::runEngine(engine, model, std::move(sets.engine), &memory);
        *taken = allocations;
      });
      const auto outcome =
          inference::runClient(client, loaded.model, std::move(sets.client),
                               testing::randomImage(loaded.model.input, m_data.word()));
      thread.join();
      QVERIFY2(outcome.ok(), why(outcome));
      QVERIFY(status.ok());
    }
    QVERIFY(first > 0);  // the count works
    QCOMPARE(second, std::uint64_t{0});
  }

  void aLostEngineIsAnError() {
    const LoadedModel loaded = testing::makePaperModel("minionn");
    const EngineModel model(loaded.model, loaded.weights);
    auto channels = testing::makeChannels();
    testing::DealtSets sets = testing::dealBoth(model, m_data);
    std::thread engine([&] {
      std::vector<std::byte> first(ring::kNarrowBytes * loaded.model.input.size());
      if (channels.engine->receiveBytes(first).ok()) channels.engine.reset();
    });
    const auto outcome =
        inference::runClient(*channels.client, loaded.model, std::move(sets.client),
                             testing::randomImage(loaded.model.input, 1));
    engine.join();
    QVERIFY(!outcome.ok());
    QVERIFY2(outcome.error().code == ErrorCode::Closed, why(outcome));
    QVERIFY(sets.client.stages.empty());  // consumed
  }

  // One frame of a tensor arrives damaged, late or not at all, at either party: an error that says
  // so, in time, and no answer.
  void aBrokenChunkIsAnError_data() {
    QTest::addColumn<testing::Fault>("fault");
    QTest::addColumn<bool>("byEngine");
    QTest::addColumn<int>("framesBefore");
    QTest::addColumn<ErrorCode>("code");
    const auto row = [](const char* name, testing::Fault fault, ErrorCode code) {
      for (const bool byEngine : {false, true}) {
        for (const int frames : {0, 5}) {
          QTest::newRow(qPrintable(QString("%1, frame %2 of the %3")
                                       .arg(name)
                                       .arg(frames)
                                       .arg(byEngine ? "engine" : "client")))
              << fault << byEngine << frames << code;
        }
      }
    };
    row("too short", testing::Fault::TooShort, ErrorCode::Protocol);
    row("too long", testing::Fault::TooLong, ErrorCode::Protocol);
    row("cut off", testing::Fault::CutOff, ErrorCode::Closed);
    row("killed", testing::Fault::Killed, ErrorCode::Closed);
    // The client's first frame is a tensor of its own: it has nothing to change places with.
    for (const bool byEngine : {false, true}) {
      QTest::newRow(byEngine ? "swapped by the engine" : "swapped by the client")
          << testing::Fault::Swapped << byEngine << 5 << ErrorCode::Protocol;
    }
  }
  void aBrokenChunkIsAnError() {
    QFETCH(testing::Fault, fault);
    QFETCH(bool, byEngine);
    QFETCH(int, framesBefore);
    QFETCH(ErrorCode, code);
    static const LoadedModel loaded = testing::makePaperModel("minionn");
    static const EngineModel model(loaded.model, loaded.weights);
    auto [left, right] = net::makeMemoryPair();
    auto faulty =
        std::make_unique<testing::FaultyTransport>(std::move(byEngine ? right : left), fault);
    faulty->arm(framesBefore);
    const testing::FaultyTransport& meddler = *faulty;
    (byEngine ? right : left) = std::move(faulty);
    testing::ChannelPair channels{std::make_unique<net::Channel>(std::move(left)),
                                  std::make_unique<net::Channel>(std::move(right))};
    channels.client->setTimeout(std::chrono::seconds(5));
    channels.engine->setTimeout(std::chrono::seconds(5));
    testing::DealtSets sets = testing::dealBoth(model, m_data);
    // Each side ends as a session does: it says why, and hangs up.
    Status engine;
    std::thread thread([&] {
      engine = inference::runEngine(*channels.engine, model, std::move(sets.engine));
      if (!engine.ok()) channels.engine->sendFailure(engine.error());
    });
    const auto client = inference::runClient(*channels.client, loaded.model, std::move(sets.client),
                                             testing::randomImage(loaded.model.input, 1));
    if (!client.ok()) channels.client->sendFailure(client.error());
    thread.join();
    QVERIFY(meddler.struck());
    QVERIFY(!client.ok());
    QVERIFY(!engine.ok());
    const Error& victim = byEngine ? client.error() : engine.error();
    QVERIFY2(victim.code == code, victim.message.c_str());
    QVERIFY(!victim.message.empty());
  }

  void aPeerThatSendsTheWrongLengthIsAnError() {
    const LoadedModel loaded = testing::makePaperModel("minionn");
    const EngineModel model(loaded.model, loaded.weights);
    auto channels = testing::makeChannels();
    testing::DealtSets sets = testing::dealBoth(model, m_data);
    std::vector<std::uint64_t> wrong(17, 1);
    QVERIFY(channels.client->sendWords(wrong).ok());
    const Status engine = inference::runEngine(*channels.engine, model, std::move(sets.engine));
    QVERIFY(!engine.ok());
    QCOMPARE(engine.error().code, ErrorCode::Protocol);
  }

  void aSetOfAnotherModelIsRefused() {
    const LoadedModel one = testing::makePaperModel("minionn");
    const LoadedModel other = testing::makePaperModel("resnet32");
    const EngineModel model(one.model, one.weights), otherModel(other.model, other.weights);
    auto channels = testing::makeChannels();
    testing::DealtSets sets = testing::dealBoth(otherModel, m_data);
    const auto client = inference::runClient(*channels.client, one.model, std::move(sets.client),
                                             testing::randomImage(one.model.input, 1));
    QVERIFY(!client.ok());
    QVERIFY(!inference::runEngine(*channels.engine, model, std::move(sets.engine)).ok());
    QCOMPARE(channels.client->meter().bytesSent, std::uint64_t{0});
  }

  void anImageThatIsNoImageIsRefused() {
    const LoadedModel loaded = testing::makePaperModel("minionn");
    const EngineModel model(loaded.model, loaded.weights);
    auto image = testing::randomImage(loaded.model.input, 1);
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e9F}) {
      auto channels = testing::makeChannels();
      testing::DealtSets sets = testing::dealBoth(model, m_data);
      image[7] = bad;
      const auto outcome =
          inference::runClient(*channels.client, loaded.model, std::move(sets.client), image);
      QVERIFY(!outcome.ok());
      QCOMPARE(outcome.error().code, ErrorCode::InvalidArgument);
      QCOMPARE(channels.client->meter().bytesSent, std::uint64_t{0});
    }
  }
};

QTEST_GUILESS_MAIN(TestInference)
#include "test_inference.moc"

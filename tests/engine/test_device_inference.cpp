// The engine's side of an inference on a device: word for word what the processor's executor sends,
// whatever the client says. Run twice, as test_device.cpp is.
#include <array>
#include <cmath>
#include <thread>

#include <QCoreApplication>
#include <QTest>

#include "engine/inference/device_check.h"
#include "engine/inference/device_executor.h"
#include "engine/kernels/cuda/ring_table.h"
#include "engine/ring/narrow.h"
#include "net/memory.h"
#include "tests/support/emulated_device.h"
#include "tests/support/model_factory.h"
#include "tests/support/random_words.h"

using namespace pillarbox;
using inference::DeviceEngine;
using inference::DeviceOptions;
using inference::EngineModel;
using models::LinearOp;
using models::OpKind;
using models::Stage;

namespace {

device::DevicePtr gDevice;

using Model = std::shared_ptr<const EngineModel>;
using Bytes = std::vector<std::byte>;

Model tinyModel(const std::string& name, std::uint64_t seed) {
  const models::LoadedModel loaded = testing::makeTinyModel(name, seed);
  return std::make_shared<const EngineModel>(loaded.model, loaded.weights);
}

/// Convolutions that are large enough for tiles, tensors of several chunks, a shortcut, a fully
/// connected end. The weights make no sense: words are compared, not classes.
Model wideModel(testing::RandomWords& data) {
  models::PublicModel model;
  models::ModelWeights weights;
  model.name = "wide";
  model.input = {3, 16, 16};
  model.mean = model.std = {1, 1, 1};
  const auto convolution = [&](models::Shape in, std::uint32_t outs, std::uint32_t input) {
    LinearOp op;
    op.inputs = {input};
    op.in = in;
    op.out = {outs, in.height, in.width};
    op.kernelH = op.kernelW = 3;
    op.padTop = op.padLeft = op.padBottom = op.padRight = 1;
    return op;
  };
  const auto stage = [&](std::vector<std::uint32_t> inputs, std::vector<LinearOp> ops,
                         bool activated) {
    Stage next;
    next.inputs = std::move(inputs);
    for (LinearOp& op : ops) {
      if (!op.hasWeights()) continue;
      op.weightIndex = static_cast<std::uint32_t>(weights.weights.size());
      auto& own = weights.weights.emplace_back(op.weightCount());
      for (auto& w : own) w = static_cast<std::int32_t>(data.between(-4096, 4096));
    }
    next.output = ops.back().out;
    next.ops = std::move(ops);
    if (activated) next.activation = models::Polynomial{10, {322, 512, 160, 7, -3}};
    auto& bias = weights.bias.emplace_back(next.output.channels);
    for (auto& b : bias) b = data.between(-(std::int64_t{1} << 40), std::int64_t{1} << 40);
    model.stages.push_back(std::move(next));
  };
  stage({0}, {convolution({3, 16, 16}, 37, 0)}, true);
  LinearOp sum;
  sum.kind = OpKind::Combine;
  sum.inputs = {1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  sum.in = sum.out = {37, 16, 16};
  sum.multipliers = {1, 4096, -3, 5, 7, 9, 11, 13, 17, 1 << 20};
  stage({1}, {convolution({37, 16, 16}, 37, 0), sum}, true);
  stage({2}, {convolution({37, 16, 16}, 48, 0)}, true);
  LinearOp pool;
  pool.kind = OpKind::SumPool;
  pool.inputs = {0};
  pool.in = {48, 16, 16};
  pool.out = {48, 4, 4};
  pool.kernelH = pool.kernelW = pool.strideH = pool.strideW = 4;
  LinearOp last;
  last.kind = OpKind::FullyConnected;
  last.inputs = {1};
  last.in = pool.out;
  last.out = {10, 1, 1};
  stage({3}, {pool, last}, false);
  return std::make_shared<const EngineModel>(std::move(model), std::move(weights));
}

/// A set of uniform words, as often as it is asked for.
class RandomSet {
 public:
  RandomSet(const EngineModel& model, testing::RandomWords& data, bool integerMasks)
      : m_integerMasks(integerMasks) {
    for (const Stage& stage : model.description().stages) {
      auto& words = m_words.emplace_back();
      const std::size_t n = stage.output.size();
      words.push_back(data.words(n));
      if (!stage.activation) continue;
      words.push_back(data.words(n));
      for (std::uint32_t k = 0; k < stage.activation->degree(); ++k) {
        words.push_back(data.words(2 * n));
      }
    }
  }
  offline::EngineSet make() const {
    offline::EngineSet set;
    set.integerMasks = m_integerMasks;
    for (const auto& words : m_words) {
      offline::EngineStage& stage = set.stages.emplace_back();
      stage.outputMask.assign(words[0].begin(), words[0].end());
      if (words.size() < 2) continue;
      stage.openingMask.assign(words[1].begin(), words[1].end());
      for (std::size_t k = 2; k < words.size(); ++k) {
        auto& tensor = stage.coefficients.emplace_back();
        for (std::size_t i = 0; i < words[k].size(); i += 2) {
          tensor.push_back((static_cast<U128>(words[k][i]) << 64) | words[k][i + 1]);
        }
      }
    }
    return set;
  }

 private:
  bool m_integerMasks;
  std::vector<std::vector<std::vector<std::uint64_t>>> m_words;  // [stage][tensor]
};

Status infer(net::Channel& channel, DeviceEngine& engine, const Model& model,
             offline::EngineSet set, inference::DeviceTimes* times = nullptr) {
  PILLARBOX_ASSIGN(auto seat, engine.seat(model));
  PILLARBOX_TRY(seat.take(set));
  PILLARBOX_TRY(seat.run(channel));
  if (times != nullptr) *times = seat.times();
  return {};
}

/// What a client sends in an inference, uniform, and what it got for an answer.
struct Conversation {
  std::vector<Bytes> sent;
  Bytes received;
  net::MeterReading engine;
};

std::vector<Bytes> randomMessages(const EngineModel& model, testing::RandomWords& data) {
  std::vector<Bytes> messages;
  std::size_t n = model.description().input.size();
  for (const Stage& stage : model.description().stages) {
    Bytes& bytes = messages.emplace_back(ring::kNarrowBytes * n);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(data.word());
    n = stage.output.size();
  }
  return messages;
}

/// @param stages  after so many the client hangs up
Status converse(const EngineModel& model, Conversation& talk,
                const std::function<Status(net::Channel&)>& engine,
                std::size_t stages = ~std::size_t{0}) {
  auto [left, right] = net::makeMemoryPair();
  auto client = std::make_unique<net::Channel>(std::move(left));
  auto server = std::make_unique<net::Channel>(std::move(right));
  const auto speak = [&]() -> Status {
    for (std::size_t s = 0; s < std::min(stages, talk.sent.size()); ++s) {
      const Stage& stage = model.description().stages[s];
      const auto inChunks = [](std::size_t bytes, std::size_t chunk, const auto& step) -> Status {
        for (std::size_t first = 0; first < bytes; first += chunk) {
          PILLARBOX_TRY(step(first, std::min(chunk, bytes - first)));
        }
        return {};
      };
      PILLARBOX_TRY(inChunks(talk.sent[s].size(), ring::kNarrowBytes * inference::kChunkWords,
                             [&](std::size_t first, std::size_t count) {
                               return client->send(
                                   net::FrameKind::Bytes,
                                   std::span<const std::byte>(talk.sent[s]).subspan(first, count));
                             }));
      const std::size_t each = stage.activation ? ring::kNarrowBytes : 8;
      PILLARBOX_TRY(
          inChunks(each * stage.output.size(), each * inference::kChunkWords,
                   [&](std::size_t, std::size_t count) -> Status {
                     std::vector<std::uint64_t> words(count / 8 + 1);
                     const std::span<std::byte> bytes =
                         std::as_writable_bytes(std::span(words)).subspan(0, count);
                     PILLARBOX_TRY(stage.activation
                                       ? client->receiveBytes(bytes)
                                       : client->receiveWords(std::span(words).first(count / 8)));
                     talk.received.insert(talk.received.end(), bytes.begin(), bytes.end());
                     return {};
                   }));
    }
    return {};
  };
  Status spoken;
  std::thread thread([&] {
    spoken = speak();
    if (!spoken.ok() || stages < talk.sent.size()) client.reset();
  });
  const Status status = engine(*server);
  talk.engine = server->meter();
  if (!status.ok()) server.reset();  // which the client learns
  thread.join();
  return status;
}

}  // namespace

class TestDeviceInference : public QObject {
  Q_OBJECT

 private:
  testing::RandomWords m_data;

  /// One inference on the processor and one in a seat, on the same words.
  void compare(const Model& model, DeviceEngine& engine, bool integerMasks) {
    const RandomSet set(*model, m_data, integerMasks);
    Conversation expected{randomMessages(*model, m_data), {}, {}};
    Conversation found{expected.sent, {}, {}};
    const Status first = converse(*model, expected, [&](net::Channel& channel) {
      return inference::runEngine(channel, *model, set.make());
    });
    QVERIFY2(first.ok(), first.error().message.c_str());
    const Status second = converse(*model, found, [&](net::Channel& channel) -> Status {
      return infer(channel, engine, model, set.make());
    });
    QVERIFY2(second.ok(), second.error().message.c_str());
    QVERIFY(!expected.received.empty());
    QCOMPARE(found.received.size(), expected.received.size());
    for (std::size_t i = 0; i < found.received.size(); ++i) {
      if (found.received[i] != expected.received[i]) {
        QFAIL(qPrintable(QString("byte %1 of %2 differs").arg(i).arg(found.received.size())));
      }
    }
    QCOMPARE(found.engine.framesSent, expected.engine.framesSent);
    QCOMPARE(found.engine.bytesSent, expected.engine.bytesSent);
    QCOMPARE(found.engine.depth, expected.engine.depth);
  }

 private Q_SLOTS:
  void sameWordsAsTheProcessor_data() {
    QTest::addColumn<QString>("name");
    for (const std::string& name : testing::tinyModelNames()) {
      QTest::newRow(name.c_str()) << QString::fromStdString(name);
    }
  }
  void sameWordsAsTheProcessor() {
    QFETCH(QString, name);
    const Model model = tinyModel(name.toStdString(), m_data.word());
    DeviceEngine engine(gDevice);
    for (const bool integerMasks : {false, true, false}) compare(model, engine, integerMasks);
  }

  // Tiles, several chunks, several pieces.
  void largerTensors() {
    const Model model = wideModel(m_data);
    for (const std::size_t words : {std::size_t{1} << 16, std::size_t{3000}}) {
      DeviceEngine engine(gDevice, DeviceOptions{words});
      compare(model, engine, words > 5000);
    }
  }

  // Sessions with seats of their own at the same time.
  void sideBySide() {
    const Model model = tinyModel("conv_padded", m_data.word());
    DeviceEngine engine(gDevice);
    const RandomSet set(*model, m_data, false);
    Conversation expected{randomMessages(*model, m_data), {}, {}};
    QVERIFY(converse(*model, expected, [&](net::Channel& channel) {
              return inference::runEngine(channel, *model, set.make());
            }).ok());
    std::array<Conversation, 3> found;
    std::array<Status, 3> results;
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < found.size(); ++i) {
      found[i].sent = expected.sent;
      threads.emplace_back([&, i] {
        for (int repeat = 0; repeat < 3 && results[i].ok(); ++repeat) {
          found[i].received.clear();
          results[i] = converse(*model, found[i], [&](net::Channel& channel) -> Status {
            return infer(channel, engine, model, set.make());
          });
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (std::size_t i = 0; i < found.size(); ++i) {
      QVERIFY2(results[i].ok(), results[i].error().message.c_str());
      QVERIFY(found[i].received == expected.received);
    }
  }

  // A client that leaves takes its seat with it, and nothing else.
  void aLostClientIsAnError() {
    const Model model = tinyModel("conv_padded", m_data.word());
    DeviceEngine engine(gDevice);
    compare(model, engine, false);
    const RandomSet set(*model, m_data, false);
    Conversation talk{randomMessages(*model, m_data), {}, {}};
    const Status status = converse(
        *model, talk,
        [&](net::Channel& channel) -> Status { return infer(channel, engine, model, set.make()); },
        1);
    QVERIFY(!status.ok());
    compare(model, engine, false);
  }

  void aSetOfAnotherModelIsRefused() {
    const Model model = tinyModel("conv_padded", 1), other = tinyModel("fully_connected", 1);
    DeviceEngine engine(gDevice);
    const RandomSet set(*other, m_data, false);
    Conversation talk{{}, {}, {}};
    const Status status = converse(*model, talk, [&](net::Channel& channel) -> Status {
      return infer(channel, engine, model, set.make());
    });
    QVERIFY(!status.ok());
    QCOMPARE(talk.engine.bytesSent, std::uint64_t{0});
  }

  // The processor serves it instead: nothing was sent, and the set and the seat are as good as new.
  void anotherProtocolIsForTheProcessor() {
    const Model model = tinyModel("conv_padded", 1);
    DeviceEngine engine(gDevice);
    const RandomSet set(*model, m_data, false);
    {
      auto seat = engine.seat(model);
      QVERIFY(seat.ok());
      offline::EngineSet other = set.make();
      other.protocol = offline::Protocol::Espn;
      const Status status = seat->take(other);
      QVERIFY(!status.ok());
      QCOMPARE(status.error().code, ErrorCode::Unsupported);
      QCOMPARE(other.stages.size(), model->description().stages.size());
    }
    compare(model, engine, false);
  }

  // The steady state takes no memory; all of it is given back in the end.
  void memoryIsReusedAndReturned() {
    if (!testing::emulated()) QSKIP("only the emulation can be asked for this");
    QCOMPARE(testing::liveAllocations(), std::size_t{0});
    Model model = tinyModel("conv_padded", m_data.word());
    {
      DeviceEngine engine(gDevice);
      compare(model, engine, false);
      const std::size_t taken = testing::liveAllocations();
      QVERIFY(taken > 0);
      compare(model, engine, true);
      QCOMPARE(testing::liveAllocations(), taken);
      // A model that is served no longer leaves the device when the next one comes.
      model = tinyModel("fully_connected", m_data.word());
      const Model small = model;
      compare(small, engine, false);
      const std::size_t then = testing::liveAllocations();
      compare(small, engine, false);
      QCOMPARE(testing::liveAllocations(), then);
      QVERIFY(then < 2 * taken);
    }
    QCOMPARE(testing::liveAllocations(), std::size_t{0});
  }

  // Wherever memory runs out, the caller is told before anything was sent, nothing is lost, and the
  // next seat is as good as any.
  void fullMemoryIsAnError() {
    if (!testing::emulated()) QSKIP("only the emulation can be asked for this");
    const Model model = tinyModel("conv_padded", m_data.word());
    DeviceOptions options;
    options.retry = std::chrono::milliseconds(0);
    const auto ledger = std::make_shared<device::Ledger>();
    DeviceEngine engine(gDevice, options, ledger);
    std::size_t failures = 0;
    for (;;) {
      testing::failAllocation(failures + 1);
      const auto seat = engine.seat(model);
      testing::failAllocation(0);
      if (seat.ok()) break;
      ++failures;
      QCOMPARE(seat.error().code, ErrorCode::Exhausted);
      QVERIFY(QString::fromStdString(seat.error().message).contains("memory"));
      QVERIFY(failures < 100);
    }
    QVERIFY(failures > 5);
    QCOMPARE(ledger->declines(device::Purpose::Inference), failures);
    QVERIFY(ledger->usable());
    compare(model, engine, false);
  }

  // After a no, seats that were left are given away, but none is made for a while.
  void triesAgainLater() {
    if (!testing::emulated()) QSKIP("only the emulation can be asked for this");
    const Model model = tinyModel("conv_padded", m_data.word());
    DeviceEngine engine(gDevice);
    auto first = engine.seat(model);
    QVERIFY(first.ok());
    testing::failAllocation(1);
    const auto second = engine.seat(model);
    QVERIFY(!second.ok());
    const auto third = engine.seat(model);
    QCOMPARE(third.error().code, ErrorCode::Exhausted);
    QCOMPARE(third.error().message, second.error().message);
    { const inference::DeviceSeat left = std::move(first).value(); }
    compare(model, engine, false);
  }

  // A device that fails before the inference has begun leaves the set to the processor, whole.
  void aFailureBeforehandLosesNothing() {
    if (!testing::emulated()) QSKIP("only the emulation can be asked for this");
    const Model model = wideModel(m_data);
    DeviceEngine engine(gDevice);
    const RandomSet set(*model, m_data, false);
    Conversation expected{randomMessages(*model, m_data), {}, {}};
    QVERIFY(converse(*model, expected, [&](net::Channel& channel) {
              return inference::runEngine(channel, *model, set.make());
            }).ok());
    for (std::size_t n = 1;; n += 7) {
      auto seat = engine.seat(model);
      QVERIFY(seat.ok());
      auto own = set.make();
      testing::failCopy(n);
      const Status taken = seat->take(own);
      testing::failCopy(0);
      if (taken.ok()) {
        QVERIFY(n > 7);
        QVERIFY(own.stages.empty());
        break;
      }
      QCOMPARE(taken.error().code, ErrorCode::Exhausted);
      QVERIFY(seat->deviceFailed());
      Conversation found{expected.sent, {}, {}};
      QVERIFY(converse(*model, found, [&](net::Channel& channel) {
                return inference::runEngine(channel, *model, std::move(own));
              }).ok());
      QVERIFY(found.received == expected.received);
    }
  }

  // One in the middle ends the inference, wherever it is, and no other.
  void aFailureInTheMiddleIsAnError() {
    if (!testing::emulated()) QSKIP("only the emulation can be asked for this");
    const Model model = tinyModel("conv_padded", m_data.word());
    const auto ledger = std::make_shared<device::Ledger>();
    DeviceEngine engine(gDevice, {}, ledger);
    const RandomSet set(*model, m_data, false);
    std::size_t failures = 0;
    for (;; ++failures) {
      Conversation talk{randomMessages(*model, m_data), {}, {}};
      testing::failGraph(failures + 1);
      const Status status = converse(*model, talk, [&](net::Channel& channel) {
        return infer(channel, engine, model, set.make());
      });
      testing::failGraph(0);
      if (status.ok()) break;
      QCOMPARE(status.error().code, ErrorCode::Internal);
      QCOMPARE(ledger->failures(device::Purpose::Inference), failures + 1);
      compare(model, engine, false);
      QVERIFY(ledger->usable());
    }
    QVERIFY(failures >= 2 * model->description().stages.size());
    // Without anything in between that succeeds they say something about the device.
    for (std::uint32_t i = 0; i < device::Ledger::kMostFailures; ++i) {
      QVERIFY(ledger->usable());
      Conversation talk{randomMessages(*model, m_data), {}, {}};
      testing::failGraph(2);
      QVERIFY(!converse(*model, talk, [&](net::Channel& channel) {
                 return infer(channel, engine, model, set.make());
               }).ok());
    }
    QVERIFY(!ledger->usable());
    testing::failGraph(0);
  }

  // What the clock shows is what the seats and the ledger say.
  void countsTime() {
    if (!testing::emulated()) QSKIP("only the emulation can be asked for this");
    const Model model = tinyModel("conv_padded", m_data.word());
    const auto ledger = std::make_shared<device::Ledger>();
    DeviceEngine engine(gDevice, {}, ledger);
    const RandomSet set(*model, m_data, false);
    Conversation talk{randomMessages(*model, m_data), {}, {}};
    inference::DeviceTimes times;
    QVERIFY(converse(*model, talk, [&](net::Channel& channel) {
              return infer(channel, engine, model, set.make(), &times);
            }).ok());
    // The emulated clock shows a millisecond between any two events.
    const double stages = static_cast<double>(model->description().stages.size());
    QVERIFY(std::abs(times.computing - 1e-3 * stages) < 1e-9);
    QVERIFY(std::abs(times.copying - 1e-3 * stages) < 1e-9);
    QVERIFY(std::abs(ledger->seconds(device::Purpose::Inference) - times.computing) < 1e-6);
    std::uint64_t bytes = 0;
    for (const offline::EngineStage& stage : set.make().stages) {
      bytes += 8 * (stage.outputMask.size() + stage.openingMask.size());
      for (const auto& tensor : stage.coefficients) bytes += sizeof(U128) * tensor.size();
    }
    QCOMPARE(times.copiedBytes, bytes);
  }

  // A device that computes something else, or nothing, is found out before it serves anybody.
  void aDeviceIsChecked() {
    const Status good = inference::checkDevice(gDevice);
    QVERIFY2(good.ok(), good.ok() ? "" : good.error().message.c_str());
    if (!testing::emulated()) return;
    static kernels::cuda::RingTable ring = *gDevice->table().ring;
    static device::Table table = gDevice->table();
    table.ring = &ring;
    ring.convolveTiles = [](device::Stream, const kernels::cuda::ConvolutionArguments&) {
      return device::Sentence{};
    };
    const Status wrong = inference::checkDevice(device::Device::open(table).value());
    QVERIFY(!wrong.ok());
    QCOMPARE(wrong.error().code, ErrorCode::Unsupported);
    QVERIFY(QString::fromStdString(wrong.error().message).contains("something else"));
    testing::failGraph(3);
    const Status failing = inference::checkDevice(gDevice);
    testing::failGraph(0);
    QVERIFY(!failing.ok());
    QVERIFY(QString::fromStdString(failing.error().message).contains("failed when it was tried"));
  }
};

int main(int argc, char** argv) {
  gDevice = testing::deviceUnderTest();
  if (!gDevice) return 77;
  QCoreApplication application(argc, argv);
  TestDeviceInference test;
  return QTest::qExec(&test, argc, argv);
}

#include "test_device_inference.moc"

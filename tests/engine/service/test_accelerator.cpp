// Sessions of an engine that has a GPU, in emulation: a client gets the same logits, bit for bit;
// where the GPU has no room or fails before it has begun, the processor computes; where it fails in
// the middle, that session is lost and no other; where it keeps failing, it is not used any more.
#include <algorithm>
#include <thread>

#include <QTest>

#include "engine/service/connection_pool.h"
#include "engine/service/session.h"
#include "net/memory.h"
#include "net/message_io.h"
#include "tests/support/emulated_device.h"
#include "tests/support/model_factory.h"
#include "tests/support/two_party.h"

using namespace pillarbox;
using namespace pillarbox::service;
using net::proto::ToClient;
using net::proto::ToEngine;

namespace {

using Logits = std::vector<double>;

std::shared_ptr<const inference::EngineModel> testModel() {
  static const auto kModel = [] {
    models::LoadedModel loaded = testing::makeTinyModel("conv_padded");
    return std::make_shared<const inference::EngineModel>(std::move(loaded.model),
                                                          std::move(loaded.weights));
  }();
  return kModel;
}

testing::DealtSets copyOf(const testing::DealtSets& sets) {
  testing::DealtSets copy;
  copy.client.index = sets.client.index;
  copy.client.integerMasks = sets.client.integerMasks;
  copy.client.inputMask = sets.client.inputMask;
  copy.client.stages = sets.client.stages;
  copy.client.logitShare = sets.client.logitShare;
  copy.engine.index = sets.engine.index;
  copy.engine.integerMasks = sets.engine.integerMasks;
  copy.engine.stages = sets.engine.stages;
  return copy;
}

/// An engine without sockets.
struct Engine {
  explicit Engine(const std::string& setting, const Accelerator::Loader& load)
      : context([] {
          EngineConfiguration configuration;
          configuration.networkSeconds = 5;
          return configuration;
        }()) {
    context.models.replace({testModel()});
    context.correlations = std::make_unique<FirstPartySource>();
    inference::DeviceOptions options;
    options.retry = std::chrono::milliseconds(0);
    started = context.accelerator.start(setting, load, options);
  }
  double metric(const QByteArray& series) const {
    const std::string text = context.metrics.text(context.accelerator.reading());
    for (const QByteArray& line : QByteArray::fromStdString(text).split('\n')) {
      if (line.startsWith(series + ' ')) return line.mid(series.size() + 1).toDouble();
    }
    return -1;
  }
  double inferences(const QByteArray& device) const {
    return metric("pillarbox_device_inferences_total{device=\"" + device + "\"}");
  }

  EngineContext context;
  Status started;
  ConnectionPool<Session> pool{
      32, [this](std::uint64_t id, std::unique_ptr<net::Transport> transport) {
        return std::make_unique<Session>(context, id, std::move(transport));
      }};
};

/// A client in a session of its own, whose sets come from the test.
class Client {
 public:
  explicit Client(Engine& engine) : m_engine(engine) {
    auto [mine, theirs] = net::makeMemoryPair();
    engine.pool.add(std::move(theirs));
    m_channel = std::make_unique<net::Channel>(std::move(mine));
    m_channel->setTimeout(std::chrono::seconds(10));
    ToEngine hello;
    hello.mutable_hello()->set_protocol_version(net::kProtocolVersion);
    const auto welcome = ask(hello).value().welcome();
    std::copy_n(welcome.token().begin(), m_token.size(), m_token.begin());
    ToEngine open;
    open.mutable_open_model()->set_hash(std::string(
        reinterpret_cast<const char*>(testModel()->hash().data()), testModel()->hash().size()));
    std::vector<std::byte> description(ask(open).value().model_opened().description_bytes());
    if (!m_channel->receiveBytes(description).ok()) throw std::runtime_error("no model");
  }

  Result<Logits> infer(testing::DealtSets sets, std::span<const float> image) {
    PILLARBOX_ASSIGN(const SessionParts session, m_engine.context.sessions.find(m_token));
    auto preparation = SetBank::begin(session.bank, {testModel()}, sets.client.index, 1);
    PILLARBOX_TRY(Status(std::move(preparation).value().deposit(std::move(sets.engine))));
    ToEngine request;
    request.mutable_start_inference()->set_index(sets.client.index);
    PILLARBOX_TRY(net::sendMessage(*m_channel, request));
    PILLARBOX_ASSIGN(const auto outcome,
                     inference::runClient(*m_channel, testModel()->description(),
                                          std::move(sets.client), image));
    return outcome.logits;
  }

 private:
  Result<ToClient> ask(const ToEngine& request) {
    PILLARBOX_TRY(net::sendMessage(*m_channel, request));
    return net::receiveMessage<ToClient>(*m_channel);
  }

  Engine& m_engine;
  std::unique_ptr<net::Channel> m_channel;
  Token m_token{};
};

const Accelerator::Loader kEmulated = [] {
  return Result<device::DevicePtr>(testing::emulatedDevice());
};
const Accelerator::Loader kNone = [] {
  return Result<device::DevicePtr>(Error{ErrorCode::NotFound, "no GPU is used, as this is a test"});
};

}  // namespace

class TestAccelerator : public QObject {
  Q_OBJECT

 private:
  testing::RandomWords m_data;
  const std::vector<float> m_image = testing::randomImage(testModel()->description().input, 7);

  testing::DealtSets deal(std::uint64_t index) {
    return testing::dealBoth(*testModel(), m_data, offline::Mode::Dealer, index);
  }
  Logits onProcessor(const testing::DealtSets& sets) {
    auto channels = testing::makeChannels();
    auto outcome = testing::runBoth(*testModel(), channels, copyOf(sets), m_image);
    return outcome.client.value().logits;
  }

 private Q_SLOTS:
  void sameLogits() {
    Engine engine("cuda", kEmulated);
    QVERIFY2(engine.started.ok(),
             engine.started.ok() ? "" : engine.started.error().message.c_str());
    QCOMPARE(engine.metric("pillarbox_gpu_usable"), 1.0);
    Client client(engine);
    for (const std::uint64_t index : {1, 2, 3}) {
      const auto sets = deal(index);
      const Logits expected = onProcessor(sets);
      const auto found = client.infer(copyOf(sets), m_image);
      QVERIFY2(found.ok(), found.ok() ? "" : found.error().message.c_str());
      QVERIFY(*found == expected);
      QTRY_COMPARE(engine.inferences("cuda"), static_cast<double>(index));
    }
    QCOMPARE(engine.inferences("cpu"), 0.0);
    // The emulated clock shows a millisecond a stage.
    const double seconds = engine.metric("pillarbox_gpu_seconds_total{phase=\"inference\"}");
    const auto stages = static_cast<double>(testModel()->description().stages.size());
    QVERIFY(std::abs(seconds - 3e-3 * stages) < 1e-6);
    QCOMPARE(engine.metric("pillarbox_gpu_seats"), 0.0);
    QCOMPARE(engine.metric("pillarbox_gpu_failures_total{phase=\"inference\"}"), 0.0);
  }

  void manyAtATime() {
    Engine engine("auto", kEmulated);
    std::vector<testing::DealtSets> sets;
    std::vector<Logits> expected;
    for (int i = 0; i < 4; ++i) {
      sets.push_back(deal(1));
      expected.push_back(onProcessor(sets.back()));
    }
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 4; ++i) clients.push_back(std::make_unique<Client>(engine));
    std::vector<Result<Logits>> found(4, Error{});
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] { found[i] = clients[i]->infer(copyOf(sets[i]), m_image); });
    }
    for (std::thread& thread : threads) thread.join();
    for (std::size_t i = 0; i < 4; ++i) QVERIFY(found[i].ok() && *found[i] == expected[i]);
    QTRY_COMPARE(engine.inferences("cuda"), 4.0);
  }

  void noRoom() {
    Engine engine("auto", kEmulated);
    Client client(engine);
    const auto sets = deal(1);
    testing::failAllocation(1);
    const auto found = client.infer(copyOf(sets), m_image);
    testing::failAllocation(0);
    QVERIFY(found.ok() && *found == onProcessor(sets));
    QTRY_COMPARE(engine.inferences("cpu"), 1.0);
    QCOMPARE(engine.metric("pillarbox_gpu_declined_total{phase=\"inference\"}"), 1.0);
    QCOMPARE(engine.metric("pillarbox_gpu_failures_total{phase=\"inference\"}"), 0.0);
    // Later there is.
    const auto more = deal(2);
    const auto again = client.infer(copyOf(more), m_image);
    QVERIFY(again.ok() && *again == onProcessor(more));
    QTRY_COMPARE(engine.inferences("cuda"), 1.0);
  }

  void failureBeforehand() {
    Engine engine("auto", kEmulated);
    Client client(engine);
    const auto first = deal(1), second = deal(2);
    QVERIFY(client.infer(copyOf(first), m_image).ok());
    testing::failCopy(2);  // there is a seat, and half of the first correlations
    const auto found = client.infer(copyOf(second), m_image);
    testing::failCopy(0);
    QVERIFY(found.ok() && *found == onProcessor(second));
    QTRY_COMPARE(engine.inferences("cpu"), 1.0);
    QCOMPARE(engine.metric("pillarbox_gpu_declined_total{phase=\"inference\"}"), 1.0);
  }

  void failureInTheMiddle() {
    Engine engine("auto", kEmulated);
    Client other(engine);
    for (double failures = 1; failures <= device::Ledger::kMostFailures; ++failures) {
      Client client(engine);
      testing::failGraph(3);
      QVERIFY(!client.infer(deal(1), m_image).ok());
      testing::failGraph(0);
      QTRY_COMPARE(engine.metric("pillarbox_gpu_failures_total{phase=\"inference\"}"), failures);
      QTRY_COMPARE(engine.metric("pillarbox_failures_total{where=\"inference\",code=\"internal\"}"),
                   failures);
      QCOMPARE(engine.metric("pillarbox_gpu_seats"), 0.0);
    }
    // That was once too often: the others go on without it.
    QCOMPARE(engine.metric("pillarbox_gpu_usable"), 0.0);
    QVERIFY(engine.context.accelerator.forPreparation() == nullptr);
    const auto sets = deal(1);
    const auto found = other.infer(copyOf(sets), m_image);
    QVERIFY(found.ok() && *found == onProcessor(sets));
    QTRY_COMPARE(engine.inferences("cpu"), 1.0);
    QCOMPARE(engine.inferences("cuda"), 0.0);
  }

  void settings() {
    Engine none("auto", kNone);
    QVERIFY(none.started.ok());
    QCOMPARE(none.metric("pillarbox_gpu_usable"), 0.0);
    QVERIFY(none.context.accelerator.forPreparation() == nullptr);

    Engine demanding("cuda", kNone);
    QVERIFY(!demanding.started.ok());
    QCOMPARE(demanding.started.error().code, ErrorCode::Unsupported);
    const QString sentence = QString::fromStdString(demanding.started.error().message);
    QVERIFY(sentence.startsWith("no GPU is used, as this is a test"));
    QVERIFY(sentence.contains("--device cuda") && sentence.contains("\"auto\" or \"cpu\""));

    bool asked = false;
    Engine processor("cpu", [&asked] {
      asked = true;
      return kEmulated();
    });
    QVERIFY(processor.started.ok() && !asked);

    // A device that fails when it is tried is none.
    const auto failing = [] {
      testing::failGraph(2);
      return kEmulated();
    };
    Engine broken("cuda", failing);
    QVERIFY(!broken.started.ok());
    Engine without("auto", failing);
    QVERIFY(without.started.ok());
    QCOMPARE(without.metric("pillarbox_gpu_usable"), 0.0);
    testing::failGraph(0);
    Engine good("auto", kEmulated);
    QCOMPARE(good.metric("pillarbox_gpu_usable"), 1.0);
    QVERIFY(good.context.accelerator.forPreparation() != nullptr);
  }
};

QTEST_GUILESS_MAIN(TestAccelerator)
#include "test_accelerator.moc"

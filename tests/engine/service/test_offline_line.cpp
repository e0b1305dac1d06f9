// The rules of a session's offline lines, against sessions in this process over in-memory
// transports: who may attach, that an index is used once, that nothing outlives the session, and
// that what a client leaves out, repeats or makes up ends its own line with a clear error.

#include <thread>

#include <QTest>

#include "tests/support/memory_engine.h"

using namespace pillarbox;
using namespace pillarbox::service;
using namespace pillarbox::testing;

class TestOfflineLine : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void setsMadeOnLinesAreUsedBySessions() {
    Engine engine;
    Client client(engine);
    QCOMPARE(client.session.welcome.offline_mode(), 1u);
    for (std::uint64_t index : {1u, 2u, 7u}) {
      auto set = client.line.wholeSet(index);
      QVERIFY2(set.ok(), set.ok() ? "" : set.error().message.c_str());
      const auto outcome = client.session.infer(std::move(set).value());
      QVERIFY2(outcome.ok(), outcome.ok() ? "" : outcome.error().message.c_str());
    }
  }

  void inferenceWhileASetIsMade() {
    Engine engine;
    Client client(engine);
    auto first = client.line.wholeSet(1);
    QVERIFY(first.ok());
    QVERIFY(client.line.begin(2)->has_set_started());
    // The set is half made; the session's line is free.
    QVERIFY(client.session.infer(std::move(first).value()).ok());
    auto second = client.line.make(2);
    QVERIFY(second.ok());
    QVERIFY(client.line.finish(2)->has_set_ready());
    QVERIFY(client.session.infer(std::move(second).value()).ok());
  }

  void linesShareKeysAndIndices() {
    Engine engine;
    Client client(engine);
    Peer other(engine, Peer::OfflineLine);
    const auto attached = other.attach(client.session.welcome.token(), hashOf(*testModel()));
    QVERIFY(attached->offline_attached().has_keys());
    auto first = client.line.wholeSet(1);
    auto second = other.wholeSet(2);
    QVERIFY(first.ok() && second.ok());
    QVERIFY(client.session.infer(std::move(second).value()).ok());
    QVERIFY(client.session.infer(std::move(first).value()).ok());
    QFAILED_WITH(other.begin(2), ErrorCode::Protocol);
  }

  void attachingNeedsALiveSession() {
    Engine engine;
    Peer session(engine);
    const std::string hash = hashOf(*testModel());
    QFAILED_WITH(Peer(engine, Peer::OfflineLine).attach(session.welcome.token(), hash),
                 ErrorCode::Refused);
    QVERIFY(session.openModel().ok());
    std::string wrong = session.welcome.token();
    wrong[3] = static_cast<char>(wrong[3] ^ 1);
    QFAILED_WITH(Peer(engine, Peer::OfflineLine).attach(wrong, hash), ErrorCode::NotFound);
    QFAILED_WITH(Peer(engine, Peer::OfflineLine).attach(std::string(16, '\0'), hash),
                 ErrorCode::NotFound);
    QFAILED_WITH(Peer(engine, Peer::OfflineLine).attach("short", hash), ErrorCode::Protocol);
    QFAILED_WITH(
        Peer(engine, Peer::OfflineLine).attach(session.welcome.token(), std::string(32, 'x')),
        ErrorCode::Refused);
    Peer line(engine, Peer::OfflineLine);
    QFAILED_WITH(line.begin(1), ErrorCode::Protocol);
    QVERIFY(Peer(engine, Peer::OfflineLine).attach(session.welcome.token(), hash).ok());
  }

  void aLineIsNoSession() {
    Engine engine;
    Peer line(engine, Peer::OfflineLine);
    QVERIFY(line.welcome.token().empty());
    QVERIFY(!line.openModel().ok());
    Client client(engine);
    ToEngine request;
    request.mutable_start_inference()->set_index(1);
    QFAILED_WITH(client.line.ask(request), ErrorCode::Protocol);
    // Nor is a session a line.
    QFAILED_WITH(client.session.attach(client.session.welcome.token(), hashOf(*testModel())),
                 ErrorCode::Protocol);
  }

  void otherModesHaveNoLines() {
    Engine engine(testConfiguration(), false);
    Peer session(engine);
    QVERIFY(session.openModel().ok());
    QFAILED_WITH(
        Peer(engine, Peer::OfflineLine).attach(session.welcome.token(), hashOf(*testModel())),
        ErrorCode::Refused);
  }

  void noMoreLinesThanAllowed() {
    Engine engine;
    Client client(engine);
    std::vector<std::unique_ptr<Peer>> lines;
    for (std::size_t i = 1; i < SetBank::kMaxLines; ++i) {
      lines.push_back(std::make_unique<Peer>(engine, Peer::OfflineLine));
      QVERIFY(lines.back()->attach(client.session.welcome.token(), hashOf(*testModel())).ok());
    }
    QFAILED_WITH(Peer(engine, Peer::OfflineLine)
                     .attach(client.session.welcome.token(), hashOf(*testModel())),
                 ErrorCode::Exhausted);
  }

  void keysComeFirstAndMustBeGood() {
    Engine engine;
    Peer session(engine);
    QVERIFY(session.openModel().ok());
    const std::string hash = hashOf(*testModel());
    Peer line(engine, Peer::OfflineLine);
    QVERIFY(line.attach(session.welcome.token(), hash).ok());
    QFAILED_WITH(line.begin(1), ErrorCode::Protocol);

    Peer bad(engine, Peer::OfflineLine);
    QVERIFY(bad.attach(session.welcome.token(), hash).ok());
    ToEngine request;
    request.mutable_prepare_keys();
    QVERIFY(bad.send(request).ok());
    const std::vector<std::byte> keys(16, std::byte{9});
    QVERIFY(bad.channel->send(net::FrameKind::Bytes, keys).ok());
    QFAILED_WITH(bad.answer(), ErrorCode::Format);

    // Announced one size, sent another: refused by its header.
    Peer large(engine, Peer::OfflineLine);
    QVERIFY(large.attach(session.welcome.token(), hash).ok());
    QVERIFY(large.send(request).ok());
    const std::vector<std::byte> more(1 << 20);
    QVERIFY(large.channel->send(net::FrameKind::Bytes, more).ok());
    QFAILED_WITH(large.answer(), ErrorCode::Protocol);

    Peer good(engine, Peer::OfflineLine);
    const auto attached = good.attach(session.welcome.token(), hash);
    QVERIFY(attached.ok() && !attached->offline_attached().has_keys());
    QVERIFY(good.keys()->has_keys_ready());
    QVERIFY(good.wholeSet(2).ok());
    // And they come once.
    QFAILED_WITH(good.keys(), ErrorCode::Protocol);
  }

  void indicesAreUsedOnce() {
    Engine engine;
    Client client(engine);
    QVERIFY(client.line.wholeSet(5).ok());
    QFAILED_WITH(client.line.begin(5), ErrorCode::Protocol);
    Client again(engine);
    QVERIFY(again.line.wholeSet(5).ok());
    QFAILED_WITH(again.line.begin(4), ErrorCode::Protocol);
    Client zero(engine);
    QFAILED_WITH(zero.line.begin(0), ErrorCode::Protocol);
  }

  void anInterruptedSetIsBurnt() {
    Engine engine;
    Client client(engine);
    QVERIFY(client.line.begin(1)->has_set_started());
    auto burnt = client.line.make(1);  // but never FinishSet
    QVERIFY(burnt.ok());
    client.line.channel.reset();
    Peer line(engine, Peer::OfflineLine);
    Result<ToClient> attached = line.attach(client.session.welcome.token(), hashOf(*testModel()));
    QVERIFY(attached.ok());
    if (!attached->offline_attached().has_keys()) QVERIFY(line.keys().ok());
    QFAILED_WITH(line.begin(1), ErrorCode::Protocol);
    QFAILED_WITH(client.session.infer(std::move(burnt).value()), ErrorCode::Protocol);
  }

  void finishNamesItsSet() {
    Engine engine;
    Client client(engine);
    QVERIFY(client.line.begin(3)->has_set_started());
    QVERIFY(client.line.make(3).ok());
    QFAILED_WITH(client.line.finish(4), ErrorCode::Protocol);
    Client early(engine);
    QFAILED_WITH(early.line.finish(1), ErrorCode::Protocol);
  }

  void piecesOfTheWrongLength() {
    Engine engine;
    Client client(engine);
    QVERIFY(client.line.begin(1)->has_set_started());
    const std::vector<std::uint64_t> words(7);
    QVERIFY(client.line.channel->sendWords(words).ok());
    random::Seed seed;
    QVERIFY(client.line.channel->receiveBytes(std::as_writable_bytes(std::span(seed.bytes))).ok());
    std::vector<std::uint64_t> sink(1 << 16);
    net::WordStreamReader reader(*client.line.channel,
                                 offline::offlineCost(testModel()->description()).correctionWords);
    QVERIFY(reader.drain().ok());
    QFAILED_WITH(client.line.answer(), ErrorCode::Protocol);
    // The session goes on, on another line.
    Peer line(engine, Peer::OfflineLine);
    QVERIFY(line.attach(client.session.welcome.token(), hashOf(*testModel())).ok());
  }

  void aFullBankDeclines() {
    Engine engine;
    Client client(engine);
    auto first = client.line.wholeSet(1);
    QVERIFY(first.ok());
    QVERIFY(client.line.wholeSet(2).ok());
    const auto third = client.line.begin(3);
    QVERIFY(third.ok() && third->has_declined());
    QCOMPARE(QString::fromStdString(third->declined().code()), QString("exhausted"));
    // The line goes on, and a set that is used makes room.
    QVERIFY(client.session.infer(std::move(first).value()).ok());
    QVERIFY(client.line.wholeSet(4).ok());
  }

  void setsInTheMakingCountAsWell() {
    Engine engine;
    Client client(engine);
    QVERIFY(client.line.wholeSet(1).ok());
    QVERIFY(client.line.begin(2)->has_set_started());
    Peer other(engine, Peer::OfflineLine);
    QVERIFY(other.attach(client.session.welcome.token(), hashOf(*testModel())).ok());
    QVERIFY(other.begin(3)->has_declined());
  }

  void memoryIsLimited() {
    EngineConfiguration configuration = testConfiguration();
    configuration.setMemoryMib = 1;
    configuration.setsPerSession = 1000;
    Engine engine(configuration);
    Client client(engine);
    bool declined = false;
    for (std::uint64_t index = 1; index < 1000 && !declined; ++index) {
      const auto set = client.line.wholeSet(index);
      declined = !set.ok() && set.error().code == ErrorCode::Exhausted;
      QVERIFY(set.ok() || declined);
    }
    QVERIFY(declined);
    // It comes back with the session's end.
    client.session.channel.reset();
    bool again = false;
    for (int attempt = 0; attempt < 100 && !again; ++attempt) {
      Client next(engine);
      again = next.line.wholeSet(1).ok();
      if (!again) QTest::qWait(20);
    }
    QVERIFY(again);
  }

  /// Sets and keys count for as long as somebody holds them.
  void whatIsInUseCountsToo() {
    Metrics metrics;
    MemoryBudget memory(10000);
    const auto isFree = [&](std::uint64_t bytes) { return memory.reserve(bytes, "tests").ok(); };
    const auto bank = std::make_shared<SetBank>(4, memory, metrics);
    bank->open({testModel()});
    offline::EngineSet set;
    set.stages.resize(1);
    set.stages[0].outputMask.resize(500);
    const std::uint64_t bytes = set.memoryBytes();
    QVERIFY(bytes >= 4000 && bytes < 5000);
    QVERIFY(SetBank::begin(bank, {testModel()}, 1, 9000).value().deposit(std::move(set)).ok());
    {
      const auto taken = bank->take(1);
      QVERIFY(taken.ok());
      QVERIFY(isFree(10000 - bytes) && !isFree(10001 - bytes));
    }
    QVERIFY(isFree(10000));

    QVERIFY(bank->setKeys({testModel()}, std::make_shared<offline::two_party::EngineKeys>(),
                          memory.reserve(3000, "tests").value())
                .ok());
    {
      const auto preparation = SetBank::begin(bank, {testModel()}, 2, 1000);
      QVERIFY(preparation.ok() && preparation->keys());
      bank->close();
      QVERIFY(isFree(6000) && !isFree(6001));
    }
    QVERIFY(isFree(10000));
  }

  /// New weights under an old public description, as an administrator may activate them.
  void newWeightsGetAPartyOfTheirOwn() {
    models::LoadedModel loaded = makeTinyModel("conv_padded");
    for (auto& tensor : loaded.weights.weights) {
      for (auto& weight : tensor) weight = -weight;
    }
    const auto other = std::make_shared<const inference::EngineModel>(std::move(loaded.model),
                                                                      std::move(loaded.weights));
    QVERIFY(other->hash() == testModel()->hash());
    TwoPartySource source(fakeEngineParty);
    const auto before = source.party({testModel()}).value();
    QVERIFY(source.party({testModel()}).value() == before);
    source.serve({other});
    QVERIFY(source.party({other}).value() != before);
    // A session that is still there keeps its model.
    QVERIFY(source.party({testModel()}).value() != source.party({other}).value());
  }

  /// A session that opens its model again for another protocol: sets and keys made for the first
  /// are of no use to it, and a line that was attached for that makes no more.
  void anotherProtocolIsAnotherBeginning() {
    Engine engine;
    Client client(engine);
    QVERIFY(client.line.wholeSet(1).ok());
    QVERIFY(client.line.begin(2)->has_set_started());
    QVERIFY(client.session.openModel(static_cast<std::uint32_t>(offline::Protocol::Horner)).ok());
    QVERIFY(client.line.make(2).ok());
    QFAILED_WITH(client.line.finish(2), ErrorCode::Closed);
    ToEngine start;
    start.mutable_start_inference()->set_index(1);
    QVERIFY(client.session.send(start).ok());
    QFAILED_WITH(client.session.answer(), ErrorCode::Protocol);
  }

  /// Declined, and nothing else happens: what was open stays open.
  void aProtocolThatIsNotServedIsDeclined() {
    EngineConfiguration configuration = testConfiguration();
    configuration.protocols = {"honeybadger", "espn"};
    Engine engine(configuration);
    Client client(engine);
    auto set = client.line.wholeSet(1);
    QVERIFY(set.ok());
    for (const std::uint32_t protocol : {3U, 4U, ~0U}) {
      QFAILED_WITH(client.session.openModel(protocol), ErrorCode::Unsupported);
    }
    QVERIFY(client.session.infer(std::move(set).value()).ok());
  }

  void nothingOutlivesTheSession() {
    Engine engine;
    auto client = std::make_unique<Client>(engine);
    QVERIFY(client->line.wholeSet(1).ok());
    QVERIFY(client->line.begin(2)->has_set_started());
    const std::string token = client->session.welcome.token();
    client->session.channel.reset();
    // As soon as the engine has noticed, nobody can attach any more ...
    bool refused = false;
    for (int attempt = 0; attempt < 100 && !refused; ++attempt) {
      const auto attached = Peer(engine, Peer::OfflineLine).attach(token, hashOf(*testModel()));
      refused = !attached.ok() && attached.error().code == ErrorCode::NotFound;
      if (!refused) QTest::qWait(20);
    }
    QVERIFY(refused);
    // ... and the line is cancelled in the middle of its set.
    QVERIFY(!client->line.make(2).ok() || !client->line.finish(2).ok());
  }
};

QTEST_GUILESS_MAIN(TestOfflineLine)
#include "test_offline_line.moc"

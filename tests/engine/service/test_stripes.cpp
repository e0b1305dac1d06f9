// The further connections of a session, against sessions in this process: who may attach them, that
// the stream moves to them once and only to all of them, and that one which ends, is missing, is
// repeated or belongs to somebody else ends what it must with a clear error, and nothing more.

#include <thread>

#include <QTest>

#include "tests/support/memory_engine.h"

using namespace pillarbox;
using namespace pillarbox::service;
using namespace pillarbox::testing;

namespace {

Result<ToClient> attach(Peer& stripe, const std::string& token, std::uint32_t number) {
  ToEngine request;
  request.mutable_attach_stripe()->set_token(token);
  request.mutable_attach_stripe()->set_number(number);
  return stripe.ask(request);
}

Result<ToClient> askToWiden(Peer& session, std::uint32_t stripes) {
  ToEngine request;
  request.mutable_widen()->set_stripes(stripes);
  return session.ask(request);
}

using Stripes = std::vector<std::unique_ptr<Peer>>;

/// Stripes 1 to count - 1 of a session.
Stripes attachAll(Engine& engine, Peer& session, std::uint32_t count) {
  Stripes stripes;
  for (std::uint32_t number = 1; number < count; ++number) {
    stripes.push_back(std::make_unique<Peer>(engine, Peer::Stripe));
    const auto attached = attach(*stripes.back(), session.welcome.token(), number);
    if (!attached.ok()) throw std::runtime_error(attached.error().message);
  }
  return stripes;
}

/// Moves the session's stream to them.
void move(Peer& session, Stripes stripes) {
  std::vector<std::unique_ptr<net::Transport>> further;
  for (const auto& stripe : stripes) further.push_back(stripe->stream->release());
  session.stream->widen(std::move(further));
}

Status ping(Peer& session) {
  ToEngine request;
  request.mutable_ping();
  const auto answer = session.ask(request);
  if (!answer.ok()) return answer.error();
  return answer->has_pong() ? Status() : Status(Error{ErrorCode::Protocol, "no pong"});
}

}  // namespace

class TestStripes : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void inferencesOverAnyNumber_data() {
    QTest::addColumn<unsigned>("count");
    for (unsigned count = 2; count <= 4; ++count) QTest::addRow("%u", count) << count;
  }
  /// The same image on one connection and on several: the same scores, to the truncations' ulps,
  /// rounds and bytes.
  void inferencesOverAnyNumber() {
    QFETCH(unsigned, count);
    Engine engine;
    Client client(engine);
    QCOMPARE(client.session.welcome.max_stripes(), 4u);
    auto before = client.line.wholeSet(1);
    QVERIFY(before.ok());
    const auto narrow = client.session.infer(std::move(before).value());
    QVERIFY(narrow.ok());
    Stripes stripes = attachAll(engine, client.session, count);
    const auto widened = askToWiden(client.session, count);
    QVERIFY(widened.ok());
    QCOMPARE(widened->widened().stripes(), count);
    move(client.session, std::move(stripes));
    for (std::uint64_t index = 2; index < 5; ++index) {
      auto set = client.line.wholeSet(index);
      QVERIFY(set.ok());
      const auto wide = client.session.infer(std::move(set).value());
      QVERIFY2(wide.ok(), wide.ok() ? "" : wide.error().message.c_str());
      QCOMPARE(wide->rounds, narrow->rounds);
      QCOMPARE(wide->bytesSent, narrow->bytesSent);
      QCOMPARE(wide->bytesReceived, narrow->bytesReceived);
      for (std::size_t i = 0; i < wide->logits.size(); ++i) {
        QVERIFY(std::abs(wide->logits[i] - narrow->logits[i]) < 0.05);
      }
    }
  }

  void attachingNeedsALiveSession() {
    Engine engine;
    auto session = std::make_unique<Peer>(engine);
    const std::string token = session->welcome.token();
    std::string wrong = token;
    wrong[7] = static_cast<char>(wrong[7] ^ 1);
    Peer stranger(engine, Peer::Stripe);
    QVERIFY(stranger.welcome.token().empty());
    QFAILED_WITH(attach(stranger, wrong, 1), ErrorCode::NotFound);
    Peer another(engine, Peer::Stripe);
    QFAILED_WITH(attach(another, "short", 1), ErrorCode::Protocol);
    session.reset();
    bool refused = false;
    for (int attempt = 0; attempt < 100 && !refused; ++attempt) {
      Peer late(engine, Peer::Stripe);
      const auto attached = attach(late, token, 1);
      refused = !attached.ok() && attached.error().code == ErrorCode::NotFound;
      if (!refused) QTest::qWait(20);
    }
    QVERIFY(refused);
  }

  void aStripeIsNothingElse() {
    Engine engine;
    Peer session(engine);
    Peer stripe(engine, Peer::Stripe);
    QFAILED_WITH(ping(stripe), ErrorCode::Protocol);
    // Nor is a session a stripe, nor an offline line.
    QFAILED_WITH(attach(session, session.welcome.token(), 1), ErrorCode::Protocol);
    Peer other(engine);
    Peer line(engine, Peer::OfflineLine);
    QFAILED_WITH(attach(line, other.welcome.token(), 1), ErrorCode::Protocol);
  }

  void numbersAreTakenOnce() {
    Engine engine;
    Peer session(engine);
    const std::string token = session.welcome.token();
    for (const std::uint32_t number : {0u, 4u, 5u, 0xffffffffu}) {
      Peer stripe(engine, Peer::Stripe);
      QFAILED_WITH(attach(stripe, token, number), ErrorCode::Protocol);
    }
    Peer first(engine, Peer::Stripe), again(engine, Peer::Stripe);
    QVERIFY(attach(first, token, 2).ok());
    QFAILED_WITH(attach(again, token, 2), ErrorCode::Protocol);
    QVERIFY(ping(session).ok());
  }

  void notAllAreThere() {
    Engine engine;
    Peer session(engine);
    Peer third(engine, Peer::Stripe);
    QVERIFY(attach(third, session.welcome.token(), 3).ok());
    // Declined: the session goes on over its own connection, and may try again.
    const auto declined = askToWiden(session, 4);
    QVERIFY(declined.ok() && declined->has_declined());
    QCOMPARE(QString::fromStdString(declined->declined().code()), QString("exhausted"));
    QVERIFY(ping(session).ok());
    Stripes stripes = attachAll(engine, session, 3);
    QVERIFY(askToWiden(session, 3)->has_widened());
    move(session, std::move(stripes));
    QVERIFY(ping(session).ok());
    // The one that is not needed was closed.
    QVERIFY(!third.answer().ok());
  }

  void countsThatCannotBe_data() {
    QTest::addColumn<unsigned>("count");
    QTest::newRow("none") << 0u;
    QTest::newRow("one") << 1u;
    QTest::newRow("five") << 5u;
    QTest::newRow("many") << 0xffffffffu;
  }
  void countsThatCannotBe() {
    QFETCH(unsigned, count);
    Engine engine;
    Peer session(engine);
    const Stripes stripes = attachAll(engine, session, 4);
    QFAILED_WITH(askToWiden(session, count), ErrorCode::Protocol);
  }

  void widensOnce() {
    Engine engine;
    Peer session(engine);
    Stripes stripes = attachAll(engine, session, 3);
    QVERIFY(askToWiden(session, 3)->has_widened());
    move(session, std::move(stripes));
    // Nobody joins any more, whatever number they say ...
    for (const std::uint32_t number : {1u, 3u}) {
      Peer late(engine, Peer::Stripe);
      QFAILED_WITH(attach(late, session.welcome.token(), number), ErrorCode::Closed);
    }
    QVERIFY(ping(session).ok());
    // ... and a second time ends the session.
    QVERIFY(!askToWiden(session, 2).ok());
    QVERIFY(!ping(session).ok());
  }

  void anEngineMayAllowFewerOrNone() {
    EngineConfiguration configuration = testConfiguration();
    configuration.stripesPerSession = 1;
    Engine engine(configuration);
    Peer session(engine);
    QCOMPARE(session.welcome.max_stripes(), 1u);
    Peer stripe(engine, Peer::Stripe);
    QFAILED_WITH(attach(stripe, session.welcome.token(), 1), ErrorCode::Protocol);
    QVERIFY(ping(session).ok());
    QFAILED_WITH(askToWiden(session, 2), ErrorCode::Protocol);
  }

  void aStripeThatEndsEndsTheSession() {
    Engine engine;
    Client client(engine);
    Stripes stripes = attachAll(engine, client.session, 4);
    QVERIFY(askToWiden(client.session, 4)->has_widened());
    std::vector<std::unique_ptr<net::Transport>> further;
    for (const auto& stripe : stripes) further.push_back(stripe->stream->release());
    further[1].reset();  // before the client has used it
    further[1] = net::makeMemoryPair().first;
    client.session.stream->widen(std::move(further));
    client.session.channel->setTimeout(std::chrono::seconds(2));
    auto set = client.line.wholeSet(1);
    QVERIFY(set.ok());
    Status status;
    for (int i = 0; i < 5000 && status.ok(); ++i) status = ping(client.session);
    QVERIFY(!status.ok());
    // And its sets and lines with it.
    bool over = false;
    for (int attempt = 0; attempt < 200 && !over; ++attempt) {
      over = engine.pool.running() == 0;
      if (!over) QTest::qWait(20);
    }
    QVERIFY(over);
  }

  void aWrongOrderIsNoticed() {
    Engine engine;
    Client client(engine);
    Stripes stripes = attachAll(engine, client.session, 4);
    QVERIFY(askToWiden(client.session, 4)->has_widened());
    std::swap(stripes[0], stripes[2]);
    move(client.session, std::move(stripes));
    client.session.channel->setTimeout(std::chrono::seconds(2));
    Status status;
    for (int i = 0; i < 5000 && status.ok(); ++i) status = ping(client.session);
    QVERIFY(!status.ok());
  }

  /// What waits in the dock goes with the session, and is not counted any more.
  void nothingOutlivesTheSession() {
    Engine engine;
    auto session = std::make_unique<Peer>(engine);
    const Stripes stripes = attachAll(engine, *session, 4);
    session.reset();
    for (const auto& stripe : stripes) QVERIFY(!stripe->answer().ok());
  }

  void aShutdownEndsWideSessions() {
    Engine engine;
    Peer session(engine);
    Stripes stripes = attachAll(engine, session, 4);
    QVERIFY(askToWiden(session, 4)->has_widened());
    move(session, std::move(stripes));
    QVERIFY(ping(session).ok());
    engine.pool.shutDown(std::chrono::seconds(5));
    const auto end = session.answer();
    QVERIFY(!end.ok());
    QVERIFY2(end.error().message.find("shutting down") != std::string::npos,
             end.error().message.c_str());
  }

  /// An inference keeps the offline lines of its own session from sending, and lets go of them.
  void anInferenceHoldsItsOwnLinesOnly() {
    class Held final : public net::Transport {
     public:
      explicit Held(std::atomic<int>& held) : m_held(held) {}
      Status write(std::span<const std::byte>, std::span<const std::byte>) override { return {}; }
      Status read(std::span<std::byte>) override { return Error{ErrorCode::Closed, "over"}; }
      void setTimeout(std::chrono::milliseconds) override {}
      void hold(std::chrono::milliseconds duration) noexcept override {
        m_held = duration.count() > 0 ? 1 : 0;
      }
      void cancel() noexcept override {}
      std::string peer() const override { return "held"; }

     private:
      std::atomic<int>& m_held;
    };
    MemoryBudget memory(1 << 20);
    Metrics metrics;
    const auto bank = std::make_shared<SetBank>(2, memory, metrics);
    const auto other = std::make_shared<SetBank>(2, memory, metrics);
    bank->open({testModel()});
    other->open({testModel()});
    std::atomic<int> first = 0, second = 0, foreign = 0;
    net::Channel a(std::make_unique<Held>(first)), b(std::make_unique<Held>(second)),
        c(std::make_unique<Held>(foreign));
    const auto lineA = SetBank::attach(bank, testModel()->hash(), a);
    const auto lineC = SetBank::attach(other, testModel()->hash(), c);
    bank->holdLines(std::chrono::seconds(10));
    QCOMPARE(first.load(), 1);
    QCOMPARE(foreign.load(), 0);
    const auto lineB = SetBank::attach(bank, testModel()->hash(), b);  // in the middle of it
    QCOMPARE(second.load(), 1);
    bank->holdLines(std::chrono::seconds(0));
    QCOMPARE(first.load() + second.load() + foreign.load(), 0);
  }
};

QTEST_GUILESS_MAIN(TestStripes)
#include "test_stripes.moc"

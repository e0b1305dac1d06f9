// The dealer's rules, against its connections in this process over in-memory transports: who may
// ask for what, and that nothing is dealt twice.

#include <thread>

#include <QTest>

#include "engine/service/connection_pool.h"
#include "engine/service/dealer_server.h"
#include "net/memory.h"
#include "net/message_io.h"
#include "tests/support/model_factory.h"

using namespace pillarbox;
using namespace pillarbox::service;
using net::proto::FromDealer;
using net::proto::ToDealer;

namespace {

DealerConfiguration testConfiguration() {
  DealerConfiguration configuration;
  configuration.networkSeconds = 5;
  configuration.maxModelsPerEngine = 2;
  configuration.maxSessions = 3;
  return configuration;
}

const models::PublicModel& model() {
  static const models::PublicModel kModel = testing::makeTinyModel("conv_padded").model;
  return kModel;
}

std::string hashOf(const models::PublicModel& m) {
  const models::Sha256 hash = models::modelHash(m);
  return {reinterpret_cast<const char*>(hash.data()), hash.size()};
}

/// A dealer without sockets.
struct Dealer {
  DealerState state{testConfiguration()};
  ConnectionPool<DealerConnection> pool{
      16, [this](std::uint64_t id, std::unique_ptr<net::Transport> transport) {
        return std::make_unique<DealerConnection>(state, id, std::move(transport));
      }};

  std::unique_ptr<net::Channel> connect(net::proto::DealerRole role) {
    auto [mine, theirs] = net::makeMemoryPair();
    pool.add(std::move(theirs));
    auto channel = std::make_unique<net::Channel>(std::move(mine));
    channel->setTimeout(std::chrono::seconds(5));
    ToDealer hello;
    hello.mutable_hello()->set_protocol_version(net::kProtocolVersion);
    hello.mutable_hello()->set_role(role);
    if (!net::sendMessage(*channel, hello).ok()) return nullptr;
    const auto welcome = net::receiveMessage<FromDealer>(*channel);
    if (!welcome.ok() || !welcome->has_welcome()) return nullptr;
    return channel;
  }
};

struct Registered {
  std::string maskId;
  random::Seed seed;
};

Result<Registered> registerModel(net::Channel& engine, const models::PublicModel& m) {
  const std::string description = models::serialize(m);
  ToDealer request;
  request.mutable_register_model()->set_description_bytes(
      static_cast<std::uint32_t>(description.size()));
  PILLARBOX_TRY(net::sendMessage(engine, request));
  PILLARBOX_TRY(engine.send(net::FrameKind::Bytes, std::as_bytes(std::span(description))));
  PILLARBOX_ASSIGN(const FromDealer answer, net::receiveMessage<FromDealer>(engine));
  if (!answer.has_model_registered()) return Error{ErrorCode::Protocol, "not registered"};
  Registered result;
  result.maskId = answer.model_registered().mask_id();
  PILLARBOX_TRY(engine.receiveBytes(std::as_writable_bytes(std::span(result.seed.bytes))));
  return result;
}

Status registerSession(net::Channel& engine, const std::string& token, std::uint32_t protocol = 0) {
  ToDealer request;
  request.mutable_register_session()->set_token(token);
  request.mutable_register_session()->set_hash(hashOf(model()));
  request.mutable_register_session()->set_protocol(protocol);
  PILLARBOX_TRY(net::sendMessage(engine, request));
  PILLARBOX_ASSIGN(const FromDealer answer, net::receiveMessage<FromDealer>(engine));
  if (answer.has_declined()) return net::errorOf(answer.declined(), "the dealer");
  return answer.has_session_registered() ? Status()
                                         : Status(Error{ErrorCode::Protocol, "something else"});
}

struct Dealt {
  random::Seed clientSeed;
  SecureVector<std::uint64_t> corrections;
};

Result<Dealt> requestSet(net::Channel& client, const std::string& token, const std::string& maskId,
                         std::uint64_t index) {
  ToDealer request;
  request.mutable_request_set()->set_token(token);
  request.mutable_request_set()->set_mask_id(maskId);
  request.mutable_request_set()->set_index(index);
  PILLARBOX_TRY(net::sendMessage(client, request));
  PILLARBOX_ASSIGN(const FromDealer answer, net::receiveMessage<FromDealer>(client));
  if (answer.has_declined()) return net::errorOf(answer.declined(), "the dealer");
  if (!answer.has_set_dealt() || answer.set_dealt().index() != index) {
    return Error{ErrorCode::Protocol, "something else"};
  }
  Dealt dealt;
  PILLARBOX_TRY(client.receiveBytes(std::as_writable_bytes(std::span(dealt.clientSeed.bytes))));
  dealt.corrections.resize(answer.set_dealt().words());
  net::WordStreamReader reader(client, dealt.corrections.size());
  PILLARBOX_TRY(reader.read(dealt.corrections));
  return dealt;
}

struct Pushed {
  std::string token;
  std::uint64_t index = 0;
  random::Seed seed;
};

Result<Pushed> receivePush(net::Channel& engine) {
  PILLARBOX_ASSIGN(const FromDealer message, net::receiveMessage<FromDealer>(engine));
  if (!message.has_engine_seed()) return Error{ErrorCode::Protocol, "no seed"};
  Pushed pushed{message.engine_seed().token(), message.engine_seed().index(), {}};
  PILLARBOX_TRY(engine.receiveBytes(std::as_writable_bytes(std::span(pushed.seed.bytes))));
  return pushed;
}

const std::string kToken = "0123456789abcdef";
const std::string kOtherToken = "fedcba9876543210";

}  // namespace

class TestDealer : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  // What the dealer sends is what dealSet makes of the two seeds and A: the engine's seed goes to
  // the engine alone, the client's to the client alone.
  void dealsWhatTheSeedsSay() {
    Dealer dealer;
    const auto engine = dealer.connect(net::proto::DEALER_ROLE_ENGINE);
    const auto client = dealer.connect(net::proto::DEALER_ROLE_CLIENT);
    const auto registered = registerModel(*engine, model());
    QVERIFY(registered.ok());
    QVERIFY(registerSession(*engine, kToken).ok());
    const auto dealt = requestSet(*client, kToken, registered->maskId, 1);
    QVERIFY2(dealt.ok(), dealt.ok() ? "" : dealt.error().message.c_str());
    const auto pushed = receivePush(*engine);
    QVERIFY(pushed.ok());
    QCOMPARE(pushed->token, kToken);
    QCOMPARE(pushed->index, std::uint64_t{1});
    QVERIFY(pushed->seed.bytes != dealt->clientSeed.bytes);

    SecureVector<std::uint64_t> expected;
    QVERIFY(offline::dealSet(model(), offline::WideWeights::expand(model(), registered->seed),
                             dealt->clientSeed, pushed->seed,
                             [&](std::span<const std::uint64_t> words) -> Status {
                               expected.insert(expected.end(), words.begin(), words.end());
                               return {};
                             })
                .ok());
    QVERIFY(expected == dealt->corrections);
  }

  // For the protocol with which the engine registered the session.
  void dealsForTheSessionsProtocol() {
    Dealer dealer;
    const auto engine = dealer.connect(net::proto::DEALER_ROLE_ENGINE);
    const auto client = dealer.connect(net::proto::DEALER_ROLE_CLIENT);
    const auto registered = registerModel(*engine, model());
    QVERIFY(registered.ok());
    QVERIFY(
        registerSession(*engine, kToken, static_cast<std::uint32_t>(offline::Protocol::Espn)).ok());
    const auto dealt = requestSet(*client, kToken, registered->maskId, 1);
    QVERIFY2(dealt.ok(), dealt.ok() ? "" : dealt.error().message.c_str());
    const auto pushed = receivePush(*engine);
    QVERIFY(pushed.ok());
    const auto activations = inference::Activations::make(model(), offline::Protocol::Espn).value();
    SecureVector<std::uint64_t> expected;
    QVERIFY(offline::dealSet(
                model(), offline::WideWeights::expand(model(), registered->seed), dealt->clientSeed,
                pushed->seed,
                [&](std::span<const std::uint64_t> words) -> Status {
                  expected.insert(expected.end(), words.begin(), words.end());
                  return {};
                },
                activations->correlations())
                .ok());
    QVERIFY(expected == dealt->corrections);
    const Status unknown = registerSession(*engine, std::string(16, 'u'), 17);
    QVERIFY(!unknown.ok());
  }

  void everySetHasFreshSeeds() {
    Dealer dealer;
    const auto engine = dealer.connect(net::proto::DEALER_ROLE_ENGINE);
    const auto client = dealer.connect(net::proto::DEALER_ROLE_CLIENT);
    const auto registered = registerModel(*engine, model());
    QVERIFY(registered.ok() && registerSession(*engine, kToken).ok());
    std::set<std::array<std::uint8_t, 32>> seeds;
    for (std::uint64_t index = 1; index <= 4; ++index) {
      const auto dealt = requestSet(*client, kToken, registered->maskId, index);
      const auto pushed = receivePush(*engine);
      QVERIFY(dealt.ok() && pushed.ok());
      seeds.insert(dealt->clientSeed.bytes);
      seeds.insert(pushed->seed.bytes);
    }
    QCOMPARE(seeds.size(), std::size_t{8});
  }

  void indicesOnlyGrow_data() {
    QTest::addColumn<quint64>("second");
    QTest::newRow("the same") << quint64{5};
    QTest::newRow("a smaller one") << quint64{4};
    QTest::newRow("zero") << quint64{0};
  }
  void indicesOnlyGrow() {
    QFETCH(quint64, second);
    Dealer dealer;
    const auto engine = dealer.connect(net::proto::DEALER_ROLE_ENGINE);
    const auto client = dealer.connect(net::proto::DEALER_ROLE_CLIENT);
    const auto registered = registerModel(*engine, model());
    QVERIFY(registered.ok() && registerSession(*engine, kToken).ok());
    QVERIFY(requestSet(*client, kToken, registered->maskId, 5).ok());
    QVERIFY(receivePush(*engine).ok());
    const auto replay = requestSet(*client, kToken, registered->maskId, second);
    QVERIFY(!replay.ok());
    QCOMPARE(replay.error().code, ErrorCode::Protocol);
    // From another connection neither.
    const auto other = dealer.connect(net::proto::DEALER_ROLE_CLIENT);
    QVERIFY(!requestSet(*other, kToken, registered->maskId, second).ok());
    const auto third = dealer.connect(net::proto::DEALER_ROLE_CLIENT);
    QVERIFY(requestSet(*third, kToken, registered->maskId, 6).ok());
  }

  void unknownTokenAndStaleMask() {
    Dealer dealer;
    const auto engine = dealer.connect(net::proto::DEALER_ROLE_ENGINE);
    const auto client = dealer.connect(net::proto::DEALER_ROLE_CLIENT);
    const auto registered = registerModel(*engine, model());
    QVERIFY(registered.ok() && registerSession(*engine, kToken).ok());
    const auto unknown = requestSet(*client, kOtherToken, registered->maskId, 1);
    QVERIFY(!unknown.ok());
    QCOMPARE(unknown.error().code, ErrorCode::NotFound);
    const auto stale = requestSet(*client, kToken, std::string(16, 'x'), 1);
    QVERIFY(!stale.ok());
    QCOMPARE(stale.error().code, ErrorCode::NotFound);
    // Declined, not dead: the right request still works.
    QVERIFY(requestSet(*client, kToken, registered->maskId, 1).ok());
    const auto shortToken = requestSet(*client, "short", registered->maskId, 2);
    QVERIFY(!shortToken.ok());
    QCOMPARE(shortToken.error().code, ErrorCode::Protocol);
  }

  void closedAndVanishedSessions() {
    Dealer dealer;
    auto engine = dealer.connect(net::proto::DEALER_ROLE_ENGINE);
    const auto client = dealer.connect(net::proto::DEALER_ROLE_CLIENT);
    const auto registered = registerModel(*engine, model());
    QVERIFY(registered.ok());
    QVERIFY(registerSession(*engine, kToken).ok());
    QVERIFY(registerSession(*engine, kOtherToken).ok());
    ToDealer close;
    close.mutable_close_session()->set_token(kToken);
    QVERIFY(net::sendMessage(*engine, close).ok());
    ToDealer ping;
    ping.mutable_ping();
    QVERIFY(net::sendMessage(*engine, ping).ok());
    QVERIFY(net::receiveMessage<FromDealer>(*engine)->has_pong());
    QCOMPARE(requestSet(*client, kToken, registered->maskId, 1).error().code, ErrorCode::NotFound);
    QVERIFY(requestSet(*client, kOtherToken, registered->maskId, 1).ok());
    engine.reset();
    bool gone = false;
    for (std::uint64_t index = 2; index < 200 && !gone; ++index) {
      gone = !requestSet(*client, kOtherToken, registered->maskId, index).ok();
      if (!gone) QTest::qWait(10);
    }
    QVERIFY(gone);
  }

  // One engine cannot take over, or close, the sessions of another.
  void enginesAreIsolated() {
    Dealer dealer;
    const auto first = dealer.connect(net::proto::DEALER_ROLE_ENGINE);
    const auto second = dealer.connect(net::proto::DEALER_ROLE_ENGINE);
    const auto client = dealer.connect(net::proto::DEALER_ROLE_CLIENT);
    const auto one = registerModel(*first, model());
    const auto two = registerModel(*second, model());
    QVERIFY(one.ok() && two.ok());
    QVERIFY(one->maskId != two->maskId && one->seed.bytes != two->seed.bytes);
    QVERIFY(registerSession(*first, kToken).ok());
    ToDealer close;
    close.mutable_close_session()->set_token(kToken);
    QVERIFY(net::sendMessage(*second, close).ok());
    QVERIFY(!registerSession(*second, kToken).ok());
    QVERIFY(requestSet(*client, kToken, one->maskId, 1).ok());
    QVERIFY(receivePush(*first).ok());
  }

  void rolesAreKept() {
    Dealer dealer;
    const auto client = dealer.connect(net::proto::DEALER_ROLE_CLIENT);
    QVERIFY(!registerSession(*client, kToken).ok());
    const auto engine = dealer.connect(net::proto::DEALER_ROLE_ENGINE);
    QVERIFY(!requestSet(*engine, kToken, std::string(16, 'x'), 1).ok());
    QVERIFY(dealer.connect(net::proto::DEALER_ROLE_UNSPECIFIED) == nullptr);
  }

  void limits() {
    Dealer dealer;
    const auto engine = dealer.connect(net::proto::DEALER_ROLE_ENGINE);
    QVERIFY(registerModel(*engine, model()).ok());
    for (char c = 'a'; c < 'd'; ++c) QVERIFY(registerSession(*engine, std::string(16, c)).ok());
    const Status full = registerSession(*engine, std::string(16, 'z'));
    QVERIFY(!full.ok());
    QCOMPARE(full.error().code, ErrorCode::Exhausted);
    QVERIFY(registerModel(*engine, testing::makeTinyModel("batch_norm").model).ok());
    const auto third = registerModel(*engine, testing::makeTinyModel("fully_connected").model);
    QVERIFY(!third.ok());
    QCOMPARE(third.error().code, ErrorCode::Exhausted);
    // Another engine is not affected.
    const auto other = dealer.connect(net::proto::DEALER_ROLE_ENGINE);
    QVERIFY(registerModel(*other, model()).ok());
  }

  void badDescriptions() {
    Dealer dealer;
    for (const std::uint32_t size : {0u, 10u, 0x7fffffffu}) {
      const auto engine = dealer.connect(net::proto::DEALER_ROLE_ENGINE);
      ToDealer request;
      request.mutable_register_model()->set_description_bytes(size);
      QVERIFY(net::sendMessage(*engine, request).ok());
      const std::string nonsense(10, '\x07');
      // An impossible length is refused at once, so that this may find nobody.
      static_cast<void>(
          engine->send(net::FrameKind::Bytes, std::as_bytes(std::span(nonsense))).ok());
      QVERIFY(!net::receiveMessage<FromDealer>(*engine).ok());
    }
  }

  // A client that does not read holds up nobody.
  void slowClient() {
    Dealer dealer;
    const auto engine = dealer.connect(net::proto::DEALER_ROLE_ENGINE);
    const auto registered = registerModel(*engine, model());
    QVERIFY(registered.ok());
    QVERIFY(registerSession(*engine, kToken).ok() && registerSession(*engine, kOtherToken).ok());
    std::vector<std::unique_ptr<net::Channel>> slow;
    for (std::uint64_t index = 1; index <= 4; ++index) {
      auto [mine, theirs] = net::makeMemoryPair({{}, 4096});
      dealer.pool.add(std::move(theirs));
      slow.push_back(std::make_unique<net::Channel>(std::move(mine)));
      ToDealer hello;
      hello.mutable_hello()->set_protocol_version(net::kProtocolVersion);
      hello.mutable_hello()->set_role(net::proto::DEALER_ROLE_CLIENT);
      QVERIFY(net::sendMessage(*slow.back(), hello).ok());
      QVERIFY(net::receiveMessage<FromDealer>(*slow.back()).ok());
      ToDealer request;
      request.mutable_request_set()->set_token(kToken);
      request.mutable_request_set()->set_mask_id(registered->maskId);
      request.mutable_request_set()->set_index(index);
      QVERIFY(net::sendMessage(*slow.back(), request).ok());
      QVERIFY(receivePush(*engine).ok());
    }
    const auto client = dealer.connect(net::proto::DEALER_ROLE_CLIENT);
    QVERIFY(requestSet(*client, kOtherToken, registered->maskId, 1).ok());
  }

  void drains() {
    Dealer dealer;
    const auto client = dealer.connect(net::proto::DEALER_ROLE_CLIENT);
    QVERIFY(client != nullptr);
    dealer.pool.shutDown(std::chrono::seconds(5));
    const auto answer = net::receiveMessage<FromDealer>(*client);
    QVERIFY(!answer.ok());
    QCOMPARE(answer.error().code, ErrorCode::Closed);
    QVERIFY(answer.error().message.find("shutting down") != std::string::npos);
  }
};

QTEST_GUILESS_MAIN(TestDealer)
#include "test_dealer.moc"

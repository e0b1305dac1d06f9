// An engine without sockets, and clients that speak its protocol by hand: over transports in
// memory, with a party that makes sets from seeds. For tests of the rules of a session.
#pragma once

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "engine/service/connection_pool.h"
#include "engine/service/session.h"
#include "net/memory.h"
#include "net/message_io.h"
#include "net/striped_transport.h"
#include "tests/support/fake_party.h"
#include "tests/support/model_factory.h"

namespace pillarbox::testing {

using net::proto::ToClient;
using net::proto::ToEngine;
using service::ConnectionPool;
using service::EngineConfiguration;
using service::EngineContext;
using service::FirstPartySource;
using service::Session;
using service::TwoPartySource;

inline EngineConfiguration testConfiguration() {
  EngineConfiguration configuration;
  configuration.networkSeconds = 5;
  configuration.setsPerSession = 2;
  return configuration;
}

inline std::shared_ptr<const inference::EngineModel> testModel() {
  static const auto kModel = [] {
    models::LoadedModel loaded = makeTinyModel("conv_padded");
    return std::make_shared<const inference::EngineModel>(std::move(loaded.model),
                                                          std::move(loaded.weights));
  }();
  return kModel;
}

inline std::string hashOf(const inference::EngineModel& model) {
  return {reinterpret_cast<const char*>(model.hash().data()), model.hash().size()};
}

/// An engine without sockets.
struct Engine {
  explicit Engine(EngineConfiguration configuration = testConfiguration(), bool twoParty = true)
      : context(std::move(configuration)) {
    context.models.replace({testModel()});
    if (twoParty) {
      context.correlations = std::make_unique<TwoPartySource>(fakeEngineParty);
    } else {
      context.correlations = std::make_unique<FirstPartySource>();
    }
  }
  EngineContext context;
  ConnectionPool<Session> pool{
      32, [this](std::uint64_t id, std::unique_ptr<net::Transport> transport) {
        return std::make_unique<Session>(context, id, std::move(transport));
      }};
};

struct Peer {
  enum Kind { Session, OfflineLine, Stripe };

  explicit Peer(Engine& engine, Kind kind = Session) {
    auto [mine, theirs] = net::makeMemoryPair();
    engine.pool.add(std::move(theirs));
    stream = new net::StripedTransport(std::move(mine));
    channel = std::make_unique<net::Channel>(std::unique_ptr<net::Transport>(stream));
    channel->setTimeout(std::chrono::seconds(10));
    ToEngine hello;
    hello.mutable_hello()->set_protocol_version(net::kProtocolVersion);
    hello.mutable_hello()->set_offline_line(kind == OfflineLine);
    hello.mutable_hello()->set_stripe(kind == Stripe);
    welcome = ask(hello).value().welcome();
  }

  Status send(const ToEngine& request) { return net::sendMessage(*channel, request); }
  Result<ToClient> answer() { return net::receiveMessage<ToClient>(*channel); }
  Result<ToClient> ask(const ToEngine& request) {
    PILLARBOX_TRY(send(request));
    return answer();
  }

  Status openModel(std::uint32_t protocol = 0) {
    ToEngine request;
    request.mutable_open_model()->set_hash(hashOf(*testModel()));
    request.mutable_open_model()->set_protocol(protocol);
    PILLARBOX_ASSIGN(const ToClient opened, ask(request));
    if (opened.has_declined()) return net::errorOf(opened.declined(), "engine");
    std::vector<std::byte> description(opened.model_opened().description_bytes());
    return channel->receiveBytes(description);
  }

  Result<ToClient> attach(const std::string& token, const std::string& hash) {
    ToEngine request;
    request.mutable_attach_offline()->set_token(token);
    request.mutable_attach_offline()->set_hash(hash);
    return ask(request);
  }

  Result<ToClient> keys() {
    ToEngine request;
    request.mutable_prepare_keys();
    PILLARBOX_TRY(send(request));
    PILLARBOX_TRY(fakeClientParty(testModel()->description())->sendKeys(*channel));
    return answer();
  }

  Result<ToClient> begin(std::uint64_t index) {
    ToEngine request;
    request.mutable_prepare_set()->set_index(index);
    return ask(request);
  }

  Result<ToClient> finish(std::uint64_t index) {
    ToEngine request;
    request.mutable_finish_set()->set_index(index);
    return ask(request);
  }

  Result<offline::ClientSet> make(std::uint64_t index) {
    return fakeClientParty(testModel()->description())->makeSet(*channel, index, [](double) {
      return Status();
    });
  }

  Result<offline::ClientSet> wholeSet(std::uint64_t index) {
    PILLARBOX_ASSIGN(const ToClient started, begin(index));
    if (started.has_declined()) return net::errorOf(started.declined(), "engine");
    PILLARBOX_ASSIGN(auto set, make(index));
    PILLARBOX_ASSIGN(const ToClient ready, finish(index));
    if (!ready.has_set_ready()) return Error{ErrorCode::Protocol, "not ready"};
    return set;
  }

  Result<inference::ClientOutcome> infer(offline::ClientSet set) {
    ToEngine request;
    request.mutable_start_inference()->set_index(set.index);
    PILLARBOX_TRY(send(request));
    const models::PublicModel& model = testModel()->description();
    return inference::runClient(*channel, model, std::move(set), randomImage(model.input, 1));
  }

  net::StripedTransport* stream = nullptr;  ///< the channel's
  std::unique_ptr<net::Channel> channel;
  net::proto::Welcome welcome;
};

/// A session with the model open and one line with keys.
struct Client {
  explicit Client(Engine& engine) : session(engine), line(engine, Peer::OfflineLine) {
    if (!session.openModel().ok()) throw std::runtime_error("the model was not opened");
    const auto attached = line.attach(session.welcome.token(), hashOf(*testModel()));
    if (!attached.ok() || attached->offline_attached().has_keys()) {
      throw std::runtime_error("the line was not attached");
    }
    if (!line.keys().value().has_keys_ready()) throw std::runtime_error("no keys");
  }
  Peer session, line;
};

/// Fails the test unless there is an error of that code.
#define QFAILED_WITH(result, expected)                                               \
  do {                                                                               \
    QVERIFY(!(result).ok());                                                         \
    QVERIFY2((result).error().code == (expected), (result).error().message.c_str()); \
  } while (false)

}  // namespace pillarbox::testing

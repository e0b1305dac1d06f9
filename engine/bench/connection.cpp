#include "engine/bench/connection.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "net/tls.h"

namespace pillarbox::bench {

struct Link::State {
  explicit State(net::Identity own) : identity(std::move(own)) {}

  net::LinkShape shape;
  net::Identity identity;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::unique_ptr<net::TlsTransport>> accepted;
  std::unique_ptr<net::TlsListener> listener;
  std::unique_ptr<Relay> relay;
};

Link::Link(std::unique_ptr<State> state) : m_state(std::move(state)) {}

Link::~Link() = default;

Result<std::unique_ptr<Link>> Link::open(const net::LinkShape& shape, std::size_t queueBytes) {
  PILLARBOX_ASSIGN(const auto certificate, net::generateCertificate("pillarbox-bench", 1));
  PILLARBOX_ASSIGN(auto identity,
                   net::Identity::fromPem(certificate.certificatePem, certificate.keyPem));
  auto state = std::make_unique<State>(std::move(identity));
  State* shared = state.get();
  state->shape = shape;
  net::ListenOptions options{.endpoint = {"127.0.0.1", 0}, .identity = state->identity};
  options.handshakeTimeout = std::chrono::minutes(1);
  PILLARBOX_ASSIGN(state->listener,
                   net::TlsListener::start(std::move(options), [shared](auto made) {
                     {
                       const std::scoped_lock lock(shared->mutex);
                       shared->accepted.push_back(std::move(made));
                     }
                     shared->changed.notify_all();
                   }));
  if (shape.rttMs > 0 || shape.mbit > 0) {
    PILLARBOX_ASSIGN(state->relay, Relay::start(state->listener->port(), shape, queueBytes));
  }
  return std::unique_ptr<Link>(new Link(std::move(state)));
}

Result<ChannelPair> Link::connect() {
  net::ConnectOptions options;
  options.endpoint = {"127.0.0.1",
                      m_state->relay ? m_state->relay->port() : m_state->listener->port()};
  options.pin.expected = m_state->identity.fingerprint();
  options.handshakeTimeout = std::chrono::minutes(1);
  PILLARBOX_ASSIGN(auto client, net::connectTls(std::move(options)));
  std::unique_lock lock(m_state->mutex);
  if (!m_state->changed.wait_for(lock, std::chrono::minutes(1),
                                 [&] { return !m_state->accepted.empty(); })) {
    return Error{ErrorCode::Timeout, "the other end of the link did not appear"};
  }
  std::unique_ptr<net::TlsTransport> engine = std::move(m_state->accepted.front());
  m_state->accepted.pop_front();
  return ChannelPair{std::make_unique<net::Channel>(std::move(client)),
                     std::make_unique<net::Channel>(std::move(engine))};
}

const net::LinkShape& Link::shape() const {
  return m_state->shape;
}

Relay::Carried Link::carried() const {
  return m_state->relay ? m_state->relay->carried() : Relay::Carried{};
}

Result<double> Link::measuredRoundTrip() {
  constexpr int kTrips = 11;
  PILLARBOX_ASSIGN(ChannelPair pair, connect());
  std::thread echo([&] {
    std::array<std::uint64_t, 1> word{};
    for (int i = 0; i < kTrips; ++i) {
      if (!pair.engine->receiveWords(word).ok() || !pair.engine->sendWords(word).ok()) return;
    }
  });
  std::vector<double> seconds;
  Status status;
  for (int i = 0; i < kTrips && status.ok(); ++i) {
    std::array<std::uint64_t, 1> word{};
    const auto start = std::chrono::steady_clock::now();
    status = pair.client->sendWords(word);
    if (status.ok()) status = pair.client->receiveWords(word);
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  if (!status.ok()) pair.engine->cancel();
  echo.join();
  PILLARBOX_TRY(std::move(status));
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

}  // namespace pillarbox::bench

// A client's way to a connection: name, address, socket, handshake. See tls.h.
//
// Everything runs on the calling thread, driven by an io_context of the connector's own that
// cancel() stops from outside; only the name lookup, which the system offers in blocking form
// alone, gets a thread that may outlive the wait for it.
#include <netdb.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>
#include <utility>

#include <asio.hpp>

#include "net/text.h"
#include "net/tls.h"
#include "net/tls_context.h"
#include "net/tls_transport.h"

namespace pillarbox::net {
namespace {

using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

/// RFC 8305, section 8: "Connection Attempt Delay".
constexpr std::chrono::milliseconds kAttemptDelay{250};
/// A person who took longer than this to decide finds the server gone: connect again at once.
constexpr std::chrono::seconds kQuickDecision{1};

/// Wakes whoever waits for a name lookup.
struct Signal {
  std::mutex mutex;
  std::condition_variable changed;
  bool cancelled = false;
};

struct Lookup {
  bool done = false;  // guarded by Signal::mutex
  int error = 0;
  std::vector<tcp::endpoint> endpoints;
};

/// The system's blocking lookup.
void lookUp(const std::string& host, std::uint16_t port, Lookup& result) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  result.error = ::getaddrinfo(host.c_str(), nullptr, &hints, &list);
  for (const addrinfo* entry = list; result.error == 0 && entry; entry = entry->ai_next) {
    tcp::endpoint endpoint;
    if (entry->ai_addrlen > endpoint.capacity()) continue;
    std::memcpy(endpoint.data(), entry->ai_addr, entry->ai_addrlen);
    endpoint.resize(entry->ai_addrlen);
    endpoint.port(port);
    if (std::find(result.endpoints.begin(), result.endpoints.end(), endpoint) ==
        result.endpoints.end()) {
      result.endpoints.push_back(endpoint);
    }
  }
  if (list != nullptr) ::freeaddrinfo(list);
}

/// Alternates between the address families, beginning with the system's favourite.
std::vector<tcp::endpoint> interleave(const std::vector<tcp::endpoint>& sorted) {
  std::vector<tcp::endpoint> first, second, mixed;
  for (const auto& endpoint : sorted) {
    (endpoint.protocol() == sorted.front().protocol() ? first : second).push_back(endpoint);
  }
  for (std::size_t i = 0; i < std::max(first.size(), second.size()); ++i) {
    if (i < first.size()) mixed.push_back(first[i]);
    if (i < second.size()) mixed.push_back(second[i]);
  }
  return mixed;
}

std::string textOf(const tcp::endpoint& endpoint) {
  return toString(Endpoint{endpoint.address().to_string(), endpoint.port()});
}

/// Attempts under way; kept alive by the handlers that the io_context still holds.
struct Race {
  explicit Race(asio::io_context& io) : delay(io) {}
  std::vector<tcp::endpoint> endpoints;
  std::size_t next = 0;
  std::size_t running = 0;
  std::list<tcp::socket> sockets;
  std::optional<tcp::socket> winner;
  std::error_code error;  // of the first attempt that failed: the system's favourite address
  asio::steady_timer delay;
  bool over = false;
};

void startAttempt(asio::io_context& io, const std::shared_ptr<Race>& race,
                  const SocketOptions& options) {
  if (race->over || race->winner || race->next == race->endpoints.size()) return;
  const tcp::endpoint endpoint = race->endpoints[race->next++];
  auto socket = race->sockets.emplace(race->sockets.end(), io);
  std::error_code error;
  socket->open(endpoint.protocol(), error);
  const auto failed = [&io, race, &options](std::error_code why) {
    if (!race->error) race->error = why;
    race->delay.cancel();
    startAttempt(io, race, options);
  };
  if (error) return failed(error);
  applySocketOptions(socket->native_handle(), options);
  ++race->running;
  socket->async_connect(endpoint, [race, socket, failed](std::error_code result) {
    --race->running;
    if (race->over || race->winner) return;
    if (result) return failed(result);
    race->winner = std::move(*socket);
  });
  if (race->next < race->endpoints.size()) {
    race->delay.expires_after(kAttemptDelay);
    race->delay.async_wait([&io, race, &options](std::error_code result) {
      if (!result) startAttempt(io, race, options);
    });
  }
}

}  // namespace

struct TlsConnector::State {
  explicit State(ConnectOptions o) : options(std::move(o)) {}

  const ConnectOptions options;
  const std::string target = sanitizeForDisplay(toString(options.endpoint), 280);
  asio::io_context io{1};
  std::atomic<bool> cancelled{false};
  std::shared_ptr<Signal> signal = std::make_shared<Signal>();
  mutable std::mutex mutex;
  std::optional<Fingerprint> presented;  // guarded by mutex

  enum class Outcome { Done, Late, Cancelled };

  /// Serves the io_context until `done`, which must be what a pending operation makes true.
  template <typename Done>
  Outcome serveUntil(const Done& done, TimePoint deadline) {
    while (!done()) {
      if (io.stopped()) io.restart();
      if (cancelled) return Outcome::Cancelled;  // set before stop(): none gets lost in restart()
      if (Clock::now() >= deadline) return Outcome::Late;
      io.run_one_until(deadline);
    }
    return Outcome::Done;
  }

  Error cancelledError() const { return {ErrorCode::Cancelled, "connecting was cancelled"}; }
  Error unreachable(std::string_view why) const {
    std::string message(why);
    return {ErrorCode::Unreachable, std::move(message)};
  }

  Result<std::vector<tcp::endpoint>> resolve(TimePoint deadline);
  Result<tcp::socket> connectSocket(std::vector<tcp::endpoint> endpoints, TimePoint deadline);
  Status decide(SSL* ssl, const Fingerprint& fingerprint, const PinPolicy& pin, TimePoint& deadline,
                bool& accepted, bool& again);
  Result<std::unique_ptr<TlsTransport>> attempt(const PinPolicy& pin, bool& accepted);
};

Result<std::vector<tcp::endpoint>> TlsConnector::State::resolve(TimePoint deadline) {
  const std::string& host = options.endpoint.host;
  std::error_code error;
  const auto address = asio::ip::make_address(host, error);
  if (!error) return std::vector<tcp::endpoint>{{address, options.endpoint.port}};

  auto lookup = std::make_shared<Lookup>();
  std::thread([lookup, signal = signal, host, port = options.endpoint.port] {
    Lookup result;
    lookUp(host, port, result);
    const std::scoped_lock lock(signal->mutex);
    *lookup = std::move(result);
    lookup->done = true;
    signal->changed.notify_all();
  }).detach();
  std::unique_lock lock(signal->mutex);
  const bool answered =
      signal->changed.wait_until(lock, deadline, [&] { return lookup->done || signal->cancelled; });
  if (signal->cancelled) return cancelledError();
  const std::string name = "'" + sanitizeForDisplay(host, 255) + "'";
  if (!answered) {
    return unreachable("cannot look up " + name + ": the name server does not answer");
  }
  switch (lookup->error) {
    case 0:
      break;
    case EAI_NONAME:
#ifdef EAI_NODATA
    case EAI_NODATA:
#endif
      return unreachable("there is no host called " + name + "; check the spelling");
    case EAI_AGAIN:
      return unreachable("cannot look up " + name +
                         ": no name server answers; check the network connection");
    default:
      return unreachable("cannot look up " + name + ": " + ::gai_strerror(lookup->error));
  }
  if (lookup->endpoints.empty()) return unreachable("the host " + name + " has no address");
  return interleave(lookup->endpoints);
}

Result<tcp::socket> TlsConnector::State::connectSocket(std::vector<tcp::endpoint> endpoints,
                                                       TimePoint deadline) {
  auto race = std::make_shared<Race>(io);
  race->endpoints = std::move(endpoints);
  startAttempt(io, race, options.socket);
  const Outcome outcome = serveUntil(
      [&] { return race->winner || (race->running == 0 && race->next == race->endpoints.size()); },
      deadline);
  race->over = true;
  race->delay.cancel();
  for (tcp::socket& socket : race->sockets) {
    std::error_code ignored;
    socket.close(ignored);
  }
  if (outcome == Outcome::Cancelled) return cancelledError();
  if (race->winner) return *std::move(race->winner);
  if (outcome == Outcome::Late) {
    return unreachable("no answer from " + target + " within " +
                       durationText(options.connectTimeout) +
                       "; is the address right, and does a firewall let the port through?");
  }
  if (race->error == asio::error::connection_refused) {
    return unreachable("nothing listens at " + target + ": connection refused. Is the " +
                       options.role + " running?");
  }
  if (race->error == asio::error::host_unreachable ||
      race->error == asio::error::network_unreachable) {
    return unreachable("there is no route to " + target + "; check the network connection");
  }
  return unreachable("cannot connect to " + target + ": " + race->error.message());
}

/// Runs inside the handshake, once OpenSSL has the certificate.
Status TlsConnector::State::decide(SSL* ssl, const Fingerprint& fingerprint, const PinPolicy& pin,
                                   TimePoint& deadline, bool& accepted, bool& again) {
  {
    const std::scoped_lock lock(mutex);
    presented = fingerprint;
  }
  // A user must not be asked to trust what is no engine in the first place.
  if (!speaksPillarbox(ssl)) {
    return Error{ErrorCode::Protocol, target + " speaks TLS, but is no Pillarbox " + options.role};
  }
  if (pin.expected) {
    if (*pin.expected == fingerprint) return {};
    return Error{ErrorCode::Untrusted,
                 "the certificate of " + target + " is not the one that was accepted. Expected " +
                     pin.expected->text() + ", presented " + fingerprint.text() +
                     ". Somebody may be in between; ask whoever runs the " + options.role +
                     " before you accept a new one"};
  }
  if (!pin.ask) {
    return Error{ErrorCode::Untrusted, "the certificate of " + target +
                                           " is unknown. Its fingerprint is " + fingerprint.text() +
                                           "; compare it with what the " + options.role +
                                           " shows, and accept it if they agree"};
  }
  const TimePoint asked = Clock::now();
  const bool yes = pin.ask(fingerprint);
  const auto took = Clock::now() - asked;
  deadline += took;
  if (!yes) {
    return Error{ErrorCode::Untrusted,
                 "the certificate of " + target + " was not accepted (" + fingerprint.text() + ")"};
  }
  accepted = true;
  again = took > kQuickDecision;
  if (again) return Error{ErrorCode::Closed, target + " has not waited for the decision"};
  return {};
}

/// One try from name to transport. `accepted`: the certificate was new and is now agreed to.
Result<std::unique_ptr<TlsTransport>> TlsConnector::State::attempt(const PinPolicy& pin,
                                                                   bool& accepted) {
  const TimePoint connectDeadline = Clock::now() + options.connectTimeout;
  PILLARBOX_ASSIGN(auto endpoints, resolve(connectDeadline));
  PILLARBOX_ASSIGN(tcp::socket socket, connectSocket(std::move(endpoints), connectDeadline));

  std::error_code error;
  const tcp::endpoint remote = socket.remote_endpoint(error), local = socket.local_endpoint(error);
  socket.native_non_blocking(true, error);
  PILLARBOX_ASSIGN(const SslContextPtr context,
                   makeClientContext(options.identity ? &*options.identity : nullptr));
  TlsSocket connection;
  connection.socket = std::make_unique<SocketBio>();
  connection.ssl.reset(SSL_new(context.get()));
  BioPtr bio = makeSocketBio(*connection.socket);
  SSL* ssl = connection.ssl.get();
  if (ssl == nullptr || !bio) return Error{ErrorCode::Internal, "OpenSSL has no memory"};
  // Numeric addresses must not go into SNI (RFC 6066); names help a proxy in between.
  if (asio::ip::make_address(options.endpoint.host, error); error) {
    (void)SSL_set_tlsext_host_name(ssl, options.endpoint.host.c_str());
  }
  BIO* raw = bio.release();
  SSL_set_bio(ssl, raw, raw);
  SSL_set_connect_state(ssl);

  TimePoint deadline = Clock::now() + options.handshakeTimeout;
  bool again = false;
  PeerCheck check;
  check.decide = [&](SSL* s, const Fingerprint& fingerprint) {
    return decide(s, fingerprint, pin, deadline, accepted, again);
  };
  SSL_set_app_data(ssl, &check);
  // The socket object keeps the descriptor until the handshake is over.
  connection.socket->descriptor = socket.native_handle();
  struct Borrowed {
    SocketBio& socket;
    SSL* ssl;
    bool kept = false;
    ~Borrowed() {
      if (kept) return;
      SSL_set_app_data(ssl, nullptr);
      socket.descriptor = -1;
    }
  } borrowed{*connection.socket, ssl};
  while (true) {
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl);
    if (check.thrown) std::rethrow_exception(check.thrown);
    if (cancelled) return cancelledError();
    if (result == 1) break;
    if (check.refused) {
      ERR_clear_error();
      return *std::move(check.refused);
    }
    const int code = SSL_get_error(ssl, result);
    if (code != SSL_ERROR_WANT_READ && code != SSL_ERROR_WANT_WRITE) {
      return clientHandshakeError(code, *connection.socket, target, options.role);
    }
    auto ready = std::make_shared<bool>(false);
    socket.async_wait(
        code == SSL_ERROR_WANT_READ ? tcp::socket::wait_read : tcp::socket::wait_write,
        [ready](std::error_code) { *ready = true; });
    switch (serveUntil([&] { return *ready; }, deadline)) {
      case Outcome::Done:
        break;
      case Outcome::Cancelled:
        return cancelledError();
      case Outcome::Late:
        return Error{ErrorCode::Timeout,
                     target + " accepts connections, but has not answered for " +
                         durationText(options.handshakeTimeout) + "; is there a Pillarbox " +
                         options.role + " at that port?"};
    }
  }
  if (!check.presented || !speaksPillarbox(ssl)) {
    return Error{ErrorCode::Protocol, target + " speaks TLS, but is no Pillarbox " + options.role};
  }
  (void)socket.release(error);  // the descriptor now belongs to `connection` alone
  borrowed.kept = true;
  SSL_set_app_data(ssl, nullptr);
  return makeTlsTransport(std::move(connection), options.socket, textOf(remote), textOf(local),
                          check.presented);
}

TlsConnector::TlsConnector(ConnectOptions options)
    : m_state(std::make_unique<State>(std::move(options))) {}

TlsConnector::~TlsConnector() = default;

Result<std::unique_ptr<TlsTransport>> TlsConnector::connect() {
  State& state = *m_state;
  const Endpoint& endpoint = state.options.endpoint;
  if (endpoint.host.empty() || endpoint.port == 0) {
    return Error{ErrorCode::InvalidArgument,
                 "'" + state.target + "' is no address to connect to; expected HOST:PORT"};
  }
  {
    const std::scoped_lock lock(state.mutex);
    state.presented.reset();
  }
  if (state.cancelled) return state.cancelledError();
  PinPolicy pin = state.options.pin;
  bool accepted = false;
  auto result = state.attempt(pin, accepted);
  if (result.ok() || !accepted || state.cancelled) return result;
  const ErrorCode code = result.error().code;
  if (code != ErrorCode::Closed && code != ErrorCode::Timeout) return result;
  // The user took their time and the server has given up on that handshake. The decision stands,
  // for this certificate.
  pin.expected = presented();
  pin.ask = nullptr;
  accepted = false;
  return state.attempt(pin, accepted);
}

void TlsConnector::cancel() noexcept {
  m_state->cancelled = true;
  {
    const std::scoped_lock lock(m_state->signal->mutex);
    m_state->signal->cancelled = true;
  }
  m_state->signal->changed.notify_all();
  m_state->io.stop();
}

std::optional<Fingerprint> TlsConnector::presented() const {
  const std::scoped_lock lock(m_state->mutex);
  return m_state->presented;
}

Result<std::unique_ptr<TlsTransport>> connectTls(ConnectOptions options) {
  return TlsConnector(std::move(options)).connect();
}

}  // namespace pillarbox::net

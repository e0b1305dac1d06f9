// A server's way to connections: accept, handshake, hand over. See tls.h.
//
// One thread serves everything in turns: a handshake is a chain of "wait until the socket is ready,
// let OpenSSL take one step", so a peer that sends nothing costs an entry in a list and a timer.
// The cryptography of a handshake takes about a tenth of a millisecond.
#include <algorithm>
#include <cerrno>
#include <list>
#include <map>
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

/// How long to leave alone a system that has no descriptors or memory left.
constexpr std::chrono::milliseconds kAcceptPause{100};

std::string textOf(const tcp::endpoint& endpoint) {
  asio::ip::address address = endpoint.address();
  // A client of a socket that serves both families: show the address as people know it.
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  return toString(Endpoint{address.to_string(), endpoint.port()});
}

/// A handshake under way.
struct Pending {
  explicit Pending(tcp::socket s) : socket(std::move(s)), timer(socket.get_executor()) {}

  ~Pending() {
    if (connection.ssl) SSL_set_app_data(connection.ssl.get(), nullptr);
    if (connection.socket) connection.socket->descriptor = -1;  // `socket` closes it
  }

  tcp::socket socket;
  asio::steady_timer timer;
  TlsSocket connection;
  PeerCheck check;
  asio::ip::address address;
  std::string peer;
  bool over = false;
};

Error listenError(const std::string& where, std::error_code error) {
  if (error == asio::error::address_in_use) {
    return {ErrorCode::Refused,
            "another program listens at " + where + " already; stop it, or choose another port"};
  }
  if (error == asio::error::access_denied) {
    return {ErrorCode::Refused, "this user may not listen at " + where +
                                    "; ports below 1024 are for privileged programs"};
  }
  if (error.value() == EADDRNOTAVAIL) {
    return {ErrorCode::Unreachable, "this machine does not have the address " + where};
  }
  return {ErrorCode::Io, "cannot listen at " + where + ": " + error.message()};
}

struct Address {
  tcp::endpoint endpoint;
  bool both = false;  // one IPv6 socket that serves IPv4 as well
};

Result<std::vector<Address>> listenAddresses(asio::io_context& io, const Endpoint& endpoint) {
  if (endpoint.host == "*" || endpoint.host == "::") {
    return std::vector<Address>{{tcp::endpoint(tcp::v6(), endpoint.port), true}};
  }
  tcp::resolver resolver(io);
  std::error_code error;
  const auto results =
      resolver.resolve(endpoint.host, std::to_string(endpoint.port), tcp::resolver::passive, error);
  if (error) {
    return Error{
        ErrorCode::Unreachable,
        "cannot listen at '" + sanitizeForDisplay(endpoint.host, 255) + "': " + error.message()};
  }
  std::vector<Address> addresses;
  for (const auto& result : results) {
    const bool known = std::any_of(addresses.begin(), addresses.end(), [&](const Address& a) {
      return a.endpoint == result.endpoint();
    });
    if (!known) addresses.push_back({result.endpoint(), false});
  }
  return addresses;
}

}  // namespace

struct TlsListener::State {
  State(ListenOptions o, Handler h, Rejected r)
      : options(std::move(o)), handler(std::move(h)), rejected(std::move(r)) {}

  ListenOptions options;
  Handler handler;
  Rejected rejected;
  SslContextPtr context;
  asio::io_context io{1};
  std::list<tcp::acceptor> acceptors;
  std::list<std::shared_ptr<Pending>> pending;  // oldest first
  std::uint16_t port = 0;
  std::vector<std::string> addresses;
  bool closed = false;  // seen by the thread only
  std::mutex stopMutex;
  std::thread thread;

  Status open();
  std::error_code openAt(const Address& address);
  void accept(tcp::acceptor& acceptor);
  void begin(tcp::socket socket, const tcp::endpoint& remote);
  void step(const std::shared_ptr<Pending>& peer);
  void complete(const std::shared_ptr<Pending>& peer);
  void drop(const std::shared_ptr<Pending>& peer, const Error& error);
  void makeRoom();
  void forget(const std::shared_ptr<Pending>& peer);
  void close();
  void serve();
};

std::error_code TlsListener::State::openAt(const Address& address) {
  tcp::endpoint endpoint = address.endpoint;
  if (endpoint.port() == 0) endpoint.port(port);  // port 0: all addresses share what the first got
  tcp::acceptor acceptor(io);
  std::error_code error;
  const auto carryOn = [&error] { return !error; };
  acceptor.open(endpoint.protocol(), error);
  if (carryOn()) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (carryOn() && endpoint.protocol() == tcp::v6()) {
    acceptor.set_option(asio::ip::v6_only(!address.both), error);
  }
  if (carryOn()) {
    applySocketOptions(acceptor.native_handle(), options.socket);  // accepted sockets inherit them
    acceptor.bind(endpoint, error);
  }
  if (carryOn()) acceptor.listen(tcp::acceptor::max_listen_connections, error);
  if (carryOn()) endpoint = acceptor.local_endpoint(error);
  if (!carryOn()) return error;
  port = endpoint.port();
  addresses.push_back(textOf(endpoint));
  acceptors.push_back(std::move(acceptor));
  return {};
}

Status TlsListener::State::open() {
  PILLARBOX_ASSIGN(context, makeServerContext(options.identity, options.requestClientCertificate));
  PILLARBOX_ASSIGN(std::vector<Address> wanted, listenAddresses(io, options.endpoint));
  std::error_code firstError;
  const bool wildcard = wanted.size() == 1 && wanted.front().both;
  for (const Address& address : wanted) {
    const std::error_code error = openAt(address);
    if (!error) continue;
    if (wildcard &&
        (error == asio::error::address_family_not_supported || error.value() == EADDRNOTAVAIL)) {
      // A machine without IPv6.
      const Address ipv4{tcp::endpoint(tcp::v4(), options.endpoint.port), false};
      if (const std::error_code again = openAt(ipv4))
        return listenError(textOf(ipv4.endpoint), again);
      continue;
    }
    // One family of a name may be missing here (localhost as ::1); all the rest must work.
    const bool missing =
        error == asio::error::address_family_not_supported || error.value() == EADDRNOTAVAIL;
    if (!missing || wanted.size() == 1) return listenError(textOf(address.endpoint), error);
    if (!firstError) firstError = error;
  }
  if (acceptors.empty()) return listenError(toString(options.endpoint), firstError);
  return {};
}

void TlsListener::State::accept(tcp::acceptor& acceptor) {
  auto remote = std::make_shared<tcp::endpoint>();
  acceptor.async_accept(
      *remote, [this, &acceptor, remote](std::error_code error, tcp::socket socket) {
        if (closed) return;
        if (!error) {
          begin(std::move(socket), *remote);
        } else if (error != asio::error::connection_aborted) {
          if (rejected) {
            rejected("?", {ErrorCode::Exhausted, "cannot accept a connection: " + error.message()});
          }
          auto pause = std::make_shared<asio::steady_timer>(io, kAcceptPause);
          pause->async_wait([this, pause, &acceptor](std::error_code) {
            if (!closed) accept(acceptor);
          });
          return;
        }
        if (!closed) accept(acceptor);
      });
}

void TlsListener::State::begin(tcp::socket socket, const tcp::endpoint& remote) {
  std::error_code error;
  socket.native_non_blocking(true, error);
  auto peer = std::make_shared<Pending>(std::move(socket));
  peer->address = remote.address();
  peer->peer = textOf(remote);
  peer->connection.ssl.reset(SSL_new(context.get()));
  peer->connection.socket = std::make_unique<SocketBio>();
  peer->connection.socket->descriptor = peer->socket.native_handle();
  BioPtr bio = makeSocketBio(*peer->connection.socket);
  if (!peer->connection.ssl || !bio) {
    ERR_clear_error();
    return;
  }
  SSL* ssl = peer->connection.ssl.get();
  BIO* raw = bio.release();
  SSL_set_bio(ssl, raw, raw);
  SSL_set_accept_state(ssl);
  SSL_set_app_data(ssl, &peer->check);
  applySocketOptions(peer->socket.native_handle(), options.socket);
  pending.push_back(peer);
  makeRoom();
  peer->timer.expires_after(options.handshakeTimeout);
  peer->timer.async_wait([this, peer](std::error_code result) {
    if (result || peer->over) return;
    drop(peer, {ErrorCode::Timeout, peer->peer + " has not completed the TLS handshake within " +
                                        durationText(options.handshakeTimeout)});
  });
  step(peer);
}

/// Over the limit: drops the oldest handshake of the address that has most of them.
void TlsListener::State::makeRoom() {
  if (pending.size() <= std::max<std::size_t>(options.maxHandshakes, 1)) return;
  std::map<asio::ip::address, std::size_t> count;
  for (const auto& peer : pending) ++count[peer->address];
  // The newest entry is the one that room is made for.
  const auto victim = std::max_element(
      pending.begin(), std::prev(pending.end()),
      [&](const auto& a, const auto& b) { return count[a->address] < count[b->address]; });
  const std::shared_ptr<Pending> peer = *victim;
  drop(peer,
       {ErrorCode::Exhausted, peer->peer + " was dropped during the TLS handshake: too many others "
                                           "want to connect"});
}

void TlsListener::State::forget(const std::shared_ptr<Pending>& peer) {
  peer->over = true;
  peer->timer.cancel();
  pending.remove(peer);
}

void TlsListener::State::drop(const std::shared_ptr<Pending>& peer, const Error& error) {
  forget(peer);
  std::error_code ignored;
  peer->socket.close(ignored);
  if (rejected) rejected(peer->peer, error);
}

void TlsListener::State::step(const std::shared_ptr<Pending>& peer) {
  if (peer->over || closed) return;
  SSL* ssl = peer->connection.ssl.get();
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl);
  if (result == 1) return complete(peer);
  const int code = SSL_get_error(ssl, result);
  if (code != SSL_ERROR_WANT_READ && code != SSL_ERROR_WANT_WRITE) {
    return drop(peer, serverHandshakeError(code, *peer->connection.socket, peer->peer));
  }
  peer->socket.async_wait(
      code == SSL_ERROR_WANT_READ ? tcp::socket::wait_read : tcp::socket::wait_write,
      [this, peer](std::error_code error) {
        if (!error) step(peer);
      });
}

void TlsListener::State::complete(const std::shared_ptr<Pending>& peer) {
  if (!speaksPillarbox(peer->connection.ssl.get())) {
    return drop(
        peer, {ErrorCode::Protocol, peer->peer + " speaks TLS, but not this version of Pillarbox"});
  }
  forget(peer);
  std::error_code error;
  const std::string local = textOf(peer->socket.local_endpoint(error));
  const int descriptor = peer->socket.native_handle();
  (void)peer->socket.release(error);
  if (error) {
    if (rejected) rejected(peer->peer, {ErrorCode::Io, error.message()});
    return;
  }
  TlsSocket connection = std::move(peer->connection);
  connection.socket->descriptor = descriptor;
  auto transport = makeTlsTransport(std::move(connection), options.socket, peer->peer, local,
                                    peer->check.presented);
  if (!transport) {
    if (rejected) rejected(peer->peer, transport.error());
    return;
  }
  try {
    handler(std::move(transport).value());
  } catch (const std::exception& thrown) {
    if (rejected) rejected(peer->peer, {ErrorCode::Internal, thrown.what()});
  }
}

void TlsListener::State::close() {
  closed = true;
  std::error_code ignored;
  for (tcp::acceptor& acceptor : acceptors) acceptor.close(ignored);
  for (const auto& peer : pending) {
    peer->over = true;
    peer->timer.cancel();
    peer->socket.close(ignored);
  }
  pending.clear();
  io.stop();
}

/// The thread. One handshake that runs out of memory must not take the others with it.
void TlsListener::State::serve() {
  while (!closed) {
    try {
      io.run();
      return;
    } catch (const std::exception& thrown) {
      if (rejected) rejected("?", {ErrorCode::Internal, thrown.what()});
    }
  }
}

TlsListener::TlsListener(std::unique_ptr<State> state) : m_state(std::move(state)) {}

Result<std::unique_ptr<TlsListener>> TlsListener::start(ListenOptions options, Handler handler,
                                                        Rejected rejected) {
  if (!handler) throw std::logic_error("TlsListener needs a handler");
  auto state = std::make_unique<State>(std::move(options), std::move(handler), std::move(rejected));
  PILLARBOX_TRY(state->open());
  State* running = state.get();
  for (tcp::acceptor& acceptor : state->acceptors) state->accept(acceptor);
  state->thread = std::thread([running] { running->serve(); });
  return std::unique_ptr<TlsListener>(new TlsListener(std::move(state)));
}

TlsListener::~TlsListener() {
  stop();
}

std::uint16_t TlsListener::port() const {
  return m_state->port;
}

std::vector<std::string> TlsListener::addresses() const {
  return m_state->addresses;
}

void TlsListener::stop() {
  State& state = *m_state;
  if (std::this_thread::get_id() == state.thread.get_id()) {
    state.close();
    return;
  }
  const std::scoped_lock lock(state.stopMutex);
  if (!state.thread.joinable()) return;
  asio::post(state.io, [&state] { state.close(); });
  state.thread.join();
}

}  // namespace pillarbox::net

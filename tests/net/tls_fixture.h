// Both ends for TLS tests: a listener that keeps what it accepts, and peers made of bare sockets
// and bare OpenSSL that do what no honest program does.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "net/tls.h"

namespace pillarbox::net::testing {

using namespace std::chrono_literals;

/// A certificate for the whole test program, and another one.
struct TestCertificates {
  GeneratedCertificate pem;
  Identity identity;
  explicit TestCertificates(const char* name)
      : pem(generateCertificate(name).value()),
        identity(Identity::fromPem(pem.certificatePem, pem.keyPem).value()) {}
  static const TestCertificates& engine() {
    static const TestCertificates one("engine");
    return one;
  }
  static const TestCertificates& other() {
    static const TestCertificates one("other");
    return one;
  }
};

inline ListenOptions listenOptions(const std::string& host = "127.0.0.1", std::uint16_t port = 0) {
  // Not designated initialisers around temporaries: GCC 12 then warns of what cannot happen.
  Endpoint endpoint{host, port};
  Identity identity = TestCertificates::engine().identity;
  return ListenOptions{std::move(endpoint), std::move(identity)};
}

class Server {
 public:
  struct Rejection {
    std::string peer;
    Error error;
  };

  explicit Server(std::function<void(ListenOptions&)> adjust = {}) {
    ListenOptions options = listenOptions();
    if (adjust) adjust(options);
    listener = TlsListener::start(
                   options,
                   [this](std::unique_ptr<TlsTransport> transport) {
                     const std::scoped_lock lock(m_mutex);
                     m_accepted.push_back(std::move(transport));
                     m_changed.notify_all();
                   },
                   [this](const std::string& peer, const Error& error) {
                     const std::scoped_lock lock(m_mutex);
                     m_rejected.push_back({peer, error});
                     m_changed.notify_all();
                   })
                   .value();
  }
  ~Server() { listener->stop(); }

  ConnectOptions clientOptions() const {
    ConnectOptions options;
    options.endpoint = {"127.0.0.1", listener->port()};
    options.pin.expected = TestCertificates::engine().identity.fingerprint();
    return options;
  }
  Result<std::unique_ptr<TlsTransport>> connect() const { return connectTls(clientOptions()); }

  /// The next accepted connection; null after `patience`.
  std::unique_ptr<TlsTransport> accepted(std::chrono::milliseconds patience = 5s) {
    std::unique_lock lock(m_mutex);
    if (!m_changed.wait_for(lock, patience, [&] { return !m_accepted.empty(); })) return nullptr;
    auto transport = std::move(m_accepted.front());
    m_accepted.pop_front();
    return transport;
  }
  /// The next failed handshake; code Internal and an empty text after `patience`.
  Rejection rejection(std::chrono::milliseconds patience = 5s) {
    std::unique_lock lock(m_mutex);
    if (!m_changed.wait_for(lock, patience, [&] { return !m_rejected.empty(); })) return {};
    Rejection rejection = std::move(m_rejected.front());
    m_rejected.pop_front();
    return rejection;
  }

  std::unique_ptr<TlsListener> listener;

 private:
  std::mutex m_mutex;
  std::condition_variable m_changed;
  std::deque<std::unique_ptr<TlsTransport>> m_accepted;
  std::deque<Rejection> m_rejected;
};

/// A client and the server's end of one connection.
struct TlsPair {
  Server server;
  std::unique_ptr<TlsTransport> client, engine;
  explicit TlsPair(SocketOptions socket = {})
      : server([&](ListenOptions& options) { options.socket = socket; }) {
    ConnectOptions options = server.clientOptions();
    options.socket = socket;
    client = connectTls(options).value();
    engine = server.accepted();
    if (!engine) throw std::runtime_error("the listener did not hand over the connection");
  }
};

/// A bare TCP socket.
class RawSocket {
 public:
  explicit RawSocket(int descriptor) : m_descriptor(descriptor) {
    const timeval patience{5, 0};
    ::setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  RawSocket(RawSocket&& other) noexcept : m_descriptor(std::exchange(other.m_descriptor, -1)) {}
  RawSocket& operator=(RawSocket&&) = delete;
  ~RawSocket() { close(); }

  static RawSocket connectTo(std::uint16_t port) {
    RawSocket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      throw std::runtime_error("cannot connect");
    }
    return socket;
  }
  int get() const { return m_descriptor; }
  void send(std::string_view bytes) const {
    (void)!::send(m_descriptor, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  /// Reads until the other side closes.
  std::string drain() const {
    std::string all;
    char buffer[4096];
    for (ssize_t n; (n = ::recv(m_descriptor, buffer, sizeof buffer, 0)) > 0;) {
      all.append(buffer, std::size_t(n));
    }
    return all;
  }
  void close() {
    if (m_descriptor >= 0) ::close(std::exchange(m_descriptor, -1));
  }
  /// Closes with a reset instead of a proper end.
  void reset() {
    const linger hard{1, 0};
    ::setsockopt(m_descriptor, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close();
  }

 private:
  int m_descriptor;
};

/// A bare TCP server on a free port; `serve` gets one connection, on a thread.
class RawServer {
 public:
  explicit RawServer(std::function<void(RawSocket)> serve, int backlog = 16) {
    m_listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(m_listener, reinterpret_cast<sockaddr*>(&address), sizeof address);
    ::listen(m_listener, backlog);
    socklen_t size = sizeof address;
    ::getsockname(m_listener, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    if (serve) {
      m_thread = std::thread([this, serve = std::move(serve)] {
        pollfd fd{m_listener, POLLIN, 0};
        if (::poll(&fd, 1, 5000) == 1) serve(RawSocket(::accept(m_listener, nullptr, nullptr)));
      });
    }
  }
  ~RawServer() {
    if (m_thread.joinable()) m_thread.join();
    ::close(m_listener);
  }
  RawServer(const RawServer&) = delete;
  RawServer& operator=(const RawServer&) = delete;

  std::uint16_t port = 0;

 private:
  int m_listener = -1;
  std::thread m_thread;
};

/// Bare OpenSSL on a bare socket, blocking, with whatever settings a test wants.
class RawTls {
 public:
  enum class Role { Client, Server };

  RawTls(RawSocket socket, Role role, const std::function<void(SSL_CTX*)>& adjust)
      : m_socket(std::move(socket)),
        m_context(SSL_CTX_new(role == Role::Client ? TLS_client_method() : TLS_server_method())) {
    if (role == Role::Server) use(TestCertificates::engine().pem);
    if (adjust) adjust(m_context);
    m_ssl = SSL_new(m_context);
    SSL_set_fd(m_ssl, m_socket.get());
    ok = (role == Role::Client ? SSL_connect(m_ssl) : SSL_accept(m_ssl)) == 1;
    ERR_clear_error();
  }
  ~RawTls() {
    SSL_free(m_ssl);
    SSL_CTX_free(m_context);
  }
  RawTls(const RawTls&) = delete;
  RawTls& operator=(const RawTls&) = delete;

  static void pillarboxAlpn(SSL_CTX* context) {
    SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>("\x0Bpillarbox/1"), 12);
  }

  SSL* ssl() const { return m_ssl; }
  RawSocket& socket() { return m_socket; }
  bool ok = false;

 private:
  void use(const GeneratedCertificate& pem) {
    BIO* bio = BIO_new_mem_buf(pem.certificatePem.data(), int(pem.certificatePem.size()));
    X509* certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    bio = BIO_new_mem_buf(pem.keyPem.data(), int(pem.keyPem.size()));
    EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    SSL_CTX_use_certificate(m_context, certificate);
    SSL_CTX_use_PrivateKey(m_context, key);
    X509_free(certificate);
    EVP_PKEY_free(key);
  }

  RawSocket m_socket;
  SSL_CTX* m_context;
  SSL* m_ssl = nullptr;
};

/// OpenSSL's own sockets raise SIGPIPE; the library's must not, so only tests of it call this.
inline void ignoreSigpipeForRawOpenSsl() {
  ::signal(SIGPIPE, SIG_IGN);
}

}  // namespace pillarbox::net::testing

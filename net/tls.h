// TLS 1.3 transports: connecting, listening, and the pin that is checked at every handshake.
//
// TLS 1.3 only, AES-128-GCM preferred, ALPN "pillarbox/1" on both sides, no session tickets and no
// resumption: every connection shows its certificate, and every certificate is compared inside the
// handshake, before a byte of the application is sent. Asio does names, connecting and accepting;
// the records are OpenSSL's on the bare socket, because one thread that reads, decrypts and returns
// is a hand-over faster than an I/O thread in between (a small frame's round trip counts once a
// layer).
//
// Sending does not wait for the network: write() encrypts into the socket while the kernel takes it
// and leaves the rest to a background thread, as long as at most SocketOptions::queueBytes wait
// there. Two parties that both send before they receive therefore do not block each other up to
// that much.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "net/certificate.h"
#include "net/channel.h"
#include "net/endpoint.h"

namespace pillarbox::net {

struct SocketOptions {
  /// Bytes that write() may leave to the background; 0: write() returns when the kernel has all.
  std::size_t queueBytes = std::size_t{64} << 20;
  /// SO_SNDBUF and SO_RCVBUF; 0 leaves them to the kernel, which grows them as the link needs
  /// (fixed sizes are also capped by net.core.wmem_max and rmem_max).
  int sendBufferBytes = 0;
  int receiveBufferBytes = 0;
  /// Probes an idle connection after 30 s and gives it up after about another 40 s of silence.
  bool keepAlive = true;
};

/// An established connection. Channel takes it as any Transport. Destroying it sends what is queued
/// (for at most five seconds), tells the other side that this is the end, and closes.
///
/// Errors beyond Transport's: Closed says whether the other side closed properly, or broke off.
class TlsTransport : public Transport {
 public:
  /// Of the other side's certificate; none if a client did not present one.
  virtual std::optional<Fingerprint> peerFingerprint() const = 0;
  /// "TLS 1.3, TLS_AES_128_GCM_SHA256".
  virtual std::string security() const = 0;
  /// This end's address, "192.0.2.1:41234".
  virtual std::string local() const = 0;
};

/// Which certificate a client accepts.
struct PinPolicy {
  /// The only one that is accepted. A different one is Untrusted, whatever `ask` would say.
  std::optional<Fingerprint> expected;
  /// First contact, when nothing is expected: returns whether to go on. Called inside the handshake
  /// on the thread that connects, and may take as long as a person needs (the handshake starts
  /// anew, for this very certificate, if the other side lost patience meanwhile). Remembering the
  /// pin is the caller's business. Without it an unknown certificate is Untrusted.
  std::function<bool(const Fingerprint&)> ask;
};

struct ConnectOptions {
  Endpoint endpoint;
  PinPolicy pin;
  std::string role = "engine";  ///< what should be there, for messages: "Is the engine running?"
  std::optional<Identity> identity;                 ///< client certificate, if one is wanted
  std::chrono::milliseconds connectTimeout{10000};  ///< name lookup and TCP together
  std::chrono::milliseconds handshakeTimeout{10000};
  SocketOptions socket;
};

/// Makes one connection. connect() blocks its caller; cancel() ends that from any other thread, in
/// whatever state it is, a name lookup included.
class TlsConnector {
 public:
  explicit TlsConnector(ConnectOptions options);
  ~TlsConnector();
  TlsConnector(const TlsConnector&) = delete;
  TlsConnector& operator=(const TlsConnector&) = delete;

  /// Addresses of a name are tried side by side, a quarter of a second apart (RFC 8305), the first
  /// to answer wins. May be called again after it returned.
  /// Errors: InvalidArgument (empty host, port 0), Unreachable (no such host, refused, no route, no
  /// answer), Timeout and Closed (during the handshake), Untrusted (message holds the expected and
  /// the presented fingerprint), Protocol (something else listens there), Cancelled.
  Result<std::unique_ptr<TlsTransport>> connect();

  /// Fails a running and every later connect() with Cancelled. Idempotent. A transport that was
  /// already returned has its own cancel().
  void cancel() noexcept;

  /// The certificate that the other side showed in the last connect(), also a refused one.
  std::optional<Fingerprint> presented() const;

 private:
  struct State;
  std::unique_ptr<State> m_state;
};

/// TlsConnector in one call, where nobody cancels.
Result<std::unique_ptr<TlsTransport>> connectTls(ConnectOptions options);

struct ListenOptions {
  /// "127.0.0.1:7120", "localhost:0"; "[::]:7120" and "*:7120" listen on every address, IPv4
  /// included; "0.0.0.0:7120" on every IPv4 address. A name that has several addresses: on all.
  Endpoint endpoint;
  Identity identity;
  /// Ask clients for a certificate (they may have none); see TlsTransport::peerFingerprint. Any
  /// certificate is accepted here: who may do what is decided by whoever gets the connection.
  bool requestClientCertificate = false;
  /// Handshakes under way at a time. One more pushes out the oldest of the address that has most of
  /// them, so that neither silence nor a flood from one place keeps others out.
  std::size_t maxHandshakes = 128;
  std::chrono::milliseconds handshakeTimeout{10000};
  SocketOptions socket;
};

/// Accepts connections. Handshakes run concurrently on one thread of the listener, none of which
/// waits for another.
class TlsListener {
 public:
  /// Gets every connection whose handshake is complete; called on the listener's thread, so it must
  /// hand over and return. May throw: the connection is then closed.
  using Handler = std::function<void(std::unique_ptr<TlsTransport>)>;
  /// Is told of every handshake that failed: the peer's address and why. Same thread.
  using Rejected = std::function<void(const std::string& peer, const Error& error)>;

  /// Errors: Unreachable (no such address on this machine), Refused (address in use, or port not
  /// allowed for this user), Io.
  static Result<std::unique_ptr<TlsListener>> start(ListenOptions options, Handler handler,
                                                    Rejected rejected = {});
  ~TlsListener();
  TlsListener(const TlsListener&) = delete;
  TlsListener& operator=(const TlsListener&) = delete;

  /// The port it listens on: the one asked for, or the one picked for port 0.
  std::uint16_t port() const;
  /// Every address it listens on, "127.0.0.1:7120".
  std::vector<std::string> addresses() const;

  /// New connections find nobody listening, handshakes under way are dropped; handed-over
  /// connections live on. No handler is called after it returned (unless it is called from one).
  void stop();

 private:
  struct State;
  explicit TlsListener(std::unique_ptr<State> state);
  std::unique_ptr<State> m_state;
};

}  // namespace pillarbox::net

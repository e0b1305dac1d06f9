#include "net/tls_context.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "net/identity_impl.h"

namespace pillarbox::net {
namespace {

/// As ALPN writes it: a length, then the name.
constexpr std::string_view kAlpn = "\x0Bpillarbox/1";
constexpr const char* kCiphers =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
constexpr const char* kGroups = "X25519:P-256";
constexpr long kMaxPeerCertificateBytes = 16 * 1024;
constexpr std::size_t kReadBufferBytes = 128 * 1024;
/// Reasons from here on are alerts that the other side sent.
constexpr int kFirstAlertReason = 1000;

const unsigned char* bytesOf(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

SocketBio& socketOf(BIO* bio) {
  return *static_cast<SocketBio*>(BIO_get_data(bio));
}

int bioWrite(BIO* bio, const char* data, int size) {
  SocketBio& socket = socketOf(bio);
  BIO_clear_retry_flags(bio);
  const ssize_t n = ::send(socket.descriptor, data, static_cast<std::size_t>(size),
                           MSG_NOSIGNAL | MSG_DONTWAIT | (socket.more ? MSG_MORE : 0));
  if (n >= 0) return static_cast<int>(n);
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
    BIO_set_retry_write(bio);
  } else {
    socket.error = errno;
  }
  return -1;
}

int bioRead(BIO* bio, char* data, int size) {
  SocketBio& socket = socketOf(bio);
  BIO_clear_retry_flags(bio);
  const ssize_t n = ::recv(socket.descriptor, data, static_cast<std::size_t>(size), MSG_DONTWAIT);
  if (n > 0) return static_cast<int>(n);
  if (n == 0) {
    socket.end = true;
    return 0;
  }
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
    BIO_set_retry_read(bio);
  } else {
    socket.error = errno;
  }
  return -1;
}

long bioControl(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_FLUSH) return 1;
  if (command == BIO_CTRL_EOF) return socketOf(bio).end ? 1 : 0;
  return 0;
}

const BIO_METHOD* socketMethod() {
  static const auto* method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pillarbox socket");
    if (made != nullptr) {
      BIO_meth_set_write(made, &bioWrite);
      BIO_meth_set_read(made, &bioRead);
      BIO_meth_set_ctrl(made, &bioControl);
    }
    return made;
  }();
  return method;
}

/// Replaces the whole chain verification: self-signed certificates are judged by their fingerprint.
/// That the peer holds the key is proved by its CertificateVerify message, which OpenSSL checks.
int verifyPeer(X509_STORE_CTX* store, void*) {
  auto* ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* check = ssl != nullptr ? static_cast<PeerCheck*>(SSL_get_app_data(ssl)) : nullptr;
  const X509* certificate = X509_STORE_CTX_get0_cert(store);
  X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
  if (check == nullptr || certificate == nullptr) return 0;
  try {
    check->presented = fingerprintOf(certificate);
    if (check->decide) {
      Status decision = check->decide(ssl, *check->presented);
      if (!decision.ok()) {
        check->refused = std::move(decision).error();
        return 0;
      }
    }
  } catch (...) {
    check->thrown = std::current_exception();
    return 0;
  }
  X509_STORE_CTX_set_error(store, X509_V_OK);
  return 1;
}

int selectAlpn(SSL*, const unsigned char** out, unsigned char* outLength,
               const unsigned char* offered, unsigned int length, void*) {
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, outLength, bytesOf(kAlpn),
                            static_cast<unsigned int>(kAlpn.size()), offered,
                            length) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

Error contextError() {
  return {ErrorCode::Internal,
          "OpenSSL cannot set up TLS 1.3: " + takeOpenSslReason("unknown reason")};
}

Result<SslContextPtr> makeContext(const SSL_METHOD* method, const Identity* identity) {
  ERR_clear_error();
  SslContextPtr context(SSL_CTX_new(method));
  if (!context) return contextError();
  SSL_CTX* c = context.get();
  if (SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_max_proto_version(c, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_ciphersuites(c, kCiphers) != 1 || SSL_CTX_set1_groups_list(c, kGroups) != 1) {
    return contextError();
  }
  SSL_CTX_set_options(c, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                             SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(
      c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_AUTO_RETRY);
  // Many records a recv: without this OpenSSL asks the kernel twice for each.
  SSL_CTX_set_read_ahead(c, 1);
  SSL_CTX_set_default_read_buffer_len(c, kReadBufferBytes);
  SSL_CTX_set_max_cert_list(c, kMaxPeerCertificateBytes);
  SSL_CTX_set_cert_verify_callback(c, &verifyPeer, nullptr);
  if (identity != nullptr) {
    const Identity::Impl& impl = identity->impl();
    if (SSL_CTX_use_certificate(c, impl.certificate.get()) != 1 ||
        SSL_CTX_use_PrivateKey(c, impl.key.get()) != 1) {
      return contextError();
    }
  }
  return context;
}

/// The reason code of the newest queued error; 0 if there is none.
int queuedReason() {
  return ERR_GET_REASON(ERR_peek_last_error());
}

Error error(ErrorCode code, const std::string& what, std::string_view says) {
  std::string message(what);
  return {code, std::move(message.append(" ").append(says))};
}

bool isReset(int error) {
  return error == ECONNRESET || error == EPIPE || error == ECONNABORTED;
}

}  // namespace

BioPtr makeSocketBio(SocketBio& socket) {
  const BIO_METHOD* method = socketMethod();
  if (method == nullptr) return nullptr;
  BioPtr bio(BIO_new(method));
  if (bio) {
    BIO_set_data(bio.get(), &socket);
    BIO_set_init(bio.get(), 1);
  }
  return bio;
}

Result<SslContextPtr> makeClientContext(const Identity* identity) {
  PILLARBOX_ASSIGN(SslContextPtr context, makeContext(TLS_client_method(), identity));
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  if (SSL_CTX_set_alpn_protos(context.get(), bytesOf(kAlpn),
                              static_cast<unsigned int>(kAlpn.size())) != 0) {
    return contextError();
  }
  return context;
}

Result<SslContextPtr> makeServerContext(const Identity& identity, bool requestClientCertificate) {
  PILLARBOX_ASSIGN(SslContextPtr context, makeContext(TLS_server_method(), &identity));
  SSL_CTX* c = context.get();
  SSL_CTX_set_verify(c, requestClientCertificate ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  SSL_CTX_set_alpn_select_cb(c, &selectAlpn, nullptr);
  if (SSL_CTX_set_num_tickets(c, 0) != 1 ||
      SSL_CTX_set_session_id_context(c, bytesOf(kAlpn), static_cast<unsigned>(kAlpn.size())) != 1) {
    return contextError();
  }
  return context;
}

bool speaksPillarbox(const SSL* ssl) {
  const unsigned char* chosen = nullptr;
  unsigned int length = 0;
  SSL_get0_alpn_selected(ssl, &chosen, &length);
  const std::string_view name = kAlpn.substr(1);
  return chosen != nullptr && length == name.size() &&
         std::equal(name.begin(), name.end(), reinterpret_cast<const char*>(chosen));
}

Error clientHandshakeError(int code, const SocketBio& socket, const std::string& what,
                           const std::string& role) {
  const int reason = code == SSL_ERROR_SSL ? queuedReason() : 0;
  const std::string text = takeOpenSslReason("unknown reason");
  if (code == SSL_ERROR_SYSCALL || code == SSL_ERROR_ZERO_RETURN ||
      reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    if (socket.error != 0 && !isReset(socket.error)) {
      return error(
          ErrorCode::Closed, what,
          std::string("was lost during the TLS handshake: ") + std::strerror(socket.error));
    }
    return error(ErrorCode::Closed, what,
                 "closed the connection during the TLS handshake; it may be overloaded, or no "
                 "Pillarbox " +
                     role);
  }
  switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_RECORD_LENGTH_MISMATCH:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_BAD_RECORD_TYPE:
      return error(ErrorCode::Protocol, what,
                   "does not speak TLS; is there a Pillarbox " + role + " at that port?");
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    case SSL_R_VERSION_TOO_LOW:
      return error(ErrorCode::Protocol, what,
                   "speaks an older TLS than 1.3; is there a Pillarbox " + role + " at that port?");
    case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL:
      return error(ErrorCode::Protocol, what,
                   "speaks TLS, but not this version of Pillarbox; is the address right, and are "
                   "both sides up to date?");
    default:
      break;
  }
  if (reason >= kFirstAlertReason) {
    return error(ErrorCode::Protocol, what, "ended the TLS handshake: " + text);
  }
  return error(ErrorCode::Protocol, what, "failed the TLS handshake: " + text);
}

Error serverHandshakeError(int code, const SocketBio& socket, const std::string& what) {
  const int reason = code == SSL_ERROR_SSL ? queuedReason() : 0;
  const std::string text = takeOpenSslReason("unknown reason");
  if (code == SSL_ERROR_SYSCALL || code == SSL_ERROR_ZERO_RETURN ||
      reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    if (socket.error != 0 && !isReset(socket.error)) {
      return error(
          ErrorCode::Closed, what,
          std::string("was lost during the TLS handshake: ") + std::strerror(socket.error));
    }
    return error(ErrorCode::Closed, what, "went away during the TLS handshake");
  }
  switch (reason) {
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
      return error(ErrorCode::Protocol, what, "speaks plain HTTP");
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_BAD_RECORD_TYPE:
    case SSL_R_RECORD_LENGTH_MISMATCH:
      return error(ErrorCode::Protocol, what, "does not speak TLS");
    case SSL_R_UNSUPPORTED_PROTOCOL:
      return error(ErrorCode::Protocol, what, "speaks an older TLS than 1.3");
    case SSL_R_NO_APPLICATION_PROTOCOL:
      return error(ErrorCode::Protocol, what, "speaks TLS, but not this version of Pillarbox");
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
      return error(ErrorCode::Untrusted, what, "does not accept this program's certificate");
    default:
      break;
  }
  return error(ErrorCode::Protocol, what, "failed the TLS handshake: " + text);
}

Error connectionError(int code, const SocketBio& socket, const std::string& what) {
  const int reason = code == SSL_ERROR_SSL ? queuedReason() : 0;
  const std::string text = takeOpenSslReason("unknown reason");
  if (code == SSL_ERROR_ZERO_RETURN) return error(ErrorCode::Closed, what, "closed the connection");
  if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING ||
      (code == SSL_ERROR_SYSCALL && (socket.error == 0 || isReset(socket.error)))) {
    return error(ErrorCode::Closed, what,
                 "broke off the connection without closing it: its program ended, or the network "
                 "failed");
  }
  if (code == SSL_ERROR_SYSCALL) {
    const bool unreachable = socket.error == ETIMEDOUT || socket.error == EHOSTUNREACH ||
                             socket.error == ENETUNREACH || socket.error == ENETDOWN;
    return error(unreachable ? ErrorCode::Closed : ErrorCode::Io, what,
                 std::string("cannot be reached any more: ") + std::strerror(socket.error));
  }
  if (reason >= kFirstAlertReason) {
    return error(ErrorCode::Closed, what, "ended the connection: " + text);
  }
  return error(ErrorCode::Protocol, what, "sent bytes that are no valid TLS: " + text);
}

void applySocketOptions(int descriptor, const SocketOptions& options) {
  const auto set = [descriptor](int level, int name, int value) {
    (void)::setsockopt(descriptor, level, name, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  if (options.keepAlive) {
    set(SOL_SOCKET, SO_KEEPALIVE, 1);
    set(IPPROTO_TCP, TCP_KEEPIDLE, 30);
    set(IPPROTO_TCP, TCP_KEEPINTVL, 10);
    set(IPPROTO_TCP, TCP_KEEPCNT, 4);
  }
  if (options.sendBufferBytes > 0) set(SOL_SOCKET, SO_SNDBUF, options.sendBufferBytes);
  if (options.receiveBufferBytes > 0) set(SOL_SOCKET, SO_RCVBUF, options.receiveBufferBytes);
}

std::string durationText(std::chrono::milliseconds duration) {
  if (duration.count() % 1000 == 0) return std::to_string(duration.count() / 1000) + " s";
  return std::to_string(duration.count()) + " ms";
}

}  // namespace pillarbox::net

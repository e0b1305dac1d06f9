// What clients and servers share below tls.h: the OpenSSL context with Pillarbox's rules, the check
// of the peer's certificate inside the handshake, the socket under the records, and readable
// errors. For net/ only.
#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <optional>
#include <string>

#include "engine/core/result.h"
#include "net/certificate.h"
#include "net/openssl_ptr.h"
#include "net/tls.h"

namespace pillarbox::net {

/// A connected socket as OpenSSL sees it: send and recv without SIGPIPE, and what went wrong last.
struct SocketBio {
  int descriptor = -1;
  bool end = false;  ///< recv returned 0
  int error = 0;     ///< errno of the last failure other than EAGAIN
  /// Another record follows at once: the kernel may keep back for it what does not fill a packet.
  bool more = false;
};

/// Makes a BIO over `socket`, which must outlive it and must not block. Null if out of memory.
BioPtr makeSocketBio(SocketBio& socket);

/// One handshake's view of the peer's certificate. While the handshake runs SSL's application data
/// points here.
struct PeerCheck {
  /// Decides on the certificate; an error ends the handshake and becomes `refused`.
  std::function<Status(SSL*, const Fingerprint&)> decide;
  std::optional<Fingerprint> presented;
  std::optional<Error> refused;
  std::exception_ptr thrown;  ///< what `decide` threw, for the caller to rethrow
};

/// TLS 1.3 only, our ALPN, no resumption, certificates judged by PeerCheck alone. `identity` is
/// required for a server. Errors: Internal.
Result<SslContextPtr> makeClientContext(const Identity* identity);
Result<SslContextPtr> makeServerContext(const Identity& identity, bool requestClientCertificate);

/// Whether "pillarbox/1" was agreed on.
bool speaksPillarbox(const SSL* ssl);

/// Why a handshake failed, from SSL_get_error's code and this thread's error queue (emptied).
/// `what` names the other side ("127.0.0.1:7120"), `role` what a client looks for.
Error clientHandshakeError(int code, const SocketBio& socket, const std::string& what,
                           const std::string& role);
Error serverHandshakeError(int code, const SocketBio& socket, const std::string& what);

/// Why a read or write on an established connection failed; for everything but the WANT codes.
Error connectionError(int code, const SocketBio& socket, const std::string& what);

/// TCP_NODELAY, keep-alive, buffer sizes. Best effort: none of them is worth losing a connection.
void applySocketOptions(int descriptor, const SocketOptions& options);

/// "250 ms", "10 s".
std::string durationText(std::chrono::milliseconds duration);

}  // namespace pillarbox::net

// An established TLS connection. For net/ only.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "net/openssl_ptr.h"
#include "net/tls.h"
#include "net/tls_context.h"

namespace pillarbox::net {

/// A socket with the TLS objects on it, between the handshake and the transport. Owns the
/// descriptor.
struct TlsSocket {
  std::unique_ptr<SocketBio> socket;  // stays where it is: the BIO points to it
  SslPtr ssl;

  TlsSocket() = default;
  TlsSocket(TlsSocket&&) noexcept = default;
  TlsSocket& operator=(TlsSocket&&) = delete;
  ~TlsSocket();
};

/// Takes over a connection whose handshake is complete. Errors: Io (no descriptors left).
Result<std::unique_ptr<TlsTransport>> makeTlsTransport(TlsSocket connection,
                                                       const SocketOptions& options,
                                                       std::string peer, std::string local,
                                                       std::optional<Fingerprint> fingerprint);

}  // namespace pillarbox::net

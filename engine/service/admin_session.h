// One administrator's connection to the engine (net/admin.proto has the messages).
//
// Who may administrate is decided before a byte of the application is read: the certificate that
// the TLS handshake proved the peer to hold must be on the list. Everybody else is told so and
// disconnected, and both are logged. Every request is logged at the level "audit", which no
// configuration silences: who (the certificate's fingerprint and the address), what, with which
// result.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "engine/core/result.h"
#include "engine/service/admin_library.h"
#include "engine/service/log.h"
#include "net/admin.pb.h"
#include "net/certificate.h"
#include "net/channel.h"
#include "net/tls.h"

namespace pillarbox::service {

/// What the administrators' connections share; outlives them.
struct AdminContext {
  ModelLibrary& library;
  std::set<net::Fingerprint> administrators;
  std::chrono::milliseconds handshakeTimeout, idleTimeout, networkTimeout;
};

/// As ConnectionPool wants it.
class AdminSession {
 public:
  AdminSession(const AdminContext& context, std::uint64_t id,
               std::unique_ptr<net::TlsTransport> transport);

  /// Serves the administrator until they leave or fail; never throws.
  void run() noexcept;
  /// Ends the connection; an upload under way leaves nothing behind. From any thread.
  void drain() noexcept { cancel(); }
  void cancel() noexcept { m_channel.cancel(); }
  /// Refuses the peer with this error instead of serving it. Call before run().
  void refuse(Error error) { m_refusal = std::move(error); }

 private:
  Status serve();
  Status handle(const net::proto::AdminRequest& request);
  Status upload(const net::proto::AdminUpload& request);
  /// Receives the bytes and takes the model in. What fails before the last byte ends the
  /// connection; what is wrong with the model is `refused` and does not.
  Result<std::string> receive(ModelLibrary::Upload& upload, bool& refused);
  Status answer(const char* action, const Result<std::string>& outcome, const std::string& asked);
  Status sendListing(const std::string& done);
  void audit(const char* action, const Status& status, std::vector<LogField> fields) const;

  const AdminContext& m_context;
  const std::uint64_t m_id;
  const std::optional<net::Fingerprint> m_fingerprint;
  net::Channel m_channel;
  std::optional<Error> m_refusal;
};

}  // namespace pillarbox::service

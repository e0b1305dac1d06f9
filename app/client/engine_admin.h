// EngineAdmin: an administrator's connection to an engine (net/admin.proto has the messages).
//
// Both sides show a certificate: the engine's is pinned as for classifying, the administrator's
// must be on the engine's list. Calls block; cancel() ends them from another thread. Used as it is
// by the command line and by AdminController's worker for the desktop app.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "net/admin.pb.h"
#include "net/channel.h"
#include "net/tls.h"

namespace pillarbox::client {

/// An administrator's key and certificate: admin-certificate.pem and admin-key.pem in the state
/// folder.
struct AdminKeyFiles {
  std::filesystem::path certificate, key;
};
AdminKeyFiles adminKeyFiles(const std::filesystem::path& stateDirectory);

/// Makes both files. Returns the fingerprint that the engine's operator adds to its list.
/// Errors: InvalidArgument if there are such files already; Io.
Result<net::Fingerprint> makeAdminKey(const std::filesystem::path& stateDirectory);

/// One model at the engine, as it was listed. Texts are safe to show.
struct EngineModelEntry {
  std::string id;    ///< SHA-256 of the file, 64 hexadecimal digits
  std::string file;  ///< what it was called where it came from
  std::string name;
  std::uint64_t bytes = 0;
  std::uint32_t rounds = 0;
  std::uint64_t activations = 0, weights = 0;
  std::uint32_t classes = 0;
  std::int64_t added = 0;   ///< seconds since 1970; 0: not known
  std::string addedBy;      ///< fingerprint of the administrator; empty for a configured one
  bool configured = false;  ///< part of the engine's configuration: cannot be removed from here
  bool active = false;      ///< what a client gets that names none
  bool served = false;
};

struct EngineModels {
  std::string software;
  std::uint64_t revision = 0;
  std::vector<EngineModelEntry> models;
  std::string previous;  ///< id of what rollback() would activate; empty: nothing
  std::uint64_t maxUploadBytes = 0;
  std::string done;  ///< id of the model that the last request concerned

  const EngineModelEntry* find(const std::string& id) const;
};

struct AdminOptions {
  net::Endpoint engine;
  std::filesystem::path certificate, key;
  std::filesystem::path stateDirectory;  ///< of the pin store
  std::optional<net::Fingerprint> trust;
  /// First contact with the engine's certificate: whether to accept. Without it: Untrusted.
  std::function<bool(const net::Fingerprint&)> ask;
  std::chrono::milliseconds networkTimeout{30000};
};

class EngineAdmin {
 public:
  explicit EngineAdmin(AdminOptions options);
  ~EngineAdmin();
  EngineAdmin(const EngineAdmin&) = delete;
  EngineAdmin& operator=(const EngineAdmin&) = delete;

  /// Errors: as net::Identity::load, TlsConnector::connect; Refused where the engine does not know
  /// the administrator; Version.
  Status connect();
  /// What the engine has, as of the last answer.
  const EngineModels& models() const { return m_models; }

  Status list();
  /// Sends a model file. `progress` gets the bytes sent so far and all of them, on this thread.
  /// Errors: NotFound, Io, Exhausted (too large); what the engine finds wrong with it.
  Status upload(const std::filesystem::path& file,
                const std::function<void(std::uint64_t, std::uint64_t)>& progress = {});
  /// Each is for the list that models() shows; Refused where it has changed meanwhile.
  Status activate(const std::string& id);
  Status rollback();
  Status remove(const std::string& id);

  /// Ends whatever happens, for good. From any thread.
  void cancel() noexcept;

 private:
  Status openConnection();
  Status ask(const net::proto::AdminRequest& request);
  Result<net::proto::AdminReply> receive();
  Status take(const net::proto::AdminListing& listing);

  const AdminOptions m_options;
  EngineModels m_models;
  std::mutex m_mutex;  ///< guards the next three against cancel()
  bool m_cancelled = false;
  std::unique_ptr<net::TlsConnector> m_connector;
  std::unique_ptr<net::Channel> m_channel;
};

}  // namespace pillarbox::client

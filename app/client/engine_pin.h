// Which certificate of an engine a connection takes, for inferences and for administration alike.
//
// A pinned engine must show its pin. Otherwise it must show the certificate that the caller names;
// if none is named, somebody is asked at first contact. What was accepted is pinned. A pin is never
// replaced here: that takes somebody who removes it on purpose (net/pin_store.h).
#pragma once

#include <filesystem>
#include <functional>
#include <optional>

#include "engine/core/result.h"
#include "net/certificate.h"
#include "net/endpoint.h"
#include "net/tls.h"

namespace pillarbox::client {

class EnginePin {
 public:
  /// @param stateDirectory  the folder of pins.json @param trust  a certificate that the user names
  /// Errors: those of PinStore::find; Untrusted if another certificate than `trust` is pinned.
  static Result<EnginePin> find(const std::filesystem::path& stateDirectory,
                                const net::Endpoint& engine,
                                const std::optional<net::Fingerprint>& trust);

  /// For the handshake. @param ask  see net::PinPolicy
  net::PinPolicy policy(std::function<bool(const net::Fingerprint&)> ask) const;

  const std::optional<net::Fingerprint>& pinned() const { return m_pinned; }

  /// Whether a failed handshake showed another certificate than the pinned one.
  bool changed(const Error& error, const std::optional<net::Fingerprint>& presented) const;
  /// What a user is told then: both fingerprints, and how to remove the pin if that is right.
  Error changedError(const net::Fingerprint& presented) const;

  /// Pins a first contact; true where there was no pin before. Errors: those of PinStore::add.
  Result<bool> keep(const net::Fingerprint& fingerprint) const;

 private:
  EnginePin() = default;

  std::filesystem::path m_stateDirectory;
  net::Endpoint m_engine;
  std::optional<net::Fingerprint> m_pinned, m_trust;
};

}  // namespace pillarbox::client

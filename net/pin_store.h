// Pinned certificates: which fingerprint was accepted for which engine or dealer.
//
// One JSON file, pins.json, in the state folder, mode 0600. A pin is made at first contact, after a
// person (or a flag) accepted the fingerprint, and is checked at every handshake after that. There
// is no call that replaces a pin: a changed certificate is refused until the pin has been removed
// on purpose. Several programs may use one store: every change reads the file anew under a lock.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "net/certificate.h"

namespace pillarbox::net {

enum class PinKind { Engine, Dealer };
const char* toString(PinKind kind);  ///< "engine", "dealer"

struct Pin {
  PinKind kind = PinKind::Engine;
  std::string host;  ///< lower case
  std::uint16_t port = 0;
  Fingerprint fingerprint{};
  std::int64_t since = 0;  ///< seconds since 1970
};

class PinStore {
 public:
  /// @param directory  the state folder; created when the first pin is written
  explicit PinStore(std::filesystem::path directory);

  /// All pins, in the file's order; none where there is no file.
  /// Errors: Io; Format where the file is damaged (nothing is then trusted or overwritten).
  Result<std::vector<Pin>> list() const;
  Result<std::optional<Pin>> find(PinKind kind, std::string_view host, std::uint16_t port) const;

  /// Pins a first contact. Errors: as list(), Io; Untrusted if another fingerprint is pinned there.
  Status add(PinKind kind, std::string_view host, std::uint16_t port,
             const Fingerprint& fingerprint) const;
  /// True where there was a pin. Errors: as list(), Io.
  Result<bool> remove(PinKind kind, std::string_view host, std::uint16_t port) const;

  std::filesystem::path file() const { return m_directory / "pins.json"; }

 private:
  std::filesystem::path m_directory;
};

}  // namespace pillarbox::net

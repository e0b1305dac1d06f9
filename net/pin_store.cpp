#include "net/pin_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <ctime>

#include <nlohmann/json.hpp>

#include "engine/core/files.h"

namespace pillarbox::net {
namespace {

constexpr std::size_t kMaxFileBytes = 1 << 20;
constexpr int kFileVersion = 1;

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

/// Holds pins.lock for the length of a read-change-write, against other programs.
class FileLock {
 public:
  explicit FileLock(const std::filesystem::path& path)
      : m_descriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (m_descriptor >= 0) ::flock(m_descriptor, LOCK_EX);
  }
  ~FileLock() {
    if (m_descriptor >= 0) ::close(m_descriptor);
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  bool held() const { return m_descriptor >= 0; }

 private:
  int m_descriptor;
};

Status save(const std::filesystem::path& file, const std::vector<Pin>& pins) {
  nlohmann::ordered_json document;
  document["version"] = kFileVersion;
  document["pins"] = nlohmann::ordered_json::array();
  for (const Pin& pin : pins) {
    document["pins"].push_back({{"kind", toString(pin.kind)},
                                {"host", pin.host},
                                {"port", pin.port},
                                {"sha256", pin.fingerprint.text()},
                                {"since", pin.since}});
  }
  return writePrivateFile(file, document.dump(2) + "\n");
}

bool isFor(const Pin& pin, PinKind kind, const std::string& host, std::uint16_t port) {
  return pin.kind == kind && pin.port == port && pin.host == host;
}

}  // namespace

const char* toString(PinKind kind) {
  return kind == PinKind::Engine ? "engine" : "dealer";
}

PinStore::PinStore(std::filesystem::path directory) : m_directory(std::move(directory)) {}

Result<std::vector<Pin>> PinStore::list() const {
  auto text = readFile(file(), kMaxFileBytes);
  if (!text.ok()) {
    if (text.error().code == ErrorCode::NotFound) return std::vector<Pin>{};
    return std::move(text).error();
  }
  const Error damaged{ErrorCode::Format, file().string() +
                                             " is damaged; nothing is trusted until it is repaired "
                                             "or deleted (deleting forgets every pin)"};
  const auto document = nlohmann::json::parse(*text, nullptr, false);
  if (!document.is_object()) return damaged;
  const auto version = document.find("version");
  if (version == document.end() || !version->is_number_integer()) return damaged;
  if (*version != kFileVersion) {
    return Error{ErrorCode::Version,
                 file().string() + " was written by another version of Pillarbox"};
  }
  const auto entries = document.find("pins");
  if (entries == document.end() || !entries->is_array()) return damaged;
  std::vector<Pin> pins;
  for (const auto& entry : *entries) {
    if (!entry.is_object()) return damaged;
    const auto string = [&entry](const char* key) {
      const auto value = entry.find(key);
      return value != entry.end() && value->is_string() ? value->get<std::string>() : std::string();
    };
    const auto port = entry.find("port");
    if (port == entry.end() || !port->is_number_unsigned() || *port < 1 || *port > 65535) {
      return damaged;
    }
    const std::string kind = string("kind");
    const auto fingerprint = Fingerprint::parse(string("sha256"));
    if ((kind != "engine" && kind != "dealer") || string("host").empty() || !fingerprint.ok()) {
      return damaged;
    }
    Pin pin;
    pin.kind = kind == "engine" ? PinKind::Engine : PinKind::Dealer;
    pin.host = string("host");
    pin.port = port->get<std::uint16_t>();
    pin.fingerprint = *fingerprint;
    const auto since = entry.find("since");
    if (since != entry.end() && since->is_number_integer()) pin.since = since->get<std::int64_t>();
    pins.push_back(std::move(pin));
  }
  return pins;
}

Result<std::optional<Pin>> PinStore::find(PinKind kind, std::string_view host,
                                          std::uint16_t port) const {
  PILLARBOX_ASSIGN(const auto pins, list());
  const std::string name = lower(host);
  for (const Pin& pin : pins) {
    if (isFor(pin, kind, name, port)) return std::optional<Pin>(pin);
  }
  return std::optional<Pin>();
}

Status PinStore::add(PinKind kind, std::string_view host, std::uint16_t port,
                     const Fingerprint& fingerprint) const {
  PILLARBOX_TRY(makePrivateDirectory(m_directory));
  const FileLock lock(m_directory / "pins.lock");
  if (!lock.held()) {
    return Error{ErrorCode::Io,
                 m_directory.string() + " cannot be written: " + std::strerror(errno)};
  }
  PILLARBOX_ASSIGN(auto pins, list());
  const std::string name = lower(host);
  for (const Pin& pin : pins) {
    if (!isFor(pin, kind, name, port)) continue;
    if (pin.fingerprint == fingerprint) return {};
    return Error{ErrorCode::Untrusted, "another certificate is pinned for " + name + ":" +
                                           std::to_string(port) + "; remove that pin first"};
  }
  pins.push_back(Pin{kind, name, port, fingerprint, static_cast<std::int64_t>(std::time(nullptr))});
  return save(file(), pins);
}

Result<bool> PinStore::remove(PinKind kind, std::string_view host, std::uint16_t port) const {
  std::error_code error;
  if (!std::filesystem::exists(file(), error)) return false;
  const FileLock lock(m_directory / "pins.lock");
  if (!lock.held()) {
    return Error{ErrorCode::Io,
                 m_directory.string() + " cannot be written: " + std::strerror(errno)};
  }
  PILLARBOX_ASSIGN(auto pins, list());
  const std::string name = lower(host);
  const auto gone = std::remove_if(pins.begin(), pins.end(),
                                   [&](const Pin& pin) { return isFor(pin, kind, name, port); });
  if (gone == pins.end()) return false;
  pins.erase(gone, pins.end());
  PILLARBOX_TRY(save(file(), pins));
  return true;
}

}  // namespace pillarbox::net

#include "engine/core/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace pillarbox {
namespace {

namespace fs = std::filesystem;

std::string reason(int error) {
  return std::strerror(error);
}

/// A variable that holds an absolute path, or nothing (the XDG rules: relative ones are ignored).
fs::path pathVariable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value != '/') return {};
  return value;
}

Result<fs::path> homeBased(const char* variable, const char* fallback) {
  if (const fs::path base = pathVariable(variable); !base.empty()) return base / "pillarbox";
  if (const fs::path home = pathVariable("HOME"); !home.empty())
    return home / fallback / "pillarbox";
  return Error{ErrorCode::NotFound,
               std::string("neither HOME nor ") + variable + " is set; use --state-dir"};
}

class Descriptor {
 public:
  explicit Descriptor(int number) : m_number(number) {}
  ~Descriptor() {
    if (m_number >= 0) ::close(m_number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return m_number; }
  int release() { return std::exchange(m_number, -1); }

 private:
  int m_number;
};

}  // namespace

Result<fs::path> stateDirectory(const fs::path& given) {
  if (!given.empty()) return given;
  // systemd gives a colon-separated list where a unit asks for several; ours asks for one.
  if (fs::path directory = pathVariable("STATE_DIRECTORY"); !directory.empty()) {
    const std::string text = directory.string();
    return fs::path(text.substr(0, text.find(':')));
  }
  return homeBased("XDG_STATE_HOME", ".local/state");
}

Result<fs::path> cacheDirectory(const fs::path& given) {
  if (!given.empty()) return given / "cache";
  return homeBased("XDG_CACHE_HOME", ".cache");
}

Status makePrivateDirectory(const fs::path& directory) {
  std::error_code error;
  if (fs::is_directory(directory, error)) return {};
  if (directory.has_parent_path()) {
    fs::create_directories(directory.parent_path(), error);
    if (error) {
      return Error{ErrorCode::Io,
                   directory.parent_path().string() + " cannot be created: " + error.message()};
    }
  }
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return Error{ErrorCode::Io, directory.string() + " cannot be created: " + reason(errno)};
  }
  if (!fs::is_directory(directory, error)) {
    return Error{ErrorCode::Io, directory.string() + " is not a folder"};
  }
  return {};
}

Result<std::string> readFile(const fs::path& path, std::size_t maxBytes) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.number() < 0) {
    const ErrorCode code = errno == ENOENT ? ErrorCode::NotFound : ErrorCode::Io;
    return Error{code, path.string() + " cannot be opened: " + reason(errno)};
  }
  struct stat facts {};
  if (::fstat(file.number(), &facts) != 0 || S_ISDIR(facts.st_mode)) {
    return Error{ErrorCode::Io, path.string() + " is not a file"};
  }
  std::string bytes;
  char buffer[65536];
  for (;;) {
    const ssize_t count = ::read(file.number(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Error{ErrorCode::Io, path.string() + " cannot be read: " + reason(errno)};
    if (count == 0) return bytes;
    if (bytes.size() + static_cast<std::size_t>(count) > maxBytes) {
      return Error{ErrorCode::Exhausted,
                   path.string() + " is larger than " + std::to_string(maxBytes) + " bytes"};
    }
    bytes.append(buffer, static_cast<std::size_t>(count));
  }
}

Status writePrivateFile(const fs::path& path, std::span<const std::byte> bytes) {
  std::string temporary = path.string() + ".XXXXXX";
  Descriptor file(::mkostemp(temporary.data(), O_CLOEXEC));  // mode 0600
  const auto fail = [&](int error) -> Status {
    ::unlink(temporary.c_str());
    return Error{ErrorCode::Io, path.string() + " cannot be written: " + reason(error)};
  };
  if (file.number() < 0) {
    return Error{ErrorCode::Io, path.string() + " cannot be written: " + reason(errno)};
  }
  while (!bytes.empty()) {
    const ssize_t count = ::write(file.number(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(errno);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  if (::fsync(file.number()) != 0) return fail(errno);
  if (::close(file.release()) != 0) return fail(errno);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return fail(errno);
  return {};
}

Status writePrivateFile(const fs::path& path, const std::string& text) {
  return writePrivateFile(path, std::as_bytes(std::span(text)));
}

}  // namespace pillarbox

// SHA-256 of bytes that arrive in pieces: what names a file by its contents.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace pillarbox {

class Sha256Stream {
 public:
  /// Throws std::runtime_error where OpenSSL has no SHA-256 (as update() and finish() do).
  Sha256Stream();
  ~Sha256Stream();
  Sha256Stream(const Sha256Stream&) = delete;
  Sha256Stream& operator=(const Sha256Stream&) = delete;

  void update(std::span<const std::byte> bytes);
  /// Call once, at the end.
  std::array<std::uint8_t, 32> finish();

 private:
  struct State;
  std::unique_ptr<State> m_state;
};

/// Lower-case hexadecimal, 64 characters.
std::string hexText(const std::array<std::uint8_t, 32>& digest);

}  // namespace pillarbox

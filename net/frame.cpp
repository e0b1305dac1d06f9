#include "net/frame.h"

#include <algorithm>
#include <array>
#include <string>

namespace pillarbox::net {
namespace {

constexpr std::array<std::byte, 4> kMagic = {std::byte{'P'}, std::byte{'B'}, std::byte{'X'},
                                             std::byte{'1'}};

void put(std::span<std::byte> bytes, std::uint64_t value) {
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(value >> 8 * i);
}

std::uint64_t get(std::span<const std::byte> bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    value |= static_cast<std::uint64_t>(bytes[i]) << 8 * i;
  }
  return value;
}

}  // namespace

const char* toString(FrameKind kind) {
  switch (kind) {
    case FrameKind::Control:
      return "control";
    case FrameKind::Words:
      return "words";
    case FrameKind::Bytes:
      return "bytes";
    case FrameKind::Failure:
      return "failure";
  }
  return "unknown kind";
}

void encodeFrameHeader(const FrameHeader& header,
                       std::span<std::byte, kFrameHeaderBytes> bytes) noexcept {
  std::copy(kMagic.begin(), kMagic.end(), bytes.begin());
  put(bytes.subspan(4, 2), static_cast<std::uint16_t>(header.kind));
  put(bytes.subspan(6, 2), 0);
  put(bytes.subspan(8, 4), header.depth);
  put(bytes.subspan(12, 4), header.length);
  put(bytes.subspan(16, 8), header.sequence);
}

Result<FrameHeader> decodeFrameHeader(std::span<const std::byte, kFrameHeaderBytes> bytes) {
  const auto wrong = [](std::string what) { return Error{ErrorCode::Protocol, std::move(what)}; };
  if (!std::equal(kMagic.begin(), kMagic.end(), bytes.begin())) {
    return wrong("sent bytes that are no Pillarbox frame");
  }
  const std::uint64_t kind = get(bytes.subspan(4, 2));
  if (kind < 1 || kind > 4) return wrong("sent a frame of unknown kind " + std::to_string(kind));
  if (get(bytes.subspan(6, 2)) != 0) return wrong("sent a frame of another version");
  FrameHeader header;
  header.kind = static_cast<FrameKind>(kind);
  header.depth = static_cast<std::uint32_t>(get(bytes.subspan(8, 4)));
  header.length = static_cast<std::uint32_t>(get(bytes.subspan(12, 4)));
  header.sequence = get(bytes.subspan(16, 8));
  const std::size_t most = header.kind == FrameKind::Failure ? kMaxFailurePayload : kMaxPayload;
  if (header.length > most) {
    return wrong("announced a frame of " + std::to_string(header.length) + " bytes; at most " +
                 std::to_string(most) + " are allowed");
  }
  return header;
}

}  // namespace pillarbox::net

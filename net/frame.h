// The 24 bytes before every payload, as channel.h lays them out. Apart from Channel only the fuzzer
// and tests that play a hostile peer need this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/core/result.h"
#include "net/channel.h"

namespace pillarbox::net {

struct FrameHeader {
  FrameKind kind = FrameKind::Control;
  std::uint32_t depth = 0;
  std::uint32_t length = 0;
  std::uint64_t sequence = 0;
  bool operator==(const FrameHeader&) const = default;
};

/// "control", "words", "bytes", "failure".
const char* toString(FrameKind kind);

void encodeFrameHeader(const FrameHeader& header,
                       std::span<std::byte, kFrameHeaderBytes> bytes) noexcept;

/// Checks magic, kind, the reserved bytes and the length against kMaxPayload (kMaxFailurePayload
/// for a Failure); sequence and depth are for the caller. Errors: Protocol, as a phrase that
/// follows the name of the sender ("sent ...").
Result<FrameHeader> decodeFrameHeader(std::span<const std::byte, kFrameHeaderBytes> bytes);

}  // namespace pillarbox::net

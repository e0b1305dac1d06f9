// Fuzzes what a connected peer can send: frames into a channel, and text into messages.
//
// The first byte chooses what the receiver waits for, two bits a call; the rest is the peer's
// stream. A second pass repairs magic, sequence number and depth of the first header, so that the
// fuzzer need not find them to reach what lies behind.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "net/certificate.h"
#include "net/channel.h"
#include "net/endpoint.h"
#include "net/frame.h"
#include "net/text.h"

using namespace pillarbox;
using namespace pillarbox::net;

namespace {

class Recording final : public Transport {
 public:
  explicit Recording(std::span<const std::byte> bytes) : m_bytes(bytes) {}
  Status write(std::span<const std::byte>, std::span<const std::byte>) override { return {}; }
  Status read(std::span<std::byte> bytes) override {
    if (bytes.size() > m_bytes.size()) return Error{ErrorCode::Closed, "end"};
    if (!bytes.empty()) std::memcpy(bytes.data(), m_bytes.data(), bytes.size());
    m_bytes = m_bytes.subspan(bytes.size());
    return {};
  }
  void setTimeout(std::chrono::milliseconds) override {}
  void cancel() noexcept override {}
  std::string peer() const override { return "fuzzer"; }

 private:
  std::span<const std::byte> m_bytes;
};

void require(bool condition) {
  if (!condition) std::abort();
}

void requirePrintable(const std::string& text) {
  for (const char c : text) require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
}

void receiveAll(std::uint8_t plan, std::span<const std::byte> stream) {
  constexpr std::size_t kMost = 256;
  Channel channel(std::make_unique<Recording>(stream));
  for (int call = 0; call < 4; ++call, plan >>= 2) {
    Status status;
    std::uint64_t words[4];
    switch (plan & 3) {
      case 0: {
        auto got = channel.receive(FrameKind::Control, kMost);
        if (got.ok()) require(got->size() <= kMost);
        if (!got.ok()) status = got.error();
        break;
      }
      case 1:
        status = channel.receiveWords(words);
        break;
      case 2:
        status = channel.receiveBytes(std::as_writable_bytes(std::span(words)).first(7));
        break;
      case 3: {
        auto got = channel.receive(FrameKind::Failure, kMost);
        if (!got.ok()) status = got.error();
        break;
      }
    }
    require(channel.meter().bytesReceived <= stream.size());
    if (status.ok()) continue;
    require(!status.error().message.empty() && status.error().message.size() < 1024);
    requirePrintable(status.error().message);
    require(!channel.send(FrameKind::Control, {}).ok());  // poisoned
    return;
  }
  require(channel.meter().framesReceived == 4);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(1);
  receiveAll(data[0], bytes);
  if (bytes.size() >= kFrameHeaderBytes) {
    std::vector<std::byte> repaired(bytes.begin(), bytes.end());
    FrameHeader header;
    header.kind = static_cast<FrameKind>(1 + (data[0] & 3));
    header.depth = 1;
    header.length = static_cast<std::uint32_t>(repaired[12]);
    encodeFrameHeader(header, std::span(repaired).first<kFrameHeaderBytes>());
    receiveAll(data[0], repaired);
  }

  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string shown = sanitizeForDisplay(text, data[0]);
  require(shown.size() <= data[0]);
  require(sanitizeForDisplay(shown, data[0]) == shown);
  requirePrintable(shown);
  if (const auto endpoint = parseEndpoint(text); endpoint.ok()) {
    const auto again = parseEndpoint(toString(*endpoint));
    require(again.ok() && *again == *endpoint);
  }
  if (const auto fingerprint = Fingerprint::parse(text); fingerprint.ok()) {
    const auto again = Fingerprint::parse(fingerprint->text());
    require(again.ok() && *again == *fingerprint);
  }
  return 0;
}

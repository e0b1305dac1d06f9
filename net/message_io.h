// Control messages and long streams of words over a Channel.
//
// A message is one Control frame that holds one envelope of net/messages.proto. A stream is a known
// number of 64-bit words, cut into Words frames of kStreamChunkWords, the last one shorter: neither
// side needs the other's idea of a convenient chunk, and no length is ever taken from the peer.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "engine/core/result.h"
#include "engine/core/secure_vector.h"
#include "net/channel.h"
#include "net/messages.pb.h"

namespace pillarbox::net {

/// Spoken in Hello and DealerHello; both sides must say the same.
constexpr std::uint32_t kProtocolVersion = 4;
/// The longest control message that anybody reads.
constexpr std::size_t kMaxMessageBytes = 256 * 1024;
/// The longest piece of a model file that is being uploaded (net/admin.proto).
constexpr std::size_t kAdminChunkBytes = std::size_t{1} << 18;
constexpr std::size_t kStreamChunkWords = std::size_t{1} << 15;
/// How long an inference keeps the offline lines of its session from sending, at the most: so that
/// whoever waits at their other ends does not lose patience with an inference that hangs.
constexpr std::chrono::milliseconds kLongestHold{10000};

/// "Pillarbox 0.1.0": what the Hello messages carry and --version prints.
std::string softwareName();

/// Sends one envelope as one Control frame. Errors: as Channel::send.
template <typename Message>
Status sendMessage(Channel& channel, const Message& message) {
  std::string bytes;
  if (!message.SerializeToString(&bytes)) {
    return Error{ErrorCode::Internal, "a control message could not be written"};
  }
  return channel.send(FrameKind::Control, std::as_bytes(std::span(bytes)));
}

/// Receives one envelope. Errors: as Channel::receive; Format if the bytes are not the message.
template <typename Message>
Result<Message> receiveMessage(Channel& channel, std::size_t maxBytes = kMaxMessageBytes) {
  auto bytes = channel.receive(FrameKind::Control, maxBytes);
  if (!bytes.ok()) return std::move(bytes).error();
  Message message;
  if (!message.ParseFromArray(bytes->data(), static_cast<int>(bytes->size()))) {
    return Error{ErrorCode::Format, channel.peer() + " sent a control message that cannot be read"};
  }
  return message;
}

/// What a Declined message says, prefixed by who said it, its text sanitised.
Error errorOf(const proto::Declined& declined, const std::string& peer);
proto::Declined declinedBy(const Error& error);

/// Writes a stream of exactly `total` words in frames of kStreamChunkWords.
class WordStreamWriter {
 public:
  WordStreamWriter(Channel& channel, std::uint64_t total);
  /// Errors: as Channel::sendWords; throws std::logic_error when more than `total` are written.
  Status write(std::span<const std::uint64_t> words);
  /// Bytes that `total` words take on the wire, with frame headers.
  static std::uint64_t wireBytes(std::uint64_t total);

 private:
  Channel& m_channel;
  std::uint64_t m_left;
  SecureVector<std::uint64_t> m_pending;
};

/// Reads what WordStreamWriter wrote, in pieces of the reader's choice.
class WordStreamReader {
 public:
  WordStreamReader(Channel& channel, std::uint64_t total);
  /// Errors: as Channel::receiveWords; Protocol when more than `total` words are asked for.
  Status read(std::span<std::uint64_t> words);
  /// Reads and forgets the rest.
  Status drain();
  std::uint64_t left() const { return m_left + (m_buffer.size() - m_used); }

 private:
  Status refill();
  Channel& m_channel;
  std::uint64_t m_left;  ///< words not yet received
  SecureVector<std::uint64_t> m_buffer;
  std::size_t m_used = 0;
};

}  // namespace pillarbox::net

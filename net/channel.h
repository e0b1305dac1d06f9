// Channel: ordered, framed messages between two parties, with the meter that every counter in the
// program comes from.
//
// A channel sits on a Transport (TLS, or memory in tests). A frame is a fixed 24-byte header,
// little-endian, and a payload:
//
//   bytes 0..3   magic "PBX1"
//   bytes 4..5   kind (FrameKind)
//   bytes 6..7   reserved, zero
//   bytes 8..11  depth (see below)
//   bytes 12..15 payload length in bytes, at most kMaxPayload
//   bytes 16..23 sequence number, 0 for a direction's first frame, then +1 each
//
// Kind, sequence number, length and depth are checked before any memory is taken; a frame that is
// not what the receiver waits for is an ErrorCode::Protocol error. Every error poisons the channel:
// once bytes may be missing in a direction nothing after them can be trusted, so later calls return
// the first error again. Only sendFailure still tries to get through.
//
// Rounds. Every frame carries its causal depth: one more than the greatest depth received before it
// was sent. Frames that do not depend on each other share a depth, however they are chunked, so
// half of the depth gained between two points is the number of round trips that a link's latency is
// multiplied with. This measures the program rather than repeating what it declares.
//
// A received depth must lie in [1, D + 1], where D is the greatest depth this side has sent: the
// other side can only have seen that. It must also not fall within a direction, because what its
// sender has received never shrinks. Both hold for every honest peer, whatever its threads do. A
// dishonest one can understate a depth and so flatter the count of rounds it took part in; it can
// not inflate it beyond the frames really exchanged.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/core/result.h"

namespace pillarbox::net {

enum class FrameKind : std::uint16_t {
  Control = 1,  ///< a Protocol Buffers message
  Words = 2,    ///< raw little-endian 64-bit words
  Bytes = 3,    ///< raw bytes (packed words, seeds, ciphertexts)
  Failure = 4,  ///< the sender gives up; payload: a Control message `Failure` (code, message)
};

constexpr std::size_t kFrameHeaderBytes = 24;
constexpr std::size_t kMaxPayload = std::size_t{1} << 30;
/// Longest payload of a Failure frame, and longest text of one that is shown.
constexpr std::size_t kMaxFailurePayload = 4096;
constexpr std::size_t kMaxFailureText = 512;

/// Bytes include headers, not TLS records; whole frames only. Times are seconds.
struct MeterReading {
  std::uint64_t bytesSent = 0;
  std::uint64_t bytesReceived = 0;
  std::uint64_t framesSent = 0;
  std::uint64_t framesReceived = 0;
  std::uint32_t depth = 0;   ///< greatest depth sent or received so far
  double waitedSeconds = 0;  ///< time spent in receive, waiting for bytes and taking them in
};

/// Round trips between two readings of one meter: half the depth gained, rounded up.
std::uint32_t roundsBetween(const MeterReading& before, const MeterReading& after);

/// What an honest peer sends at least, in bytes a second, once it sends.
constexpr std::size_t kSlowestPeer = 16 * 1024;

/// What a transport may take over from its writer, where it has a network below it.
struct SendLimits {
  /// Bytes that may wait in this program's memory before write() blocks.
  std::size_t queueBytes = std::size_t{64} << 20;
  /// Leaves the line to others: no more is handed to the system than the path holds, so that other
  /// traffic on it meets no queue of ours, and a hold takes effect within about a round trip.
  bool background = false;
};

/// A duplex byte stream. One thread may write while another reads.
class Transport {
 public:
  virtual ~Transport() = default;
  /// Queues or writes all of `header` then `payload`; both may be reused when it returns.
  virtual Status write(std::span<const std::byte> header, std::span<const std::byte> payload) = 0;
  /// Blocks until exactly `bytes.size()` bytes have arrived. Errors: Closed, Timeout, Cancelled,
  /// Io, Protocol (bytes that are no valid records).
  virtual Status read(std::span<std::byte> bytes) = 0;
  /// A read or write that makes no progress for this long fails with Timeout, and so does a read
  /// that as a whole takes longer than this plus one second for every kSlowestPeer bytes (a peer
  /// must not hold a session by dripping bytes). Zero: wait for ever.
  virtual void setTimeout(std::chrono::milliseconds timeout) = 0;
  /// Fails every current and later call with Cancelled. From any thread; idempotent.
  virtual void cancel() noexcept = 0;
  /// From any thread. A transport without a network ignores it, and the next.
  virtual void setSendLimits(const SendLimits&) {}
  /// For so long, nothing more leaves of what was and is written (zero: from now on it leaves
  /// again). write() goes on filling the queue, and loses no patience meanwhile. From any thread.
  virtual void hold(std::chrono::milliseconds) noexcept {}
  /// For messages and logs: "192.0.2.7:7120".
  virtual std::string peer() const = 0;
};

/// Every function may be called from any thread; sends are serialised, and so are receives.
class Channel {
 public:
  explicit Channel(std::unique_ptr<Transport> transport);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  /// Sends one frame; the payload may be reused when this returns. Errors: InvalidArgument if it is
  /// longer than kMaxPayload (nothing is sent, the channel stays good); as Transport::write. Where
  /// the other side had said why it hangs up, that becomes the error.
  Status send(FrameKind kind, std::span<const std::byte> payload);
  Status sendWords(std::span<const std::uint64_t> words);

  /// Receives one frame of `kind`, at most `maxBytes` long; memory grows with what has arrived, not
  /// with what the header claims. A Failure frame from the other side becomes its Error, prefixed
  /// by who said it, its text sanitised; two codes change on the way, because on this side they
  /// mean something about this side: Cancelled becomes Closed, Untrusted becomes Refused. Errors:
  /// as Transport::read, and Protocol.
  Result<std::vector<std::byte>> receive(FrameKind kind, std::size_t maxBytes);
  /// Receives one Words frame of exactly `words.size()` words into `words`.
  Status receiveWords(std::span<std::uint64_t> words);
  /// Receives one Bytes frame of exactly `bytes.size()` bytes into `bytes`.
  Status receiveBytes(std::span<std::byte> bytes);

  /// Tells the other side why this one gives up; ignores what goes wrong with that. Works on a
  /// poisoned channel (unless a send broke off) and poisons it. Takes at most two seconds.
  void sendFailure(const Error& error) noexcept;

  void setTimeout(std::chrono::milliseconds timeout);
  void setSendLimits(const SendLimits& limits);            ///< as of Transport
  void hold(std::chrono::milliseconds duration) noexcept;  ///< as of Transport
  void cancel() noexcept;
  MeterReading meter() const;  ///< from any thread
  std::string peer() const;

 private:
  struct State;
  std::unique_ptr<State> m_state;
};

}  // namespace pillarbox::net

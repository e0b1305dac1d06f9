// One byte stream over several connections, its stripes.
//
// A TCP connection that is fresh, or was idle for a while, sends about 14 KB in its first round
// trip and doubles that with each. Several connections begin with as many such windows, and a
// tensor that takes one connection six round trips takes four of them four. Nothing else about them
// is different: the stream's reader gets the bytes in the order in which they were written.
//
// The stream of a direction is cut by position, from widen() on: its first kPieceBytes travel over
// connection 0, the next over connection 1, and so on in turns. So which connection carries a byte
// is public and follows from how many went before. Nothing is added to the stream: a channel's
// meter and what is declared of it are the same for any number of stripes. There is no number or
// length that a peer could get wrong, and no parser. Within a connection TLS keeps the order;
// between them the reader takes the next piece from the connection whose turn it is and from no
// other. A peer that puts bytes on the wrong one thereby sends them at another place of the stream,
// where the check of a frame's header meets them, as it does on one connection.
//
// A frame that fits into what is left of a piece goes out on one connection, at once, whatever the
// others are doing. A packet that is lost holds up what comes after it in the stream, as it does
// on one connection; the other stripes go on meanwhile.
//
// Which connections belong together is decided by who calls widen() (net/messages.proto:
// AttachStripe). When one of them ends, the stream ends.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "net/channel.h"

namespace pillarbox::net {

class StripedTransport final : public Transport {
 public:
  /// More gain little: each doubling saves a round trip.
  static constexpr std::size_t kMaxStripes = 4;
  /// Five pieces are a fresh window. With its TLS record (22 bytes) one fills two segments of 1,428
  /// bytes, which Ethernet has room for under IPv4 and IPv6: a window counts segments, full or not.
  static constexpr std::size_t kPieceBytes = 2 * 1428 - 22;

  /// A stream over one connection: passes on what it gets.
  explicit StripedTransport(std::unique_ptr<Transport> first);
  /// Closes all of them at the same time.
  ~StripedTransport() override;

  /// From here on the stream is cut over the connection that it has and `further`, both directions.
  /// Once, between two frames, while nobody reads or writes; the other side does the same, between
  /// the same frames, with its ends in the same order. At most kMaxStripes together.
  void widen(std::vector<std::unique_ptr<Transport>> further);
  /// Connections that carry the stream.
  std::size_t stripes() const;

  /// Gives the only connection away, for another use; the stream is closed then. While nobody reads
  /// or writes.
  std::unique_ptr<Transport> release();

  Status write(std::span<const std::byte> header, std::span<const std::byte> payload) override;
  Status read(std::span<std::byte> bytes) override;
  void setTimeout(std::chrono::milliseconds timeout) override;
  /// The queue is for all stripes together.
  void setSendLimits(const SendLimits& limits) override;
  void hold(std::chrono::milliseconds duration) noexcept override;
  void cancel() noexcept override;
  std::string peer() const override { return m_peer; }

 private:
  /// Where a direction of the stream stands.
  struct Position {
    std::size_t stripe = 0;
    std::size_t left = kPieceBytes;  ///< of the piece
    void advance(std::size_t bytes, std::size_t stripes);
  };

  void applyLimits() const;  ///< with m_mutex held
  Status named(Status status, std::size_t stripe) const;

  const std::string m_peer;
  std::vector<std::unique_ptr<Transport>> m_stripes;  ///< changes with m_mutex held
  Position m_written, m_read;

  mutable std::mutex m_mutex;  ///< guards what follows, and who uses m_stripes from aside
  std::chrono::milliseconds m_timeout{0};
  SendLimits m_limits;
  bool m_cancelled = false;
};

}  // namespace pillarbox::net

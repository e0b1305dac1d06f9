// Relay: a link of a given delay and rate between real TCP sockets, without root.
//
// A client connects to the relay instead of to the service; every byte is handed on half a round
// trip after it arrived, and not before the bytes ahead of it have passed at the link's rate. The
// wire of a direction is shared by all connections through the relay, as a real one would be: four
// connections together get the rate of one. A full router queue is not dropped from, it makes the
// sender wait.
//
// What it leaves out: loss, and TCP's own behaviour over a long path. Each end talks to the relay
// over loopback, so acknowledgements come at once, and neither slow start nor the congestion window
// is felt. A measurement through the relay is therefore a link whose window is already open.
//
// How: a reading thread stamps what it reads with the time at which its last byte leaves the wire,
// a writing thread hands it on at that time; one of each for a direction of a connection.
// Bytes are taken in pieces that pass in about 0.2 ms, so that the rate is smooth at that scale.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "engine/core/result.h"
#include "net/memory.h"

namespace pillarbox::bench {

/// "lan" (0.25 ms, 1 Gbit/s), "wan" (100 ms, 100 Mbit/s), "none", or a round trip and a rate in any
/// order, each optional: "100ms,100Mbit", "250us,1Gbit", "20ms". Errors: InvalidArgument.
Result<net::LinkShape> parseLink(std::string_view text);

/// "100 ms, 100 Mbit/s", "no delay, 1 Gbit/s", "loopback".
std::string linkText(const net::LinkShape& link);

class Relay {
 public:
  static constexpr std::size_t kQueueBytes = std::size_t{8} << 20;

  /// Listens on a free port of 127.0.0.1 and forwards every connection to `port` there.
  /// @param queueBytes  what a direction holds beyond the bytes in flight, before senders wait
  /// Errors: Io.
  static Result<std::unique_ptr<Relay>> start(std::uint16_t port, const net::LinkShape& link,
                                              std::size_t queueBytes = kQueueBytes);
  /// Breaks all connections.
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  std::uint16_t port() const;

  /// Bytes handed on so far, TLS records and handshakes included, over all connections.
  struct Carried {
    std::uint64_t toService = 0;
    std::uint64_t toClient = 0;
  };
  Carried carried() const;

 private:
  struct State;
  explicit Relay(std::unique_ptr<State> state);
  std::unique_ptr<State> m_state;
};

}  // namespace pillarbox::bench

// How much a connection of low priority may have on its way. For net/ only.
//
// A sender that hands the system all it has fills every buffer on the path: the system's own, and
// the router's in front of the slowest link, which congestion control by loss (cubic) fills to the
// brim. What is sent next to it on the same link then waits behind megabytes. A connection that is
// to give way keeps what is outstanding (sent and not acknowledged, or not even sent) below what
// the path holds, rate times least round trip, with a bit more so that it notices when there is
// room for more. This is what BBR does inside the kernel, without pacing and for one connection.
//
// The rate is the greatest of the last acknowledgement rates, each taken over what a round trip
// takes at that time: over less, a burst of one of two connections looks like the whole path. A
// time in which the limit did not bind says little about the path and does not push out what was
// measured before.
//
// Source: Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 2016.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace pillarbox::net {

class FlightLimit {
 public:
  using Clock = std::chrono::steady_clock;

  /// What the system says of a TCP connection.
  struct Reading {
    std::uint64_t outstanding = 0;   ///< bytes that it has and the other side has not acknowledged
    std::uint64_t acknowledged = 0;  ///< bytes, since the beginning
    std::uint64_t segment = 0;       ///< bytes that travel in one packet
    Clock::duration roundTrip{};     ///< the least
    Clock::duration current{};       ///< as it is now, queues included
  };
  /// Nothing where the system does not tell.
  static std::optional<Reading> read(int descriptor);

  /// Nothing: more may be handed to the system. Else when to look again.
  std::optional<Clock::duration> mustWait(const Reading& reading, Clock::time_point now);

  /// Bytes that may be outstanding.
  std::uint64_t allowance(const Reading& reading) const;

 private:
  void measure(const Reading& reading, Clock::time_point now);
  double rate() const;  ///< bytes a second; 0: not known yet

  Clock::time_point m_since{};
  std::uint64_t m_acknowledged = 0;
  bool m_bound = false;  ///< the limit has held something up since then
  double m_newest = 0, m_before = 0;
  bool m_growing = true;  ///< the last sample was well above all before
  int m_samples = 0;
  Clock::duration m_pause{};
};

}  // namespace pillarbox::net

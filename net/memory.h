// A connection inside one process: two transports, back to back.
//
// For tests and measurements of two parties in one program. A link can be given a shape, in which
// case every byte arrives when it would over a wire of that delay and rate: half the round trip
// after it was sent, and not before the bytes ahead of it have passed. Both directions have the
// full rate. Times come from the monotonic clock, so a test can state a floor exactly and a ceiling
// with the scheduler's slack.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "net/channel.h"

namespace pillarbox::net {

struct LinkShape {
  double rttMs = 0;  ///< round trip time in milliseconds; each direction delays by half of it
  double mbit = 0;   ///< 10^6 bits a second in each direction; 0: no limit
};

struct MemoryLink {
  LinkShape shape = {};
  /// Bytes that may be under way in a direction before write blocks; 0: no limit.
  std::size_t capacityBytes = 0;
};

/// Two ends of one connection; both are thread-safe. Destroying an end closes it: the other reads
/// what was sent and then gets Closed. peer() is "memory".
std::pair<std::unique_ptr<Transport>, std::unique_ptr<Transport>> makeMemoryPair(
    const MemoryLink& link = {});

}  // namespace pillarbox::net

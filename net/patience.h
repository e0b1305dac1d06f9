// How long a blocking call waits for the other side. For net/ only.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>

#include "net/channel.h"

namespace pillarbox::net {

/// Ends after `timeout` without progress, and at the latest `timeout` plus what `bytes` take at
/// kSlowestPeer after the call began. A timeout of zero never ends.
class Patience {
 public:
  using Clock = std::chrono::steady_clock;

  Patience(std::chrono::milliseconds timeout, std::size_t bytes)
      : m_timeout(timeout),
        m_idle(Clock::now() + timeout),
        m_end(m_idle + std::chrono::milliseconds(bytes * 1000 / kSlowestPeer)) {}

  /// Time that does not count.
  void extend(Clock::duration time) { m_idle += time, m_end += time; }
  void progress() { m_idle = Clock::now() + m_timeout; }
  std::optional<Clock::time_point> deadline() const {
    if (m_timeout.count() <= 0) return std::nullopt;
    return std::min(m_idle, m_end);
  }

 private:
  std::chrono::milliseconds m_timeout;
  Clock::time_point m_idle, m_end;
};

}  // namespace pillarbox::net

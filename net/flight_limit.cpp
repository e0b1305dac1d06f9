#include "net/flight_limit.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

namespace pillarbox::net {
namespace {

/// Of rate times round trip. What is above 1 waits in a queue on the path: a quarter of a round
/// trip.
constexpr double kGain = 1.25;
/// While the rate still grows, by more than what a record more or less makes of a sample.
constexpr double kGrowth = 2;
constexpr double kGrown = 1.15;
/// Whatever the path: less would not even keep acknowledgements coming.
constexpr std::uint64_t kLeastBytes = 64 * 1024;
constexpr std::uint64_t kLeastSegments = 8;
/// Of a sample of the rate, at least.
constexpr std::chrono::milliseconds kLeastInterval{10};
/// Samples after which half of the memory is renewed. Each takes as long as the round trip is then,
/// with a queue where the path has become slower, so there must not be many.
constexpr int kSamples = 4;
constexpr std::chrono::microseconds kLeastPause{100};
constexpr std::chrono::milliseconds kGreatestPause{8};

double seconds(FlightLimit::Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

std::optional<FlightLimit::Reading> FlightLimit::read(int descriptor) {
  tcp_info info{};
  socklen_t size = sizeof info;
  int outstanding = 0;
  if (::getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
      ::ioctl(descriptor, SIOCOUTQ, &outstanding) != 0 || info.tcpi_min_rtt == 0) {
    return std::nullopt;  // fields that an old kernel does not know stay 0
  }
  Reading reading;
  reading.outstanding = static_cast<std::uint64_t>(std::max(outstanding, 0));
  reading.acknowledged = info.tcpi_bytes_acked;
  reading.segment = info.tcpi_snd_mss;
  reading.roundTrip = std::chrono::microseconds(std::min(info.tcpi_min_rtt, info.tcpi_rtt));
  reading.current = std::chrono::microseconds(info.tcpi_rtt);
  return reading;
}

double FlightLimit::rate() const {
  return std::max(m_newest, m_before);
}

void FlightLimit::measure(const Reading& reading, Clock::time_point now) {
  const Clock::duration interval = std::max<Clock::duration>(reading.current, kLeastInterval);
  const Clock::duration elapsed = now - m_since;
  if (elapsed < interval) return;
  // Nobody has asked for long: nothing was to be sent then, or it was not allowed to leave.
  if (elapsed < 4 * interval) {
    const double sample =
        static_cast<double>(reading.acknowledged - m_acknowledged) / seconds(elapsed);
    m_growing = sample > kGrown * rate();
    m_newest = std::max(m_newest, sample);
    if (m_bound && ++m_samples >= kSamples) {
      m_before = std::exchange(m_newest, 0);
      m_samples = 0;
    }
  }
  m_since = now;
  m_acknowledged = reading.acknowledged;
  m_bound = false;
}

std::uint64_t FlightLimit::allowance(const Reading& reading) const {
  const double path = rate() * seconds(reading.roundTrip);
  return std::max({kLeastBytes, kLeastSegments * reading.segment,
                   static_cast<std::uint64_t>((m_growing ? kGrowth : kGain) * path)});
}

std::optional<FlightLimit::Clock::duration> FlightLimit::mustWait(const Reading& reading,
                                                                  Clock::time_point now) {
  measure(reading, now);
  const std::uint64_t allowed = allowance(reading);
  if (reading.outstanding < allowed) {
    m_pause = {};
    return std::nullopt;
  }
  m_bound = true;
  // A sixteenth of it should have left by then; where the other side has stopped, ever longer.
  const double drained = rate() > 0 ? static_cast<double>(allowed) / 16 / rate() : 0;
  const auto first = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(std::min(drained, seconds(kGreatestPause))));
  m_pause = std::clamp<Clock::duration>(std::max(first, 2 * m_pause), kLeastPause, kGreatestPause);
  return m_pause;
}

}  // namespace pillarbox::net

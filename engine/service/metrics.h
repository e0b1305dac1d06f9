// What an engine counts while it runs, and its text form for Prometheus.
//
// The counters of rounds, bytes and waiting time are differences of the channels' meters, so that
// they agree with the log and with what the app shows. Nothing in here depends on an image, on
// weights or on who connects: the counters tell how much was done and how long it took.
//
// Source of the format: Prometheus text exposition format 0.0.4.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "engine/core/result.h"
#include "net/channel.h"

namespace pillarbox::service {

/// Upper bounds of the latency histograms, seconds; the last bucket is open.
constexpr std::array<double, 14> kLatencyBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                   0.25,  0.5,    1,     2.5,  5,     10,   30};

/// What a GPU has done, and what the processor did in its place.
struct DeviceReading {
  struct Phase {
    double seconds = 0;
    std::uint64_t failures = 0, declined = 0;
  };
  bool usable = false;
  std::int64_t seats = 0;  ///< inferences that compute there now
  std::uint64_t inferencesOnProcessor = 0, inferencesOnDevice = 0;
  Phase inference, preparation;
};

/// Thread-safe. One an engine.
class Metrics {
 public:
  enum class Phase : std::size_t {
    Preparation,  ///< a correlation set, from the request to the set in the bank
    Online,       ///< an inference, from its request to the last word sent
    Waiting,      ///< the part of Online spent waiting for the client's words
    Computing,    ///< the rest of it
  };

  /// Counts a session's traffic since its last reading as that of an inference, or as other.
  void countTraffic(bool online, const net::MeterReading& before, const net::MeterReading& after);
  void countInference(std::uint32_t rounds, double seconds, double waitedSeconds);
  void countPreparation(double seconds);
  /// @param where  "session", "inference", "handshake", "request"
  void countFailure(const char* where, ErrorCode code);
  void sessionStarted();
  void sessionEnded();
  /// A set came into a bank (+1) or left it (-1), with what its tensors take.
  void bankChanged(std::int64_t sets, std::int64_t bytes);

  /// The exposition, complete.
  std::string text(const DeviceReading& device) const;

 private:
  struct Histogram {
    std::array<std::uint64_t, kLatencyBounds.size() + 1> counts{};
    double sum = 0;
    void add(double seconds);
  };
  struct Traffic {
    std::uint64_t sent = 0, received = 0;
  };

  mutable std::mutex m_mutex;
  std::array<Histogram, 4> m_latency;
  std::array<Traffic, 2> m_traffic;  ///< other, online
  std::uint64_t m_inferences = 0, m_rounds = 0, m_setsPrepared = 0, m_sessionsStarted = 0;
  std::int64_t m_sessions = 0, m_bankSets = 0, m_bankBytes = 0;
  std::map<std::pair<std::string, std::string>, std::uint64_t> m_failures;
};

}  // namespace pillarbox::service

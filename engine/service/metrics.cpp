#include "engine/service/metrics.h"

#include <algorithm>
#include <cstdio>

namespace pillarbox::service {
namespace {

constexpr std::array<const char*, 4> kPhaseNames = {"preparation", "online", "online_waiting",
                                                    "online_computing"};

std::string number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.9g", value);
  return text.data();
}

void family(std::string& out, const char* name, const char* type, const char* help) {
  out += std::string("# HELP ") + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
}

template <typename Value>
void sample(std::string& out, const std::string& series, Value value) {
  out += series + " " + std::to_string(value) + "\n";
}

template <typename Value>
void single(std::string& out, const char* name, const char* type, const char* help, Value value) {
  family(out, name, type, help);
  sample(out, name, value);
}

}  // namespace

void Metrics::Histogram::add(double seconds) {
  const auto bucket = std::lower_bound(kLatencyBounds.begin(), kLatencyBounds.end(), seconds);
  ++counts[static_cast<std::size_t>(bucket - kLatencyBounds.begin())];
  sum += seconds;
}

void Metrics::countTraffic(bool online, const net::MeterReading& before,
                           const net::MeterReading& after) {
  const std::lock_guard lock(m_mutex);
  Traffic& traffic = m_traffic[online ? 1 : 0];
  traffic.sent += after.bytesSent - before.bytesSent;
  traffic.received += after.bytesReceived - before.bytesReceived;
}

void Metrics::countInference(std::uint32_t rounds, double seconds, double waitedSeconds) {
  const std::lock_guard lock(m_mutex);
  ++m_inferences;
  m_rounds += rounds;
  const auto add = [this](Phase phase, double value) {
    m_latency[static_cast<std::size_t>(phase)].add(value);
  };
  add(Phase::Online, seconds);
  add(Phase::Waiting, waitedSeconds);
  add(Phase::Computing, std::max(0.0, seconds - waitedSeconds));
}

void Metrics::countPreparation(double seconds) {
  const std::lock_guard lock(m_mutex);
  ++m_setsPrepared;
  m_latency[static_cast<std::size_t>(Phase::Preparation)].add(seconds);
}

void Metrics::countFailure(const char* where, ErrorCode code) {
  const std::lock_guard lock(m_mutex);
  ++m_failures[{where, toString(code)}];
}

void Metrics::sessionStarted() {
  const std::lock_guard lock(m_mutex);
  ++m_sessionsStarted;
  ++m_sessions;
}

void Metrics::sessionEnded() {
  const std::lock_guard lock(m_mutex);
  --m_sessions;
}

void Metrics::bankChanged(std::int64_t sets, std::int64_t bytes) {
  const std::lock_guard lock(m_mutex);
  m_bankSets += sets;
  m_bankBytes += bytes;
}

std::string Metrics::text(const DeviceReading& device) const {
  const std::lock_guard lock(m_mutex);
  std::string out;
  single(out, "pillarbox_inferences_total", "counter", "Inferences completed.", m_inferences);
  single(out, "pillarbox_rounds_total", "counter", "Round trips of these inferences, as metered.",
         m_rounds);
  single(out, "pillarbox_sets_prepared_total", "counter", "Correlation sets prepared.",
         m_setsPrepared);

  family(out, "pillarbox_bytes_total", "counter",
         "Bytes of frames, as metered by the channels: of inferences (online) and of all else.");
  for (const bool online : {true, false}) {
    const std::string labels =
        std::string("pillarbox_bytes_total{phase=\"") + (online ? "online" : "other");
    sample(out, labels + "\",direction=\"sent\"}", m_traffic[online ? 1 : 0].sent);
    sample(out, labels + "\",direction=\"received\"}", m_traffic[online ? 1 : 0].received);
  }

  family(out, "pillarbox_phase_seconds", "histogram", "Latency by phase.");
  for (std::size_t p = 0; p < m_latency.size(); ++p) {
    const Histogram& histogram = m_latency[p];
    const std::string phase = std::string("phase=\"") + kPhaseNames[p] + "\"";
    std::uint64_t count = 0;
    for (std::size_t b = 0; b <= kLatencyBounds.size(); ++b) {
      count += histogram.counts[b];
      const std::string bound = b < kLatencyBounds.size() ? number(kLatencyBounds[b]) : "+Inf";
      sample(out, "pillarbox_phase_seconds_bucket{" + phase + ",le=\"" + bound + "\"}", count);
    }
    out += "pillarbox_phase_seconds_sum{" + phase + "} " + number(histogram.sum) + "\n";
    sample(out, "pillarbox_phase_seconds_count{" + phase + "}", count);
  }

  single(out, "pillarbox_correlation_sets", "gauge", "Correlation sets ready, of all sessions.",
         m_bankSets);
  single(out, "pillarbox_correlation_bytes", "gauge", "Memory that these sets take.", m_bankBytes);
  single(out, "pillarbox_sessions", "gauge", "Clients connected.", m_sessions);
  single(out, "pillarbox_sessions_total", "counter", "Sessions begun.", m_sessionsStarted);

  family(out, "pillarbox_device_inferences_total", "counter",
         "Inferences completed, by what computed the engine's side.");
  sample(out, "pillarbox_device_inferences_total{device=\"cpu\"}", device.inferencesOnProcessor);
  sample(out, "pillarbox_device_inferences_total{device=\"cuda\"}", device.inferencesOnDevice);
  single(out, "pillarbox_gpu_usable", "gauge", "1 while a GPU is there and used.",
         device.usable ? 1 : 0);
  single(out, "pillarbox_gpu_seats", "gauge", "Inferences that compute on the GPU now.",
         device.seats);
  const auto byPhase = [&](const char* name, const auto& value) {
    const std::string series = std::string(name) + "{phase=\"";
    out += series + "inference\"} " + number(value(device.inference)) + "\n";
    out += series + "preparation\"} " + number(value(device.preparation)) + "\n";
  };
  family(out, "pillarbox_gpu_seconds_total", "counter",
         "Seconds of work on the GPU, between events of its own clock: of inferences, each stage "
         "from its first kernel to its last, without copies; of the preparation, each batch of "
         "linear layers with its copies. Streams at the same time count each.");
  byPhase("pillarbox_gpu_seconds_total", [](const auto& phase) { return phase.seconds; });
  family(out, "pillarbox_gpu_declined_total", "counter",
         "Inferences, and passes of the preparation, that the processor computed as the GPU could "
         "not begin them.");
  byPhase("pillarbox_gpu_declined_total",
          [](const auto& phase) { return static_cast<double>(phase.declined); });
  family(out, "pillarbox_gpu_failures_total", "counter",
         "Inferences, and passes of the preparation, in the middle of which the GPU failed.");
  byPhase("pillarbox_gpu_failures_total",
          [](const auto& phase) { return static_cast<double>(phase.failures); });

  family(out, "pillarbox_failures_total", "counter",
         "Failures by place (handshake, session, request, inference) and error code.");
  for (const auto& [key, count] : m_failures) {
    sample(out, "pillarbox_failures_total{where=\"" + key.first + "\",code=\"" + key.second + "\"}",
           count);
  }
  return out;
}

}  // namespace pillarbox::service

// `pillarbox-bench throughput`: how many inferences a second one engine serves to clients that ask
// at the same time, beside what the kernels alone allow.
//
// Every client has a connection of its own, TLS over loopback, and asks again as soon as it has its
// answer; the engine has a thread for each. Correlation sets are dealt beforehand, outside the
// time. Both parties run here and share the cores, so what the kernels alone allow is measured with
// the arithmetic of both: the same code of engine and client (masks, packing to seven bytes,
// kernels, polynomials), on as many threads, over a channel that takes everything and answers at
// once with what the other party sent in an inference before. What is missing there is what the
// network costs: sockets, TLS, waiting, waking up. The two are measured alternately, so that
// whatever else the machine does hits both.
#pragma once

#include <nlohmann/json.hpp>

#include "engine/core/result.h"
#include "engine/device/device.h"
#include "models/loaded_model.h"

namespace pillarbox::bench {

struct ThroughputOptions {
  int clients = 8;
  int each = 2;              ///< inferences of a client, one after the other, in one measurement
  int repeat = 5;            ///< measurements of either kind, after one that is not counted
  unsigned threads = 0;      ///< that may compute one inference together; 0: one a core
  device::DevicePtr device;  ///< computes the engine's side; null: the processor
};

/// Result: {"network", "clients", "cores", "rounds", "bytes_to_engine", "bytes_to_client",
/// "inferences_per_second", "kernels_per_second", "ratio", "processor_seconds", ...}. `ratio` is
/// the median of the ratios of neighbouring measurements; "processor_ratio" compares the processor
/// time of an inference, which other programs disturb less. Rounds and bytes are of one inference,
/// as metered; an error if they are not what the plan declares. With a device {"device": {"name",
/// "busy"}}: seconds of all streams of it in a second.
Result<nlohmann::json> measureThroughput(const models::LoadedModel& loaded,
                                         const ThroughputOptions& options);

/// Results of several as a table.
std::string throughputTable(const nlohmann::json& results);

/// Inferences a second of both kinds as bars.
std::string throughputPlot(const nlohmann::json& results);

}  // namespace pillarbox::bench

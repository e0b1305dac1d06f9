// `pillarbox-bench offline`: correlation sets made by the two parties themselves, both in this
// process, over real TLS sockets and a link of a given shape.
#pragma once

#include <nlohmann/json.hpp>

#include "engine/core/result.h"
#include "engine/device/device.h"
#include "engine/offline/correlation_set.h"
#include "models/loaded_model.h"
#include "net/memory.h"

namespace pillarbox::bench {

struct OfflineOptions {
  net::LinkShape link;
  offline::Protocol protocol = offline::Protocol::HoneyBadger;  ///< that the sets are for
  int repeat = 3;            ///< measured sets, one after the other
  unsigned threads = 1;      ///< of each party
  bool check = false;        ///< run an inference on the last set and compare its logits
  device::DevicePtr device;  ///< computes the engine's linear layers; null: the processor
};

/// Result: {"network", "protocol", "link", "threads", "rounds", "keys", "linear", "powers",
/// "seconds", "processor_seconds", "peak_memory_bytes", "floor", "ratio", ...}. Bytes and rounds
/// are what the channel's meter shows; an error if they are not what the plan declares. Seconds are
/// of one set; keys, which go over once a session, have their own. The floor is the larger of what
/// the link takes and of what this machine's cores take for the computation, shared out perfectly.
/// With a device {"device": {"name", "seconds", "declined"}}: its work for a set by its own clock,
/// and the passes that it had no memory for.
Result<nlohmann::json> measureOffline(const models::LoadedModel& loaded,
                                      const OfflineOptions& options);

/// Results of several as a table.
std::string offlineTable(const nlohmann::json& results);

/// Measured time and floors as bars.
std::string offlinePlot(const nlohmann::json& results);

}  // namespace pillarbox::bench

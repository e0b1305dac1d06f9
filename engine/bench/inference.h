// `pillarbox-bench inference`: whole inferences between two parties in this process, over real TLS
// sockets and a link of a given shape.
#pragma once

#include <nlohmann/json.hpp>

#include "engine/core/result.h"
#include "engine/device/device.h"
#include "engine/offline/correlation_set.h"
#include "models/loaded_model.h"
#include "net/memory.h"

namespace pillarbox::bench {

struct InferenceOptions {
  net::LinkShape link;
  offline::Mode mode = offline::Mode::Dealer;  ///< Dealer or FirstParty
  offline::Protocol protocol = offline::Protocol::HoneyBadger;
  int repeat = 5;            ///< measured inferences, after one that is not
  int batch = 1;             ///< at the same time, each on a connection of its own
  bool check = false;        ///< compare the logits with the plaintext network's
  unsigned threads = 0;      ///< that may compute the engine's side together; 0: one a core
  device::DevicePtr device;  ///< computes the engine's side; null: the processor
};

/// Result: {"network", "protocol", "link", "batch", "rounds", "bytes", "seconds", "floor", "ratio",
/// "offline", "kernels", ...}. `seconds` are of a batch, from the first word of the first to the
/// last logit of the last. Bytes and rounds are what the channel's meter shows, of one inference;
/// an error if they are not what the model's plan declares. With a device {"device": {"name",
/// "computing", "copying", "copied_bytes"}}, seconds by its clock (DeviceTimes).
/// Errors: Unsupported for a device with another protocol than HoneyBadger.
Result<nlohmann::json> measureInference(const models::LoadedModel& loaded,
                                        const InferenceOptions& options);

/// Results of several as a table.
std::string inferenceTable(const nlohmann::json& results);

/// Measured time and floors as bars.
std::string inferencePlot(const nlohmann::json& results);

}  // namespace pillarbox::bench

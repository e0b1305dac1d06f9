// `pillarbox-bench activation`: one activation layer, every protocol, over links of different delay
// (figure 2 of the PILLAR paper).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/core/result.h"

namespace pillarbox::bench {

struct ActivationOptions {
  std::vector<double> rttMs = {0.25, 1, 5, 10, 25, 50, 100};
  double mbit = 0;  ///< of the link; 0: no limit
  std::size_t values = std::size_t{1} << 15;
  int repeat = 5;  ///< layers one after the other, in which time is taken
};

/// Layers follow each other as in an inference: the client sends its masked input, the engine its
/// share's part, and so on until the client has its share of the result, from which the next
/// layer's input follows. The polynomial is the paper's of degree 4. Dealing is not in the time.
/// Result: {"protocols": [costs, errors], "links": [{"rtt_ms", "protocols": [seconds, floor]}]}.
/// Errors: those of sockets; Internal if rounds or bytes are not as declared, or a value is wrong.
Result<nlohmann::json> measureActivation(const ActivationOptions& options);

std::string activationTable(const nlohmann::json& result);
std::string activationPlot(const nlohmann::json& result);

}  // namespace pillarbox::bench

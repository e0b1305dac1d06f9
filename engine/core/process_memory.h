// How much memory this process has taken.
#pragma once

#include <cstdint>

namespace pillarbox {

/// The most that was ever resident since the program started, in bytes; 0 where the system does not
/// say.
std::uint64_t peakMemoryBytes();

}  // namespace pillarbox

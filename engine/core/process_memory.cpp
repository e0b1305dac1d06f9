#include "engine/core/process_memory.h"

#include <fstream>
#include <string>

namespace pillarbox {

std::uint64_t peakMemoryBytes() {
  // getrusage() would do, but its peak is inherited from the program that started this one.
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) * 1024;
  }
  return 0;
}

}  // namespace pillarbox

// `pillarbox-bench kernels`: how fast this machine does what an inference is made of.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/device/device.h"
#include "engine/kernels/linear.h"

namespace pillarbox::bench {

struct KernelOptions {
  std::vector<std::string> networks;     ///< names; empty: all
  std::vector<kernels::Method> methods;  ///< empty: all that are available
  double seconds = 0.05;                 ///< spent on each measurement, at least one run
  device::DevicePtr device;              ///< its kernels too; null: the processor's only
};

/// Measures on one thread, in processor time of that thread (so that other load on the machine
/// disturbs little), the fastest of several runs, uniform inputs, uniform 13-bit weights, weights
/// packed beforehand. A device is measured by its own clock, all of it, and its outputs are
/// compared with the processor's. Result: {"linear": [...], "networks": [...], "elementwise":
/// [...]}, and with a device {"device": {"name", "peaks"}} and a part "device" of every layer and
/// network. Throws device::DeviceError, and std::runtime_error where a device computes something
/// else.
nlohmann::json measureKernels(const KernelOptions& options);

/// The same as a table.
std::string kernelTable(const nlohmann::json& result);

/// Multiply-adds a second, by network and method.
std::string kernelPlot(const nlohmann::json& result);

}  // namespace pillarbox::bench

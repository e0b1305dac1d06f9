// Whether a device computes what the processor computes, found out before it serves anybody.
//
// A GPU, a driver or a compiler may be at fault in ways that no error code reports. A wrong word in
// a message is not only a wrong class: the engine's masks no longer fit it. So a device is asked,
// once at the start, for the engine's messages of an inference on random words, and they are
// compared with the processor's.
#pragma once

#include "engine/core/result.h"
#include "engine/device/device.h"

namespace pillarbox::inference {

/// Runs a small network on both: every kind of op, tensor cores and words, shortcuts, both forms of
/// masks. Milliseconds on a GPU.
/// Errors: Unsupported where the device fails or gives other words; Internal (no randomness).
Status checkDevice(const device::DevicePtr& device);

}  // namespace pillarbox::inference

// What a device does a second, for `pillarbox-bench kernels --device cuda`: its linear kernels, and
// the ceilings that they are compared with.
#pragma once

#include <cstdint>
#include <span>

#include <nlohmann/json.hpp>

#include "engine/device/device.h"
#include "models/description.h"

namespace pillarbox::bench {

/// Sizes of the measurements of ceilings; the default fills any GPU of today.
struct PeakSizes {
  std::uint32_t blocksOfProcessor = 16;
  std::uint32_t rounds = 4096;
  std::uint64_t words = std::uint64_t{1} << 27;  ///< of a copy, both halves together: 1 GiB
};

/// Ceilings, each the fastest of several launches by the device's clock:
/// {"tile_gmacs": what the tensor cores' products of bytes allow, 15 of them a multiply-add,
///  "word_gmacs": multiply-adds of 64-bit words with weights, from registers,
///  "copy_gigabytes": bytes read and written a second}. Throws device::DeviceError.
nlohmann::json measureDevicePeaks(const device::DevicePtr& device, const PeakSizes& sizes = {});

/// Seconds of one layer by each of the device's methods that can do it, {"tiles", "words", "rows"},
/// the pass over the input that tiles need included, and "method", the one that inferences use.
/// Input and weights stay on the device, as in an inference.
/// @param expected  the processor's output for this input and these weights
/// Throws device::DeviceError, and std::runtime_error where the device gives another output.
nlohmann::json measureDeviceLayer(const device::DevicePtr& device, const models::LinearOp& op,
                                  std::span<const std::int32_t> weights,
                                  std::span<const std::uint64_t> in,
                                  std::span<const std::uint64_t> expected, double seconds);

}  // namespace pillarbox::bench

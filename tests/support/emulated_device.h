// A device without a GPU: fills engine/device/table.h with functions that run the kernels in
// emulation (cuda_emulator.h).
//
// Nothing is done when it is asked for. Work runs when the host waits for it, and then only what it
// depends on, in an order drawn anew that keeps to streams and events and to nothing else. So a
// missing event, a host buffer that is reused before its copy, and two streams that share memory
// show as wrong results. Copies outside an allocation, captures that depend on work outside them
// and forks that never join throw, as the real ones fail.
#pragma once

#include <cstddef>

#include "engine/device/device.h"

namespace pillarbox::testing {

/// Opens it. Any thread may use it; one at a time works.
device::DevicePtr emulatedDevice();

/// For tests that run on either: emulated() is false where the environment has PILLARBOX_TEST_GPU,
/// and deviceUnderTest() is then the GPU by the plugin of this build; null, with the reason on
/// stdout, where there is none.
bool emulated();
device::DevicePtr deviceUnderTest();

/// Allocations that were not given back, of both kinds.
std::size_t liveAllocations();

/// The n-th allocation from now on fails, as on a device whose memory is full; 0: none.
void failAllocation(std::size_t n);
/// The n-th copy to the device from now on fails; the n-th launch of a graph; 0: none.
void failCopy(std::size_t n);
void failGraph(std::size_t n);

}  // namespace pillarbox::testing

// The table of ring kernels, made of the launchers: by the plugin on CUDA's streams, by tests on
// emulated ones. `guarded` is that of the including side.
#pragma once

#include "engine/kernels/cuda/elementwise.cuh"

namespace pillarbox::kernels::cuda {

/// A launcher as a function of the table.
template <auto kLauncher, typename Arguments>
device::Sentence guardedLaunch(device::Stream stream, const Arguments& arguments) {
  return device::guarded([&] { kLauncher(stream, arguments); });
}

inline constexpr RingTable kLaunchers = {
    .arrive = guardedLaunch<arrive, ArriveArguments>,
    .finish = guardedLaunch<finish, FinishArguments>,
    .pack = guardedLaunch<pack, PackArguments>,
    .pool = guardedLaunch<pool, PoolArguments>,
    .combine = guardedLaunch<combine, CombineArguments>,
};

}  // namespace pillarbox::kernels::cuda

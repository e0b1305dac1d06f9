// The table of encryption's kernels, made of the launchers: by the plugin on CUDA's streams, by
// tests on emulated ones. `guarded` is that of the including side.
#pragma once

#include "engine/he/cuda/kernels.cuh"

namespace pillarbox::he::cuda {

/// A launcher as a function of the table.
template <auto kLauncher>
struct Guarded;
template <typename... Arguments, void (*kLauncher)(device::Stream, Arguments...)>
struct Guarded<kLauncher> {
  static device::Sentence call(device::Stream stream, Arguments... arguments) {
    return device::guarded([&] { kLauncher(stream, arguments...); });
  }
};

inline constexpr HeTable kLaunchers = {
    .forward = Guarded<forward>::call,
    .inverse = Guarded<inverse>::call,
    .add = Guarded<add>::call,
    .multiply = Guarded<multiply>::call,
    .scale = Guarded<scale>::call,
    .butterfly = Guarded<butterfly>::call,
    .dotPair = Guarded<dotPair>::call,
    .lift = Guarded<lift>::call,
    .permuteAdd = Guarded<permuteAdd>::call,
    .change = Guarded<change>::call,
    .gather = Guarded<gather>::call,
    .encode = Guarded<encode>::call,
    .factors = Guarded<factors>::call,
    .keys = Guarded<keys>::call,
    .words = Guarded<words>::call,
    .ternary = Guarded<ternary>::call,
    .error = Guarded<error>::call,
    .flooding = Guarded<flooding>::call,
    .uniform = Guarded<uniform>::call,
};

}  // namespace pillarbox::he::cuda

// The table of ring kernels, made of the launchers: by the plugin on CUDA's streams, by tests on
// emulated ones. `guarded` is that of the including side.
#pragma once

#include "engine/kernels/cuda/elementwise.cuh"
#include "engine/kernels/cuda/linear.cuh"
#include "engine/kernels/cuda/peak.cuh"
#include "engine/kernels/cuda/polynomial.cuh"

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
    .spread = guardedLaunch<spread, ConvolutionArguments>,
    .convolveTiles = guardedLaunch<convolveTiles, ConvolutionArguments>,
    .convolveWords = guardedLaunch<convolveWords, ConvolutionArguments>,
    .multiplyVector = guardedLaunch<multiplyVector, VectorArguments>,
    .polynomial = guardedLaunch<polynomial, PolynomialArguments>,
    .peakTiles = guardedLaunch<peakTiles, PeakArguments>,
    .peakWords = guardedLaunch<peakWords, PeakArguments>,
    .peakCopy = guardedLaunch<peakCopy, PeakArguments>,
};

}  // namespace pillarbox::kernels::cuda

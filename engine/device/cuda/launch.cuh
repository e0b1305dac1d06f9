// How a kernel is launched. Kernels and their launchers are written once, in .cuh files that nvcc
// compiles for the device, and a C++ compiler for tests/support/cuda_emulator.h, which has its own
// launch().
#pragma once

#include <cstdint>

#include "engine/device/cuda/runtime.h"

namespace pillarbox::device {

/// @param grid, threads  blocks, and threads of one
template <typename... Parameters, typename... Arguments>
void launch(Stream stream, void (*kernel)(Parameters...), dim3 grid, std::uint32_t threads,
            const Arguments&... arguments) {
  kernel<<<grid, threads, 0, cudaOf(stream)>>>(arguments...);
  checkCuda(cudaGetLastError(), "a launch");
}

}  // namespace pillarbox::device

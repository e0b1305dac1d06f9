#include "engine/kernels/cuda/ring_table.cuh"

namespace pillarbox::kernels::cuda {

const RingTable kRingTable = kLaunchers;

namespace {

void load(const void* kernel) {
  cudaFuncAttributes attributes{};
  device::checkCuda(cudaFuncGetAttributes(&attributes, kernel), "loading its code");
}

}  // namespace

void loadKernels() {
  for (const void* const kernel :
       {reinterpret_cast<const void*>(&arriveKernel), reinterpret_cast<const void*>(&packKernel),
        reinterpret_cast<const void*>(&finishKernel), reinterpret_cast<const void*>(&poolKernel),
        reinterpret_cast<const void*>(&combineKernel), reinterpret_cast<const void*>(&spreadKernel),
        reinterpret_cast<const void*>(&tileKernel), reinterpret_cast<const void*>(&wordKernel),
        reinterpret_cast<const void*>(&rowKernel),
        reinterpret_cast<const void*>(&polynomialKernel)}) {
    load(kernel);
  }
}

}  // namespace pillarbox::kernels::cuda

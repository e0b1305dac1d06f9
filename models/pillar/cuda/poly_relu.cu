#include <stdexcept>
#include <string>

#include "models/pillar/cuda/poly_relu.cuh"

namespace pillarbox::pillar::cuda {

namespace {

struct OnStream {
  cudaStream_t stream;

  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), dim3 grid, const Arguments&... arguments) const {
    kernel<<<grid, kThreads, 0, stream>>>(arguments...);
    const cudaError_t code = cudaGetLastError();
    if (code == cudaSuccess) return;
    throw std::runtime_error(std::string("the GPU failed in an activation: ") +
                             cudaGetErrorString(code));
  }
};

}  // namespace

std::uint32_t blocksOf(std::uint64_t count, Element element) {
  return blocksFor(count, element);
}

void forward(Stream stream, const ForwardArguments& arguments) {
  launchForward(OnStream{stream}, arguments);
}

void backward(Stream stream, const BackwardArguments& arguments) {
  launchBackward(OnStream{stream}, arguments);
}

void sumPowers(Stream stream, const PowerArguments& arguments) {
  launchPowers(OnStream{stream}, arguments);
}

}  // namespace pillarbox::pillar::cuda

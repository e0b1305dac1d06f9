// Inside the plugin: CUDA's error codes as exceptions, and exceptions as sentences at the boundary.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "engine/device/table.h"

namespace pillarbox::device {

class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws CudaError with CUDA's own words where a call failed.
inline void checkCuda(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  throw CudaError(std::string("the GPU failed (") + what + "): " + cudaGetErrorString(code));
}

inline cudaStream_t cudaOf(Stream stream) {
  return reinterpret_cast<cudaStream_t>(stream);
}

/// The calling thread's sentence.
std::string& lastSentence();
/// Makes the device that open() found the calling thread's.
void useDevice();

/// Runs `body`; what it throws becomes the sentence to return.
template <typename Body>
Sentence guarded(const Body& body) noexcept {
  try {
    useDevice();
    body();
    return nullptr;
  } catch (const std::exception& exception) {
    try {
      lastSentence() = exception.what();
      return lastSentence().c_str();
    } catch (...) {
    }
  } catch (...) {
  }
  return "the GPU failed, and the memory to say why is missing";
}

}  // namespace pillarbox::device

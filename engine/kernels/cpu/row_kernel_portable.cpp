#include <cstring>

#include "engine/kernels/cpu/row_kernel.h"

namespace pillarbox::kernels::cpu {

void rowKernelPortable(const std::uint64_t* base, const std::uint32_t* offsets,
                       const std::uint64_t* weights, std::size_t taps,
                       std::uint64_t (*acc)[kRowBlock]) {
  std::memset(acc, 0, kChannelBlock * sizeof *acc);
  for (std::size_t t = 0; t < taps; ++t) {
    const std::uint64_t* x = base + offsets[t];
    for (std::size_t c = 0; c < kChannelBlock; ++c) {
      const std::uint64_t w = weights[t * kChannelBlock + c];
      for (std::size_t i = 0; i < kRowBlock; ++i) acc[c][i] += w * x[i];
    }
  }
}

}  // namespace pillarbox::kernels::cpu

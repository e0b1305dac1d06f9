// AVX-512: vpmullq on eight words; 4 channels x 4 vectors of accumulators stay in registers.
#include <immintrin.h>

#include "engine/kernels/cpu/row_kernel.h"

namespace pillarbox::kernels::cpu {

__attribute__((target("avx512f,avx512dq"))) void rowKernelAvx512(const std::uint64_t* base,
                                                                 const std::uint32_t* offsets,
                                                                 const std::uint64_t* weights,
                                                                 std::size_t taps,
                                                                 std::uint64_t (*acc)[kRowBlock]) {
  constexpr std::size_t kVectors = kRowBlock / 8;
  __m512i sum[kChannelBlock][kVectors];
  for (auto& row : sum) {
    for (auto& value : row) value = _mm512_setzero_si512();
  }
  for (std::size_t t = 0; t < taps; ++t) {
    const std::uint64_t* x = base + offsets[t];
    __m512i in[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) in[v] = _mm512_loadu_si512(x + 8 * v);
    for (std::size_t c = 0; c < kChannelBlock; ++c) {
      const __m512i w = _mm512_set1_epi64(static_cast<long long>(weights[t * kChannelBlock + c]));
      for (std::size_t v = 0; v < kVectors; ++v) {
        sum[c][v] = _mm512_add_epi64(sum[c][v], _mm512_mullo_epi64(in[v], w));
      }
    }
  }
  for (std::size_t c = 0; c < kChannelBlock; ++c) {
    for (std::size_t v = 0; v < kVectors; ++v) _mm512_storeu_si512(acc[c] + 8 * v, sum[c][v]);
  }
}

}  // namespace pillarbox::kernels::cpu

// AVX2 has no 64-bit product: low * low in full, plus both cross products of the halves shifted up.
#include <immintrin.h>

#include "engine/kernels/cpu/row_kernel.h"

namespace pillarbox::kernels::cpu {

__attribute__((target("avx2"))) void rowKernelAvx2(const std::uint64_t* base,
                                                   const std::uint32_t* offsets,
                                                   const std::uint64_t* weights, std::size_t taps,
                                                   std::uint64_t (*acc)[kRowBlock]) {
  constexpr std::size_t kVectors = 2;  // so that the accumulators fit sixteen registers
  for (std::size_t start = 0; start < kRowBlock; start += 4 * kVectors) {
    __m256i sum[kChannelBlock][kVectors];
    for (auto& row : sum) {
      for (auto& value : row) value = _mm256_setzero_si256();
    }
    for (std::size_t t = 0; t < taps; ++t) {
      const std::uint64_t* x = base + offsets[t] + start;
      for (std::size_t v = 0; v < kVectors; ++v) {
        const __m256i in = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + 4 * v));
        const __m256i inHigh = _mm256_srli_epi64(in, 32);
        for (std::size_t c = 0; c < kChannelBlock; ++c) {
          const __m256i w =
              _mm256_set1_epi64x(static_cast<long long>(weights[t * kChannelBlock + c]));
          const __m256i cross = _mm256_add_epi64(_mm256_mul_epu32(inHigh, w),
                                                 _mm256_mul_epu32(in, _mm256_srli_epi64(w, 32)));
          const __m256i product =
              _mm256_add_epi64(_mm256_mul_epu32(in, w), _mm256_slli_epi64(cross, 32));
          sum[c][v] = _mm256_add_epi64(sum[c][v], product);
        }
      }
    }
    for (std::size_t c = 0; c < kChannelBlock; ++c) {
      for (std::size_t v = 0; v < kVectors; ++v) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(acc[c] + start + 4 * v), sum[c][v]);
      }
    }
  }
}

}  // namespace pillarbox::kernels::cpu

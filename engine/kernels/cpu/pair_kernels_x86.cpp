// The innermost loops of pair_linear.h: vpdpwssd on sixteen pairs, vpmaddwd on eight. Eight output
// channels times two vectors of positions keep the sums in registers.
#include <immintrin.h>

#include "engine/kernels/cpu/pair_linear.h"

namespace pillarbox::kernels::cpu {

__attribute__((target("avx512f,avx512bw,avx512vnni"))) void pairKernelVnni(
    const std::int32_t* base, const std::uint32_t* offsets, const std::int32_t* weights,
    std::size_t taps, std::int32_t (*acc)[kPairPositions]) {
  constexpr std::size_t kVectors = kPairPositions / 16;
  __m512i sum[kPairChannels][kVectors];
  for (auto& row : sum) {
    for (auto& value : row) value = _mm512_setzero_si512();
  }
  for (std::size_t t = 0; t < taps; ++t, weights += kPairChannels) {
    const std::int32_t* x = base + offsets[t];
    __m512i in[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) in[v] = _mm512_loadu_si512(x + 16 * v);
    for (std::size_t c = 0; c < kPairChannels; ++c) {
      const __m512i w = _mm512_set1_epi32(weights[c]);
      for (std::size_t v = 0; v < kVectors; ++v) {
        sum[c][v] = _mm512_dpwssd_epi32(sum[c][v], in[v], w);
      }
    }
  }
  for (std::size_t c = 0; c < kPairChannels; ++c) {
    for (std::size_t v = 0; v < kVectors; ++v) _mm512_store_si512(acc[c] + 16 * v, sum[c][v]);
  }
}

__attribute__((target("avx2"))) void pairKernelAvx2(const std::int32_t* base,
                                                    const std::uint32_t* offsets,
                                                    const std::int32_t* weights, std::size_t taps,
                                                    std::int32_t (*acc)[kPairPositions]) {
  constexpr std::size_t kVectors = 2;  // a pass of 16 positions and 4 channels fits 16 registers
  constexpr std::size_t kChannels = 4;
  for (std::size_t start = 0; start < kPairPositions; start += 8 * kVectors) {
    for (std::size_t first = 0; first < kPairChannels; first += kChannels) {
      __m256i sum[kChannels][kVectors];
      for (auto& row : sum) {
        for (auto& value : row) value = _mm256_setzero_si256();
      }
      for (std::size_t t = 0; t < taps; ++t) {
        const std::int32_t* x = base + offsets[t] + start;
        __m256i in[kVectors];
        for (std::size_t v = 0; v < kVectors; ++v) {
          in[v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + 8 * v));
        }
        for (std::size_t c = 0; c < kChannels; ++c) {
          const __m256i w = _mm256_set1_epi32(weights[t * kPairChannels + first + c]);
          for (std::size_t v = 0; v < kVectors; ++v) {
            sum[c][v] = _mm256_add_epi32(sum[c][v], _mm256_madd_epi16(in[v], w));
          }
        }
      }
      for (std::size_t c = 0; c < kChannels; ++c) {
        for (std::size_t v = 0; v < kVectors; ++v) {
          _mm256_store_si256(reinterpret_cast<__m256i*>(acc[first + c] + start + 8 * v), sum[c][v]);
        }
      }
    }
  }
}

}  // namespace pillarbox::kernels::cpu

#include "engine/kernels/elementwise.h"

#include <algorithm>
#include <stdexcept>

#include "engine/kernels/cpu/features.h"

namespace pillarbox::kernels {

namespace {

/// One run of finishShare(): constant bias, or one for each element.
struct Run {
  std::uint64_t* share;
  const std::uint64_t* mask;
  const std::int64_t* bias;
  const std::uint64_t* opening;  // or null
  std::size_t count;
  std::uint32_t truncation;
  bool biasEach;
};

// The engine's truncation negates before and after the shift; see ring::truncateEngine.
[[gnu::always_inline]] inline void finishLoop(const Run& run) {
  std::uint64_t* share = run.share;
  const std::uint64_t* mask = run.mask;
  const std::uint64_t* opening = run.opening;
  const std::uint32_t bits = run.truncation;
  const auto one = [bits](std::uint64_t value) {
    return 0 - static_cast<std::uint64_t>(static_cast<std::int64_t>(0 - value) >> bits);
  };
  if (run.biasEach) {
    for (std::size_t i = 0; i < run.count; ++i) {
      share[i] = one(share[i] + mask[i] + static_cast<std::uint64_t>(run.bias[i]));
    }
  } else {
    const auto bias = static_cast<std::uint64_t>(*run.bias);
    for (std::size_t i = 0; i < run.count; ++i) share[i] = one(share[i] + mask[i] + bias);
  }
  if (opening != nullptr) {
    for (std::size_t i = 0; i < run.count; ++i) share[i] += opening[i];
  }
}

template <bool kAdd>
[[gnu::always_inline]] inline void scaleLoop(std::uint64_t factor, const std::uint64_t* in,
                                             std::uint64_t* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) out[i] = (kAdd ? out[i] : 0) + factor * in[i];
}

using Finish = void (*)(const Run&);
using Scale = void (*)(std::uint64_t, const std::uint64_t*, std::uint64_t*, std::size_t);

void finishBaseline(const Run& run) {
  finishLoop(run);
}
template <bool kAdd>
void scaleBaseline(std::uint64_t factor, const std::uint64_t* in, std::uint64_t* out,
                   std::size_t count) {
  scaleLoop<kAdd>(factor, in, out, count);
}

#if defined(__x86_64__)
#define PILLARBOX_AVX512 __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl")))
PILLARBOX_AVX512 void finishAvx512(const Run& run) {
  finishLoop(run);
}
template <bool kAdd>
PILLARBOX_AVX512 void scaleAvx512(std::uint64_t factor, const std::uint64_t* in, std::uint64_t* out,
                                  std::size_t count) {
  scaleLoop<kAdd>(factor, in, out, count);
}
#endif

Finish finishFunction() {
#if defined(__x86_64__)
  if (cpu::hasAvx512()) return finishAvx512;
#endif
  return finishBaseline;
}

template <bool kAdd>
void scaleWith(std::uint64_t factor, std::span<const std::uint64_t> in,
               std::span<std::uint64_t> out) {
  if (in.size() != out.size()) throw std::logic_error("tensors of different sizes");
#if defined(__x86_64__)
  if (cpu::hasAvx512()) return scaleAvx512<kAdd>(factor, in.data(), out.data(), out.size());
#endif
  scaleBaseline<kAdd>(factor, in.data(), out.data(), out.size());
}

}  // namespace

void finishShare(std::span<std::uint64_t> share, std::span<const std::uint64_t> outputMask,
                 std::span<const std::int64_t> bias, std::uint32_t truncation,
                 std::span<const std::uint64_t> openingMask) {
  const std::size_t n = share.size();
  if (outputMask.size() != n || bias.empty() || n % bias.size() != 0 ||
      (!openingMask.empty() && openingMask.size() != n)) {
    throw std::logic_error("masks and bias do not fit the tensor");
  }
  const Finish finish = finishFunction();
  // Pieces that stay in the first-level cache between the loops of a run.
  constexpr std::size_t kPiece = 1024;
  const bool biasEach = bias.size() == n;
  const std::size_t run = biasEach ? n : n / bias.size();
  for (std::size_t start = 0; start < n;) {
    const std::size_t count = std::min(kPiece, run - start % run);
    finish({share.data() + start, outputMask.data() + start,
            bias.data() + (biasEach ? start : start / run),
            openingMask.empty() ? nullptr : openingMask.data() + start, count, truncation,
            biasEach});
    start += count;
  }
}

void scale(std::uint64_t factor, std::span<const std::uint64_t> in, std::span<std::uint64_t> out) {
  scaleWith<false>(factor, in, out);
}

void addScaled(std::uint64_t factor, std::span<const std::uint64_t> in,
               std::span<std::uint64_t> out) {
  scaleWith<true>(factor, in, out);
}

}  // namespace pillarbox::kernels

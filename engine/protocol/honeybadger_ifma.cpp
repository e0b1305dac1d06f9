#include "engine/protocol/honeybadger_ifma.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pillarbox::protocol::ifma {

namespace {
constexpr std::uint64_t kLimbMask = (std::uint64_t{1} << 52) - 1;
}

Plan Plan::make(const std::vector<std::vector<U128>>& q, std::uint32_t truncation) {
  Plan plan;
  plan.degree = static_cast<std::uint32_t>(q.size() - 1);
  plan.truncation = truncation;
  const U128 shift = -(static_cast<U128>(1) << 63);
  for (std::vector<U128> c : q) {
    // Taylor shift by repeated synthetic division.
    for (std::size_t i = 0; i + 1 < c.size(); ++i) {
      for (std::size_t j = c.size() - 1; j-- > i;) c[j] += shift * c[j + 1];
    }
    std::vector<Limbs>& limbs = plan.coefficients.emplace_back();
    for (const U128 value : c) {
      limbs.push_back({static_cast<std::uint64_t>(value) & kLimbMask,
                       static_cast<std::uint64_t>(value >> 52) & kLimbMask,
                       static_cast<std::uint64_t>(value >> 104)});
    }
  }
  return plan;
}

#if defined(__x86_64__)

#define PILLARBOX_IFMA __attribute__((target("avx512f,avx512dq,avx512ifma,avx512vbmi2")))

bool available() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512ifma") && __builtin_cpu_supports("avx512vbmi2");
}

namespace {

struct Wide {
  __m512i limb[3];
};

PILLARBOX_IFMA inline __m512i low(__m512i sum, __m512i a, __m512i b) {
  return _mm512_madd52lo_epu64(sum, a, b);
}

PILLARBOX_IFMA inline __m512i high(__m512i sum, __m512i a, __m512i b) {
  return _mm512_madd52hi_epu64(sum, a, b);
}

PILLARBOX_IFMA inline Wide broadcast(const Limbs& limbs) {
  Wide wide;
  for (int i = 0; i < 3; ++i) wide.limb[i] = _mm512_set1_epi64(static_cast<long long>(limbs[i]));
  return wide;
}

PILLARBOX_IFMA inline void carry(Wide& value) {
  value.limb[1] = _mm512_add_epi64(value.limb[1], _mm512_srli_epi64(value.limb[0], 52));
  value.limb[2] = _mm512_add_epi64(value.limb[2], _mm512_srli_epi64(value.limb[1], 52));
}

/// coefficient + value * (d0 + 2^52 d1), d1 below 2^12.
PILLARBOX_IFMA inline Wide horner(const Wide& value, __m512i d0, __m512i d1,
                                  const Limbs& coefficient) {
  const __m512i* v = value.limb;
  Wide sum = broadcast(coefficient);
  sum.limb[0] = low(sum.limb[0], v[0], d0);
  sum.limb[1] = low(high(low(sum.limb[1], v[1], d0), v[0], d0), v[0], d1);
  const __m512i zero = _mm512_setzero_si512();
  const __m512i upper = low(high(zero, v[0], d1), v[1], d1);
  sum.limb[2] = _mm512_add_epi64(high(low(sum.limb[2], v[2], d0), v[1], d0), upper);
  carry(sum);
  return sum;
}

PILLARBOX_IFMA inline void addProduct(Wide& sum, const Wide& a, const Wide& b) {
  sum.limb[0] = low(sum.limb[0], a.limb[0], b.limb[0]);
  sum.limb[1] = high(sum.limb[1], a.limb[0], b.limb[0]);
  sum.limb[1] = low(sum.limb[1], a.limb[1], b.limb[0]);
  sum.limb[1] = low(sum.limb[1], a.limb[0], b.limb[1]);
  const __m512i zero = _mm512_setzero_si512();
  const __m512i outer = low(low(zero, a.limb[2], b.limb[0]), a.limb[0], b.limb[2]);
  sum.limb[2] = high(sum.limb[2], a.limb[1], b.limb[0]);
  sum.limb[2] = high(sum.limb[2], a.limb[0], b.limb[1]);
  sum.limb[2] = low(sum.limb[2], a.limb[1], b.limb[1]);
  sum.limb[2] = _mm512_add_epi64(sum.limb[2], outer);
}

/// Eight 128-bit values from memory; limbs 0 and 1 with bits above 52 that products ignore.
PILLARBOX_IFMA inline Wide load(const U128* values) {
  const __m512i first = _mm512_loadu_si512(values);
  const __m512i second = _mm512_loadu_si512(values + 4);
  const __m512i evens = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
  const __m512i odds = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
  const __m512i lower = _mm512_permutex2var_epi64(first, evens, second);
  const __m512i upper = _mm512_permutex2var_epi64(first, odds, second);
  return {{lower, _mm512_shrdi_epi64(lower, upper, 52), _mm512_srli_epi64(upper, 40)}};
}

/// The low 64 bits of a signed 128-bit value divided by 2^bits, rounded down.
PILLARBOX_IFMA inline __m512i shiftDown(__m512i lower, __m512i upper, unsigned bits) {
  if (bits >= 64) return _mm512_srai_epi64(upper, bits - 64);
  return _mm512_shrdv_epi64(lower, upper, _mm512_set1_epi64(bits));
}

}  // namespace

PILLARBOX_IFMA std::size_t evaluate(const Plan& plan, Party party,
                                    std::span<const std::uint64_t> opening,
                                    std::span<const U128* const> powers, std::uint64_t* out) {
  const __m512i mask = _mm512_set1_epi64(static_cast<long long>(kLimbMask));
  const __m512i half = _mm512_set1_epi64(static_cast<long long>(std::uint64_t{1} << 63));
  const std::size_t count = opening.size() / 8 * 8;
  for (std::size_t i = 0; i < count; i += 8) {
    const __m512i d0 = _mm512_xor_si512(_mm512_loadu_si512(opening.data() + i), half);
    const __m512i d1 = _mm512_srli_epi64(d0, 52);
    const auto q = [&](std::uint32_t k) PILLARBOX_IFMA {
      const std::vector<Limbs>& coefficients = plan.coefficients[k];
      Wide value = broadcast(coefficients.back());
      for (std::size_t j = coefficients.size() - 1; j-- > 0;) {
        value = horner(value, d0, d1, coefficients[j]);
      }
      return value;
    };
    Wide sum;
    if (party == Party::Engine) {
      sum = q(0);
      sum.limb[0] = _mm512_and_si512(sum.limb[0], mask);
      sum.limb[1] = _mm512_and_si512(sum.limb[1], mask);
    } else {
      for (auto& limb : sum.limb) limb = _mm512_setzero_si512();
    }
    for (std::uint32_t k = 1; k <= plan.degree; ++k) {
      addProduct(sum, q(k), load(powers[k - 1] + i));
    }
    carry(sum);
    __m512i lower =
        _mm512_or_si512(_mm512_and_si512(sum.limb[0], mask), _mm512_slli_epi64(sum.limb[1], 52));
    __m512i upper = _mm512_or_si512(_mm512_srli_epi64(_mm512_and_si512(sum.limb[1], mask), 12),
                                    _mm512_slli_epi64(sum.limb[2], 40));
    const __m512i zero = _mm512_setzero_si512();
    if (party == Party::Engine) {  // the engine's truncation: negate, floor, negate
      const __mmask8 borrow = _mm512_test_epi64_mask(lower, lower);
      lower = _mm512_sub_epi64(zero, lower);
      upper = _mm512_sub_epi64(zero, upper);
      upper = _mm512_mask_sub_epi64(upper, borrow, upper, _mm512_set1_epi64(1));
    }
    __m512i value = shiftDown(lower, upper, plan.truncation);
    if (party == Party::Engine) value = _mm512_sub_epi64(zero, value);
    _mm512_storeu_si512(out + i, value);
  }
  return count;
}

#else

bool available() {
  return false;
}

std::size_t evaluate(const Plan&, Party, std::span<const std::uint64_t>,
                     std::span<const U128* const>, std::uint64_t*) {
  return 0;
}

#endif

}  // namespace pillarbox::protocol::ifma

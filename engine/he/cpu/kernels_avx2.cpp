// AVX2 kernels: four lanes of doubles. A product a*b is held exactly as high = a*b rounded and
// low = fma(a, b, -high); with c = round(high * (1/q)), r = (high - c*q) + low is exact, because it
// is an integer below 2^52. The quotient is at most 1.7 q < 2^50.8 here and three roundings put c
// off by at most 3 * 2^-53 * 2^50.8 < 0.7 beyond the half, so |r| < 1.2 q. Between the stages
// values are signed and below 1.7 q; every stage reduces one operand to q / 2.
#include <immintrin.h>

#include "engine/he/cpu/kernels.h"

#define PILLARBOX_AVX2 __attribute__((target("avx2,fma")))

namespace pillarbox::he::cpu {

namespace {

using Real = __m256d;
using Words = __m256i;

/// Integers below 2^52 and doubles.
PILLARBOX_AVX2 inline Real toReal(Words x) {
  const Words magic = _mm256_set1_epi64x(0x4330000000000000);  // 2^52
  return _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(x, magic)), _mm256_castsi256_pd(magic));
}
PILLARBOX_AVX2 inline Words toWords(Real x) {
  const Real magic = _mm256_set1_pd(4503599627370496.0);  // 2^52
  return _mm256_xor_si256(_mm256_castpd_si256(_mm256_add_pd(x, magic)), _mm256_castpd_si256(magic));
}
PILLARBOX_AVX2 inline Real loadWords(const std::uint64_t* p) {
  return toReal(_mm256_loadu_si256(reinterpret_cast<const Words*>(p)));
}
PILLARBOX_AVX2 inline void storeWords(std::uint64_t* p, Real x) {
  _mm256_storeu_si256(reinterpret_cast<Words*>(p), toWords(x));
}
/// The doubles of a transform in progress live in the words' own memory.
PILLARBOX_AVX2 inline Real loadReal(const std::uint64_t* p) {
  return _mm256_castsi256_pd(_mm256_loadu_si256(reinterpret_cast<const Words*>(p)));
}
PILLARBOX_AVX2 inline void storeReal(std::uint64_t* p, Real x) {
  _mm256_storeu_si256(reinterpret_cast<Words*>(p), _mm256_castpd_si256(x));
}

struct Field {
  Real q, inverse;
  PILLARBOX_AVX2 explicit Field(const Modulus& m)
      : q(_mm256_set1_pd(static_cast<double>(m.value()))),
        inverse(_mm256_set1_pd(1.0 / static_cast<double>(m.value()))) {}

  PILLARBOX_AVX2 Real nearest(Real x) const {
    return _mm256_round_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  /// a*b mod q, signed.
  PILLARBOX_AVX2 Real multiply(Real a, Real b) const {
    const Real high = _mm256_mul_pd(a, b);
    const Real low = _mm256_fmsub_pd(a, b, high);
    const Real c = nearest(_mm256_mul_pd(high, inverse));
    return _mm256_add_pd(_mm256_fnmadd_pd(c, q, high), low);
  }
  /// x mod q, signed, at most (1/2 + tiny) q in magnitude.
  PILLARBOX_AVX2 Real reduce(Real x) const {
    return _mm256_fnmadd_pd(nearest(_mm256_mul_pd(x, inverse)), q, x);
  }
  /// The residue in [0, q) of x that reduce() or multiply() returned.
  PILLARBOX_AVX2 Real canonical(Real x) const {
    x = reduce(x);
    const Real zero = _mm256_setzero_pd();
    x = _mm256_add_pd(x, _mm256_and_pd(q, _mm256_cmp_pd(x, zero, _CMP_LT_OQ)));
    return _mm256_sub_pd(x, _mm256_and_pd(q, _mm256_cmp_pd(x, q, _CMP_GE_OQ)));
  }
};

struct Pair {
  Real x, y;
};

/// Operands below 1.7 q in magnitude give results below 0.5 q + 1.2 q.
PILLARBOX_AVX2 inline Pair forwardButterfly(const Field& f, Real x, Real y, Real w) {
  x = f.reduce(x);
  y = f.multiply(y, w);
  return {_mm256_add_pd(x, y), _mm256_sub_pd(x, y)};
}
PILLARBOX_AVX2 inline Pair inverseButterfly(const Field& f, Real x, Real y, Real w) {
  return {f.reduce(_mm256_add_pd(x, y)), f.multiply(_mm256_sub_pd(x, y), w)};
}

/// The roots of two consecutive groups, each in two lanes.
PILLARBOX_AVX2 inline Real twoRoots(const std::uint64_t* p) {
  return toReal(_mm256_permute4x64_epi64(
      _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 0x50));
}
/// Those of four groups in the order in which unpacking places them.
PILLARBOX_AVX2 inline Real fourRoots(const std::uint64_t* p) {
  return toReal(
      _mm256_permute4x64_epi64(_mm256_loadu_si256(reinterpret_cast<const Words*>(p)), 0xD8));
}

PILLARBOX_AVX2 void forward(const NttTables& t, std::uint64_t* values) {
  const Field f(t.modulus);
  for (std::size_t j = 0; j < t.degree; j += 4) storeReal(values + j, loadWords(values + j));
  std::size_t m = 1, gap = t.degree / 2;
  for (; gap >= 4; m *= 2, gap /= 2) {
    for (std::size_t i = 0; i < m; ++i) {
      const Real w = _mm256_set1_pd(static_cast<double>(t.roots[m + i]));
      std::uint64_t* low = values + 2 * i * gap;
      std::uint64_t* high = low + gap;
      for (std::size_t j = 0; j < gap; j += 4) {
        const Pair p = forwardButterfly(f, loadReal(low + j), loadReal(high + j), w);
        storeReal(low + j, p.x);
        storeReal(high + j, p.y);
      }
    }
  }
  for (std::size_t block = 0; block < t.degree / 8; ++block) {
    std::uint64_t* at = values + 8 * block;
    const Real a = loadReal(at), b = loadReal(at + 4);
    Pair p =
        forwardButterfly(f, _mm256_permute2f128_pd(a, b, 0x20), _mm256_permute2f128_pd(a, b, 0x31),
                         twoRoots(t.roots.data() + t.degree / 4 + 2 * block));
    const Real c = _mm256_permute2f128_pd(p.x, p.y, 0x20);
    const Real d = _mm256_permute2f128_pd(p.x, p.y, 0x31);
    p = forwardButterfly(f, _mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d),
                         fourRoots(t.roots.data() + t.degree / 2 + 4 * block));
    storeWords(at, f.canonical(_mm256_unpacklo_pd(p.x, p.y)));
    storeWords(at + 4, f.canonical(_mm256_unpackhi_pd(p.x, p.y)));
  }
}

PILLARBOX_AVX2 void inverse(const NttTables& t, std::uint64_t* values) {
  const Field f(t.modulus);
  for (std::size_t block = 0; block < t.degree / 8; ++block) {
    std::uint64_t* at = values + 8 * block;
    const Real c = loadWords(at), d = loadWords(at + 4);
    Pair p = inverseButterfly(f, _mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d),
                              fourRoots(t.inverseRoots.data() + t.degree / 2 + 4 * block));
    const Real a = _mm256_unpacklo_pd(p.x, p.y), b = _mm256_unpackhi_pd(p.x, p.y);
    p = inverseButterfly(f, _mm256_permute2f128_pd(a, b, 0x20), _mm256_permute2f128_pd(a, b, 0x31),
                         twoRoots(t.inverseRoots.data() + t.degree / 4 + 2 * block));
    storeReal(at, _mm256_permute2f128_pd(p.x, p.y, 0x20));
    storeReal(at + 4, _mm256_permute2f128_pd(p.x, p.y, 0x31));
  }
  for (std::size_t gap = 4, m = t.degree / 8; m >= 1; gap *= 2, m /= 2) {
    for (std::size_t i = 0; i < m; ++i) {
      const Real w = _mm256_set1_pd(static_cast<double>(t.inverseRoots[m + i]));
      std::uint64_t* low = values + 2 * i * gap;
      std::uint64_t* high = low + gap;
      for (std::size_t j = 0; j < gap; j += 4) {
        const Pair p = inverseButterfly(f, loadReal(low + j), loadReal(high + j), w);
        storeReal(low + j, p.x);
        storeReal(high + j, p.y);
      }
    }
  }
  const Real w = _mm256_set1_pd(static_cast<double>(t.inverseDegree));
  for (std::size_t j = 0; j < t.degree; j += 4) {
    storeWords(values + j, f.canonical(f.multiply(loadReal(values + j), w)));
  }
}

PILLARBOX_AVX2 void add(const Modulus& q, const std::uint64_t* a, const std::uint64_t* b,
                        std::uint64_t* out, std::size_t count) {
  const Field f(q);
  for (std::size_t i = 0; i < count; i += 4) {
    const Real sum = _mm256_add_pd(loadWords(a + i), loadWords(b + i));
    storeWords(out + i,
               _mm256_sub_pd(sum, _mm256_and_pd(f.q, _mm256_cmp_pd(sum, f.q, _CMP_GE_OQ))));
  }
}

PILLARBOX_AVX2 void subtract(const Modulus& q, const std::uint64_t* a, const std::uint64_t* b,
                             std::uint64_t* out, std::size_t count) {
  const Field f(q);
  for (std::size_t i = 0; i < count; i += 4) {
    const Real difference = _mm256_sub_pd(loadWords(a + i), loadWords(b + i));
    storeWords(out + i,
               _mm256_add_pd(
                   difference,
                   _mm256_and_pd(f.q, _mm256_cmp_pd(difference, _mm256_setzero_pd(), _CMP_LT_OQ))));
  }
}

PILLARBOX_AVX2 void dot(const Modulus& q, const std::uint64_t* const* a,
                        const std::uint64_t* const* b, std::size_t terms, std::uint64_t* out,
                        std::size_t count) {
  const Field f(q);
  for (std::size_t i = 0; i < count; i += 4) {
    Real sum = _mm256_setzero_pd();
    for (std::size_t k = 0; k < terms; ++k) {
      sum = f.reduce(_mm256_add_pd(sum, f.multiply(loadWords(a[k] + i), loadWords(b[k] + i))));
    }
    storeWords(out + i, f.canonical(sum));
  }
}

PILLARBOX_AVX2 void combine(const Modulus& q, const std::uint64_t* const* a,
                            const std::uint64_t* scalars, std::size_t terms, std::uint64_t* out,
                            std::size_t count) {
  const Field f(q);
  for (std::size_t i = 0; i < count; i += 4) {
    Real sum = _mm256_setzero_pd();
    for (std::size_t k = 0; k < terms; ++k) {
      // Reduced first: |a| * scalar / q must stay a small quotient for primes far below 2^50.
      const Real x = f.reduce(loadWords(a[k] + i));
      const Real s = _mm256_set1_pd(static_cast<double>(scalars[k]));
      sum = f.reduce(_mm256_add_pd(sum, f.multiply(x, s)));
    }
    storeWords(out + i, f.canonical(sum));
  }
}

}  // namespace

const Kernels& avx2Kernels() {
  static const Kernels kKernels{"avx2", forward, inverse, add, subtract, dot, combine};
  return kKernels;
}

}  // namespace pillarbox::he::cpu

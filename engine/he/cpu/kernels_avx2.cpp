// AVX2 kernels: four lanes of doubles. A product a*b is held exactly as high = a*b rounded and
// low = fma(a, b, -high); with c = round(high * (1/q)), r = (high - c*q) + low is exact, because it
// is an integer below 2^52. The quotient is at most 1.7 q < 2^50.8 here and three roundings put c
// off by at most 3 * 2^-53 * 2^50.8 < 0.7 beyond the half, so |r| < 1.2 q. In general an operand of
// B q gives |r| < (0.5 + 0.375 B) q. Between the stages values are signed. Every stage of an
// inverse transform reduces one operand to q / 2, which keeps them below 1.7 q. A forward one does
// so in the first of two stages at once: B becomes 1 + 0.375 B there and 1.375 times that plus 0.5
// in the second, which stays below 3.9, and 3.9 q < 2^52.
//
// Primes below 2^47 leave room to reduce less. With an operand of B q the quotient is below B 2^47,
// its rounding errors below 3 * 2^-53 * B 2^47 and |r| < (0.5 + B / 21) q. Forward, nothing is
// reduced: B grows by |r| / q a stage, from 1 to at most 14 after 16 stages, and 14 q < 2^51.
// Inverse, of two stages at once only the sum of sums is reduced: operands of 2.7 q give sums of
// 5.4 q, products of 0.8 q from them, a difference of sums of 10.8 q and its product of 1.1 q.
#include <immintrin.h>

#include "engine/he/cpu/kernels.h"

#define PILLARBOX_AVX2 __attribute__((target("avx2,fma")))

namespace pillarbox::he::cpu {

namespace {

constexpr std::uint32_t kLazyBits = 47;

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

template <bool kWords>
PILLARBOX_AVX2 inline Real loadAs(const std::uint64_t* p) {
  if constexpr (kWords) return loadWords(p);
  return loadReal(p);
}

/// What much is multiplied by: b, and b / q, so that the quotient does not wait for the product.
struct Factor {
  Real b, overQ;
};

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
  PILLARBOX_AVX2 Real multiply(Real a, const Factor& factor) const {
    const Real high = _mm256_mul_pd(a, factor.b);
    const Real low = _mm256_fmsub_pd(a, factor.b, high);
    const Real c = nearest(_mm256_mul_pd(a, factor.overQ));
    return _mm256_add_pd(_mm256_fnmadd_pd(c, q, high), low);
  }
  PILLARBOX_AVX2 Factor factor(Real b) const { return {b, _mm256_mul_pd(b, inverse)}; }
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

/// Lazily, x is not reduced; see above for what that does to the results.
template <bool kLazy>
PILLARBOX_AVX2 inline Pair forwardButterfly(const Field& f, Real x, Real y, const Factor& w) {
  if constexpr (!kLazy) x = f.reduce(x);
  y = f.multiply(y, w);
  return {_mm256_add_pd(x, y), _mm256_sub_pd(x, y)};
}
template <bool kReduce>
PILLARBOX_AVX2 inline Pair inverseButterfly(const Field& f, Real x, Real y, const Factor& w) {
  const Real sum = _mm256_add_pd(x, y);
  return {kReduce ? f.reduce(sum) : sum, f.multiply(_mm256_sub_pd(x, y), w)};
}

/// One root in all lanes.
PILLARBOX_AVX2 inline Real oneRoot(const std::uint64_t* p) {
  return toReal(_mm256_set1_epi64x(static_cast<long long>(*p)));
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

/// Two stages at once, of m groups and then of 2 m; the first ones find words in memory.
template <bool kLazy, bool kWords>
PILLARBOX_AVX2 inline void forwardPair(const Field& f, const NttTables& t, std::uint64_t* values,
                                       std::size_t m, std::size_t gap) {
  const std::size_t half = gap / 2;
  for (std::size_t i = 0; i < m; ++i) {
    const Factor w = f.factor(oneRoot(&t.roots[m + i]));
    const Factor w0 = f.factor(oneRoot(&t.roots[2 * (m + i)]));
    const Factor w1 = f.factor(oneRoot(&t.roots[2 * (m + i) + 1]));
    std::uint64_t* at = values + 2 * i * gap;
    for (std::size_t j = 0; j < half; j += 4, at += 4) {
      const Pair a = forwardButterfly<kLazy>(f, loadAs<kWords>(at), loadAs<kWords>(at + gap), w);
      const Pair b =
          forwardButterfly<kLazy>(f, loadAs<kWords>(at + half), loadAs<kWords>(at + gap + half), w);
      const Pair c = forwardButterfly<true>(f, a.x, b.x, w0);
      const Pair d = forwardButterfly<true>(f, a.y, b.y, w1);
      storeReal(at, c.x);
      storeReal(at + half, c.y);
      storeReal(at + gap, d.x);
      storeReal(at + gap + half, d.y);
    }
  }
}

template <bool kLazy>
PILLARBOX_AVX2 void forwardStages(const NttTables& t, std::uint64_t* values) {
  const Field f(t.modulus);
  std::size_t m = 4, gap = t.degree / 8;
  forwardPair<kLazy, true>(f, t, values, 1, t.degree / 2);
  for (; gap >= 8; m *= 4, gap /= 4) forwardPair<kLazy, false>(f, t, values, m, gap);
  if (gap == 4) {
    for (std::size_t i = 0; i < m; ++i) {
      std::uint64_t* at = values + 8 * i;
      const Pair p = forwardButterfly<kLazy>(f, loadReal(at), loadReal(at + 4),
                                             f.factor(oneRoot(&t.roots[m + i])));
      storeReal(at, p.x);
      storeReal(at + 4, p.y);
    }
  }
  for (std::size_t block = 0; block < t.degree / 8; ++block) {
    std::uint64_t* at = values + 8 * block;
    const Real a = loadReal(at), b = loadReal(at + 4);
    Pair p = forwardButterfly<kLazy>(f, _mm256_permute2f128_pd(a, b, 0x20),
                                     _mm256_permute2f128_pd(a, b, 0x31),
                                     f.factor(twoRoots(t.roots.data() + t.degree / 4 + 2 * block)));
    const Real c = _mm256_permute2f128_pd(p.x, p.y, 0x20);
    const Real d = _mm256_permute2f128_pd(p.x, p.y, 0x31);
    p = forwardButterfly<true>(f, _mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d),
                               f.factor(fourRoots(t.roots.data() + t.degree / 2 + 4 * block)));
    storeWords(at, f.canonical(_mm256_unpacklo_pd(p.x, p.y)));
    storeWords(at + 4, f.canonical(_mm256_unpackhi_pd(p.x, p.y)));
  }
}

PILLARBOX_AVX2 void forward(const NttTables& t, std::uint64_t* values) {
  if (t.modulus.bits() <= kLazyBits) {
    forwardStages<true>(t, values);
  } else {
    forwardStages<false>(t, values);
  }
}

template <bool kLazy>
PILLARBOX_AVX2 void inverseStages(const NttTables& t, std::uint64_t* values) {
  const Field f(t.modulus);
  for (std::size_t block = 0; block < t.degree / 8; ++block) {
    std::uint64_t* at = values + 8 * block;
    const Real c = loadWords(at), d = loadWords(at + 4);
    Pair p = inverseButterfly<!kLazy>(
        f, _mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d),
        f.factor(fourRoots(t.inverseRoots.data() + t.degree / 2 + 4 * block)));
    const Real a = _mm256_unpacklo_pd(p.x, p.y), b = _mm256_unpackhi_pd(p.x, p.y);
    p = inverseButterfly<true>(
        f, _mm256_permute2f128_pd(a, b, 0x20), _mm256_permute2f128_pd(a, b, 0x31),
        f.factor(twoRoots(t.inverseRoots.data() + t.degree / 4 + 2 * block)));
    storeReal(at, _mm256_permute2f128_pd(p.x, p.y, 0x20));
    storeReal(at + 4, _mm256_permute2f128_pd(p.x, p.y, 0x31));
  }
  std::size_t gap = 4, m = t.degree / 8;
  for (; m >= 2; gap *= 4, m /= 4) {  // two stages at once, gaps gap and 2 gap
    for (std::size_t i = 0; i < m / 2; ++i) {
      const Factor w0 = f.factor(oneRoot(&t.inverseRoots[m + 2 * i]));
      const Factor w1 = f.factor(oneRoot(&t.inverseRoots[m + 2 * i + 1]));
      const Factor w = f.factor(oneRoot(&t.inverseRoots[m / 2 + i]));
      std::uint64_t* at = values + 4 * i * gap;
      for (std::size_t j = 0; j < gap; j += 4, at += 4) {
        const Pair a = inverseButterfly<!kLazy>(f, loadReal(at), loadReal(at + gap), w0);
        const Pair b =
            inverseButterfly<!kLazy>(f, loadReal(at + 2 * gap), loadReal(at + 3 * gap), w1);
        const Pair c = inverseButterfly<true>(f, a.x, b.x, w);
        const Pair d = inverseButterfly<!kLazy>(f, a.y, b.y, w);
        storeReal(at, c.x);
        storeReal(at + gap, d.x);
        storeReal(at + 2 * gap, c.y);
        storeReal(at + 3 * gap, d.y);
      }
    }
  }
  const Factor scale = f.factor(_mm256_set1_pd(static_cast<double>(t.inverseDegree)));
  if (m == 1) {  // the last stage, and the division by n
    const std::uint64_t root = t.modulus.multiply(t.inverseRoots[1], t.inverseDegree);
    const Factor w = f.factor(_mm256_set1_pd(static_cast<double>(root)));
    for (std::size_t j = 0; j < gap; j += 4) {
      const Real x = loadReal(values + j), y = loadReal(values + gap + j);
      storeWords(values + j, f.canonical(f.multiply(_mm256_add_pd(x, y), scale)));
      storeWords(values + gap + j, f.canonical(f.multiply(_mm256_sub_pd(x, y), w)));
    }
    return;
  }
  for (std::size_t j = 0; j < t.degree; j += 4) {
    storeWords(values + j, f.canonical(f.multiply(loadReal(values + j), scale)));
  }
}

PILLARBOX_AVX2 void inverse(const NttTables& t, std::uint64_t* values) {
  if (t.modulus.bits() <= kLazyBits) {
    inverseStages<true>(t, values);
  } else {
    inverseStages<false>(t, values);
  }
}

PILLARBOX_AVX2 inline Words loadInteger(const std::uint64_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const Words*>(p));
}
PILLARBOX_AVX2 inline void storeInteger(std::uint64_t* p, Words x) {
  _mm256_storeu_si256(reinterpret_cast<Words*>(p), x);
}
/// x + q where x is negative, else x.
PILLARBOX_AVX2 inline Words addIfNegative(Words x, Words q) {
  return _mm256_add_epi64(x, _mm256_and_si256(q, _mm256_cmpgt_epi64(_mm256_setzero_si256(), x)));
}

PILLARBOX_AVX2 void add(const Modulus& q, const std::uint64_t* a, const std::uint64_t* b,
                        std::uint64_t* out, std::size_t count) {
  const Words modulus = _mm256_set1_epi64x(static_cast<long long>(q.value()));
  for (std::size_t i = 0; i < count; i += 4) {
    const Words sum = _mm256_add_epi64(loadInteger(a + i), loadInteger(b + i));
    storeInteger(out + i, addIfNegative(_mm256_sub_epi64(sum, modulus), modulus));
  }
}

PILLARBOX_AVX2 void subtract(const Modulus& q, const std::uint64_t* a, const std::uint64_t* b,
                             std::uint64_t* out, std::size_t count) {
  const Words modulus = _mm256_set1_epi64x(static_cast<long long>(q.value()));
  for (std::size_t i = 0; i < count; i += 4) {
    storeInteger(out + i,
                 addIfNegative(_mm256_sub_epi64(loadInteger(a + i), loadInteger(b + i)), modulus));
  }
}

PILLARBOX_AVX2 void reduceOnce(const Modulus& q, const std::uint64_t* in, std::uint64_t* out,
                               std::size_t count) {
  const Words modulus = _mm256_set1_epi64x(static_cast<long long>(q.value()));
  for (std::size_t i = 0; i < count; i += 4) {
    storeInteger(out + i, addIfNegative(_mm256_sub_epi64(loadInteger(in + i), modulus), modulus));
  }
}

PILLARBOX_AVX2 void fromSmall(const Modulus& q, const std::int64_t* in, std::uint64_t* out,
                              std::size_t count) {
  const Words modulus = _mm256_set1_epi64x(static_cast<long long>(q.value()));
  for (std::size_t i = 0; i < count; i += 4) {
    const Words x = _mm256_loadu_si256(reinterpret_cast<const Words*>(in + i));
    storeInteger(out + i, addIfNegative(x, modulus));
  }
}

PILLARBOX_AVX2 void quotients(const std::uint64_t* const* a, const double* reciprocals,
                              std::size_t terms, std::uint64_t* out, std::size_t count) {
  for (std::size_t i = 0; i < count; i += 4) {
    Real sum = _mm256_set1_pd(0.5);
    for (std::size_t k = 0; k < terms; ++k) {
      sum = _mm256_add_pd(sum, _mm256_mul_pd(loadWords(a[k] + i), _mm256_set1_pd(reciprocals[k])));
    }
    storeWords(out + i, _mm256_floor_pd(sum));
  }
}

/// Sums of products, four terms at a time: 0.5 q + 4 * 1.2 q is below 2^53. The sums in progress
/// are doubles in the words of `out`. factorsOf(k) is what multiplies at i for product number k.
template <typename FactorsOf>
PILLARBOX_AVX2 inline void sumTerms(const Field& f, std::size_t terms, std::uint64_t* out,
                                    std::size_t count, const FactorsOf& factorsOf) {
  constexpr std::size_t kBlock = 1024;
  for (std::size_t first = 0; first < count; first += kBlock) {
    const std::size_t end = first + kBlock < count ? first + kBlock : count;
    for (std::size_t k = 0; k < terms; k += 4) {
      const std::size_t more = terms - k;
      const auto t0 = factorsOf(k), t1 = factorsOf(more > 1 ? k + 1 : k);
      const auto t2 = factorsOf(more > 2 ? k + 2 : k), t3 = factorsOf(more > 3 ? k + 3 : k);
      for (std::size_t i = first; i < end; i += 4) {
        Real sum = t0.product(f, i);
        if (more > 1) sum = _mm256_add_pd(sum, t1.product(f, i));
        if (more > 2) sum = _mm256_add_pd(sum, t2.product(f, i));
        if (more > 3) sum = _mm256_add_pd(sum, t3.product(f, i));
        if (k != 0) sum = _mm256_add_pd(sum, loadReal(out + i));
        if (more > 4) {
          storeReal(out + i, f.reduce(sum));
        } else {
          storeWords(out + i, f.canonical(sum));
        }
      }
    }
  }
}

struct TwoVectors {
  const std::uint64_t *a, *b;
  PILLARBOX_AVX2 Real product(const Field& f, std::size_t i) const {
    return f.multiply(loadWords(a + i), loadWords(b + i));
  }
};

struct VectorAndScalar {
  const std::uint64_t* a;
  Factor scalar;
  PILLARBOX_AVX2 Real product(const Field& f, std::size_t i) const {
    return f.multiply(loadWords(a + i), scalar);
  }
};

PILLARBOX_AVX2 void dot(const Modulus& q, const std::uint64_t* const* a,
                        const std::uint64_t* const* b, std::size_t terms, std::uint64_t* out,
                        std::size_t count) {
  const Field f(q);
  sumTerms(f, terms, out, count, [&](std::size_t k) PILLARBOX_AVX2 {
    return TwoVectors{a[k], b[k]};
  });
}

/// |a| * scalar / q stays below 2^50 as in a product of residues: a need not be reduced.
PILLARBOX_AVX2 void combine(const Modulus& q, const std::uint64_t* const* a,
                            const std::uint64_t* scalars, std::size_t terms, std::uint64_t* out,
                            std::size_t count) {
  const Field f(q);
  sumTerms(f, terms, out, count, [&](std::size_t k) PILLARBOX_AVX2 {
    return VectorAndScalar{a[k], f.factor(oneRoot(&scalars[k]))};
  });
}

}  // namespace

const Kernels& avx2Kernels() {
  static const Kernels kKernels{"avx2",     forward,   inverse,   add, subtract,
                                reduceOnce, fromSmall, quotients, dot, combine};
  return kKernels;
}

}  // namespace pillarbox::he::cpu

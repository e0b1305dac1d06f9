// AVX-512 kernels: eight 64-bit lanes, products by IFMA (the low or high 52 bits of a 52 x 52 bit
// product added to a lane). Compiled for their target function by function; ntt.cpp calls them
// only where the processor has the instructions.
#include <immintrin.h>

#include "engine/he/cpu/kernels.h"

#define PILLARBOX_AVX512 __attribute__((target("avx512f,avx512dq,avx512ifma")))

namespace pillarbox::he::cpu {

namespace {

using Vector = __m512i;
constexpr std::uint64_t kMask52 = (std::uint64_t{1} << 52) - 1;

PILLARBOX_AVX512 inline Vector set(std::uint64_t x) {
  return _mm512_set1_epi64(static_cast<long long>(x));
}
PILLARBOX_AVX512 inline Vector load(const std::uint64_t* p) {
  return _mm512_loadu_si512(p);
}
PILLARBOX_AVX512 inline void store(std::uint64_t* p, Vector v) {
  _mm512_storeu_si512(p, v);
}
/// min(x, x - bound) as unsigned numbers: x mod bound for x < 2 * bound.
PILLARBOX_AVX512 inline Vector fold(Vector x, Vector bound) {
  return _mm512_min_epu64(x, _mm512_sub_epi64(x, bound));
}
/// w * x mod q in [0, 2q), for x < 2^52.
PILLARBOX_AVX512 inline Vector shoupProduct(Vector x, Vector w, Vector wShoup, Vector q) {
  const Vector zero = _mm512_setzero_si512();
  const Vector quotient = _mm512_madd52hi_epu64(zero, x, wShoup);
  const Vector difference =
      _mm512_sub_epi64(_mm512_madd52lo_epu64(zero, x, w), _mm512_madd52lo_epu64(zero, quotient, q));
  return _mm512_and_si512(difference, set(kMask52));
}

struct Pair {
  Vector x, y;
};

PILLARBOX_AVX512 inline Pair forwardButterfly(Vector x, Vector y, Vector w, Vector wShoup, Vector q,
                                              Vector q2) {
  x = fold(x, q2);
  y = shoupProduct(y, w, wShoup, q);
  return {_mm512_add_epi64(x, y), _mm512_add_epi64(_mm512_sub_epi64(x, y), q2)};
}

PILLARBOX_AVX512 inline Pair inverseButterfly(Vector x, Vector y, Vector w, Vector wShoup, Vector q,
                                              Vector q2) {
  return {fold(_mm512_add_epi64(x, y), q2),
          shoupProduct(_mm512_add_epi64(_mm512_sub_epi64(x, y), q2), w, wShoup, q)};
}

/// How sixteen consecutive entries split into the low and high operands of the butterflies of a
/// stage with a gap below eight, how they go back, and which root each lane takes.
struct Shuffle {
  Vector low, high, first, second, root;
};

PILLARBOX_AVX512 inline Shuffle shuffleFor(std::size_t gap) {
  if (gap == 4) {
    return {
        _mm512_setr_epi64(0, 1, 2, 3, 8, 9, 10, 11), _mm512_setr_epi64(4, 5, 6, 7, 12, 13, 14, 15),
        _mm512_setr_epi64(0, 1, 2, 3, 8, 9, 10, 11), _mm512_setr_epi64(4, 5, 6, 7, 12, 13, 14, 15),
        _mm512_setr_epi64(0, 0, 0, 0, 1, 1, 1, 1)};
  }
  if (gap == 2) {
    return {
        _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13), _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15),
        _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15),
        _mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3)};
  }
  return {_mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14),
          _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11),
          _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7)};
}

PILLARBOX_AVX512 void forward(const NttTables& t, std::uint64_t* values) {
  const Vector q = set(t.modulus.value()), q2 = set(2 * t.modulus.value());
  std::size_t m = 1, gap = t.degree / 2;
  for (; gap >= 8; m *= 2, gap /= 2) {
    for (std::size_t i = 0; i < m; ++i) {
      const Vector w = set(t.roots[m + i]), wShoup = set(t.rootsShoup[m + i]);
      std::uint64_t* low = values + 2 * i * gap;
      std::uint64_t* high = low + gap;
      for (std::size_t j = 0; j < gap; j += 8) {
        const Pair p = forwardButterfly(load(low + j), load(high + j), w, wShoup, q, q2);
        store(low + j, p.x);
        store(high + j, p.y);
      }
    }
  }
  const Shuffle shuffles[3] = {shuffleFor(4), shuffleFor(2), shuffleFor(1)};
  for (std::size_t block = 0; block < t.degree / 16; ++block) {
    Vector first = load(values + 16 * block), second = load(values + 16 * block + 8);
    std::size_t groups = t.degree / 8, inBlock = 2;
    for (const Shuffle& s : shuffles) {
      const std::size_t at = groups + inBlock * block;
      const Vector w = _mm512_permutexvar_epi64(s.root, load(t.roots.data() + at));
      const Vector wShoup = _mm512_permutexvar_epi64(s.root, load(t.rootsShoup.data() + at));
      const Pair p =
          forwardButterfly(_mm512_permutex2var_epi64(first, s.low, second),
                           _mm512_permutex2var_epi64(first, s.high, second), w, wShoup, q, q2);
      first = _mm512_permutex2var_epi64(p.x, s.first, p.y);
      second = _mm512_permutex2var_epi64(p.x, s.second, p.y);
      groups *= 2;
      inBlock *= 2;
    }
    store(values + 16 * block, fold(fold(first, q2), q));
    store(values + 16 * block + 8, fold(fold(second, q2), q));
  }
}

PILLARBOX_AVX512 void inverse(const NttTables& t, std::uint64_t* values) {
  const Vector q = set(t.modulus.value()), q2 = set(2 * t.modulus.value());
  const Shuffle shuffles[3] = {shuffleFor(1), shuffleFor(2), shuffleFor(4)};
  for (std::size_t block = 0; block < t.degree / 16; ++block) {
    Vector first = load(values + 16 * block), second = load(values + 16 * block + 8);
    std::size_t groups = t.degree / 2, inBlock = 8;
    for (const Shuffle& s : shuffles) {
      const std::size_t at = groups + inBlock * block;
      const Vector w = _mm512_permutexvar_epi64(s.root, load(t.inverseRoots.data() + at));
      const Vector wShoup = _mm512_permutexvar_epi64(s.root, load(t.inverseRootsShoup.data() + at));
      const Pair p =
          inverseButterfly(_mm512_permutex2var_epi64(first, s.low, second),
                           _mm512_permutex2var_epi64(first, s.high, second), w, wShoup, q, q2);
      first = _mm512_permutex2var_epi64(p.x, s.first, p.y);
      second = _mm512_permutex2var_epi64(p.x, s.second, p.y);
      groups /= 2;
      inBlock /= 2;
    }
    store(values + 16 * block, first);
    store(values + 16 * block + 8, second);
  }
  for (std::size_t gap = 8, m = t.degree / 16; m >= 1; gap *= 2, m /= 2) {
    for (std::size_t i = 0; i < m; ++i) {
      const Vector w = set(t.inverseRoots[m + i]), wShoup = set(t.inverseRootsShoup[m + i]);
      std::uint64_t* low = values + 2 * i * gap;
      std::uint64_t* high = low + gap;
      for (std::size_t j = 0; j < gap; j += 8) {
        const Pair p = inverseButterfly(load(low + j), load(high + j), w, wShoup, q, q2);
        store(low + j, p.x);
        store(high + j, p.y);
      }
    }
  }
  const Vector w = set(t.inverseDegree), wShoup = set(t.inverseDegreeShoup);
  for (std::size_t j = 0; j < t.degree; j += 8) {
    store(values + j, fold(shoupProduct(load(values + j), w, wShoup, q), q));
  }
}

PILLARBOX_AVX512 void add(const Modulus& q, const std::uint64_t* a, const std::uint64_t* b,
                          std::uint64_t* out, std::size_t count) {
  const Vector bound = set(q.value());
  for (std::size_t i = 0; i < count; i += 8) {
    store(out + i, fold(_mm512_add_epi64(load(a + i), load(b + i)), bound));
  }
}

PILLARBOX_AVX512 void subtract(const Modulus& q, const std::uint64_t* a, const std::uint64_t* b,
                               std::uint64_t* out, std::size_t count) {
  const Vector bound = set(q.value());
  for (std::size_t i = 0; i < count; i += 8) {
    const Vector x = _mm512_sub_epi64(load(a + i), load(b + i));
    store(out + i, _mm512_min_epu64(x, _mm512_add_epi64(x, bound)));
  }
}

PILLARBOX_AVX512 void reduceOnce(const Modulus& q, const std::uint64_t* in, std::uint64_t* out,
                                 std::size_t count) {
  const Vector bound = set(q.value());
  for (std::size_t i = 0; i < count; i += 8) store(out + i, fold(load(in + i), bound));
}

PILLARBOX_AVX512 void fromSmall(const Modulus& q, const std::int64_t* in, std::uint64_t* out,
                                std::size_t count) {
  const Vector modulus = set(q.value());
  for (std::size_t i = 0; i < count; i += 8) {
    const Vector x = _mm512_loadu_si512(in + i);
    store(out + i, _mm512_min_epu64(x, _mm512_add_epi64(x, modulus)));  // the negative are huge
  }
}

PILLARBOX_AVX512 void quotients(const std::uint64_t* const* a, const double* reciprocals,
                                std::size_t terms, std::uint64_t* out, std::size_t count) {
  for (std::size_t i = 0; i < count; i += 8) {
    __m512d sum = _mm512_set1_pd(0.5);
    for (std::size_t k = 0; k < terms; ++k) {
      sum = _mm512_add_pd(
          sum, _mm512_mul_pd(_mm512_cvtepi64_pd(load(a[k] + i)), _mm512_set1_pd(reciprocals[k])));
    }
    store(out + i, _mm512_cvttpd_epi64(sum));
  }
}

/// (high * 2^52 + low) mod q for any two 64-bit lanes below 2^64.
struct Reducer {
  Vector q, q2, q4, one, oneShoup, two52, two52Shoup, two104, two104Shoup;

  PILLARBOX_AVX512 explicit Reducer(const Modulus& m)
      : q(set(m.value())),
        q2(set(2 * m.value())),
        q4(set(4 * m.value())),
        one(set(1)),
        oneShoup(set(m.shoup(1))),
        two52(set((std::uint64_t{1} << 52) % m.value())),
        two52Shoup(set(m.shoup((std::uint64_t{1} << 52) % m.value()))) {
    const std::uint64_t square =
        m.multiply((std::uint64_t{1} << 52) % m.value(), (std::uint64_t{1} << 52) % m.value());
    two104 = set(square);
    two104Shoup = set(m.shoup(square));
  }
  PILLARBOX_AVX512 Vector operator()(Vector high, Vector low) const {
    high = _mm512_add_epi64(high, _mm512_srli_epi64(low, 52));
    low = _mm512_and_si512(low, set(kMask52));
    const Vector top = _mm512_srli_epi64(high, 52);
    high = _mm512_and_si512(high, set(kMask52));
    // Each below 2q, the sum below 6q.
    Vector sum = _mm512_add_epi64(shoupProduct(low, one, oneShoup, q),
                                  shoupProduct(high, two52, two52Shoup, q));
    sum = _mm512_add_epi64(sum, shoupProduct(top, two104, two104Shoup, q));
    return fold(fold(fold(sum, q4), q2), q);
  }
};

PILLARBOX_AVX512 void dot(const Modulus& q, const std::uint64_t* const* a,
                          const std::uint64_t* const* b, std::size_t terms, std::uint64_t* out,
                          std::size_t count) {
  const Reducer reduce(q);
  for (std::size_t i = 0; i < count; i += 16) {
    Vector high0 = _mm512_setzero_si512(), low0 = high0, high1 = high0, low1 = high0;
    for (std::size_t k = 0; k < terms; ++k) {
      const Vector a0 = load(a[k] + i), b0 = load(b[k] + i);
      const Vector a1 = load(a[k] + i + 8), b1 = load(b[k] + i + 8);
      high0 = _mm512_madd52hi_epu64(high0, a0, b0);
      low0 = _mm512_madd52lo_epu64(low0, a0, b0);
      high1 = _mm512_madd52hi_epu64(high1, a1, b1);
      low1 = _mm512_madd52lo_epu64(low1, a1, b1);
    }
    store(out + i, reduce(high0, low0));
    store(out + i + 8, reduce(high1, low1));
  }
}

PILLARBOX_AVX512 void combine(const Modulus& q, const std::uint64_t* const* a,
                              const std::uint64_t* scalars, std::size_t terms, std::uint64_t* out,
                              std::size_t count) {
  const Reducer reduce(q);
  for (std::size_t i = 0; i < count; i += 8) {
    Vector high = _mm512_setzero_si512(), low = high;
    for (std::size_t k = 0; k < terms; ++k) {
      const Vector x = load(a[k] + i), s = set(scalars[k]);
      high = _mm512_madd52hi_epu64(high, x, s);
      low = _mm512_madd52lo_epu64(low, x, s);
    }
    store(out + i, reduce(high, low));
  }
}

}  // namespace

const Kernels& avx512Kernels() {
  static const Kernels kKernels{"avx512",   forward,   inverse,   add, subtract,
                                reduceOnce, fromSmall, quotients, dot, combine};
  return kKernels;
}

}  // namespace pillarbox::he::cpu

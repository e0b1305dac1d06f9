// Portable kernels: 64-bit words and the compiler's 128-bit products.
#include "engine/he/cpu/kernels.h"

namespace pillarbox::he::cpu {

namespace {

/// w * x mod q in [0, 2q), for x < 2^52.
std::uint64_t shoupProduct(std::uint64_t x, std::uint64_t w, std::uint64_t wShoup,
                           std::uint64_t q) {
  const auto quotient = static_cast<std::uint64_t>((U128{x} * wShoup) >> 52);
  return x * w - quotient * q;
}

/// x - bound if that is not negative, else x; for x below 2^63.
std::uint64_t fold(std::uint64_t x, std::uint64_t bound) {
  const std::uint64_t y = x - bound;
  return y + (bound & (0 - (y >> 63)));
}

void forward(const NttTables& t, std::uint64_t* values) {
  const std::uint64_t q = t.modulus.value();
  for (std::size_t m = 1, gap = t.degree / 2; gap >= 1; m *= 2, gap /= 2) {
    for (std::size_t i = 0; i < m; ++i) {
      const std::uint64_t w = t.roots[m + i], wShoup = t.rootsShoup[m + i];
      std::uint64_t* low = values + 2 * i * gap;
      std::uint64_t* high = low + gap;
      for (std::size_t j = 0; j < gap; ++j) {
        const std::uint64_t x = fold(low[j], 2 * q);
        const std::uint64_t y = shoupProduct(high[j], w, wShoup, q);
        low[j] = x + y;
        high[j] = x - y + 2 * q;
      }
    }
  }
  for (std::size_t j = 0; j < t.degree; ++j) values[j] = fold(fold(values[j], 2 * q), q);
}

void inverse(const NttTables& t, std::uint64_t* values) {
  const std::uint64_t q = t.modulus.value();
  for (std::size_t m = t.degree / 2, gap = 1; m >= 1; m /= 2, gap *= 2) {
    for (std::size_t i = 0; i < m; ++i) {
      const std::uint64_t w = t.inverseRoots[m + i], wShoup = t.inverseRootsShoup[m + i];
      std::uint64_t* low = values + 2 * i * gap;
      std::uint64_t* high = low + gap;
      for (std::size_t j = 0; j < gap; ++j) {
        const std::uint64_t x = low[j], y = high[j];
        low[j] = fold(x + y, 2 * q);
        high[j] = shoupProduct(x - y + 2 * q, w, wShoup, q);
      }
    }
  }
  for (std::size_t j = 0; j < t.degree; ++j) {
    values[j] = fold(shoupProduct(values[j], t.inverseDegree, t.inverseDegreeShoup, q), q);
  }
}

void add(const Modulus& q, const std::uint64_t* a, const std::uint64_t* b, std::uint64_t* out,
         std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) out[i] = q.add(a[i], b[i]);
}

void subtract(const Modulus& q, const std::uint64_t* a, const std::uint64_t* b, std::uint64_t* out,
              std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) out[i] = q.subtract(a[i], b[i]);
}

void reduceOnce(const Modulus& q, const std::uint64_t* in, std::uint64_t* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) out[i] = fold(in[i], q.value());
}

void fromSmall(const Modulus& q, const std::int64_t* in, std::uint64_t* out, std::size_t count) {
  const auto modulus = static_cast<std::int64_t>(q.value());
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = static_cast<std::uint64_t>(in[i] + (modulus & (in[i] >> 63)));
  }
}

void quotients(const std::uint64_t* const* a, const double* reciprocals, std::size_t terms,
               std::uint64_t* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    double sum = 0.5;
    for (std::size_t k = 0; k < terms; ++k) {
      sum += static_cast<double>(static_cast<std::int64_t>(a[k][i])) * reciprocals[k];
    }
    out[i] = static_cast<std::uint64_t>(static_cast<std::int64_t>(sum));
  }
}

void dot(const Modulus& q, const std::uint64_t* const* a, const std::uint64_t* const* b,
         std::size_t terms, std::uint64_t* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    U128 sum = 0;
    for (std::size_t k = 0; k < terms; ++k) sum += U128{a[k][i]} * b[k][i];
    out[i] = q.reduce(sum);
  }
}

void combine(const Modulus& q, const std::uint64_t* const* a, const std::uint64_t* scalars,
             std::size_t terms, std::uint64_t* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    U128 sum = 0;
    for (std::size_t k = 0; k < terms; ++k) sum += U128{a[k][i]} * scalars[k];
    out[i] = q.reduce(sum);
  }
}

}  // namespace

const Kernels& portableKernels() {
  static const Kernels kKernels{"portable", forward,   inverse,   add, subtract,
                                reduceOnce, fromSmall, quotients, dot, combine};
  return kKernels;
}

}  // namespace pillarbox::he::cpu

#include "engine/protocol/horner.h"

#include <algorithm>
#include <cmath>

namespace pillarbox::protocol {

Horner::Horner(const models::Polynomial& polynomial, std::uint32_t f, double bound)
    : BeaverActivation(polynomial, f, bound) {
  // Mask 0 is z's, mask k the accumulator's before the (k+1)-th product.
  m_levels = polynomial.degree() - 1;
  m_masks = m_levels;
  for (std::size_t k = 0; k < m_masks; ++k) m_products.emplace_back(k, 0);
  finish();
}

double Horner::failureBound() const {
  const int scale = static_cast<int>(2 * m_f + m_polynomial.fractionBits);
  double sum = std::ldexp(largestValue(m_polynomial, 0, m_bound), scale - 64);
  for (std::uint32_t lowest = 1; lowest < m_levels; ++lowest) {
    sum += std::ldexp(largestValue(m_polynomial, lowest, m_bound), scale - 64);
  }
  return sum;
}

double Horner::errorBound() const {
  // In ulps of the accumulator's scale: each truncation errs by one, multiplied by z ever after.
  double error = 0;
  for (std::uint32_t level = 1; level < m_levels; ++level) error = error * m_bound + 1;
  error *= m_bound;  // the last product
  return std::ldexp(error, -static_cast<int>(m_polynomial.fractionBits)) + 2;
}

Status Horner::run(const Wire& wire, Multiplier& multiplier, std::span<const std::uint64_t> z,
                   std::span<std::uint64_t> out) const {
  const std::uint32_t d = m_polynomial.degree(), f = m_f;
  const std::size_t n = z.size();
  if (d == 1) {
    for (std::size_t i = 0; i < n; ++i) out[i] = coefficient(1) * z[i];
    multiplier.addConstant(out, coefficient(0) << f);
    multiplier.truncate(out, m_polynomial.fractionBits);
    return {};
  }
  Words accumulator;
  for (std::uint32_t level = 0; level < m_levels; ++level) {
    const std::span<const std::uint64_t> factor =
        level == 0 ? z : std::span<const std::uint64_t>(accumulator);
    PILLARBOX_TRY(multiplier.open(wire, std::vector<Multiplier::Factor>{{level, factor}}));
    Words product = multiplier.multiply(level, level, 0);
    if (level == 0) {  // (C_d z + C_(d-1)) z from z z
      for (std::size_t i = 0; i < n; ++i) {
        product[i] = coefficient(d) * product[i] + ((coefficient(d - 1) * z[i]) << f);
      }
    }
    const std::uint32_t next = d - 2 - level;
    multiplier.addConstant(product, coefficient(next) << (2 * f));
    multiplier.truncate(product, next > 0 ? f : f + m_polynomial.fractionBits);
    accumulator = std::move(product);
  }
  std::copy(accumulator.begin(), accumulator.end(), out.begin());
  return {};
}

}  // namespace pillarbox::protocol

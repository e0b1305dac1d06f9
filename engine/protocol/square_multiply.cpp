#include "engine/protocol/square_multiply.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace pillarbox::protocol {

SquareMultiply::SquareMultiply(const models::Polynomial& polynomial, std::uint32_t f, double bound)
    : BeaverActivation(polynomial, f, bound) {
  const std::uint32_t degree = polynomial.degree();
  std::vector<bool> needed(degree + 1), factor(degree + 1);
  for (std::uint32_t k = degree; k >= 2; --k) {
    if (polynomial.coefficients[k] != 0) needed[k] = true;
    if (needed[k]) needed[k / 2] = needed[k - k / 2] = factor[k / 2] = factor[k - k / 2] = true;
  }
  m_maskOf.assign(degree + 1, 0);
  std::vector<bool> opened(degree + 1);
  for (std::uint32_t k = 2; k <= degree; ++k) {
    if (!needed[k]) continue;
    const auto level = static_cast<std::size_t>(std::bit_width(k - 1)) - 1;  // ceil(log2 k) - 1
    if (m_plan.size() <= level) m_plan.resize(level + 1);
    for (const std::uint32_t part : {k / 2, k - k / 2}) {
      if (opened[part]) continue;
      opened[part] = true;
      m_maskOf[part] = m_masks++;
      m_plan[level].opened.push_back(part);
    }
    m_plan[level].steps.push_back({k, k / 2, k - k / 2});
    m_products.emplace_back(m_maskOf[k / 2], m_maskOf[k - k / 2]);
  }
  m_levels = static_cast<std::uint32_t>(m_plan.size());
  finish();
}

double SquareMultiply::failureBound() const {
  double sum = std::ldexp(largestValue(m_polynomial, 0, m_bound),
                          static_cast<int>(m_f + m_polynomial.fractionBits) - 64);
  for (const Level& level : m_plan) {
    for (const Step& step : level.steps) {
      sum += std::ldexp(std::pow(m_bound, step.power), static_cast<int>(2 * m_f) - 64);
    }
  }
  return sum;
}

double SquareMultiply::errorBound() const {
  // In ulps: z is exact, a product errs by what its factors do and by its truncation.
  const double ulp = std::ldexp(1, -static_cast<int>(m_f));
  std::vector<double> error(m_polynomial.degree() + 1, 0);
  double sum = 2;  // the last truncation, and that of the exact value
  for (const Level& level : m_plan) {
    for (const Step& step : level.steps) {
      const double left = std::pow(m_bound, step.left), right = std::pow(m_bound, step.right);
      error[step.power] = error[step.left] * right + error[step.right] * left +
                          error[step.left] * error[step.right] * ulp + 1;
      sum += error[step.power] *
             std::abs(static_cast<double>(m_polynomial.coefficients[step.power])) *
             std::ldexp(1, -static_cast<int>(m_polynomial.fractionBits));
    }
  }
  return sum;
}

Status SquareMultiply::run(const Wire& wire, Multiplier& multiplier,
                           std::span<const std::uint64_t> z, std::span<std::uint64_t> out) const {
  std::vector<Words> powers(m_polynomial.degree() + 1);
  powers[1].assign(z.begin(), z.end());
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = coefficient(1) * z[i];
  std::size_t product = 0;
  for (const Level& level : m_plan) {
    std::vector<Multiplier::Factor> factors;
    for (const std::uint32_t k : level.opened) factors.push_back({m_maskOf[k], powers[k]});
    PILLARBOX_TRY(multiplier.open(wire, factors));
    for (const Step& step : level.steps) {
      Words& power = powers[step.power] =
          multiplier.multiply(product++, m_maskOf[step.left], m_maskOf[step.right]);
      multiplier.truncate(power, m_f);
      for (std::size_t i = 0; i < out.size(); ++i) out[i] += coefficient(step.power) * power[i];
    }
  }
  multiplier.addConstant(out, coefficient(0) << m_f);
  multiplier.truncate(out, m_polynomial.fractionBits);
  return {};
}

}  // namespace pillarbox::protocol

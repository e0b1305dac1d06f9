#include "engine/protocol/honeybadger.h"

#include <array>
#include <stdexcept>

#include "engine/core/secure_vector.h"

namespace pillarbox::protocol {

namespace {
std::uint64_t binomial(std::uint32_t n, std::uint32_t k) {
  std::uint64_t value = 1;
  for (std::uint32_t i = 1; i <= k; ++i) value = value * (n - k + i) / i;
  return value;
}

U128 lift(std::uint64_t word) {
  return static_cast<U128>(static_cast<I128>(static_cast<std::int64_t>(word)));
}
}  // namespace

HoneyBadger::HoneyBadger(const models::Polynomial& polynomial, std::uint32_t f)
    : m_degree(polynomial.degree()),
      m_truncation(m_degree * f + polynomial.fractionBits - f),
      m_coefficients(m_degree + 1),
      m_vectorised(ifma::available()) {
  if (m_degree < 1 || m_degree > kMaxDegree || m_degree * f + polynomial.fractionBits + 16 > 127) {
    throw std::logic_error("a polynomial of degree " + std::to_string(m_degree) + " with " +
                           std::to_string(f) + " fraction bits does not fit 128 bits");
  }
  for (std::uint32_t k = 0; k <= m_degree; ++k) {
    for (std::uint32_t j = k; j <= m_degree; ++j) {
      const auto coefficient = static_cast<U128>(static_cast<I128>(polynomial.coefficients[j]));
      m_coefficients[k].push_back((coefficient * binomial(j, k)) << (f * (m_degree - j)));
    }
  }
  m_plan = ifma::Plan::make(m_coefficients, m_truncation);
}

Cost HoneyBadger::cost(std::uint64_t values) {
  return {1, 8 * values, 0};
}

U128 HoneyBadger::q(std::uint32_t k, U128 opening) const {
  const std::vector<U128>& coefficients = m_coefficients[k];
  U128 value = coefficients.back();
  for (std::size_t i = coefficients.size() - 1; i-- > 0;) value = value * opening + coefficients[i];
  return value;
}

U128 HoneyBadger::clientValue(std::uint64_t opening, std::span<const U128> powers) const {
  const U128 lifted = lift(opening);
  U128 sum = 0;
  for (std::uint32_t k = 1; k <= m_degree; ++k) sum += q(k, lifted) * powers[k - 1];
  return sum;
}

U128 HoneyBadger::engineValue(std::uint64_t opening, std::span<const U128> powers) const {
  return clientValue(opening, powers) + q(0, lift(opening));
}

void HoneyBadger::evaluateClient(std::span<const std::uint64_t> opening,
                                 std::span<const U128* const> powers,
                                 std::span<std::uint64_t> out) const {
  evaluate(ifma::Party::Client, opening, powers, out);
}

void HoneyBadger::evaluateEngine(std::span<const std::uint64_t> opening,
                                 std::span<const U128* const> powers,
                                 std::span<std::uint64_t> out) const {
  evaluate(ifma::Party::Engine, opening, powers, out);
}

void HoneyBadger::evaluate(ifma::Party party, std::span<const std::uint64_t> opening,
                           std::span<const U128* const> powers,
                           std::span<std::uint64_t> out) const {
  const std::size_t done =
      m_vectorised ? ifma::evaluate(m_plan, party, opening, powers, out.data()) : 0;
  std::array<U128, kMaxDegree> shares;
  for (std::size_t i = done; i < opening.size(); ++i) {
    for (std::uint32_t k = 0; k < m_degree; ++k) shares[k] = powers[k][i];
    const std::span<const U128> values(shares.data(), m_degree);
    const U128 share = party == ifma::Party::Client
                           ? ring::truncateClient(clientValue(opening[i], values), m_truncation)
                           : ring::truncateEngine(engineValue(opening[i], values), m_truncation);
    out[i] = static_cast<std::uint64_t>(share);
  }
  secureZero(shares.data(), sizeof shares);
}

}  // namespace pillarbox::protocol

#include "engine/protocol/honeybadger.h"

#include <stdexcept>
#include <string>
#include <utility>

#include "engine/ring/fixed_point.h"

namespace pillarbox::protocol {

using offline::Party;

namespace {

U128 lift(std::uint64_t word) {
  return static_cast<U128>(static_cast<I128>(static_cast<std::int64_t>(word)));
}

/// One step of Horner's rule after another, from the leading coefficient on.
/// @param coefficient  of i: this party's share of R_i
template <Party kParty, typename Coefficient>
U128 horner(std::uint32_t degree, U128 leading, U128 opening, const Coefficient& coefficient) {
  U128 value = coefficient(degree - 1);
  if constexpr (kParty == Party::Engine) value += leading * opening;
  for (std::uint32_t i = degree - 1; i-- > 0;) value = value * opening + coefficient(i);
  return value;
}

/// The degree is a constant, so that a value's steps stand in a row, and nothing that is secret
/// goes through the stack.
template <Party kParty, std::uint32_t kDegree>
void evaluate(U128 leading, std::uint32_t truncation, std::span<const std::uint64_t> opening,
              std::span<const U128* const> coefficients, std::uint64_t* out) {
  for (std::size_t n = 0; n < opening.size(); ++n) {
    const U128 value = horner<kParty>(kDegree, leading, lift(opening[n]),
                                      [&](std::uint32_t i) { return coefficients[i][n]; });
    out[n] = static_cast<std::uint64_t>(kParty == Party::Client
                                            ? ring::truncateClient(value, truncation)
                                            : ring::truncateEngine(value, truncation));
  }
}

template <Party kParty, std::uint32_t kDegree = HoneyBadger::kMaxDegree>
void evaluate(std::uint32_t degree, U128 leading, std::uint32_t truncation,
              std::span<const std::uint64_t> opening, std::span<const U128* const> coefficients,
              std::uint64_t* out) {
  if constexpr (kDegree > 1) {
    if (degree < kDegree) {
      return evaluate<kParty, kDegree - 1>(degree, leading, truncation, opening, coefficients, out);
    }
  }
  evaluate<kParty, kDegree>(leading, truncation, opening, coefficients, out);
}

}  // namespace

HoneyBadger::HoneyBadger(const models::Polynomial& polynomial, std::uint32_t f)
    : m_degree(polynomial.degree()), m_truncation(m_degree * f + polynomial.fractionBits - f) {
  if (m_degree < 1 || m_degree > kMaxDegree || m_degree * f + polynomial.fractionBits + 16 > 127) {
    throw std::logic_error("a polynomial of degree " + std::to_string(m_degree) + " with " +
                           std::to_string(f) + " fraction bits does not fit 128 bits");
  }
  m_leading = lift(static_cast<std::uint64_t>(polynomial.coefficients.back()));
}

Cost HoneyBadger::cost(std::uint64_t values) {
  return {1, 8 * values, 0};
}

U128 HoneyBadger::value(Party party, std::uint64_t opening,
                        std::span<const U128> coefficients) const {
  const auto coefficient = [&](std::uint32_t i) { return coefficients[i]; };
  return party == Party::Client
             ? horner<Party::Client>(m_degree, m_leading, lift(opening), coefficient)
             : horner<Party::Engine>(m_degree, m_leading, lift(opening), coefficient);
}

void HoneyBadger::evaluateClient(std::span<const std::uint64_t> opening,
                                 std::span<const U128* const> coefficients,
                                 std::span<std::uint64_t> out) const {
  evaluate<Party::Client>(m_degree, m_leading, m_truncation, opening, coefficients, out.data());
}

void HoneyBadger::evaluateEngine(std::span<const std::uint64_t> opening,
                                 std::span<const U128* const> coefficients,
                                 std::span<std::uint64_t> out) const {
  evaluate<Party::Engine>(m_degree, m_leading, m_truncation, opening, coefficients, out.data());
}

}  // namespace pillarbox::protocol

#include "engine/protocol/espn.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "engine/ring/fixed_point.h"

namespace pillarbox::protocol {

namespace {

constexpr std::uint32_t kRingBits = 64;
constexpr std::uint32_t kFailureBits = 31;  // z^k fails with less than 2^-31

std::uint64_t binomial(std::uint32_t n, std::uint32_t k) {
  std::uint64_t value = 1;
  for (std::uint32_t i = 1; i <= k; ++i) value = value * (n - k + i) / i;
  return value;
}

std::uint64_t power(std::uint64_t base, std::uint32_t exponent) {
  std::uint64_t value = 1;
  for (std::uint32_t i = 0; i < exponent; ++i) value *= base;
  return value;
}

std::uint64_t coefficient(const models::Polynomial& polynomial, std::uint32_t k) {
  return static_cast<std::uint64_t>(polynomial.coefficients[k]);
}

/// Where the power's scale is below f, up; otherwise the party's truncation, down.
template <typename Truncate>
std::uint64_t rescale(std::uint64_t value, std::uint32_t bits, std::uint32_t f,
                      const Truncate& truncate) {
  return bits <= f ? value << (f - bits) : truncate(value, bits - f);
}

}  // namespace

Espn::Espn(const models::Polynomial& polynomial, std::uint32_t f, double bound)
    : m_polynomial(polynomial), m_f(f), m_bound(bound) {
  for (std::uint32_t k = 2; k <= polynomial.degree(); ++k) {
    if (polynomial.coefficients[k] == 0) continue;
    const std::uint32_t precision = workingPrecision(k);
    if (m_groups.empty() || m_groups.back().precision != precision) {
      m_groups.push_back({precision, {}});
    }
    m_groups.back().powers.push_back(k);
  }

  // The client's factors u by group, power and exponent; the engine's B by group and exponent.
  struct Factor {
    std::uint32_t drop, k, j;
  };
  std::vector<Factor> factors;
  for (const Group& group : m_groups) {
    for (const std::uint32_t k : group.powers) {
      auto& sum = m_plan.sums.emplace_back();
      for (std::uint32_t j = 1; j < k; ++j) {
        sum.push_back({static_cast<std::uint32_t>(factors.size()), m_plan.engineFactors + j - 1});
        factors.push_back({m_f - group.precision, k, j});
      }
    }
    m_plan.engineFactors += group.masks();
  }
  m_plan.clientFactors = static_cast<std::uint32_t>(factors.size());
  m_plan.derive = [factors = std::move(factors)](std::uint32_t number,
                                                 std::span<const std::uint64_t> share,
                                                 std::span<std::uint64_t> out) {
    const auto [drop, k, j] = factors.at(number);
    const std::uint64_t binom = binomial(k, j);
    for (std::size_t i = 0; i < share.size(); ++i) {
      out[i] = binom * power(ring::truncateClient(share[i], drop), k - j);
    }
  };
}

std::uint32_t Espn::workingPrecision(std::uint32_t k) const {
  const double room =
      static_cast<double>(kRingBits - kFailureBits) / k - std::max(0.0, std::log2(m_bound));
  const double bits = std::min(static_cast<double>(m_f), std::floor(room));
  if (bits < 1) {
    throw std::logic_error("no fraction bits are left for the power " + std::to_string(k));
  }
  return static_cast<std::uint32_t>(bits);
}

Cost Espn::cost(std::uint64_t values) const {
  std::uint64_t words = 0;
  for (const Group& group : m_groups) words += group.masks();
  return {words > 0 ? 1U : 0U, 8 * words * values, 0};
}

double Espn::errorBound() const {
  const double ulp = std::ldexp(1, -static_cast<int>(m_f));
  double sum = 2;  // the last truncation, and that of the exact value
  for (const Group& group : m_groups) {
    const double dropped =
        group.precision < m_f ? std::ldexp(1, -static_cast<int>(group.precision)) : 0;
    for (const std::uint32_t k : group.powers) {
      const double error = k * std::pow(m_bound + dropped, k - 1) * dropped / ulp + 1;
      sum += std::abs(static_cast<double>(m_polynomial.coefficients[k])) *
             std::ldexp(error, -static_cast<int>(m_polynomial.fractionBits));
    }
  }
  return sum;
}

double Espn::failureBound() const {
  double sum = std::ldexp(largestValue(m_polynomial, 0, m_bound),
                          static_cast<int>(m_f + m_polynomial.fractionBits) - 64);
  for (const Group& group : m_groups) {
    for (const std::uint32_t k : group.powers) {
      sum += std::ldexp(std::pow(m_bound, k), static_cast<int>(k * group.precision) - 64);
    }
  }
  return sum;
}

struct Espn::Client final : ClientActivation {
  Client(const Espn& owner, offline::ClientStage correlations)
      : espn(owner),
        share(std::move(correlations.share)),
        products(std::move(correlations.products.sums)) {}

  Status evaluate(const Wire& wire, std::span<std::uint64_t> out) override {
    const std::size_t n = out.size();
    for (std::size_t i = 0; i < n; ++i) out[i] = coefficient(espn.m_polynomial, 1) * share[i];
    Words opened(n);
    std::size_t next = 0;
    for (const Group& group : espn.m_groups) {
      Words a = share;
      ring::truncateClient(a, espn.m_f - group.precision);
      const std::span<Words> sums(products.data() + next, group.powers.size());
      next += group.powers.size();
      for (std::uint32_t j = 1; j <= group.masks(); ++j) {
        PILLARBOX_TRY(receiveAll(wire, opened));
        for (std::size_t p = 0; p < sums.size(); ++p) {
          const std::uint32_t k = group.powers[p];
          if (j >= k) continue;
          const std::uint64_t factor = binomial(k, j);
          for (std::size_t i = 0; i < n; ++i) sums[p][i] += factor * power(a[i], k - j) * opened[i];
        }
      }
      for (std::size_t p = 0; p < sums.size(); ++p) {
        const std::uint32_t k = group.powers[p];
        for (std::size_t i = 0; i < n; ++i) {
          const auto truncate = [](std::uint64_t value, std::uint32_t bits) {
            return ring::truncateClient(value, bits);
          };
          out[i] += coefficient(espn.m_polynomial, k) *
                    rescale(sums[p][i] + power(a[i], k), k * group.precision, espn.m_f, truncate);
        }
      }
    }
    ring::truncateClient(out, espn.m_polynomial.fractionBits);
    return {};
  }

  const Espn& espn;
  Words share;
  std::vector<Words> products;  // shares of the sums of u B, by power
};

struct Espn::Engine final : EngineActivation {
  Engine(const Espn& owner, offline::ProductShares shares)
      : espn(owner), masks(std::move(shares.factors)), products(std::move(shares.sums)) {}

  Status evaluate(const Wire& wire, std::span<const std::uint64_t> share,
                  std::span<std::uint64_t> out) override {
    const std::size_t n = share.size();
    std::vector<Words> truncated;
    Words masked(n);
    std::size_t mask = 0;
    for (const Group& group : espn.m_groups) {
      Words& b = truncated.emplace_back(share.begin(), share.end());
      ring::truncateEngine(b, espn.m_f - group.precision);
      for (std::uint32_t j = 1; j <= group.masks(); ++j) {
        const Words& hidden = masks[mask++];
        for (std::size_t i = 0; i < n; ++i) masked[i] = power(b[i], j) - hidden[i];
        PILLARBOX_TRY(sendAll(wire, masked));
      }
    }
    const std::uint64_t constant = coefficient(espn.m_polynomial, 0) << espn.m_f;
    for (std::size_t i = 0; i < n; ++i) {
      out[i] = coefficient(espn.m_polynomial, 1) * share[i] + constant;
    }
    std::size_t next = 0;
    for (std::size_t g = 0; g < espn.m_groups.size(); ++g) {
      const Group& group = espn.m_groups[g];
      for (const std::uint32_t k : group.powers) {
        const Words& own = products[next++];
        for (std::size_t i = 0; i < n; ++i) {
          const auto truncate = [](std::uint64_t value, std::uint32_t bits) {
            return ring::truncateEngine(value, bits);
          };
          out[i] +=
              coefficient(espn.m_polynomial, k) *
              rescale(own[i] + power(truncated[g][i], k), k * group.precision, espn.m_f, truncate);
        }
      }
    }
    ring::truncateEngine(out, espn.m_polynomial.fractionBits);
    return {};
  }

  const Espn& espn;
  std::vector<Words> masks;     // B by group and exponent
  std::vector<Words> products;  // shares of the sums of u B, by power
};

std::unique_ptr<ClientActivation> Espn::client(offline::ClientStage correlations) const {
  return std::make_unique<Client>(*this, std::move(correlations));
}

std::unique_ptr<EngineActivation> Espn::engine(offline::EngineStage correlations) const {
  return std::make_unique<Engine>(*this, std::move(correlations.products));
}

}  // namespace pillarbox::protocol

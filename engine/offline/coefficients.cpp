#include "engine/offline/coefficients.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace pillarbox::offline {

namespace {

/// Values whose powers are kept aside while coefficients take their place.
constexpr std::size_t kBlock = 256;

std::uint64_t binomial(std::uint32_t n, std::uint32_t k) {
  std::uint64_t value = 1;
  for (std::uint32_t i = 1; i <= k; ++i) value = value * (n - k + i) / i;
  return value;
}

/// What λ^k counts in R_i; [i][k].
std::vector<std::vector<U128>> factorsOf(const models::Polynomial& polynomial, std::uint32_t f) {
  const std::uint32_t degree = polynomial.degree();
  std::vector<std::vector<U128>> factors(degree);
  for (std::uint32_t i = 0; i < degree; ++i) {
    for (std::uint32_t k = 0; i + k <= degree; ++k) {
      const auto coefficient = static_cast<U128>(static_cast<I128>(polynomial.coefficients[i + k]));
      factors[i].push_back((coefficient * binomial(i + k, k)) << (f * (degree - i - k)));
    }
  }
  return factors;
}

}  // namespace

void powersToCoefficients(const models::Polynomial& polynomial, std::uint32_t f, Party party,
                          std::span<SecureVector<U128>> shares) {
  const std::uint32_t degree = polynomial.degree();
  bool fits = degree >= 1 && degree * f < 128 && shares.size() == degree;
  for (const auto& tensor : shares) fits = fits && tensor.size() == shares.front().size();
  if (!fits) throw std::logic_error("these are not the powers of one mask");
  const std::vector<std::vector<U128>> factors = factorsOf(polynomial, f);
  std::vector<SecureVector<U128>> powers(degree, SecureVector<U128>(kBlock));
  const std::size_t count = shares.front().size();
  for (std::size_t first = 0; first < count; first += kBlock) {
    const std::size_t n = std::min(kBlock, count - first);
    for (std::uint32_t k = 0; k < degree; ++k) {
      std::copy_n(shares[k].data() + first, n, powers[k].data());
    }
    for (std::uint32_t i = 0; i < degree; ++i) {
      U128* const sum = shares[i].data() + first;
      std::fill_n(sum, n, party == Party::Engine ? factors[i][0] : 0);
      for (std::uint32_t k = 1; i + k <= degree; ++k) {
        const U128 factor = factors[i][k];
        const U128* const power = powers[k - 1].data();
        if (factor == 0) continue;  // public
        for (std::size_t j = 0; j < n; ++j) sum[j] += factor * power[j];
      }
    }
  }
}

}  // namespace pillarbox::offline

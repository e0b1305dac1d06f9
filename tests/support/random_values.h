// Reproducible random numbers for tests: the same on every platform, unlike the distributions of
// the standard library. Not for anything secret.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>

namespace pillarbox::testing {

class RandomValues {
 public:
  explicit RandomValues(std::uint64_t seed) : m_engine(seed) {}

  std::uint64_t word() { return m_engine(); }
  /// Uniform below `limit`, which is positive; the bias of the modulus does not matter in tests.
  std::uint64_t below(std::uint64_t limit) { return m_engine() % limit; }
  /// Uniform in [low, high).
  double uniform(double low, double high) {
    return low + (high - low) * std::ldexp(static_cast<double>(m_engine() >> 11), -53);
  }

 private:
  std::mt19937_64 m_engine;
};

}  // namespace pillarbox::testing

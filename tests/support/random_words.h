// Uniform test data from the program's own generator, under a fresh seed each run that a failing
// test prints, so that the failure can be repeated (PILLARBOX_TEST_SEED=hex).
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "engine/random/random.h"

namespace pillarbox::testing {

class RandomWords {
 public:
  RandomWords() : m_seed(choose()), m_expander(m_seed, 0) {}

  std::uint64_t word() {
    std::uint64_t value = 0;
    m_expander.fill(std::span<std::uint64_t>(&value, 1));
    return value;
  }
  std::vector<std::uint64_t> words(std::size_t count) {
    std::vector<std::uint64_t> values(count);
    m_expander.fill(std::span<std::uint64_t>(values));
    return values;
  }
  U128 wide() { return (static_cast<U128>(word()) << 64) | word(); }
  /// Uniform in [low, high].
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(word() % static_cast<std::uint64_t>(high - low + 1));
  }
  double real(double low, double high) {
    return low + (high - low) * (static_cast<double>(word() >> 11) / 9007199254740992.0);
  }
  random::Seed seed() {
    random::Seed value;
    for (auto& byte : value.bytes) byte = static_cast<std::uint8_t>(word());
    return value;
  }

 private:
  static random::Seed choose() {
    random::Seed seed;
    const char* given = std::getenv("PILLARBOX_TEST_SEED");
    if (given != nullptr) {
      const std::string text(given);
      for (std::size_t i = 0; i < seed.bytes.size() && 2 * i + 1 < text.size(); ++i) {
        seed.bytes[i] = static_cast<std::uint8_t>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
      }
    } else {
      seed = random::freshSeed().value();
    }
    std::string text;
    for (const std::uint8_t byte : seed.bytes) {
      char digits[3];
      std::snprintf(digits, sizeof digits, "%02x", byte);
      text += digits;
    }
    std::printf("test data: PILLARBOX_TEST_SEED=%s\n", text.c_str());
    return seed;
  }

  random::Seed m_seed;
  random::Expander m_expander;
};

}  // namespace pillarbox::testing

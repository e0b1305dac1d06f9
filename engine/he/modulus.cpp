#include "engine/he/modulus.h"

#include <bit>
#include <stdexcept>
#include <string>

namespace pillarbox::he {

Modulus::Modulus(std::uint64_t value) : m_value(value) {
  m_bits = static_cast<std::uint32_t>(std::bit_width(value));
  if (m_bits < kMinPrimeBits || m_bits > kMaxPrimeBits || value % 2 == 0) {
    throw std::logic_error("modulus " + std::to_string(value) + " is outside 2^20..2^50 or even");
  }
  const U128 ratio = ~U128{0} / value;  // floor((2^128 - 1) / q) = floor(2^128 / q): q is odd
  m_ratioLow = static_cast<std::uint64_t>(ratio);
  m_ratioHigh = static_cast<std::uint64_t>(ratio >> 64);
  m_two64 = static_cast<std::uint64_t>((U128{1} << 64) % value);
  m_two128 = static_cast<std::uint64_t>((U128{m_two64} * m_two64) % value);
}

std::uint64_t Modulus::power(std::uint64_t base, std::uint64_t exponent) const {
  std::uint64_t result = 1;
  for (base %= m_value; exponent != 0; exponent >>= 1) {
    if (exponent & 1) result = multiply(result, base);
    base = multiply(base, base);
  }
  return result;
}

bool isPrime(std::uint64_t n) {
  constexpr std::uint64_t kBases[] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37};
  if (n < 2) return false;
  for (const std::uint64_t p : kBases) {
    if (n % p == 0) return n == p;
  }
  const auto multiply = [n](std::uint64_t a, std::uint64_t b) {
    return static_cast<std::uint64_t>(U128{a} * b % n);
  };
  std::uint64_t odd = n - 1;
  int twos = 0;
  for (; odd % 2 == 0; odd /= 2) ++twos;
  for (const std::uint64_t base : kBases) {
    std::uint64_t x = 1, b = base;
    for (std::uint64_t e = odd; e != 0; e >>= 1) {
      if (e & 1) x = multiply(x, b);
      b = multiply(b, b);
    }
    bool witness = x != 1 && x != n - 1;
    for (int i = 1; witness && i < twos; ++i) {
      x = multiply(x, x);
      witness = x != n - 1;
    }
    if (witness) return false;
  }
  return true;
}

std::uint64_t PrimeSource::next(std::uint32_t bits) {
  if (bits < kMinPrimeBits || bits > kMaxPrimeBits) {
    throw std::logic_error("no primes of " + std::to_string(bits) + " bits are used here");
  }
  const std::uint64_t step = 2 * m_degree;
  std::uint64_t candidate = m_last[bits] != 0
                                ? m_last[bits] - step
                                : (((std::uint64_t{1} << bits) - 2) / step) * step + 1;
  for (; candidate >> (bits - 1) == 1; candidate -= step) {
    if (!isPrime(candidate)) continue;
    m_last[bits] = candidate;
    return candidate;
  }
  throw std::logic_error("not enough primes of " + std::to_string(bits) + " bits for degree " +
                         std::to_string(m_degree));
}

}  // namespace pillarbox::he

// One word-sized prime modulus: constants and constant-time arithmetic.
//
// Every prime here lies between 2^20 and 2^50. The upper end lets a residue below 4q sit in 52
// bits, which is what the AVX-512 IFMA multiplier takes and what a double holds exactly.
// Reductions are Barrett's with floor(2^128 / q) and end in a masked subtraction, so that no branch
// and no address depends on a residue.
#pragma once

#include <cstdint>

#include "engine/core/int128.h"

namespace pillarbox::he {

inline constexpr std::uint32_t kMinPrimeBits = 20;
inline constexpr std::uint32_t kMaxPrimeBits = 50;

class Modulus {
 public:
  Modulus() = default;
  /// @param value  a prime (not checked) of kMinPrimeBits..kMaxPrimeBits bits.
  /// Throws std::logic_error outside that range.
  explicit Modulus(std::uint64_t value);

  std::uint64_t value() const { return m_value; }
  /// Bits of a residue on the wire.
  std::uint32_t bits() const { return m_bits; }

  /// x mod q for any 128-bit x.
  std::uint64_t reduce(U128 x) const {
    const auto x0 = static_cast<std::uint64_t>(x), x1 = static_cast<std::uint64_t>(x >> 64);
    const std::uint64_t carry = static_cast<std::uint64_t>((U128{x0} * m_ratioLow) >> 64);
    const U128 middle = U128{x0} * m_ratioHigh + carry;
    const U128 other = U128{x1} * m_ratioLow + static_cast<std::uint64_t>(middle);
    const std::uint64_t quotient = x1 * m_ratioHigh + static_cast<std::uint64_t>(middle >> 64) +
                                   static_cast<std::uint64_t>(other >> 64);
    return subtractOnce(x0 - quotient * m_value, m_value);
  }
  std::uint64_t multiply(std::uint64_t a, std::uint64_t b) const { return reduce(U128{a} * b); }
  /// a + b, a - b and -a for residues.
  std::uint64_t add(std::uint64_t a, std::uint64_t b) const { return subtractOnce(a + b, m_value); }
  std::uint64_t subtract(std::uint64_t a, std::uint64_t b) const {
    return subtractOnce(a + m_value - b, m_value);
  }
  std::uint64_t negate(std::uint64_t a) const { return subtract(0, a); }
  /// A signed 64-bit (128-bit) integer mod q.
  std::uint64_t fromSigned(std::int64_t x) const {
    const auto sign = static_cast<std::uint64_t>(x >> 63);
    return subtract(reduce(static_cast<std::uint64_t>(x)), sign & m_two64);
  }
  std::uint64_t fromSigned(I128 x) const {
    const auto sign = static_cast<std::uint64_t>(x >> 127);
    return subtract(reduce(static_cast<U128>(x)), sign & m_two128);
  }

  /// Not constant-time; for public values.
  std::uint64_t power(std::uint64_t base, std::uint64_t exponent) const;
  std::uint64_t inverse(std::uint64_t a) const { return power(a, m_value - 2); }

  /// floor(w * 2^52 / q), Shoup's constant for multiplying by a fixed residue w.
  std::uint64_t shoup(std::uint64_t w) const {
    return static_cast<std::uint64_t>((U128{w} << 52) / m_value);
  }

 private:
  static std::uint64_t subtractOnce(std::uint64_t x, std::uint64_t q) {
    const std::uint64_t y = x - q;  // its top bit is the borrow: x < 2q < 2^51
    return y + (q & (0 - (y >> 63)));
  }
  std::uint64_t m_value = 0;
  std::uint64_t m_ratioLow = 0, m_ratioHigh = 0;  // floor(2^128 / q)
  std::uint64_t m_two64 = 0, m_two128 = 0;        // mod q
  std::uint32_t m_bits = 0;
};

/// The greatest primes below 2^bits that are 1 mod 2 * degree (so that X^degree + 1 splits into
/// linear factors), `count` of them in falling order, leaving out those in `used` and adding the
/// result to it by the caller's wish. Public, deterministic: both parties derive the same list.
/// Throws std::logic_error if there are not enough or `bits` is out of range.
class PrimeSource {
 public:
  explicit PrimeSource(std::uint64_t degree) : m_degree(degree) {}
  /// The next unused prime just below 2^bits; never the same one twice.
  std::uint64_t next(std::uint32_t bits);

 private:
  std::uint64_t m_degree;
  std::uint64_t m_last[kMaxPrimeBits + 1] = {};
};

/// Deterministic primality of a 64-bit integer (Miller-Rabin with the first twelve primes).
bool isPrime(std::uint64_t n);

}  // namespace pillarbox::he

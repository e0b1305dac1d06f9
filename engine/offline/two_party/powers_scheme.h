// What the two parties of powers.h derive from a plan: widths, primes and tables. Internal to the
// powers and their tests; the reasons for every number are at the top of powers.h.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/he/rns.h"
#include "engine/offline/two_party/powers.h"

namespace pillarbox::offline::two_party {

namespace powers {

inline constexpr std::uint32_t kMaxDegree = models::Limits::kMaxDegree;
/// Values are numbered from 1: of powers, λ^k has number k and is the product of two others; of
/// products, the client's factors come first, then the sums, then the engine's factors, of which
/// the client knows nothing.
inline constexpr std::uint32_t kMaxValues = 63;
inline constexpr std::uint32_t kHidingBits = 62;
inline constexpr std::uint32_t kMeanFloodingBits = kHidingBits + 4;  ///< in the mean over errors
inline constexpr std::uint32_t kAnswerBits0 = 3;  ///< c0 comes back modulo t·2^3

template <typename T>
using ByValue = std::array<T, kMaxValues + 1>;  ///< [k]; [0] unused

/// λ^k = λ^a·λ^b; a = b = 0 for what is no power.
struct Split {
  std::uint32_t a = 0, b = 0;
};

/// A product in an answer: the client's value of one number times the engine's of another, a signed
/// integer of `ownBits` bits.
struct Term {
  std::uint32_t sent = 0, own = 0, ownBits = 0;
};

/// The residues that one ciphertext of a value carries: primes of t, then primes of D.
struct PartSizes {
  std::vector<std::uint32_t> tBits, dBits;
  ByValue<std::uint32_t> answerT{};  // primes of t in the answer for value k; 0: not in this part
  ByValue<std::uint32_t> sentT{}, sentD{};  // in the encryption of value k; 0: none
  std::uint32_t bits() const;
};

/// The sum of the first `count`.
std::uint32_t sum(std::span<const std::uint32_t> values, std::size_t count);

/// Everything about a plan but its primes.
struct Sizes {
  std::uint32_t logSlots = 0, ringBits = 0;
  std::uint32_t degree = 0, clientBits = 0;                      // of powers
  std::uint32_t clientFactors = 0, sums = 0, engineFactors = 0;  // of products
  std::uint32_t values = 0;  // that the client sends or is answered: numbers 1 to this
  std::uint32_t levels = 0, answerBits1 = 0;
  ByValue<Split> split{};
  ByValue<std::vector<Term>> terms{};  // of the answer for value k
  ByValue<std::uint32_t> level{};      // value k is answered in round trip level[k] - 1; 0: never
  ByValue<std::uint32_t> sentLevel{};  // and encrypted in round trip sentLevel[k] - 1; 0: never
  ByValue<std::uint32_t> tBits{};      // of the answer for value k
  std::vector<PartSizes> parts;

  /// Both parties' numbers, those of the engine's factors included.
  std::uint32_t ownValues() const { return values + engineFactors; }
  std::uint32_t firstSum() const { return clientFactors + 1; }
  std::uint32_t firstEngineFactor() const { return values + 1; }

  std::size_t slots() const { return std::size_t{1} << logSlots; }
  std::uint64_t requestBits(std::uint32_t round) const {
    std::uint64_t bits = 0;
    for (std::uint32_t k = 1; k <= values; ++k) {
      if (sentLevel[k] != round + 1) continue;
      for (const PartSizes& part : parts) {
        bits += sum(part.tBits, part.sentT[k]) + sum(part.dBits, part.sentD[k]);
      }
    }
    return bits;
  }
  std::uint64_t answerBits(std::uint32_t round) const {
    std::uint64_t bits = 0;
    for (std::uint32_t k = 1; k <= values; ++k) {
      if (level[k] != round + 1) continue;
      for (const PartSizes& part : parts) {
        if (part.answerT[k] == 0) continue;
        bits += 2 * sum(part.tBits, part.answerT[k]) + kAnswerBits0 + answerBits1;
      }
    }
    return bits;
  }
  std::uint64_t slotBits() const {
    std::uint64_t bits = 0;
    for (std::uint32_t round = 0; round < levels; ++round) {
      bits += requestBits(round) + answerBits(round);
    }
    return bits;
  }
};

/// Bits of a bound on |e·P|, P with coefficients below 2^tBits / 2, summed over so many products.
std::uint32_t noiseBits(std::uint32_t tBits, std::uint32_t logSlots, std::size_t products);

/// From t·D to t·2^w: y = round(x·2^w / D), and from t·R with a prime R.
///
/// With z = [x·2^w]_D (the representative in (-D/2, D/2]), y = (x·2^w - z) / D; z is summed from
/// its residues as in he::BasisChange, modulo each prime of t and modulo 2^64.
class Shortening {
 public:
  Shortening() = default;
  Shortening(const he::Basis& t, const he::Basis& d, std::uint32_t bits);
  /// @param x  over t, then D, coefficients; the first limbs become y modulo t
  /// @param words  y modulo 2^bits
  void apply(he::Poly& x, std::span<std::uint64_t> words) const;

 private:
  he::Basis m_t, m_d;
  std::uint32_t m_bits = 0;
  std::vector<std::uint64_t> m_in;                // 2^w·(D/d_i)^-1 mod d_i
  std::vector<double> m_reciprocal;               // 1 / d_i
  std::vector<std::vector<std::uint64_t>> m_out;  // mod t_j: 2^w/D, -(D/d_i)/D..., 1
  std::vector<std::uint64_t> m_word;              // mod 2^64: -(D/d_i)/D..., 1
};

/// What one answer needs in one part.
struct AnswerTables {
  he::Basis t, d, all;                            // all = t, then d
  he::BasisChange lift;                           // from t to d
  std::vector<std::uint64_t> dModT;               // D mod each prime of t: encodes the mask
  std::vector<std::vector<std::uint64_t>> ratio;  // by term: D / D_sent mod each prime of `all`
  std::uint32_t floodingBits = 0;
  Shortening shorten0, shorten1;
};

struct PartTables {
  he::Basis t, d, all;
  std::vector<he::Basis> single;  // the primes of `all`, one by one
  ByValue<std::optional<AnswerTables>> answer;
  ByValue<he::Basis> sent;
  ByValue<std::vector<std::uint64_t>> sentDModT;  // D_k mod each prime of t: encodes value k
  he::Basis returned(std::uint32_t count) const { return t.prefix(count).with(d.prefix(1)); }
};

/// The streams of a message's seed, one for each prime, that the encryption of a value in a part
/// (0: the public key) takes its c1 from: this one and the following.
std::uint64_t streamOf(std::size_t part, std::uint32_t value);

Error refuse(ErrorCode code, std::string message);

}  // namespace powers

struct PowersPlan::Scheme : powers::Sizes {
  std::vector<powers::PartTables> tables;
  /// CRT of the answer for value k: over all primes of t in all its parts.
  struct Crt {
    std::vector<he::Modulus> primes;
    std::vector<std::uint64_t> in;  // (t/t_i)^-1 mod t_i
    std::vector<U128> out;          // t/t_i mod 2^128
    U128 product = 0;
  };
  powers::ByValue<Crt> crt;

  explicit Scheme(const powers::Sizes& sizes);
};

}  // namespace pillarbox::offline::two_party

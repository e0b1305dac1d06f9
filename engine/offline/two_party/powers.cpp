#include "engine/offline/two_party/powers.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>

#include "engine/he/parameters.h"
#include "engine/he/rns.h"
#include "engine/he/sampling.h"
#include "engine/he/wire.h"
#include "engine/random/random.h"

namespace pillarbox::offline::two_party {

using he::Basis;
using he::Modulus;
using he::Poly;
using he::Sampler;
using random::Expander;
using random::Seed;

namespace {

constexpr std::uint32_t kMaxDegree = models::Limits::kMaxDegree;
constexpr std::uint32_t kMinLimbBits = 26;  // primes 1 mod 2n are dense enough from here on
constexpr std::uint32_t kHidingBits = 40;
constexpr std::uint32_t kMaxPrecisionBits = 18;
constexpr std::uint32_t kLambdaMargin = 44;  // λ1 has f + 44 bits, sign included
constexpr std::uint32_t kDigitBits = 48;     // of random integers; below the kernels' 50
constexpr std::uint32_t kAnswerBits0 = 3;    // c0 comes back modulo t·2^3
constexpr double kProductTolerance = 0.09;   // bits by which a product of primes may fall short
constexpr std::size_t kBlock = 512;
constexpr std::size_t kMaxRows = 40;

template <typename T>
using ByPower = std::array<T, kMaxDegree + 1>;  // [k]; [0] unused

/// λ^k = λ^a·λ^b.
struct Split {
  std::uint32_t a = 0, b = 0;
};

/// The residues that one ciphertext of a value carries: primes of t, then primes of D.
struct PartSizes {
  std::vector<std::uint32_t> tBits, dBits;
  ByPower<std::uint32_t> answerT{};  // primes of t in the answer for λ^k; 0: not in this part
  ByPower<std::uint32_t> sentT{}, sentD{};  // in the encryption of S_k; 0: none
  std::uint32_t bits() const;
};

std::uint32_t sum(std::span<const std::uint32_t> values, std::size_t count) {
  std::uint32_t total = 0;
  for (std::size_t i = 0; i < count; ++i) total += values[i];
  return total;
}

std::uint32_t PartSizes::bits() const {
  return sum(tBits, tBits.size()) + sum(dBits, dBits.size());
}

/// Everything about a plan but its primes.
struct Sizes {
  std::uint32_t logSlots = 0, degree = 0, ringBits = 0, clientBits = 0, lambdaBits = 0;
  std::uint32_t levels = 0, answerBits1 = 0;
  ByPower<Split> split{};
  ByPower<std::uint32_t> level{};      // λ^k is finished by round trip level[k] - 1; level[1] = 0
  ByPower<std::uint32_t> sentLevel{};  // S_k is encrypted in round trip sentLevel[k] - 1; 0: never
  ByPower<std::uint32_t> tBits{};      // of the answer for λ^k
  std::vector<PartSizes> parts;

  std::size_t slots() const { return std::size_t{1} << logSlots; }
  std::uint64_t requestBits(std::uint32_t round) const {
    std::uint64_t bits = 0;
    for (std::uint32_t k = 1; k <= degree; ++k) {
      if (sentLevel[k] != round + 1) continue;
      for (const PartSizes& part : parts) {
        bits += sum(part.tBits, part.sentT[k]) + sum(part.dBits, part.sentD[k]);
      }
    }
    return bits;
  }
  std::uint64_t answerBits(std::uint32_t round) const {
    std::uint64_t bits = 0;
    for (std::uint32_t k = 2; k <= degree; ++k) {
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

/// Widths in ascending order, spread so that no two differ by less than a prime's size.
void spread(std::vector<std::uint32_t>& widths) {
  std::sort(widths.begin(), widths.end());
  for (std::size_t i = widths.size() - 1; i-- > 0;) {
    if (widths[i + 1] - widths[i] < kMinLimbBits) widths[i] = widths[i + 1];
  }
  widths.erase(std::unique(widths.begin(), widths.end()), widths.end());
}

/// Sizes of primes whose running sums pass through each of the widths (already spread), or shortly
/// above: small primes lie too sparsely to fill their bits and get one more.
std::vector<std::uint32_t> limbsThrough(std::span<const std::uint32_t> widths,
                                        std::uint32_t maxBits) {
  std::vector<std::uint32_t> limbs;
  std::uint32_t from = 0;
  for (const std::uint32_t width : widths) {
    const std::uint32_t bits = width - from, count = (bits + maxBits - 1) / maxBits;
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t size = bits / count + (i < bits % count ? 1 : 0);
      limbs.push_back(size < kMinLimbBits ? size + 1 : size);
    }
    from = width;
  }
  return limbs;
}

/// How many limbs hold at least `bits`.
std::uint32_t limbsFor(std::span<const std::uint32_t> limbs, std::uint32_t bits) {
  std::uint32_t count = 0, total = 0;
  while (total < bits) total += limbs[count++];
  return count;
}

/// Bits of a bound on |e·P|, P with coefficients below 2^tBits / 2, for one or two products.
std::uint32_t noiseBits(std::uint32_t tBits, std::uint32_t logSlots, bool two) {
  return tBits + (logSlots + 8 + (two ? 1 : 0) + 1) / 2;
}

std::optional<Sizes> makeSizes(const PowersShape& shape, std::uint32_t logSlots,
                               const ByPower<Split>& split) {
  Sizes sizes;
  sizes.logSlots = logSlots;
  sizes.degree = shape.degree;
  sizes.ringBits = std::min<std::uint32_t>(
      128, (shape.degree - 1) * shape.precisionBits + shape.polynomialBits + 64);
  sizes.clientBits = 64 - shape.truncation;
  sizes.lambdaBits = shape.precisionBits + kLambdaMargin;
  sizes.answerBits1 = 4 + (logSlots + 1) / 2;
  sizes.split = split;

  // Widths over the integers.
  std::vector<std::uint32_t> widths;
  for (std::uint32_t k = 2; k <= shape.degree; ++k) {
    const auto [a, b] = split[k];
    sizes.level[k] = std::max(sizes.level[a], sizes.level[b]) + 1;
    sizes.levels = std::max(sizes.levels, sizes.level[k]);
    const auto client = [&](std::uint32_t j) {
      return j == 1 ? sizes.clientBits - 1 : sizes.ringBits - 1;
    };
    const auto engine = [&](std::uint32_t j) {
      return j == 1 ? sizes.lambdaBits - 1 : sizes.ringBits - (a == b ? 2 : 1);
    };
    const std::uint32_t p = client(a) + engine(b), q = client(b) + engine(a);
    sizes.tBits[k] = std::max(p, q) + kHidingBits + 1 + (a != b && p == q ? 1 : 0);
    widths.push_back(sizes.tBits[k]);
    for (const std::uint32_t j : {a, b}) {
      if (sizes.sentLevel[j] == 0 || sizes.sentLevel[j] > sizes.level[k]) {
        sizes.sentLevel[j] = sizes.level[k];
      }
    }
  }
  if (widths.empty()) return sizes;
  spread(widths);
  for (std::uint32_t k = 2; k <= shape.degree; ++k) {
    sizes.tBits[k] = *std::lower_bound(widths.begin(), widths.end(), sizes.tBits[k]);
  }

  // The primes of t, cut into parts whose ciphertexts stay below the security bound.
  const std::uint32_t bound = he::Parameters::securityBound(1U << logSlots);
  const std::uint32_t partBits = (bound - (noiseBits(0, logSlots, true) + kHidingBits + 2)) / 2;
  const std::uint32_t limbsInPart = (partBits + he::kMaxPrimeBits - 1) / he::kMaxPrimeBits;
  const std::uint32_t maxLimb =
      widths.back() <= partBits ? he::kMaxPrimeBits : partBits / limbsInPart;
  std::uint32_t total = 0;
  for (const std::uint32_t limb : limbsThrough(widths, maxLimb)) {
    if (sizes.parts.empty() ||
        sum(sizes.parts.back().tBits, sizes.parts.back().tBits.size()) + limb > partBits) {
      sizes.parts.emplace_back();
    }
    PartSizes& part = sizes.parts.back();
    part.tBits.push_back(limb);
    for (std::uint32_t k = 2; k <= shape.degree; ++k) {
      if (sizes.tBits[k] <= total) continue;
      part.answerT[k] = static_cast<std::uint32_t>(part.tBits.size());
      part.sentT[split[k].a] = std::max(part.sentT[split[k].a], part.answerT[k]);
      part.sentT[split[k].b] = std::max(part.sentT[split[k].b], part.answerT[k]);
    }
    total += limb;
  }

  // D of every encryption.
  for (PartSizes& part : sizes.parts) {
    ByPower<std::uint32_t> need{};
    for (std::uint32_t k = 2; k <= shape.degree; ++k) {
      if (part.answerT[k] == 0) continue;
      const auto [a, b] = split[k];
      const std::uint32_t bits =
          noiseBits(sum(part.tBits, part.answerT[k]), logSlots, a != b) + kHidingBits + 2;
      need[a] = std::max(need[a], bits);
      need[b] = std::max(need[b], bits);
    }
    std::vector<std::uint32_t> needs;
    for (const std::uint32_t bits : need) {
      if (bits != 0) needs.push_back(bits);
    }
    spread(needs);
    part.dBits = limbsThrough(needs, he::kMaxPrimeBits);
    for (std::uint32_t k = 1; k <= shape.degree; ++k) {
      if (need[k] != 0) part.sentD[k] = limbsFor(part.dBits, need[k]);
    }
    if (part.bits() > bound) return std::nullopt;
  }
  return sizes;
}

/// Calls `use` with every way to split λ^k..λ^d.
template <typename Use>
void forSplits(ByPower<Split>& split, std::uint32_t k, std::uint32_t degree, const Use& use) {
  if (k > degree) return use();
  for (std::uint32_t b = 1; 2 * b <= k; ++b) {
    split[k] = {k - b, b};
    forSplits(split, k + 1, degree, use);
  }
}

Error refuse(ErrorCode code, std::string message) {
  return {code, "shares of powers: " + std::move(message)};
}

std::uint64_t bytesFor(std::uint64_t bits) {
  return (bits + 7) / 8;
}

}  // namespace

// --- Parameters --------------------------------------------------------------------------------

namespace {

/// From t·D to t·2^w: y = round(x·2^w / D), and from t·R with a prime R.
///
/// With z = [x·2^w]_D (the representative in (-D/2, D/2]), y = (x·2^w - z) / D; z is summed from
/// its residues as in he::BasisChange, modulo each prime of t and modulo 2^64.
class Shortening {
 public:
  Shortening() = default;
  Shortening(const Basis& t, const Basis& d, std::uint32_t bits);
  /// @param x  over t, then D, coefficients; the first limbs become y modulo t
  /// @param words  y modulo 2^bits
  void apply(Poly& x, std::span<std::uint64_t> words) const;

 private:
  Basis m_t, m_d;
  std::uint32_t m_bits = 0;
  std::vector<std::uint64_t> m_in;                // 2^w·(D/d_i)^-1 mod d_i
  std::vector<double> m_reciprocal;               // 1 / d_i
  std::vector<std::vector<std::uint64_t>> m_out;  // mod t_j: 2^w/D, -(D/d_i)/D..., 1
  std::vector<std::uint64_t> m_word;              // mod 2^64: -(D/d_i)/D..., 1
};

std::uint64_t inverseModWord(std::uint64_t odd) {
  std::uint64_t inverse = 1;
  for (int step = 0; step < 6; ++step) inverse *= 2 - odd * inverse;
  return inverse;
}

/// D/d_skip (or D, where there is no such d) mod q.
std::uint64_t cofactor(const Basis& d, std::size_t skip, const Modulus& q) {
  std::uint64_t value = 1;
  for (std::size_t i = 0; i < d.count(); ++i) {
    if (i != skip) value = q.multiply(value, q.reduce(d.modulus(i).value()));
  }
  return value;
}
std::uint64_t cofactorWord(const Basis& d, std::size_t skip) {
  std::uint64_t value = 1;
  for (std::size_t i = 0; i < d.count(); ++i) {
    if (i != skip) value *= d.modulus(i).value();
  }
  return value;
}

Shortening::Shortening(const Basis& t, const Basis& d, std::uint32_t bits)
    : m_t(t), m_d(d), m_bits(bits) {
  for (std::size_t i = 0; i < d.count(); ++i) {
    const Modulus& q = d.modulus(i);
    m_in.push_back(q.multiply(q.reduce(U128{1} << bits), q.inverse(cofactor(d, i, q))));
    m_reciprocal.push_back(1.0 / static_cast<double>(q.value()));
  }
  for (std::size_t j = 0; j < t.count(); ++j) {
    const Modulus& q = t.modulus(j);
    const std::uint64_t inverse = q.inverse(cofactor(d, d.count(), q));
    std::vector<std::uint64_t>& row = m_out.emplace_back();
    row.push_back(q.multiply(q.reduce(U128{1} << bits), inverse));
    for (std::size_t i = 0; i < d.count(); ++i) {
      row.push_back(q.negate(q.multiply(cofactor(d, i, q), inverse)));
    }
    row.push_back(1);
  }
  const std::uint64_t inverse = inverseModWord(cofactorWord(d, d.count()));
  for (std::size_t i = 0; i < d.count(); ++i) m_word.push_back(0 - cofactorWord(d, i) * inverse);
}

void Shortening::apply(Poly& x, std::span<std::uint64_t> words) const {
  const std::size_t inputs = m_d.count(), n = m_t.degree();
  SecureVector<std::uint64_t> scratch((inputs + 1) * kBlock);
  SecureVector<double> quotient(kBlock);
  std::array<const std::uint64_t*, kMaxRows> rows;
  for (std::size_t i = 0; i <= inputs; ++i) rows[i + 1] = scratch.data() + i * kBlock;
  const he::Kernels& k = he::kernels();
  const std::uint64_t mask = (std::uint64_t{1} << m_bits) - 1;
  for (std::size_t first = 0; first < n; first += kBlock) {
    std::fill(quotient.begin(), quotient.end(), 0.5);
    std::uint64_t* word = words.data() + first;
    std::fill(word, word + kBlock, 0);
    for (std::size_t i = 0; i < inputs; ++i) {
      const std::uint64_t* in = x.limb(m_t.count() + i) + first;
      std::uint64_t* u = scratch.data() + i * kBlock;
      k.combine(m_d.modulus(i), &in, &m_in[i], 1, u, kBlock);
      for (std::size_t c = 0; c < kBlock; ++c) {
        quotient[c] += static_cast<double>(static_cast<std::int64_t>(u[c])) * m_reciprocal[i];
        word[c] += u[c] * m_word[i];
      }
    }
    std::uint64_t* v = scratch.data() + inputs * kBlock;
    for (std::size_t c = 0; c < kBlock; ++c) {
      v[c] = static_cast<std::uint64_t>(static_cast<std::int64_t>(quotient[c]));
      word[c] = (word[c] + v[c]) & mask;
    }
    for (std::size_t j = 0; j < m_t.count(); ++j) {
      rows[0] = x.limb(j) + first;
      k.combine(m_t.modulus(j), rows.data(), m_out[j].data(), inputs + 2, x.limb(j) + first,
                kBlock);
    }
  }
}

/// What one answer λ^k needs in one part.
struct AnswerTables {
  Basis t, d, all;                                  // all = t, then d
  he::BasisChange lift;                             // from t to d
  std::vector<std::uint64_t> dModT;                 // D mod each prime of t: encodes the mask
  std::array<std::vector<std::uint64_t>, 2> ratio;  // D / D_a (D / D_b) mod each prime of `all`
  std::uint32_t floodingBits = 0;
  Shortening shorten0, shorten1;
};

struct PartTables {
  Basis t, d, all;
  ByPower<std::optional<AnswerTables>> answer;
  ByPower<Basis> sent;
  ByPower<std::vector<std::uint64_t>> sentDModT;  // D_k mod each prime of t: encodes S_k
  Basis returned(std::uint32_t count) const { return t.prefix(count).with(d.prefix(1)); }
};

}  // namespace

struct PowersPlan::Scheme : Sizes {
  std::vector<PartTables> tables;
  /// CRT of the answer for λ^k: over all primes of t in all its parts.
  struct Crt {
    std::vector<Modulus> primes;
    std::vector<std::uint64_t> in;  // (t/t_i)^-1 mod t_i
    std::vector<U128> out;          // t/t_i mod 2^128
    U128 product = 0;
  };
  ByPower<Crt> crt;

  explicit Scheme(const Sizes& sizes);
};

PowersPlan::Scheme::Scheme(const Sizes& sizes) : Sizes(sizes) {
  he::PrimeSource source(slots());
  const auto primesOf = [&](std::span<const std::uint32_t> bits) {
    std::vector<std::uint64_t> primes;
    for (const std::uint32_t b : bits) primes.push_back(source.next(b));
    return Basis(slots(), primes);
  };
  for (const PartSizes& part : parts) {
    PartTables& table = tables.emplace_back();
    table.t = primesOf(part.tBits);
    table.d = primesOf(part.dBits);
    table.all = table.t.with(table.d);
    for (std::uint32_t k = 1; k <= degree; ++k) {
      if (part.sentT[k] == 0) continue;
      const Basis t = table.t.prefix(part.sentT[k]), d = table.d.prefix(part.sentD[k]);
      table.sent[k] = t.with(d);
      table.sentDModT[k] = he::productMod(d, t);
    }
    for (std::uint32_t k = 2; k <= degree; ++k) {
      if (part.answerT[k] == 0) continue;
      const auto [a, b] = split[k];
      const std::uint32_t limbs = std::max(part.sentD[a], part.sentD[b]);
      const Basis t = table.t.prefix(part.answerT[k]), d = table.d.prefix(limbs);
      const auto dBits = static_cast<std::uint32_t>(d.bits() + kProductTolerance);
      if (dBits < noiseBits(sum(part.tBits, part.answerT[k]), logSlots, a != b) + kHidingBits + 2) {
        throw std::logic_error("too few primes for the error");
      }
      AnswerTables& answer = table.answer[k].emplace(AnswerTables{t,
                                                                  d,
                                                                  t.with(d),
                                                                  he::BasisChange::lifting(t, d),
                                                                  he::productMod(d, t),
                                                                  {},
                                                                  dBits - 1,
                                                                  Shortening(t, d, kAnswerBits0),
                                                                  Shortening(t, d, answerBits1)});
      for (std::size_t i = 0; i < 2; ++i) {
        const std::uint32_t sentLimbs = part.sentD[i == 0 ? a : b];
        std::vector<std::uint64_t>& ratio = answer.ratio[i];
        for (std::size_t j = 0; j < answer.all.count(); ++j) {
          const Modulus& q = answer.all.modulus(j);
          std::uint64_t value = 1;
          for (std::size_t l = sentLimbs; l < limbs; ++l) {
            value = q.multiply(value, q.reduce(d.modulus(l).value()));
          }
          ratio.push_back(value);
        }
      }
      for (std::size_t j = 0; j < t.count(); ++j) crt[k].primes.push_back(t.modulus(j));
    }
  }
  for (std::uint32_t k = 2; k <= degree; ++k) {
    Crt& table = crt[k];
    table.product = 1;
    double bits = 0;
    for (const Modulus& p : table.primes) {
      table.product *= p.value();
      bits += std::log2(static_cast<double>(p.value()));
      std::uint64_t others = 1;
      U128 wide = 1;
      for (const Modulus& other : table.primes) {
        if (other.value() == p.value()) continue;
        others = p.multiply(others, p.reduce(other.value()));
        wide *= other.value();
      }
      table.in.push_back(p.inverse(others));
      table.out.push_back(wide);
    }
    if (bits < tBits[k] - kProductTolerance)
      throw std::logic_error("too few primes for the values");
  }
}

Result<PowersPlan> PowersPlan::create(const PowersShape& shape, std::uint64_t count,
                                      std::uint32_t slots) {
  if (shape.degree < 1 || shape.degree > kMaxDegree || shape.truncation < 1 ||
      shape.truncation > 48) {
    return refuse(ErrorCode::InvalidArgument,
                  "no polynomial of degree " + std::to_string(shape.degree) +
                      " with truncation by " + std::to_string(shape.truncation) + " bits");
  }
  if (shape.precisionBits > kMaxPrecisionBits) {
    return refuse(ErrorCode::Unsupported,
                  std::to_string(shape.precisionBits) +
                      " fraction bits leave no room to hide a value by 40 bits; at most 18 can be "
                      "used without a dealer");
  }
  std::optional<Sizes> best;
  for (std::uint32_t logSlots = 13; logSlots <= 15; ++logSlots) {
    if (slots != 0 && slots != 1U << logSlots) continue;
    const std::uint64_t groups = (count + (1U << logSlots) - 1) >> logSlots;
    ByPower<Split> split{};
    forSplits(split, 2, shape.degree, [&] {
      const auto sizes = makeSizes(shape, logSlots, split);
      if (!sizes) return;
      const auto cost = [](const Sizes& s, std::uint64_t n) {
        return s.slotBits() * n * s.slots();
      };
      const std::uint64_t bestGroups = best ? (count + best->slots() - 1) >> best->logSlots : 0;
      if (!best || cost(*sizes, groups) < cost(*best, bestGroups)) best = sizes;
    });
  }
  if (!best) {
    return refuse(ErrorCode::InvalidArgument,
                  "no parameters with " + std::to_string(slots) + " slots for this polynomial");
  }
  return PowersPlan(std::make_shared<const Scheme>(*best), count);
}

Result<PowersPlan> PowersPlan::create(const PowersShape& shape, std::uint64_t count) {
  return create(shape, count, 0);
}

std::uint32_t PowersPlan::degree() const {
  return m_scheme->degree;
}
std::uint32_t PowersPlan::ringBits() const {
  return m_scheme->ringBits;
}
std::uint32_t PowersPlan::slots() const {
  return 1U << m_scheme->logSlots;
}
std::uint32_t PowersPlan::levels() const {
  return m_scheme->levels;
}
std::uint64_t PowersPlan::groups() const {
  return levels() == 0 ? 0 : (m_count + slots() - 1) / slots();
}
std::size_t PowersPlan::valuesIn(std::uint64_t group) const {
  return std::min<std::uint64_t>(slots(), m_count - group * slots());
}

std::size_t PowersPlan::requestBytes(std::uint32_t level) const {
  return sizeof(Seed::bytes) + bytesFor(m_scheme->requestBits(level) << m_scheme->logSlots);
}
std::size_t PowersPlan::answerBytes(std::uint32_t level) const {
  return bytesFor(m_scheme->answerBits(level) << m_scheme->logSlots);
}
std::size_t PowersPlan::publicKeyBytes() const {
  std::uint64_t bits = 0;
  for (const PartSizes& part : m_scheme->parts) bits += part.bits();
  return sizeof(Seed::bytes) + bytesFor(bits << m_scheme->logSlots);
}
std::uint64_t PowersPlan::bytesToEngine() const {
  std::uint64_t bytes = 0;
  for (std::uint32_t level = 0; level < levels(); ++level) bytes += requestBytes(level);
  return bytes * groups();
}
std::uint64_t PowersPlan::bytesToClient() const {
  std::uint64_t bytes = 0;
  for (std::uint32_t level = 0; level < levels(); ++level) bytes += answerBytes(level);
  return bytes * groups();
}
std::size_t PowersPlan::workBytes() const {
  std::size_t bytes = 0;
  for (const PartTables& part : m_scheme->tables) bytes += 10 * part.all.count() * slots() * 8;
  return bytes;
}

Result<SecureVector<std::uint64_t>> PowersPlan::drawLambda(std::size_t count) const {
  PILLARBOX_ASSIGN(const Seed seed, random::freshSeed());
  SecureVector<std::uint64_t> lambda(count);
  Expander(seed, 0).fill(std::span<std::uint64_t>(lambda));
  const std::uint32_t shift = 64 - m_scheme->lambdaBits;
  for (std::uint64_t& value : lambda) {
    value = static_cast<std::uint64_t>(static_cast<std::int64_t>(value) >> shift);
  }
  return lambda;
}

Result<std::vector<PowersBatch>> planPowers(const models::PublicModel& model) {
  struct Members {
    PowersShape shape;
    std::vector<std::uint32_t> stages;
    std::uint64_t count = 0;
  };
  std::vector<Members> members;
  for (std::uint32_t s = 0; s < model.stages.size(); ++s) {
    const models::Stage& stage = model.stages[s];
    if (!stage.activation) continue;
    const PowersShape shape{stage.activation->degree(), stage.activation->fractionBits,
                            model.precisionBits, stage.truncation};
    auto place = std::find_if(members.begin(), members.end(), [&](const Members& m) {
      return m.shape.degree == shape.degree && m.shape.polynomialBits == shape.polynomialBits;
    });
    if (place == members.end()) place = members.insert(members.end(), {shape, {}, 0});
    place->shape.truncation = std::min(place->shape.truncation, shape.truncation);
    place->stages.push_back(s);
    place->count += stage.output.size();
  }
  std::vector<PowersBatch> batches;
  for (const Members& m : members) {
    PILLARBOX_ASSIGN(PowersPlan plan, PowersPlan::create(m.shape, m.count));
    const std::size_t slots = plan.slots();
    std::vector<std::vector<PowersPiece>> groups;
    std::size_t used = slots;
    for (const std::uint32_t stage : m.stages) {
      const std::uint64_t size = model.stages[stage].output.size();
      for (std::uint64_t first = 0; first < size;) {
        if (used == slots) {
          groups.emplace_back();
          used = 0;
        }
        const std::size_t count = std::min<std::uint64_t>(slots - used, size - first);
        groups.back().push_back({stage, first, used, count});
        used += count;
        first += count;
      }
    }
    batches.push_back({std::move(plan), std::move(groups)});
  }
  return batches;
}

// --- Values, digits, bytes ---------------------------------------------------------------------

namespace {

using Powers = std::vector<SecureVector<U128>>;
using Scheme = PowersPlan::Scheme;

/// The signed representative modulo 2^bits.
I128 signedModulo(U128 x, std::uint32_t bits) {
  return static_cast<I128>(x << (128 - bits)) >> (128 - bits);
}

Powers makePowers(const Scheme& scheme, std::span<const std::uint64_t> lambda) {
  if (lambda.size() > scheme.slots()) throw std::logic_error("more values than slots");
  Powers powers(scheme.degree);
  for (auto& power : powers) power.resize(lambda.size());
  for (std::size_t i = 0; i < lambda.size(); ++i) {
    powers[0][i] = static_cast<U128>(static_cast<I128>(static_cast<std::int64_t>(lambda[i])));
  }
  return powers;
}

/// The values of a share modulo 2^bits as slots: entry j of limb i is value j times factors[i].
void fillSlots(const Basis& basis, std::span<const U128> values, std::uint32_t bits,
               std::span<const std::uint64_t> factors, Poly& out) {
  for (std::size_t i = 0; i < basis.count(); ++i) {
    const Modulus& q = basis.modulus(i);
    std::uint64_t* limb = out.limb(i);
    for (std::size_t j = 0; j < values.size(); ++j) {
      limb[j] = q.fromSigned(signedModulo(values[j], bits));
    }
    std::fill(limb + values.size(), limb + basis.degree(), 0);
    if (factors.empty()) continue;
    const std::uint64_t* in = limb;
    he::kernels().combine(q, &in, &factors[i], 1, limb, basis.degree());
  }
}

/// Uniform integers in [0, 7·2^(bits - 3)), as digits.
class Masks {
 public:
  Masks(Expander& stream, std::size_t count, std::uint32_t bits) : m_low(bits - 3) {
    const std::uint32_t digits = (m_low + kDigitBits - 1) / kDigitBits;
    for (std::uint32_t d = 0; d < digits; ++d) {
      SecureVector<std::uint64_t>& digit = m_digits.emplace_back(count);
      stream.fill(std::span<std::uint64_t>(digit));
      const std::uint32_t width = std::min(kDigitBits, m_low - d * kDigitBits);
      for (std::uint64_t& value : digit) value >>= 64 - width;
    }
    SecureVector<std::uint64_t>& top = m_digits.emplace_back(count);
    stream.fill(std::span<std::uint64_t>(top));
    for (std::uint64_t& value : top) value = static_cast<std::uint64_t>((U128{value} * 7) >> 64);
  }
  /// Modulo q, times `factor`.
  void residues(const Modulus& q, std::uint64_t factor, std::uint64_t* out) const {
    std::array<const std::uint64_t*, kMaxRows> rows;
    std::array<std::uint64_t, kMaxRows> scalars;
    for (std::size_t d = 0; d < m_digits.size(); ++d) {
      rows[d] = m_digits[d].data();
      scalars[d] = q.multiply(q.power(2, shift(d)), factor);
    }
    he::kernels().combine(q, rows.data(), scalars.data(), m_digits.size(), out, m_digits[0].size());
  }
  /// Modulo 2^128.
  U128 wide(std::size_t j) const {
    U128 value = 0;
    for (std::size_t d = 0; d < m_digits.size(); ++d) {
      if (shift(d) < 128) value += U128{m_digits[d][j]} << shift(d);
    }
    return value;
  }

 private:
  std::uint32_t shift(std::size_t d) const {
    return d + 1 == m_digits.size() ? m_low : static_cast<std::uint32_t>(d) * kDigitBits;
  }
  std::uint32_t m_low;
  std::vector<SecureVector<std::uint64_t>> m_digits;
};

class Writer {
 public:
  explicit Writer(std::size_t size) : m_bytes(size) {}
  void seed(const Seed& seed) {
    std::transform(seed.bytes.begin(), seed.bytes.end(), take(seed.bytes.size()).begin(),
                   [](std::uint8_t b) { return std::byte{b}; });
  }
  void poly(const Basis& basis, const Poly& x) {
    for (std::size_t i = 0; i < basis.count(); ++i) {
      const Modulus& q = basis.modulus(i);
      he::pack(q, {x.limb(i), basis.degree()}, take(he::packedBytes(q, basis.degree())));
    }
  }
  /// Words of at most 16 bits; their number is a multiple of 8.
  void words(std::span<const std::uint64_t> words, std::uint32_t bits) {
    const std::span<std::byte> out = take(words.size() * bits / 8);
    std::uint64_t pending = 0;
    std::uint32_t have = 0;
    std::size_t place = 0;
    for (const std::uint64_t word : words) {
      pending |= word << have;
      for (have += bits; have >= 8; have -= 8, pending >>= 8) {
        out[place++] = static_cast<std::byte>(pending);
      }
    }
  }
  std::vector<std::byte> finish() {
    if (m_place != m_bytes.size()) throw std::logic_error("a message is not as long as planned");
    return std::move(m_bytes);
  }

 private:
  std::span<std::byte> take(std::size_t count) {
    const std::span<std::byte> piece = std::span(m_bytes).subspan(m_place, count);
    m_place += count;
    return piece;
  }
  std::vector<std::byte> m_bytes;
  std::size_t m_place = 0;
};

/// Reads what a Writer wrote; the whole length has been compared beforehand.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : m_bytes(bytes) {}
  Seed seed() {
    Seed seed;
    const auto piece = take(seed.bytes.size());
    std::transform(piece.begin(), piece.end(), seed.bytes.begin(),
                   [](std::byte b) { return static_cast<std::uint8_t>(b); });
    return seed;
  }
  [[nodiscard]] bool poly(const Basis& basis, Poly& x) {
    bool good = true;
    for (std::size_t i = 0; i < basis.count(); ++i) {
      const Modulus& q = basis.modulus(i);
      good = he::unpack(q, take(he::packedBytes(q, basis.degree())), {x.limb(i), basis.degree()}) &&
             good;
    }
    return good;
  }
  void words(std::span<std::uint64_t> words, std::uint32_t bits) {
    const std::span<const std::byte> in = take(words.size() * bits / 8);
    std::uint64_t pending = 0;
    std::uint32_t have = 0;
    std::size_t place = 0;
    for (std::uint64_t& word : words) {
      for (; have < bits; have += 8) pending |= static_cast<std::uint64_t>(in[place++]) << have;
      word = pending & ((std::uint64_t{1} << bits) - 1);
      pending >>= bits;
      have -= bits;
    }
  }

 private:
  std::span<const std::byte> take(std::size_t count) {
    const std::span<const std::byte> piece = m_bytes.subspan(m_place, count);
    m_place += count;
    return piece;
  }
  std::span<const std::byte> m_bytes;
  std::size_t m_place = 0;
};

Status checkLength(const char* what, std::size_t got, std::size_t expected) {
  if (got == expected) return {};
  return refuse(ErrorCode::Protocol, std::string(what) + " has " + std::to_string(got) +
                                         " bytes instead of " + std::to_string(expected));
}

Error outOfRange(const char* what) {
  return refuse(ErrorCode::Protocol, std::string(what) + " holds a residue out of range");
}

/// Streams of a message's seed: 64 for each pair of part and power.
std::uint64_t streamOf(std::size_t part, std::uint32_t power) {
  return (std::uint64_t{part} * (kMaxDegree + 1) + power) * 64;
}

/// x *= y, entry by entry.
void multiplyBy(const Basis& basis, Poly& x, const Poly& y) {
  for (std::size_t i = 0; i < basis.count(); ++i) {
    const std::uint64_t *a = x.limb(i), *b = y.limb(i);
    he::kernels().dot(basis.modulus(i), &a, &b, 1, x.limb(i), basis.degree());
  }
}

}  // namespace

// --- Keys --------------------------------------------------------------------------------------

struct PowersSecretKey::State {
  std::vector<Poly> secrets;  // [part]: over all its primes, transformed
};

struct PowersPublicKey::State {
  struct Part {
    Poly b, a;  // over all primes of the part, transformed; b = -a·s + e
  };
  std::vector<Part> parts;
};

Result<PowersSecretKey> PowersSecretKey::create(const PowersPlan& plan) {
  const Scheme& scheme = plan.scheme();
  PILLARBOX_ASSIGN(Sampler sampler, Sampler::fresh());
  auto state = std::make_shared<State>();
  Writer writer(plan.publicKeyBytes());
  const Seed seed = sampler.seed();
  writer.seed(seed);
  for (std::size_t p = 0; p < scheme.tables.size(); ++p) {
    const Basis& basis = scheme.tables[p].all;
    Poly& secret = state->secrets.emplace_back(sampler.ternary(basis));
    he::forward(basis, secret);
    Poly b = sampler.error(basis);
    he::forward(basis, b);
    Poly product = he::expandUniform(basis, seed, streamOf(p, 0));
    multiplyBy(basis, product, secret);
    he::subtractFrom(basis, b, product);
    writer.poly(basis, b);
  }
  PowersSecretKey key;
  key.m_state = std::move(state);
  key.m_publicKey = writer.finish();
  return key;
}

Result<PowersPublicKey> PowersPublicKey::parse(const PowersPlan& plan,
                                               std::span<const std::byte> bytes) {
  PILLARBOX_TRY(checkLength("the public key", bytes.size(), plan.publicKeyBytes()));
  Reader reader(bytes);
  const Seed seed = reader.seed();
  auto state = std::make_shared<State>();
  const Scheme& scheme = plan.scheme();
  for (std::size_t p = 0; p < scheme.tables.size(); ++p) {
    const Basis& basis = scheme.tables[p].all;
    State::Part& part = state->parts.emplace_back();
    part.b = Poly(basis);
    if (!reader.poly(basis, part.b)) return outOfRange("the public key");
    part.a = he::expandUniform(basis, seed, streamOf(p, 0));
  }
  PowersPublicKey key;
  key.m_state = std::move(state);
  return key;
}

// --- Client ------------------------------------------------------------------------------------

struct PowersClient::State {
  PowersPlan plan;
  std::shared_ptr<const PowersSecretKey::State> key;
  Powers powers;
  std::uint32_t level = 0;
  bool requested = false;

  Poly encrypt(Sampler& sampler, const Seed& seed, std::size_t part, std::uint32_t k) const;
  void decrypt(Reader& reader, std::size_t part, std::uint32_t k, bool& good,
               std::vector<Poly>& slots) const;
  void finishPower(std::uint32_t k, std::span<const Poly> slots);
};

PowersClient::PowersClient(const PowersPlan& plan, const PowersSecretKey& key,
                           std::span<const std::uint64_t> lambda)
    : m_state(new State{plan, key.m_state, makePowers(plan.scheme(), lambda)}) {}
PowersClient::~PowersClient() = default;
PowersClient::PowersClient(PowersClient&&) noexcept = default;
PowersClient& PowersClient::operator=(PowersClient&&) noexcept = default;
std::vector<SecureVector<U128>>& PowersClient::powers() {
  return m_state->powers;
}

namespace {

/// x *= the secret, x over some of t's primes (tCount) and then of D's.
void multiplyBySecret(const Basis& basis, std::size_t tCount, std::size_t allT, const Poly& secret,
                      Poly& x) {
  for (std::size_t i = 0; i < basis.count(); ++i) {
    const std::uint64_t* a = x.limb(i);
    const std::uint64_t* s = secret.limb(i < tCount ? i : allT + i - tCount);
    he::kernels().dot(basis.modulus(i), &a, &s, 1, x.limb(i), basis.degree());
  }
}

}  // namespace

/// c0 = -a·s + e + D·value, transformed.
Poly PowersClient::State::encrypt(Sampler& sampler, const Seed& seed, std::size_t part,
                                  std::uint32_t k) const {
  const Scheme& scheme = plan.scheme();
  const PartTables& tables = scheme.tables[part];
  const std::uint32_t tCount = scheme.parts[part].sentT[k];
  const Basis& basis = tables.sent[k];
  Poly c0 = sampler.error(basis);
  he::forward(basis, c0);
  Poly product = he::expandUniform(basis, seed, streamOf(part, k));
  multiplyBySecret(basis, tCount, tables.t.count(), key->secrets[part], product);
  he::subtractFrom(basis, c0, product);
  const Basis t = tables.t.prefix(tCount);
  fillSlots(t, powers[k - 1], k == 1 ? 64 : scheme.ringBits, tables.sentDModT[k], product);
  he::addTo(t, c0, product);
  return c0;
}

Result<std::vector<std::byte>> PowersClient::request() {
  State& s = *m_state;
  const Scheme& scheme = s.plan.scheme();
  if (s.requested || s.level >= scheme.levels) throw std::logic_error("no request is due");
  PILLARBOX_ASSIGN(Sampler sampler, Sampler::fresh());
  Writer writer(s.plan.requestBytes(s.level));
  const Seed seed = sampler.seed();
  writer.seed(seed);
  for (std::uint32_t k = 1; k <= scheme.degree; ++k) {
    if (scheme.sentLevel[k] != s.level + 1) continue;
    for (std::size_t p = 0; p < scheme.parts.size(); ++p) {
      if (scheme.parts[p].sentT[k] == 0) continue;
      writer.poly(scheme.tables[p].sent[k], s.encrypt(sampler, seed, p, k));
    }
  }
  s.requested = true;
  return writer.finish();
}

/// Appends the slots of one part's answer, one Poly of one limb for each prime of t.
void PowersClient::State::decrypt(Reader& reader, std::size_t part, std::uint32_t k, bool& good,
                                  std::vector<Poly>& slots) const {
  // To t·R for a prime R of D: y = round(c·R / 2^w), so that phases are taken modulo primes only;
  // then the phase's multiple of R is (phase - [phase]_R) / R modulo the primes of t.
  const Scheme& scheme = plan.scheme();
  const PartTables& tables = scheme.tables[part];
  const std::uint32_t tCount = scheme.parts[part].answerT[k];
  const Basis basis = tables.returned(tCount), t = basis.prefix(tCount);
  const std::size_t n = basis.degree();
  const Modulus& r = basis.modulus(tCount);
  SecureVector<std::uint64_t> words(n), ones(n, 1);

  const auto read = [&](std::uint32_t bits) {
    Poly c(basis);
    good = reader.poly(t, c) && good;
    reader.words(words, bits);
    // With z = -(c·R + half) mod 2^w in [0, 2^w): y = (c·R + z + half) / 2^w - 1, or, where z is 0,
    // the same plus one; z is taken in (0, 2^w] for that.
    const std::uint64_t mask = (std::uint64_t{1} << bits) - 1, half = (mask >> 1) + 1;
    for (std::uint64_t& word : words) word = mask + 1 - ((word * r.value() + half) & mask);
    const std::array<const std::uint64_t*, 3> rows{nullptr, words.data(), ones.data()};
    for (std::size_t i = 0; i <= tCount; ++i) {
      const Modulus& q = basis.modulus(i);
      const std::uint64_t inverse = q.inverse(q.reduce(U128{1} << bits));
      const std::uint64_t scalars[] = {i < tCount ? q.multiply(q.reduce(r.value()), inverse) : 0,
                                       inverse, q.subtract(q.multiply(half, inverse), 1)};
      auto inputs = rows;
      inputs[0] = i < tCount ? c.limb(i) : words.data();
      he::kernels().combine(q, inputs.data(), scalars, 3, c.limb(i), n);
    }
    return c;
  };
  Poly phase0 = read(kAnswerBits0), phase = read(scheme.answerBits1);
  he::forward(basis, phase);
  multiplyBySecret(basis, tCount, tables.t.count(), key->secrets[part], phase);

  // The phase modulo R, then c0 - [phase]_R transformed over t.
  std::uint64_t* last = phase.limb(tCount);
  basis.ntt(tCount).inverse(last);
  he::kernels().add(r, last, phase0.limb(tCount), last, n);
  // [phase]_R + (R - 1) / 2 is what the kernels can take; the offset goes with `ones`.
  const std::uint64_t offset = r.value() / 2;
  for (std::size_t j = 0; j < n; ++j) last[j] = r.add(last[j], offset);
  for (std::size_t i = 0; i < tCount; ++i) {
    const Modulus& q = t.modulus(i);
    const std::uint64_t inverse = q.inverse(q.reduce(r.value()));
    Poly& out = slots.emplace_back(t.prefix(1));
    const std::uint64_t* inputs[] = {phase0.limb(i), last, ones.data()};
    const std::uint64_t scalars[] = {1, q.value() - 1, q.reduce(offset)};
    he::kernels().combine(q, inputs, scalars, 3, out.limb(0), n);
    t.ntt(i).forward(out.limb(0));
    const std::uint64_t* terms[] = {out.limb(0), phase.limb(i)};
    const std::uint64_t inverses[] = {inverse, inverse};
    he::kernels().combine(q, terms, inverses, 2, out.limb(0), n);
  }
}

/// Share = local square or product + v + m, from the residues of v + m.
void PowersClient::State::finishPower(std::uint32_t k, std::span<const Poly> slots) {
  const Scheme& scheme = plan.scheme();
  const Scheme::Crt& crt = scheme.crt[k];
  const auto [a, b] = scheme.split[k];
  const SecureVector<U128>&left = powers[a - 1], &right = powers[b - 1];
  SecureVector<U128>& out = powers[k - 1];
  std::vector<double> reciprocal;
  for (const Modulus& p : crt.primes) reciprocal.push_back(1.0 / static_cast<double>(p.value()));
  for (std::size_t j = 0; j < out.size(); ++j) {
    // v + m lies in (-2^-40 t, 0.94 t): the quotient is the floor of the sum plus 0.03.
    U128 value = 0;
    double quotient = 0.03;
    for (std::size_t i = 0; i < crt.primes.size(); ++i) {
      const std::uint64_t u = crt.primes[i].multiply(slots[i].limb(0)[j], crt.in[i]);
      value += u * crt.out[i];
      quotient += static_cast<double>(static_cast<std::int64_t>(u)) * reciprocal[i];
    }
    value -= static_cast<std::uint64_t>(static_cast<std::int64_t>(quotient)) * crt.product;
    out[j] = left[j] * right[j] + (a == b ? value + value : value);
  }
}

Status PowersClient::finish(std::span<const std::byte> answer) {
  State& s = *m_state;
  const Scheme& scheme = s.plan.scheme();
  if (!s.requested) throw std::logic_error("no answer is due");
  PILLARBOX_TRY(checkLength("an answer", answer.size(), s.plan.answerBytes(s.level)));
  Reader reader(answer);
  bool good = true;
  for (std::uint32_t k = 2; k <= scheme.degree; ++k) {
    if (scheme.level[k] != s.level + 1) continue;
    std::vector<Poly> slots;
    for (std::size_t p = 0; p < scheme.parts.size(); ++p) {
      if (scheme.parts[p].answerT[k] != 0) s.decrypt(reader, p, k, good, slots);
    }
    s.finishPower(k, slots);
  }
  if (!good) return outOfRange("an answer");
  s.requested = false;
  ++s.level;
  return {};
}

// --- Engine ------------------------------------------------------------------------------------

struct PowersEngine::State {
  PowersPlan plan;
  std::shared_ptr<const PowersPublicKey::State> key;
  Powers powers;
  std::uint32_t level = 0;
  struct Received {
    Seed seed;
    std::vector<Poly> c0;  // [part]
  };
  ByPower<Received> received;

  void answerPart(Sampler& sampler, std::size_t part, std::uint32_t k, const Masks& masks,
                  Writer& writer) const;
};

PowersEngine::PowersEngine(const PowersPlan& plan, const PowersPublicKey& key,
                           std::span<const std::uint64_t> lambda)
    : m_state(new State{plan, key.m_state, makePowers(plan.scheme(), lambda), 0, {}}) {}
PowersEngine::~PowersEngine() = default;
PowersEngine::PowersEngine(PowersEngine&&) noexcept = default;
PowersEngine& PowersEngine::operator=(PowersEngine&&) noexcept = default;
std::vector<SecureVector<U128>>& PowersEngine::powers() {
  return m_state->powers;
}

void PowersEngine::State::answerPart(Sampler& sampler, std::size_t part, std::uint32_t k,
                                     const Masks& masks, Writer& writer) const {
  const Scheme& scheme = plan.scheme();
  const PartSizes& sizes = scheme.parts[part];
  const PartTables& tables = scheme.tables[part];
  const AnswerTables& answer = *tables.answer[k];
  const PowersPublicKey::State::Part& publicKey = key->parts[part];
  const auto [a, b] = scheme.split[k];
  const Basis& basis = answer.all;
  const std::size_t tCount = answer.t.count(), n = basis.degree();
  // Limb i of the answer's basis in a polynomial with `t` primes of t.
  const auto limbIn = [&](std::size_t i, std::size_t t) { return i < tCount ? i : t + i - tCount; };

  // The factors: S_a is multiplied by E_b, S_b by E_a.
  struct Term {
    const Poly* c0;
    Poly c1, factor;
    std::size_t sentT, limbs;
  };
  std::vector<Term> terms;
  for (std::size_t side = 0; side < (a == b ? 1 : 2); ++side) {
    const std::uint32_t sent = side == 0 ? a : b, own = side == 0 ? b : a;
    const std::uint32_t ownBits = own == 1 ? 64 : scheme.ringBits - (a == b ? 1 : 0);
    Poly factor(basis);
    fillSlots(answer.t, powers[own - 1], ownBits, {}, factor);
    Poly low(answer.t);
    std::copy_n(factor.words().begin(), low.words().size(), low.words().begin());
    he::inverse(answer.t, low);
    Poly high = answer.lift.apply(low);
    he::forward(answer.d, high);
    std::copy_n(high.words().begin(), high.words().size(), factor.limb(tCount));
    he::scale(basis, factor, answer.ratio[side]);
    const Basis& sentBasis = tables.sent[sent];
    terms.push_back({&received[sent].c0[part],
                     he::expandUniform(sentBasis, received[sent].seed, streamOf(part, sent)),
                     std::move(factor), sizes.sentT[sent], tCount + sizes.sentD[sent]});
  }

  // u for the encryption of zero, and its key; then the products.
  Poly u = sampler.ternary(basis);
  he::forward(basis, u);
  Poly c0(basis), c1(basis);
  for (std::size_t i = 0; i < basis.count(); ++i) {
    const Modulus& q = basis.modulus(i);
    std::array<const std::uint64_t*, 3> left{u.limb(i)}, right0, right1;
    right0[0] = publicKey.b.limb(limbIn(i, tables.t.count()));
    right1[0] = publicKey.a.limb(limbIn(i, tables.t.count()));
    std::size_t count = 1;
    for (const Term& term : terms) {
      if (i >= term.limbs) continue;  // a multiple of this prime
      left[count] = term.factor.limb(i);
      right0[count] = term.c0->limb(limbIn(i, term.sentT));
      right1[count++] = term.c1.limb(limbIn(i, term.sentT));
    }
    he::kernels().dot(q, left.data(), right0.data(), count, c0.limb(i), n);
    he::kernels().dot(q, left.data(), right1.data(), count, c1.limb(i), n);
  }
  // D·m, which is zero modulo D's primes.
  for (std::size_t i = 0; i < tCount; ++i) {
    masks.residues(basis.modulus(i), answer.dModT[i], u.limb(i));
    he::kernels().add(basis.modulus(i), c0.limb(i), u.limb(i), c0.limb(i), n);
  }
  he::inverse(basis, c0);
  he::inverse(basis, c1);
  he::addTo(basis, c0, sampler.flooding(basis, answer.floodingBits));
  he::addTo(basis, c1, sampler.error(basis));

  SecureVector<std::uint64_t> words(n);
  answer.shorten0.apply(c0, words);
  writer.poly(answer.t, c0);
  writer.words(words, kAnswerBits0);
  answer.shorten1.apply(c1, words);
  writer.poly(answer.t, c1);
  writer.words(words, scheme.answerBits1);
}

Result<std::vector<std::byte>> PowersEngine::answer(std::span<const std::byte> request) {
  State& s = *m_state;
  const Scheme& scheme = s.plan.scheme();
  if (s.level >= scheme.levels) throw std::logic_error("no request is due");
  PILLARBOX_TRY(checkLength("a request", request.size(), s.plan.requestBytes(s.level)));
  Reader reader(request);
  const Seed seed = reader.seed();
  for (std::uint32_t k = 1; k <= scheme.degree; ++k) {
    if (scheme.sentLevel[k] != s.level + 1) continue;
    State::Received& received = s.received[k];
    received.seed = seed;
    received.c0.resize(scheme.parts.size());
    for (std::size_t p = 0; p < scheme.parts.size(); ++p) {
      if (scheme.parts[p].sentT[k] == 0) continue;
      const Basis& basis = scheme.tables[p].sent[k];
      received.c0[p] = Poly(basis);
      if (!reader.poly(basis, received.c0[p])) return outOfRange("a request");
    }
  }

  PILLARBOX_ASSIGN(Sampler sampler, Sampler::fresh());
  Expander maskStream(sampler.seed(), 0);
  Writer writer(s.plan.answerBytes(s.level));
  for (std::uint32_t k = 2; k <= scheme.degree; ++k) {
    if (scheme.level[k] != s.level + 1) continue;
    const Masks masks(maskStream, scheme.slots(), scheme.tBits[k]);
    for (std::size_t p = 0; p < scheme.parts.size(); ++p) {
      if (scheme.parts[p].answerT[k] != 0) s.answerPart(sampler, p, k, masks, writer);
    }
    const auto [a, b] = scheme.split[k];
    const SecureVector<U128>&left = s.powers[a - 1], &right = s.powers[b - 1];
    SecureVector<U128>& out = s.powers[k - 1];
    for (std::size_t j = 0; j < out.size(); ++j) {
      const U128 mask = masks.wide(j);
      out[j] = left[j] * right[j] - (a == b ? mask + mask : mask);
    }
  }
  ++s.level;
  return writer.finish();
}

}  // namespace pillarbox::offline::two_party

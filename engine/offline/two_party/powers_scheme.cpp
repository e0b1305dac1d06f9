#include "engine/offline/two_party/powers_scheme.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "engine/he/parameters.h"
#include "engine/random/random.h"
#include "engine/ring/narrow.h"

namespace pillarbox::offline::two_party {

namespace powers {

using he::Basis;
using he::Modulus;
using he::Poly;
using random::Expander;
using random::Seed;

namespace {

constexpr std::uint32_t kWordBits = 64;
constexpr std::uint32_t kMinLimbBits = 26;  // primes 1 mod 2n are dense enough from here on
constexpr std::uint32_t kMaxPrecisionBits = 18;
constexpr double kProductTolerance = 0.09;  // bits by which a product of primes may fall short
constexpr std::size_t kBlock = 512;
constexpr std::size_t kMaxRows = 40;

}  // namespace

std::uint32_t sum(std::span<const std::uint32_t> values, std::size_t count) {
  std::uint32_t total = 0;
  for (std::size_t i = 0; i < count; ++i) total += values[i];
  return total;
}

std::uint32_t PartSizes::bits() const {
  return sum(tBits, tBits.size()) + sum(dBits, dBits.size());
}

std::uint32_t noiseBits(std::uint32_t tBits, std::uint32_t logSlots, std::size_t products) {
  // Their errors are independent: the variance grows by the number of products.
  const auto grown = static_cast<std::uint32_t>(std::bit_width(products - 1));
  return tBits + (logSlots + 8 + grown + 1) / 2;
}

Error refuse(ErrorCode code, std::string message) {
  return {code, "shares of powers: " + std::move(message)};
}

/// Streams of a message's seed: 64 for each pair of part and value.
std::uint64_t streamOf(std::size_t part, std::uint32_t value) {
  return (std::uint64_t{part} * (kMaxValues + 1) + value) * 64;
}

namespace {

/// Widths in ascending order, spread so that no two differ by less than a prime's size.
void spread(std::vector<std::uint32_t>& widths) {
  std::sort(widths.begin(), widths.end());
  for (std::size_t i = widths.size() - 1; i-- > 0;) {
    if (widths[i + 1] - widths[i] < kMinLimbBits) widths[i] = widths[i + 1];
  }
  widths.erase(std::unique(widths.begin(), widths.end()), widths.end());
}

/// Sizes of primes whose running sums pass through each of the widths (already spread), or shortly
/// above: no limb is smaller than primes are dense.
std::vector<std::uint32_t> limbsThrough(std::span<const std::uint32_t> widths,
                                        std::uint32_t maxBits) {
  std::vector<std::uint32_t> limbs;
  std::uint32_t from = 0;
  for (const std::uint32_t width : widths) {
    const std::uint32_t bits = width - from, count = (bits + maxBits - 1) / maxBits;
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t size = bits / count + (i < bits % count ? 1 : 0);
      limbs.push_back(std::max(size, kMinLimbBits));
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

/// Lays out primes for answers whose terms and tBits are there. False: no part is small enough.
bool layOut(Sizes& sizes) {
  const std::uint32_t logSlots = sizes.logSlots;
  std::vector<std::uint32_t> widths;
  std::size_t mostTerms = 2;
  for (std::uint32_t k = 1; k <= sizes.values; ++k) {
    if (sizes.level[k] == 0) continue;
    widths.push_back(sizes.tBits[k]);
    mostTerms = std::max(mostTerms, sizes.terms[k].size());
  }
  if (widths.empty()) return true;
  spread(widths);
  for (std::uint32_t k = 1; k <= sizes.values; ++k) {
    if (sizes.level[k] == 0) continue;
    sizes.tBits[k] = *std::lower_bound(widths.begin(), widths.end(), sizes.tBits[k]);
  }

  // The primes of t, cut into parts whose ciphertexts stay below the security bound.
  const std::uint32_t bound = he::Parameters::securityBound(1U << logSlots);
  const std::uint32_t partBits =
      (bound - (noiseBits(0, logSlots, mostTerms) + kHidingBits + 2)) / 2;
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
    for (std::uint32_t k = 1; k <= sizes.values; ++k) {
      if (sizes.level[k] == 0 || sizes.tBits[k] <= total) continue;
      part.answerT[k] = static_cast<std::uint32_t>(part.tBits.size());
      for (const Term& term : sizes.terms[k]) {
        part.sentT[term.sent] = std::max(part.sentT[term.sent], part.answerT[k]);
      }
    }
    total += limb;
  }

  // D of every encryption.
  for (PartSizes& part : sizes.parts) {
    ByValue<std::uint32_t> need{};
    for (std::uint32_t k = 1; k <= sizes.values; ++k) {
      if (part.answerT[k] == 0) continue;
      const std::uint32_t bits =
          noiseBits(sum(part.tBits, part.answerT[k]), logSlots, sizes.terms[k].size()) +
          kHidingBits + 2;
      for (const Term& term : sizes.terms[k]) need[term.sent] = std::max(need[term.sent], bits);
    }
    std::vector<std::uint32_t> needs;
    for (const std::uint32_t bits : need) {
      if (bits != 0) needs.push_back(bits);
    }
    spread(needs);
    part.dBits = limbsThrough(needs, he::kMaxPrimeBits);
    for (std::uint32_t k = 1; k <= sizes.values; ++k) {
      if (need[k] != 0) part.sentD[k] = limbsFor(part.dBits, need[k]);
    }
    if (part.bits() > bound) return false;
  }
  return true;
}

std::uint32_t answerBits1For(std::uint32_t logSlots) {
  return 4 + (logSlots + 1) / 2;
}

/// One round trip: every factor is encrypted, every sum answered.
std::optional<Sizes> productSizes(const ProductPlan& plan, std::uint32_t logSlots) {
  Sizes sizes;
  sizes.logSlots = logSlots;
  sizes.ringBits = kWordBits;
  sizes.clientFactors = plan.clientFactors;
  sizes.sums = static_cast<std::uint32_t>(plan.sums.size());
  sizes.engineFactors = plan.engineFactors;
  sizes.values = sizes.clientFactors + sizes.sums;
  sizes.levels = sizes.sums == 0 ? 0 : 1;
  sizes.answerBits1 = answerBits1For(logSlots);
  for (std::uint32_t s = 0; s < sizes.sums; ++s) {
    const std::uint32_t k = sizes.firstSum() + s;
    for (const ProductPlan::Term& term : plan.sums[s]) {
      sizes.terms[k].push_back(
          {term.client + 1, sizes.firstEngineFactor() + term.engine, kWordBits});
      sizes.sentLevel[term.client + 1] = 1;
    }
    const auto grown = static_cast<std::uint32_t>(std::bit_width(sizes.terms[k].size() - 1));
    sizes.level[k] = 1;
    sizes.tBits[k] = 2 * (kWordBits - 1) + grown + kHidingBits + 1;
  }
  return layOut(sizes) ? std::optional(sizes) : std::nullopt;
}

std::optional<Sizes> makeSizes(const PowersShape& shape, std::uint32_t logSlots,
                               const ByValue<Split>& split) {
  Sizes sizes;
  sizes.logSlots = logSlots;
  sizes.degree = sizes.values = shape.degree;
  sizes.ringBits = std::min<std::uint32_t>(
      128, (shape.degree - 1) * shape.precisionBits + shape.polynomialBits + ring::kNarrowBits);
  sizes.clientBits = 64 - shape.truncation;
  sizes.answerBits1 = answerBits1For(logSlots);
  sizes.split = split;

  // Widths over the integers.
  for (std::uint32_t k = 2; k <= shape.degree; ++k) {
    const std::uint32_t a = split[k].a, b = split[k].b;
    sizes.level[k] = std::max(sizes.level[a], sizes.level[b]) + 1;
    sizes.levels = std::max(sizes.levels, sizes.level[k]);
    const auto client = [&](std::uint32_t j) {
      return j == 1 ? sizes.clientBits - 1 : sizes.ringBits - 1;
    };
    const auto engine = [&](std::uint32_t j) {
      return j == 1 ? ring::kNarrowBits - 1 : sizes.ringBits - (a == b ? 2 : 1);
    };
    const auto ownBits = [&](std::uint32_t j) {
      return j == 1 ? kWordBits : sizes.ringBits - (a == b ? 1 : 0);
    };
    sizes.terms[k].push_back({a, b, ownBits(b)});
    if (a != b) sizes.terms[k].push_back({b, a, ownBits(a)});
    const std::uint32_t p = client(a) + engine(b), q = client(b) + engine(a);
    sizes.tBits[k] = std::max(p, q) + kHidingBits + 1 + (a != b && p == q ? 1 : 0);
    for (const std::uint32_t j : {a, b}) {
      if (sizes.sentLevel[j] == 0 || sizes.sentLevel[j] > sizes.level[k]) {
        sizes.sentLevel[j] = sizes.level[k];
      }
    }
  }
  return layOut(sizes) ? std::optional(sizes) : std::nullopt;
}

/// Calls `use` with every way to split λ^k..λ^d.
template <typename Use>
void forSplits(ByValue<Split>& split, std::uint32_t k, std::uint32_t degree, const Use& use) {
  if (k > degree) return use();
  for (std::uint32_t b = 1; 2 * b <= k; ++b) {
    split[k] = {k - b, b};
    forSplits(split, k + 1, degree, use);
  }
}

std::uint64_t bytesFor(std::uint64_t bits) {
  return (bits + 7) / 8;
}

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

}  // namespace

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

}  // namespace powers

using namespace powers;

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
    for (std::size_t i = 0; i < table.all.count(); ++i) table.single.push_back(table.all.single(i));
    for (std::uint32_t k = 1; k <= values; ++k) {
      if (part.sentT[k] == 0) continue;
      const Basis t = table.t.prefix(part.sentT[k]), d = table.d.prefix(part.sentD[k]);
      table.sent[k] = t.with(d);
      table.sentDModT[k] = he::productMod(d, t);
    }
    for (std::uint32_t k = 1; k <= values; ++k) {
      if (part.answerT[k] == 0) continue;
      std::uint32_t limbs = 0;
      for (const Term& term : terms[k]) limbs = std::max(limbs, part.sentD[term.sent]);
      const Basis t = table.t.prefix(part.answerT[k]), d = table.d.prefix(limbs);
      const auto dBits = static_cast<std::uint32_t>(d.bits() + kProductTolerance);
      if (dBits < noiseBits(sum(part.tBits, part.answerT[k]), logSlots, terms[k].size()) +
                      kHidingBits + 2) {
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
      for (const Term& term : terms[k]) {
        const std::uint32_t sentLimbs = part.sentD[term.sent];
        std::vector<std::uint64_t>& ratio = answer.ratio.emplace_back();
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
  for (std::uint32_t k = 1; k <= values; ++k) {
    if (level[k] == 0) continue;
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
    return refuse(
        ErrorCode::Unsupported,
        std::to_string(shape.precisionBits) +
            " fraction bits leave too little room for values in 56 bits; at most 18 can be "
            "used without a dealer");
  }
  std::optional<Sizes> best;
  for (std::uint32_t logSlots = 13; logSlots <= 15; ++logSlots) {
    if (slots != 0 && slots != 1U << logSlots) continue;
    const std::uint64_t groups = (count + (1U << logSlots) - 1) >> logSlots;
    ByValue<Split> split{};
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

Result<PowersPlan> PowersPlan::forProducts(const ProductPlan& products, std::uint64_t count,
                                           std::uint32_t slots) {
  if (products.clientFactors + products.sums.size() + products.engineFactors > kMaxValues) {
    return refuse(ErrorCode::Unsupported, "too many products for one activation");
  }
  std::optional<Sizes> best;
  std::uint64_t least = 0;
  for (std::uint32_t logSlots = 13; logSlots <= 15; ++logSlots) {
    if (slots != 0 && slots != 1U << logSlots) continue;
    const auto sizes = productSizes(products, logSlots);
    if (!sizes) continue;
    const std::uint64_t groups = (count + sizes->slots() - 1) >> logSlots;
    const std::uint64_t bits = sizes->slotBits() * groups * sizes->slots();
    if (best && bits >= least) continue;
    best = sizes;
    least = bits;
  }
  if (!best) {
    return refuse(ErrorCode::InvalidArgument,
                  "no parameters with " + std::to_string(slots) + " slots for these products");
  }
  return PowersPlan(std::make_shared<const Scheme>(*best), count);
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
std::size_t PowersPlan::publicKeyMemoryBytes() const {
  std::size_t residues = 0;
  for (const PartTables& part : m_scheme->tables) residues += 2 * part.all.count() * slots();
  return residues * sizeof(std::uint64_t);
}
double PowersPlan::distance() const {
  const Scheme& scheme = *m_scheme;
  double answered = 0;
  for (std::uint32_t k = 1; k <= scheme.values; ++k) {
    if (scheme.level[k] == 0) continue;
    answered += std::exp2(-static_cast<double>(kHidingBits));
    for (const PartSizes& part : scheme.parts) {
      if (part.answerT[k] != 0) answered += std::exp2(-static_cast<double>(kMeanFloodingBits));
    }
  }
  return static_cast<double>(groups() * slots()) * answered;
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
  // Of products, all of a group's encryptions come at once.
  const std::size_t polynomials = 10 + m_scheme->clientFactors;
  for (const PartTables& part : m_scheme->tables) {
    bytes += polynomials * part.all.count() * slots() * 8;
  }
  if (m_scheme->sums > 0) bytes += m_scheme->ownValues() * slots() * sizeof(U128);
  return bytes;
}

Result<SecureVector<std::uint64_t>> PowersPlan::drawLambda(std::size_t count) const {
  PILLARBOX_ASSIGN(const Seed seed, random::freshSeed());
  SecureVector<std::uint64_t> lambda(count);
  Expander(seed, 0).fill(std::span<std::uint64_t>(lambda));
  ring::narrow(lambda);
  return lambda;
}

namespace {

/// Stages that share a plan.
struct Members {
  std::vector<std::uint32_t> stages;
  std::uint64_t count = 0;
  void add(const models::PublicModel& model, std::uint32_t stage) {
    stages.push_back(stage);
    count += model.stages[stage].output.size();
  }
};

PowersBatch dealOut(const models::PublicModel& model, const Members& members, PowersPlan plan) {
  const std::size_t slots = plan.slots();
  std::vector<std::vector<PowersPiece>> groups;
  std::size_t used = slots;
  for (const std::uint32_t stage : members.stages) {
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
  return {std::move(plan), std::move(groups)};
}

}  // namespace

Result<std::vector<PowersBatch>> planPowers(const models::PublicModel& model) {
  std::vector<std::pair<PowersShape, Members>> all;
  for (std::uint32_t s = 0; s < model.stages.size(); ++s) {
    const models::Stage& stage = model.stages[s];
    if (!stage.activation) continue;
    const PowersShape shape{stage.activation->degree(), stage.activation->fractionBits,
                            model.precisionBits, stage.truncation};
    auto place = std::find_if(all.begin(), all.end(), [&](const auto& known) {
      return known.first.degree == shape.degree &&
             known.first.polynomialBits == shape.polynomialBits;
    });
    if (place == all.end()) place = all.insert(all.end(), {shape, {}});
    place->first.truncation = std::min(place->first.truncation, shape.truncation);
    place->second.add(model, s);
  }
  std::vector<PowersBatch> batches;
  for (const auto& [shape, members] : all) {
    PILLARBOX_ASSIGN(PowersPlan plan, PowersPlan::create(shape, members.count));
    batches.push_back(dealOut(model, members, std::move(plan)));
  }
  return batches;
}

Result<std::vector<PowersBatch>> planProducts(const models::PublicModel& model,
                                              const CorrelationPlan& correlations) {
  std::vector<std::pair<const ProductPlan*, Members>> all;
  for (std::uint32_t s = 0; s < model.stages.size(); ++s) {
    if (!model.stages[s].activation) continue;
    const ProductPlan* products = correlations.of(s);
    auto place = std::find_if(all.begin(), all.end(),
                              [&](const auto& known) { return known.first->sameShape(*products); });
    if (place == all.end()) place = all.insert(all.end(), {products, {}});
    place->second.add(model, s);
  }
  std::vector<PowersBatch> batches;
  for (const auto& [products, members] : all) {
    PILLARBOX_ASSIGN(PowersPlan plan, PowersPlan::forProducts(*products, members.count));
    batches.push_back(dealOut(model, members, std::move(plan)));
  }
  return batches;
}

}  // namespace pillarbox::offline::two_party

#include "engine/offline/two_party/powers.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

#include "engine/he/sampling.h"
#include "engine/he/wire.h"
#include "engine/offline/two_party/powers_scheme.h"
#include "engine/random/random.h"

namespace pillarbox::offline::two_party {

using namespace powers;

using he::Basis;
using he::Modulus;
using he::Poly;
using he::Sampler;
using random::Expander;
using random::Seed;

namespace {

using Powers = std::vector<SecureVector<U128>>;
using Scheme = PowersPlan::Scheme;

constexpr std::uint32_t kDigitBits = 48;  // of random integers; the kernels take 50
constexpr std::size_t kMaxRows = 40;

/// A group's values of one party before anything is answered; [k-1] by number.
Powers makePowers(const Scheme& scheme, std::span<const std::uint64_t> lambda) {
  if (scheme.degree == 0) throw std::logic_error("a plan of products has no powers");
  if (lambda.size() > scheme.slots()) throw std::logic_error("more values than slots");
  Powers powers(scheme.degree);
  for (auto& power : powers) power.resize(lambda.size());
  for (std::size_t i = 0; i < lambda.size(); ++i) {
    powers[0][i] = static_cast<U128>(static_cast<I128>(static_cast<std::int64_t>(lambda[i])));
  }
  return powers;
}

/// Of products: a party's factors, the first of which has number `first`, and room for the sums.
Powers makeProducts(const Scheme& scheme, std::span<const SecureVector<std::uint64_t>> factors,
                    std::uint32_t first, std::uint32_t count) {
  if (scheme.degree != 0 || factors.size() != count)
    throw std::logic_error("other factors are due");
  const std::size_t size = factors.empty() ? 0 : factors[0].size();
  if (size > scheme.slots()) throw std::logic_error("more values than slots");
  Powers values(scheme.ownValues());
  for (std::uint32_t i = 0; i < count; ++i) {
    if (factors[i].size() != size) throw std::logic_error("factors of different lengths");
    values[first - 1 + i].assign(factors[i].begin(), factors[i].end());
  }
  for (std::uint32_t s = 0; s < scheme.sums; ++s) values[scheme.firstSum() - 1 + s].resize(size);
  return values;
}

/// The values of a share modulo 2^bits as slots: entry j of limb i is value j times factors[i].
/// The signed value plus 2^(bits - 1) is taken in digits, which the kernels sum up.
void fillSlots(const Basis& basis, std::span<const U128> values, std::uint32_t bits,
               std::span<const std::uint64_t> factors, Poly& out) {
  constexpr std::uint64_t kDigit = (std::uint64_t{1} << kDigitBits) - 1;
  const std::size_t n = basis.degree(), digits = (bits + kDigitBits - 1) / kDigitBits;
  const U128 half = U128{1} << (bits - 1), ring = half | (half - 1);
  SecureVector<std::uint64_t> rows((digits + 1) * n, 0);
  for (std::size_t j = 0; j < values.size(); ++j) {
    U128 value = (values[j] + half) & ring;
    for (std::size_t d = 0; d < digits; ++d, value >>= kDigitBits) {
      rows[d * n + j] = static_cast<std::uint64_t>(value) & kDigit;
    }
    rows[digits * n + j] = 1;
  }
  std::array<const std::uint64_t*, 4> inputs;
  for (std::size_t d = 0; d <= digits; ++d) inputs[d] = rows.data() + d * n;
  for (std::size_t i = 0; i < basis.count(); ++i) {
    const Modulus& q = basis.modulus(i);
    const std::uint64_t factor = factors.empty() ? 1 : factors[i];
    std::array<std::uint64_t, 4> scalars;
    for (std::size_t d = 0; d < digits; ++d) {
      scalars[d] = q.multiply(q.power(2, d * kDigitBits), factor);
    }
    scalars[digits] = q.negate(q.multiply(q.reduce(half), factor));
    he::kernels().combine(q, inputs.data(), scalars.data(), digits + 1, out.limb(i), n);
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

/// λ^k = λ^a·λ^b: makes a share of it from the share of the cross terms, which is there.
void addOwnProduct(const Scheme& scheme, Powers& powers, std::uint32_t k) {
  const auto [a, b] = scheme.split[k];
  if (a == 0) return;
  const SecureVector<U128>&left = powers[a - 1], &right = powers[b - 1];
  SecureVector<U128>& out = powers[k - 1];
  const U128 times = a == b ? 2 : 1;
  for (std::size_t j = 0; j < out.size(); ++j) out[j] = left[j] * right[j] + times * out[j];
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
PowersClient::PowersClient(const PowersPlan& plan, const PowersSecretKey& key,
                           std::span<const SecureVector<std::uint64_t>> factors)
    : m_state(new State{plan, key.m_state,
                        makeProducts(plan.scheme(), factors, 1, plan.scheme().clientFactors)}) {}
PowersClient::~PowersClient() = default;
PowersClient::PowersClient(PowersClient&&) noexcept = default;
PowersClient& PowersClient::operator=(PowersClient&&) noexcept = default;
std::vector<SecureVector<U128>>& PowersClient::powers() {
  return m_state->powers;
}
const SecureVector<U128>& PowersClient::sum(std::size_t number) const {
  return m_state->powers.at(m_state->plan.scheme().firstSum() - 1 + number);
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
  for (std::uint32_t k = 1; k <= scheme.values; ++k) {
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

/// Share = v + m, from its residues; of a power also the product of this party's own.
void PowersClient::State::finishPower(std::uint32_t k, std::span<const Poly> slots) {
  const Scheme& scheme = plan.scheme();
  const Scheme::Crt& crt = scheme.crt[k];
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
    out[j] = value;
  }
  addOwnProduct(scheme, powers, k);
}

Status PowersClient::finish(std::span<const std::byte> answer) {
  State& s = *m_state;
  const Scheme& scheme = s.plan.scheme();
  if (!s.requested) throw std::logic_error("no answer is due");
  PILLARBOX_TRY(checkLength("an answer", answer.size(), s.plan.answerBytes(s.level)));
  Reader reader(answer);
  bool good = true;
  for (std::uint32_t k = 1; k <= scheme.values; ++k) {
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
  ByValue<Received> received;

  void answerPart(Sampler& sampler, std::size_t part, std::uint32_t k, const Masks& masks,
                  Writer& writer) const;
};

PowersEngine::PowersEngine(const PowersPlan& plan, const PowersPublicKey& key,
                           std::span<const std::uint64_t> lambda)
    : m_state(new State{plan, key.m_state, makePowers(plan.scheme(), lambda), 0, {}}) {}
PowersEngine::PowersEngine(const PowersPlan& plan, const PowersPublicKey& key,
                           std::span<const SecureVector<std::uint64_t>> factors)
    : m_state(new State{plan,
                        key.m_state,
                        makeProducts(plan.scheme(), factors, plan.scheme().firstEngineFactor(),
                                     plan.scheme().engineFactors),
                        0,
                        {}}) {}
PowersEngine::~PowersEngine() = default;
PowersEngine::PowersEngine(PowersEngine&&) noexcept = default;
PowersEngine& PowersEngine::operator=(PowersEngine&&) noexcept = default;
std::vector<SecureVector<U128>>& PowersEngine::powers() {
  return m_state->powers;
}
const SecureVector<U128>& PowersEngine::sum(std::size_t number) const {
  return m_state->powers.at(m_state->plan.scheme().firstSum() - 1 + number);
}

void PowersEngine::State::answerPart(Sampler& sampler, std::size_t part, std::uint32_t k,
                                     const Masks& masks, Writer& writer) const {
  const Scheme& scheme = plan.scheme();
  const PartSizes& sizes = scheme.parts[part];
  const PartTables& tables = scheme.tables[part];
  const AnswerTables& answer = *tables.answer[k];
  const PowersPublicKey::State::Part& publicKey = key->parts[part];
  const Basis& basis = answer.all;
  const std::size_t tCount = answer.t.count(), n = basis.degree();
  // Limb i of the answer's basis in a polynomial with `t` primes of t.
  const auto limbIn = [&](std::size_t i, std::size_t t) { return i < tCount ? i : t + i - tCount; };

  struct Factor {
    std::uint32_t sent;
    Poly low, high;  // the engine's, transformed: over t, over D
    std::size_t limbs;
  };
  const std::vector<Term>& terms = scheme.terms[k];
  std::vector<Factor> factors;
  for (std::size_t i = 0; i < terms.size(); ++i) {
    const auto [sent, own, ownBits] = terms[i];
    Poly low(answer.t);
    fillSlots(answer.t, powers[own - 1], ownBits, {}, low);
    Poly coefficients = low;
    he::inverse(answer.t, coefficients);
    Poly high = answer.lift.apply(coefficients);
    he::forward(answer.d, high);
    if (sizes.sentD[sent] < answer.d.count()) {
      he::scale(answer.t, low, answer.ratio[i]);
      he::scale(answer.d, high, std::span(answer.ratio[i]).subspan(tCount));
    }
    factors.push_back({sent, std::move(low), std::move(high), tCount + sizes.sentD[sent]});
  }

  // Prime by prime: the encryption of zero, the products, D·m (zero modulo D's primes).
  Poly u = sampler.ternary(basis), c0(basis), c1(basis);
  for (std::size_t i = 0; i < basis.count(); ++i) {
    const Modulus& q = basis.modulus(i);
    basis.ntt(i).forward(u.limb(i));
    std::vector<const std::uint64_t*> left(1 + factors.size()), right0(left), right1(left);
    left[0] = u.limb(i);
    right0[0] = publicKey.b.limb(limbIn(i, tables.t.count()));
    right1[0] = publicKey.a.limb(limbIn(i, tables.t.count()));
    std::vector<Poly> expanded(factors.size());
    std::size_t count = 1;
    for (const Factor& factor : factors) {
      if (i >= factor.limbs) continue;  // the factor is a multiple of this prime
      const Received& from = received[factor.sent];
      const std::size_t limb = limbIn(i, sizes.sentT[factor.sent]);
      Poly& c1Limb = expanded[count - 1] =
          he::expandUniform(tables.single[limbIn(i, tables.t.count())], from.seed,
                            streamOf(part, factor.sent) + limb);
      left[count] = i < tCount ? factor.low.limb(i) : factor.high.limb(i - tCount);
      right0[count] = from.c0[part].limb(limb);
      right1[count++] = c1Limb.limb(0);
    }
    he::kernels().dot(q, left.data(), right0.data(), count, c0.limb(i), n);
    he::kernels().dot(q, left.data(), right1.data(), count, c1.limb(i), n);
    if (i < tCount) {
      masks.residues(q, answer.dModT[i], u.limb(i));
      he::kernels().add(q, c0.limb(i), u.limb(i), c0.limb(i), n);
    }
    basis.ntt(i).inverse(c0.limb(i));
    basis.ntt(i).inverse(c1.limb(i));
  }
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
  for (std::uint32_t k = 1; k <= scheme.values; ++k) {
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
  PILLARBOX_ASSIGN(const Seed maskSeed, random::freshSeed());
  Expander maskStream(maskSeed, 0);
  Writer writer(s.plan.answerBytes(s.level));
  for (std::uint32_t k = 1; k <= scheme.values; ++k) {
    if (scheme.level[k] != s.level + 1) continue;
    const Masks masks(maskStream, scheme.slots(), scheme.tBits[k]);
    for (std::size_t p = 0; p < scheme.parts.size(); ++p) {
      if (scheme.parts[p].answerT[k] != 0) s.answerPart(sampler, p, k, masks, writer);
    }
    SecureVector<U128>& out = s.powers[k - 1];
    for (std::size_t j = 0; j < out.size(); ++j) out[j] = 0 - masks.wide(j);
    addOwnProduct(scheme, s.powers, k);
  }
  ++s.level;
  return writer.finish();
}

}  // namespace pillarbox::offline::two_party

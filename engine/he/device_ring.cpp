#include "engine/he/device_ring.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>

namespace pillarbox::he {

using device::check;
using device::Stream;

namespace {

/// A root and its Shoup constant for 64-bit words, for each root.
std::vector<std::uint64_t> pairsOf(const NttTables& tables,
                                   const std::vector<std::uint64_t>& roots) {
  std::vector<std::uint64_t> pairs;
  pairs.reserve(2 * tables.degree);
  for (std::size_t i = 0; i < tables.degree; ++i) {
    pairs.push_back(roots[i]);
    pairs.push_back(static_cast<std::uint64_t>((U128{roots[i]} << 64) / tables.modulus.value()));
  }
  return pairs;
}

constexpr std::uint32_t kFloodingDigit = 48;

std::uint32_t digitsOf(std::uint32_t floodingBits) {
  return (floodingBits + kFloodingDigit - 1) / kFloodingDigit;
}

}  // namespace

DeviceRing::DeviceRing(device::DevicePtr device, std::shared_ptr<const Parameters> parameters,
                       std::uint32_t floodingBits)
    : m_device(std::move(device)),
      m_parameters(std::move(parameters)),
      m_logDegree(static_cast<std::uint32_t>(std::bit_width(m_parameters->degree()) - 1)),
      m_qs(m_parameters->q().count()),
      m_fulls(m_parameters->full().count()),
      m_specials(m_parameters->special().count()),
      m_returneds(m_parameters->returned().count()),
      m_floodingBits(floodingBits) {
  const Basis& q = m_parameters->q();
  if (floodingBits < 1 || floodingBits + 1 >= q.bits()) {
    throw std::logic_error("flooding of another size");
  }
  if (m_specials == 0) throw std::logic_error("a ring on the device has special primes");
  std::vector<cuda::Prime> primes;
  for (const Basis* basis : {&m_parameters->full(), &m_parameters->returned()}) {
    for (std::size_t i = 0; i < basis->count(); ++i) {
      const NttTables& tables = basis->ntt(i).tables();
      const Modulus& q = tables.modulus;
      cuda::Prime& prime = primes.emplace_back();
      prime.value = q.value();
      const U128 ratio = ~U128{0} / q.value();
      prime.ratioLow = static_cast<std::uint64_t>(ratio);
      prime.ratioHigh = static_cast<std::uint64_t>(ratio >> 64);
      prime.two64 = q.reduce(U128{1} << 64);
      prime.inverseDegree = tables.inverseDegree;
      prime.inverseDegreeShoup =
          static_cast<std::uint64_t>((U128{tables.inverseDegree} << 64) / q.value());
      prime.bits = q.bits();
      prime.roots =
          m_roots.emplace_back(copied<std::uint64_t>(pairsOf(tables, tables.roots))).data();
      prime.inverseRoots =
          m_roots.emplace_back(copied<std::uint64_t>(pairsOf(tables, tables.inverseRoots))).data();
    }
  }
  m_primes = copied<cuda::Prime>(primes);
  m_toReturned = copied(m_parameters->toReturned());
  m_dropSpecial = copied(m_parameters->dropSpecial());
  std::vector<std::uint64_t> scalars;
  for (std::size_t i = 0; i < q.count(); ++i) {
    const Modulus& modulus = q.modulus(i);
    for (std::uint32_t d = 0; d < digitsOf(floodingBits); ++d) {
      scalars.push_back(modulus.power(2, d * kFloodingDigit));
    }
    scalars.push_back(modulus.negate(modulus.power(2, floodingBits - 1)));
  }
  m_flooding = copied<std::uint64_t>(scalars);
}

DeviceRing::Change DeviceRing::copied(const BasisChange& change) const {
  const BasisChange::Constants& constants = change.constants();
  std::vector<std::uint64_t> out;
  for (const auto& row : constants.out) out.insert(out.end(), row.begin(), row.end());
  Change result;
  result.in = copied<std::uint64_t>(constants.in);
  result.reciprocals = copied<double>(constants.reciprocals);
  result.out = copied<std::uint64_t>(out);
  result.inputs = static_cast<std::uint32_t>(constants.in.size());
  result.outputs = static_cast<std::uint32_t>(constants.out.size());
  return result;
}

DevicePublicKey DeviceRing::copied(const PublicKey& key) const {
  return {copied(key.b.words()), copied(key.a.words())};
}

DeviceGaloisKey DeviceRing::copied(const GaloisKey& key) const {
  const Basis& full = m_parameters->full();
  std::vector<std::uint64_t> b, a;
  for (std::size_t i = 0; i < m_qs; ++i) {
    b.insert(b.end(), key.b[i].words().begin(), key.b[i].words().end());
    a.insert(a.end(), key.a[i].words().begin(), key.a[i].words().end());
  }
  std::vector<std::int64_t> monomial(degree() / (key.exponent - 1) + 1, 0);
  monomial.back() = 1;
  Poly shift = fromSmall(full, monomial);
  forward(full, shift);
  return {copied<std::uint64_t>(b), copied<std::uint64_t>(a),
          copied<std::uint32_t>(key.permutation), copied<std::uint64_t>(shift.words())};
}

cuda::Rows DeviceRing::rows(std::uint64_t* data, std::size_t polys, std::size_t width,
                            std::size_t stride, std::size_t prime) const {
  return {data,
          static_cast<std::uint32_t>(polys),
          static_cast<std::uint32_t>(width),
          static_cast<std::uint32_t>(stride),
          static_cast<std::uint32_t>(prime),
          1};
}
cuda::Rows DeviceRing::q(std::uint64_t* data, std::size_t polys) const {
  return rows(data, polys, m_qs, m_qs, 0);
}
cuda::Rows DeviceRing::full(std::uint64_t* data, std::size_t polys) const {
  return rows(data, polys, m_fulls, m_fulls, 0);
}
cuda::Rows DeviceRing::returned(std::uint64_t* data, std::size_t polys) const {
  return rows(data, polys, m_returneds, m_returneds, m_fulls);
}
cuda::Rows DeviceRing::lower(std::uint64_t* data, std::size_t polys) const {
  return rows(data, polys, m_qs, m_fulls, 0);
}
cuda::Rows DeviceRing::special(std::uint64_t* data, std::size_t polys) const {
  return rows(data + m_qs * degree(), polys, m_specials, m_fulls, m_qs);
}

cuda::Scalars DeviceRing::scalars(std::span<const std::uint64_t> residues) {
  cuda::Scalars result;
  std::copy(residues.begin(), residues.end(), result.values);
  return result;
}

void DeviceRing::expand(Stream stream, std::uint64_t* out, const std::uint8_t* seeds,
                        std::uint32_t* schedules, std::size_t polys) const {
  check(table().keys(stream, schedules, seeds, static_cast<std::uint32_t>(polys)));
  check(table().uniform(stream, ring(), q(out, polys), schedules, 0));
}

DeviceRing::MergeScratch::MergeScratch(const DeviceRing& ring, DeviceArena& arena, std::size_t most)
    : capacity(most),
      less0(arena.take<std::uint64_t>(ring.fullWords(most))),
      less1(arena.take<std::uint64_t>(ring.qWords(most))),
      coefficients(arena.take<std::uint64_t>(ring.qWords(most))),
      digits(arena.take<std::uint64_t>(ring.fullWords(most) * ring.m_qs)),
      c0(arena.take<std::uint64_t>(ring.fullWords(most))),
      c1(arena.take<std::uint64_t>(ring.fullWords(most))) {}

void DeviceRing::merge(Stream stream, const DeviceGaloisKey& key, const MergeScratch& scratch,
                       DeviceCiphertexts even, DeviceCiphertexts odd, std::size_t count) const {
  for (std::size_t first = 0; first < count; first += scratch.capacity) {
    mergeSome(stream, key, scratch, at(even, first), at(odd, first),
              std::min(scratch.capacity, count - first));
  }
}

void DeviceRing::mergeSome(Stream stream, const DeviceGaloisKey& key, const MergeScratch& scratch,
                           DeviceCiphertexts even, DeviceCiphertexts odd, std::size_t count) const {
  const cuda::HeTable& t = table();
  const cuda::Ring ring = this->ring();
  const auto fulls = static_cast<std::uint32_t>(m_fulls), qs = static_cast<std::uint32_t>(m_qs);
  const cuda::Rows sum0 = full(even.c0, count), sum1 = q(even.c1, count);
  const cuda::Rows less0 = full(scratch.less0, count);
  const cuda::Rows less1 = q(scratch.less1, count);
  const cuda::Rows coefficients = q(scratch.coefficients, count);
  const cuda::Rows c0 = full(scratch.c0, count), c1 = full(scratch.c1, count);
  check(t.butterfly(stream, ring, sum0, full(odd.c0, count),
                    rows(key.shift.data(), count, m_fulls, 0, 0), less0));
  check(t.butterfly(stream, ring, sum1, q(odd.c1, count), rows(key.shift.data(), count, m_qs, 0, 0),
                    less1));

  // The digits of the difference's c1, transformed, for each prime; times the key.
  cuda::Scalars ones;
  std::fill(std::begin(ones.values), std::end(ones.values), 1);
  check(t.scale(stream, ring, coefficients, less1, ones));
  check(t.inverse(stream, ring, coefficients));
  cuda::Rows digits = rows(scratch.digits, count, m_fulls * m_qs, m_fulls * m_qs, 0);
  digits.inner = qs;
  check(t.lift(stream, ring, digits, coefficients, less1));
  check(t.forward(stream, ring, digits, true));
  check(t.dotPair(stream, ring, c0, c1, {digits.data, fulls * qs, 0, 1, qs},
                  {key.b.data(), 0, 0, fulls, 1}, {key.a.data(), 0, 0, fulls, 1}, 1, qs));

  check(t.add(stream, ring, c0, c0, less0));
  check(t.permuteAdd(stream, ring, sum0, c0, key.permutation.data()));

  // c1 divided by the special primes.
  const cuda::Rows low = special(c1.data, count), switched = lower(c1.data, count);
  const cuda::Rows rest = coefficients;
  check(t.inverse(stream, ring, low));
  check(t.change(stream, ring, rest, low, m_dropSpecial.view()));
  check(t.forward(stream, ring, rest, false));
  check(t.add(stream, ring, switched, switched, rest));
  check(t.permuteAdd(stream, ring, sum1, switched, key.permutation.data()));
}

void DeviceRing::twice(Stream stream, DeviceCiphertexts x, std::size_t count) const {
  const cuda::Rows c0 = full(x.c0, count), c1 = q(x.c1, count);
  check(table().add(stream, ring(), c0, c0, c0));
  check(table().add(stream, ring(), c1, c1, c1));
}

DeviceRing::ReplyScratch::ReplyScratch(const DeviceRing& ring, DeviceArena& arena, std::size_t most)
    : capacity(most),
      seeds(arena.take<std::uint8_t>(most * sizeof(random::Seed::bytes))),
      schedules(arena.take<std::uint32_t>(most * cuda::kKeyWords)),
      wanted(arena.take<std::uint32_t>(most * ring.degree())),
      counts(arena.take<std::uint32_t>(most)),
      random(arena.take<std::uint64_t>(most * (3 + digitsOf(ring.m_floodingBits)) * ring.degree())),
      narrow(arena.take<std::uint64_t>(ring.qWords(most))),
      u(arena.take<std::uint64_t>(ring.qWords(most))),
      e(arena.take<std::uint64_t>(ring.qWords(most))),
      c0(arena.take<std::uint64_t>(ring.qWords(most))),
      c1(arena.take<std::uint64_t>(ring.qWords(most))),
      returned0(arena.take<std::uint64_t>(most * ring.m_returneds * ring.degree())),
      returned1(arena.take<std::uint64_t>(most * ring.m_returneds * ring.degree())),
      chosen(arena.take<std::uint64_t>(most * ring.m_returneds * ring.degree())),
      words(arena.take<std::uint64_t>(most * ring.degree())) {}

std::vector<Reply> DeviceRing::replies(Stream stream, const DevicePublicKey& key,
                                       const ReplyScratch& scratch, DeviceCiphertexts results,
                                       const Word64& encoding, std::span<const std::uint64_t> words,
                                       std::span<const std::vector<std::uint32_t>> wanted,
                                       std::span<const random::Seed> secrets) const {
  const std::size_t count = secrets.size(), n = degree();
  if (count == 0 || count > scratch.capacity || words.size() != count * n ||
      wanted.size() != count) {
    throw std::logic_error("replies of another number");
  }
  const device::Table& memory = m_device->table();
  const cuda::HeTable& t = table();
  const cuda::Ring ring = this->ring();
  const std::uint32_t qs = static_cast<std::uint32_t>(m_qs);
  const std::uint64_t draws = (3 + digitsOf(m_floodingBits)) * n;

  SecureVector<std::uint8_t> seeds;
  std::vector<std::uint32_t> indices(count * n, 0), counts;
  for (std::size_t p = 0; p < count; ++p) {
    seeds.insert(seeds.end(), secrets[p].bytes.begin(), secrets[p].bytes.end());
    for (std::size_t k = 0; k < wanted[p].size(); ++k) {
      if (wanted[p][k] >= n || k >= n) throw std::logic_error("no such coefficient");
      indices[p * n + k] = wanted[p][k];
    }
    counts.push_back(static_cast<std::uint32_t>(wanted[p].size()));
  }
  const std::size_t each = m_returneds * n;
  SecureVector<std::uint64_t> chosen(count * each), second(count * each);
  const FinishedStream finished(m_device, stream);
  check(memory.copyIn(stream, scratch.seeds, seeds.data(), seeds.size()));
  check(memory.copyIn(stream, scratch.wanted, indices.data(), indices.size() * 4));
  check(memory.copyIn(stream, scratch.counts, counts.data(), counts.size() * 4));
  check(memory.copyIn(stream, scratch.words, words.data(), words.size_bytes()));

  // The encryption of zero, from the words that a Sampler takes: u, e0, e1, then the flooding.
  const cuda::Rows u = q(scratch.u, count), e = q(scratch.e, count);
  const cuda::Rows c0 = q(scratch.c0, count), c1 = q(scratch.c1, count);
  const std::uint64_t* random = scratch.random;
  check(t.keys(stream, scratch.schedules, scratch.seeds, static_cast<std::uint32_t>(count)));
  check(t.words(stream, scratch.random, scratch.schedules, static_cast<std::uint32_t>(count), 0, 0,
                draws));
  check(t.ternary(stream, ring, u, random, draws));
  check(t.forward(stream, ring, u, false));
  check(t.dotPair(stream, ring, c0, c1, {u.data, qs, 0, 0, 1}, {key.b.data(), 0, 0, 0, 1},
                  {key.a.data(), 0, 0, 0, 1}, 1, 1));
  for (const auto& [half, offset] : {std::pair{c0, n}, std::pair{c1, 2 * n}}) {
    check(t.error(stream, ring, e, random + offset, draws));
    check(t.forward(stream, ring, e, false));
    check(t.add(stream, ring, half, half, e));
  }

  // The result, its c0 divided by the special primes (narrowed()).
  const cuda::Rows low = special(results.c0, count), rest = q(scratch.narrow, count);
  check(t.inverse(stream, ring, low));
  check(t.change(stream, ring, rest, low, m_dropSpecial.view()));
  check(t.forward(stream, ring, rest, false));
  check(t.add(stream, ring, c0, c0, rest));
  check(t.add(stream, ring, c0, c0, lower(results.c0, count)));
  check(t.add(stream, ring, c1, c1, q(results.c1, count)));
  check(t.inverse(stream, ring, c0));
  check(t.inverse(stream, ring, c1));

  check(t.encode(stream, ring, e, scratch.words, encoding.product(), scalars(encoding.factors())));
  check(t.add(stream, ring, c0, c0, e));
  check(t.flooding(stream, ring, c0, random + 3 * n, draws, m_floodingBits, m_flooding.data()));

  const cuda::Rows returned0 = returned(scratch.returned0, count);
  const cuda::Rows returned1 = returned(scratch.returned1, count);
  check(t.change(stream, ring, returned0, c0, m_toReturned.view()));
  check(t.change(stream, ring, returned1, c1, m_toReturned.view()));
  check(t.gather(stream, ring, scratch.chosen, returned0, scratch.wanted, scratch.counts));
  check(memory.copyOut(stream, chosen.data(), scratch.chosen, chosen.size() * 8));
  check(memory.copyOut(stream, second.data(), scratch.returned1, second.size() * 8));
  check(memory.finishStream(stream));

  std::vector<Reply> replies(count);
  for (std::size_t p = 0; p < count; ++p) {
    for (std::size_t i = 0; i < m_returneds; ++i) {
      const std::uint64_t* row = chosen.data() + p * each + i * n;
      replies[p].c0.insert(replies[p].c0.end(), row, row + wanted[p].size());
    }
    replies[p].c1 = Poly(m_parameters->returned());
    std::copy_n(second.data() + p * each, each, replies[p].c1.limb(0));
  }
  return replies;
}

}  // namespace pillarbox::he

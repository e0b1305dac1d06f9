#include "engine/he/sampling.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

namespace pillarbox::he {

namespace {

/// Residues of integers that are smaller than every prime.
Poly smallResidues(const Basis& basis, std::span<const std::int64_t> values) {
  Poly result(basis);
  for (std::size_t i = 0; i < basis.count(); ++i) {
    kernels().fromSmall(basis.modulus(i), values.data(), result.limb(i), values.size());
  }
  return result;
}

/// popcount of bits 0..20 minus popcount of bits 21..41, by sums of neighbouring fields: some
/// compilers count with a table.
std::int64_t binomial(std::uint64_t word) {
  constexpr std::uint64_t kBits = (std::uint64_t{1} << 21) - 1;
  std::uint64_t x = (word & kBits) | ((word >> 21 & kBits) << 32);
  x -= x >> 1 & 0x5555555555555555;
  x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
  x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F;
  x += x >> 8;
  x += x >> 16;
  return static_cast<std::int64_t>(x & 0x3F) - static_cast<std::int64_t>(x >> 32 & 0x3F);
}

}  // namespace

Result<Sampler> Sampler::fresh() {
  PILLARBOX_ASSIGN(const random::Seed secret, random::freshSeed());
  return of(secret);
}

Result<Sampler> Sampler::of(const random::Seed& secret) {
  PILLARBOX_ASSIGN(const random::Seed open, random::freshSeed());
  return Sampler(secret, open);
}

Poly Sampler::ternary(const Basis& basis) {
  SecureVector<std::uint64_t> words(basis.degree());
  SecureVector<std::int64_t> values(basis.degree());
  m_words.fill(words);
  for (std::size_t n = 0; n < words.size(); ++n) {
    values[n] = static_cast<std::int64_t>((U128{words[n]} * 3) >> 64) - 1;
  }
  return smallResidues(basis, values);
}

Poly Sampler::error(const Basis& basis) {
  SecureVector<std::uint64_t> words(basis.degree());
  SecureVector<std::int64_t> values(basis.degree());
  m_words.fill(words);
  for (std::size_t n = 0; n < words.size(); ++n) values[n] = binomial(words[n]);
  return smallResidues(basis, values);
}

Poly Sampler::flooding(const Basis& basis, std::uint32_t bits) {
  if (bits < 1 || bits > 1000) throw std::logic_error("flooding of 1 to 1000 bits");
  constexpr std::uint32_t kDigit = 48;
  const std::size_t degree = basis.degree(), digits = (bits + kDigit - 1) / kDigit;
  SecureVector<std::uint64_t> words(digits * degree), ones(degree, 1);
  m_words.fill(words);
  std::array<const std::uint64_t*, 22> rows;
  for (std::size_t d = 0; d < digits; ++d) {
    const auto width =
        std::min<std::uint32_t>(kDigit, bits - static_cast<std::uint32_t>(d) * kDigit);
    std::uint64_t* row = words.data() + d * degree;
    for (std::size_t n = 0; n < degree; ++n) row[n] >>= 64 - width;
    rows[d] = row;
  }
  rows[digits] = ones.data();
  Poly result(basis);
  for (std::size_t i = 0; i < basis.count(); ++i) {
    const Modulus& q = basis.modulus(i);
    std::array<std::uint64_t, 22> scalars;
    for (std::size_t d = 0; d < digits; ++d) scalars[d] = q.power(2, d * kDigit);
    scalars[digits] = q.negate(q.power(2, bits - 1));
    kernels().combine(q, rows.data(), scalars.data(), digits + 1, result.limb(i), degree);
  }
  return result;
}

random::Seed Sampler::seed() {
  std::array<std::uint64_t, 4> words;
  m_seeds.fill(words);
  random::Seed seed;
  std::memcpy(seed.bytes.data(), words.data(), seed.bytes.size());
  return seed;
}

Poly expandUniform(const Basis& basis, const random::Seed& seed, std::uint64_t first) {
  Poly result(basis);
  for (std::size_t i = 0; i < basis.count(); ++i) {
    const std::uint64_t q = basis.modulus(i).value();
    const std::uint64_t mask = (std::uint64_t{1} << basis.modulus(i).bits()) - 1;
    random::Expander words(seed, first + i);
    const std::span<std::uint64_t> out(result.limb(i), basis.degree());
    for (std::size_t kept = 0; kept < out.size();) {
      const auto fresh = out.subspan(kept);
      words.fill(fresh);
      bool all = true;
      for (auto& word : fresh) all &= (word &= mask) < q;
      if (all) break;
      for (const std::uint64_t word : fresh) {
        if (word < q) out[kept++] = word;
      }
    }
  }
  return result;
}

}  // namespace pillarbox::he

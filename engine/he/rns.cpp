#include "engine/he/rns.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>
#include <stdexcept>

namespace pillarbox::he {

Basis::Basis(std::size_t degree, std::span<const std::uint64_t> primes) : m_degree(degree) {
  for (const std::uint64_t prime : primes) {
    m_ntts.push_back(std::make_shared<const Ntt>(degree, Modulus(prime)));
  }
}

Basis Basis::ofBits(PrimeSource& source, std::size_t degree, std::uint32_t bits) {
  const std::uint32_t count = (bits + kMaxPrimeBits - 1) / kMaxPrimeBits;
  std::vector<std::uint64_t> primes;
  for (std::uint32_t i = 0; i < count; ++i) {
    primes.push_back(source.next(bits / count + (i < bits % count ? 1 : 0)));
  }
  return Basis(degree, primes);
}

Basis Basis::prefix(std::size_t count) const {
  Basis result;
  result.m_degree = m_degree;
  result.m_ntts.assign(m_ntts.begin(), m_ntts.begin() + static_cast<std::ptrdiff_t>(count));
  return result;
}

Basis Basis::single(std::size_t i) const {
  Basis result;
  result.m_degree = m_degree;
  result.m_ntts.push_back(m_ntts.at(i));
  return result;
}

Basis Basis::with(const Basis& other) const {
  if (count() != 0 && other.count() != 0 && m_degree != other.m_degree) {
    throw std::logic_error("bases of different degrees");
  }
  Basis result = *this;
  result.m_degree = std::max(m_degree, other.m_degree);
  result.m_ntts.insert(result.m_ntts.end(), other.m_ntts.begin(), other.m_ntts.end());
  return result;
}

double Basis::bits() const {
  double sum = 0;
  for (std::size_t i = 0; i < count(); ++i)
    sum += std::log2(static_cast<double>(modulus(i).value()));
  return sum;
}

std::uint32_t Basis::residueBits() const {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < count(); ++i) sum += modulus(i).bits();
  return sum;
}

bool Basis::operator==(const Basis& other) const {
  if (m_degree != other.m_degree || count() != other.count()) return false;
  for (std::size_t i = 0; i < count(); ++i) {
    if (modulus(i).value() != other.modulus(i).value()) return false;
  }
  return true;
}

namespace {

/// What has been released, by size, newest last. Threads come and go with the work; the memory
/// stays.
struct PolyPool {
  static constexpr std::size_t kMostBytes = std::size_t{64} << 20;
  struct Shelf {
    std::size_t size = 0;
    std::vector<void*> memory;
  };
  std::mutex mutex;
  std::vector<Shelf> shelves;
  std::size_t bytes = 0;

  std::vector<void*>& of(std::size_t size) {
    for (Shelf& shelf : shelves) {
      if (shelf.size == size) return shelf.memory;
    }
    return shelves.emplace_back(Shelf{size, {}}).memory;
  }
};

constexpr std::align_val_t kPolyAlignment{SecureAllocator<std::uint64_t>::kAlignment};

/// Never destroyed: polynomials may be released while the process ends.
PolyPool& polyPool() {
  static auto* const kPool = new PolyPool;
  return *kPool;
}

}  // namespace

void* takePolyMemory(std::size_t bytes) {
  PolyPool& pool = polyPool();
  {
    const std::lock_guard lock(pool.mutex);
    std::vector<void*>& shelf = pool.of(bytes);
    if (!shelf.empty()) {
      void* memory = shelf.back();
      shelf.pop_back();
      pool.bytes -= bytes;
      return memory;
    }
  }
  return ::operator new(bytes, kPolyAlignment);
}

void releasePolyMemory(void* memory, std::size_t bytes) noexcept {
  secureZero(memory, bytes);
  PolyPool& pool = polyPool();
  try {
    const std::lock_guard lock(pool.mutex);
    if (pool.bytes + bytes <= PolyPool::kMostBytes) {
      pool.of(bytes).push_back(memory);
      pool.bytes += bytes;
      return;
    }
  } catch (const std::bad_alloc&) {  // then it is simply freed
  }
  ::operator delete(memory, kPolyAlignment);
}

void Poly::setZero() {
  std::fill(m_words.begin(), m_words.end(), 0);
}

void forward(const Basis& basis, Poly& x) {
  for (std::size_t i = 0; i < basis.count(); ++i) basis.ntt(i).forward(x.limb(i));
}

void inverse(const Basis& basis, Poly& x) {
  for (std::size_t i = 0; i < basis.count(); ++i) basis.ntt(i).inverse(x.limb(i));
}

void addTo(const Basis& basis, Poly& x, const Poly& y) {
  for (std::size_t i = 0; i < basis.count(); ++i) {
    kernels().add(basis.modulus(i), x.limb(i), y.limb(i), x.limb(i), basis.degree());
  }
}

void subtractFrom(const Basis& basis, Poly& x, const Poly& y) {
  for (std::size_t i = 0; i < basis.count(); ++i) {
    kernels().subtract(basis.modulus(i), x.limb(i), y.limb(i), x.limb(i), basis.degree());
  }
}

Poly multiply(const Basis& basis, const Poly& x, const Poly& y) {
  Poly result(basis);
  for (std::size_t i = 0; i < basis.count(); ++i) {
    const std::uint64_t* a = x.limb(i);
    const std::uint64_t* b = y.limb(i);
    kernels().dot(basis.modulus(i), &a, &b, 1, result.limb(i), basis.degree());
  }
  return result;
}

void scale(const Basis& basis, Poly& x, std::span<const std::uint64_t> scalar) {
  for (std::size_t i = 0; i < basis.count(); ++i) {
    const std::uint64_t* a = x.limb(i);
    kernels().combine(basis.modulus(i), &a, &scalar[i], 1, x.limb(i), basis.degree());
  }
}

Poly fromSigned(const Basis& basis, std::span<const std::int64_t> values) {
  Poly result(basis);
  for (std::size_t i = 0; i < basis.count(); ++i) {
    const Modulus& q = basis.modulus(i);
    std::uint64_t* out = result.limb(i);
    for (std::size_t n = 0; n < values.size(); ++n) out[n] = q.fromSigned(values[n]);
    std::fill(out + values.size(), out + basis.degree(), 0);
  }
  return result;
}

namespace {

/// Apart, because it is the one place where secrets decide over a branch: to stop at a bug.
[[gnu::noinline]] void requireSmall(std::span<const std::int64_t> values, std::uint32_t bits) {
  std::uint64_t magnitudes = 0;
  for (const std::int64_t value : values) {
    magnitudes |= static_cast<std::uint64_t>(value ^ (value >> 63));
  }
  if (magnitudes >> bits != 0) throw std::logic_error("an integer greater than a prime");
}

}  // namespace

Poly fromSmall(const Basis& basis, std::span<const std::int64_t> values) {
  std::uint32_t bits = kMaxPrimeBits;
  for (std::size_t i = 0; i < basis.count(); ++i) bits = std::min(bits, basis.modulus(i).bits());
  requireSmall(values, bits - 1);  // -x <= 2^(bits - 1) < q
  Poly result(basis);
  const std::size_t whole = values.size() / 16 * 16;
  for (std::size_t i = 0; i < basis.count(); ++i) {
    std::uint64_t* out = result.limb(i);
    kernels().fromSmall(basis.modulus(i), values.data(), out, whole);
    for (std::size_t n = whole; n < values.size(); ++n) {
      out[n] = basis.modulus(i).fromSigned(values[n]);
    }
    std::fill(out + values.size(), out + basis.degree(), 0);
  }
  return result;
}

std::vector<std::uint64_t> productMod(const Basis& of, const Basis& basis, std::uint64_t factor) {
  std::vector<std::uint64_t> result;
  for (std::size_t i = 0; i < basis.count(); ++i) {
    const Modulus& q = basis.modulus(i);
    std::uint64_t value = q.reduce(factor);
    for (std::size_t j = 0; j < of.count(); ++j) {
      value = q.multiply(value, q.reduce(of.modulus(j).value()));
    }
    result.push_back(value);
  }
  return result;
}

namespace {

/// The product of a basis's primes without number `skip`, mod q.
std::uint64_t cofactor(const Basis& basis, std::size_t skip, const Modulus& q) {
  std::uint64_t value = 1;
  for (std::size_t i = 0; i < basis.count(); ++i) {
    if (i != skip) value = q.multiply(value, q.reduce(basis.modulus(i).value()));
  }
  return value;
}

constexpr std::size_t kBlock = 512;
constexpr std::size_t kMaxLimbs = 32;

}  // namespace

BasisChange BasisChange::rescaling(const Basis& from, const Basis& to) {
  return {from, to, true, true};
}

BasisChange BasisChange::lifting(const Basis& from, const Basis& to) {
  return {from, to, false, false};
}

BasisChange BasisChange::dropping(const Basis& from, const Basis& to) {
  return {from, to, false, true};
}

BasisChange::BasisChange(const Basis& from, const Basis& to, bool multiply, bool divide)
    : m_from(from), m_to(to) {
  if (from.degree() != to.degree() || from.count() == 0 || from.count() > kMaxLimbs ||
      to.count() > kMaxLimbs) {
    throw std::logic_error("no change between these bases");
  }
  for (std::size_t i = 0; i < from.count(); ++i) {
    const Modulus& a = from.modulus(i);
    std::uint64_t factor = a.inverse(cofactor(from, i, a));
    if (multiply) factor = a.multiply(factor, cofactor(to, to.count(), a));
    m_constants.in.push_back(factor);
    m_constants.reciprocals.push_back(1.0 / static_cast<double>(a.value()));
  }
  for (std::size_t j = 0; j < to.count(); ++j) {
    const Modulus& b = to.modulus(j);
    const std::uint64_t product = cofactor(from, from.count(), b);
    if (divide && product == 0) throw std::logic_error("division between bases that share a prime");
    const std::uint64_t minusInverse = divide ? b.negate(b.inverse(product)) : 1;
    std::vector<std::uint64_t>& row = m_constants.out.emplace_back();
    for (std::size_t i = 0; i < from.count(); ++i) {
      row.push_back(b.multiply(cofactor(from, i, b), minusInverse));
    }
    row.push_back(divide ? 1 : b.negate(product));  // -A times the above
  }
}

Poly BasisChange::apply(const Poly& x) const {
  const std::size_t inputs = m_from.count();
  Poly y(m_to);
  SecureVector<std::uint64_t> scratch((inputs + 1) * kBlock);
  std::array<const std::uint64_t*, kMaxLimbs + 1> rows;
  for (std::size_t i = 0; i <= inputs; ++i) rows[i] = scratch.data() + i * kBlock;
  const Kernels& k = kernels();
  for (std::size_t first = 0; first < m_from.degree(); first += kBlock) {
    const std::size_t count = std::min(kBlock, m_from.degree() - first);
    for (std::size_t i = 0; i < inputs; ++i) {
      const std::uint64_t* in = x.limb(i) + first;
      std::uint64_t* u = scratch.data() + i * kBlock;
      k.combine(m_from.modulus(i), &in, &m_constants.in[i], 1, u, count);
    }
    k.quotients(rows.data(), m_constants.reciprocals.data(), inputs,
                scratch.data() + inputs * kBlock, count);
    for (std::size_t j = 0; j < m_to.count(); ++j) {
      k.combine(m_to.modulus(j), rows.data(), m_constants.out[j].data(), inputs + 1,
                y.limb(j) + first, count);
    }
  }
  return y;
}

Word64::Word64(const Basis& basis) : m_basis(basis), m_product(1) {
  for (std::size_t i = 0; i < basis.count(); ++i) m_product *= basis.modulus(i).value();
  std::uint64_t inverse = 1;  // Newton's iteration mod 2^64
  for (int step = 0; step < 6; ++step) inverse *= 2 - m_product * inverse;
  m_minusInverse = 0 - inverse;
  for (std::size_t i = 0; i < basis.count(); ++i) {
    const Modulus& q = basis.modulus(i);
    const std::uint64_t two64 = q.reduce(U128{1} << 64);
    m_encode.push_back(q.negate(q.inverse(two64)));
    m_in.push_back(q.multiply(two64, q.inverse(cofactor(basis, i, q))));
    std::uint64_t others = 1;
    for (std::size_t j = 0; j < basis.count(); ++j) {
      if (j != i) others *= basis.modulus(j).value();
    }
    m_cofactor.push_back(others);
  }
}

Poly Word64::encode(std::span<const std::uint64_t> x) const {
  // round(Q·x/2^64) = (Q·x − [Q·x mod 2^64]) / 2^64, and Q·x ≡ 0 mod q_i.
  Poly y(m_basis);
  for (std::size_t i = 0; i < m_basis.count(); ++i) {
    const Modulus& q = m_basis.modulus(i);
    std::uint64_t* out = y.limb(i);
    for (std::size_t n = 0; n < x.size(); ++n) {
      out[n] = q.multiply(q.fromSigned(static_cast<std::int64_t>(x[n] * m_product)), m_encode[i]);
    }
    std::fill(out + x.size(), out + m_basis.degree(), 0);
  }
  return y;
}

void Word64::decode(const Poly& x, std::span<const std::uint32_t> coefficients,
                    std::span<std::uint64_t> out) const {
  for (std::size_t n = 0; n < coefficients.size(); ++n) {
    std::uint64_t sum = 0;
    double quotient = 0.5;
    for (std::size_t i = 0; i < m_basis.count(); ++i) {
      const Modulus& q = m_basis.modulus(i);
      const std::uint64_t u = q.multiply(x.limb(i)[coefficients[n]], m_in[i]);
      sum += u * m_cofactor[i];
      quotient +=
          static_cast<double>(static_cast<std::int64_t>(u)) / static_cast<double>(q.value());
    }
    sum -= static_cast<std::uint64_t>(static_cast<std::int64_t>(quotient)) * m_product;
    out[n] = sum * m_minusInverse;
  }
}

}  // namespace pillarbox::he

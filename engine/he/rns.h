// Polynomials modulo a product of primes, and the change from one product to another.
//
// A polynomial of degree n over Q = q_1 ... q_k is k limbs of n residues (Chinese remainders),
// either as coefficients or transformed (ntt.h); which of the two is the caller's knowledge.
//
// Rescaling is the one operation behind encoding, modulus switching and decryption: it maps
// x mod A to y = round(x·B/A) mod B. With [z]_A the representative of z in (−A/2, A/2],
//
//   round(x·B/A) = (x·B − [x·B]_A) / A,   so   y ≡ −[x·B]_A · A^(−1) mod each b_j,
//
// which needs no big number: u_i = x_i·B·(A/a_i)^(−1) mod a_i, v = round(sum u_i / a_i) and
// [x·B]_A = sum u_i·(A/a_i) − v·A. v is computed in doubles; where the sum lies within 2^-45 of a
// half v may come out one off, which turns y into the other neighbour of x·B/A: the rounding error
// is 1/2 + 2^-45 instead of 1/2, nothing else. A and B must have no prime in common.
//
// Lifting is the same without the factor B and the division: it maps x mod A to [x]_A mod B.
// Dropping is the part of a division by A that depends on x mod A: −[x]_A·A^(−1) mod B.
//
// One modulus may be 2^64 instead of a product of primes (the ring of activations): see Word64.
// Source: S. Halevi, Y. Polyakov, V. Shoup, eprint 2018/117 (the floating-point quotient).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/core/secure_vector.h"
#include "engine/he/ntt.h"

namespace pillarbox::he {

/// A degree and a list of distinct primes with their transforms. Cheap to copy.
class Basis {
 public:
  Basis() = default;
  /// Throws std::logic_error on what Ntt refuses.
  Basis(std::size_t degree, std::span<const std::uint64_t> primes);

  /// Primes just below powers of two whose product has `bits` bits (to within 2^-10 of a bit), as
  /// even in size as whole bits allow.
  static Basis ofBits(PrimeSource& source, std::size_t degree, std::uint32_t bits);
  /// The first `count` primes.
  Basis prefix(std::size_t count) const;
  /// Prime number i alone.
  Basis single(std::size_t i) const;
  /// These primes, then those of `other`.
  Basis with(const Basis& other) const;

  std::size_t degree() const { return m_degree; }
  std::size_t count() const { return m_ntts.size(); }
  const Ntt& ntt(std::size_t i) const { return *m_ntts[i]; }
  const Modulus& modulus(std::size_t i) const { return m_ntts[i]->tables().modulus; }
  double bits() const;                ///< log2 of the product
  std::uint32_t residueBits() const;  ///< of all residues of one coefficient on the wire
  bool operator==(const Basis& other) const;

 private:
  std::size_t m_degree = 0;
  std::vector<std::shared_ptr<const Ntt>> m_ntts;
};

/// Memory for polynomials: as SecureVector's, but the process keeps up to 64 MiB of what is
/// released (overwritten) for the next polynomial of the size. Fresh pages cost more than a
/// transform.
void* takePolyMemory(std::size_t bytes);
void releasePolyMemory(void* memory, std::size_t bytes) noexcept;

template <typename T>
struct PolyAllocator : SecureAllocator<T> {
  template <typename U>
  struct rebind {
    using other = PolyAllocator<U>;
  };
  PolyAllocator() = default;
  template <typename U>
  PolyAllocator(const PolyAllocator<U>&) noexcept {}
  T* allocate(std::size_t count) { return static_cast<T*>(takePolyMemory(count * sizeof(T))); }
  void deallocate(T* data, std::size_t count) noexcept {
    releasePolyMemory(data, count * sizeof(T));
  }
};

/// k limbs of n residues. Memory is overwritten on release.
class Poly {
 public:
  Poly() = default;
  /// Uninitialised.
  explicit Poly(const Basis& basis) : m_degree(basis.degree()), m_words(basis.count() * m_degree) {}
  std::size_t degree() const { return m_degree; }
  std::size_t limbs() const { return m_degree == 0 ? 0 : m_words.size() / m_degree; }
  std::uint64_t* limb(std::size_t i) { return m_words.data() + i * m_degree; }
  const std::uint64_t* limb(std::size_t i) const { return m_words.data() + i * m_degree; }
  std::span<std::uint64_t> words() { return m_words; }
  std::span<const std::uint64_t> words() const { return m_words; }
  void setZero();

 private:
  std::size_t m_degree = 0;
  std::vector<std::uint64_t, PolyAllocator<std::uint64_t>> m_words;
};

void forward(const Basis& basis, Poly& x);
void inverse(const Basis& basis, Poly& x);
void addTo(const Basis& basis, Poly& x, const Poly& y);         ///< x += y
void subtractFrom(const Basis& basis, Poly& x, const Poly& y);  ///< x -= y
/// x * y, entry by entry (both transformed).
Poly multiply(const Basis& basis, const Poly& x, const Poly& y);
/// x * scalar, the scalar as residues of the basis.
void scale(const Basis& basis, Poly& x, std::span<const std::uint64_t> scalar);
/// Signed integers as residues.
Poly fromSigned(const Basis& basis, std::span<const std::int64_t> values);
/// The same, several times as fast, for integers below 2^(b−1) in magnitude, b the bits of the
/// least prime. Throws std::logic_error for greater ones.
Poly fromSmall(const Basis& basis, std::span<const std::int64_t> values);
/// The product of the primes of `of`, times `factor`, as residues of `basis`.
std::vector<std::uint64_t> productMod(const Basis& of, const Basis& basis,
                                      std::uint64_t factor = 1);

/// Rescaling and lifting between two bases; coefficients in, coefficients out.
class BasisChange {
 public:
  /// y = round(x·B/A) mod B. Throws std::logic_error if the bases share a prime.
  static BasisChange rescaling(const Basis& from, const Basis& to);
  /// y = [x]_A mod B; the bases may share primes.
  static BasisChange lifting(const Basis& from, const Basis& to);
  /// y = −[x]_A·A^(−1) mod B, so that (x − [x]_A)/A mod B is x·A^(−1) + y. Throws std::logic_error
  /// if the bases share a prime.
  static BasisChange dropping(const Basis& from, const Basis& to);
  Poly apply(const Poly& x) const;

  /// The constants: with u_i = x_i * in[i] mod a_i and v = floor(1/2 + sum u_i * reciprocals[i]),
  /// y_j = sum u_i * out[j][i] + v * out[j].back() mod b_j.
  struct Constants {
    std::vector<std::uint64_t> in;
    std::vector<double> reciprocals;
    std::vector<std::vector<std::uint64_t>> out;
  };
  const Constants& constants() const { return m_constants; }

 private:
  BasisChange(const Basis& from, const Basis& to, bool multiply, bool divide);
  Basis m_from, m_to;
  Constants m_constants;
};

/// The changes between Z_2^64 and a basis.
class Word64 {
 public:
  explicit Word64(const Basis& basis);
  /// round(Q·x/2^64) mod each prime, coefficient by coefficient.
  Poly encode(std::span<const std::uint64_t> x) const;
  /// round(2^64·x/Q) mod 2^64 of chosen coefficients.
  void decode(const Poly& x, std::span<const std::uint32_t> coefficients,
              std::span<std::uint64_t> out) const;
  /// Of encode: x * product() mod 2^64, as a signed integer, times factors()[i] mod q_i.
  std::uint64_t product() const { return m_product; }
  const std::vector<std::uint64_t>& factors() const { return m_encode; }

 private:
  Basis m_basis;
  std::uint64_t m_product = 0;                  // Q mod 2^64
  std::uint64_t m_minusInverse = 0;             // -Q^-1 mod 2^64
  std::vector<std::uint64_t> m_encode;          // -2^-64 mod q_i
  std::vector<std::uint64_t> m_in, m_cofactor;  // 2^64·(Q/q_i)^-1 mod q_i; Q/q_i mod 2^64
};

}  // namespace pillarbox::he

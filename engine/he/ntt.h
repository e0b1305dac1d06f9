// The negacyclic number-theoretic transform: Z_q[X]/(X^n + 1) to the product of n copies of Z_q.
//
// With ψ a primitive 2n-th root of unity mod q, entry i of the transform of f is f(ψ^(2·rev(i)+1)),
// rev the reversal of log2(n) bits; products of polynomials become products entry by entry. The
// forward transform is Cooley-Tukey from natural to bit-reversed order, the inverse Gentleman-Sande
// back, so that no permutation is ever carried out. Multiplications by the roots use Shoup's
// trick: with w' = floor(w 2^52 / q), w·x − floor(w'·x / 2^52)·q lies in [0, 2q) for x < 2^52.
// Values stay below 4q between the stages (Harvey) and are reduced once at the end.
//
// Three implementations behind one table of functions: portable C++, AVX2 with FMA (in doubles:
// the product's high and low halves are exact, the quotient is a rounded product with 1/q), and
// AVX-512 with IFMA (52-bit multiply-add, eight lanes). All give canonical residues, so they agree
// bit for bit; the best one that the processor has is chosen once. None branches on data.
//
// Sources: D. Harvey, "Faster arithmetic for number-theoretic transforms", 2014; P. Longa and
// M. Naehrig, eprint 2016/504; J. van der Hoeven et al., "Modular SIMD arithmetic in Mathemagix",
// 2016 (products in doubles).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/core/secure_vector.h"
#include "engine/he/modulus.h"

namespace pillarbox::he {

/// What a kernel needs to know about a transform.
struct NttTables {
  Modulus modulus;
  std::size_t degree = 0;
  /// [m + i], m = 1, 2, 4, ...: root of butterfly group i of the stage with m groups, and its
  /// Shoup constant. Eight words of slack at the end for vector loads.
  std::vector<std::uint64_t> roots, rootsShoup;
  std::vector<std::uint64_t> inverseRoots, inverseRootsShoup;
  std::uint64_t inverseDegree = 0, inverseDegreeShoup = 0;
};

/// One implementation. Vectors have a multiple of 16 entries; `out` may be one of the inputs.
struct Kernels {
  const char* name;
  /// In place; input and output are residues in [0, q).
  void (*forward)(const NttTables& tables, std::uint64_t* values);
  void (*inverse)(const NttTables& tables, std::uint64_t* values);
  void (*add)(const Modulus& q, const std::uint64_t* a, const std::uint64_t* b, std::uint64_t* out,
              std::size_t count);
  void (*subtract)(const Modulus& q, const std::uint64_t* a, const std::uint64_t* b,
                   std::uint64_t* out, std::size_t count);
  /// in[i] mod q for in[i] below 2q.
  void (*reduceOnce)(const Modulus& q, const std::uint64_t* in, std::uint64_t* out,
                     std::size_t count);
  /// Integers above -q and below q as residues.
  void (*fromSmall)(const Modulus& q, const std::int64_t* in, std::uint64_t* out,
                    std::size_t count);
  /// floor(1/2 + sum over k of a[k][i] * reciprocals[k]) in doubles, each product and sum rounded;
  /// a[k][i] below 2^50, the result below 2^50.
  void (*quotients)(const std::uint64_t* const* a, const double* reciprocals, std::size_t terms,
                    std::uint64_t* out, std::size_t count);
  /// out[i] = sum over k of a[k][i] * b[k][i] mod q, reduced once at the end (lazily); terms from
  /// 1 to kMaxTerms. out must not be an input unless terms is 1.
  void (*dot)(const Modulus& q, const std::uint64_t* const* a, const std::uint64_t* const* b,
              std::size_t terms, std::uint64_t* out, std::size_t count);
  /// out[i] = sum over k of a[k][i] * scalars[k] mod q; a[k][i] below 2^50 (not necessarily
  /// reduced mod q), scalars residues; terms from 1 to kMaxTerms.
  void (*combine)(const Modulus& q, const std::uint64_t* const* a, const std::uint64_t* scalars,
                  std::size_t terms, std::uint64_t* out, std::size_t count);
};

/// 2^12 products of 100 bits fit 128 bits with room, and their halves two 64-bit lanes.
inline constexpr std::size_t kMaxTerms = 4096;

/// The implementations that this processor can run, the portable one first, the best last.
std::vector<const Kernels*> availableKernels();
/// The best of them.
const Kernels& kernels();

/// A transform of one degree and prime.
class Ntt {
 public:
  /// @param degree  a power of two, 32 to 65536; modulus: a prime that is 1 mod 2 * degree.
  /// Throws std::logic_error otherwise.
  Ntt(std::size_t degree, const Modulus& modulus);
  const NttTables& tables() const { return m_tables; }
  void forward(std::uint64_t* values) const { kernels().forward(m_tables, values); }
  void inverse(std::uint64_t* values) const { kernels().inverse(m_tables, values); }

 private:
  NttTables m_tables;
};

}  // namespace pillarbox::he

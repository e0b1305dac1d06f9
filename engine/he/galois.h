// Automorphisms X → X^k of encrypted polynomials, and the keys that they need.
//
// τ_k maps f(X) to f(X^k), k odd. On transformed polynomials it permutes the entries: the transform
// holds f(ψ^j) for odd j, and τ_k f has f(ψ^(jk)) there. Applied to both halves of a ciphertext
// under s it gives one under τ_k(s), which key switching turns back into one under s.
//
// Key switching. c1 is split into digits, d_i = c1 mod q_i taken as integers below q_i, one for
// each prime of Q, so that c1 = Σ d_i·g_i mod Q with g_i ≡ 1 mod q_i and 0 mod the others. The key
// is, for each digit, an encryption of P·g_i·s over Q·P under the target secret t = τ_k^(−1)(s):
//
//   b_i + a_i·t = P·g_i·s + e_i,      so      (Σ d_i b_i) + (Σ d_i a_i)·t = P·c1·s + Σ d_i e_i.
//
// Dividing by P (rounded) leaves c1·s and an error of Σ d_i e_i / P (the residues mod the primes of
// Q are kept divided by P already; a_i/P is as uniform as a_i). Adding c0 gives the same
// message under t, and τ_k of that the wanted ciphertext under s: the permutation comes last, on
// two polynomials.
//
// Sums. c0 needs no digits, so its division by P can wait until many automorphisms have been added
// up: kept over Q·P, with the same convention (residues mod the primes of Q divided by P already,
// those mod P not), it takes additions, products with polynomials and automorphisms as they come,
// and is rounded once.
//
// The digits are public functions of a ciphertext; nothing here branches on anything but k.
// Cost of one automorphism of a sum with L primes in Q and one in P: L + 1 inverse and L² + L
// forward transforms.
//
// Sources: V. Lyubashevsky et al., "A toolkit for ring-LWE", 2013; J.-C. Bajard et al., SAC 2016
// (digits by primes); C. Gentry, S. Halevi, N. Smart, eprint 2012/099 (the special modulus);
// J.-P. Bossuat et al., eprint 2020/1203 (one division for a sum).
#pragma once

#include <cstdint>
#include <vector>

#include "engine/he/rlwe.h"

namespace pillarbox::he {

/// What one automorphism needs. The a_i are expanded from the seed: digit i takes the streams
/// i·(limbs of the full basis) and following.
struct GaloisKey {
  std::uint32_t exponent = 0;  ///< k: odd, from 3 to 2n − 1
  random::Seed seed;
  std::vector<Poly> b, a;                  ///< one a digit, over the full basis, transformed
  std::vector<std::uint32_t> permutation;  ///< τ_k of a transformed polynomial: out[i] = in[·]
};

/// Throws std::logic_error if the exponent is even or out of range, or the parameters have no
/// special primes.
GaloisKey makeGaloisKey(const Parameters& parameters, const SecretKey& key, std::uint32_t exponent,
                        Sampler& sampler);

/// τ_k of a ciphertext.
Ciphertext automorphism(const Parameters& parameters, const GaloisKey& key,
                        const Ciphertext& ciphertext);

/// sum += τ_k of x, c0 of both over the full basis (see "Sums").
/// Throws std::logic_error if something belongs to other parameters.
void addAutomorphism(const Parameters& parameters, const GaloisKey& key, const Ciphertext& x,
                     Ciphertext& sum);
/// c0 of a ciphertext for a sum, and that of a sum for a ciphertext.
Poly widened(const Parameters& parameters, const Poly& c0);
Poly narrowed(const Parameters& parameters, const Poly& c0);

/// Where entry i of τ_k(f)'s transform is found in that of f.
std::vector<std::uint32_t> galoisPermutation(std::size_t degree, std::uint32_t exponent);

}  // namespace pillarbox::he

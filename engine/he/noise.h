// How large the error of a ciphertext can become, step by step, and what flooding hides of it.
//
// A ciphertext's phase is (Q/2^64)·x + e (or (Q/t)·x + e for slots); e is the error in units of 1
// mod Q. Three kinds of bounds: *certain* ones, which no coefficient ever exceeds; *tail* ones,
// which a coefficient exceeds with probability below 2^-80 over the random choices of the parties;
// and *mean* ones, of a coefficient's magnitude in the mean over these choices.
// The tail bounds are those of sums of independent subgaussian variables: with variance proxies
// that add up to v, |sum| ≤ sqrt(2·81·ln 2·v) = 10.6·sqrt(v). An error coefficient (centred
// binomial, a sum of 42 halves of either sign) has proxy 10.5, a rounding error (uniform on ±1/2)
// has 1/12. The mean bounds are roots of variances (E|X| ≤ sqrt(E X²)), and for roundings, of whose
// distribution they assume nothing, the greatest value.
//
// Numbers for an example (n = 8192, Q = 138 bits in L = 3 primes of 46, P = 46 bits, return modulus
// q' = 74 bits, factors with sums of magnitudes ‖w‖₁ ≤ 2^26, flooding 2^72; the linear layers,
// which flood by more, have theirs in engine/offline/two_party/linear.h):
//
//   step                       error                             bound                 bits
//   encryption                 e, and 1/2 by encoding            21.5          certain   4.4
//   times w, sums of those     Σ w_j e_(i−j)                     21.5·‖w‖₁     certain  30.5
//   automorphism               Σ d_i e_i / P, digits d_i < q_i;  10.6·sqrt(10.5·Σ (q_i/P)²·n)
//                              and rounding of both halves         + 10.6·sqrt((n + 1)/12)
//                                                                 = 5.4e3 + 277   tail  12.5
//                              no coefficient ever               21·n·Σ q_i/P + (n + 1)/2
//                                                                              certain  19.0
//   zero under the public key  e·u + e0 + e1·s                   10.6·sqrt(10.5·(2n + 1))
//                                                                 = 4.4e3         tail  12.1
//   flooding                   f                                 2^71          certain  71
//   switch to q'               all of this times q'/Q = 2^-64    128
//                              and r0 + r1·s by rounding         10.6·sqrt((n + 1)/12)
//                                                                 = 277           tail   8.1
//   altogether at q'                                             405             tail   8.7
//   decoded rightly below      q'/2^65                           512                    9.0
//
// The last two leave 107 for what packing adds (scaled down by 2^64: nothing). The rounding error
// alone would have to reach 383, which it does with probability 2·exp(−6·383²/(n + 1)) = 2^-154.
//
// What the client could see of the engine's factors is the error that depends on them: the
// product's and, through its digits, the automorphisms'. The zero encryption's does not. Uniform
// flooding of 2^b values hides a shift by x to a statistical distance of |x|/2^b, given everything
// that x is computed from. What the client sees, its own random choices included, is therefore
// hidden to the *mean* of |x|/2^b over these choices: the distance of two joint distributions with
// one marginal is the mean of the distances of what is conditional on it. No bound that holds with
// a probability only is needed for that, and the mean is far below what never occurs (all errors at
// their greatest, aligned): at ‖w‖₁ = 2^26 with equal magnitudes, 2^25.1 instead of 2^30.5.
//
// Means for the example, factors independent of the client's random choices:
//   times w, sums of those     ‖w‖₁/2 by encoding, and sqrt(10.5)·‖w‖₂ of the errors
//   automorphism               sqrt(10.5·n·Σ (q_i/P)²) = 508: the digits follow from seeds and
//                              factors alone, not from the errors in the key; and the rounding
//                              times s, of which the same is true: sqrt(2n/3)/2 = 37; and 1/2
//   zero under the public key  sqrt(10.5·(1 + 4n/3)) = 339
#pragma once

#include "engine/he/parameters.h"

namespace pillarbox::he {

/// A fresh encryption of an encoded message. Certain.
inline constexpr double kFreshNoise = 21.5;

/// An automorphism adds this. Tail.
double keySwitchNoise(const Parameters& parameters);
/// The same, never exceeded.
double keySwitchNoiseCertain(const Parameters& parameters);
/// The encryption of zero in a reply. Tail.
double zeroNoise(const Parameters& parameters);
/// A sum of products of fresh encryptions and factors whose coefficients have these norms all
/// together, ‖w‖₁ and ‖w‖₂. Mean, whatever the factors are.
double productNoiseMean(double norm1, double norm2);
/// An automorphism adds this. Mean.
double keySwitchNoiseMean(const Parameters& parameters);
/// The encryption of zero in a reply. Mean.
double zeroNoiseMean(const Parameters& parameters);
/// The rounding of a reply to the return modulus, in units of 1 there. Tail.
double roundingNoise(const Parameters& parameters);
/// The error of a decrypted reply, in units of 1 at the return modulus, if the result that went
/// into it had an error of at most `resultNoise` mod Q. Tail.
double replyNoise(const Parameters& parameters, double resultNoise, std::uint32_t floodingBits);
/// The error at the return modulus below which a message of so many bits is decoded rightly:
/// q' / 2^(bits + 1).
double decodableNoise(const Parameters& parameters, double messageBits);
/// Bits by which flooding hides an error that depends on the engine's secrets: b − log2(noise).
double hidingBits(double secretNoise, std::uint32_t floodingBits);

}  // namespace pillarbox::he

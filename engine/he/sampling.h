// Everything random in a ciphertext, from one seed.
//
// Secrets (ternary polynomials, errors, flooding) are sampled in constant time: a fixed number of
// stream words each, no branch and no address that depends on them. Public uniform polynomials (the
// `a` of a ciphertext) are expanded from a seed that travels; their sampling may reject, because
// what it rejects says nothing about what it keeps.
//
//   ternary    floor(3 w / 2^64) − 1 for a uniform 64-bit word w: uniform on {−1, 0, 1} to 2^-63
//   error      popcount of 21 bits minus popcount of 21 others: centred binomial, variance 10.5
//              (σ = 3.24), never beyond ±21; at least as wide as the standard's 3.2
//   flooding   a uniform integer of the wanted bits, minus half its range
//   uniform    the first n stream words which, cut to the bits of the prime, are below it
#pragma once

#include <cstdint>
#include <span>

#include "engine/he/rns.h"
#include "engine/random/random.h"

namespace pillarbox::he {

/// No error is greater than this; its standard deviation.
inline constexpr std::int64_t kErrorBound = 21;
inline constexpr double kErrorDeviation = 3.2403703492039302;  // sqrt(10.5)

/// Streams of randomness: one for secrets, and another, of another seed, for the seeds that are
/// sent to the other side, so that nothing public has anything in common with a secret. One a
/// thread.
class Sampler {
 public:
  Sampler(const random::Seed& secret, const random::Seed& open)
      : m_words(secret, 0), m_seeds(open, 1) {}
  /// From the operating system's generator. Errors: as random::freshSeed.
  static Result<Sampler> fresh();
  /// The same with a given seed of the secrets.
  static Result<Sampler> of(const random::Seed& secret);

  /// Uniform on {−1, 0, 1}, one for each coefficient, in every limb; not transformed.
  Poly ternary(const Basis& basis);
  /// Centred binomial of parameter 21; not transformed.
  Poly error(const Basis& basis);
  /// Uniform integers in [−2^(bits−1), 2^(bits−1)); bits from 1 to 1000; not transformed.
  Poly flooding(const Basis& basis, std::uint32_t bits);
  /// A seed for a public polynomial.
  random::Seed seed();

 private:
  random::Expander m_words, m_seeds;
};

/// The public uniform polynomial of a seed; limb i takes stream `first` + i. It is its own
/// transform's distribution: callers use it as a transformed polynomial.
Poly expandUniform(const Basis& basis, const random::Seed& seed, std::uint64_t first = 0);

}  // namespace pillarbox::he

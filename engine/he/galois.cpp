#include "engine/he/galois.h"

#include <algorithm>
#include <bit>
#include <stdexcept>

namespace pillarbox::he {

namespace {

void permute(const std::vector<std::uint32_t>& from, const std::uint64_t* in, std::uint64_t* out) {
  for (std::size_t i = 0; i < from.size(); ++i) out[i] = in[from[i]];
}

}  // namespace

std::vector<std::uint32_t> galoisPermutation(std::size_t degree, std::uint32_t exponent) {
  // Entry i belongs to the root ψ^(2·rev(i) + 1).
  const auto bits = static_cast<unsigned>(std::bit_width(degree) - 1);
  const auto reverse = [bits](std::size_t x) {
    std::size_t result = 0;
    for (unsigned b = 0; b < bits; ++b) result |= ((x >> b) & 1) << (bits - 1 - b);
    return result;
  };
  std::vector<std::uint32_t> from(degree);
  for (std::size_t i = 0; i < degree; ++i) {
    const std::size_t power = (2 * reverse(i) + 1) * exponent % (2 * degree);
    from[i] = static_cast<std::uint32_t>(reverse(power / 2));
  }
  return from;
}

GaloisKey makeGaloisKey(const Parameters& parameters, const SecretKey& key, std::uint32_t exponent,
                        Sampler& sampler) {
  const std::size_t n = parameters.degree();
  const Basis& full = parameters.full();
  const Basis& q = parameters.q();
  if (exponent % 2 == 0 || exponent < 3 || exponent >= 2 * n) {
    throw std::logic_error("an automorphism's exponent is odd, from 3 to twice the degree");
  }
  if (parameters.special().count() == 0) throw std::logic_error("no special primes");
  GaloisKey result;
  result.exponent = exponent;
  result.seed = sampler.seed();
  result.permutation = galoisPermutation(n, exponent);

  std::uint32_t inverse = exponent;  // modulo the power of two 2n, by Newton's iteration
  for (int step = 0; step < 5; ++step) inverse *= 2 - exponent * inverse;
  const auto back = galoisPermutation(n, inverse % static_cast<std::uint32_t>(2 * n));
  Poly target(full);
  for (std::size_t j = 0; j < full.count(); ++j) {
    permute(back, key.full().limb(j), target.limb(j));
  }
  for (std::size_t i = 0; i < q.count(); ++i) {
    const Poly& a = result.a.emplace_back(expandUniform(full, result.seed, i * full.count()));
    Poly& b = result.b.emplace_back(sampler.error(full));
    scale(q, b, parameters.specialInverse());
    forward(full, b);
    subtractFrom(full, b, multiply(full, a, target));
    kernels().add(q.modulus(i), b.limb(i), key.full().limb(i), b.limb(i), n);
  }
  return result;
}

namespace {

/// Coefficients below q_i as residues mod another prime, transformed.
void liftDigit(const Modulus& from, const std::uint64_t* in, const Ntt& to, std::uint64_t* out) {
  const Modulus& q = to.tables().modulus;
  constexpr std::uint64_t kOne = 1;
  if (from.value() <= 2 * q.value()) {
    kernels().reduceOnce(q, in, out, to.tables().degree);
  } else {
    kernels().combine(q, &in, &kOne, 1, out, to.tables().degree);
  }
  to.forward(out);
}

/// digit(i, j): digit i over prime j of the full basis, transformed.
template <typename Digit>
Ciphertext switchKey(const Parameters& parameters, const GaloisKey& key, const Poly& c0,
                     const Digit& digit) {
  const std::size_t n = parameters.degree();
  const Basis& full = parameters.full();
  const Basis& q = parameters.q();
  const Basis& special = parameters.special();
  if (key.b.size() != q.count()) throw std::logic_error("a Galois key of other parameters");
  Poly sums[] = {Poly(q), Poly(q)}, low[] = {Poly(special), Poly(special)};
  std::vector<const std::uint64_t*> d(q.count()), k(q.count());
  for (std::size_t j = 0; j < full.count(); ++j) {
    for (std::size_t i = 0; i < q.count(); ++i) d[i] = digit(i, j);
    for (std::size_t half = 0; half < 2; ++half) {
      for (std::size_t i = 0; i < q.count(); ++i) {
        k[i] = (half == 0 ? key.b : key.a)[i].limb(j);
      }
      std::uint64_t* out = j < q.count() ? sums[half].limb(j) : low[half].limb(j - q.count());
      kernels().dot(full.modulus(j), d.data(), k.data(), d.size(), out, n);
    }
  }
  Ciphertext result{Poly(q), Poly(q)};
  for (std::size_t half = 0; half < 2; ++half) {
    inverse(special, low[half]);
    Poly rest = parameters.dropSpecial().apply(low[half]);
    forward(q, rest);
    addTo(q, rest, sums[half]);
    if (half == 0) addTo(q, rest, c0);
    for (std::size_t j = 0; j < q.count(); ++j) {
      permute(key.permutation, rest.limb(j), (half == 0 ? result.c0 : result.c1).limb(j));
    }
  }
  return result;
}

}  // namespace

Digits digitsOf(const Parameters& parameters, const Poly& c1) {
  const Basis& full = parameters.full();
  const Basis& q = parameters.q();
  Poly coefficients = c1;
  inverse(q, coefficients);
  Digits digits;
  for (std::size_t i = 0; i < q.count(); ++i) {
    Poly& digit = digits.emplace_back(full);
    for (std::size_t j = 0; j < full.count(); ++j) {
      if (j == i) {
        std::copy_n(c1.limb(i), full.degree(), digit.limb(i));
      } else {
        liftDigit(q.modulus(i), coefficients.limb(i), full.ntt(j), digit.limb(j));
      }
    }
  }
  return digits;
}

Ciphertext automorphism(const Parameters& parameters, const GaloisKey& key,
                        const Ciphertext& ciphertext) {
  const Basis& q = parameters.q();
  Poly coefficients = ciphertext.c1, scratch(q);
  inverse(q, coefficients);
  return switchKey(parameters, key, ciphertext.c0, [&](std::size_t i, std::size_t j) {
    if (i == j) return ciphertext.c1.limb(i);
    std::uint64_t* out = scratch.limb(i);
    liftDigit(q.modulus(i), coefficients.limb(i), parameters.full().ntt(j), out);
    return static_cast<const std::uint64_t*>(out);
  });
}

Ciphertext automorphism(const Parameters& parameters, const GaloisKey& key, const Poly& c0,
                        const Digits& digits) {
  if (digits.size() != parameters.q().count()) throw std::logic_error("digits of other parameters");
  return switchKey(parameters, key, c0,
                   [&](std::size_t i, std::size_t j) { return digits[i].limb(j); });
}

}  // namespace pillarbox::he

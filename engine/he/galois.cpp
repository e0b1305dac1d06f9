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
  const std::vector<std::uint64_t> special = productMod(parameters.special(), q);
  for (std::size_t i = 0; i < q.count(); ++i) {
    const Poly& a = result.a.emplace_back(expandUniform(full, result.seed, i * full.count()));
    Poly& b = result.b.emplace_back(sampler.error(full));
    forward(full, b);
    subtractFrom(full, b, multiply(full, a, target));
    // + P·g_i·s: only mod q_i.
    Poly scaled(q.prefix(1));
    const std::uint64_t* s = key.full().limb(i);
    kernels().combine(q.modulus(i), &s, &special[i], 1, scaled.limb(0), n);
    kernels().add(q.modulus(i), b.limb(i), scaled.limb(0), b.limb(i), n);
  }
  return result;
}

Digits digitsOf(const Parameters& parameters, const Poly& c1) {
  const std::size_t n = parameters.degree();
  const Basis& full = parameters.full();
  const Basis& q = parameters.q();
  constexpr std::uint64_t kOne = 1;
  Digits digits;
  SecureVector<std::uint64_t> coefficients(n);
  for (std::size_t i = 0; i < q.count(); ++i) {
    Poly& digit = digits.emplace_back(full);
    std::copy_n(c1.limb(i), n, digit.limb(i));
    std::copy_n(c1.limb(i), n, coefficients.data());
    q.ntt(i).inverse(coefficients.data());
    const std::uint64_t* in = coefficients.data();
    for (std::size_t j = 0; j < full.count(); ++j) {
      if (j == i) continue;
      kernels().combine(full.modulus(j), &in, &kOne, 1, digit.limb(j), n);
      full.ntt(j).forward(digit.limb(j));
    }
  }
  return digits;
}

Ciphertext automorphism(const Parameters& parameters, const GaloisKey& key,
                        const Ciphertext& ciphertext) {
  return automorphism(parameters, key, ciphertext.c0, digitsOf(parameters, ciphertext.c1));
}

Ciphertext automorphism(const Parameters& parameters, const GaloisKey& key, const Poly& c0,
                        const Digits& digits) {
  const std::size_t n = parameters.degree();
  const Basis& full = parameters.full();
  const Basis& q = parameters.q();
  const Basis& special = parameters.special();
  if (digits.size() != q.count() || key.b.size() != q.count()) {
    throw std::logic_error("a Galois key or digits of other parameters");
  }
  Ciphertext result{Poly(q), Poly(q)};
  std::vector<const std::uint64_t*> d(digits.size()), k(digits.size());
  for (Poly* out : {&result.c0, &result.c1}) {
    const bool first = out == &result.c0;
    const std::vector<Poly>& rows = first ? key.b : key.a;
    Poly sum(full), low(special);
    for (std::size_t j = 0; j < full.count(); ++j) {
      for (std::size_t i = 0; i < digits.size(); ++i) {
        d[i] = digits[i].limb(j);
        k[i] = rows[i].limb(j);
      }
      std::uint64_t* place = j < q.count() ? sum.limb(j) : low.limb(j - q.count());
      kernels().dot(full.modulus(j), d.data(), k.data(), d.size(), place, n);
    }
    // (sum − [sum]_P) / P, [sum]_P by coefficients.
    inverse(special, low);
    Poly remainder = parameters.specialToQ().apply(low);
    forward(q, remainder);
    for (std::size_t j = 0; j < q.count(); ++j) {
      const Modulus& modulus = q.modulus(j);
      std::uint64_t* x = sum.limb(j);
      const std::uint64_t* in = x;
      kernels().subtract(modulus, x, remainder.limb(j), x, n);
      kernels().combine(modulus, &in, &parameters.specialInverse()[j], 1, x, n);
      if (first) kernels().add(modulus, x, c0.limb(j), x, n);
      permute(key.permutation, x, out->limb(j));
    }
  }
  return result;
}

}  // namespace pillarbox::he

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

}  // namespace

void addAutomorphism(const Parameters& parameters, const GaloisKey& key, const Ciphertext& x,
                     Ciphertext& sum) {
  const std::size_t n = parameters.degree();
  const Basis& full = parameters.full();
  const Basis& q = parameters.q();
  const Basis& special = parameters.special();
  const Kernels& k = kernels();
  if (key.b.size() != q.count() || x.c0.limbs() != full.count() || sum.c0.limbs() != full.count()) {
    throw std::logic_error("a Galois key or ciphertext of other parameters");
  }
  Poly coefficients = x.c1;
  inverse(q, coefficients);
  Poly lifted(q), switched(q), low(special), c0(special), image(special);
  std::vector<const std::uint64_t*> digits(q.count()), b(q.count()), a(q.count());
  for (std::size_t j = 0; j < full.count(); ++j) {
    const Modulus& p = full.modulus(j);
    for (std::size_t i = 0; i < q.count(); ++i) {
      digits[i] = i == j ? x.c1.limb(i) : lifted.limb(i);
      if (i != j) liftDigit(q.modulus(i), coefficients.limb(i), full.ntt(j), lifted.limb(i));
      b[i] = key.b[i].limb(j);
      a[i] = key.a[i].limb(j);
    }
    std::uint64_t* c1 = j < q.count() ? switched.limb(j) : low.limb(j - q.count());
    k.dot(p, digits.data(), a.data(), digits.size(), c1, n);
    k.dot(p, digits.data(), b.data(), digits.size(), c0.limb(0), n);
    k.add(p, c0.limb(0), x.c0.limb(j), c0.limb(0), n);
    permute(key.permutation, c0.limb(0), image.limb(0));
    k.add(p, sum.c0.limb(j), image.limb(0), sum.c0.limb(j), n);
  }
  inverse(special, low);
  Poly rest = parameters.dropSpecial().apply(low);
  forward(q, rest);
  addTo(q, switched, rest);
  for (std::size_t j = 0; j < q.count(); ++j) {
    permute(key.permutation, switched.limb(j), rest.limb(j));
  }
  addTo(q, sum.c1, rest);
}

Poly widened(const Parameters& parameters, const Poly& c0) {
  Poly result(parameters.full());
  std::copy_n(c0.limb(0), c0.words().size(), result.limb(0));
  std::fill(result.words().begin() + static_cast<std::ptrdiff_t>(c0.words().size()),
            result.words().end(), 0);
  return result;
}

Poly narrowed(const Parameters& parameters, const Poly& c0) {
  const Basis& q = parameters.q();
  Poly low(parameters.special());
  std::copy_n(c0.limb(q.count()), low.words().size(), low.limb(0));
  inverse(parameters.special(), low);
  Poly result = parameters.dropSpecial().apply(low);
  forward(q, result);
  for (std::size_t j = 0; j < q.count(); ++j) {
    kernels().add(q.modulus(j), result.limb(j), c0.limb(j), result.limb(j), q.degree());
  }
  return result;
}

Ciphertext automorphism(const Parameters& parameters, const GaloisKey& key,
                        const Ciphertext& ciphertext) {
  Ciphertext result{Poly(parameters.full()), Poly(parameters.q())};
  result.c0.setZero();
  result.c1.setZero();
  addAutomorphism(parameters, key, {widened(parameters, ciphertext.c0), ciphertext.c1}, result);
  result.c0 = narrowed(parameters, result.c0);
  return result;
}

}  // namespace pillarbox::he

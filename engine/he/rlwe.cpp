#include "engine/he/rlwe.h"

#include <algorithm>
#include <stdexcept>

namespace pillarbox::he {

namespace {

/// Some limbs of a polynomial, e.g. those over Q of one over Q·P.
Poly limbsOf(const Basis& basis, const Poly& x, std::size_t first) {
  Poly result(basis);
  std::copy_n(x.limb(first), basis.count() * basis.degree(), result.limb(0));
  return result;
}

/// out = e − a·s, all transformed; e is consumed. `s` may have more limbs than the basis.
Poly negatedProduct(const Basis& basis, const Poly& a, const Poly& s, Poly e) {
  Poly product(basis);
  for (std::size_t i = 0; i < basis.count(); ++i) {
    const std::uint64_t* x = a.limb(i);
    const std::uint64_t* y = s.limb(i);
    kernels().dot(basis.modulus(i), &x, &y, 1, product.limb(i), basis.degree());
  }
  subtractFrom(basis, e, product);
  return e;
}

}  // namespace

SecretKey SecretKey::generate(const Parameters& parameters, Sampler& sampler) {
  const Basis all = parameters.full().with(parameters.returned());
  const Poly s = sampler.ternary(all);
  SecretKey key;
  key.m_full = limbsOf(parameters.full(), s, 0);
  key.m_returned = limbsOf(parameters.returned(), s, parameters.full().count());
  forward(parameters.full(), key.m_full);
  forward(parameters.returned(), key.m_returned);
  return key;
}

PublicKey makePublicKey(const Parameters& parameters, const SecretKey& key, Sampler& sampler) {
  PublicKey result;
  result.seed = sampler.seed();
  result.a = expandUniform(parameters.q(), result.seed);
  Poly e = sampler.error(parameters.q());
  forward(parameters.q(), e);
  result.b = negatedProduct(parameters.q(), result.a, key.full(), std::move(e));
  return result;
}

SeededCiphertext encrypt(const Parameters& parameters, const SecretKey& key, const Poly& message,
                         Sampler& sampler) {
  SeededCiphertext result;
  result.seed = sampler.seed();
  const Poly a = expandUniform(parameters.q(), result.seed);
  Poly e = sampler.error(parameters.q());
  addTo(parameters.q(), e, message);
  forward(parameters.q(), e);
  result.c0 = negatedProduct(parameters.q(), a, key.full(), std::move(e));
  return result;
}

Ciphertext expand(const Parameters& parameters, const SeededCiphertext& ciphertext) {
  return {ciphertext.c0, expandUniform(parameters.q(), ciphertext.seed)};
}

Ciphertext encryptZero(const Parameters& parameters, const PublicKey& key, Sampler& sampler) {
  const Basis& q = parameters.q();
  Poly u = sampler.ternary(q), e0 = sampler.error(q), e1 = sampler.error(q);
  forward(q, u);
  forward(q, e0);
  forward(q, e1);
  Ciphertext result{multiply(q, key.b, u), multiply(q, key.a, u)};
  addTo(q, result.c0, e0);
  addTo(q, result.c1, e1);
  return result;
}

Poly makeFactor(const Parameters& parameters, std::span<const std::int64_t> coefficients) {
  if (coefficients.size() > parameters.degree()) {
    throw std::logic_error("a factor has more coefficients than the degree");
  }
  Poly result = fromSmall(parameters.q(), coefficients);
  forward(parameters.q(), result);
  return result;
}

Ciphertext multiplyAccumulate(const Parameters& parameters,
                              std::span<const Ciphertext* const> ciphertexts,
                              std::span<const Poly* const> factors) {
  const std::size_t terms = ciphertexts.size();
  if (terms == 0 || terms > kMaxTerms || factors.size() != terms) {
    throw std::logic_error("a sum of products needs 1 to 4096 ciphertexts and as many factors");
  }
  const Basis& q = parameters.q();
  Ciphertext result{Poly(q), Poly(q)};
  std::vector<const std::uint64_t*> c0(terms), c1(terms), w(terms);
  for (std::size_t i = 0; i < q.count(); ++i) {
    for (std::size_t k = 0; k < terms; ++k) {
      c0[k] = ciphertexts[k]->c0.limb(i);
      c1[k] = ciphertexts[k]->c1.limb(i);
      w[k] = factors[k]->limb(i);
    }
    kernels().dot(q.modulus(i), c0.data(), w.data(), terms, result.c0.limb(i), q.degree());
    kernels().dot(q.modulus(i), c1.data(), w.data(), terms, result.c1.limb(i), q.degree());
  }
  return result;
}

void addTo(const Parameters& parameters, Ciphertext& x, const Ciphertext& y) {
  addTo(parameters.q(), x.c0, y.c0);
  addTo(parameters.q(), x.c1, y.c1);
}

void subtractFrom(const Parameters& parameters, Ciphertext& x, const Ciphertext& y) {
  subtractFrom(parameters.q(), x.c0, y.c0);
  subtractFrom(parameters.q(), x.c1, y.c1);
}

Reply reply(const Parameters& parameters, const PublicKey& key, const Ciphertext& result,
            const Poly& addend, std::uint32_t floodingBits, std::span<const std::uint32_t> wanted,
            Sampler& sampler) {
  const Basis& q = parameters.q();
  const Basis& returned = parameters.returned();
  if (floodingBits + 1 >= q.bits()) throw std::logic_error("flooding as large as the modulus");
  Ciphertext sum = encryptZero(parameters, key, sampler);
  addTo(parameters, sum, result);
  inverse(q, sum.c0);
  inverse(q, sum.c1);
  addTo(q, sum.c0, addend);
  addTo(q, sum.c0, sampler.flooding(q, floodingBits));
  const Poly c0 = parameters.toReturned().apply(sum.c0);
  Reply reply;
  reply.c0.resize(returned.count() * wanted.size());
  for (std::size_t i = 0; i < returned.count(); ++i) {
    for (std::size_t k = 0; k < wanted.size(); ++k) {
      if (wanted[k] >= q.degree()) throw std::logic_error("no such coefficient");
      reply.c0[i * wanted.size() + k] = c0.limb(i)[wanted[k]];
    }
  }
  reply.c1 = parameters.toReturned().apply(sum.c1);
  return reply;
}

Poly decrypt(const Parameters& parameters, const SecretKey& key, const Reply& reply,
             std::span<const std::uint32_t> wanted) {
  const Basis& returned = parameters.returned();
  if (reply.c0.size() != returned.count() * wanted.size()) {
    throw std::logic_error("a reply with another list of coefficients");
  }
  Poly c1 = reply.c1;
  forward(returned, c1);
  Poly product = multiply(returned, c1, key.returned());
  inverse(returned, product);
  Poly phase(returned);
  phase.setZero();
  for (std::size_t i = 0; i < returned.count(); ++i) {
    const Modulus& q = returned.modulus(i);
    for (std::size_t k = 0; k < wanted.size(); ++k) {
      if (wanted[k] >= returned.degree()) throw std::logic_error("no such coefficient");
      phase.limb(i)[wanted[k]] = q.add(product.limb(i)[wanted[k]], reply.c0[i * wanted.size() + k]);
    }
  }
  return phase;
}

Poly decrypt(const Parameters& parameters, const SecretKey& key, const Ciphertext& ciphertext) {
  const Basis& q = parameters.q();
  Poly product(q);
  for (std::size_t i = 0; i < q.count(); ++i) {
    const std::uint64_t* x = ciphertext.c1.limb(i);
    const std::uint64_t* s = key.full().limb(i);
    kernels().dot(q.modulus(i), &x, &s, 1, product.limb(i), q.degree());
  }
  addTo(q, product, ciphertext.c0);
  inverse(q, product);
  return product;
}

}  // namespace pillarbox::he

#include "engine/he/parameters.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include <openssl/evp.h>

namespace pillarbox::he {

namespace {

std::array<std::uint8_t, 8> digestOf(std::size_t degree,
                                     std::initializer_list<const Basis*> bases) {
  std::vector<std::uint64_t> words{degree};
  for (const Basis* basis : bases) {
    words.push_back(basis->count());
    for (std::size_t i = 0; i < basis->count(); ++i) words.push_back(basis->modulus(i).value());
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  if (EVP_Digest(words.data(), words.size() * sizeof(std::uint64_t), digest.data(), &size,
                 EVP_sha256(), nullptr) != 1) {
    throw std::runtime_error("SHA-256 is not available in this OpenSSL");
  }
  std::array<std::uint8_t, 8> id;
  std::copy_n(digest.begin(), id.size(), id.begin());
  return id;
}

}  // namespace

std::uint32_t Parameters::securityBound(std::uint32_t degree) {
  switch (degree) {
    case 1024:
      return 27;
    case 2048:
      return 54;
    case 4096:
      return 109;
    case 8192:
      return 218;
    case 16384:
      return 438;
    case 32768:
      return 881;
    default:
      return 0;
  }
}

Result<std::shared_ptr<const Parameters>> Parameters::create(const ParameterShape& shape) {
  const auto refuse = [](std::string why) {
    return Error{ErrorCode::InvalidArgument, "encryption parameters: " + std::move(why)};
  };
  const std::uint32_t bound = securityBound(shape.degree);
  if (bound == 0) {
    return refuse("degree " + std::to_string(shape.degree) + " is none of 1024, 2048, ..., 32768");
  }
  const std::vector<std::uint32_t>* lists[] = {&shape.ciphertextBits, &shape.specialBits,
                                               &shape.returnBits, &shape.plaintextBits};
  for (const auto* list : lists) {
    if (list->size() > kMaxPrimes) return refuse("more than 24 primes in a list");
    for (const std::uint32_t bits : *list) {
      if (bits < kMinPrimeBits || bits > kMaxPrimeBits) {
        return refuse("a prime of " + std::to_string(bits) + " bits; 20 to 50 are possible");
      }
    }
  }
  if (shape.ciphertextBits.empty() || shape.returnBits.empty()) {
    return refuse("the ciphertext or return modulus has no primes");
  }
  std::uint32_t sum = 0;  // no prime may be built before the bound on their sizes is known to hold
  for (const auto* list : {&shape.ciphertextBits, &shape.specialBits}) {
    for (const std::uint32_t bits : *list) sum += bits;
  }
  if (sum > bound) {
    return refuse(std::to_string(sum) + " bits of modulus are too many for degree " +
                  std::to_string(shape.degree) + ": 128 bits of security end at " +
                  std::to_string(bound));
  }
  std::vector<std::uint64_t> primes[4];
  PrimeSource source(shape.degree);
  for (std::size_t i = 0; i < 4; ++i) {
    for (const std::uint32_t bits : *lists[i]) {
      try {
        primes[i].push_back(source.next(bits));
      } catch (const std::logic_error& none) {
        return refuse(none.what());
      }
    }
  }
  const std::size_t n = shape.degree;
  return std::shared_ptr<const Parameters>(new Parameters(
      shape, Basis(n, primes[0]), Basis(n, primes[1]), Basis(n, primes[2]), Basis(n, primes[3])));
}

Parameters::Parameters(const ParameterShape& shape, Basis q, Basis special, Basis returned,
                       Basis plaintext)
    : m_shape(shape),
      m_q(std::move(q)),
      m_special(std::move(special)),
      m_full(m_q.with(m_special)),
      m_returned(std::move(returned)),
      m_plaintext(std::move(plaintext)),
      m_toReturned(BasisChange::rescaling(m_q, m_returned)),
      m_id(digestOf(shape.degree, {&m_q, &m_special, &m_returned, &m_plaintext})) {
  if (m_special.count() == 0) return;
  m_dropSpecial = BasisChange::dropping(m_special, m_q);
  m_specialInverse = productMod(m_special, m_q);
  for (std::size_t i = 0; i < m_q.count(); ++i) {
    m_specialInverse[i] = m_q.modulus(i).inverse(m_specialInverse[i]);
  }
}

}  // namespace pillarbox::he

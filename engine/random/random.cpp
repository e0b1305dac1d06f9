#include "engine/random/random.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <string>

#include <climits>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

namespace pillarbox::random {

static_assert(std::endian::native == std::endian::little, "streams are little-endian words");

Seed::~Seed() {
  OPENSSL_cleanse(bytes.data(), bytes.size());
}

Status systemRandom(std::span<std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const std::size_t piece = std::min<std::size_t>(bytes.size(), INT_MAX);
    if (RAND_priv_bytes(bytes.data(), static_cast<int>(piece)) != 1) {
      return Error{ErrorCode::Internal,
                   "the system's random generator could not be read; nothing was sent"};
    }
    bytes = bytes.subspan(piece);
  }
  return {};
}

Result<Seed> freshSeed() {
  Seed seed;
  PILLARBOX_TRY(systemRandom(seed.bytes));
  return seed;
}

struct Expander::State {
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  ~State() { EVP_CIPHER_CTX_free(context); }  // also overwrites the key schedule

  void fill(std::span<std::uint8_t> bytes) {
    // The key stream is the encryption of zeros, in place.
    std::memset(bytes.data(), 0, bytes.size());
    while (!bytes.empty()) {
      const std::size_t piece = std::min<std::size_t>(bytes.size(), std::size_t{1} << 30);
      int written = 0;
      if (EVP_EncryptUpdate(context, bytes.data(), &written, bytes.data(),
                            static_cast<int>(piece)) != 1 ||
          static_cast<std::size_t>(written) != piece) {
        throw std::runtime_error("AES-CTR expansion failed");
      }
      bytes = bytes.subspan(piece);
    }
  }
};

Expander::Expander(const Seed& seed, std::uint64_t stream) : m_state(std::make_unique<State>()) {
  std::array<std::uint8_t, 16> counter{};
  std::memcpy(counter.data(), &stream, sizeof stream);
  if (m_state->context == nullptr ||
      EVP_EncryptInit_ex2(m_state->context, EVP_aes_256_ctr(), seed.bytes.data(), counter.data(),
                          nullptr) != 1) {
    throw std::runtime_error("AES-256-CTR is not available in this OpenSSL");
  }
}

Expander::~Expander() = default;
Expander::Expander(Expander&&) noexcept = default;
Expander& Expander::operator=(Expander&&) noexcept = default;

void Expander::fill(std::span<std::uint64_t> words) {
  m_state->fill({reinterpret_cast<std::uint8_t*>(words.data()), words.size_bytes()});
}

void Expander::fill(std::span<U128> values) {
  m_state->fill({reinterpret_cast<std::uint8_t*>(values.data()), values.size_bytes()});
}

}  // namespace pillarbox::random

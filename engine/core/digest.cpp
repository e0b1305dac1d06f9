#include "engine/core/digest.h"

#include <stdexcept>

#include <openssl/evp.h>

namespace pillarbox {
namespace {

void check(int result) {
  if (result != 1) throw std::runtime_error("SHA-256 is not available");
}

}  // namespace

struct Sha256Stream::State {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(),
                                                                  &EVP_MD_CTX_free};
};

Sha256Stream::Sha256Stream() : m_state(std::make_unique<State>()) {
  check(m_state->context ? EVP_DigestInit_ex(m_state->context.get(), EVP_sha256(), nullptr) : 0);
}

Sha256Stream::~Sha256Stream() = default;

void Sha256Stream::update(std::span<const std::byte> bytes) {
  check(EVP_DigestUpdate(m_state->context.get(), bytes.data(), bytes.size()));
}

std::array<std::uint8_t, 32> Sha256Stream::finish() {
  std::array<std::uint8_t, 32> digest{};
  check(EVP_DigestFinal_ex(m_state->context.get(), digest.data(), nullptr));
  return digest;
}

std::string hexText(const std::array<std::uint8_t, 32>& digest) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : digest) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

}  // namespace pillarbox

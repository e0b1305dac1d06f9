#include "engine/offline/content_hash.h"

#include <bit>
#include <memory>

#include <openssl/evp.h>

namespace pillarbox::offline {

static_assert(std::endian::native == std::endian::little, "words are hashed as they lie in memory");

Result<models::Sha256> contentHash(const WideWeights& weights) {
  const Error failure{ErrorCode::Internal, "SHA-256 is not available"};
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free);
  if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) return failure;
  PILLARBOX_TRY(weights.toWords([&](std::span<const std::uint64_t> words) -> Status {
    if (EVP_DigestUpdate(context.get(), words.data(), words.size_bytes()) != 1) return failure;
    return {};
  }));
  models::Sha256 hash{};
  if (EVP_DigestFinal_ex(context.get(), hash.data(), nullptr) != 1) return failure;
  return hash;
}

}  // namespace pillarbox::offline

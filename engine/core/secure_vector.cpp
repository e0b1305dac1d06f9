#include "engine/core/secure_vector.h"

#include <openssl/crypto.h>

namespace pillarbox {

void secureZero(void* data, std::size_t bytes) noexcept {
  OPENSSL_cleanse(data, bytes);
}

}  // namespace pillarbox

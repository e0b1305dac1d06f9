#include "engine/core/secure_vector.h"

#include <cstring>

namespace pillarbox {

void secureZero(void* data, std::size_t bytes) noexcept {
  explicit_bzero(data, bytes);  // as OPENSSL_cleanse, but at the speed of memset
}

}  // namespace pillarbox

// What an Identity holds. For net/ only.
#pragma once

#include "net/certificate.h"
#include "net/openssl_ptr.h"

namespace pillarbox::net {

struct Identity::Impl {
  X509Ptr certificate;
  KeyPtr key;
  Fingerprint fingerprint;
  std::chrono::system_clock::time_point expires;
};

Fingerprint fingerprintOf(const X509* certificate);

}  // namespace pillarbox::net

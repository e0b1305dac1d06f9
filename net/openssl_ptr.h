// Owners for OpenSSL's objects, and its error queue as text. For net/ only.
#pragma once

#include <memory>
#include <string>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

namespace pillarbox::net {

template <auto Free>
struct OpenSslDelete {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};

using SslPtr = std::unique_ptr<SSL, OpenSslDelete<&SSL_free>>;
using SslContextPtr = std::unique_ptr<SSL_CTX, OpenSslDelete<&SSL_CTX_free>>;
using X509Ptr = std::unique_ptr<X509, OpenSslDelete<&X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, OpenSslDelete<&EVP_PKEY_free>>;
using BioPtr = std::unique_ptr<BIO, OpenSslDelete<&BIO_free_all>>;

/// The reason of the newest entry of this thread's error queue, which is emptied; `otherwise` where
/// there is none.
inline std::string takeOpenSslReason(const char* otherwise) {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = code != 0 ? ERR_reason_error_string(code) : nullptr;
  std::string text = reason != nullptr ? reason : otherwise;
  ERR_clear_error();
  return text;
}

}  // namespace pillarbox::net

// Self-signed certificates with OpenSSL 3, and careful files for them. See certificate.h.
#include "net/certificate.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <optional>
#include <vector>

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "net/identity_impl.h"
#include "net/openssl_ptr.h"
#include "net/text.h"

namespace pillarbox::net {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLargestPem = std::size_t{1} << 20;
constexpr int kSerialBits = 159;  // RFC 5280: at most 20 bytes, positive
constexpr long kClockSkew = 3600;
constexpr int kMaxDays = 36500;

std::string quoted(const fs::path& path) {
  std::string text("'");
  return text.append(sanitizeForDisplay(path.string(), 300)).append("'");
}

/// Text that may hold a key; zeroed on release.
struct Secret {
  std::string text;
  Secret() = default;
  Secret(Secret&&) noexcept = default;
  Secret& operator=(Secret&&) = delete;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { OPENSSL_cleanse(text.data(), text.size()); }
};

class File {
 public:
  explicit File(int descriptor) : m_descriptor(descriptor) {}
  ~File() {
    if (m_descriptor >= 0) ::close(m_descriptor);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int get() const { return m_descriptor; }

 private:
  int m_descriptor;
};

enum class Kind { Certificate, Key };

/// Reads a whole small file; a key's permissions are checked on the open file.
Result<Secret> readPem(const fs::path& path, Kind kind) {
  const std::string what = kind == Kind::Key ? "key" : "certificate";
  const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) {
    const int error = errno;
    if (error == ENOENT || error == ENOTDIR) {
      return Error{ErrorCode::NotFound, "there is no " + what + " file " + quoted(path) +
                                            "; make one with the command generate-cert"};
    }
    return Error{ErrorCode::Io,
                 "cannot read the " + what + " file " + quoted(path) + ": " + std::strerror(error)};
  }
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return Error{ErrorCode::Io, "the " + what + " file " + quoted(path) + " is no regular file"};
  }
  if (kind == Kind::Key && (info.st_mode & (S_IRWXO | S_IWGRP)) != 0) {
    return Error{ErrorCode::Io, "the key file " + quoted(path) +
                                    " is open to other users of this machine; run chmod 600 on it, "
                                    "or make a new one if they may have copied it"};
  }
  if (static_cast<std::size_t>(info.st_size) > kLargestPem) {
    return Error{ErrorCode::Format,
                 "the " + what + " file " + quoted(path) + " is too long for what it should be"};
  }
  Secret content;
  content.text.resize(static_cast<std::size_t>(info.st_size));
  std::size_t have = 0;
  while (have < content.text.size()) {
    const ssize_t n = ::read(file.get(), content.text.data() + have, content.text.size() - have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      return Error{ErrorCode::Io, "cannot read the " + what + " file " + quoted(path) + ": " +
                                      std::strerror(errno)};
    }
    if (n == 0) break;
    have += static_cast<std::size_t>(n);
  }
  content.text.resize(have);
  return content;
}

BioPtr memoryBio(std::string_view text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

/// Never asks on the terminal; remembers that it would have had to.
int noPassphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

Result<X509Ptr> parseCertificate(std::string_view pem, const std::string& where) {
  bool asked = false;
  ERR_clear_error();
  const BioPtr bio = memoryBio(pem);
  X509Ptr certificate(bio ? PEM_read_bio_X509(bio.get(), nullptr, &noPassphrase, &asked) : nullptr);
  if (!certificate) {
    ERR_clear_error();
    return Error{ErrorCode::Format, where + " holds no PEM certificate"};
  }
  return certificate;
}

Result<KeyPtr> parseKey(std::string_view pem, const std::string& where) {
  bool asked = false;
  ERR_clear_error();
  const BioPtr bio = memoryBio(pem);
  KeyPtr key(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, &noPassphrase, &asked) : nullptr);
  if (!key) {
    ERR_clear_error();
    if (asked) {
      return Error{ErrorCode::Format, where +
                                          " holds an encrypted key; a service that starts by "
                                          "itself needs it without a passphrase"};
    }
    return Error{ErrorCode::Format, where + " holds no PEM private key"};
  }
  return key;
}

std::string dateText(std::time_t time) {
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d", &parts);
  return text;
}

std::optional<std::time_t> toTime(const ASN1_TIME* asn1) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(asn1, &parts) != 1) return std::nullopt;
  return ::timegm(&parts);
}

/// `certificateName` and `keyName` are how messages call the two.
Result<std::shared_ptr<Identity::Impl>> makeIdentity(std::string_view certificatePem,
                                                     std::string_view keyPem,
                                                     const std::string& certificateName,
                                                     const std::string& keyName) {
  auto impl = std::make_shared<Identity::Impl>();
  PILLARBOX_ASSIGN(impl->certificate, parseCertificate(certificatePem, certificateName));
  PILLARBOX_ASSIGN(impl->key, parseKey(keyPem, keyName));
  if (X509_check_private_key(impl->certificate.get(), impl->key.get()) != 1) {
    ERR_clear_error();
    return Error{ErrorCode::Format, keyName + " is not the key of " + certificateName};
  }
  const auto from = toTime(X509_get0_notBefore(impl->certificate.get()));
  const auto until = toTime(X509_get0_notAfter(impl->certificate.get()));
  if (!from || !until) return Error{ErrorCode::Format, certificateName + " has no valid dates"};
  const std::time_t now = std::time(nullptr);
  if (now > *until) {
    return Error{ErrorCode::Untrusted, certificateName + " expired on " + dateText(*until) +
                                           "; make a new one with the command generate-cert "
                                           "(clients will have to accept its new fingerprint)"};
  }
  if (now < *from) {
    return Error{ErrorCode::Untrusted, certificateName + " is valid from " + dateText(*from) +
                                           " only; is the clock of this machine right?"};
  }
  // OpenSSL's own opinion on the key: type and strength.
  const SslContextPtr context(SSL_CTX_new(TLS_method()));
  if (!context) return Error{ErrorCode::Internal, takeOpenSslReason("OpenSSL has no TLS")};
  const int type = EVP_PKEY_get_base_id(impl->key.get());
  const bool known = type == EVP_PKEY_EC || type == EVP_PKEY_ED25519 || type == EVP_PKEY_ED448 ||
                     type == EVP_PKEY_RSA || type == EVP_PKEY_RSA_PSS;
  if (!known || SSL_CTX_use_certificate(context.get(), impl->certificate.get()) != 1) {
    return Error{ErrorCode::Unsupported, certificateName + " cannot be used for TLS 1.3: " +
                                             takeOpenSslReason("unknown kind of key")};
  }
  impl->fingerprint = fingerprintOf(impl->certificate.get());
  impl->expires = std::chrono::system_clock::from_time_t(*until);
  return impl;
}

bool addExtension(X509* certificate, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  if (extension == nullptr) return false;
  const bool added = X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return added;
}

Error writeError(const fs::path& path, int error) {
  if (error == ENOENT || error == ENOTDIR) {
    return {ErrorCode::NotFound, "cannot write " + quoted(path) + ": its folder does not exist"};
  }
  if (error == EEXIST) {
    return {ErrorCode::InvalidArgument,
            quoted(path) +
                " exists already; remove it first, or ask to overwrite it (clients that "
                "know the old certificate will then refuse this program)"};
  }
  return {ErrorCode::Io, "cannot write " + quoted(path) + ": " + std::strerror(error)};
}

/// Puts `text` into `path` in one step: whole or not at all.
Status writeWhole(const fs::path& path, std::string_view text, mode_t mode, Overwrite overwrite) {
  // The dot hides the file from whoever lists the folder at the wrong moment.
  std::string temporary =
      (path.parent_path() / ("." + path.filename().string() + ".XXXXXX")).string();
  int error = 0;
  {
    const File file(::mkostemp(temporary.data(), O_CLOEXEC));  // mode 0600 from the start
    if (file.get() < 0) return writeError(path, errno);
    if (::fchmod(file.get(), mode) != 0) error = errno;
    while (error == 0 && !text.empty()) {
      const ssize_t n = ::write(file.get(), text.data(), text.size());
      if (n < 0 && errno != EINTR) error = errno;
      if (n > 0) text.remove_prefix(static_cast<std::size_t>(n));
    }
    if (error == 0 && ::fsync(file.get()) != 0) error = errno;
  }
  if (error == 0) {
    if (overwrite == Overwrite::Yes) {
      if (::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
    } else {
      // Unlike rename, link refuses an existing name, with no gap between looking and writing.
      if (::link(temporary.c_str(), path.c_str()) != 0) error = errno;
      ::unlink(temporary.c_str());
    }
  }
  if (error != 0) {
    ::unlink(temporary.c_str());
    return writeError(path, error);
  }
  const fs::path folder = path.parent_path().empty() ? fs::path(".") : path.parent_path();
  const File directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() >= 0) (void)::fsync(directory.get());
  return {};
}

int hexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Fingerprint fingerprintOf(const X509* certificate) {
  Fingerprint fingerprint;
  unsigned int length = 0;
  if (X509_digest(certificate, EVP_sha256(), fingerprint.bytes.data(), &length) != 1 ||
      length != fingerprint.bytes.size()) {
    throw std::runtime_error("OpenSSL cannot take a certificate's SHA-256");
  }
  return fingerprint;
}

std::string Fingerprint::text() const {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string text;
  text.reserve(bytes.size() * 3);
  for (const std::uint8_t byte : bytes) {
    if (!text.empty()) text += ':';
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

Result<Fingerprint> Fingerprint::parse(std::string_view text) {
  const Error malformed{ErrorCode::InvalidArgument,
                        "'" + sanitizeForDisplay(text, 120) +
                            "' is no SHA-256 fingerprint: expected 64 hexadecimal digits, with or "
                            "without colons between the pairs"};
  constexpr std::string_view kSpace = " \t\r\n";
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return malformed;
  text = text.substr(first, text.find_last_not_of(kSpace) - first + 1);
  constexpr std::string_view kPrefix = "sha256:";
  if (text.size() > kPrefix.size() &&
      std::equal(kPrefix.begin(), kPrefix.end(), text.begin(), [](char a, char b) {
        return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b - 'A' + 'a') : b);
      })) {
    text.remove_prefix(kPrefix.size());
  }
  Fingerprint fingerprint;
  const bool colons = text.size() > 2 && text[2] == ':';
  if (text.size() != (colons ? 95U : 64U)) return malformed;
  for (std::size_t i = 0; i < fingerprint.bytes.size(); ++i) {
    const std::size_t at = colons ? 3 * i : 2 * i;
    const int high = hexDigit(text[at]), low = hexDigit(text[at + 1]);
    if (high < 0 || low < 0) return malformed;
    if (colons && at + 2 < text.size() && text[at + 2] != ':') return malformed;
    fingerprint.bytes[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  return fingerprint;
}

GeneratedCertificate::~GeneratedCertificate() {
  OPENSSL_cleanse(keyPem.data(), keyPem.size());
}

Result<GeneratedCertificate> generateCertificate(const std::string& name, int days) {
  if (name.empty() || name.size() > 64 || sanitizeForDisplay(name, 64) != name) {
    return Error{ErrorCode::InvalidArgument,
                 "a certificate's name is 1 to 64 bytes of printable text"};
  }
  if (days < 1 || days > kMaxDays) {
    return Error{ErrorCode::InvalidArgument, "a certificate is valid for 1 to 36500 days"};
  }
  ERR_clear_error();
  const auto failed = [] {
    return Error{ErrorCode::Internal,
                 "OpenSSL cannot make a certificate: " + takeOpenSslReason("unknown reason")};
  };
  const KeyPtr key(EVP_EC_gen("P-256"));
  const X509Ptr certificate(X509_new());
  if (!key || !certificate) return failed();
  X509* x509 = certificate.get();
  BIGNUM* serial = BN_new();
  const bool numbered = serial != nullptr &&
                        BN_rand(serial, kSerialBits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
                        BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(x509)) != nullptr;
  BN_free(serial);
  X509_NAME* subject = X509_get_subject_name(x509);
  const bool made = numbered && X509_set_version(x509, X509_VERSION_3) == 1 &&
                    X509_gmtime_adj(X509_getm_notBefore(x509), -kClockSkew) != nullptr &&
                    X509_time_adj_ex(X509_getm_notAfter(x509), days, 0, nullptr) != nullptr &&
                    X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
                                               reinterpret_cast<const unsigned char*>(name.data()),
                                               static_cast<int>(name.size()), -1, 0) == 1 &&
                    X509_set_issuer_name(x509, subject) == 1 &&
                    X509_set_pubkey(x509, key.get()) == 1 &&
                    addExtension(x509, NID_basic_constraints, "critical,CA:FALSE") &&
                    addExtension(x509, NID_key_usage, "critical,digitalSignature") &&
                    addExtension(x509, NID_ext_key_usage, "serverAuth,clientAuth") &&
                    addExtension(x509, NID_subject_key_identifier, "hash") &&
                    X509_sign(x509, key.get(), EVP_sha256()) != 0;
  if (!made) return failed();

  const BioPtr certificateBio(BIO_new(BIO_s_mem()));
  const BioPtr keyBio(BIO_new(BIO_s_secmem()));
  if (!certificateBio || !keyBio || PEM_write_bio_X509(certificateBio.get(), x509) != 1 ||
      PEM_write_bio_PKCS8PrivateKey(keyBio.get(), key.get(), nullptr, nullptr, 0, nullptr,
                                    nullptr) != 1) {
    return failed();
  }
  const auto text = [](BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    return std::string(data, static_cast<std::size_t>(size));
  };
  GeneratedCertificate generated;
  generated.certificatePem = text(certificateBio.get());
  generated.keyPem = text(keyBio.get());
  generated.fingerprint = fingerprintOf(x509);
  return generated;
}

Status writeCertificate(const GeneratedCertificate& certificate, const fs::path& certificateFile,
                        const fs::path& keyFile, Overwrite overwrite) {
  if (certificateFile.filename().empty() || keyFile.filename().empty() ||
      certificateFile.lexically_normal() == keyFile.lexically_normal()) {
    return Error{ErrorCode::InvalidArgument,
                 "the certificate and its key need two files of different names"};
  }
  // Looked at before the key is written, so that the common mistake changes nothing at all.
  std::error_code ignored;
  if (overwrite == Overwrite::No && fs::exists(fs::symlink_status(certificateFile, ignored))) {
    return writeError(certificateFile, EEXIST);
  }
  PILLARBOX_TRY(writeWhole(keyFile, certificate.keyPem, S_IRUSR | S_IWUSR, overwrite));
  Status written = writeWhole(certificateFile, certificate.certificatePem,
                              S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH, overwrite);
  if (!written.ok() && overwrite == Overwrite::No) fs::remove(keyFile, ignored);
  return written;
}

Result<Identity> Identity::load(const fs::path& certificateFile, const fs::path& keyFile) {
  PILLARBOX_ASSIGN(const Secret certificate, readPem(certificateFile, Kind::Certificate));
  PILLARBOX_ASSIGN(const Secret key, readPem(keyFile, Kind::Key));
  PILLARBOX_ASSIGN(auto impl, makeIdentity(certificate.text, key.text,
                                           "the certificate file " + quoted(certificateFile),
                                           "the key file " + quoted(keyFile)));
  return Identity(std::move(impl));
}

Result<Identity> Identity::fromPem(std::string_view certificatePem, std::string_view keyPem) {
  PILLARBOX_ASSIGN(auto impl,
                   makeIdentity(certificatePem, keyPem, "the certificate", "the private key"));
  return Identity(std::move(impl));
}

const Fingerprint& Identity::fingerprint() const {
  return m_impl->fingerprint;
}

std::chrono::system_clock::time_point Identity::expires() const {
  return m_impl->expires;
}

Result<Fingerprint> certificateFingerprint(const fs::path& certificateFile) {
  PILLARBOX_ASSIGN(const Secret pem, readPem(certificateFile, Kind::Certificate));
  PILLARBOX_ASSIGN(const X509Ptr certificate,
                   parseCertificate(pem.text, "the file " + quoted(certificateFile)));
  return fingerprintOf(certificate.get());
}

}  // namespace pillarbox::net

// Who the other side is: self-signed certificates and their fingerprints.
//
// There is no certificate authority in Pillarbox. An engine makes a key and a certificate for
// itself once; a client remembers ("pins") the SHA-256 of that certificate when its user first
// accepts it and demands the same one ever after, as ssh does with host keys. The fingerprint is
// taken over the whole DER certificate, so it is what `openssl x509 -fingerprint -sha256` prints.
// Names and dates in the certificate are not checked by the client: the pin says more than either.
//
// Keys are ECDSA over P-256, the curve every TLS 1.3 library must have, with fast signatures.
#pragma once

#include <array>
#include <chrono>
#include <compare>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "engine/core/result.h"

namespace pillarbox::net {

/// SHA-256 of a certificate's DER bytes.
struct Fingerprint {
  std::array<std::uint8_t, 32> bytes{};

  /// "AB:CD:...", upper case, 95 characters.
  std::string text() const;
  /// Hexadecimal in any case, with or without colons, an optional "SHA256:" before it and space
  /// round it. Errors: InvalidArgument.
  static Result<Fingerprint> parse(std::string_view text);

  auto operator<=>(const Fingerprint&) const = default;
};

/// A fresh key and the certificate that belongs to it. The key is zeroed on destruction.
struct GeneratedCertificate {
  std::string certificatePem;
  std::string keyPem;  ///< secret
  Fingerprint fingerprint;

  GeneratedCertificate() = default;
  GeneratedCertificate(GeneratedCertificate&&) noexcept = default;
  GeneratedCertificate& operator=(GeneratedCertificate&&) = delete;
  GeneratedCertificate(const GeneratedCertificate&) = delete;
  GeneratedCertificate& operator=(const GeneratedCertificate&) = delete;
  ~GeneratedCertificate();
};

constexpr int kDefaultCertificateDays = 3650;

/// Makes a self-signed certificate for `name` (1 to 64 bytes of printable text, shown to nobody but
/// people who look into the certificate), valid from now for `days` (1 to 36500).
/// Errors: InvalidArgument; Internal if OpenSSL fails.
Result<GeneratedCertificate> generateCertificate(const std::string& name,
                                                 int days = kDefaultCertificateDays);

enum class Overwrite { No, Yes };

/// Writes both files, the key readable by its owner only. Each file appears whole or not at all;
/// nothing is left behind on an error. Errors: InvalidArgument if a file exists and `overwrite` is
/// No; NotFound if the folder does not exist; Io.
Status writeCertificate(const GeneratedCertificate& certificate,
                        const std::filesystem::path& certificateFile,
                        const std::filesystem::path& keyFile, Overwrite overwrite = Overwrite::No);

/// A certificate with its key, checked and ready for use. Cheap to copy (shared, immutable).
class Identity {
 public:
  /// Reads both from PEM files. Errors: NotFound, Io (not readable; or a key that others on this
  /// machine can read), Format (not PEM, encrypted key, key of another certificate), Unsupported
  /// (key type or size), Untrusted (expired or not yet valid).
  static Result<Identity> load(const std::filesystem::path& certificateFile,
                               const std::filesystem::path& keyFile);
  /// The same from memory. Errors: Format, Unsupported, Untrusted.
  static Result<Identity> fromPem(std::string_view certificatePem, std::string_view keyPem);

  const Fingerprint& fingerprint() const;
  /// When the certificate expires.
  std::chrono::system_clock::time_point expires() const;

  struct Impl;  // OpenSSL objects; for net/ only
  const Impl& impl() const { return *m_impl; }

 private:
  explicit Identity(std::shared_ptr<const Impl> impl) : m_impl(std::move(impl)) {}
  std::shared_ptr<const Impl> m_impl;
};

/// The fingerprint of the (first) certificate in a PEM file. Errors: NotFound, Io, Format.
Result<Fingerprint> certificateFingerprint(const std::filesystem::path& certificateFile);

}  // namespace pillarbox::net

// Making, storing and loading certificates, and every way in which a file can be wrong.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <QCryptographicHash>
#include <QDateTime>
#include <QDir>
#include <QTemporaryDir>
#include <QTest>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "net/certificate.h"

using namespace pillarbox;
using namespace pillarbox::net;
namespace fs = std::filesystem;

namespace {

struct Opened {
  X509* certificate;
  EVP_PKEY* key;
  explicit Opened(const GeneratedCertificate& pem) {
    BIO* bio = BIO_new_mem_buf(pem.certificatePem.data(), int(pem.certificatePem.size()));
    certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    bio = BIO_new_mem_buf(pem.keyPem.data(), int(pem.keyPem.size()));
    key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
  }
  ~Opened() {
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
  std::string certificatePem() const {
    BIO* bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, certificate);
    return take(bio);
  }
  static std::string take(BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::string text(data, std::size_t(size));
    BIO_free(bio);
    return text;
  }
};

void write(const fs::path& path, const std::string& text, fs::perms mode = fs::perms::owner_read) {
  fs::remove(path);
  std::ofstream(path, std::ios::binary) << text;
  fs::permissions(path, mode);
}

QByteArray said(const Error& error) {
  return QByteArray::fromStdString(error.message);
}

}  // namespace

class TestCertificate : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void fingerprintText();
  void fingerprintParses_data();
  void fingerprintParses();
  void fingerprintRefuses_data();
  void fingerprintRefuses();
  void generated();
  void generatedDiffer();
  void generateRefuses_data();
  void generateRefuses();
  void filesAndModes();
  void neverOverwritesUnasked();
  void leavesNothingBehind();
  void loadErrors_data();
  void loadErrors();
  void expired();
  void notYetValid();
  void encryptedKeyAsksNobody();
  void weakKey();
};

void TestCertificate::fingerprintText() {
  Fingerprint fingerprint;
  for (std::size_t i = 0; i < 32; ++i) fingerprint.bytes[i] = std::uint8_t(i * 9);
  QCOMPARE(fingerprint.text(),
           std::string("00:09:12:1B:24:2D:36:3F:48:51:5A:63:6C:75:7E:87:90:99:A2:AB:B4:BD:C6:CF:D8:"
                       "E1:EA:F3:FC:05:0E:17"));
  const auto parsed = Fingerprint::parse(fingerprint.text());
  QVERIFY(parsed.ok());
  QVERIFY(*parsed == fingerprint);
}

void TestCertificate::fingerprintParses_data() {
  QTest::addColumn<QByteArray>("text");
  const QByteArray plain = QByteArray(30, 'a') + "Bc" + QByteArray(32, '0');
  QByteArray colons;
  for (int i = 0; i < 64; i += 2) colons += (i != 0 ? ":" : "") + plain.mid(i, 2);
  QTest::newRow("plain") << plain;
  QTest::newRow("upper") << plain.toUpper();
  QTest::newRow("colons") << colons;
  QTest::newRow("lower colons") << colons.toLower();
  QTest::newRow("prefix") << "SHA256:" + plain;
  QTest::newRow("prefix, colons, space") << " sha256:" + colons + "\n";
}

void TestCertificate::fingerprintParses() {
  QFETCH(QByteArray, text);
  const auto parsed = Fingerprint::parse(text.toStdString());
  QVERIFY(parsed.ok());
  QCOMPARE(QByteArray::fromStdString(parsed->text()).replace(":", "").toLower(),
           QByteArray(30, 'a') + "bc" + QByteArray(32, '0'));
}

void TestCertificate::fingerprintRefuses_data() {
  QTest::addColumn<QByteArray>("text");
  const QByteArray good(64, 'a');
  QTest::newRow("empty") << QByteArray();
  QTest::newRow("space") << QByteArray("   ");
  QTest::newRow("short") << good.left(63);
  QTest::newRow("long") << good + "a";
  QTest::newRow("not hex") << good.left(63) + "g";
  QTest::newRow("SHA-1") << QByteArray(40, 'a');
  QTest::newRow("prefix only") << QByteArray("SHA256:");
  QTest::newRow("one colon") << "aa:" + good.left(62);
  QTest::newRow("colons misplaced") << "aa:" + QByteArray(92, 'a');
  QTest::newRow("control characters") << QByteArray("\x1b[2J");
}

void TestCertificate::fingerprintRefuses() {
  QFETCH(QByteArray, text);
  const auto parsed = Fingerprint::parse(text.toStdString());
  QVERIFY(!parsed.ok());
  QCOMPARE(int(parsed.error().code), int(ErrorCode::InvalidArgument));
  QVERIFY(!said(parsed.error()).contains('\x1b'));
}

void TestCertificate::generated() {
  const auto made = generateCertificate("Größe 5", 10);
  QVERIFY(made.ok());
  const Opened opened(*made);
  QVERIFY(opened.certificate && opened.key);
  QCOMPARE(X509_check_private_key(opened.certificate, opened.key), 1);
  QCOMPARE(X509_verify(opened.certificate, opened.key), 1);  // self-signed
  QCOMPARE(EVP_PKEY_get_base_id(opened.key), EVP_PKEY_EC);
  QCOMPARE(EVP_PKEY_get_bits(opened.key), 256);
  QCOMPARE(X509_get_version(opened.certificate), long(X509_VERSION_3));
  QVERIFY(X509_cmp_current_time(X509_get0_notBefore(opened.certificate)) < 0);
  int days = 0, seconds = 0;
  QCOMPARE(ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(opened.certificate)), 1);
  QVERIFY(days == 9 || days == 10);
  // The fingerprint is SHA-256 over the DER bytes, computed here by another road.
  unsigned char* der = nullptr;
  const int size = i2d_X509(opened.certificate, &der);
  QVERIFY(size > 0);
  const QByteArray digest = QCryptographicHash::hash(
      QByteArrayView(reinterpret_cast<const char*>(der), size), QCryptographicHash::Sha256);
  OPENSSL_free(der);
  QCOMPARE(QByteArray::fromStdString(made->fingerprint.text()), digest.toHex(':').toUpper());
  const auto identity = Identity::fromPem(made->certificatePem, made->keyPem);
  QVERIFY(identity.ok());
  QVERIFY(identity->fingerprint() == made->fingerprint);
  const auto left = identity->expires() - std::chrono::system_clock::now();
  QVERIFY(left > std::chrono::hours(9 * 24) && left <= std::chrono::hours(10 * 24));
}

void TestCertificate::generatedDiffer() {
  const auto a = generateCertificate("same"), b = generateCertificate("same");
  QVERIFY(a.ok() && b.ok());
  QVERIFY(a->fingerprint != b->fingerprint);
  QVERIFY(a->keyPem != b->keyPem);
}

void TestCertificate::generateRefuses_data() {
  QTest::addColumn<QByteArray>("name");
  QTest::addColumn<int>("days");
  QTest::newRow("no name") << QByteArray() << 10;
  QTest::newRow("long name") << QByteArray(65, 'a') << 10;
  QTest::newRow("control") << QByteArray("a\nb") << 10;
  QTest::newRow("no days") << QByteArray("a") << 0;
  QTest::newRow("many days") << QByteArray("a") << 36501;
}

void TestCertificate::generateRefuses() {
  QFETCH(QByteArray, name);
  QFETCH(int, days);
  const auto made = generateCertificate(name.toStdString(), days);
  QVERIFY(!made.ok());
  QCOMPARE(int(made.error().code), int(ErrorCode::InvalidArgument));
}

void TestCertificate::filesAndModes() {
  const QTemporaryDir folder;
  const fs::path certificate = fs::path(folder.path().toStdString()) / "engine.crt";
  const fs::path key = fs::path(folder.path().toStdString()) / "engine.key";
  const auto made = generateCertificate("engine");
  QVERIFY(made.ok());
  const mode_t before = ::umask(0);  // the key must be private whatever the umask says
  const Status written = writeCertificate(*made, certificate, key);
  ::umask(before);
  QVERIFY2(written.ok(), written.ok() ? "" : written.error().message.c_str());
  struct stat info {};
  QCOMPARE(::stat(key.c_str(), &info), 0);
  QCOMPARE(int(info.st_mode & 07777), 0600);
  QCOMPARE(::stat(certificate.c_str(), &info), 0);
  QCOMPARE(int(info.st_mode & 07777), 0644);
  const auto identity = Identity::load(certificate, key);
  QVERIFY(identity.ok());
  QVERIFY(identity->fingerprint() == made->fingerprint);
  const auto fingerprint = certificateFingerprint(certificate);
  QVERIFY(fingerprint.ok());
  QVERIFY(*fingerprint == made->fingerprint);
  QCOMPARE(QDir(folder.path()).entryList(QDir::Files | QDir::Hidden).size(), 2);
}

void TestCertificate::neverOverwritesUnasked() {
  const QTemporaryDir folder;
  const fs::path certificate = fs::path(folder.path().toStdString()) / "a.crt";
  const fs::path key = fs::path(folder.path().toStdString()) / "a.key";
  const auto first = generateCertificate("first"), second = generateCertificate("second");
  QVERIFY(writeCertificate(*first, certificate, key).ok());
  const Status refused = writeCertificate(*second, certificate, key);
  QVERIFY(!refused.ok());
  QCOMPARE(int(refused.error().code), int(ErrorCode::InvalidArgument));
  QVERIFY(Identity::load(certificate, key)->fingerprint() == first->fingerprint);
  // Only one of the two in the way: neither is touched, nor is a key left without a certificate.
  fs::remove(key);
  QVERIFY(!writeCertificate(*second, certificate, key).ok());
  QVERIFY(!fs::exists(key));
  fs::remove(certificate);
  write(key, "precious");
  QVERIFY(!writeCertificate(*second, certificate, key).ok());
  QVERIFY(!fs::exists(certificate));
  QCOMPARE(fs::file_size(key), std::uintmax_t(8));
  QVERIFY(writeCertificate(*second, certificate, key, Overwrite::Yes).ok());
  QVERIFY(Identity::load(certificate, key)->fingerprint() == second->fingerprint);
  QVERIFY(!writeCertificate(*second, certificate, certificate, Overwrite::Yes).ok());
}

void TestCertificate::leavesNothingBehind() {
  const QTemporaryDir folder;
  const fs::path root = folder.path().toStdString();
  const auto made = generateCertificate("engine");
  const Status missing = writeCertificate(*made, root / "no" / "a.crt", root / "no" / "a.key");
  QCOMPARE(int(missing.error().code), int(ErrorCode::NotFound));
  // The certificate's folder is missing, the key's is not: the key does not stay behind.
  QVERIFY(!writeCertificate(*made, root / "no" / "a.crt", root / "a.key").ok());
  QCOMPARE(QDir(folder.path()).entryList(QDir::Files | QDir::Hidden).size(), 0);
}

void TestCertificate::loadErrors_data() {
  QTest::addColumn<int>("scene");
  QTest::addColumn<int>("code");
  QTest::addColumn<QByteArray>("says");
  QTest::newRow("no certificate") << 0 << int(ErrorCode::NotFound) << QByteArray("generate-cert");
  QTest::newRow("no key") << 1 << int(ErrorCode::NotFound) << QByteArray("no key file");
  QTest::newRow("other key") << 2 << int(ErrorCode::Format) << QByteArray("is not the key of");
  QTest::newRow("key open to all") << 3 << int(ErrorCode::Io) << QByteArray("chmod 600");
  QTest::newRow("empty certificate")
      << 4 << int(ErrorCode::Format) << QByteArray("no PEM certificate");
  QTest::newRow("swapped") << 5 << int(ErrorCode::Format) << QByteArray("no PEM certificate");
  QTest::newRow("truncated certificate")
      << 6 << int(ErrorCode::Format) << QByteArray("no PEM certificate");
  QTest::newRow("truncated key") << 7 << int(ErrorCode::Format) << QByteArray("no PEM private key");
  QTest::newRow("folder") << 8 << int(ErrorCode::Io) << QByteArray("no regular file");
  QTest::newRow("huge") << 9 << int(ErrorCode::Format) << QByteArray("too long");
  QTest::newRow("not readable") << 10 << int(ErrorCode::Io) << QByteArray("cannot read");
}

void TestCertificate::loadErrors() {
  QFETCH(int, scene);
  QFETCH(int, code);
  QFETCH(QByteArray, says);
  const QTemporaryDir folder;
  const fs::path root = folder.path().toStdString();
  const fs::path certificate = root / "a.crt", key = root / "a.key";
  const auto made = generateCertificate("engine"), other = generateCertificate("other");
  QVERIFY(writeCertificate(*made, certificate, key).ok());
  switch (scene) {
    case 0:
      fs::remove(certificate);
      break;
    case 1:
      fs::remove(key);
      break;
    case 2:
      write(key, other->keyPem);
      break;
    case 3:
      fs::permissions(key, fs::perms(0644));
      break;
    case 4:
      write(certificate, "");
      break;
    case 5:
      write(certificate, made->keyPem);
      break;
    case 6:
      write(certificate, made->certificatePem.substr(0, 200));
      break;
    case 7:
      write(key, made->keyPem.substr(0, 100));
      break;
    case 8:
      fs::remove(certificate);
      fs::create_directory(certificate);
      break;
    case 9:
      write(certificate, std::string(2 << 20, 'x'));
      break;
    case 10:
      if (::geteuid() == 0) QSKIP("root may read everything");
      fs::permissions(certificate, fs::perms::none);
      break;
  }
  const auto identity = Identity::load(certificate, key);
  QVERIFY(!identity.ok());
  QCOMPARE(int(identity.error().code), code);
  QVERIFY2(said(identity.error()).contains(says), said(identity.error()).constData());
  QVERIFY(!said(identity.error()).contains("BEGIN"));  // nothing of a key in a message
}

void TestCertificate::expired() {
  const auto made = generateCertificate("engine");
  const Opened opened(*made);
  X509_time_adj_ex(X509_getm_notAfter(opened.certificate), -2, 0, nullptr);
  QVERIFY(X509_sign(opened.certificate, opened.key, EVP_sha256()) > 0);
  const auto identity = Identity::fromPem(opened.certificatePem(), made->keyPem);
  QVERIFY(!identity.ok());
  QCOMPARE(int(identity.error().code), int(ErrorCode::Untrusted));
  const QByteArray day =
      QDateTime::currentDateTimeUtc().addDays(-2).date().toString(Qt::ISODate).toLatin1();
  QVERIFY2(said(identity.error()).contains("expired on " + day), said(identity.error()));
}

void TestCertificate::notYetValid() {
  const auto made = generateCertificate("engine");
  const Opened opened(*made);
  X509_time_adj_ex(X509_getm_notBefore(opened.certificate), 2, 0, nullptr);
  QVERIFY(X509_sign(opened.certificate, opened.key, EVP_sha256()) > 0);
  const auto identity = Identity::fromPem(opened.certificatePem(), made->keyPem);
  QCOMPARE(int(identity.error().code), int(ErrorCode::Untrusted));
  QVERIFY(said(identity.error()).contains("clock"));
}

void TestCertificate::encryptedKeyAsksNobody() {
  const auto made = generateCertificate("engine");
  const Opened opened(*made);
  BIO* bio = BIO_new(BIO_s_mem());
  QCOMPARE(PEM_write_bio_PKCS8PrivateKey(bio, opened.key, EVP_aes_256_cbc(), "secret", 6, nullptr,
                                         nullptr),
           1);
  const auto identity = Identity::fromPem(made->certificatePem, Opened::take(bio));
  QVERIFY(!identity.ok());
  QCOMPARE(int(identity.error().code), int(ErrorCode::Format));
  QVERIFY(said(identity.error()).contains("encrypted"));
}

void TestCertificate::weakKey() {
  const auto made = generateCertificate("engine");
  const Opened opened(*made);
  EVP_PKEY* weak = EVP_RSA_gen(1024);
  QVERIFY(weak != nullptr);
  X509_set_pubkey(opened.certificate, weak);
  QVERIFY(X509_sign(opened.certificate, weak, EVP_sha256()) > 0);
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PKCS8PrivateKey(bio, weak, nullptr, nullptr, 0, nullptr, nullptr);
  EVP_PKEY_free(weak);
  const auto identity = Identity::fromPem(opened.certificatePem(), Opened::take(bio));
  QVERIFY(!identity.ok());
  QCOMPARE(int(identity.error().code), int(ErrorCode::Unsupported));
}

QTEST_GUILESS_MAIN(TestCertificate)
#include "test_certificate.moc"

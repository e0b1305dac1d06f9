// What a client keeps and reads: pins, labelled images, streams of words, the cache.

#include <numeric>

#include <QDir>
#include <QFile>
#include <QFileInfo>
#include <QImage>
#include <QTemporaryDir>
#include <QTest>

#include "app/client/image_set.h"
#include "app/client/weight_cache.h"
#include "engine/core/files.h"
#include "engine/offline/content_hash.h"
#include "net/memory.h"
#include "net/message_io.h"
#include "net/pin_store.h"
#include "tests/support/model_factory.h"

using namespace pillarbox;
using namespace pillarbox::client;

namespace {

net::Fingerprint fingerprintOf(std::uint8_t byte) {
  net::Fingerprint fingerprint;
  fingerprint.bytes.fill(byte);
  return fingerprint;
}

void touch(const QString& path, const QByteArray& text = "x") {
  QDir().mkpath(QFileInfo(path).path());
  QFile file(path);
  if (!file.open(QIODevice::WriteOnly) || file.write(text) != text.size()) {
    throw std::runtime_error("the test file cannot be written");
  }
}

}  // namespace

class TestClientFiles : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void pins() {
    QTemporaryDir folder;
    const net::PinStore store((folder.path() + "/a/b").toStdString());
    QVERIFY(store.list().value().empty());
    QVERIFY(!store.remove(net::PinKind::Engine, "host", 1).value());
    QVERIFY(store.add(net::PinKind::Engine, "Host.Example", 7120, fingerprintOf(1)).ok());
    QVERIFY(store.add(net::PinKind::Engine, "host.example", 7121, fingerprintOf(2)).ok());
    QVERIFY(store.add(net::PinKind::Dealer, "host.example", 7120, fingerprintOf(3)).ok());
    QVERIFY(store.add(net::PinKind::Engine, "host.example", 7120, fingerprintOf(1)).ok());
    const Status other = store.add(net::PinKind::Engine, "host.example", 7120, fingerprintOf(9));
    QVERIFY(!other.ok());
    QCOMPARE(other.error().code, ErrorCode::Untrusted);

    const net::PinStore again((folder.path() + "/a/b").toStdString());
    QCOMPARE(again.list().value().size(), std::size_t{3});
    const auto pin = again.find(net::PinKind::Engine, "HOST.example", 7120).value();
    QVERIFY(pin && pin->fingerprint == fingerprintOf(1));
    QVERIFY(again.find(net::PinKind::Dealer, "host.example", 7120).value()->fingerprint ==
            fingerprintOf(3));
    QVERIFY(!again.find(net::PinKind::Dealer, "host.example", 7121).value());
    QVERIFY(again.remove(net::PinKind::Engine, "host.example", 7120).value());
    QVERIFY(!again.find(net::PinKind::Engine, "host.example", 7120).value());
    QCOMPARE(store.list().value().size(), std::size_t{2});
    const auto open = QFile::ReadGroup | QFile::ReadOther;
    QVERIFY(!(QFile::permissions(QString::fromStdString(store.file().string())) & open));
  }

  // A store that cannot be understood trusts nobody and is not overwritten.
  void damagedPins_data() {
    QTest::addColumn<QByteArray>("text");
    QTest::newRow("empty") << QByteArray();
    QTest::newRow("not JSON") << QByteArray("{\"version\":1,");
    QTest::newRow("array") << QByteArray("[]");
    QTest::newRow("no pins") << QByteArray("{\"version\":1}");
    QTest::newRow("other version") << QByteArray("{\"version\":2,\"pins\":[]}");
    QTest::newRow("short fingerprint") << QByteArray(
        "{\"version\":1,\"pins\":[{\"kind\":\"engine\",\"host\":\"h\",\"port\":1,"
        "\"sha256\":\"AB\"}]}");
    QTest::newRow("port as text") << QByteArray(
        "{\"version\":1,\"pins\":[{\"kind\":\"engine\",\"host\":\"h\",\"port\":\"1\","
        "\"sha256\":\"AB\"}]}");
    QTest::newRow("entry is a number") << QByteArray("{\"version\":1,\"pins\":[3]}");
    QTest::newRow("host is a number")
        << QByteArray("{\"version\":1,\"pins\":[{\"kind\":\"engine\",\"host\":5,\"port\":1}]}");
    QTest::newRow("deep") << QByteArray(100000, '[');
  }
  void damagedPins() {
    QFETCH(QByteArray, text);
    QTemporaryDir folder;
    touch(folder.filePath("pins.json"), text);
    const net::PinStore store(folder.path().toStdString());
    QVERIFY(!store.list().ok());
    QVERIFY(!store.find(net::PinKind::Engine, "h", 1).ok());
    QVERIFY(!store.add(net::PinKind::Engine, "h", 1, fingerprintOf(1)).ok());
    QVERIFY(!store.remove(net::PinKind::Engine, "h", 1).ok());
    QFile file(folder.filePath("pins.json"));
    QVERIFY(file.open(QIODevice::ReadOnly));
    QCOMPARE(file.readAll(), text);
  }

  void privateFiles() {
    QTemporaryDir folder;
    const std::filesystem::path path = folder.filePath("file").toStdString();
    QVERIFY(writePrivateFile(path, std::string("one")).ok());
    QVERIFY(writePrivateFile(path, std::string("two")).ok());
    QCOMPARE(readFile(path, 3).value(), std::string("two"));
    QCOMPARE(readFile(path, 2).error().code, ErrorCode::Exhausted);
    QCOMPARE(readFile(path / "x", 2).error().code, ErrorCode::Io);
    QCOMPARE(readFile(folder.filePath("none").toStdString(), 2).error().code, ErrorCode::NotFound);
    QCOMPARE(readFile(folder.path().toStdString(), 2).error().code, ErrorCode::Io);
    QCOMPARE(writePrivateFile(path / "x", std::string("y")).error().code, ErrorCode::Io);
    QCOMPARE(QDir(folder.path()).entryList(QDir::Files), QStringList{"file"});
    QVERIFY(!makePrivateDirectory(path).ok());
  }

  void streams_data() {
    QTest::addColumn<quint64>("total");
    QTest::addColumn<quint64>("written");
    QTest::addColumn<quint64>("readIn");
    const quint64 chunk = net::kStreamChunkWords;
    QTest::newRow("nothing") << quint64{0} << quint64{1} << quint64{1};
    QTest::newRow("one word") << quint64{1} << quint64{1} << quint64{1};
    QTest::newRow("exactly a frame") << chunk << chunk << chunk;
    QTest::newRow("a word more") << chunk + 1 << chunk + 1 << quint64{7};
    QTest::newRow("small pieces, large reads") << 3 * chunk + 5 << quint64{1000} << 2 * chunk;
    QTest::newRow("large pieces, small reads") << 4 * chunk << 3 * chunk + 1 << quint64{999};
  }
  void streams() {
    QFETCH(quint64, total);
    QFETCH(quint64, written);
    QFETCH(quint64, readIn);
    auto [a, b] = net::makeMemoryPair();
    net::Channel sender(std::move(a)), receiver(std::move(b));
    std::vector<std::uint64_t> words(total), received(total);
    std::iota(words.begin(), words.end(), std::uint64_t{1});
    net::WordStreamWriter writer(sender, total);
    for (quint64 i = 0; i < total; i += written) {
      QVERIFY(writer.write(std::span(words).subspan(i, std::min(written, total - i))).ok());
    }
    QCOMPARE(sender.meter().bytesSent, net::WordStreamWriter::wireBytes(total));
    net::WordStreamReader reader(receiver, total);
    for (quint64 i = 0; i < total; i += readIn) {
      QCOMPARE(reader.left(), std::uint64_t{total - i});
      QVERIFY(reader.read(std::span(received).subspan(i, std::min(readIn, total - i))).ok());
    }
    QVERIFY(received == words);
    std::uint64_t more = 0;
    QVERIFY(!reader.read(std::span(&more, 1)).ok());
    QVERIFY_EXCEPTION_THROWN(static_cast<void>(writer.write(std::span(&more, 1)).ok()),
                             std::logic_error);
  }

  void drainedStream() {
    auto [a, b] = net::makeMemoryPair();
    net::Channel sender(std::move(a)), receiver(std::move(b));
    const std::vector<std::uint64_t> words(2 * net::kStreamChunkWords + 3, 5);
    QVERIFY(net::WordStreamWriter(sender, words.size()).write(words).ok());
    net::proto::ToEngine message;
    message.mutable_ping();
    QVERIFY(net::sendMessage(sender, message).ok());
    net::WordStreamReader reader(receiver, words.size());
    std::vector<std::uint64_t> some(10);
    QVERIFY(reader.read(some).ok());
    QVERIFY(reader.drain().ok());
    QCOMPARE(reader.left(), std::uint64_t{0});
    QVERIFY(net::receiveMessage<net::proto::ToEngine>(receiver)->has_ping());
  }

  void weightCache() {
    QTemporaryDir folder;
    const auto loaded = testing::makeTinyModel("conv_padded");
    random::Seed seed;
    seed.bytes.fill(3);
    const auto weights = offline::WideWeights::masked(loaded.model, loaded.weights, seed);
    const models::Sha256 hash = offline::contentHash(weights).value();
    const WeightCache cache((folder.path() + "/w").toStdString());
    QVERIFY(!cache.load(loaded.model, hash));
    QVERIFY(cache.store(weights, hash).ok());
    const auto again = cache.load(loaded.model, hash);
    QVERIFY(again.has_value());
    QVERIFY(offline::contentHash(*again).value() == hash);
    // Another content under that name is not believed, and goes away.
    seed.bytes.fill(4);
    const auto other = offline::WideWeights::masked(loaded.model, loaded.weights, seed);
    QVERIFY(offline::contentHash(other).value() != hash);
    QVERIFY(cache.store(other, hash).ok());
    QVERIFY(!cache.load(loaded.model, hash));
    QVERIFY(QDir(folder.path() + "/w").isEmpty());
    QVERIFY(WeightCache({}).store(weights, hash).ok());
    QVERIFY(!WeightCache({}).load(loaded.model, hash));
  }

  void imageSets() {
    QTemporaryDir folder;
    for (const char* name : {"cat/2.png", "cat/1.JPG", "cat/3.png", "Dog/1.png", "bird/9.jpeg",
                             "bird/readme.txt", ".hidden/1.png", "cat/.thumb.png"}) {
      touch(folder.filePath(name));
    }
    const std::vector<std::string> labels = {"bird", "cat", "dog"};
    const auto set = ImageSet::open(folder.path().toStdString(), "test", labels);
    QVERIFY2(set.ok(), set.ok() ? "" : set.error().message.c_str());
    QStringList order;
    for (const LabelledImage& image : set->images()) {
      order << QString::fromStdString(image.name) + "=" + QString::number(image.label);
    }
    // One of each class in turn, so that every beginning is balanced.
    const QStringList expected = {"bird/9.jpeg=0", "cat/1.JPG=1", "Dog/1.png=2", "cat/2.png=1",
                                  "cat/3.png=1"};
    QCOMPARE(order, expected);
    QCOMPARE(set->read(set->images().front()).value(), QByteArray("x"));
  }

  void imageSetErrors_data() {
    QTest::addColumn<QStringList>("files");
    QTest::addColumn<QString>("part");
    QTest::newRow("nothing") << QStringList{"a.txt"} << "no images";
    QTest::newRow("flat") << QStringList{"1.png", "2.png"} << "class/file";
    QTest::newRow("mixed") << QStringList{"cat/1.png", "test/cat/1.png"} << "class/file";
    QTest::newRow("unknown class") << QStringList{"cat/1.png", "cow/1.png"} << "cow";
    QTest::newRow("index out of range") << QStringList{"0/1.png", "7/1.png"} << "7";
    QTest::newRow("other split") << QStringList{"train/cat/1.png", "val/cat/1.png"} << "train, val";
  }
  void imageSetErrors() {
    QFETCH(QStringList, files);
    QFETCH(QString, part);
    QTemporaryDir folder;
    for (const QString& file : files) touch(folder.filePath(file));
    const auto set = ImageSet::open(folder.path().toStdString(), "test", {"cat", "dog"});
    QVERIFY(!set.ok());
    QVERIFY2(QString::fromStdString(set.error().message).contains(part),
             set.error().message.c_str());
  }

  void imageSetThatIsNoZip() {
    QTemporaryDir folder;
    touch(folder.filePath("set.zip"), "PK\x03\x04 but not really");
    QCOMPARE(ImageSet::open(folder.filePath("set.zip").toStdString(), "test", {"cat"}).error().code,
             ErrorCode::Format);
    QCOMPARE(ImageSet::open(folder.filePath("none").toStdString(), "test", {"cat"}).error().code,
             ErrorCode::NotFound);
  }
};

QTEST_GUILESS_MAIN(TestClientFiles)
#include "test_client_files.moc"

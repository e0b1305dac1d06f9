// Images as people have them: turned by EXIF, transparent, grey, 16-bit, huge, broken, hostile.
#include <QBuffer>
#include <QColorSpace>
#include <QFile>
#include <QImage>
#include <QPainter>
#include <QTemporaryDir>
#include <QTest>
#include <QtEndian>

#include "app/client/image_loader.h"

using namespace pillarbox;
using namespace pillarbox::client;

namespace {

QByteArray encoded(const QImage& image, const char* format, int quality = -1) {
  QByteArray bytes;
  QBuffer buffer(&bytes);
  buffer.open(QIODevice::WriteOnly);
  if (!image.save(&buffer, format, quality)) qFatal("cannot encode %s", format);
  return bytes;
}

/// Red at the left, blue at the right.
QImage halves(int width = 64, int height = 32) {
  QImage image(width, height, QImage::Format_RGB32);
  image.fill(Qt::red);
  QPainter(&image).fillRect(width / 2, 0, width / 2, height, Qt::blue);
  return image;
}

/// `jpeg` with an EXIF segment that says how to turn it.
QByteArray withOrientation(const QByteArray& jpeg, char orientation) {
  QByteArray exif("Exif\0\0MM\0*\0\0\0\x08", 14);
  exif += QByteArray("\0\x01\x01\x12\0\x03\0\0\0\x01\0", 11) + orientation +
          QByteArray("\0\0\0\0\0\0", 6);
  QByteArray length(2, '\0');
  qToBigEndian<quint16>(static_cast<quint16>(exif.size() + 2), length.data());
  return jpeg.left(2) + "\xFF\xE1" + length + exif + jpeg.mid(2);
}

/// A PNG that claims to be `side` pixels square, with a right checksum, and hardly any data.
QByteArray hugePngHeader(quint32 side) {
  QByteArray chunk("IHDR");
  QByteArray number(4, '\0');
  qToBigEndian<quint32>(side, number.data());
  chunk += number + number + QByteArray("\x08\x02\0\0\0", 5);
  quint32 crc = 0xFFFFFFFFU;
  for (const char byte : chunk) {
    crc ^= static_cast<quint8>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320U : 0U);
  }
  QByteArray check(4, '\0');
  qToBigEndian<quint32>(~crc, check.data());
  return QByteArray("\x89PNG\r\n\x1a\n\0\0\0\x0d", 12) + chunk + check +
         QByteArray("\0\0\0\x04IDAT\x78\x9c\0\0\0\0\0\0", 16);
}

bool near(QRgb a, const QColor& b) {
  return qAbs(qRed(a) - b.red()) < 24 && qAbs(qGreen(a) - b.green()) < 24 &&
         qAbs(qBlue(a) - b.blue()) < 24;
}

}  // namespace

class ImageLoader : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void orientation_data() {
    QTest::addColumn<int>("orientation");
    QTest::addColumn<QSize>("size");
    QTest::addColumn<QPoint>("red");
    QTest::addColumn<QPoint>("blue");
    QTest::newRow("upright") << 1 << QSize(64, 32) << QPoint(8, 16) << QPoint(56, 16);
    QTest::newRow("mirrored") << 2 << QSize(64, 32) << QPoint(56, 16) << QPoint(8, 16);
    QTest::newRow("half turn") << 3 << QSize(64, 32) << QPoint(56, 16) << QPoint(8, 16);
    QTest::newRow("clockwise") << 6 << QSize(32, 64) << QPoint(16, 8) << QPoint(16, 56);
    QTest::newRow("anticlockwise") << 8 << QSize(32, 64) << QPoint(16, 56) << QPoint(16, 8);
  }
  void orientation() {
    QFETCH(int, orientation);
    QFETCH(QSize, size);
    QFETCH(QPoint, red);
    QFETCH(QPoint, blue);
    const QByteArray jpeg =
        withOrientation(encoded(halves(), "JPG", 95), static_cast<char>(orientation));
    const auto image = loadImageData(jpeg, "photo.jpg");
    QVERIFY2(image.ok(), image.ok() ? "" : image.error().message.c_str());
    QCOMPARE(image.value().size(), size);
    QVERIFY(near(image.value().pixel(red), Qt::red));
    QVERIFY(near(image.value().pixel(blue), Qt::blue));
  }

  void formats_data() {
    QTest::addColumn<QImage>("image");
    QTest::addColumn<QColor>("seen");
    const QColor color(200, 100, 50);
    const auto filled = [&](QImage::Format format, const QColor& with) {
      QImage image(20, 10, format);
      image.fill(with);
      return image;
    };
    QTest::newRow("8-bit") << filled(QImage::Format_RGB888, color) << color;
    QTest::newRow("16-bit") << filled(QImage::Format_RGBX64, color) << color;
    QTest::newRow("grey") << filled(QImage::Format_Grayscale8, QColor(90, 90, 90))
                          << QColor(90, 90, 90);
    QTest::newRow("16-bit grey") << filled(QImage::Format_Grayscale16, QColor(90, 90, 90))
                                 << QColor(90, 90, 90);
    QTest::newRow("opaque alpha") << filled(QImage::Format_ARGB32, color) << color;
    QTest::newRow("transparent") << filled(QImage::Format_ARGB32, QColor(0, 0, 0, 0))
                                 << QColor(Qt::white);
    QTest::newRow("half") << filled(QImage::Format_ARGB32, QColor(0, 0, 0, 128))
                          << QColor(127, 127, 127);
    QTest::newRow("16-bit alpha") << filled(QImage::Format_RGBA64, QColor(0, 0, 0, 0))
                                  << QColor(Qt::white);
  }
  void formats() {
    QFETCH(QImage, image);
    QFETCH(QColor, seen);
    const auto loaded = loadImageData(encoded(image, "PNG"), "x.png");
    QVERIFY2(loaded.ok(), loaded.ok() ? "" : loaded.error().message.c_str());
    QCOMPARE(loaded.value().format(), QImage::Format_RGB32);
    QCOMPARE(loaded.value().size(), image.size());
    const QColor got(loaded.value().pixel(3, 3));
    QVERIFY2(qAbs(got.red() - seen.red()) <= 2 && qAbs(got.green() - seen.green()) <= 2 &&
                 qAbs(got.blue() - seen.blue()) <= 2,
             qPrintable(got.name() + " instead of " + seen.name()));
  }

  void colourSpaceBecomesSrgb() {
    QImage image(8, 8, QImage::Format_RGB32);
    image.fill(QColor(0, 200, 0));
    image.setColorSpace(QColorSpace(QColorSpace::DisplayP3));
    const auto loaded = normalizedImage(image);
    QVERIFY(loaded.ok());
    QVERIFY(QColor(loaded.value().pixel(0, 0)).red() < 20);
    QVERIFY(QColor(loaded.value().pixel(0, 0)).green() > 200);
  }

  void largeJpegIsReduced() {
    QImage image(7000, 4000, QImage::Format_Grayscale8);
    image.fill(77);
    const auto loaded = loadImageData(encoded(image, "JPG", 50), "large.jpg");
    QVERIFY(loaded.ok());
    QVERIFY(loaded.value().width() < 7000);
    QVERIFY(std::min(loaded.value().width(), loaded.value().height()) >= LoadLimits::kReducedSide);
    QVERIFY(qAbs(loaded.value().width() / double(loaded.value().height()) - 1.75) < 0.01);
    QVERIFY(near(loaded.value().pixel(100, 100), QColor(77, 77, 77)));
  }

  void refused_data() {
    QTest::addColumn<QByteArray>("bytes");
    QTest::addColumn<int>("code");
    const QByteArray jpeg = encoded(halves(600, 400), "JPG", 90);
    const QByteArray png = encoded(halves(600, 400), "PNG");
    const int format = static_cast<int>(ErrorCode::Format);
    QTest::newRow("empty") << QByteArray() << format;
    QTest::newRow("text") << QByteArray("hello, world") << format;
    QTest::newRow("zeros") << QByteArray(5000, '\0') << format;
    QTest::newRow("PNG signature") << png.left(8) << format;
    QTest::newRow("half a PNG") << png.left(png.size() / 2) << format;
    QTest::newRow("half a JPEG") << jpeg.left(jpeg.size() / 2) << format;
    QTest::newRow("JPEG without its end") << jpeg.left(jpeg.size() - 2) << format;
    QTest::newRow("half a JPEG, thumbnail's end inside")
        << withOrientation(jpeg, 1).insert(36, "\xFF\xD9").left(jpeg.size() / 2) << format;
    QTest::newRow("SVG") << QByteArray(
                                "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")
                         << static_cast<int>(ErrorCode::Unsupported);
    QTest::newRow("claims 400 megapixels")
        << hugePngHeader(20000) << static_cast<int>(ErrorCode::Exhausted);
  }
  void refused() {
    QFETCH(QByteArray, bytes);
    QFETCH(int, code);
    const auto image = loadImageData(bytes, "odd-file");
    QVERIFY(!image.ok());
    const auto& error = image.error();
    // Where no SVG reader is installed, a drawing is merely unknown.
    if (code == static_cast<int>(ErrorCode::Unsupported)) {
      QVERIFY(error.code == ErrorCode::Unsupported || error.code == ErrorCode::Format);
    } else {
      QVERIFY2(static_cast<int>(error.code) == code, error.message.c_str());
    }
    QVERIFY(error.message.find("odd-file") != std::string::npos);
  }

  /// Bytes changed at random: an image or an error, never a crash.
  void damaged_data() {
    QTest::addColumn<QByteArray>("bytes");
    QTest::newRow("PNG") << encoded(halves(), "PNG");
    QTest::newRow("JPEG") << withOrientation(encoded(halves(), "JPG", 80), 6);
    QTest::newRow("BMP") << encoded(halves(), "BMP");
    QTest::newRow("PPM") << encoded(halves(), "PPM");
  }
  void damaged() {
    QFETCH(QByteArray, bytes);
    quint32 state = 12345;
    const auto next = [&] { return state = state * 1664525U + 1013904223U, state >> 8; };
    for (int i = 0; i < 300; ++i) {
      QByteArray changed = bytes;
      const int changes = 1 + static_cast<int>(next() % 8);
      for (int j = 0; j < changes; ++j) {
        changed[static_cast<qsizetype>(next() % static_cast<quint32>(changed.size()))] =
            static_cast<char>(next());
      }
      const auto image = loadImageData(changed, "x");
      if (image.ok()) QVERIFY(!image.value().isNull());
    }
  }

  void files() {
    QTemporaryDir folder;
    const QString path = folder.filePath("a %1 name.png");
    QVERIFY(halves().save(path));
    QVERIFY(loadImage(path).ok());
    QVERIFY(loadImage(folder.filePath("missing.png")).error().code == ErrorCode::NotFound);
    QVERIFY(loadImage(folder.path()).error().code == ErrorCode::Format);
    // Named after another format, read by its content.
    QVERIFY(QFile::rename(path, folder.filePath("b.jpg")));
    QVERIFY(loadImage(folder.filePath("b.jpg")).ok());
    QVERIFY(normalizedImage(QImage()).error().code == ErrorCode::InvalidArgument);
  }
};

QTEST_GUILESS_MAIN(ImageLoader)
#include "test_image_loader.moc"

#include "app/client/image_loader.h"

#include <algorithm>
#include <cstdint>
#include <mutex>

#include <QBuffer>
#include <QColorSpace>
#include <QCoreApplication>
#include <QFile>
#include <QFileInfo>
#include <QImageReader>
#include <QPainter>

namespace pillarbox::client {

namespace {

/// The context of this file's texts for translators.
class Text {
  Q_DECLARE_TR_FUNCTIONS(ImageLoader)
};

Error error(ErrorCode code, const QString& message) {
  return Error{code, message.toStdString()};
}

/// Whether the JPEG stream reaches its end-of-image marker. The decoder itself only warns. Walks
/// the marker segments (ISO/IEC 10918-1, annex B), so that an embedded thumbnail's marker or bytes
/// after the end do not count.
bool jpegIsComplete(const QByteArray& bytes) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.constData());
  const qsizetype size = bytes.size();
  qsizetype at = 2;
  bool inScan = false;
  while (at + 1 < size) {
    if (data[at] != 0xFF) {
      if (!inScan) return false;
      ++at;
      continue;
    }
    const std::uint8_t marker = data[at + 1];
    if (marker == 0xFF) {  // fill byte
      ++at;
    } else if (marker == 0x00 || (marker >= 0xD0 && marker <= 0xD7) || marker == 0x01) {
      at += 2;  // stuffed byte, restart marker
    } else if (marker == 0xD9) {
      return inScan;
    } else {
      if (at + 3 >= size) return false;
      inScan = inScan || marker == 0xDA;
      at += 2 + ((data[at + 2] << 8) | data[at + 3]);
    }
  }
  return false;
}

QString megapixels(qint64 pixels) {
  return QString::number((pixels + 500000) / 1000000);
}

Error tooLarge(const QString& name, qint64 pixels) {
  return error(ErrorCode::Exhausted,
               Text::tr("%1 has %2 megapixels; the limit is %3. Save it smaller and try again.")
                   .arg(name, megapixels(pixels), megapixels(LoadLimits::kMaxPixels)));
}

}  // namespace

Result<QImage> loadImage(const QString& path) {
  const QFileInfo info(path);
  const QString name = info.fileName().isEmpty() ? path : info.fileName();
  if (!info.exists()) {
    return error(ErrorCode::NotFound, Text::tr("%1 does not exist (any more).").arg(name));
  }
  if (!info.isFile()) {
    return error(ErrorCode::Format, Text::tr("%1 is not a file. Choose an image file.").arg(name));
  }
  if (info.size() > LoadLimits::kMaxFileBytes) {
    return error(ErrorCode::Exhausted,
                 Text::tr("%1 is larger than %2 MB, the limit for an image file.")
                     .arg(name, QString::number(LoadLimits::kMaxFileBytes >> 20)));
  }
  QFile file(path);
  if (!file.open(QIODevice::ReadOnly)) {
    return error(ErrorCode::Io, Text::tr("%1 cannot be opened: %2.").arg(name, file.errorString()));
  }
  const QByteArray bytes = file.read(LoadLimits::kMaxFileBytes + 1);
  if (file.error() != QFileDevice::NoError) {
    return error(ErrorCode::Io, Text::tr("%1 cannot be read: %2.").arg(name, file.errorString()));
  }
  return loadImageData(bytes, name);
}

Result<QImage> loadImageData(const QByteArray& bytes, const QString& name) {
  static std::once_flag once;
  std::call_once(once, [] { QImageReader::setAllocationLimit(LoadLimits::kMaxDecodedMegabytes); });

  if (bytes.isEmpty()) return error(ErrorCode::Format, Text::tr("%1 is empty.").arg(name));
  if (bytes.size() > LoadLimits::kMaxFileBytes) {
    return error(ErrorCode::Exhausted,
                 Text::tr("%1 is larger than %2 MB, the limit for an image file.")
                     .arg(name, QString::number(LoadLimits::kMaxFileBytes >> 20)));
  }
  QBuffer buffer;
  buffer.setData(bytes);
  buffer.open(QIODevice::ReadOnly);
  QImageReader reader(&buffer);
  reader.setDecideFormatFromContent(true);
  reader.setAutoTransform(true);
  const QByteArray format = reader.format().toLower();
  if (format.isEmpty() || !reader.canRead()) {
    return error(ErrorCode::Format,
                 Text::tr("%1 is not an image that this program can read. Try a PNG or JPEG file.")
                     .arg(name));
  }
  if (format.startsWith("svg") || format == "pdf") {
    return error(
        ErrorCode::Unsupported,
        Text::tr("%1 is a drawing, not a picture. Export it as PNG and try again.").arg(name));
  }
  const QSize size = reader.size();
  const qint64 pixels = qint64{std::max(size.width(), 0)} * std::max(size.height(), 0);
  if (pixels > LoadLimits::kMaxPixels) return tooLarge(name, pixels);
  const bool jpeg = format == "jpeg" || format == "jpg";
  if (jpeg && !jpegIsComplete(bytes)) {
    return error(
        ErrorCode::Format,
        Text::tr("%1 is incomplete: the file ends in the middle of the picture.").arg(name));
  }
  if (jpeg && pixels > LoadLimits::kReduceAbovePixels) {
    const QSize reduced = size.scaled(LoadLimits::kReducedSide, LoadLimits::kReducedSide,
                                      Qt::KeepAspectRatioByExpanding);
    if (reduced.width() < size.width()) reader.setScaledSize(reduced);
  }
  QImage image = reader.read();
  if (image.isNull()) {
    return error(ErrorCode::Format,
                 Text::tr("%1 is damaged or incomplete (%2).").arg(name, reader.errorString()));
  }
  return normalizedImage(image);
}

Result<QImage> normalizedImage(const QImage& image) {
  if (image.isNull()) {
    return error(ErrorCode::InvalidArgument, Text::tr("There is no picture to read."));
  }
  const qint64 pixels = qint64{image.width()} * image.height();
  if (pixels > LoadLimits::kMaxPixels) return tooLarge(Text::tr("The picture"), pixels);
  QImage result = image;
  const QColorSpace space = result.colorSpace();
  if (space.isValid() && space != QColorSpace(QColorSpace::SRgb)) {
    result.convertToColorSpace(QColorSpace(QColorSpace::SRgb));
  }
  if (result.hasAlphaChannel()) {
    QImage flat(result.size(), QImage::Format_RGB32);
    if (flat.isNull()) return tooLarge(Text::tr("The picture"), pixels);
    flat.fill(Qt::white);
    result.setDevicePixelRatio(1);
    QPainter painter(&flat);
    painter.drawImage(0, 0, result);
    painter.end();
    result = flat;
  } else {
    result = std::move(result).convertToFormat(QImage::Format_RGB32);
  }
  if (result.isNull()) return tooLarge(Text::tr("The picture"), pixels);
  result.setDevicePixelRatio(1);
  result.setColorSpace({});
  return result;
}

}  // namespace pillarbox::client

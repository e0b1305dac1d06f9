#include "app/ui/image_queue.h"

#include <QBuffer>
#include <QFileInfo>
#include <QImageReader>
#include <QMimeData>
#include <QUrl>

#include "app/client/image_loader.h"

namespace pillarbox::ui {

namespace {

/// Encoded formats that desktops offer beside a decoded image, best first.
const char* const kEncoded[] = {"image/png", "image/jpeg", "image/webp", "image/tiff", "image/bmp"};

QSize headerSize(QImageReader& reader) {
  QSize size = reader.size();
  if (reader.transformation() & QImageIOHandler::TransformationRotate90) size.transpose();
  return size;
}

}  // namespace

QVector<ImageSource> imageSources(const QMimeData* mime) {
  QVector<ImageSource> sources;
  if (!mime) return sources;
  if (mime->hasUrls()) {
    const QList<QUrl> urls = mime->urls();
    for (const QUrl& url : urls) {
      if (!url.isLocalFile()) continue;
      const QString path = url.toLocalFile();
      sources.append({QFileInfo(path).fileName(), path, {}, {}});
    }
    if (!sources.isEmpty()) return sources;
  }
  for (const char* format : kEncoded) {
    const QString type = QLatin1String(format);
    if (!mime->hasFormat(type)) continue;
    const QByteArray bytes = mime->data(type);
    if (bytes.isEmpty()) continue;
    sources.append({ImageQueue::tr("Pasted picture"), {}, bytes, {}});
    return sources;
  }
  if (mime->hasImage()) {
    const QImage image = qvariant_cast<QImage>(mime->imageData());
    if (!image.isNull()) sources.append({ImageQueue::tr("Pasted picture"), {}, {}, image});
  }
  return sources;
}

bool mayHoldImages(const QMimeData* mime) {
  if (!mime) return false;
  if (mime->hasImage()) return true;
  if (mime->hasUrls()) {
    const QList<QUrl> urls = mime->urls();
    for (const QUrl& url : urls) {
      if (url.isLocalFile()) return true;
    }
  }
  for (const char* format : kEncoded) {
    if (mime->hasFormat(QLatin1String(format))) return true;
  }
  return false;
}

ImageQueue::ImageQueue(client::SessionModel& session, QObject* parent)
    : QObject(parent), m_session(session) {
  m_pool.setMaxThreadCount(1);
  connect(&m_session, &client::SessionModel::finished, this,
          [this](const client::ClassificationResult& result) { done(result.id, false); });
  connect(&m_session, &client::SessionModel::failed, this,
          [this](quint64 id, const client::SessionError& error) {
            done(id, error.code != QLatin1String("cancelled"));
          });
}

ImageQueue::~ImageQueue() {
  m_pool.clear();
  m_pool.waitForDone();
}

void ImageQueue::add(const QVector<ImageSource>& sources) {
  for (const ImageSource& source : sources) {
    if (m_waiting.size() >= kMaxWaiting) {
      Q_EMIT rejected(
          source.name,
          tr("%1 images are waiting already; the others were left out.").arg(kMaxWaiting));
      break;
    }
    m_waiting.enqueue(source);
  }
  Q_EMIT waitingChanged(waiting());
  next();
}

void ImageQueue::cancel() {
  m_waiting.clear();
  Q_EMIT waitingChanged(0);
  if (m_reading) {
    m_reading = false;
    ++m_ticket;
    Q_EMIT cancelledWhileReading(m_readingName);
  }
  if (m_current != 0) m_session.cancel(m_current);
}

void ImageQueue::retry() {
  if (!canRetry()) return;
  const Loaded picture = *m_failed;
  m_failed.reset();
  submit(picture);
}

ImageQueue::Loaded ImageQueue::load(const ImageSource& source) {
  Loaded result;
  result.name = source.name;
  const auto take = [&](Result<QImage> image) {
    if (image.ok()) {
      result.image = std::move(image).value();
    } else {
      result.error = QString::fromStdString(image.error().message);
    }
  };
  if (!source.path.isEmpty()) {
    QImageReader reader(source.path);
    reader.setDecideFormatFromContent(true);
    result.size = headerSize(reader);
    take(client::loadImage(source.path));
  } else if (!source.bytes.isEmpty()) {
    take(client::loadImageData(source.bytes, source.name));
  } else {
    take(client::normalizedImage(source.image));
  }
  if (result.image.isNull()) return result;
  if (!result.size.isValid()) result.size = result.image.size();
  result.preview = result.image;
  if (result.image.width() > kPreviewSide || result.image.height() > kPreviewSide) {
    result.preview = result.image.scaled(kPreviewSide, kPreviewSide, Qt::KeepAspectRatio,
                                         Qt::SmoothTransformation);
  }
  return result;
}

void ImageQueue::next() {
  if (busy() || m_waiting.isEmpty()) return;
  m_failed.reset();
  const ImageSource source = m_waiting.dequeue();
  m_reading = true;
  m_readingName = source.name;
  const quint64 ticket = ++m_ticket;
  Q_EMIT waitingChanged(waiting());
  Q_EMIT readingStarted(source.name);
  // The pool is drained before this object dies, and events to a dead object are dropped.
  m_pool.start([this, source, ticket] {
    const Loaded picture = load(source);
    QMetaObject::invokeMethod(
        this, [this, ticket, picture] { loaded(ticket, picture); }, Qt::QueuedConnection);
  });
}

void ImageQueue::loaded(quint64 ticket, const Loaded& picture) {
  if (ticket != m_ticket) return;  // cancelled meanwhile
  m_reading = false;
  if (!picture.error.isEmpty()) {
    Q_EMIT rejected(picture.name, picture.error);
    next();
    return;
  }
  submit(picture);
}

void ImageQueue::submit(const Loaded& picture) {
  Q_EMIT pictureReady(picture.name, picture.preview, picture.size);
  m_submitted = picture;
  m_current = m_session.classify(picture.image, picture.name);
  Q_EMIT submitted(m_current);
}

void ImageQueue::done(quint64 id, bool failed) {
  if (id != m_current) return;
  m_current = 0;
  if (failed) m_failed = std::move(m_submitted);
  m_submitted.reset();
  // Later, so that everybody has seen this one's end before the next begins.
  QMetaObject::invokeMethod(
      this, [this] { next(); }, Qt::QueuedConnection);
}

}  // namespace pillarbox::ui

// ImageQueue: images on their way from the user's hand to the session.
//
// Whatever is dropped, pasted or opened becomes an ImageSource. Sources wait in line; one at a time
// is read and decoded on a worker thread (a 100-megapixel file takes seconds), shown, and handed to
// the session; the next follows when the session has finished with it. So at most one decoded image
// is in memory, and the user interface only ever touches a preview.
#pragma once

#include <optional>

#include <QImage>
#include <QObject>
#include <QQueue>
#include <QThreadPool>

#include "app/client/session_model.h"

class QMimeData;

namespace pillarbox::ui {

/// One image, not read yet: exactly one of path, bytes, image is set.
struct ImageSource {
  QString name;
  QString path;
  QByteArray bytes;
  QImage image;
};

/// What can be classified in a drop or in the clipboard. Local files win over image data, since
/// they have names; encoded bytes over a decoded image, since decoding happens off this thread.
QVector<ImageSource> imageSources(const QMimeData* mime);
/// Whether imageSources() may find something, without converting any data.
bool mayHoldImages(const QMimeData* mime);

class ImageQueue : public QObject {
  Q_OBJECT
 public:
  static constexpr int kMaxWaiting = 1000;
  static constexpr int kPreviewSide = 1600;

  explicit ImageQueue(client::SessionModel& session, QObject* parent = nullptr);
  ~ImageQueue() override;

  void add(const QVector<ImageSource>& sources);
  /// Stops the current image wherever it is and forgets the waiting ones.
  void cancel();
  /// Hands in again the image that failed last. Does nothing if there is none or one is current.
  void retry();
  bool canRetry() const { return m_failed.has_value() && !busy(); }

  /// An image is being read or classified.
  bool busy() const { return m_reading || m_current != 0; }
  bool reading() const { return m_reading; }
  int waiting() const { return static_cast<int>(m_waiting.size()); }
  quint64 currentId() const { return m_current; }

 Q_SIGNALS:
  void readingStarted(const QString& name);
  /// Decoded: `preview` is at most kPreviewSide wide and high; `size` is the file's.
  void pictureReady(const QString& name, const QImage& preview, const QSize& size);
  void rejected(const QString& name, const QString& message);
  void submitted(quint64 id);
  void waitingChanged(int waiting);
  void cancelledWhileReading(const QString& name);

 private:
  struct Loaded {
    QString name;
    QImage image;
    QImage preview;
    QSize size;
    QString error;
  };
  static Loaded load(const ImageSource& source);
  void next();
  void loaded(quint64 ticket, const Loaded& picture);
  void submit(const Loaded& picture);
  void done(quint64 id, bool failed);

  client::SessionModel& m_session;
  QThreadPool m_pool;
  QQueue<ImageSource> m_waiting;
  std::optional<Loaded> m_submitted;
  std::optional<Loaded> m_failed;
  QString m_readingName;
  bool m_reading = false;
  quint64 m_ticket = 0;   ///< of the newest read; older ones' results are dropped
  quint64 m_current = 0;  ///< the session's id, 0: none
};

}  // namespace pillarbox::ui

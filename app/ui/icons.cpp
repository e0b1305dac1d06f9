#include "app/ui/icons.h"

#include <QIconEngine>
#include <QPainter>
#include <QSvgRenderer>

#include "app/ui/theme.h"

namespace pillarbox::ui {

namespace {

QString pathOf(const QString& name) {
  return QStringLiteral(":/icons/%1.svg").arg(name);
}

QPixmap render(const QString& path, const QSize& pixels, const QColor& tint) {
  QPixmap pixmap(pixels);
  pixmap.fill(Qt::transparent);
  QSvgRenderer renderer(path);
  QPainter painter(&pixmap);
  painter.setRenderHint(QPainter::Antialiasing);
  const QSizeF box = QSizeF(renderer.defaultSize()).scaled(pixels, Qt::KeepAspectRatio);
  renderer.render(&painter, QRectF(QPointF((pixels.width() - box.width()) / 2,
                                           (pixels.height() - box.height()) / 2),
                                   box));
  if (tint.isValid()) {
    painter.setCompositionMode(QPainter::CompositionMode_SourceIn);
    painter.fillRect(pixmap.rect(), tint);
  }
  return pixmap;
}

class SvgEngine : public QIconEngine {
 public:
  SvgEngine(QString path, bool tinted) : m_path(std::move(path)), m_tinted(tinted) {}

  void paint(QPainter* painter, const QRect& rect, QIcon::Mode mode, QIcon::State state) override {
    const qreal ratio = painter->device()->devicePixelRatio();
    painter->drawPixmap(rect, pixmap(rect.size() * ratio, mode, state));
  }
  QPixmap pixmap(const QSize& size, QIcon::Mode mode, QIcon::State state) override {
    return render(m_path, size, color(mode, state));
  }
  QIconEngine* clone() const override { return new SvgEngine(*this); }

 private:
  QColor color(QIcon::Mode mode, QIcon::State state) const {
    if (!m_tinted) return {};
    const ThemeColors& c = colors();
    if (mode == QIcon::Disabled) {
      QColor faint = c.muted;
      faint.setAlphaF(0.6F);
      return faint;
    }
    if (mode == QIcon::Selected) return c.accentText;
    return state == QIcon::On ? c.accent : c.text;
  }

  QString m_path;
  bool m_tinted;
};

}  // namespace

QIcon icon(const QString& name) {
  return QIcon(new SvgEngine(pathOf(name), true));
}

QPixmap iconPixmap(const QString& name, int size, qreal pixelRatio, const QColor& color) {
  QPixmap pixmap = render(pathOf(name), QSize(size, size) * pixelRatio, color);
  pixmap.setDevicePixelRatio(pixelRatio);
  return pixmap;
}

QIcon applicationIcon() {
  return QIcon(new SvgEngine(QStringLiteral(":/icons/pillarbox.svg"), false));
}

}  // namespace pillarbox::ui

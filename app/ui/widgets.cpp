#include "app/ui/widgets.h"

#include <algorithm>
#include <cmath>

#include <QAccessible>
#include <QButtonGroup>
#include <QDialog>
#include <QEvent>
#include <QFontDatabase>
#include <QGraphicsLayout>
#include <QGridLayout>
#include <QHBoxLayout>
#include <QLocale>
#include <QPainter>
#include <QPainterPath>
#include <QPushButton>
#include <QToolTip>
#include <QVBoxLayout>
#include <QtCharts/QBarSeries>
#include <QtCharts/QBarSet>
#include <QtCharts/QChart>
#include <QtCharts/QChartView>
#include <QtCharts/QValueAxis>

#include "app/ui/format.h"
#include "app/ui/icons.h"
#include "app/ui/theme.h"

namespace pillarbox::ui {

namespace {

constexpr qreal kCardRadius = 10;

/// Tells a screen reader that a widget's text changed.
void announce(QWidget* widget, QAccessible::Event event) {
  if (!QAccessible::isActive()) return;
  QAccessibleEvent change(widget, event);
  QAccessible::updateAccessibility(&change);
}

void fillRounded(QPainter& painter, const QRectF& rect, const QColor& fill, const QColor& line,
                 qreal radius) {
  painter.setRenderHint(QPainter::Antialiasing);
  painter.setBrush(fill);
  painter.setPen(line.isValid() ? QPen(line, 1) : QPen(Qt::NoPen));
  painter.drawRoundedRect(rect.adjusted(0.5, 0.5, -0.5, -0.5), radius, radius);
}

}  // namespace

QColor toneColor(Tone tone) {
  const ThemeColors& c = colors();
  switch (tone) {
    case Tone::Muted:
      return c.muted;
    case Tone::Accent:
      return c.accent;
    case Tone::Info:
      return c.info;
    case Tone::Success:
      return c.success;
    case Tone::Warning:
      return c.warning;
    case Tone::Error:
      return c.error;
    case Tone::Plain:
      break;
  }
  return c.text;
}

QColor toneBackground(Tone tone) {
  const ThemeColors& c = colors();
  switch (tone) {
    case Tone::Info:
    case Tone::Accent:
      return c.infoSoft;
    case Tone::Success:
      return c.successSoft;
    case Tone::Warning:
      return c.warningSoft;
    case Tone::Error:
      return c.errorSoft;
    case Tone::Plain:
    case Tone::Muted:
      break;
  }
  return c.surface;
}

QFont scaledFont(const QFont& base, double factor, QFont::Weight weight) {
  QFont font = base;
  if (font.pointSizeF() > 0) {
    font.setPointSizeF(font.pointSizeF() * factor);
  } else {
    font.setPixelSize(static_cast<int>(std::lround(font.pixelSize() * factor)));
  }
  font.setWeight(weight);
  return font;
}

QLabel* mutedLabel(const QString& text, QWidget* parent, double factor) {
  auto* label = new QLabel(text, parent);
  label->setForegroundRole(QPalette::PlaceholderText);
  label->setFont(scaledFont(label->font(), factor));
  label->setTextFormat(Qt::PlainText);
  label->setWordWrap(true);
  return label;
}

QChartView* makeChartView(QChart* chart, int minimumHeight, QWidget* parent) {
  auto* view = new QChartView(chart, parent);
  view->setRenderHint(QPainter::Antialiasing);
  view->setFrameShape(QFrame::NoFrame);
  view->setBackgroundBrush(Qt::NoBrush);
  view->viewport()->setAutoFillBackground(false);
  view->setFocusPolicy(Qt::NoFocus);
  view->setInteractive(false);
  view->setAcceptDrops(false);  // drops belong to the window
  view->viewport()->setAcceptDrops(false);
  view->setMinimumHeight(minimumHeight);
  return view;
}

void fitHeight(QDialog& dialog, int width) {
  dialog.ensurePolished();
  QLayout* layout = dialog.layout();
  layout->setSizeConstraint(QLayout::SetNoConstraint);
  layout->activate();
  const int least = std::max(width, layout->totalMinimumSize().width());
  const int height = layout->hasHeightForWidth() ? layout->totalHeightForWidth(least)
                                                 : layout->totalSizeHint().height();
  dialog.setMinimumSize(least, height);
  dialog.resize(least, height);
}

// Card

Card::Card(QWidget* parent) : QFrame(parent) {}

void Card::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  fillRounded(painter, rect(), colors().surface, colors().border, kCardRadius);
}

// ElidedLabel

ElidedLabel::ElidedLabel(QWidget* parent) : QWidget(parent) {
  setSizePolicy(QSizePolicy::Preferred, QSizePolicy::Fixed);
}

void ElidedLabel::setText(const QString& text) {
  if (text == m_text) return;
  m_text = text;
  setAccessibleName(text);
  announce(this, QAccessible::NameChanged);
  updateGeometry();
  updateToolTip();
  update();
}

void ElidedLabel::setElideMode(Qt::TextElideMode mode) {
  m_mode = mode;
}
void ElidedLabel::setAlignment(Qt::Alignment alignment) {
  m_alignment = alignment;
}

void ElidedLabel::setTone(Tone tone) {
  m_tone = tone;
  update();
}

QSize ElidedLabel::sizeHint() const {
  const QFontMetrics metrics = fontMetrics();
  return {metrics.horizontalAdvance(m_text) + 2, metrics.height()};
}

QSize ElidedLabel::minimumSizeHint() const {
  const QFontMetrics metrics = fontMetrics();
  return {std::min(sizeHint().width(), metrics.averageCharWidth() * 6), metrics.height()};
}

void ElidedLabel::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  painter.setPen(isEnabled() ? toneColor(m_tone) : colors().muted);
  painter.drawText(rect(), static_cast<int>(m_alignment) | Qt::TextSingleLine,
                   fontMetrics().elidedText(m_text, m_mode, width()));
}

void ElidedLabel::resizeEvent(QResizeEvent*) {
  updateToolTip();
}

void ElidedLabel::updateToolTip() {
  setToolTip(fontMetrics().horizontalAdvance(m_text) > width() ? m_text : QString());
}

// IconLabel

IconLabel::IconLabel(const QString& icon, int size, Tone tone, QWidget* parent)
    : QWidget(parent), m_icon(icon), m_size(size), m_tone(tone) {
  setFixedSize(size, size);
}

void IconLabel::setIcon(const QString& icon, Tone tone) {
  m_icon = icon;
  m_tone = tone;
  update();
}

void IconLabel::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  painter.drawPixmap(0, 0, iconPixmap(m_icon, m_size, devicePixelRatioF(), toneColor(m_tone)));
}

// TrustLine

TrustLine::TrustLine(QWidget* parent) : QWidget(parent) {
  auto* layout = new QHBoxLayout(this);
  layout->setContentsMargins(10, 6, 10, 6);
  layout->setSpacing(8);
  m_icon = new IconLabel(QStringLiteral("shield"), 18, Tone::Muted, this);
  m_label = new QLabel(this);
  m_label->setWordWrap(true);
  m_label->setTextFormat(Qt::PlainText);
  m_label->setTextInteractionFlags(Qt::TextSelectableByMouse);
  m_label->setFocusPolicy(Qt::NoFocus);
  layout->addWidget(m_icon, 0, Qt::AlignTop);
  layout->addWidget(m_label, 1);
  QSizePolicy policy(QSizePolicy::Preferred, QSizePolicy::Fixed);
  policy.setHeightForWidth(true);
  setSizePolicy(policy);
}

void TrustLine::setNeutral(const QString& text) {
  set(QStringLiteral("lock"), Tone::Muted, text);
}
void TrustLine::setTrust(const QString& text) {
  set(QStringLiteral("shield"), Tone::Info, text);
}
void TrustLine::setInsecure(const QString& text) {
  set(QStringLiteral("warning"), Tone::Warning, text);
}

QString TrustLine::text() const {
  return m_label->text();
}

void TrustLine::set(const QString& icon, Tone tone, const QString& text) {
  m_tone = tone;
  m_icon->setIcon(icon, tone);
  QFont font = m_label->font();
  font.setBold(tone == Tone::Warning);
  m_label->setFont(font);
  m_label->setText(text);
  m_label->setAccessibleName(text);
  setAccessibleName(tr("Who is trusted: %1").arg(text));
  announce(this, QAccessible::NameChanged);
  update();
}

void TrustLine::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  QPalette palette = m_label->palette();
  const QColor text = m_tone == Tone::Warning ? toneColor(m_tone) : colors().text;
  if (palette.color(QPalette::WindowText) != text) {
    palette.setColor(QPalette::WindowText, text);
    m_label->setPalette(palette);
  }
  fillRounded(painter, rect(), m_tone == Tone::Muted ? colors().sunken : toneBackground(m_tone),
              m_tone == Tone::Warning ? toneColor(m_tone) : QColor(), 8);
}

// MessageBar

MessageBar::MessageBar(QWidget* parent) : QWidget(parent) {
  auto* layout = new QHBoxLayout(this);
  layout->setContentsMargins(12, 7, 7, 7);
  layout->setSpacing(10);
  m_icon = new IconLabel(QStringLiteral("info"), 20, Tone::Info, this);
  m_label = new QLabel(this);
  m_label->setWordWrap(true);
  m_label->setTextFormat(Qt::PlainText);
  m_action = new QPushButton(this);
  m_action->setAccessibleName(tr("Next step"));
  m_close = new QToolButton(this);
  m_close->setIcon(icon(QStringLiteral("cancel")));
  m_close->setAutoRaise(true);
  m_close->setToolTip(tr("Close this message"));
  m_close->setAccessibleName(tr("Close this message"));
  layout->addWidget(m_icon);
  layout->addWidget(m_label, 1);
  layout->addWidget(m_action);
  layout->addWidget(m_close);
  connect(m_close, &QToolButton::clicked, this, &QWidget::hide);
  connect(m_action, &QPushButton::clicked, this, [this] { Q_EMIT actionTriggered(m_key); });
  QSizePolicy policy(QSizePolicy::Preferred, QSizePolicy::Fixed);
  policy.setHeightForWidth(true);
  setSizePolicy(policy);
  hide();
}

void MessageBar::showMessage(const QString& key, Tone tone, const QString& text,
                             const QString& action) {
  m_key = key;
  m_tone = tone;
  QString name = QStringLiteral("info");
  if (tone == Tone::Warning) name = QStringLiteral("warning");
  if (tone == Tone::Error) name = QStringLiteral("error");
  if (tone == Tone::Success) name = QStringLiteral("check");
  m_icon->setIcon(name, tone);
  m_label->setText(text);
  m_action->setText(action);
  m_action->setVisible(!action.isEmpty());
  m_action->setAccessibleName(action.isEmpty() ? tr("Next step")
                                               : QString(action).remove(QLatin1Char('&')));
  setAccessibleName(text);
  show();
  update();
  announce(this, QAccessible::Alert);
}

void MessageBar::clear(const QString& key) {
  if (m_key == key) hide();
}

QString MessageBar::text() const {
  return m_label->text();
}
QString MessageBar::actionText() const {
  return m_action->text();
}

void MessageBar::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  fillRounded(painter, rect(), toneBackground(m_tone), toneColor(m_tone), 8);
}

// NavigationRail

NavigationRail::NavigationRail(QWidget* parent) : QWidget(parent) {
  m_layout = new QVBoxLayout(this);
  m_layout->setContentsMargins(8, 12, 8, 12);
  m_layout->setSpacing(6);
  m_layout->addStretch(1);
  m_group = new QButtonGroup(this);
  m_group->setExclusive(true);
  connect(m_group, &QButtonGroup::idClicked, this, &NavigationRail::currentChanged);
  setAccessibleName(tr("Pages"));
}

void NavigationRail::addPage(const QString& iconName, const QString& title,
                             const QString& description) {
  auto* button = new QToolButton(this);
  button->setCheckable(true);
  button->setAutoRaise(true);
  button->setToolButtonStyle(Qt::ToolButtonTextUnderIcon);
  button->setIcon(icon(iconName));
  button->setIconSize({24, 24});
  button->setText(title);
  button->setToolTip(description);
  button->setAccessibleName(title);
  button->setAccessibleDescription(description);
  button->setFixedSize(std::max(72, button->fontMetrics().horizontalAdvance(title) + 20), 62);
  button->setFocusPolicy(Qt::StrongFocus);
  const int index = static_cast<int>(m_group->buttons().size());
  m_group->addButton(button, index);
  m_layout->insertWidget(index, button);
  if (index == 0) button->setChecked(true);
}

void NavigationRail::setCurrent(int index) {
  QAbstractButton* button = m_group->button(index);
  if (!button || button->isChecked()) return;
  button->setChecked(true);
  Q_EMIT currentChanged(index);
}

int NavigationRail::current() const {
  return m_group->checkedId();
}

void NavigationRail::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  painter.setPen(colors().border);
  painter.drawLine(width() - 1, 0, width() - 1, height());
}

// PictureView

PictureView::PictureView(QWidget* parent) : QWidget(parent) {
  setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Expanding);
}

void PictureView::setPicture(const QImage& picture, const QString& name) {
  m_picture = picture;
  m_scaled = {};
  setAccessibleName(tr("Picture %1").arg(name));
  update();
}

void PictureView::setPlaceholder(const QString& text) {
  m_picture = {};
  m_scaled = {};
  m_placeholder = text;
  setAccessibleName(text);
  update();
}

QRect PictureView::pictureRect() const {
  if (m_picture.isNull()) return {};
  const QSize size = m_picture.size().scaled(this->size(), Qt::KeepAspectRatio);
  return {QPoint((width() - size.width()) / 2, (height() - size.height()) / 2), size};
}

void PictureView::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  painter.setRenderHint(QPainter::Antialiasing);
  if (m_picture.isNull()) {
    fillRounded(painter, rect(), colors().window, colors().border, 8);
    painter.setPen(colors().muted);
    painter.drawText(rect().adjusted(16, 16, -16, -16), Qt::AlignCenter | Qt::TextWordWrap,
                     m_placeholder);
    return;
  }
  const QRect target = pictureRect();
  const qreal ratio = devicePixelRatioF();
  const QSize pixels = target.size() * ratio;
  if (m_scaled.size() != pixels) {
    m_scaled = QPixmap::fromImage(
        m_picture.scaled(pixels, Qt::IgnoreAspectRatio, Qt::SmoothTransformation));
    m_scaled.setDevicePixelRatio(ratio);
  }
  QPainterPath clip;
  clip.addRoundedRect(target, 6, 6);
  painter.setClipPath(clip);
  painter.drawPixmap(target.topLeft(), m_scaled);
}

// ScoreBars

ScoreBars::ScoreBars(QWidget* parent) : QWidget(parent) {
  auto* grid = new QGridLayout(this);
  grid->setContentsMargins(0, 0, 0, 0);
  grid->setHorizontalSpacing(12);
  grid->setVerticalSpacing(0);
  grid->setColumnStretch(0, 2);
  grid->setColumnStretch(1, 3);
  const int percentWidth = fontMetrics().horizontalAdvance(QStringLiteral("> 100.0 %")) + 2;
  for (int i = 0; i < kRows; ++i) {
    Row row{new ElidedLabel(this), new QProgressBar(this), new QLabel(this)};
    row.bar->setRange(0, 1000);
    row.bar->setTextVisible(false);
    row.bar->setFixedHeight(12);
    row.bar->setProperty("quiet", i > 0);
    row.percent->setAlignment(Qt::AlignRight | Qt::AlignVCenter);
    row.percent->setMinimumWidth(percentWidth);
    if (i == 0) {
      row.label->setFont(scaledFont(font(), 1, QFont::DemiBold));
      row.percent->setFont(scaledFont(font(), 1, QFont::DemiBold));
    }
    grid->addWidget(row.label, i, 0);
    grid->addWidget(row.bar, i, 1);
    grid->addWidget(row.percent, i, 2);
    grid->setRowMinimumHeight(i, fontMetrics().height() + 6);
    grid->setRowStretch(i, 1);
    m_rows.append(row);
  }
  setSizePolicy(QSizePolicy::Preferred, QSizePolicy::Expanding);
  setMaximumHeight(kRows * (fontMetrics().height() + 30));
  clear();
}

void ScoreBars::setScores(const QVector<Score>& scores) {
  m_count = static_cast<int>(std::min<qsizetype>(kRows, scores.size()));
  for (int i = 0; i < kRows; ++i) {
    const Row& row = m_rows[i];
    const bool used = i < m_count;
    row.label->setVisible(used);
    row.bar->setVisible(used);
    row.percent->setVisible(used);
    if (!used) continue;
    const QString percent = formatProbability(scores[i].probability);
    row.label->setText(scores[i].label);
    row.bar->setValue(static_cast<int>(std::lround(1000 * scores[i].probability)));
    row.bar->setAccessibleName(tr("Probability of %1").arg(scores[i].label));
    row.bar->setAccessibleDescription(percent);
    row.percent->setText(percent);
  }
}

void ScoreBars::clear() {
  setScores({});
}

// CounterTile

CounterTile::CounterTile(const QString& name, const QString& description, QWidget* parent)
    : QWidget(parent), m_name(name) {
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(1);
  m_value = new ElidedLabel(this);
  m_value->setFont(scaledFont(font(), 1.25, QFont::DemiBold));
  auto* label = new ElidedLabel(this);
  label->setFont(scaledFont(font(), 0.9));
  label->setTone(Tone::Muted);
  label->setText(name);
  layout->addWidget(m_value);
  layout->addWidget(label);
  setToolTip(description);
  setAccessibleDescription(description);
  setValue(QStringLiteral("–"));
}

void CounterTile::setValue(const QString& value) {
  m_value->setText(value);
  setAccessibleName(tr("%1: %2").arg(m_name, value));
}

QString CounterTile::value() const {
  return m_value->text();
}

// LatencyChart

LatencyChart::LatencyChart(QWidget* parent) : QWidget(parent) {
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(2);
  m_title = new QLabel(tr("Latency per round"), this);
  m_title->setFont(scaledFont(font(), 0.9));
  m_title->setForegroundRole(QPalette::PlaceholderText);
  m_chart = new QChart;
  m_bars = new QBarSet(QString());
  m_series = new QBarSeries;
  m_series->append(m_bars);
  m_series->setBarWidth(0.7);
  m_chart->addSeries(m_series);
  m_chart->legend()->hide();
  m_chart->setMargins(QMargins(0, 0, 0, 0));
  m_chart->setBackgroundRoundness(0);
  m_chart->setBackgroundVisible(false);
  m_chart->layout()->setContentsMargins(0, 0, 0, 0);
  m_rounds = new QValueAxis;
  m_rounds->setLabelFormat(QStringLiteral("%d"));
  m_rounds->setTickType(QValueAxis::TicksDynamic);
  m_rounds->setTickAnchor(1);
  m_rounds->setGridLineVisible(false);
  m_latency = new QValueAxis;
  m_latency->setTickCount(3);
  m_latency->setLabelFormat(QStringLiteral("%g ms"));
  m_latency->setLineVisible(false);
  m_chart->addAxis(m_rounds, Qt::AlignBottom);
  m_chart->addAxis(m_latency, Qt::AlignLeft);
  m_series->attachAxis(m_rounds);
  m_series->attachAxis(m_latency);
  m_view = makeChartView(m_chart, 72, this);
  m_empty = new QLabel(tr("A bar for every round appears here."), this);
  m_empty->setForegroundRole(QPalette::PlaceholderText);
  m_empty->setAlignment(Qt::AlignCenter);
  layout->addWidget(m_title);
  layout->addWidget(m_view, 1);
  layout->addWidget(m_empty, 1);
  applyTheme();
  clear();
}

void LatencyChart::begin(int rounds) {
  m_total = std::max(0, rounds);
  if (m_bars->count() > 0) m_bars->remove(0, m_bars->count());
  // Bar i stands at x = i; the first is a dummy, so that round 1 stands at 1.
  m_bars->append(0);
  m_rounds->setRange(0.4, std::max(m_total, 1) + 0.6);
  m_rounds->setTickInterval(m_total <= 12 ? 1 : std::ceil(m_total / 60.0) * 5);
  m_rounds->setTickAnchor(m_total <= 12 ? 1 : 0);
  m_latency->setRange(0, 10);
  m_view->setVisible(m_total > 0);
  m_empty->setVisible(m_total == 0);
  describe();
}

void LatencyChart::addRound(int round, double milliseconds) {
  if (round < 1) return;
  while (m_bars->count() <= round) m_bars->append(0);
  m_bars->replace(round, std::max(0.0, milliseconds));
  double top = 0;
  for (int i = 1; i < m_bars->count(); ++i) top = std::max(top, m_bars->at(i));
  // The next of 1, 2, 5 times a power of ten, so that the scale stands still while bars come.
  const double power = std::pow(10.0, std::floor(std::log10(std::max(top, 0.01))));
  double limit = 10 * power;
  for (const double step : {1.0, 2.0, 5.0}) {
    if (step * power >= top) {
      limit = step * power;
      break;
    }
  }
  m_latency->setRange(0, limit);
  describe();
}

int LatencyChart::count() const {
  return std::max(0, m_bars->count() - 1);
}

void LatencyChart::describe() {
  const int n = count();
  if (n == 0) {
    m_title->setText(tr("Latency per round"));
  } else {
    double sum = 0;
    for (int i = 1; i <= n; ++i) sum += m_bars->at(i);
    m_title->setText(tr("Latency per round · last %1 · mean %2")
                         .arg(formatMs(m_bars->at(n)), formatMs(sum / n)));
  }
  setAccessibleName(m_title->text());
}

void LatencyChart::changeEvent(QEvent* event) {
  QWidget::changeEvent(event);
  if (event->type() == QEvent::PaletteChange) applyTheme();
}

void LatencyChart::applyTheme() {
  const ThemeColors& c = colors();
  m_bars->setColor(c.accent);
  m_bars->setBorderColor(Qt::transparent);
  const QFont small = scaledFont(font(), 0.82);
  for (QValueAxis* axis : {m_rounds, m_latency}) {
    axis->setLabelsColor(c.muted);
    axis->setLabelsFont(small);
    axis->setGridLineColor(c.border);
    axis->setLinePenColor(c.border);
  }
}

// DropOverlay

DropOverlay::DropOverlay(QWidget* parent) : QWidget(parent) {
  setAttribute(Qt::WA_TransparentForMouseEvents);
  setGeometry(parent->rect());
  parent->installEventFilter(this);
  hide();
}

bool DropOverlay::eventFilter(QObject* watched, QEvent* event) {
  if (watched == parent() && event->type() == QEvent::Resize) {
    setGeometry(parentWidget()->rect());
  }
  return QWidget::eventFilter(watched, event);
}

void DropOverlay::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  QColor veil = colors().window;
  veil.setAlphaF(0.96F);
  painter.fillRect(rect(), veil);
  painter.setRenderHint(QPainter::Antialiasing);
  painter.setPen(QPen(colors().accent, 3, Qt::DashLine, Qt::RoundCap));
  painter.setBrush(Qt::NoBrush);
  painter.drawRoundedRect(QRectF(rect()).adjusted(12, 12, -12, -12), 14, 14);
  const int size = 56;
  painter.drawPixmap(
      (width() - size) / 2, height() / 2 - size,
      iconPixmap(QStringLiteral("drop"), size, devicePixelRatioF(), colors().accent));
  painter.setPen(colors().text);
  painter.setFont(scaledFont(font(), 1.5, QFont::DemiBold));
  painter.drawText(QRect(0, height() / 2 + 10, width(), 40), Qt::AlignHCenter | Qt::AlignTop,
                   m_text);
}

// FingerprintView

FingerprintView::FingerprintView(const QString& fingerprint, const QString& other, QWidget* parent)
    : QWidget(parent), m_fingerprint(fingerprint) {
  setAccessibleName(tr("SHA-256 fingerprint %1").arg(fingerprint));
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(14, 12, 14, 7);
  auto* label = new QLabel(this);
  QFont fixed = QFontDatabase::systemFont(QFontDatabase::FixedFont);
  fixed.setPointSizeF(font().pointSizeF() * 1.1);
  label->setFont(fixed);
  label->setTextFormat(Qt::RichText);
  label->setTextInteractionFlags(Qt::TextSelectableByMouse | Qt::TextSelectableByKeyboard);
  label->setAccessibleName(accessibleName());
  const QStringList bytes = fingerprint.split(QLatin1Char(':'));
  const QStringList others = other.split(QLatin1Char(':'));
  QString html;
  for (qsizetype i = 0; i < bytes.size(); ++i) {
    const bool differs = !other.isEmpty() && (i >= others.size() || others[i] != bytes[i]);
    const QString text = bytes[i].toHtmlEscaped();
    html += differs ? QStringLiteral("<b><u>%1</u></b>").arg(text) : text;
    if (i % 8 == 7) {
      if (i + 1 < bytes.size()) html += QStringLiteral("<br>");
    } else {
      html += i % 4 == 3 ? QStringLiteral("&nbsp;&nbsp;") : QStringLiteral(":");
    }
  }
  label->setText(QStringLiteral("<div style='line-height:140%'>%1</div>").arg(html));
  layout->addWidget(label);
}

void FingerprintView::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  fillRounded(painter, rect(), colors().window, colors().border, 8);
}

}  // namespace pillarbox::ui

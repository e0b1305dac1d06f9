#include "app/ui/training_charts.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <QChart>
#include <QChartView>
#include <QEvent>
#include <QGraphicsLayout>
#include <QHelpEvent>
#include <QLabel>
#include <QLineSeries>
#include <QLocale>
#include <QPainter>
#include <QToolTip>
#include <QVBoxLayout>
#include <QValueAxis>

#include "app/ui/format.h"
#include "app/ui/theme.h"
#include "app/ui/widgets.h"

namespace pillarbox::ui {

namespace {

constexpr int kRangeRow = 66;
constexpr int kRangeScale = 22;   ///< above the rows
constexpr int kRangeLabel = 150;  ///< at most
constexpr int kUsualWidth = 360;
constexpr int kHeightOfStep = 34;  ///< between two labels of an axis, so that none is elided
constexpr int kLegendRest = 84;    ///< beside a line's name: its mark and its value
constexpr double kWidestCell = 2;  ///< of a confusion matrix, by its height
constexpr int kMaxLabelled = 40;   ///< classes whose names fit beside a confusion matrix

QColor curveColor(int index) {
  const ThemeColors& c = colors();
  return index == 0 ? c.accent : c.dark ? QColor(0xff, 0xb0, 0x5c) : QColor(0xb4, 0x55, 0x00);
}

QColor blend(const QColor& a, const QColor& b, double part) {
  const auto mix = [part](float x, float y) {
    return x + (y - x) * static_cast<float>(std::clamp(part, 0.0, 1.0));
  };
  return QColor::fromRgbF(mix(a.redF(), b.redF()), mix(a.greenF(), b.greenF()),
                          mix(a.blueF(), b.blueF()));
}

/// The next of 1, 2, 2.5, 5 times a power of ten.
double niceAbove(double value) {
  if (!(value > 0) || !std::isfinite(value)) return 1;
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (const double step : {1.0, 2.0, 2.5, 5.0, 10.0}) {
    if (step * power >= value * 0.999999) return step * power;
  }
  return 10 * power;
}

QString percentText(double ratio) {
  return QStringLiteral("%1 %").arg(QLocale().toString(100 * ratio, 'f', 1));
}

/// How an axis with such steps labels its ticks: with the digits that tell them apart, never with
/// an exponent.
QString tickFormat(double step, bool percent) {
  int digits = 0;
  while (digits < 8 && std::abs(step - std::round(step)) > 1e-6 * step) {
    step *= 10;
    ++digits;
  }
  return QStringLiteral("%.%1f%2").arg(digits).arg(percent ? QStringLiteral(" %%") : QString());
}

}  // namespace

// CurveChart

CurveChart::CurveChart(const QString& title, Unit unit, const QStringList& names, QWidget* parent)
    : QWidget(parent), m_title(title), m_unit(unit), m_names(names) {
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(0);
  m_heading = new QLabel(title, this);
  m_heading->setFont(scaledFont(font(), 1.0, QFont::DemiBold));
  m_legend = new QLabel(this);
  m_legend->setFont(scaledFont(font(), 0.9));
  m_legend->setTextFormat(Qt::RichText);
  m_chart = new QChart;
  m_chart->legend()->hide();
  m_chart->setMargins(QMargins(0, 4, 6, 0));
  m_chart->setBackgroundRoundness(0);
  m_chart->setBackgroundVisible(false);
  m_chart->layout()->setContentsMargins(0, 0, 0, 0);
  m_epochs = new QValueAxis;
  m_epochs->setLabelFormat(QStringLiteral("%d"));
  m_epochs->setTickType(QValueAxis::TicksDynamic);
  m_epochs->setGridLineVisible(false);
  m_values = new QValueAxis;
  m_values->setTickCount(5);
  m_values->setLineVisible(false);
  m_chart->addAxis(m_epochs, Qt::AlignBottom);
  m_chart->addAxis(m_values, Qt::AlignLeft);
  for (int i = 0; i < 2; ++i) {
    auto* series = new QLineSeries;
    m_chart->addSeries(series);
    series->attachAxis(m_epochs);
    series->attachAxis(m_values);
    m_series << series;
  }
  m_view = makeChartView(m_chart, 90, this);
  m_empty = new QLabel(tr("The curve begins with the first epoch."), this);
  m_empty->setForegroundRole(QPalette::PlaceholderText);
  m_empty->setAlignment(Qt::AlignCenter);
  m_empty->setWordWrap(true);
  layout->addWidget(m_heading);
  layout->addWidget(m_legend);
  layout->addWidget(m_view, 1);
  layout->addWidget(m_empty, 1);
  applyTheme();
  setCurves({}, 0);
}

QString CurveChart::valueText(double value) const {
  if (m_unit != Unit::Percent) return QLocale().toString(value, 'g', 3);
  return value >= 1 ? percentText(value / 100) : formatShare(value / 100);
}

void CurveChart::setNames(const QStringList& names) {
  m_names = names;
  describe();
}

void CurveChart::setCurves(const QVector<QVector<QPointF>>& curves, int epochs) {
  m_curves = curves;
  m_planned = epochs;
  double low = 0, high = 0, last = epochs;
  bool first = true;
  qsizetype points = 0;
  for (int i = 0; i < m_series.size(); ++i) {
    QVector<QPointF> finite;
    for (const QPointF& point : curves.value(i)) {
      if (!std::isfinite(point.y())) continue;
      finite << point;
      low = first ? point.y() : std::min(low, point.y());
      high = first ? point.y() : std::max(high, point.y());
      last = std::max(last, point.x());
      first = false;
    }
    points += finite.size();
    m_series[i]->replace(finite);
    m_series[i]->setPointsVisible(finite.size() == 1);  // no line yet
  }
  m_view->setVisible(points > 0);
  m_empty->setVisible(points == 0);
  m_legend->setVisible(points > 0);
  m_epochs->setRange(last > 1 ? 1 : 0.5, std::max(last, 1.5));
  m_epochs->setTickAnchor(last <= 12 ? 1 : 0);
  m_epochs->setTickInterval(last <= 12 ? 1 : niceAbove(last / 8));
  // Equal steps between round numbers that hold every value.
  const double span = high - (m_unit == Unit::Percent || low < 0.5 * high ? 0 : low);
  double bottom = m_unit == Unit::Percent || low < 0.5 * high ? 0 : low;
  const int wanted = std::clamp(height() / kHeightOfStep - 1, 1, 5);
  const double step = niceAbove(std::max(span, std::abs(high) * 1e-3) / wanted);
  bottom = std::floor(bottom / step) * step;
  const int steps = std::max(1, static_cast<int>(std::ceil((high - bottom) / step - 1e-9)));
  m_values->setRange(bottom, bottom + steps * step);
  m_values->setTickCount(steps + 1);
  m_values->setLabelFormat(tickFormat(step, m_unit == Unit::Percent));
  describe();
}

void CurveChart::describe() {
  QString legend;
  QStringList words;
  int lines = 0;
  for (const QLineSeries* series : m_series) lines += series->count() > 0;
  const QFontMetrics metrics(m_legend->font());
  const int room = (width() > 0 ? width() : kUsualWidth) / std::max(1, lines) - kLegendRest;
  for (int i = 0; i < m_names.size() && i < m_series.size(); ++i) {
    const QString& name = m_names[i];
    const QString shown = metrics.elidedText(name, Qt::ElideRight, std::max(24, room));
    const auto points = m_series[i]->points();
    if (points.isEmpty()) continue;
    const QString value = valueText(points.last().y());
    legend += QStringLiteral("<span style='color:%1'>━</span> %2 <b>%3</b>&nbsp;&nbsp; ")
                  .arg(curveColor(i).name(), shown.toHtmlEscaped(), value);
    words << tr("%1 %2").arg(name, value);
  }
  m_legend->setText(legend);
  setAccessibleName(m_title);
  setAccessibleDescription(words.isEmpty() ? m_empty->text()
                                           : tr("After the last epoch: %1").arg(words.join(", ")));
}

void CurveChart::resizeEvent(QResizeEvent* event) {
  QWidget::resizeEvent(event);
  setCurves(m_curves, m_planned);
}

void CurveChart::changeEvent(QEvent* event) {
  QWidget::changeEvent(event);
  if (event->type() == QEvent::PaletteChange) applyTheme();
}

void CurveChart::applyTheme() {
  const ThemeColors& c = colors();
  for (int i = 0; i < m_series.size(); ++i) {
    QPen pen(curveColor(i), 2);
    if (i == 1) pen.setStyle(Qt::DashLine);
    m_series[i]->setPen(pen);
    m_series[i]->setMarkerSize(6);
  }
  const QFont small = scaledFont(font(), 0.82);
  for (QValueAxis* axis : {m_epochs, m_values}) {
    axis->setLabelsColor(c.muted);
    axis->setLabelsFont(small);
    axis->setGridLineColor(c.border);
    axis->setLinePenColor(c.border);
  }
  describe();
}

// ConfusionView

ConfusionView::ConfusionView(QWidget* parent) : QWidget(parent) {
  setFocusPolicy(Qt::NoFocus);
  setAccessibleName(tr("Confusion matrix"));
}

void ConfusionView::setMatrix(const QStringList& classes, const QVector<QVector<qint64>>& counts) {
  m_classes = classes;
  m_counts = counts;
  qint64 worst = 0;
  QString pair;
  for (int row = 0; row < counts.size(); ++row) {
    for (int column = 0; column < counts[row].size(); ++column) {
      if (row == column || counts[row][column] <= worst) continue;
      worst = counts[row][column];
      pair = tr("%1 taken for %2, %3 times")
                 .arg(classes.value(row), classes.value(column), QLocale().toString(worst));
    }
  }
  setAccessibleDescription(counts.isEmpty() ? tr("Nothing has been tested yet.")
                           : pair.isEmpty() ? tr("No class was taken for another.")
                                            : tr("The most frequent mistake: %1.").arg(pair));
  update();
}

ConfusionView::Layout ConfusionView::layoutNow() const {
  Layout layout;
  const int n = static_cast<int>(m_counts.size());
  if (n == 0) return layout;
  if (n <= kMaxLabelled) {
    for (const QString& name : m_classes) {
      layout.labelWidth = std::max(layout.labelWidth, fontMetrics().horizontalAdvance(name));
    }
    layout.labelWidth = std::clamp(layout.labelWidth + 10, 30, 140);
  }
  const int line = fontMetrics().height();
  const double top = line + 4 + (n <= kMaxLabelled ? line + 6 : 0);
  const double left = line + 4 + layout.labelWidth;
  const auto whole = [](double size) { return std::max(1.0, std::floor(size * 4) / 4); };
  layout.cellHeight = whole(std::min(width() - left - 4.0, height() - top - 4.0) / n);
  // As wide as there is room, so that the names of the classes can be read.
  layout.cellWidth = whole(std::min((width() - left - 4.0) / n, kWidestCell * layout.cellHeight));
  layout.grid = QRectF(left, top, layout.cellWidth * n, layout.cellHeight * n);
  return layout;
}

QString ConfusionView::cellText(int row, int column) const {
  const QVector<qint64>& counts = m_counts[row];
  qint64 sum = 0;
  for (const qint64 count : counts) sum += count;
  const double part = sum > 0 ? static_cast<double>(counts[column]) / static_cast<double>(sum) : 0;
  return tr("%1 of %2 images of “%3” (%4) were taken for “%5”")
      .arg(QLocale().toString(counts[column]), QLocale().toString(sum), m_classes.value(row),
           percentText(part), m_classes.value(column));
}

bool ConfusionView::event(QEvent* event) {
  if (event->type() == QEvent::ToolTip && !m_counts.isEmpty()) {
    const auto* help = static_cast<QHelpEvent*>(event);
    const Layout layout = layoutNow();
    const QPointF at = help->pos() - layout.grid.topLeft();
    const int row = static_cast<int>(std::floor(at.y() / layout.cellHeight));
    const int column = static_cast<int>(std::floor(at.x() / layout.cellWidth));
    if (row >= 0 && row < m_counts.size() && column >= 0 && column < m_counts[row].size()) {
      QToolTip::showText(help->globalPos(), cellText(row, column), this);
    } else {
      QToolTip::hideText();
    }
    return true;
  }
  return QWidget::event(event);
}

void ConfusionView::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  const ThemeColors& c = colors();
  if (m_counts.isEmpty()) {
    painter.setPen(c.muted);
    painter.drawText(rect(), Qt::AlignCenter | Qt::TextWordWrap,
                     tr("The matrix appears after the first epoch."));
    return;
  }
  const Layout layout = layoutNow();
  const int n = static_cast<int>(m_counts.size());
  const int line = fontMetrics().height();
  const QFont small = scaledFont(font(), 0.85);
  painter.setFont(small);
  painter.setPen(c.muted);
  painter.drawText(QRectF(layout.grid.left(), 0, layout.grid.width(), line), Qt::AlignCenter,
                   tr("answer"));
  painter.save();
  painter.translate(line / 2.0, layout.grid.center().y());
  painter.rotate(-90);
  painter.drawText(QRectF(-60, -line / 2.0, 120, line), Qt::AlignCenter, tr("true class"));
  painter.restore();
  const QFontMetrics metrics(small);
  for (int row = 0; row < n; ++row) {
    qint64 sum = 0;
    for (const qint64 count : m_counts[row]) sum += count;
    for (int column = 0; column < m_counts[row].size(); ++column) {
      const QRectF cell(layout.grid.left() + column * layout.cellWidth,
                        layout.grid.top() + row * layout.cellHeight, layout.cellWidth,
                        layout.cellHeight);
      const qint64 count = m_counts[row][column];
      const double part = sum > 0 ? static_cast<double>(count) / static_cast<double>(sum) : 0;
      const QColor full = row == column ? c.accent : c.error;
      // The root lifts the rare mistakes, which are what one looks for.
      const double strength = part <= 0 ? 0 : 0.08 + 0.82 * std::sqrt(part);
      const QColor fill = blend(c.sunken, full, strength);
      const double gap = layout.cellHeight > 12 ? 1 : 0;
      painter.fillRect(cell.adjusted(0, 0, -gap, -gap), fill);
      const QString text = QLocale().toString(count);
      if (count > 0 && layout.cellHeight >= metrics.height() + 4 &&
          metrics.horizontalAdvance(text) < layout.cellWidth - 4) {
        const bool light = contrastRatio(fill, c.text) >= contrastRatio(fill, c.surface);
        painter.setPen(light ? c.text : c.surface);
        painter.drawText(cell, Qt::AlignCenter, text);
      }
    }
  }
  if (n > kMaxLabelled || layout.cellHeight < metrics.height() - 3) return;
  painter.setPen(c.text);
  for (int i = 0; i < n; ++i) {
    const QString name = m_classes.value(i);
    painter.drawText(
        QRectF(layout.grid.left() - layout.labelWidth, layout.grid.top() + i * layout.cellHeight,
               layout.labelWidth - 6, layout.cellHeight),
        Qt::AlignRight | Qt::AlignVCenter,
        metrics.elidedText(name, Qt::ElideRight, layout.labelWidth - 6));
    painter.drawText(
        QRectF(layout.grid.left() + i * layout.cellWidth, line + 2, layout.cellWidth, line + 4),
        Qt::AlignCenter,
        metrics.elidedText(name, Qt::ElideRight, static_cast<int>(layout.cellWidth) - 3));
  }
}

// RangeView

RangeView::RangeView(QWidget* parent) : QWidget(parent) {
  setAccessibleName(tr("Inputs of the activation layers"));
}

QSize RangeView::minimumSizeHint() const {
  return {320, std::max(120, static_cast<int>(m_layers.size()) * kRangeRow + kRangeScale)};
}

void RangeView::setLayers(const QVector<client::LayerRange>& layers, double range) {
  m_layers = layers;
  m_range = range;
  QStringList words;
  for (const client::LayerRange& layer : layers) {
    words << tr("%1: %2 beyond the range, largest %3")
                 .arg(layer.name, formatShare(layer.outOfRange))
                 .arg(layer.largest, 0, 'f', 1);
  }
  setAccessibleDescription(words.isEmpty() ? tr("Nothing has been tested yet.") : words.join("; "));
  updateGeometry();
  update();
}

void RangeView::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  painter.setRenderHint(QPainter::Antialiasing);
  const ThemeColors& c = colors();
  if (m_layers.isEmpty()) {
    painter.setPen(c.muted);
    painter.drawText(rect(), Qt::AlignCenter | Qt::TextWordWrap,
                     tr("The histograms appear after the first epoch."));
    return;
  }
  const QFont small = scaledFont(font(), 0.88);
  const QFontMetrics metrics(small);
  int label = 0, figures = metrics.horizontalAdvance(tr("logarithmic counts"));
  QVector<std::array<QString, 2>> texts;
  for (const client::LayerRange& layer : m_layers) {
    label = std::max(label, metrics.horizontalAdvance(layer.name));
    texts.append({tr("%1 beyond ±B").arg(formatShare(layer.outOfRange)),
                  std::isfinite(layer.largest) ? tr("largest %1").arg(layer.largest, 0, 'f', 2)
                                               : tr("ran away")});
    for (const QString& text : texts.last()) {
      figures = std::max(figures, metrics.horizontalAdvance(text));
    }
  }
  label = std::min(label, kRangeLabel) + 14;
  figures += 16;
  const double left = label;
  const double wide = std::max(80.0, static_cast<double>(width()) - left - figures);
  const double perUnit = wide / (3 * m_range);  // the histogram covers [-1.5 B, 1.5 B]
  const double centre = left + wide / 2;
  for (int i = 0; i < m_layers.size(); ++i) {
    const client::LayerRange& layer = m_layers[i];
    const QRectF row(0, kRangeScale + i * kRangeRow, width(), kRangeRow);
    const QRectF plot(left, row.top() + 8, wide, kRangeRow - 16);
    painter.fillRect(
        QRectF(centre - m_range * perUnit, plot.top(), 2 * m_range * perUnit, plot.height()),
        c.accentSoft);
    double top = 0;
    for (const double count : layer.histogram) top = std::max(top, std::log1p(count));
    const auto bins = static_cast<double>(std::max<qsizetype>(1, layer.histogram.size()));
    for (int bin = 0; bin < layer.histogram.size(); ++bin) {
      if (layer.histogram[bin] <= 0 || top <= 0) continue;
      const double height = std::max(1.0, plot.height() * std::log1p(layer.histogram[bin]) / top);
      const double from = plot.left() + bin * wide / bins;
      const double middle = -1.5 * m_range + (bin + 0.5) * 3 * m_range / bins;
      const bool outside = std::abs(middle) > m_range;
      painter.fillRect(QRectF(from + 0.5, plot.bottom() - height, wide / bins - 1, height),
                       outside ? c.error : c.accent);
    }
    painter.setPen(QPen(c.control, 1, Qt::DashLine));
    for (const double border : {-m_range, m_range}) {
      const double x = centre + border * perUnit;
      painter.drawLine(QPointF(x, plot.top()), QPointF(x, plot.bottom()));
    }
    painter.setPen(c.text);
    painter.setFont(small);
    painter.drawText(QRectF(0, row.top(), label - 12, kRangeRow), Qt::AlignLeft | Qt::AlignVCenter,
                     metrics.elidedText(layer.name, Qt::ElideMiddle, label - 12));
    const bool infinite = !std::isfinite(layer.largest);
    const bool loud = layer.outOfRange > 1e-3 || infinite || layer.largest > 2 * m_range;
    painter.setPen(loud ? c.error : c.muted);
    for (int line = 0; line < 2; ++line) {
      painter.drawText(QRectF(left + wide + 14, row.top() + 12 + 21 * line, figures, 20),
                       Qt::AlignLeft | Qt::AlignVCenter, texts[i][line]);
    }
  }
  painter.setFont(scaledFont(font(), 0.82));
  painter.setPen(c.muted);
  const auto mark = [&](double value, const QString& text) {
    painter.drawText(QRectF(centre + value * perUnit - 50, 0, 100, kRangeScale), Qt::AlignCenter,
                     text);
  };
  mark(-m_range, tr("−B = −%1").arg(m_range));
  mark(0, QStringLiteral("0"));
  mark(m_range, tr("B = %1").arg(m_range));
  painter.drawText(QRectF(left + wide + 14, 0, figures, kRangeScale),
                   Qt::AlignLeft | Qt::AlignVCenter, tr("logarithmic counts"));
}

}  // namespace pillarbox::ui

// What a training run measures, as pictures: curves over epochs, the confusion matrix, and the
// inputs of every activation layer against the range that its polynomial was fitted on. Each says
// in words, for assistive technology, what it shows.
#pragma once

#include <QVector>
#include <QWidget>

#include "app/client/training_record.h"

class QChart;
class QChartView;
class QLabel;
class QLineSeries;
class QValueAxis;

namespace pillarbox::ui {

/// Up to two lines over epochs, with a legend that names them and their last values.
class CurveChart : public QWidget {
  Q_OBJECT
 public:
  enum class Unit { Number, Percent };
  CurveChart(const QString& title, Unit unit, const QStringList& names, QWidget* parent = nullptr);

  /// One point an epoch; what is not finite is left out. `epochs`: how far the axis reaches.
  void setCurves(const QVector<QVector<QPointF>>& curves, int epochs);
  void setNames(const QStringList& names);
  QSize minimumSizeHint() const override { return {170, 150}; }

 protected:
  void resizeEvent(QResizeEvent* event) override;
  void changeEvent(QEvent* event) override;

 private:
  void applyTheme();
  void describe();
  QString valueText(double value) const;
  QString m_title;
  Unit m_unit;
  QStringList m_names;
  QVector<QVector<QPointF>> m_curves;
  int m_planned = 0;  ///< epochs
  QChart* m_chart;
  QChartView* m_view;
  QVector<QLineSeries*> m_series;
  QValueAxis* m_epochs;
  QValueAxis* m_values;
  QLabel* m_heading;
  QLabel* m_legend;
  QLabel* m_empty;
};

/// True classes down, answers across; the diagonal is what was right.
class ConfusionView : public QWidget {
  Q_OBJECT
 public:
  explicit ConfusionView(QWidget* parent = nullptr);
  void setMatrix(const QStringList& classes, const QVector<QVector<qint64>>& counts);
  QSize minimumSizeHint() const override { return {260, 220}; }

 protected:
  void paintEvent(QPaintEvent* event) override;
  bool event(QEvent* event) override;

 private:
  struct Layout {
    QRectF grid;
    double cellWidth = 0, cellHeight = 0;
    int labelWidth = 0;
  };
  Layout layoutNow() const;
  QString cellText(int row, int column) const;
  QStringList m_classes;
  QVector<QVector<qint64>> m_counts;
};

/// A row for every activation layer: a histogram of its inputs, the borders -B and B, the share
/// beyond them and the largest value.
class RangeView : public QWidget {
  Q_OBJECT
 public:
  explicit RangeView(QWidget* parent = nullptr);
  void setLayers(const QVector<client::LayerRange>& layers, double range);
  QSize sizeHint() const override { return minimumSizeHint(); }
  QSize minimumSizeHint() const override;

 protected:
  void paintEvent(QPaintEvent* event) override;

 private:
  QVector<client::LayerRange> m_layers;
  double m_range = 5;
};

}  // namespace pillarbox::ui

// The small widgets that the pages are made of. Each paints itself in the theme's colours, tells
// assistive technology its name and value, and knows nothing of sessions.
#pragma once

#include <QFrame>
#include <QImage>
#include <QLabel>
#include <QProgressBar>
#include <QToolButton>
#include <QVector>

class QChart;
class QChartView;
class QBarSet;
class QBarSeries;
class QButtonGroup;
class QDialog;
class QHBoxLayout;
class QPushButton;
class QValueAxis;
class QVBoxLayout;

namespace pillarbox::ui {

enum class Tone { Plain, Muted, Accent, Info, Success, Warning, Error };
QColor toneColor(Tone tone);
QColor toneBackground(Tone tone);

/// `base` at `factor` times its size and the given weight.
QFont scaledFont(const QFont& base, double factor, QFont::Weight weight = QFont::Normal);

/// A text beside the main one: in a muted colour, wrapped, `factor` times the usual size.
QLabel* mutedLabel(const QString& text, QWidget* parent, double factor = 1);
/// A view of a chart that takes neither focus nor drops and shows its parent's background.
QChartView* makeChartView(QChart* chart, int minimumHeight, QWidget* parent);

/// Gives a dialog this width and the height that its wrapped texts need at it; no smaller.
void fitHeight(QDialog& dialog, int width);

/// A surface with a thin border and rounded corners.
class Card : public QFrame {
  Q_OBJECT
 public:
  explicit Card(QWidget* parent = nullptr);

 protected:
  void paintEvent(QPaintEvent* event) override;
};

/// One line of text that is elided, never clipped; the whole text is its tooltip and accessible
/// name.
class ElidedLabel : public QWidget {
  Q_OBJECT
 public:
  explicit ElidedLabel(QWidget* parent = nullptr);
  void setText(const QString& text);
  QString text() const { return m_text; }
  void setElideMode(Qt::TextElideMode mode);
  void setAlignment(Qt::Alignment alignment);
  void setTone(Tone tone);
  QSize sizeHint() const override;
  QSize minimumSizeHint() const override;

 protected:
  void paintEvent(QPaintEvent* event) override;
  void resizeEvent(QResizeEvent* event) override;

 private:
  void updateToolTip();
  QString m_text;
  Qt::TextElideMode m_mode = Qt::ElideRight;
  Qt::Alignment m_alignment = Qt::AlignLeft | Qt::AlignVCenter;
  Tone m_tone = Tone::Plain;
};

/// A themed icon of a fixed size; decoration, so it has no accessible name of its own.
class IconLabel : public QWidget {
  Q_OBJECT
 public:
  explicit IconLabel(const QString& icon, int size, Tone tone, QWidget* parent = nullptr);
  void setIcon(const QString& icon, Tone tone);
  QString iconName() const { return m_icon; }
  QSize sizeHint() const override { return {m_size, m_size}; }

 protected:
  void paintEvent(QPaintEvent* event) override;

 private:
  QString m_icon;
  int m_size;
  Tone m_tone;
};

/// One line that says who is trusted in this session. Never hidden.
class TrustLine : public QWidget {
  Q_OBJECT
 public:
  explicit TrustLine(QWidget* parent = nullptr);
  void setNeutral(const QString& text);
  void setTrust(const QString& text);
  void setInsecure(const QString& text);
  QString text() const;
  bool isInsecure() const { return m_tone == Tone::Warning; }

 protected:
  void paintEvent(QPaintEvent* event) override;

 private:
  void set(const QString& icon, Tone tone, const QString& text);
  IconLabel* m_icon;
  QLabel* m_label;
  Tone m_tone = Tone::Muted;
};

/// Inline message with a next step: an icon, a sentence, at most one action, and a way to close it.
class MessageBar : public QWidget {
  Q_OBJECT
 public:
  explicit MessageBar(QWidget* parent = nullptr);
  /// `key` names the situation, so that it can be withdrawn by clear(key) when it is over.
  void showMessage(const QString& key, Tone tone, const QString& text,
                   const QString& action = QString());
  void clear(const QString& key);
  QString key() const { return isHidden() ? QString() : m_key; }
  QString text() const;
  QString actionText() const;

 Q_SIGNALS:
  void actionTriggered(const QString& key);

 protected:
  void paintEvent(QPaintEvent* event) override;

 private:
  QString m_key;
  Tone m_tone = Tone::Info;
  IconLabel* m_icon;
  QLabel* m_label;
  QPushButton* m_action;
  QToolButton* m_close;
};

/// The column of page buttons at the left edge.
class NavigationRail : public QWidget {
  Q_OBJECT
 public:
  explicit NavigationRail(QWidget* parent = nullptr);
  void addPage(const QString& icon, const QString& title, const QString& description);
  void setCurrent(int index);
  int current() const;

 Q_SIGNALS:
  void currentChanged(int index);

 protected:
  void paintEvent(QPaintEvent* event) override;

 private:
  QVBoxLayout* m_layout;
  QButtonGroup* m_group;
};

/// Shows a picture as large as fits, aspect kept, at the device's pixels.
class PictureView : public QWidget {
  Q_OBJECT
 public:
  explicit PictureView(QWidget* parent = nullptr);
  void setPicture(const QImage& picture, const QString& name);
  /// A text in the picture's place.
  void setPlaceholder(const QString& text);
  bool hasPicture() const { return !m_picture.isNull(); }
  /// Where the picture is drawn.
  QRect pictureRect() const;
  QSize sizeHint() const override { return {360, 320}; }
  QSize minimumSizeHint() const override { return {140, 120}; }

 protected:
  void paintEvent(QPaintEvent* event) override;

 private:
  QImage m_picture;
  QString m_placeholder;
  QPixmap m_scaled;
};

/// A class, a bar, a probability.
class ScoreBars : public QWidget {
  Q_OBJECT
 public:
  static constexpr int kRows = 5;
  explicit ScoreBars(QWidget* parent = nullptr);
  struct Score {
    QString label;
    double probability;
  };
  void setScores(const QVector<Score>& scores);
  void clear();
  int rows() const { return m_count; }

 private:
  struct Row {
    ElidedLabel* label;
    QProgressBar* bar;
    QLabel* percent;
  };
  QVector<Row> m_rows;
  int m_count = 0;
};

/// A number with its name under it.
class CounterTile : public QWidget {
  Q_OBJECT
 public:
  CounterTile(const QString& name, const QString& description, QWidget* parent = nullptr);
  void setValue(const QString& value);
  QString value() const;

 private:
  QString m_name;
  ElidedLabel* m_value;
};

/// Milliseconds of each round of one inference, as bars that appear while it runs.
class LatencyChart : public QWidget {
  Q_OBJECT
 public:
  explicit LatencyChart(QWidget* parent = nullptr);
  /// Empties the chart for `rounds` rounds.
  void begin(int rounds);
  void addRound(int round, double milliseconds);
  void clear() { begin(0); }
  int count() const;
  QSize minimumSizeHint() const override { return {200, 96}; }

 protected:
  void changeEvent(QEvent* event) override;

 private:
  void applyTheme();
  void describe();
  QChart* m_chart;
  QChartView* m_view;
  QBarSeries* m_series;
  QBarSet* m_bars;
  QValueAxis* m_rounds;
  QValueAxis* m_latency;
  QLabel* m_title;
  QLabel* m_empty;
  int m_total = 0;
};

/// Covers the window while something is dragged over it.
class DropOverlay : public QWidget {
  Q_OBJECT
 public:
  explicit DropOverlay(QWidget* parent);
  /// What a drop would do: "Drop to classify".
  void setText(const QString& text) { m_text = text; }

 protected:
  void paintEvent(QPaintEvent* event) override;
  bool eventFilter(QObject* watched, QEvent* event) override;

 private:
  QString m_text = tr("Drop to classify");
};

/// A fingerprint in readable groups; bytes that differ from `other` are bold and underlined.
class FingerprintView : public QWidget {
  Q_OBJECT
 public:
  explicit FingerprintView(const QString& fingerprint, const QString& other = QString(),
                           QWidget* parent = nullptr);
  QString fingerprint() const { return m_fingerprint; }

 protected:
  void paintEvent(QPaintEvent* event) override;

 private:
  QString m_fingerprint;
};

}  // namespace pillarbox::ui

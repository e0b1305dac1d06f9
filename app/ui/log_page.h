// What happened, line by line: levels, a filter, and a bound on how much is kept.
#pragma once

#include <deque>

#include <QAbstractTableModel>
#include <QSortFilterProxyModel>
#include <QTime>
#include <QWidget>

class QComboBox;
class QLabel;
class QLineEdit;
class QTableView;
class QToolButton;

namespace pillarbox::ui {

enum class LogLevel { Debug, Info, Warning, Error };
LogLevel logLevelFromString(const QString& level);

/// The newest kMaxLines lines.
class LogModel : public QAbstractTableModel {
  Q_OBJECT
 public:
  static constexpr int kMaxLines = 5000;
  static constexpr int kMaxLineLength = 2000;
  enum Column { TimeColumn, LevelColumn, MessageColumn, kColumns };
  static constexpr int kLevelRole = Qt::UserRole;

  using QAbstractTableModel::QAbstractTableModel;
  void append(LogLevel level, const QString& line);
  void clear();
  /// "12:31:05.120  warning  text", for the clipboard.
  QString lineText(int row) const;

  int rowCount(const QModelIndex& parent = {}) const override;
  int columnCount(const QModelIndex& parent = {}) const override;
  QVariant data(const QModelIndex& index, int role) const override;
  QVariant headerData(int section, Qt::Orientation orientation, int role) const override;

 private:
  struct Line {
    QTime time;
    LogLevel level;
    QString text;
  };
  std::deque<Line> m_lines;
};

class LogFilter : public QSortFilterProxyModel {
  Q_OBJECT
 public:
  using QSortFilterProxyModel::QSortFilterProxyModel;
  void setLevel(LogLevel level);
  void setText(const QString& text);

 protected:
  bool filterAcceptsRow(int row, const QModelIndex& parent) const override;

 private:
  LogLevel m_level = LogLevel::Info;
  QString m_text;
};

class LogPage : public QWidget {
  Q_OBJECT
 public:
  explicit LogPage(LogModel& model, QWidget* parent = nullptr);

 private:
  void copy();
  void updateCount();

  LogModel& m_model;
  LogFilter* m_filter;
  QComboBox* m_level;
  QLineEdit* m_text;
  QTableView* m_view;
  QLabel* m_count;
};

}  // namespace pillarbox::ui

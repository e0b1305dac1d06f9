#include "app/ui/log_page.h"

#include <algorithm>

#include <QAction>
#include <QClipboard>
#include <QComboBox>
#include <QFontDatabase>
#include <QGuiApplication>
#include <QHBoxLayout>
#include <QHeaderView>
#include <QLabel>
#include <QLineEdit>
#include <QPushButton>
#include <QScrollBar>
#include <QTableView>

#include "app/ui/icons.h"
#include "app/ui/theme.h"
#include "app/ui/widgets.h"

namespace pillarbox::ui {

namespace {

QString levelName(LogLevel level) {
  switch (level) {
    case LogLevel::Debug:
      return LogModel::tr("Debug");
    case LogLevel::Warning:
      return LogModel::tr("Warning");
    case LogLevel::Error:
      return LogModel::tr("Error");
    case LogLevel::Info:
      break;
  }
  return LogModel::tr("Info");
}

}  // namespace

LogLevel logLevelFromString(const QString& level) {
  if (level == QLatin1String("debug")) return LogLevel::Debug;
  if (level == QLatin1String("warning")) return LogLevel::Warning;
  if (level == QLatin1String("error")) return LogLevel::Error;
  return LogLevel::Info;
}

void LogModel::append(LogLevel level, const QString& line) {
  if (m_lines.size() >= kMaxLines) {
    beginRemoveRows({}, 0, 0);
    m_lines.pop_front();
    endRemoveRows();
  }
  QString text = line.left(kMaxLineLength);
  text.replace(QLatin1Char('\n'), QLatin1Char(' '));
  const int row = static_cast<int>(m_lines.size());
  beginInsertRows({}, row, row);
  m_lines.push_back({QTime::currentTime(), level, text});
  endInsertRows();
}

void LogModel::clear() {
  beginResetModel();
  m_lines.clear();
  endResetModel();
}

QString LogModel::lineText(int row) const {
  const Line& line = m_lines.at(static_cast<std::size_t>(row));
  return QStringLiteral("%1  %2  %3")
      .arg(line.time.toString(QStringLiteral("HH:mm:ss.zzz")), levelName(line.level).toLower(),
           line.text);
}

int LogModel::rowCount(const QModelIndex& parent) const {
  return parent.isValid() ? 0 : static_cast<int>(m_lines.size());
}

int LogModel::columnCount(const QModelIndex& parent) const {
  return parent.isValid() ? 0 : kColumns;
}

QVariant LogModel::data(const QModelIndex& index, int role) const {
  if (!index.isValid() || index.row() >= rowCount()) return {};
  const Line& line = m_lines.at(static_cast<std::size_t>(index.row()));
  if (role == kLevelRole) return static_cast<int>(line.level);
  if (role == Qt::ToolTipRole && index.column() == MessageColumn) return line.text;
  if (role == Qt::DisplayRole) {
    switch (index.column()) {
      case TimeColumn:
        return line.time.toString(QStringLiteral("HH:mm:ss.zzz"));
      case LevelColumn:
        return levelName(line.level);
      default:
        return line.text;
    }
  }
  if (role == Qt::ForegroundRole && index.column() == LevelColumn) {
    if (line.level == LogLevel::Warning) return toneColor(Tone::Warning);
    if (line.level == LogLevel::Error) return toneColor(Tone::Error);
    if (line.level == LogLevel::Debug) return toneColor(Tone::Muted);
  }
  if (role == Qt::ForegroundRole && index.column() == TimeColumn) return toneColor(Tone::Muted);
  if (role == Qt::FontRole && index.column() == LevelColumn && line.level >= LogLevel::Warning) {
    QFont bold;
    bold.setBold(true);
    return bold;
  }
  return {};
}

QVariant LogModel::headerData(int section, Qt::Orientation orientation, int role) const {
  if (orientation != Qt::Horizontal) return {};
  if (role == Qt::TextAlignmentRole) return QVariant::fromValue(Qt::AlignLeft | Qt::AlignVCenter);
  if (role != Qt::DisplayRole) return {};
  switch (section) {
    case TimeColumn:
      return tr("Time");
    case LevelColumn:
      return tr("Level");
    default:
      return tr("Message");
  }
}

void LogFilter::setLevel(LogLevel level) {
  m_level = level;
  invalidateFilter();
}

void LogFilter::setText(const QString& text) {
  m_text = text;
  invalidateFilter();
}

bool LogFilter::filterAcceptsRow(int row, const QModelIndex& parent) const {
  const QModelIndex index = sourceModel()->index(row, LogModel::MessageColumn, parent);
  if (sourceModel()->data(index, LogModel::kLevelRole).toInt() < static_cast<int>(m_level)) {
    return false;
  }
  return m_text.isEmpty() || sourceModel()
                                 ->data(index, Qt::DisplayRole)
                                 .toString()
                                 .contains(m_text, Qt::CaseInsensitive);
}

LogPage::LogPage(LogModel& model, QWidget* parent) : QWidget(parent), m_model(model) {
  setAccessibleName(tr("Log"));
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(20, 16, 20, 16);
  layout->setSpacing(12);
  auto* bar = new QHBoxLayout;
  bar->setSpacing(10);
  auto* levelLabel = new QLabel(tr("&Show"), this);
  m_level = new QComboBox(this);
  m_level->addItem(tr("Everything"), static_cast<int>(LogLevel::Debug));
  m_level->addItem(tr("Info and above"), static_cast<int>(LogLevel::Info));
  m_level->addItem(tr("Warnings and errors"), static_cast<int>(LogLevel::Warning));
  m_level->addItem(tr("Errors"), static_cast<int>(LogLevel::Error));
  m_level->setCurrentIndex(1);
  m_level->setAccessibleName(tr("Least level shown"));
  levelLabel->setBuddy(m_level);
  m_text = new QLineEdit(this);
  m_text->setPlaceholderText(tr("Filter by text"));
  m_text->setClearButtonEnabled(true);
  m_text->setAccessibleName(tr("Filter by text"));
  m_text->setAcceptDrops(false);  // drops belong to the window
  auto* copyButton = new QPushButton(icon(QStringLiteral("copy")), tr("&Copy"), this);
  copyButton->setToolTip(tr("Copy the selected lines, or all that are shown"));
  copyButton->setAccessibleDescription(copyButton->toolTip());
  auto* clearButton = new QPushButton(icon(QStringLiteral("trash")), tr("C&lear"), this);
  clearButton->setAccessibleDescription(tr("Remove all lines"));
  bar->addWidget(levelLabel);
  bar->addWidget(m_level);
  bar->addWidget(m_text, 1);
  bar->addWidget(copyButton);
  bar->addWidget(clearButton);

  m_filter = new LogFilter(this);
  m_filter->setSourceModel(&m_model);
  m_view = new QTableView(this);
  m_view->setModel(m_filter);
  m_view->setAccessibleName(tr("Log lines"));
  m_view->setSelectionBehavior(QAbstractItemView::SelectRows);
  m_view->setTabKeyNavigation(false);
  m_view->setShowGrid(false);
  m_view->setWordWrap(false);
  m_view->setTextElideMode(Qt::ElideRight);
  m_view->verticalHeader()->hide();
  m_view->verticalHeader()->setDefaultSectionSize(m_view->fontMetrics().height() + 9);
  m_view->horizontalHeader()->setHighlightSections(false);
  m_view->horizontalHeader()->setSectionResizeMode(QHeaderView::Fixed);
  m_view->horizontalHeader()->setSectionResizeMode(LogModel::MessageColumn, QHeaderView::Stretch);
  m_view->setColumnWidth(
      LogModel::TimeColumn,
      m_view->fontMetrics().horizontalAdvance(QStringLiteral("00:00:00.000")) + 24);
  m_view->setColumnWidth(
      LogModel::LevelColumn,
      m_view->fontMetrics().horizontalAdvance(levelName(LogLevel::Warning)) + 36);
  auto* copyAction = new QAction(tr("Copy"), m_view);
  copyAction->setShortcut(QKeySequence::Copy);
  copyAction->setShortcutContext(Qt::WidgetShortcut);
  m_view->addAction(copyAction);
  m_view->setContextMenuPolicy(Qt::ActionsContextMenu);
  m_count = new QLabel(this);
  m_count->setForegroundRole(QPalette::PlaceholderText);
  layout->addLayout(bar);
  layout->addWidget(m_view, 1);
  layout->addWidget(m_count);

  connect(m_level, &QComboBox::currentIndexChanged, this, [this] {
    m_filter->setLevel(static_cast<LogLevel>(m_level->currentData().toInt()));
    updateCount();
  });
  connect(m_text, &QLineEdit::textChanged, this, [this](const QString& text) {
    m_filter->setText(text);
    updateCount();
  });
  connect(copyButton, &QPushButton::clicked, this, &LogPage::copy);
  connect(copyAction, &QAction::triggered, this, &LogPage::copy);
  connect(clearButton, &QPushButton::clicked, &m_model, &LogModel::clear);
  // Follow the end unless the reader has scrolled up.
  connect(m_filter, &QAbstractItemModel::rowsAboutToBeInserted, this, [this] {
    const QScrollBar* bar = m_view->verticalScrollBar();
    m_view->setProperty("follow", bar->value() >= bar->maximum() - 1);
  });
  connect(m_filter, &QAbstractItemModel::rowsInserted, this, [this] {
    if (m_view->property("follow").toBool()) m_view->scrollToBottom();
    updateCount();
  });
  connect(m_filter, &QAbstractItemModel::modelReset, this, &LogPage::updateCount);
  connect(m_filter, &QAbstractItemModel::rowsRemoved, this, &LogPage::updateCount);
  updateCount();
}

void LogPage::copy() {
  QList<int> rows;
  const QModelIndexList selected = m_view->selectionModel()->selectedRows();
  for (const QModelIndex& index : selected) rows << m_filter->mapToSource(index).row();
  if (rows.isEmpty()) {
    for (int row = 0; row < m_filter->rowCount(); ++row) {
      rows << m_filter->mapToSource(m_filter->index(row, 0)).row();
    }
  }
  std::sort(rows.begin(), rows.end());
  QStringList lines;
  for (const int row : rows) lines << m_model.lineText(row);
  QGuiApplication::clipboard()->setText(lines.join(QLatin1Char('\n')));
}

void LogPage::updateCount() {
  m_count->setText(tr("%1 of %2 lines shown; the newest %3 are kept")
                       .arg(m_filter->rowCount())
                       .arg(m_model.rowCount())
                       .arg(LogModel::kMaxLines));
}

}  // namespace pillarbox::ui

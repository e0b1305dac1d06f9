#include "app/ui/training_page.h"

#include <algorithm>
#include <cmath>

#include <QAction>
#include <QButtonGroup>
#include <QDir>
#include <QFileDialog>
#include <QFileInfo>
#include <QFontDatabase>
#include <QHeaderView>
#include <QImageReader>
#include <QInputDialog>
#include <QJsonArray>
#include <QLabel>
#include <QListWidget>
#include <QLocale>
#include <QMessageBox>
#include <QPainter>
#include <QPlainTextEdit>
#include <QProgressBar>
#include <QPushButton>
#include <QScrollArea>
#include <QStackedWidget>
#include <QStyledItemDelegate>
#include <QTableWidget>
#include <QToolButton>
#include <QVBoxLayout>

#include "app/ui/format.h"
#include "app/ui/icons.h"
#include "app/ui/theme.h"
#include "app/ui/training_charts.h"
#include "app/ui/training_dialogs.h"
#include "app/ui/training_form.h"
#include "app/ui/widgets.h"

namespace pillarbox::ui {

using client::RunRecord;
using client::RunState;
using client::TrainingProcess;

namespace {

constexpr int kListWidth = 262;
constexpr int kCellMargins = 24;
constexpr int kNarrowListWidth = 196;
constexpr int kNarrow = 860;  ///< of the page
enum Role { FolderRole = Qt::UserRole, NameRole, FactsRole, IconRole, ToneRole };
const char kProcessMessage[] = "process";
const char kSilenceMessage[] = "silence";
const char kCommandMessage[] = "command";

QString percent(double ratio, int digits = 1) {
  if (ratio < 0) return QStringLiteral("–");
  return QStringLiteral("%1 %").arg(QLocale().toString(100 * ratio, 'f', digits));
}

QString stateName(const RunRecord& run) {
  switch (run.state) {
    case RunState::New:
      return TrainingPage::tr("Not started");
    case RunState::Running:
      return TrainingPage::tr("Training");
    case RunState::Paused:
      return TrainingPage::tr("Paused");
    case RunState::Stopped:
      return TrainingPage::tr("Stopped");
    case RunState::Elsewhere:
      return TrainingPage::tr("Training in another program");
    case RunState::Interrupted:
      return TrainingPage::tr("Interrupted");
    case RunState::Failed:
      return TrainingPage::tr("Failed");
    case RunState::Finished:
      return TrainingPage::tr("Finished");
  }
  return {};
}

QPair<QString, Tone> stateLook(RunState state) {
  switch (state) {
    case RunState::Running:
    case RunState::Elsewhere:
      return {QStringLiteral("play"), Tone::Accent};
    case RunState::Paused:
      return {QStringLiteral("pause"), Tone::Warning};
    case RunState::Failed:
      return {QStringLiteral("error"), Tone::Error};
    case RunState::Interrupted:
      return {QStringLiteral("warning"), Tone::Warning};
    case RunState::Finished:
      return {QStringLiteral("check"), Tone::Success};
    case RunState::New:
    case RunState::Stopped:
      break;
  }
  return {QStringLiteral("stop"), Tone::Muted};
}

/// The dashed area that asks for data.
class DataArea : public QWidget {
 public:
  using QWidget::QWidget;

 protected:
  void paintEvent(QPaintEvent*) override {
    QPainter painter(this);
    painter.setRenderHint(QPainter::Antialiasing);
    painter.setBrush(colors().surface);
    QPen pen(colors().control, 1.5);
    pen.setDashPattern({5, 4});
    painter.setPen(pen);
    painter.drawRoundedRect(QRectF(rect()).adjusted(1, 1, -1, -1), 14, 14);
  }
};

QScrollArea* scrolling(QWidget* content, QWidget* parent) {
  auto* scroll = new QScrollArea(parent);
  scroll->setFrameShape(QFrame::NoFrame);
  scroll->setWidgetResizable(true);
  scroll->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  scroll->viewport()->setAutoFillBackground(false);
  scroll->setFocusPolicy(Qt::NoFocus);
  scroll->setWidget(content);
  content->setAutoFillBackground(false);  // setWidget() set it
  return scroll;
}

void plainTable(QTableWidget* table) {
  table->verticalHeader()->hide();
  table->setShowGrid(false);
  table->setAlternatingRowColors(true);
  table->setEditTriggers(QAbstractItemView::NoEditTriggers);
  table->setSelectionBehavior(QAbstractItemView::SelectRows);
  table->setFrameShape(QFrame::NoFrame);
  table->setTabKeyNavigation(false);
  table->horizontalHeader()->setHighlightSections(false);
  table->horizontalHeader()->setDefaultAlignment(Qt::AlignLeft | Qt::AlignVCenter);
}

/// A run in the list: an icon for its state, its name, and what is known of it below.
class RunDelegate : public QStyledItemDelegate {
 public:
  using QStyledItemDelegate::QStyledItemDelegate;
  QSize sizeHint(const QStyleOptionViewItem& option, const QModelIndex&) const override {
    return {0, 2 * option.fontMetrics.height() + 18};
  }
  void paint(QPainter* painter, const QStyleOptionViewItem& option,
             const QModelIndex& index) const override {
    const ThemeColors& c = colors();
    painter->save();
    painter->setRenderHint(QPainter::Antialiasing);
    const QRectF box = QRectF(option.rect).adjusted(1, 1, -1, -1);
    const bool selected = option.state & QStyle::State_Selected;
    const bool focus = option.state & QStyle::State_HasFocus;
    painter->setPen(focus ? QPen(c.accent, 2) : QPen(Qt::NoPen));
    painter->setBrush(selected                                 ? c.accentSoft
                      : option.state & QStyle::State_MouseOver ? c.sunken
                                                               : QColor(Qt::transparent));
    painter->drawRoundedRect(box.adjusted(1, 1, -1, -1), 7, 7);
    const int side = 20;
    const auto tone = static_cast<Tone>(index.data(ToneRole).toInt());
    painter->drawPixmap(option.rect.left() + 9, option.rect.center().y() - side / 2 + 1,
                        iconPixmap(index.data(IconRole).toString(), side,
                                   painter->device()->devicePixelRatio(), toneColor(tone)));
    const QRect text = option.rect.adjusted(side + 18, 8, -8, -8);
    const auto line = [&](int role, const QFont& font, const QColor& color, Qt::Alignment where) {
      painter->setFont(font);
      painter->setPen(color);
      painter->drawText(
          text, where | Qt::TextSingleLine,
          QFontMetrics(font).elidedText(index.data(role).toString(), Qt::ElideRight, text.width()));
    };
    line(NameRole, scaledFont(option.font, 1, QFont::DemiBold), c.text, Qt::AlignTop);
    line(FactsRole, scaledFont(option.font, 0.9), c.muted, Qt::AlignBottom);
    painter->restore();
  }
};

QVector<QPointF> curve(const RunRecord& run, double client::EpochRecord::*value, double factor) {
  QVector<QPointF> points;
  for (const client::EpochRecord& epoch : run.history) {
    points << QPointF(epoch.epoch, factor * (epoch.*value));
  }
  return points;
}

}  // namespace

TrainingPage::TrainingPage(const QString& runsFolder, const QString& program, QWidget* parent)
    : QWidget(parent),
      m_runsFolder(runsFolder),
      m_program(program.isEmpty() ? TrainingProcess::findProgram() : program),
      m_process(new TrainingProcess(m_program, this)),
      m_lastFolder(QDir::homePath()) {
  setAccessibleName(tr("Training"));
  m_pool.setMaxThreadCount(1);
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(20, 10, 20, 16);
  layout->setSpacing(10);
  m_message = new MessageBar(this);
  layout->addWidget(m_message);
  auto* columns = new QHBoxLayout;
  columns->setSpacing(14);
  columns->addWidget(buildRuns());
  m_pages = new QStackedWidget(this);
  m_pages->addWidget(buildEmpty());
  m_form = new TrainingForm(m_runsFolder, m_program, this);
  connect(m_form, &TrainingForm::folderWanted, this, &TrainingPage::chooseFolder);
  connect(m_form, &TrainingForm::filesWanted, this, &TrainingPage::chooseFiles);
  connect(m_form, &TrainingForm::startRequested, this, &TrainingPage::startRun);
  connect(m_form, &TrainingForm::cancelled, this, [this] {
    m_pages->setCurrentIndex(m_runs.isEmpty() ? EmptyPage : RunPage);
    onSelection();
  });
  connect(m_form, &TrainingForm::failed, this, [this](const QString& why) {
    m_message->showMessage(kCommandMessage, Tone::Error, sentence(why));
  });
  m_pages->addWidget(scrolling(m_form, this));
  m_pages->addWidget(buildRun());
  m_pages->addWidget(buildCompare());
  columns->addWidget(m_pages, 1);
  layout->addLayout(columns, 1);

  connect(m_process, &TrainingProcess::event, this, &TrainingPage::onEvent);
  connect(m_process, &TrainingProcess::ended, this, &TrainingPage::onEnded);
  connect(m_process, &TrainingProcess::stateChanged, this, [this] { refreshRun(); });
  connect(m_process, &TrainingProcess::unresponsive, this, [this](const QString& message) {
    m_message->showMessage(kSilenceMessage, Tone::Warning, message, tr("End it &now"));
  });
  connect(m_message, &MessageBar::actionTriggered, this, [this](const QString& key) {
    if (key == QLatin1String(kSilenceMessage) && training()) m_process->kill();
    m_message->clear(key);
  });
  reload();
}

TrainingPage::~TrainingPage() {
  m_process->disconnect(this);
  m_pool.clear();
  m_pool.waitForDone();
}

void TrainingPage::resizeEvent(QResizeEvent* event) {
  QWidget::resizeEvent(event);
  const bool narrow = width() < kNarrow;
  m_runsCard->setFixedWidth(narrow ? kNarrowListWidth : kListWidth);
  m_best->setVisible(!narrow);
  m_lost->setVisible(!narrow);
  m_compareOutside->setVisible(!narrow);  // the table says it too
  placeCharts(narrow ? 1 : 2);
  if (m_pages->currentIndex() == ComparePage) refreshCompare();
  for (QPushButton* button : {m_try, m_export, m_deploy}) {
    button->setText(narrow ? QString() : m_texts.value(button));
  }
}

bool TrainingPage::training() const {
  return m_process->state() != TrainingProcess::State::Idle;
}

QWidget* TrainingPage::buildRuns() {
  auto* card = new Card(this);
  m_runsCard = card;
  card->setFixedWidth(kListWidth);
  auto* layout = new QVBoxLayout(card);
  layout->setContentsMargins(10, 10, 10, 10);
  layout->setSpacing(8);
  auto* row = new QHBoxLayout;
  auto* title = new QLabel(tr("Runs"), card);
  title->setFont(scaledFont(font(), 1.15, QFont::DemiBold));
  m_new = new QPushButton(icon(QStringLiteral("add")), tr("&New run"), card);
  m_new->setAccessibleDescription(tr("Choose data and settings for a new training run"));
  connect(m_new, &QPushButton::clicked, this, &TrainingPage::showForm);
  row->addWidget(title, 1);
  row->addWidget(m_new);
  m_list = new QListWidget(card);
  m_list->setAccessibleName(tr("Training runs"));
  m_list->setAccessibleDescription(tr("Select one to look at it, two to compare them"));
  m_list->setFrameShape(QFrame::NoFrame);
  m_list->setSelectionMode(QAbstractItemView::ExtendedSelection);
  m_list->setUniformItemSizes(true);
  m_list->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  m_list->setMouseTracking(true);
  m_list->setItemDelegate(new RunDelegate(m_list));
  connect(m_list, &QListWidget::itemSelectionChanged, this, &TrainingPage::onSelection);
  m_delete = new QAction(icon(QStringLiteral("trash")), tr("Delete…"), this);
  m_delete->setToolTip(tr("Move the selected runs to the trash"));
  m_delete->setShortcut(QKeySequence::Delete);
  m_delete->setShortcutContext(Qt::WidgetShortcut);
  m_delete->setEnabled(false);
  connect(m_delete, &QAction::triggered, this, &TrainingPage::deleteRuns);
  m_list->addAction(m_delete);
  m_list->setContextMenuPolicy(Qt::ActionsContextMenu);
  auto* remove = new QToolButton(card);
  remove->setDefaultAction(m_delete);
  remove->setAutoRaise(true);
  remove->setAccessibleName(tr("Delete the selected runs"));
  auto* hint = mutedLabel(tr("Select two to compare them (Ctrl+click)."), card, 0.88);
  auto* last = new QHBoxLayout;
  last->addWidget(hint, 1);
  last->addWidget(remove, 0, Qt::AlignBottom);
  layout->addLayout(row);
  layout->addWidget(m_list, 1);
  layout->addLayout(last);
  return card;
}

QWidget* TrainingPage::buildEmpty() {
  auto* area = new DataArea(this);
  auto* layout = new QVBoxLayout(area);
  layout->setContentsMargins(24, 24, 24, 24);
  layout->setSpacing(8);
  auto* title = new QLabel(tr("Train a model on your images"), area);
  title->setFont(scaledFont(font(), 1.7, QFont::DemiBold));
  title->setAlignment(Qt::AlignCenter);
  title->setWordWrap(true);
  auto* text =
      mutedLabel(tr("Drop a folder or zip with one folder of images for each class, "
                    "or CIFAR's binary files. A part is set aside for testing where there is "
                    "no “test” folder. The images stay on this machine."),
                 area, 1.05);
  text->setAlignment(Qt::AlignCenter);
  auto* folder = new QPushButton(icon(QStringLiteral("open")), tr("Choose a &folder…"), area);
  folder->setProperty("primary", true);
  connect(folder, &QPushButton::clicked, this, &TrainingPage::chooseFolder);
  auto* zip = new QPushButton(tr("Choose &zip files…"), area);
  connect(zip, &QPushButton::clicked, this, &TrainingPage::chooseFiles);
  auto* buttons = new QHBoxLayout;
  buttons->addStretch(1);
  buttons->addWidget(folder);
  buttons->addWidget(zip);
  buttons->addStretch(1);
  layout->addStretch(1);
  layout->addWidget(new IconLabel(QStringLiteral("layers"), 56, Tone::Accent, area), 0,
                    Qt::AlignHCenter);
  layout->addSpacing(4);
  layout->addWidget(title);
  layout->addWidget(text);
  layout->addSpacing(10);
  layout->addLayout(buttons);
  layout->addStretch(1);
  return area;
}

QWidget* TrainingPage::buildRun() {
  auto* page = new QWidget(this);
  auto* layout = new QVBoxLayout(page);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(10);
  layout->addWidget(buildActions());
  m_progress = new QProgressBar(page);
  m_progress->setTextVisible(false);
  m_progress->setFixedHeight(6);
  m_progress->setRange(0, 1000);
  m_progress->setAccessibleName(tr("Progress of the run"));
  layout->addWidget(m_progress);

  auto* tiles = new Card(page);
  auto* row = new QHBoxLayout(tiles);
  row->setContentsMargins(16, 10, 16, 10);
  row->setSpacing(16);
  const auto tile = [&](const QString& name, const QString& tip) {
    auto* made = new CounterTile(name, tip, tiles);
    row->addWidget(made, 1);
    return made;
  };
  m_accuracy = tile(tr("Test accuracy"), tr("Of the last finished epoch, as the network is used"));
  m_best = tile(tr("Best so far"), tr("The best test accuracy; that checkpoint is kept"));
  m_loss = tile(tr("Training loss"), tr("Of the last finished epoch"));
  m_outside = tile(tr("Out of range"), tr("Share of activation inputs beyond −B to B"));
  m_lost = tile(tr("Images lost"), tr("Share of test images on which the values ran away"));
  m_left = tile(tr("Time left"), tr("Estimated from the speed so far"));
  layout->addWidget(tiles);
  layout->addWidget(buildViews(), 1);
  return page;
}

QWidget* TrainingPage::buildActions() {
  auto* box = new QWidget(this);
  auto* layout = new QVBoxLayout(box);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(6);
  auto* line = new QHBoxLayout;
  line->setSpacing(8);
  m_stateIcon = new IconLabel(QStringLiteral("clock"), 24, Tone::Muted, box);
  m_stateLine = new ElidedLabel(box);
  m_stateLine->setFont(scaledFont(font(), 1.35, QFont::DemiBold));
  m_stateLine->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
  const auto button = [&](const QString& iconName, const QString& text, const QString& what) {
    auto* made = new QPushButton(icon(iconName), text, box);
    made->setToolTip(what);
    made->setAccessibleDescription(what);
    return made;
  };
  m_pause = button(QStringLiteral("pause"), tr("&Pause"),
                   tr("Write a checkpoint and compute nothing until you continue"));
  m_stop = button(QStringLiteral("stop"), tr("&Stop"),
                  tr("Write a checkpoint and end; the run can be resumed"));
  m_end = button(QStringLiteral("cancel"), tr("End &now"),
                 tr("End the process without a checkpoint; what the last one holds is kept"));
  m_resume = button(QStringLiteral("play"), tr("&Resume"), tr("Go on from the last checkpoint"));
  m_resume->setProperty("primary", true);
  m_extend = button(QStringLiteral("add"), tr("E&xtend…"), tr("Train for more epochs"));
  line->addWidget(m_stateIcon);
  line->addWidget(m_stateLine, 1);
  for (QPushButton* made : {m_pause, m_stop, m_end, m_resume, m_extend}) line->addWidget(made);
  connect(m_pause, &QPushButton::clicked, this, [this] {
    if (m_process->state() == TrainingProcess::State::Paused) {
      m_process->proceed();
    } else {
      m_process->pause();
    }
  });
  connect(m_stop, &QPushButton::clicked, m_process, &TrainingProcess::stop);
  connect(m_end, &QPushButton::clicked, m_process, &TrainingProcess::kill);
  connect(m_resume, &QPushButton::clicked, this, [this] { resumeRun(0); });
  connect(m_extend, &QPushButton::clicked, this, &TrainingPage::extendRun);

  auto* second = new QHBoxLayout;
  second->setSpacing(8);
  m_detailLine = new ElidedLabel(box);
  m_detailLine->setTone(Tone::Muted);
  m_detailLine->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
  m_try = button(QStringLiteral("image"), tr("Try an &image…"),
                 tr("Let the best checkpoint classify an image on this machine"));
  m_export = button(QStringLiteral("layers"), tr("&Export…"),
                    tr("Write the best checkpoint as a model file (ONNX)"));
  m_deploy = button(QStringLiteral("server"), tr("&Deploy…"),
                    tr("Export the best checkpoint and send it to an engine"));
  connect(m_try, &QPushButton::clicked, this, &TrainingPage::chooseImage);
  connect(m_export, &QPushButton::clicked, this, &TrainingPage::chooseExport);
  connect(m_deploy, &QPushButton::clicked, this, [this] {
    const RunRecord* run = shown();
    if (run == nullptr) return;
    exportRun(QDir(run->folder).filePath(run->name + QStringLiteral(".onnx")), true);
  });
  second->addWidget(m_detailLine, 1);
  for (QPushButton* made : {m_try, m_export, m_deploy}) {
    m_texts.insert(made, made->text());
    made->setAccessibleName(QString(made->text()).remove(QLatin1Char('&')));
    second->addWidget(made);
  }
  layout->addLayout(line);
  layout->addLayout(second);
  return box;
}

QWidget* TrainingPage::buildViews() {
  auto* card = new Card(this);
  auto* layout = new QVBoxLayout(card);
  layout->setContentsMargins(14, 8, 14, 12);
  layout->setSpacing(8);
  auto* bar = new QHBoxLayout;
  bar->setSpacing(4);
  m_tabs = new QButtonGroup(this);
  m_views = new QStackedWidget(card);
  const auto add = [&](const QString& name, QWidget* view) {
    auto* tab = new QToolButton(card);
    tab->setText(name);
    tab->setCheckable(true);
    tab->setAutoRaise(true);
    tab->setFocusPolicy(Qt::StrongFocus);
    m_tabs->addButton(tab, m_views->addWidget(view));
    bar->addWidget(tab);
  };

  auto* curves = new QWidget(card);
  auto* grid = new QGridLayout(curves);
  grid->setContentsMargins(0, 0, 0, 0);
  grid->setSpacing(16);
  const QStringList both{tr("training"), tr("test")};
  m_accuracyChart = new CurveChart(tr("Accuracy"), CurveChart::Unit::Percent, both, curves);
  m_lossChart = new CurveChart(tr("Loss"), CurveChart::Unit::Number, both, curves);
  m_penaltyChart =
      new CurveChart(tr("Penalty"), CurveChart::Unit::Number, {tr("training")}, curves);
  m_outsideChart = new CurveChart(tr("Out of range"), CurveChart::Unit::Percent,
                                  {tr("inputs"), tr("images lost")}, curves);
  m_curves = grid;
  placeCharts(2);
  add(tr("Curves"), scrolling(curves, card));

  m_confusion = new ConfusionView(card);
  add(tr("Confusion"), m_confusion);

  m_ranges = new RangeView(card);
  add(tr("Ranges"), scrolling(m_ranges, card));

  auto* data = new QWidget(card);
  auto* dataLayout = new QVBoxLayout(data);
  dataLayout->setContentsMargins(0, 0, 0, 0);
  m_dataText = mutedLabel({}, data);
  m_classes = new QTableWidget(0, 3, data);
  m_classes->setAccessibleName(tr("Classes"));
  m_classes->setHorizontalHeaderLabels({tr("Class"), tr("Training images"), tr("Test accuracy")});
  plainTable(m_classes);
  m_classes->horizontalHeader()->setSectionResizeMode(0, QHeaderView::Stretch);
  m_classes->horizontalHeader()->setSectionResizeMode(1, QHeaderView::ResizeToContents);
  m_classes->horizontalHeader()->setSectionResizeMode(2, QHeaderView::ResizeToContents);
  dataLayout->addWidget(m_dataText);
  dataLayout->addWidget(m_classes, 1);
  add(tr("Data"), data);

  m_log = new QPlainTextEdit(card);
  m_log->setReadOnly(true);
  m_log->setFrameShape(QFrame::NoFrame);
  m_log->setMaximumBlockCount(2000);
  m_log->setAccessibleName(tr("Log of the run"));
  m_log->setFont(QFontDatabase::systemFont(QFontDatabase::FixedFont));
  m_log->setPlaceholderText(tr("What happens in the run is written here."));
  add(tr("Log"), m_log);

  bar->addStretch(1);
  connect(m_tabs, &QButtonGroup::idClicked, m_views, &QStackedWidget::setCurrentIndex);
  m_tabs->button(0)->setChecked(true);
  layout->addLayout(bar);
  layout->addWidget(m_views, 1);
  return card;
}

void TrainingPage::placeCharts(int columns) {
  int place = 0;
  for (CurveChart* chart : {m_accuracyChart, m_lossChart, m_penaltyChart, m_outsideChart}) {
    m_curves->addWidget(chart, place / columns, place % columns);
    ++place;
  }
  m_curves->setColumnStretch(0, 1);  // whatever their labels would like
  m_curves->setColumnStretch(1, columns - 1);
}

QWidget* TrainingPage::buildCompare() {
  auto* page = new QWidget(this);
  auto* layout = new QVBoxLayout(page);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(12);
  auto* title = new QLabel(tr("Comparison"), page);
  title->setFont(scaledFont(font(), 1.35, QFont::DemiBold));
  layout->addWidget(title);
  auto* charts = new Card(page);
  auto* row = new QHBoxLayout(charts);
  row->setContentsMargins(16, 12, 16, 12);
  row->setSpacing(16);
  m_compareAccuracy = new CurveChart(tr("Test accuracy"), CurveChart::Unit::Percent, {}, charts);
  m_compareOutside = new CurveChart(tr("Out of range"), CurveChart::Unit::Percent, {}, charts);
  row->addWidget(m_compareAccuracy);
  row->addWidget(m_compareOutside);
  layout->addWidget(charts, 1);
  auto* card = new Card(page);
  auto* cardLayout = new QVBoxLayout(card);
  cardLayout->setContentsMargins(8, 8, 8, 8);
  m_compareTable = new QTableWidget(0, 3, card);
  m_compareTable->setAccessibleName(tr("Differences"));
  plainTable(m_compareTable);
  m_compareTable->horizontalHeader()->setSectionResizeMode(QHeaderView::Stretch);
  cardLayout->addWidget(m_compareTable);
  layout->addWidget(card, 1);
  return page;
}

// Choosing data and starting

void TrainingPage::chooseFolder() {
  const QString folder =
      QFileDialog::getExistingDirectory(this, tr("Images by class"), m_lastFolder);
  if (!folder.isEmpty()) useData({folder});
}

void TrainingPage::chooseFiles() {
  const QStringList files = QFileDialog::getOpenFileNames(this, tr("Zip files of images by class"),
                                                          m_lastFolder, tr("Zip files (*.zip)"));
  if (!files.isEmpty()) useData(files);
}

void TrainingPage::useData(const QStringList& paths) {
  QStringList good;
  for (const QString& path : paths) {
    const QFileInfo info(path);
    const bool zip = info.suffix().compare(QLatin1String("zip"), Qt::CaseInsensitive) == 0;
    if (info.isDir() || (info.isFile() && zip)) good << info.absoluteFilePath();
  }
  if (good.isEmpty()) {
    m_message->showMessage(kCommandMessage, Tone::Warning,
                           tr("That is neither a folder nor a zip file. Drop the folder that holds "
                              "one folder of images for each class."));
    return;
  }
  m_data = good;
  m_lastFolder = QFileInfo(good.first()).absolutePath();
  m_message->clear(kCommandMessage);
  showForm();
}

void TrainingPage::showForm() {
  m_form->setData(m_data);
  m_pages->setCurrentIndex(FormPage);
  m_form->prepare(m_runs);
}

void TrainingPage::startRun(const client::TrainingRequest& request) {
  RunRecord run;
  run.folder = request.folder;
  run.name = QFileInfo(request.folder).fileName();
  run.network = request.network;
  run.polynomial = request.polynomial;
  run.epochs = request.epochs;
  run.started = QDateTime::currentDateTime();
  run.state = RunState::Running;
  m_runs.prepend(run);
  m_shown = run.folder;
  m_shownLog = run.folder;
  m_log->clear();
  m_message->clear(kProcessMessage);
  m_message->clear(kCommandMessage);
  m_pages->setCurrentIndex(RunPage);
  m_process->train(request);
  refreshList();
  refreshRun();
}

void TrainingPage::resumeRun(int epochs) {
  RunRecord* run = find(m_shown);
  if (run == nullptr || training()) return;
  run->state = RunState::Running;
  run->problem.clear();
  if (epochs > 0) run->epochs = epochs;
  m_message->clear(kProcessMessage);
  m_process->resume(run->folder, epochs);
  refreshList();
  refreshRun();
}

void TrainingPage::extendRun() {
  const RunRecord* run = shown();
  if (run == nullptr || training()) return;
  auto* dialog = new QInputDialog(this);
  dialog->setAttribute(Qt::WA_DeleteOnClose);
  dialog->setWindowTitle(tr("Extend the run"));
  dialog->setLabelText(tr("How many epochs shall “%1” have in all? It has finished %2.")
                           .arg(run->name)
                           .arg(run->finishedEpochs()));
  dialog->setInputMode(QInputDialog::IntInput);
  dialog->setIntRange(run->finishedEpochs() + 1, 100000);
  dialog->setIntValue(std::max(run->epochs, run->finishedEpochs()) + 10);
  dialog->setOkButtonText(tr("Extend and train"));
  connect(dialog, &QInputDialog::intValueSelected, this, [this](int value) { resumeRun(value); });
  dialog->open();
}

void TrainingPage::deleteRuns() {
  QStringList folders, names;
  for (const QListWidgetItem* item : m_list->selectedItems()) {
    folders << item->data(FolderRole).toString();
    names << item->data(NameRole).toString();
  }
  if (folders.isEmpty()) return;
  auto* box = new QMessageBox(
      QMessageBox::NoIcon, tr("Delete training runs"),
      folders.size() == 1
          ? tr("Move “%1” to the trash, with its checkpoints and its log?").arg(names.first())
          : tr("Move these %1 runs to the trash, with their checkpoints and logs: %2?")
                .arg(folders.size())
                .arg(names.join(QStringLiteral(", "))),
      QMessageBox::NoButton, this);
  box->setAttribute(Qt::WA_DeleteOnClose);
  box->setInformativeText(
      tr("Model files that were exported elsewhere and models on engines stay."));
  QPushButton* yes = box->addButton(tr("&Delete"), QMessageBox::AcceptRole);
  QPushButton* no = box->addButton(tr("&Keep"), QMessageBox::RejectRole);
  box->setDefaultButton(no);
  connect(box, &QMessageBox::buttonClicked, this, [this, yes, folders](QAbstractButton* button) {
    if (button != yes) return;
    for (const QString& folder : folders) {
      const QString problem = client::removeRun(folder);
      if (!problem.isEmpty()) {
        m_message->showMessage(kCommandMessage, Tone::Error, problem);
        Q_EMIT logged(QStringLiteral("error"), problem);
        continue;
      }
      Q_EMIT logged(QStringLiteral("info"),
                    tr("The run in %1 was moved to the trash.").arg(folder));
      m_runs.removeIf([&folder](const RunRecord& run) { return run.folder == folder; });
      if (m_shown == folder) m_shown.clear();
    }
    if (m_shown.isEmpty()) {
      m_list->clearSelection();
      m_pages->setCurrentIndex(m_data.isEmpty() ? EmptyPage : FormPage);
    }
    refreshList();
    refreshRun();
  });
  box->open();
}

void TrainingPage::chooseExport() {
  const RunRecord* run = shown();
  if (run == nullptr) return;
  const QString file = QFileDialog::getSaveFileName(
      this, tr("Export the model"),
      QDir(m_lastFolder).filePath(run->name + QStringLiteral(".onnx")), tr("Model files (*.onnx)"));
  if (!file.isEmpty()) exportRun(file, false);
}

void TrainingPage::exportRun(const QString& file, bool deploy) {
  const RunRecord* run = shown();
  if (run == nullptr || m_commanding) return;
  auto* command =
      new client::TrainingCommand(m_program,
                                  {QStringLiteral("export"), run->folder, QStringLiteral("--out"),
                                   file, QStringLiteral("--checkpoint"),
                                   run->hasBest ? QStringLiteral("best") : QStringLiteral("last")},
                                  this);
  m_commanding = true;
  m_message->showMessage(kCommandMessage, Tone::Info, tr("Exporting “%1”…").arg(run->name));
  connect(command, &client::TrainingCommand::succeeded, this,
          [this, file, deploy](const QVector<QJsonObject>& objects) {
            m_commanding = false;
            refreshActions();
            const QJsonObject facts = objects.isEmpty() ? QJsonObject() : objects.last();
            QString text = tr("Exported to %1: %2 round trips an image, %3 weights.")
                               .arg(QDir::toNativeSeparators(file))
                               .arg(facts[QStringLiteral("rounds")].toInt())
                               .arg(formatCount(facts[QStringLiteral("weights")].toInteger()));
            const QJsonObject report = facts[QStringLiteral("report")].toObject();
            if (const QJsonValue fixed = report[QStringLiteral("fixed_point_accuracy")];
                fixed.isDouble()) {
              text +=
                  tr(" In fixed point, as the engine computes, %1 of %2 test images are right.")
                      .arg(percent(fixed.toDouble()),
                           formatCount(report[QStringLiteral("fixed_point_images")].toInteger()));
            }
            Q_EMIT logged(QStringLiteral("info"), text);
            if (deploy) {
              m_message->clear(kCommandMessage);
              Q_EMIT deployRequested(file);
            } else {
              m_message->showMessage(kCommandMessage, Tone::Success, text);
            }
          });
  connect(command, &client::TrainingCommand::failed, this, [this](const QString& why) {
    m_commanding = false;
    refreshActions();
    m_message->showMessage(kCommandMessage, Tone::Error,
                           tr("The model was not exported. %1").arg(sentence(why)));
  });
  refreshActions();
  command->start();
}

void TrainingPage::chooseImage() {
  QStringList patterns;
  for (const char* type : {"png", "jpg", "jpeg", "bmp", "gif", "PNG", "JPG", "JPEG"}) {
    patterns << QStringLiteral("*.%1").arg(QLatin1String(type));
  }
  const QString file =
      QFileDialog::getOpenFileName(this, tr("Try an image"), m_lastFolder,
                                   tr("Images (%1)").arg(patterns.join(QLatin1Char(' '))));
  if (file.isEmpty()) return;
  m_lastFolder = QFileInfo(file).absolutePath();
  tryImage(file);
}

void TrainingPage::tryImage(const QString& file) {
  const RunRecord* run = shown();
  if (run == nullptr || m_commanding) return;
  m_commanding = true;
  refreshActions();
  auto* command = new client::TrainingCommand(
      m_program,
      {QStringLiteral("classify"), run->folder, file, QStringLiteral("--checkpoint"),
       run->hasBest ? QStringLiteral("best") : QStringLiteral("last")},
      this);
  connect(command, &client::TrainingCommand::succeeded, this,
          [this, file](const QVector<QJsonObject>& objects) {
            m_commanding = false;
            refreshActions();
            if (objects.isEmpty()) return;
            auto* dialog = new TryImageDialog(file, objects.last(), this);
            dialog->setAttribute(Qt::WA_DeleteOnClose);
            dialog->open();
          });
  connect(command, &client::TrainingCommand::failed, this, [this](const QString& why) {
    m_commanding = false;
    refreshActions();
    m_message->showMessage(kCommandMessage, Tone::Error,
                           tr("The image was not classified. %1").arg(sentence(why)));
  });
  command->start();
}

// What happens

RunRecord* TrainingPage::find(const QString& folder) {
  for (RunRecord& run : m_runs) {
    if (run.folder == folder) return &run;
  }
  return nullptr;
}

const RunRecord* TrainingPage::shown() {
  return find(m_shown);
}

void TrainingPage::appendLog(const QString& line) {
  m_log->appendPlainText(
      QDateTime::currentDateTime().toString(QStringLiteral("yyyy-MM-dd HH:mm:ss  ")) + line);
}

void TrainingPage::onEvent(const QJsonObject& event) {
  if (m_process->state() != TrainingProcess::State::Stopping) m_message->clear(kSilenceMessage);
  RunRecord* run = find(QFileInfo(m_process->folder()).absoluteFilePath());
  if (run == nullptr) return;
  const QString line = run->apply(event);
  if (!line.isEmpty()) {
    if (m_shown == run->folder) appendLog(line);
    Q_EMIT logged(QStringLiteral("info"), QStringLiteral("%1: %2").arg(run->name, line));
    refreshList();
  }
  if (m_shown == run->folder) refreshRun();
}

void TrainingPage::onEnded(const QString& problem) {
  RunRecord* run = find(QFileInfo(m_process->folder()).absoluteFilePath());
  m_message->clear(kProcessMessage);
  m_message->clear(kSilenceMessage);
  if (run != nullptr) {
    run->secondsLeft = -1;
    if (!problem.isEmpty()) {
      const bool nothing = !QFileInfo::exists(QDir(run->folder).filePath("config.json"));
      run->problem = problem;
      if (run->state != RunState::Failed && run->hasLast) run->state = RunState::Interrupted;
      if (!run->hasLast) run->state = RunState::Failed;
      if (m_shown == run->folder) appendLog(problem);
      m_message->showMessage(kProcessMessage, Tone::Error,
                             tr("%1: %2").arg(run->name, sentence(problem)));
      Q_EMIT logged(QStringLiteral("error"), QStringLiteral("%1: %2").arg(run->name, problem));
      if (nothing) {  // the run never came to be
        const QString folder = run->folder;
        m_runs.removeIf([&folder](const RunRecord& other) { return other.folder == folder; });
        if (m_shown == folder) {
          m_shown.clear();
          m_pages->setCurrentIndex(m_data.isEmpty() ? EmptyPage : FormPage);
        }
      }
    } else if (run->active()) {
      run->state = RunState::Stopped;
    }
  }
  refreshList();
  refreshRun();
}

void TrainingPage::reload() {
  const quint64 generation = ++m_generation;
  m_pool.start([this, generation, root = m_runsFolder] {
    const QVector<RunRecord> runs = client::readRuns(root);
    QMetaObject::invokeMethod(
        this,
        [this, generation, runs] {
          if (generation == m_generation) showRuns(runs);
        },
        Qt::QueuedConnection);
  });
}

void TrainingPage::showRuns(const QVector<RunRecord>& runs) {
  const QString live = training() ? QFileInfo(m_process->folder()).absoluteFilePath() : QString();
  QVector<RunRecord> next;
  if (const RunRecord* run = find(live); run != nullptr) next << *run;
  for (const RunRecord& run : runs) {
    if (run.folder == live) continue;
    next << run;
    if (const RunRecord* before = find(run.folder);
        before != nullptr && run.state == RunState::Interrupted) {
      next.last().problem = before->problem;  // the folder does not tell why
    }
  }
  m_runs = next;
  if (find(m_shown) == nullptr) m_shown = m_runs.isEmpty() ? QString() : m_runs.first().folder;
  refreshList();
  if (m_pages->currentIndex() != FormPage) {
    m_pages->setCurrentIndex(m_runs.isEmpty() ? EmptyPage : RunPage);
  }
  refreshRun();
}

void TrainingPage::onSelection() {
  if (m_listing) return;
  const auto selected = m_list->selectedItems();
  if (selected.size() == 2) {
    m_pages->setCurrentIndex(ComparePage);
    refreshCompare();
    refreshActions();
    return;
  }
  if (selected.isEmpty()) {
    refreshActions();
    return;
  }
  m_shown = m_list->currentItem() != nullptr && m_list->currentItem()->isSelected()
                ? m_list->currentItem()->data(FolderRole).toString()
                : selected.first()->data(FolderRole).toString();
  m_pages->setCurrentIndex(RunPage);
  refreshRun();
}

void TrainingPage::refreshList() {
  m_listing = true;
  QStringList selected;
  for (const QListWidgetItem* item : m_list->selectedItems()) {
    selected << item->data(FolderRole).toString();
  }
  if (selected.size() < 2) selected = QStringList{m_shown};
  while (m_list->count() > m_runs.size()) delete m_list->takeItem(m_list->count() - 1);
  while (m_list->count() < m_runs.size()) m_list->addItem(new QListWidgetItem);
  for (int i = 0; i < m_runs.size(); ++i) {
    const RunRecord& run = m_runs[i];
    QListWidgetItem* item = m_list->item(i);
    QStringList facts{stateName(run)};
    if (run.epochs > 0) {
      facts << (run.state == RunState::Finished
                    ? tr("%1 epochs").arg(run.epochs)
                    : QStringLiteral("%1/%2").arg(run.finishedEpochs()).arg(run.epochs));
    }
    if (run.bestAccuracy() >= 0) facts << percent(run.bestAccuracy());
    const QString line = facts.join(QStringLiteral(" · "));
    item->setText(QStringLiteral("%1\n%2").arg(run.name, line));
    item->setToolTip(QStringLiteral("%1\n%2, %3\n%4").arg(run.name, run.network, line, run.folder));
    item->setData(FolderRole, run.folder);
    item->setData(NameRole, run.name);
    item->setData(FactsRole, line);
    const auto look = stateLook(run.state);
    item->setData(IconRole, look.first);
    item->setData(ToneRole, static_cast<int>(look.second));
    item->setSelected(selected.contains(run.folder));
    if (run.folder == m_shown && selected.size() < 2) m_list->setCurrentItem(item);
  }
  m_listing = false;
}

void TrainingPage::refreshRun() {
  const RunRecord* run = shown();
  refreshActions();
  if (run == nullptr) return;
  const bool live = training() && run->folder == QFileInfo(m_process->folder()).absoluteFilePath();
  const auto look = stateLook(run->state);
  m_stateIcon->setIcon(look.first, look.second);
  QString state = stateName(*run);
  if (live && m_process->state() == TrainingProcess::State::Starting) {
    state = run->filesToRead > 0
                ? tr("Reading the data, %1 of %2 files")
                      .arg(formatCount(run->filesRead), formatCount(run->filesToRead))
                : tr("Reading the data");
  }
  if (live && m_process->state() == TrainingProcess::State::Stopping) state = tr("Stopping");
  m_stateLine->setText(run->name);
  QStringList details{state};
  if (live && run->epoch > 0) {
    details << tr("epoch %1 of %2").arg(run->epoch).arg(run->epochs)
            << tr("%1 images a second").arg(formatCount(std::llround(run->imagesPerSecond)));
  } else if (run->epochs > 0) {
    details << tr("%1 of %2 epochs").arg(run->finishedEpochs()).arg(run->epochs);
  }
  details << run->network + (run->polynomial ? QString() : tr(" with ReLU"));
  if (!run->problem.isEmpty() && !live) details << sentence(run->problem);
  m_detailLine->setText(details.join(QStringLiteral(" · ")));
  m_progress->setValue(static_cast<int>(1000 * std::clamp(run->done, 0.0, 1.0)));
  m_progress->setProperty("quiet", !live);

  const bool any = !run->history.isEmpty();
  const client::EpochRecord last = any ? run->history.last() : client::EpochRecord();
  m_accuracy->setValue(any ? percent(last.testAccuracy) : QStringLiteral("–"));
  m_best->setValue(percent(run->bestAccuracy()));
  m_loss->setValue(any ? QString::number(last.loss, 'f', 3) : QStringLiteral("–"));
  m_outside->setValue(any ? formatShare(last.outOfRange) : QStringLiteral("–"));
  m_lost->setValue(any ? formatShare(last.lostRatio) : QStringLiteral("–"));
  m_left->setValue(live && run->secondsLeft >= 0 ? formatDuration(run->secondsLeft)
                                                 : QStringLiteral("–"));

  using client::EpochRecord;
  m_accuracyChart->setCurves(
      {curve(*run, &EpochRecord::accuracy, 100), curve(*run, &EpochRecord::testAccuracy, 100)},
      run->epochs);
  m_lossChart->setCurves(
      {curve(*run, &EpochRecord::loss, 1), curve(*run, &EpochRecord::testLoss, 1)}, run->epochs);
  m_penaltyChart->setCurves({curve(*run, &EpochRecord::penalty, 1)}, run->epochs);
  m_outsideChart->setCurves(
      {curve(*run, &EpochRecord::outOfRange, 100), curve(*run, &EpochRecord::lostRatio, 100)},
      run->epochs);
  m_confusion->setMatrix(run->classes, run->confusion);
  m_ranges->setLayers(run->layers, run->range);

  QString data = tr("%1 training and %2 test images in %3 classes.")
                     .arg(formatCount(run->trainImages), formatCount(run->testImages))
                     .arg(run->classes.size());
  if (run->splitMade) {
    data += tr(" There was no test folder: a part of each class was set aside for testing.");
  }
  if (run->imbalance >= 1.5) {
    data += std::isfinite(run->imbalance)
                ? tr(" The largest class has %1 times as many images as the smallest: expect the "
                     "small ones to be recognised less well.")
                      .arg(run->imbalance, 0, 'f', 1)
                : tr(" Some classes have no training images.");
  }
  if (run->skippedFiles > 0) {
    data += tr(" %1 files could not be used; the first: %2.")
                .arg(formatCount(run->skippedFiles), run->skipped.value(0));
  }
  m_dataText->setText(run->classes.isEmpty() ? tr("The data has not been read yet.") : data);
  m_classes->setRowCount(static_cast<int>(run->classes.size()));
  for (int i = 0; i < run->classes.size(); ++i) {
    const QStringList cells{
        run->classes[i],
        i < run->classCounts.size() ? formatCount(run->classCounts[i]) : QStringLiteral("–"),
        i < run->classAccuracy.size() ? percent(run->classAccuracy[i]) : QStringLiteral("–")};
    for (int column = 0; column < cells.size(); ++column) {
      QTableWidgetItem* item = m_classes->item(i, column);
      if (item == nullptr) m_classes->setItem(i, column, item = new QTableWidgetItem);
      item->setText(cells[column]);
    }
  }
  if (m_shownLog != run->folder) {
    m_shownLog = run->folder;
    m_log->setPlainText(client::readRunLog(run->folder).join(QLatin1Char('\n')));
  }
}

void TrainingPage::refreshActions() {
  m_form->setBusy(training());
  m_new->setEnabled(!m_program.isEmpty());
  m_new->setToolTip(m_program.isEmpty() ? m_form->problem() : QString());
  const auto selected = m_list->selectedItems();
  const QString trained =
      training() ? QFileInfo(m_process->folder()).absoluteFilePath() : QString();
  m_delete->setEnabled(!selected.isEmpty() && !m_commanding &&
                       std::none_of(selected.begin(), selected.end(), [&](const auto* item) {
                         return item->data(FolderRole).toString() == trained;
                       }));
  const RunRecord* run = shown();
  const bool any = run != nullptr;
  const bool busy = training();
  const bool live = any && busy && run->folder == QFileInfo(m_process->folder()).absoluteFilePath();
  const auto state = m_process->state();
  const bool paused = state == TrainingProcess::State::Paused;
  m_pause->setVisible(live && (paused || state == TrainingProcess::State::Running));
  m_pause->setText(paused ? tr("&Continue") : tr("&Pause"));
  m_pause->setIcon(icon(paused ? QStringLiteral("play") : QStringLiteral("pause")));
  m_stop->setVisible(live && state != TrainingProcess::State::Stopping);
  m_end->setVisible(live && state == TrainingProcess::State::Stopping);
  const bool resumable = any && !live && run->hasLast;
  m_resume->setVisible(any && !live &&
                       (run->state == RunState::Stopped || run->state == RunState::Interrupted ||
                        run->state == RunState::Failed));
  m_resume->setEnabled(!busy && !m_program.isEmpty());
  m_extend->setVisible(resumable && run->finishedEpochs() >= run->epochs);
  m_extend->setEnabled(!busy && !m_program.isEmpty());
  const bool checkpoint = any && (run->hasBest || run->hasLast) && !m_program.isEmpty();
  m_try->setEnabled(checkpoint && !m_commanding);
  m_export->setEnabled(checkpoint && !m_commanding && run->polynomial);
  m_deploy->setEnabled(checkpoint && !m_commanding && run->polynomial);
}

void TrainingPage::refreshCompare() {
  const auto selected = m_list->selectedItems();
  if (selected.size() != 2) return;
  const RunRecord* a = find(selected[0]->data(FolderRole).toString());
  const RunRecord* b = find(selected[1]->data(FolderRole).toString());
  if (a == nullptr || b == nullptr) return;
  using client::EpochRecord;
  const int epochs = std::max(a->finishedEpochs(), b->finishedEpochs());
  for (auto [chart, value] : {std::pair{m_compareAccuracy, &EpochRecord::testAccuracy},
                              std::pair{m_compareOutside, &EpochRecord::outOfRange}}) {
    chart->setNames({a->name, b->name});
    chart->setCurves({curve(*a, value, 100), curve(*b, value, 100)}, epochs);
  }
  QVector<QStringList> rows;
  const auto row = [&rows](const QString& what, const QString& left, const QString& right) {
    rows << QStringList{what, left, right};
  };
  const auto last = [](const RunRecord& run) {
    return run.history.isEmpty() ? EpochRecord() : run.history.last();
  };
  row(tr("State"), stateName(*a), stateName(*b));
  row(tr("Network"), a->network, b->network);
  row(tr("Activation"), a->polynomial ? tr("polynomial") : QStringLiteral("ReLU"),
      b->polynomial ? tr("polynomial") : QStringLiteral("ReLU"));
  row(tr("Epochs finished"), QString::number(a->finishedEpochs()),
      QString::number(b->finishedEpochs()));
  row(tr("Best test accuracy"), percent(a->bestAccuracy(), 2), percent(b->bestAccuracy(), 2));
  row(tr("Last test accuracy"), percent(last(*a).testAccuracy, 2),
      percent(last(*b).testAccuracy, 2));
  row(tr("Last training loss"), QString::number(last(*a).loss, 'f', 4),
      QString::number(last(*b).loss, 'f', 4));
  row(tr("Out of range"), formatShare(last(*a).outOfRange), formatShare(last(*b).outOfRange));
  row(tr("Images lost"), formatShare(last(*a).lostRatio), formatShare(last(*b).lostRatio));
  row(tr("Training time"), formatDuration(last(*a).seconds), formatDuration(last(*b).seconds));
  const auto text = [](const QString& key, const QJsonValue& value) {
    if ((key == QLatin1String("batch") || key == QLatin1String("threads")) && value.toInt() == 0) {
      return tr("automatic");
    }
    if (value.isArray()) return QString::number(value.toArray().size()) + tr(" values");
    if (value.isObject()) return tr("set");
    return value.toVariant().toString();
  };
  for (const QString& key : a->settings.keys()) {
    const QJsonValue left = a->settings[key];
    const QJsonValue right = b->settings[key];
    if (left == right || key == QLatin1String("network") || key == QLatin1String("activation")) {
      continue;
    }
    row(QString(key).replace(QLatin1Char('_'), QLatin1Char(' ')), text(key, left),
        text(key, right));
  }
  const auto brief = [this](const QString& name) {
    return m_compareTable->fontMetrics().elidedText(
        name, Qt::ElideRight, m_compareTable->viewport()->width() / 3 - kCellMargins);
  };
  m_compareTable->setHorizontalHeaderLabels({tr("What"), brief(a->name), brief(b->name)});
  m_compareTable->setRowCount(static_cast<int>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    for (int column = 0; column < 3; ++column) {
      auto* item = new QTableWidgetItem(rows[i][column]);
      if (column > 0 && rows[i][1] != rows[i][2]) {
        QFont bold = m_compareTable->font();
        bold.setWeight(QFont::DemiBold);
        item->setFont(bold);
      }
      m_compareTable->setItem(i, column, item);
    }
  }
}

}  // namespace pillarbox::ui

#include "app/ui/classify_page.h"

#include <algorithm>

#include <QAccessible>
#include <QFileInfo>
#include <QGridLayout>
#include <QImageReader>
#include <QLabel>
#include <QListWidget>
#include <QLocale>
#include <QPainter>
#include <QPainterPath>
#include <QProgressBar>
#include <QPushButton>
#include <QResizeEvent>
#include <QScrollArea>
#include <QStackedLayout>
#include <QStyledItemDelegate>
#include <QToolButton>
#include <QVBoxLayout>

#include "app/client/image_loader.h"
#include "app/ui/format.h"
#include "app/ui/icons.h"
#include "app/ui/image_queue.h"
#include "app/ui/samples.h"
#include "app/ui/theme.h"
#include "app/ui/widgets.h"

namespace pillarbox::ui {

using client::SessionState;

namespace {

constexpr int kThumbnail = 68;
constexpr int kMaxSamples = 12;
constexpr int kSampleWidth = kThumbnail + 22;
constexpr int kSampleGap = 8;
constexpr int kWelcomeMargin = 28;
constexpr int kRecentFromWidth = 960;
constexpr double kShownRemainingMs = 950;

/// The dashed area of the first page. The whole window takes drops; this says so.
class DropArea : public QWidget {
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

/// Room between the items of the recent list.
class RecentDelegate : public QStyledItemDelegate {
 public:
  using QStyledItemDelegate::QStyledItemDelegate;
  QSize sizeHint(const QStyleOptionViewItem& option, const QModelIndex& index) const override {
    return QStyledItemDelegate::sizeHint(option, index) + QSize(0, 12);
  }
};

QPixmap thumbnail(const QImage& image, qreal ratio) {
  const int side = static_cast<int>(kThumbnail * ratio);
  const QImage scaled =
      image.scaled(side, side, Qt::KeepAspectRatioByExpanding, Qt::SmoothTransformation);
  QPixmap pixmap(side, side);
  pixmap.fill(Qt::transparent);
  QPainter painter(&pixmap);
  painter.setRenderHint(QPainter::Antialiasing);
  QPainterPath clip;
  clip.addRoundedRect(0, 0, side, side, 7 * ratio, 7 * ratio);
  painter.setClipPath(clip);
  painter.drawImage((side - scaled.width()) / 2, (side - scaled.height()) / 2, scaled);
  painter.end();
  pixmap.setDevicePixelRatio(ratio);
  return pixmap;
}

/// Wraps, but asks for no height that depends on its width: in a scroll area such a label would
/// make the page insist on its preferred height instead of the least one.
class WrappedLabel : public QLabel {
 public:
  using QLabel::QLabel;
  bool hasHeightForWidth() const override { return false; }
};

QLabel* mutedLabel(QWidget* parent, double factor = 1) {
  auto* label = new WrappedLabel(parent);
  label->setForegroundRole(QPalette::PlaceholderText);
  label->setFont(scaledFont(label->font(), factor));
  label->setTextFormat(Qt::PlainText);
  return label;
}

}  // namespace

ClassifyPage::ClassifyPage(client::SessionModel& session, Settings& settings, ImageQueue& queue,
                           const QStringList& samples, QWidget* parent)
    : QWidget(parent),
      m_session(session),
      m_settings(settings),
      m_queue(queue),
      m_state(session.state()) {
  setAccessibleName(tr("Classify"));
  m_pool.setMaxThreadCount(1);
  m_pages = new QStackedLayout(this);
  m_pages->addWidget(buildWelcome(samples));
  m_pages->addWidget(buildWork());
  m_tick.setInterval(100);
  connect(&m_tick, &QTimer::timeout, this, &ClassifyPage::refreshElapsed);
  connectSignals();
  refreshRecent();
  refresh();
}

ClassifyPage::~ClassifyPage() {
  m_pool.clear();
  m_pool.waitForDone();
}

QString ClassifyPage::stateText() const {
  return m_stateLine->text();
}
bool ClassifyPage::showsWelcome() const {
  return m_pages->currentIndex() == 0;
}

QWidget* ClassifyPage::buildWelcome(const QStringList& samples) {
  auto* scroll = new QScrollArea(this);
  scroll->setFrameShape(QFrame::NoFrame);
  scroll->setWidgetResizable(true);
  scroll->viewport()->setAutoFillBackground(false);
  scroll->setFocusPolicy(Qt::NoFocus);
  auto* page = new QWidget(scroll);
  page->setAutoFillBackground(false);
  auto* outer = new QVBoxLayout(page);
  outer->setContentsMargins(kWelcomeMargin, 20, kWelcomeMargin, 20);
  outer->setSpacing(18);

  auto* area = new DropArea(page);
  auto* layout = new QVBoxLayout(area);
  layout->setContentsMargins(24, 24, 24, 24);
  layout->setSpacing(8);
  auto* picture = new IconLabel(QStringLiteral("image"), 56, Tone::Accent, area);
  auto* title = new QLabel(tr("Drop an image anywhere"), area);
  title->setFont(scaledFont(font(), 1.9, QFont::DemiBold));
  title->setAlignment(Qt::AlignCenter);
  m_dropHint = mutedLabel(area, 1.1);
  m_dropHint->setAlignment(Qt::AlignCenter);
  m_dropHint->setWordWrap(true);
  auto* open = new QPushButton(tr("&Open image…"), area);
  open->setProperty("primary", true);
  open->setAccessibleDescription(tr("Choose one or more image files to classify (Ctrl+O)"));
  auto* paste = new QPushButton(tr("&Paste"), area);
  paste->setAccessibleDescription(tr("Classify the picture in the clipboard (Ctrl+V)"));
  connect(open, &QPushButton::clicked, this, &ClassifyPage::openRequested);
  connect(paste, &QPushButton::clicked, this, &ClassifyPage::pasteRequested);
  auto* buttons = new QHBoxLayout;
  buttons->addStretch(1);
  buttons->addWidget(open);
  buttons->addWidget(paste);
  buttons->addStretch(1);
  layout->addStretch(1);
  layout->addWidget(picture, 0, Qt::AlignHCenter);
  layout->addSpacing(4);
  layout->addWidget(title);
  layout->addWidget(m_dropHint);
  layout->addSpacing(10);
  layout->addLayout(buttons);
  layout->addStretch(1);
  area->setMinimumHeight(230);
  outer->addWidget(area, 1);

  auto* engineRow = new QHBoxLayout;
  m_welcomeHint = new QLabel(page);
  m_welcomeHint->setAlignment(Qt::AlignLeft | Qt::AlignVCenter);
  m_welcomeHint->setWordWrap(true);
  m_welcomeConnect =
      new QPushButton(icon(QStringLiteral("server")), tr("&Connect to an engine…"), page);
  connect(m_welcomeConnect, &QPushButton::clicked, this, &ClassifyPage::connectRequested);
  engineRow->addWidget(m_welcomeHint, 1);
  engineRow->addWidget(m_welcomeConnect);
  outer->addLayout(engineRow);

  if (!samples.isEmpty()) {
    auto* caption = mutedLabel(page);
    caption->setText(tr("Or try a sample:"));
    outer->addWidget(caption);
    auto* row = new QHBoxLayout;
    row->setSpacing(kSampleGap);
    for (const QString& path : samples.mid(0, kMaxSamples)) {
      auto* button = new QToolButton(page);
      button->setAutoRaise(true);
      button->setToolButtonStyle(Qt::ToolButtonTextUnderIcon);
      button->setIconSize({kThumbnail, kThumbnail});
      button->setIcon(icon(QStringLiteral("image")));
      const QString name = sampleName(path);
      button->setText(fontMetrics().elidedText(name, Qt::ElideRight, kThumbnail + 16));
      button->setToolTip(tr("Classify the sample “%1”").arg(name));
      button->setAccessibleName(tr("Sample %1").arg(name));
      button->setAccessibleDescription(button->toolTip());
      button->setFocusPolicy(Qt::StrongFocus);
      button->setFixedWidth(kSampleWidth);
      m_samples.append(button);
      connect(button, &QToolButton::clicked, this, [this, path] { Q_EMIT sampleChosen(path); });
      row->addWidget(button);
      m_pool.start([this, button, path] {
        Result<QImage> image = client::loadImage(path);
        if (!image.ok()) return;
        QMetaObject::invokeMethod(
            this,
            [this, button, picture = std::move(image).value()] {
              button->setIcon(QIcon(thumbnail(picture, devicePixelRatioF())));
            },
            Qt::QueuedConnection);
      });
    }
    row->addStretch(1);
    outer->addLayout(row);
  }
  scroll->setWidget(page);
  return scroll;
}

QWidget* ClassifyPage::buildWork() {
  auto* scroll = new QScrollArea(this);
  scroll->setFrameShape(QFrame::NoFrame);
  scroll->setWidgetResizable(true);
  scroll->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  scroll->viewport()->setAutoFillBackground(false);
  scroll->setFocusPolicy(Qt::NoFocus);
  auto* work = new QWidget(scroll);
  work->setAutoFillBackground(false);
  auto* columns = new QHBoxLayout(work);
  columns->setContentsMargins(20, 16, 20, 16);
  columns->setSpacing(14);
  auto* main = new QVBoxLayout;
  main->setSpacing(12);
  main->addWidget(buildStateRow());

  auto* upper = new QHBoxLayout;
  upper->setSpacing(14);
  auto* pictureCard = new Card(work);
  auto* pictureLayout = new QVBoxLayout(pictureCard);
  pictureLayout->setContentsMargins(12, 12, 12, 10);
  pictureLayout->setSpacing(8);
  m_picture = new PictureView(pictureCard);
  m_pictureName = new ElidedLabel(pictureCard);
  m_pictureName->setElideMode(Qt::ElideMiddle);
  m_pictureName->setAlignment(Qt::AlignCenter);
  m_pictureName->setTone(Tone::Muted);
  pictureLayout->addWidget(m_picture, 1);
  pictureLayout->addWidget(m_pictureName);
  upper->addWidget(pictureCard, 5);
  upper->addWidget(buildResult(), 6);
  main->addLayout(upper, 1);
  main->addWidget(buildActivity());
  columns->addLayout(main, 1);
  m_recentCard = buildRecent();
  columns->addWidget(m_recentCard);
  scroll->setWidget(work);
  return scroll;
}

QWidget* ClassifyPage::buildStateRow() {
  auto* row = new QWidget(this);
  auto* layout = new QVBoxLayout(row);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(10);
  auto* line = new QHBoxLayout;
  line->setSpacing(10);
  m_stateIcon = new IconLabel(QStringLiteral("clock"), 24, Tone::Accent, row);
  m_stateLine = new ElidedLabel(row);
  m_stateLine->setFont(scaledFont(font(), 1.45, QFont::DemiBold));
  m_stateLine->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
  m_waitingLine = new ElidedLabel(row);
  m_waitingLine->setTone(Tone::Muted);
  m_connect = new QPushButton(icon(QStringLiteral("server")), tr("&Connect…"), row);
  m_connect->setAccessibleDescription(tr("Open the connection manager"));
  m_retry = new QPushButton(icon(QStringLiteral("refresh")), tr("&Try again"), row);
  m_retry->setAccessibleDescription(tr("Classify the same image again"));
  m_another = new QPushButton(icon(QStringLiteral("open")), tr("&Open image…"), row);
  m_another->setAccessibleDescription(tr("Choose another image (Ctrl+O)"));
  m_cancel = new QPushButton(icon(QStringLiteral("cancel")), tr("Cancel"), row);
  m_cancel->setToolTip(tr("Stop (Esc)"));
  m_cancel->setAccessibleDescription(tr("Stop classifying and forget what is waiting (Esc)"));
  connect(m_connect, &QPushButton::clicked, this, &ClassifyPage::connectRequested);
  connect(m_retry, &QPushButton::clicked, &m_queue, &ImageQueue::retry);
  connect(m_another, &QPushButton::clicked, this, &ClassifyPage::openRequested);
  connect(m_cancel, &QPushButton::clicked, &m_queue, &ImageQueue::cancel);
  line->addWidget(m_stateIcon);
  line->addWidget(m_stateLine, 1);
  line->addWidget(m_waitingLine);
  line->addWidget(m_connect);
  line->addWidget(m_retry);
  line->addWidget(m_another);
  line->addWidget(m_cancel);
  m_progressBar = new QProgressBar(row);
  m_progressBar->setTextVisible(false);
  m_progressBar->setFixedHeight(6);
  m_progressBar->setRange(0, 1000);
  m_progressBar->setAccessibleName(tr("Progress"));
  layout->addLayout(line);
  layout->addWidget(m_progressBar);
  return row;
}

QWidget* ClassifyPage::buildResult() {
  auto* card = new Card(this);
  m_resultPages = new QStackedLayout(card);
  m_resultPages->setContentsMargins(0, 0, 0, 0);

  auto* pending = new QWidget(card);
  auto* pendingLayout = new QVBoxLayout(pending);
  m_resultHint = mutedLabel(pending, 1.05);
  m_resultHint->setAlignment(Qt::AlignCenter);
  m_resultHint->setWordWrap(true);
  pendingLayout->addWidget(m_resultHint);

  auto* result = new QWidget(card);
  auto* layout = new QVBoxLayout(result);
  layout->setContentsMargins(20, 14, 20, 14);
  layout->setSpacing(8);
  auto* head = new QHBoxLayout;
  head->setSpacing(12);
  m_class = new ElidedLabel(result);
  m_class->setFont(scaledFont(font(), 2.7, QFont::Bold));
  m_class->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
  m_classPercent = mutedLabel(result, 1.5);
  m_classPercent->setAlignment(Qt::AlignRight | Qt::AlignVCenter);
  m_classPercent->setSizePolicy(QSizePolicy::Preferred, QSizePolicy::Fixed);
  head->addWidget(m_class, 1);
  head->addWidget(m_classPercent);
  m_bars = new ScoreBars(result);
  m_insecure = new QWidget(result);
  auto* insecureLayout = new QHBoxLayout(m_insecure);
  insecureLayout->setContentsMargins(0, 0, 0, 0);
  insecureLayout->setSpacing(8);
  auto* insecureText = new ElidedLabel(m_insecure);
  insecureText->setTone(Tone::Warning);
  insecureText->setText(tr("Insecure session: the engine could read this image."));
  insecureLayout->addWidget(
      new IconLabel(QStringLiteral("warning"), 18, Tone::Warning, m_insecure));
  insecureLayout->addWidget(insecureText, 1);
  // An answer that may be wrong says so where it is read.
  m_doubt = new QWidget(result);
  auto* doubtLayout = new QHBoxLayout(m_doubt);
  doubtLayout->setContentsMargins(0, 0, 0, 0);
  doubtLayout->setSpacing(8);
  m_doubtText = new QLabel(m_doubt);
  m_doubtText->setWordWrap(true);
  doubtLayout->addWidget(new IconLabel(QStringLiteral("warning"), 18, Tone::Warning, m_doubt));
  doubtLayout->addWidget(m_doubtText, 1);
  m_doubt->hide();
  auto* costs = new QGridLayout;
  costs->setHorizontalSpacing(12);
  costs->setVerticalSpacing(3);
  auto* onlineCaption = new QLabel(tr("Online"), result);
  auto* offlineCaption = new QLabel(tr("Offline"), result);
  auto* sessionCaption = new QLabel(tr("Session"), result);
  m_online = new ElidedLabel(result);
  m_offline = new ElidedLabel(result);
  m_sessionCost = new ElidedLabel(result);
  for (ElidedLabel* label : {m_online, m_offline, m_sessionCost}) {
    label->setTone(Tone::Muted);
    label->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
  }
  m_online->setAccessibleDescription(tr("From the image in hand to the class known"));
  m_offline->setAccessibleDescription(tr("Preparing the correlation set that this image used up"));
  costs->addWidget(onlineCaption, 0, 0);
  costs->addWidget(m_online, 0, 1);
  costs->addWidget(offlineCaption, 1, 0);
  costs->addWidget(m_offline, 1, 1);
  m_sessionCost->setAccessibleDescription(tr(
      "Once in a session, for keys or masked weights; the most memory that this program has held"));
  costs->addWidget(sessionCaption, 2, 0);
  costs->addWidget(m_sessionCost, 2, 1);
  costs->setColumnStretch(1, 1);
  layout->addLayout(head);
  layout->addSpacing(2);
  layout->addWidget(m_bars, 20);
  layout->addStretch(1);
  layout->addWidget(m_doubt);
  layout->addWidget(m_insecure);
  layout->addLayout(costs);

  auto* failure = new QWidget(card);
  auto* failureLayout = new QVBoxLayout(failure);
  failureLayout->setContentsMargins(24, 20, 24, 20);
  failureLayout->setSpacing(8);
  m_failureTitle = new WrappedLabel(failure);
  m_failureTitle->setFont(scaledFont(font(), 1.3, QFont::DemiBold));
  m_failureTitle->setAlignment(Qt::AlignCenter);
  m_failureTitle->setWordWrap(true);
  m_failureText = mutedLabel(failure);
  m_failureText->setAlignment(Qt::AlignCenter);
  m_failureText->setWordWrap(true);
  failureLayout->addStretch(1);
  failureLayout->addWidget(new IconLabel(QStringLiteral("error"), 40, Tone::Error, failure), 0,
                           Qt::AlignHCenter);
  failureLayout->addWidget(m_failureTitle);
  failureLayout->addWidget(m_failureText);
  failureLayout->addStretch(1);

  m_resultPages->addWidget(pending);
  m_resultPages->addWidget(result);
  m_resultPages->addWidget(failure);
  return card;
}

QWidget* ClassifyPage::buildActivity() {
  auto* card = new Card(this);
  auto* layout = new QHBoxLayout(card);
  layout->setContentsMargins(20, 10, 16, 8);
  layout->setSpacing(24);
  auto* tiles = new QGridLayout;
  tiles->setHorizontalSpacing(18);
  tiles->setVerticalSpacing(10);
  m_rounds = new CounterTile(tr("Rounds"), tr("Round trips finished, of those needed"), card);
  m_elapsed = new CounterTile(tr("Elapsed"), tr("Time of the online phase"), card);
  m_sent = new CounterTile(tr("Sent"), tr("Bytes sent in the online phase"), card);
  m_received = new CounterTile(tr("Received"), tr("Bytes received in the online phase"), card);
  const int tileWidth = m_sent->fontMetrics().horizontalAdvance(QStringLiteral("0000.00 MB")) + 18;
  for (CounterTile* tile : {m_rounds, m_elapsed, m_sent, m_received}) {
    tile->setFixedWidth(tileWidth);
  }
  tiles->addWidget(m_rounds, 0, 0);
  tiles->addWidget(m_elapsed, 0, 1);
  tiles->addWidget(m_sent, 1, 0);
  tiles->addWidget(m_received, 1, 1);
  m_chart = new LatencyChart(card);
  layout->addLayout(tiles);
  layout->addWidget(m_chart, 1);
  card->setFixedHeight(136);
  return card;
}

QWidget* ClassifyPage::buildRecent() {
  auto* card = new Card(this);
  auto* layout = new QVBoxLayout(card);
  layout->setContentsMargins(12, 10, 12, 10);
  layout->setSpacing(8);
  auto* head = new QHBoxLayout;
  auto* title = new QLabel(tr("Recent"), card);
  title->setFont(scaledFont(font(), 1.1, QFont::DemiBold));
  m_clearRecent = new QToolButton(card);
  m_clearRecent->setAutoRaise(true);
  m_clearRecent->setIcon(icon(QStringLiteral("trash")));
  m_clearRecent->setToolTip(tr("Clear the list of recent results"));
  m_clearRecent->setAccessibleName(m_clearRecent->toolTip());
  m_clearRecent->setFocusPolicy(Qt::StrongFocus);
  connect(m_clearRecent, &QToolButton::clicked, &m_settings, &Settings::clearRecent);
  head->addWidget(title, 1);
  head->addWidget(m_clearRecent);
  m_recent = new QListWidget(card);
  m_recent->setFrameShape(QFrame::NoFrame);
  m_recent->setAccessibleName(tr("Recent results"));
  m_recent->setAccessibleDescription(tr("Enter shows a result again; no image is kept"));
  m_recent->setUniformItemSizes(true);
  m_recent->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  m_recent->setVerticalScrollMode(QAbstractItemView::ScrollPerPixel);
  m_recent->setItemDelegate(new RecentDelegate(m_recent));
  connect(m_recent, &QListWidget::itemActivated, this,
          [this](QListWidgetItem* item) { showRecent(m_recent->row(item)); });
  connect(m_recent, &QListWidget::itemClicked, this,
          [this](QListWidgetItem* item) { showRecent(m_recent->row(item)); });
  auto* note = mutedLabel(card, 0.88);
  note->setText(tr("Names and results only; no image is kept."));
  note->setWordWrap(true);
  layout->addLayout(head);
  layout->addWidget(m_recent, 1);
  layout->addWidget(note);
  card->setFixedWidth(214);
  return card;
}

void ClassifyPage::connectSignals() {
  using client::SessionModel;
  connect(&m_session, &SessionModel::stateChanged, this, [this](SessionState state) {
    m_state = state;
    refresh();
  });
  connect(&m_session, &SessionModel::bankChanged, this, [this](const client::BankStatus& bank) {
    m_bank = bank;
    refresh();
  });
  connect(&m_session, &SessionModel::modelChanged, this, [this](const client::ModelInfo& model) {
    m_model = model;
    refresh();
  });
  connect(&m_session, &SessionModel::started, this, [this](quint64 id) {
    if (id != m_queue.currentId()) return;
    m_clock.start();
    m_tick.start();
    m_progress = {};
    m_progress.rounds = m_model.rounds;
    m_chart->begin(m_model.rounds);
    setPhase(Phase::Running);
  });
  connect(&m_session, &SessionModel::progressed, this,
          [this](const client::InferenceProgress& progress) {
            if (progress.id == m_queue.currentId()) showProgress(progress);
          });
  connect(&m_session, &SessionModel::finished, this,
          [this](const client::ClassificationResult& result) {
            m_finalMs = result.onlineMs;
            m_insecure->setVisible(m_model.insecure);
            showResult(result);
            setPhase(Phase::Finished);
            m_settings.addRecent(result, m_model.insecure);
          });
  connect(&m_session, &SessionModel::failed, this,
          [this](quint64, const client::SessionError& error) {
            if (error.code == QLatin1String("cancelled")) {
              const QString hint = m_phase == Phase::Running
                                       ? tr("Cancelled. Its correlation set is never used again.")
                                       : tr("Cancelled before anything of the image was sent.");
              m_resultHint->setText(hint);
              setPhase(Phase::Cancelled);
            } else {
              showFailure(tr("Not classified"), sentence(error.message));
            }
          });
  connect(&m_queue, &ImageQueue::readingStarted, this, [this](const QString& name) {
    m_imageName = name;
    m_picture->setPlaceholder(tr("Reading…"));
    m_pictureName->setText(name);
    resetCounters();
    setPhase(Phase::Reading);
  });
  connect(&m_queue, &ImageQueue::pictureReady, this,
          [this](const QString& name, const QImage& preview, const QSize& size) {
            m_imageName = name;
            m_picture->setPicture(preview, name);
            m_pictureName->setText(tr("%1 · %2 × %3")
                                       .arg(name, QLocale().toString(size.width()),
                                            QLocale().toString(size.height())));
            resetCounters();
            setPhase(Phase::Waiting);
          });
  connect(&m_queue, &ImageQueue::rejected, this, [this](const QString& name, const QString& why) {
    m_picture->setPlaceholder(tr("No picture"));
    m_pictureName->setText(name);
    showFailure(tr("This cannot be classified"), why);
  });
  connect(&m_queue, &ImageQueue::cancelledWhileReading, this, [this](const QString& name) {
    m_picture->setPlaceholder(tr("No picture"));
    m_pictureName->setText(name);
    m_resultHint->setText(tr("Cancelled before anything was sent."));
    setPhase(Phase::Cancelled);
  });
  connect(&m_queue, &ImageQueue::waitingChanged, this, [this] { refresh(); });
  connect(&m_settings, &Settings::recentChanged, this, &ClassifyPage::refreshRecent);
}

void ClassifyPage::setPhase(Phase phase) {
  m_phase = phase;
  if (phase != Phase::Idle) m_pages->setCurrentIndex(1);
  if (phase != Phase::Running) m_tick.stop();
  if (phase == Phase::Reading || phase == Phase::Waiting || phase == Phase::Running) {
    m_resultHint->setText(tr("The class appears here."));
  }
  if (phase == Phase::Finished) {
    m_resultPages->setCurrentIndex(1);
  } else if (phase == Phase::Failed) {
    m_resultPages->setCurrentIndex(2);
  } else {
    m_resultPages->setCurrentIndex(0);
  }
  refresh();
}

QString ClassifyPage::waitingText() const {
  switch (m_state) {
    case SessionState::Disconnected:
      return tr("Not connected. Starts by itself once an engine is connected.");
    case SessionState::Connecting:
      return tr("Connecting… starts by itself.");
    case SessionState::AwaitingTrust:
      return tr("Waiting for your decision about the engine's certificate.");
    case SessionState::Preparing:
      return m_bank.preparing >= 0
                 ? tr("Preparing… %1 %, starts by itself")
                       .arg(static_cast<int>(100 * std::clamp(m_bank.preparing, 0.0, 1.0)))
                 : tr("Preparing… starts by itself");
    case SessionState::Reconnecting:
      return tr("Waiting for the engine… starts by itself when it is back.");
    case SessionState::Refused:
      return tr("The engine was refused. Nothing is sent.");
    case SessionState::Ready:
    case SessionState::Classifying:
      break;
  }
  return tr("Starting…");
}

void ClassifyPage::refresh() {
  const bool offline = m_state == SessionState::Disconnected || m_state == SessionState::Refused;
  QString text;
  QString iconName = QStringLiteral("clock");
  Tone tone = Tone::Accent;
  double part = 0;
  switch (m_phase) {
    case Phase::Idle:
      break;
    case Phase::Reading:
      text = tr("Reading %1…").arg(m_imageName);
      break;
    case Phase::Waiting:
      text = waitingText();
      if (m_state == SessionState::Preparing) part = std::max(0.0, m_bank.preparing);
      if (offline || m_state == SessionState::Reconnecting) {
        iconName = QStringLiteral("disconnected");
        tone = Tone::Warning;
      }
      break;
    case Phase::Running: {
      const int round = m_progress.round;
      const int rounds = m_progress.rounds;
      if (round == 0 && m_state != SessionState::Classifying && m_state != SessionState::Ready) {
        text = waitingText();  // the connection broke before the first round; it is tried again
      } else if (round == 0) {
        text = rounds > 0 ? tr("Starting the first of %1 rounds").arg(rounds) : tr("Starting…");
      } else {
        text = tr("Round %1 of %2").arg(round).arg(rounds);
        const double left = m_progress.elapsedMs / round * (rounds - round);
        if (left >= kShownRemainingMs) {
          text += tr(", about %1 s left").arg(static_cast<int>(left / 1000 + 0.5));
        }
      }
      if (rounds > 0) part = static_cast<double>(round) / rounds;
      break;
    }
    case Phase::Finished:
      text = m_finalMs >= 0 ? tr("Classified in %1").arg(formatMs(m_finalMs)) : tr("Classified");
      iconName = QStringLiteral("check");
      tone = Tone::Success;
      part = 1;
      break;
    case Phase::Failed:
      text = tr("Not classified");
      iconName = QStringLiteral("error");
      tone = Tone::Error;
      break;
    case Phase::Cancelled:
      text = tr("Cancelled");
      iconName = QStringLiteral("cancel");
      tone = Tone::Muted;
      break;
  }
  m_stateIcon->setIcon(iconName, tone);
  m_stateLine->setText(text);
  m_progressBar->setValue(static_cast<int>(1000 * std::clamp(part, 0.0, 1.0)));
  m_progressBar->setAccessibleDescription(text);
  const bool busy =
      m_phase == Phase::Reading || m_phase == Phase::Waiting || m_phase == Phase::Running;
  m_waitingLine->setVisible(m_queue.waiting() > 0);
  m_waitingLine->setText(tr("%n more waiting", nullptr, m_queue.waiting()));
  m_cancel->setVisible(busy);
  m_another->setVisible(!busy);
  m_retry->setVisible(m_phase == Phase::Failed && m_queue.canRetry());
  m_connect->setVisible(m_phase == Phase::Waiting && offline);

  m_welcomeConnect->setVisible(offline);
  QString welcome;
  switch (m_state) {
    case SessionState::Disconnected:
      welcome = tr("No engine is connected yet. An image dropped now waits for one.");
      break;
    case SessionState::Connecting:
      welcome = tr("Connecting. An image dropped now starts by itself.");
      break;
    case SessionState::AwaitingTrust:
      welcome = tr("Waiting for your decision about the engine's certificate.");
      break;
    case SessionState::Preparing:
      welcome = tr("Preparing the first correlation set. An image dropped now starts by itself.");
      break;
    case SessionState::Reconnecting:
      welcome = tr("The engine is away. An image dropped now starts when it is back.");
      break;
    case SessionState::Refused:
      welcome = tr("The engine was refused. Nothing is sent.");
      break;
    case SessionState::Ready:
    case SessionState::Classifying:
      welcome =
          tr("Ready. %1 recognises %n classes.", nullptr, static_cast<int>(m_model.labels.size()))
              .arg(m_model.name.isEmpty() ? tr("The engine's model") : m_model.name);
      break;
  }
  m_welcomeHint->setText(welcome);
  const QString ways = tr("Paste with Ctrl+V, or open a file.");
  m_dropHint->setText(
      m_model.insecure
          ? tr("%1 This session is insecure: the engine could read the image.").arg(ways)
          : tr("%1 It is classified without leaving this computer in readable form.").arg(ways));
}

void ClassifyPage::refreshElapsed() {
  if (m_phase == Phase::Running) {
    m_elapsed->setValue(
        formatMs(std::max(m_progress.elapsedMs, static_cast<double>(m_clock.elapsed()))));
  }
}

void ClassifyPage::resetCounters() {
  m_progress = {};
  m_finalMs = -1;
  for (CounterTile* tile : {m_rounds, m_sent, m_received, m_elapsed}) {
    tile->setValue(QStringLiteral("–"));
  }
  m_chart->clear();
}

void ClassifyPage::showProgress(const client::InferenceProgress& progress) {
  if (m_chart->count() == 0) m_chart->begin(progress.rounds);
  if (progress.round > m_progress.round) m_chart->addRound(progress.round, progress.roundMs);
  m_progress = progress;
  m_rounds->setValue(tr("%1 of %2").arg(progress.round).arg(progress.rounds));
  m_sent->setValue(formatBytes(progress.bytesSent));
  m_received->setValue(formatBytes(progress.bytesReceived));
  refreshElapsed();
  refresh();
}

void ClassifyPage::showResult(const client::ClassificationResult& result) {
  QVector<ScoreBars::Score> scores;
  for (const auto& score : result.top.mid(0, ScoreBars::kRows)) {
    scores.append({score.label, score.probability});
  }
  const client::ClassScore best = result.top.isEmpty() ? client::ClassScore{} : result.top.first();
  m_class->setText(best.label);
  m_classPercent->setText(formatProbability(best.probability));
  m_bars->setScores(scores);
  m_doubt->setVisible(!result.warning.isEmpty());
  m_doubtText->setText(tr("This answer may be wrong: %1.").arg(result.warning));
  m_online->setText(tr("%1 · %2 · %3 sent · %4 received")
                        .arg(formatMs(result.onlineMs), tr("%n rounds", nullptr, result.rounds),
                             formatBytes(result.bytesSent), formatBytes(result.bytesReceived)));
  m_offline->setText(
      tr("%1 · %2 · %3 sent · %4 received")
          .arg(formatMs(result.offlineMs), tr("%n rounds", nullptr, result.offlineRounds),
               formatBytes(result.offlineBytesSent), formatBytes(result.offlineBytesReceived)));
  const QString memory = QLocale().formattedDataSize(static_cast<qint64>(result.peakMemoryBytes), 0,
                                                     QLocale::DataSizeSIFormat);
  m_sessionCost->setText(
      tr("%1 sent · %2 received · memory %3")
          .arg(formatBytes(result.setupBytesSent), formatBytes(result.setupBytesReceived), memory));
  m_rounds->setValue(tr("%1 of %2").arg(result.rounds).arg(result.rounds));
  m_sent->setValue(formatBytes(result.bytesSent));
  m_received->setValue(formatBytes(result.bytesReceived));
  m_elapsed->setValue(formatMs(result.onlineMs));
  m_class->setAccessibleDescription(
      tr("Class %1, probability %2").arg(best.label, formatProbability(best.probability)));
  if (QAccessible::isActive()) {
    QAccessibleEvent event(m_class, QAccessible::Alert);
    QAccessible::updateAccessibility(&event);
  }
}

void ClassifyPage::showFailure(const QString& title, const QString& message) {
  m_failureTitle->setText(title);
  m_failureText->setText(message);
  setPhase(Phase::Failed);
  // The queue notes the failure after this signal or before it: look once more when both are done.
  QMetaObject::invokeMethod(
      this, [this] { refresh(); }, Qt::QueuedConnection);
}

void ClassifyPage::refreshRecent() {
  m_recent->clear();
  const auto items = m_settings.recent();
  for (const RecentItem& item : items) {
    const client::ClassScore best =
        item.result.top.isEmpty() ? client::ClassScore{} : item.result.top.first();
    auto* row = new QListWidgetItem(
        tr("%1 · %2\n%3")
            .arg(best.label, formatProbability(best.probability), item.result.imageName));
    QStringList tip{item.result.imageName, QLocale().toString(item.when, QLocale::ShortFormat)};
    for (const auto& score : item.result.top) {
      tip << tr("%1 · %2").arg(score.label, formatProbability(score.probability));
    }
    row->setToolTip(tip.join(QLatin1Char('\n')));
    m_recent->addItem(row);
  }
  m_clearRecent->setEnabled(!items.isEmpty());
}

void ClassifyPage::showRecent(int index) {
  const auto items = m_settings.recent();
  if (m_queue.busy() || index < 0 || index >= items.size()) return;
  const client::ClassificationResult& result = items[index].result;
  m_picture->setPlaceholder(tr("The picture was not kept."));
  m_imageName = result.imageName;
  m_pictureName->setText(result.imageName);
  resetCounters();
  m_finalMs = result.onlineMs;
  m_insecure->setVisible(items[index].insecure);
  showResult(result);
  setPhase(Phase::Finished);
}

void ClassifyPage::resizeEvent(QResizeEvent* event) {
  QWidget::resizeEvent(event);
  m_recentCard->setVisible(event->size().width() >= kRecentFromWidth);
  // As many samples as fit; the others are in the File menu.
  const int fit =
      (event->size().width() - 2 * kWelcomeMargin + kSampleGap) / (kSampleWidth + kSampleGap);
  for (int i = 0; i < m_samples.size(); ++i) m_samples[i]->setVisible(i < fit);
}

}  // namespace pillarbox::ui

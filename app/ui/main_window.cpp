#include "app/ui/main_window.h"

#include <algorithm>

#include <QAction>
#include <QApplication>
#include <QClipboard>
#include <QCloseEvent>
#include <QDragEnterEvent>
#include <QFileDialog>
#include <QFileInfo>
#include <QImageReader>
#include <QLabel>
#include <QMenu>
#include <QMenuBar>
#include <QMessageBox>
#include <QMimeData>
#include <QProgressBar>
#include <QPushButton>
#include <QStackedWidget>
#include <QStatusBar>
#include <QUrl>
#include <QVBoxLayout>

#include "app/ui/classify_page.h"
#include "app/ui/connection_manager.h"
#include "app/ui/format.h"
#include "app/ui/icons.h"
#include "app/ui/image_queue.h"
#include "app/ui/info_dialogs.h"
#include "app/ui/samples.h"
#include "app/ui/training_page.h"
#include "app/ui/trust_dialogs.h"
#include "app/ui/widgets.h"

namespace pillarbox::ui {

using client::SessionState;

namespace {

constexpr int kGoodNewsMs = 6000;
const char kEngineMessage[] = "engine";
const char kPinMessage[] = "pin";
const char kInputMessage[] = "input";

bool isConnected(SessionState state) {
  return state == SessionState::Preparing || state == SessionState::Ready ||
         state == SessionState::Classifying;
}

QString nameFilter() {
  QStringList patterns;
  const QList<QByteArray> formats = QImageReader::supportedImageFormats();
  for (const QByteArray& format : formats) {
    if (format.startsWith("svg") || format == "pdf") continue;
    patterns << QStringLiteral("*.%1").arg(QString::fromLatin1(format));
    patterns << QStringLiteral("*.%1").arg(QString::fromLatin1(format).toUpper());
  }
  return MainWindow::tr("Images (%1)").arg(patterns.join(QLatin1Char(' ')));
}

}  // namespace

MainWindow::MainWindow(client::SessionModel& session, Settings& settings,
                       const QStringList& samples, const AdminServices& admin, QWidget* parent)
    : QMainWindow(parent),
      m_session(session),
      m_settings(settings),
      m_queue(new ImageQueue(session, this)),
      m_log(new LogModel(this)),
      m_state(session.state()) {
  setWindowTitle(QStringLiteral("Pillarbox"));
  setWindowIcon(applicationIcon());
  setAcceptDrops(true);
  setMinimumSize(760, 540);
  resize(1160, 760);

  auto* centre = new QWidget(this);
  auto* columns = new QHBoxLayout(centre);
  columns->setContentsMargins(0, 0, 0, 0);
  columns->setSpacing(0);
  m_rail = new NavigationRail(centre);
  m_rail->addPage(QStringLiteral("image"), tr("Classify"), tr("Classify images (Ctrl+1)"));
  m_rail->addPage(QStringLiteral("admin"), tr("Admin"), tr("Train and deploy models (Ctrl+2)"));
  m_rail->addPage(QStringLiteral("log"), tr("Log"), tr("What happened (Ctrl+3)"));
  columns->addWidget(m_rail);
  auto* column = new QVBoxLayout;
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(0);
  column->addWidget(buildHeader());
  m_pages = new QStackedWidget(centre);
  m_classify = new ClassifyPage(m_session, m_settings, *m_queue, samples, m_pages);
  m_admin = new AdminPage(admin, m_settings, m_pages);
  m_logPage = new LogPage(*m_log, m_pages);
  m_pages->addWidget(m_classify);
  m_pages->addWidget(m_admin);
  m_pages->addWidget(m_logPage);
  column->addWidget(m_pages, 1);
  columns->addLayout(column, 1);
  setCentralWidget(centre);
  m_overlay = new DropOverlay(this);

  buildMenus(samples);
  buildStatusBar();
  connect(m_rail, &NavigationRail::currentChanged, this, [this](int index) {
    m_pages->setCurrentIndex(index);
    if (administrates()) m_admin->training().reload();
    m_overlay->setText(administrates() ? tr("Drop images to train on, or a model to deploy")
                                       : tr("Drop to classify"));
  });
  connect(m_admin, &AdminPage::logged, this, [this](const QString& level, const QString& line) {
    log(logLevelFromString(level), line);
  });
  connect(m_classify, &ClassifyPage::openRequested, this, &MainWindow::openFiles);
  connect(m_classify, &ClassifyPage::pasteRequested, this, &MainWindow::paste);
  connect(m_classify, &ClassifyPage::connectRequested, this, &MainWindow::showConnectionManager);
  connect(m_classify, &ClassifyPage::sampleChosen, this,
          [this](const QString& path) { classifyFiles({path}); });
  connect(m_message, &MessageBar::actionTriggered, this, &MainWindow::onMessageAction);
  m_goodNews.setSingleShot(true);
  m_goodNews.setInterval(kGoodNewsMs);
  connect(&m_goodNews, &QTimer::timeout, this, [this] { m_message->clear(kEngineMessage); });
  connectSession();

  const QByteArray geometry = m_settings.windowGeometry();
  if (!geometry.isEmpty()) restoreGeometry(geometry);
  m_session.setBankTarget(m_settings.bankTarget());
  refreshHeader();
  refreshTrust();
  refreshRecentMenu();
}

MainWindow::~MainWindow() {
  // Members that signals refer to go before the session does.
  m_session.disconnect(this);
}

QWidget* MainWindow::buildHeader() {
  auto* header = new QWidget(this);
  auto* layout = new QVBoxLayout(header);
  layout->setContentsMargins(20, 12, 20, 0);
  layout->setSpacing(8);
  auto* row = new QHBoxLayout;
  row->setSpacing(10);
  m_engineIcon = new IconLabel(QStringLiteral("disconnected"), 22, Tone::Muted, header);
  m_engineName = new ElidedLabel(header);
  m_engineName->setFont(scaledFont(font(), 1.15, QFont::DemiBold));
  m_engineState = new ElidedLabel(header);
  m_engineState->setTone(Tone::Muted);
  m_engineState->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
  m_bank = new QWidget(header);
  auto* bankLayout = new QHBoxLayout(m_bank);
  bankLayout->setContentsMargins(0, 0, 0, 0);
  bankLayout->setSpacing(8);
  m_bankText = new QLabel(m_bank);
  m_bankText->setForegroundRole(QPalette::PlaceholderText);
  m_bankBar = new QProgressBar(m_bank);
  m_bankBar->setTextVisible(false);
  m_bankBar->setFixedSize(72, 6);
  m_bankBar->setRange(0, 1000);
  m_bankBar->setAccessibleName(tr("Preparing a correlation set"));
  bankLayout->addWidget(new IconLabel(QStringLiteral("layers"), 18, Tone::Muted, m_bank));
  bankLayout->addWidget(m_bankText);
  bankLayout->addWidget(m_bankBar);
  m_bank->setToolTip(
      tr("Correlation sets: each image uses up one. They are prepared ahead in the background."));
  m_bank->hide();
  auto* engines = new QPushButton(icon(QStringLiteral("server")), tr("&Engines…"), header);
  engines->setToolTip(tr("Choose, add and check engines (Ctrl+E)"));
  engines->setAccessibleDescription(engines->toolTip());
  connect(engines, &QPushButton::clicked, this, &MainWindow::showConnectionManager);
  row->addWidget(m_engineIcon);
  row->addWidget(m_engineName);
  row->addWidget(m_engineState, 1);
  row->addWidget(m_bank);
  row->addWidget(engines);
  m_trust = new TrustLine(header);
  m_message = new MessageBar(header);
  layout->addLayout(row);
  layout->addWidget(m_trust);
  layout->addWidget(m_message);
  return header;
}

void MainWindow::buildMenus(const QStringList& samples) {
  QMenu* file = menuBar()->addMenu(tr("&File"));
  QAction* open = file->addAction(icon(QStringLiteral("open")), tr("&Open image…"));
  open->setShortcut(QKeySequence::Open);
  connect(open, &QAction::triggered, this, &MainWindow::openFiles);
  QAction* pasteAction = file->addAction(icon(QStringLiteral("paste")), tr("&Paste picture"));
  pasteAction->setShortcut(QKeySequence::Paste);
  connect(pasteAction, &QAction::triggered, this, &MainWindow::paste);
  file->addSeparator();
  m_cancelAction = file->addAction(icon(QStringLiteral("cancel")), tr("&Cancel classifying"));
  m_cancelAction->setShortcut(Qt::Key_Escape);
  connect(m_cancelAction, &QAction::triggered, m_queue, &ImageQueue::cancel);
  m_retryAction = file->addAction(icon(QStringLiteral("refresh")), tr("&Try again"));
  m_retryAction->setShortcut(Qt::CTRL | Qt::Key_R);
  connect(m_retryAction, &QAction::triggered, m_queue, &ImageQueue::retry);
  if (!samples.isEmpty()) {
    QMenu* menu = file->addMenu(icon(QStringLiteral("image")), tr("&Sample images"));
    for (const QString& path : samples) {
      connect(menu->addAction(sampleName(path)), &QAction::triggered, this,
              [this, path] { classifyFiles({path}); });
    }
  }
  m_recentMenu = file->addMenu(icon(QStringLiteral("clock")), tr("&Recent results"));
  connect(&m_settings, &Settings::recentChanged, this, &MainWindow::refreshRecentMenu);
  file->addSeparator();
  QAction* preferences = file->addAction(icon(QStringLiteral("settings")), tr("Pre&ferences…"));
  preferences->setShortcut(Qt::CTRL | Qt::Key_Comma);
  preferences->setMenuRole(QAction::PreferencesRole);
  connect(preferences, &QAction::triggered, this, &MainWindow::showPreferences);
  file->addSeparator();
  QAction* quit = file->addAction(tr("&Quit"));
  quit->setShortcut(Qt::CTRL | Qt::Key_Q);
  quit->setMenuRole(QAction::QuitRole);
  connect(quit, &QAction::triggered, this, &QWidget::close);

  QMenu* engine = menuBar()->addMenu(tr("&Engine"));
  QAction* manage = engine->addAction(icon(QStringLiteral("server")), tr("&Engines…"));
  manage->setShortcut(Qt::CTRL | Qt::Key_E);
  connect(manage, &QAction::triggered, this, &MainWindow::showConnectionManager);
  m_reconnectAction = engine->addAction(icon(QStringLiteral("refresh")), tr("Connect &again"));
  connect(m_reconnectAction, &QAction::triggered, this, [this] { connectTo(m_engine); });
  m_disconnectAction = engine->addAction(icon(QStringLiteral("disconnected")), tr("&Disconnect"));
  connect(m_disconnectAction, &QAction::triggered, &m_session,
          &client::SessionModel::disconnectFromEngine);

  QMenu* view = menuBar()->addMenu(tr("&View"));
  const QVector<QPair<QString, QString>> pages{{QStringLiteral("image"), tr("&Classify")},
                                               {QStringLiteral("admin"), tr("&Admin")},
                                               {QStringLiteral("log"), tr("&Log")}};
  for (int i = 0; i < pages.size(); ++i) {
    QAction* action = view->addAction(icon(pages[i].first), pages[i].second);
    action->setShortcut(QKeySequence(Qt::CTRL | static_cast<Qt::Key>(Qt::Key_1 + i)));
    connect(action, &QAction::triggered, this, [this, i] { m_rail->setCurrent(i); });
  }

  QMenu* help = menuBar()->addMenu(tr("&Help"));
  QAction* how = help->addAction(icon(QStringLiteral("help")), tr("How it works, &keyboard"));
  how->setShortcut(Qt::Key_F1);
  connect(how, &QAction::triggered, this, &MainWindow::showHelp);
  QAction* about = help->addAction(icon(QStringLiteral("info")), tr("&About Pillarbox"));
  about->setMenuRole(QAction::AboutRole);
  connect(about, &QAction::triggered, this, &MainWindow::showAbout);

  const auto refresh = [this] {
    m_cancelAction->setEnabled(m_queue->busy());
    m_retryAction->setEnabled(m_queue->canRetry());
  };
  refresh();
  connect(m_queue, &ImageQueue::readingStarted, this, refresh);
  connect(m_queue, &ImageQueue::submitted, this, refresh);
  connect(m_queue, &ImageQueue::rejected, this, refresh);
  connect(m_queue, &ImageQueue::cancelledWhileReading, this, refresh);
  connect(&m_session, &client::SessionModel::finished, this, refresh);
  connect(&m_session, &client::SessionModel::failed, this, refresh);
}

void MainWindow::buildStatusBar() {
  QStatusBar* bar = statusBar();
  bar->setSizeGripEnabled(false);
  bar->setAccessibleName(tr("Status"));
  bar->setContentsMargins(12, 0, 12, 0);
  m_statusConnection = new ElidedLabel(bar);
  m_statusConnection->setTone(Tone::Muted);
  m_statusConnection->setToolTip(tr("Connection"));
  const auto item = [&](const QString& tip) {
    auto* label = new QLabel(bar);
    label->setForegroundRole(QPalette::PlaceholderText);
    label->setToolTip(tip);
    label->setContentsMargins(10, 2, 0, 2);
    bar->addPermanentWidget(label);
    return label;
  };
  bar->addWidget(m_statusConnection, 1);
  m_statusPin = item(tr("Fingerprint of the engine's certificate, checked at every connection"));
  m_statusRounds = item(tr("Round trips of the last classification"));
  m_statusBytes = item(tr("Bytes sent and received by the last classification, online phase"));
  m_statusLatency = item(tr("Round-trip time of the connection"));
  m_statusPin->setText(tr("No pin"));
  m_statusRounds->setText(tr("Rounds –"));
  m_statusBytes->setText(tr("Sent – · Received –"));
  m_statusLatency->setText(tr("Latency –"));
}

void MainWindow::connectSession() {
  using client::SessionModel;
  connect(&m_session, &SessionModel::stateChanged, this, &MainWindow::onState);
  connect(&m_session, &SessionModel::bankChanged, this, &MainWindow::onBank);
  connect(&m_session, &SessionModel::modelChanged, this, &MainWindow::onModel);
  connect(&m_session, &SessionModel::connectionChanged, this, &MainWindow::onConnection);
  connect(
      &m_session, &SessionModel::logged, this,
      [this](const QString& level, const QString& line) { log(logLevelFromString(level), line); });
  connect(&m_session, &SessionModel::trustRequested, this,
          [this](const client::TrustQuestion& question) {
            if (m_trustDialog) m_trustDialog->deleteLater();
            auto* dialog = new TrustDialog(question, this);
            m_trustDialog = dialog;
            dialog->setAttribute(Qt::WA_DeleteOnClose);
            connect(dialog, &QDialog::finished, this,
                    [this](int result) { m_session.answerTrust(result == QDialog::Accepted); });
            dialog->open();
          });
  connect(&m_session, &SessionModel::pinMismatch, this,
          [this](const client::PinMismatch& mismatch) {
            m_mismatch = mismatch;
            m_message->showMessage(kPinMessage, Tone::Error,
                                   tr("%1 presents a certificate that is not the pinned one and "
                                      "was refused. Nothing was sent.")
                                       .arg(displayName(mismatch.engine)),
                                   tr("&Compare…"));
            showMismatch();
          });
  connect(&m_session, &SessionModel::progressed, this,
          [this](const client::InferenceProgress& progress) {
            m_statusRounds->setText(tr("Round %1 of %2").arg(progress.round).arg(progress.rounds));
            m_statusBytes->setText(
                tr("Sent %1 · Received %2")
                    .arg(formatBytes(progress.bytesSent), formatBytes(progress.bytesReceived)));
          });
  connect(&m_session, &SessionModel::finished, this,
          [this](const client::ClassificationResult& result) {
            m_statusRounds->setText(tr("Rounds %1").arg(result.rounds));
            m_statusBytes->setText(
                tr("Sent %1 · Received %2")
                    .arg(formatBytes(result.bytesSent), formatBytes(result.bytesReceived)));
            m_message->clear(kInputMessage);
          });
  connect(&m_session, &SessionModel::failed, this,
          [this](quint64, const client::SessionError& error) {
            if (error.code != QLatin1String("cancelled")) log(LogLevel::Error, error.message);
          });
  connect(m_queue, &ImageQueue::rejected, this, [this](const QString&, const QString& why) {
    log(LogLevel::Warning, why);
    if (m_queue->waiting() > 0) m_message->showMessage(kInputMessage, Tone::Warning, why);
  });
  connect(&m_settings, &Settings::bankTargetChanged, &m_session,
          &client::SessionModel::setBankTarget);
  connect(&m_settings, &Settings::themeChanged, this,
          [this] { applyTheme(*qApp, m_settings.theme()); });
  connect(&m_settings, &Settings::enginesChanged, this, [this] {
    // A new name for the engine of this session.
    const auto engines = m_settings.engines();
    for (const client::EngineAddress& engine : engines) {
      if (displayAddress(engine) == displayAddress(m_engine)) m_engine.name = engine.name;
    }
    refreshHeader();
  });
}

void MainWindow::connectTo(const client::EngineAddress& engine) {
  if (engine.host.isEmpty()) return;
  if (displayAddress(engine) != displayAddress(m_engine)) {
    m_model = {};
    m_connection = {};
  }
  m_engine = engine;
  m_wasAway = false;
  m_message->clear(kPinMessage);
  m_message->clear(kEngineMessage);
  if (m_engine.name.isEmpty()) {
    const auto engines = m_settings.engines();
    for (const client::EngineAddress& known : engines) {
      if (displayAddress(known) == displayAddress(engine)) m_engine.name = known.name;
    }
  }
  m_session.connectToEngine(m_engine);
  refreshHeader();
}

void MainWindow::onState(SessionState state, const QString& message) {
  m_state = state;
  switch (state) {
    case SessionState::Reconnecting:
      m_wasAway = true;
      m_goodNews.stop();
      m_message->showMessage(kEngineMessage, Tone::Warning,
                             tr("%1 is away and is tried again by itself. %2")
                                 .arg(displayName(m_engine), sentence(message))
                                 .trimmed(),
                             tr("&Engines…"));
      break;
    case SessionState::Refused:
      if (m_message->key() != QLatin1String(kPinMessage)) {
        m_message->showMessage(
            kEngineMessage, Tone::Error,
            message.isEmpty() ? tr("The engine was refused.") : sentence(message), tr("&Engines…"));
      }
      break;
    case SessionState::Disconnected:
      m_model = {};
      m_connection = {};
      onBank({});
      m_wasAway = false;
      if (message.isEmpty()) {
        m_message->clear(kEngineMessage);
      } else {
        m_message->showMessage(kEngineMessage, Tone::Info, sentence(message), tr("&Engines…"));
      }
      break;
    case SessionState::Preparing:
    case SessionState::Ready:
    case SessionState::Classifying:
      if (m_wasAway) {
        m_wasAway = false;
        m_message->showMessage(kEngineMessage, Tone::Success,
                               tr("Connected to %1 again.").arg(displayName(m_engine)));
        m_goodNews.start();
      } else if (!m_goodNews.isActive()) {
        m_message->clear(kEngineMessage);
      }
      break;
    case SessionState::Connecting:
    case SessionState::AwaitingTrust:
      break;
  }
  refreshHeader();
  refreshTrust();
}

void MainWindow::onBank(const client::BankStatus& bank) {
  m_bankTarget = bank.target;
  m_bank->setVisible(bank.target > 0 && isConnected(m_state));
  const bool preparing = bank.preparing >= 0;
  QString text = tr("%1 of %2 sets ready").arg(bank.ready).arg(bank.target);
  if (preparing) text += tr(" · preparing %1 %").arg(static_cast<int>(100 * bank.preparing));
  m_bankText->setText(text);
  m_bankText->setAccessibleName(text);
  m_bankBar->setVisible(preparing);
  m_bankBar->setValue(static_cast<int>(1000 * std::clamp(bank.preparing, 0.0, 1.0)));
}

void MainWindow::onModel(const client::ModelInfo& model) {
  m_model = model;
  refreshHeader();
  refreshTrust();
}

void MainWindow::onConnection(const client::ConnectionInfo& connection) {
  m_connection = connection;
  refreshHeader();
}

void MainWindow::refreshHeader() {
  QString iconName = QStringLiteral("disconnected");
  Tone tone = Tone::Muted;
  if (isConnected(m_state)) {
    iconName = QStringLiteral("connected");
    tone = Tone::Success;
  } else if (m_state == SessionState::Connecting || m_state == SessionState::AwaitingTrust) {
    iconName = QStringLiteral("connecting");
    tone = Tone::Accent;
  } else if (m_state == SessionState::Reconnecting) {
    iconName = QStringLiteral("warning");
    tone = Tone::Warning;
  } else if (m_state == SessionState::Refused) {
    iconName = QStringLiteral("error");
    tone = Tone::Error;
  }
  m_engineIcon->setIcon(iconName, tone);
  m_bank->setVisible(m_bankTarget > 0 && isConnected(m_state));
  const bool known = !m_engine.host.isEmpty();
  m_engineName->setText(known ? displayName(m_engine) : tr("No engine"));
  QStringList state;
  if (known && !m_engine.name.isEmpty()) state << displayAddress(m_engine);
  if (known) state << stateName(m_state);
  if (isConnected(m_state) && !m_model.name.isEmpty()) state << m_model.name;
  m_engineState->setText(state.join(QStringLiteral(" · ")));

  QString connection = stateName(m_state);
  if (isConnected(m_state) && m_model.insecure) connection = tr("Insecure: %1").arg(connection);
  if (known && m_state != SessionState::Disconnected) {
    connection = tr("%1: %2").arg(displayAddress(m_engine), connection);
  }
  m_statusConnection->setText(connection);
  const bool pinned = isConnected(m_state) && !m_connection.fingerprint.isEmpty();
  m_statusPin->setText(pinned ? tr("Pin %1").arg(shortFingerprint(m_connection.fingerprint))
                              : tr("No pin"));
  m_statusLatency->setText(isConnected(m_state) && m_connection.roundTripMs >= 0
                               ? tr("Latency %1").arg(formatMs(m_connection.roundTripMs))
                               : tr("Latency –"));
  m_disconnectAction->setEnabled(m_state != SessionState::Disconnected);
  m_reconnectAction->setEnabled(known);
}

void MainWindow::refreshTrust() {
  if (m_model.trust.isEmpty()) {
    switch (m_state) {
      case SessionState::Disconnected:
      case SessionState::Refused:
        m_trust->setNeutral(tr("Not connected: nothing leaves this computer."));
        break;
      default:
        m_trust->setNeutral(tr("Who is trusted is shown here as soon as the engine has answered."));
    }
  } else if (m_model.insecure) {
    const bool said = m_model.trust.startsWith(QLatin1String("insecure"), Qt::CaseInsensitive);
    m_trust->setInsecure(said ? sentence(m_model.trust)
                              : tr("Insecure: %1").arg(sentence(m_model.trust)));
  } else {
    m_trust->setTrust(sentence(m_model.trust));
  }
}

void MainWindow::refreshRecentMenu() {
  m_recentMenu->clear();
  const auto items = m_settings.recent();
  constexpr int kShown = 15;
  for (int i = 0; i < items.size() && i < kShown; ++i) {
    const QString name = fontMetrics().elidedText(items[i].result.imageName, Qt::ElideMiddle, 260);
    const QString best =
        items[i].result.top.isEmpty() ? QString() : items[i].result.top.first().label;
    QString text = tr("%1: %2").arg(name, best);
    text.replace(QLatin1Char('&'), QLatin1String("&&"));
    connect(m_recentMenu->addAction(text), &QAction::triggered, this, [this, i] {
      m_rail->setCurrent(0);
      m_classify->showRecent(i);
    });
  }
  if (items.isEmpty()) m_recentMenu->addAction(tr("Nothing yet"))->setEnabled(false);
  m_recentMenu->addSeparator();
  QAction* clear = m_recentMenu->addAction(icon(QStringLiteral("trash")), tr("&Clear the list"));
  clear->setEnabled(!items.isEmpty());
  connect(clear, &QAction::triggered, &m_settings, &Settings::clearRecent);
}

void MainWindow::classifyFiles(const QStringList& paths) {
  QVector<ImageSource> sources;
  for (const QString& path : paths) sources.append({QFileInfo(path).fileName(), path, {}, {}});
  m_rail->setCurrent(0);
  m_queue->add(sources);
}

void MainWindow::openFiles() {
  auto* dialog = new QFileDialog(this, tr("Open images"), m_lastFolder);
  dialog->setAttribute(Qt::WA_DeleteOnClose);
  dialog->setFileMode(QFileDialog::ExistingFiles);
  dialog->setNameFilters({nameFilter(), tr("All files (*)")});
  connect(dialog, &QFileDialog::filesSelected, this, [this, dialog](const QStringList& files) {
    m_lastFolder = dialog->directory().absolutePath();
    classifyFiles(files);
  });
  dialog->open();
}

void MainWindow::paste() {
  const QVector<ImageSource> sources = imageSources(QGuiApplication::clipboard()->mimeData());
  if (sources.isEmpty()) {
    m_message->showMessage(kInputMessage, Tone::Info,
                           tr("There is no picture in the clipboard. Copy one and paste again."),
                           tr("&Open image…"));
    return;
  }
  m_message->clear(kInputMessage);
  m_rail->setCurrent(0);
  m_queue->add(sources);
}

void MainWindow::dragEnterEvent(QDragEnterEvent* event) {
  if (!mayHoldImages(event->mimeData()) && !event->mimeData()->hasUrls()) return;
  event->setDropAction(Qt::CopyAction);
  event->accept();
  m_overlay->raise();
  m_overlay->show();
}

void MainWindow::dragLeaveEvent(QDragLeaveEvent*) {
  m_overlay->hide();
}

void MainWindow::dropEvent(QDropEvent* event) {
  m_overlay->hide();
  event->setDropAction(Qt::CopyAction);
  event->accept();
  if (administrates()) {
    QStringList paths;
    for (const QUrl& url : event->mimeData()->urls()) {
      if (url.isLocalFile()) paths << url.toLocalFile();
    }
    m_admin->drop(paths);
    return;
  }
  const QVector<ImageSource> sources = imageSources(event->mimeData());
  if (sources.isEmpty()) {
    m_message->showMessage(
        kInputMessage, Tone::Info,
        tr("That is a link, and this program opens no web addresses. Save the picture, then drop "
           "the file."),
        tr("&Open image…"));
    return;
  }
  m_message->clear(kInputMessage);
  m_rail->setCurrent(0);
  m_queue->add(sources);
}

void MainWindow::showConnectionManager() {
  auto* dialog = new ConnectionManager(m_session, m_settings, m_engine, this);
  dialog->setAttribute(Qt::WA_DeleteOnClose);
  connect(dialog, &ConnectionManager::connectRequested, this, &MainWindow::connectTo);
  dialog->open();
}

void MainWindow::showMismatch() {
  if (m_mismatchDialog) m_mismatchDialog->deleteLater();
  auto* dialog = new MismatchDialog(m_mismatch, this);
  m_mismatchDialog = dialog;
  dialog->setAttribute(Qt::WA_DeleteOnClose);
  connect(dialog, &MismatchDialog::manageRequested, this, &MainWindow::showConnectionManager);
  dialog->open();
}

void MainWindow::onMessageAction(const QString& key) {
  if (key == QLatin1String(kPinMessage)) {
    showMismatch();
  } else if (key == QLatin1String(kInputMessage)) {
    openFiles();
  } else {
    showConnectionManager();
  }
}

void MainWindow::showPreferences() {
  auto* dialog = new PreferencesDialog(m_settings, this);
  dialog->setAttribute(Qt::WA_DeleteOnClose);
  dialog->open();
}

void MainWindow::showAbout() {
  auto* dialog = new AboutDialog(diagnostics(m_state, m_model), this);
  dialog->setAttribute(Qt::WA_DeleteOnClose);
  dialog->open();
}

void MainWindow::showHelp() {
  auto* dialog = new HelpDialog(this);
  dialog->setAttribute(Qt::WA_DeleteOnClose);
  dialog->open();
}

bool MainWindow::administrates() const {
  return m_pages->currentWidget() == m_admin;
}

void MainWindow::log(LogLevel level, const QString& line) {
  m_log->append(level, line);
}

void MainWindow::askToStopTraining() {
  auto* box =
      new QMessageBox(QMessageBox::NoIcon, tr("A run is being trained"),
                      tr("Stop the training and close the window?"), QMessageBox::NoButton, this);
  box->setInformativeText(tr("It stops with a checkpoint, from which the run can be resumed."));
  box->setAttribute(Qt::WA_DeleteOnClose);
  QPushButton* yes = box->addButton(tr("&Stop and close"), QMessageBox::AcceptRole);
  QPushButton* no = box->addButton(tr("&Keep training"), QMessageBox::RejectRole);
  box->setDefaultButton(no);
  connect(box, &QMessageBox::buttonClicked, this, [this, yes](QAbstractButton* button) {
    if (button != yes) return;
    client::TrainingProcess& process = m_admin->training().process();
    connect(&process, &client::TrainingProcess::ended, this, &QWidget::close);
    process.stop();
    if (!m_admin->training().training()) close();  // it has ended meanwhile
  });
  box->open();
}

void MainWindow::closeEvent(QCloseEvent* event) {
  if (m_admin->training().training()) {
    event->ignore();
    askToStopTraining();
    return;
  }
  m_settings.setWindowGeometry(saveGeometry());
  m_queue->cancel();
  QMainWindow::closeEvent(event);
}

void MainWindow::changeEvent(QEvent* event) {
  QMainWindow::changeEvent(event);
  if (event->type() == QEvent::ThemeChange && m_settings.theme() == ThemeChoice::System) {
    applyTheme(*qApp, ThemeChoice::System);
  }
}

}  // namespace pillarbox::ui

// The window: navigation, who is trusted, the pages, the status bar; and what connects them to the
// session.
//
// It knows the session only as a SessionModel and never waits for it: methods return at once and
// signals tell what happened. Dialogs are opened, not executed.
#pragma once

#include <QMainWindow>
#include <QPointer>
#include <QTimer>

#include "app/client/session_model.h"
#include "app/ui/admin_page.h"
#include "app/ui/log_page.h"
#include "app/ui/settings.h"

class QAction;
class QLabel;
class QMenu;
class QProgressBar;
class QPushButton;
class QStackedWidget;

namespace pillarbox::ui {

class ClassifyPage;
class DropOverlay;
class ElidedLabel;
class IconLabel;
class ImageQueue;
class MessageBar;
class NavigationRail;
class TrustLine;

class MainWindow : public QMainWindow {
  Q_OBJECT
 public:
  /// `session`, `settings` and what `admin` points to must outlive the window.
  MainWindow(client::SessionModel& session, Settings& settings, const QStringList& samples,
             const AdminServices& admin = {}, QWidget* parent = nullptr);
  ~MainWindow() override;

  void connectTo(const client::EngineAddress& engine);
  void classifyFiles(const QStringList& paths);
  ImageQueue& queue() { return *m_queue; }

 public Q_SLOTS:
  void openFiles();
  void paste();
  void showConnectionManager();
  void showPreferences();
  void showAbout();
  void showHelp();

 protected:
  void dragEnterEvent(QDragEnterEvent* event) override;
  void dragLeaveEvent(QDragLeaveEvent* event) override;
  void dropEvent(QDropEvent* event) override;
  void closeEvent(QCloseEvent* event) override;
  void changeEvent(QEvent* event) override;

 private:
  QWidget* buildHeader();
  void buildMenus(const QStringList& samples);
  void buildStatusBar();
  void connectSession();
  void onState(client::SessionState state, const QString& message);
  void onBank(const client::BankStatus& bank);
  void onModel(const client::ModelInfo& model);
  void onConnection(const client::ConnectionInfo& connection);
  void refreshHeader();
  void refreshTrust();
  void refreshRecentMenu();
  void showMismatch();
  void onMessageAction(const QString& key);
  bool administrates() const;
  void askToStopTraining();
  void log(LogLevel level, const QString& line);

  client::SessionModel& m_session;
  Settings& m_settings;
  ImageQueue* m_queue;
  LogModel* m_log;

  client::EngineAddress m_engine;
  client::SessionState m_state;
  client::ModelInfo m_model;
  client::ConnectionInfo m_connection;
  client::PinMismatch m_mismatch;
  bool m_wasAway = false;
  int m_bankTarget = 0;
  QString m_lastFolder;
  QTimer m_goodNews;  ///< withdraws "connected again" after a while
  QPointer<QDialog> m_trustDialog;
  QPointer<QDialog> m_mismatchDialog;

  NavigationRail* m_rail = nullptr;
  QStackedWidget* m_pages = nullptr;
  ClassifyPage* m_classify = nullptr;
  AdminPage* m_admin = nullptr;
  LogPage* m_logPage = nullptr;
  MessageBar* m_message = nullptr;
  TrustLine* m_trust = nullptr;
  DropOverlay* m_overlay = nullptr;
  IconLabel* m_engineIcon = nullptr;
  ElidedLabel* m_engineName = nullptr;
  ElidedLabel* m_engineState = nullptr;
  QWidget* m_bank = nullptr;
  QLabel* m_bankText = nullptr;
  QProgressBar* m_bankBar = nullptr;
  QAction* m_cancelAction = nullptr;
  QAction* m_retryAction = nullptr;
  QAction* m_disconnectAction = nullptr;
  QAction* m_reconnectAction = nullptr;
  QMenu* m_recentMenu = nullptr;
  ElidedLabel* m_statusConnection = nullptr;
  QLabel* m_statusPin = nullptr;
  QLabel* m_statusRounds = nullptr;
  QLabel* m_statusBytes = nullptr;
  QLabel* m_statusLatency = nullptr;
};

}  // namespace pillarbox::ui

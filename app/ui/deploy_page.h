// Deploying: the models at an engine, and changing them with an administrator's certificate.
#pragma once

#include <QPointer>
#include <QWidget>

#include "app/client/deploy_model.h"
#include "app/ui/settings.h"

class QComboBox;
class QDialog;
class QLabel;
class QProgressBar;
class QPushButton;
class QStackedWidget;
class QTableWidget;

namespace pillarbox::ui {

class ElidedLabel;
class MessageBar;

class DeployPage : public QWidget {
  Q_OBJECT
 public:
  DeployPage(client::DeployModel& deploy, Settings& settings, QWidget* parent = nullptr);

  /// Offers to send this model file.
  void offer(const QString& file);

 Q_SIGNALS:
  void logged(const QString& level, const QString& line);

 protected:
  void resizeEvent(QResizeEvent* event) override;
  void showEvent(QShowEvent* event) override;

 private:
  QWidget* buildKey();
  QWidget* buildEngine();
  QWidget* buildModels();
  void connectModel();
  void useAddress();
  void chooseFile();
  void send(bool activate);
  void confirmRemove();
  void show(const client::DeployedModels& models);
  void refresh();
  const client::DeployedModel* selected() const;
  void showTrust(const client::TrustQuestion& question);

  client::DeployModel& m_deploy;
  Settings& m_settings;
  client::DeployedModels m_models;
  client::EngineAddress m_engine;
  QString m_file;
  bool m_busy = false;
  bool m_sending = false;  ///< an upload is under way
  bool m_listed = false;

  MessageBar* m_message = nullptr;
  QLabel* m_keyText = nullptr;
  ElidedLabel* m_key = nullptr;
  QPushButton* m_makeKey = nullptr;
  QPushButton* m_copyKey = nullptr;
  QComboBox* m_address = nullptr;
  QPushButton* m_connect = nullptr;
  ElidedLabel* m_fileLabel = nullptr;
  QPushButton* m_choose = nullptr;
  QPushButton* m_upload = nullptr;
  QPushButton* m_uploadActivate = nullptr;
  QProgressBar* m_progress = nullptr;
  QPushButton* m_cancel = nullptr;
  QStackedWidget* m_pages = nullptr;
  QLabel* m_empty = nullptr;
  QTableWidget* m_table = nullptr;
  QPushButton* m_activate = nullptr;
  QPushButton* m_rollBack = nullptr;
  QPushButton* m_remove = nullptr;
  QPointer<QDialog> m_trust;
};

}  // namespace pillarbox::ui

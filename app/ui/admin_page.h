// The administrator's page: training on one side, deploying on the other.
#pragma once

#include <QWidget>

#include "app/client/deploy_model.h"
#include "app/ui/settings.h"

class QButtonGroup;
class QStackedWidget;

namespace pillarbox::ui {

class DeployPage;
class TrainingPage;

/// What the page works with.
struct AdminServices {
  client::DeployModel* deploy = nullptr;  ///< must outlive the page; null: nothing to deploy to
  QString runsFolder;                     ///< where training runs are kept
  QString trainProgram;                   ///< pillarbox-train; empty: where it usually is
};

class AdminPage : public QWidget {
  Q_OBJECT
 public:
  AdminPage(const AdminServices& services, Settings& settings, QWidget* parent = nullptr);
  TrainingPage& training() { return *m_training; }
  /// Null where there is nothing to deploy to.
  DeployPage* deploy() { return m_deploy; }
  void showDeploy();
  /// Files and folders that were dropped on the window.
  void drop(const QStringList& paths);

 Q_SIGNALS:
  void logged(const QString& level, const QString& line);

 private:
  QButtonGroup* m_tabs;
  QStackedWidget* m_pages;
  TrainingPage* m_training;
  DeployPage* m_deploy = nullptr;
};

}  // namespace pillarbox::ui

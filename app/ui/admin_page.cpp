#include "app/ui/admin_page.h"

#include <QButtonGroup>
#include <QStackedWidget>
#include <QToolButton>
#include <QVBoxLayout>

#include "app/ui/deploy_page.h"
#include "app/ui/icons.h"
#include "app/ui/training_page.h"

namespace pillarbox::ui {

AdminPage::AdminPage(const AdminServices& services, Settings& settings, QWidget* parent)
    : QWidget(parent), m_tabs(new QButtonGroup(this)), m_pages(new QStackedWidget(this)) {
  setAccessibleName(tr("Admin"));
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(0);
  auto* bar = new QHBoxLayout;
  bar->setContentsMargins(16, 8, 20, 0);
  bar->setSpacing(4);
  const auto add = [&](const QString& iconName, const QString& name, const QString& what,
                       QWidget* page) {
    auto* tab = new QToolButton(this);
    tab->setText(name);
    tab->setIcon(icon(iconName));
    tab->setToolButtonStyle(Qt::ToolButtonTextBesideIcon);
    tab->setCheckable(true);
    tab->setAutoRaise(true);
    tab->setFocusPolicy(Qt::StrongFocus);
    tab->setToolTip(what);
    tab->setAccessibleDescription(what);
    m_tabs->addButton(tab, m_pages->addWidget(page));
    bar->addWidget(tab);
  };
  m_training = new TrainingPage(services.runsFolder, services.trainProgram, m_pages);
  add(QStringLiteral("admin"), tr("Training"), tr("Train models on your own images"), m_training);
  if (services.deploy != nullptr) {
    m_deploy = new DeployPage(*services.deploy, settings, m_pages);
    add(QStringLiteral("server"), tr("Deploy"), tr("Send models to an engine and activate them"),
        m_deploy);
    connect(m_deploy, &DeployPage::logged, this, &AdminPage::logged);
  }
  bar->addStretch(1);
  layout->addLayout(bar);
  layout->addWidget(m_pages, 1);
  m_tabs->button(0)->setChecked(true);
  connect(m_tabs, &QButtonGroup::idClicked, m_pages, &QStackedWidget::setCurrentIndex);
  connect(m_training, &TrainingPage::logged, this, &AdminPage::logged);
  connect(m_training, &TrainingPage::deployRequested, this, [this](const QString& file) {
    showDeploy();
    if (m_deploy != nullptr) m_deploy->offer(file);
  });
}

void AdminPage::showDeploy() {
  if (m_deploy == nullptr) return;
  m_tabs->button(1)->setChecked(true);
  m_pages->setCurrentIndex(1);
}

void AdminPage::drop(const QStringList& paths) {
  if (m_deploy != nullptr && paths.size() == 1 &&
      paths.first().endsWith(QLatin1String(".onnx"), Qt::CaseInsensitive)) {
    showDeploy();
    m_deploy->offer(paths.first());
    return;
  }
  m_tabs->button(0)->setChecked(true);
  m_pages->setCurrentIndex(0);
  m_training->useData(paths);
}

}  // namespace pillarbox::ui

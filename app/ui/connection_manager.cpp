#include "app/ui/connection_manager.h"

#include <algorithm>

#include <QDialogButtonBox>
#include <QGridLayout>
#include <QHeaderView>
#include <QLabel>
#include <QLineEdit>
#include <QMessageBox>
#include <QPushButton>
#include <QSpinBox>
#include <QTreeWidget>
#include <QVBoxLayout>

#include "app/ui/format.h"
#include "app/ui/icons.h"
#include "app/ui/settings.h"
#include "app/ui/trust_dialogs.h"
#include "app/ui/widgets.h"

namespace pillarbox::ui {

EngineDialog::EngineDialog(const client::EngineAddress& engine, const QString& title,
                           QWidget* parent)
    : QDialog(parent) {
  setWindowTitle(title);
  setAccessibleName(title);
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(22, 20, 22, 18);
  layout->setSpacing(14);
  auto* grid = new QGridLayout;
  grid->setHorizontalSpacing(14);
  grid->setVerticalSpacing(10);
  grid->setColumnStretch(1, 1);
  m_name = new QLineEdit(engine.name, this);
  m_name->setPlaceholderText(tr("Hospital, second floor"));
  m_name->setMaxLength(80);
  m_name->setAccessibleName(tr("Name"));
  m_host = new QLineEdit(engine.host, this);
  m_host->setPlaceholderText(tr("engine.example.org or 192.0.2.7"));
  m_host->setMaxLength(260);
  m_host->setAccessibleName(tr("Host"));
  m_port = new QSpinBox(this);
  m_port->setRange(1, 65535);
  m_port->setValue(engine.port);
  m_port->setAccessibleName(tr("Port"));
  m_port->setMinimumWidth(110);
  int row = 0;
  const auto addField = [&](const QString& text, QWidget* field, Qt::Alignment alignment) {
    auto* label = new QLabel(text, this);
    label->setBuddy(field);
    grid->addWidget(label, row, 0, Qt::AlignRight | Qt::AlignVCenter);
    grid->addWidget(field, row++, 1, alignment);
  };
  addField(tr("&Name"), m_name, {});
  addField(tr("&Host"), m_host, {});
  addField(tr("&Port"), m_port, Qt::AlignLeft);
  m_problem = new QLabel(this);
  m_problem->setForegroundRole(QPalette::BrightText);
  m_problem->setWordWrap(true);
  m_problem->setMinimumHeight(m_problem->fontMetrics().height());
  auto* buttons = new QDialogButtonBox(this);
  m_ok = buttons->addButton(tr("&Save"), QDialogButtonBox::AcceptRole);
  buttons->addButton(tr("&Cancel"), QDialogButtonBox::RejectRole)->setAutoDefault(false);
  m_ok->setDefault(true);
  connect(buttons, &QDialogButtonBox::accepted, this, &QDialog::accept);
  connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
  connect(m_host, &QLineEdit::textChanged, this, &EngineDialog::check);
  connect(m_host, &QLineEdit::editingFinished, this, [this] {
    // HOST:PORT pasted into the host field is split.
    const auto address = parseAddress(m_host->text());
    if (!address) return;
    if (m_host->text().trimmed() != address->host) {
      if (m_host->text().contains(QLatin1Char(':'))) m_port->setValue(address->port);
      m_host->setText(address->host);
    }
  });
  layout->addLayout(grid);
  layout->addWidget(m_problem);
  layout->addWidget(buttons);
  check();
  m_name->setFocus();
  fitHeight(*this, 460);
}

client::EngineAddress EngineDialog::engine() const {
  client::EngineAddress engine;
  engine.name = m_name->text().trimmed();
  engine.host = m_host->text().trimmed();
  engine.port = static_cast<quint16>(m_port->value());
  const bool ipv6 = engine.host.count(QLatin1Char(':')) > 1;
  if (const auto address = parseAddress(engine.host); address && !ipv6) {
    engine.host = address->host;
    if (m_host->text().contains(QLatin1Char(':'))) engine.port = address->port;
  }
  return engine;
}

void EngineDialog::check() {
  const QString host = m_host->text().trimmed();
  const bool ipv6 = host.count(QLatin1Char(':')) > 1 && !host.startsWith(QLatin1Char('['));
  const bool good = ipv6 || parseAddress(host).has_value();
  m_ok->setEnabled(good);
  QString problem;
  if (!good && !host.isEmpty()) {
    problem = tr("That is not a host name or an address.");
  }
  m_problem->setText(problem);
}

ConnectionManager::ConnectionManager(client::SessionModel& session, Settings& settings,
                                     const client::EngineAddress& current, QWidget* parent)
    : QDialog(parent), m_session(session), m_settings(settings) {
  setWindowTitle(tr("Engines"));
  setAccessibleName(tr("Connection manager"));
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(22, 20, 22, 18);
  layout->setSpacing(12);
  auto* intro = new QLabel(
      tr("An engine holds the model and runs on another machine. Its certificate is pinned at the "
         "first contact and checked at every connection."),
      this);
  intro->setForegroundRole(QPalette::PlaceholderText);
  intro->setWordWrap(true);
  layout->addWidget(intro);
  auto* middle = new QHBoxLayout;
  middle->setSpacing(12);
  m_list = new QTreeWidget(this);
  m_list->setRootIsDecorated(false);
  m_list->setUniformRowHeights(true);
  m_list->setAllColumnsShowFocus(true);
  m_list->setAccessibleName(tr("Engines"));
  m_list->setAccessibleDescription(tr("Name, address, whether it answers, pinned certificate"));
  m_list->setHeaderLabels({tr("Name"), tr("Address"), tr("Answers"), tr("Certificate")});
  m_list->header()->setStretchLastSection(false);
  m_list->header()->setSectionResizeMode(QHeaderView::Fixed);
  m_list->header()->setSectionResizeMode(NameColumn, QHeaderView::Stretch);
  const auto width = [this](const QString& text) {
    return m_list->fontMetrics().horizontalAdvance(text) + 26;
  };
  m_list->setColumnWidth(AddressColumn, width(QStringLiteral("engine.example.org:65535")));
  m_list->setColumnWidth(AnswerColumn, width(tr("No answer")) + 26);
  m_list->setColumnWidth(PinColumn, width(tr("Pinned %1").arg(QStringLiteral("AA:AA:AA:AA…"))));
  m_list->setIndentation(0);
  m_list->setTextElideMode(Qt::ElideRight);
  m_empty = new QLabel(tr("No engine yet.\nAdd the one you want to use."), m_list->viewport());
  m_empty->setAlignment(Qt::AlignCenter);
  m_empty->setForegroundRole(QPalette::PlaceholderText);
  auto* emptyLayout = new QVBoxLayout(m_list->viewport());
  emptyLayout->addWidget(m_empty);
  middle->addWidget(m_list, 1);
  auto* column = new QVBoxLayout;
  column->setSpacing(8);
  const auto addButton = [&](const QString& iconName, const QString& text,
                             const QString& description) {
    auto* button = new QPushButton(icon(iconName), text, this);
    button->setAutoDefault(false);
    button->setAccessibleDescription(description);
    button->setToolTip(description);
    column->addWidget(button);
    return button;
  };
  auto* addEngine = addButton(QStringLiteral("add"), tr("&Add…"), tr("Add an engine"));
  m_edit = addButton(QStringLiteral("edit"), tr("&Edit…"), tr("Change name, host and port"));
  m_remove = addButton(QStringLiteral("trash"), tr("&Remove…"), tr("Remove the selected engine"));
  column->addSpacing(10);
  m_forget = addButton(QStringLiteral("lock"), tr("&Forget certificate…"),
                       tr("Remove the pinned certificate; the next contact asks again"));
  auto* certificates = addButton(QStringLiteral("log"), tr("All ce&rtificates…"),
                                 tr("Every pinned certificate, of dealers and administration too"));
  m_check = addButton(QStringLiteral("refresh"), tr("C&heck again"),
                      tr("Ask again which engines answer"));
  column->addStretch(1);
  middle->addLayout(column);
  layout->addLayout(middle, 1);
  auto* buttons = new QDialogButtonBox(this);
  m_connect = buttons->addButton(tr("&Connect"), QDialogButtonBox::AcceptRole);
  auto* close = buttons->addButton(tr("Close"), QDialogButtonBox::RejectRole);
  close->setAutoDefault(false);
  m_connect->setDefault(true);
  layout->addWidget(buttons);

  connect(addEngine, &QPushButton::clicked, this, &ConnectionManager::add);
  connect(m_edit, &QPushButton::clicked, this, &ConnectionManager::edit);
  connect(m_remove, &QPushButton::clicked, this, &ConnectionManager::remove);
  connect(m_forget, &QPushButton::clicked, this, &ConnectionManager::forgetPin);
  connect(certificates, &QPushButton::clicked, this, &ConnectionManager::showCertificates);
  connect(m_check, &QPushButton::clicked, this, &ConnectionManager::probeAll);
  connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
  connect(buttons, &QDialogButtonBox::accepted, this, &ConnectionManager::connectSelected);
  connect(m_list, &QTreeWidget::itemActivated, this, &ConnectionManager::connectSelected);
  connect(m_list, &QTreeWidget::itemSelectionChanged, this, &ConnectionManager::updateButtons);
  connect(&m_session, &client::SessionModel::probed, this, &ConnectionManager::showProbe);
  // Trust given while this is open shows as a new pin.
  connect(&m_session, &client::SessionModel::connectionChanged, this,
          [this](const client::ConnectionInfo&) { refreshPins(); });

  int select = 0;
  const auto engines = m_settings.engines();
  for (int i = 0; i < engines.size(); ++i) {
    if (displayAddress(engines[i]) == displayAddress(current)) select = i;
  }
  rebuild(select);
  resize(900, 440);
  m_list->setFocus();
}

void ConnectionManager::rebuild(int select) {
  m_list->clear();
  const auto engines = m_settings.engines();
  for (const client::EngineAddress& engine : engines) {
    auto* item = new QTreeWidgetItem(m_list);
    item->setText(NameColumn, displayName(engine));
    item->setText(AddressColumn, displayAddress(engine));
    item->setText(AnswerColumn, tr("Asking…"));
    item->setSizeHint(NameColumn, QSize(0, m_list->fontMetrics().height() + 14));
  }
  m_empty->setVisible(engines.isEmpty());
  refreshPins();
  if (!engines.isEmpty()) {
    m_list->setCurrentItem(
        m_list->topLevelItem(std::clamp(select, 0, static_cast<int>(engines.size()) - 1)));
  }
  updateButtons();
  probeAll();
}

void ConnectionManager::refreshPins() {
  const auto engines = m_settings.engines();
  for (int i = 0; i < engines.size() && i < m_list->topLevelItemCount(); ++i) {
    const QString pin = m_session.pinnedFingerprint(engines[i].host, engines[i].port);
    QTreeWidgetItem* item = m_list->topLevelItem(i);
    item->setText(PinColumn,
                  pin.isEmpty() ? tr("Not pinned") : tr("Pinned %1").arg(shortFingerprint(pin)));
    item->setToolTip(PinColumn, fingerprintRows(pin).join(QLatin1Char('\n')));
  }
  updateButtons();
}

void ConnectionManager::probeAll() {
  const auto engines = m_settings.engines();
  for (int i = 0; i < engines.size(); ++i) {
    if (QTreeWidgetItem* item = m_list->topLevelItem(i)) {
      item->setText(AnswerColumn, tr("Asking…"));
      item->setIcon(AnswerColumn, icon(QStringLiteral("connecting")));
    }
    m_session.probe(engines[i]);
  }
}

void ConnectionManager::showProbe(const client::EngineAddress& address, bool reachable,
                                  double roundTripMs, const QString& message) {
  for (int i = 0; i < m_list->topLevelItemCount(); ++i) {
    QTreeWidgetItem* item = m_list->topLevelItem(i);
    if (item->text(AddressColumn) != displayAddress(address)) continue;
    item->setText(AnswerColumn,
                  reachable ? tr("Yes, %1").arg(formatMs(roundTripMs)) : tr("No answer"));
    item->setIcon(AnswerColumn,
                  icon(reachable ? QStringLiteral("connected") : QStringLiteral("disconnected")));
    item->setToolTip(AnswerColumn, message);
  }
}

int ConnectionManager::selected() const {
  const QList<QTreeWidgetItem*> items = m_list->selectedItems();
  return items.isEmpty() ? -1 : m_list->indexOfTopLevelItem(items.first());
}

void ConnectionManager::updateButtons() {
  const int index = selected();
  const auto engines = m_settings.engines();
  const bool any = index >= 0 && index < engines.size();
  m_edit->setEnabled(any);
  m_remove->setEnabled(any);
  m_connect->setEnabled(any);
  m_check->setEnabled(!engines.isEmpty());
  m_forget->setEnabled(
      any && !m_session.pinnedFingerprint(engines[index].host, engines[index].port).isEmpty());
}

void ConnectionManager::add() {
  auto* dialog = new EngineDialog({}, tr("Add an engine"), this);
  dialog->setAttribute(Qt::WA_DeleteOnClose);
  connect(dialog, &QDialog::accepted, this, [this, dialog] {
    auto engines = m_settings.engines();
    engines.append(dialog->engine());
    m_settings.setEngines(engines);
    rebuild(static_cast<int>(engines.size()) - 1);
  });
  dialog->open();
}

void ConnectionManager::edit() {
  const int index = selected();
  auto engines = m_settings.engines();
  if (index < 0 || index >= engines.size()) return;
  auto* dialog = new EngineDialog(engines[index], tr("Edit the engine"), this);
  dialog->setAttribute(Qt::WA_DeleteOnClose);
  connect(dialog, &QDialog::accepted, this, [this, dialog, index] {
    auto engines = m_settings.engines();
    if (index >= engines.size()) return;
    engines[index] = dialog->engine();
    m_settings.setEngines(engines);
    rebuild(index);
  });
  dialog->open();
}

void ConnectionManager::remove() {
  const int index = selected();
  const auto engines = m_settings.engines();
  if (index < 0 || index >= engines.size()) return;
  auto* box = new QMessageBox(QMessageBox::NoIcon, tr("Remove the engine"),
                              tr("Remove “%1” from the list? Its pinned certificate stays known.")
                                  .arg(displayName(engines[index])),
                              QMessageBox::NoButton, this);
  box->setAttribute(Qt::WA_DeleteOnClose);
  QPushButton* yes = box->addButton(tr("&Remove"), QMessageBox::AcceptRole);
  QPushButton* no = box->addButton(tr("&Keep it"), QMessageBox::RejectRole);
  box->setDefaultButton(no);
  connect(box, &QMessageBox::buttonClicked, this, [this, yes, index](QAbstractButton* button) {
    if (button != yes) return;
    auto list = m_settings.engines();
    if (index < list.size()) list.removeAt(index);
    m_settings.setEngines(list);
    rebuild(index);
  });
  box->open();
}

void ConnectionManager::forgetPin() {
  const int index = selected();
  const auto engines = m_settings.engines();
  if (index < 0 || index >= engines.size()) return;
  const client::EngineAddress engine = engines[index];
  auto* box = new QMessageBox(QMessageBox::NoIcon, tr("Forget the certificate"),
                              tr("Forget the pinned certificate of “%1”?").arg(displayName(engine)),
                              QMessageBox::NoButton, this);
  box->setInformativeText(
      tr("Do this only if its operator told you that the certificate is a new one. The next "
         "connection shows the fingerprint and asks; compare it before you trust it."));
  box->setAttribute(Qt::WA_DeleteOnClose);
  QPushButton* yes = box->addButton(tr("&Forget it"), QMessageBox::AcceptRole);
  QPushButton* no = box->addButton(tr("&Keep it"), QMessageBox::RejectRole);
  box->setDefaultButton(no);
  connect(box, &QMessageBox::buttonClicked, this, [this, yes, engine](QAbstractButton* button) {
    if (button != yes) return;
    const bool removed = m_session.removePin(engine.host, engine.port);
    refreshPins();
    if (removed) return;
    auto* failed = new QMessageBox(QMessageBox::NoIcon, tr("Forget the certificate"),
                                   tr("The pin could not be removed. The log says why."),
                                   QMessageBox::Close, this);
    failed->setAttribute(Qt::WA_DeleteOnClose);
    failed->open();
  });
  box->open();
}

void ConnectionManager::showCertificates() {
  auto* dialog = new CertificatesDialog(m_session, this);
  dialog->setAttribute(Qt::WA_DeleteOnClose);
  connect(dialog, &QDialog::finished, this, &ConnectionManager::refreshPins);
  dialog->open();
}

void ConnectionManager::connectSelected() {
  const int index = selected();
  const auto engines = m_settings.engines();
  if (index < 0 || index >= engines.size()) return;
  m_settings.setLastEngine(index);
  accept();
  Q_EMIT connectRequested(engines[index]);
}

}  // namespace pillarbox::ui

#include "app/ui/deploy_page.h"

#include <algorithm>

#include <QClipboard>
#include <QComboBox>
#include <QDir>
#include <QFileDialog>
#include <QFileInfo>
#include <QGuiApplication>
#include <QHeaderView>
#include <QLabel>
#include <QLineEdit>
#include <QLocale>
#include <QMessageBox>
#include <QProgressBar>
#include <QPushButton>
#include <QStackedWidget>
#include <QTableWidget>
#include <QVBoxLayout>

#include "app/ui/format.h"
#include "app/ui/icons.h"
#include "app/ui/trust_dialogs.h"
#include "app/ui/widgets.h"

namespace pillarbox::ui {

namespace {

constexpr quint16 kAdminPort = 7122;
constexpr int kIdDigits = 12;
constexpr int kNarrow = 760;  ///< of the page
enum Column { NameColumn, StateColumn, RoundsColumn, SizeColumn, AddedColumn, IdColumn };
const char kMessage[] = "deploy";

QLabel* heading(const QString& text, QWidget* parent) {
  auto* label = new QLabel(text, parent);
  label->setFont(scaledFont(label->font(), 1.15, QFont::DemiBold));
  return label;
}

QString stateOf(const client::DeployedModel& model) {
  if (model.active) return DeployPage::tr("Active");
  if (model.previous) return DeployPage::tr("Previous");
  if (model.served) return DeployPage::tr("Served by name");
  return DeployPage::tr("Stored");
}

}  // namespace

DeployPage::DeployPage(client::DeployModel& deploy, Settings& settings, QWidget* parent)
    : QWidget(parent), m_deploy(deploy), m_settings(settings) {
  setAccessibleName(tr("Deploy"));
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(20, 10, 20, 16);
  layout->setSpacing(12);
  m_message = new MessageBar(this);
  layout->addWidget(m_message);
  auto* upper = new QHBoxLayout;
  upper->setSpacing(14);
  upper->addWidget(buildEngine(), 3);
  upper->addWidget(buildKey(), 2);
  layout->addLayout(upper);
  layout->addWidget(buildModels(), 1);
  connectModel();
  refresh();
}

QWidget* DeployPage::buildKey() {
  auto* card = new Card(this);
  auto* layout = new QVBoxLayout(card);
  layout->setContentsMargins(16, 14, 16, 14);
  layout->setSpacing(8);
  layout->addWidget(heading(tr("Your administrator key"), card));
  m_keyText = new QLabel(card);
  m_keyText->setWordWrap(true);
  m_keyText->setForegroundRole(QPalette::PlaceholderText);
  layout->addWidget(m_keyText);
  m_key = new ElidedLabel(card);
  m_key->setElideMode(Qt::ElideMiddle);
  m_key->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
  layout->addWidget(m_key);
  layout->addStretch(1);
  auto* row = new QHBoxLayout;
  m_makeKey = new QPushButton(icon(QStringLiteral("lock")), tr("&Make a key"), card);
  m_makeKey->setAccessibleDescription(tr("Make the key and certificate that identify you"));
  m_copyKey = new QPushButton(icon(QStringLiteral("copy")), tr("Cop&y the fingerprint"), card);
  row->addWidget(m_makeKey);
  row->addWidget(m_copyKey);
  row->addStretch(1);
  layout->addLayout(row);
  connect(m_makeKey, &QPushButton::clicked, this, [this] {
    if (m_deploy.createKey()) {
      m_message->showMessage(kMessage, Tone::Success,
                             tr("The key is made. Give its fingerprint to whoever runs the engine; "
                                "once it is on the engine's list you can connect."));
    }
    refresh();
  });
  connect(m_copyKey, &QPushButton::clicked, this,
          [this] { QGuiApplication::clipboard()->setText(m_deploy.ownFingerprint()); });
  return card;
}

QWidget* DeployPage::buildEngine() {
  auto* card = new Card(this);
  auto* layout = new QVBoxLayout(card);
  layout->setContentsMargins(16, 14, 16, 14);
  layout->setSpacing(10);
  layout->addWidget(heading(tr("Engine"), card));
  auto* row = new QHBoxLayout;
  m_address = new QComboBox(card);
  m_address->setEditable(true);
  m_address->setInsertPolicy(QComboBox::NoInsert);
  m_address->setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Fixed);
  m_address->lineEdit()->setPlaceholderText(tr("HOST:PORT of the engine's administration"));
  m_address->setAccessibleName(tr("Administration address of the engine"));
  QStringList hosts;
  for (const client::EngineAddress& engine : m_settings.engines()) {
    const QString address = displayAddress({{}, engine.host, kAdminPort, {}});
    if (!hosts.contains(address)) hosts << address;
  }
  m_address->addItems(hosts);
  m_address->setCurrentIndex(hosts.isEmpty() ? -1 : 0);
  m_connect = new QPushButton(icon(QStringLiteral("refresh")), tr("List &models"), card);
  m_connect->setAccessibleDescription(tr("Connect and list the engine's models"));
  connect(m_connect, &QPushButton::clicked, this, &DeployPage::useAddress);
  connect(m_address->lineEdit(), &QLineEdit::returnPressed, this, &DeployPage::useAddress);
  connect(m_address, &QComboBox::editTextChanged, this, [this] { refresh(); });
  row->addWidget(m_address, 1);
  row->addWidget(m_connect);
  layout->addLayout(row);

  auto* fileRow = new QHBoxLayout;
  auto* sendRow = new QHBoxLayout;
  m_fileLabel = new ElidedLabel(card);
  m_fileLabel->setElideMode(Qt::ElideMiddle);
  m_fileLabel->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
  m_choose = new QPushButton(icon(QStringLiteral("open")), tr("Choose &file…"), card);
  m_choose->setAccessibleDescription(tr("Choose the model file to send"));
  m_upload = new QPushButton(tr("&Upload"), card);
  m_upload->setAccessibleDescription(tr("Send the file; clients go on with the active model"));
  m_uploadActivate = new QPushButton(tr("Upload and &activate"), card);
  m_uploadActivate->setAccessibleDescription(tr("Send the file and give it to clients"));
  m_uploadActivate->setProperty("primary", true);
  connect(m_choose, &QPushButton::clicked, this, &DeployPage::chooseFile);
  connect(m_upload, &QPushButton::clicked, this, [this] { send(false); });
  connect(m_uploadActivate, &QPushButton::clicked, this, [this] { send(true); });
  fileRow->addWidget(m_fileLabel, 1);
  fileRow->addWidget(m_choose);
  layout->addLayout(fileRow);

  m_progress = new QProgressBar(card);
  m_progress->setTextVisible(false);
  m_progress->setFixedHeight(6);
  m_progress->setRange(0, 1000);
  m_progress->setAccessibleName(tr("Upload"));
  m_cancel = new QPushButton(icon(QStringLiteral("cancel")), tr("Cancel"), card);
  connect(m_cancel, &QPushButton::clicked, &m_deploy, &client::DeployModel::cancel);
  sendRow->addWidget(m_progress, 1);
  sendRow->addWidget(m_cancel);
  sendRow->addStretch();
  sendRow->addWidget(m_upload);
  sendRow->addWidget(m_uploadActivate);
  layout->addLayout(sendRow);
  return card;
}

QWidget* DeployPage::buildModels() {
  auto* card = new Card(this);
  auto* layout = new QVBoxLayout(card);
  layout->setContentsMargins(16, 14, 16, 14);
  layout->setSpacing(10);
  auto* row = new QHBoxLayout;
  row->addWidget(heading(tr("Models at the engine"), card), 1);
  const auto button = [&](const QString& iconName, const QString& text, const QString& what) {
    auto* made = new QPushButton(icon(iconName), text, card);
    made->setToolTip(what);
    made->setAccessibleDescription(what);
    row->addWidget(made);
    return made;
  };
  m_activate = button(QStringLiteral("check"), tr("A&ctivate"),
                      tr("Clients that connect from now on get the selected model"));
  m_rollBack = button(QStringLiteral("refresh"), tr("&Roll back"),
                      tr("Activate the model that was active before"));
  m_remove = button(QStringLiteral("trash"), tr("R&emove…"),
                    tr("Delete the selected model from the engine"));
  connect(m_activate, &QPushButton::clicked, this, [this] {
    if (const auto* model = selected()) m_deploy.activate(model->id);
  });
  connect(m_rollBack, &QPushButton::clicked, &m_deploy, &client::DeployModel::rollBack);
  connect(m_remove, &QPushButton::clicked, this, &DeployPage::confirmRemove);
  layout->addLayout(row);

  m_pages = new QStackedWidget(card);
  m_empty = new QLabel(card);
  m_empty->setAlignment(Qt::AlignCenter);
  m_empty->setWordWrap(true);
  m_empty->setForegroundRole(QPalette::PlaceholderText);
  m_table = new QTableWidget(0, 6, card);
  m_table->setAccessibleName(tr("Models at the engine"));
  m_table->setHorizontalHeaderLabels(
      {tr("Model"), tr("State"), tr("Rounds"), tr("Size"), tr("Added"), tr("Id")});
  m_table->verticalHeader()->hide();
  m_table->setShowGrid(false);
  m_table->setAlternatingRowColors(true);
  m_table->setEditTriggers(QAbstractItemView::NoEditTriggers);
  m_table->setSelectionBehavior(QAbstractItemView::SelectRows);
  m_table->setSelectionMode(QAbstractItemView::SingleSelection);
  m_table->setFrameShape(QFrame::NoFrame);
  m_table->setTabKeyNavigation(false);
  m_table->setWordWrap(false);
  m_table->horizontalHeader()->setHighlightSections(false);
  m_table->horizontalHeader()->setDefaultAlignment(Qt::AlignLeft | Qt::AlignVCenter);
  m_table->horizontalHeader()->setSectionResizeMode(QHeaderView::ResizeToContents);
  m_table->horizontalHeader()->setSectionResizeMode(NameColumn, QHeaderView::Stretch);
  connect(m_table, &QTableWidget::itemSelectionChanged, this, [this] { refresh(); });
  m_pages->addWidget(m_empty);
  m_pages->addWidget(m_table);
  layout->addWidget(m_pages, 1);
  return card;
}

void DeployPage::connectModel() {
  using client::DeployModel;
  connect(&m_deploy, &DeployModel::busyChanged, this, [this](bool busy) {
    m_busy = busy;
    m_sending = m_sending && busy;
    if (busy) m_message->clear(kMessage);
    refresh();
  });
  connect(&m_deploy, &DeployModel::listed, this, &DeployPage::show);
  connect(&m_deploy, &DeployModel::uploadProgressed, this, [this](quint64 sent, quint64 total) {
    m_progress->setRange(0, 1000);
    m_progress->setValue(static_cast<int>(1000 * sent / std::max<quint64>(1, total)));
  });
  connect(&m_deploy, &DeployModel::done, this, [this](const QString& what) {
    m_message->showMessage(kMessage, Tone::Success, what);
    Q_EMIT logged(QStringLiteral("info"), what);
  });
  connect(&m_deploy, &DeployModel::failed, this, [this](const client::SessionError& error) {
    if (error.code == QLatin1String("cancelled")) {
      m_message->showMessage(kMessage, Tone::Info,
                             tr("Cancelled. Nothing was changed at the engine."));
      return;
    }
    m_message->showMessage(kMessage, Tone::Error, sentence(error.message));
    Q_EMIT logged(QStringLiteral("error"), error.message);
  });
  connect(&m_deploy, &DeployModel::trustRequested, this, &DeployPage::showTrust);
}

void DeployPage::resizeEvent(QResizeEvent* event) {
  QWidget::resizeEvent(event);
  m_table->setColumnHidden(IdColumn, width() < kNarrow);
  m_table->setColumnHidden(AddedColumn, width() < kNarrow);
}

void DeployPage::showEvent(QShowEvent* event) {
  QWidget::showEvent(event);
  refresh();  // a key may have been made meanwhile, with pillarbox-cli
}

void DeployPage::showTrust(const client::TrustQuestion& question) {
  if (m_trust) m_trust->deleteLater();
  auto* dialog = new TrustDialog(question, this);
  m_trust = dialog;
  dialog->setAttribute(Qt::WA_DeleteOnClose);
  connect(dialog, &QDialog::finished, this,
          [this](int result) { m_deploy.answerTrust(result == QDialog::Accepted); });
  dialog->open();
}

void DeployPage::useAddress() {
  QString text = m_address->currentText().trimmed();
  auto address = parseAddress(text);
  if (!address) {
    m_message->showMessage(
        kMessage, Tone::Warning,
        tr("That is no address. Write HOST:PORT, for example engine.example:%1.").arg(kAdminPort));
    return;
  }
  // An address without a port is meant for administration here.
  const bool noPort = !text.contains(QLatin1Char(':')) || text.endsWith(QLatin1Char(']'));
  if (noPort) address->port = kAdminPort;
  if (displayAddress(*address) != displayAddress(m_engine)) {
    m_listed = false;
    m_models = {};
    m_table->setRowCount(0);
  }
  m_engine = *address;
  m_deploy.setEngine(m_engine);
  m_deploy.refresh();
}

void DeployPage::offer(const QString& file) {
  m_file = file;
  refresh();
  m_message->showMessage(kMessage, Tone::Info,
                         tr("%1 is ready to be sent. Choose the engine, then upload it.")
                             .arg(QFileInfo(file).fileName()));
}

void DeployPage::chooseFile() {
  const QString file = QFileDialog::getOpenFileName(
      this, tr("Model file"), m_file.isEmpty() ? QDir::homePath() : QFileInfo(m_file).path(),
      tr("Model files (*.onnx)"));
  if (file.isEmpty()) return;
  m_file = file;
  refresh();
}

void DeployPage::send(bool activate) {
  m_sending = true;
  m_progress->setRange(0, 1000);
  m_progress->setValue(0);
  m_deploy.upload(m_file, activate);
}

void DeployPage::confirmRemove() {
  const auto* model = selected();
  if (model == nullptr) return;
  auto* box = new QMessageBox(
      QMessageBox::NoIcon, tr("Remove the model"),
      tr("Remove “%1” (%2) from the engine?").arg(model->name, model->id.left(kIdDigits)),
      QMessageBox::Cancel, this);
  box->setInformativeText(
      tr("Sessions that use it go on. It cannot be activated or rolled back to afterwards."));
  box->setAttribute(Qt::WA_DeleteOnClose);
  QPushButton* remove = box->addButton(tr("&Remove"), QMessageBox::DestructiveRole);
  box->setDefaultButton(QMessageBox::Cancel);
  connect(remove, &QPushButton::clicked, this, [this, id = model->id] { m_deploy.remove(id); });
  box->open();
}

const client::DeployedModel* DeployPage::selected() const {
  const int row = m_table->currentRow();
  return m_table->selectedItems().isEmpty() || row < 0 || row >= m_models.models.size()
             ? nullptr
             : &m_models.models[row];
}

void DeployPage::show(const client::DeployedModels& models) {
  const auto* before = selected();
  const QString kept = before != nullptr ? before->id : QString();
  m_models = models;
  m_listed = true;
  m_table->setRowCount(static_cast<int>(models.models.size()));
  for (int i = 0; i < models.models.size(); ++i) {
    const client::DeployedModel& model = models.models[i];
    const QStringList cells{model.file.isEmpty() || model.file == model.name
                                ? model.name
                                : QStringLiteral("%1 (%2)").arg(model.name, model.file),
                            stateOf(model),
                            QString::number(model.rounds),
                            formatBytes(model.bytes),
                            model.configured
                                ? tr("in the configuration")
                                : QLocale().toString(model.added, tr("d MMM yyyy HH:mm")),
                            model.id.left(kIdDigits)};
    for (int column = 0; column < cells.size(); ++column) {
      auto* item = new QTableWidgetItem(cells[column]);
      if (model.active) {
        QFont bold = m_table->font();
        bold.setWeight(QFont::DemiBold);
        item->setFont(bold);
      }
      item->setToolTip(
          model.addedBy.isEmpty() ? model.id : tr("%1\nadded by %2").arg(model.id, model.addedBy));
      m_table->setItem(i, column, item);
    }
    if (model.id == kept) m_table->selectRow(i);
  }
  refresh();
}

void DeployPage::refresh() {
  const QString own = m_deploy.ownFingerprint();
  m_keyText->setText(
      own.isEmpty() ? tr("An engine lets only administrators in whose certificates it knows. Make "
                         "a key, and give its fingerprint to whoever runs the engine.")
                    : tr("The engine must know this fingerprint (administration.fingerprints, or "
                         "--admin-fingerprint):"));
  m_key->setVisible(!own.isEmpty());
  m_key->setText(own);
  m_makeKey->setVisible(own.isEmpty());
  m_copyKey->setVisible(!own.isEmpty());
  m_address->setEnabled(!m_busy);
  m_connect->setEnabled(!m_busy && !own.isEmpty() && !m_address->currentText().trimmed().isEmpty());
  m_fileLabel->setText(m_file.isEmpty() ? tr("No model file chosen") : m_file);
  m_fileLabel->setTone(m_file.isEmpty() ? Tone::Muted : Tone::Plain);
  const bool sendable = m_listed && !m_busy && !m_file.isEmpty();
  m_choose->setEnabled(!m_busy);
  m_upload->setEnabled(sendable);
  m_uploadActivate->setEnabled(sendable);
  m_progress->setVisible(m_sending);
  m_cancel->setVisible(m_busy);
  const auto* model = selected();
  m_activate->setEnabled(!m_busy && model != nullptr && !model->active);
  m_rollBack->setEnabled(!m_busy && m_listed && m_models.canRollBack);
  m_remove->setEnabled(!m_busy && model != nullptr && !model->active && !model->configured);
  const bool rows = m_listed && !m_models.models.isEmpty();
  m_pages->setCurrentIndex(rows ? 1 : 0);
  m_empty->setText(m_busy     ? tr("Asking the engine…")
                   : m_listed ? tr("The engine has no models yet. Choose a file and upload it.")
                   : own.isEmpty() ? tr("Make your administrator key first.")
                                   : tr("Enter the engine's administration address and list its "
                                        "models."));
}

}  // namespace pillarbox::ui

#include "app/ui/trust_dialogs.h"

#include <QClipboard>
#include <QDialogButtonBox>
#include <QFontDatabase>
#include <QGridLayout>
#include <QGuiApplication>
#include <QHeaderView>
#include <QLabel>
#include <QLineEdit>
#include <QLocale>
#include <QMessageBox>
#include <QPushButton>
#include <QTreeWidget>
#include <QVBoxLayout>

#include "app/ui/format.h"
#include "app/ui/icons.h"
#include "app/ui/settings.h"
#include "app/ui/widgets.h"

namespace pillarbox::ui {

namespace {

/// Icon, headline, explanation: the top of both dialogs.
void addHead(QVBoxLayout* layout, QWidget* parent, const QString& iconName, Tone tone,
             const QString& title, const QString& text) {
  auto* row = new QHBoxLayout;
  row->setSpacing(14);
  row->addWidget(new IconLabel(iconName, 36, tone, parent), 0, Qt::AlignTop);
  auto* column = new QVBoxLayout;
  column->setSpacing(6);
  auto* head = new QLabel(title, parent);
  head->setFont(scaledFont(parent->font(), 1.3, QFont::DemiBold));
  head->setTextFormat(Qt::PlainText);
  head->setWordWrap(true);
  auto* body = new QLabel(text, parent);
  body->setTextFormat(Qt::PlainText);
  body->setWordWrap(true);
  column->addWidget(head);
  column->addWidget(body);
  row->addLayout(column, 1);
  layout->addLayout(row);
}

}  // namespace

TrustDialog::TrustDialog(const client::TrustQuestion& question, QWidget* parent)
    : QDialog(parent), m_fingerprint(question.fingerprint) {
  setWindowTitle(tr("First contact"));
  setAccessibleName(tr("First contact with an engine"));
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(24, 22, 24, 18);
  layout->setSpacing(14);
  addHead(layout, this, QStringLiteral("lock"), Tone::Info, tr("Is this the engine you mean?"),
          tr("You have not connected to %1 before, and nothing has been sent to it yet. Ask its "
             "operator for the certificate's fingerprint and compare; they see it with "
             "“pillarbox-engine fingerprint”.")
              .arg(displayAddress(question.engine)));
  auto* caption = new QLabel(tr("SHA-256 fingerprint of the engine's certificate"), this);
  caption->setForegroundRole(QPalette::PlaceholderText);
  auto* view = new FingerprintView(m_fingerprint, {}, this);
  auto* copy = new QPushButton(icon(QStringLiteral("copy")), tr("C&opy"), this);
  copy->setAutoDefault(false);
  copy->setAccessibleDescription(tr("Copy the fingerprint"));
  connect(copy, &QPushButton::clicked, this,
          [this] { QGuiApplication::clipboard()->setText(m_fingerprint); });
  auto* row = new QHBoxLayout;
  row->addWidget(view, 1);
  row->addWidget(copy, 0, Qt::AlignTop);
  layout->addWidget(caption);
  layout->addLayout(row);

  auto* compareLabel =
      new QLabel(tr("Paste the operator's fingerprint to co&mpare (optional)"), this);
  m_compare = new QLineEdit(this);
  m_compare->setFont(QFontDatabase::systemFont(QFontDatabase::FixedFont));
  m_compare->setMaxLength(200);
  m_compare->setAccessibleName(tr("Fingerprint to compare with"));
  compareLabel->setBuddy(m_compare);
  m_verdict = new QLabel(this);
  m_verdict->setTextFormat(Qt::PlainText);
  m_verdict->setMinimumHeight(m_verdict->fontMetrics().height());
  connect(m_compare, &QLineEdit::textChanged, this, &TrustDialog::compare);
  layout->addWidget(compareLabel);
  layout->addWidget(m_compare);
  layout->addWidget(m_verdict);

  auto* buttons = new QDialogButtonBox(this);
  auto* refuse = buttons->addButton(tr("&Do not connect"), QDialogButtonBox::RejectRole);
  m_accept = buttons->addButton(tr("&Trust this engine"), QDialogButtonBox::AcceptRole);
  m_accept->setAutoDefault(false);
  m_accept->setAccessibleDescription(
      tr("Remember this certificate and refuse any other one from this address"));
  refuse->setAutoDefault(true);
  refuse->setDefault(true);
  connect(buttons, &QDialogButtonBox::accepted, this, &QDialog::accept);
  connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
  layout->addWidget(buttons);
  refuse->setFocus();
  fitHeight(*this, 560);
}

void TrustDialog::compare(const QString& text) {
  bool differs = false;
  QString verdict;
  if (!text.trimmed().isEmpty()) {
    const QString given = normalizedFingerprint(text);
    if (given.isEmpty()) {
      verdict = tr("That is not a whole SHA-256 fingerprint (64 hexadecimal digits).");
    } else if (given == m_fingerprint) {
      verdict = tr("✓ They are the same.");
    } else {
      verdict = tr("✗ They differ. This is not the engine that the operator speaks of.");
      differs = true;
    }
  }
  m_verdict->setText(verdict);
  m_verdict->setAccessibleName(verdict);
  m_accept->setEnabled(!differs);
}

CertificatesDialog::CertificatesDialog(client::SessionModel& session, QWidget* parent)
    : QDialog(parent), m_session(session), m_list(new QTreeWidget(this)) {
  setWindowTitle(tr("Pinned certificates"));
  setAccessibleName(tr("Pinned certificates"));
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(24, 22, 24, 18);
  layout->setSpacing(14);
  auto* text = new QLabel(
      tr("Who presents another certificate than the one pinned here is refused. Forget a pin only "
         "if its operator told you that the certificate is a new one; the next contact asks "
         "again."),
      this);
  text->setWordWrap(true);
  layout->addWidget(text);
  m_list->setAccessibleName(tr("Pinned certificates"));
  m_list->setHeaderLabels({tr("Of"), tr("Address"), tr("Certificate"), tr("Since")});
  m_list->setRootIsDecorated(false);
  m_list->setUniformRowHeights(true);
  m_list->setAllColumnsShowFocus(true);
  m_list->setAlternatingRowColors(true);
  m_list->header()->setSectionResizeMode(QHeaderView::ResizeToContents);
  m_list->header()->setSectionResizeMode(1, QHeaderView::Stretch);
  m_list->header()->setStretchLastSection(false);
  auto* over = new QVBoxLayout(m_list);
  m_empty = new QLabel(tr("No certificate is pinned yet."), m_list);
  m_empty->setAlignment(Qt::AlignCenter);
  m_empty->setForegroundRole(QPalette::PlaceholderText);
  over->addWidget(m_empty);
  layout->addWidget(m_list, 1);
  auto* buttons = new QDialogButtonBox(this);
  m_forget = buttons->addButton(tr("&Forget…"), QDialogButtonBox::ActionRole);
  m_forget->setIcon(icon(QStringLiteral("trash")));
  m_forget->setAutoDefault(false);
  m_forget->setAccessibleDescription(tr("Remove the selected pin; the next contact asks again"));
  auto* close = buttons->addButton(tr("Close"), QDialogButtonBox::RejectRole);
  close->setDefault(true);
  connect(m_forget, &QPushButton::clicked, this, &CertificatesDialog::forget);
  connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
  connect(m_list, &QTreeWidget::itemSelectionChanged, this,
          [this] { m_forget->setEnabled(!m_list->selectedItems().isEmpty()); });
  layout->addWidget(buttons);
  resize(720, 360);
  rebuild();
}

void CertificatesDialog::rebuild() {
  m_pins = m_session.pinnedCertificates();
  m_list->clear();
  for (const client::PinnedCertificate& pin : m_pins) {
    auto* item = new QTreeWidgetItem(m_list);
    item->setText(0, pin.dealer ? tr("Dealer") : tr("Engine"));
    item->setText(1, displayAddress({{}, pin.host, pin.port, {}}));
    item->setText(2, shortFingerprint(pin.fingerprint));
    item->setToolTip(2, fingerprintRows(pin.fingerprint).join(QLatin1Char('\n')));
    item->setText(3, QLocale().toString(pin.since, tr("d MMM yyyy HH:mm")));
    item->setSizeHint(1, QSize(0, m_list->fontMetrics().height() + 14));
  }
  m_empty->setVisible(m_pins.isEmpty());
  m_forget->setEnabled(!m_list->selectedItems().isEmpty());
}

void CertificatesDialog::forget() {
  const auto items = m_list->selectedItems();
  const int index = items.isEmpty() ? -1 : m_list->indexOfTopLevelItem(items.first());
  if (index < 0 || index >= m_pins.size()) return;
  const client::PinnedCertificate pin = m_pins[index];
  auto* box =
      new QMessageBox(QMessageBox::NoIcon, tr("Forget the certificate"),
                      (pin.dealer ? tr("Forget the pinned certificate of the dealer at %1?")
                                  : tr("Forget the pinned certificate of the engine at %1?"))
                          .arg(displayAddress({{}, pin.host, pin.port, {}})),
                      QMessageBox::NoButton, this);
  box->setInformativeText(
      tr("Do this only if its operator told you that the certificate is a new one. Compare the "
         "fingerprint at the next contact before you trust it."));
  box->setAttribute(Qt::WA_DeleteOnClose);
  QPushButton* yes = box->addButton(tr("&Forget it"), QMessageBox::AcceptRole);
  QPushButton* no = box->addButton(tr("&Keep it"), QMessageBox::RejectRole);
  box->setDefaultButton(no);
  connect(box, &QMessageBox::buttonClicked, this, [this, yes, pin](QAbstractButton* button) {
    if (button != yes) return;
    const bool removed = m_session.forget(pin);
    rebuild();
    if (removed) return;
    auto* failed = new QMessageBox(QMessageBox::NoIcon, tr("Forget the certificate"),
                                   tr("The pin could not be removed. The log says why."),
                                   QMessageBox::Close, this);
    failed->setAttribute(Qt::WA_DeleteOnClose);
    failed->open();
  });
  box->open();
}

MismatchDialog::MismatchDialog(const client::PinMismatch& mismatch, QWidget* parent)
    : QDialog(parent) {
  setWindowTitle(tr("Changed certificate"));
  setAccessibleName(tr("The engine's certificate has changed"));
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(24, 22, 24, 18);
  layout->setSpacing(14);
  addHead(layout, this, QStringLiteral("error"), Tone::Error,
          tr("The certificate has changed; the engine was refused"),
          tr("%1 presents another certificate than the one that is pinned. Somebody may be in "
             "between, or its operator has made a new one. Nothing was sent.")
              .arg(displayAddress(mismatch.engine)));
  auto* grid = new QGridLayout;
  grid->setHorizontalSpacing(14);
  grid->setVerticalSpacing(6);
  auto* oldCaption = new QLabel(tr("Pinned (old)"), this);
  auto* newCaption = new QLabel(tr("Presented now (new)"), this);
  for (QLabel* label : {oldCaption, newCaption}) {
    label->setFont(scaledFont(font(), 1, QFont::DemiBold));
  }
  grid->addWidget(oldCaption, 0, 0);
  grid->addWidget(newCaption, 0, 1);
  grid->addWidget(new FingerprintView(mismatch.pinned, mismatch.presented, this), 1, 0);
  grid->addWidget(new FingerprintView(mismatch.presented, mismatch.pinned, this), 1, 1);
  layout->addLayout(grid);
  auto* legend = new QLabel(tr("Bytes that differ are bold and underlined."), this);
  legend->setForegroundRole(QPalette::PlaceholderText);
  layout->addWidget(legend);
  auto* next = new QLabel(
      tr("If you do not expect a change, do not go on; ask the operator. If you do, compare the "
         "new fingerprint with the operator's, then remove the old pin in the connection manager: "
         "select the engine, “Forget certificate…”, and connect again. It is then a first "
         "contact."),
      this);
  next->setTextFormat(Qt::PlainText);
  next->setWordWrap(true);
  layout->addWidget(next);
  auto* buttons = new QDialogButtonBox(this);
  auto* close = buttons->addButton(tr("&Close"), QDialogButtonBox::RejectRole);
  auto* manage = buttons->addButton(tr("Open connection &manager…"), QDialogButtonBox::ActionRole);
  manage->setAutoDefault(false);
  manage->setAccessibleDescription(tr("Accepts nothing; the pin can be removed there"));
  close->setDefault(true);
  connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
  connect(manage, &QPushButton::clicked, this, [this] {
    reject();
    Q_EMIT manageRequested();
  });
  layout->addWidget(buttons);
  close->setFocus();
  fitHeight(*this, 620);
}

}  // namespace pillarbox::ui

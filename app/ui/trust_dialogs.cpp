#include "app/ui/trust_dialogs.h"

#include <QClipboard>
#include <QDialogButtonBox>
#include <QFontDatabase>
#include <QGridLayout>
#include <QGuiApplication>
#include <QLabel>
#include <QLineEdit>
#include <QPushButton>
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

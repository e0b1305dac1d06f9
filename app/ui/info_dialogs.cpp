#include "app/ui/info_dialogs.h"

#include <QApplication>
#include <QCheckBox>
#include <QClipboard>
#include <QComboBox>
#include <QDialogButtonBox>
#include <QFontDatabase>
#include <QGridLayout>
#include <QGuiApplication>
#include <QLabel>
#include <QLineEdit>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QScreen>
#include <QSpinBox>
#include <QSysInfo>
#include <QVBoxLayout>

#include "app/ui/icons.h"
#include "app/ui/settings.h"
#include "app/ui/widgets.h"

namespace pillarbox::ui {

using client::SessionState;

namespace {

QLabel* noteLabel(const QString& text, QWidget* parent) {
  auto* label = new QLabel(text, parent);
  label->setForegroundRole(QPalette::PlaceholderText);
  label->setFont(scaledFont(label->font(), 0.92));
  label->setWordWrap(true);
  label->setTextFormat(Qt::PlainText);
  return label;
}

}  // namespace

QString stateName(SessionState state) {
  switch (state) {
    case SessionState::Disconnected:
      return PreferencesDialog::tr("Not connected");
    case SessionState::Connecting:
      return PreferencesDialog::tr("Connecting…");
    case SessionState::AwaitingTrust:
      return PreferencesDialog::tr("First contact");
    case SessionState::Preparing:
      return PreferencesDialog::tr("Connected, preparing");
    case SessionState::Ready:
      return PreferencesDialog::tr("Connected, ready");
    case SessionState::Classifying:
      return PreferencesDialog::tr("Connected, classifying");
    case SessionState::Reconnecting:
      return PreferencesDialog::tr("Away, trying again");
    case SessionState::Refused:
      return PreferencesDialog::tr("Refused");
  }
  return {};
}

QString diagnostics(SessionState state, const client::ModelInfo& model) {
  QStringList lines;
  lines << QStringLiteral("Pillarbox " PILLARBOX_VERSION);
  lines << QStringLiteral("Qt %1 (built with %2)")
               .arg(QString::fromLatin1(qVersion()), QStringLiteral(QT_VERSION_STR));
  lines << QStringLiteral("System: %1, %2, kernel %3")
               .arg(QSysInfo::prettyProductName(), QSysInfo::currentCpuArchitecture(),
                    QSysInfo::kernelVersion());
  lines << QStringLiteral("Window system: %1").arg(QGuiApplication::platformName());
  if (const QScreen* screen = QGuiApplication::primaryScreen()) {
    lines << QStringLiteral("Screen: %1 x %2, pixel ratio %3")
                 .arg(screen->size().width())
                 .arg(screen->size().height())
                 .arg(screen->devicePixelRatio());
  }
  lines << QStringLiteral("Session: %1").arg(stateName(state));
  if (!model.name.isEmpty()) {
    lines << QStringLiteral("Model: %1, %2 rounds, offline mode %3")
                 .arg(model.name)
                 .arg(model.rounds)
                 .arg(model.offlineMode);
    lines << QStringLiteral("Model hash: %1").arg(model.hash);
  }
  return lines.join(QLatin1Char('\n'));
}

PreferencesDialog::PreferencesDialog(Settings& settings, QWidget* parent) : QDialog(parent) {
  setWindowTitle(tr("Preferences"));
  setAccessibleName(tr("Preferences"));
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(24, 22, 24, 18);
  layout->setSpacing(16);
  auto* grid = new QGridLayout;
  grid->setHorizontalSpacing(18);
  grid->setVerticalSpacing(8);
  grid->setColumnStretch(1, 1);
  int row = 0;
  const auto addField = [&](const QString& text, QWidget* field, Qt::Alignment alignment) {
    auto* label = new QLabel(text, this);
    label->setBuddy(field);
    grid->addWidget(label, row, 0, Qt::AlignRight | Qt::AlignVCenter);
    grid->addWidget(field, row++, 1, alignment);
  };
  const auto addNote = [&](const QString& text) {
    grid->addWidget(noteLabel(text, this), row++, 1);
    grid->setRowMinimumHeight(row++, 6);
  };

  auto* theme = new QComboBox(this);
  theme->addItem(tr("As the system"), static_cast<int>(ThemeChoice::System));
  theme->addItem(tr("Light"), static_cast<int>(ThemeChoice::Light));
  theme->addItem(tr("Dark"), static_cast<int>(ThemeChoice::Dark));
  theme->setCurrentIndex(theme->findData(static_cast<int>(settings.theme())));
  theme->setAccessibleName(tr("Appearance"));
  connect(theme, &QComboBox::currentIndexChanged, this, [theme, &settings] {
    settings.setTheme(static_cast<ThemeChoice>(theme->currentData().toInt()));
  });
  addField(tr("&Appearance"), theme, Qt::AlignLeft);
  grid->setRowMinimumHeight(row++, 6);

  auto* bank = new QSpinBox(this);
  bank->setRange(1, Settings::kMaxBankTarget);
  bank->setValue(settings.bankTarget());
  bank->setMinimumWidth(90);
  bank->setAccessibleName(tr("Correlation sets to keep ready"));
  bank->setAccessibleDescription(
      tr("How many images can be classified at once without preparing first"));
  connect(bank, &QSpinBox::valueChanged, this,
          [&settings](int sets) { settings.setBankTarget(sets); });
  addField(tr("&Sets to keep ready"), bank, Qt::AlignLeft);
  addNote(
      tr("Each image uses up one set of correlations, prepared in the background ahead of "
         "time. More sets take more memory and traffic."));

  auto* remember = new QCheckBox(tr("&Remember recent results after closing"), this);
  remember->setChecked(settings.rememberRecent());
  remember->setAccessibleDescription(tr("Stores names of images and their classes, no images"));
  connect(remember, &QCheckBox::toggled, this,
          [&settings](bool on) { settings.setRememberRecent(on); });
  grid->addWidget(remember, row++, 1);
  addNote(tr("Names of images and their results only. No image is ever stored."));

  auto* file = new QWidget(this);
  auto* fileRow = new QHBoxLayout(file);
  fileRow->setContentsMargins(0, 0, 0, 0);
  fileRow->setSpacing(8);
  auto* path = new QLineEdit(settings.filePath(), file);
  path->setReadOnly(true);
  path->setCursorPosition(0);
  path->setAccessibleName(tr("Settings file"));
  auto* copy = new QPushButton(icon(QStringLiteral("copy")), tr("&Copy"), file);
  copy->setAutoDefault(false);
  copy->setAccessibleDescription(tr("Copy the path of the settings file"));
  connect(copy, &QPushButton::clicked, this,
          [path] { QGuiApplication::clipboard()->setText(path->text()); });
  fileRow->addWidget(path, 1);
  fileRow->addWidget(copy);
  file->setFocusProxy(path);
  addField(tr("Settings &file"), file, {});
  layout->addLayout(grid);
  auto* buttons = new QDialogButtonBox(this);
  auto* close = buttons->addButton(tr("C&lose"), QDialogButtonBox::RejectRole);
  close->setDefault(true);
  connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
  layout->addWidget(buttons);
  theme->setFocus();
  fitHeight(*this, 580);
}

AboutDialog::AboutDialog(const QString& text, QWidget* parent) : QDialog(parent) {
  setWindowTitle(tr("About Pillarbox"));
  setAccessibleName(tr("About Pillarbox"));
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(24, 22, 24, 18);
  layout->setSpacing(12);
  auto* head = new QHBoxLayout;
  head->setSpacing(18);
  auto* logo = new QLabel(this);
  logo->setPixmap(applicationIcon().pixmap(QSize(72, 72), devicePixelRatioF()));
  head->addWidget(logo, 0, Qt::AlignTop);
  auto* column = new QVBoxLayout;
  column->setSpacing(4);
  auto* name = new QLabel(QStringLiteral("Pillarbox"), this);
  name->setFont(scaledFont(font(), 1.9, QFont::Bold));
  auto* version =
      new QLabel(tr("Version %1 · Qt %2")
                     .arg(QStringLiteral(PILLARBOX_VERSION), QString::fromLatin1(qVersion())),
                 this);
  version->setTextInteractionFlags(Qt::TextSelectableByMouse);
  auto* what = new QLabel(
      tr("Classifies an image on an engine that holds the model, by two-party computation: the "
         "engine does not see the image, and this program does not see the model's weights."),
      this);
  what->setWordWrap(true);
  column->addWidget(name);
  column->addWidget(version);
  column->addSpacing(4);
  column->addWidget(what);
  head->addLayout(column, 1);
  layout->addLayout(head);
  auto* limits = new QLabel(
      tr("This holds where both parties follow the protocol and whoever the trust line names is "
         "honest. A party that departs from the protocol on purpose is outside what this version "
         "protects against."),
      this);
  limits->setWordWrap(true);
  layout->addWidget(limits);
  auto* caption = new QLabel(tr("Diagnostics for a bug report"), this);
  caption->setForegroundRole(QPalette::PlaceholderText);
  auto* view = new QPlainTextEdit(text, this);
  view->setReadOnly(true);
  view->setTabChangesFocus(true);
  view->setTextInteractionFlags(Qt::TextSelectableByMouse | Qt::TextSelectableByKeyboard);
  view->setAccessibleName(tr("Diagnostics"));
  view->setFont(scaledFont(QFontDatabase::systemFont(QFontDatabase::FixedFont), 0.92));
  view->setLineWrapMode(QPlainTextEdit::WidgetWidth);
  view->setFixedHeight(view->fontMetrics().height() * 8 + 20);
  caption->setBuddy(view);
  layout->addWidget(caption);
  layout->addWidget(view);
  auto* licence = noteLabel(
      tr("Source: Apache License 2.0. This program links Qt Charts, so the program as a whole is "
         "distributed under the terms of the GNU General Public License, version 3."),
      this);
  layout->addWidget(licence);
  auto* buttons = new QDialogButtonBox(this);
  auto* copy = buttons->addButton(tr("&Copy diagnostics"), QDialogButtonBox::ActionRole);
  copy->setAutoDefault(false);
  copy->setAccessibleDescription(tr("Copy versions and platform to the clipboard"));
  auto* close = buttons->addButton(tr("C&lose"), QDialogButtonBox::RejectRole);
  close->setDefault(true);
  connect(copy, &QPushButton::clicked, this,
          [text] { QGuiApplication::clipboard()->setText(text); });
  connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
  layout->addWidget(buttons);
  close->setFocus();
  fitHeight(*this, 600);
}

HelpDialog::HelpDialog(QWidget* parent) : QDialog(parent) {
  setWindowTitle(tr("Help"));
  setAccessibleName(tr("Help"));
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(24, 22, 24, 18);
  layout->setSpacing(10);
  const auto heading = [&](const QString& text) {
    auto* label = new QLabel(text, this);
    label->setFont(scaledFont(font(), 1.2, QFont::DemiBold));
    layout->addWidget(label);
  };
  const auto paragraph = [&](const QString& text) {
    auto* label = new QLabel(text, this);
    label->setWordWrap(true);
    label->setTextFormat(Qt::PlainText);
    layout->addWidget(label);
  };
  heading(tr("How it works"));
  paragraph(
      tr("Your image stays here. It is split into two random-looking shares; the engine computes "
         "on its share with the model's weights, this program on the other, and only here do the "
         "two come together as the class."));
  paragraph(
      tr("Every image uses up one set of correlations, prepared before (offline). The line under "
         "the engine's name says who makes them and therefore who is trusted."));
  layout->addSpacing(6);
  heading(tr("Keyboard"));
  auto* grid = new QGridLayout;
  grid->setHorizontalSpacing(24);
  grid->setVerticalSpacing(5);
  grid->setColumnStretch(1, 1);
  const QVector<QPair<QKeySequence, QString>> keys{
      {QKeySequence::Open, tr("Open images")},
      {QKeySequence::Paste, tr("Classify the picture in the clipboard")},
      {Qt::Key_Escape, tr("Cancel")},
      {Qt::CTRL | Qt::Key_R, tr("Try again what failed")},
      {Qt::CTRL | Qt::Key_E, tr("Engines")},
      {Qt::CTRL | Qt::Key_1, tr("Classify page")},
      {Qt::CTRL | Qt::Key_2, tr("Admin page")},
      {Qt::CTRL | Qt::Key_3, tr("Log page")},
      {Qt::CTRL | Qt::Key_Comma, tr("Preferences")},
      {Qt::Key_F1, tr("This help")},
      {QKeySequence::Quit, tr("Quit")},
  };
  int row = 0;
  for (const auto& [key, text] : keys) {
    QString shown = key.toString(QKeySequence::NativeText);
    if (shown.isEmpty()) shown = QStringLiteral("Ctrl+Q");
    auto* keyLabel = new QLabel(shown, this);
    keyLabel->setFont(QFontDatabase::systemFont(QFontDatabase::FixedFont));
    grid->addWidget(keyLabel, row, 0);
    grid->addWidget(new QLabel(text, this), row, 1);
    ++row;
  }
  layout->addLayout(grid);
  auto* buttons = new QDialogButtonBox(this);
  auto* close = buttons->addButton(tr("C&lose"), QDialogButtonBox::RejectRole);
  close->setDefault(true);
  connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
  layout->addWidget(buttons);
  close->setFocus();
  fitHeight(*this, 560);
}

}  // namespace pillarbox::ui

#include "app/ui/training_form.h"

#include <algorithm>
#include <cmath>

#include <QCheckBox>
#include <QComboBox>
#include <QDir>
#include <QDoubleSpinBox>
#include <QFileInfo>
#include <QGridLayout>
#include <QLabel>
#include <QLineEdit>
#include <QPushButton>
#include <QRegularExpression>
#include <QSpinBox>
#include <QToolButton>
#include <QVBoxLayout>

#include "app/ui/format.h"
#include "app/ui/icons.h"
#include "app/ui/theme.h"
#include "app/ui/widgets.h"

namespace pillarbox::ui {
namespace {

constexpr int kFieldWidth = 460;

/// How long to train, as a multiple of the preset's own length.
struct Length {
  const char* name;
  double factor;
};
constexpr Length kLengths[] = {
    {QT_TRANSLATE_NOOP("TrainingForm", "Quick look, %1 epochs: is the data right?"), 0.1},
    {QT_TRANSLATE_NOOP("TrainingForm", "Standard, %1 epochs: good for most data"), 1},
    {QT_TRANSLATE_NOOP("TrainingForm", "Thorough, %1 epochs: the last points of accuracy"), 3},
};
constexpr int kStandard = 1;

}  // namespace

TrainingForm::TrainingForm(const QString& runsFolder, const QString& program, QWidget* parent)
    : QWidget(parent), m_runsFolder(runsFolder), m_program(program) {
  build();
  loadNetworks();
  loadPresets();
}

void TrainingForm::setData(const QStringList& paths) {
  m_data = paths;
  refresh();
}

void TrainingForm::setBusy(bool busy) {
  m_busy = busy;
  refresh();
}

void TrainingForm::build() {
  auto* outer = new QVBoxLayout(this);
  outer->setContentsMargins(0, 0, 0, 0);
  auto* card = new Card(this);
  auto* layout = new QVBoxLayout(card);
  layout->setContentsMargins(20, 18, 20, 18);
  layout->setSpacing(14);
  auto* title = new QLabel(tr("New run"), card);
  title->setFont(scaledFont(font(), 1.45, QFont::DemiBold));
  layout->addWidget(title);

  auto* form = new QGridLayout;
  form->setColumnStretch(1, 1);
  form->setHorizontalSpacing(18);
  form->setVerticalSpacing(12);
  int row = 0;
  const auto add = [&](const QString& name, QWidget* field, QLabel* text = nullptr) {
    auto* label = new QLabel(name, card);
    label->setBuddy(field);
    form->addWidget(label, row, 0);
    auto* column = new QVBoxLayout;
    column->setSpacing(4);
    column->addWidget(field);
    if (text != nullptr) column->addWidget(text);
    form->addLayout(column, row, 1);
    if (text != nullptr) form->setAlignment(label, Qt::AlignTop);
    label->setMinimumHeight(field->sizeHint().height());
    ++row;
  };
  const auto choice = [&](const QString& name) {
    auto* combo = new QComboBox(card);
    combo->setAccessibleName(name);
    combo->setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Fixed);
    combo->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
    combo->setMinimumContentsLength(10);
    combo->setMaximumWidth(kFieldWidth);
    return combo;
  };
  auto* dataRow = new QWidget(card);
  auto* dataLayout = new QHBoxLayout(dataRow);
  dataLayout->setContentsMargins(0, 0, 0, 0);
  m_dataLabel = new ElidedLabel(dataRow);
  m_dataLabel->setElideMode(Qt::ElideMiddle);
  m_dataLabel->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
  auto* folder = new QPushButton(tr("&Folder…"), dataRow);
  folder->setAccessibleDescription(tr("Choose a folder with one folder of images for each class"));
  auto* zip = new QPushButton(tr("&Zip…"), dataRow);
  zip->setAccessibleDescription(tr("Choose zip files of images"));
  connect(folder, &QPushButton::clicked, this, &TrainingForm::folderWanted);
  connect(zip, &QPushButton::clicked, this, &TrainingForm::filesWanted);
  dataLayout->addWidget(m_dataLabel, 1);
  dataLayout->addWidget(folder);
  dataLayout->addWidget(zip);
  add(tr("Images"), dataRow);

  m_name = new QLineEdit(card);
  m_name->setMaxLength(80);
  m_name->setAccessibleName(tr("Name of the run"));
  m_name->setMaximumWidth(kFieldWidth);
  add(tr("N&ame"), m_name);
  m_network = choice(tr("Network"));
  m_networkText = mutedLabel({}, card, 0.92);
  add(tr("Net&work"), m_network, m_networkText);
  connect(m_network, &QComboBox::currentIndexChanged, this, &TrainingForm::describeNetwork);
  m_preset = choice(tr("Preset"));
  m_presetText = mutedLabel({}, card, 0.92);
  add(tr("Pre&set"), m_preset, m_presetText);
  connect(m_preset, &QComboBox::currentIndexChanged, this, &TrainingForm::applyPreset);
  m_length = choice(tr("Length"));
  for (const Length& length : kLengths) m_length->addItem(tr(length.name));
  m_length->setCurrentIndex(kStandard);
  add(tr("&Length"), m_length);
  connect(m_length, &QComboBox::currentIndexChanged, this, &TrainingForm::applyLength);
  m_activation = choice(tr("Activation"));
  m_activation->addItem(tr("Polynomial: for private classification"), true);
  m_activation->addItem(tr("ReLU: for comparison only, cannot be deployed"), false);
  add(tr("Act&ivation"), m_activation);
  layout->addLayout(form);

  m_advancedToggle = new QToolButton(card);
  m_advancedToggle->setText(tr("Ad&vanced settings"));
  m_advancedToggle->setCheckable(true);
  m_advancedToggle->setToolButtonStyle(Qt::ToolButtonTextBesideIcon);
  m_advancedToggle->setArrowType(Qt::RightArrow);
  m_advancedToggle->setFocusPolicy(Qt::StrongFocus);
  m_advancedToggle->setAutoRaise(true);
  layout->addWidget(m_advancedToggle, 0, Qt::AlignLeft);
  m_advanced = buildAdvanced();
  m_advanced->hide();
  layout->addWidget(m_advanced);
  connect(m_advancedToggle, &QToolButton::toggled, this, [this](bool on) {
    m_advanced->setVisible(on);
    m_advancedToggle->setArrowType(on ? Qt::DownArrow : Qt::RightArrow);
  });

  m_problem = new QLabel(card);
  m_problem->setWordWrap(true);
  m_problem->setForegroundRole(QPalette::PlaceholderText);
  auto* buttons = new QHBoxLayout;
  m_start = new QPushButton(icon(QStringLiteral("play")), tr("Start &training"), card);
  m_start->setProperty("primary", true);
  auto* cancel = new QPushButton(tr("Cancel"), card);
  connect(m_start, &QPushButton::clicked, this, &TrainingForm::start);
  connect(cancel, &QPushButton::clicked, this, &TrainingForm::cancelled);
  buttons->addWidget(m_problem, 1);
  buttons->addWidget(cancel);
  buttons->addWidget(m_start);
  layout->addLayout(buttons);
  outer->addWidget(card);
  outer->addStretch(1);
  connect(m_name, &QLineEdit::textChanged, this, &TrainingForm::refresh);
  connect(m_from, &QComboBox::currentIndexChanged, this, &TrainingForm::refresh);
  applyPreset();
}

QWidget* TrainingForm::buildAdvanced() {
  auto* box = new QWidget(this);
  auto* grid = new QGridLayout(box);
  grid->setContentsMargins(4, 0, 0, 0);
  grid->setHorizontalSpacing(18);
  grid->setVerticalSpacing(10);
  int cell = 0;
  const auto add = [&](const QString& name, QWidget* field, const QString& tip) {
    auto* label = new QLabel(name, box);
    label->setBuddy(field);
    field->setToolTip(tip);
    field->setAccessibleName(name);
    field->setAccessibleDescription(tip);
    field->setMinimumWidth(120);
    grid->addWidget(label, cell / 2, cell % 2 * 2);
    grid->addWidget(field, cell / 2, cell % 2 * 2 + 1);
    ++cell;
  };
  const auto whole = [box](int least, int most, int value, const QString& zero = {}) {
    auto* spin = new QSpinBox(box);
    spin->setRange(least, most);
    spin->setValue(value);
    if (!zero.isEmpty()) spin->setSpecialValueText(zero);
    return spin;
  };
  const auto real = [box](double least, double most, double value, int digits, double step,
                          const QString& lowest = {}) {
    auto* spin = new QDoubleSpinBox(box);
    spin->setRange(least, most);
    spin->setDecimals(digits);
    spin->setSingleStep(step);
    spin->setValue(value);
    if (!lowest.isEmpty()) spin->setSpecialValueText(lowest);
    return spin;
  };
  const QString automatic = tr("Automatic");
  m_epochs = whole(1, 10000, 30);
  m_batch = whole(0, 65536, 0, automatic);
  m_rate = real(0, 10, 0, 4, 0.01, automatic);
  m_decay = real(-0.0001, 1, -0.0001, 5, 0.0001, automatic);
  m_smoothing = real(-0.01, 0.9, -0.01, 2, 0.01, automatic);
  m_range = real(0, 1000, 0, 1, 0.5, automatic);
  m_imageSize = whole(0, 1024, 0, automatic);
  m_seed = whole(0, 1000000000, 1);
  m_threads = whole(0, 1024, 0, tr("All cores"));
  m_device = new QComboBox(box);
  m_device->addItem(automatic, QString());
  m_device->addItem(tr("Processor"), QStringLiteral("cpu"));
  m_device->addItem(tr("Graphics card (CUDA)"), QStringLiteral("cuda"));
  m_from = new QComboBox(box);
  m_teacher = new QComboBox(box);
  for (QComboBox* runs : {m_from, m_teacher}) {
    runs->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
    runs->setMinimumContentsLength(14);
  }
  m_classWeights = new QCheckBox(tr("Small classes count as much"), box);
  add(tr("Epochs"), m_epochs, tr("How often every image is seen"));
  add(tr("Batch"), m_batch, tr("Images a step; a smaller batch needs less memory"));
  add(tr("Learning rate"), m_rate, tr("Its peak; it rises first and falls as a cosine"));
  add(tr("Weight decay"), m_decay, tr("Pulls weights towards zero"));
  add(tr("Label smoothing"), m_smoothing, tr("Makes the network less sure of itself"));
  add(tr("Range B"), m_range, tr("Activations are fitted on −B to B"));
  add(tr("Image size"), m_imageSize, tr("Side in pixels to which images are scaled"));
  add(tr("Seed"), m_seed, tr("The same seed repeats a run on one thread"));
  add(tr("Threads"), m_threads, tr("Processor cores to use"));
  add(tr("Device"), m_device, tr("What to compute on"));
  add(tr("Start from"), m_from, tr("Begin with the weights of another run of the same network"));
  add(tr("Imitate"), m_teacher,
      tr("Learn from another run's answers too, for example the same network with ReLU"));
  add(tr("Balance"), m_classWeights,
      tr("Every class as a whole counts the same, however many images it has"));
  grid->setColumnStretch(4, 1);
  return box;
}

void TrainingForm::prepare(const QVector<client::RunRecord>& runs) {
  QString name = m_data.isEmpty() ? tr("run") : QFileInfo(m_data.first()).completeBaseName();
  name.replace(QRegularExpression(QStringLiteral("[^\\w.-]+"),
                                  QRegularExpression::UseUnicodePropertiesOption),
               QStringLiteral("-"));
  QString free = name;
  for (int i = 2; QFileInfo::exists(QDir(m_runsFolder).filePath(free)); ++i) {
    free = QStringLiteral("%1-%2").arg(name).arg(i);
  }
  m_name->setText(free);
  m_from->clear();
  m_from->addItem(tr("New weights"), QString());
  m_teacher->clear();
  m_teacher->addItem(tr("Nobody"), QString());
  for (const client::RunRecord& run : runs) {
    if (!run.hasLast) continue;
    m_from->addItem(run.name, run.folder);
    m_teacher->addItem(run.name, run.folder);
  }
  refresh();
  m_network->setFocus();
}

void TrainingForm::loadPresets() {
  if (m_program.isEmpty()) return;
  auto* command = new client::TrainingCommand(m_program, {QStringLiteral("list-presets")}, this);
  connect(command, &client::TrainingCommand::succeeded, this,
          [this](const QVector<QJsonObject>& objects) {
            m_presets = client::presetsOf(objects);
            for (const client::PresetInfo& preset : m_presets) {
              QString name = preset.name;
              name[0] = name[0].toUpper();
              m_preset->addItem(name, preset.name);
            }
            applyPreset();
          });
  connect(command, &client::TrainingCommand::failed, this, &TrainingForm::failed);
  command->start();
}

void TrainingForm::loadNetworks() {
  if (m_program.isEmpty()) {
    describeNetwork();
    return;
  }
  auto* command = new client::TrainingCommand(m_program, {QStringLiteral("list-models")}, this);
  connect(command, &client::TrainingCommand::succeeded, this,
          [this](const QVector<QJsonObject>& objects) {
            m_networks = client::networksOf(objects);
            const QString before = m_network->currentText();
            m_network->clear();
            for (const client::NetworkInfo& network : m_networks) m_network->addItem(network.name);
            const int index =
                m_network->findText(before.isEmpty() ? QStringLiteral("pillar7") : before);
            m_network->setCurrentIndex(std::max(0, index));
            describeNetwork();
            refresh();
          });
  connect(command, &client::TrainingCommand::failed, this, [this](const QString& why) {
    Q_EMIT failed(why);
    refresh();
  });
  command->start();
}

void TrainingForm::describeNetwork() {
  for (const client::NetworkInfo& network : m_networks) {
    if (network.name != m_network->currentText()) continue;
    m_networkText->setText(tr("%1 px · %2 M parameters · %3 activations · %4 round trips an image")
                               .arg(network.imageSize)
                               .arg(static_cast<double>(network.parameters) / 1e6, 0, 'f', 2)
                               .arg(formatCount(network.activations))
                               .arg(network.rounds));
    if (network.farSeconds >= 0) {
      m_networkText->setText(tr("%1 · about %2 near the engine, %3 far from it")
                                 .arg(m_networkText->text(), formatMs(1000 * network.nearSeconds),
                                      formatMs(1000 * network.farSeconds)));
    }
    if (network.farPreparation >= 0) {
      m_networkText->setText(tr("%1, after a preparation of %2 and %3")
                                 .arg(m_networkText->text(),
                                      formatMs(1000 * network.nearPreparation),
                                      formatMs(1000 * network.farPreparation)));
    }
    m_network->setToolTip(network.summary);
    return;
  }
  m_networkText->clear();
}

client::PresetInfo TrainingForm::preset() const {
  const int index = m_preset->currentIndex();
  if (index >= 0 && index < m_presets.size()) return m_presets[index];
  client::PresetInfo none;
  none.epochs = 30;
  return none;
}

void TrainingForm::applyPreset() {
  const client::PresetInfo chosen = preset();
  m_presetText->setText(sentence(chosen.summary));
  for (int i = 0; i < m_length->count(); ++i) {
    const int epochs = std::max(
        {2, chosen.leastEpochs, static_cast<int>(std::lround(kLengths[i].factor * chosen.epochs))});
    m_length->setItemText(i, tr(kLengths[i].name).arg(epochs));
    m_length->setItemData(i, epochs);
  }
  if (chosen.converts) m_advancedToggle->setChecked(true);  // a run to start from is needed
  applyLength();
}

void TrainingForm::applyLength() {
  m_epochs->setValue(m_length->currentData().toInt());
  refresh();
}

QString TrainingForm::problem() const {
  if (m_program.isEmpty()) {
    return tr("pillarbox-train is not installed beside this program; install it to train.");
  }
  if (m_busy) return tr("Another run is being trained; stop it first.");
  if (m_data.isEmpty()) return tr("Choose the images first, or drop their folder here.");
  static const QRegularExpression good(QStringLiteral("^[\\w][\\w .-]*$"),
                                       QRegularExpression::UseUnicodePropertiesOption);
  if (!good.match(m_name->text()).hasMatch()) {
    return tr("The name needs a letter or digit first, and only letters, digits, . - _ after it.");
  }
  if (QFileInfo::exists(QDir(m_runsFolder).filePath(m_name->text()))) {
    return tr("There is a run of that name already; choose another one.");
  }
  if (m_network->currentText().isEmpty()) return tr("The list of networks is being read.");
  if (preset().converts && m_from->currentData().toString().isEmpty()) {
    return tr("This preset converts a trained network: choose its run at “Start from”.");
  }
  return {};
}

void TrainingForm::start() {
  if (!problem().isEmpty()) return;
  client::TrainingRequest request;
  request.data = m_data;
  request.folder = QFileInfo(QDir(m_runsFolder).filePath(m_name->text())).absoluteFilePath();
  request.network = m_network->currentText();
  request.preset = m_preset->currentData().toString();
  request.polynomial = m_activation->currentData().toBool();
  request.epochs = m_epochs->value();
  request.batch = m_batch->value();
  request.imageSize = m_imageSize->value();
  request.threads = m_threads->value();
  request.learningRate = m_rate->value();
  request.weightDecay = m_decay->value();
  request.labelSmoothing = m_smoothing->value();
  request.range = m_range->value();
  request.seed = m_seed->value();
  request.device = m_device->currentData().toString();
  request.from = m_from->currentData().toString();
  request.teacher = m_teacher->currentData().toString();
  request.classWeights = m_classWeights->isChecked();
  Q_EMIT startRequested(request);
}

void TrainingForm::refresh() {
  const QString text = problem();
  m_problem->setText(text);
  m_start->setEnabled(text.isEmpty());
  m_dataLabel->setText(m_data.isEmpty() ? tr("Drop a folder here, or choose one")
                                        : m_data.join(QStringLiteral(", ")));
  m_dataLabel->setTone(m_data.isEmpty() ? Tone::Muted : Tone::Plain);
}

}  // namespace pillarbox::ui

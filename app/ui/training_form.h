// The form for a new training run: images, name, network, preset, length, and what else
// pillarbox-train lets one set. It asks pillarbox-train for its networks and presets.
#pragma once

#include <QStringList>
#include <QVector>
#include <QWidget>

#include "app/client/training_process.h"
#include "app/client/training_record.h"

class QCheckBox;
class QComboBox;
class QDoubleSpinBox;
class QLabel;
class QLineEdit;
class QPushButton;
class QSpinBox;
class QToolButton;

namespace pillarbox::ui {

class ElidedLabel;

class TrainingForm : public QWidget {
  Q_OBJECT
 public:
  /// @param runsFolder  where runs are kept
  /// @param program     path of pillarbox-train; empty: there is none
  TrainingForm(const QString& runsFolder, const QString& program, QWidget* parent = nullptr);

  /// Folders and zips to train on.
  void setData(const QStringList& paths);
  /// Proposes a free name and offers the runs that have a checkpoint to start from or to imitate.
  void prepare(const QVector<client::RunRecord>& runs);
  /// While a run is being trained no other can be started.
  void setBusy(bool busy);
  /// Why training cannot be started with what is entered, one sentence; else empty.
  QString problem() const;

 Q_SIGNALS:
  void folderWanted();
  void filesWanted();
  void startRequested(const pillarbox::client::TrainingRequest& request);
  void cancelled();
  /// pillarbox-train did not tell its networks or presets.
  void failed(const QString& why);

 private:
  void build();
  QWidget* buildAdvanced();
  void loadNetworks();
  void loadPresets();
  void describeNetwork();
  client::PresetInfo preset() const;
  void applyPreset();
  void applyLength();
  void start();
  void refresh();

  const QString m_runsFolder;
  const QString m_program;
  QStringList m_data;
  bool m_busy = false;
  QVector<client::NetworkInfo> m_networks;
  QVector<client::PresetInfo> m_presets;
  ElidedLabel* m_dataLabel = nullptr;
  QLineEdit* m_name = nullptr;
  QComboBox* m_network = nullptr;
  QLabel* m_networkText = nullptr;
  QComboBox* m_preset = nullptr;
  QLabel* m_presetText = nullptr;
  QComboBox* m_length = nullptr;
  QComboBox* m_activation = nullptr;
  QToolButton* m_advancedToggle = nullptr;
  QWidget* m_advanced = nullptr;
  QSpinBox* m_epochs = nullptr;
  QSpinBox* m_batch = nullptr;
  QSpinBox* m_imageSize = nullptr;
  QSpinBox* m_threads = nullptr;
  QSpinBox* m_seed = nullptr;
  QDoubleSpinBox* m_rate = nullptr;
  QDoubleSpinBox* m_decay = nullptr;
  QDoubleSpinBox* m_smoothing = nullptr;
  QDoubleSpinBox* m_range = nullptr;
  QComboBox* m_device = nullptr;
  QComboBox* m_from = nullptr;
  QComboBox* m_teacher = nullptr;
  QCheckBox* m_classWeights = nullptr;
  QLabel* m_problem = nullptr;
  QPushButton* m_start = nullptr;
};

}  // namespace pillarbox::ui

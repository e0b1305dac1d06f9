// Training: the list of runs, a new one, one that is watched, two that are compared.
//
// It starts pillarbox-train through TrainingProcess and shows runs as TrainingRecord reads them; it
// computes nothing itself. One run is trained at a time. Closing the window stops it with a
// checkpoint.
#pragma once

#include <QHash>
#include <QPointer>
#include <QThreadPool>
#include <QVector>
#include <QWidget>

#include "app/client/training_process.h"
#include "app/client/training_record.h"

class QAction;
class QButtonGroup;
class QGridLayout;
class QLabel;
class QListWidget;
class QPlainTextEdit;
class QProgressBar;
class QPushButton;
class QStackedWidget;
class QTableWidget;

namespace pillarbox::ui {

class Card;
class ConfusionView;
class CounterTile;
class CurveChart;
class ElidedLabel;
class IconLabel;
class MessageBar;
class RangeView;
class TrainingForm;

class TrainingPage : public QWidget {
  Q_OBJECT
 public:
  /// @param runsFolder  where runs are kept; made when the first one starts
  /// @param program     pillarbox-train; empty: beside this program or in the search path
  TrainingPage(const QString& runsFolder, const QString& program, QWidget* parent = nullptr);
  ~TrainingPage() override;

  /// Folders and zips to train on: opens the form for a new run.
  void useData(const QStringList& paths);
  /// Reads the runs' folders again.
  void reload();
  bool training() const;
  /// Lets the shown run's checkpoint classify a picture; a dialog shows the answer.
  void tryImage(const QString& file);
  /// Writes the shown run's checkpoint as a model file; deployRequested() follows if `deploy`.
  void exportRun(const QString& file, bool deploy);
  client::TrainingProcess& process() { return *m_process; }

 Q_SIGNALS:
  /// A model file is ready to be sent to an engine.
  void deployRequested(const QString& file);
  void logged(const QString& level, const QString& line);

 protected:
  void resizeEvent(QResizeEvent* event) override;

 private:
  enum Page { EmptyPage, FormPage, RunPage, ComparePage };

  QWidget* buildRuns();
  QWidget* buildEmpty();
  QWidget* buildRun();
  QWidget* buildActions();
  QWidget* buildViews();
  QWidget* buildCompare();

  void chooseFolder();
  void chooseFiles();
  void showForm();
  void startRun(const client::TrainingRequest& request);
  void resumeRun(int epochs);
  void extendRun();
  void placeCharts(int columns);
  void deleteRuns();
  void chooseExport();
  void chooseImage();

  void onEvent(const QJsonObject& event);
  void onEnded(const QString& problem);
  void onSelection();
  void showRuns(const QVector<client::RunRecord>& runs);
  void refreshList();
  void refreshRun();
  void refreshCompare();
  void refreshActions();
  void appendLog(const QString& line);
  client::RunRecord* find(const QString& folder);
  const client::RunRecord* shown();

  const QString m_runsFolder;
  const QString m_program;
  client::TrainingProcess* m_process;
  QVector<client::RunRecord> m_runs;
  QString m_shown;     ///< folder of the run in view
  QString m_shownLog;  ///< the same, once its log has been read
  QString m_lastFolder;
  QThreadPool m_pool;
  bool m_listing = false;     ///< the list is being filled; its selection is not the user's
  bool m_commanding = false;  ///< an export or a test of an image is under way
  quint64 m_generation = 0;   ///< of reload()

  MessageBar* m_message = nullptr;
  Card* m_runsCard = nullptr;
  QListWidget* m_list = nullptr;
  QPushButton* m_new = nullptr;
  QAction* m_delete = nullptr;
  QStackedWidget* m_pages = nullptr;

  TrainingForm* m_form = nullptr;
  QStringList m_data;

  IconLabel* m_stateIcon = nullptr;
  ElidedLabel* m_stateLine = nullptr;
  ElidedLabel* m_detailLine = nullptr;
  QProgressBar* m_progress = nullptr;
  QPushButton* m_pause = nullptr;
  QPushButton* m_stop = nullptr;
  QPushButton* m_end = nullptr;
  QPushButton* m_resume = nullptr;
  QPushButton* m_extend = nullptr;
  QPushButton* m_try = nullptr;
  QPushButton* m_export = nullptr;
  QPushButton* m_deploy = nullptr;
  QHash<QPushButton*, QString> m_texts;  ///< of buttons that are icons alone in a narrow window
  CounterTile* m_accuracy = nullptr;
  CounterTile* m_best = nullptr;
  CounterTile* m_loss = nullptr;
  CounterTile* m_outside = nullptr;
  CounterTile* m_lost = nullptr;
  CounterTile* m_left = nullptr;
  QButtonGroup* m_tabs = nullptr;
  QStackedWidget* m_views = nullptr;
  QGridLayout* m_curves = nullptr;
  CurveChart* m_accuracyChart = nullptr;
  CurveChart* m_lossChart = nullptr;
  CurveChart* m_penaltyChart = nullptr;
  CurveChart* m_outsideChart = nullptr;
  ConfusionView* m_confusion = nullptr;
  RangeView* m_ranges = nullptr;
  QLabel* m_dataText = nullptr;
  QTableWidget* m_classes = nullptr;
  QPlainTextEdit* m_log = nullptr;

  QTableWidget* m_compareTable = nullptr;
  CurveChart* m_compareAccuracy = nullptr;
  CurveChart* m_compareOutside = nullptr;
};

}  // namespace pillarbox::ui

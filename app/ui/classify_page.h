// The page where everything happens: drop area and samples at first; then the picture, the state of
// its classification with live counters, and the class with the top five.
#pragma once

#include <QElapsedTimer>
#include <QThreadPool>
#include <QTimer>
#include <QWidget>

#include "app/client/session_model.h"
#include "app/ui/settings.h"

class QLabel;
class QListWidget;
class QProgressBar;
class QPushButton;
class QStackedLayout;
class QToolButton;

namespace pillarbox::ui {

class CounterTile;
class ElidedLabel;
class IconLabel;
class ImageQueue;
class LatencyChart;
class PictureView;
class ScoreBars;

class ClassifyPage : public QWidget {
  Q_OBJECT
 public:
  /// @param samples  paths of images to offer on the first page; may be empty
  ClassifyPage(client::SessionModel& session, Settings& settings, ImageQueue& queue,
               const QStringList& samples, QWidget* parent = nullptr);
  ~ClassifyPage() override;

  /// The state line's text, e.g. "Round 4 of 7".
  QString stateText() const;
  bool showsWelcome() const;
  /// Shows an item of the recent list again; ignored while an image is being classified.
  void showRecent(int index);

 Q_SIGNALS:
  void openRequested();
  void pasteRequested();
  void connectRequested();
  void sampleChosen(const QString& path);

 protected:
  void resizeEvent(QResizeEvent* event) override;

 private:
  enum class Phase { Idle, Reading, Waiting, Running, Finished, Failed, Cancelled };

  QWidget* buildWelcome(const QStringList& samples);
  QWidget* buildWork();
  QWidget* buildStateRow();
  QWidget* buildResult();
  QWidget* buildActivity();
  QWidget* buildRecent();
  void connectSignals();

  void setPhase(Phase phase);
  void refresh();
  void refreshElapsed();
  void refreshRecent();
  QString waitingText() const;
  void resetCounters();
  void showProgress(const client::InferenceProgress& progress);
  void showResult(const client::ClassificationResult& result);
  void showFailure(const QString& title, const QString& message);

  client::SessionModel& m_session;
  Settings& m_settings;
  ImageQueue& m_queue;
  QThreadPool m_pool;

  Phase m_phase = Phase::Idle;
  client::SessionState m_state;
  client::BankStatus m_bank;
  client::ModelInfo m_model;
  client::InferenceProgress m_progress;
  QString m_imageName;
  double m_finalMs = -1;
  QElapsedTimer m_clock;
  QTimer m_tick;

  QStackedLayout* m_pages = nullptr;
  QVector<QToolButton*> m_samples;
  QLabel* m_dropHint = nullptr;
  QLabel* m_welcomeHint = nullptr;
  QPushButton* m_welcomeConnect = nullptr;
  IconLabel* m_stateIcon = nullptr;
  ElidedLabel* m_stateLine = nullptr;
  ElidedLabel* m_waitingLine = nullptr;
  QPushButton* m_connect = nullptr;
  QPushButton* m_retry = nullptr;
  QPushButton* m_cancel = nullptr;
  QPushButton* m_another = nullptr;
  QProgressBar* m_progressBar = nullptr;
  PictureView* m_picture = nullptr;
  ElidedLabel* m_pictureName = nullptr;
  QStackedLayout* m_resultPages = nullptr;
  QLabel* m_resultHint = nullptr;
  ElidedLabel* m_class = nullptr;
  QLabel* m_classPercent = nullptr;
  ScoreBars* m_bars = nullptr;
  QWidget* m_doubt = nullptr;
  QLabel* m_doubtText = nullptr;
  QWidget* m_insecure = nullptr;
  ElidedLabel* m_online = nullptr;
  ElidedLabel* m_offline = nullptr;
  ElidedLabel* m_sessionCost = nullptr;
  QLabel* m_failureTitle = nullptr;
  QLabel* m_failureText = nullptr;
  CounterTile* m_rounds = nullptr;
  CounterTile* m_sent = nullptr;
  CounterTile* m_received = nullptr;
  CounterTile* m_elapsed = nullptr;
  LatencyChart* m_chart = nullptr;
  QWidget* m_recentCard = nullptr;
  QListWidget* m_recent = nullptr;
  QToolButton* m_clearRecent = nullptr;
};

}  // namespace pillarbox::ui

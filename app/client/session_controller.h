// SessionController: one connection to an engine, for a user interface.
//
// All network and protocol work happens on a worker thread; every method returns at once, and what
// happens is told by signals, delivered on the caller's thread. The controller connects, asks about
// an unknown certificate, refuses a changed one, keeps the bank of correlation sets filled, runs
// one inference at a time, and reconnects by itself when the connection breaks (with growing
// pauses), saying so. It holds no widget and no window.
#pragma once

#include <memory>

#include <QImage>
#include <QObject>
#include <QString>
#include <QStringList>
#include <QVector>

namespace pillarbox::client {

/// Where an engine is.
struct EngineAddress {
  QString name;  ///< the user's name for it; may be empty
  QString host;
  quint16 port = 7120;
};

enum class SessionState {
  Disconnected,
  Connecting,
  AwaitingTrust,  ///< trustRequested was emitted; answerTrust() continues
  Preparing,      ///< connected; no correlation set is ready yet
  Ready,          ///< at least one set is ready
  Classifying,
  Reconnecting,  ///< the connection broke or the engine is away; trying again by itself
  Refused,       ///< changed certificate, wrong version, ...: only the user can go on
};

/// First contact: nothing has been sent to the engine yet.
struct TrustQuestion {
  EngineAddress engine;
  QString fingerprint;  ///< SHA-256, upper-case hex with colons
};

/// The certificate is not the one that was pinned. There is no way to accept it from here: the
/// user must remove the pin on purpose (PinStore) and connect again.
struct PinMismatch {
  EngineAddress engine;
  QString pinned;
  QString presented;
};

struct ModelInfo {
  QString name;
  QString hash;  ///< of the public description, hex
  QStringList labels;
  int inputWidth = 0, inputHeight = 0;
  int rounds = 0;
  quint64 activations = 0;
  QString offlineMode;    ///< "dealer", "first-party", "two-party"
  QString trust;          ///< one line: who is trusted in this session
  bool insecure = false;  ///< first-party: show it as insecure everywhere
};

struct BankStatus {
  int ready = 0;
  int target = 0;
  double preparing = -1;  ///< progress of the set in preparation, 0..1; negative: none
};

struct InferenceProgress {
  quint64 id = 0;
  int round = 0, rounds = 0;                 ///< rounds finished so far, in all
  quint64 bytesSent = 0, bytesReceived = 0;  ///< of this inference's online phase
  double roundMs = 0;                        ///< of the round that just finished
  double elapsedMs = 0;
};

struct ClassScore {
  QString label;
  double probability = 0;
};

struct ClassificationResult {
  quint64 id = 0;
  QString imageName;
  QVector<ClassScore> top;  ///< all classes, best first
  int rounds = 0;
  quint64 bytesSent = 0, bytesReceived = 0;
  double onlineMs = 0;
  quint64 offlineBytesSent = 0, offlineBytesReceived = 0;
  double offlineMs = 0;
};

struct SessionError {
  QString code;     ///< "unreachable", "untrusted", ... (ErrorCode)
  QString message;  ///< one sentence: what happened and what to do
};

class SessionController : public QObject {
  Q_OBJECT
 public:
  /// @param stateDir  folder of the pin store and caches; empty: the platform's default
  explicit SessionController(const QString& stateDir = {}, QObject* parent = nullptr);
  ~SessionController() override;

  void connectToEngine(const EngineAddress& address);
  void disconnectFromEngine();
  void answerTrust(bool accept);

  /// Classifies `image`; waits for the connection and for a correlation set if need be. One image
  /// at a time: further calls queue. Returns the id that progress and results carry.
  quint64 classify(const QImage& image, const QString& imageName);
  /// Stops the classification `id` wherever it is; its set is burnt. failed(code "cancelled")
  /// follows.
  void cancel(quint64 id);

  /// How many correlation sets to keep ready, 1..64.
  void setBankTarget(int sets);

  SessionState state() const;

 Q_SIGNALS:
  void stateChanged(pillarbox::client::SessionState state, const QString& message);
  void trustRequested(const pillarbox::client::TrustQuestion& question);
  void pinMismatch(const pillarbox::client::PinMismatch& mismatch);
  void modelChanged(const pillarbox::client::ModelInfo& model);
  void bankChanged(const pillarbox::client::BankStatus& bank);
  void started(quint64 id);
  void progressed(const pillarbox::client::InferenceProgress& progress);
  void finished(const pillarbox::client::ClassificationResult& result);
  void failed(quint64 id, const pillarbox::client::SessionError& error);
  /// A line for the log view; level: "debug", "info", "warning", "error". Never holds secrets.
  void logged(const QString& level, const QString& line);

 private:
  class Worker;
  std::unique_ptr<Worker> m_worker;
};

}  // namespace pillarbox::client

Q_DECLARE_METATYPE(pillarbox::client::SessionState)

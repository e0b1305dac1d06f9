// SessionModel: what a user interface sees of one connection to an engine.
//
// The interface of SessionController, apart from its implementation, so that the windows depend on
// methods, signals and plain structures only. Every method returns at once; signals are delivered
// on the thread of the object.
#pragma once

#include <QDateTime>
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
  /// SHA-256 given with --trust (any case, colons optional); empty: the pin store decides. Where it
  /// is given, a certificate with this fingerprint is pinned without asking and any other one is
  /// refused.
  QString trustedFingerprint;
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

/// A certificate that was accepted once: of an engine, of an engine's administration, of a dealer.
struct PinnedCertificate {
  bool dealer = false;
  QString host;
  quint16 port = 0;
  QString fingerprint;  ///< upper-case hex with colons
  QDateTime since;
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

/// The connection that a session runs on.
struct ConnectionInfo {
  EngineAddress engine;
  QString fingerprint;      ///< of the certificate that the engine presented; colons
  double roundTripMs = -1;  ///< of the link, from an exchange of small messages; negative: unknown
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
  int offlineRounds = 0;
  quint64 setupBytesSent = 0, setupBytesReceived = 0;  ///< once in the session, beside its sets
  double setupMs = 0;
  quint64 peakMemoryBytes = 0;  ///< the most that this program has held, so far
  QString warning;              ///< empty, or why the answer may be wrong
};

struct SessionError {
  QString code;     ///< "unreachable", "untrusted", ... (ErrorCode)
  QString message;  ///< one sentence: what happened and what to do
};

class SessionModel : public QObject {
  Q_OBJECT
 public:
  using QObject::QObject;

  virtual void connectToEngine(const EngineAddress& address) = 0;
  virtual void disconnectFromEngine() = 0;
  virtual void answerTrust(bool accept) = 0;

  /// Classifies `image`; waits for the connection and for a correlation set if need be. One image
  /// at a time: further calls queue. Returns the id that progress and results carry.
  virtual quint64 classify(const QImage& image, const QString& imageName) = 0;
  /// Stops the classification `id` wherever it is; its set is burnt. failed(code "cancelled")
  /// follows.
  virtual void cancel(quint64 id) = 0;

  /// How many correlation sets to keep ready, 1..64.
  virtual void setBankTarget(int sets) = 0;

  virtual SessionState state() const = 0;

  /// The pinned fingerprint of host:port (upper-case hex with colons), or empty.
  virtual QString pinnedFingerprint(const QString& host, quint16 port) const = 0;
  /// Forgets the pin of host:port; the next connection there is a first contact. False where there
  /// was none or the store could not be written (the reason is logged).
  virtual bool removePin(const QString& host, quint16 port) = 0;
  /// Every pin there is, of dealers and administration too.
  virtual QVector<PinnedCertificate> pinnedCertificates() const = 0;
  /// As removePin(), for any of them.
  virtual bool forget(const PinnedCertificate& pin) = 0;
  /// Asks in the background whether something answers at the address; probed() follows. Sends
  /// nothing beyond the TCP handshake and touches no pin.
  virtual void probe(const EngineAddress& address) = 0;

 Q_SIGNALS:
  void stateChanged(pillarbox::client::SessionState state, const QString& message);
  void trustRequested(const pillarbox::client::TrustQuestion& question);
  void pinMismatch(const pillarbox::client::PinMismatch& mismatch);
  /// After the handshake, and again whenever the round-trip time has been measured anew.
  void connectionChanged(const pillarbox::client::ConnectionInfo& connection);
  void modelChanged(const pillarbox::client::ModelInfo& model);
  void bankChanged(const pillarbox::client::BankStatus& bank);
  void started(quint64 id);
  void progressed(const pillarbox::client::InferenceProgress& progress);
  void finished(const pillarbox::client::ClassificationResult& result);
  void failed(quint64 id, const pillarbox::client::SessionError& error);
  /// Answers probe(); roundTripMs is the TCP handshake's time. `message` says why not.
  void probed(const pillarbox::client::EngineAddress& address, bool reachable, double roundTripMs,
              const QString& message);
  /// A line for the log view; level: "debug", "info", "warning", "error". Never holds secrets.
  void logged(const QString& level, const QString& line);
};

}  // namespace pillarbox::client

Q_DECLARE_METATYPE(pillarbox::client::SessionState)

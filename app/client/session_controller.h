// SessionController: one connection to an engine, for a user interface.
//
// All network and protocol work happens on a worker thread; every method returns at once, and what
// happens is told by signals, delivered on the caller's thread. The controller connects, asks about
// an unknown certificate, refuses a changed one, keeps the bank of correlation sets filled, runs
// one inference at a time, and reconnects by itself when the connection breaks (with growing
// pauses), saying so. It holds no widget and no window.
#pragma once

#include <memory>

#include "app/client/session_model.h"

namespace pillarbox::client {

class SessionController : public SessionModel {
  Q_OBJECT
 public:
  /// @param stateDir  folder of the pin store and caches; empty: the platform's default
  explicit SessionController(const QString& stateDir = {}, QObject* parent = nullptr);
  ~SessionController() override;

  void connectToEngine(const EngineAddress& address) override;
  void disconnectFromEngine() override;
  void answerTrust(bool accept) override;
  quint64 classify(const QImage& image, const QString& imageName) override;
  void cancel(quint64 id) override;
  void setBankTarget(int sets) override;
  SessionState state() const override;
  QString pinnedFingerprint(const QString& host, quint16 port) const override;
  bool removePin(const QString& host, quint16 port) override;
  QVector<PinnedCertificate> pinnedCertificates() const override;
  bool forget(const PinnedCertificate& pin) override;
  void probe(const EngineAddress& address) override;

 private:
  class Worker;
  std::unique_ptr<Worker> m_worker;
};

}  // namespace pillarbox::client

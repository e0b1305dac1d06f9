// DeployModel: what a user interface sees of the models at an engine, and of changing them.
//
// The interface of DeployController, apart from its implementation. Every method returns at once;
// signals are delivered on the thread of the object. One request runs at a time: `busy` tells, and
// what is asked meanwhile is ignored.
#pragma once

#include <QDateTime>
#include <QObject>
#include <QString>
#include <QVector>

#include "app/client/session_model.h"

namespace pillarbox::client {

/// One model at the engine.
struct DeployedModel {
  QString id;  ///< SHA-256 of the file, hexadecimal
  QString name, file;
  quint64 bytes = 0, weights = 0, activations = 0;
  int rounds = 0, classes = 0;
  QDateTime added;  ///< invalid for one of the engine's configuration
  QString addedBy;  ///< fingerprint of the administrator
  bool configured = false, active = false, previous = false, served = false;
};

struct DeployedModels {
  QString software;
  QVector<DeployedModel> models;
  bool canRollBack = false;
};

class DeployModel : public QObject {
  Q_OBJECT
 public:
  using QObject::QObject;

  /// Fingerprint of this user's administrator certificate; empty: there is none yet.
  virtual QString ownFingerprint() const = 0;
  /// Makes one. False where that failed; failed() says why.
  virtual bool createKey() = 0;

  /// The administration address of the engine that the calls below are about.
  virtual void setEngine(const EngineAddress& engine) = 0;
  virtual void refresh() = 0;
  virtual void upload(const QString& file, bool activate) = 0;
  virtual void activate(const QString& id) = 0;
  virtual void rollBack() = 0;
  virtual void remove(const QString& id) = 0;
  /// Ends what is under way; failed(code "cancelled") follows.
  virtual void cancel() = 0;
  /// Answers trustRequested(): the request that asked is tried again, or is over.
  virtual void answerTrust(bool accept) = 0;

 Q_SIGNALS:
  void busyChanged(bool busy);
  void listed(const pillarbox::client::DeployedModels& models);
  void uploadProgressed(quint64 sent, quint64 total);
  /// A change was made, said in one sentence. listed() came before it.
  void done(const QString& what);
  void failed(const pillarbox::client::SessionError& error);
  void trustRequested(const pillarbox::client::TrustQuestion& question);
};

}  // namespace pillarbox::client

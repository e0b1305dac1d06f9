// A DeployModel that does what a test tells it: it records calls and emits signals on demand.
#pragma once

#include <QStringList>

#include "app/client/deploy_model.h"

namespace pillarbox::test {

class ScriptedDeploy : public client::DeployModel {
  Q_OBJECT
 public:
  using DeployModel::DeployModel;

  QString ownFingerprint() const override { return own; }
  bool createKey() override {
    own = made;
    return true;
  }
  void setEngine(const client::EngineAddress& address) override { engine = address; }
  void refresh() override { begin(QStringLiteral("refresh")); }
  void upload(const QString& file, bool activate) override {
    begin(QStringLiteral("upload %1 %2").arg(file).arg(activate));
  }
  void activate(const QString& id) override { begin(QStringLiteral("activate ") + id); }
  void rollBack() override { begin(QStringLiteral("rollback")); }
  void remove(const QString& id) override { begin(QStringLiteral("remove ") + id); }
  void cancel() override {
    fail(QStringLiteral("cancelled"), QStringLiteral("the request was cancelled"));
  }
  void answerTrust(bool accept) override { trustAnswers << accept; }

  void begin(const QString& call) {
    calls << call;
    Q_EMIT busyChanged(true);
  }
  void finish(const client::DeployedModels& models, const QString& what = {}) {
    Q_EMIT busyChanged(false);
    Q_EMIT listed(models);
    if (!what.isEmpty()) Q_EMIT done(what);
  }
  void fail(const QString& code, const QString& message) {
    Q_EMIT busyChanged(false);
    Q_EMIT failed({code, message});
  }
  /// An active model, the one before, and one of the engine's configuration.
  static client::DeployedModels models();

  client::EngineAddress engine;
  QString own, made;
  QStringList calls;
  QVector<bool> trustAnswers;
};

}  // namespace pillarbox::test

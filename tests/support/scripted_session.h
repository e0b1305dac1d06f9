// A SessionModel that does what a test tells it: it records calls and emits signals on demand. No
// network, no thread, no protocol; for tests of the user interface only.
#pragma once

#include <QHash>
#include <QVector>

#include "app/client/session_model.h"

namespace pillarbox::test {

class ScriptedSession : public client::SessionModel {
  Q_OBJECT
 public:
  using SessionModel::SessionModel;

  void connectToEngine(const client::EngineAddress& address) override {
    connected.append(address);
    setState(client::SessionState::Connecting);
  }
  void disconnectFromEngine() override { setState(client::SessionState::Disconnected); }
  void answerTrust(bool accept) override { trustAnswers.append(accept); }
  quint64 classify(const QImage& image, const QString& imageName) override {
    images.append(image);
    names.append(imageName);
    return ++lastId;
  }
  void cancel(quint64 id) override {
    cancelled.append(id);
    Q_EMIT failed(id, {QStringLiteral("cancelled"), QStringLiteral("Cancelled.")});
  }
  void setBankTarget(int sets) override { bankTarget = sets; }
  client::SessionState state() const override { return m_state; }
  QString pinnedFingerprint(const QString& host, quint16 port) const override {
    return pins.value(QStringLiteral("%1:%2").arg(host).arg(port));
  }
  bool removePin(const QString& host, quint16 port) override {
    return pins.remove(QStringLiteral("%1:%2").arg(host).arg(port)) > 0;
  }
  QVector<client::PinnedCertificate> pinnedCertificates() const override { return certificates; }
  bool forget(const client::PinnedCertificate& pin) override {
    return certificates.removeIf([&](const client::PinnedCertificate& other) {
      return other.dealer == pin.dealer && other.host == pin.host && other.port == pin.port;
    }) > 0;
  }
  void probe(const client::EngineAddress& address) override { probes.append(address); }

  void setState(client::SessionState state, const QString& message = QString()) {
    m_state = state;
    Q_EMIT stateChanged(state, message);
  }
  /// The model that the screens and most tests use.
  static client::ModelInfo model(bool insecure = false);
  /// Connected with that model and `ready` sets in the bank.
  void become(client::SessionState state, int ready, double preparing = -1, bool insecure = false);
  /// Plays rounds 1..`to` of `rounds` of the newest image.
  void playRounds(int to, int rounds = 8);
  /// The newest image's result; `label` first.
  void finish(const QString& label = QStringLiteral("cat"), const QString& warning = {});
  static QString fingerprint(int seed);

  QVector<client::EngineAddress> connected;
  QVector<client::EngineAddress> probes;
  QVector<bool> trustAnswers;
  QVector<QImage> images;
  QStringList names;
  QVector<quint64> cancelled;
  QHash<QString, QString> pins;
  QVector<client::PinnedCertificate> certificates;
  quint64 lastId = 0;
  int bankTarget = 0;

 private:
  client::SessionState m_state = client::SessionState::Disconnected;
};

}  // namespace pillarbox::test

#include "tests/support/scripted_session.h"

namespace pillarbox::test {

client::ModelInfo ScriptedSession::model(bool insecure) {
  client::ModelInfo model;
  model.name = QStringLiteral("minionn-cifar10");
  model.hash = QStringLiteral("9d3e5a1c07b84f62aa10c4e98b7d2f315e6088c1d9f04b37a2c5e8f16b0d9472");
  model.labels = {QStringLiteral("airplane"), QStringLiteral("automobile"), QStringLiteral("bird"),
                  QStringLiteral("cat"),      QStringLiteral("deer"),       QStringLiteral("dog"),
                  QStringLiteral("frog"),     QStringLiteral("horse"),      QStringLiteral("ship"),
                  QStringLiteral("truck")};
  model.inputWidth = 32;
  model.inputHeight = 32;
  model.rounds = 8;
  model.activations = 173056;
  model.insecure = insecure;
  model.offlineMode = insecure ? QStringLiteral("first-party") : QStringLiteral("two-party");
  model.trust = insecure ? QStringLiteral(
                               "INSECURE: the engine makes your masks and could read the "
                               "image (first-party mode, for comparison only)")
                         : QStringLiteral(
                               "You trust nobody: this program and the engine prepare the masks by "
                               "themselves");
  return model;
}

void ScriptedSession::become(client::SessionState state, int ready, double preparing,
                             bool insecure) {
  client::ConnectionInfo connection;
  connection.engine = connected.isEmpty() ? client::EngineAddress{} : connected.last();
  connection.fingerprint = fingerprint(1);
  connection.roundTripMs = 0.42;
  Q_EMIT connectionChanged(connection);
  Q_EMIT modelChanged(model(insecure));
  Q_EMIT bankChanged({ready, bankTarget, preparing});
  setState(state);
}

void ScriptedSession::playRounds(int to, int rounds) {
  client::InferenceProgress progress;
  progress.id = lastId;
  progress.rounds = rounds;
  if (to >= 0) Q_EMIT started(lastId);
  const double milliseconds[] = {61, 118, 84, 97, 54, 31, 18, 6};
  for (int round = 1; round <= to; ++round) {
    progress.round = round;
    progress.roundMs = milliseconds[(round - 1) % 8];
    progress.elapsedMs += progress.roundMs;
    progress.bytesSent += 173056ULL * 8 / static_cast<quint64>(rounds) + 24;
    progress.bytesReceived += 173056ULL * 8 / static_cast<quint64>(rounds) + 24;
    Q_EMIT progressed(progress);
  }
}

void ScriptedSession::finish(const QString& label, const QString& warning) {
  client::ClassificationResult result;
  result.warning = warning;
  result.id = lastId;
  result.imageName = names.isEmpty() ? QString() : names.last();
  result.top = {{label, 0.9234}};
  const double rest[] = {0.0412, 0.0187, 0.0093, 0.0051, 0.0014, 0.0006, 0.0002, 0.0001, 0.00001};
  int next = 0;
  const QStringList labels = model().labels;
  for (const QString& other : labels) {
    if (other != label && next < 9) result.top.append({other, rest[next++]});
  }
  result.rounds = 8;
  result.bytesSent = 1409096;
  result.bytesReceived = 1384868;
  result.onlineMs = 469.3;
  result.offlineBytesSent = 31830000;
  result.offlineBytesReceived = 34800000;
  result.offlineMs = 7240;
  result.offlineRounds = 3;
  result.setupBytesSent = 5710000;
  result.setupBytesReceived = 412;
  result.setupMs = 310;
  result.peakMemoryBytes = 301000000;
  Q_EMIT finished(result);
}

QString ScriptedSession::fingerprint(int seed) {
  QStringList bytes;
  quint32 value = 0x9e3779b9U * static_cast<quint32>(seed + 1);
  for (int i = 0; i < 32; ++i) {
    value = value * 1664525U + 1013904223U;
    bytes << QStringLiteral("%1").arg(value >> 24, 2, 16, QLatin1Char('0')).toUpper();
  }
  return bytes.join(QLatin1Char(':'));
}

}  // namespace pillarbox::test

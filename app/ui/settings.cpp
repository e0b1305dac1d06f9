#include "app/ui/settings.h"

#include <algorithm>
#include <optional>

#include <QDir>
#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QRegularExpression>
#include <QSettings>

namespace pillarbox::ui {

namespace {

constexpr int kTopKept = 5;

QJsonObject toJson(const RecentItem& item) {
  const client::ClassificationResult& r = item.result;
  QJsonArray top;
  for (const auto& score : r.top) {
    top.append(QJsonObject{{"class", score.label}, {"probability", score.probability}});
  }
  return QJsonObject{{"when", item.when.toString(Qt::ISODate)},
                     {"image", r.imageName},
                     {"top", top},
                     {"rounds", r.rounds},
                     {"bytes_sent", static_cast<double>(r.bytesSent)},
                     {"bytes_received", static_cast<double>(r.bytesReceived)},
                     {"online_ms", r.onlineMs},
                     {"offline_bytes_sent", static_cast<double>(r.offlineBytesSent)},
                     {"offline_bytes_received", static_cast<double>(r.offlineBytesReceived)},
                     {"offline_ms", r.offlineMs},
                     {"offline_rounds", r.offlineRounds},
                     {"setup_bytes_sent", static_cast<double>(r.setupBytesSent)},
                     {"setup_bytes_received", static_cast<double>(r.setupBytesReceived)},
                     {"setup_ms", r.setupMs},
                     {"peak_memory_bytes", static_cast<double>(r.peakMemoryBytes)},
                     {"insecure", item.insecure}};
}

quint64 count(const QJsonValue& value) {
  return static_cast<quint64>(std::clamp(value.toDouble(), 0.0, 9e15));
}

RecentItem fromJson(const QJsonObject& object) {
  RecentItem item;
  item.when = QDateTime::fromString(object["when"].toString(), Qt::ISODate);
  client::ClassificationResult& r = item.result;
  r.imageName = object["image"].toString().left(1000);
  const QJsonArray top = object["top"].toArray();
  for (const auto& value : top) {
    if (r.top.size() == kTopKept) break;
    r.top.append({value.toObject()["class"].toString().left(1000),
                  std::clamp(value.toObject()["probability"].toDouble(), 0.0, 1.0)});
  }
  r.rounds = object["rounds"].toInt();
  r.bytesSent = count(object["bytes_sent"]);
  r.bytesReceived = count(object["bytes_received"]);
  r.onlineMs = object["online_ms"].toDouble();
  r.offlineBytesSent = count(object["offline_bytes_sent"]);
  r.offlineBytesReceived = count(object["offline_bytes_received"]);
  r.offlineMs = object["offline_ms"].toDouble();
  r.offlineRounds = object["offline_rounds"].toInt();
  r.setupBytesSent = count(object["setup_bytes_sent"]);
  r.setupBytesReceived = count(object["setup_bytes_received"]);
  r.setupMs = object["setup_ms"].toDouble();
  r.peakMemoryBytes = count(object["peak_memory_bytes"]);
  item.insecure = object["insecure"].toBool();
  return item;
}

}  // namespace

Settings::Settings(const QString& stateDir, QObject* parent) : QObject(parent) {
  if (stateDir.isEmpty()) {
    m_file = std::make_unique<QSettings>(QSettings::IniFormat, QSettings::UserScope,
                                         QStringLiteral("pillarbox"), QStringLiteral("pillarbox"));
  } else {
    m_file = std::make_unique<QSettings>(QDir(stateDir).filePath(QStringLiteral("pillarbox.ini")),
                                         QSettings::IniFormat);
  }
  load();
}

Settings::~Settings() = default;

QString Settings::filePath() const {
  return m_file->fileName();
}

void Settings::load() {
  const int count = std::min(m_file->beginReadArray(QStringLiteral("engines")), kMaxEngines);
  for (int i = 0; i < count; ++i) {
    m_file->setArrayIndex(i);
    client::EngineAddress engine;
    engine.name = m_file->value(QStringLiteral("name")).toString();
    engine.host = m_file->value(QStringLiteral("host")).toString();
    engine.port = static_cast<quint16>(m_file->value(QStringLiteral("port"), 7120).toUInt());
    if (!engine.host.isEmpty() && engine.port != 0) m_engines.append(engine);
  }
  m_file->endArray();
  m_lastEngine = m_file->value(QStringLiteral("last_engine"), -1).toInt();
  if (m_lastEngine >= m_engines.size()) m_lastEngine = -1;
  m_theme = themeFromString(m_file->value(QStringLiteral("theme")).toString());
  m_bankTarget = std::clamp(
      m_file->value(QStringLiteral("bank_target"), kDefaultBankTarget).toInt(), 1, kMaxBankTarget);
  m_rememberRecent = m_file->value(QStringLiteral("remember_recent"), false).toBool();
  if (m_rememberRecent) {
    const QByteArray json = m_file->value(QStringLiteral("recent")).toString().toUtf8();
    const QJsonArray items = QJsonDocument::fromJson(json).array();
    for (const auto& value : items) {
      if (m_recent.size() == kMaxRecent) break;
      RecentItem item = fromJson(value.toObject());
      if (!item.result.top.isEmpty()) m_recent.append(item);
    }
  }
}

void Settings::setEngines(const QVector<client::EngineAddress>& engines) {
  const QString last = m_lastEngine >= 0 ? displayAddress(m_engines[m_lastEngine]) : QString();
  m_engines = engines.mid(0, kMaxEngines);
  m_lastEngine = -1;
  for (int i = 0; i < m_engines.size(); ++i) {
    if (displayAddress(m_engines[i]) == last) m_lastEngine = i;
  }
  m_file->remove(QStringLiteral("engines"));
  m_file->beginWriteArray(QStringLiteral("engines"), static_cast<int>(m_engines.size()));
  for (int i = 0; i < m_engines.size(); ++i) {
    m_file->setArrayIndex(i);
    m_file->setValue(QStringLiteral("name"), m_engines[i].name);
    m_file->setValue(QStringLiteral("host"), m_engines[i].host);
    m_file->setValue(QStringLiteral("port"), m_engines[i].port);
  }
  m_file->endArray();
  m_file->setValue(QStringLiteral("last_engine"), m_lastEngine);
  Q_EMIT enginesChanged();
}

void Settings::setLastEngine(int index) {
  m_lastEngine = index;
  m_file->setValue(QStringLiteral("last_engine"), index);
}

void Settings::setTheme(ThemeChoice theme) {
  if (theme == m_theme) return;
  m_theme = theme;
  m_file->setValue(QStringLiteral("theme"), toString(theme));
  Q_EMIT themeChanged();
}

void Settings::setBankTarget(int sets) {
  sets = std::clamp(sets, 1, kMaxBankTarget);
  if (sets == m_bankTarget) return;
  m_bankTarget = sets;
  m_file->setValue(QStringLiteral("bank_target"), sets);
  Q_EMIT bankTargetChanged(sets);
}

void Settings::setRememberRecent(bool remember) {
  m_rememberRecent = remember;
  m_file->setValue(QStringLiteral("remember_recent"), remember);
  storeRecent();
}

void Settings::addRecent(const client::ClassificationResult& result, bool insecure) {
  RecentItem item{QDateTime::currentDateTime(), result, insecure};
  item.result.top = result.top.mid(0, kTopKept);
  m_recent.prepend(item);
  if (m_recent.size() > kMaxRecent) m_recent.resize(kMaxRecent);
  storeRecent();
  Q_EMIT recentChanged();
}

void Settings::clearRecent() {
  m_recent.clear();
  storeRecent();
  Q_EMIT recentChanged();
}

void Settings::storeRecent() {
  if (!m_rememberRecent) {
    m_file->remove(QStringLiteral("recent"));
    return;
  }
  QJsonArray items;
  for (const RecentItem& item : m_recent) items.append(toJson(item));
  m_file->setValue(QStringLiteral("recent"),
                   QString::fromUtf8(QJsonDocument(items).toJson(QJsonDocument::Compact)));
}

QByteArray Settings::windowGeometry() const {
  return m_file->value(QStringLiteral("geometry")).toByteArray();
}

void Settings::setWindowGeometry(const QByteArray& geometry) {
  m_file->setValue(QStringLiteral("geometry"), geometry);
}

QString displayAddress(const client::EngineAddress& engine) {
  const QString host = engine.host.contains(QLatin1Char(':'))
                           ? QLatin1Char('[') + engine.host + QLatin1Char(']')
                           : engine.host;
  return QStringLiteral("%1:%2").arg(host, QString::number(engine.port));
}

QString displayName(const client::EngineAddress& engine) {
  return engine.name.isEmpty() ? displayAddress(engine) : engine.name;
}

std::optional<client::EngineAddress> parseAddress(const QString& text) {
  static const QRegularExpression kBracketed(
      QStringLiteral(R"(^\[([0-9A-Fa-f:.%\w]+)\](?::(\d+))?$)"));
  static const QRegularExpression kPlain(QStringLiteral(R"(^([^\s:\[\]/@]+)(?::(\d+))?$)"));
  const QString trimmed = text.trimmed();
  QRegularExpressionMatch match = kBracketed.match(trimmed);
  if (!match.hasMatch()) match = kPlain.match(trimmed);
  if (!match.hasMatch()) return std::nullopt;
  client::EngineAddress engine;
  engine.host = match.captured(1);
  if (match.lastCapturedIndex() == 2) {
    bool ok = false;
    const uint port = match.captured(2).toUInt(&ok);
    if (!ok || port == 0 || port > 65535) return std::nullopt;
    engine.port = static_cast<quint16>(port);
  }
  return engine;
}

}  // namespace pillarbox::ui

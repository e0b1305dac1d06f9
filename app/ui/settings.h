// What the desktop program remembers: engines, preferences, recent results, window geometry.
//
// One INI file: <state-dir>/pillarbox.ini where --state-dir was given, else the platform's place
// for settings. No image is ever stored, and recent results (names and classes) only where the user
// asked for it. Pins are not here: they belong to the session's pin store.
#pragma once

#include <memory>
#include <optional>

#include <QByteArray>
#include <QDateTime>
#include <QObject>
#include <QVector>

#include "app/client/session_model.h"
#include "app/ui/theme.h"

class QSettings;

namespace pillarbox::ui {

struct RecentItem {
  QDateTime when;
  client::ClassificationResult result;  ///< of the top classes, five are kept
  bool insecure = false;                ///< classified in an insecure session
};

class Settings : public QObject {
  Q_OBJECT
 public:
  static constexpr int kMaxRecent = 50;
  static constexpr int kMaxEngines = 100;
  static constexpr int kDefaultBankTarget = 2;
  static constexpr int kMaxBankTarget = 64;

  explicit Settings(const QString& stateDir = {}, QObject* parent = nullptr);
  ~Settings() override;

  /// The file, for "Preferences" and diagnostics.
  QString filePath() const;

  QVector<client::EngineAddress> engines() const { return m_engines; }
  void setEngines(const QVector<client::EngineAddress>& engines);
  /// The engine to connect to at start; -1: none.
  int lastEngine() const { return m_lastEngine; }
  void setLastEngine(int index);

  ThemeChoice theme() const { return m_theme; }
  void setTheme(ThemeChoice theme);
  int bankTarget() const { return m_bankTarget; }
  void setBankTarget(int sets);
  bool rememberRecent() const { return m_rememberRecent; }
  /// False also removes what was stored.
  void setRememberRecent(bool remember);

  QVector<RecentItem> recent() const { return m_recent; }
  void addRecent(const client::ClassificationResult& result, bool insecure);
  void clearRecent();

  QByteArray windowGeometry() const;
  void setWindowGeometry(const QByteArray& geometry);

 Q_SIGNALS:
  void enginesChanged();
  void themeChanged();
  void bankTargetChanged(int sets);
  void recentChanged();

 private:
  void load();
  void storeRecent();

  std::unique_ptr<QSettings> m_file;
  QVector<client::EngineAddress> m_engines;
  QVector<RecentItem> m_recent;
  int m_lastEngine = -1;
  ThemeChoice m_theme = ThemeChoice::System;
  int m_bankTarget = kDefaultBankTarget;
  bool m_rememberRecent = false;
};

/// "name" where the user gave one, else "host:port".
QString displayName(const client::EngineAddress& engine);
/// "host:port", IPv6 hosts in brackets.
QString displayAddress(const client::EngineAddress& engine);
/// Reads HOST:PORT, [IPV6]:PORT or HOST (the default port). Nothing if it is none of them.
std::optional<client::EngineAddress> parseAddress(const QString& text);

}  // namespace pillarbox::ui

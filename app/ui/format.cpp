#include "app/ui/format.h"

#include <algorithm>
#include <cmath>

#include <QCoreApplication>
#include <QLocale>

namespace pillarbox::ui {

namespace {
/// The context of this file's texts for translators.
class Text {
  Q_DECLARE_TR_FUNCTIONS(Format)
};
constexpr int kFingerprintBytes = 32;
}  // namespace

QString formatCount(qint64 value) {
  return QLocale().toString(value);
}

QString formatBytes(quint64 bytes) {
  if (bytes < 1000) return Text::tr("%1 bytes").arg(bytes);
  return QLocale().formattedDataSize(static_cast<qint64>(bytes), bytes < 100000 ? 1 : 2,
                                     QLocale::DataSizeSIFormat);
}

QString formatMs(double milliseconds) {
  const QLocale locale;
  if (milliseconds < 0) return QStringLiteral("–");
  if (milliseconds < 9.95) return Text::tr("%1 ms").arg(locale.toString(milliseconds, 'f', 1));
  if (milliseconds < 999.5) return Text::tr("%1 ms").arg(locale.toString(milliseconds, 'f', 0));
  if (milliseconds < 59995)
    return Text::tr("%1 s").arg(locale.toString(milliseconds / 1000, 'f', 2));
  const auto seconds = static_cast<qint64>(std::llround(milliseconds / 1000));
  return Text::tr("%1 min %2 s").arg(seconds / 60).arg(seconds % 60, 2, 10, QLatin1Char('0'));
}

QString formatDuration(double seconds) {
  const auto whole = static_cast<qint64>(std::llround(std::clamp(seconds, 0.0, 1e9)));
  if (whole < 90) return Text::tr("%1 s").arg(whole);
  if (whole < 3570) return Text::tr("%1 min").arg((whole + 30) / 60);
  const qint64 minutes = (whole + 30) / 60;
  return Text::tr("%1 h %2 min").arg(minutes / 60).arg(minutes % 60, 2, 10, QLatin1Char('0'));
}

QString formatProbability(double probability) {
  const QLocale locale;
  const double percent = 100 * std::clamp(probability, 0.0, 1.0);
  if (percent > 0 && percent < 0.1) return Text::tr("< %1 %").arg(locale.toString(0.1, 'f', 1));
  if (percent < 100 && percent >= 99.95)
    return Text::tr("> %1 %").arg(locale.toString(99.9, 'f', 1));
  return Text::tr("%1 %").arg(locale.toString(percent, 'f', 1));
}

QString formatShare(double share) {
  const QLocale locale;
  if (!std::isfinite(share)) return QStringLiteral("–");
  const double percent = 100 * std::clamp(share, 0.0, 1.0);
  if (percent == 0) return Text::tr("%1 %").arg(0);
  if (percent < 1e-4) return Text::tr("< %1 %").arg(locale.toString(1e-4, 'f', 4));
  // Without an exponent, which 'g' would use from 100 on and below 0.0001.
  const int digits = std::clamp(1 - static_cast<int>(std::floor(std::log10(percent))), 0, 5);
  return Text::tr("%1 %").arg(locale.toString(percent, 'f', digits));
}

QString sentence(const QString& text) {
  QString result = text.trimmed();
  if (result.isEmpty()) return result;
  result[0] = result[0].toUpper();
  if (!QStringLiteral(".!?…").contains(result.back())) result += QLatin1Char('.');
  return result;
}

QString normalizedFingerprint(const QString& text) {
  QString hex;
  for (const QChar ch : text) {
    if (ch.isSpace() || ch == QLatin1Char(':') || ch == QLatin1Char('-')) continue;
    const QChar upper = ch.toUpper();
    const bool digit = (upper >= QLatin1Char('0') && upper <= QLatin1Char('9')) ||
                       (upper >= QLatin1Char('A') && upper <= QLatin1Char('F'));
    if (!digit) return {};
    hex += upper;
  }
  if (hex.size() != 2 * kFingerprintBytes) return {};
  QString result;
  for (qsizetype i = 0; i < hex.size(); i += 2) {
    if (i > 0) result += QLatin1Char(':');
    result += QStringView(hex).mid(i, 2);
  }
  return result;
}

QStringList fingerprintRows(const QString& fingerprint) {
  const QStringList bytes = fingerprint.split(QLatin1Char(':'));
  QStringList rows;
  for (qsizetype at = 0; at < bytes.size(); at += 8) {
    QStringList groups;
    for (qsizetype group = at; group < std::min(at + 8, bytes.size()); group += 4) {
      groups << bytes.mid(group, 4).join(QLatin1Char(':'));
    }
    rows << groups.join(QStringLiteral("  "));
  }
  return rows;
}

QString shortFingerprint(const QString& fingerprint) {
  if (fingerprint.size() < 11) return fingerprint;
  return fingerprint.left(11) + QStringLiteral("…");
}

}  // namespace pillarbox::ui

// Numbers and fingerprints as people read them.
#pragma once

#include <QString>
#include <QStringList>

namespace pillarbox::ui {

/// "47,400", with the separators of the user's language.
QString formatCount(qint64 value);
/// "1.38 MB", in powers of 1000 as network tools count.
QString formatBytes(quint64 bytes);
/// "0.8 ms", "412 ms", "1.24 s", "2 min 05 s".
QString formatMs(double milliseconds);
/// "8 s", "12 min", "3 h 05 min": how long something takes, no more precisely than it is known.
QString formatDuration(double seconds);
/// "92.4 %"; what is not zero but would read so becomes "< 0.1 %".
QString formatProbability(double probability);
/// A share that is small as a rule, to two digits: "0.0037 %", "12 %", "100 %"; what is not zero
/// but below what matters becomes "< 0.0001 %".
QString formatShare(double share);

/// `text` as a sentence: a capital at its beginning and a full stop at its end. Empty stays empty.
QString sentence(const QString& text);

/// A SHA-256 fingerprint as upper-case hex with colons, whatever case and separators it came with;
/// empty if it is not 32 bytes of hex.
QString normalizedFingerprint(const QString& text);
/// Four rows of eight bytes, in two groups of four: "3F:A2:81:BC  07:5E:90:11".
QStringList fingerprintRows(const QString& fingerprint);
/// The first four bytes, for a status bar: "3F:A2:81:BC…".
QString shortFingerprint(const QString& fingerprint);

}  // namespace pillarbox::ui

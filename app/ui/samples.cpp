#include "app/ui/samples.h"

#include <QDir>
#include <QFileInfo>

namespace pillarbox::ui {

QString sampleName(const QString& path) {
  QString name = QFileInfo(path).completeBaseName();
  name.replace(QLatin1Char('_'), QLatin1Char(' '));
  name.replace(QLatin1Char('-'), QLatin1Char(' '));
  return name;
}

QStringList findSamples(const QString& programFolder) {
  const QStringList places{QStringLiteral("samples"), QStringLiteral("../share/pillarbox/samples"),
                           QStringLiteral("../resources/samples"),
                           QStringLiteral("../../../resources/samples")};
  for (const QString& place : places) {
    const QDir folder(QDir(programFolder).filePath(place));
    QStringList paths;
    const QFileInfoList files = folder.entryInfoList(
        {QStringLiteral("*.png"), QStringLiteral("*.jpg"), QStringLiteral("*.jpeg")}, QDir::Files,
        QDir::Name);
    for (const QFileInfo& file : files) paths << file.absoluteFilePath();
    if (!paths.isEmpty()) return paths;
  }
  return {};
}

}  // namespace pillarbox::ui

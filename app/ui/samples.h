// The sample images that come with the program.
#pragma once

#include <QStringList>

namespace pillarbox::ui {

/// What a sample is called: its file's name without folder, ending and dashes.
QString sampleName(const QString& path);
/// The sample images: beside the program, where it is installed, or in the source tree that it was
/// built in. Empty if there are none.
QStringList findSamples(const QString& programFolder);

}  // namespace pillarbox::ui

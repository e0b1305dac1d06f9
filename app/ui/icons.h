// Icons: one-colour SVGs from the resources, tinted with the theme and drawn at the device's
// pixels.
#pragma once

#include <QColor>
#include <QIcon>
#include <QPixmap>
#include <QString>

namespace pillarbox::ui {

/// The icon resources/icons/<name>.svg; follows theme, state and pixel ratio when it is painted.
QIcon icon(const QString& name);
/// The same in one fixed colour, `size` logical pixels square.
QPixmap iconPixmap(const QString& name, int size, qreal pixelRatio, const QColor& color);
/// The program's own icon, in its colours.
QIcon applicationIcon();

}  // namespace pillarbox::ui

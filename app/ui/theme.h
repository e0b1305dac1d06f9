// Colours of the program: one set of named tokens for light and one for dark.
//
// Standard widgets take them through the application's QPalette (Fusion underneath, drawn flat by
// Style); our own widgets ask colors(). Text on its background reaches a contrast of at least
// 4.5:1 (WCAG 2.1 AA); a test computes it for every pair. Nothing is told by colour alone.
#pragma once

#include <QColor>
#include <QPalette>
#include <QString>

class QApplication;

namespace pillarbox::ui {

enum class ThemeChoice { System, Light, Dark };

/// "system", "light", "dark": what the settings file holds.
QString toString(ThemeChoice choice);
ThemeChoice themeFromString(const QString& name);

struct ThemeColors {
  bool dark = false;
  QColor window, surface, sunken, border, control;
  QColor text, muted;
  QColor accent, accentHover, accentText, accentSoft;
  QColor info, infoSoft;
  QColor warning, warningSoft;
  QColor error, errorSoft;
  QColor success, successSoft;
};

const ThemeColors& lightColors();
const ThemeColors& darkColors();
/// The set in use.
const ThemeColors& colors();
QPalette paletteFor(const ThemeColors& colors);

/// Installs our style and the palette. System follows the desktop's own palette.
void applyTheme(QApplication& application, ThemeChoice choice);
/// WCAG 2.1 contrast ratio of two opaque colours, 1..21.
double contrastRatio(const QColor& a, const QColor& b);

}  // namespace pillarbox::ui

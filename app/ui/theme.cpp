#include "app/ui/theme.h"

#include <algorithm>
#include <cmath>

#include <QApplication>
#include <QStyleFactory>

#include "app/ui/style.h"

namespace pillarbox::ui {

namespace {

const ThemeColors* g_current = nullptr;

QColor rgb(const char* name) {
  return QColor(QLatin1String(name));
}

double luminance(const QColor& color) {
  const auto linear = [](double c) {
    return c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
  };
  return 0.2126 * linear(color.redF()) + 0.7152 * linear(color.greenF()) +
         0.0722 * linear(color.blueF());
}

}  // namespace

QString toString(ThemeChoice choice) {
  switch (choice) {
    case ThemeChoice::Light:
      return QStringLiteral("light");
    case ThemeChoice::Dark:
      return QStringLiteral("dark");
    case ThemeChoice::System:
      break;
  }
  return QStringLiteral("system");
}

ThemeChoice themeFromString(const QString& name) {
  if (name == QLatin1String("light")) return ThemeChoice::Light;
  if (name == QLatin1String("dark")) return ThemeChoice::Dark;
  return ThemeChoice::System;
}

const ThemeColors& lightColors() {
  static const ThemeColors kLight = [] {
    ThemeColors c;
    c.dark = false;
    c.window = rgb("#f4f5f7");
    c.surface = rgb("#ffffff");
    c.sunken = rgb("#e9ecf0");
    c.border = rgb("#d5dae1");
    c.control = rgb("#818c9b");
    c.text = rgb("#18202b");
    c.muted = rgb("#55606f");
    c.accent = rgb("#1f57b8");
    c.accentHover = rgb("#194a9f");
    c.accentText = rgb("#ffffff");
    c.accentSoft = rgb("#e6eefb");
    c.info = rgb("#1d4f9f");
    c.infoSoft = rgb("#e8f0fb");
    c.warning = rgb("#7a4b00");
    c.warningSoft = rgb("#fff1d6");
    c.error = rgb("#a1231b");
    c.errorSoft = rgb("#fdebe9");
    c.success = rgb("#1b663b");
    c.successSoft = rgb("#e4f4ea");
    return c;
  }();
  return kLight;
}

const ThemeColors& darkColors() {
  static const ThemeColors kDark = [] {
    ThemeColors c;
    c.dark = true;
    c.window = rgb("#14171c");
    c.surface = rgb("#1d2128");
    c.sunken = rgb("#2a303a");
    c.border = rgb("#343b47");
    c.control = rgb("#76818f");
    c.text = rgb("#e8ecf2");
    c.muted = rgb("#a3adbb");
    c.accent = rgb("#7fb0ff");
    c.accentHover = rgb("#9cc2ff");
    c.accentText = rgb("#0c1a30");
    c.accentSoft = rgb("#22334f");
    c.info = rgb("#a9caff");
    c.infoSoft = rgb("#1e2d45");
    c.warning = rgb("#ffd28a");
    c.warningSoft = rgb("#3a2d12");
    c.error = rgb("#ffb4ab");
    c.errorSoft = rgb("#43201d");
    c.success = rgb("#8fd6a9");
    c.successSoft = rgb("#1a3325");
    return c;
  }();
  return kDark;
}

const ThemeColors& colors() {
  return g_current ? *g_current : lightColors();
}

QPalette paletteFor(const ThemeColors& c) {
  QPalette p;
  p.setColor(QPalette::Window, c.window);
  p.setColor(QPalette::WindowText, c.text);
  p.setColor(QPalette::Base, c.surface);
  p.setColor(QPalette::AlternateBase, c.window);
  p.setColor(QPalette::Text, c.text);
  p.setColor(QPalette::PlaceholderText, c.muted);
  p.setColor(QPalette::Button, c.surface);
  p.setColor(QPalette::ButtonText, c.text);
  p.setColor(QPalette::BrightText, c.error);
  p.setColor(QPalette::Highlight, c.accent);
  p.setColor(QPalette::HighlightedText, c.accentText);
  p.setColor(QPalette::Link, c.accent);
  p.setColor(QPalette::LinkVisited, c.accent);
  p.setColor(QPalette::ToolTipBase, c.surface);
  p.setColor(QPalette::ToolTipText, c.text);
  p.setColor(QPalette::Light, c.surface);
  p.setColor(QPalette::Midlight, c.sunken);
  p.setColor(QPalette::Mid, c.border);
  p.setColor(QPalette::Dark, c.control);
  p.setColor(QPalette::Shadow, c.dark ? QColor(0, 0, 0) : c.control);
  QColor disabled = c.muted;
  disabled.setAlphaF(0.6F);
  for (const auto role : {QPalette::WindowText, QPalette::Text, QPalette::ButtonText}) {
    p.setColor(QPalette::Disabled, role, disabled);
  }
  p.setColor(QPalette::Disabled, QPalette::Highlight, c.sunken);
  p.setColor(QPalette::Disabled, QPalette::HighlightedText, disabled);
  return p;
}

void applyTheme(QApplication& application, ThemeChoice choice) {
  bool dark = choice == ThemeChoice::Dark;
  if (choice == ThemeChoice::System) {
    QApplication::setPalette(QPalette());  // back to the desktop's own
    const QPalette desktop = QApplication::palette();
    dark =
        luminance(desktop.color(QPalette::Window)) < luminance(desktop.color(QPalette::WindowText));
  }
  g_current = dark ? &darkColors() : &lightColors();
  if (!application.property("pillarboxStyle").toBool()) {
    QApplication::setStyle(new Style);
    application.setProperty("pillarboxStyle", true);
  }
  QApplication::setPalette(paletteFor(*g_current));
}

double contrastRatio(const QColor& a, const QColor& b) {
  const double la = luminance(a);
  const double lb = luminance(b);
  return (std::max(la, lb) + 0.05) / (std::min(la, lb) + 0.05);
}

}  // namespace pillarbox::ui

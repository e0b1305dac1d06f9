// Preferences, About and Help.
#pragma once

#include <QDialog>

#include "app/client/session_model.h"

namespace pillarbox::ui {

class Settings;

/// Takes effect at once; there is nothing to apply.
class PreferencesDialog : public QDialog {
  Q_OBJECT
 public:
  explicit PreferencesDialog(Settings& settings, QWidget* parent = nullptr);
};

class AboutDialog : public QDialog {
  Q_OBJECT
 public:
  explicit AboutDialog(const QString& diagnostics, QWidget* parent = nullptr);
};

class HelpDialog : public QDialog {
  Q_OBJECT
 public:
  explicit HelpDialog(QWidget* parent = nullptr);
};

/// Versions and platform, for bug reports: no path, no address, no name of an image.
QString diagnostics(client::SessionState state, const client::ModelInfo& model);
/// The state's name for a status bar.
QString stateName(client::SessionState state);

}  // namespace pillarbox::ui

// The command line of `pillarbox`.
//
// Parsed before any Qt application object exists, so that --help and --version work on a machine
// without a display.
#pragma once

#include <string>

#include <QStringList>

#include "app/client/session_model.h"
#include "engine/core/result.h"

namespace pillarbox::ui {

struct Options {
  client::EngineAddress engine;  ///< host empty: not given
  QString stateDir;
  QStringList images;
  std::string output;  ///< --help or --version: print this and end
};

/// Errors: InvalidArgument, with a sentence for the terminal.
Result<Options> parseOptions(int argc, const char* const* argv);

/// Why no window can be opened here, or an empty string. Looks at the environment only: Qt itself
/// would abort.
QString missingDisplay();

}  // namespace pillarbox::ui

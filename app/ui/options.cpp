#include "app/ui/options.h"

#include <CLI/CLI.hpp>
#include <QCoreApplication>

#include "app/ui/format.h"
#include "app/ui/settings.h"

namespace pillarbox::ui {

namespace {
/// The context of this file's texts for translators.
class Text {
  Q_DECLARE_TR_FUNCTIONS(Options)
};
Error invalid(const QString& message) {
  return Error{ErrorCode::InvalidArgument, message.toStdString()};
}
}  // namespace

Result<Options> parseOptions(int argc, const char* const* argv) {
  CLI::App cli("Classifies images on an engine that cannot see them.", "pillarbox");
  std::string engine;
  std::string trust;
  std::string stateDir;
  std::vector<std::string> images;
  cli.set_version_flag("--version", "pillarbox " PILLARBOX_VERSION);
  cli.add_option("--engine", engine, "Connect to this engine at start")->type_name("HOST:PORT");
  cli.add_option("--trust", trust,
                 "Trust this certificate (SHA-256, as `pillarbox-engine fingerprint` prints it) "
                 "without asking, and no other")
      ->type_name("SHA256");
  cli.add_option("--state-dir", stateDir, "Keep settings and pinned certificates in this folder")
      ->type_name("DIR");
  cli.add_option("images", images, "Images to classify at start")->type_name("IMAGE");

  Options options;
  try {
    cli.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    options.output = cli.help();
    return options;
  } catch (const CLI::CallForVersion&) {
    options.output = cli.version() + "\n";
    return options;
  } catch (const CLI::ParseError& error) {
    return Error{ErrorCode::InvalidArgument, std::string(error.what()) + " (see pillarbox --help)"};
  }
  if (!engine.empty()) {
    const auto address = parseAddress(QString::fromStdString(engine));
    if (!address) {
      return invalid(Text::tr("--engine wants HOST:PORT, for example 192.0.2.7:7120, not \"%1\".")
                         .arg(QString::fromStdString(engine)));
    }
    options.engine = *address;
  }
  if (!trust.empty()) {
    options.engine.trustedFingerprint = normalizedFingerprint(QString::fromStdString(trust));
    if (options.engine.trustedFingerprint.isEmpty()) {
      return invalid(Text::tr("--trust wants a SHA-256 fingerprint: 64 hexadecimal digits."));
    }
    if (engine.empty())
      return invalid(Text::tr("--trust belongs to an engine: give --engine too."));
  }
  options.stateDir = QString::fromStdString(stateDir);
  for (const std::string& image : images) options.images << QString::fromStdString(image);
  return options;
}

QString missingDisplay() {
#if defined(Q_OS_LINUX) || defined(Q_OS_FREEBSD)
  if (!qEnvironmentVariableIsEmpty("DISPLAY") || !qEnvironmentVariableIsEmpty("WAYLAND_DISPLAY")) {
    return {};
  }
  const QString platform = qEnvironmentVariable("QT_QPA_PLATFORM").section(QLatin1Char(':'), 0, 0);
  const bool needsDisplay = platform.isEmpty() || platform.startsWith(QLatin1String("xcb")) ||
                            platform.startsWith(QLatin1String("wayland"));
  if (needsDisplay) {
    return Text::tr(
        "There is no display to open a window on (neither DISPLAY nor WAYLAND_DISPLAY is "
        "set); use pillarbox-cli in a terminal.");
  }
#endif
  return {};
}

}  // namespace pillarbox::ui

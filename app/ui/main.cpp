// pillarbox: the desktop program.
#include <cstdio>
#include <cstdlib>

#include <QApplication>
#include <QDir>
#include <QLibraryInfo>
#include <QLocale>
#include <QStandardPaths>
#include <QTranslator>

#include "app/client/deploy_controller.h"
#include "app/client/session_controller.h"
#include "app/ui/icons.h"
#include "app/ui/main_window.h"
#include "app/ui/options.h"
#include "app/ui/samples.h"
#include "app/ui/settings.h"
#include "app/ui/theme.h"

namespace {

/// Qt aborts where the window system cannot be reached; say it in a sentence and end instead.
void onFatal(QtMsgType type, const QMessageLogContext& context, const QString& message) {
  if (type == QtFatalMsg) {
    std::fprintf(stderr,
                 "pillarbox: no window can be opened on this display; use pillarbox-cli in a "
                 "terminal.\n");
    std::_Exit(1);
  }
  std::fprintf(stderr, "%s\n", qPrintable(qFormatLogMessage(type, context, message)));
}

}  // namespace

int main(int argc, char** argv) {
  const pillarbox::Result<pillarbox::ui::Options> parsed = pillarbox::ui::parseOptions(argc, argv);
  if (!parsed.ok()) {
    std::fprintf(stderr, "pillarbox: %s\n", parsed.error().message.c_str());
    return 1;
  }
  const pillarbox::ui::Options& options = parsed.value();
  if (!options.output.empty()) {
    std::fputs(options.output.c_str(), stdout);
    return 0;
  }
  if (const QString why = pillarbox::ui::missingDisplay(); !why.isEmpty()) {
    std::fprintf(stderr, "pillarbox: %s\n", qPrintable(why));
    return 1;
  }

  const QtMessageHandler previous = qInstallMessageHandler(onFatal);
  int qtArguments = 1;  // the command line is ours
  QApplication application(qtArguments, argv);
  qInstallMessageHandler(previous);
  QApplication::setApplicationName(QStringLiteral("pillarbox"));
  QApplication::setApplicationDisplayName(QStringLiteral("Pillarbox"));
  QApplication::setApplicationVersion(QStringLiteral(PILLARBOX_VERSION));
  QApplication::setDesktopFileName(QStringLiteral("pillarbox"));
  QApplication::setWindowIcon(pillarbox::ui::applicationIcon());
  QTranslator qtTranslator;
  if (qtTranslator.load(QLocale(), QStringLiteral("qtbase"), QStringLiteral("_"),
                        QLibraryInfo::path(QLibraryInfo::TranslationsPath))) {
    QApplication::installTranslator(&qtTranslator);
  }
  QTranslator translator;
  if (translator.load(QLocale(), QStringLiteral("pillarbox"), QStringLiteral("_"),
                      QStringLiteral(":/translations"))) {
    QApplication::installTranslator(&translator);
  }

  pillarbox::ui::Settings settings(options.stateDir);
  pillarbox::ui::applyTheme(application, settings.theme());
  pillarbox::client::SessionController session(options.stateDir);
  pillarbox::client::DeployController deploy(options.stateDir);
  const QString data = options.stateDir.isEmpty()
                           ? QStandardPaths::writableLocation(QStandardPaths::AppDataLocation)
                           : options.stateDir;
  pillarbox::ui::MainWindow window(session, settings,
                                   pillarbox::ui::findSamples(QApplication::applicationDirPath()),
                                   {&deploy, QDir(data).absoluteFilePath("runs"), {}});
  window.show();
  if (!options.engine.host.isEmpty()) {
    window.connectTo(options.engine);
  } else if (settings.lastEngine() >= 0) {
    window.connectTo(settings.engines().at(settings.lastEngine()));
  }
  if (!options.images.isEmpty()) window.classifyFiles(options.images);
  return QApplication::exec();
}

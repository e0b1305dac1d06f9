// The promises that hold for the whole tree rather than for a unit: which folder may include which,
// which program loads which library, that every program explains itself, and that the dependencies
// which the commands install are those that the README names.
//
// Includes are read from the sources. What a program loads is asked of the dynamic linker, which
// also sees the libraries of libraries.

#include <QDir>
#include <QDirIterator>
#include <QFile>
#include <QProcess>
#include <QRegularExpression>
#include <QTest>

namespace {

const QString kRoot = QStringLiteral(PILLARBOX_SOURCE_DIR);
const QString kBin = QStringLiteral(PILLARBOX_BIN_DIR);

QString textOf(const QString& path) {
  QFile file(path);
  if (!file.open(QIODevice::ReadOnly)) return {};
  return QString::fromUtf8(file.readAll());
}

/// The files of a folder of the repository, by their paths in it.
QStringList filesUnder(const QString& folder, const QStringList& patterns) {
  QStringList files;
  QDirIterator walk(kRoot + QLatin1Char('/') + folder, patterns, QDir::Files,
                    QDirIterator::Subdirectories);
  while (walk.hasNext()) files << QDir(kRoot).relativeFilePath(walk.next());
  files.sort();
  return files;
}

QStringList sourcesUnder(const QString& folder) {
  return filesUnder(folder, {"*.h", "*.cpp", "*.cu", "*.cuh"});
}

/// The files that a source includes, as they are written: rooted at the repository or of a library.
QStringList includesOf(const QString& file) {
  static const QRegularExpression line(QStringLiteral("^\\s*#\\s*include\\s*[<\"]([^>\"]+)[>\"]"),
                                       QRegularExpression::MultilineOption);
  QStringList includes;
  auto match = line.globalMatch(textOf(kRoot + QLatin1Char('/') + file));
  while (match.hasNext()) includes << match.next().captured(1);
  return includes;
}

QStringList builtPrograms() {
  return QStringLiteral(PILLARBOX_PROGRAMS).split(QLatin1Char(','), Qt::SkipEmptyParts);
}

struct Outcome {
  int status = -1;
  QString standardOutput, standardError;
};

Outcome runProgram(const QString& program, const QStringList& arguments,
                   const QProcessEnvironment& environment) {
  QProcess process;
  process.setProcessEnvironment(environment);
  process.start(kBin + QLatin1Char('/') + program, arguments);
  if (!process.waitForFinished(60000) || process.exitStatus() != QProcess::NormalExit) {
    process.kill();
    process.waitForFinished();
    return {};
  }
  return {process.exitCode(), QString::fromUtf8(process.readAllStandardOutput()),
          QString::fromUtf8(process.readAllStandardError())};
}

}  // namespace

class TestStructure : public QObject {
  Q_OBJECT

 private Q_SLOTS:
  void folderIncludes_data() {
    // A folder and the folders of ours that it may include; the order is that of the dependencies.
    QTest::addColumn<QString>("folder");
    QTest::addColumn<QStringList>("allowed");
    const auto row = [](const char* folder, const QStringList& allowed) {
      QTest::newRow(folder) << QString::fromLatin1(folder) << allowed;
    };
    row("engine/core", {"engine/core"});
    row("engine/device", {"engine/core", "engine/device", "engine/kernels/cuda/ring_table.h",
                          "engine/he/cuda/he_table.h"});
    row("engine/he", {"engine/core", "engine/device", "engine/random", "engine/he"});
    row("engine/random", {"engine/core", "engine/random"});
    row("models", {"engine/core", "models"});
    // It says what a network costs, and asks those who send the bytes.
    row("models/training", {"engine/core", "engine/inference", "engine/offline", "models"});
    row("engine/ring", {"engine/core", "engine/ring", "models"});
    row("engine/kernels",
        {"engine/core", "engine/device", "engine/ring", "engine/kernels", "models"});
    row("engine/offline", {"engine/core", "engine/device", "engine/random", "engine/ring",
                           "engine/kernels", "engine/he", "engine/offline", "models", "net"});
    row("engine/protocol", {"engine/core", "engine/random", "engine/ring", "engine/kernels",
                            "engine/offline", "engine/protocol", "models"});
    row("engine/inference",
        {"engine/core", "engine/device", "engine/random", "engine/ring", "engine/kernels",
         "engine/offline", "engine/protocol", "engine/inference", "models", "net"});
    row("engine/service", {"engine/core", "engine/device", "engine/random", "engine/offline",
                           "engine/inference", "engine/service", "models", "net"});
    row("engine/bench",
        {"engine/core", "engine/device", "engine/random", "engine/ring", "engine/kernels",
         "engine/offline", "engine/protocol", "engine/inference", "engine/bench", "models", "net"});
    row("net", {"engine/core", "net"});
    row("app/client", {"engine/core", "engine/random", "engine/offline", "engine/inference",
                       "models", "net", "app/client"});
    row("app/ui", {"engine/core", "app/client", "app/ui"});
  }

  void folderIncludes() {
    QFETCH(QString, folder);
    QFETCH(QStringList, allowed);
    const QStringList sources = sourcesUnder(folder);
    QVERIFY2(!sources.isEmpty(), "the folder has no sources: has it been renamed?");
    static const QRegularExpression ours(QStringLiteral("^(app|engine|net|models|tests)/"));
    for (const QString& file : sources) {
      // Of a folder within another row's, the inner row decides.
      if (folder == QLatin1String("models") && file.startsWith(QLatin1String("models/training/"))) {
        continue;
      }
      for (const QString& include : includesOf(file)) {
        if (!ours.match(include).hasMatch()) continue;
        bool fits = include.endsWith(QLatin1String(".pb.h")) &&
                    include.startsWith(folder.section(QLatin1Char('/'), 0, 0));
        for (const QString& place : allowed) {
          fits = fits || include == place || include.startsWith(place + QLatin1Char('/'));
        }
        QVERIFY2(fits, qPrintable(file + " includes " + include));
      }
    }
  }

  void libraryIncludes_data() {
    // What headers of a library look like, and the folders that must not include them.
    QTest::addColumn<QString>("headers");
    QTest::addColumn<QStringList>("folders");
    QTest::newRow("Qt") << QStringLiteral("^Q[A-Za-z0-9]+(/|$)")
                        << QStringList{"engine", "net", "models"};
    QTest::newRow("LibTorch") << QStringLiteral("^(torch|ATen|c10)/")
                              << QStringList{"engine", "net", "app"};
    QTest::newRow("ONNX") << QStringLiteral("^onnx/") << QStringList{"engine", "net", "app"};
    QTest::newRow("sockets") << QStringLiteral("^asio") << QStringList{"app/ui", "models"};
  }

  void libraryIncludes() {
    QFETCH(QString, headers);
    QFETCH(QStringList, folders);
    const QRegularExpression pattern(headers);
    for (const QString& folder : folders) {
      const QStringList sources = sourcesUnder(folder);
      QVERIFY2(!sources.isEmpty(), qPrintable(folder));
      for (const QString& file : sources) {
        for (const QString& include : includesOf(file)) {
          QVERIFY2(!pattern.match(include).hasMatch(),
                   qPrintable(file + " includes <" + include + ">"));
        }
      }
    }
  }

  /// Within models/, only training and what belongs to it knows LibTorch.
  void onlyTrainingIncludesLibTorch() {
    static const QRegularExpression torch(QStringLiteral("^(torch|ATen|c10)/"));
    for (const QString& file : sourcesUnder(QStringLiteral("models"))) {
      if (file.startsWith(QLatin1String("models/training/")) ||
          file.startsWith(QLatin1String("models/architectures/")) ||
          file.startsWith(QLatin1String("models/data/")) ||
          file.startsWith(QLatin1String("models/pillar/"))) {
        continue;
      }
      for (const QString& include : includesOf(file)) {
        QVERIFY2(!torch.match(include).hasMatch(),
                 qPrintable(file + " includes <" + include + ">"));
      }
    }
  }

  void loadedLibraries_data() {
    QTest::addColumn<QString>("program");
    QTest::addColumn<QString>("forbidden");
    const QString torch = QStringLiteral("libtorch|libc10|libopencv");
    const QString window = QStringLiteral("libQt6Widgets|libQt6Charts|libQt6Svg|libQt6OpenGL");
    const QString onnx = QStringLiteral("libonnx");
    for (const QString& program : builtPrograms()) {
      QString forbidden;
      if (program == QLatin1String("pillarbox")) {
        forbidden = torch + "|" + onnx + "|libQt5";
      } else if (program == QLatin1String("pillarbox-cli")) {
        forbidden = torch + "|" + onnx + "|libQt5|" + window;
      } else if (program == QLatin1String("pillarbox-train")) {
        forbidden = QStringLiteral("libQt6");  // Debian's LibTorch brings Qt 5 with it
      } else {
        forbidden = torch + "|libQt";
      }
      QTest::newRow(qPrintable(program)) << program << forbidden;
    }
  }

  void loadedLibraries() {
#ifndef Q_OS_LINUX
    QSKIP("asks the dynamic linker of Linux");
#endif
    QFETCH(QString, program);
    QFETCH(QString, forbidden);
    QProcessEnvironment environment = QProcessEnvironment::systemEnvironment();
    environment.insert(QStringLiteral("LD_TRACE_LOADED_OBJECTS"), QStringLiteral("1"));
    const Outcome outcome = runProgram(program, {}, environment);
    QCOMPARE(outcome.status, 0);
    const QStringList lines = outcome.standardOutput.split(QLatin1Char('\n'));
    QVERIFY2(outcome.standardOutput.contains(QLatin1String("libc.so")),
             qPrintable(outcome.standardOutput));
    const QRegularExpression pattern(forbidden);
    for (const QString& line : lines) {
      QVERIFY2(!pattern.match(line).hasMatch(), qPrintable(program + " loads " + line.trimmed()));
      QVERIFY2(!line.contains(QLatin1String("not found")), qPrintable(line.trimmed()));
    }
  }

  void programsExplainThemselves_data() {
    QTest::addColumn<QString>("program");
    for (const QString& program : builtPrograms()) QTest::newRow(qPrintable(program)) << program;
  }

  /// --help and --version work without a display, a configuration or a home.
  void programsExplainThemselves() {
    QFETCH(QString, program);
    QProcessEnvironment environment = QProcessEnvironment::systemEnvironment();
    for (const char* name : {"DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM", "HOME",
                             "XDG_STATE_HOME", "XDG_CONFIG_HOME"}) {
      environment.remove(QString::fromLatin1(name));
    }
    const Outcome help = runProgram(program, {QStringLiteral("--help")}, environment);
    QCOMPARE(help.status, 0);
    QVERIFY2(help.standardOutput.contains(program), qPrintable(help.standardOutput));
    QVERIFY2(help.standardOutput.contains(QLatin1String("--version")),
             qPrintable(help.standardOutput));
    const Outcome version = runProgram(program, {QStringLiteral("--version")}, environment);
    QCOMPARE(version.status, 0);
    QVERIFY2(version.standardOutput.contains(QLatin1String(PILLARBOX_VERSION)),
             qPrintable(version.standardOutput));
    const Outcome wrong = runProgram(program, {QStringLiteral("--no-such-option")}, environment);
    QVERIFY2(wrong.status > 0, "an unknown option must be refused");
    QVERIFY2(!wrong.standardError.isEmpty() || !wrong.standardOutput.isEmpty(),
             "a refusal must say why");
  }

  void packagesAreNamedInReadme() {
    const QString readme = textOf(kRoot + "/README.md");
    const QStringList lines =
        textOf(kRoot + "/installer/packages.txt").split(QLatin1Char('\n'), Qt::SkipEmptyParts);
    int packages = 0;
    for (const QString& line : lines) {
      if (line.startsWith(QLatin1Char('#'))) continue;
      const QStringList words = line.simplified().split(QLatin1Char(' '));
      QVERIFY2(words.size() > 2, qPrintable("a package needs a group and a reason: " + line));
      QVERIFY2(readme.contains("`" + words.at(1) + "`"), qPrintable(words.at(1)));
      ++packages;
    }
    QVERIFY(packages > 10);
  }

  /// Nothing in the tree knows the machine on which it was written.
  void noMachinePaths() {
    static const QRegularExpression path(
        QStringLiteral("(^|[\\s\"'=(`])/(root|work|home/[a-z]+)/[A-Za-z]"),
        QRegularExpression::MultilineOption);
    int files = 0;
    for (const char* folder :
         {"app", "engine", "net", "models", "resources", "tests", "installer", "docs", ".ci"}) {
      for (const QString& file : filesUnder(
               QString::fromLatin1(folder),
               {"*.h", "*.cpp", "*.cu", "*.txt", "*.cmake", "*.proto", "*.md", "*.toml", "*.json",
                "*.py", "*.service", "*.in", "*.desktop", "*.sh", "run", "try", "test"})) {
        const auto match = path.match(textOf(kRoot + QLatin1Char('/') + file));
        QVERIFY2(!match.hasMatch(), qPrintable(file + " names" + match.captured()));
        ++files;
      }
    }
    for (const char* file :
         {"README.md", "SECURITY.md", "CONTRIBUTING.md", "CMakeLists.txt", "CMakePresets.json"}) {
      const auto match = path.match(textOf(kRoot + QLatin1Char('/') + QString::fromLatin1(file)));
      QVERIFY2(!match.hasMatch(), qPrintable(file + (" names" + match.captured())));
    }
    QVERIFY(files > 50);
  }

  void samplesAreThere() {
    QVERIFY(filesUnder(QStringLiteral("resources/samples"), {"*.png"}).size() >= 5);
  }
};

QTEST_GUILESS_MAIN(TestStructure)
#include "test_structure.moc"

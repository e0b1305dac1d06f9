// What needs no window: formatting, addresses, options, settings, the log, colours.
#include <cmath>

#include <QDir>
#include <QFile>
#include <QLocale>
#include <QTemporaryDir>
#include <QTest>

#include "app/ui/format.h"
#include "app/ui/log_page.h"
#include "app/ui/options.h"
#include "app/ui/samples.h"
#include "app/ui/settings.h"
#include "app/ui/theme.h"

using namespace pillarbox;
using namespace pillarbox::ui;

namespace {

const QString kFingerprint = QStringLiteral(
    "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:"
    "FF");

Result<Options> parse(const QStringList& arguments) {
  QList<QByteArray> bytes{"pillarbox"};
  for (const QString& argument : arguments) bytes << argument.toUtf8();
  std::vector<const char*> argv;
  for (const QByteArray& item : bytes) argv.push_back(item.constData());
  return parseOptions(static_cast<int>(argv.size()), argv.data());
}

client::ClassificationResult result(const QString& name) {
  client::ClassificationResult r;
  r.imageName = name;
  for (int i = 0; i < 10; ++i) r.top.append({QStringLiteral("class %1").arg(i), 0.5 / (i + 1)});
  r.rounds = 8;
  r.bytesSent = 123456;
  r.onlineMs = 12.5;
  return r;
}

}  // namespace

class Units : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void initTestCase() { QLocale::setDefault(QLocale::c()); }

  void numbers() {
    QCOMPARE(formatBytes(999), QStringLiteral("999 bytes"));
    QCOMPARE(formatBytes(1384868), QStringLiteral("1.38 MB"));
    QCOMPARE(formatMs(0.42), QStringLiteral("0.4 ms"));
    QCOMPARE(formatShare(0), QStringLiteral("0 %"));
    QCOMPARE(formatShare(2e-8), QStringLiteral("< 0.0001 %"));
    QCOMPARE(formatShare(3.71e-6), QStringLiteral("0.00037 %"));
    QCOMPARE(formatShare(0.0012), QStringLiteral("0.12 %"));
    QCOMPARE(formatShare(0.0999), QStringLiteral("10.0 %"));
    QCOMPARE(formatShare(0.4567), QStringLiteral("46 %"));
    QCOMPARE(formatShare(1), QStringLiteral("100 %"));
    QCOMPARE(formatShare(std::nan("")), QStringLiteral("–"));
    QCOMPARE(formatMs(412.4), QStringLiteral("412 ms"));
    QCOMPARE(formatMs(1240), QStringLiteral("1.24 s"));
    QCOMPARE(formatMs(125000), QStringLiteral("2 min 05 s"));
    QCOMPARE(formatProbability(0.9234), QStringLiteral("92.3 %"));
    QCOMPARE(formatProbability(0.00001), QStringLiteral("< 0.1 %"));
    QCOMPARE(formatProbability(0.99999), QStringLiteral("> 99.9 %"));
    QCOMPARE(formatProbability(1), QStringLiteral("100.0 %"));
    QCOMPARE(formatProbability(0), QStringLiteral("0.0 %"));
  }

  void sentences() {
    QCOMPARE(sentence("nobody answers"), QStringLiteral("Nobody answers."));
    QCOMPARE(sentence("Done."), QStringLiteral("Done."));
    QCOMPARE(sentence(""), QString());
  }

  void fingerprints() {
    QCOMPARE(normalizedFingerprint(kFingerprint.toLower()), kFingerprint);
    QCOMPARE(normalizedFingerprint(QString(kFingerprint).remove(':')), kFingerprint);
    QCOMPARE(normalizedFingerprint(" " + QString(kFingerprint).replace(':', ' ')), kFingerprint);
    QVERIFY(normalizedFingerprint(kFingerprint.left(90)).isEmpty());
    QVERIFY(normalizedFingerprint(kFingerprint + ":00").isEmpty());
    QVERIFY(normalizedFingerprint(QString(kFingerprint).replace('F', 'G')).isEmpty());
    const QStringList rows = fingerprintRows(kFingerprint);
    QCOMPARE(rows.size(), 4);
    QCOMPARE(rows[1], QStringLiteral("88:99:AA:BB  CC:DD:EE:FF"));
    QCOMPARE(rows.join("  ").replace("  ", ":"), kFingerprint);
  }

  void addresses_data() {
    QTest::addColumn<QString>("text");
    QTest::addColumn<QString>("shown");  // empty: refused
    QTest::newRow("host and port") << "192.0.2.7:7443"
                                   << "192.0.2.7:7443";
    QTest::newRow("default port") << " engine.example.org "
                                  << "engine.example.org:7120";
    QTest::newRow("IPv6") << "[2001:db8::1]:99"
                          << "[2001:db8::1]:99";
    QTest::newRow("IPv6, default port") << "[::1]"
                                        << "[::1]:7120";
    QTest::newRow("empty") << ""
                           << "";
    QTest::newRow("port 0") << "host:0"
                            << "";
    QTest::newRow("port too large") << "host:65536"
                                    << "";
    QTest::newRow("no host") << ":7120"
                             << "";
    QTest::newRow("URL") << "https://host:1"
                         << "";
    QTest::newRow("space") << "bad host:1"
                           << "";
  }
  void addresses() {
    QFETCH(QString, text);
    QFETCH(QString, shown);
    const auto address = parseAddress(text);
    QCOMPARE(address.has_value(), !shown.isEmpty());
    if (address) QCOMPARE(displayAddress(*address), shown);
  }

  void options() {
    const auto good = parse({"--engine", "192.0.2.7:7443", "--trust", kFingerprint.toLower(),
                             "--state-dir", "somewhere", "a.png", "b.jpg"});
    QVERIFY(good.ok());
    QCOMPARE(good.value().engine.port, quint16{7443});
    QCOMPARE(good.value().engine.trustedFingerprint, kFingerprint);
    QCOMPARE(good.value().stateDir, QStringLiteral("somewhere"));
    QCOMPARE(good.value().images, QStringList({"a.png", "b.jpg"}));
    QVERIFY(good.value().output.empty());
    QVERIFY(parse({"--version"}).value().output.starts_with("pillarbox "));
    const std::string help = parse({"--help"}).value().output;
    for (const char* option : {"--engine", "--trust", "--state-dir", "--version"}) {
      QVERIFY2(help.find(option) != std::string::npos, option);
    }
  }

  void badOptions_data() {
    QTest::addColumn<QStringList>("arguments");
    QTest::newRow("unknown") << QStringList{"--colour"};
    QTest::newRow("address") << QStringList{"--engine", "host:port"};
    QTest::newRow("fingerprint") << QStringList{"--engine", "host:1", "--trust", "12:34"};
    QTest::newRow("trust alone") << QStringList{"--trust", kFingerprint};
    QTest::newRow("value missing") << QStringList{"--engine"};
  }
  void badOptions() {
    QFETCH(QStringList, arguments);
    const auto options = parse(arguments);
    QVERIFY(!options.ok());
    QVERIFY(options.error().code == ErrorCode::InvalidArgument);
    QVERIFY(!options.error().message.empty());
  }

  void settingsComeBack() {
    QTemporaryDir folder;
    {
      Settings settings(folder.path());
      QCOMPARE(settings.lastEngine(), -1);
      settings.setEngines({{"one", "a.example", 1, {}}, {"", "2001:db8::1", 7120, {}}});
      settings.setLastEngine(1);
      settings.setTheme(ThemeChoice::Dark);
      settings.setBankTarget(1000);
      settings.setRememberRecent(true);
      settings.addRecent(result("x.png"), true);
    }
    Settings settings(folder.path());
    QCOMPARE(settings.engines().size(), 2);
    QCOMPARE(settings.engines()[0].name, QStringLiteral("one"));
    QCOMPARE(displayAddress(settings.engines()[1]), QStringLiteral("[2001:db8::1]:7120"));
    QCOMPARE(settings.lastEngine(), 1);
    QVERIFY(settings.theme() == ThemeChoice::Dark);
    QCOMPARE(settings.bankTarget(), Settings::kMaxBankTarget);
    QCOMPARE(settings.recent().size(), 1);
    const RecentItem item = settings.recent().first();
    QCOMPARE(item.result.imageName, QStringLiteral("x.png"));
    QCOMPARE(item.result.top.size(), 5);
    QCOMPARE(item.result.top[1].probability, 0.25);
    QCOMPARE(item.result.bytesSent, quint64{123456});
    QVERIFY(item.insecure);
    // Removing the engine in front keeps the last engine the last one.
    settings.setEngines(settings.engines().mid(1));
    QCOMPARE(settings.lastEngine(), 0);
    settings.setRememberRecent(false);
    QVERIFY(Settings(folder.path()).recent().isEmpty());
  }

  void recentIsNotStoredUnlessAsked() {
    QTemporaryDir folder;
    QString path;
    {
      Settings settings(folder.path());
      path = settings.filePath();
      settings.setTheme(ThemeChoice::Light);
      settings.addRecent(result("a-name-nobody-should-find.png"), false);
      QCOMPARE(settings.recent().size(), 1);
    }
    QFile file(path);
    QVERIFY(file.open(QIODevice::ReadOnly));
    QVERIFY(!file.readAll().contains("nobody-should-find"));
  }

  void recentIsBounded() {
    QTemporaryDir folder;
    Settings settings(folder.path());
    for (int i = 0; i < Settings::kMaxRecent + 20; ++i) {
      settings.addRecent(result(QString::number(i)), false);
    }
    QCOMPARE(settings.recent().size(), Settings::kMaxRecent);
    QCOMPARE(settings.recent().first().result.imageName,
             QString::number(Settings::kMaxRecent + 19));
  }

  void damagedSettingsAreIgnored() {
    QTemporaryDir folder;
    QFile file(folder.filePath("pillarbox.ini"));
    QVERIFY(file.open(QIODevice::WriteOnly));
    file.write(
        "[General]\nlast_engine=77\ntheme=pink\nbank_target=-3\nremember_recent=true\n"
        "recent=\"[{\\\"top\\\":[7]},9,{]\"\n[engines]\nsize=2\n1\\host=\n1\\port=99999\n");
    file.close();
    const Settings settings(folder.path());
    QCOMPARE(settings.lastEngine(), -1);
    QVERIFY(settings.theme() == ThemeChoice::System);
    QCOMPARE(settings.bankTarget(), 1);
    QVERIFY(settings.engines().isEmpty());
    QVERIFY(settings.recent().isEmpty());
  }

  void logIsBoundedAndFiltered() {
    LogModel model;
    for (int i = 0; i < LogModel::kMaxLines + 10; ++i) {
      model.append(i % 2 ? LogLevel::Debug : LogLevel::Warning, QStringLiteral("line %1").arg(i));
    }
    QCOMPARE(model.rowCount(), LogModel::kMaxLines);
    QVERIFY(model.lineText(0).endsWith("line 10"));
    LogFilter filter;
    filter.setSourceModel(&model);
    QCOMPARE(filter.rowCount(), LogModel::kMaxLines / 2);  // info and above
    filter.setLevel(LogLevel::Debug);
    QCOMPARE(filter.rowCount(), LogModel::kMaxLines);
    filter.setText("LINE 5009");
    QCOMPARE(filter.rowCount(), 1);
    filter.setLevel(LogLevel::Error);
    QCOMPARE(filter.rowCount(), 0);
    model.append(LogLevel::Error, QString(LogModel::kMaxLineLength * 2, 'x') + "\nsecond");
    QCOMPARE(model.index(model.rowCount() - 1, LogModel::MessageColumn)
                 .data(Qt::DisplayRole)
                 .toString()
                 .size(),
             LogModel::kMaxLineLength);
  }

  void samples() {
    QTemporaryDir folder;
    QVERIFY(QDir(folder.path()).mkpath("build/release/bin"));
    QVERIFY(QDir(folder.path()).mkpath("resources/samples"));
    QVERIFY(findSamples(folder.filePath("build/release/bin")).isEmpty());
    QFile file(folder.filePath("resources/samples/red-ship_2.png"));
    QVERIFY(file.open(QIODevice::WriteOnly));
    const QStringList found = findSamples(folder.filePath("build/release/bin"));
    QCOMPARE(found.size(), 1);
    QCOMPARE(sampleName(found.first()), QStringLiteral("red ship 2"));
  }

  void contrast_data() {
    QTest::addColumn<bool>("dark");
    QTest::newRow("light") << false;
    QTest::newRow("dark") << true;
  }
  void contrast() {
    QFETCH(bool, dark);
    const ThemeColors& c = dark ? darkColors() : lightColors();
    const QVector<QPair<QColor, QColor>> texts{
        {c.text, c.window},         {c.text, c.surface},      {c.text, c.sunken},
        {c.text, c.accentSoft},     {c.muted, c.window},      {c.muted, c.surface},
        {c.text, c.infoSoft},       {c.text, c.warningSoft},  {c.text, c.errorSoft},
        {c.text, c.successSoft},    {c.accentText, c.accent}, {c.accentText, c.accentHover},
        {c.warning, c.warningSoft}, {c.warning, c.surface},   {c.error, c.window},
        {c.error, c.surface},       {c.error, c.errorSoft},   {c.accent, c.surface}};
    for (const auto& [text, background] : texts) {
      const double ratio = contrastRatio(text, background);
      QVERIFY2(ratio >= 4.5,
               qPrintable(
                   QStringLiteral("%1 on %2: %3").arg(text.name(), background.name()).arg(ratio)));
    }
    // Lines of controls and graphics: 3:1.
    for (const QColor& background : {c.surface, c.window}) {
      QVERIFY(contrastRatio(c.control, background) >= 3);
      QVERIFY(contrastRatio(c.accent, background) >= 3);
    }
    QCOMPARE(qRound(contrastRatio(Qt::black, Qt::white)), 21);
  }
};

QTEST_GUILESS_MAIN(Units)
#include "test_units.moc"

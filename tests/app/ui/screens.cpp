// Renders every page and dialog in each of its states to PNG, for people to look at.
#include <QAbstractButton>
#include <QApplication>
#include <QDateTime>
#include <QDir>
#include <QDragEnterEvent>
#include <QFile>
#include <QFileInfo>
#include <QLineEdit>
#include <QListWidget>
#include <QMimeData>
#include <QPainter>
#include <QTableWidget>
#include <QTemporaryDir>
#include <QTest>
#include <QUrl>

#include "app/ui/admin_page.h"
#include "app/ui/connection_manager.h"
#include "app/ui/deploy_page.h"
#include "app/ui/image_queue.h"
#include "app/ui/info_dialogs.h"
#include "app/ui/main_window.h"
#include "app/ui/theme.h"
#include "app/ui/training_dialogs.h"
#include "app/ui/training_page.h"
#include "app/ui/trust_dialogs.h"
#include "app/ui/widgets.h"
#include "tests/support/fake_trainer.h"
#include "tests/support/scripted_deploy.h"
#include "tests/support/scripted_session.h"

using namespace pillarbox;
using namespace pillarbox::ui;
using client::SessionState;
using test::FakeTrainer;
using test::ScriptedDeploy;
using test::ScriptedSession;

namespace {

QImage drawing(int width, int height) {
  QImage image(width, height, QImage::Format_RGB32);
  QPainter painter(&image);
  painter.setRenderHint(QPainter::Antialiasing);
  QLinearGradient sky(0, 0, 0, height);
  sky.setColorAt(0, QColor(120, 180, 235));
  sky.setColorAt(0.62, QColor(225, 238, 248));
  sky.setColorAt(0.63, QColor(48, 96, 140));
  sky.setColorAt(1, QColor(20, 52, 88));
  painter.fillRect(image.rect(), sky);
  painter.scale(width / 100.0, height / 75.0);
  painter.setPen(Qt::NoPen);
  painter.setBrush(QColor(60, 60, 70));
  painter.drawPolygon(QPolygonF{{15, 44}, {85, 44}, {76, 56}, {24, 56}});
  painter.setBrush(QColor(235, 235, 235));
  painter.drawRect(QRectF(35, 34, 30, 10));
  painter.setBrush(QColor(200, 60, 50));
  painter.drawRect(QRectF(52, 22, 8, 12));
  return image;
}

}  // namespace

class Screens : public QObject {
  Q_OBJECT
  QString m_folder;
  QString m_suffix;
  QTemporaryDir m_data;
  QStringList m_samples;

  void save(QWidget& widget, const QString& name) {
    QTest::qWait(60);
    const QPixmap pixmap = widget.grab();
    QVERIFY(pixmap.save(QDir(m_folder).filePath(name + m_suffix + QStringLiteral(".png"))));
  }
  void saveDialog(QWidget& window, const QString& name) {
    QTest::qWait(60);
    const auto dialogs = window.findChildren<QDialog*>();
    for (QDialog* dialog : dialogs) {
      if (!dialog->isVisible()) continue;
      save(*dialog, name);
      dialog->close();
    }
    QTest::qWait(20);
  }

 private Q_SLOTS:
  void initTestCase() {
    m_folder = qEnvironmentVariable("PILLARBOX_SCREENS");
    if (m_folder.isEmpty()) QSKIP("PILLARBOX_SCREENS names no folder");
    QDir().mkpath(m_folder);
    const QDir real(qEnvironmentVariable(
        "PILLARBOX_SCREEN_SAMPLES", QStringLiteral(PILLARBOX_SOURCE_DIR "/resources/samples")));
    const auto files = real.entryInfoList({QStringLiteral("*.png"), QStringLiteral("*.jpg")});
    for (const QFileInfo& file : files) m_samples << file.absoluteFilePath();
    if (m_samples.isEmpty()) {
      for (const char* name : {"ship", "truck", "cat-in-a-very-long-name", "frog", "horse"}) {
        const QString path = m_data.filePath(QLatin1String(name) + QStringLiteral(".png"));
        QVERIFY(drawing(400, 300).save(path));
        m_samples << path;
      }
    }
  }

  void all_data() {
    QTest::addColumn<bool>("dark");
    QTest::newRow("light") << false;
    QTest::newRow("dark") << true;
  }
  void all() {
    QFETCH(bool, dark);
    QTemporaryDir state;
    Settings settings(state.path());
    settings.setTheme(dark ? ThemeChoice::Dark : ThemeChoice::Light);
    applyTheme(*qApp, settings.theme());
    m_suffix = QStringLiteral("-%1-%2x").arg(dark ? "dark" : "light").arg(qApp->devicePixelRatio());
    ScriptedSession session;
    MainWindow window(session, settings, m_samples);
    window.show();
    QVERIFY(QTest::qWaitForWindowExposed(&window));
    QTest::qWait(300);
    save(window, "01-first-run");
    window.resize(760, 540);
    save(window, "01-first-run-760x540");
    window.resize(1160, 760);

    window.showConnectionManager();
    saveDialog(window, "02-engines-empty");
    settings.setEngines({{"Ward 3", "192.0.2.7", 7120, {}},
                         {"Test bench with quite a long name", "engine.test.example.org", 7120, {}},
                         {"", "2001:db8::17", 7443, {}}});
    session.pins.insert("192.0.2.7:7120", ScriptedSession::fingerprint(1));
    window.showConnectionManager();
    for (const auto& engine : settings.engines()) {
      const bool first = engine.port == 7120 && engine.host.startsWith(QLatin1String("192"));
      Q_EMIT session.probed(engine, first, 0.42, QString());
    }
    saveDialog(window, "03-engines");
    {
      session.certificates = {
          {false, "192.0.2.7", 7120, ScriptedSession::fingerprint(1), QDateTime::currentDateTime()},
          {false, "192.0.2.7", 7122, ScriptedSession::fingerprint(1), QDateTime::currentDateTime()},
          {true, "dealer.a-long-name.example.org", 7121, ScriptedSession::fingerprint(2),
           QDateTime::currentDateTime()}};
      CertificatesDialog dialog(session, &window);
      dialog.open();
      save(dialog, "03-certificates");
    }
    {
      EngineDialog dialog({"Ward 3", "bad host/", 7120, {}}, "Edit the engine", &window);
      dialog.open();
      save(dialog, "04-engine-edit");
    }

    window.connectTo(settings.engines().first());
    session.setState(SessionState::AwaitingTrust);
    Q_EMIT session.trustRequested({settings.engines().first(), ScriptedSession::fingerprint(1)});
    QTest::qWait(50);
    save(window, "05-awaiting-trust");
    saveDialog(window, "06-trust");
    {
      TrustDialog dialog({settings.engines().first(), ScriptedSession::fingerprint(1)}, &window);
      dialog.open();
      dialog.findChild<QLineEdit*>()->setText(ScriptedSession::fingerprint(2));
      save(dialog, "07-trust-differs");
    }
    const QString pinned = ScriptedSession::fingerprint(1);
    Q_EMIT session.pinMismatch({settings.engines().first(), pinned,
                                pinned.left(24) + ScriptedSession::fingerprint(2).mid(24)});
    session.setState(SessionState::Refused);
    saveDialog(window, "08-mismatch");
    save(window, "09-refused");

    window.connectTo(settings.engines().first());
    window.resize(1160, 760);
    session.become(SessionState::Preparing, 0, 0.37);
    save(window, "10-welcome-preparing");
    window.classifyFiles({m_samples.first()});
    QTRY_COMPARE(session.lastId, 1U);
    save(window, "11-waiting-preparing");
    session.become(SessionState::Ready, 1, 0.1);
    session.setState(SessionState::Classifying);
    session.playRounds(4);
    save(window, "12-round-4");
    session.playRounds(8);
    session.finish("ship");
    session.become(SessionState::Ready, 2);
    save(window, "13-result");
    window.resize(900, 600);
    save(window, "14-result-900x600");
    window.resize(760, 540);
    save(window, "15-result-760x540");
    window.resize(1800, 1100);
    save(window, "16-result-1800x1100");
    window.resize(1160, 760);

    const QString big = m_data.filePath("a photograph with quite a long file name, 2026-11-21.png");
    drawing(300, 900).save(big);
    window.classifyFiles({big, m_samples.last(), m_samples.last()});
    QTRY_COMPARE(session.lastId, 2U);
    session.playRounds(30, 110);
    save(window, "17-110-rounds");
    session.finish("great white shark, white shark, man-eater, Carcharodon carcharias");
    QTRY_COMPARE(session.lastId, 3U);
    session.playRounds(3);
    Q_EMIT session.failed(session.lastId, {"closed",
                                           "The engine closed the connection in round 4. The image "
                                           "was not classified; try again."});
    session.setState(SessionState::Reconnecting,
                     "Nobody answers at 192.0.2.7:7120; next try in 4 s.");
    QTRY_COMPARE(session.lastId, 4U);
    save(window, "18-away-waiting");
    window.queue().cancel();
    save(window, "19-cancelled");
    session.become(SessionState::Ready, 2);
    save(window, "20-connected-again");
    QFile text(m_data.filePath("notes.txt"));
    QVERIFY(text.open(QIODevice::WriteOnly));
    text.write("not an image");
    text.close();
    window.classifyFiles({text.fileName()});
    QTest::qWait(100);
    save(window, "21-not-an-image");
    window.classifyFiles({m_samples.first()});
    QTRY_COMPARE(session.lastId, 5U);
    session.playRounds(2);
    Q_EMIT session.failed(session.lastId, {"closed",
                                           "The engine closed the connection in round 3; "
                                           "the image was not classified. Try again."});
    save(window, "22-failed-retry");

    QMimeData mime;
    mime.setUrls({QUrl::fromLocalFile(m_samples.first())});
    QDragEnterEvent enter({200, 200}, Qt::CopyAction, &mime, Qt::LeftButton, Qt::NoModifier);
    QApplication::sendEvent(&window, &enter);
    save(window, "23-drag");
    QDragLeaveEvent leave;
    QApplication::sendEvent(&window, &leave);

    for (int i = 0; i < 12; ++i) {
      Q_EMIT session.logged("info", QStringLiteral("Set %1 ready: 15.2 MB in 1.24 s").arg(i));
    }
    Q_EMIT session.logged("warning", "The connection to 192.0.2.7:7120 broke: closed by the peer.");
    Q_EMIT session.logged(
        "error",
        "An image was not classified: the connection broke in round 4 of 8, and the line is long "
        "enough that it has to be elided at the right edge of the table.");
    Q_EMIT session.logged("debug", "Handshake in 3.1 ms");
    window.activateWindow();
    QVERIFY(QTest::qWaitForWindowActive(&window));
    QTest::keyClick(&window, Qt::Key_3, Qt::ControlModifier);
    save(window, "24-log");
    QTest::keyClick(&window, Qt::Key_1, Qt::ControlModifier);
    window.showPreferences();
    saveDialog(window, "25-preferences");
    window.showAbout();
    saveDialog(window, "26-about");
    window.showHelp();
    saveDialog(window, "27-help");

    session.become(SessionState::Ready, 2, -1, true);
    window.classifyFiles({m_samples.first()});
    QTRY_COMPARE(session.lastId, 6U);
    session.playRounds(8);
    session.finish("ship");
    save(window, "28-insecure");
    window.resize(900, 600);
    save(window, "29-insecure-900x600");
    window.close();
  }

  void admin_data() { all_data(); }
  void admin() {
    QFETCH(bool, dark);
    QTemporaryDir state;
    Settings settings(state.path());
    settings.setTheme(dark ? ThemeChoice::Dark : ThemeChoice::Light);
    applyTheme(*qApp, settings.theme());
    m_suffix = QStringLiteral("-%1-%2x").arg(dark ? "dark" : "light").arg(qApp->devicePixelRatio());
    settings.setEngines({{"Ward 3", "192.0.2.7", 7120, {}}});
    ScriptedSession session;
    ScriptedDeploy deploy;
    deploy.made = ScriptedSession::fingerprint(4);
    FakeTrainer trainer;
    MainWindow window(session, settings, m_samples, {&deploy, trainer.runs(), trainer.program()});
    window.resize(1160, 760);
    window.show();
    QVERIFY(QTest::qWaitForWindowActive(&window));
    QTest::keyClick(&window, Qt::Key_2, Qt::ControlModifier);
    auto* admin = window.findChild<AdminPage*>();
    TrainingPage& page = admin->training();
    const auto click = [&](const QString& text) {
      for (auto* button : admin->findChildren<QAbstractButton*>()) {
        if (button->isVisible() && button->text().remove('&') == text) return button->click();
      }
      QFAIL(qPrintable("no button " + text));
    };
    const auto view = [&](const QString& tab, const QString& name) {
      click(tab);
      save(window, name);
    };
    QTest::qWait(400);  // networks and presets arrive
    save(window, "30-training-empty");
    window.resize(760, 540);
    save(window, "30-training-empty-760x540");
    window.resize(1160, 760);
    click("New run");
    save(window, "31-form-no-data");
    QDir(m_data.path()).mkpath("ward-3 images");
    page.useData({m_data.filePath("ward-3 images")});
    save(window, "32-form");
    window.resize(760, 540);
    save(window, "32-form-760x540");
    window.resize(1160, 760);
    click("Advanced settings");
    save(window, "33-form-advanced");
    QMimeData mime;
    mime.setUrls({QUrl::fromLocalFile(m_data.path())});
    QDragEnterEvent enter({200, 200}, Qt::CopyAction, &mime, Qt::LeftButton, Qt::NoModifier);
    QApplication::sendEvent(&window, &enter);
    save(window, "34-drag");
    QDragLeaveEvent leave;
    QApplication::sendEvent(&window, &leave);

    click("Start training");
    QTest::qWait(200);
    save(window, "35-starting");
    page.process().kill();
    QTRY_VERIFY(!page.training());
    save(window, "36-ended-before-it-began");
    QVector<QJsonObject> events{FakeTrainer::data()};
    events << FakeTrainer::history(11, 30) << FakeTrainer::progress(12, 30, 11.4 / 30);
    trainer.setEvents(events);
    page.useData({m_data.filePath("ward-3 images")});
    click("Start training");
    QTest::qWait(500);
    view("Curves", "37-running");
    view("Confusion", "38-confusion");
    view("Ranges", "39-ranges");
    view("Data", "40-data");
    view("Log", "41-log");
    click("Curves");
    window.resize(900, 600);
    save(window, "42-running-900x600");
    window.resize(760, 540);
    save(window, "42-running-760x540");
    view("Confusion", "43-confusion-760x540");
    view("Ranges", "43-ranges-760x540");
    click("Curves");
    window.resize(1800, 1100);
    save(window, "44-running-1800x1100");
    window.resize(1160, 760);
    click("Pause");
    QTest::qWait(200);
    save(window, "45-paused");
    click("New run");
    save(window, "46-form-while-training");
    click("Cancel");
    page.process().kill();
    QTRY_VERIFY(!page.training());
    save(window, "47-ended-at-once");
    trainer.setEvents({});
    trainer.setEnd("kill -9 $$");
    click("Resume");
    QTRY_VERIFY(!page.training());
    save(window, "48-killed");

    trainer.addRun("ward-3, a year of photographs from all four microscopes (2nd attempt)",
                   FakeTrainer::history(30, 30, 1.02) << FakeTrainer::plain("finished"));
    trainer.addRun("ward-3 relu",
                   FakeTrainer::history(30, 30, 1.06) << FakeTrainer::plain("finished"),
                   {{"activation", "relu"}, {"learning_rate", 0.1}});
    trainer.addRun("mednist", FakeTrainer::history(4, 100, 1.1) << FakeTrainer::plain("stopped"),
                   {{"epochs", 100}, {"network", "resnet18"}});
    trainer.addRun("broken power supply", FakeTrainer::history(1, 30, 0.9));
    page.reload();
    QTest::qWait(300);
    auto* list = page.findChild<QListWidget*>();
    QVERIFY(list->count() >= 5);
    const auto select = [&](const QString& name, bool add = false) {
      for (int i = 0; i < list->count(); ++i) {
        if (!list->item(i)->text().startsWith(name)) continue;
        list->setCurrentItem(
            list->item(i), add ? QItemSelectionModel::Select : QItemSelectionModel::ClearAndSelect);
      }
    };
    select("ward-3, a year");
    save(window, "50-finished-long-name");
    window.resize(760, 540);
    save(window, "50-finished-long-name-760x540");
    window.resize(1160, 760);
    select("broken");
    save(window, "51-one-epoch");
    select("ward-3 relu");
    save(window, "52-relu");
    select("ward-3, a year", true);
    save(window, "53-compare");
    window.resize(760, 540);
    save(window, "53-compare-760x540");
    window.resize(1160, 760);
    select("ward-3, a year");
    page.exportRun(m_data.filePath("ward 3.onnx"), false);
    QTRY_VERIFY(page.findChild<MessageBar*>()->text().startsWith("Exported"));
    save(window, "54-exported");
    page.tryImage(m_samples.first());
    QTRY_VERIFY(!window.findChildren<QDialog*>().isEmpty());
    saveDialog(window, "55-try");

    click("Deploy");
    save(window, "60-deploy-no-key");
    click("Make a key");
    save(window, "61-deploy-key");
    click("Training");
    click("Deploy…");
    QTest::qWait(300);
    save(window, "62-deploy-offered");
    click("List models");
    save(window, "63-deploy-asking");
    deploy.fail("refused",
                "the engine at 192.0.2.7:7122 does not know your certificate; give its operator "
                "your fingerprint");
    save(window, "64-deploy-refused");
    Q_EMIT deploy.trustRequested({deploy.engine, ScriptedSession::fingerprint(1)});
    saveDialog(window, "65-deploy-trust");
    click("List models");
    deploy.finish(ScriptedDeploy::models());
    save(window, "66-deploy-models");
    click("Upload and activate");
    Q_EMIT deploy.uploadProgressed(320'000, 702'114);
    save(window, "67-deploy-uploading");
    deploy.finish(ScriptedDeploy::models(), "ward 3.onnx is on the engine and active.");
    admin->deploy()->findChild<QTableWidget*>()->selectRow(1);
    save(window, "68-deploy-done");
    window.resize(760, 540);
    save(window, "68-deploy-done-760x540");
    window.resize(1160, 760);
    click("Remove…");
    saveDialog(window, "69-deploy-remove");
    {
      MainWindow bare(session, settings, m_samples,
                      {&deploy, trainer.runs() + "/none", "/nowhere"});
      bare.resize(1160, 760);
      bare.show();
      QVERIFY(QTest::qWaitForWindowActive(&bare));
      QTest::keyClick(&bare, Qt::Key_2, Qt::ControlModifier);
      QTest::qWait(200);
      save(bare, "70-no-trainer");
      bare.close();
    }
    window.close();
  }
};

QTEST_MAIN(Screens)
#include "screens.moc"

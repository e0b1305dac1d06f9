// The admin page in the main window, with a stand-in for pillarbox-train and a scripted engine.
#include <signal.h>

#include <QAccessible>
#include <QApplication>
#include <QClipboard>
#include <QComboBox>
#include <QDir>
#include <QDragEnterEvent>
#include <QFile>
#include <QFileInfo>
#include <QLabel>
#include <QLineEdit>
#include <QListWidget>
#include <QMessageBox>
#include <QMimeData>
#include <QPlainTextEdit>
#include <QProgressBar>
#include <QSet>
#include <QSpinBox>
#include <QTableWidget>
#include <QTemporaryDir>
#include <QTest>
#include <QToolButton>
#include <QUrl>

#include "app/ui/admin_page.h"
#include "app/ui/deploy_page.h"
#include "app/ui/main_window.h"
#include "app/ui/theme.h"
#include "app/ui/training_charts.h"
#include "app/ui/training_dialogs.h"
#include "app/ui/training_page.h"
#include "app/ui/trust_dialogs.h"
#include "app/ui/widgets.h"
#include "tests/support/fake_trainer.h"
#include "tests/support/scripted_deploy.h"
#include "tests/support/scripted_session.h"

using namespace pillarbox;
using namespace pillarbox::ui;
using client::TrainingProcess;
using test::FakeTrainer;
using test::ScriptedDeploy;
using test::ScriptedSession;

namespace {

QAbstractButton* button(const QWidget* in, const QString& text) {
  const auto buttons = in->findChildren<QAbstractButton*>();
  for (QAbstractButton* candidate : buttons) {
    if (QString(candidate->text()).remove('&') == text && candidate->isVisible()) return candidate;
  }
  return nullptr;
}

QString visibleText(const QWidget* in) {
  QStringList texts;
  const auto widgets = in->findChildren<QWidget*>();
  for (const QWidget* widget : widgets) {
    if (!widget->isVisible()) continue;
    if (const auto* label = qobject_cast<const QLabel*>(widget)) texts << label->text();
    if (const auto* label = qobject_cast<const ElidedLabel*>(widget)) texts << label->text();
  }
  return texts.join('\n');
}

template <typename T>
T* openDialog(QWidget* window) {
  const auto dialogs = window->findChildren<T*>();
  for (T* dialog : dialogs) {
    if (dialog->isVisible()) return dialog;
  }
  return nullptr;
}

}  // namespace

class Admin : public QObject {
  Q_OBJECT
  std::unique_ptr<QTemporaryDir> m_folder;
  std::unique_ptr<FakeTrainer> m_trainer;
  std::unique_ptr<Settings> m_settings;
  std::unique_ptr<ScriptedSession> m_session;
  std::unique_ptr<ScriptedDeploy> m_deploy;
  std::unique_ptr<MainWindow> m_window;

  AdminPage* admin() { return m_window->findChild<AdminPage*>(); }
  TrainingPage& page() { return admin()->training(); }
  QListWidget* list() { return page().findChild<QListWidget*>(); }
  void click(const QString& text) {
    QAbstractButton* found = button(m_window.get(), text);
    QVERIFY2(found != nullptr, qPrintable(text));
    QVERIFY2(found->isEnabled(), qPrintable(text));
    found->click();
  }
  QString tile(const QString& name) {
    const auto tiles = page().findChildren<CounterTile*>();
    for (const CounterTile* candidate : tiles) {
      if (candidate->accessibleName().startsWith(name)) return candidate->value();
    }
    return QStringLiteral("no tile ") + name;
  }
  void dropFolder(const QString& path) {
    QMimeData mime;
    mime.setUrls({QUrl::fromLocalFile(path)});
    QDragEnterEvent enter({400, 300}, Qt::CopyAction, &mime, Qt::LeftButton, Qt::NoModifier);
    QApplication::sendEvent(m_window.get(), &enter);
    QVERIFY(enter.isAccepted());
    QDropEvent event({400, 300}, Qt::CopyAction, &mime, Qt::LeftButton, Qt::NoModifier);
    QApplication::sendEvent(m_window.get(), &event);
  }
  /// A run under way, eleven of thirty epochs behind it.
  void startRun() {
    QVector<QJsonObject> events{FakeTrainer::data()};
    events << FakeTrainer::history(11, 30) << FakeTrainer::progress(12, 30, 0.38);
    m_trainer->setEvents(events);
    QDir(m_folder->path()).mkpath("cells");
    dropFolder(m_folder->filePath("cells"));
    QTRY_VERIFY(button(m_window.get(), "Start training")->isEnabled());
    click("Start training");
    QTRY_COMPARE(page().process().state(), TrainingProcess::State::Running);
    QTRY_VERIFY(tile("Time left") != QStringLiteral("–"));
  }
  void select(const QStringList& names) {
    list()->clearSelection();
    for (int i = 0; i < list()->count(); ++i) {
      const QString name = list()->item(i)->text().section('\n', 0, 0);
      if (names.contains(name)) {
        list()->setCurrentItem(list()->item(i), QItemSelectionModel::Select);
      }
    }
    QCOMPARE(list()->selectedItems().size(), names.size());
  }

 private Q_SLOTS:
  void init() {
    m_folder = std::make_unique<QTemporaryDir>();
    m_trainer = std::make_unique<FakeTrainer>();
    m_settings = std::make_unique<Settings>(m_folder->path());
    m_settings->setEngines({{"Ward 3", "192.0.2.7", 7120, {}}});
    m_session = std::make_unique<ScriptedSession>();
    m_deploy = std::make_unique<ScriptedDeploy>();
    m_deploy->made = ScriptedSession::fingerprint(4);
    applyTheme(*qApp, ThemeChoice::Light);
    m_window = std::make_unique<MainWindow>(
        *m_session, *m_settings, QStringList(),
        AdminServices{m_deploy.get(), m_trainer->runs(), m_trainer->program()});
    m_window->resize(1160, 760);
    m_window->show();
    m_window->activateWindow();
    QVERIFY(QTest::qWaitForWindowActive(m_window.get()));
    QTest::keyClick(m_window.get(), Qt::Key_2, Qt::ControlModifier);
    QVERIFY(admin()->isVisible());
  }
  void cleanup() {
    m_window.reset();
    m_session.reset();
  }

  void formTakesADroppedFolder() {
    QVERIFY(visibleText(m_window.get()).contains("Train a model on your images"));
    QFile text(m_folder->filePath("notes.txt"));
    QVERIFY(text.open(QIODevice::WriteOnly));
    text.close();
    dropFolder(text.fileName());
    QVERIFY(visibleText(m_window.get()).contains("neither a folder nor a zip file"));
    QDir(m_folder->path()).mkpath("ward 3: cells");
    dropFolder(m_folder->filePath("ward 3: cells"));
    auto* name = page().findChild<QLineEdit*>();
    for (auto* field : page().findChildren<QLineEdit*>()) {
      if (field->maxLength() == 80) name = field;
    }
    QCOMPARE(name->text(), QStringLiteral("ward-3-cells"));
    QAbstractButton* start = button(m_window.get(), "Start training");
    QTRY_VERIFY(start->isEnabled());
    name->setText("../escape");
    QVERIFY(!start->isEnabled());
    name->setText(".hidden");
    QVERIFY(!start->isEnabled());
    name->setText("Zähler 2");
    QVERIFY(start->isEnabled());
    name->setText("cells");
    QComboBox *network = nullptr, *preset = nullptr, *length = nullptr, *from = nullptr;
    for (auto* combo : page().findChildren<QComboBox*>()) {
      if (combo->accessibleName() == "Network") network = combo;
      if (combo->accessibleName() == "Preset") preset = combo;
      if (combo->accessibleName() == "Length") length = combo;
      if (combo->accessibleName() == "Start from") from = combo;
    }
    QVERIFY(network && preset && length && from);
    QTRY_COMPARE(network->count(), 3);
    QTRY_COMPARE(preset->count(), 2);
    QVERIFY(visibleText(m_window.get()).contains("8 round trips an image · about 32 ms near"));
    QCOMPARE(length->currentData().toInt(), 30);
    length->setCurrentIndex(0);
    QCOMPARE(length->currentData().toInt(), 3);
    preset->setCurrentIndex(1);  // needs a run to start from, which there is none of
    QCOMPARE(length->currentData().toInt(), 5);
    QVERIFY(!start->isEnabled());
    QVERIFY(from->isVisible());
    preset->setCurrentIndex(0);
    network->setCurrentIndex(1);
    click("Start training");
    QTRY_VERIFY(!m_trainer->arguments().isEmpty());
    const QStringList arguments = m_trainer->arguments();
    QCOMPARE(arguments[0], QStringLiteral("train"));
    const auto value = [&](const char* option) {
      return arguments.value(arguments.indexOf(QLatin1String(option)) + 1);
    };
    QCOMPARE(value("--data"), m_folder->filePath("ward 3: cells"));
    QCOMPARE(value("--network"), QStringLiteral("resnet18"));
    QCOMPARE(value("--preset"), QStringLiteral("pillar"));
    QCOMPARE(value("--epochs"), QStringLiteral("3"));
    QCOMPARE(value("--out"), m_trainer->runs() + "/cells");
    QVERIFY(arguments.contains("--json") && arguments.contains("--control"));
  }

  void runIsShownLive() {
    startRun();
    QTRY_COMPARE(tile("Time left"), QStringLiteral("56 min"));
    QVERIFY2(tile("Test accuracy").endsWith(" %"), qPrintable(tile("Test accuracy")));
    const QString text = visibleText(m_window.get());
    QVERIFY2(text.contains("Training · "), qPrintable(text));
    QVERIFY(text.contains("epoch 12 of 30"));
    QVERIFY(text.contains("743 images a second"));
    int charts = 0;
    for (const CurveChart* chart : page().findChildren<CurveChart*>()) {
      if (!chart->isVisible()) continue;
      QVERIFY2(chart->accessibleDescription().contains("After the last epoch"),
               qPrintable(chart->accessibleDescription()));
      ++charts;
    }
    QCOMPARE(charts, 4);
    QVERIFY(page().findChild<ConfusionView*>()->accessibleDescription().contains(
        "The most frequent mistake"));
    QVERIFY(page().findChild<RangeView*>()->accessibleDescription().contains("act7"));
    QVERIFY(page().findChild<QPlainTextEdit*>()->toPlainText().contains("Epoch 11: loss"));
    QVERIFY(list()->item(0)->text().contains("11/30"));
    click("Pause");
    QTRY_COMPARE(page().process().state(), TrainingProcess::State::Paused);
    QVERIFY(visibleText(m_window.get()).contains("Paused · "));
    click("Continue");
    QTRY_COMPARE(page().process().state(), TrainingProcess::State::Running);
    // Another run has to wait.
    click("New run");
    QVERIFY(!button(m_window.get(), "Start training")->isEnabled());
    QVERIFY(visibleText(m_window.get()).contains("Another run is being trained"));
    click("Cancel");
    click("Stop");
    QTRY_VERIFY(!page().training());
    QVERIFY(visibleText(m_window.get()).contains("Stopped · "));
    QVERIFY(button(m_window.get(), "Resume"));
    QCOMPARE(page().findChild<MessageBar*>()->key(), QString());
  }

  void killedTrainingIsAMessage() {
    startRun();
    QCOMPARE(::kill(static_cast<pid_t>(page().process().processId()), SIGKILL), 0);
    QTRY_VERIFY(!page().training());
    QVERIFY(visibleText(m_window.get()).contains("The training process was killed"));
    m_trainer->setEvents({});
    m_trainer->setEnd("echo 'fault in conv1' >&2; kill -SEGV $$");
    // There is no checkpoint file, so it starts over from what it has.
    click("Resume");
    QTRY_VERIFY(visibleText(m_window.get()).contains("fault in conv1"));
    QVERIFY(m_window->isVisible());
  }

  void runsAreListedAndCompared() {
    const auto finished = [](double strength) {
      return FakeTrainer::history(30, 30, strength) << FakeTrainer::plain("finished");
    };
    m_trainer->addRun("one", finished(1));
    m_trainer->addRun("two", finished(1.05), {{"learning_rate", 0.1}});
    m_trainer->addRun("three", FakeTrainer::history(4, 30));
    page().reload();
    QTRY_COMPARE(list()->count(), 3);
    select({"three"});
    QVERIFY(visibleText(m_window.get()).contains("Interrupted · 4 of 30 epochs"));
    QVERIFY(button(m_window.get(), "Resume"));
    QVERIFY(!button(m_window.get(), "Extend…"));
    select({"one"});
    QVERIFY(visibleText(m_window.get()).contains("Finished · 30 of 30 epochs"));
    QVERIFY(!button(m_window.get(), "Resume"));
    QVERIFY(button(m_window.get(), "Extend…"));
    select({"one", "two"});
    QTableWidget* table = nullptr;
    for (auto* candidate : page().findChildren<QTableWidget*>()) {
      if (candidate->isVisible()) table = candidate;
    }
    QVERIFY(table);
    QStringList rows;
    for (int i = 0; i < table->rowCount(); ++i) {
      rows << table->item(i, 0)->text() + ": " + table->item(i, 1)->text() + "/" +
                  table->item(i, 2)->text();
    }
    QVERIFY2(rows.contains("learning rate: 0.05/0.1") || rows.contains("learning rate: 0.1/0.05"),
             qPrintable(rows.join('\n')));
    QVERIFY(rows.contains("State: Finished/Finished"));
    QVERIFY(!rows.join('\n').contains("batch"));  // is the same
  }

  void runsAreDeleted() {
    QTemporaryDir trash;
    qputenv("XDG_DATA_HOME", QFile::encodeName(trash.path()));
    const QString kept = m_trainer->addRun("kept", FakeTrainer::history(4, 30));
    const QString gone = m_trainer->addRun("gone", FakeTrainer::history(4, 30));
    page().reload();
    QTRY_COMPARE(list()->count(), 2);
    select({"gone"});
    const auto answer = [&](const char* text) {
      QTest::mouseClick(button(m_window.get(), "Delete…"), Qt::LeftButton);
      auto* box = page().findChild<QMessageBox*>();
      if (box == nullptr || !box->text().contains("gone")) return false;
      QTest::mouseClick(button(box, text), Qt::LeftButton);
      return QTest::qWaitFor([&] { return page().findChild<QMessageBox*>() == nullptr; });
    };
    QVERIFY(answer("Keep"));
    QCOMPARE(list()->count(), 2);
    QVERIFY(QFileInfo::exists(gone));
    QVERIFY(answer("Delete"));
    const bool possible = !QFileInfo::exists(gone);  // a file system may have no trash
    QCOMPARE(list()->count(), possible ? 1 : 2);
    QCOMPARE(visibleText(m_window.get()).contains("cannot be moved to the trash"), !possible);
    QVERIFY(QFileInfo::exists(kept));
    qunsetenv("XDG_DATA_HOME");
    // What is being trained stays.
    startRun();
    QVERIFY(!button(m_window.get(), "Delete…")->isEnabled());
  }

  void imagesAreTriedAndModelsExported() {
    m_trainer->addRun("one", FakeTrainer::history(30, 30) << FakeTrainer::plain("finished"));
    page().reload();
    QTRY_COMPARE(list()->count(), 1);
    QImage image(30, 30, QImage::Format_RGB32);
    image.fill(Qt::darkGreen);
    QVERIFY(image.save(m_folder->filePath("cat.png")));
    page().tryImage(m_folder->filePath("cat.png"));
    QTRY_VERIFY(openDialog<TryImageDialog>(m_window.get()));
    auto* dialog = openDialog<TryImageDialog>(m_window.get());
    QVERIFY(visibleText(dialog).contains("cat"));
    QVERIFY(visibleText(dialog).contains("86.1 %"));
    dialog->close();
    QCOMPARE(m_trainer->arguments().value(0), QStringLiteral("classify"));
    page().exportRun(m_folder->filePath("one.onnx"), false);
    QTRY_VERIFY(visibleText(m_window.get()).contains("8 round trips an image, 173,290 weights"));
    QVERIFY(visibleText(m_window.get()).contains("86.5 % of 200 test images"));
    QVERIFY(QFile::exists(m_folder->filePath("one.onnx")));
    // From the run to the engine.
    m_deploy->createKey();
    click("Deploy…");
    QTRY_VERIFY(admin()->deploy()->isVisible());
    QVERIFY(visibleText(admin()->deploy()).contains("one.onnx"));
  }

  void deploymentIsFollowed() {
    click("Deploy");
    QVERIFY(admin()->deploy()->isVisible());
    QVERIFY(!button(m_window.get(), "List models")->isEnabled());
    click("Make a key");
    click("Copy the fingerprint");
    QCOMPARE(QApplication::clipboard()->text(), m_deploy->own);
    click("List models");
    QCOMPARE(m_deploy->calls, QStringList{"refresh"});
    QCOMPARE(m_deploy->engine.port, 7122);
    QVERIFY(!button(m_window.get(), "List models")->isEnabled());
    m_deploy->fail("refused", "your certificate does not belong to an administrator");
    QVERIFY(visibleText(m_window.get())
                .contains("Your certificate does not belong to an administrator."));
    Q_EMIT m_deploy->trustRequested({m_deploy->engine, ScriptedSession::fingerprint(1)});
    auto* trust = openDialog<TrustDialog>(m_window.get());
    QVERIFY(trust);
    trust->reject();
    QCOMPARE(m_deploy->trustAnswers, QVector<bool>{false});

    click("List models");
    m_deploy->finish(ScriptedDeploy::models());
    auto* table = admin()->deploy()->findChild<QTableWidget*>();
    QCOMPARE(table->rowCount(), 4);
    QVERIFY(!button(m_window.get(), "Activate")->isEnabled());
    table->selectRow(0);  // active
    QVERIFY(!button(m_window.get(), "Activate")->isEnabled());
    QVERIFY(!button(m_window.get(), "Remove…")->isEnabled());
    table->selectRow(3);  // of the configuration
    QVERIFY(button(m_window.get(), "Activate")->isEnabled());
    QVERIFY(!button(m_window.get(), "Remove…")->isEnabled());
    table->selectRow(1);
    click("Activate");
    QCOMPARE(m_deploy->calls.last(), QStringLiteral("activate ") + QString(64, 'b'));
    m_deploy->finish(ScriptedDeploy::models(), "ward-3 images is active.");
    QVERIFY(visibleText(m_window.get()).contains("ward-3 images is active."));
    click("Roll back");
    QCOMPARE(m_deploy->calls.last(), QStringLiteral("rollback"));
    m_deploy->finish(ScriptedDeploy::models());
    table->selectRow(1);
    click("Remove…");
    auto* box = openDialog<QMessageBox>(m_window.get());
    QVERIFY(box);
    const qsizetype before = m_deploy->calls.size();
    button(box, "Remove")->click();
    QCOMPARE(m_deploy->calls.size(), before + 1);
    QCOMPARE(m_deploy->calls.last(), QStringLiteral("remove ") + QString(64, 'b'));
    m_deploy->finish(ScriptedDeploy::models());

    QFile model(m_folder->filePath("next.onnx"));
    QVERIFY(model.open(QIODevice::WriteOnly));
    model.close();
    dropFolder(model.fileName());
    click("Upload");
    QCOMPARE(m_deploy->calls.last(), QStringLiteral("upload %1 0").arg(model.fileName()));
    Q_EMIT m_deploy->uploadProgressed(30, 60);
    bool half = false;
    for (const auto* bar : admin()->deploy()->findChildren<QProgressBar*>()) {
      half = half || (bar->isVisible() && bar->value() == 500 && bar->maximum() == 1000);
    }
    QVERIFY(half);
    click("Cancel");
    QVERIFY(visibleText(m_window.get()).contains("Cancelled."));
  }

  void everythingHasAName() {
    const TryImageDialog dialog("/nowhere.png", {});
    for (const QWidget* root : std::initializer_list<const QWidget*>{admin(), &dialog}) {
      for (QWidget* widget : root->findChildren<QWidget*>()) {
        if (widget->focusPolicy() == Qt::NoFocus || widget->objectName().startsWith("qt_")) {
          continue;
        }
        if (widget->focusProxy() || widget->window() != root->window()) continue;  // lists of boxes
        QAccessibleInterface* interface = QAccessible::queryAccessibleInterface(widget);
        QVERIFY(interface);
        QVERIFY2(!interface->text(QAccessible::Name).isEmpty(),
                 qPrintable(QStringLiteral("%1 in %2")
                                .arg(widget->metaObject()->className(),
                                     widget->parentWidget()->metaObject()->className())));
      }
    }
  }

  void everythingIsReachedByKeyboard_data() {
    QTest::addColumn<QString>("where");
    for (const char* where : {"empty", "form", "run", "deploy"}) QTest::newRow(where) << where;
  }
  void everythingIsReachedByKeyboard() {
    QFETCH(QString, where);
    if (where == "form") {
      click("New run");
      click("Advanced settings");
    }
    if (where == "run") startRun();
    if (where == "deploy") {
      m_deploy->createKey();
      click("Deploy");
      click("List models");
      m_deploy->finish(ScriptedDeploy::models());
    }
    QSet<QWidget*> reached;
    for (int i = 0; i < 80; ++i) {
      QTest::keyClick(m_window.get(), Qt::Key_Tab);
      if (QApplication::focusWidget()) reached.insert(QApplication::focusWidget());
    }
    for (QWidget* widget : admin()->findChildren<QWidget*>()) {
      if (!widget->isVisible() || !widget->isEnabled() || widget->focusProxy()) continue;
      if ((widget->focusPolicy() & Qt::TabFocus) == 0) continue;
      if (widget->objectName().startsWith("qt_")) continue;
      const auto* tool = qobject_cast<QAbstractButton*>(widget);
      if (tool && tool->isCheckable() && !tool->isChecked() && tool->group()) continue;
      QVERIFY2(reached.contains(widget),
               qPrintable(QStringLiteral("%1 %2").arg(widget->metaObject()->className(),
                                                      widget->accessibleName())));
    }
  }

  void closingAsksFirst() {
    startRun();
    for (const bool sure : {false, true}) {
      m_window->close();
      QVERIFY(m_window->isVisible());
      auto* box = openDialog<QMessageBox>(m_window.get());
      QVERIFY(box);
      button(box, sure ? "Stop and close" : "Keep training")->click();
      QCOMPARE(page().training(), true);
    }
    QTRY_VERIFY(!m_window->isVisible());
    QVERIFY(!page().training());
  }

  void aWindowThatGoesAwayStopsTraining() {
    startRun();
    const auto pid = static_cast<pid_t>(page().process().processId());
    m_window.reset();
    QVERIFY(::kill(pid, 0) != 0);
  }
};

QTEST_MAIN(Admin)
#include "test_admin_page.moc"

// The main window under the offscreen platform, with real events, against a scripted session.
#include <QAccessible>
#include <QApplication>
#include <QCheckBox>
#include <QClipboard>
#include <QComboBox>
#include <QDateTime>
#include <QDragEnterEvent>
#include <QElapsedTimer>
#include <QFile>
#include <QFileDialog>
#include <QFontDatabase>
#include <QLabel>
#include <QLineEdit>
#include <QListWidget>
#include <QMenuBar>
#include <QMessageBox>
#include <QMimeData>
#include <QPainter>
#include <QProgressBar>
#include <QPushButton>
#include <QSet>
#include <QStackedWidget>
#include <QStatusBar>
#include <QTableView>
#include <QTemporaryDir>
#include <QTest>
#include <QTimer>
#include <QToolButton>
#include <QTreeWidget>
#include <QUrl>
#include <QWindow>

#include "app/ui/admin_page.h"
#include "app/ui/classify_page.h"
#include "app/ui/connection_manager.h"
#include "app/ui/image_queue.h"
#include "app/ui/info_dialogs.h"
#include "app/ui/main_window.h"
#include "app/ui/theme.h"
#include "app/ui/trust_dialogs.h"
#include "app/ui/widgets.h"
#include "tests/support/scripted_session.h"

using namespace pillarbox;
using namespace pillarbox::ui;
using client::SessionState;
using test::ScriptedSession;

namespace {

/// The visible button of that text, mnemonics ignored.
QAbstractButton* button(const QWidget* in, const QString& text) {
  const auto buttons = in->findChildren<QAbstractButton*>();
  for (QAbstractButton* candidate : buttons) {
    if (QString(candidate->text()).remove('&') == text && candidate->isVisible()) return candidate;
  }
  return nullptr;
}

/// What a person can read in a window.
QString visibleText(const QWidget* in) {
  QStringList texts;
  const auto widgets = in->findChildren<QWidget*>();
  for (const QWidget* widget : widgets) {
    if (!widget->isVisible()) continue;
    if (const auto* label = qobject_cast<const QLabel*>(widget)) texts << label->text();
    if (const auto* label = qobject_cast<const ElidedLabel*>(widget)) texts << label->text();
    if (const auto* view = qobject_cast<const FingerprintView*>(widget)) {
      texts << view->fingerprint();
    }
  }
  return texts.join('\n');
}

/// Everything that the window system sends when something is dropped: through the QWindow, so that
/// the widget under the pointer is found as it is in life.
bool drop(QWidget& window, const QPoint& at, const QMimeData& mime) {
  QWindow* handle = window.windowHandle();
  QDragEnterEvent enter(at, Qt::CopyAction, &mime, Qt::LeftButton, Qt::NoModifier);
  QApplication::sendEvent(handle, &enter);
  QDragMoveEvent move(at, Qt::CopyAction, &mime, Qt::LeftButton, Qt::NoModifier);
  QApplication::sendEvent(handle, &move);
  if (!enter.isAccepted()) return false;
  QDropEvent event(at, Qt::CopyAction, &mime, Qt::LeftButton, Qt::NoModifier);
  QApplication::sendEvent(handle, &event);
  return event.isAccepted();
}

QImage solid(const QColor& color, int width = 40, int height = 30) {
  QImage image(width, height, QImage::Format_RGB32);
  image.fill(color);
  return image;
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

class Window : public QObject {
  Q_OBJECT
  std::unique_ptr<QTemporaryDir> m_folder;
  std::unique_ptr<Settings> m_settings;
  std::unique_ptr<ScriptedSession> m_session;
  std::unique_ptr<MainWindow> m_window;

  QString file(const QString& name, const QImage& image) {
    const QString path = m_folder->filePath(name);
    if (!image.save(path)) qFatal("cannot write %s", qPrintable(path));
    return path;
  }
  ClassifyPage* page() { return m_window->findChild<ClassifyPage*>(); }
  /// The window's own; the admin page has others.
  MessageBar* message() {
    const auto* admin = m_window->findChild<AdminPage*>();
    const auto bars = m_window->findChildren<MessageBar*>();
    for (MessageBar* bar : bars) {
      if (!admin->isAncestorOf(bar)) return bar;
    }
    return nullptr;
  }
  TrustLine* trust() { return m_window->findChild<TrustLine*>(); }
  void ready() {
    m_window->connectTo({"Test", "192.0.2.7", 7120, {}});
    m_session->become(SessionState::Ready, 1);
  }
  void classifyOne(const QColor& color = Qt::red, const QString& name = "one.png") {
    const auto before = m_session->lastId;
    m_window->classifyFiles({file(name, solid(color))});
    QTRY_COMPARE(m_session->lastId, before + 1);
  }

 private Q_SLOTS:
  void init() {
    m_folder = std::make_unique<QTemporaryDir>();
    m_settings = std::make_unique<Settings>(m_folder->path());
    m_session = std::make_unique<ScriptedSession>();
    applyTheme(*qApp, ThemeChoice::Light);
    m_window = std::make_unique<MainWindow>(
        *m_session, *m_settings,
        QStringList{file("ship.png", solid(Qt::blue)), file("cat.png", solid(Qt::yellow))});
    m_window->resize(1160, 760);
    m_window->show();
    m_window->activateWindow();
    QVERIFY(QTest::qWaitForWindowActive(m_window.get()));
  }
  void cleanup() {
    m_window.reset();
    m_session.reset();
    m_settings.reset();
    m_folder.reset();
  }

  void aFontExists() {
    QVERIFY2(!QFontDatabase::families().isEmpty(), "install fonts-dejavu-core");
    QImage a(32, 32, QImage::Format_Grayscale8);
    a.fill(Qt::white);
    QImage b = a;
    QPainter(&a).drawText(4, 24, "A");
    QPainter(&b).drawText(4, 24, "W");
    QVERIFY2(a != b, "every letter looks the same");
  }

  void firstRunOffersSamples() {
    QVERIFY(page()->showsWelcome());
    QVERIFY(visibleText(page()).contains("Drop an image anywhere"));
    QVERIFY(button(page(), "Connect to an engine…"));
    QAbstractButton* sample = button(page(), "ship");
    QVERIFY(sample);
    QTest::mouseClick(sample, Qt::LeftButton);
    QTRY_COMPARE(m_session->names, QStringList{"ship.png"});
    QVERIFY(!page()->showsWelcome());
    QVERIFY(page()->stateText().contains("starts by itself", Qt::CaseInsensitive));
    QAbstractButton* connectButton = button(page(), "Connect…");
    QVERIFY(connectButton);
    QTest::mouseClick(connectButton, Qt::LeftButton);
    QTRY_VERIFY(openDialog<ConnectionManager>(m_window.get()));
  }

  void dropAnywhere_data() {
    QTest::addColumn<bool>("work");  // with the picture, chart and recent list shown
    QTest::addColumn<bool>("log");
    QTest::addColumn<QPoint>("at");
    for (int y = 60; y < 760; y += 80) {
      for (int x = 20; x < 1160; x += 160) {
        QTest::addRow("welcome %d,%d", x, y) << false << false << QPoint(x, y);
        QTest::addRow("work %d,%d", x, y) << true << false << QPoint(x, y);
        QTest::addRow("log %d,%d", x, y) << false << true << QPoint(x, y);
      }
    }
  }
  void dropAnywhere() {
    QFETCH(bool, work);
    QFETCH(bool, log);
    QFETCH(QPoint, at);
    ready();
    if (work) {
      classifyOne();
      m_session->playRounds(4);
      m_session->finish();
    }
    if (log) QTest::keyClick(m_window.get(), Qt::Key_3, Qt::ControlModifier);
    const auto before = m_session->lastId;
    QMimeData mime;
    mime.setUrls({QUrl::fromLocalFile(file("dropped.png", solid(QColor(10, 200, 30))))});
    QVERIFY(drop(*m_window, at, mime));
    QTRY_COMPARE(m_session->lastId, before + 1);
    QCOMPARE(m_session->names.last(), QStringLiteral("dropped.png"));
    QCOMPARE(QColor(m_session->images.last().pixel(5, 5)), QColor(10, 200, 30));
    QVERIFY(page()->isVisible());
  }

  void dropImageData() {
    ready();
    QMimeData mime;
    mime.setImageData(solid(QColor(1, 2, 3)));
    QVERIFY(drop(*m_window, {300, 300}, mime));
    QTRY_COMPARE(m_session->images.size(), 1);
    QCOMPARE(QColor(m_session->images[0].pixel(0, 0)), QColor(1, 2, 3));
  }

  void dropSeveralKeepsTheirOrder() {
    ready();
    QMimeData mime;
    mime.setUrls({QUrl::fromLocalFile(file("1.png", solid(Qt::red))),
                  QUrl::fromLocalFile(file("2.png", solid(Qt::green))),
                  QUrl::fromLocalFile(file("3.png", solid(Qt::blue)))});
    QVERIFY(drop(*m_window, {300, 300}, mime));
    QTRY_COMPARE(m_session->images.size(), 1);
    QVERIFY(visibleText(page()).contains("2 more waiting"));
    m_session->finish();
    QTRY_COMPARE(m_session->images.size(), 2);
    m_session->finish();
    QTRY_COMPARE(m_session->images.size(), 3);
    m_session->finish();
    QCOMPARE(m_session->names, QStringList({"1.png", "2.png", "3.png"}));
    QCOMPARE(m_settings->recent().size(), 3);
  }

  void dropALinkIsExplained() {
    ready();
    QMimeData mime;
    mime.setUrls({QUrl("https://example.org/cat.png")});
    drop(*m_window, {300, 300}, mime);
    QVERIFY(message()->isVisible());
    QVERIFY(message()->text().contains("link"));
    QCOMPARE(m_session->images.size(), 0);
  }

  void textIsNotAccepted() {
    QMimeData mime;
    mime.setText("hello");
    QVERIFY(!drop(*m_window, {300, 300}, mime));
  }

  void paste() {
    ready();
    QApplication::clipboard()->setImage(solid(QColor(9, 8, 7)));
    QTest::keyClick(m_window.get(), Qt::Key_V, Qt::ControlModifier);
    QTRY_COMPARE(m_session->images.size(), 1);
    QCOMPARE(QColor(m_session->images[0].pixel(0, 0)), QColor(9, 8, 7));
    m_session->finish();
    QApplication::clipboard()->setText("only text");
    QTest::keyClick(m_window.get(), Qt::Key_V, Qt::ControlModifier);
    QTRY_VERIFY(message()->isVisible());
    QVERIFY(message()->text().contains("clipboard"));
    QCOMPARE(m_session->images.size(), 1);
  }

  void pasteIntoTheLogFilterIsText() {
    QTest::keyClick(m_window.get(), Qt::Key_3, Qt::ControlModifier);
    QApplication::clipboard()->setText("words");
    auto* filter = m_window->findChild<LogPage*>()->findChild<QLineEdit*>();
    filter->setFocus();
    QTest::keyClick(filter, Qt::Key_V, Qt::ControlModifier);
    QCOMPARE(filter->text(), QStringLiteral("words"));
    QVERIFY(!message()->isVisible());
  }

  void statesWhileWaiting() {
    classifyOne();
    QVERIFY(page()->stateText().contains("Not connected"));
    m_window->connectTo({"Test", "192.0.2.7", 7120, {}});
    QVERIFY(page()->stateText().startsWith("Connecting"));
    m_session->become(SessionState::Preparing, 0, 0.37);
    QVERIFY(page()->stateText().contains("Preparing"));
    QVERIFY(page()->stateText().contains("37"));
    QVERIFY(page()->stateText().contains("starts by itself"));
    QVERIFY(visibleText(m_window.get()).contains("0 of 2 sets ready · preparing 37 %"));
    m_session->setState(SessionState::Reconnecting, "Nobody answers.");
    QVERIFY(page()->stateText().contains("Waiting for the engine"));
    m_session->become(SessionState::Ready, 1);
    m_session->setState(SessionState::Classifying);
    m_session->playRounds(4, 7);
    QCOMPARE(page()->stateText(), QStringLiteral("Round 4 of 7"));
    auto* chart = m_window->findChild<LatencyChart*>();
    QCOMPARE(chart->count(), 4);
    QVERIFY(visibleText(page()).contains("4 of 7"));
    QProgressBar* bar = nullptr;
    const auto bars = page()->findChildren<QProgressBar*>();
    for (QProgressBar* candidate : bars) {
      if (candidate->accessibleName() == "Progress") bar = candidate;
    }
    QVERIFY(bar);
    QCOMPARE(bar->value(), 1000 * 4 / 7);
    m_session->finish("ship");
    QCOMPARE(page()->stateText(), QStringLiteral("Classified in 469 ms"));
  }

  void resultIsShown() {
    ready();
    classifyOne();
    m_session->playRounds(8);
    m_session->finish("frog");
    const QString text = visibleText(page());
    QVERIFY(text.contains("frog"));
    QVERIFY(text.contains("92.3 %"));
    QCOMPARE(page()->findChild<ScoreBars*>()->rows(), 5);
    QVERIFY2(text.contains("469 ms · 8 rounds · 1.41 MB sent · 1.38 MB received"),
             qPrintable(text));
    QVERIFY2(text.contains("7.24 s · 3 rounds · 31.83 MB sent · 34.80 MB received"),
             qPrintable(text));
    QVERIFY(text.contains("5.71 MB sent · 412 bytes received · memory 301 MB"));
    auto* recent = page()->findChild<QListWidget*>();
    QCOMPARE(recent->count(), 1);
    QVERIFY(recent->item(0)->text().contains("frog"));
    QVERIFY(recent->item(0)->text().contains("one.png"));
    // Shown again: the result, and no picture.
    classifyOne(Qt::green, "two.png");
    m_session->finish("truck");
    recent->setCurrentRow(1);
    recent->setFocus();
    QTest::keyClick(recent, Qt::Key_Return);
    QVERIFY(!page()->findChild<PictureView*>()->hasPicture());
    QVERIFY(visibleText(page()).contains("frog"));
    const auto tools = page()->findChildren<QToolButton*>();
    for (QToolButton* tool : tools) {
      if (tool->accessibleName() == "Clear the list of recent results") tool->click();
    }
    QCOMPARE(recent->count(), 0);
    QVERIFY(m_settings->recent().isEmpty());
  }

  void pictureKeepsItsAspect() {
    ready();
    m_window->classifyFiles({file("wide.png", solid(Qt::red, 400, 100))});
    QTRY_COMPARE(m_session->images.size(), 1);
    auto* view = page()->findChild<PictureView*>();
    QVERIFY(view->hasPicture());
    const QRect rect = view->pictureRect();
    QVERIFY(view->rect().contains(rect));
    QVERIFY(qAbs(rect.width() / double(rect.height()) - 4) < 0.1);
  }

  void cancelByKeyAndButton() {
    ready();
    classifyOne();
    m_session->playRounds(3);
    QTest::keyClick(m_window.get(), Qt::Key_Escape);
    QCOMPARE(m_session->cancelled, QVector<quint64>{1});
    QCOMPARE(page()->stateText(), QStringLiteral("Cancelled"));
    QMimeData mime;
    mime.setUrls({QUrl::fromLocalFile(file("1.png", solid(Qt::red))),
                  QUrl::fromLocalFile(file("2.png", solid(Qt::green)))});
    QVERIFY(drop(*m_window, {300, 300}, mime));
    QTRY_COMPARE(m_session->images.size(), 2);
    QTest::mouseClick(button(page(), "Cancel"), Qt::LeftButton);
    QCOMPARE(m_session->cancelled.size(), 2);
    QTest::qWait(100);
    QCOMPARE(m_session->images.size(), 2);  // what waited was forgotten
    QVERIFY(!button(page(), "Cancel"));
    QVERIFY(!button(page(), "Try again"));
  }

  void cancelWhileReading() {
    ready();
    m_window->classifyFiles({file("big.png", solid(Qt::red, 3000, 3000))});
    QVERIFY(page()->stateText().startsWith("Reading"));
    QTest::keyClick(m_window.get(), Qt::Key_Escape);
    QCOMPARE(page()->stateText(), QStringLiteral("Cancelled"));
    classifyOne();  // the next one works, and the first never arrives
    QCOMPARE(m_session->names, QStringList{"one.png"});
  }

  void unreadableFiles_data() {
    QTest::addColumn<QByteArray>("bytes");
    QTest::newRow("text") << QByteArray("not an image");
    QTest::newRow("empty") << QByteArray();
    QTest::newRow("PNG header only") << QByteArray("\x89PNG\r\n\x1a\n", 8);
    QTest::newRow("SVG") << QByteArray(
        "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>");
  }
  void unreadableFiles() {
    QFETCH(QByteArray, bytes);
    ready();
    const QString path = m_folder->filePath("odd.png");
    QFile file(path);
    QVERIFY(file.open(QIODevice::WriteOnly));
    file.write(bytes);
    file.close();
    m_window->classifyFiles({path});
    QTRY_COMPARE(page()->stateText(), QStringLiteral("Not classified"));
    QVERIFY(visibleText(page()).contains("odd.png"));
    QVERIFY(!button(page(), "Try again"));
    classifyOne();
    QCOMPARE(m_session->names, QStringList{"one.png"});
  }

  void badFileAmongGoodOnesIsTold() {
    ready();
    const QString missing = m_folder->filePath("gone.png");
    m_window->classifyFiles({missing, file("good.png", solid(Qt::red))});
    QTRY_COMPARE(m_session->names, QStringList{"good.png"});
    QVERIFY(message()->isVisible());
    QVERIFY(message()->text().contains("gone.png"));
  }

  void failureOffersRetry() {
    ready();
    classifyOne(QColor(4, 5, 6));
    m_session->playRounds(2);
    Q_EMIT m_session->failed(1, {"closed", "The engine closed the connection."});
    QCOMPARE(page()->stateText(), QStringLiteral("Not classified"));
    QTRY_VERIFY(button(page(), "Try again"));
    QVERIFY(visibleText(page()).contains("The engine closed the connection."));
    QTest::keyClick(m_window.get(), Qt::Key_R, Qt::ControlModifier);
    QCOMPARE(m_session->images.size(), 2);
    QCOMPARE(QColor(m_session->images[1].pixel(0, 0)), QColor(4, 5, 6));
    m_session->finish();
    QVERIFY(!button(page(), "Try again"));
  }

  void trustRefusesByDefault_data() {
    QTest::addColumn<int>("key");
    QTest::newRow("Enter") << int(Qt::Key_Return);
    QTest::newRow("Keypad") << int(Qt::Key_Enter);
    QTest::newRow("Escape") << int(Qt::Key_Escape);
    QTest::newRow("Space") << int(Qt::Key_Space);
  }
  void trustRefusesByDefault() {
    QFETCH(int, key);
    Q_EMIT m_session->trustRequested(
        {{"Test", "192.0.2.7", 7120, {}}, ScriptedSession::fingerprint(1)});
    auto* dialog = openDialog<TrustDialog>(m_window.get());
    QVERIFY(dialog);
    QVERIFY(visibleText(dialog).contains(ScriptedSession::fingerprint(1)));
    dialog->activateWindow();
    QVERIFY(QTest::qWaitForWindowActive(dialog));
    QVERIFY(dialog->focusWidget());
    QTest::keyClick(dialog->focusWidget(), static_cast<Qt::Key>(key));
    QTRY_COMPARE(m_session->trustAnswers, QVector<bool>{false});
  }

  void trustCanBeGivenAndCompared() {
    Q_EMIT m_session->trustRequested(
        {{"Test", "192.0.2.7", 7120, {}}, ScriptedSession::fingerprint(1)});
    auto* dialog = openDialog<TrustDialog>(m_window.get());
    auto* accept = qobject_cast<QPushButton*>(button(dialog, "Trust this engine"));
    auto* refuse = qobject_cast<QPushButton*>(button(dialog, "Do not connect"));
    QVERIFY(accept && refuse);
    QVERIFY(refuse->isDefault() && !accept->isDefault() && !accept->autoDefault());
    auto* field = dialog->findChild<QLineEdit*>();
    field->setText(ScriptedSession::fingerprint(2));
    QVERIFY(!accept->isEnabled());
    QVERIFY(visibleText(dialog).contains("differ"));
    field->setText(ScriptedSession::fingerprint(1).toLower().remove(':'));
    QVERIFY(accept->isEnabled());
    QVERIFY(visibleText(dialog).contains("same"));
    QTest::mouseClick(accept, Qt::LeftButton);
    QTRY_COMPARE(m_session->trustAnswers, QVector<bool>{true});
  }

  void changedCertificateCannotBeAccepted() {
    m_window->connectTo({"Test", "192.0.2.7", 7120, {}});
    const QString old = ScriptedSession::fingerprint(1);
    const QString now = ScriptedSession::fingerprint(2);
    Q_EMIT m_session->pinMismatch({{"Test", "192.0.2.7", 7120, {}}, old, now});
    m_session->setState(SessionState::Refused, "refused");
    auto* dialog = openDialog<MismatchDialog>(m_window.get());
    QVERIFY(dialog);
    const QString text = visibleText(dialog);
    QVERIFY(text.contains(old) && text.contains(now));
    const auto views = dialog->findChildren<FingerprintView*>();
    QCOMPARE(views.size(), 2);
    QCOMPARE(views[0]->mapTo(dialog, QPoint()).y(), views[1]->mapTo(dialog, QPoint()).y());
    QStringList buttons;
    const auto all = dialog->findChildren<QPushButton*>();
    for (const QPushButton* one : all) buttons << QString(one->text()).remove('&');
    std::sort(buttons.begin(), buttons.end());
    QCOMPARE(buttons, QStringList({"Close", "Open connection manager…"}));
    dialog->activateWindow();
    QVERIFY(QTest::qWaitForWindowActive(dialog));
    QTest::keyClick(dialog->focusWidget(), Qt::Key_Return);
    QTRY_VERIFY(!openDialog<MismatchDialog>(m_window.get()));
    QCOMPARE(m_session->trustAnswers.size(), 0);
    QVERIFY(message()->isVisible());
    QCOMPARE(message()->actionText(), QStringLiteral("&Compare…"));
    QTest::mouseClick(button(message(), "Compare…"), Qt::LeftButton);
    QVERIFY(openDialog<MismatchDialog>(m_window.get()));
  }

  void pinIsForgottenOnPurposeOnly() {
    m_settings->setEngines({{"Test", "192.0.2.7", 7120, {}}});
    m_session->pins.insert("192.0.2.7:7120", ScriptedSession::fingerprint(1));
    m_window->showConnectionManager();
    auto* dialog = openDialog<ConnectionManager>(m_window.get());
    QVERIFY(dialog);
    QAbstractButton* forget = button(dialog, "Forget certificate…");
    QVERIFY(forget && forget->isEnabled());
    for (const bool sure : {false, true}) {
      QTest::mouseClick(forget, Qt::LeftButton);
      auto* box = openDialog<QMessageBox>(dialog);
      QVERIFY(box);
      QCOMPARE(QString(box->defaultButton()->text()).remove('&'), QStringLiteral("Keep it"));
      QTest::mouseClick(button(box, sure ? "Forget it" : "Keep it"), Qt::LeftButton);
      QCOMPARE(m_session->pins.isEmpty(), sure);
    }
    QVERIFY(!forget->isEnabled());
  }

  void connectionManager() {
    m_window->showConnectionManager();
    auto* dialog = openDialog<ConnectionManager>(m_window.get());
    QVERIFY(!button(dialog, "Connect")->isEnabled());
    QTest::mouseClick(button(dialog, "Add…"), Qt::LeftButton);
    auto* form = openDialog<EngineDialog>(dialog);
    QVERIFY(form);
    QVERIFY(!button(form, "Save")->isEnabled());
    const auto fields = form->findChildren<QLineEdit*>();
    for (QLineEdit* field : fields) {
      if (field->accessibleName() == "Name") field->setText("Ward 3");
      if (field->accessibleName() == "Host") field->setText("engine.example.org:7443");
    }
    QTest::mouseClick(button(form, "Save"), Qt::LeftButton);
    QCOMPARE(m_settings->engines().size(), 1);
    QCOMPARE(displayAddress(m_settings->engines()[0]), QStringLiteral("engine.example.org:7443"));
    QTRY_COMPARE(m_session->probes.size(), 1);
    auto* list = dialog->findChild<QTreeWidget*>();
    Q_EMIT m_session->probed(m_settings->engines()[0], true, 12.3, {});
    QCOMPARE(list->topLevelItem(0)->text(2), QStringLiteral("Yes, 12 ms"));
    Q_EMIT m_session->probed(m_settings->engines()[0], false, -1, "refused");
    QCOMPARE(list->topLevelItem(0)->text(2), QStringLiteral("No answer"));
    QTest::mouseClick(button(dialog, "Connect"), Qt::LeftButton);
    QCOMPARE(m_session->connected.size(), 1);
    QCOMPARE(m_session->connected[0].host, QStringLiteral("engine.example.org"));
    QCOMPARE(m_settings->lastEngine(), 0);
  }

  void engineAwayAndBack() {
    ready();
    QVERIFY(!message()->isVisible());
    m_session->setState(SessionState::Reconnecting, "Nobody answers at 192.0.2.7:7120.");
    QVERIFY(message()->isVisible());
    QVERIFY(message()->text().contains("by itself"));
    QVERIFY(message()->text().contains("Nobody answers"));
    QVERIFY(!message()->actionText().isEmpty());
    m_session->become(SessionState::Ready, 1);
    QVERIFY(message()->isVisible());
    QVERIFY(message()->text().contains("again"));
    m_session->setState(SessionState::Disconnected);
    QVERIFY(trust()->text().contains("Not connected"));
  }

  void trustIsAlwaysVisible() {
    QVERIFY(trust()->isVisible());
    ready();
    QVERIFY(trust()->isVisible());
    QVERIFY(trust()->text().contains("You trust nobody"));
    QVERIFY(!trust()->isInsecure());
    QTest::keyClick(m_window.get(), Qt::Key_3, Qt::ControlModifier);
    QVERIFY(trust()->isVisible());
  }

  void insecureIsSaidInWords() {
    m_window->connectTo({"Test", "192.0.2.7", 7120, {}});
    m_session->become(SessionState::Ready, 1, -1, true);
    QVERIFY(trust()->isInsecure());
    QVERIFY(trust()->text().startsWith("INSECURE"));
    QVERIFY(!visibleText(page()).contains("readable form"));
    QVERIFY(visibleText(page()).contains("insecure"));
    classifyOne();
    m_session->finish();
    QVERIFY(visibleText(page()).contains("Insecure session"));
  }

  void anAnswerThatMayBeWrongSaysSo() {
    ready();
    classifyOne();
    m_session->finish();
    QVERIFY(!visibleText(page()).contains("may be wrong"));
    classifyOne();
    m_session->finish("cat", "the values left the range");
    QVERIFY(visibleText(page()).contains("may be wrong: the values left the range"));
  }

  void statusBar() {
    ready();
    classifyOne();
    m_session->playRounds(8);
    m_session->finish();
    const QString text = visibleText(m_window->statusBar());
    QVERIFY2(text.contains("192.0.2.7:7120"), qPrintable(text));
    QVERIFY(text.contains("Pin " + ScriptedSession::fingerprint(1).left(11)));
    QVERIFY(text.contains("Rounds 8"));
    QVERIFY(text.contains("Sent 1.41 MB"));
    QVERIFY(text.contains("Latency 0.4 ms"));
  }

  void shortcuts() {
    auto* pages = m_window->findChild<QStackedWidget*>();
    QTest::keyClick(m_window.get(), Qt::Key_2, Qt::ControlModifier);
    QCOMPARE(pages->currentIndex(), 1);
    QTest::keyClick(m_window.get(), Qt::Key_3, Qt::ControlModifier);
    QCOMPARE(pages->currentIndex(), 2);
    QTest::keyClick(m_window.get(), Qt::Key_1, Qt::ControlModifier);
    QCOMPARE(pages->currentIndex(), 0);
    QTest::keyClick(m_window.get(), Qt::Key_E, Qt::ControlModifier);
    QTRY_VERIFY(openDialog<ConnectionManager>(m_window.get()));
    openDialog<ConnectionManager>(m_window.get())->close();
    m_window->activateWindow();
    QVERIFY(QTest::qWaitForWindowActive(m_window.get()));
    QTest::keyClick(m_window.get(), Qt::Key_F1);
    QTRY_VERIFY(openDialog<HelpDialog>(m_window.get()));
    openDialog<HelpDialog>(m_window.get())->close();
    m_window->activateWindow();
    QVERIFY(QTest::qWaitForWindowActive(m_window.get()));
    QTest::keyClick(m_window.get(), Qt::Key_Comma, Qt::ControlModifier);
    QTRY_VERIFY(openDialog<PreferencesDialog>(m_window.get()));
    openDialog<PreferencesDialog>(m_window.get())->close();
    m_window->activateWindow();
    QVERIFY(QTest::qWaitForWindowActive(m_window.get()));
    QTest::keyClick(m_window.get(), Qt::Key_O, Qt::ControlModifier);
    QTRY_VERIFY(openDialog<QFileDialog>(m_window.get()));
  }

  void openDialogClassifies() {
    ready();
    const QString path = file("opened.png", solid(Qt::cyan));
    m_window->openFiles();
    auto* dialog = openDialog<QFileDialog>(m_window.get());
    QVERIFY(dialog);
    Q_EMIT dialog->filesSelected({path});
    QTRY_COMPARE(m_session->names, QStringList{"opened.png"});
  }

  void tabReachesEveryControl() {
    ready();
    classifyOne();
    m_session->finish();
    QSet<QWidget*> reached;
    for (int i = 0; i < 60; ++i) {
      QTest::keyClick(m_window.get(), Qt::Key_Tab);
      if (QApplication::focusWidget()) reached.insert(QApplication::focusWidget());
    }
    const auto widgets = m_window->findChildren<QWidget*>();
    for (QWidget* widget : widgets) {
      if (!widget->isVisible() || !widget->isEnabled() || widget->window() != m_window.get()) {
        continue;
      }
      if ((widget->focusPolicy() & Qt::TabFocus) == 0 || widget->focusProxy()) continue;
      // Of an exclusive group, the checked button stands for all (arrow keys reach the others).
      const auto* tool = qobject_cast<QAbstractButton*>(widget);
      if (tool && tool->isCheckable() && !tool->isChecked()) continue;
      QVERIFY2(reached.contains(widget),
               qPrintable(widget->metaObject()->className() + widget->accessibleName()));
    }
  }

  // A dealer is in no list of engines, but its certificate can be forgotten here all the same.
  void dealersCertificateIsForgotten() {
    const auto pin = [](bool dealer, quint16 port) {
      return client::PinnedCertificate{dealer, "192.0.2.7", port,
                                       ScriptedSession::fingerprint(port),
                                       QDateTime::currentDateTime()};
    };
    m_session->certificates = {pin(false, 7120), pin(true, 7121)};
    m_window->showConnectionManager();
    auto* manager = openDialog<ConnectionManager>(m_window.get());
    QTest::mouseClick(button(manager, "All certificates…"), Qt::LeftButton);
    auto* dialog = openDialog<CertificatesDialog>(manager);
    QVERIFY(dialog);
    auto* list = dialog->findChild<QTreeWidget*>();
    QCOMPARE(list->topLevelItemCount(), 2);
    QVERIFY(!button(dialog, "Forget…")->isEnabled());
    list->setCurrentItem(list->topLevelItem(1));
    for (const bool sure : {false, true}) {
      QTest::mouseClick(button(dialog, "Forget…"), Qt::LeftButton);
      auto* box = openDialog<QMessageBox>(dialog);
      QVERIFY(box);
      QVERIFY(box->text().contains("dealer at 192.0.2.7:7121"));
      QTest::mouseClick(button(box, sure ? "Forget it" : "Keep it"), Qt::LeftButton);
      QTRY_COMPARE(m_session->certificates.size(), sure ? 1 : 2);
    }
    QVERIFY(!m_session->certificates[0].dealer);
    QCOMPARE(list->topLevelItemCount(), 1);
    dialog->close();
    manager->close();
  }

  void everythingHasAnAccessibleName() {
    m_settings->setEngines({{"Test", "192.0.2.7", 7120, {}}});
    TrustDialog trustDialog({{"T", "h", 1, {}}, ScriptedSession::fingerprint(1)});
    MismatchDialog mismatch(
        {{"T", "h", 1, {}}, ScriptedSession::fingerprint(1), ScriptedSession::fingerprint(2)});
    ConnectionManager manager(*m_session, *m_settings, {});
    CertificatesDialog certificates(*m_session);
    EngineDialog engine({}, "Add");
    PreferencesDialog preferences(*m_settings);
    AboutDialog about("text");
    HelpDialog help;
    int checked = 0;
    for (QWidget* root :
         std::initializer_list<QWidget*>{m_window.get(), &trustDialog, &mismatch, &manager,
                                         &certificates, &engine, &preferences, &about, &help}) {
      const auto widgets = root->findChildren<QWidget*>();
      for (QWidget* widget : widgets) {
        if (widget->focusPolicy() == Qt::NoFocus || widget->objectName().startsWith("qt_")) {
          continue;
        }
        if (widget->focusProxy() || widget->window() != root->window()) continue;  // lists of boxes
        QAccessibleInterface* interface = QAccessible::queryAccessibleInterface(widget);
        QVERIFY(interface);
        QVERIFY2(!interface->text(QAccessible::Name).isEmpty(),
                 qPrintable(
                     QStringLiteral("%1 in %2")
                         .arg(widget->metaObject()->className(), root->metaObject()->className())));
        ++checked;
      }
    }
    QVERIFY(checked > 40);
  }

  void themeChangesAtOnce() {
    const QColor before = m_window->palette().color(QPalette::Window);
    m_window->showPreferences();
    auto* dialog = openDialog<PreferencesDialog>(m_window.get());
    auto* combo = dialog->findChild<QComboBox*>();
    combo->setCurrentIndex(2);
    QTRY_VERIFY(m_window->palette().color(QPalette::Window) != before);
    QVERIFY(m_window->palette().color(QPalette::Window).lightness() < 60);
    QVERIFY(m_settings->theme() == ThemeChoice::Dark);
  }

  void bankTargetReachesTheSession() {
    QCOMPARE(m_session->bankTarget, m_settings->bankTarget());
    m_settings->setBankTarget(7);
    QCOMPARE(m_session->bankTarget, 7);
  }

  void diagnosticsTellNoSecrets() {
    ready();
    const QString text = diagnostics(SessionState::Ready, ScriptedSession::model());
    QVERIFY(text.contains(qVersion()));
    QVERIFY(text.contains("minionn-cifar10"));
    QVERIFY(!text.contains("192.0.2.7"));
    QVERIFY(!text.contains(m_folder->path()));
  }

  void closingCancels() {
    ready();
    classifyOne();
    m_session->playRounds(2);
    m_window->close();
    QCOMPARE(m_session->cancelled, QVector<quint64>{1});
  }

  /// A 100-megapixel file is read while the event loop keeps beating.
  void hugeImageDoesNotBlock() {
    ready();
    QImage huge(11600, 8700, QImage::Format_Grayscale8);
    QVERIFY(!huge.isNull());
    huge.fill(120);
    const QString path = m_folder->filePath("huge.png");
    QVERIFY(huge.save(path, "PNG", 80));
    huge = {};
    QElapsedTimer beat;
    qint64 longest = 0;
    int beats = 0;
    QTimer timer;
    timer.setInterval(5);
    connect(&timer, &QTimer::timeout, this, [&] {
      longest = std::max(longest, beat.restart());
      ++beats;
    });
    QElapsedTimer total;
    total.start();
    beat.start();
    timer.start();
    m_window->classifyFiles({path});
    QVERIFY(total.elapsed() < 200);
    QTRY_COMPARE_WITH_TIMEOUT(m_session->images.size(), 1, 60000);
    const qint64 took = total.elapsed();
    QTest::qWait(50);
    timer.stop();
    QCOMPARE(m_session->images[0].size(), QSize(11600, 8700));
    QVERIFY(m_window->findChild<PictureView*>()->hasPicture());
    QVERIFY(visibleText(page()).contains("11,600 × 8,700") ||
            visibleText(page()).contains("11600 × 8700"));
    const qint64 allowed = std::max<qint64>(300, took / 3);
    QVERIFY2(longest < allowed, qPrintable(QStringLiteral("%1 ms without a beat while reading for "
                                                          "%2 ms")
                                               .arg(longest)
                                               .arg(took)));
    QVERIFY(beats > 5);
  }
};

QTEST_MAIN(Window)
#include "test_window.moc"

// The main window with the real session controller against real engines and a real dealer: separate
// processes, TLS on loopback, images dropped with the window system's events. Client and engine
// prepare by themselves, as is the default, unless a test says otherwise.
#include <algorithm>

#include <QApplication>
#include <QComboBox>
#include <QDir>
#include <QDragEnterEvent>
#include <QFile>
#include <QFileInfo>
#include <QLabel>
#include <QMessageBox>
#include <QMimeData>
#include <QPainter>
#include <QProcess>
#include <QPushButton>
#include <QSettings>
#include <QSpinBox>
#include <QStatusBar>
#include <QTableWidget>
#include <QTemporaryDir>
#include <QTest>
#include <QUrl>
#include <QWindow>

#include "app/client/deploy_controller.h"
#include "app/client/image_loader.h"
#include "app/client/session_controller.h"
#include "app/ui/admin_page.h"
#include "app/ui/classify_page.h"
#include "app/ui/connection_manager.h"
#include "app/ui/deploy_page.h"
#include "app/ui/image_queue.h"
#include "app/ui/main_window.h"
#include "app/ui/theme.h"
#include "app/ui/training_page.h"
#include "app/ui/trust_dialogs.h"
#include "app/ui/widgets.h"
#include "engine/offline/two_party/party.h"
#include "models/onnx_reader.h"
#include "models/oracle.h"
#include "models/preprocess.h"
#include "tests/support/model_factory.h"
#include "tests/support/service_process.h"

using namespace pillarbox;
using namespace pillarbox::ui;
using test::ServiceProcess;

namespace {

constexpr int kLongMs = 120000;  // sanitizers on a busy machine

/// Who prepares the correlation sets.
enum class Offline { TwoParty, Dealer, FirstParty };

template <typename T>
T* openDialog(QWidget* window) {
  const auto dialogs = window->findChildren<T*>();
  for (T* dialog : dialogs) {
    if (dialog->isVisible()) return dialog;
  }
  return nullptr;
}

QAbstractButton* button(const QWidget* in, const QString& text) {
  const auto buttons = in->findChildren<QAbstractButton*>();
  for (QAbstractButton* candidate : buttons) {
    if (QString(candidate->text()).remove('&') == text && candidate->isVisible()) return candidate;
  }
  return nullptr;
}

QImage picture(int seed) {
  QImage image(160, 120, QImage::Format_RGB32);
  QPainter painter(&image);
  QLinearGradient gradient(0, 0, 160, 120);
  gradient.setColorAt(0, QColor::fromHsv(seed * 67 % 360, 150, 230));
  gradient.setColorAt(1, QColor::fromHsv(seed * 131 % 360, 200, 90));
  painter.fillRect(image.rect(), gradient);
  painter.setBrush(QColor::fromHsv(seed * 29 % 360, 255, 200));
  painter.drawEllipse(40 + seed * 7 % 50, 30, 60, 50);
  return image;
}

}  // namespace

class RealEngine : public QObject {
  Q_OBJECT
  std::unique_ptr<QTemporaryDir> m_folder;
  std::unique_ptr<ServiceProcess> m_dealer;
  std::unique_ptr<ServiceProcess> m_engine;
  std::unique_ptr<Settings> m_settings;
  std::unique_ptr<client::SessionController> m_session;
  std::unique_ptr<client::DeployController> m_deploy;
  std::unique_ptr<MainWindow> m_window;
  QString m_modelFile;
  QVector<client::ClassificationResult> m_results;
  QVector<client::SessionError> m_errors;

  QString folder(const QString& name) {
    QDir(m_folder->path()).mkpath(name);
    return m_folder->filePath(name);
  }
  QString tinyModel() {
    const std::string bytes = testing::tinyModelFile("projection_shortcut");
    const QString path = m_folder->filePath("tiny.onnx");
    QFile file(path);
    if (!file.open(QIODevice::WriteOnly)) qFatal("cannot write the model");
    file.write(bytes.data(), static_cast<qint64>(bytes.size()));
    return path;
  }
  static QString trainer() { return QStringLiteral(PILLARBOX_BIN_DIR "/pillarbox-train"); }
  QStringList engineArguments(Offline offline) {
    const QStringList arguments{"--model", m_modelFile};
    switch (offline) {
      case Offline::FirstParty:
        return arguments + QStringList{"--offline", "first-party", "--allow-insecure-first-party"};
      case Offline::Dealer:
        return arguments + QStringList{"--offline",      "dealer",
                                       "--dealer",       m_dealer->address(),
                                       "--trust-dealer", m_dealer->fingerprint()};
      case Offline::TwoParty:
        break;
    }
    return arguments;
  }
  void startServices(const QString& model, Offline offline = Offline::TwoParty) {
    m_modelFile = model;
    const QString bin = QStringLiteral(PILLARBOX_BIN_DIR);
    if (offline == Offline::Dealer) {
      m_dealer = std::make_unique<ServiceProcess>(bin + "/pillarbox-dealer", folder("dealer"));
      QCOMPARE(m_dealer->start({}), QString());
    }
    m_engine = std::make_unique<ServiceProcess>(bin + "/pillarbox-engine", folder("engine"));
    QCOMPARE(m_engine->start(engineArguments(offline)), QString());
  }
  void openWindow() {
    m_settings = std::make_unique<Settings>(folder("client"));
    m_session = std::make_unique<client::SessionController>(folder("client"));
    connect(m_session.get(), &client::SessionModel::finished, this,
            [this](const client::ClassificationResult& result) { m_results << result; });
    connect(m_session.get(), &client::SessionModel::failed, this,
            [this](quint64, const client::SessionError& error) { m_errors << error; });
    m_deploy = std::make_unique<client::DeployController>(folder("client"));
    m_window = std::make_unique<MainWindow>(
        *m_session, *m_settings, QStringList(),
        AdminServices{m_deploy.get(), folder("client") + "/runs", trainer()});
    m_window->show();
    QVERIFY(QTest::qWaitForWindowExposed(m_window.get()));
  }
  client::EngineAddress address() const {
    return {QStringLiteral("Test"), QStringLiteral("127.0.0.1"), m_engine->port(), {}};
  }
  client::EngineAddress trustedAddress() const {
    client::EngineAddress engine = address();
    engine.trustedFingerprint = m_engine->fingerprint();
    return engine;
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

  QString write(int seed) {
    const QString path = m_folder->filePath(QStringLiteral("picture-%1.png").arg(seed));
    if (!picture(seed).save(path)) qFatal("cannot write the picture");
    return path;
  }
  void dropOnWindow(const QString& path) {
    QMimeData mime;
    mime.setUrls({QUrl::fromLocalFile(path)});
    QWindow* handle = m_window->windowHandle();
    QDragEnterEvent enter({400, 300}, Qt::CopyAction, &mime, Qt::LeftButton, Qt::NoModifier);
    QApplication::sendEvent(handle, &enter);
    QDragMoveEvent move({400, 300}, Qt::CopyAction, &mime, Qt::LeftButton, Qt::NoModifier);
    QApplication::sendEvent(handle, &move);
    QDropEvent drop({400, 300}, Qt::CopyAction, &mime, Qt::LeftButton, Qt::NoModifier);
    QApplication::sendEvent(handle, &drop);
    QVERIFY(drop.isAccepted());
  }

  /// By its shortcut, which only an active window takes.
  void showPage(Qt::Key key, const QWidget* page) {
    m_window->activateWindow();
    QVERIFY(QTest::qWaitForWindowActive(m_window.get()));
    QTest::keyClick(m_window.get(), key, Qt::ControlModifier);
    QTRY_VERIFY(page->isVisible());
  }

  /// The classes that the fixed-point oracle puts first: more than one where its logits are within
  /// a few units in the last place.
  QStringList expected(const QString& path) {
    const auto loaded = models::loadOnnx(m_modelFile.toStdString());
    if (!loaded.ok()) qFatal("%s", loaded.error().message.c_str());
    const models::PublicModel& model = loaded.value().model;
    const QImage rgb = client::loadImage(path).value().convertToFormat(QImage::Format_RGB888);
    const auto pixels = models::preprocess(
        {rgb.constBits(), static_cast<std::uint32_t>(rgb.width()),
         static_cast<std::uint32_t>(rgb.height()), static_cast<std::size_t>(rgb.bytesPerLine())},
        model);
    const models::FixedPointOracle oracle(model, loaded.value().weights);
    const auto logits = oracle.evaluate(pixels.value()).logits;
    const auto best = *std::max_element(logits.begin(), logits.end());
    QStringList labels;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      if (best - logits[i] <= 64) labels << QString::fromStdString(model.labels[i]);
    }
    return labels;
  }

 private Q_SLOTS:
  void init() {
    applyTheme(*qApp, ThemeChoice::Light);
    m_folder = std::make_unique<QTemporaryDir>();
    QVERIFY(m_folder->isValid());
    m_results.clear();
    m_errors.clear();
  }
  void cleanup() {
    if (QTest::currentTestFailed() && m_engine) qWarning("%s", qPrintable(m_engine->output()));
    m_window.reset();
    m_deploy.reset();
    m_session.reset();
    m_settings.reset();
    m_engine.reset();
    m_dealer.reset();
    m_folder.reset();
  }

  void dropGivesTheClass_data() {
    QTest::addColumn<bool>("shipped");
    QTest::addColumn<bool>("dealer");
    QTest::newRow("tiny model") << false << false;
    QTest::newRow("shipped model") << true << false;
    QTest::newRow("tiny model, with a dealer") << false << true;
    QTest::newRow("shipped model, with a dealer") << true << true;
  }
  void dropGivesTheClass() {
    QFETCH(bool, shipped);
    QFETCH(bool, dealer);
    const QString zoo = QStringLiteral(PILLARBOX_SOURCE_DIR "/models/zoo/cifar10-pillar.onnx");
    startServices(shipped ? zoo : tinyModel(), dealer ? Offline::Dealer : Offline::TwoParty);
    openWindow();
    m_window->connectTo(address());

    // First contact: asked, with the engine's own fingerprint; refused at first.
    QTRY_VERIFY_WITH_TIMEOUT(openDialog<TrustDialog>(m_window.get()), kLongMs);
    auto* dialog = openDialog<TrustDialog>(m_window.get());
    QCOMPARE(dialog->findChild<FingerprintView*>()->fingerprint(), m_engine->fingerprint());
    QTest::mouseClick(button(dialog, "Do not connect"), Qt::LeftButton);
    QTRY_VERIFY_WITH_TIMEOUT(m_session->state() == client::SessionState::Refused, kLongMs);
    QVERIFY(m_session->pinnedFingerprint("127.0.0.1", m_engine->port()).isEmpty());
    m_window->connectTo(address());
    QTRY_VERIFY_WITH_TIMEOUT(openDialog<TrustDialog>(m_window.get()), kLongMs);
    dialog = openDialog<TrustDialog>(m_window.get());
    QTest::mouseClick(button(dialog, "Trust this engine"), Qt::LeftButton);

    // Dropped at once, most likely while the first set is still being prepared.
    const QString path = write(1);
    dropOnWindow(path);
    QTRY_COMPARE_WITH_TIMEOUT(m_results.size(), 1, kLongMs);
    QVERIFY(page()->stateText().startsWith("Classified"));
    const client::ClassificationResult& result = m_results.first();
    QVERIFY2(expected(path).contains(result.top.first().label),
             qPrintable(result.top.first().label + " instead of " + expected(path).join(" or ")));
    double sum = 0;
    for (const auto& score : result.top) sum += score.probability;
    QVERIFY(qAbs(sum - 1) < 1e-6);
    const auto loaded = models::loadOnnx(m_modelFile.toStdString());
    QCOMPARE(result.rounds, static_cast<int>(loaded.value().model.stages.size()));
    QCOMPARE(m_window->findChild<LatencyChart*>()->count(), result.rounds);
    QVERIFY(result.bytesSent > 0 && result.bytesReceived > 0 && result.offlineBytesReceived > 0);
    QCOMPARE(m_session->pinnedFingerprint("127.0.0.1", m_engine->port()), m_engine->fingerprint());
    auto* trust = m_window->findChild<TrustLine*>();
    QVERIFY(!trust->isInsecure());
    if (dealer) {
      QVERIFY(trust->text().contains(m_dealer->address()));
    } else {
      QVERIFY2(trust->text().contains("You trust nobody"), qPrintable(trust->text()));
      // What the two send each other for the set is what its plan declares, and two short messages.
      const auto plan = offline::two_party::SetPlan::create(
          std::make_shared<const models::PublicModel>(loaded.value().model));
      const auto& cost = plan.value()->cost();
      QVERIFY(result.offlineBytesSent > cost.bytesToEngine);
      QVERIFY(result.offlineBytesSent < cost.bytesToEngine + 100);
      QVERIFY(result.offlineBytesReceived > cost.bytesToClient);
      QVERIFY(result.offlineBytesReceived < cost.bytesToClient + 100);
    }

    // Several in a row, each with its own set.
    for (int seed = 2; seed < 5; ++seed) dropOnWindow(write(seed));
    QTRY_COMPARE_WITH_TIMEOUT(m_results.size(), 4, kLongMs);
    for (int seed = 2; seed < 5; ++seed) {
      QVERIFY(expected(write(seed)).contains(m_results[seed - 1].top.first().label));
    }
    QCOMPARE(m_errors.size(), 0);
  }

  void cancelAndGoOn() {
    startServices(QStringLiteral(PILLARBOX_SOURCE_DIR "/models/zoo/cifar10-pillar.onnx"));
    openWindow();
    m_window->connectTo(trustedAddress());
    bool cancelled = false;
    connect(m_session.get(), &client::SessionModel::started, m_window.get(), [&] {
      if (!cancelled) m_window->queue().cancel();
      cancelled = true;
    });
    dropOnWindow(write(1));
    QTRY_VERIFY_WITH_TIMEOUT(m_errors.size() + m_results.size() == 1, kLongMs);
    if (!m_errors.isEmpty()) {
      QCOMPARE(m_errors.first().code, QStringLiteral("cancelled"));
      QCOMPARE(page()->stateText(), QStringLiteral("Cancelled"));
    }
    const auto before = m_results.size();
    dropOnWindow(write(2));
    QTRY_COMPARE_WITH_TIMEOUT(m_results.size(), before + 1, kLongMs);
  }

  void engineGoesAwayAndComesBack() {
    startServices(tinyModel());
    openWindow();
    m_window->connectTo(trustedAddress());
    QTRY_VERIFY_WITH_TIMEOUT(m_session->state() == client::SessionState::Ready, kLongMs);
    const quint16 port = m_engine->port();
    m_engine->stop();
    QTRY_VERIFY_WITH_TIMEOUT(m_session->state() == client::SessionState::Reconnecting, kLongMs);
    QVERIFY(message()->isVisible());
    QVERIFY(message()->text().contains("by itself"));
    dropOnWindow(write(3));
    QTRY_VERIFY(page()->stateText().contains("Waiting for the engine"));
    QCOMPARE(m_engine->start(engineArguments(Offline::TwoParty), port), QString());
    QTRY_COMPARE_WITH_TIMEOUT(m_results.size(), 1, kLongMs);
    QVERIFY(expected(write(3)).contains(m_results.first().top.first().label));
  }

  void changedCertificateIsRefused() {
    startServices(tinyModel());
    openWindow();
    m_settings->setEngines({address()});
    m_window->connectTo(trustedAddress());
    QTRY_VERIFY_WITH_TIMEOUT(m_session->state() == client::SessionState::Ready, kLongMs);
    const QString old = m_engine->fingerprint();
    const quint16 port = m_engine->port();
    m_engine->stop();
    QVERIFY(m_engine->run({"generate-cert", "--force"}));
    QCOMPARE(m_engine->start(engineArguments(Offline::TwoParty), port), QString());
    QVERIFY(m_engine->fingerprint() != old);
    m_window->connectTo(address());
    QTRY_VERIFY_WITH_TIMEOUT(openDialog<MismatchDialog>(m_window.get()), kLongMs);
    auto* dialog = openDialog<MismatchDialog>(m_window.get());
    const auto views = dialog->findChildren<FingerprintView*>();
    QCOMPARE(views.size(), 2);
    QCOMPARE(views[0]->fingerprint(), old);
    QCOMPARE(views[1]->fingerprint(), m_engine->fingerprint());
    QTRY_VERIFY_WITH_TIMEOUT(m_session->state() == client::SessionState::Refused, kLongMs);
    QCOMPARE(m_session->pinnedFingerprint("127.0.0.1", port), old);
    // On purpose: forget the pin in the connection manager, connect, be asked.
    QTest::mouseClick(button(dialog, "Open connection manager…"), Qt::LeftButton);
    QTRY_VERIFY(openDialog<ConnectionManager>(m_window.get()));
    auto* manager = openDialog<ConnectionManager>(m_window.get());
    QTest::mouseClick(button(manager, "Forget certificate…"), Qt::LeftButton);
    QTRY_VERIFY(openDialog<QMessageBox>(manager));
    QTest::mouseClick(button(openDialog<QMessageBox>(manager), "Forget it"), Qt::LeftButton);
    QVERIFY(m_session->pinnedFingerprint("127.0.0.1", port).isEmpty());
    QTest::mouseClick(button(manager, "Connect"), Qt::LeftButton);
    QTRY_VERIFY_WITH_TIMEOUT(openDialog<TrustDialog>(m_window.get()), kLongMs);
    QTest::mouseClick(button(openDialog<TrustDialog>(m_window.get()), "Trust this engine"),
                      Qt::LeftButton);
    QTRY_VERIFY_WITH_TIMEOUT(m_session->state() == client::SessionState::Ready, kLongMs);
  }

  void firstPartyIsShownAsInsecure() {
    startServices(tinyModel(), Offline::FirstParty);
    openWindow();
    m_window->connectTo(trustedAddress());
    dropOnWindow(write(1));
    QTRY_COMPARE_WITH_TIMEOUT(m_results.size(), 1, kLongMs);
    auto* trust = m_window->findChild<TrustLine*>();
    QVERIFY(trust->isVisible());
    QVERIFY(trust->isInsecure());
    QVERIFY(trust->text().contains("insecure", Qt::CaseInsensitive));
  }

  /// Training with the real trainer, and everything that is done to models at a real engine, by the
  /// buttons of the admin page.
  void trainsAndAdministers() {
    if (!QFileInfo::exists(trainer())) QSKIP("pillarbox-train was not built");
    m_modelFile = tinyModel();
    openWindow();
    QVERIFY(m_deploy->createKey());
    m_engine = std::make_unique<ServiceProcess>(
        QStringLiteral(PILLARBOX_BIN_DIR) + "/pillarbox-engine", folder("engine"));
    QCOMPARE(m_engine->start(engineArguments(Offline::TwoParty) +
                             QStringList{"--admin", "127.0.0.1:0", "--admin-fingerprint",
                                         m_deploy->ownFingerprint()}),
             QString());
    QFile ready(m_folder->filePath("engine/ready"));
    QVERIFY(ready.open(QIODevice::ReadOnly));
    const QString administration =
        QString::fromUtf8(ready.readAll()).section("administration ", 1).trimmed();
    QVERIFY(!administration.isEmpty());
    auto* admin = m_window->findChild<AdminPage*>();
    const auto click = [&](const QString& text) {
      QAbstractButton* found = button(m_window.get(), text);
      QVERIFY2(found != nullptr && found->isEnabled(), qPrintable(text));
      found->click();  // it may be scrolled out of the window
    };
    const auto logHas = [&](const QStringList& parts) {
      const QStringList lines = m_engine->output().split(QLatin1Char('\n'));
      return std::any_of(lines.begin(), lines.end(), [&](const QString& line) {
        return std::all_of(parts.begin(), parts.end(),
                           [&](const QString& part) { return line.contains(part); });
      });
    };

    // Two classes that differ in colour, an epoch.
    for (int i = 0; i < 24; ++i) {
      QImage image(40, 32, QImage::Format_RGB32);
      image.fill(QColor::fromHsv((i % 2) * 120 + i, 200, 120 + 4 * i));
      const QString place = folder(i % 2 == 0 ? "cells/red" : "cells/green");
      QVERIFY(image.save(QStringLiteral("%1/%2.png").arg(place).arg(i)));
    }
    admin->showDeploy();
    showPage(Qt::Key_2, admin);
    admin->drop({m_folder->filePath("cells")});
    QTRY_VERIFY_WITH_TIMEOUT(button(m_window.get(), "Start training") &&
                                 button(m_window.get(), "Start training")->isEnabled(),
                             kLongMs);
    click("Advanced settings");
    for (auto* box : admin->findChildren<QSpinBox*>()) {
      if (box->accessibleName() == QLatin1String("Epochs")) box->setValue(1);
    }
    click("Start training");
    QTRY_VERIFY_WITH_TIMEOUT(admin->training().training(), kLongMs);
    QTRY_VERIFY_WITH_TIMEOUT(!admin->training().training(), 2 * kLongMs);
    QTRY_VERIFY2_WITH_TIMEOUT(
        button(m_window.get(), "Deploy…") && button(m_window.get(), "Deploy…")->isEnabled(),
        "no checkpoint after the run", kLongMs);
    click("Deploy…");

    // Listed over TLS with the administrator's certificate; asked for trust first.
    auto* deploy = admin->deploy();
    QTRY_VERIFY_WITH_TIMEOUT(deploy->isVisible(), kLongMs);
    deploy->findChild<QComboBox*>()->setEditText(administration);
    click("List models");
    QTRY_VERIFY_WITH_TIMEOUT(openDialog<TrustDialog>(m_window.get()), kLongMs);
    QTest::mouseClick(button(openDialog<TrustDialog>(m_window.get()), "Trust this engine"),
                      Qt::LeftButton);
    auto* table = deploy->findChild<QTableWidget*>();
    QTRY_COMPARE_WITH_TIMEOUT(table->rowCount(), 1, kLongMs);
    const auto rowOf = [&](const QString& state) {
      for (int row = 0; row < table->rowCount(); ++row) {
        if (table->item(row, 1)->text() == state) return row;
      }
      return -1;
    };
    click("Upload and activate");
    QTRY_COMPARE_WITH_TIMEOUT(table->rowCount(), 2, kLongMs);
    QTRY_VERIFY_WITH_TIMEOUT(rowOf("Active") >= 0 && table->item(rowOf("Active"), 2)->text() == "7",
                             kLongMs);
    QTRY_VERIFY_WITH_TIMEOUT(button(m_window.get(), "Roll back")->isEnabled(), kLongMs);

    // Clients get the trained model: its classes are the folders' names.
    m_window->connectTo(trustedAddress());
    showPage(Qt::Key_1, page());
    dropOnWindow(m_folder->filePath("cells/green/1.png"));
    QTRY_COMPARE_WITH_TIMEOUT(m_results.size(), 1, kLongMs);
    QVERIFY(QStringList({"green", "red"}).contains(m_results.first().top.first().label));

    showPage(Qt::Key_2, admin);
    click("Roll back");
    QTRY_VERIFY_WITH_TIMEOUT(rowOf("Active") >= 0 && table->item(rowOf("Active"), 2)->text() != "7",
                             kLongMs);
    QTRY_VERIFY_WITH_TIMEOUT(button(m_window.get(), "List models")->isEnabled(), kLongMs);
    const auto select = [&](bool active) {
      for (int row = 0; row < table->rowCount(); ++row) {
        if ((row == rowOf("Active")) == active) table->selectRow(row);
      }
    };
    select(false);
    click("Activate");
    QTRY_VERIFY_WITH_TIMEOUT(table->item(rowOf("Active"), 2)->text() == "7", kLongMs);
    QTRY_VERIFY_WITH_TIMEOUT(button(m_window.get(), "Roll back")->isEnabled(), kLongMs);
    click("Roll back");
    QTRY_VERIFY_WITH_TIMEOUT(table->item(rowOf("Active"), 2)->text() != "7", kLongMs);
    QTRY_VERIFY_WITH_TIMEOUT(button(m_window.get(), "List models")->isEnabled(), kLongMs);
    select(false);
    click("Remove…");
    QTRY_VERIFY(openDialog<QMessageBox>(m_window.get()));
    QTest::mouseClick(button(openDialog<QMessageBox>(m_window.get()), "Remove"), Qt::LeftButton);
    QTRY_COMPARE_WITH_TIMEOUT(table->rowCount(), 1, kLongMs);

    // Every step is in the engine's log, with who did it; a listing comes with the connection.
    const QString who = m_deploy->ownFingerprint();
    for (const char* action : {"connect", "upload", "activate", "rollback", "remove"}) {
      QTRY_VERIFY2(logHas({QLatin1String("level=audit"), QLatin1String("action=") + action, who}),
                   action);
    }
  }

  void nobodyThere() {
    startServices(tinyModel());
    const client::EngineAddress engine = address();
    m_engine->stop();
    openWindow();
    m_window->connectTo(engine);
    QTRY_VERIFY_WITH_TIMEOUT(message()->isVisible(), kLongMs);
    QVERIFY2(message()->text().contains("127.0.0.1"), qPrintable(message()->text()));
    // Still alive, and an image is told what it waits for.
    dropOnWindow(write(1));
    QTRY_VERIFY(page()->stateText().contains("starts by itself"));
    m_window->queue().cancel();
    QTRY_COMPARE(page()->stateText(), QStringLiteral("Cancelled"));
  }

  /// Not a check but a camera: the picture in README.md, as docs/app.png, for QT_SCALE_FACTOR=2.
  void pictureForReadme() {
    const QString out = qEnvironmentVariable("PILLARBOX_SCREENS");
    if (out.isEmpty()) QSKIP("PILLARBOX_SCREENS names no folder");
    startServices(QStringLiteral(PILLARBOX_SOURCE_DIR "/models/zoo/cifar10-pillar.onnx"));
    openWindow();
    m_window->resize(1160, 760);
    client::EngineAddress engine = trustedAddress();
    engine.name = QStringLiteral("Engine on this machine");
    m_window->connectTo(engine);
    QStringList samples;
    const QDir resources(QStringLiteral(PILLARBOX_SOURCE_DIR "/resources/samples"));
    for (const QFileInfo& file : resources.entryInfoList({"*.png"})) {
      samples << file.absoluteFilePath();
    }
    m_window->classifyFiles(samples);
    QTRY_COMPARE_WITH_TIMEOUT(m_results.size(), samples.size(), 3 * kLongMs);
    QTRY_VERIFY_WITH_TIMEOUT(m_session->state() == client::SessionState::Ready, kLongMs);
    QTest::qWait(20000);  // the sets for the next images
    QVERIFY(m_window->grab().save(QDir(out).filePath("app.png")));
  }

  /// The program itself, as the README starts it; its result is read from its state folder.
  void programClassifiesItsArguments() {
    startServices(tinyModel());
    const QString state = folder("program");
    {
      QSettings settings(state + "/pillarbox.ini", QSettings::IniFormat);
      settings.setValue("remember_recent", true);
    }
    const QString path = write(4);
    QProcess program;
    program.setProcessChannelMode(QProcess::MergedChannels);
    program.start(QStringLiteral(PILLARBOX_BIN_DIR "/pillarbox"),
                  {"--engine", m_engine->address(), "--trust", m_engine->fingerprint(),
                   "--state-dir", state, path});
    QVERIFY(program.waitForStarted());
    const auto stored = [&] {
      QSettings settings(state + "/pillarbox.ini", QSettings::IniFormat);
      return settings.value("recent").toString();
    };
    QTRY_VERIFY_WITH_TIMEOUT(stored().contains("picture-4.png"), kLongMs);
    const QStringList labels = expected(path);
    QVERIFY(std::any_of(labels.begin(), labels.end(), [&](const QString& label) {
      return stored().contains("\"class\":\"" + label + "\"");
    }));
    QCOMPARE(program.state(), QProcess::Running);
    program.terminate();
    QVERIFY(program.waitForFinished(20000));
  }
};

QTEST_MAIN(RealEngine)
#include "real_engine.moc"

// SessionController as the windows use it: signals on the caller's thread, first contact, changed
// certificates, an engine that goes away and comes back, images that wait.

#include <cmath>

#include <QElapsedTimer>
#include <QImage>
#include <QSignalSpy>
#include <QTest>

#include "app/client/session_controller.h"
#include "net/pin_store.h"
#include "tests/support/service_rig.h"

using namespace pillarbox::client;
using namespace pillarbox::testing;

Q_DECLARE_METATYPE(pillarbox::client::TrustQuestion)
Q_DECLARE_METATYPE(pillarbox::client::PinMismatch)
Q_DECLARE_METATYPE(pillarbox::client::ModelInfo)
Q_DECLARE_METATYPE(pillarbox::client::BankStatus)
Q_DECLARE_METATYPE(pillarbox::client::InferenceProgress)
Q_DECLARE_METATYPE(pillarbox::client::ClassificationResult)
Q_DECLARE_METATYPE(pillarbox::client::SessionError)
Q_DECLARE_METATYPE(pillarbox::client::ConnectionInfo)
Q_DECLARE_METATYPE(pillarbox::client::EngineAddress)

namespace {

constexpr int kPatience = 20000;

/// A controller and everything it says.
struct Ears {
  explicit Ears(const ServiceRig& rig) : controller(rig.path("client")) {
    address.host = "127.0.0.1";
    address.port = rig.engine.port();
  }
  SessionController controller;
  EngineAddress address;
  QSignalSpy states{&controller, &SessionModel::stateChanged};
  QSignalSpy questions{&controller, &SessionModel::trustRequested};
  QSignalSpy mismatches{&controller, &SessionModel::pinMismatch};
  QSignalSpy models{&controller, &SessionModel::modelChanged};
  QSignalSpy banks{&controller, &SessionModel::bankChanged};
  QSignalSpy connections{&controller, &SessionModel::connectionChanged};
  QSignalSpy started{&controller, &SessionModel::started};
  QSignalSpy progress{&controller, &SessionModel::progressed};
  QSignalSpy finished{&controller, &SessionModel::finished};
  QSignalSpy failed{&controller, &SessionModel::failed};
  QSignalSpy probes{&controller, &SessionModel::probed};

  void connectTrusting(const ServiceRig& rig) {
    address.trustedFingerprint = rig.engine.fingerprint();
    controller.connectToEngine(address);
  }
  bool has(SessionState state) const {
    for (const auto& arguments : states) {
      if (arguments[0].value<SessionState>() == state) return true;
    }
    return false;
  }
  QString errorCode() const { return failed.last()[1].value<SessionError>().code; }
};

QImage picture(unsigned shade = 100) {
  QImage image(40, 30, QImage::Format_RGB32);
  image.fill(qRgb(static_cast<int>(shade), 80, 200));
  return image;
}

}  // namespace

class TestSessionController : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void firstContactAndClassification() {
    ServiceRig rig;
    QVERIFY(rig.startDealer());
    QVERIFY(rig.startEngine());
    Ears ears(rig);
    QCOMPARE(ears.controller.state(), SessionState::Disconnected);
    ears.controller.connectToEngine(ears.address);
    QTRY_COMPARE_WITH_TIMEOUT(ears.questions.size(), 1, kPatience);
    QCOMPARE(ears.controller.state(), SessionState::AwaitingTrust);
    QCOMPARE(ears.questions[0][0].value<TrustQuestion>().fingerprint, rig.engine.fingerprint());
    QVERIFY(ears.controller.pinnedFingerprint("127.0.0.1", rig.engine.port()).isEmpty());
    // An image may arrive before all this is settled.
    const quint64 id = ears.controller.classify(picture(), "sky");
    ears.controller.answerTrust(true);
    QTRY_COMPARE_WITH_TIMEOUT(ears.finished.size(), 1, kPatience);
    QCOMPARE(ears.controller.pinnedFingerprint("127.0.0.1", rig.engine.port()),
             rig.engine.fingerprint());

    const auto model = ears.models.last()[0].value<ModelInfo>();
    QCOMPARE(model.rounds, 3);
    QCOMPARE(model.labels.size(), 6);
    QCOMPARE(model.inputWidth, 12);
    QCOMPARE(model.offlineMode, QString("dealer"));
    QVERIFY(!model.insecure);
    QVERIFY(model.trust.contains(rig.dealer.address()));
    QCOMPARE(ears.connections.last()[0].value<ConnectionInfo>().fingerprint,
             rig.engine.fingerprint());

    QCOMPARE(ears.started.size(), 1);
    QCOMPARE(ears.started[0][0].value<quint64>(), id);
    const auto result = ears.finished[0][0].value<ClassificationResult>();
    QCOMPARE(result.id, id);
    QCOMPARE(result.imageName, QString("sky"));
    QCOMPARE(result.top.size(), 6);
    double sum = 0, before = 1;
    for (const ClassScore& score : result.top) {
      QVERIFY(score.probability <= before);
      QVERIFY(model.labels.contains(score.label));
      before = score.probability;
      sum += score.probability;
    }
    QVERIFY(std::abs(sum - 1) < 1e-9);
    QCOMPARE(result.rounds, 3);
    QCOMPARE(ears.progress.size(), 3);
    const auto last = ears.progress.last()[0].value<InferenceProgress>();
    QCOMPARE(last.round, 3);
    QCOMPARE(last.rounds, 3);
    QCOMPARE(last.bytesSent, result.bytesSent);
    QCOMPARE(last.bytesReceived, result.bytesReceived);
    QVERIFY(result.onlineMs > 0 && result.offlineMs > 0 && result.offlineBytesReceived > 0);
    QVERIFY(ears.failed.isEmpty());
    QVERIFY(ears.has(SessionState::Connecting) && ears.has(SessionState::Preparing));
    QTRY_COMPARE_WITH_TIMEOUT(ears.controller.state(), SessionState::Ready, kPatience);
    QTRY_COMPARE_WITH_TIMEOUT(ears.banks.last()[0].value<BankStatus>().ready, 2, kPatience);
    // The link's round trip is measured sooner or later.
    QTRY_VERIFY_WITH_TIMEOUT(ears.connections.last()[0].value<ConnectionInfo>().roundTripMs >= 0,
                             kPatience);

    ears.controller.disconnectFromEngine();
    QTRY_COMPARE_WITH_TIMEOUT(ears.controller.state(), SessionState::Disconnected, kPatience);
    // The second contact asks nothing.
    ears.controller.connectToEngine(ears.address);
    QTRY_COMPARE_WITH_TIMEOUT(ears.controller.state(), SessionState::Ready, kPatience);
    QCOMPARE(ears.questions.size(), 1);
  }

  void refusedTrust() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    Ears ears(rig);
    ears.controller.connectToEngine(ears.address);
    QTRY_COMPARE_WITH_TIMEOUT(ears.questions.size(), 1, kPatience);
    const quint64 id = ears.controller.classify(picture(), "x");
    ears.controller.answerTrust(false);
    QTRY_COMPARE_WITH_TIMEOUT(ears.controller.state(), SessionState::Refused, kPatience);
    QTRY_COMPARE_WITH_TIMEOUT(ears.failed.size(), 1, kPatience);
    QCOMPARE(ears.failed[0][0].value<quint64>(), id);
    QCOMPARE(ears.errorCode(), QString("untrusted"));
    QVERIFY(ears.controller.pinnedFingerprint("127.0.0.1", rig.engine.port()).isEmpty());
    // Giving up a question that nobody answered works too.
    ears.controller.connectToEngine(ears.address);
    QTRY_COMPARE_WITH_TIMEOUT(ears.questions.size(), 2, kPatience);
    ears.controller.disconnectFromEngine();
    QTRY_COMPARE_WITH_TIMEOUT(ears.controller.state(), SessionState::Disconnected, kPatience);
  }

  void changedCertificate() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    Ears ears(rig);
    ears.connectTrusting(rig);
    QTRY_COMPARE_WITH_TIMEOUT(ears.controller.state(), SessionState::Ready, kPatience);
    const QString before = rig.engine.fingerprint(), where = rig.engine.address();
    rig.engine.kill();
    QTRY_VERIFY_WITH_TIMEOUT(ears.has(SessionState::Reconnecting), kPatience);
    QCOMPARE(runProgram("pillarbox-engine",
                        {"generate-cert", "--force", "--state-dir", rig.path("engine")})
                 .exitCode,
             0);
    ears.controller.disconnectFromEngine();
    ears.address.trustedFingerprint.clear();
    QVERIFY(rig.startEngine(where));
    ears.controller.connectToEngine(ears.address);
    QTRY_COMPARE_WITH_TIMEOUT(ears.mismatches.size(), 1, kPatience);
    const auto mismatch = ears.mismatches[0][0].value<PinMismatch>();
    QCOMPARE(mismatch.pinned, before);
    QCOMPARE(mismatch.presented, rig.engine.fingerprint());
    QTRY_COMPARE_WITH_TIMEOUT(ears.controller.state(), SessionState::Refused, kPatience);
    QVERIFY(ears.questions.isEmpty());
    ears.controller.answerTrust(true);  // there is nothing to accept
    QTest::qWait(200);
    QCOMPARE(ears.controller.state(), SessionState::Refused);
    // Among all pins, of dealers too, it is one that can be forgotten.
    const pillarbox::net::PinStore pins(rig.path("client").toStdString());
    const auto other = pillarbox::net::Fingerprint::parse(before.toStdString());
    QVERIFY(pins.add(pillarbox::net::PinKind::Dealer, "dealer.example", 7121, *other).ok());
    const auto pinned = ears.controller.pinnedCertificates();
    QCOMPARE(pinned.size(), 2);
    QVERIFY(!pinned[0].dealer && pinned[0].fingerprint == before && pinned[0].since.isValid());
    QVERIFY(pinned[1].dealer && pinned[1].host == "dealer.example" && pinned[1].port == 7121);
    QVERIFY(ears.controller.forget(pinned[1]));
    QVERIFY(!ears.controller.forget(pinned[1]));
    QCOMPARE(ears.controller.pinnedCertificates().size(), 1);
    QVERIFY(ears.controller.removePin("127.0.0.1", rig.engine.port()));
    QVERIFY(!ears.controller.removePin("127.0.0.1", rig.engine.port()));
    ears.controller.connectToEngine(ears.address);
    QTRY_COMPARE_WITH_TIMEOUT(ears.questions.size(), 1, kPatience);
  }

  // The engine goes away, an image is dropped meanwhile, the engine comes back.
  void engineAwayAndBack() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    const QString where = rig.engine.address();
    Ears ears(rig);
    ears.connectTrusting(rig);
    QTRY_COMPARE_WITH_TIMEOUT(ears.controller.state(), SessionState::Ready, kPatience);
    rig.engine.kill();
    const quint64 id = ears.controller.classify(picture(), "waiting");
    QTRY_COMPARE_WITH_TIMEOUT(ears.controller.state(), SessionState::Reconnecting, kPatience);
    QVERIFY(!ears.states.last()[1].toString().isEmpty());
    QVERIFY(rig.startEngine(where));
    QTRY_COMPARE_WITH_TIMEOUT(ears.finished.size(), 1, kPatience);
    QCOMPARE(ears.finished[0][0].value<ClassificationResult>().id, id);
    QVERIFY(ears.failed.isEmpty());
  }

  void nobodyThere() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    Ears ears(rig);
    rig.engine.kill();
    ears.controller.connectToEngine(ears.address);
    QTRY_COMPARE_WITH_TIMEOUT(ears.controller.state(), SessionState::Reconnecting, kPatience);
    const quint64 id = ears.controller.classify(picture(), "x");
    ears.controller.cancel(id);
    QTRY_COMPARE_WITH_TIMEOUT(ears.failed.size(), 1, kPatience);
    QCOMPARE(ears.errorCode(), QString("cancelled"));
    ears.controller.probe(ears.address);
    QTRY_COMPARE_WITH_TIMEOUT(ears.probes.size(), 1, kPatience);
    QCOMPARE(ears.probes[0][1].toBool(), false);
    QVERIFY(!ears.probes[0][3].toString().isEmpty());
  }

  void probesOnlyTheDoor() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    Ears ears(rig);
    ears.controller.probe(ears.address);
    QTRY_COMPARE_WITH_TIMEOUT(ears.probes.size(), 1, kPatience);
    QCOMPARE(ears.probes[0][1].toBool(), true);
    QVERIFY(ears.probes[0][2].toDouble() >= 0);
    QVERIFY(ears.questions.isEmpty());
    QCOMPARE(ears.controller.state(), SessionState::Disconnected);
    QVERIFY(ears.controller.pinnedFingerprint("127.0.0.1", rig.engine.port()).isEmpty());
  }

  void queueAndCancel() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    Ears ears(rig);
    QList<quint64> ids;
    for (unsigned i = 0; i < 4; ++i) {
      ids << ears.controller.classify(picture(50 * i), QString::number(i));
    }
    ears.controller.cancel(ids[2]);
    ears.controller.cancel(12345);
    ears.connectTrusting(rig);
    QTRY_COMPARE_WITH_TIMEOUT(ears.finished.size(), 3, kPatience);
    QCOMPARE(ears.failed.size(), 1);
    QCOMPARE(ears.failed[0][0].value<quint64>(), ids[2]);
    for (const int i : {0, 1, 2}) {
      const quint64 expected = ids[i < 2 ? i : 3];
      QCOMPARE(ears.finished[i][0].value<ClassificationResult>().id, expected);
    }
    // Taken back while it runs: it fails as cancelled or was done already; either way the next one
    // works, in a new session if need be.
    const quint64 running = ears.controller.classify(picture(), "running");
    QTRY_VERIFY_WITH_TIMEOUT(
        !ears.started.isEmpty() && ears.started.last()[0].value<quint64>() == running, kPatience);
    ears.controller.cancel(running);
    const quint64 next = ears.controller.classify(picture(), "next");
    QTRY_VERIFY_WITH_TIMEOUT(ears.finished.last()[0].value<ClassificationResult>().id == next,
                             kPatience);
    QCOMPARE(ears.finished.size() + ears.failed.size(), 6);
  }

  void bankTarget() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    Ears ears(rig);
    ears.controller.setBankTarget(3);
    ears.connectTrusting(rig);
    const auto bank = [&ears] {
      return ears.banks.isEmpty() ? BankStatus() : ears.banks.last()[0].value<BankStatus>();
    };
    QTRY_COMPARE_WITH_TIMEOUT(bank().ready, 3, kPatience);
    ears.controller.setBankTarget(5);
    QTRY_COMPARE_WITH_TIMEOUT(bank().target, 5, kPatience);
    QTRY_COMPARE_WITH_TIMEOUT(bank().ready, 5, kPatience);
    // The engine's own limit is 8.
    ears.controller.setBankTarget(64);
    QTRY_COMPARE_WITH_TIMEOUT(bank().target, 8, kPatience);
    QTRY_COMPARE_WITH_TIMEOUT(bank().ready, 8, kPatience);
  }

  void firstPartyIsInsecure() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    Ears ears(rig);
    ears.connectTrusting(rig);
    QTRY_VERIFY_WITH_TIMEOUT(!ears.models.isEmpty(), kPatience);
    const auto model = ears.models.last()[0].value<ModelInfo>();
    QVERIFY(model.insecure);
    QCOMPARE(model.offlineMode, QString("first-party"));
    QVERIFY(model.trust.contains("INSECURE"));
  }

  void badFingerprint() {
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    Ears ears(rig);
    ears.address.trustedFingerprint = "AB:CD";
    ears.controller.connectToEngine(ears.address);
    QTRY_COMPARE_WITH_TIMEOUT(ears.controller.state(), SessionState::Refused, kPatience);
  }

  // Destroyed in every state, without waiting for anybody.
  void destroyed_data() {
    QTest::addColumn<int>("waitMs");
    for (const int wait : {0, 20, 100, 400}) {
      QTest::newRow(qPrintable(QString::number(wait))) << wait;
    }
  }
  void destroyed() {
    QFETCH(int, waitMs);
    ServiceRig rig;
    QVERIFY(rig.startEngine());
    QElapsedTimer timer;
    {
      Ears ears(rig);
      ears.connectTrusting(rig);
      ears.controller.classify(picture(), "x");
      ears.controller.probe(ears.address);
      QTest::qWait(waitMs);
      timer.start();
    }
    QVERIFY(timer.elapsed() < 5000);
  }
};

QTEST_GUILESS_MAIN(TestSessionController)
#include "test_session_controller.moc"

// Administration end to end: the real engine, pillarbox-cli admin, and what strangers and broken
// uploads meet.

#include <sys/resource.h>

#include <cmath>
#include <csignal>

#include <QDir>
#include <QElapsedTimer>
#include <QFile>
#include <QImage>
#include <QTemporaryDir>
#include <QTest>
#include <nlohmann/json.hpp>

#include "app/client/deploy_controller.h"
#include "app/client/engine_admin.h"
#include "app/client/engine_session.h"
#include "engine/core/digest.h"
#include "engine/service/admin_library.h"
#include "models/preprocess.h"
#include "net/message_io.h"
#include "tests/support/service_rig.h"

using namespace pillarbox;
using namespace pillarbox::testing;
using Json = nlohmann::json;
using net::proto::AdminReply;
using net::proto::AdminRequest;

namespace {

std::string path(const QString& text) {
  return text.toStdString();
}

QByteArray contents(const QString& file) {
  QFile in(file);
  return in.open(QIODevice::ReadOnly) ? in.readAll() : QByteArray();
}

/// Fixed-point noise in the scores of one model; two models differ by far more.
constexpr double kTolerance = 5e-3;

bool similar(const Json& a, const Json& b) {
  if (!a.is_array() || !b.is_array() || a.size() != b.size()) return false;
  for (const Json& one : a) {
    bool found = false;
    for (const Json& other : b) {
      found = found || (one.at("class") == other.at("class") &&
                        std::abs(one.at("probability").get<double>() -
                                 other.at("probability").get<double>()) < kTolerance);
    }
    if (!found) return false;
  }
  return true;
}

/// An engine with administration, and an administrator whom it knows.
struct Setup {
  ServiceRig rig;
  QString admin;  ///< address

  bool start(const QStringList& more = {}, const QString& model = {}) {
    const QString state = rig.path("admin");
    if (!QFile::exists(state + "/admin-key.pem")) {
      if (runProgram("pillarbox-cli", {"admin", "keygen", "--state-dir", state}).exitCode != 0) {
        return false;
      }
    }
    QStringList arguments = QStringList{"--admin", "127.0.0.1:0", "--admin-certificate",
                                        state + "/admin-certificate.pem"} +
                            more;
    if (!model.isEmpty()) arguments += {"--model", model};
    if (!rig.startEngine("127.0.0.1:0", arguments)) return false;
    const QString ready = QString::fromUtf8(contents(rig.path("engine.ready")));
    admin = ready.section("administration ", 1).trimmed();
    return !admin.isEmpty();
  }
  quint16 adminPort() const { return static_cast<quint16>(admin.section(':', -1).toUInt()); }

  Ran cli(const QStringList& arguments, const QString& state = "admin") const {
    return runProgram("pillarbox-cli",
                      QStringList{"admin"} + arguments +
                          QStringList{"--engine", admin, "--trust", rig.engine.fingerprint(),
                                      "--state-dir", rig.path(state)});
  }
  Json list() const {
    const Ran ran = cli({"list", "--json"});
    return ran.exitCode == 0 ? Json::parse(ran.output.toStdString()) : Json();
  }
  /// The id of the active model.
  std::string active() const {
    const Json listed = list();
    for (const Json& model : listed.at("models")) {
      if (model.at("active").get<bool>()) return model.at("id").get<std::string>();
    }
    return {};
  }
  /// What classifying says: scores of all classes.
  Json classify(const QString& image, const QString& client) const {
    const Ran ran =
        runProgram("pillarbox-cli",
                   {"classify", "--json", "--top", "6", "--engine", rig.engine.address(), "--trust",
                    rig.engine.fingerprint(), "--state-dir", rig.path(client), image});
    return ran.exitCode == 0 ? Json::parse(ran.output.toStdString()).at("top")
                             : Json(ran.errors.toStdString());
  }
  std::unique_ptr<client::EngineSession> openSession() {
    client::SessionOptions options;
    options.engine = {"127.0.0.1", rig.engine.port()};
    options.stateDirectory = path(rig.path("session"));
    options.cacheDirectory = path(rig.path("session/cache"));
    options.ask = [](const net::Fingerprint&) { return true; };
    auto session = std::make_unique<client::EngineSession>(std::move(options));
    return session->connect().ok() ? std::move(session) : nullptr;
  }
  /// Probabilities by class.
  std::vector<double> scores(client::EngineSession& session, const QString& file) {
    const QImage image = QImage(file).convertToFormat(QImage::Format_RGB888);
    const auto pixels =
        models::preprocess({image.constBits(), static_cast<std::uint32_t>(image.width()),
                            static_cast<std::uint32_t>(image.height()),
                            static_cast<std::size_t>(image.bytesPerLine())},
                           *session.facts().model);
    if (!pixels.ok()) return {};
    const auto result = session.classify(*pixels);
    return result.ok() ? result->probabilities : std::vector<double>();
  }
  /// A connection of an administrator with this state folder; nullptr where the handshake fails.
  std::unique_ptr<net::Channel> connect(const QString& state, bool withCertificate = true) {
    net::ConnectOptions options;
    options.endpoint = {"127.0.0.1", adminPort()};
    options.pin.ask = [](const net::Fingerprint&) { return true; };
    if (withCertificate) {
      const auto files = client::adminKeyFiles(path(rig.path(state)));
      auto identity = net::Identity::load(files.certificate, files.key);
      if (!identity.ok()) return nullptr;
      options.identity = std::move(identity).value();
    }
    auto transport = net::connectTls(std::move(options));
    if (!transport.ok()) return nullptr;
    auto channel = std::make_unique<net::Channel>(std::move(transport).value());
    channel->setTimeout(std::chrono::seconds(10));
    return channel;
  }
  /// The same, greeted.
  std::unique_ptr<net::Channel> greeted(AdminReply& listing) {
    auto channel = connect("admin");
    AdminRequest hello;
    hello.mutable_hello()->set_protocol_version(net::kProtocolVersion);
    if (!channel || !net::sendMessage(*channel, hello).ok()) return nullptr;
    auto answer = net::receiveMessage<AdminReply>(*channel);
    if (!answer.ok()) return nullptr;
    listing = *answer;
    return channel;
  }
  QStringList modelFiles() const {
    return QDir(rig.path("engine/models")).entryList(QDir::Files, QDir::Name);
  }
  bool logHas(const QStringList& parts) {
    QElapsedTimer timer;
    timer.start();
    while (timer.elapsed() < 10000) {
      for (const QString& line : rig.engine.log().split('\n')) {
        bool all = true;
        for (const QString& part : parts) all = all && line.contains(part);
        if (all) return true;
      }
    }
    return false;
  }
};

std::string digestOf(const QByteArray& bytes) {
  Sha256Stream digest;
  digest.update(std::as_bytes(std::span(bytes.data(), static_cast<std::size_t>(bytes.size()))));
  return hexText(digest.finish());
}

AdminRequest uploadRequest(const QByteArray& bytes, std::uint64_t announced) {
  Sha256Stream digest;
  digest.update(std::as_bytes(std::span(bytes.data(), static_cast<std::size_t>(bytes.size()))));
  const auto hash = digest.finish();
  AdminRequest request;
  request.mutable_upload()->set_bytes(announced);
  request.mutable_upload()->set_sha256(std::string(hash.begin(), hash.end()));
  request.mutable_upload()->set_file("model.onnx");
  return request;
}

/// The app's side: a DeployController with what it has said.
struct Deployment {
  client::DeployController controller;
  client::DeployedModels models;
  client::SessionError error;
  QString said;
  QVector<client::TrustQuestion> questions;
  quint64 sent = 0;
  bool busy = false;

  Deployment(const QString& state, quint16 port) : controller(state) {
    using client::DeployController;
    QObject::connect(&controller, &DeployController::busyChanged, &controller,
                     [this](bool now) { busy = now; });
    QObject::connect(&controller, &DeployController::listed, &controller,
                     [this](const client::DeployedModels& listing) { models = listing; });
    QObject::connect(&controller, &DeployController::done, &controller,
                     [this](const QString& what) { said = what; });
    QObject::connect(&controller, &DeployController::failed, &controller,
                     [this](const client::SessionError& why) { error = why; });
    QObject::connect(&controller, &DeployController::uploadProgressed, &controller,
                     [this](quint64 now, quint64) { sent = now; });
    QObject::connect(&controller, &DeployController::trustRequested, &controller,
                     [this](const client::TrustQuestion& question) { questions << question; });
    controller.setEngine({{}, QStringLiteral("127.0.0.1"), port, {}});
  }
  /// Waits for the end of the request that `ask` makes. Its error, empty if there was none.
  template <typename Ask>
  QString run(Ask ask) {
    error = {};
    said.clear();
    ask(controller);
    if (!QTest::qWaitFor([this] { return !busy; }, 20000)) return QStringLiteral("no answer");
    return error.message;
  }
  QString refresh() {
    return run([](auto& c) { c.refresh(); });
  }
  QString active() const {
    for (const client::DeployedModel& model : models.models) {
      if (model.active) return model.id;
    }
    return {};
  }
};

std::span<const std::byte> asBytes(const QByteArray& bytes) {
  return std::as_bytes(std::span(bytes.data(), static_cast<std::size_t>(bytes.size())));
}

}  // namespace

class TestAdmin : public QObject {
  Q_OBJECT

 private Q_SLOTS:
  // Retrained weights under the same description, in dealer mode: the hardest case, because clients
  // tell models apart by their description and the dealer's mask belongs to the weights.
  void uploadActivateClassifyRollBack_data() {
    QTest::addColumn<bool>("dealer");
    QTest::newRow("dealer") << true;
    QTest::newRow("first party") << false;
  }
  void uploadActivateClassifyRollBack() {
    QFETCH(bool, dealer);
    Setup setup;
    ServiceRig& rig = setup.rig;
    if (dealer) QVERIFY(rig.startDealer());
    QVERIFY2(setup.start(), qPrintable(rig.engine.log()));
    const QString image = writeImage(rig.path("image.png"), 1);
    const Json before = setup.classify(image, "client");
    QVERIFY2(before.is_array(), before.dump().c_str());
    const std::string first = setup.active();

    const QString next = rig.writeModel("next.onnx", 2);
    const Ran uploaded = setup.cli({"upload", next});
    QVERIFY2(uploaded.exitCode == 0, qPrintable(uploaded.errors));
    QCOMPARE(setup.active(), first);
    const std::string id = digestOf(contents(next));
    QVERIFY(similar(setup.classify(image, "client"), before));

    // A session that is open keeps what it opened, over the activation and the removal.
    const auto open = setup.openSession();
    QVERIFY(open != nullptr);
    const auto scoresBefore = setup.scores(*open, image);
    QCOMPARE(scoresBefore.size(), std::size_t{6});
    const Ran activated = setup.cli({"activate", QString::fromStdString(id.substr(0, 12))});
    QVERIFY2(activated.exitCode == 0, qPrintable(activated.errors));
    QCOMPARE(setup.active(), id);
    const Json after = setup.classify(image, "client");
    QVERIFY2(after.is_array(), after.dump().c_str());
    QVERIFY(!similar(after, before));
    QVERIFY(setup.logHas(
        {"level=audit", "action=activate", "result=ok", "model=" + QString::fromStdString(id)}));

    const auto scoresAfter = setup.scores(*open, image);
    QCOMPARE(scoresAfter.size(), std::size_t{6});
    for (std::size_t i = 0; i < 6; ++i) {
      QVERIFY(std::abs(scoresAfter[i] - scoresBefore[i]) < kTolerance);
    }

    // The choice survives the engine.
    rig.engine.kill();
    QVERIFY2(setup.start(), qPrintable(rig.engine.log()));
    QCOMPARE(setup.active(), id);
    QVERIFY(similar(setup.classify(image, "client2"), after));

    QVERIFY(setup.cli({"rollback"}).exitCode == 0);
    QCOMPARE(setup.active(), first);
    QVERIFY(similar(setup.classify(image, "client"), before));
    const Ran nothing = setup.cli({"rollback"});
    QCOMPARE(nothing.exitCode, 1);
    QVERIFY2(nothing.errors.contains("no model was active before"), qPrintable(nothing.errors));

    const Ran removed = setup.cli({"remove", QString::fromStdString(id)});
    QVERIFY2(removed.exitCode == 0, qPrintable(removed.errors));
    QCOMPARE(setup.modelFiles(), QStringList{"index.json"});
    QCOMPARE(setup.cli({"activate", QString::fromStdString(id)}).exitCode, 1);
  }

  void strangersAreRefused() {
    Setup setup;
    QVERIFY2(setup.start(), qPrintable(setup.rig.engine.log()));
    // Another administrator's key, which this engine does not know.
    const QString other = setup.rig.path("other");
    const Ran key = runProgram("pillarbox-cli", {"admin", "keygen", "--state-dir", other});
    QCOMPARE(key.exitCode, 0);
    const Ran ran = setup.cli({"list"}, "other");
    QCOMPARE(ran.exitCode, 1);
    QVERIFY2(ran.errors.contains("does not belong to an administrator") &&
                 ran.errors.contains(key.output.trimmed()),
             qPrintable(ran.errors));
    QVERIFY(setup.logHas({"level=audit", "result=untrusted", key.output.trimmed()}));
    // No certificate at all.
    const auto channel = setup.connect("admin", false);
    QVERIFY(channel != nullptr);
    const auto answer = net::receiveMessage<AdminReply>(*channel);
    QVERIFY(!answer.ok());
    QCOMPARE(answer.error().code, ErrorCode::Refused);
    QVERIFY2(answer.error().message.find("needs a client certificate") != std::string::npos,
             answer.error().message.c_str());
    // Without keygen the command says what to do.
    const Ran none = setup.cli({"list"}, "nobody");
    QCOMPARE(none.exitCode, 1);
    QVERIFY2(none.errors.contains("keygen"), qPrintable(none.errors));
    // An administrator's certificate means nothing at the clients' address, and the clients'
    // protocol nothing here.
    QVERIFY(setup.cli({"list"}).exitCode == 0);
  }

  // The same from the app.
  void fromTheWindow() {
    Setup setup;
    QVERIFY2(setup.start(), qPrintable(setup.rig.engine.log()));
    Deployment deploy(setup.rig.path("admin"), setup.adminPort());
    QVERIFY(!deploy.controller.ownFingerprint().isEmpty());
    // First contact: a question; nothing is listed before the answer, nor after a no.
    QCOMPARE(deploy.refresh(), QString());
    QCOMPARE(deploy.questions.size(), 1);
    QCOMPARE(deploy.questions[0].fingerprint, setup.rig.engine.fingerprint());
    deploy.controller.answerTrust(false);
    QCOMPARE(deploy.error.code, QStringLiteral("untrusted"));
    QVERIFY(deploy.models.models.isEmpty());
    deploy.refresh();
    QCOMPARE(deploy.questions.size(), 2);
    QCOMPARE(deploy.run([](auto& c) { c.answerTrust(true); }), QString());
    QCOMPARE(deploy.models.models.size(), 1);
    QVERIFY(deploy.models.models[0].configured && deploy.models.models[0].active);
    QVERIFY(!deploy.models.canRollBack);
    const QString first = deploy.active();
    QCOMPARE(deploy.refresh(), QString());
    QCOMPARE(deploy.questions.size(), 2);  // it is pinned now

    const QString next = setup.rig.writeModel("next.onnx", 2);
    QCOMPARE(deploy.run([&](auto& c) { c.upload(next, false); }), QString());
    QVERIFY(deploy.said.contains("next.onnx"));
    QCOMPARE(deploy.sent, static_cast<quint64>(contents(next).size()));
    QCOMPARE(deploy.models.models.size(), 2);
    QCOMPARE(deploy.active(), first);
    const QString id = QString::fromStdString(digestOf(contents(next)));
    QCOMPARE(deploy.run([&](auto& c) { c.activate(id); }), QString());
    QCOMPARE(QString::fromStdString(setup.active()), id);
    QCOMPARE(deploy.active(), id);
    QVERIFY(deploy.models.canRollBack);
    QVERIFY(setup.logHas({"level=audit", "action=activate", deploy.controller.ownFingerprint()}));

    // A change is for the list that was shown: somebody else was faster.
    QCOMPARE(setup.cli({"rollback"}).exitCode, 0);
    const QString late = deploy.run([](auto& c) { c.rollBack(); });
    QVERIFY2(late.contains("have changed"), qPrintable(late));
    QCOMPARE(deploy.active(), first);
    QVERIFY(deploy.run([&](auto& c) { c.remove(first); }).contains("configur"));
    QCOMPARE(deploy.run([&](auto& c) { c.remove(id); }), QString());
    QCOMPARE(deploy.models.models.size(), 1);

    const QString other = setup.rig.writeModel("other.onnx", 3);
    QCOMPARE(deploy.run([&](auto& c) { c.upload(other, true); }), QString());
    QCOMPARE(deploy.active(), QString::fromStdString(digestOf(contents(other))));
    QCOMPARE(deploy.run([](auto& c) { c.rollBack(); }), QString());
    QCOMPARE(deploy.active(), first);
    QFile garbage(setup.rig.path("garbage.onnx"));
    QVERIFY(garbage.open(QIODevice::WriteOnly));
    garbage.write(QByteArray(5000, 'x'));
    garbage.close();
    const QString bad = deploy.run([&](auto& c) { c.upload(garbage.fileName(), true); });
    QVERIFY2(bad.contains("garbage.onnx"), qPrintable(bad));
    QVERIFY(!deploy.run([&](auto& c) { c.upload("/nowhere.onnx", true); }).isEmpty());
    QCOMPARE(deploy.active(), first);

    // Somebody whom the engine does not know.
    Deployment stranger(setup.rig.path("stranger"), setup.adminPort());
    QVERIFY(stranger.controller.ownFingerprint().isEmpty());
    QVERIFY2(stranger.refresh().contains("key"), qPrintable(stranger.error.message));
    QVERIFY(stranger.controller.createKey());
    QVERIFY(!stranger.controller.createKey());
    stranger.refresh();
    QCOMPARE(stranger.questions.size(), 1);
    const QString refused = stranger.run([](auto& c) { c.answerTrust(true); });
    QVERIFY2(refused.contains("does not belong to an administrator") &&
                 refused.contains(stranger.controller.ownFingerprint()),
             qPrintable(refused));
    QVERIFY(stranger.models.models.isEmpty());

    setup.rig.engine.kill();
    QVERIFY(!deploy.refresh().isEmpty());
    QCOMPARE(deploy.error.code, QStringLiteral("unreachable"));
  }

  void badUploads_data() {
    QTest::addColumn<QByteArray>("bytes");
    QTest::addColumn<qint64>("announced");  // negative: what there is
    QTest::addColumn<QString>("part");
    const std::string model = smallModelFile(7);
    const QByteArray good(model.data(), static_cast<qsizetype>(model.size()));
    QTest::newRow("garbage") << QByteArray(5000, 'x') << qint64{-1} << "model.onnx";
    QTest::newRow("cut off") << good.left(good.size() / 2) << qint64{-1} << "model.onnx";
    QTest::newRow("empty") << QByteArray() << qint64{-1} << "empty";
    QTest::newRow("oversize") << good << (qint64{2} << 20) << "takes at most 1048576";
    QTest::newRow("absurd") << good << (qint64{1} << 62) << "takes at most 1048576";
  }
  void badUploads() {
    QFETCH(QByteArray, bytes);
    QFETCH(qint64, announced);
    QFETCH(QString, part);
    Setup setup;
    const QString config = setup.rig.path("engine.toml");
    QFile file(config);
    QVERIFY(file.open(QIODevice::WriteOnly));
    file.write("[administration]\nmax_upload_mib = 1\n");
    file.close();
    QVERIFY2(setup.start({"--config", config}), qPrintable(setup.rig.engine.log()));
    AdminReply listing;
    const auto channel = setup.greeted(listing);
    QVERIFY(channel != nullptr);
    const auto size = static_cast<std::uint64_t>(announced < 0 ? bytes.size() : announced);
    QVERIFY(net::sendMessage(*channel, uploadRequest(bytes, size)).ok());
    auto answer = net::receiveMessage<AdminReply>(*channel);
    QVERIFY(answer.ok());
    if (answer->has_go()) {
      for (qsizetype at = 0; at < bytes.size(); at += 100000) {
        QVERIFY(channel->send(net::FrameKind::Bytes, asBytes(bytes.mid(at, 100000))).ok());
      }
      answer = net::receiveMessage<AdminReply>(*channel);
      QVERIFY(answer.ok());
    }
    QVERIFY(answer->has_declined());
    QVERIFY2(QString::fromStdString(answer->declined().message()).contains(part),
             answer->declined().message().c_str());
    QCOMPARE(setup.modelFiles(), QStringList());
    // The connection goes on.
    AdminRequest again;
    again.mutable_list();
    QVERIFY(net::sendMessage(*channel, again).ok());
    answer = net::receiveMessage<AdminReply>(*channel);
    QVERIFY(answer.ok() && answer->listing().models_size() == 1);
  }

  void brokenOffUploadsLeaveNothing() {
    Setup setup;
    QVERIFY2(setup.start(), qPrintable(setup.rig.engine.log()));
    const std::string model = smallModelFile(3);
    const QByteArray bytes(model.data(), static_cast<qsizetype>(model.size()));
    const auto begin = [&]() -> std::unique_ptr<net::Channel> {
      AdminReply listing;
      auto channel = setup.greeted(listing);
      const auto size = static_cast<std::uint64_t>(bytes.size());
      if (!channel || !net::sendMessage(*channel, uploadRequest(bytes, size)).ok()) return nullptr;
      const auto go = net::receiveMessage<AdminReply>(*channel);
      if (!go.ok() || !go->has_go()) return nullptr;
      if (!channel->send(net::FrameKind::Bytes, asBytes(bytes.left(1000))).ok()) return nullptr;
      return channel;
    };
    {
      const auto channel = begin();
      QVERIFY(channel != nullptr);
      QTRY_COMPARE(setup.modelFiles().size(), 1);  // on its way
      // One at a time.
      AdminReply listing;
      const auto second = setup.greeted(listing);
      QVERIFY(second != nullptr);
      QVERIFY(net::sendMessage(*second, uploadRequest(bytes, 10)).ok());
      const auto refused = net::receiveMessage<AdminReply>(*second);
      QVERIFY(refused.ok() && refused->has_declined());
    }
    QTRY_COMPARE(setup.modelFiles(), QStringList());
    QVERIFY(setup.logHas({"level=audit", "action=upload", "result=closed"}));
    {
      const auto channel = begin();
      QVERIFY(channel != nullptr);
      QTRY_COMPARE(setup.modelFiles().size(), 1);
      setup.rig.engine.kill();
      QCOMPARE(setup.modelFiles().size(), 1);
    }
    QVERIFY2(setup.start(), qPrintable(setup.rig.engine.log()));
    QCOMPARE(setup.modelFiles(), QStringList());
    // Announced less than sent, and something else than announced.
    for (const bool longer : {true, false}) {
      AdminReply listing;
      const auto channel = setup.greeted(listing);
      QVERIFY(channel != nullptr);
      QByteArray sent = bytes;
      if (!longer) sent[100] = static_cast<char>(sent[100] ^ 1);
      const auto size = static_cast<std::uint64_t>(bytes.size()) - (longer ? 1 : 0);
      QVERIFY(net::sendMessage(*channel, uploadRequest(bytes, size)).ok());
      QVERIFY(net::receiveMessage<AdminReply>(*channel)->has_go());
      QVERIFY(channel->send(net::FrameKind::Bytes, asBytes(sent)).ok());
      const auto answer = net::receiveMessage<AdminReply>(*channel);
      QVERIFY(!answer.ok() || answer->has_declined());
      QTRY_COMPARE(setup.modelFiles(), QStringList());
    }
    const Ran good = setup.cli({"upload", setup.rig.writeModel("good.onnx", 3)});
    QVERIFY2(good.exitCode == 0, qPrintable(good.errors));
    const Ran twice = setup.cli({"upload", setup.rig.path("good.onnx")});
    QCOMPARE(twice.exitCode, 1);
    QVERIFY2(twice.errors.contains("already"), qPrintable(twice.errors));
  }

  // A request that was decided on another list, which a replayed one always is, changes nothing.
  void replayedRequests() {
    Setup setup;
    QVERIFY2(setup.start(), qPrintable(setup.rig.engine.log()));
    for (const quint64 seed : {3, 4}) {
      const QString file = setup.rig.writeModel(QString("%1.onnx").arg(seed), seed);
      QVERIFY(setup.cli({"upload", "--activate", file}).exitCode == 0);
    }
    AdminReply listing;
    const auto channel = setup.greeted(listing);
    QVERIFY(channel != nullptr);
    AdminRequest rollback;
    rollback.mutable_rollback()->set_revision(listing.listing().revision());
    std::vector<bool> done;
    for (int i = 0; i < 2; ++i) {
      QVERIFY(net::sendMessage(*channel, rollback).ok());
      const auto answer = net::receiveMessage<AdminReply>(*channel);
      QVERIFY(answer.ok());
      done.push_back(answer->has_listing());
    }
    QCOMPARE(done, (std::vector<bool>{true, false}));
    QCOMPARE(setup.active(), digestOf(contents(setup.rig.path("3.onnx"))));
    // Nor may a session begin twice, or with anything else.
    AdminRequest hello;
    hello.mutable_hello()->set_protocol_version(net::kProtocolVersion);
    QVERIFY(net::sendMessage(*channel, hello).ok());
    QCOMPARE(net::receiveMessage<AdminReply>(*channel).error().code, ErrorCode::Protocol);
    const auto impolite = setup.connect("admin");
    QVERIFY(net::sendMessage(*impolite, rollback).ok());
    QCOMPARE(net::receiveMessage<AdminReply>(*impolite).error().code, ErrorCode::Protocol);
  }

  void configuredModelsStay() {
    Setup setup;
    QVERIFY2(setup.start(), qPrintable(setup.rig.engine.log()));
    const QString id = QString::fromStdString(setup.active());
    const Ran removed = setup.cli({"remove", id});
    QCOMPARE(removed.exitCode, 1);
    QVERIFY2(removed.errors.contains("configuration"), qPrintable(removed.errors));
    QVERIFY(setup.cli({"upload", "--activate", setup.rig.writeModel("b.onnx", 9)}).exitCode == 0);
    const Ran active = setup.cli({"remove", QString::fromStdString(setup.active())});
    QCOMPARE(active.exitCode, 1);
    QVERIFY2(active.errors.contains("active"), qPrintable(active.errors));
    // A damaged file is noticed at the next start; the configured model is served then.
    setup.rig.engine.kill();
    const QString file = setup.rig.path("engine/models/") +
                         QString::fromStdString(digestOf(contents(setup.rig.path("b.onnx")))) +
                         ".onnx";
    QFile damaged(file);
    QVERIFY(damaged.open(QIODevice::ReadWrite));
    damaged.seek(200);
    damaged.write("x");
    damaged.close();
    QVERIFY2(setup.start(), qPrintable(setup.rig.engine.log()));
    QCOMPARE(QString::fromStdString(setup.active()), id);
    QVERIFY(setup.logHas({"active_model_lost"}));
  }

  void engineNeedsToKnowAdministrators() {
    ServiceRig rig;
    const QStringList arguments = {"serve",       "--listen",
                                   "127.0.0.1:0", "--offline",
                                   "first-party", "--allow-insecure-first-party",
                                   "--model",     rig.writeModel("m.onnx"),
                                   "--state-dir", rig.path("s")};
    const Ran nobody =
        runProgram("pillarbox-engine", arguments + QStringList{"--admin", "127.0.0.1:0"});
    QCOMPARE(nobody.exitCode, 1);
    QVERIFY2(nobody.errors.contains("--admin-certificate"), qPrintable(nobody.errors));
    const Ran nowhere =
        runProgram("pillarbox-engine",
                   arguments + QStringList{"--admin-fingerprint", QString("ab").repeated(32)});
    QCOMPARE(nowhere.exitCode, 1);
    QVERIFY2(nowhere.errors.contains("--admin"), qPrintable(nowhere.errors));
    const Ran wrong =
        runProgram("pillarbox-engine",
                   arguments + QStringList{"--admin", "127.0.0.1:0", "--admin-fingerprint", "abc"});
    QCOMPARE(wrong.exitCode, 1);
  }

  // The disk is full (here: this process may write no longer files): the old state stays, whole.
  void fullDisk() {
    QTemporaryDir folder;
    const std::string model = smallModelFile(5);
    const QByteArray bytes(model.data(), static_cast<qsizetype>(model.size()));
    service::ModelLibrary::Options options;
    options.directory = path(folder.path());
    options.serve = [](const service::ModelList&) {};
    auto library = service::ModelLibrary::open(std::move(options)).value();
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    QCOMPARE(::getrlimit(RLIMIT_FSIZE, &before), 0);
    for (const rlim_t limit : {rlim_t{1000}, rlim_t{10}}) {
      rlimit small = before;
      small.rlim_cur = limit;
      QCOMPARE(::setrlimit(RLIMIT_FSIZE, &small), 0);
      const auto upload = library->beginUpload(model.size(), digestOf(bytes), "m.onnx");
      QCOMPARE(::setrlimit(RLIMIT_FSIZE, &before), 0);
      QVERIFY(!upload.ok());
      QCOMPARE(upload.error().code, ErrorCode::Io);
    }
    // Full at the very last step: the model is complete, its entry in the index cannot be written.
    {
      auto upload = library->beginUpload(model.size(), digestOf(bytes), "m.onnx");
      QVERIFY(upload.ok());
      QVERIFY((*upload)->write(asBytes(bytes)).ok());
      rlimit small = before;
      small.rlim_cur = 10;
      QCOMPARE(::setrlimit(RLIMIT_FSIZE, &small), 0);
      const auto finished = (*upload)->finish("nobody");
      QCOMPARE(::setrlimit(RLIMIT_FSIZE, &before), 0);
      QVERIFY(!finished.ok());
    }
    QCOMPARE(QDir(folder.path()).entryList(QDir::Files), QStringList());
    QVERIFY(library->list().models.empty());
    auto upload = library->beginUpload(model.size(), digestOf(bytes), "m.onnx");
    QVERIFY(upload.ok());
    QVERIFY((*upload)->write(asBytes(bytes)).ok());
    QVERIFY((*upload)->finish("nobody").ok());
    QCOMPARE(library->list().models.size(), std::size_t{1});
  }
};

QTEST_GUILESS_MAIN(TestAdmin)
#include "test_admin.moc"

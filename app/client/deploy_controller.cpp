#include "app/client/deploy_controller.h"

#include <filesystem>
#include <functional>
#include <optional>
#include <thread>

#include <QFile>
#include <QFileInfo>
#include <QMetaObject>

#include "app/client/engine_admin.h"
#include "engine/core/files.h"

namespace pillarbox::client {
namespace {

namespace fs = std::filesystem;

QString text(const std::string& value) {
  return QString::fromStdString(value);
}

SessionError sessionError(const Error& error) {
  return {QString::fromLatin1(toString(error.code)), text(error.message)};
}

fs::path pathOf(const QString& file) {
  return fs::path(QFile::encodeName(file).toStdString());
}

DeployedModels listingOf(const EngineModels& from) {
  DeployedModels to;
  to.software = text(from.software);
  to.canRollBack = !from.previous.empty();
  for (const EngineModelEntry& entry : from.models) {
    DeployedModel model;
    model.id = text(entry.id);
    model.name = text(entry.name);
    model.file = text(entry.file);
    model.bytes = entry.bytes;
    model.weights = entry.weights;
    model.activations = entry.activations;
    model.rounds = static_cast<int>(entry.rounds);
    model.classes = static_cast<int>(entry.classes);
    if (entry.added > 0) model.added = QDateTime::fromSecsSinceEpoch(entry.added);
    model.addedBy = text(entry.addedBy);
    model.configured = entry.configured;
    model.active = entry.active;
    model.previous = entry.id == from.previous && !entry.active;
    model.served = entry.served;
    to.models << model;
  }
  return to;
}

}  // namespace

/// What one request does once it is connected; returns a sentence on what was done.
using Work = std::function<Result<QString>(EngineAdmin&)>;

struct DeployController::State {
  explicit State(DeployController& controller, const QString& dir)
      : owner(controller), directory(stateDirectory(pathOf(dir))) {}

  DeployController& owner;
  Result<fs::path> directory;
  EngineAddress engine;
  std::optional<std::uint64_t> revision;  ///< of the list that was shown; none: nothing was
  bool running = false;
  std::thread thread;
  std::shared_ptr<EngineAdmin> connection;
  Work waiting;  ///< for an answer about trust
  bool waitingChange = false;
  std::optional<net::Fingerprint> asked;

  void run(Work work, bool change, std::optional<net::Fingerprint> trust = {});
  void ended(const Status& status, const QString& what, const EngineModels& models,
             std::optional<net::Fingerprint> question, Work work, bool change);
};

void DeployController::State::run(Work work, bool change, std::optional<net::Fingerprint> trust) {
  if (running) return;
  if (!directory.ok()) {
    Q_EMIT owner.failed(sessionError(directory.error()));
    return;
  }
  if (thread.joinable()) thread.join();
  AdminOptions options;
  options.engine = {engine.host.toStdString(), engine.port};
  options.stateDirectory = *directory;
  const AdminKeyFiles files = adminKeyFiles(*directory);
  options.certificate = files.certificate;
  options.key = files.key;
  options.trust = trust;
  const auto question = std::make_shared<std::optional<net::Fingerprint>>();
  options.ask = [question](const net::Fingerprint& fingerprint) {
    *question = fingerprint;
    return false;  // asked in the window; then tried again with that very certificate
  };
  connection = std::make_shared<EngineAdmin>(std::move(options));
  running = true;
  Q_EMIT owner.busyChanged(true);
  thread = std::thread([this, admin = connection, question, work, change, shown = revision] {
    Status status = admin->connect();
    QString what;
    if (status.ok() && change && shown && *shown != admin->models().revision) {
      status = Error{ErrorCode::Refused,
                     "the engine's models have changed since they were listed; look at the new "
                     "list and decide again"};
    } else if (status.ok()) {
      auto result = work(*admin);
      if (result.ok()) {
        what = *result;
      } else {
        status = std::move(result).error();
      }
    }
    const EngineModels models = admin->models();
    QMetaObject::invokeMethod(
        &owner,
        [this, status, what, models, asked = *question, work, change] {
          ended(status, what, models, asked, work, change);
        },
        Qt::QueuedConnection);
  });
}

void DeployController::State::ended(const Status& status, const QString& what,
                                    const EngineModels& models,
                                    std::optional<net::Fingerprint> question, Work work,
                                    bool change) {
  thread.join();
  connection.reset();
  running = false;
  Q_EMIT owner.busyChanged(false);
  if (!status.ok() && status.error().code == ErrorCode::Untrusted && question) {
    asked = question;
    waiting = std::move(work);
    waitingChange = change;
    Q_EMIT owner.trustRequested({engine, text(question->text())});
    return;
  }
  if (!models.software.empty()) {
    revision = models.revision;
    Q_EMIT owner.listed(listingOf(models));
  }
  if (!status.ok()) {
    Q_EMIT owner.failed(sessionError(status.error()));
  } else if (!what.isEmpty()) {
    Q_EMIT owner.done(what);
  }
}

DeployController::DeployController(const QString& stateDir, QObject* parent)
    : DeployModel(parent), m_state(std::make_unique<State>(*this, stateDir)) {}

DeployController::~DeployController() {
  if (m_state->connection) m_state->connection->cancel();
  if (m_state->thread.joinable()) m_state->thread.join();
}

QString DeployController::ownFingerprint() const {
  if (!m_state->directory.ok()) return {};
  const auto fingerprint =
      net::certificateFingerprint(adminKeyFiles(*m_state->directory).certificate);
  return fingerprint.ok() ? text(fingerprint->text()) : QString();
}

bool DeployController::createKey() {
  if (!m_state->directory.ok()) {
    Q_EMIT failed(sessionError(m_state->directory.error()));
    return false;
  }
  const auto made = makeAdminKey(*m_state->directory);
  if (!made.ok()) Q_EMIT failed(sessionError(made.error()));
  return made.ok();
}

void DeployController::setEngine(const EngineAddress& engine) {
  m_state->engine = engine;
  m_state->revision.reset();
  m_state->waiting = nullptr;
}

void DeployController::refresh() {
  m_state->run([](EngineAdmin&) -> Result<QString> { return QString(); }, false);
}

void DeployController::upload(const QString& file, bool activate) {
  const QString name = QFileInfo(file).fileName();
  const auto progress = [this](std::uint64_t sent, std::uint64_t total) {
    QMetaObject::invokeMethod(
        this, [this, sent, total] { Q_EMIT uploadProgressed(sent, total); }, Qt::QueuedConnection);
  };
  m_state->run(
      [file = pathOf(file), name, activate, progress](EngineAdmin& admin) -> Result<QString> {
        PILLARBOX_TRY(admin.upload(file, progress));
        if (!activate)
          return tr("%1 is on the engine. Activate it to give it to clients.").arg(name);
        PILLARBOX_TRY(admin.activate(std::string(admin.models().done)));
        return tr("%1 is on the engine and active.").arg(name);
      },
      false);
}

void DeployController::activate(const QString& id) {
  m_state->run(
      [id = id.toStdString()](EngineAdmin& admin) -> Result<QString> {
        PILLARBOX_TRY(admin.activate(id));
        const EngineModelEntry* model = admin.models().find(admin.models().done);
        return tr("%1 is active: clients that connect from now on get it.")
            .arg(model != nullptr ? text(model->name) : text(id).left(12));
      },
      true);
}

void DeployController::rollBack() {
  m_state->run(
      [](EngineAdmin& admin) -> Result<QString> {
        PILLARBOX_TRY(admin.rollback());
        const EngineModelEntry* model = admin.models().find(admin.models().done);
        return tr("Rolled back: %1 is active again.")
            .arg(model != nullptr ? text(model->name) : tr("the previous model"));
      },
      true);
}

void DeployController::remove(const QString& id) {
  m_state->run(
      [id = id.toStdString()](EngineAdmin& admin) -> Result<QString> {
        PILLARBOX_TRY(admin.remove(id));
        return tr("The model was removed from the engine.");
      },
      true);
}

void DeployController::cancel() {
  if (m_state->connection) m_state->connection->cancel();
}

void DeployController::answerTrust(bool accept) {
  Work work = std::move(m_state->waiting);
  m_state->waiting = nullptr;
  if (!work) return;
  if (accept) {
    m_state->run(std::move(work), m_state->waitingChange, m_state->asked);
  } else {
    Q_EMIT failed({QStringLiteral("untrusted"),
                   tr("The engine's certificate was not accepted; nothing was sent.")});
  }
}

}  // namespace pillarbox::client

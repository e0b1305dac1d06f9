#include "app/client/session_controller.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>
#include <vector>

#include <QMetaObject>

#include "app/client/engine_session.h"
#include "app/client/reachability.h"
#include "engine/core/files.h"
#include "models/preprocess.h"
#include "net/message_io.h"
#include "net/pin_store.h"
#include "net/text.h"

namespace pillarbox::client {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kPingInterval{5000};
constexpr milliseconds kFirstPause{1000};
constexpr milliseconds kLongestPause{15000};
constexpr milliseconds kProbeTimeout{5000};

QString text(const std::string& value) {
  return QString::fromStdString(value);
}

SessionError sessionError(const Error& error) {
  return {QString::fromLatin1(toString(error.code)), text(error.message)};
}

/// Whether trying again by itself can help.
bool isPassing(ErrorCode code) {
  switch (code) {
    case ErrorCode::Unreachable:
    case ErrorCode::Timeout:
    case ErrorCode::Closed:
    case ErrorCode::Io:
    case ErrorCode::Exhausted:
    case ErrorCode::Cancelled:
      return true;
    default:
      return false;
  }
}

ModelInfo modelInfo(const SessionFacts& facts) {
  const models::PublicModel& model = *facts.model;
  ModelInfo info;
  info.name = text(net::sanitizeForDisplay(model.name, 256));
  info.hash = text(models::toHex(facts.modelHash));
  for (const std::string& label : model.labels) {
    info.labels << text(net::sanitizeForDisplay(label, 256));
  }
  info.inputWidth = static_cast<int>(model.input.width);
  info.inputHeight = static_cast<int>(model.input.height);
  info.rounds = static_cast<int>(model.stages.size());
  info.activations = model.activationCount();
  info.offlineMode = QString::fromLatin1(offline::toString(facts.mode));
  info.trust = text(facts.trust);
  info.insecure = facts.insecure;
  return info;
}

Result<std::vector<float>> pixelsOf(const QImage& image, const models::PublicModel& model) {
  const QImage rgb = image.convertToFormat(QImage::Format_RGB888);
  if (rgb.isNull()) return Error{ErrorCode::InvalidArgument, "there is no picture to classify"};
  return models::preprocess(
      models::RgbImage{rgb.constBits(), static_cast<std::uint32_t>(rgb.width()),
                       static_cast<std::uint32_t>(rgb.height()),
                       static_cast<std::size_t>(rgb.bytesPerLine())},
      model);
}

}  // namespace

class SessionController::Worker {
 public:
  Worker(SessionController* owner, const QString& stateDir)
      : m_owner(owner), m_gate(std::make_shared<Gate>()) {
    m_gate->owner = owner;
    const std::filesystem::path given(stateDir.toStdString());
    if (const auto directory = stateDirectory(given); directory.ok()) m_stateDirectory = *directory;
    if (const auto cache = cacheDirectory(given); cache.ok()) m_cacheDirectory = *cache / "weights";
    m_thread = std::thread([this] { run(); });
  }

  ~Worker() {
    {
      const std::lock_guard lock(m_gate->mutex);
      m_gate->owner = nullptr;
    }
    {
      const std::lock_guard lock(m_mutex);
      m_stopped = true;
      abandon();
    }
    m_thread.join();
  }

  // ------------------------------------------------------------ on the owner's thread

  void connectTo(const EngineAddress& address) {
    const std::lock_guard lock(m_mutex);
    m_wanted = address;
    abandon();
  }

  void disconnect() {
    const std::lock_guard lock(m_mutex);
    m_wanted.reset();
    abandon();
    failJobs({ErrorCode::Cancelled, "the connection was closed"});
  }

  void answerTrust(bool accept) {
    const std::lock_guard lock(m_mutex);
    m_trustAnswer = accept;
    m_changed.notify_all();
  }

  quint64 classify(const QImage& image, const QString& name) {
    const std::lock_guard lock(m_mutex);
    m_jobs.push_back({++m_lastId, image, name, false});
    m_changed.notify_all();
    return m_lastId;
  }

  void cancel(quint64 id) {
    const std::lock_guard lock(m_mutex);
    if (m_running == id) {
      m_cancelled = id;
      if (m_session) m_session->cancelInference();
      return;
    }
    const auto job =
        std::find_if(m_jobs.begin(), m_jobs.end(), [id](const Job& j) { return j.id == id; });
    if (job == m_jobs.end()) return;
    m_jobs.erase(job);
    fail(id, {ErrorCode::Cancelled, "the classification was cancelled"});
  }

  void setBankTarget(int sets) {
    const std::lock_guard lock(m_mutex);
    m_bankTarget = std::clamp(sets, 1, 64);
    if (m_session == nullptr) return;
    m_session->setBankTarget(m_bankTarget);
    tellBank(m_session->bank());
  }

  void probe(const EngineAddress& address) {
    // The lookup of a name cannot be interrupted, so nobody waits for this thread; the gate keeps
    // it from an owner that is gone.
    std::thread([address, gate = m_gate] {
      const auto time = tcpRoundTrip({address.host.toStdString(), address.port}, kProbeTimeout);
      const std::lock_guard lock(gate->mutex);
      SessionController* const owner = gate->owner;
      if (owner == nullptr) return;
      const bool reachable = time.ok();
      const double ms = reachable ? *time * 1e3 : -1;
      const QString message = reachable ? QString() : text(time.error().message);
      QMetaObject::invokeMethod(
          owner, [=] { Q_EMIT owner->probed(address, reachable, ms, message); },
          Qt::QueuedConnection);
    }).detach();
  }

  net::PinStore pins() const { return net::PinStore(m_stateDirectory); }

  SessionState state = SessionState::Disconnected;  ///< as told; the owner's thread only

 private:
  struct Job {
    quint64 id = 0;
    QImage image;
    QString name;
    bool retried = false;
  };
  struct Gate {
    std::mutex mutex;
    SessionController* owner = nullptr;
  };

  /// With m_mutex held: what the worker is at is no longer wanted.
  void abandon() {
    ++m_generation;
    m_trustAnswer.reset();
    if (m_session) m_session->cancel();
    m_changed.notify_all();
  }

  /// Delivers on the owner's thread.
  template <typename Function>
  void post(Function function) {
    const std::lock_guard lock(m_gate->mutex);
    if (m_gate->owner == nullptr) return;
    QMetaObject::invokeMethod(m_gate->owner, std::move(function), Qt::QueuedConnection);
  }

  void setState(SessionState state, const QString& message) {
    post([owner = m_owner, state, message] {
      owner->m_worker->state = state;
      Q_EMIT owner->stateChanged(state, message);
    });
  }
  void log(const QString& level, const QString& line) {
    post([owner = m_owner, level, line] { Q_EMIT owner->logged(level, line); });
  }
  void fail(quint64 id, const Error& error) {
    post([owner = m_owner, id, error = sessionError(error)] { Q_EMIT owner->failed(id, error); });
  }
  /// With m_mutex held.
  void failJobs(const Error& error) {
    for (const Job& job : m_jobs) fail(job.id, error);
    m_jobs.clear();
  }

  /// With m_mutex held by `lock`: waits until the generation is not `generation` any more, or for
  /// `time`. True if it is still current.
  bool pause(std::unique_lock<std::mutex>& lock, quint64 generation, milliseconds time) {
    m_changed.wait_for(lock, time, [&] { return m_stopped || m_generation != generation; });
    return !m_stopped && m_generation == generation;
  }
  void run();
  void stayConnected(const EngineAddress& address, quint64 generation);
  Error serve(EngineSession& session, const EngineAddress& address, quint64 generation);
  void classifyOne(EngineSession& session, Job job);
  SessionOptions options(const EngineAddress& address, quint64 generation);
  bool askTrust(const EngineAddress& address, const net::Fingerprint& fingerprint,
                quint64 generation);
  void tellBank(const BankReading& reading);
  void tellConnection(const EngineSession& session, const EngineAddress& address, double seconds);

  SessionController* const m_owner;
  const std::shared_ptr<Gate> m_gate;
  std::filesystem::path m_stateDirectory, m_cacheDirectory;

  std::mutex m_mutex;  ///< guards what follows
  std::condition_variable m_changed;
  bool m_stopped = false;
  quint64 m_generation = 0;  ///< grows whenever the user wants something else
  std::optional<EngineAddress> m_wanted;
  std::optional<bool> m_trustAnswer;
  std::deque<Job> m_jobs;
  quint64 m_lastId = 0;
  quint64 m_running = 0;
  int m_bankTarget = 2;
  bool m_bankMoved = false;
  EngineSession* m_session = nullptr;  ///< to cancel it; owned by stayConnected

  std::atomic<quint64> m_cancelled = 0;  ///< the job that was cancelled while it ran
  std::thread m_thread;
};

void SessionController::Worker::run() {
  quint64 done = 0;
  for (;;) {
    EngineAddress address;
    quint64 generation = 0;
    {
      std::unique_lock lock(m_mutex);
      m_changed.wait(lock, [&] { return m_stopped || m_generation != done; });
      if (m_stopped) return;
      generation = m_generation;
      done = generation;
      if (!m_wanted) {
        setState(SessionState::Disconnected, {});
        tellBank({0, m_bankTarget, -1});
        continue;
      }
      address = *m_wanted;
    }
    stayConnected(address, generation);
  }
}

void SessionController::Worker::tellBank(const BankReading& reading) {
  post([owner = m_owner, reading] {
    Q_EMIT owner->bankChanged(BankStatus{reading.ready, reading.target, reading.preparing});
  });
}

void SessionController::Worker::tellConnection(const EngineSession& session,
                                               const EngineAddress& address, double seconds) {
  ConnectionInfo info;
  info.engine = address;
  info.fingerprint = text(session.facts().fingerprint.text());
  info.roundTripMs = seconds < 0 ? -1 : seconds * 1e3;
  post([owner = m_owner, info] { Q_EMIT owner->connectionChanged(info); });
}

bool SessionController::Worker::askTrust(const EngineAddress& address,
                                         const net::Fingerprint& fingerprint, quint64 generation) {
  {
    const std::lock_guard lock(m_mutex);
    m_trustAnswer.reset();
  }
  setState(SessionState::AwaitingTrust, text("First contact with this engine"));
  const TrustQuestion question{address, text(fingerprint.text())};
  post([owner = m_owner, question] { Q_EMIT owner->trustRequested(question); });
  std::unique_lock lock(m_mutex);
  m_changed.wait(lock, [&] { return m_stopped || m_generation != generation || m_trustAnswer; });
  const bool accepted = m_generation == generation && m_trustAnswer.value_or(false);
  m_trustAnswer.reset();
  return accepted;
}

SessionOptions SessionController::Worker::options(const EngineAddress& address,
                                                  quint64 generation) {
  SessionOptions options;
  options.engine = {address.host.trimmed().toStdString(), address.port};
  options.stateDirectory = m_stateDirectory;
  options.cacheDirectory = m_cacheDirectory;
  options.patience = milliseconds(0);  // a window can wait, and says what it waits for
  {
    const std::lock_guard lock(m_mutex);
    options.bankTarget = m_bankTarget;
  }
  options.ask = [this, address, generation](const net::Fingerprint& fingerprint) {
    const bool accepted = askTrust(address, fingerprint, generation);
    if (accepted) setState(SessionState::Connecting, {});
    return accepted;
  };
  options.onMismatch = [this, address](const net::Fingerprint& pinned,
                                       const net::Fingerprint& presented) {
    const PinMismatch mismatch{address, text(pinned.text()), text(presented.text())};
    post([owner = m_owner, mismatch] { Q_EMIT owner->pinMismatch(mismatch); });
  };
  options.onBank = [this](const BankReading& reading) {
    tellBank(reading);
    const std::lock_guard lock(m_mutex);
    m_bankMoved = true;
    m_changed.notify_all();
  };
  options.log = [this](const std::string& level, const std::string& line) {
    log(text(level), text(line));
  };
  return options;
}

void SessionController::Worker::stayConnected(const EngineAddress& address, quint64 generation) {
  const QString where =
      text(net::toString(net::Endpoint{address.host.toStdString(), address.port}));
  milliseconds wait = kFirstPause;
  bool again = false;
  for (;;) {
    Error error;
    SessionOptions sessionOptions = options(address, generation);
    bool usable = true;
    if (!address.trustedFingerprint.isEmpty()) {
      auto trust = net::Fingerprint::parse(address.trustedFingerprint.toStdString());
      usable = trust.ok();
      if (usable) {
        sessionOptions.trust = *trust;
      } else {
        error = trust.error();
      }
    }
    if (usable) {
      if (!again) setState(SessionState::Connecting, text("Connecting to ") + where);
      EngineSession session(std::move(sessionOptions));
      {
        const std::lock_guard lock(m_mutex);
        if (m_stopped || m_generation != generation) return;
        m_session = &session;
      }
      Status status;
      try {
        status = session.connect();
        if (status.ok()) {
          wait = kFirstPause;
          error = serve(session, address, generation);
        } else {
          error = status.error();
        }
      } catch (const std::exception& exception) {
        error = {ErrorCode::Internal, exception.what()};
      }
      const std::lock_guard lock(m_mutex);
      m_session = nullptr;
    }
    {
      const std::lock_guard lock(m_mutex);
      if (m_stopped || m_generation != generation) return;
      tellBank({0, m_bankTarget, -1});
    }
    log(QStringLiteral("warning"), text(error.message));
    if (!isPassing(error.code)) {
      setState(SessionState::Refused, text(error.message));
      std::unique_lock lock(m_mutex);
      failJobs(error);
      // Only the user can go on: connect again, elsewhere or after removing a pin. Images that
      // arrive meanwhile are told so.
      while (!m_stopped && m_generation == generation) {
        m_changed.wait(lock);
        if (m_generation == generation) failJobs(error);
      }
      return;
    }
    if (error.code == ErrorCode::Cancelled) {
      // A classification was taken back, and the session with it: start anew, at once.
      again = false;
      continue;
    }
    again = true;
    setState(SessionState::Reconnecting,
             text(error.message) + text("; trying again in ") +
                 QString::number(std::chrono::duration_cast<std::chrono::seconds>(wait).count()) +
                 text(" s"));
    std::unique_lock lock(m_mutex);
    if (!pause(lock, generation, wait)) return;
    wait = std::min(wait * 2, kLongestPause);
  }
}

Error SessionController::Worker::serve(EngineSession& session, const EngineAddress& address,
                                       quint64 generation) {
  post([owner = m_owner, info = modelInfo(session.facts())] { Q_EMIT owner->modelChanged(info); });
  log(QStringLiteral("info"),
      text("connected to " +
           net::toString(net::Endpoint{address.host.toStdString(), address.port}) + " (" +
           session.facts().software + ", " + session.facts().security + ")"));
  if (session.facts().insecure) log(QStringLiteral("warning"), text(session.facts().trust));
  tellConnection(session, address, -1);
  tellBank(session.bank());

  SessionState told = SessionState::Connecting;
  QString toldMessage;
  auto nextPing = Clock::now();
  for (;;) {
    if (const auto broken = session.broken()) return *broken;
    if (session.preparationIsHopeless()) {
      return session.preparationError().value_or(Error{ErrorCode::Internal, "no sets"});
    }
    const auto trouble = session.preparationError();
    const bool ready = session.bank().ready > 0;
    const SessionState now = ready ? SessionState::Ready : SessionState::Preparing;
    const QString message = !ready && trouble ? text(trouble->message) : QString();
    if (told != now || message != toldMessage) {
      setState(now, message);
      told = now;
      toldMessage = message;
    }
    std::optional<Job> job;
    {
      std::unique_lock lock(m_mutex);
      const auto woken = [&] {
        return m_stopped || m_generation != generation || !m_jobs.empty() || m_bankMoved;
      };
      m_changed.wait_until(lock, nextPing, woken);
      if (m_stopped || m_generation != generation) return {ErrorCode::Cancelled, "not wanted"};
      m_bankMoved = false;
      // While no set is ready an image stays in the queue, where it can be taken back without
      // ending the session.
      if (!m_jobs.empty() && session.bank().ready > 0) {
        job = std::move(m_jobs.front());
        m_jobs.pop_front();
        m_running = job->id;
      }
    }
    if (job) {
      classifyOne(session, std::move(*job));
      told = SessionState::Classifying;
    } else if (Clock::now() >= nextPing) {
      const auto time = session.ping();
      if (time.ok() && *time) tellConnection(session, address, **time);
      nextPing = Clock::now() + kPingInterval;
    }
  }
}

void SessionController::Worker::classifyOne(EngineSession& session, Job job) {
  const quint64 id = job.id;
  setState(SessionState::Classifying, {});
  post([owner = m_owner, id] { Q_EMIT owner->started(id); });

  const auto start = Clock::now();
  bool moved = false;
  const auto progress = [&](const inference::StageProgress& stage) {
    moved = true;
    InferenceProgress told;
    told.id = id;
    told.round = static_cast<int>(stage.round);
    told.rounds = static_cast<int>(stage.rounds);
    told.bytesSent = stage.meter.bytesSent;
    told.bytesReceived = stage.meter.bytesReceived;
    told.roundMs = stage.roundSeconds * 1e3;
    told.elapsedMs = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    post([owner = m_owner, told] { Q_EMIT owner->progressed(told); });
  };
  const auto work = [&]() -> Result<Classification> {
    PILLARBOX_ASSIGN(const std::vector<float> pixels, pixelsOf(job.image, *session.facts().model));
    return session.classify(pixels, progress, [this, id] { return m_cancelled == id; });
  };
  auto outcome = work();
  const bool cancelled = m_cancelled == id;
  {
    const std::lock_guard lock(m_mutex);
    m_running = 0;
    // The engine went away while nobody looked: that is no fault of this image. It waits for the
    // next session, once.
    if (!outcome.ok() && !cancelled && !moved && !job.retried && isPassing(outcome.error().code) &&
        !m_stopped && m_wanted) {
      job.retried = true;
      m_jobs.push_front(std::move(job));
      return;
    }
  }
  if (!outcome.ok()) {
    fail(id, cancelled ? Error{ErrorCode::Cancelled, "the classification was cancelled"}
                       : outcome.error());
    return;
  }
  const models::PublicModel& model = *session.facts().model;
  ClassificationResult result;
  result.id = id;
  result.imageName = job.name;
  std::vector<std::size_t> order(outcome->probabilities.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return outcome->probabilities[a] > outcome->probabilities[b];
  });
  for (const std::size_t index : order) {
    const std::string label = index < model.labels.size()
                                  ? net::sanitizeForDisplay(model.labels[index], 256)
                                  : "class " + std::to_string(index);
    result.top.push_back({text(label), outcome->probabilities[index]});
  }
  result.rounds = static_cast<int>(outcome->rounds);
  result.bytesSent = outcome->bytesSent;
  result.bytesReceived = outcome->bytesReceived;
  result.onlineMs = outcome->onlineSeconds * 1e3;
  result.offlineBytesSent = outcome->offlineBytesSent;
  result.offlineBytesReceived = outcome->offlineBytesReceived;
  result.offlineMs = outcome->offlineSeconds * 1e3;
  result.offlineRounds = static_cast<int>(outcome->offlineRounds);
  result.setupBytesSent = outcome->setup.bytesSent;
  result.setupBytesReceived = outcome->setup.bytesReceived;
  result.setupMs = outcome->setup.seconds * 1e3;
  result.peakMemoryBytes = outcome->peakMemoryBytes;
  result.warning = text(outcome->warning);
  if (!outcome->warning.empty()) log(QStringLiteral("warning"), result.warning);
  post([owner = m_owner, result] { Q_EMIT owner->finished(result); });
}

SessionController::SessionController(const QString& stateDir, QObject* parent)
    : SessionModel(parent), m_worker(std::make_unique<Worker>(this, stateDir)) {}

SessionController::~SessionController() = default;

void SessionController::connectToEngine(const EngineAddress& address) {
  m_worker->connectTo(address);
}

void SessionController::disconnectFromEngine() {
  m_worker->disconnect();
}

void SessionController::answerTrust(bool accept) {
  m_worker->answerTrust(accept);
}

quint64 SessionController::classify(const QImage& image, const QString& imageName) {
  return m_worker->classify(image, imageName);
}

void SessionController::cancel(quint64 id) {
  m_worker->cancel(id);
}

void SessionController::setBankTarget(int sets) {
  m_worker->setBankTarget(sets);
}

SessionState SessionController::state() const {
  return m_worker->state;
}

QString SessionController::pinnedFingerprint(const QString& host, quint16 port) const {
  const auto pin = m_worker->pins().find(net::PinKind::Engine, host.trimmed().toStdString(), port);
  return pin.ok() && *pin ? text((*pin)->fingerprint.text()) : QString();
}

QVector<PinnedCertificate> SessionController::pinnedCertificates() const {
  QVector<PinnedCertificate> list;
  const auto pins = m_worker->pins().list();
  if (!pins.ok()) return list;
  for (const net::Pin& pin : *pins) {
    list.append({pin.kind == net::PinKind::Dealer, text(pin.host), pin.port,
                 text(pin.fingerprint.text()), QDateTime::fromSecsSinceEpoch(pin.since)});
  }
  return list;
}

bool SessionController::removePin(const QString& host, quint16 port) {
  return forget({false, host, port, {}, {}});
}

bool SessionController::forget(const PinnedCertificate& pin) {
  const auto removed =
      m_worker->pins().remove(pin.dealer ? net::PinKind::Dealer : net::PinKind::Engine,
                              pin.host.trimmed().toStdString(), pin.port);
  if (!removed.ok()) {
    Q_EMIT logged(QStringLiteral("error"), text(removed.error().message));
    return false;
  }
  return *removed;
}

void SessionController::probe(const EngineAddress& address) {
  m_worker->probe(address);
}

}  // namespace pillarbox::client

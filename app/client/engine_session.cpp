#include "app/client/engine_session.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

#include "app/client/engine_pin.h"
#include "engine/core/process_memory.h"
#include "net/message_io.h"
#include "net/text.h"

namespace pillarbox::client {
namespace {

using Clock = std::chrono::steady_clock;
using net::proto::ToClient;
using net::proto::ToEngine;
using Priority = SessionLine::Priority;

/// Welcome names every model of the engine.
constexpr std::size_t kMaxWelcome = net::kMaxMessageBytes;
constexpr std::size_t kMaxMessage = 4096;

/// The engine allows as many offline lines a session.
constexpr std::uint64_t kMaxParallelSets = 4;

/// A longer round trip makes it worth opening several connections.
constexpr auto kFarAway = std::chrono::milliseconds(5);

/// How long one step of preparing a set gives way to an inference.
constexpr auto kYield = std::chrono::seconds(2);

double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string bytesOf(std::span<const std::uint8_t> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

template <std::size_t N>
bool assign(std::array<std::uint8_t, N>& to, const std::string& from) {
  if (from.size() != N) return false;
  std::memcpy(to.data(), from.data(), N);
  return true;
}

Error outOfStep() {
  return {ErrorCode::Protocol, "the engine sent a message that has no place here"};
}

Error ended() {
  return {ErrorCode::Cancelled, "the session was ended"};
}

}  // namespace

EngineSession::EngineSession(SessionOptions options)
    : m_options(std::move(options)), m_target(std::max(1, m_options.bankTarget)) {}

EngineSession::~EngineSession() {
  const auto join = [this] {
    for (std::thread& preparer : m_preparers) preparer.join();
    if (m_widener.joinable()) m_widener.join();
  };
  // Says goodbye where nothing is under way on the line; a set being uploaded is cut off.
  if (const auto lease = m_line ? m_line->tryLease() : std::nullopt) {
    ToEngine message;
    message.mutable_goodbye();
    static_cast<void>(net::sendMessage(lease->channel(), message).ok());
    m_line->close();
    {
      const std::lock_guard lock(m_mutex);
      m_cancelled = true;
      if (m_provider && reading().making > 0) m_provider->cancel();
      if (m_further) m_further->cancel();
      m_changed.notify_all();
    }
    join();
    return;
  }
  cancel();
  join();
}

void EngineSession::log(const std::string& level, const std::string& line) const {
  if (m_options.log) m_options.log(level, line);
}

void EngineSession::cancel() noexcept {
  const std::lock_guard lock(m_mutex);
  m_cancelled = true;
  if (m_connector) m_connector->cancel();
  if (m_line) m_line->cancel();
  if (m_provider) m_provider->cancel();
  if (m_further) m_further->cancel();
  m_changed.notify_all();
}

void EngineSession::cancelInference() noexcept {
  const std::lock_guard lock(m_mutex);
  if (m_inferring) m_line->breakWith({ErrorCode::Cancelled, "the classification was cancelled"});
  m_changed.notify_all();
}

Status EngineSession::openConnection() {
  const net::Endpoint& engine = m_options.engine;
  PILLARBOX_ASSIGN(const EnginePin pin,
                   EnginePin::find(m_options.stateDirectory, engine, m_options.trust));
  net::ConnectOptions options;
  options.endpoint = engine;
  options.role = "engine";
  options.pin = pin.policy(m_options.ask);
  net::TlsConnector* connector = nullptr;
  {
    const std::lock_guard lock(m_mutex);
    if (m_cancelled) return ended();
    m_connector = std::make_unique<net::TlsConnector>(std::move(options));
    connector = m_connector.get();
  }
  auto transport = connector->connect();
  if (!transport.ok()) {
    const auto presented = connector->presented();
    if (!pin.changed(transport.error(), presented)) return std::move(transport).error();
    if (m_options.onMismatch) m_options.onMismatch(*pin.pinned(), *presented);
    return pin.changedError(*presented);
  }
  const auto fingerprint = (*transport)->peerFingerprint();
  if (!fingerprint) return Error{ErrorCode::Untrusted, "the engine showed no certificate"};
  m_facts.fingerprint = *fingerprint;
  m_facts.security = (*transport)->security();
  PILLARBOX_ASSIGN(const bool first, pin.keep(*fingerprint));
  if (first) log("info", "pinned " + net::toString(engine) + " " + fingerprint->text());
  const std::lock_guard lock(m_mutex);
  m_connector.reset();
  if (m_cancelled) return ended();
  m_line = std::make_unique<SessionLine>(std::move(transport).value());
  return {};
}

Status EngineSession::hello() {
  PILLARBOX_ASSIGN(const SessionLine::Lease lease, m_line->lease(Priority::Background));
  net::Channel& channel = lease.channel();
  channel.setTimeout(m_options.networkTimeout);
  ToEngine request;
  request.mutable_hello()->set_protocol_version(net::kProtocolVersion);
  request.mutable_hello()->set_software(net::softwareName());
  const auto start = Clock::now();
  PILLARBOX_TRY(net::sendMessage(channel, request));
  PILLARBOX_ASSIGN(const ToClient answer, net::receiveMessage<ToClient>(channel, kMaxWelcome));
  const bool far = Clock::now() - start > kFarAway && !net::isLoopback(m_options.engine.host);
  if (!answer.has_welcome()) return outOfStep();
  const net::proto::Welcome& welcome = answer.welcome();
  m_facts.software = net::sanitizeForDisplay(welcome.software(), 64);
  if (welcome.protocol_version() != net::kProtocolVersion) {
    return Error{ErrorCode::Version, "the engine (" + m_facts.software +
                                         ") speaks protocol version " +
                                         std::to_string(welcome.protocol_version()) +
                                         ", this program " + std::to_string(net::kProtocolVersion) +
                                         "; install the same version of Pillarbox on both sides"};
  }
  m_token = welcome.token();
  m_wantedStripes = m_options.stripes > 0 ? static_cast<std::size_t>(m_options.stripes)
                    : far                 ? net::StripedTransport::kMaxStripes
                                          : 1;
  m_wantedStripes = std::min<std::size_t>(
      {m_wantedStripes, net::StripedTransport::kMaxStripes, std::max(1U, welcome.max_stripes())});
  m_facts.maxSets = static_cast<int>(std::clamp<std::uint32_t>(welcome.max_sets(), 1, 4096));
  switch (welcome.offline_mode()) {
    case static_cast<std::uint32_t>(offline::Mode::TwoParty):
      m_facts.mode = offline::Mode::TwoParty;
      break;
    case static_cast<std::uint32_t>(offline::Mode::Dealer):
      m_facts.mode = offline::Mode::Dealer;
      break;
    case static_cast<std::uint32_t>(offline::Mode::FirstParty):
      m_facts.mode = offline::Mode::FirstParty;
      m_facts.insecure = true;
      break;
    default:
      return Error{ErrorCode::Unsupported,
                   "the engine prepares its correlations in a way that this version does not know"};
  }
  if (m_options.mode && *m_options.mode != m_facts.mode) {
    return Error{ErrorCode::Refused, std::string("the engine prepares its correlations in ") +
                                         offline::toString(m_facts.mode) + " mode, and only " +
                                         offline::toString(*m_options.mode) + " is wanted"};
  }
  std::string names;
  for (const net::proto::ModelEntry& model : welcome.models()) {
    models::Sha256 hash{};
    if (!assign(hash, model.hash())) return outOfStep();
    const std::string name = net::sanitizeForDisplay(model.name(), 64);
    if (m_options.model.empty() || model.name() == m_options.model ||
        (m_options.model.size() >= 8 && models::toHex(hash).starts_with(m_options.model))) {
      m_facts.modelHash = hash;
      return {};
    }
    names += (names.empty() ? "" : ", ") + name;
  }
  if (names.empty()) return Error{ErrorCode::NotFound, "the engine serves no model"};
  return Error{ErrorCode::NotFound,
               "the engine has no model \"" + m_options.model + "\"; it has " + names};
}

Result<OpenedModel> EngineSession::openModel(bool& declined) {
  declined = false;
  PILLARBOX_ASSIGN(const SessionLine::Lease lease, m_line->lease(Priority::Background));
  net::Channel& channel = lease.channel();
  ToEngine request;
  request.mutable_open_model()->set_hash(bytesOf(m_facts.modelHash));
  request.mutable_open_model()->set_protocol(static_cast<std::uint32_t>(m_options.protocol));
  PILLARBOX_TRY(net::sendMessage(channel, request));
  PILLARBOX_ASSIGN(const ToClient answer, net::receiveMessage<ToClient>(channel, kMaxMessage));
  if (answer.has_declined()) {
    declined = true;
    return net::errorOf(answer.declined(), "the engine");
  }
  if (!answer.has_model_opened()) return outOfStep();
  const net::proto::ModelOpened& opened = answer.model_opened();
  if (opened.description_bytes() == 0 ||
      opened.description_bytes() > models::Limits::kMaxDescriptionBytes) {
    return Error{ErrorCode::Protocol, "the engine's model description has an impossible length"};
  }
  std::vector<std::byte> bytes(opened.description_bytes());
  PILLARBOX_TRY(channel.receiveBytes(bytes));
  PILLARBOX_ASSIGN(auto description, models::parsePublicModel(bytes));
  OpenedModel model;
  model.hash = models::modelHash(description);
  if (model.hash != m_facts.modelHash) {
    return Error{ErrorCode::Protocol,
                 "the engine sent a model description that does not have the hash it announced"};
  }
  PILLARBOX_ASSIGN(model.activations,
                   inference::Activations::make(description, m_options.protocol));
  model.description = std::make_shared<const models::PublicModel>(std::move(description));
  if (m_facts.mode == offline::Mode::Dealer) {
    net::Endpoint dealer{opened.dealer().host(), 0};
    const bool named = !dealer.host.empty() && dealer.host.size() <= 255 &&
                       dealer.host == net::sanitizeForDisplay(dealer.host, 255) &&
                       dealer.host.find_first_of(" /\"") == std::string::npos &&
                       opened.dealer().port() >= 1 && opened.dealer().port() <= 65535;
    if (!named || !assign(model.dealerFingerprint.bytes, opened.dealer().fingerprint()) ||
        !assign(model.maskedWeightsHash, opened.masked_weights_hash()) ||
        opened.mask_id().size() != 16) {
      return Error{ErrorCode::Protocol, "the engine did not say where its dealer is"};
    }
    dealer.port = static_cast<std::uint16_t>(opened.dealer().port());
    model.dealer = dealer;
    model.maskId = opened.mask_id();
  }
  return model;
}

Result<OpenedModel> EngineSession::openModelPatiently() {
  const auto start = Clock::now();
  for (;;) {
    bool declined = false;
    auto opened = openModel(declined);
    const auto waited = Clock::now() - start;
    if (opened.ok() || !declined || opened.error().code != ErrorCode::Unreachable ||
        (m_options.patience.count() > 0 && waited > m_options.patience)) {
      return opened;
    }
    log("warning", opened.error().message);
    if (!pause(std::chrono::seconds(1))) return ended();
  }
}

Result<std::unique_ptr<CorrelationProvider>> EngineSession::makeProvider(OpenedModel opened) {
  if (m_facts.mode == offline::Mode::FirstParty) {
    return std::unique_ptr<CorrelationProvider>(
        std::make_unique<FirstPartyProvider>(*m_line, std::move(opened)));
  }
  if (m_facts.mode == offline::Mode::Dealer) {
    DealerProvider::Options options;
    options.token = m_token;
    options.dealer = m_options.dealer;
    options.trustDealer = m_options.trustDealer;
    options.stateDirectory = m_options.stateDirectory;
    options.cacheDirectory = m_options.cacheDirectory;
    options.networkTimeout = m_options.networkTimeout;
    options.log = m_options.log;
    return std::unique_ptr<CorrelationProvider>(
        std::make_unique<DealerProvider>(*m_line, std::move(opened), std::move(options)));
  }
  PILLARBOX_ASSIGN(auto plan, offline::two_party::SetPlan::create(
                                  opened.description, opened.activations->correlations()));
  m_facts.predicted = plan->cost();
  if (m_facts.predicted->clientMemoryBytes > m_options.offlineMemory) {
    return Error{ErrorCode::Exhausted,
                 "making a correlation set for this model takes up to " +
                     std::to_string(m_facts.predicted->clientMemoryBytes >> 20) +
                     " MiB here, more than the " + std::to_string(m_options.offlineMemory >> 20) +
                     " MiB that are allowed (pillarbox-cli: --offline-memory)"};
  }
  TwoPartyProvider::Options options;
  options.engine = m_options.engine;
  options.fingerprint = m_facts.fingerprint;
  options.token = m_token;
  options.hash = opened.hash;
  options.networkTimeout = m_options.networkTimeout;
  const int wanted = m_options.parallelSets > 0 ? m_options.parallelSets
                                                : (net::isLoopback(m_options.engine.host) ? 1 : 2);
  const auto fitting =
      m_options.offlineMemory / std::max<std::uint64_t>(1, m_facts.predicted->clientMemoryBytes);
  options.parallelSets = static_cast<int>(std::clamp<std::uint64_t>(
      std::min<std::uint64_t>(static_cast<std::uint64_t>(wanted), fitting), 1, kMaxParallelSets));
  const unsigned threads = m_options.offlineThreads > 0
                               ? m_options.offlineThreads
                               : std::max(1U, std::thread::hardware_concurrency());
  PILLARBOX_ASSIGN(auto party, offline::two_party::makeClientParty(std::move(plan), threads));
  return std::unique_ptr<CorrelationProvider>(
      std::make_unique<TwoPartyProvider>(std::move(party), std::move(options)));
}

Status EngineSession::connect() {
  PILLARBOX_TRY(openConnection());
  const auto work = [this]() -> Result<OpenedModel> {
    PILLARBOX_TRY(hello());
    return openModelPatiently();
  };
  auto opened = work();
  if (!opened.ok()) return m_line->breakWith(std::move(opened).error());
  m_facts.model = opened->description;
  m_facts.protocol = m_options.protocol;
  m_activations = opened->activations;

  auto made = makeProvider(std::move(opened).value());
  if (!made.ok()) return m_line->breakWith(std::move(made).error());
  std::unique_ptr<CorrelationProvider> provider = std::move(made).value();
  m_facts.trust = provider->trust();
  {
    const std::lock_guard lock(m_mutex);
    if (m_cancelled) return ended();
    m_provider = std::move(provider);
    if (m_wantedStripes > 1) {
      m_further = std::make_unique<FurtherStripes>(FurtherStripes::Options{
          m_options.engine, m_facts.fingerprint, m_token, m_options.networkTimeout});
    }
    m_maxTarget = m_facts.maxSets;
    m_target = std::min(m_target, m_maxTarget);
    m_lastProgress = Clock::now();
    m_preparing.assign(static_cast<std::size_t>(m_provider->parallelSets()), -1);
  }
  for (std::size_t i = 0; i < m_preparing.size(); ++i) {
    m_preparers.emplace_back([this, i] { prepareSets(i); });
  }
  if (m_further) m_widener = std::thread([this] { widen(); });
  return {};
}

/// On a thread of its own. What goes wrong before the engine agrees leaves the session as it is.
void EngineSession::widen() {
  const auto work = [this](bool& broken) -> Status {
    PILLARBOX_ASSIGN(auto further, m_further->open(m_wantedStripes));
    PILLARBOX_ASSIGN(const SessionLine::Lease lease, m_line->lease(Priority::Background));
    const auto agree = [&]() -> Result<ToClient> {
      ToEngine request;
      request.mutable_widen()->set_stripes(static_cast<std::uint32_t>(m_wantedStripes));
      PILLARBOX_TRY(net::sendMessage(lease.channel(), request));
      PILLARBOX_ASSIGN(ToClient answer,
                       net::receiveMessage<ToClient>(lease.channel(), kMaxMessage));
      if (answer.has_declined()) return answer;
      if (answer.widened().stripes() != m_wantedStripes) return outOfStep();
      return answer;
    };
    const auto answer = agree();
    broken = !answer.ok();
    if (broken) return m_line->breakWith(answer.error());
    if (answer->has_declined()) return net::errorOf(answer->declined(), "the engine");
    lease.widen(std::move(further));
    return {};
  };
  bool broken = false;
  const Status status = work(broken);
  if (!status.ok() && !broken) {
    log("info", "inferences go over one connection: " + status.error().message);
  }
}

bool EngineSession::pause(std::chrono::milliseconds time) {
  std::unique_lock lock(m_mutex);
  m_changed.wait_for(lock, time, [this] { return m_cancelled; });
  return !m_cancelled;
}

void EngineSession::setBankTarget(int sets) {
  const std::lock_guard lock(m_mutex);
  m_target = std::max(1, sets);
  m_target = std::min(m_target, m_maxTarget);
  m_changed.notify_all();
}

void EngineSession::limitSets(std::uint64_t sets) {
  const std::lock_guard lock(m_mutex);
  m_setsLeft = sets;
  m_changed.notify_all();
}

BankReading EngineSession::bank() const {
  const std::lock_guard lock(m_mutex);
  return reading();
}

BankReading EngineSession::reading() const {
  BankReading reading{static_cast<int>(m_bank.size()), m_target, -1, 0};
  for (const double fraction : m_preparing) {
    reading.preparing = std::max(reading.preparing, fraction);
    if (fraction >= 0) ++reading.making;
  }
  return reading;
}

std::optional<Error> EngineSession::preparationError() const {
  const std::lock_guard lock(m_mutex);
  return m_preparationError;
}

bool EngineSession::preparationIsHopeless() const {
  const std::lock_guard lock(m_mutex);
  return m_preparationHopeless;
}

std::optional<Error> EngineSession::broken() const {
  return m_line ? m_line->broken() : std::nullopt;
}

void EngineSession::reportBank() {
  if (m_options.onBank) m_options.onBank(bank());
}

void EngineSession::prepareSets(std::size_t preparer) {
  auto wait = std::chrono::milliseconds(100);
  for (;;) {
    {
      std::unique_lock lock(m_mutex);
      // A reading, so that an inference that waits for its set also wakes this up.
      m_changed.wait(lock, [this] {
        const int making = reading().making;
        return m_cancelled || m_preparationHopeless || m_line->broken() ||
               (static_cast<int>(m_bank.size()) + making < m_target &&
                m_setsLeft > static_cast<std::uint64_t>(making));
      });
      if (m_cancelled || m_preparationHopeless || m_line->broken()) break;
      m_preparing[preparer] = 0;
    }
    reportBank();
    Result<Ready> made = Error{ErrorCode::Internal, ""};
    try {
      made = prepareOne(preparer);
    } catch (const std::exception& exception) {
      made = Error{ErrorCode::Internal, exception.what()};
    }
    if (made.ok()) {
      {
        const std::lock_guard lock(m_mutex);
        m_bank.push_back(std::move(made).value());
        --m_setsLeft;
        m_preparing[preparer] = -1;
        m_preparationError.reset();
        m_changed.notify_all();
      }
      wait = std::chrono::milliseconds(100);
      reportBank();
      continue;
    }
    const Error error = made.error();
    const bool hopeless = error.code == ErrorCode::Untrusted || error.code == ErrorCode::Version ||
                          error.code == ErrorCode::Unsupported || error.code == ErrorCode::Internal;
    {
      const std::lock_guard lock(m_mutex);
      m_preparing[preparer] = -1;
      if (!m_cancelled) m_preparationError = error;
      m_preparationHopeless = hopeless;
      m_changed.notify_all();
      if (m_cancelled || m_line->broken()) break;
    }
    reportBank();
    log("warning", "no correlation set could be prepared: " + error.message);
    if (hopeless) return;
    // Sets are made on connections of their own: is the session's still there?
    static_cast<void>(ping().ok());
    if (!pause(wait)) break;
    wait = std::min(wait * 2, std::chrono::milliseconds(5000));
    if (m_provider->wantsRenewal(error)) {
      bool declined = false;
      auto opened = openModel(declined);
      if (opened.ok()) {
        m_provider->renew(*opened);
      } else if (!declined) {
        m_line->breakWith(opened.error());
      } else {
        const std::lock_guard lock(m_mutex);
        m_preparationError = opened.error();
      }
    }
  }
  const std::lock_guard lock(m_mutex);
  m_preparing[preparer] = -1;
  m_changed.notify_all();
}

Result<EngineSession::Ready> EngineSession::prepareOne(std::size_t preparer) {
  const auto start = Clock::now();
  PILLARBOX_ASSIGN(AssembledSet assembled, m_provider->assemble([this, preparer](double fraction) {
    {
      std::unique_lock lock(m_mutex);
      m_preparing[preparer] = fraction;
      m_lastProgress = Clock::now();
      // The next set can wait, the image cannot: leave the processor to an inference that runs. Not
      // for ever, so that whoever deals does not lose patience.
      if (m_provider->mayYield()) {
        m_changed.wait_for(lock, kYield, [this] { return !m_inferring || m_cancelled; });
      }
    }
    reportBank();
  }));
  Ready ready{std::move(assembled.set), assembled.bytesSent, assembled.bytesReceived,
              assembled.rounds, 0};
  if (!assembled.complete) {
    PILLARBOX_ASSIGN(const net::MeterReading upload,
                     uploadOpenings(ready.set.index, assembled.upload));
    ready.bytesSent += upload.bytesSent;
    ready.bytesReceived += upload.bytesReceived;
    ready.rounds += net::roundsBetween({}, upload);
  }
  ready.seconds = secondsSince(start);
  return ready;
}

Result<net::MeterReading> EngineSession::uploadOpenings(std::uint64_t index,
                                                        std::span<const std::uint64_t> openings) {
  PILLARBOX_ASSIGN(const SessionLine::Lease lease, m_line->lease(Priority::Background));
  net::Channel& channel = lease.channel();
  const net::MeterReading before = channel.meter();
  bool declined = false;
  const auto upload = [&]() -> Status {
    ToEngine request;
    request.mutable_set_upload()->set_index(index);
    PILLARBOX_TRY(net::sendMessage(channel, request));
    net::WordStreamWriter writer(channel, openings.size());
    PILLARBOX_TRY(writer.write(openings));
    PILLARBOX_ASSIGN(const ToClient answer, net::receiveMessage<ToClient>(channel, kMaxMessage));
    if (answer.has_declined()) {
      declined = true;
      return net::errorOf(answer.declined(), "the engine");
    }
    if (!answer.has_set_ready() || answer.set_ready().index() != index) return outOfStep();
    return {};
  };
  const Status uploaded = upload();
  if (!uploaded.ok()) return declined ? uploaded.error() : m_line->breakWith(uploaded.error());
  net::MeterReading cost = channel.meter();
  cost.bytesSent -= before.bytesSent;
  cost.bytesReceived -= before.bytesReceived;
  cost.depth -= before.depth;
  return cost;
}

Result<EngineSession::Ready> EngineSession::takeSet(const std::function<bool()>& cancelled) {
  std::unique_lock lock(m_mutex);
  const auto start = Clock::now();
  for (;;) {
    if (m_cancelled) return ended();
    if (cancelled && cancelled()) {
      return Error{ErrorCode::Cancelled, "the classification was cancelled"};
    }
    if (const auto broken = m_line->broken()) return *broken;
    if (!m_bank.empty()) break;
    if (m_preparationHopeless) return *m_preparationError;
    const auto since = Clock::now() - std::max(start, m_lastProgress);
    if (m_preparationError && m_options.patience.count() > 0 && since > m_options.patience) {
      return *m_preparationError;
    }
    m_changed.wait_for(lock, std::chrono::milliseconds(250));
  }
  Ready ready = std::move(m_bank.front());
  m_bank.pop_front();
  m_inferring = true;
  m_changed.notify_all();
  return ready;
}

Result<Classification> EngineSession::classify(std::span<const float> pixels,
                                               const inference::ProgressSink& progress,
                                               const std::function<bool()>& cancelled) {
  auto ready = takeSet(cancelled);
  if (!ready.ok()) return std::move(ready).error();
  reportBank();
  struct Done {
    EngineSession& session;
    ~Done() {
      const std::lock_guard lock(session.m_mutex);
      session.m_inferring = false;
      session.m_changed.notify_all();
      session.m_provider->hold(std::chrono::milliseconds(0));
    }
  } const done{*this};
  m_provider->hold(net::kLongestHold);

  const auto start = Clock::now();
  PILLARBOX_ASSIGN(const SessionLine::Lease lease, m_line->lease(Priority::Inference));
  net::Channel& channel = lease.channel();
  const net::MeterReading before = channel.meter();
  ToEngine request;
  request.mutable_start_inference()->set_index(ready->set.index);
  const auto fromStart = [&](const inference::StageProgress& stage) {
    inference::StageProgress relative = stage;
    relative.meter.bytesSent -= before.bytesSent;
    relative.meter.bytesReceived -= before.bytesReceived;
    relative.meter.framesSent -= before.framesSent;
    relative.meter.framesReceived -= before.framesReceived;
    relative.meter.depth -= before.depth;
    relative.meter.waitedSeconds -= before.waitedSeconds;
    progress(relative);
  };
  const auto run = [&]() -> Result<inference::ClientOutcome> {
    PILLARBOX_TRY(net::sendMessage(channel, request));
    return inference::runClient(
        channel, *m_facts.model, std::move(ready->set), pixels,
        progress ? inference::ProgressSink(fromStart) : inference::ProgressSink(),
        m_activations.get());
  };
  auto outcome = run();
  if (!outcome.ok()) return m_line->breakWith(std::move(outcome).error());
  const net::MeterReading after = channel.meter();
  Classification result;
  result.probabilities = std::move(outcome->probabilities);
  result.warning = std::move(outcome->warning);
  result.rounds = net::roundsBetween(before, after);
  result.bytesSent = after.bytesSent - before.bytesSent;
  result.bytesReceived = after.bytesReceived - before.bytesReceived;
  result.onlineSeconds = secondsSince(start);
  result.offlineBytesSent = ready->bytesSent;
  result.offlineBytesReceived = ready->bytesReceived;
  result.offlineSeconds = ready->seconds;
  result.offlineRounds = ready->rounds;
  result.setup = m_provider->setup();
  if (m_further) {
    result.setup.bytesSent += m_further->bytesSent();
    result.setup.bytesReceived += m_further->bytesReceived();
  }
  result.peakMemoryBytes = peakMemoryBytes();
  return result;
}

Result<std::optional<double>> EngineSession::ping() {
  const auto lease = m_line->tryLease();
  if (!lease) {
    if (const auto error = m_line->broken()) return *error;
    return std::optional<double>();
  }
  const auto start = Clock::now();
  const auto exchange = [&]() -> Status {
    ToEngine request;
    request.mutable_ping();
    PILLARBOX_TRY(net::sendMessage(lease->channel(), request));
    PILLARBOX_ASSIGN(const ToClient answer,
                     net::receiveMessage<ToClient>(lease->channel(), kMaxMessage));
    return answer.has_pong() ? Status() : Status(outOfStep());
  };
  const Status status = exchange();
  if (!status.ok()) return m_line->breakWith(status.error());
  return std::optional<double>(secondsSince(start));
}

}  // namespace pillarbox::client

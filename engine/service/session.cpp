#include "engine/service/session.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <thread>
#include <utility>

#include "engine/random/random.h"
#include "engine/service/log.h"
#include "net/message_io.h"
#include "net/text.h"

namespace pillarbox::service {
namespace {

using Clock = std::chrono::steady_clock;
using net::proto::ToClient;
using net::proto::ToEngine;

/// The longest message a client has reason to send: none holds more than a hash.
constexpr std::size_t kMaxRequestBytes = 4096;
/// Making a set takes seconds, during which either side computes or gives way to inferences: so
/// many times network_seconds may pass without a byte.
constexpr std::int64_t kOfflinePatience = 4;
/// How long a client waits for its set to be begun before it is asked to come back later.
constexpr auto kPlacePatience = std::chrono::seconds(10);

double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::chrono::milliseconds seconds(std::int64_t count) {
  return std::chrono::seconds(count);
}

std::string bytesOf(std::span<const std::uint8_t> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Error protocolError(const std::string& message) {
  return {ErrorCode::Protocol, message};
}

/// While it lives, nothing leaves on the offline lines of a session.
class HeldLines {
 public:
  explicit HeldLines(SetBank& bank) : m_bank(bank) { bank.holdLines(net::kLongestHold); }
  HeldLines(const HeldLines&) = delete;
  HeldLines& operator=(const HeldLines&) = delete;
  ~HeldLines() { m_bank.holdLines(std::chrono::milliseconds(0)); }

 private:
  SetBank& m_bank;
};

}  // namespace

EngineContext::EngineContext(EngineConfiguration settings)
    : configuration(std::move(settings)),
      team(static_cast<unsigned>(configuration.computeThreads)),
      setMemory(static_cast<std::uint64_t>(configuration.setMemoryMib) << 20),
      sessions(static_cast<std::size_t>(configuration.maxSessions)),
      offlineGate(configuration.offlineSets > 0
                      ? static_cast<std::size_t>(configuration.offlineSets)
                      : std::max<std::size_t>(1, std::thread::hardware_concurrency())) {}

Session::Session(EngineContext& context, std::uint64_t id,
                 std::unique_ptr<net::Transport> transport)
    : m_context(context),
      m_id(id),
      m_stream(new net::StripedTransport(std::move(transport))),
      m_channel(std::unique_ptr<net::Transport>(m_stream)),
      m_bank(
          std::make_shared<SetBank>(static_cast<std::size_t>(context.configuration.setsPerSession),
                                    context.setMemory, context.metrics)),
      m_dock(std::make_shared<StripeDock>(
          static_cast<std::size_t>(context.configuration.stripesPerSession))) {
  m_inferenceMemory.workspace.team = &context.team;
}

Session::~Session() = default;

void Session::run() noexcept {
  const auto start = Clock::now();
  Status status;
  m_context.metrics.sessionStarted();
  try {
    status = serve();
  } catch (const std::exception& exception) {
    status = Error{ErrorCode::Internal, std::string("a fault of the engine: ") + exception.what()};
  } catch (...) {
    status = Error{ErrorCode::Internal, "a fault of the engine"};
  }
  try {
    const bool left = !status.ok() && status.error().code == ErrorCode::Closed;
    if (!status.ok() && (!left || isDraining())) {
      // What happened inside the engine is for its log; the client learns that it was no fault of
      // its own.
      m_channel.sendFailure(status.error().code == ErrorCode::Internal
                                ? Error{ErrorCode::Internal, "the engine failed; see its log"}
                                : status.error());
    }
    {
      const std::lock_guard lock(m_mutex);
      m_phase = Phase::Ended;
    }
    m_bank->close();
    m_dock->close();
    m_context.sessions.remove(m_token);
    m_correlations.reset();
    countTraffic(false);
    if (!status.ok() && !left) m_context.metrics.countFailure("session", status.error().code);
    logEnd(status, secondsSince(start));
  } catch (...) {
    // Logging failed: there is nobody left to tell.
  }
  m_context.metrics.sessionEnded();
}

void Session::countTraffic(bool online) {
  const net::MeterReading now = m_channel.meter();
  m_context.metrics.countTraffic(online, m_counted, now);
  m_counted = now;
}

void Session::drain() noexcept {
  const std::lock_guard lock(m_mutex);
  m_draining = true;
  if (m_phase != Phase::Idle && m_phase != Phase::Busy) return;
  if (m_phase == Phase::Idle) {
    m_channel.sendFailure({ErrorCode::Closed, "the engine is shutting down"});
  }
  m_channel.cancel();
}

void Session::cancel() noexcept {
  m_channel.cancel();
}

bool Session::isDraining() {
  const std::lock_guard lock(m_mutex);
  return m_draining;
}

Status Session::enter(Phase phase) {
  const std::lock_guard lock(m_mutex);
  m_phase = phase;
  if (m_draining) return Error{ErrorCode::Closed, "the engine is shutting down"};
  return {};
}

Status Session::conclude(const ToClient& reply) {
  PILLARBOX_TRY(enter(Phase::Answering));
  return net::sendMessage(m_channel, reply);
}

Status Session::serve() {
  m_channel.setTimeout(seconds(m_context.configuration.handshakeSeconds));
  if (m_refused) return m_refusal;
  PILLARBOX_TRY(welcome());
  if (m_kind == Kind::OfflineLine) return serveLine();
  if (m_kind == Kind::Stripe) return serveStripe();
  logEvent(LogLevel::Info, "session_start",
           {{"session", m_id}, {"peer", m_channel.peer()}, {"software", m_software}});
  for (;;) {
    PILLARBOX_TRY(enter(Phase::Idle));
    m_channel.setTimeout(seconds(m_context.configuration.idleSeconds));
    PILLARBOX_ASSIGN(const ToEngine request,
                     net::receiveMessage<ToEngine>(m_channel, kMaxRequestBytes));
    if (request.has_goodbye()) return {};
    PILLARBOX_TRY(enter(request.has_start_inference() ? Phase::Inference : Phase::Busy));
    m_channel.setTimeout(seconds(m_context.configuration.networkSeconds));
    const Status handled = handle(request);
    countTraffic(false);  // an inference has counted its own
    PILLARBOX_TRY(handled);
  }
}

Status Session::welcome() {
  PILLARBOX_ASSIGN(const ToEngine request,
                   net::receiveMessage<ToEngine>(m_channel, kMaxRequestBytes));
  if (!request.has_hello()) return protocolError("the client did not begin with Hello");
  m_software = net::sanitizeForDisplay(request.hello().software(), 64);
  if (request.hello().protocol_version() != net::kProtocolVersion) {
    return Error{ErrorCode::Version, "the client speaks protocol version " +
                                         std::to_string(request.hello().protocol_version()) +
                                         ", this engine " + std::to_string(net::kProtocolVersion) +
                                         "; install the same version of Pillarbox on both sides"};
  }
  if (request.hello().offline_line()) m_kind = Kind::OfflineLine;
  if (request.hello().stripe()) m_kind = Kind::Stripe;
  if (m_kind == Kind::Session) {
    PILLARBOX_TRY(random::systemRandom(m_token));
    PILLARBOX_TRY(m_context.sessions.add(m_token, {m_bank, m_dock}));
  }
  ToClient reply;
  net::proto::Welcome& welcome = *reply.mutable_welcome();
  welcome.set_protocol_version(net::kProtocolVersion);
  welcome.set_software(net::softwareName());
  welcome.set_offline_mode(static_cast<std::uint32_t>(m_context.correlations->mode()));
  if (m_kind == Kind::Session) welcome.set_token(bytesOf(m_token));
  welcome.set_max_stripes(static_cast<std::uint32_t>(m_context.configuration.stripesPerSession));
  welcome.set_max_sets(static_cast<std::uint32_t>(m_context.configuration.setsPerSession));
  for (const auto& model : *m_context.models.current()) {
    net::proto::ModelEntry& entry = *welcome.add_models();
    entry.set_name(model->description().name);
    entry.set_hash(bytesOf(model->hash()));
  }
  return net::sendMessage(m_channel, reply);
}

Status Session::handle(const ToEngine& request) {
  switch (request.message_case()) {
    case ToEngine::kPing: {
      ToClient reply;
      reply.mutable_pong();
      return conclude(reply);
    }
    case ToEngine::kOpenModel:
      return openModel(request.open_model());
    case ToEngine::kFetchMaskedWeights:
      return fetchMaskedWeights(request.fetch_masked_weights());
    case ToEngine::kPrepareSet:
      return prepareSet(request.prepare_set().index());
    case ToEngine::kSetUpload:
      return receiveSet(request.set_upload().index());
    case ToEngine::kStartInference:
      return infer(request.start_inference().index());
    case ToEngine::kWiden:
      return widen(request.widen().stripes());
    case ToEngine::kHello:
    case ToEngine::kGoodbye:
    case ToEngine::kAttachOffline:
    case ToEngine::kPrepareKeys:
    case ToEngine::kFinishSet:
    case ToEngine::kAttachStripe:
    case ToEngine::MESSAGE_NOT_SET:
      break;
  }
  return protocolError("the client sent a message that has no place here");
}

Status Session::decline(const Error& error) {
  logError(LogLevel::Warning, "request_declined", error,
           {{"session", m_id}, {"peer", m_channel.peer()}});
  m_context.metrics.countFailure("request", error.code);
  ToClient reply;
  *reply.mutable_declined() = net::declinedBy(error);
  return conclude(reply);
}

Status Session::openModel(const net::proto::OpenModel& request) {
  const auto asked = [&request](const auto& model) {
    return model && bytesOf(model->hash()) == request.hash();
  };
  const auto models = m_context.models.current();
  const auto found = std::find_if(models->begin(), models->end(), asked);
  // A session may open the model that it has once more after an administrator took it off the list.
  const auto model = found != models->end()   ? *found
                     : asked(m_opening.model) ? m_opening.model
                                              : nullptr;
  if (!model) {
    return Error{ErrorCode::NotFound,
                 "this engine has no model with that description; it may have been replaced since "
                 "you connected"};
  }
  const auto protocol = offline::protocolNumbered(request.protocol());
  if (!protocol || !m_context.configuration.serves(*protocol)) {
    std::string served;
    for (const std::string& name : m_context.configuration.protocols) {
      served += (served.empty() ? "" : ", ") + name;
    }
    return decline({ErrorCode::Unsupported,
                    std::string("this engine does not evaluate activations by ") +
                        (protocol ? offline::toString(*protocol) : "a protocol of that number") +
                        "; it serves " + served});
  }
  const auto activations = model->activations(*protocol);
  if (!activations.ok()) return decline(activations.error());
  // Sets made for another model or protocol are worthless; those for this one stay good when a
  // client opens it again because the dealer came back (SetBank::open).
  m_opening = {model, *protocol};
  m_activations = *activations;
  m_bank->open(m_opening);
  m_correlations.reset();
  auto opened = m_context.correlations->open(m_token, m_opening);
  if (!opened.ok()) return decline(opened.error());
  m_correlations = std::move(opened).value();

  const std::string description = models::serialize(model->description());
  ToClient reply;
  net::proto::ModelOpened& answer = *reply.mutable_model_opened();
  answer.set_description_bytes(static_cast<std::uint32_t>(description.size()));
  if (const auto dealing = m_correlations->dealing()) {
    answer.set_mask_id(bytesOf(dealing->maskId));
    answer.set_masked_weights_hash(bytesOf(dealing->maskedWeightsHash));
    answer.mutable_dealer()->set_host(dealing->dealer.address.host);
    answer.mutable_dealer()->set_port(dealing->dealer.address.port);
    answer.mutable_dealer()->set_fingerprint(bytesOf(dealing->dealer.fingerprint.bytes));
  }
  PILLARBOX_TRY(conclude(reply));
  return m_channel.send(net::FrameKind::Bytes, std::as_bytes(std::span(description)));
}

Status Session::fetchMaskedWeights(const net::proto::FetchMaskedWeights& request) {
  if (!m_correlations) return protocolError("the client has opened no model");
  MaskId id{};
  if (request.mask_id().size() != id.size()) return protocolError("a mask id has the wrong length");
  std::memcpy(id.data(), request.mask_id().data(), id.size());
  const auto weights = m_correlations->maskedWeights(id);
  if (!weights.ok()) return decline(weights.error());
  const std::uint64_t words = m_opening.model->description().weightCount();
  ToClient reply;
  reply.mutable_masked_weights()->set_words(words);
  PILLARBOX_TRY(net::sendMessage(m_channel, reply));
  net::WordStreamWriter writer(m_channel, words);
  return (*weights)->toWords([&writer](auto piece) { return writer.write(piece); });
}

Status Session::prepareSet(std::uint64_t index) {
  if (!m_correlations) return protocolError("the client has opened no model");
  if (index <= m_dealtIndex) {
    return protocolError("correlation set " + std::to_string(index) + " was dealt before");
  }
  m_dealtIndex = index;
  if (m_bank->ready() >= static_cast<std::size_t>(m_context.configuration.setsPerSession)) {
    return decline({ErrorCode::Exhausted, "this session has its full number of sets"});
  }
  const auto start = Clock::now();
  const Status status = m_correlations->prepare(m_channel, index);
  m_dealingSeconds = secondsSince(start);
  m_offlineSeconds += m_dealingSeconds;
  if (!status.ok() && status.error().code == ErrorCode::Refused) return decline(status.error());
  return status;
}

Status Session::receiveSet(std::uint64_t index) {
  if (!m_correlations) return protocolError("the client has opened no model");
  const auto start = Clock::now();
  const models::PublicModel& model = m_opening.model->description();
  const offline::CorrelationPlan& plan = m_activations->correlations();
  const offline::OfflineCost cost = offline::offlineCost(model, plan);
  auto preparation = SetBank::begin(m_bank, m_opening, index, cost.engineMemoryBytes);
  if (!preparation.ok() && preparation.error().code == ErrorCode::Protocol) {
    return preparation.error();
  }
  net::WordStreamReader reader(m_channel, cost.clientWords);
  // The words are on their way, whatever is wrong with the set: read them, keep nothing, and answer
  // when the channel is in step again.
  const auto refuse = [&](const Error& error) -> Status {
    PILLARBOX_TRY(reader.drain());
    return decline(error);
  };
  if (!preparation.ok()) return refuse(preparation.error());
  const auto seed = m_correlations->takeSeed(index);
  if (!seed.ok()) return refuse(seed.error());
  PILLARBOX_ASSIGN(auto set, offline::assembleEngineSet(
                                 model, index, *seed,
                                 [&reader](auto piece) { return reader.read(piece); }, plan));
  PILLARBOX_TRY(std::move(preparation).value().deposit(std::move(set)));
  const double elapsed = secondsSince(start);
  m_offlineSeconds += elapsed;
  m_context.metrics.countPreparation(std::exchange(m_dealingSeconds, 0) + elapsed);
  ToClient reply;
  reply.mutable_set_ready()->set_index(index);
  return conclude(reply);
}

Result<SessionParts> Session::sessionOf(const std::string& token) const {
  Token wanted{};
  if (token.size() != wanted.size()) return protocolError("a session's token has the wrong length");
  std::memcpy(wanted.data(), token.data(), wanted.size());
  return m_context.sessions.find(wanted);
}

Status Session::serveStripe() {
  PILLARBOX_ASSIGN(const ToEngine request,
                   net::receiveMessage<ToEngine>(m_channel, kMaxRequestBytes));
  if (!request.has_attach_stripe()) {
    return protocolError("a stripe does not begin with AttachStripe");
  }
  PILLARBOX_ASSIGN(const SessionParts session, sessionOf(request.attach_stripe().token()));
  PILLARBOX_ASSIGN(auto berth, StripeDock::reserve(session.dock, request.attach_stripe().number()));
  ToClient reply;
  reply.mutable_stripe_attached();
  PILLARBOX_TRY(conclude(reply));  // from here on nobody else sends on this channel
  std::move(berth).leave(m_stream->release());
  return {};
}

Status Session::widen(std::size_t stripes) {
  auto further = m_dock->take(stripes);
  if (!further.ok()) {
    return further.error().code == ErrorCode::Exhausted ? decline(further.error())
                                                        : Status(further.error());
  }
  ToClient reply;
  reply.mutable_widened()->set_stripes(static_cast<std::uint32_t>(stripes));
  PILLARBOX_TRY(conclude(reply));
  m_stream->widen(std::move(further).value());
  return {};
}

Status Session::serveLine() {
  PILLARBOX_ASSIGN(const ToEngine request,
                   net::receiveMessage<ToEngine>(m_channel, kMaxRequestBytes));
  if (!request.has_attach_offline()) {
    return protocolError("an offline line does not begin with AttachOffline");
  }
  models::Sha256 hash{};
  if (request.attach_offline().hash().size() != hash.size()) {
    return protocolError("AttachOffline has the wrong length");
  }
  std::memcpy(hash.data(), request.attach_offline().hash().data(), hash.size());
  PILLARBOX_ASSIGN(const SessionParts session, sessionOf(request.attach_offline().token()));
  const std::shared_ptr<SetBank>& bank = session.bank;
  m_channel.setSendLimits({.background = true});
  PILLARBOX_ASSIGN(const auto line, SetBank::attach(bank, hash, m_channel));
  m_opening = bank->opening();
  if (!m_opening.model || m_opening.model->hash() != hash) {
    return Error{ErrorCode::Closed, "the session has opened another model meanwhile"};
  }
  PILLARBOX_ASSIGN(const auto party, m_context.correlations->party(m_opening));
  ToClient reply;
  reply.mutable_offline_attached()->set_has_keys(bank->hasKeys());
  PILLARBOX_TRY(net::sendMessage(m_channel, reply));
  logEvent(LogLevel::Info, "offline_line",
           {{"session", m_id}, {"peer", m_channel.peer()}, {"software", m_software}});
  const auto patience = kOfflinePatience * m_context.configuration.networkSeconds;
  for (;;) {
    // The line waits as long as its session lives, which cancels it when it ends.
    PILLARBOX_TRY(enter(Phase::Idle));
    m_channel.setTimeout(std::chrono::milliseconds(0));
    PILLARBOX_ASSIGN(const ToEngine next,
                     net::receiveMessage<ToEngine>(m_channel, kMaxRequestBytes));
    if (next.has_goodbye()) return {};
    PILLARBOX_TRY(enter(Phase::Busy));
    m_channel.setTimeout(seconds(patience));
    if (next.has_prepare_keys()) {
      PILLARBOX_ASSIGN(auto memory, bank->expectKeys(party->cost().engineKeyMemoryBytes));
      PILLARBOX_ASSIGN(auto keys, party->receiveKeys(m_channel));
      PILLARBOX_TRY(bank->setKeys(m_opening, std::move(keys), std::move(memory)));
      ToClient ready;
      ready.mutable_keys_ready();
      PILLARBOX_TRY(conclude(ready));
    } else if (next.has_prepare_set()) {
      PILLARBOX_TRY(makeSet(line, *party, next.prepare_set().index()));
    } else {
      return protocolError("the client sent a message that has no place on an offline line");
    }
  }
}

Status Session::makeSet(const SetBank::Attachment& line,
                        const offline::two_party::EngineParty& party, std::uint64_t index) {
  const auto start = Clock::now();
  auto preparation =
      SetBank::begin(line.shared(), m_opening, index, party.cost().engineMemoryBytes);
  if (!preparation.ok()) {
    return preparation.error().code == ErrorCode::Exhausted ? decline(preparation.error())
                                                            : Status(preparation.error());
  }
  if (!preparation->keys()) {
    return protocolError("the client asked for a set before it sent its keys");
  }
  const auto place = m_context.offlineGate.enter(kPlacePatience);
  if (!place.ok()) return decline(place.error());
  ToClient started;
  started.mutable_set_started()->set_index(index);
  PILLARBOX_TRY(net::sendMessage(m_channel, started));
  const net::MeterReading before = m_channel.meter();
  auto made = party.makeSet(m_channel, *preparation->keys(), index, [this](double) -> Status {
    m_context.offlineGate.giveWay();
    return {};
  });
  if (!made.ok()) m_context.accelerator.review(made.error());
  PILLARBOX_ASSIGN(auto set, std::move(made));
  PILLARBOX_ASSIGN(const ToEngine finish,
                   net::receiveMessage<ToEngine>(m_channel, kMaxRequestBytes));
  if (!finish.has_finish_set() || finish.finish_set().index() != index) {
    return protocolError("the client did not finish correlation set " + std::to_string(index));
  }
  PILLARBOX_TRY(std::move(preparation).value().deposit(std::move(set)));
  const net::MeterReading after = m_channel.meter();
  const double elapsed = secondsSince(start);
  m_offlineSeconds += elapsed;
  m_context.metrics.countPreparation(elapsed);
  countTraffic(false);
  logEvent(LogLevel::Info, "set_made",
           {{"session", m_id},
            {"set", index},
            {"protocol", offline::nameOf(m_opening.protocol)},
            {"rounds", net::roundsBetween(before, after)},
            {"bytes_sent", after.bytesSent - before.bytesSent},
            {"bytes_received", after.bytesReceived - before.bytesReceived},
            {"offline_ms", elapsed * 1e3},
            {"waited_ms", (after.waitedSeconds - before.waitedSeconds) * 1e3}});
  ToClient ready;
  ready.mutable_set_ready()->set_index(index);
  return conclude(ready);
}

Status Session::infer(std::uint64_t index) {
  if (!m_opening.model) return protocolError("the client has opened no model");
  const auto now = Clock::now();
  if (m_context.configuration.inferencesPerMinute > 0) {
    while (!m_recent.empty() && now - m_recent.front() > std::chrono::minutes(1)) {
      m_recent.pop_front();
    }
    if (m_recent.size() >= static_cast<std::size_t>(m_context.configuration.inferencesPerMinute)) {
      return Error{ErrorCode::Exhausted,
                   "this engine allows " +
                       std::to_string(m_context.configuration.inferencesPerMinute) +
                       " inferences a minute; connect again later"};
    }
    m_recent.push_back(now);
  }
  PILLARBOX_ASSIGN(SetBank::Taken taken, m_bank->take(index));
  const OfflineGate::Inference priority(m_context.offlineGate);
  const HeldLines held(*m_bank);
  const net::MeterReading before = m_channel.meter();
  const auto [status, device] = m_context.accelerator.infer(
      m_channel, m_opening.model, std::move(taken.set), [this](offline::EngineSet own) {
        return inference::runEngine(m_channel, *m_opening.model, std::move(own), &m_inferenceMemory,
                                    m_activations.get());
      });
  const net::MeterReading after = m_channel.meter();
  const double elapsed = secondsSince(now);
  const double waited = after.waitedSeconds - before.waitedSeconds;
  ++m_inferences;
  const std::uint32_t rounds = net::roundsBetween(before, after);
  countTraffic(true);  // StartInference included, as the client counts it
  if (status.ok()) {
    m_context.metrics.countInference(rounds, elapsed, waited);
  } else {
    m_context.metrics.countFailure("inference", status.error().code);
  }
  m_onlineRounds += rounds;
  m_onlineBytesSent += after.bytesSent - before.bytesSent;
  m_onlineBytesReceived += after.bytesReceived - before.bytesReceived;
  m_onlineSeconds += elapsed;
  logEvent(status.ok() ? LogLevel::Info : LogLevel::Warning, "inference",
           {{"session", m_id},
            {"set", index},
            {"device", device},
            {"protocol", offline::nameOf(m_opening.protocol)},
            {"result", status.ok() ? "ok" : toString(status.error().code)},
            {"rounds", rounds},
            {"bytes_sent", after.bytesSent - before.bytesSent},
            {"bytes_received", after.bytesReceived - before.bytesReceived},
            {"online_ms", elapsed * 1e3},
            {"waited_ms", waited * 1e3}});
  return status;
}

void Session::logEnd(const Status& status, double seconds) const {
  const net::MeterReading meter = m_channel.meter();
  const auto& model = m_opening.model;
  std::vector<LogField> fields = {{"session", m_id},
                                  {"peer", m_channel.peer()},
                                  {"model", model ? model->description().name : "none"},
                                  {"protocol", offline::nameOf(m_opening.protocol)},
                                  {"result", status.ok() ? "ok" : toString(status.error().code)},
                                  {"seconds", seconds},
                                  {"sets", m_bank->prepared()},
                                  {"inferences", m_inferences},
                                  {"rounds", m_onlineRounds},
                                  {"online_bytes_sent", m_onlineBytesSent},
                                  {"online_bytes_received", m_onlineBytesReceived},
                                  {"offline_seconds", m_offlineSeconds},
                                  {"online_seconds", m_onlineSeconds},
                                  {"waited_seconds", meter.waitedSeconds},
                                  {"bytes_sent", meter.bytesSent},
                                  {"bytes_received", meter.bytesReceived}};
  if (!status.ok()) fields.emplace_back("error", status.error().message);
  const bool usual = status.ok() || status.error().code == ErrorCode::Closed;
  logEvent(usual ? LogLevel::Info : LogLevel::Warning,
           m_kind == Kind::Session       ? "session_end"
           : m_kind == Kind::OfflineLine ? "offline_line_end"
                                         : "stripe",
           fields);
}

}  // namespace pillarbox::service

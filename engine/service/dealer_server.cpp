#include "engine/service/dealer_server.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>

#include "engine/random/random.h"
#include "engine/service/log.h"
#include "net/message_io.h"
#include "net/text.h"

namespace pillarbox::service {
namespace {

using Clock = std::chrono::steady_clock;
using net::proto::FromDealer;
using net::proto::ToDealer;

constexpr std::size_t kMaxRequestBytes = 4096;
/// What is dealt in one turn before the thread goes to write it: 4 MiB.
constexpr std::size_t kTurnWords = std::size_t{1} << 19;

std::chrono::milliseconds seconds(std::int64_t count) {
  return std::chrono::seconds(count);
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

Error protocolError(const std::string& message) {
  return {ErrorCode::Protocol, message};
}

}  // namespace

DealerState::DealerState(const DealerConfiguration& configuration)
    : m_configuration(configuration),
      m_modelMemory(static_cast<std::uint64_t>(configuration.modelMemoryMib) << 20),
      m_freeTurns(configuration.dealingThreads) {}

void DealerState::Turn::take() {
  std::unique_lock lock(m_state.m_turnMutex);
  m_state.m_turnFree.wait(lock, [this] { return m_state.m_freeTurns > 0; });
  --m_state.m_freeTurns;
  m_held = true;
}

void DealerState::Turn::giveBack() {
  {
    const std::lock_guard lock(m_state.m_turnMutex);
    ++m_state.m_freeTurns;
  }
  m_held = false;
  m_state.m_turnFree.notify_one();
}

DealerConnection::DealerConnection(DealerState& state, std::uint64_t id,
                                   std::unique_ptr<net::Transport> transport)
    : m_state(state), m_id(id), m_line(std::make_shared<DealerLine>(std::move(transport))) {}

DealerConnection::~DealerConnection() = default;

void DealerConnection::run() noexcept {
  const auto start = Clock::now();
  Status status;
  try {
    status = serve();
  } catch (const std::exception& exception) {
    status = Error{ErrorCode::Internal, std::string("a fault of the dealer: ") + exception.what()};
  } catch (...) {
    status = Error{ErrorCode::Internal, "a fault of the dealer"};
  }
  try {
    forgetEngine();
    const bool left = !status.ok() && status.error().code == ErrorCode::Closed;
    if (!status.ok() && (!left || isDraining())) {
      m_line->channel.sendFailure(status.error().code == ErrorCode::Internal
                                      ? Error{ErrorCode::Internal, "the dealer failed; see its log"}
                                      : status.error());
    }
    const net::MeterReading meter = m_line->channel.meter();
    std::vector<LogField> fields = {
        {"connection", m_id},
        {"peer", m_line->channel.peer()},
        {"role", m_role},
        {"result", status.ok() ? "ok" : toString(status.error().code)},
        {"seconds", std::chrono::duration<double>(Clock::now() - start).count()},
        {"sets", m_dealt},
        {"dealing_seconds", m_dealingSeconds},
        {"bytes_sent", meter.bytesSent},
        {"bytes_received", meter.bytesReceived}};
    if (!status.ok()) fields.emplace_back("error", status.error().message);
    const bool usual = status.ok() || status.error().code == ErrorCode::Closed;
    logEvent(usual ? LogLevel::Info : LogLevel::Warning, "connection_end", fields);
  } catch (...) {
    // Logging failed: there is nobody left to tell.
  }
}

void DealerConnection::drain() noexcept {
  const std::lock_guard lock(m_mutex);
  m_draining = true;
  if (m_dealing) return;
  m_line->channel.sendFailure({ErrorCode::Closed, "the dealer is shutting down"});
  m_line->channel.cancel();
}

void DealerConnection::cancel() noexcept {
  m_line->channel.cancel();
}

bool DealerConnection::isDraining() {
  const std::lock_guard lock(m_mutex);
  return m_draining;
}

Status DealerConnection::enter(bool dealing) {
  const std::lock_guard lock(m_mutex);
  m_dealing = dealing;
  if (m_draining) return Error{ErrorCode::Closed, "the dealer is shutting down"};
  return {};
}

Status DealerConnection::reply(const FromDealer& message) {
  const std::lock_guard lock(m_line->write);
  return net::sendMessage(m_line->channel, message);
}

Status DealerConnection::decline(const Error& error) {
  logError(LogLevel::Warning, "request_declined", error,
           {{"connection", m_id}, {"peer", m_line->channel.peer()}});
  FromDealer message;
  *message.mutable_declined() = net::declinedBy(error);
  return reply(message);
}

Status DealerConnection::serve() {
  net::Channel& channel = m_line->channel;
  channel.setTimeout(seconds(m_state.m_configuration.handshakeSeconds));
  if (m_refused) return m_refusal;
  PILLARBOX_ASSIGN(const ToDealer request,
                   net::receiveMessage<ToDealer>(channel, kMaxRequestBytes));
  if (!request.has_hello()) return protocolError("the peer did not begin with DealerHello");
  if (request.hello().protocol_version() != net::kProtocolVersion) {
    return Error{ErrorCode::Version, "the peer speaks protocol version " +
                                         std::to_string(request.hello().protocol_version()) +
                                         ", this dealer " + std::to_string(net::kProtocolVersion) +
                                         "; install the same version of Pillarbox everywhere"};
  }
  const auto role = request.hello().role();
  if (role != net::proto::DEALER_ROLE_ENGINE && role != net::proto::DEALER_ROLE_CLIENT) {
    return protocolError("the peer is neither an engine nor a client");
  }
  m_role = role == net::proto::DEALER_ROLE_ENGINE ? "engine" : "client";
  FromDealer answer;
  answer.mutable_welcome()->set_protocol_version(net::kProtocolVersion);
  answer.mutable_welcome()->set_software(net::softwareName());
  PILLARBOX_TRY(reply(answer));
  logEvent(LogLevel::Info, "connection_start",
           {{"connection", m_id},
            {"peer", channel.peer()},
            {"role", m_role},
            {"software", net::sanitizeForDisplay(request.hello().software(), 64)}});
  return role == net::proto::DEALER_ROLE_ENGINE ? serveEngine() : serveClient();
}

Status DealerConnection::serveEngine() {
  net::Channel& channel = m_line->channel;
  // Engines say something at least every ten seconds; a push to one that does not read must not
  // hold a client for longer than this either.
  channel.setTimeout(seconds(m_state.m_configuration.networkSeconds));
  for (;;) {
    PILLARBOX_ASSIGN(const ToDealer request,
                     net::receiveMessage<ToDealer>(channel, kMaxRequestBytes));
    switch (request.message_case()) {
      case ToDealer::kRegisterModel:
        PILLARBOX_TRY(registerModel(request.register_model().description_bytes()));
        break;
      case ToDealer::kRegisterSession:
        PILLARBOX_TRY(registerSession(request.register_session()));
        break;
      case ToDealer::kCloseSession:
        PILLARBOX_TRY(closeSession(request.close_session()));
        break;
      case ToDealer::kPing: {
        FromDealer answer;
        answer.mutable_pong();
        PILLARBOX_TRY(reply(answer));
        break;
      }
      case ToDealer::kGoodbye:
        return {};
      default:
        return protocolError("the engine sent a message that has no place here");
    }
  }
}

Status DealerConnection::registerModel(std::uint32_t descriptionBytes) {
  if (descriptionBytes == 0 || descriptionBytes > models::Limits::kMaxDescriptionBytes) {
    return protocolError("a description has an impossible length");
  }
  std::vector<std::byte> bytes(descriptionBytes);
  PILLARBOX_TRY(m_line->channel.receiveBytes(bytes));
  auto parsed = models::parsePublicModel(bytes);
  if (!parsed.ok()) return std::move(parsed).error();

  const DealerConfiguration& limits = m_state.m_configuration;
  // An engine whose weights changed registers their description again and gets another A. Sessions
  // that are registered for the old one keep it.
  const models::Sha256 hash = models::modelHash(*parsed);
  const auto old = std::find_if(m_models.begin(), m_models.end(),
                                [&hash](const auto& known) { return known->hash == hash; });
  if (old != m_models.end()) {
    m_models.erase(old);
    const std::lock_guard lock(m_state.m_mutex);
    --m_state.m_modelCount;
  }
  if (m_models.size() >= static_cast<std::size_t>(limits.maxModelsPerEngine)) {
    return Error{ErrorCode::Exhausted, "this dealer takes at most " +
                                           std::to_string(limits.maxModelsPerEngine) +
                                           " models of one engine (limits.max_models_per_engine)"};
  }
  PILLARBOX_ASSIGN(auto memory, m_state.m_modelMemory.reserve(8 * parsed->weightCount(),
                                                              "weight masks at the dealer"));
  {
    const std::lock_guard lock(m_state.m_mutex);
    if (m_state.m_modelCount >= limits.maxModels) {
      return Error{ErrorCode::Exhausted,
                   "this dealer has its full number of models (limits.max_models)"};
    }
    ++m_state.m_modelCount;
  }
  struct Count {
    DealerState& state;
    bool keep = false;
    ~Count() {
      if (keep) return;
      const std::lock_guard lock(state.m_mutex);
      --state.m_modelCount;
    }
  } count{m_state};

  PILLARBOX_ASSIGN(const random::Seed seed, random::freshSeed());
  auto model = std::make_shared<DealerModel>();
  PILLARBOX_TRY(random::systemRandom(model->maskId));
  model->weightMask = offline::WideWeights::expand(*parsed, seed);
  model->hash = hash;
  model->description = std::move(parsed).value();
  model->memory = std::move(memory);

  FromDealer answer;
  answer.mutable_model_registered()->set_hash(bytesOf(model->hash));
  answer.mutable_model_registered()->set_mask_id(bytesOf(model->maskId));
  logEvent(LogLevel::Info, "model_registered",
           {{"connection", m_id},
            {"model", net::sanitizeForDisplay(model->description.name, 64)},
            {"hash", models::toHex(model->hash)},
            {"weights", model->description.weightCount()}});
  m_models.push_back(std::move(model));
  count.keep = true;
  const std::lock_guard lock(m_line->write);
  PILLARBOX_TRY(net::sendMessage(m_line->channel, answer));
  return m_line->channel.send(net::FrameKind::Bytes, std::as_bytes(std::span(seed.bytes)));
}

Status DealerConnection::registerSession(const net::proto::RegisterSession& request) {
  Token token{};
  if (!assign(token, request.token())) return protocolError("a token has the wrong length");
  std::shared_ptr<const DealerModel> model;
  for (const auto& known : m_models) {
    if (bytesOf(known->hash) == request.hash()) model = known;
  }
  if (!model) return protocolError("the engine did not register this model");
  const auto protocol = offline::protocolNumbered(request.protocol());
  if (!protocol) return protocolError("the engine named no activation protocol that exists");
  const auto made = inference::Activations::make(model->description, *protocol);
  if (!made.ok()) return decline(made.error());
  const auto& activations = *made;
  {
    const std::lock_guard lock(m_state.m_mutex);
    const auto found = m_state.m_sessions.find(token);
    if (found != m_state.m_sessions.end()) {
      // Somebody else's token would be a collision of 128 random bits, or an attempt.
      if (found->second.engine != m_line) return protocolError("this token is taken");
      if (found->second.model != model ||
          found->second.activations->protocol() != activations->protocol()) {
        found->second = {m_line, model, activations, 0};
      }
    } else if (m_state.m_sessions.size() >=
               static_cast<std::size_t>(m_state.m_configuration.maxSessions)) {
      model.reset();
    } else {
      m_state.m_sessions.emplace(token, DealerState::Entry{m_line, model, activations, 0});
    }
  }
  if (!model) {
    return decline({ErrorCode::Exhausted, "the dealer has its full number of sessions"});
  }
  FromDealer answer;
  answer.mutable_session_registered()->set_token(request.token());
  return reply(answer);
}

Status DealerConnection::closeSession(const net::proto::CloseSession& request) {
  Token token{};
  if (!assign(token, request.token())) return protocolError("a token has the wrong length");
  const std::lock_guard lock(m_state.m_mutex);
  const auto found = m_state.m_sessions.find(token);
  if (found != m_state.m_sessions.end() && found->second.engine == m_line) {
    m_state.m_sessions.erase(found);
  }
  return {};
}

void DealerConnection::forgetEngine() {
  const std::lock_guard lock(m_state.m_mutex);
  std::erase_if(m_state.m_sessions,
                [this](const auto& entry) { return entry.second.engine == m_line; });
  m_state.m_modelCount -= static_cast<std::int64_t>(m_models.size());
  m_models.clear();
}

Status DealerConnection::serveClient() {
  net::Channel& channel = m_line->channel;
  for (;;) {
    PILLARBOX_TRY(enter(false));
    channel.setTimeout(seconds(m_state.m_configuration.idleSeconds));
    PILLARBOX_ASSIGN(const ToDealer request,
                     net::receiveMessage<ToDealer>(channel, kMaxRequestBytes));
    channel.setTimeout(seconds(m_state.m_configuration.networkSeconds));
    switch (request.message_case()) {
      case ToDealer::kRequestSet:
        PILLARBOX_TRY(enter(true));
        PILLARBOX_TRY(deal(request.request_set()));
        break;
      case ToDealer::kPing: {
        FromDealer answer;
        answer.mutable_pong();
        PILLARBOX_TRY(reply(answer));
        break;
      }
      case ToDealer::kGoodbye:
        return {};
      default:
        return protocolError("the client sent a message that has no place here");
    }
  }
}

Status DealerConnection::deal(const net::proto::RequestSet& request) {
  Token token{};
  if (!assign(token, request.token())) return protocolError("a token has the wrong length");
  std::shared_ptr<DealerLine> engine;
  std::shared_ptr<const DealerModel> model;
  std::shared_ptr<const inference::Activations> activations;
  {
    const std::lock_guard lock(m_state.m_mutex);
    const auto found = m_state.m_sessions.find(token);
    if (found == m_state.m_sessions.end()) {
      engine = nullptr;
    } else {
      DealerState::Entry& entry = found->second;
      if (request.index() <= entry.lastIndex) {
        return protocolError("correlation set " + std::to_string(request.index()) +
                             " was dealt before; indices must grow");
      }
      if (bytesOf(entry.model->maskId) == request.mask_id()) {
        entry.lastIndex = request.index();
        engine = entry.engine;
        model = entry.model;
        activations = entry.activations;
      }
    }
  }
  if (!engine) {
    return decline({ErrorCode::NotFound,
                    "no engine has registered this session; the connection between engine and "
                    "dealer may have been renewed"});
  }

  PILLARBOX_ASSIGN(const random::Seed clientSeed, random::freshSeed());
  PILLARBOX_ASSIGN(const random::Seed engineSeed, random::freshSeed());
  {
    FromDealer push;
    push.mutable_engine_seed()->set_token(request.token());
    push.mutable_engine_seed()->set_index(request.index());
    const std::lock_guard lock(engine->write);
    Status pushed = net::sendMessage(engine->channel, push);
    if (pushed.ok()) {
      pushed =
          engine->channel.send(net::FrameKind::Bytes, std::as_bytes(std::span(engineSeed.bytes)));
    }
    if (!pushed.ok()) {
      engine->channel.cancel();
      return decline({ErrorCode::Unreachable, "the engine does not answer the dealer"});
    }
  }

  // Dealt into a buffer while the turn is held, written while it is not.
  DealerState::Turn turn(m_state);
  auto start = Clock::now();
  const offline::CorrelationPlan& plan = activations->correlations();
  const std::uint64_t words = offline::offlineCost(model->description, plan).correctionWords;
  FromDealer answer;
  answer.mutable_set_dealt()->set_index(request.index());
  answer.mutable_set_dealt()->set_words(words);
  const std::lock_guard lock(m_line->write);
  PILLARBOX_TRY(net::sendMessage(m_line->channel, answer));
  PILLARBOX_TRY(
      m_line->channel.send(net::FrameKind::Bytes, std::as_bytes(std::span(clientSeed.bytes))));
  net::WordStreamWriter writer(m_line->channel, words);
  SecureVector<std::uint64_t> dealt;
  dealt.reserve(std::min<std::uint64_t>(words, kTurnWords + net::kStreamChunkWords));
  const auto flush = [&]() -> Status {
    m_dealingSeconds += std::chrono::duration<double>(Clock::now() - start).count();
    turn.giveBack();
    PILLARBOX_TRY(writer.write(dealt));
    dealt.clear();
    return {};
  };
  PILLARBOX_TRY(offline::dealSet(
      model->description, model->weightMask, clientSeed, engineSeed,
      [&](std::span<const std::uint64_t> piece) -> Status {
        dealt.insert(dealt.end(), piece.begin(), piece.end());
        if (dealt.size() < kTurnWords) return {};
        PILLARBOX_TRY(flush());
        turn.take();
        start = Clock::now();
        return {};
      },
      plan));
  PILLARBOX_TRY(flush());
  ++m_dealt;
  logEvent(LogLevel::Info, "set_dealt",
           {{"connection", m_id}, {"set", request.index()}, {"bytes", 8 * words}});
  return {};
}

}  // namespace pillarbox::service

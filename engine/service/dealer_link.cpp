#include "engine/service/dealer_link.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>

#include "engine/offline/content_hash.h"
#include "engine/service/configuration.h"
#include "engine/service/log.h"
#include "net/message_io.h"

namespace pillarbox::service {
namespace {

using Clock = std::chrono::steady_clock;
using net::proto::FromDealer;
using net::proto::ToDealer;

constexpr auto kPingInterval = std::chrono::seconds(10);
constexpr auto kPatience = std::chrono::seconds(5);  ///< for a dealer that is just coming up
constexpr auto kSeedPatience = std::chrono::seconds(5);
constexpr std::size_t kMaxMessage = 4096;
constexpr std::size_t kMaxWaitingSeeds = 64;  ///< of one session; the oldest go first

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
  return {ErrorCode::Protocol, "the dealer sent a message that has no place here"};
}

}  // namespace

class DealtCorrelations : public SessionCorrelations {
 public:
  DealtCorrelations(DealerLink& link, const Token& token, DealerLink::Registration registration,
                    DealerContact contact, std::shared_ptr<DealerLink::Inbox> inbox)
      : m_link(link),
        m_token(token),
        m_registration(std::move(registration)),
        m_contact(std::move(contact)),
        m_inbox(std::move(inbox)) {}
  ~DealtCorrelations() override { m_link.closeSession(m_token); }

  std::optional<Dealing> dealing() const override {
    return Dealing{m_contact, m_registration.maskId, m_registration.maskedWeightsHash};
  }

  Result<std::shared_ptr<const offline::WideWeights>> maskedWeights(const MaskId& id) override {
    if (id != m_registration.maskId) {
      return Error{ErrorCode::NotFound,
                   "these masked weights are not current; open the model again"};
    }
    return m_registration.maskedWeights;
  }

  Status prepare(net::Channel&, std::uint64_t) override {
    return Error{ErrorCode::Refused, "this engine does not deal; ask the dealer for the set"};
  }

  Result<random::Seed> takeSeed(std::uint64_t index) override {
    std::unique_lock lock(m_inbox->mutex);
    m_inbox->arrived.wait_for(lock, kSeedPatience,
                              [&] { return m_inbox->closed || m_inbox->seeds.contains(index); });
    auto node = m_inbox->seeds.extract(index);
    if (node.empty()) {
      return Error{ErrorCode::NotFound, "the dealer has not dealt this set to the engine"};
    }
    return node.mapped();
  }

 private:
  DealerLink& m_link;
  const Token m_token;
  const DealerLink::Registration m_registration;
  const DealerContact m_contact;
  const std::shared_ptr<DealerLink::Inbox> m_inbox;
};

DealerLink::DealerLink(Options options, ModelList models)
    : m_options(std::move(options)), m_pins(m_options.stateDirectory), m_models(std::move(models)) {
  m_thread = std::thread([this] { run(); });
  m_pinger = std::thread([this] { ping(); });
}

DealerLink::~DealerLink() {
  stop();
  m_thread.join();
  m_pinger.join();
}

void DealerLink::serve(const ModelList& models) {
  const std::lock_guard lock(m_mutex);
  m_models = models;
}

void DealerLink::stop() noexcept {
  const std::lock_guard lock(m_mutex);
  m_stopped = true;
  if (m_connector) m_connector->cancel();
  if (m_line) m_line->cancel();
  m_changed.notify_all();
}

void DealerLink::run() {
  auto pause = std::chrono::milliseconds(200);
  for (;;) {
    const auto start = Clock::now();
    Status status;
    try {
      status = serveOnce();
    } catch (const std::exception& exception) {
      status = Error{ErrorCode::Internal, exception.what()};
    }
    std::unique_lock lock(m_mutex);
    m_line.reset();
    m_channel.reset();
    m_registrations.clear();
    m_registering.clear();
    for (const auto& request : m_requests) request->answer = status;
    m_requests.clear();
    for (auto& [token, inbox] : m_inboxes) {
      const std::lock_guard inboxLock(inbox->mutex);
      inbox->closed = true;
      inbox->arrived.notify_all();
    }
    m_inboxes.clear();
    m_changed.notify_all();
    if (m_stopped) return;
    m_lastError = status.error();
    logError(LogLevel::Warning, "dealer_lost", m_lastError,
             {{"dealer", net::toString(m_options.address)},
              {"retry_ms", static_cast<std::int64_t>(pause.count())}});
    if (Clock::now() - start > std::chrono::seconds(30)) pause = std::chrono::milliseconds(200);
    m_changed.wait_for(lock, pause, [this] { return m_stopped; });
    if (m_stopped) return;
    pause = std::min(pause * 2, std::chrono::milliseconds(10000));
  }
}

Result<std::unique_ptr<net::Channel>> DealerLink::connect() {
  const net::Endpoint& address = m_options.address;
  PILLARBOX_ASSIGN(const auto pin, m_pins.find(net::PinKind::Dealer, address.host, address.port));
  net::ConnectOptions options;
  options.endpoint = address;
  options.role = "dealer";
  options.connectTimeout = options.handshakeTimeout = m_options.networkTimeout;
  if (m_options.trust) {
    options.pin.expected = m_options.trust;
  } else if (pin) {
    options.pin.expected = pin->fingerprint;
  } else if (m_options.trustOnFirstUse || net::isLoopback(address.host)) {
    options.pin.ask = [](const net::Fingerprint&) { return true; };
  }
  net::TlsConnector* connector = nullptr;
  {
    const std::lock_guard lock(m_mutex);
    if (m_stopped) return Error{ErrorCode::Cancelled, "the engine is shutting down"};
    m_connector = std::make_unique<net::TlsConnector>(std::move(options));
    connector = m_connector.get();
  }
  auto transport = connector->connect();
  if (!transport.ok()) {
    Error error = std::move(transport).error();
    const auto presented = connector->presented();
    if (error.code == ErrorCode::Untrusted && presented && !m_options.trust && !pin) {
      error.message +=
          "; if that is your dealer, start the engine with --trust-dealer " + presented->text();
    }
    return error;
  }
  const auto fingerprint = (*transport)->peerFingerprint();
  if (!fingerprint) return Error{ErrorCode::Untrusted, "the dealer showed no certificate"};
  if (!m_options.trust && !pin) {
    PILLARBOX_TRY(m_pins.add(net::PinKind::Dealer, address.host, address.port, *fingerprint));
    logEvent(LogLevel::Info, "dealer_pinned",
             {{"dealer", net::toString(address)}, {"fingerprint", fingerprint->text()}});
  }
  auto channel = std::make_unique<net::Channel>(std::move(transport).value());
  channel->setTimeout(m_options.networkTimeout);
  const std::lock_guard lock(m_mutex);
  m_fingerprint = *fingerprint;
  return channel;
}

Status DealerLink::sendModel(net::Channel& channel, const inference::EngineModel& model) {
  const std::string description = models::serialize(model.description());
  ToDealer request;
  request.mutable_register_model()->set_description_bytes(
      static_cast<std::uint32_t>(description.size()));
  PILLARBOX_TRY(net::sendMessage(channel, request));
  return channel.send(net::FrameKind::Bytes, std::as_bytes(std::span(description)));
}

Result<DealerLink::Registration> DealerLink::receiveRegistration(
    net::Channel& channel, const net::proto::ModelRegistered& answer,
    const std::shared_ptr<const inference::EngineModel>& model) {
  Registration registration;
  registration.model = model;
  if (answer.hash() != bytesOf(model->hash()) || !assign(registration.maskId, answer.mask_id())) {
    return Error{ErrorCode::Protocol, "the dealer registered another model"};
  }
  random::Seed seed;
  PILLARBOX_TRY(channel.receiveBytes(std::as_writable_bytes(std::span(seed.bytes))));
  auto weights = std::make_shared<offline::WideWeights>(
      offline::WideWeights::masked(model->description(), model->weights(), seed));
  PILLARBOX_ASSIGN(registration.maskedWeightsHash, offline::contentHash(*weights));
  registration.maskedWeights = std::move(weights);
  return registration;
}

Status DealerLink::serveOnce() {
  PILLARBOX_ASSIGN(const std::shared_ptr<net::Channel> channel, connect());
  {
    // From here on stop() reaches the channel, although no session sees it yet.
    const std::lock_guard lock(m_mutex);
    if (m_stopped) return Error{ErrorCode::Cancelled, "the engine is shutting down"};
    m_connector.reset();
    m_line = channel;
  }
  ToDealer hello;
  hello.mutable_hello()->set_protocol_version(net::kProtocolVersion);
  hello.mutable_hello()->set_software(net::softwareName());
  hello.mutable_hello()->set_role(net::proto::DEALER_ROLE_ENGINE);
  PILLARBOX_TRY(net::sendMessage(*channel, hello));
  PILLARBOX_ASSIGN(const FromDealer welcome,
                   net::receiveMessage<FromDealer>(*channel, kMaxMessage));
  if (!welcome.has_welcome() || welcome.welcome().protocol_version() != net::kProtocolVersion) {
    return Error{ErrorCode::Version, "the dealer speaks another version of the protocol"};
  }
  ModelList models;
  {
    const std::lock_guard lock(m_mutex);
    models = m_models;
  }
  std::map<models::Sha256, Registration> registrations;
  for (const auto& model : models) {
    PILLARBOX_TRY(sendModel(*channel, *model));
    PILLARBOX_ASSIGN(const FromDealer answer,
                     net::receiveMessage<FromDealer>(*channel, kMaxMessage));
    if (!answer.has_model_registered()) return outOfStep();
    PILLARBOX_ASSIGN(registrations[model->hash()],
                     receiveRegistration(*channel, answer.model_registered(), model));
  }
  {
    const std::lock_guard lock(m_mutex);
    if (m_stopped) return Error{ErrorCode::Cancelled, "the engine is shutting down"};
    m_registrations = std::move(registrations);
    m_channel = channel;
    m_changed.notify_all();
  }
  logEvent(LogLevel::Info, "dealer_ready",
           {{"dealer", channel->peer()}, {"models", models.size()}});
  return readPushes(*channel);
}

Status DealerLink::readPushes(net::Channel& channel) {
  for (;;) {
    PILLARBOX_ASSIGN(const FromDealer message,
                     net::receiveMessage<FromDealer>(channel, kMaxMessage));
    switch (message.message_case()) {
      case FromDealer::kPong:
        break;
      case FromDealer::kEngineSeed: {
        random::Seed seed;
        PILLARBOX_TRY(channel.receiveBytes(std::as_writable_bytes(std::span(seed.bytes))));
        Token token{};
        if (!assign(token, message.engine_seed().token())) return outOfStep();
        std::shared_ptr<Inbox> inbox;
        {
          const std::lock_guard lock(m_mutex);
          if (const auto found = m_inboxes.find(token); found != m_inboxes.end()) {
            inbox = found->second;
          }
        }
        if (!inbox) break;  // the session ended meanwhile
        const std::lock_guard lock(inbox->mutex);
        inbox->seeds.insert_or_assign(message.engine_seed().index(), seed);
        if (inbox->seeds.size() > kMaxWaitingSeeds) inbox->seeds.erase(inbox->seeds.begin());
        inbox->arrived.notify_all();
        break;
      }
      case FromDealer::kModelRegistered: {
        std::shared_ptr<const inference::EngineModel> model;
        {
          const std::lock_guard lock(m_mutex);
          if (m_registering.empty()) return outOfStep();
          model = m_registering.front();
        }
        PILLARBOX_ASSIGN(Registration registration,
                         receiveRegistration(channel, message.model_registered(), model));
        const std::lock_guard lock(m_mutex);
        m_registrations.insert_or_assign(model->hash(), std::move(registration));
        m_registering.pop_front();
        m_changed.notify_all();
        break;
      }
      case FromDealer::kSessionRegistered:
      case FromDealer::kDeclined: {
        const std::lock_guard lock(m_mutex);
        if (m_requests.empty()) return outOfStep();
        m_requests.front()->answer = message.has_declined()
                                         ? Status(net::errorOf(message.declined(), "the dealer"))
                                         : Status();
        m_requests.pop_front();
        m_changed.notify_all();
        break;
      }
      default:
        return outOfStep();
    }
  }
}

void DealerLink::ping() {
  ToDealer message;
  message.mutable_ping();
  std::unique_lock lock(m_mutex);
  while (!m_stopped) {
    m_changed.wait_for(lock, kPingInterval, [this] { return m_stopped; });
    if (m_stopped) return;
    const std::shared_ptr<net::Channel> channel = m_channel;
    if (!channel) continue;
    lock.unlock();
    {
      const std::lock_guard order(m_writeMutex);
      if (!net::sendMessage(*channel, message).ok()) channel->cancel();
    }
    lock.lock();
  }
}

Result<DealerLink::Registration> DealerLink::registrationOf(
    const std::shared_ptr<net::Channel>& channel,
    const std::shared_ptr<const inference::EngineModel>& model,
    std::unique_lock<std::mutex>& order) {
  const auto deadline = Clock::now() + m_options.networkTimeout;
  for (;;) {
    std::unique_lock lock(m_mutex);
    if (m_stopped) return Error{ErrorCode::Closed, "the engine is shutting down"};
    if (m_channel != channel) return Error{ErrorCode::Unreachable, "the engine lost its dealer"};
    // One registration of a description at a time: a session that is registered behind it on the
    // wire gets its mask, whatever was registered before.
    const bool underWay =
        std::any_of(m_registering.begin(), m_registering.end(),
                    [&model](const auto& other) { return other->hash() == model->hash(); });
    if (!underWay) {
      const auto known = m_registrations.find(model->hash());
      if (known != m_registrations.end() && known->second.model.lock() == model) {
        return known->second;
      }
      m_registering.push_back(model);
      lock.unlock();
      if (!sendModel(*channel, *model).ok()) channel->cancel();
      continue;
    }
    order.unlock();
    const auto outcome = m_changed.wait_until(lock, deadline);
    lock.unlock();
    order.lock();
    if (outcome == std::cv_status::timeout) {
      return Error{ErrorCode::Timeout, "the dealer does not answer the engine"};
    }
  }
}

Result<std::unique_ptr<SessionCorrelations>> DealerLink::open(const Token& token,
                                                              const Opening& opening) {
  const auto& model = opening.model;
  std::shared_ptr<net::Channel> channel;
  auto inbox = std::make_shared<Inbox>();
  auto request = std::make_shared<Request>();
  Registration registration;
  DealerContact contact;
  {
    std::unique_lock lock(m_mutex);
    m_changed.wait_for(lock, kPatience, [this] { return m_stopped || m_channel != nullptr; });
  }
  {
    std::unique_lock order(m_writeMutex);
    {
      const std::lock_guard lock(m_mutex);
      if (m_stopped) return Error{ErrorCode::Closed, "the engine is shutting down"};
      if (!m_channel) {
        // The reason may name hosts of the engine's side only; the client learns that and the code.
        return Error{ErrorCode::Unreachable, "the engine cannot reach its dealer: " +
                                                 std::string(toString(m_lastError.code)) +
                                                 "; see the engine's log"};
      }
      channel = m_channel;
    }
    PILLARBOX_ASSIGN(registration, registrationOf(channel, model, order));
    {
      const std::lock_guard lock(m_mutex);
      // Where the connection broke in between, nobody would answer or close these.
      if (m_channel != channel) return Error{ErrorCode::Unreachable, "the engine lost its dealer"};
      contact = {m_options.addressForClients.value_or(m_options.address), m_fingerprint};
      m_inboxes[token] = inbox;
      m_requests.push_back(request);
    }
    ToDealer message;
    message.mutable_register_session()->set_token(bytesOf(token));
    message.mutable_register_session()->set_hash(bytesOf(model->hash()));
    message.mutable_register_session()->set_protocol(static_cast<std::uint32_t>(opening.protocol));
    if (!net::sendMessage(*channel, message).ok()) channel->cancel();
  }
  std::unique_lock lock(m_mutex);
  m_changed.wait_for(lock, m_options.networkTimeout,
                     [&] { return m_stopped || request->answer.has_value(); });
  if (!request->answer || !request->answer->ok()) {
    if (const auto found = m_inboxes.find(token);
        found != m_inboxes.end() && found->second == inbox) {
      m_inboxes.erase(found);
    }
    if (request->answer) return request->answer->error();
    return Error{ErrorCode::Timeout, "the dealer does not answer the engine"};
  }
  return std::unique_ptr<SessionCorrelations>(std::make_unique<DealtCorrelations>(
      *this, token, std::move(registration), std::move(contact), std::move(inbox)));
}

Status DealerLink::ready() {
  const std::lock_guard lock(m_mutex);
  if (m_channel) return {};
  return Error{m_lastError.code,
               "the dealer is not connected: " + std::string(toString(m_lastError.code))};
}

void DealerLink::closeSession(const Token& token) {
  std::shared_ptr<net::Channel> channel;
  {
    const std::lock_guard lock(m_mutex);
    m_inboxes.erase(token);
    channel = m_channel;
  }
  if (!channel) return;
  ToDealer message;
  message.mutable_close_session()->set_token(bytesOf(token));
  const std::lock_guard order(m_writeMutex);
  if (!net::sendMessage(*channel, message).ok()) channel->cancel();
}

}  // namespace pillarbox::service

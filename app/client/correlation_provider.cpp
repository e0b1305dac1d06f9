#include "app/client/correlation_provider.h"

#include <algorithm>
#include <utility>

#include "engine/offline/content_hash.h"

namespace pillarbox::client {
namespace {

using net::proto::FromDealer;
using net::proto::ToClient;
using net::proto::ToDealer;
using net::proto::ToEngine;

constexpr std::size_t kMaxMessage = 4096;
/// In two-party mode either side computes for seconds, or gives way to inferences: so many times
/// the usual patience may pass without a byte.
constexpr int kOfflinePatience = 4;
/// The part of a set's work that is done once its corrections are here.
constexpr double kDealtFraction = 0.95;

double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Error ended() {
  return {ErrorCode::Cancelled, "the session was ended"};
}

Error outOfStep() {
  return {ErrorCode::Protocol, "the engine sent a message that has no place here"};
}

/// Receives seed and corrections, whoever deals, and assembles the client's half.
Result<AssembledSet> receiveSet(net::Channel& channel, const OpenedModel& opened,
                                const offline::WideWeights* maskedWeights, std::uint64_t index,
                                const net::proto::SetDealt& dealt, const Fraction& progress) {
  const models::PublicModel& model = *opened.description;
  const offline::CorrelationPlan& plan = opened.activations->correlations();
  const offline::OfflineCost cost = offline::offlineCost(model, plan);
  if (dealt.index() != index || dealt.words() != cost.correctionWords) {
    return Error{ErrorCode::Protocol, channel.peer() + " dealt another set than was asked for"};
  }
  random::Seed seed;
  PILLARBOX_TRY(channel.receiveBytes(std::as_writable_bytes(std::span(seed.bytes))));
  AssembledSet result;
  result.upload.reserve(cost.clientWords);
  net::WordStreamReader reader(channel, cost.correctionWords);
  double reported = 0;
  PILLARBOX_ASSIGN(result.set,
                   offline::assembleClientSet(
                       model, maskedWeights, index, seed,
                       [&](std::span<std::uint64_t> words) -> Status {
                         PILLARBOX_TRY(reader.read(words));
                         const double done =
                             kDealtFraction * (1.0 - static_cast<double>(reader.left()) /
                                                         static_cast<double>(cost.correctionWords));
                         if (progress && done >= reported + 0.01) progress(reported = done);
                         return {};
                       },
                       [&](std::span<const std::uint64_t> words) -> Status {
                         result.upload.insert(result.upload.end(), words.begin(), words.end());
                         return {};
                       },
                       plan));
  return result;
}

}  // namespace

Result<AssembledSet> FirstPartyProvider::assemble(const Fraction& progress) {
  const std::uint64_t index = ++m_lastIndex;
  PILLARBOX_ASSIGN(const SessionLine::Lease lease, m_line.lease(SessionLine::Priority::Background));
  net::Channel& channel = lease.channel();
  const net::MeterReading before = channel.meter();
  bool declined = false;
  const auto work = [&]() -> Result<AssembledSet> {
    ToEngine request;
    request.mutable_prepare_set()->set_index(index);
    PILLARBOX_TRY(net::sendMessage(channel, request));
    PILLARBOX_ASSIGN(const ToClient answer, net::receiveMessage<ToClient>(channel, kMaxMessage));
    if (answer.has_declined()) {
      declined = true;
      return net::errorOf(answer.declined(), "the engine");
    }
    if (!answer.has_set_dealt()) {
      return outOfStep();
    }
    return receiveSet(channel, m_model, nullptr, index, answer.set_dealt(), progress);
  };
  auto result = work();
  if (!result.ok()) {
    return declined ? result.error() : m_line.breakWith(std::move(result).error());
  }
  const net::MeterReading after = channel.meter();
  result->bytesSent = after.bytesSent - before.bytesSent;
  result->bytesReceived = after.bytesReceived - before.bytesReceived;
  result->rounds = net::roundsBetween(before, after);
  return result;
}

std::string FirstPartyProvider::trust() const {
  return "INSECURE: the engine makes your masks and could read the image (first-party mode, for "
         "comparison only)";
}

TwoPartyProvider::TwoPartyProvider(std::unique_ptr<const offline::two_party::ClientParty> party,
                                   Options options)
    : m_party(std::move(party)), m_options(std::move(options)) {}

TwoPartyProvider::~TwoPartyProvider() {
  for (const auto& line : m_lines) {
    if (!line->channel || line->busy) continue;
    ToEngine message;
    message.mutable_goodbye();
    static_cast<void>(net::sendMessage(*line->channel, message).ok());
  }
}

std::string TwoPartyProvider::trust() const {
  return "You trust nobody: this program and the engine prepare the masks by themselves";
}

SetupCost TwoPartyProvider::setup() const {
  const std::lock_guard lock(m_mutex);
  return m_setup;
}

bool TwoPartyProvider::cancelled() const {
  const std::lock_guard lock(m_mutex);
  return m_cancelled;
}

void TwoPartyProvider::hold(std::chrono::milliseconds duration) noexcept {
  const std::lock_guard lock(m_mutex);
  m_heldUntil = std::chrono::steady_clock::now() + duration;
  for (const auto& line : m_lines) {
    if (line->channel) line->channel->hold(duration);
  }
}

void TwoPartyProvider::cancel() noexcept {
  const std::lock_guard lock(m_mutex);
  m_cancelled = true;
  for (const auto& line : m_lines) {
    if (line->connector) line->connector->cancel();
    if (line->channel) line->channel->cancel();
  }
}

Result<std::shared_ptr<TwoPartyProvider::Line>> TwoPartyProvider::takeLine() {
  std::shared_ptr<Line> line;
  {
    const std::lock_guard lock(m_mutex);
    if (m_cancelled) return ended();
    for (const auto& known : m_lines) {
      if (known->busy) continue;
      known->busy = true;
      return known;
    }
    line = std::make_shared<Line>();
    net::ConnectOptions options;
    options.endpoint = m_options.engine;
    options.pin.expected = m_options.fingerprint;
    line->connector = std::make_unique<net::TlsConnector>(std::move(options));
    m_lines.push_back(line);
  }
  const auto start = std::chrono::steady_clock::now();
  const Status status = connect(*line);
  const std::lock_guard lock(m_mutex);
  if (!status.ok()) {
    std::erase(m_lines, line);
    return m_cancelled ? ended() : status.error();
  }
  const net::MeterReading meter = line->channel->meter();
  m_setup.bytesSent += meter.bytesSent;
  m_setup.bytesReceived += meter.bytesReceived;
  m_setup.seconds += secondsSince(start);
  return line;
}

Status TwoPartyProvider::connect(Line& line) {
  PILLARBOX_ASSIGN(auto transport, line.connector->connect());
  auto channel = std::make_unique<net::Channel>(std::move(transport));
  net::Channel& greeted = *channel;
  greeted.setTimeout(m_options.networkTimeout);
  greeted.setSendLimits({.background = true});
  {
    const std::lock_guard lock(m_mutex);
    if (m_cancelled) return ended();
    const auto held = m_heldUntil - std::chrono::steady_clock::now();
    greeted.hold(
        std::max(std::chrono::milliseconds(0), std::chrono::ceil<std::chrono::milliseconds>(held)));
    line.connector.reset();
    line.channel = std::move(channel);
  }
  return greet(greeted);
}

Status TwoPartyProvider::greet(net::Channel& channel) {
  // One line after the other, so that the first one's keys are there for the second.
  const std::lock_guard order(m_order);
  ToEngine hello;
  hello.mutable_hello()->set_protocol_version(net::kProtocolVersion);
  hello.mutable_hello()->set_software(net::softwareName());
  hello.mutable_hello()->set_offline_line(true);
  PILLARBOX_TRY(net::sendMessage(channel, hello));
  PILLARBOX_ASSIGN(const ToClient welcome,
                   net::receiveMessage<ToClient>(channel, net::kMaxMessageBytes));
  if (!welcome.has_welcome()) return outOfStep();
  ToEngine attach;
  attach.mutable_attach_offline()->set_token(m_options.token);
  attach.mutable_attach_offline()->set_hash(
      std::string(reinterpret_cast<const char*>(m_options.hash.data()), m_options.hash.size()));
  PILLARBOX_TRY(net::sendMessage(channel, attach));
  PILLARBOX_ASSIGN(const ToClient attached, net::receiveMessage<ToClient>(channel, kMaxMessage));
  if (!attached.has_offline_attached()) return outOfStep();
  if (attached.offline_attached().has_keys()) return {};
  ToEngine keys;
  keys.mutable_prepare_keys();
  PILLARBOX_TRY(net::sendMessage(channel, keys));
  PILLARBOX_TRY(m_party->sendKeys(channel));
  PILLARBOX_ASSIGN(const ToClient ready, net::receiveMessage<ToClient>(channel, kMaxMessage));
  return ready.has_keys_ready() ? Status() : Status(outOfStep());
}

Result<std::uint64_t> TwoPartyProvider::startSet(net::Channel& channel, bool& declined) {
  const std::lock_guard order(m_order);
  const std::uint64_t index = ++m_lastIndex;
  ToEngine request;
  request.mutable_prepare_set()->set_index(index);
  PILLARBOX_TRY(net::sendMessage(channel, request));
  PILLARBOX_ASSIGN(const ToClient answer, net::receiveMessage<ToClient>(channel, kMaxMessage));
  if (answer.has_declined()) {
    declined = true;
    return net::errorOf(answer.declined(), "the engine");
  }
  if (!answer.has_set_started() || answer.set_started().index() != index) return outOfStep();
  return index;
}

Result<AssembledSet> TwoPartyProvider::makeSet(net::Channel& channel, const Fraction& progress,
                                               bool& declined) {
  const net::MeterReading before = channel.meter();
  channel.setTimeout(kOfflinePatience * m_options.networkTimeout);
  PILLARBOX_ASSIGN(const std::uint64_t index, startSet(channel, declined));
  AssembledSet result;
  PILLARBOX_ASSIGN(result.set, m_party->makeSet(channel, index, [&](double done) -> Status {
    if (progress) progress(done);
    return cancelled() ? Status(ended()) : Status();
  }));
  ToEngine finish;
  finish.mutable_finish_set()->set_index(index);
  PILLARBOX_TRY(net::sendMessage(channel, finish));
  PILLARBOX_ASSIGN(const ToClient answer, net::receiveMessage<ToClient>(channel, kMaxMessage));
  if (!answer.has_set_ready() || answer.set_ready().index() != index) return outOfStep();
  const net::MeterReading after = channel.meter();
  result.complete = true;
  result.bytesSent = after.bytesSent - before.bytesSent;
  result.bytesReceived = after.bytesReceived - before.bytesReceived;
  result.rounds = net::roundsBetween(before, after);
  return result;
}

Result<AssembledSet> TwoPartyProvider::assemble(const Fraction& progress) {
  PILLARBOX_ASSIGN(const std::shared_ptr<Line> line, takeLine());
  bool declined = false;
  auto result = makeSet(*line->channel, progress, declined);
  const std::lock_guard lock(m_mutex);
  line->busy = false;
  if (!result.ok() && !declined) {
    // Whatever went wrong, the next set is made on a new line.
    line->channel->sendFailure(result.error());
    std::erase(m_lines, line);
  }
  if (!result.ok() && m_cancelled) return ended();
  return result;
}

DealerProvider::DealerProvider(SessionLine& line, OpenedModel model, Options options)
    : m_line(line),
      m_options(std::move(options)),
      m_pins(m_options.stateDirectory),
      m_cache(m_options.cacheDirectory),
      m_model(std::move(model)) {}

DealerProvider::~DealerProvider() {
  if (!m_channel) return;
  ToDealer message;
  message.mutable_goodbye();
  static_cast<void>(net::sendMessage(*m_channel, message).ok());
}

net::Endpoint DealerProvider::address() const {
  const std::lock_guard lock(m_mutex);
  return m_options.dealer ? *m_options.dealer : m_model.dealer.value_or(net::Endpoint{});
}

std::string DealerProvider::trust() const {
  return "You trust the dealer at " + net::toString(address()) +
         " not to work together with the engine";
}

void DealerProvider::cancel() noexcept {
  const std::lock_guard lock(m_mutex);
  m_cancelled = true;
  if (m_connector) m_connector->cancel();
  if (m_channel) m_channel->cancel();
}

void DealerProvider::renew(const OpenedModel& model) {
  const std::lock_guard lock(m_mutex);
  m_model = model;
}

bool DealerProvider::wantsRenewal(const Error& error) const {
  return error.code != ErrorCode::Untrusted && error.code != ErrorCode::Version;
}

Status DealerProvider::connect() {
  const net::Endpoint where = address();
  net::Fingerprint vouched;
  {
    const std::lock_guard lock(m_mutex);
    vouched = m_model.dealerFingerprint;
  }
  PILLARBOX_ASSIGN(const auto pin, m_pins.find(net::PinKind::Dealer, where.host, where.port));
  const net::Fingerprint expected = m_options.trustDealer.value_or(vouched);
  if (pin && pin->fingerprint != expected) {
    if (m_options.onMismatch) m_options.onMismatch(where, pin->fingerprint, expected);
    return Error{ErrorCode::Untrusted,
                 "the dealer at " + net::toString(where) +
                     " has another certificate than before: pinned " + pin->fingerprint.text() +
                     ", now " + expected.text() +
                     "; if the change is known to be right, remove the old pin (pillarbox-cli "
                     "trust remove --dealer " +
                     net::toString(where) + ", or the app's Engines, All certificates)"};
  }
  net::ConnectOptions options;
  options.endpoint = where;
  options.role = "dealer";
  options.pin.expected = expected;
  net::TlsConnector* connector = nullptr;
  {
    const std::lock_guard lock(m_mutex);
    if (m_cancelled) return ended();
    m_connector = std::make_unique<net::TlsConnector>(std::move(options));
    connector = m_connector.get();
  }
  PILLARBOX_ASSIGN(auto transport, connector->connect());
  if (!pin) {
    const Status added = m_pins.add(net::PinKind::Dealer, where.host, where.port, expected);
    if (!added.ok() && m_options.log) {
      m_options.log("warning",
                    "the dealer's certificate could not be pinned: " + added.error().message);
    }
  }
  const auto channel = std::make_shared<net::Channel>(std::move(transport));
  channel->setTimeout(m_options.networkTimeout);
  {
    const std::lock_guard lock(m_mutex);
    if (m_cancelled) return ended();
    m_connector.reset();
    m_channel = channel;
  }
  ToDealer hello;
  hello.mutable_hello()->set_protocol_version(net::kProtocolVersion);
  hello.mutable_hello()->set_software(net::softwareName());
  hello.mutable_hello()->set_role(net::proto::DEALER_ROLE_CLIENT);
  PILLARBOX_TRY(net::sendMessage(*channel, hello));
  PILLARBOX_ASSIGN(const FromDealer welcome,
                   net::receiveMessage<FromDealer>(*channel, kMaxMessage));
  if (!welcome.has_welcome() || welcome.welcome().protocol_version() != net::kProtocolVersion) {
    return Error{ErrorCode::Version, "the dealer speaks another version of the protocol"};
  }
  return {};
}

Status DealerProvider::loadMaskedWeights() {
  OpenedModel model;
  {
    const std::lock_guard lock(m_mutex);
    model = m_model;
  }
  if (m_maskedWeights && m_loadedHash == model.maskedWeightsHash) return {};
  m_maskedWeights.reset();
  if (auto cached = m_cache.load(*model.description, model.maskedWeightsHash)) {
    m_maskedWeights = std::make_shared<offline::WideWeights>(std::move(*cached));
    m_loadedHash = model.maskedWeightsHash;
    return {};
  }
  PILLARBOX_ASSIGN(const SessionLine::Lease lease, m_line.lease(SessionLine::Priority::Background));
  net::Channel& channel = lease.channel();
  const auto start = std::chrono::steady_clock::now();
  const net::MeterReading before = channel.meter();
  bool declined = false;
  const auto work = [&]() -> Result<offline::WideWeights> {
    ToEngine request;
    request.mutable_fetch_masked_weights()->set_mask_id(model.maskId);
    PILLARBOX_TRY(net::sendMessage(channel, request));
    PILLARBOX_ASSIGN(const ToClient answer, net::receiveMessage<ToClient>(channel, kMaxMessage));
    if (answer.has_declined()) {
      declined = true;
      return net::errorOf(answer.declined(), "the engine");
    }
    const std::uint64_t words = model.description->weightCount();
    if (!answer.has_masked_weights() || answer.masked_weights().words() != words) {
      return Error{ErrorCode::Protocol, "the engine sent masked weights of another model"};
    }
    net::WordStreamReader reader(channel, words);
    PILLARBOX_ASSIGN(auto weights,
                     offline::WideWeights::fromWords(
                         *model.description, [&reader](auto piece) { return reader.read(piece); }));
    PILLARBOX_ASSIGN(const models::Sha256 hash, offline::contentHash(weights));
    if (hash != model.maskedWeightsHash) {
      return Error{ErrorCode::Protocol,
                   "the engine's masked weights do not have the hash that it announced"};
    }
    return weights;
  };
  auto weights = work();
  if (!weights.ok()) {
    return declined ? weights.error() : m_line.breakWith(std::move(weights).error());
  }
  {
    const net::MeterReading after = channel.meter();
    const std::lock_guard lock(m_mutex);
    m_setup.bytesSent += after.bytesSent - before.bytesSent;
    m_setup.bytesReceived += after.bytesReceived - before.bytesReceived;
    m_setup.seconds += secondsSince(start);
  }
  const Status stored = m_cache.store(*weights, model.maskedWeightsHash);
  if (!stored.ok() && m_options.log) {
    m_options.log("warning",
                  "the masked weights could not be cached and will be downloaded again: " +
                      stored.error().message);
  }
  m_maskedWeights = std::make_shared<offline::WideWeights>(std::move(weights).value());
  m_loadedHash = model.maskedWeightsHash;
  return {};
}

Result<AssembledSet> DealerProvider::deal(std::uint64_t index, const Fraction& progress) {
  OpenedModel model;
  std::shared_ptr<net::Channel> channel;
  {
    const std::lock_guard lock(m_mutex);
    model = m_model;
    channel = m_channel;
  }
  const net::MeterReading before = channel->meter();
  ToDealer request;
  request.mutable_request_set()->set_token(m_options.token);
  request.mutable_request_set()->set_mask_id(model.maskId);
  request.mutable_request_set()->set_index(index);
  PILLARBOX_TRY(net::sendMessage(*channel, request));
  PILLARBOX_ASSIGN(const FromDealer answer, net::receiveMessage<FromDealer>(*channel, kMaxMessage));
  if (answer.has_declined()) return net::errorOf(answer.declined(), "the dealer");
  if (!answer.has_set_dealt()) {
    return Error{ErrorCode::Protocol, "the dealer sent a message that has no place here"};
  }
  PILLARBOX_ASSIGN(auto result, receiveSet(*channel, model, m_maskedWeights.get(), index,
                                           answer.set_dealt(), progress));
  const net::MeterReading after = channel->meter();
  result.bytesSent = after.bytesSent - before.bytesSent;
  result.bytesReceived = after.bytesReceived - before.bytesReceived;
  result.rounds = net::roundsBetween(before, after);
  return result;
}

SetupCost DealerProvider::setup() const {
  const std::lock_guard lock(m_mutex);
  return m_setup;
}

Result<AssembledSet> DealerProvider::assemble(const Fraction& progress) {
  const std::uint64_t index = ++m_lastIndex;
  PILLARBOX_TRY(loadMaskedWeights());
  bool connected = false;
  {
    const std::lock_guard lock(m_mutex);
    if (m_cancelled) return ended();
    connected = m_channel != nullptr;
  }
  const auto work = [&]() -> Result<AssembledSet> {
    if (!connected) PILLARBOX_TRY(connect());
    return deal(index, progress);
  };
  const auto hangUp = [this] {
    const std::lock_guard lock(m_mutex);
    m_channel.reset();
    m_connector.reset();
  };
  auto result = work();
  if (!result.ok() && connected && result.error().code == ErrorCode::Closed) {
    // The dealer closed a connection that had been idle for long. Had it dealt this index already,
    // it would refuse to do so again.
    hangUp();
    connected = false;
    result = work();
  }
  if (!result.ok()) {
    // Whatever went wrong, the next set starts on a new connection.
    hangUp();
    const std::lock_guard lock(m_mutex);
    if (m_cancelled) return ended();
    Error error = std::move(result).error();
    if (error.message.find("dealer") == std::string::npos) {
      error.message = "the dealer: " + error.message;
    }
    return error;
  }
  return result;
}

}  // namespace pillarbox::client

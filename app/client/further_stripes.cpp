#include "app/client/further_stripes.h"

#include <thread>
#include <utility>

#include "net/message_io.h"

namespace pillarbox::client {
namespace {

using net::proto::ToClient;
using net::proto::ToEngine;

constexpr std::size_t kMaxMessage = 4096;

Error outOfStep() {
  return {ErrorCode::Protocol, "the engine sent a message that has no place here"};
}

}  // namespace

std::uint64_t FurtherStripes::bytesSent() const {
  const std::lock_guard lock(m_mutex);
  return m_bytesSent;
}

std::uint64_t FurtherStripes::bytesReceived() const {
  const std::lock_guard lock(m_mutex);
  return m_bytesReceived;
}

void FurtherStripes::cancel() noexcept {
  const std::lock_guard lock(m_mutex);
  m_cancelled = true;
  for (const auto& stripe : m_stripes) {
    if (stripe->connector) stripe->connector->cancel();
    if (stripe->channel) stripe->channel->cancel();
  }
}

/// From connecting to the engine's word that it has the connection.
Status FurtherStripes::attach(Stripe& stripe, std::size_t number) {
  PILLARBOX_ASSIGN(std::unique_ptr<net::Transport> transport, stripe.connector->connect());
  net::Channel* channel = nullptr;
  {
    const std::lock_guard lock(m_mutex);
    stripe.stream = new net::StripedTransport(std::move(transport));
    stripe.channel = std::make_unique<net::Channel>(std::unique_ptr<net::Transport>(stripe.stream));
    channel = stripe.channel.get();
    if (m_cancelled) channel->cancel();
  }
  channel->setTimeout(m_options.networkTimeout);
  // Both at once: a round trip less, and nothing in the answer to the first decides the second.
  ToEngine hello;
  hello.mutable_hello()->set_protocol_version(net::kProtocolVersion);
  hello.mutable_hello()->set_software(net::softwareName());
  hello.mutable_hello()->set_stripe(true);
  PILLARBOX_TRY(net::sendMessage(*channel, hello));
  ToEngine attach;
  attach.mutable_attach_stripe()->set_token(m_options.token);
  attach.mutable_attach_stripe()->set_number(static_cast<std::uint32_t>(number));
  PILLARBOX_TRY(net::sendMessage(*channel, attach));
  PILLARBOX_ASSIGN(const ToClient welcome,
                   net::receiveMessage<ToClient>(*channel, net::kMaxMessageBytes));
  if (!welcome.has_welcome()) return outOfStep();
  PILLARBOX_ASSIGN(const ToClient attached, net::receiveMessage<ToClient>(*channel, kMaxMessage));
  return attached.has_stripe_attached() ? Status() : Status(outOfStep());
}

Result<std::vector<std::unique_ptr<net::Transport>>> FurtherStripes::open(std::size_t count) {
  {
    const std::lock_guard lock(m_mutex);
    for (std::size_t i = 1; i < count; ++i) {
      net::ConnectOptions options;
      options.endpoint = m_options.engine;
      options.pin.expected = m_options.fingerprint;
      m_stripes.push_back(std::make_unique<Stripe>());
      m_stripes.back()->connector = std::make_unique<net::TlsConnector>(std::move(options));
      if (m_cancelled) m_stripes.back()->connector->cancel();
    }
  }
  std::vector<Status> attached(m_stripes.size());
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < m_stripes.size(); ++i) {
      threads.emplace_back([&, i] { attached[i] = attach(*m_stripes[i], i + 1); });
    }
  }
  const std::lock_guard lock(m_mutex);
  const auto stripes = std::exchange(m_stripes, {});
  std::vector<std::unique_ptr<net::Transport>> transports;
  for (const auto& stripe : stripes) {
    if (!stripe->channel) continue;
    const net::MeterReading meter = stripe->channel->meter();
    m_bytesSent += meter.bytesSent;
    m_bytesReceived += meter.bytesReceived;
  }
  for (Status& status : attached) PILLARBOX_TRY(std::move(status));
  for (const auto& stripe : stripes) transports.push_back(stripe->stream->release());
  return transports;
}

}  // namespace pillarbox::client

#include "net/striped_transport.h"

#include <algorithm>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

#include "net/patience.h"

namespace pillarbox::net {
namespace {

template <typename Byte>
std::span<Byte> takeFirst(std::span<Byte>& from, std::size_t most) {
  const std::span<Byte> first = from.first(std::min(from.size(), most));
  from = from.subspan(first.size());
  return first;
}

Error closed() {
  return {ErrorCode::Closed, "the connection is used for something else now"};
}

}  // namespace

void StripedTransport::Position::advance(std::size_t bytes, std::size_t stripes) {
  left -= bytes;
  if (left > 0) return;
  left = kPieceBytes;
  stripe = (stripe + 1) % stripes;
}

StripedTransport::StripedTransport(std::unique_ptr<Transport> first)
    : m_peer(first ? first->peer() : throw std::logic_error("StripedTransport needs a transport")) {
  m_stripes.push_back(std::move(first));
}

StripedTransport::~StripedTransport() {
  // A transport that closes waits until the other side has everything.
  std::vector<std::jthread> closing;
  try {
    for (std::size_t i = 1; i < m_stripes.size(); ++i) {
      closing.emplace_back([stripe = std::move(m_stripes[i])]() mutable { stripe.reset(); });
    }
  } catch (const std::system_error&) {
    // No thread to be had: one after the other.
  }
  m_stripes.clear();
}

void StripedTransport::widen(std::vector<std::unique_ptr<Transport>> further) {
  const std::scoped_lock lock(m_mutex);
  if (m_stripes.size() != 1 || further.empty() || further.size() >= kMaxStripes) {
    throw std::logic_error("StripedTransport is widened once, to at most kMaxStripes");
  }
  for (std::unique_ptr<Transport>& stripe : further) {
    stripe->setTimeout(m_timeout);
    if (m_cancelled) stripe->cancel();
    m_stripes.push_back(std::move(stripe));
  }
  applyLimits();
}

std::size_t StripedTransport::stripes() const {
  const std::scoped_lock lock(m_mutex);
  return m_stripes.size();
}

std::unique_ptr<Transport> StripedTransport::release() {
  const std::scoped_lock lock(m_mutex);
  if (m_stripes.size() != 1) throw std::logic_error("only a single connection can be released");
  std::unique_ptr<Transport> stripe = std::move(m_stripes.front());
  m_stripes.clear();
  return stripe;
}

Status StripedTransport::named(Status status, std::size_t stripe) const {
  if (status.ok() || stripe == 0 || status.error().code == ErrorCode::Cancelled) return status;
  Error error = std::move(status).error();
  error.message += " (on connection " + std::to_string(stripe + 1) + " of the session's " +
                   std::to_string(m_stripes.size()) + ")";
  return error;
}

Status StripedTransport::write(std::span<const std::byte> header,
                               std::span<const std::byte> payload) {
  if (m_stripes.empty()) return closed();
  if (m_stripes.size() == 1) return m_stripes.front()->write(header, payload);
  while (!header.empty() || !payload.empty()) {
    const std::size_t stripe = m_written.stripe;
    const auto head = takeFirst(header, m_written.left);
    const auto body = takeFirst(payload, m_written.left - head.size());
    PILLARBOX_TRY(named(m_stripes[stripe]->write(head, body), stripe));
    m_written.advance(head.size() + body.size(), m_stripes.size());
  }
  return {};
}

Status StripedTransport::read(std::span<std::byte> bytes) {
  if (m_stripes.empty()) return closed();
  if (m_stripes.size() == 1) return m_stripes.front()->read(bytes);
  std::chrono::milliseconds timeout{0};
  {
    const std::scoped_lock lock(m_mutex);
    timeout = m_timeout;
  }
  Patience patience(timeout, bytes.size());
  do {
    const std::size_t stripe = m_read.stripe;
    const auto piece = takeFirst(bytes, m_read.left);
    PILLARBOX_TRY(named(m_stripes[stripe]->read(piece), stripe));
    m_read.advance(piece.size(), m_stripes.size());
    // Every piece has its own time limit; drop by drop they must not add up.
    patience.progress();
    const auto deadline = patience.deadline();
    if (!bytes.empty() && deadline && Patience::Clock::now() >= *deadline) {
      return Error{ErrorCode::Timeout, m_peer + " sends too slowly to wait for"};
    }
  } while (!bytes.empty());
  return {};
}

void StripedTransport::setTimeout(std::chrono::milliseconds timeout) {
  const std::scoped_lock lock(m_mutex);
  m_timeout = timeout;
  for (const auto& stripe : m_stripes) stripe->setTimeout(timeout);
}

void StripedTransport::applyLimits() const {
  SendLimits limits = m_limits;
  if (!m_stripes.empty()) limits.queueBytes /= m_stripes.size();
  for (const auto& stripe : m_stripes) stripe->setSendLimits(limits);
}

void StripedTransport::setSendLimits(const SendLimits& limits) {
  const std::scoped_lock lock(m_mutex);
  m_limits = limits;
  applyLimits();
}

void StripedTransport::hold(std::chrono::milliseconds duration) noexcept {
  const std::scoped_lock lock(m_mutex);
  for (const auto& stripe : m_stripes) stripe->hold(duration);
}

void StripedTransport::cancel() noexcept {
  const std::scoped_lock lock(m_mutex);
  m_cancelled = true;
  for (const auto& stripe : m_stripes) stripe->cancel();
}

}  // namespace pillarbox::net

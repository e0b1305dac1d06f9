#include "app/client/session_line.h"

#include <utility>

namespace pillarbox::client {

Result<SessionLine::Lease> SessionLine::lease(Priority priority) {
  const bool urgent = priority == Priority::Inference;
  std::unique_lock lock(m_mutex);
  if (urgent) ++m_urgent;
  m_changed.wait(lock, [&] { return m_broken || (!m_taken && (urgent || m_urgent == 0)); });
  if (urgent) --m_urgent;
  if (m_broken) {
    m_changed.notify_all();
    return *m_broken;
  }
  m_taken = true;
  return Lease(*this);
}

std::optional<SessionLine::Lease> SessionLine::tryLease() {
  const std::lock_guard lock(m_mutex);
  if (m_broken || m_taken || m_urgent > 0) return std::nullopt;
  m_taken = true;
  return Lease(*this);
}

void SessionLine::release() {
  const std::lock_guard lock(m_mutex);
  m_taken = false;
  m_changed.notify_all();
}

Error SessionLine::breakWith(Error error) {
  const std::lock_guard lock(m_mutex);
  if (!m_broken) {
    m_broken = std::move(error);
    m_channel.cancel();
    m_changed.notify_all();
  }
  return *m_broken;
}

std::optional<Error> SessionLine::broken() const {
  const std::lock_guard lock(m_mutex);
  return m_broken;
}

void SessionLine::close() {
  const std::lock_guard lock(m_mutex);
  if (!m_broken) m_broken = Error{ErrorCode::Cancelled, "the session was ended"};
  m_changed.notify_all();
}

void SessionLine::cancel() noexcept {
  const std::lock_guard lock(m_mutex);
  if (!m_broken) m_broken = Error{ErrorCode::Cancelled, "the session was ended"};
  m_channel.cancel();
  m_changed.notify_all();
}

}  // namespace pillarbox::client

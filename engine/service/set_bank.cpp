#include "engine/service/set_bank.h"

#include <algorithm>
#include <string>
#include <utility>

namespace pillarbox::service {
namespace {

Error sessionEnded() {
  return {ErrorCode::Closed, "the session of this offline line has ended"};
}

Error keysAgain() {
  return {ErrorCode::Protocol, "the client sent its keys a second time"};
}

Error otherOpening() {
  return {ErrorCode::Closed, "the session has opened another model or protocol meanwhile"};
}

}  // namespace

void SetBank::open(Opening opening) {
  const std::lock_guard lock(m_mutex);
  if (m_opening == opening) return;
  // Lines that make sets for what was open before find that out at the end of their set.
  m_sets.clear();
  m_keys.reset();
  m_opening = std::move(opening);
}

SetBank::Preparation::Preparation(std::shared_ptr<SetBank> bank, std::uint64_t index,
                                  Opening opening, Keys keys, MemoryBudget::Reservation memory)
    : m_bank(std::move(bank)),
      m_index(index),
      m_opening(std::move(opening)),
      m_keys(std::move(keys)),
      m_memory(std::move(memory)) {}

SetBank::Preparation::Preparation(Preparation&& other) noexcept
    : m_bank(std::move(other.m_bank)),
      m_index(other.m_index),
      m_opening(other.m_opening),
      m_keys(other.m_keys),
      m_memory(std::move(other.m_memory)) {}

SetBank::Preparation::~Preparation() {
  if (!m_bank) return;
  const std::lock_guard lock(m_bank->m_mutex);
  --m_bank->m_making;
}

Status SetBank::Preparation::deposit(offline::EngineSet set) && {
  const auto bank = std::exchange(m_bank, nullptr);
  const std::lock_guard lock(bank->m_mutex);
  --bank->m_making;
  if (bank->m_closed) return sessionEnded();
  if (bank->m_opening != m_opening) return otherOpening();
  if (set.protocol != m_opening.protocol) {
    return Error{ErrorCode::Internal, "the set was made for another activation protocol"};
  }
  const std::uint64_t bytes = set.memoryBytes();
  m_memory.shrink(bytes);
  bank->m_sets.emplace(
      m_index, Prepared{std::move(set), std::move(m_memory), Counted(bank->m_metrics, bytes)});
  ++bank->m_prepared;
  return {};
}

Result<SetBank::Preparation> SetBank::begin(const std::shared_ptr<SetBank>& bank,
                                            const Opening& opening, std::uint64_t index,
                                            std::uint64_t memoryBytes) {
  const std::lock_guard lock(bank->m_mutex);
  if (bank->m_closed) return sessionEnded();
  if (bank->m_opening != opening) return otherOpening();
  if (index <= bank->m_lastIndex) {
    return Error{ErrorCode::Protocol, "correlation set " + std::to_string(index) +
                                          " was prepared before; indices must grow"};
  }
  bank->m_lastIndex = index;
  if (bank->m_sets.size() + bank->m_making >= bank->m_limit) {
    return Error{ErrorCode::Exhausted, "this session has its full number of sets"};
  }
  PILLARBOX_ASSIGN(auto memory, bank->m_memory.reserve(memoryBytes, "correlation sets"));
  ++bank->m_making;
  return Preparation(bank, index, opening, bank->m_keys, std::move(memory));
}

Result<SetBank::Taken> SetBank::take(std::uint64_t index) {
  const std::lock_guard lock(m_mutex);
  auto node = m_sets.extract(index);
  if (node.empty()) {
    return Error{ErrorCode::Protocol, "there is no correlation set " + std::to_string(index) +
                                          ": it was used, burnt or never prepared"};
  }
  return Taken{std::move(node.mapped().set), std::move(node.mapped().memory)};
}

std::size_t SetBank::ready() const {
  const std::lock_guard lock(m_mutex);
  return m_sets.size();
}

std::uint64_t SetBank::prepared() const {
  const std::lock_guard lock(m_mutex);
  return m_prepared;
}

void SetBank::close() noexcept {
  const std::lock_guard lock(m_mutex);
  m_closed = true;
  m_sets.clear();
  m_keys.reset();
  for (net::Channel* line : m_lines) line->cancel();
}

void SetBank::holdLines(std::chrono::milliseconds duration) noexcept {
  const std::lock_guard lock(m_mutex);
  m_heldUntil = std::chrono::steady_clock::now() + duration;
  for (net::Channel* line : m_lines) line->hold(duration);
}

Result<MemoryBudget::Reservation> SetBank::expectKeys(std::uint64_t memoryBytes) {
  const std::lock_guard lock(m_mutex);
  if (m_closed) return sessionEnded();
  if (m_keys) return keysAgain();
  return m_memory.reserve(memoryBytes, "correlation sets");
}

Status SetBank::setKeys(const Opening& opening, Keys keys, MemoryBudget::Reservation memory) {
  const std::lock_guard lock(m_mutex);
  if (m_closed) return sessionEnded();
  if (m_opening != opening) return otherOpening();
  if (m_keys) return keysAgain();
  struct Held {
    Keys keys;
    MemoryBudget::Reservation memory;
  };
  const std::shared_ptr<Held> held(new Held{std::move(keys), std::move(memory)});
  m_keys = Keys(held, held->keys.get());
  return {};
}

bool SetBank::hasKeys() const {
  const std::lock_guard lock(m_mutex);
  return m_keys != nullptr;
}

Opening SetBank::opening() const {
  const std::lock_guard lock(m_mutex);
  return m_opening;
}

Result<SetBank::Attachment> SetBank::attach(const std::shared_ptr<SetBank>& bank,
                                            const models::Sha256& hash, net::Channel& line) {
  const std::lock_guard lock(bank->m_mutex);
  if (bank->m_closed) return sessionEnded();
  const auto& model = bank->m_opening.model;
  if (!model || model->hash() != hash) {
    return Error{ErrorCode::Refused, "the session has not opened that model"};
  }
  if (bank->m_lines.size() >= kMaxLines) {
    return Error{ErrorCode::Exhausted, "this session has its full number of offline lines"};
  }
  bank->m_lines.push_back(&line);
  const auto held = bank->m_heldUntil - std::chrono::steady_clock::now();
  line.hold(
      std::max(std::chrono::milliseconds(0), std::chrono::ceil<std::chrono::milliseconds>(held)));
  return Attachment(bank, line);
}

SetBank::Attachment::Attachment(std::shared_ptr<SetBank> bank, net::Channel& line)
    : m_bank(std::move(bank)), m_line(&line) {}

SetBank::Attachment::Attachment(Attachment&& other) noexcept
    : m_bank(std::move(other.m_bank)), m_line(other.m_line) {}

SetBank::Attachment::~Attachment() {
  if (!m_bank) return;
  const std::lock_guard lock(m_bank->m_mutex);
  std::erase(m_bank->m_lines, m_line);
  if (m_bank->m_lines.empty()) m_bank->m_keys.reset();
}

Status SessionDirectory::add(const Token& token, SessionParts parts) {
  const std::lock_guard lock(m_mutex);
  if (m_sessions.contains(token)) return {};
  if (m_sessions.size() >= m_limit) {
    return Error{ErrorCode::Exhausted, "there are " + std::to_string(m_limit) +
                                           " sessions already, the configured limit; try again "
                                           "later"};
  }
  m_sessions.emplace(token, std::move(parts));
  return {};
}

void SessionDirectory::remove(const Token& token) noexcept {
  const std::lock_guard lock(m_mutex);
  m_sessions.erase(token);
}

Result<SessionParts> SessionDirectory::find(const Token& token) const {
  const std::lock_guard lock(m_mutex);
  const auto found = m_sessions.find(token);
  if (found != m_sessions.end()) return found->second;
  return Error{ErrorCode::NotFound, "there is no such session; it may have ended"};
}

}  // namespace pillarbox::service

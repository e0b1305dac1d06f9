#include "net/message_io.h"

#include <algorithm>
#include <stdexcept>

#include "net/text.h"

#ifndef PILLARBOX_VERSION
#define PILLARBOX_VERSION "unknown"
#endif

namespace pillarbox::net {

std::string softwareName() {
  return "Pillarbox " PILLARBOX_VERSION;
}

Error errorOf(const proto::Declined& declined, const std::string& peer) {
  ErrorCode code = ErrorCode::Refused;
  for (int value = 0; value <= static_cast<int>(ErrorCode::Internal); ++value) {
    if (declined.code() == toString(static_cast<ErrorCode>(value))) {
      code = static_cast<ErrorCode>(value);
    }
  }
  return Error{code, peer + " says: " + sanitizeForDisplay(declined.message(), kMaxFailureText)};
}

proto::Declined declinedBy(const Error& error) {
  proto::Declined declined;
  declined.set_code(toString(error.code));
  declined.set_message(sanitizeForDisplay(error.message, kMaxFailureText));
  return declined;
}

WordStreamWriter::WordStreamWriter(Channel& channel, std::uint64_t total)
    : m_channel(channel), m_left(total) {
  m_pending.reserve(std::min<std::uint64_t>(total, kStreamChunkWords));
}

std::uint64_t WordStreamWriter::wireBytes(std::uint64_t total) {
  const std::uint64_t frames = (total + kStreamChunkWords - 1) / kStreamChunkWords;
  return total * sizeof(std::uint64_t) + frames * kFrameHeaderBytes;
}

Status WordStreamWriter::write(std::span<const std::uint64_t> words) {
  if (words.size() > m_left) throw std::logic_error("WordStreamWriter: more words than announced");
  while (!words.empty()) {
    // A frame's worth that lies in one piece goes out without a copy.
    if (m_pending.empty() && words.size() >= kStreamChunkWords) {
      PILLARBOX_TRY(m_channel.sendWords(words.first(kStreamChunkWords)));
      m_left -= kStreamChunkWords;
      words = words.subspan(kStreamChunkWords);
      continue;
    }
    const std::size_t room = kStreamChunkWords - m_pending.size();
    const auto piece = words.first(std::min(room, words.size()));
    m_pending.insert(m_pending.end(), piece.begin(), piece.end());
    m_left -= piece.size();
    words = words.subspan(piece.size());
    if (m_pending.size() == kStreamChunkWords || m_left == 0) {
      PILLARBOX_TRY(m_channel.sendWords(m_pending));
      m_pending.clear();
    }
  }
  return {};
}

WordStreamReader::WordStreamReader(Channel& channel, std::uint64_t total)
    : m_channel(channel), m_left(total) {}

Status WordStreamReader::refill() {
  m_buffer.resize(std::min<std::uint64_t>(m_left, kStreamChunkWords));
  m_used = 0;
  const Status received = m_channel.receiveWords(m_buffer);
  if (!received.ok()) {
    m_buffer.clear();
    return received;
  }
  m_left -= m_buffer.size();
  return {};
}

Status WordStreamReader::read(std::span<std::uint64_t> words) {
  if (words.size() > left()) {
    return Error{ErrorCode::Protocol, "more words were asked for than the stream holds"};
  }
  while (!words.empty()) {
    if (m_used == m_buffer.size()) PILLARBOX_TRY(refill());
    const std::size_t count = std::min(words.size(), m_buffer.size() - m_used);
    std::copy_n(m_buffer.begin() + static_cast<std::ptrdiff_t>(m_used), count, words.begin());
    m_used += count;
    words = words.subspan(count);
  }
  return {};
}

Status WordStreamReader::drain() {
  m_used = m_buffer.size();
  while (m_left > 0) {
    PILLARBOX_TRY(refill());
    m_used = m_buffer.size();
  }
  return {};
}

}  // namespace pillarbox::net

#include "net/message_io.h"

#include <algorithm>
#include <stdexcept>

#ifndef PILLARBOX_VERSION
#define PILLARBOX_VERSION "unknown"
#endif

namespace pillarbox::net {

std::string softwareName() { return "Pillarbox " PILLARBOX_VERSION; }

std::string printable(const std::string& text, std::size_t maxBytes) {
  // Length of the UTF-8 sequence at `i`, or 0 where there is no valid one.
  const auto sequence = [&text](std::size_t i) -> std::size_t {
    const auto byte = [&text](std::size_t k) {
      return k < text.size() ? static_cast<unsigned char>(text[k]) : 0u;
    };
    const unsigned first = byte(i);
    if (first >= 0x20 && first < 0x7f) return 1;
    std::size_t length = 0;
    if (first >= 0xc3 && first <= 0xdf) length = 2;  // from U+00C0: no C1 control characters
    if (first >= 0xe0 && first <= 0xef) length = 3;
    if (first >= 0xf0 && first <= 0xf4) length = 4;
    for (std::size_t k = 1; k < length; ++k) {
      if ((byte(i + k) & 0xc0u) != 0x80u) return 0;
    }
    if (first == 0xe0 && byte(i + 1) < 0xa0) return 0;
    if (first == 0xed && byte(i + 1) > 0x9f) return 0;
    if (first == 0xf0 && byte(i + 1) < 0x90) return 0;
    if (first == 0xf4 && byte(i + 1) > 0x8f) return 0;
    // Line and paragraph separators and the bidirectional overrides.
    if (first == 0xe2 && byte(i + 1) == 0x80 && byte(i + 2) >= 0xa8 && byte(i + 2) <= 0xae)
      return 0;
    return length;
  };
  std::string result;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = sequence(i);
    const std::size_t step = std::max<std::size_t>(length, 1);
    if (result.size() + step > maxBytes) return result + "...";
    if (length == 0) {
      result += '?';
    } else {
      result.append(text, i, length);
    }
    i += step;
  }
  return result;
}

Error errorOf(std::uint32_t code, const std::string& message) {
  const bool known = code <= static_cast<std::uint32_t>(ErrorCode::Internal);
  return Error{known ? static_cast<ErrorCode>(code) : ErrorCode::Internal, printable(message)};
}

proto::Declined declinedBy(const Error& error) {
  proto::Declined declined;
  declined.set_code(static_cast<std::uint32_t>(error.code));
  declined.set_message(error.message);
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

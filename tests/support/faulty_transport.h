// A transport that damages one of the frames written to it, for tests of what the other side makes
// of that. Until it is armed, and for every other frame, it only passes on.
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "net/channel.h"
#include "net/frame.h"

namespace pillarbox::testing {

enum class Fault {
  TooShort,  ///< a frame one word shorter than what is due, consistent in itself
  TooLong,   ///< one word longer
  Swapped,   ///< sent after the frame that follows it
  CutOff,    ///< the connection ends in the middle of the frame
  Killed,    ///< the connection ends before the frame
};

class FaultyTransport : public net::Transport {
 public:
  FaultyTransport(std::unique_ptr<net::Transport> inner, Fault fault)
      : m_inner(std::move(inner)), m_fault(fault) {}

  /// The frame to damage: the number of frames that pass before it, from now on.
  void arm(int framesBefore) { m_left = framesBefore; }
  bool struck() const { return m_struck; }

  Status write(std::span<const std::byte> header, std::span<const std::byte> payload) override {
    if (!m_inner) return gone();
    if (!m_held.empty()) {
      PILLARBOX_TRY(m_inner->write(header, payload));
      return m_inner->write(std::exchange(m_held, {}), {});
    }
    if (m_left != 0) {
      if (m_left > 0) --m_left;
      return m_inner->write(header, payload);
    }
    m_left = -1;
    m_struck = true;
    switch (m_fault) {
      case Fault::TooShort:
        return resized(header, payload.first(payload.size() - 8));
      case Fault::TooLong: {
        std::vector<std::byte> longer(payload.begin(), payload.end());
        longer.resize(payload.size() + 8);
        return resized(header, longer);
      }
      case Fault::Swapped:
        m_held.assign(header.begin(), header.end());
        m_held.insert(m_held.end(), payload.begin(), payload.end());
        return {};
      case Fault::CutOff:
        PILLARBOX_TRY(m_inner->write(header, payload.first(payload.size() / 2)));
        [[fallthrough]];
      case Fault::Killed:
        m_inner.reset();
        return gone();
    }
    return {};
  }
  Status read(std::span<std::byte> bytes) override {
    return m_inner ? m_inner->read(bytes) : gone();
  }
  void setTimeout(std::chrono::milliseconds timeout) override {
    if (m_inner) m_inner->setTimeout(timeout);
  }
  void cancel() noexcept override {
    if (m_inner) m_inner->cancel();
  }
  std::string peer() const override { return "peer"; }

 private:
  static Status gone() { return Error{ErrorCode::Closed, "the connection was cut"}; }
  Status resized(std::span<const std::byte> header, std::span<const std::byte> payload) {
    std::array<std::byte, net::kFrameHeaderBytes> bytes;
    std::copy(header.begin(), header.end(), bytes.begin());
    net::FrameHeader frame = net::decodeFrameHeader(bytes).value();
    frame.length = static_cast<std::uint32_t>(payload.size());
    net::encodeFrameHeader(frame, bytes);
    return m_inner->write(bytes, payload);
  }

  std::unique_ptr<net::Transport> m_inner;
  const Fault m_fault;
  int m_left = -1;
  bool m_struck = false;
  std::vector<std::byte> m_held;
};

}  // namespace pillarbox::testing

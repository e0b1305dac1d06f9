// A session's further connections, from when they name their session until it takes them over.
//
// Each is served by a thread of its own until it has been attached; then its transport lies here
// and the thread ends. A session has one dock, and what lies in it when the session ends, or does
// not belong to the number of stripes that it widens to, is closed.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/result.h"
#include "net/striped_transport.h"

namespace pillarbox::service {

class StripeDock {
 public:
  /// @param limit  stripes of a session, its own connection included
  explicit StripeDock(std::size_t limit) : m_limit(limit) {}
  StripeDock(const StripeDock&) = delete;
  StripeDock& operator=(const StripeDock&) = delete;

  /// The right to leave a transport, until it goes out of scope.
  class Berth {
   public:
    Berth(std::shared_ptr<StripeDock> dock, std::size_t number)
        : m_dock(std::move(dock)), m_number(number) {}
    Berth(Berth&& other) noexcept
        : m_dock(std::exchange(other.m_dock, nullptr)), m_number(other.m_number) {}
    Berth& operator=(Berth&&) = delete;
    ~Berth() {
      if (m_dock) m_dock->settle(m_number, nullptr);
    }
    void leave(std::unique_ptr<net::Transport> transport) && {
      std::exchange(m_dock, nullptr)->settle(m_number, std::move(transport));
    }

   private:
    std::shared_ptr<StripeDock> m_dock;
    const std::size_t m_number;
  };

  /// Errors: Protocol (a number that is out of range or was used before), Closed (the session has
  /// ended, or is wide already).
  static Result<Berth> reserve(const std::shared_ptr<StripeDock>& dock, std::size_t number) {
    const std::lock_guard lock(dock->m_mutex);
    if (dock->m_closed) {
      return Error{ErrorCode::Closed, "the session has ended, or takes no more connections"};
    }
    if (number < 1 || number >= dock->m_limit) {
      return Error{ErrorCode::Protocol, "a session has stripes 1 to " +
                                            std::to_string(dock->m_limit - 1) + " here, not " +
                                            std::to_string(number)};
    }
    if (dock->m_berths[number].state != State::Free) {
      return Error{ErrorCode::Protocol,
                   "stripe " + std::to_string(number) + " of the session is there already"};
    }
    dock->m_berths[number].state = State::Expected;
    return Berth(dock, number);
  }

  /// Stripes 1 to count - 1; the dock closes. Waits for those that are just arriving.
  /// Errors, without effect: Protocol (a count that is out of range), Closed (a second time),
  /// Exhausted (they are not all there).
  Result<std::vector<std::unique_ptr<net::Transport>>> take(std::size_t count) {
    std::unique_lock lock(m_mutex);
    if (m_closed) return Error{ErrorCode::Closed, "the session is wide already"};
    if (count < 2 || count > m_limit) {
      return Error{ErrorCode::Protocol, "a session has at most " + std::to_string(m_limit) +
                                            " connections here, not " + std::to_string(count)};
    }
    const auto none = [&](State state) {
      for (std::size_t i = 1; i < count; ++i) {
        if (m_berths[i].state == state) return false;
      }
      return true;
    };
    m_changed.wait_for(lock, kPatience, [&] { return m_closed || none(State::Expected); });
    if (m_closed || !none(State::Expected) || !none(State::Free)) {
      return Error{ErrorCode::Exhausted, "not all connections of the session are there"};
    }
    std::vector<std::unique_ptr<net::Transport>> stripes;
    for (std::size_t i = 1; i < count; ++i) stripes.push_back(std::move(m_berths[i].transport));
    closeHere();
    return stripes;
  }

  void close() noexcept {
    const std::lock_guard lock(m_mutex);
    closeHere();
  }

 private:
  enum class State { Free, Expected, There };
  struct Place {
    State state = State::Free;
    std::unique_ptr<net::Transport> transport;
  };
  /// Between the answer to the client and the end of the thread that gave it.
  static constexpr auto kPatience = std::chrono::seconds(2);

  void settle(std::size_t number, std::unique_ptr<net::Transport> transport) {
    const std::lock_guard lock(m_mutex);
    if (!m_closed) {
      Place& place = m_berths[number];
      place.state = transport ? State::There : State::Free;
      place.transport = std::move(transport);
    } else if (transport) {
      transport->cancel();  // the client may be gone: do not wait for it
    }
    m_changed.notify_all();
  }

  void closeHere() noexcept {
    m_closed = true;
    for (Place& place : m_berths) {
      if (!place.transport) continue;
      place.transport->cancel();
      place.transport.reset();
    }
    m_changed.notify_all();
  }

  const std::size_t m_limit;
  std::mutex m_mutex;
  std::condition_variable m_changed;
  bool m_closed = false;
  std::array<Place, net::StripedTransport::kMaxStripes> m_berths;
};

}  // namespace pillarbox::service

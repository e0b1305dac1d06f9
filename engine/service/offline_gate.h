// How the sets that are being made share the engine's processors: so many at a time, and an
// inference that runs goes before all of them.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <utility>

#include "engine/core/result.h"

namespace pillarbox::service {

class OfflineGate {
 public:
  /// @param places  sets that may be made at a time
  explicit OfflineGate(std::size_t places) : m_free(places) {}
  OfflineGate(const OfflineGate&) = delete;
  OfflineGate& operator=(const OfflineGate&) = delete;

  /// Holds a place, until it goes out of scope.
  class Place {
   public:
    explicit Place(OfflineGate& gate) : m_gate(&gate) {}
    Place(Place&& other) noexcept : m_gate(std::exchange(other.m_gate, nullptr)) {}
    Place& operator=(Place&&) = delete;
    ~Place() {
      if (m_gate == nullptr) return;
      const std::lock_guard lock(m_gate->m_mutex);
      ++m_gate->m_free;
      m_gate->m_changed.notify_all();
    }

   private:
    OfflineGate* m_gate;
  };

  /// Waits for a place. Errors: Exhausted after `patience`.
  Result<Place> enter(std::chrono::milliseconds patience) {
    std::unique_lock lock(m_mutex);
    if (!m_changed.wait_for(lock, patience, [this] { return m_free > 0; })) {
      return Error{ErrorCode::Exhausted,
                   "the engine is busy making correlation sets for others; try again later"};
    }
    --m_free;
    return Place(*this);
  }

  /// An inference runs, until this goes out of scope.
  class Inference {
   public:
    explicit Inference(OfflineGate& gate) : m_gate(gate) {
      const std::lock_guard lock(m_gate.m_mutex);
      ++m_gate.m_inferences;
    }
    Inference(const Inference&) = delete;
    Inference& operator=(const Inference&) = delete;
    ~Inference() {
      const std::lock_guard lock(m_gate.m_mutex);
      if (--m_gate.m_inferences == 0) m_gate.m_changed.notify_all();
    }

   private:
    OfflineGate& m_gate;
  };

  /// Between two pieces of making a set: waits while inferences run, but not for ever, so that the
  /// client on the other side of the set does not lose patience.
  void giveWay() {
    std::unique_lock lock(m_mutex);
    m_changed.wait_for(lock, std::chrono::seconds(2), [this] { return m_inferences == 0; });
  }

 private:
  std::mutex m_mutex;
  std::condition_variable m_changed;
  std::size_t m_free;
  std::size_t m_inferences = 0;
};

}  // namespace pillarbox::service

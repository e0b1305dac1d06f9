// Memory that peers can make a service hold, counted before it is taken.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "engine/core/result.h"

namespace pillarbox::service {

class MemoryBudget {
 public:
  explicit MemoryBudget(std::uint64_t bytes) : m_free(bytes) {}
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  /// Gives its bytes back when it goes out of scope; must not outlive the budget.
  class Reservation {
   public:
    Reservation() = default;
    Reservation(MemoryBudget* budget, std::uint64_t bytes) : m_budget(budget), m_bytes(bytes) {}
    Reservation(Reservation&& other) noexcept
        : m_budget(std::exchange(other.m_budget, nullptr)), m_bytes(other.m_bytes) {}
    Reservation& operator=(Reservation&& other) noexcept {
      std::swap(m_budget, other.m_budget);
      std::swap(m_bytes, other.m_bytes);
      return *this;
    }
    ~Reservation() {
      if (m_budget != nullptr) m_budget->release(m_bytes);
    }
    /// Gives back what exceeds `bytes`.
    void shrink(std::uint64_t bytes) {
      if (m_budget == nullptr || bytes >= m_bytes) return;
      m_budget->release(m_bytes - bytes);
      m_bytes = bytes;
    }

   private:
    MemoryBudget* m_budget = nullptr;
    std::uint64_t m_bytes = 0;
  };

  /// @param what  for the message: "correlation sets"
  /// Errors: Exhausted.
  Result<Reservation> reserve(std::uint64_t bytes, const std::string& what) {
    const std::lock_guard lock(m_mutex);
    if (bytes > m_free) {
      return Error{ErrorCode::Exhausted, "the memory for " + what +
                                             " is used up; try again later, or raise its limit in "
                                             "the configuration"};
    }
    m_free -= bytes;
    return Reservation(this, bytes);
  }

 private:
  void release(std::uint64_t bytes) {
    const std::lock_guard lock(m_mutex);
    m_free += bytes;
  }
  std::mutex m_mutex;
  std::uint64_t m_free;
};

}  // namespace pillarbox::service

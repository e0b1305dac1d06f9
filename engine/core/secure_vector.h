// Memory for masks, shares, seeds and keys: zeroed on release, and not zeroed on growth (tensors
// are always written in full before they are read).
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace pillarbox {

/// Overwrites memory in a way the compiler may not remove (explicit_bzero).
void secureZero(void* data, std::size_t bytes) noexcept;

template <typename T>
struct SecureAllocator {
  using value_type = T;
  static constexpr std::size_t kAlignment = alignof(T) > 64 ? alignof(T) : 64;

  SecureAllocator() = default;
  template <typename U>
  SecureAllocator(const SecureAllocator<U>&) noexcept {}

  T* allocate(std::size_t count) {
    if (count > static_cast<std::size_t>(-1) / sizeof(T)) throw std::bad_array_new_length();
    return static_cast<T*>(::operator new (count * sizeof(T), std::align_val_t{kAlignment}));
  }
  void deallocate(T* data, std::size_t count) noexcept {
    secureZero(data, count * sizeof(T));
    ::operator delete (data, std::align_val_t{kAlignment});
  }
  template <typename U, typename... Args>
  void construct(U* place, Args&&... args) {
    if constexpr (sizeof...(Args) == 0 && std::is_trivially_default_constructible_v<U>) {
      ::new (static_cast<void*>(place)) U;
    } else {
      ::new (static_cast<void*>(place)) U(std::forward<Args>(args)...);
    }
  }
  template <typename U>
  bool operator==(const SecureAllocator<U>&) const noexcept {
    return true;
  }
};

/// A 64-byte aligned vector whose memory is overwritten when it is released. `resize` leaves new
/// elements of trivial types uninitialised.
template <typename T>
using SecureVector = std::vector<T, SecureAllocator<T>>;

}  // namespace pillarbox

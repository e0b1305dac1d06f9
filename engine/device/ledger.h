// What a device has done and how often it failed, by what for: written by those who compute on it,
// read by metrics and by those who decide whether it is still to be used.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "engine/device/device.h"

namespace pillarbox::device {

enum class Purpose : std::size_t { Inference, Preparation };

/// One a device. Any thread may call any function.
class Ledger {
 public:
  /// A device that fails so often without doing anything right in between is not used any more.
  static constexpr std::uint32_t kMostFailures = 3;

  /// Counts work that was done, and the seconds that it took there, by the device's own clock.
  void worked(Purpose purpose, double seconds) {
    Account& account = of(purpose);
    account.nanoseconds += static_cast<std::uint64_t>(1e9 * seconds);
    account.failuresInARow = 0;
  }
  /// Counts work that began there and was lost.
  void failed(Purpose purpose) {
    Account& account = of(purpose);
    ++account.failures;
    if (++account.failuresInARow >= kMostFailures) m_usable = false;
  }
  /// Counts work that the processor did because the device could not begin it. Mostly its memory is
  /// full; if it has just failed, it has failed again.
  void declined(Purpose purpose) {
    Account& account = of(purpose);
    ++account.declined;
    if (account.failuresInARow > 0 && ++account.failuresInARow >= kMostFailures) m_usable = false;
  }

  /// Runs `work`; counts a DeviceError that it throws, which goes on its way.
  template <typename Work>
  auto watch(Purpose purpose, const Work& work) {
    try {
      return work();
    } catch (const DeviceError&) {
      failed(purpose);
      throw;
    }
  }

  double seconds(Purpose purpose) const {
    return 1e-9 * static_cast<double>(of(purpose).nanoseconds);
  }
  std::uint64_t failures(Purpose purpose) const { return of(purpose).failures; }
  std::uint64_t declines(Purpose purpose) const { return of(purpose).declined; }
  /// False for good after kMostFailures in a row for one purpose.
  bool usable() const { return m_usable; }

 private:
  struct Account {
    std::atomic<std::uint64_t> nanoseconds{0}, failures{0}, declined{0};
    std::atomic<std::uint32_t> failuresInARow{0};
  };
  Account& of(Purpose purpose) { return m_accounts[static_cast<std::size_t>(purpose)]; }
  const Account& of(Purpose purpose) const { return m_accounts[static_cast<std::size_t>(purpose)]; }

  std::array<Account, 2> m_accounts;
  std::atomic<bool> m_usable{true};
};

}  // namespace pillarbox::device

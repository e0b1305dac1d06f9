// Threads that lend a hand to whoever computes while cores are idle.
//
// An inference alone on a machine with several cores is faster when they share its largest layers;
// many at the same time keep all cores busy by themselves and gain nothing from sharing. So help is
// given only while fewer threads compute than there are cores, and only by helpers that have
// nothing else to do: whoever asks begins at once, and whoever is free joins in.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace pillarbox::kernels {

class Team {
 public:
  /// More than these are never asked to one job: waking each costs its caller some microseconds.
  static constexpr unsigned kMostHelpers = 15;

  /// @param cores  that may compute at the same time, callers' threads included: one helper less is
  ///               started. 0: all that there are. 1: nobody helps.
  /// Throws std::system_error if the system gives no threads.
  explicit Team(unsigned cores);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  /// Calls work(i) for every i < count, here and on the helpers that are free; returns when all
  /// are done. Takes no memory. `work` may be called by several threads at once and must not throw.
  /// Worth it from about 0.1 ms of work on.
  template <typename Work>
  void run(std::size_t count, const Work& work) {
    static_assert(std::is_invocable_v<const Work&, std::size_t>);
    share(
        count, [](const void* w, std::size_t i) { (*static_cast<const Work*>(w))(i); }, &work);
  }

  /// How often a helper has joined in; for tests.
  std::uint64_t joined() const { return m_joined; }

 private:
  using Call = void (*)(const void* work, std::size_t i);
  /// What one caller shares; lives on its stack until no helper is in it.
  struct Job {
    const std::size_t count;
    const Call call;
    const void* const work;
    std::atomic<std::size_t> next = 0;
    unsigned wanted = 0;   ///< helpers that may still join; guarded by m_mutex
    unsigned helpers = 0;  ///< in it; guarded by m_mutex
    Job* after = nullptr;  ///< in the list of jobs that want help
  };

  void share(std::size_t count, Call call, const void* work);
  static void workOn(Job& job);
  void help();

  const unsigned m_cores;
  std::atomic<unsigned> m_callers = 0;  ///< inside share()
  std::atomic<std::uint64_t> m_joined = 0;
  std::mutex m_mutex;
  std::condition_variable m_work, m_done;
  Job* m_jobs = nullptr;  ///< that want help, the newest first
  unsigned m_idle = 0;    ///< helpers
  bool m_stopping = false;
  std::vector<std::jthread> m_helpers;
};

}  // namespace pillarbox::kernels

#include "engine/kernels/team.h"

#include <algorithm>
#include <utility>

namespace pillarbox::kernels {

Team::Team(unsigned cores)
    : m_cores(cores > 0 ? cores : std::max(1U, std::thread::hardware_concurrency())) {
  for (unsigned i = 1; i < m_cores; ++i) m_helpers.emplace_back([this] { help(); });
}

Team::~Team() {
  {
    const std::lock_guard lock(m_mutex);
    m_stopping = true;
  }
  m_work.notify_all();
}

void Team::workOn(Job& job) {
  for (std::size_t i = job.next++; i < job.count; i = job.next++) job.call(job.work, i);
}

void Team::share(std::size_t count, Call call, const void* work) {
  Job job{.count = count, .call = call, .work = work};
  const unsigned callers = ++m_callers;
  if (count > 1 && callers < m_cores) {
    unsigned wanted = 0;
    {
      const std::lock_guard lock(m_mutex);
      wanted = static_cast<unsigned>(
          std::min<std::size_t>({count - 1, m_cores - callers, m_idle, kMostHelpers}));
      if (wanted > 0) {
        job.wanted = wanted;
        job.after = std::exchange(m_jobs, &job);
      }
    }
    for (unsigned i = 0; i < wanted; ++i) m_work.notify_one();
    workOn(job);
    if (wanted > 0) {
      std::unique_lock lock(m_mutex);
      // Who has not come by now need not come any more.
      for (Job** place = &m_jobs; *place != nullptr; place = &(*place)->after) {
        if (*place == &job) {
          *place = job.after;
          break;
        }
      }
      m_done.wait(lock, [&job] { return job.helpers == 0; });
    }
  } else {
    workOn(job);
  }
  --m_callers;
}

void Team::help() {
  std::unique_lock lock(m_mutex);
  while (true) {
    ++m_idle;
    m_work.wait(lock, [this] { return m_stopping || m_jobs != nullptr; });
    --m_idle;
    if (m_stopping) return;
    Job& job = *m_jobs;
    ++job.helpers;
    if (--job.wanted == 0) m_jobs = job.after;
    lock.unlock();
    ++m_joined;
    workOn(job);
    lock.lock();
    if (--job.helpers == 0) m_done.notify_all();
  }
}

}  // namespace pillarbox::kernels

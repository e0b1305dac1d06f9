// The threads of a server: one for each connection, counted, drained and joined.
//
// `Connection` has run(), drain(), cancel() and refuse(Error), all of which do not throw; run()
// returns when the connection is over. A connection is destroyed by its own thread, so that its
// socket closes at once.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>

#include "engine/core/result.h"
#include "engine/service/log.h"
#include "net/channel.h"

namespace pillarbox::service {

template <typename Connection, typename Incoming = net::Transport>
class ConnectionPool {
 public:
  using Factory =
      std::function<std::unique_ptr<Connection>(std::uint64_t id, std::unique_ptr<Incoming>)>;

  /// @param limit  connections served at a time; a few more are told that it is reached
  ConnectionPool(std::size_t limit, Factory factory)
      : m_limit(limit), m_factory(std::move(factory)) {}
  ~ConnectionPool() { shutDown(std::chrono::seconds(0)); }
  ConnectionPool(const ConnectionPool&) = delete;
  ConnectionPool& operator=(const ConnectionPool&) = delete;

  /// Takes over a connection; returns at once.
  void add(std::unique_ptr<Incoming> transport) {
    joinFinished();
    const std::lock_guard lock(m_mutex);
    const std::string peer = transport->peer();
    if (m_stopped || m_running >= m_limit + kRefusals) {
      logEvent(LogLevel::Warning, "connection_dropped", {{"peer", peer}, {"running", m_running}});
      return;
    }
    auto entry = std::make_unique<Entry>();
    entry->connection = m_factory(++m_lastId, std::move(transport));
    if (m_running >= m_limit) {
      entry->connection->refuse({ErrorCode::Exhausted, "there are " + std::to_string(m_limit) +
                                                           " connections already, the configured "
                                                           "limit; try again later"});
    }
    Entry* const raw = entry.get();
    try {
      raw->thread = std::thread([this, raw] { serve(*raw); });
    } catch (const std::system_error& error) {
      logEvent(LogLevel::Error, "connection_dropped", {{"peer", peer}, {"error", error.what()}});
      return;
    }
    ++m_running;
    m_entries.push_back(std::move(entry));
  }

  std::size_t running() const {
    const std::lock_guard lock(m_mutex);
    return m_running;
  }

  /// Refuses what comes, lets work under way finish within `patience`, then cancels it. Returns
  /// when every thread has ended.
  void shutDown(std::chrono::seconds patience) {
    std::unique_lock lock(m_mutex);
    m_stopped = true;
    for (const auto& entry : m_entries) {
      if (entry->connection) entry->connection->drain();
    }
    m_changed.wait_for(lock, patience, [this] { return m_running == 0; });
    if (m_running > 0) {
      logEvent(LogLevel::Warning, "drain_timeout", {{"cancelled", m_running}});
      for (const auto& entry : m_entries) {
        if (entry->connection) entry->connection->cancel();
      }
    }
    m_changed.wait(lock, [this] { return m_running == 0; });
    lock.unlock();
    joinFinished();
  }

 private:
  static constexpr std::size_t kRefusals = 16;

  struct Entry {
    std::unique_ptr<Connection> connection;
    std::thread thread;
    bool finished = false;
  };

  void serve(Entry& entry) {
    Connection* connection = nullptr;
    {
      // Also waits until add() has stored the thread.
      const std::lock_guard lock(m_mutex);
      connection = entry.connection.get();
    }
    connection->run();
    std::unique_ptr<Connection> ended;
    {
      const std::lock_guard lock(m_mutex);
      ended = std::move(entry.connection);
    }
    ended.reset();
    const std::lock_guard lock(m_mutex);
    entry.finished = true;
    --m_running;
    m_changed.notify_all();
  }

  void joinFinished() {
    std::list<std::unique_ptr<Entry>> finished;
    {
      const std::lock_guard lock(m_mutex);
      for (auto it = m_entries.begin(); it != m_entries.end();) {
        const auto next = std::next(it);
        if ((*it)->finished) finished.splice(finished.end(), m_entries, it);
        it = next;
      }
    }
    for (const auto& entry : finished) entry->thread.join();
  }

  const std::size_t m_limit;
  const Factory m_factory;
  mutable std::mutex m_mutex;
  std::condition_variable m_changed;
  std::list<std::unique_ptr<Entry>> m_entries;
  std::size_t m_running = 0;
  std::uint64_t m_lastId = 0;
  bool m_stopped = false;
};

}  // namespace pillarbox::service

// The connection to the engine, shared by the threads of one session.
//
// One thing happens on it at a time: an inference, the upload of one set, a ping. Whoever wants to
// use it takes a lease. An inference goes before everything that waits, so it is held up by no more
// than the one upload that is under way.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "engine/core/result.h"
#include "net/channel.h"
#include "net/striped_transport.h"

namespace pillarbox::client {

class SessionLine {
 public:
  explicit SessionLine(std::unique_ptr<net::Transport> transport)
      : m_stream(new net::StripedTransport(std::move(transport))),
        m_channel(std::unique_ptr<net::Transport>(m_stream)) {}

  /// The right to use the channel, until it goes out of scope.
  class Lease {
   public:
    explicit Lease(SessionLine& line) : m_line(&line) {}
    Lease(Lease&& other) noexcept : m_line(std::exchange(other.m_line, nullptr)) {}
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (m_line != nullptr) m_line->release();
    }
    net::Channel& channel() const { return m_line->m_channel; }
    /// As StripedTransport::widen.
    void widen(std::vector<std::unique_ptr<net::Transport>> further) const {
      m_line->m_stream->widen(std::move(further));
    }

   private:
    SessionLine* m_line;
  };

  enum class Priority { Background, Inference };

  /// Waits for its turn. Errors: the one that broke the line.
  Result<Lease> lease(Priority priority);
  /// Now or not at all (nothing where it is in use or broken).
  std::optional<Lease> tryLease();

  /// Marks the line as broken by `error` (the first one counts) and returns that one. Everything
  /// that waits gets it.
  Error breakWith(Error error);
  std::optional<Error> broken() const;

  /// The holder of the lease has said goodbye: nobody else gets the line, but what was sent still
  /// goes out.
  void close();
  /// Ends whatever happens on the line. From any thread.
  void cancel() noexcept;

  /// Connections that carry the line.
  std::size_t stripes() const { return m_stream->stripes(); }
  net::MeterReading meter() const { return m_channel.meter(); }
  std::string peer() const { return m_channel.peer(); }

 private:
  void release();

  net::StripedTransport* const m_stream;  ///< the channel's
  net::Channel m_channel;
  mutable std::mutex m_mutex;
  std::condition_variable m_changed;
  bool m_taken = false;
  int m_urgent = 0;  ///< inferences that wait
  std::optional<Error> m_broken;
};

}  // namespace pillarbox::client

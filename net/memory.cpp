#include "net/memory.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

#include "net/patience.h"

namespace pillarbox::net {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

/// On a shaped link a waiting reader is woken for this many bytes at a time.
constexpr std::size_t kQuantum = 16 * 1024;

/// What one write left on the wire.
struct Segment {
  std::vector<std::byte> bytes;
  std::size_t taken = 0;
  Clock::time_point start;  // when its first byte begins to arrive
};

Clock::duration toClock(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(Seconds(seconds));
}

/// One direction.
struct Pipe {
  explicit Pipe(const MemoryLink& link)
      : delay(toClock(std::max(link.shape.rttMs, 0.0) / 2000)),
        secondsPerByte(link.shape.mbit > 0 ? 8 / (link.shape.mbit * 1e6) : 0),
        capacity(link.capacityBytes) {}

  const Clock::duration delay;
  const double secondsPerByte;
  const std::size_t capacity;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Segment> segments;
  std::size_t underWay = 0;
  Clock::time_point wireFree{};  // when the sender's end of the wire has passed all bytes so far
  bool writerGone = false;
  bool readerGone = false;
  bool writerCancelled = false;
  bool readerCancelled = false;

  bool shaped() const { return delay.count() != 0 || secondsPerByte > 0; }

  /// Bytes of `segment` that have arrived at `now` and were not taken.
  std::size_t arrived(const Segment& segment, Clock::time_point now) const {
    std::size_t total = segment.bytes.size();
    if (shaped()) {
      const double elapsed = Seconds(now - segment.start).count();
      if (elapsed < 0) return 0;
      if (secondsPerByte > 0 && elapsed < secondsPerByte * static_cast<double>(total)) {
        total = static_cast<std::size_t>(elapsed / secondsPerByte);
      }
    }
    return std::max(total, segment.taken) - segment.taken;
  }
};

Error cancelled() {
  return {ErrorCode::Cancelled, "cancelled"};
}

class MemoryTransport final : public Transport {
 public:
  MemoryTransport(std::shared_ptr<Pipe> out, std::shared_ptr<Pipe> in)
      : m_out(std::move(out)), m_in(std::move(in)) {}

  ~MemoryTransport() override {
    {
      const std::scoped_lock lock(m_out->mutex);
      m_out->writerGone = true;
    }
    m_out->changed.notify_all();
    {
      const std::scoped_lock lock(m_in->mutex);
      m_in->readerGone = true;
    }
    m_in->changed.notify_all();
  }

  Status write(std::span<const std::byte> header, std::span<const std::byte> payload) override {
    std::vector<std::byte> bytes;
    bytes.reserve(header.size() + payload.size());
    bytes.insert(bytes.end(), header.begin(), header.end());
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    if (m_out->capacity == 0 || bytes.size() <= m_out->capacity) return push(std::move(bytes));
    // Longer than the pipe: in pieces, so that the reader can make room.
    std::span<const std::byte> rest(bytes);
    while (!rest.empty()) {
      const auto piece = rest.first(std::min(rest.size(), m_out->capacity));
      PILLARBOX_TRY(push({piece.begin(), piece.end()}));
      rest = rest.subspan(piece.size());
    }
    return {};
  }

  Status read(std::span<std::byte> bytes) override {
    Pipe& pipe = *m_in;
    Patience patience(timeout(), bytes.size());
    std::unique_lock lock(pipe.mutex);
    while (true) {
      if (pipe.readerCancelled) return cancelled();
      if (bytes.empty()) return {};
      const auto now = Clock::now();
      std::optional<Clock::time_point> wake = patience.deadline();
      const bool late = wake && now >= *wake;
      if (pipe.segments.empty()) {
        if (pipe.writerGone) {
          return Error{ErrorCode::Closed, "the other side closed the connection"};
        }
      } else {
        Segment& segment = pipe.segments.front();
        const std::size_t left = segment.bytes.size() - segment.taken;
        const std::size_t want = std::min(bytes.size(), left);
        const std::size_t have = std::min(want, pipe.arrived(segment, now));
        if (have >= std::min(want, kQuantum)) {
          std::memcpy(bytes.data(), segment.bytes.data() + segment.taken, have);
          bytes = bytes.subspan(have);
          segment.taken += have;
          pipe.underWay -= have;
          if (segment.taken == segment.bytes.size()) pipe.segments.pop_front();
          if (pipe.capacity != 0) pipe.changed.notify_all();
          patience.progress();
          continue;
        }
        const auto there = segment.start +
                           toClock(pipe.secondsPerByte *
                                   static_cast<double>(segment.taken + std::min(want, kQuantum))) +
                           std::chrono::nanoseconds(1);
        wake = wake ? std::min(*wake, there) : there;
      }
      if (late) return Error{ErrorCode::Timeout, "the other side stopped answering"};
      if (wake) {
        pipe.changed.wait_until(lock, *wake);
      } else {
        pipe.changed.wait(lock);
      }
    }
  }

  void setTimeout(std::chrono::milliseconds timeout) override { m_timeout = timeout.count(); }

  void cancel() noexcept override {
    {
      const std::scoped_lock lock(m_out->mutex);
      m_out->writerCancelled = true;
    }
    m_out->changed.notify_all();
    {
      const std::scoped_lock lock(m_in->mutex);
      m_in->readerCancelled = true;
    }
    m_in->changed.notify_all();
  }

  std::string peer() const override { return "memory"; }

 private:
  std::chrono::milliseconds timeout() const { return std::chrono::milliseconds(m_timeout.load()); }

  Status push(std::vector<std::byte> bytes) {
    Pipe& pipe = *m_out;
    const Patience patience(timeout(), bytes.size());
    std::unique_lock lock(pipe.mutex);
    const auto ready = [&] {
      return pipe.writerCancelled || pipe.readerGone || pipe.capacity == 0 ||
             pipe.underWay + bytes.size() <= pipe.capacity;
    };
    if (const auto deadline = patience.deadline()) {
      if (!pipe.changed.wait_until(lock, *deadline, ready)) {
        return Error{ErrorCode::Timeout, "the other side stopped reading"};
      }
    } else {
      pipe.changed.wait(lock, ready);
    }
    if (pipe.writerCancelled) return cancelled();
    if (pipe.readerGone) return Error{ErrorCode::Closed, "the other side closed the connection"};
    if (bytes.empty()) return {};
    Segment segment;
    if (pipe.shaped()) {
      const auto leaves = std::max(Clock::now(), pipe.wireFree);
      pipe.wireFree = leaves + toClock(pipe.secondsPerByte * static_cast<double>(bytes.size()));
      segment.start = leaves + pipe.delay;
    }
    pipe.underWay += bytes.size();
    segment.bytes = std::move(bytes);
    pipe.segments.push_back(std::move(segment));
    lock.unlock();
    pipe.changed.notify_all();
    return {};
  }

  std::shared_ptr<Pipe> m_out;
  std::shared_ptr<Pipe> m_in;
  std::atomic<std::chrono::milliseconds::rep> m_timeout{0};
};

}  // namespace

std::pair<std::unique_ptr<Transport>, std::unique_ptr<Transport>> makeMemoryPair(
    const MemoryLink& link) {
  auto forth = std::make_shared<Pipe>(link);
  auto back = std::make_shared<Pipe>(link);
  return {std::make_unique<MemoryTransport>(forth, back),
          std::make_unique<MemoryTransport>(back, forth)};
}

}  // namespace pillarbox::net

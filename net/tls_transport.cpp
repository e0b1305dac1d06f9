// Records on a socket that never blocks, for callers that do.
//
// OpenSSL's connection object must not be entered by two threads, so a mutex guards it; nobody
// waits for the network while holding it. A reader that finds no record, and a writer that finds
// the kernel full, sleep in poll on the socket and on an event descriptor that cancel() fills, so
// both wake at once. The mutex is held for one record (16 KiB) at a time: a reader and a writer
// interleave.
//
// Writing is direct as long as nothing is queued: the caller's memory is encrypted into the socket
// without a copy, apart from the first record, which joins the frame's header with the beginning of
// its payload so that a small frame is one record and one packet; of a frame of several records the
// kernel is told that more follow, so that it makes fewer packets. What the kernel does not take
// goes to a bounded queue, which a thread of the connection's own (started at the first need)
// empties.
//
// A record leaves only when the connection is not held, and where it is a background connection
// only within its flight limit (flight_limit.h). What may not leave waits in that same queue.
#include "net/tls_transport.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "net/flight_limit.h"
#include "net/patience.h"

namespace pillarbox::net {
namespace {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

constexpr std::size_t kRecordBytes = SSL3_RT_MAX_PLAIN_LENGTH;
/// Longest that a destructor waits for its queue to leave, and then for the kernel's.
constexpr std::chrono::seconds kFlushTime{5};
constexpr std::chrono::seconds kLingerTime{2};
/// AES-GCM keys are good for 2^24.5 full records (RFC 8446, 5.5), 380 GiB; a fresh one long before.
constexpr std::uint64_t kBytesPerKey = std::uint64_t{64} << 30;
/// Messages that are not application data: none but the other side's key updates are expected.
constexpr std::uint64_t kFreeControlMessages = 32;
constexpr std::uint64_t kBytesPerControlMessage = std::uint64_t{1} << 30;

/// An emptied block of the queue up to this size is kept for the next.
constexpr std::size_t kSpareBytes = std::size_t{8} << 20;

enum class Wake { Ready, Cancelled, Late };

class Connection final : public TlsTransport {
 public:
  Connection(TlsSocket connection, int event, const SocketOptions& options, std::string peer,
             std::string local, std::optional<Fingerprint> fingerprint)
      : m_connection(std::move(connection)),
        m_descriptor(m_connection.socket->descriptor),
        m_event(event),
        m_peer(std::move(peer)),
        m_local(std::move(local)),
        m_fingerprint(fingerprint),
        m_capacity(options.queueBytes) {
    SSL* ssl = m_connection.ssl.get();
    m_security = std::string("TLS 1.3, ") + SSL_CIPHER_standard_name(SSL_get_current_cipher(ssl));
    SSL_set_app_data(ssl, nullptr);
    SSL_set_msg_callback(ssl, &countMessage);
    SSL_set_msg_callback_arg(ssl, this);
    m_staging.reserve(kRecordBytes);
  }

  ~Connection() override {
    bool flushed = false;
    {
      std::unique_lock lock(m_queueMutex);
      m_heldUntil = {};
      m_queueChanged.notify_all();
      m_queueChanged.wait_until(lock, Clock::now() + kFlushTime,
                                [&] { return m_queued == 0 || m_queueError || m_cancelled; });
      flushed = m_queued == 0 && !m_queueError;
      m_stopping = true;
    }
    m_queueChanged.notify_all();
    raiseEvent();
    if (m_writer.joinable()) m_writer.join();
    if (flushed && !m_sendBroken && !m_broken) {
      ERR_clear_error();
      (void)SSL_shutdown(m_connection.ssl.get());  // sends close_notify, if the kernel has room
      ERR_clear_error();
    }
    (void)::shutdown(m_descriptor, SHUT_WR);
    if (!m_cancelled) linger();
    ::close(m_event);
  }

  Status write(std::span<const std::byte> header, std::span<const std::byte> payload) override {
    const std::scoped_lock writing(m_writeMutex);
    Patience patience(timeout(), header.size() + payload.size());
    {
      std::unique_lock lock(m_queueMutex);
      std::size_t before = m_queued;
      while (true) {
        if (m_cancelled) return cancelled();
        if (m_queueError) return *m_queueError;
        if (m_queued == 0) break;
        const std::size_t total = header.size() + payload.size();
        if (total <= m_capacity && m_queued <= m_capacity - total) {
          enqueue(header, payload);
          return {};
        }
        if (m_queued != std::exchange(before, m_queued)) patience.progress();
        if (const auto pause = held()) {
          sleep(lock, *pause, patience);
          continue;
        }
        if (const auto deadline = patience.deadline()) {
          if (Clock::now() >= *deadline) return late();
          m_queueChanged.wait_until(lock, *deadline);
        } else {
          m_queueChanged.wait(lock);
        }
      }
    }
    if (m_sendBroken) {
      return Error{ErrorCode::Closed, "an earlier message to " + m_peer + " did not get through"};
    }
    return writeDirectly(header, payload, patience);
  }

  Status read(std::span<std::byte> bytes) override {
    Patience patience(timeout(), bytes.size());
    do {
      if (m_cancelled) return cancelled();
      if (bytes.empty()) return {};
      std::size_t n = 0;
      short events = POLLIN;
      {
        const std::scoped_lock lock(m_sslMutex);
        if (m_broken) return *m_broken;
        ERR_clear_error();
        SSL* ssl = m_connection.ssl.get();
        if (SSL_read_ex(ssl, bytes.data(), bytes.size(), &n) != 1) {
          const int code = SSL_get_error(ssl, 0);
          if (code == SSL_ERROR_WANT_WRITE) {
            events = POLLOUT;
          } else if (code != SSL_ERROR_WANT_READ) {
            return readFailed(code);
          }
        }
        m_bytesRead += n;
      }
      if (n > 0) {
        bytes = bytes.subspan(n);
        patience.progress();
        continue;
      }
      switch (wait(events, patience.deadline())) {
        case Wake::Ready:
          break;
        case Wake::Cancelled:
          return cancelled();
        case Wake::Late:
          return Error{ErrorCode::Timeout, m_peer +
                                               " has stopped answering (nothing complete for " +
                                               durationText(timeout()) + ")"};
      }
    } while (!bytes.empty());
    return {};
  }

  void setTimeout(std::chrono::milliseconds timeout) override { m_timeout = timeout.count(); }

  void cancel() noexcept override {
    m_cancelled = true;
    raiseEvent();
    { const std::scoped_lock lock(m_queueMutex); }  // a waiter is now either asleep or sees it
    m_queueChanged.notify_all();
  }

  void setSendLimits(const SendLimits& limits) override {
    const std::scoped_lock lock(m_queueMutex);
    m_capacity = limits.queueBytes;
    m_background = limits.background;
    m_queueChanged.notify_all();
  }

  void hold(std::chrono::milliseconds duration) noexcept override {
    const std::scoped_lock lock(m_queueMutex);
    m_heldUntil = Clock::now() + duration;
    m_queueChanged.notify_all();
  }

  std::string peer() const override { return m_peer; }
  std::optional<Fingerprint> peerFingerprint() const override { return m_fingerprint; }
  std::string security() const override { return m_security; }
  std::string local() const override { return m_local; }

 private:
  struct Block {
    std::vector<std::byte> bytes;
    std::size_t sent = 0;
  };
  struct Sent {
    std::size_t bytes = 0;
    short events = POLLOUT;      // what to wait for if bytes is 0
    std::optional<Error> error;  // the connection is over
  };

  std::chrono::milliseconds timeout() const { return std::chrono::milliseconds(m_timeout.load()); }
  Error cancelled() const { return {ErrorCode::Cancelled, "cancelled"}; }
  Error late() const {
    return {ErrorCode::Timeout,
            m_peer + " has stopped taking data (for " + durationText(timeout()) + ")"};
  }

  void raiseEvent() noexcept {
    const std::uint64_t one = 1;
    (void)!::write(m_event, &one, sizeof one);  // never read: stays raised
  }

  /// How long nothing may leave, if that is so. Call with m_queueMutex held, as the next two.
  std::optional<Clock::duration> held() const {
    const Clock::duration left = m_heldUntil - Clock::now();
    if (left <= Clock::duration::zero()) return std::nullopt;
    return left;
  }

  /// Why the next record must wait, in time until it is worth asking again.
  std::optional<Clock::duration> mustWait() {
    if (const auto left = held()) return left;
    if (!m_background) return std::nullopt;
    const auto reading = FlightLimit::read(m_descriptor);
    return reading ? m_flight.mustWait(*reading, Clock::now()) : std::nullopt;
  }

  /// Sleeps for `pause`, or until something changes. A hold costs nobody's patience.
  Wake sleep(std::unique_lock<std::mutex>& lock, Clock::duration pause, Patience& patience) {
    const bool wasHeld = held().has_value();
    const TimePoint start = Clock::now();
    if (!m_cancelled) m_queueChanged.wait_for(lock, pause);
    if (wasHeld) patience.extend(Clock::now() - start);
    const auto deadline = patience.deadline();
    return deadline && Clock::now() >= *deadline ? Wake::Late : Wake::Ready;
  }

  /// Sleeps until the socket is ready, the event is raised, or `deadline`.
  Wake wait(short events, std::optional<TimePoint> deadline) const {
    while (true) {
      if (m_cancelled) return Wake::Cancelled;
      std::array<pollfd, 2> fds = {pollfd{m_descriptor, events, 0}, pollfd{m_event, POLLIN, 0}};
      timespec left{};
      if (deadline) {
        const auto ns =
            std::max<std::int64_t>(0, std::chrono::nanoseconds(*deadline - Clock::now()).count());
        left.tv_sec = ns / 1'000'000'000;
        left.tv_nsec = ns % 1'000'000'000;
      }
      const int n = ::ppoll(fds.data(), fds.size(), deadline ? &left : nullptr, nullptr);
      if (n < 0 && errno != EINTR) return Wake::Ready;  // the next call on the socket will say
      if (n > 0 && fds[1].revents != 0) return Wake::Cancelled;
      if (n > 0) return Wake::Ready;
      if (deadline && Clock::now() >= *deadline) return Wake::Late;
    }
  }

  /// Call with m_sslMutex held.
  Error readFailed(int code) {
    Error error = connectionError(code, *m_connection.socket, m_peer);
    if (m_flooded) {
      error = {ErrorCode::Protocol, m_peer + " floods the connection with TLS control messages"};
    }
    m_broken = error;
    // Properly closed by the other side: it may still read what this side sends. Otherwise over.
    m_readClosed = code == SSL_ERROR_ZERO_RETURN;
    return error;
  }

  /// Encrypts and sends at most one record. @param more  the next one follows at once
  Sent sendRecord(std::span<const std::byte> bytes, bool more) {
    Sent sent;
    const std::scoped_lock lock(m_sslMutex);
    m_connection.socket->more = more;
    if (m_broken && !m_readClosed) {
      sent.error = *m_broken;
      return sent;
    }
    SSL* ssl = m_connection.ssl.get();
    // Refused, and tried again next time, while a record is on its way out in part.
    if (m_bytesOfKey >= kBytesPerKey && SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1) {
      m_bytesOfKey = 0;
    }
    ERR_clear_error();
    if (SSL_write_ex(ssl, bytes.data(), bytes.size(), &sent.bytes) == 1) {
      m_bytesOfKey += sent.bytes;
      return sent;
    }
    sent.bytes = 0;
    const int code = SSL_get_error(ssl, 0);
    if (code == SSL_ERROR_WANT_READ) {
      sent.events = POLLIN;
    } else if (code != SSL_ERROR_WANT_WRITE) {
      sent.error = connectionError(code, *m_connection.socket, m_peer);
      // Reading goes on as long as OpenSSL allows it: the other side may have said why.
      if (code == SSL_ERROR_SSL) m_broken = sent.error;
    }
    return sent;
  }

  /// Sends from the caller's memory until all is sent, or the rest fits into the queue. Call with
  /// m_writeMutex held and an empty queue.
  Status writeDirectly(std::span<const std::byte> header, std::span<const std::byte> payload,
                       Patience& patience) {
    // If a record goes out in part, the next call must begin with the same bytes, wherever they
    // lie.
    const std::size_t joined =
        std::min(payload.size(), kRecordBytes - std::min(header.size(), kRecordBytes));
    m_staging.assign(header.begin(), header.end());
    m_staging.insert(m_staging.end(), payload.begin(), payload.begin() + std::ptrdiff_t(joined));
    std::span<const std::byte> current(m_staging), rest = payload.subspan(joined);
    while (!current.empty()) {
      if (m_cancelled) {
        m_sendBroken = true;
        return cancelled();
      }
      std::optional<Clock::duration> pause;
      bool more = current.size() + rest.size() > kRecordBytes;
      {
        const std::scoped_lock lock(m_queueMutex);
        pause = mustWait();
        more = more && !m_background;  // which may have to wait before the next record
      }
      const Sent sent = pause ? Sent{} : sendRecord(current, more);
      if (sent.error) {
        m_sendBroken = true;
        return *sent.error;
      }
      current = current.subspan(sent.bytes);
      if (current.empty()) current = std::exchange(rest, {});
      if (sent.bytes > 0) {
        patience.progress();
        continue;
      }
      std::unique_lock lock(m_queueMutex);
      if (current.size() + rest.size() <= m_capacity) {
        enqueue(current, rest);
        return {};
      }
      Wake woken = Wake::Ready;
      if (pause) {
        woken = sleep(lock, *pause, patience);
      } else {
        lock.unlock();
        woken = wait(sent.events, patience.deadline());
      }
      if (woken == Wake::Ready) continue;
      m_sendBroken = true;
      return woken == Wake::Late ? late() : cancelled();
    }
    return {};
  }

  /// Call with m_queueMutex held.
  void enqueue(std::span<const std::byte> first, std::span<const std::byte> second) {
    if (!m_writer.joinable()) m_writer = std::thread([this] { emptyQueue(); });
    Block block;
    block.bytes = std::exchange(m_spare, {});  // fresh pages cost more than the copy into them
    block.bytes.clear();
    block.bytes.reserve(first.size() + second.size());
    block.bytes.insert(block.bytes.end(), first.begin(), first.end());
    block.bytes.insert(block.bytes.end(), second.begin(), second.end());
    m_queued += block.bytes.size();
    m_queue.push_back(std::move(block));
    m_queueChanged.notify_all();
  }

  /// The background thread.
  void emptyQueue() {
    std::unique_lock lock(m_queueMutex);
    Patience patience(timeout(), 0);
    while (true) {
      if (m_queue.empty()) {
        m_queueChanged.wait(lock, [&] { return m_stopping || m_cancelled || !m_queue.empty(); });
        patience = Patience(timeout(), m_queue.empty() ? 0 : m_queue.front().bytes.size());
      }
      if (m_stopping || m_cancelled) return;
      Block& block = m_queue.front();  // stays in place while others are added behind it
      Sent sent;
      Wake woken = Wake::Ready;
      if (const auto pause = mustWait()) {
        woken = sleep(lock, *pause, patience);
      } else {
        lock.unlock();
        sent = sendRecord(std::span(block.bytes).subspan(block.sent), false);
        if (sent.bytes == 0 && !sent.error) woken = wait(sent.events, patience.deadline());
        lock.lock();
      }
      if (sent.error || woken != Wake::Ready) {
        if (!m_stopping && !m_cancelled) m_queueError = sent.error ? *sent.error : late();
        m_queueChanged.notify_all();
        return;
      }
      if (sent.bytes == 0) continue;
      block.sent += sent.bytes;
      m_queued -= sent.bytes;
      if (block.sent == block.bytes.size()) {
        if (block.bytes.capacity() <= kSpareBytes) m_spare = std::move(block.bytes);
        m_queue.pop_front();
        if (!m_queue.empty()) patience = Patience(timeout(), m_queue.front().bytes.size());
      }
      patience.progress();
      m_queueChanged.notify_all();
    }
  }

  /// Closing a socket that holds unread bytes makes the kernel reset the connection, which destroys
  /// what is still on its way out, such as the reason for the close. So: reads on, without looking,
  /// until the other kernel has everything.
  void linger() const {
    const TimePoint until = Clock::now() + kLingerTime;
    std::array<char, 16 * 1024> ignored;
    bool open = true;
    while (Clock::now() < until) {
      int unsent = 0;
      if (::ioctl(m_descriptor, SIOCOUTQ, &unsent) != 0 || unsent == 0) return;
      tcp_info info{};
      socklen_t size = sizeof info;
      const int known = ::getsockopt(m_descriptor, IPPROTO_TCP, TCP_INFO, &info, &size);
      if (known != 0 || info.tcpi_state == TCP_CLOSE) return;  // reset: nothing arrives any more
      while (open) {
        const ssize_t n = ::recv(m_descriptor, ignored.data(), ignored.size(), MSG_DONTWAIT);
        if (n > 0) continue;
        if (n == 0) open = false;
        if (n < 0 && errno != EAGAIN && errno != EINTR) return;
        break;
      }
      pollfd fd{m_descriptor, static_cast<short>(open ? POLLIN : 0), 0};
      (void)::poll(&fd, 1, 1);
    }
  }

  static void countMessage(int sending, int, int type, const void*, std::size_t, SSL*, void* self) {
    if (sending != 0 || type != SSL3_RT_HANDSHAKE) return;
    auto& connection = *static_cast<Connection*>(self);
    const std::uint64_t allowed =
        kFreeControlMessages + connection.m_bytesRead / kBytesPerControlMessage;
    if (++connection.m_controlMessages <= allowed) return;
    connection.m_flooded = true;
    (void)::shutdown(connection.m_descriptor, SHUT_RDWR);  // ends the loop inside OpenSSL
  }

  TlsSocket m_connection;
  const int m_descriptor;
  const int m_event;
  const std::string m_peer;
  const std::string m_local;
  const std::optional<Fingerprint> m_fingerprint;
  std::string m_security;
  std::atomic<bool> m_cancelled{false};
  std::atomic<std::chrono::milliseconds::rep> m_timeout{0};

  // Order of locking: m_writeMutex, m_queueMutex, m_sslMutex.
  std::mutex m_writeMutex;  // one write at a time
  std::vector<std::byte> m_staging;
  bool m_sendBroken = false;  // a record or a frame may have gone out in part

  std::mutex m_queueMutex;
  std::condition_variable m_queueChanged;
  std::deque<Block> m_queue;
  std::size_t m_queued = 0;
  std::size_t m_capacity;
  TimePoint m_heldUntil{};
  bool m_background = false;
  FlightLimit m_flight;
  std::vector<std::byte> m_spare;  // an emptied block's memory
  std::optional<Error> m_queueError;
  bool m_stopping = false;
  std::thread m_writer;

  std::mutex m_sslMutex;  // guards the SSL object and the socket below it
  std::optional<Error> m_broken;
  bool m_readClosed = false;
  bool m_flooded = false;
  std::uint64_t m_bytesOfKey = 0;
  std::uint64_t m_bytesRead = 0;
  std::uint64_t m_controlMessages = 0;
};

}  // namespace

TlsSocket::~TlsSocket() {
  ssl.reset();
  if (socket && socket->descriptor >= 0) ::close(socket->descriptor);
}

Result<std::unique_ptr<TlsTransport>> makeTlsTransport(TlsSocket connection,
                                                       const SocketOptions& options,
                                                       std::string peer, std::string local,
                                                       std::optional<Fingerprint> fingerprint) {
  const int event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event < 0) {
    return Error{ErrorCode::Io,
                 std::string("cannot take one more connection: ") + std::strerror(errno)};
  }
  return std::unique_ptr<TlsTransport>(std::make_unique<Connection>(
      std::move(connection), event, options, std::move(peer), std::move(local), fingerprint));
}

}  // namespace pillarbox::net

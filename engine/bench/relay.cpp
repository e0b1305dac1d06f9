#include "engine/bench/relay.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <deque>
#include <list>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace pillarbox::bench {

namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

Clock::duration toClock(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(Seconds(seconds));
}

Error systemError(const std::string& what) {
  return {ErrorCode::Io, "the relay cannot " + what + ": " + std::strerror(errno)};
}

/// A file descriptor that is closed with its owner.
class Socket {
 public:
  explicit Socket(int descriptor = -1) : m_descriptor(descriptor) {}
  ~Socket() {
    if (m_descriptor >= 0) ::close(m_descriptor);
  }
  Socket(Socket&& other) noexcept : m_descriptor(std::exchange(other.m_descriptor, -1)) {}
  Socket& operator=(Socket&&) = delete;
  int get() const { return m_descriptor; }

 private:
  int m_descriptor;
};

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

void noDelay(int socket) {
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/// One direction of the link, shared by all connections: when does a byte leave it?
class Wire {
 public:
  explicit Wire(const net::LinkShape& link)
      : m_delay(toClock(link.rttMs / 2000)),
        m_secondsPerByte(link.mbit > 0 ? 8e-6 / link.mbit : 0) {}

  /// When the last of `bytes` that are at the wire's entrance now comes out of it.
  Clock::time_point pass(std::size_t bytes) {
    const std::scoped_lock lock(m_mutex);
    m_free =
        std::max(m_free, Clock::now()) + toClock(m_secondsPerByte * static_cast<double>(bytes));
    return m_free + m_delay;
  }

  /// Bytes that pass in about 0.2 ms.
  std::size_t piece() const {
    if (m_secondsPerByte == 0) return kLargestPiece;
    const double bytes = 2e-4 / m_secondsPerByte;
    return static_cast<std::size_t>(std::clamp(bytes, 1500.0, static_cast<double>(kLargestPiece)));
  }

  /// Bytes in flight on a wire that is never idle; nothing where the rate has no limit.
  std::size_t inFlight() const {
    if (m_secondsPerByte == 0) return 0;
    return static_cast<std::size_t>(Seconds(m_delay).count() / m_secondsPerByte);
  }

  std::atomic<std::uint64_t> carried{0};

 private:
  static constexpr std::size_t kLargestPiece = std::size_t{64} << 10;
  const Clock::duration m_delay;
  const double m_secondsPerByte;
  std::mutex m_mutex;
  Clock::time_point m_free{};
};

/// One direction of one connection.
class Direction {
 public:
  Direction(Wire& wire, int from, int to, std::size_t queueBytes)
      : m_wire(wire), m_from(from), m_to(to), m_limit(queueBytes + wire.inFlight()) {}

  void start() {
    m_reader = std::thread([this] { read(); });
    m_writer = std::thread([this] { write(); });
  }
  void join() {
    if (m_reader.joinable()) m_reader.join();
    if (m_writer.joinable()) m_writer.join();
  }
  bool ended() const { return m_ended; }
  /// Forgets what is under way. The sockets must be shut down too, to wake the reader.
  void cut() {
    {
      const std::scoped_lock lock(m_mutex);
      m_broken = true;
    }
    m_changed.notify_all();
  }

 private:
  struct Piece {
    Clock::time_point due;
    std::vector<std::byte> bytes;  // empty: the end of the stream
  };

  void read() {
    std::vector<std::byte> buffer(m_wire.piece());
    while (true) {
      {
        std::unique_lock lock(m_mutex);
        m_changed.wait(lock, [&] { return m_broken || m_queued <= m_limit; });
        if (m_broken) break;
      }
      const ssize_t count = ::recv(m_from, buffer.data(), buffer.size(), 0);
      if (count < 0 && errno == EINTR) continue;
      const std::size_t length = count > 0 ? static_cast<std::size_t>(count) : 0;
      Piece piece{m_wire.pass(length), {buffer.data(), buffer.data() + length}};
      {
        const std::scoped_lock lock(m_mutex);
        m_queued += length;
        m_pieces.push_back(std::move(piece));
      }
      m_changed.notify_all();
      if (length == 0) break;
    }
  }

  void write() {
    ::prctl(PR_SET_TIMERSLACK, 1UL);  // wake when it is due, not up to 50 microseconds later
    while (true) {
      Piece piece;
      {
        std::unique_lock lock(m_mutex);
        m_changed.wait(lock, [&] { return m_broken || !m_pieces.empty(); });
        if (m_broken) break;
        piece = std::move(m_pieces.front());
        m_pieces.pop_front();
        m_changed.wait_until(lock, piece.due, [&] { return m_broken; });
        if (m_broken) break;
      }
      if (piece.bytes.empty()) {
        ::shutdown(m_to, SHUT_WR);
        break;
      }
      if (!deliver(piece.bytes)) {
        cut();
        ::shutdown(m_from, SHUT_RD);
        break;
      }
      m_wire.carried += piece.bytes.size();
      {
        const std::scoped_lock lock(m_mutex);
        m_queued -= piece.bytes.size();
      }
      m_changed.notify_all();
    }
    m_ended = true;
  }

  bool deliver(const std::vector<std::byte>& bytes) const {
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t count = ::send(m_to, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return false;
      done += static_cast<std::size_t>(count);
    }
    return true;
  }

  Wire& m_wire;
  const int m_from, m_to;
  const std::size_t m_limit;
  std::mutex m_mutex;
  std::condition_variable m_changed;
  std::deque<Piece> m_pieces;
  std::size_t m_queued = 0;
  bool m_broken = false;
  std::atomic<bool> m_ended{false};
  std::thread m_reader, m_writer;
};

struct Connection {
  Connection(Socket clientSocket, Socket serviceSocket, Wire& toService, Wire& toClient,
             std::size_t queueBytes)
      : client(std::move(clientSocket)),
        service(std::move(serviceSocket)),
        forth(toService, client.get(), service.get(), queueBytes),
        back(toClient, service.get(), client.get(), queueBytes) {
    forth.start();
    back.start();
  }
  ~Connection() {
    forth.cut();
    back.cut();
    ::shutdown(client.get(), SHUT_RDWR);
    ::shutdown(service.get(), SHUT_RDWR);
    forth.join();
    back.join();
  }
  bool ended() const { return forth.ended() && back.ended(); }

  Socket client, service;
  Direction forth, back;
};

}  // namespace

struct Relay::State {
  explicit State(const net::LinkShape& link) : toService(link), toClient(link) {}

  void accept() {
    while (true) {
      Socket client(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (client.get() < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
      if (client.get() < 0) return;
      connections.remove_if([](const Connection& connection) { return connection.ended(); });
      Socket service(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      const sockaddr_in address = loopback(target);
      if (service.get() < 0 || ::connect(service.get(), reinterpret_cast<const sockaddr*>(&address),
                                         sizeof address) < 0) {
        continue;  // the client finds its connection closed
      }
      noDelay(client.get());
      noDelay(service.get());
      connections.emplace_back(std::move(client), std::move(service), toService, toClient,
                               queueBytes);
    }
  }

  Wire toService, toClient;
  std::size_t queueBytes = 0;
  std::uint16_t target = 0, own = 0;
  Socket listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  std::list<Connection> connections;  // of the accepting thread, until that has ended
  std::thread acceptor;
};

Relay::Relay(std::unique_ptr<State> state) : m_state(std::move(state)) {}

Relay::~Relay() {
  ::shutdown(m_state->listener.get(), SHUT_RDWR);  // accept() returns
  if (m_state->acceptor.joinable()) m_state->acceptor.join();
}

Result<std::unique_ptr<Relay>> Relay::start(std::uint16_t port, const net::LinkShape& link,
                                            std::size_t queueBytes) {
  auto state = std::make_unique<State>(link);
  state->queueBytes = queueBytes;
  state->target = port;
  const int listener = state->listener.get();
  sockaddr_in address = loopback(0);
  socklen_t length = sizeof address;
  if (listener < 0 || ::bind(listener, reinterpret_cast<const sockaddr*>(&address), length) < 0 ||
      ::listen(listener, 64) < 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) < 0) {
    return systemError("listen on 127.0.0.1");
  }
  state->own = ntohs(address.sin_port);
  State* running = state.get();
  state->acceptor = std::thread([running] { running->accept(); });
  return std::unique_ptr<Relay>(new Relay(std::move(state)));
}

std::uint16_t Relay::port() const {
  return m_state->own;
}

Relay::Carried Relay::carried() const {
  return {m_state->toService.carried, m_state->toClient.carried};
}

Result<net::LinkShape> parseLink(std::string_view text) {
  if (text == "none") return net::LinkShape{};
  if (text == "lan") return net::LinkShape{0.25, 1000};
  if (text == "wan") return net::LinkShape{100, 100};
  struct Unit {
    std::string_view name;
    double milliseconds, megabits;
  };
  constexpr Unit kUnits[] = {{"us", 1e-3, 0}, {"ms", 1, 0},     {"s", 1e3, 0},  {"kbit", 0, 1e-3},
                             {"Mbit", 0, 1},  {"Gbit", 0, 1e3}, {"mbit", 0, 1}, {"gbit", 0, 1e3}};
  const Error error{ErrorCode::InvalidArgument,
                    "'" + std::string(text) +
                        "' is no link; examples: lan, wan, none, 100ms,100Mbit, 250us,1Gbit, 20ms"};
  std::optional<double> rtt, rate;
  std::string_view rest = text;
  while (true) {
    const std::size_t comma = rest.find(',');
    const std::string_view word = rest.substr(0, comma);
    double value = 0;
    const auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (status != std::errc() || !(value >= 0 && value <= 1e6)) return error;
    const std::string_view unit = word.substr(static_cast<std::size_t>(end - word.data()));
    const auto* found = std::find_if(std::begin(kUnits), std::end(kUnits),
                                     [&](const Unit& known) { return known.name == unit; });
    if (found == std::end(kUnits)) return error;
    std::optional<double>& quantity = found->milliseconds > 0 ? rtt : rate;
    if (quantity) return error;
    quantity = value * (found->milliseconds + found->megabits);
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  return net::LinkShape{rtt.value_or(0), rate.value_or(0)};
}

std::string linkText(const net::LinkShape& link) {
  if (link.rttMs == 0 && link.mbit == 0) return "loopback";
  char text[80];
  std::string result = "no delay";
  if (link.rttMs > 0) {
    std::snprintf(text, sizeof text, "%.4g ms", link.rttMs);
    result = text;
  }
  if (link.mbit >= 1000) {
    std::snprintf(text, sizeof text, ", %.4g Gbit/s", link.mbit / 1000);
    result += text;
  } else if (link.mbit > 0) {
    std::snprintf(text, sizeof text, ", %.4g Mbit/s", link.mbit);
    result += text;
  }
  return result;
}

}  // namespace pillarbox::bench

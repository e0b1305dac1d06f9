#include "net/local_http.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <asio.hpp>

#include "net/text.h"

namespace pillarbox::net {
namespace {

using asio::ip::tcp;

const char* reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Internal Server Error";
  }
}

struct Request {
  std::string method, path;
};

/// The request line; the headers are of no interest. Empty method: not HTTP/1.
Request parse(std::string_view head) {
  const std::string_view line = head.substr(0, head.find("\r\n"));
  const std::size_t first = line.find(' ');
  const std::size_t second = first == line.npos ? line.npos : line.find(' ', first + 1);
  if (second == line.npos) return {};
  const std::string_view target = line.substr(first + 1, second - first - 1);
  const std::string_view version = line.substr(second + 1);
  const bool printable = std::all_of(line.begin(), line.end(), [](char c) { return c > 31; });
  if (!printable || !target.starts_with('/') || (version != "HTTP/1.1" && version != "HTTP/1.0")) {
    return {};
  }
  return {std::string(line.substr(0, first)), std::string(target.substr(0, target.find('?')))};
}

std::string compose(const HttpAnswer& answer, bool withBody) {
  std::string text =
      "HTTP/1.1 " + std::to_string(answer.status) + " " + reason(answer.status) +
      "\r\nContent-Type: " + answer.contentType +
      "\r\nContent-Length: " + std::to_string(answer.body.size()) +
      "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n";
  if (answer.status == 405) text += "Allow: GET, HEAD\r\n";
  text += "\r\n";
  if (withBody) text += answer.body;
  return text;
}

HttpAnswer answerTo(const Request& request, const LocalHttp::Handler& handler) {
  if (request.method.empty()) return {400, "this is no HTTP/1.1 request\n"};
  if (request.method != "GET" && request.method != "HEAD") {
    return {405, "only GET and HEAD are answered here\n"};
  }
  try {
    return handler(request.path);
  } catch (const std::exception&) {
    return {500, "the answer could not be made\n"};
  }
}

/// One connection: reads a head, answers, waits for the other side to close. Lives as long as an
/// operation or the timer refers to it.
struct Exchange : std::enable_shared_from_this<Exchange> {
  Exchange(tcp::socket s, const LocalHttp::Handler& h, std::size_t& count)
      : socket(std::move(s)),
        timer(socket.get_executor()),
        input(kMaxHttpRequest),
        handler(h),
        running(count) {
    ++running;
  }
  ~Exchange() { --running; }

  tcp::socket socket;
  asio::steady_timer timer;
  asio::streambuf input;
  std::string output;
  std::array<char, 1024> ignored{};
  const LocalHttp::Handler& handler;
  std::size_t& running;

  void begin() {
    timer.expires_after(kHttpTime);
    timer.async_wait([self = shared_from_this()](std::error_code error) {
      if (!error) self->close();
    });
    asio::async_read_until(socket, input, "\r\n\r\n",
                           [self = shared_from_this()](std::error_code error, std::size_t bytes) {
                             self->received(error, bytes);
                           });
  }

  void received(std::error_code error, std::size_t bytes) {
    bool withBody = true;
    if (error == asio::error::not_found) {  // the buffer is full
      output = compose({431, "the request is too long\n"}, true);
    } else if (error) {
      return close();
    } else {
      const auto data = input.data();
      const std::string head(asio::buffers_begin(data),
                             asio::buffers_begin(data) + static_cast<std::ptrdiff_t>(bytes));
      const Request request = parse(head);
      withBody = request.method != "HEAD";
      output = compose(answerTo(request, handler), withBody);
    }
    asio::async_write(socket, asio::buffer(output),
                      [self = shared_from_this()](std::error_code failed, std::size_t) {
                        if (failed) return self->close();
                        std::error_code ignoredError;
                        self->socket.shutdown(tcp::socket::shutdown_send, ignoredError);
                        self->drain();
                      });
  }

  /// Closing over unread bytes would reset the connection and with it the answer.
  void drain() {
    socket.async_read_some(asio::buffer(ignored),
                           [self = shared_from_this()](std::error_code error, std::size_t) {
                             error ? self->close() : self->drain();
                           });
  }

  void close() {
    std::error_code ignoredError;
    socket.close(ignoredError);
    timer.cancel();
  }
};

}  // namespace

struct LocalHttp::State {
  explicit State(Handler h) : handler(std::move(h)) {}

  Handler handler;
  std::size_t running = 0;  // before io, whose leftover operations count down on destruction
  asio::io_context io{1};
  tcp::acceptor acceptor{io};
  std::string address;
  std::thread thread;

  Status open(const Endpoint& endpoint);
  void accept();
};

Status LocalHttp::State::open(const Endpoint& endpoint) {
  const std::string shown = sanitizeForDisplay(toString(endpoint), 255);
  tcp::resolver resolver(io);
  std::error_code error;
  const auto results =
      resolver.resolve(endpoint.host, std::to_string(endpoint.port), tcp::resolver::passive, error);
  if (error) {
    return Error{ErrorCode::Unreachable, "cannot listen at " + shown + ": " + error.message()};
  }
  for (const auto& result : results) {
    if (!result.endpoint().address().is_loopback()) {
      return Error{ErrorCode::Refused,
                   shown +
                       " can be reached from other machines, and what is answered there is neither "
                       "encrypted nor protected; use a loopback address such as 127.0.0.1:" +
                       std::to_string(endpoint.port)};
    }
  }
  for (const auto& result : results) {
    acceptor = tcp::acceptor(io);
    acceptor.open(result.endpoint().protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(result.endpoint(), error);
    if (!error) acceptor.listen(tcp::acceptor::max_listen_connections, error);
    if (!error) {
      const tcp::endpoint local = acceptor.local_endpoint(error);
      address = toString(Endpoint{local.address().to_string(), local.port()});
      return {};
    }
  }
  if (error == asio::error::address_in_use) {
    return Error{ErrorCode::Refused,
                 "another program listens at " + shown + " already; choose another port"};
  }
  return Error{ErrorCode::Io, "cannot listen at " + shown + ": " + error.message()};
}

void LocalHttp::State::accept() {
  acceptor.async_accept([this](std::error_code error, tcp::socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (!error && running < kMaxHttpConnections) {
      std::make_shared<Exchange>(std::move(socket), handler, running)->begin();
    }
    if (!error) return accept();
    // No descriptors left, most likely: try again when some may have been closed.
    auto pause = std::make_shared<asio::steady_timer>(io, std::chrono::milliseconds(100));
    pause->async_wait([this, pause](std::error_code) { accept(); });
  });
}

LocalHttp::LocalHttp(std::unique_ptr<State> state) : m_state(std::move(state)) {}

Result<std::unique_ptr<LocalHttp>> LocalHttp::start(const Endpoint& endpoint, Handler handler) {
  if (!handler) throw std::logic_error("LocalHttp needs a handler");
  auto state = std::make_unique<State>(std::move(handler));
  PILLARBOX_TRY(state->open(endpoint));
  State* const running = state.get();
  running->accept();
  running->thread = std::thread([running] {
    for (;;) {
      try {
        running->io.run();
        return;
      } catch (const std::exception&) {
        // One exchange ran out of memory; the others go on.
      }
    }
  });
  return std::unique_ptr<LocalHttp>(new LocalHttp(std::move(state)));
}

LocalHttp::~LocalHttp() {
  m_state->io.stop();
  m_state->thread.join();
}

const std::string& LocalHttp::address() const {
  return m_state->address;
}

}  // namespace pillarbox::net

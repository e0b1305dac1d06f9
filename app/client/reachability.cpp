#include "app/client/reachability.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

namespace pillarbox::client {
namespace {

using Clock = std::chrono::steady_clock;

/// Connects one address; 0 or an errno.
int tryAddress(const addrinfo& address, int timeoutMs) {
  const int descriptor = ::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return errno;
  int error = ::connect(descriptor, address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    pollfd event{descriptor, POLLOUT, 0};
    const int count = ::poll(&event, 1, timeoutMs);
    socklen_t size = sizeof error;
    if (count == 0) {
      error = ETIMEDOUT;
    } else if (count < 0 || ::getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
      error = errno;
    }
  }
  ::close(descriptor);
  return error;
}

}  // namespace

Result<double> tcpRoundTrip(const net::Endpoint& endpoint, std::chrono::milliseconds timeout) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(endpoint.port);
  if (const int code = ::getaddrinfo(endpoint.host.c_str(), port.c_str(), &hints, &found);
      code != 0) {
    return Error{ErrorCode::Unreachable,
                 "the host " + endpoint.host + " is not known: " + ::gai_strerror(code)};
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);
  int error = EHOSTUNREACH;
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    const auto start = Clock::now();
    error = tryAddress(*address, static_cast<int>(timeout.count()));
    if (error == 0) return std::chrono::duration<double>(Clock::now() - start).count();
  }
  return Error{error == ETIMEDOUT ? ErrorCode::Timeout : ErrorCode::Unreachable,
               "nothing answers at " + net::toString(endpoint) + ": " + std::strerror(error)};
}

}  // namespace pillarbox::client

// A small HTTP/1.1 responder for programs on the same machine: health checks and metrics.
//
// It binds loopback addresses only, so nothing here is authenticated or encrypted; what it answers
// must be fit for every user of the machine. GET and HEAD, one request a connection. A stranger can
// make it hold at most kMaxHttpConnections * kMaxHttpRequest bytes, each for kHttpTime.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "engine/core/result.h"
#include "net/endpoint.h"

namespace pillarbox::net {

/// Longest request line and headers together.
constexpr std::size_t kMaxHttpRequest = 4096;
/// Longest from accepting a connection to closing it.
constexpr std::chrono::seconds kHttpTime{5};
/// At a time; one more is closed at once.
constexpr std::size_t kMaxHttpConnections = 16;

struct HttpAnswer {
  int status = 200;
  std::string body;
  std::string contentType = "text/plain; charset=utf-8";
};

class LocalHttp {
 public:
  /// Answers a GET of `path` ("/metrics", no query). Called on the responder's thread, one at a
  /// time. May throw: the answer is then 500.
  using Handler = std::function<HttpAnswer(const std::string& path)>;

  /// Errors: Refused (not a loopback address; address in use), Unreachable (no such name), Io.
  static Result<std::unique_ptr<LocalHttp>> start(const Endpoint& endpoint, Handler handler);
  ~LocalHttp();
  LocalHttp(const LocalHttp&) = delete;
  LocalHttp& operator=(const LocalHttp&) = delete;

  /// "127.0.0.1:9464", with the port that was picked for port 0.
  const std::string& address() const;

 private:
  struct State;
  explicit LocalHttp(std::unique_ptr<State> state);
  std::unique_ptr<State> m_state;
};

}  // namespace pillarbox::net

// The further connections that carry a session's stream (net/striped_transport.h), from the client.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "net/channel.h"
#include "net/striped_transport.h"
#include "net/tls.h"

namespace pillarbox::client {

/// Opens them beside the session's own connection, to the same engine, which is recognised by the
/// certificate that the session's connection showed.
class FurtherStripes {
 public:
  struct Options {
    net::Endpoint engine;
    net::Fingerprint fingerprint;  ///< that the session's connection showed
    std::string token;             ///< of the session, from Welcome
    std::chrono::milliseconds networkTimeout{30000};
  };

  explicit FurtherStripes(Options options) : m_options(std::move(options)) {}

  /// Stripes 1 to count - 1 of the session, which the engine has attached: all of them or none.
  /// Blocks for about three round trips. Once.
  /// Errors: those of TlsConnector; why the engine does not take one; Protocol; Cancelled.
  Result<std::vector<std::unique_ptr<net::Transport>>> open(std::size_t count);

  /// What has travelled on them by then.
  std::uint64_t bytesSent() const;
  std::uint64_t bytesReceived() const;

  /// Ends a running open() with Cancelled. From any thread.
  void cancel() noexcept;

 private:
  struct Stripe {
    std::unique_ptr<net::TlsConnector> connector;
    net::StripedTransport* stream = nullptr;  ///< the channel's
    std::unique_ptr<net::Channel> channel;
  };

  Status attach(Stripe& stripe, std::size_t number);

  const Options m_options;
  mutable std::mutex m_mutex;  ///< guards what follows
  bool m_cancelled = false;
  std::vector<std::unique_ptr<Stripe>> m_stripes;
  std::uint64_t m_bytesSent = 0, m_bytesReceived = 0;
};

}  // namespace pillarbox::client

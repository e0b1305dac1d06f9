// Two parties in one process, connected by real TLS sockets over a link of a given shape.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "engine/bench/relay.h"
#include "engine/core/result.h"
#include "net/channel.h"
#include "net/memory.h"

namespace pillarbox::bench {

struct ChannelPair {
  std::unique_ptr<net::Channel> client, engine;
};

/// Connections that share one link.
class Link {
 public:
  /// A listener on loopback, and before it a relay, unless the shape asks for nothing.
  /// @param queueBytes  as Relay::start
  /// Errors: those of certificates and sockets.
  static Result<std::unique_ptr<Link>> open(const net::LinkShape& shape,
                                            std::size_t queueBytes = Relay::kQueueBytes);
  ~Link();

  /// One more connection; not from two threads at a time. Errors: as net::connectTls.
  Result<ChannelPair> connect();

  const net::LinkShape& shape() const;
  /// TLS records and handshakes included; zeros without a relay.
  Relay::Carried carried() const;
  /// What a round trip of eight bytes takes over a fresh connection, the median of several.
  Result<double> measuredRoundTrip();

 private:
  struct State;
  explicit Link(std::unique_ptr<State> state);
  std::unique_ptr<State> m_state;
};

}  // namespace pillarbox::bench

// Two-party mode: client and engine make a correlation set by themselves, over a connection of its
// own beside the session's, so that an inference never waits for a set.
//
// Each side is one object for a model and a session: it knows the public description (the engine
// also the weights) and can make any number of sets, several at a time, each on its own channel.
// The client's secret key lives in ClientParty and never leaves it; what the engine needs of it
// (public key, Galois keys) goes over once.
//
// Every length on the wire follows from the public description, on both sides; none is taken from
// the peer. So a frame of any other length is an error before memory is taken for it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "engine/core/result.h"
#include "engine/offline/correlation_set.h"
#include "models/description.h"
#include "net/channel.h"

namespace pillarbox::offline::two_party {

/// Called between two pieces of work with the fraction of the set that is done, 0..1. May take its
/// time, to leave the processor to an inference; an error ends the set.
using Pace = std::function<Status(double done)>;

/// What one set costs, exactly, from the public description alone; bytes as the channel's meter
/// shows them, with frame headers.
struct SetCost {
  std::uint64_t keyBytes = 0;  ///< client -> engine, once a session
  std::uint64_t bytesToEngine = 0;
  std::uint64_t bytesToClient = 0;
  std::uint32_t rounds = 0;
  /// Bounds of the memory while a set is made, the finished set included.
  std::uint64_t clientMemoryBytes = 0;
  std::uint64_t engineMemoryBytes = 0;
};

class ClientParty {
 public:
  virtual ~ClientParty() = default;
  /// Sends the public part of this party's keys. Once on a connection's session.
  virtual Status sendKeys(net::Channel& channel) const = 0;
  /// The client's half of a set. From several threads at once, each with a channel of its own.
  /// Errors: those of the channel and of `pace`; Protocol, Format for what the engine sent.
  virtual Result<ClientSet> makeSet(net::Channel& channel, std::uint64_t index,
                                    const Pace& pace) const = 0;
};

/// What a client sent with sendKeys(), checked.
class EngineKeys {
 public:
  virtual ~EngineKeys() = default;
};

class EngineParty {
 public:
  virtual ~EngineParty() = default;
  virtual SetCost cost() const = 0;
  /// Errors: those of the channel; Format for keys that no honest client sends.
  virtual Result<std::shared_ptr<const EngineKeys>> receiveKeys(net::Channel& channel) const = 0;
  /// The engine's half. @param keys  of this party's receiveKeys
  virtual Result<EngineSet> makeSet(net::Channel& channel, const EngineKeys& keys,
                                    std::uint64_t index, const Pace& pace) const = 0;
};

}  // namespace pillarbox::offline::two_party

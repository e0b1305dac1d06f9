// Two-party mode: client and engine make a correlation set by themselves, over a connection of its
// own beside the session's, so that an inference never waits for a set.
//
// Each side is one object for a model: it knows the public description (the engine also the
// weights) and can make any number of sets, several at a time, each on its own channel. The
// client's secret keys live in ClientParty, one a session, and never leave it; what the engine
// needs of them (public keys, Galois keys) goes over once.
//
// A set, in the notation of correlation_set.h:
//
//   client                                              engine
//   r uniform, for the image and every activation       s' uniform, for every op with weights
//   pass by pass (linear.h):
//     encryptions of the op's input     ------>
//                                       <------         W·r' − s'
//   z0 = the stage applied to r, with W·r' − s' in      s = the stage applied to 0, with s' in
//   place of each op with weights                       place of each op with weights
//   λ0 = z0' = z0 truncated                             λ1 uniform; the opening mask is −λ1
//   group by group, level by level (powers.h):
//     encryptions of shares             ------>
//                                       <------         cross terms, masked
//
// That is for HoneyBadger. For the other activation protocols there are neither λ nor powers: the
// client has its share z0' and its factors, the engine draws its own, and their products are made
// by the same messages, in one level.
//
// Poolings, shortcuts and sums are public and linear, so each party applies them to what it has:
// r before an op with weights, the shares behind one (every path has one at most). So z0 + (L(ŷ) +
// s) = L(ŷ + r) holds as it does for dealt sets, and the online phase is the same.
//
// Streams, not sets, are in memory: passes in flight are limited by kWindowBytes each way, groups
// by kGroupsMemory and kWindowBytes; the rest is the set itself. Requests run ahead of replies
// inside those windows, so that either party's computation overlaps with the other's, and a network
// of the size of ResNet-18 takes one round trip for all its linear layers. The powers of early
// stages are requested while the engine is still at the linear layers of late ones, a window's
// first level while it is at the last of the window before. The order of everything is part of the
// plan: so rounds are known beforehand. It relies on a channel that takes two windows in without
// the other side reading (net/tls.h queues 64 MiB); the engine then always comes to read.
//
// What each party sees. Engine: keys and encryptions under the client's keys, nothing else.
// Client: its replies, each simulated from its own outputs (linear.h, powers.h): shares that s',
// λ1's and the powers' masks make independent of the weights. So each party's view of this phase
// is simulated from its half of the set, and that half is independent of image and weights.
//
// Every length on the wire follows from the public description, on both sides; none is taken from
// the peer. So a frame of any other length is an error before memory is taken for it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "engine/core/result.h"
#include "engine/device/device.h"
#include "engine/device/ledger.h"
#include "engine/offline/correlation_set.h"
#include "engine/offline/products.h"
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
  std::uint64_t linearBytesToEngine = 0, linearBytesToClient = 0;  ///< of these; powers: the rest
  std::uint32_t rounds = 0;
  /// Bounds of the memory while a set is made, the finished set included: with as many threads as
  /// the party has whose cost() it is, otherwise with eight.
  std::uint64_t clientMemoryBytes = 0;
  std::uint64_t engineMemoryBytes = 0;
  /// Bits by which everything that the client receives for this set hides the engine's weights
  /// statistically: minus log2 of the distance, added up over all values. (Openings are hidden
  /// perfectly, and so is the image from the engine, by masks that are hidden by the encryption.)
  double hidingBits = 0;
  std::uint64_t engineKeyMemoryBytes = 0;  ///< of EngineKeys, as long as the session's lines
};

class ClientParty {
 public:
  virtual ~ClientParty() = default;
  virtual SetCost cost() const = 0;
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
  /// The same model's sets for another activation protocol; shares what is prepared of the weights.
  /// Errors: those of planning; Unsupported where a party knows one protocol only.
  virtual Result<std::shared_ptr<const EngineParty>> with(const CorrelationPlan& plan) const;
  /// Errors: those of the channel; Format for keys that no honest client sends.
  virtual Result<std::shared_ptr<const EngineKeys>> receiveKeys(net::Channel& channel) const = 0;
  /// The engine's half. @param keys  of this party's receiveKeys
  virtual Result<EngineSet> makeSet(net::Channel& channel, const EngineKeys& keys,
                                    std::uint64_t index, const Pace& pace) const = 0;
};

/// Most bytes of linear requests, and of their replies, that are in flight at a time (a single pass
/// may have more).
constexpr std::uint64_t kWindowBytes = std::uint64_t{32} << 20;
/// Most memory that the groups of powers take which are worked on together (one may take more).
constexpr std::uint64_t kGroupsMemory = std::uint64_t{512} << 20;

struct LinearParts;

/// Everything about the making of a model's sets that is public: both parties derive the same.
class SetPlan {
 public:
  /// @param correlations  what the sets hold; HoneyBadger's where none are given
  /// Errors: those of LinearPlan::make and planPowers (Unsupported: a network that this mode cannot
  /// serve).
  static Result<std::shared_ptr<const SetPlan>> create(
      std::shared_ptr<const models::PublicModel> model, const CorrelationPlan& correlations = {});
  /// For the same model, whose linear layers are not planned again.
  Result<std::shared_ptr<const SetPlan>> with(const CorrelationPlan& correlations) const;
  const SetCost& cost() const { return m_cost; }

  struct Parts;
  const Parts& parts() const { return *m_parts; }

 private:
  static Result<std::shared_ptr<const SetPlan>> create(std::shared_ptr<const LinearParts> base,
                                                       const CorrelationPlan& correlations);
  std::shared_ptr<const Parts> m_parts;
  SetCost m_cost;
};

/// @param threads  that one set may use at a time
/// Errors: as SetPlan::create; Internal (no randomness).
Result<std::unique_ptr<const ClientParty>> makeClientParty(std::shared_ptr<const SetPlan> plan,
                                                           unsigned threads);
/// Errors: as SetPlan::create; InvalidArgument for weights that are too large (linear.h).
/// @param weights  of the plan's model; kept
/// @param device   does the arithmetic of linear layers (linear_backend.h); null: the processor.
///                 Where it has no memory for a pass, the processor does that pass; where it fails
///                 in the middle of one, the set fails (Internal)
/// @param ledger   of the device
Result<std::shared_ptr<const EngineParty>> makeEngineParty(
    std::shared_ptr<const SetPlan> plan, std::shared_ptr<const models::ModelWeights> weights,
    unsigned threads, device::DevicePtr device = nullptr,
    std::shared_ptr<device::Ledger> ledger = std::make_shared<device::Ledger>());

/// Whether a device computes a small linear layer's replies byte for byte as the processor does: to
/// be asked once before makeEngineParty() gets it, as inference::checkDevice() is (which says why).
/// Errors: Unsupported where it fails or computes something else.
Status checkDevice(const device::DevicePtr& device);

}  // namespace pillarbox::offline::two_party

// The protocols that evaluate an activation polynomial on shares, behind one interface: for
// comparison, and for measurements of what each costs on a link.
//
// Setting, the same for all: the client has known its truncated share z0 of the layer's output
// since the offline phase, the engine computes its share z1 when the inference is there. Afterwards
// they hold shares of p(z) at f fraction bits. Dealt correlations, as in engine/offline/dealing.h:
// a seed for each party, corrections from the dealer to the client, and, because the dealer must
// not know z0, words from the client to the engine that carry z0 or its powers under masks.
//
//                     | one-way messages | words a value to client | to engine | dealt words
//   HoneyBadger       | 1                | 1                       | 0         | 2d
//   ESPN              | 1                | at most d(d-1)/2        | 0         | d-1
//   square-multiply   | ceil(log2 d)     | about ceil(log2 d)      | the same  | about d-1
//   Horner            | d-1              | d-1                     | d-1       | d-1
//
// The exact numbers are cost() and offlineCost(); zero coefficients save something. One message
// goes from the engine to the client; where several depend on each other they alternate, which
// halves the round trips of the classic protocols: the client's first opening travels with what it
// sent before, since z0 is known beforehand.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/secure_vector.h"
#include "engine/offline/dealing.h"
#include "engine/protocol/honeybadger.h"
#include "engine/random/random.h"
#include "models/description.h"

namespace pillarbox::protocol {

using Words = SecureVector<std::uint64_t>;

enum class Protocol : std::uint8_t { HoneyBadger, Espn, SquareMultiply, Horner };
/// All of them, HoneyBadger first.
std::vector<Protocol> allProtocols();
const char* toString(Protocol protocol);  ///< "HoneyBadger", "ESPN", "square-multiply", "Horner"

/// How a party reaches the other: both work in frames of at most kFrameWords words.
struct Wire {
  offline::WordSink send;
  offline::WordSource receive;
};
constexpr std::size_t kFrameWords = std::size_t{1} << 15;
Status sendAll(const Wire& wire, std::span<const std::uint64_t> words);
Status receiveAll(const Wire& wire, std::span<std::uint64_t> words);

/// The client's half of one dealt evaluation. Used once.
class ClientActivation {
 public:
  virtual ~ClientActivation() = default;
  /// @param out  n words: the client's share of p(z). Errors: those of the wire.
  virtual Status evaluate(const Wire& wire, std::span<std::uint64_t> out) = 0;
};

/// The engine's half.
class EngineActivation {
 public:
  virtual ~EngineActivation() = default;
  /// @param share  z1, n words, truncated to f fraction bits @param out  n words
  virtual Status evaluate(const Wire& wire, std::span<const std::uint64_t> share,
                          std::span<std::uint64_t> out) = 0;
};

struct ActivationOfflineCost {
  std::uint64_t correctionWords = 0;  ///< dealer -> client
  std::uint64_t clientWords = 0;      ///< client -> engine
};

/// A polynomial and the protocol that evaluates it. Immutable.
class Activation {
 public:
  /// @param polynomial  degree 1 to 8 @param f  fraction bits of z and of the result
  /// @param bound       |z| stays below this; ESPN chooses its working precision by it
  /// Throws std::logic_error where the numbers do not fit the protocol's ring.
  static std::unique_ptr<const Activation> make(Protocol protocol,
                                                const models::Polynomial& polynomial,
                                                std::uint32_t f, double bound);
  virtual ~Activation() = default;

  /// Exact: payload bytes, without frame headers, and messages that wait for each other.
  virtual Cost cost(std::uint64_t values) const = 0;
  virtual ActivationOfflineCost offlineCost(std::uint64_t values) const = 0;
  /// How far a result may lie from the exact polynomial rounded down, in ulps of f fraction bits,
  /// unless shares wrap while they are truncated.
  virtual double errorBound() const = 0;

  /// The dealer's part: corrections for the client.
  virtual Words deal(std::size_t values, const random::Seed& clientSeed,
                     const random::Seed& engineSeed) const = 0;
  /// The client's part of the offline phase.
  /// @param share        z0, truncated @param corrections  from deal()
  /// @param toEngine     becomes what the engine must receive, offlineCost().clientWords
  virtual std::unique_ptr<ClientActivation> client(std::span<const std::uint64_t> share,
                                                   const random::Seed& clientSeed,
                                                   std::span<const std::uint64_t> corrections,
                                                   Words& toEngine) const = 0;
  /// The engine's. @param fromClient  what client() made
  virtual std::unique_ptr<EngineActivation> engine(
      std::size_t values, const random::Seed& engineSeed,
      std::span<const std::uint64_t> fromClient) const = 0;
};

/// The next n words of a seed's stream.
Words expand(const random::Seed& seed, std::uint64_t stream, std::size_t values);

}  // namespace pillarbox::protocol

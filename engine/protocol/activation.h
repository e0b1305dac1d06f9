// The protocols that evaluate an activation polynomial on shares, behind one interface: for
// comparison, and for measurements of what each costs on a link.
//
// Setting, the same for all: the client has known its truncated share z0 of the layer's output
// since the offline phase, the engine computes its share z1 when the inference is there. Afterwards
// they hold shares of p(z) at f fraction bits. What they consume is a stage's part of a correlation
// set, made by a dealer or by the two parties (engine/offline): powers of λ for HoneyBadger, shares
// of products (engine/offline/products.h) for the others.
//
//                     | one-way messages | words a value to client | to engine | products
//   HoneyBadger       | 1                | 1                       | 0         | (d powers of 2)
//   ESPN              | 1                | at most d(d-1)/2        | 0         | d-1
//   square-multiply   | ceil(log2 d)     | about ceil(log2 d)      | the same  | about d-1
//   Horner            | d-1              | d-1                     | d-1       | d-1
//
// The exact numbers are cost() and products(); zero coefficients save something. One message goes
// from the engine to the client; where several depend on each other they alternate, which halves
// the round trips of the classic protocols: the client's first opening travels with what it sent
// before, since z0 is known beforehand.
//
// An inference streams HoneyBadger, in seven bytes a value (engine/inference/executor.h); here it
// stands beside the others, layer by layer and in whole words.
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
using offline::allProtocols;
using offline::Protocol;
using offline::toString;

/// How a party reaches the other: both work in frames of at most kFrameWords words.
struct Wire {
  offline::WordSink send;
  offline::WordSource receive;
};
constexpr std::size_t kFrameWords = std::size_t{1} << 15;
Status sendAll(const Wire& wire, std::span<const std::uint64_t> words);
Status receiveAll(const Wire& wire, std::span<std::uint64_t> words);

/// The client's half of one evaluation. Used once; must not outlive its Activation.
class ClientActivation {
 public:
  virtual ~ClientActivation() = default;
  /// @param out  n words: the client's share of p(z). Errors: those of the wire.
  virtual Status evaluate(const Wire& wire, std::span<std::uint64_t> out) = 0;
};

/// The engine's half; likewise.
class EngineActivation {
 public:
  virtual ~EngineActivation() = default;
  /// @param share  z1, n words, truncated to f fraction bits @param out  n words, not `share`
  virtual Status evaluate(const Wire& wire, std::span<const std::uint64_t> share,
                          std::span<std::uint64_t> out) = 0;
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

  /// Exact: payload bytes, without frame headers, and messages that wait for each other. Words
  /// travel in tensors of one word a value.
  virtual Cost cost(std::uint64_t values) const = 0;
  /// How far a result may lie from the exact polynomial rounded down, in ulps of f fraction bits,
  /// unless shares wrap while they are truncated.
  virtual double errorBound() const = 0;
  /// The probability of that: about, for one value, whatever it is within the bound.
  virtual double failureBound() const = 0;

  /// What a correlation set holds for this. Null: coefficients (HoneyBadger).
  virtual const offline::ProductPlan* products() const { return nullptr; }
  /// @param correlations  made for products(), or coefficients
  virtual std::unique_ptr<ClientActivation> client(offline::ClientStage correlations) const = 0;
  virtual std::unique_ptr<EngineActivation> engine(offline::EngineStage correlations) const = 0;
};

/// The greatest absolute value of (coefficients from `lowest` on, as a polynomial) on [-bound,
/// bound], on a grid; for estimates.
double largestValue(const models::Polynomial& polynomial, std::uint32_t lowest, double bound);

}  // namespace pillarbox::protocol

// Correlation sets: the randomness that one inference consumes.
//
// Notation as in the protocol description: y = ŷ + r is an activation (the engine holds ŷ, the
// client r), z = z0 + z1 a stage's linear output, δ = z − λ its opening. For every stage the client
// holds r of the stage's inputs, therefore z0 = L(r) − s, and the engine s and what turns its z1
// into the opening. Both hold shares of the coefficients of p(δ + λ) as a polynomial in δ, made of
// shares of the powers of λ (coefficients.h).
//
// That is what HoneyBadger asks for. The other activation protocols compute with the shares z0, z1
// themselves and ask for shares of products of what one party knows with what the other knows
// (products.h): the client holds z0, either party its factors and its share of each sum of
// products.
//
// What travels online travels modulo 2^56 (engine/ring/narrow.h): r is a signed number of 56 bits,
// and so is λ, or else, where the two parties make it themselves, it is λ0 + λ1 over the integers
// with λ1 of 56 bits.
//
// A set is used for one inference and destroyed at first use, on both sides, whatever becomes of
// that inference: the types are move-only, the executors take them by value, and their memory is
// overwritten on release. Reusing a mask on two inputs would reveal the inputs' difference.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/int128.h"
#include "engine/core/secure_vector.h"
#include "engine/random/random.h"
#include "models/description.h"

namespace pillarbox::offline {

/// Where correlations come from, and so who is trusted.
enum class Mode : std::uint8_t {
  TwoParty = 1,    ///< the two parties by homomorphic encryption: nobody else
  Dealer = 2,      ///< a third host that colludes with neither
  FirstParty = 3,  ///< the engine deals to itself and could read the image: comparison only
};
const char* toString(Mode mode);  ///< "two-party", "dealer", "first-party"

/// How activations are evaluated online (engine/protocol), and so what a set holds for each. Sets
/// of one protocol are of no use to another. The numbers are those of the wire.
enum class Protocol : std::uint8_t { HoneyBadger = 0, Espn = 1, SquareMultiply = 2, Horner = 3 };
/// All of them, HoneyBadger first.
std::vector<Protocol> allProtocols();
const char* toString(Protocol protocol);  ///< "HoneyBadger", "ESPN", "square-multiply", "Horner"
/// For flags, configuration and JSON: "honeybadger", "espn", "square-multiply", "horner".
const char* nameOf(Protocol protocol);
std::vector<std::string> protocolNames();
std::optional<Protocol> protocolNamed(std::string_view name);
/// From the wire.
std::optional<Protocol> protocolNumbered(std::uint64_t number);

/// A party's part of the products that one activation asks for, n words each.
struct ProductShares {
  /// This party's uniform factors; none of the client's where they follow from its share.
  std::vector<SecureVector<std::uint64_t>> factors;
  std::vector<SecureVector<std::uint64_t>> sums;  ///< shares of the sums of products
  std::uint64_t memoryBytes() const;
};

/// What the client needs for one stage. Sizes: n = stage.output.size(), d = polynomial degree.
struct ClientStage {
  SecureVector<std::uint64_t> mask;  ///< r of this stage's output activation, n words, narrow
  std::vector<SecureVector<U128>> coefficients;  ///< [i]: share of R_i mod 2^128, n each, i < d
  SecureVector<std::uint64_t> share;  ///< z0, truncated; for HoneyBadger with integer masks only
  ProductShares products;             ///< not for HoneyBadger
};

struct ClientSet {
  std::uint64_t index = 0;  ///< number of the set inside its session
  Protocol protocol = Protocol::HoneyBadger;
  /// λ = λ0 + λ1 over the integers, with λ0 the client's truncated share. Otherwise λ is the signed
  /// representative of λ0 + λ1 mod 2^56.
  bool integerMasks = false;
  SecureVector<std::uint64_t> inputMask;   ///< r of the image, narrow
  std::vector<ClientStage> stages;         ///< all but the last stage
  SecureVector<std::uint64_t> logitShare;  ///< truncated z0 of the last stage

  ClientSet() = default;
  ClientSet(ClientSet&&) = default;
  ClientSet& operator=(ClientSet&&) = default;
  std::uint64_t memoryBytes() const;
};

struct EngineStage {
  SecureVector<std::uint64_t> outputMask;  ///< s, n words
  SecureVector<std::uint64_t>
      openingMask;  ///< z1' + this is δ (dealt: d0 − λ1); not in the last stage
  std::vector<SecureVector<U128>> coefficients;  ///< [i]: share of R_i mod 2^128
  ProductShares products;                        ///< not for HoneyBadger, which has the two before
};

struct EngineSet {
  std::uint64_t index = 0;
  Protocol protocol = Protocol::HoneyBadger;
  bool integerMasks = false;        ///< as the client's
  std::vector<EngineStage> stages;  ///< all stages; the last has outputMask only

  EngineSet() = default;
  EngineSet(EngineSet&&) = default;
  EngineSet& operator=(EngineSet&&) = default;
  std::uint64_t memoryBytes() const;
};

}  // namespace pillarbox::offline

// What an activation protocol in Z_2^64 asks of the offline phase.
//
// ESPN and the protocols with Beaver triples have one thing in common: where two shared values are
// multiplied, either party multiplies what it knows by itself, and what remains are products u v of
// a factor u that only the client knows and a factor v that only the engine knows. The offline
// phase gives shares, uniform modulo 2^64, of sums of such products:
//
//   sum_client + sum_engine = u_1 v_1 + u_2 v_2 + ...     mod 2^64, for every value of a layer
//
// The engine's factors are uniform and drawn for one set. So are the client's for Beaver triples
// (its shares of the masks); for ESPN they follow from its share z0 of the layer, which it knows
// before the image does.
//
// Who makes the shares: dealing.h with a dealer, two_party/powers.h without one.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/offline/correlation_set.h"

namespace pillarbox::offline {

/// The products of one activation. Public: both parties derive it from the polynomial.
struct ProductPlan {
  struct Term {
    std::uint32_t client = 0, engine = 0;  ///< numbers of the factors
    bool operator==(const Term&) const = default;
  };
  std::uint32_t clientFactors = 0;
  std::uint32_t engineFactors = 0;
  std::vector<std::vector<Term>> sums;  ///< of at least one term each

  /// Computes the client's factor of that number from its truncated share z0 (as many words).
  /// Empty: the client's factors are uniform.
  std::function<void(std::uint32_t factor, std::span<const std::uint64_t> share,
                     std::span<std::uint64_t> out)>
      derive;

  /// The same numbers of factors and the same sums.
  bool sameShape(const ProductPlan& other) const {
    return clientFactors == other.clientFactors && engineFactors == other.engineFactors &&
           sums == other.sums;
  }
  /// Uniform factors that a client's set holds.
  std::uint32_t clientUniform() const { return derive ? 0 : clientFactors; }
};

/// What the sets of a session hold.
struct CorrelationPlan {
  Protocol protocol = Protocol::HoneyBadger;
  /// For every stage that has an activation, in order; none for HoneyBadger.
  std::vector<ProductPlan> products;

  /// Null: HoneyBadger.
  const ProductPlan* of(std::size_t stage) const {
    return products.empty() ? nullptr : &products.at(stage);
  }
};

}  // namespace pillarbox::offline

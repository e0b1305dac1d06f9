// ESPN: powers of a shared value by the binomial theorem, in a single message.
//
// With z = a + b, a the client's and b the engine's share,
//
//   z^k = sum_i binom(k, i) a^(k-i) b^i     mod 2^64.
//
// a^k and b^k are local. Every other term is a product of something that only the client knows,
// u = binom(k, i) a^(k-i), and something that only the engine knows, v = b^i. The client knows its
// share before the image exists, so its side of every product is fixed in the offline phase, which
// gives shares of u B for the engine's uniform B (engine/offline/products.h). Online the engine
// sends e = v - B, and
//
//   u v = u e + u B = [u e + share_client(u B)] + share_engine(u B).
//
// Shared is the sum over i of u B, for every k; B is the same for all k that work at one precision.
//
// Working precision. The products are taken mod 2^64 and then truncated locally to f fraction bits,
// which fails when the shares of z^k wrap: with probability |z|^k 2^(k w) / 2^64 at w fraction
// bits. So the shares drop bits before a high power is taken: for z^k, |z| < Z,
//
//   w = min(f, floor((64 - 31) / k - log2 Z)),
//
// which keeps that probability below 2^-31 an element and power (the paper reports the same order);
// for k = 4 and Z = 5 no more than 5 of 12 fraction bits remain, and that is where its error comes
// from. HoneyBadger's lift to 128 bits needs no such rule.
//
// What each party sees online: the engine nothing; the client e, under the engine's uniform B.
// Every B is used once, so the view is simulated by uniform words. What the offline phase shows:
// engine/offline.
//
// Cost: one message from engine to client: for every precision in use, one word a value for each of
// the powers 1 .. k-1 of the engine's share.
// Accuracy: dropping bits changes z by at most 2^-w, so z^k by k (Z + 2^-w)^(k-1) 2^-w; see
// errorBound().
// Source: PILLAR, section 4.2 and 4.4 (there for shares that nobody knows beforehand, and with the
// masks of a trusted dealer on both sides); the rule above restates its reasoning for our
// truncation.
#pragma once

#include <vector>

#include "engine/protocol/activation.h"

namespace pillarbox::protocol {

class Espn final : public Activation {
 public:
  /// As Activation::make. Throws std::logic_error where no fraction bit would remain.
  Espn(const models::Polynomial& polynomial, std::uint32_t f, double bound);

  Cost cost(std::uint64_t values) const override;
  double errorBound() const override;
  double failureBound() const override;
  const offline::ProductPlan* products() const override { return &m_plan; }
  std::unique_ptr<ClientActivation> client(offline::ClientStage correlations) const override;
  std::unique_ptr<EngineActivation> engine(offline::EngineStage correlations) const override;

  /// w for z^k.
  std::uint32_t workingPrecision(std::uint32_t k) const;

 private:
  /// Powers that are taken at one precision.
  struct Group {
    std::uint32_t precision = 0;
    std::vector<std::uint32_t> powers;  // ascending
    std::uint32_t masks() const { return powers.back() - 1; }
  };
  struct Client;
  struct Engine;

  models::Polynomial m_polynomial;
  std::uint32_t m_f;
  double m_bound;
  std::vector<Group> m_groups;
  offline::ProductPlan m_plan;
};

}  // namespace pillarbox::protocol

// Horner's rule: (((C_d z + C_(d-1)) z + ...) z + C_0, one product after the other.
//
// The first product is z z, which also gives (C_d z + C_(d-1)) z; then the accumulator is opened
// and multiplied with z, which is open already: d-1 openings that wait for each other. The
// accumulator keeps f + f_c fraction bits, so that its truncations, whose errors grow with the
// powers of z that follow, do not show; the last product drops to f.
//
// What each party sees, and why that reveals nothing: beaver.h.
// Cost: d-1 alternating messages of a word a value in each direction.
// Accuracy: see errorBound(). A truncation fails with probability |v| 2^(2f + f_c) / 2^64, v the
// accumulator: the highest of all protocols here, below 2^-27 for |v| < 8, f = 12, f_c = 10.
// Source: Horner's rule with Beaver triples, a baseline of PILLAR's figure 2.
#pragma once

#include "engine/protocol/beaver.h"

namespace pillarbox::protocol {

class Horner final : public BeaverActivation {
 public:
  Horner(const models::Polynomial& polynomial, std::uint32_t f, double bound);
  double errorBound() const override;
  double failureBound() const override;

 private:
  Status run(const Wire& wire, Multiplier& multiplier, std::span<const std::uint64_t> z,
             std::span<std::uint64_t> out) const override;
};

}  // namespace pillarbox::protocol

// Square-and-multiply: the powers of z by products of lower powers, level by level.
//
// z^k = z^floor(k/2) z^ceil(k/2), so z^k is there after ceil(log2 k) openings that wait for each
// other; all powers of a level are computed with one message in each direction. Every product is
// truncated back to f fraction bits before it is a factor itself. The polynomial is then a public
// combination of shares. Powers that no coefficient and no other power needs are left out: degree 4
// without a cubic term opens z and z^2.
//
// What each party sees, and why that reveals nothing: beaver.h.
// Cost: ceil(log2 d) alternating messages; a word a value in each direction for every power that is
// a factor.
// Accuracy: every truncation errs by an ulp, and errors of factors are multiplied by the other
// factor; see errorBound(). A truncation fails with probability |z|^k 2^(2f) / 2^64.
// Source: square-and-multiply as in CrypTen, the baseline of PILLAR's figure 2. One mask a factor
// instead of one a product makes it cheaper than CrypTen's.
#pragma once

#include <vector>

#include "engine/protocol/beaver.h"

namespace pillarbox::protocol {

class SquareMultiply final : public BeaverActivation {
 public:
  SquareMultiply(const models::Polynomial& polynomial, std::uint32_t f, double bound);
  double errorBound() const override;
  double failureBound() const override;

 private:
  /// z^power = z^(left) z^(right), both below.
  struct Step {
    std::uint32_t power, left, right;
  };
  struct Level {
    std::vector<std::uint32_t> opened;  // powers that become factors here
    std::vector<Step> steps;
  };
  Status run(const Wire& wire, Multiplier& multiplier, std::span<const std::uint64_t> z,
             std::span<std::uint64_t> out) const override;

  std::vector<Level> m_plan;
  std::vector<std::size_t> m_maskOf;  // by power
};

}  // namespace pillarbox::protocol

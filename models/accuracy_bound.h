// How likely it is that an inference goes wrong through its own arithmetic.
//
// Truncating a sharing of v in Z_2^k by dropping low bits of each share is right to within one ulp
// unless the two shares wrap around the ring, which for a uniform share happens with probability
// |v| / 2^k (SecureML, eprint 2017/396, theorem 1). A value that is lifted from 56 bits to a wider
// ring (engine/ring/narrow.h) is wrong with probability |v| / 2^55. These are added up over
// everything that one inference truncates and sends. The bound holds while every z stays within
// `zBound`; the penalty that a network was trained with is what makes that so.
#pragma once

#include "models/description.h"

namespace pillarbox::models {

/// A model above this is refused.
inline constexpr double kMaxTruncationFailure = 0x1p-10;
/// Assumed largest absolute logit.
inline constexpr double kLogitBound = 128.0;
/// Assumed largest absolute pixel, normalised.
inline constexpr double kPixelBound = 16.0;

struct FailureBound {
  double linear = 0;      ///< truncations of linear outputs in Z_2^64
  double opening = 0;     ///< images, openings and activations lifted from 56 bits
  double polynomial = 0;  ///< truncations of polynomial values in Z_2^128
  double total() const { return linear + opening + polynomial; }
};

/// Union bound over one inference of a valid `model`, each z within [-zBound, zBound].
/// Cost: proportional to the number of stages.
FailureBound truncationFailureBound(const PublicModel& model, double zBound);

}  // namespace pillarbox::models

// From real-valued layers to stages of integers.
//
// The rules (models/FORMAT.md states them with examples):
//
// - A tensor is a pair (integers, scale): real value = integer / (2^bits * divisor), divisor odd.
//   Activations have f bits and divisor 1.
// - An average pooling is a sum; the window's size goes into the scale: its power of two into bits,
//   the rest into the divisor. Nothing is rounded.
// - Weights meeting a divisor D absorb it: round(W * 2^(w + e) / D) with e = floor(log2 D), which
//   adds w + e bits and clears the divisor. w is `weightBits`.
// - Where no weights follow, a Combine multiplies by round(2^t / D), t = w + e, and adds t bits.
// - A sum brings its terms to one scale with multipliers that are powers of two (times the above).
// - A batch norm goes into the weights of the convolution or fully connected layer before it, also
//   past poolings and sums, in double precision.
// - Biases of a stage become one integer tensor: what its z is when all its inputs are zero.
#pragma once

#include "models/description.h"
#include "models/float_graph.h"

namespace pillarbox::models {

struct QuantiseOptions {
  std::uint32_t precisionBits = 12;  ///< f
  std::uint32_t weightBits = 12;     ///< w
  std::uint32_t outputBits = 12;     ///< of the logits
};

/// A weight w in the file must satisfy |round(w * 2^bits)| < kMaxWeight.
inline constexpr std::int64_t kMaxWeight = std::int64_t{1} << 23;

struct QuantisedNetwork {
  std::uint32_t precisionBits = 12;
  std::uint32_t outputBits = 12;
  std::vector<Stage> stages;
  ModelWeights weights;
};

/// Cuts `graph` into stages and rounds its weights. Layers that the output does not depend on are
/// left out; a layer without an activation that two activations depend on is computed in the stages
/// of both.
///
/// Errors: Unsupported where the network has no such form (two layers with weights and no
/// activation between, a batch norm with no weights to go into, an activation at the end),
/// Exhausted over a limit, Format for weights out of range; each names the node.
Result<QuantisedNetwork> quantise(const FloatGraph& graph, const QuantiseOptions& options);

}  // namespace pillarbox::models

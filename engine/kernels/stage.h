// A stage's linear map, applied to ring tensors.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "models/description.h"

namespace pillarbox::kernels {

/// Which of a stage's paths from input to output count.
enum class Paths {
  All,       ///< the whole map
  Weighted,  ///< only those through an op with weights: the part that is linear in the weights
};

/// Weights by LinearOp::weightIndex.
template <typename Weight>
using WeightSource = std::function<std::span<const Weight>(std::uint32_t weightIndex)>;

/// out = L(inputs) mod 2^64, without bias.
///
/// @param inputs  one tensor for each of stage.inputs, in that order
/// @param out     stage.output.size() words, overwritten
/// Cost: the multiply-adds of the stage's ops; scratch for the intermediate tensors.
void applyStage(const models::Stage& stage, std::span<const std::span<const std::uint64_t>> inputs,
                const WeightSource<std::int32_t>& weights, std::span<std::uint64_t> out);
void applyStage(const models::Stage& stage, std::span<const std::span<const std::uint64_t>> inputs,
                const WeightSource<std::uint64_t>& weights, Paths paths,
                std::span<std::uint64_t> out);

/// Multiply-adds of one application, weighted ops only.
std::uint64_t multiplyAdds(const models::Stage& stage);

}  // namespace pillarbox::kernels

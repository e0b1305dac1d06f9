// A stage's linear map, applied to ring tensors.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/kernels/packed.h"
#include "models/description.h"

namespace pillarbox::kernels {

/// Which of a stage's paths from input to output count.
enum class Paths {
  All,       ///< the whole map
  Weighted,  ///< only those through an op with weights: the part that is linear in the weights
};

/// Weights as ring elements, by LinearOp::weightIndex.
using WeightSource = std::function<std::span<const std::uint64_t>(std::uint32_t weightIndex)>;

/// out = L(inputs) mod 2^64, without bias.
///
/// @param inputs  one tensor for each of stage.inputs, in that order
/// @param out     stage.output.size() words, overwritten
/// Cost: the multiply-adds of the stage's ops; scratch for the intermediate tensors.
/// @param weights by LinearOp::weightIndex: packed, or as ring elements
/// @param workspace  scratch, reused; with it the call allocates nothing once it has grown
void applyStage(const models::Stage& stage, std::span<const std::span<const std::uint64_t>> inputs,
                std::span<const PackedWeights> weights, Workspace& workspace,
                std::span<std::uint64_t> out);
void applyStage(const models::Stage& stage, std::span<const std::span<const std::uint64_t>> inputs,
                const WeightSource& weights, Paths paths, std::span<std::uint64_t> out);

/// Packs every op's weights for the fastest method. @param weights  by weightIndex
std::vector<PackedWeights> packWeights(std::span<const models::Stage> stages,
                                       std::span<const std::vector<std::int32_t>> weights);

/// Multiply-adds of one application, weighted ops only.
std::uint64_t multiplyAdds(const models::Stage& stage);

}  // namespace pillarbox::kernels

// A stage's linear map, applied to ring tensors.
#pragma once

#include <cstddef>
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

/// A stage's linear map while one of its inputs still arrives, channel after channel. Ops on the
/// other inputs are computed at once; an op with weights on the arriving one accumulates over its
/// input channels; what follows it is computed output channel by output channel, so that the first
/// can leave while the next are computed. The result is that of applyStage().
///
/// begin(), arrived() as often as one likes, then finish() until all channels are done. One stage
/// at a time; between stages an object keeps its memory, so that nothing is allocated once it has
/// grown. It refers to what begin() was given until the last finish().
class StageStream {
 public:
  static constexpr std::size_t kNone = ~std::size_t{0};

  /// @param arriving  which of stage.inputs, by position; kNone: all are there
  void begin(const models::Stage& stage, std::span<const std::span<const std::uint64_t>> inputs,
             std::size_t arriving, std::span<const PackedWeights> weights, Workspace& workspace,
             std::span<std::uint64_t> out);
  /// The first `words` words of the arriving input are there.
  void arrived(std::size_t words);
  /// Computes some more output channels (all of that input must have arrived). Returns how many
  /// are done now, from the first on.
  std::size_t finish();

 private:
  /// Where a value stands: complete, growing with the input, or to come with the output.
  enum class Flow { Ready, Arriving, Late };
  struct Value {
    std::span<const std::uint64_t> words;
    Flow flow = Flow::Ready;
    std::size_t channels = 0;  ///< of an arriving one: complete; of an op with weights: taken in
    std::size_t count = 0;     ///< channels in all
  };

  void take(const models::LinearOp& op, Value& result, std::size_t end);
  void channelwise(const models::LinearOp& op, std::size_t result, std::size_t first,
                   std::size_t end);
  std::span<std::uint64_t> resultOf(std::size_t op) const;

  const models::Stage* m_stage = nullptr;
  std::span<const PackedWeights> m_weights;
  Workspace* m_workspace = nullptr;
  std::span<std::uint64_t> m_out;
  std::size_t m_arriving = kNone;
  std::size_t m_unit = 0;      ///< output channels computed together
  std::size_t m_finished = 0;  ///< output channels
  std::vector<Value> m_values;
};

/// A whole stage as applyStage, with `weighted` for the ops that have weights: it reads the op's
/// input and writes all of its output. What comes before and after them is public.
using WeightedOp = std::function<void(const models::LinearOp& op, std::span<const std::uint64_t> in,
                                      std::span<std::uint64_t> out)>;
void applyStageAround(const models::Stage& stage,
                      std::span<const std::span<const std::uint64_t>> inputs,
                      const WeightedOp& weighted, std::span<std::uint64_t> out);

/// Packs every op's weights for the fastest method. @param weights  by weightIndex
std::vector<PackedWeights> packWeights(std::span<const models::Stage> stages,
                                       std::span<const std::vector<std::int32_t>> weights);

/// Multiply-adds of one application, weighted ops only.
std::uint64_t multiplyAdds(const models::Stage& stage);

}  // namespace pillarbox::kernels

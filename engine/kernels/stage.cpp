#include "engine/kernels/stage.h"

#include <algorithm>
#include <stdexcept>

#include "engine/core/secure_vector.h"
#include "engine/kernels/linear.h"

namespace pillarbox::kernels {

namespace {

using models::LinearOp;
using models::OpKind;

/// A value inside the stage: where it is, and whether an op with weights lies behind it.
struct Value {
  std::span<const std::uint64_t> words;
  bool weighted = false;
};

void combine(const LinearOp& op, std::span<const Value> values, bool weightedOnly,
             std::span<std::uint64_t> out) {
  std::fill(out.begin(), out.end(), 0);
  for (std::size_t i = 0; i < op.inputs.size(); ++i) {
    const Value& value = values[op.inputs[i]];
    if (weightedOnly && !value.weighted) continue;
    const auto factor = static_cast<std::uint64_t>(op.multipliers[i]);
    for (std::size_t e = 0; e < out.size(); ++e) out[e] += factor * value.words[e];
  }
}

template <typename Weight>
void apply(const models::Stage& stage, std::span<const std::span<const std::uint64_t>> inputs,
           const WeightSource<Weight>& weights, Paths paths, std::span<std::uint64_t> out) {
  if (inputs.size() != stage.inputs.size() || out.size() != stage.output.size()) {
    throw std::logic_error("tensors do not fit stage " + stage.name);
  }
  std::vector<Value> values;
  values.reserve(inputs.size() + stage.ops.size());
  for (const auto& input : inputs) values.push_back({input, false});
  std::vector<SecureVector<std::uint64_t>> scratch(stage.ops.size());

  for (std::size_t i = 0; i < stage.ops.size(); ++i) {
    const LinearOp& op = stage.ops[i];
    const bool last = i + 1 == stage.ops.size();
    if (!last) scratch[i].resize(op.out.size());
    const std::span<std::uint64_t> result = last ? out : std::span<std::uint64_t>(scratch[i]);
    const Value& first = values[op.inputs[0]];
    bool weighted = op.hasWeights();
    for (const std::uint32_t input : op.inputs) weighted = weighted || values[input].weighted;
    switch (op.kind) {
      case OpKind::Convolution:
        convolution(op, first.words, weights(op.weightIndex), result);
        break;
      case OpKind::FullyConnected:
        fullyConnected(op, first.words, weights(op.weightIndex), result);
        break;
      case OpKind::SumPool:
        sumPool(op, first.words, result);
        break;
      case OpKind::Combine:
        combine(op, values, paths == Paths::Weighted && weighted, result);
        break;
    }
    values.push_back({result, weighted});
  }
  if (paths == Paths::Weighted && !values.back().weighted) std::fill(out.begin(), out.end(), 0);
}

}  // namespace

void applyStage(const models::Stage& stage, std::span<const std::span<const std::uint64_t>> inputs,
                const WeightSource<std::int32_t>& weights, std::span<std::uint64_t> out) {
  apply(stage, inputs, weights, Paths::All, out);
}

void applyStage(const models::Stage& stage, std::span<const std::span<const std::uint64_t>> inputs,
                const WeightSource<std::uint64_t>& weights, Paths paths,
                std::span<std::uint64_t> out) {
  apply(stage, inputs, weights, paths, out);
}

std::uint64_t multiplyAdds(const models::Stage& stage) {
  std::uint64_t sum = 0;
  for (const LinearOp& op : stage.ops) {
    if (op.kind == OpKind::Convolution) {
      sum += op.out.size() * op.in.channels * op.kernelH * op.kernelW;
    } else if (op.kind == OpKind::FullyConnected) {
      sum += op.weightCount();
    }
  }
  return sum;
}

}  // namespace pillarbox::kernels

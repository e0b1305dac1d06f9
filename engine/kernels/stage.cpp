#include "engine/kernels/stage.h"

#include <algorithm>
#include <stdexcept>

#include "engine/kernels/elementwise.h"
#include "engine/kernels/linear.h"

namespace pillarbox::kernels {

namespace {

using models::LinearOp;
using models::OpKind;

void combine(const LinearOp& op, std::span<const StageValue> values, bool weightedOnly,
             std::span<std::uint64_t> out) {
  bool first = true;
  for (std::size_t i = 0; i < op.inputs.size(); ++i) {
    const StageValue& value = values[op.inputs[i]];
    if (weightedOnly && !value.weighted) continue;
    const auto factor = static_cast<std::uint64_t>(op.multipliers[i]);
    first ? scale(factor, value.words, out) : addScaled(factor, value.words, out);
    first = false;
  }
  if (first) std::fill(out.begin(), out.end(), 0);
}

/// The stage, with `multiply(op, in, out)` for the ops that have weights.
template <typename Multiply>
void apply(const models::Stage& stage, std::span<const std::span<const std::uint64_t>> inputs,
           Paths paths, Workspace& workspace, std::span<std::uint64_t> out,
           const Multiply& multiply) {
  if (inputs.size() != stage.inputs.size() || out.size() != stage.output.size()) {
    throw std::logic_error("tensors do not fit stage " + stage.name);
  }
  std::vector<StageValue>& values = workspace.values();
  values.clear();
  for (const auto& input : inputs) values.push_back({input, false});

  for (std::size_t i = 0; i < stage.ops.size(); ++i) {
    const LinearOp& op = stage.ops[i];
    const bool last = i + 1 == stage.ops.size();
    const std::span<std::uint64_t> result = last ? out : workspace.tensor(i, op.out.size());
    const std::span<const std::uint64_t> first = values[op.inputs[0]].words;
    bool weighted = op.hasWeights();
    for (const std::uint32_t input : op.inputs) weighted = weighted || values[input].weighted;
    switch (op.kind) {
      case OpKind::Convolution:
      case OpKind::FullyConnected:
        multiply(op, first, result);
        break;
      case OpKind::SumPool:
        sumPool(op, first, result);
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
                std::span<const PackedWeights> weights, Workspace& workspace,
                std::span<std::uint64_t> out) {
  apply(
      stage, inputs, Paths::All, workspace, out,
      [&](const LinearOp& op, std::span<const std::uint64_t> in, std::span<std::uint64_t> result) {
        const PackedWeights& packed = weights[op.weightIndex];
        packed.apply(in, workspace.bytes(packed.scratchBytes()), result);
      });
}

void applyStage(const models::Stage& stage, std::span<const std::span<const std::uint64_t>> inputs,
                const WeightSource& weights, Paths paths, std::span<std::uint64_t> out) {
  Workspace workspace;
  apply(
      stage, inputs, paths, workspace, out,
      [&](const LinearOp& op, std::span<const std::uint64_t> in, std::span<std::uint64_t> result) {
        if (op.kind == OpKind::Convolution) {
          convolution(op, in, weights(op.weightIndex), result);
        } else {
          fullyConnected(op, in, weights(op.weightIndex), result);
        }
      });
}

std::vector<PackedWeights> packWeights(std::span<const models::Stage> stages,
                                       std::span<const std::vector<std::int32_t>> weights) {
  std::vector<const LinearOp*> ops(weights.size());
  for (const models::Stage& stage : stages) {
    for (const LinearOp& op : stage.ops) {
      if (op.hasWeights()) ops.at(op.weightIndex) = &op;
    }
  }
  std::vector<PackedWeights> packed;
  packed.reserve(weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (ops[i] == nullptr) throw std::logic_error("weights that no op uses");
    packed.emplace_back(*ops[i], weights[i]);
  }
  return packed;
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

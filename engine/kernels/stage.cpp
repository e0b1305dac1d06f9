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
        sumPool(op, first, result, 0, op.out.channels);
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
        packed.apply(in, workspace.bytes(packed.scratchBytes()), result, workspace.team);
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

std::span<std::uint64_t> StageStream::resultOf(std::size_t op) const {
  if (op + 1 == m_stage->ops.size()) return m_out;
  return m_workspace->tensor(op, m_stage->ops[op].out.size());
}

void StageStream::channelwise(const LinearOp& op, std::size_t result, std::size_t first,
                              std::size_t end) {
  const std::span<std::uint64_t> out = resultOf(result);
  if (op.kind == OpKind::SumPool) return sumPool(op, m_values[op.inputs[0]].words, out, first, end);
  const std::size_t area = out.size() / op.out.channels;
  const auto piece = [&](auto tensor) {
    return tensor.subspan(first * area, (end - first) * area);
  };
  for (std::size_t i = 0; i < op.inputs.size(); ++i) {
    const auto factor = static_cast<std::uint64_t>(op.multipliers[i]);
    const auto in = piece(m_values[op.inputs[i]].words);
    i == 0 ? scale(factor, in, piece(out)) : addScaled(factor, in, piece(out));
  }
}

void StageStream::begin(const models::Stage& stage,
                        std::span<const std::span<const std::uint64_t>> inputs,
                        std::size_t arriving, std::span<const PackedWeights> weights,
                        Workspace& workspace, std::span<std::uint64_t> out) {
  if (inputs.size() != stage.inputs.size() || out.size() != stage.output.size()) {
    throw std::logic_error("tensors do not fit stage " + stage.name);
  }
  m_stage = &stage;
  m_weights = weights;
  m_workspace = &workspace;
  m_out = out;
  m_arriving = arriving;
  m_unit = stage.output.channels;
  m_finished = 0;
  m_values.clear();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    m_values.push_back({inputs[i], i == arriving ? Flow::Arriving : Flow::Ready, 0, 0});
  }
  std::size_t lateOps = 0;
  for (std::size_t i = 0; i < stage.ops.size(); ++i) {
    const LinearOp& op = stage.ops[i];
    Value value{resultOf(i), Flow::Ready, 0, op.out.channels};
    for (const std::uint32_t input : op.inputs) {
      Value& source = m_values[input];
      // A fully connected op reads flat; the others agree on an input's channels.
      if (op.kind != OpKind::FullyConnected) source.count = op.in.channels;
      value.flow = std::max(value.flow, source.flow);
    }
    if (op.hasWeights()) {
      if (value.flow == Flow::Late) throw std::logic_error("two ops with weights in one path");
      const PackedWeights& packed = weights[op.weightIndex];
      if (value.flow == Flow::Ready) {
        packed.apply(m_values[op.inputs[0]].words, workspace.bytes(packed.scratchBytes()),
                     resultOf(i), workspace.team);
      } else {
        value.flow = Flow::Late;
        ++lateOps;
        m_unit = packed.outputUnit();
      }
    } else if (value.flow == Flow::Ready) {
      channelwise(op, i, 0, op.out.channels);
    }
    m_values.push_back(value);
  }
  // Two of them would take the scratch from each other after every block of channels.
  if (lateOps > 1) m_unit = stage.output.channels;
}

/// Accumulates the input channels up to `end`.
void StageStream::take(const LinearOp& op, Value& result, std::size_t end) {
  const PackedWeights& packed = m_weights[op.weightIndex];
  const std::size_t index = static_cast<std::size_t>(&op - m_stage->ops.data());
  packed.applyPart(
      m_values[op.inputs[0]].words, m_workspace->bytes(packed.scratchBytes()),
      {result.channels, end - result.channels, 0, op.out.channels, result.channels > 0, true},
      resultOf(index), m_workspace->team);
  result.channels = end;
}

void StageStream::arrived(std::size_t words) {
  if (m_arriving == kNone) return;
  Value& source = m_values[m_arriving];
  const std::size_t inputs = m_values.size() - m_stage->ops.size();
  if (source.count > 0) source.channels = words / (source.words.size() / source.count);
  for (std::size_t i = 0; i < m_stage->ops.size(); ++i) {
    const LinearOp& op = m_stage->ops[i];
    Value& value = m_values[inputs + i];
    if (value.flow == Flow::Ready) continue;
    if (op.kind == OpKind::FullyConnected) continue;
    if (op.hasWeights()) {
      const Value& in = m_values[op.inputs[0]];
      const std::size_t unit = m_weights[op.weightIndex].inputUnit();
      const std::size_t end = in.channels / unit * unit;
      // The last channels are for finish(), which does not wait for the others to be computed.
      if (in.channels < op.in.channels && end > value.channels) take(op, value, end);
    } else if (value.flow == Flow::Arriving) {
      std::size_t end = op.out.channels;
      for (const std::uint32_t input : op.inputs) {
        if (m_values[input].flow == Flow::Arriving) end = std::min(end, m_values[input].channels);
      }
      if (end > value.channels) channelwise(op, i, value.channels, end);
      value.channels = end;
    }
  }
}

std::size_t StageStream::finish() {
  const std::size_t inputs = m_values.size() - m_stage->ops.size();
  const bool first = m_finished == 0;
  const std::size_t all = m_stage->output.channels;
  const std::size_t end =
      m_values.back().flow == Flow::Late ? std::min(all, m_finished + m_unit) : all;
  for (std::size_t i = 0; i < m_stage->ops.size() && m_values.back().flow == Flow::Late; ++i) {
    const LinearOp& op = m_stage->ops[i];
    const Value& value = m_values[inputs + i];
    if (value.flow != Flow::Late) continue;
    if (!op.hasWeights()) {
      channelwise(op, i, m_finished, end);
      continue;
    }
    const PackedWeights& packed = m_weights[op.weightIndex];
    packed.applyPart(m_values[op.inputs[0]].words, m_workspace->bytes(packed.scratchBytes()),
                     {value.channels, op.in.channels - value.channels, m_finished, end - m_finished,
                      value.channels > 0, first},
                     resultOf(i), m_workspace->team);
  }
  return m_finished = end;
}

void applyStageAround(const models::Stage& stage,
                      std::span<const std::span<const std::uint64_t>> inputs,
                      const WeightedOp& weighted, std::span<std::uint64_t> out) {
  Workspace workspace;
  apply(stage, inputs, Paths::All, workspace, out, weighted);
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

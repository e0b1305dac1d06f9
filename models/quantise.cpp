// From real-valued layers to stages of integers; see quantise.h for the rules.
//
// A stage is built backwards from the activation's input z to the activations it reads. The walk
// carries a *channel scale*: the product of the batch norms passed on the way, which the first
// layer with weights absorbs. A value reached under two different scales becomes two ops. The shift
// of a batch norm needs no such care, because all that is constant in a stage is computed once, as
// its response to zero.
#include "models/quantise.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

namespace pillarbox::models {

namespace {

/// Visits in one stage's walk. More than any real stage; bounds time and recursion on hostile ones.
constexpr std::size_t kMaxVisits = 600;
/// Additions of all poolings: their response to a bias is computed window by window.
constexpr std::uint64_t kMaxPoolAdditions = std::uint64_t{1} << 32;

/// Real value = integer / (2^bits * divisor).
struct Scale {
  std::uint32_t bits = 0;
  std::uint64_t divisor = 1;  ///< odd
};

/// floor(log2(v)), v > 0.
std::uint32_t floorLog2(std::uint64_t v) {
  return static_cast<std::uint32_t>(std::bit_width(v)) - 1;
}

Error unsupported(std::string message) {
  return Error{ErrorCode::Unsupported, std::move(message)};
}

std::string quoted(const std::string& name) {
  return "'" + name + "'";
}

/// The multiplier and the bits it adds that stand for a division by `divisor` (t = 0 for 1).
struct Division {
  std::int64_t multiplier = 1;
  std::uint32_t bits = 0;
};

Division divisionBy(std::uint64_t divisor, std::uint32_t weightBits) {
  if (divisor == 1) return {};
  Division division;
  division.bits = weightBits + floorLog2(divisor);
  division.multiplier =
      std::llround(std::ldexp(1.0, static_cast<int>(division.bits)) / static_cast<double>(divisor));
  return division;
}

/// What all stages have taken so far; stages that share layers each count them.
struct Totals {
  std::uint64_t ops = 0;
  std::uint64_t elements = 0;
  std::uint64_t weights = 0;
  std::uint64_t poolAdditions = 0;
};

class StageBuilder {
 public:
  StageBuilder(const FloatGraph& graph, const QuantiseOptions& options,
               const std::vector<std::int64_t>& activationOf, Totals* totals, ModelWeights* weights)
      : m_graph(graph),
        m_options(options),
        m_activationOf(activationOf),
        m_totals(totals),
        m_weights(weights) {}

  /// Builds the stage whose z is `value`; `targetBits` is the scale after truncation.
  Result<Stage> build(std::uint32_t value, const std::string& name, std::uint32_t targetBits) {
    m_scaleFactors.push_back({});
    PILLARBOX_ASSIGN(const Handle z, visit(value, 0));
    PILLARBOX_TRY(finish(z, name));
    if (m_zBits < targetBits + Limits::kMinTruncation) {
      throw std::logic_error("stage scale below its target");
    }
    Stage stage;
    stage.name = name;
    stage.ops = std::move(m_ops);
    stage.truncation = m_zBits - targetBits;
    stage.output = stage.ops.back().out;
    renumber(&stage);
    PILLARBOX_TRY(addBias(value, name));
    return stage;
  }

 private:
  /// A value inside the stage: an activation, or the output of an op.
  struct Handle {
    bool isActivation = false;
    std::uint32_t index = 0;  ///< activation number, or index into m_ops
    Scale scale;
    bool weighted = false;     ///< a layer with weights lies on a path to here
    std::string weightedName;  ///< its name, for messages
  };
  /// What an op reads, until the stage's inputs are numbered.
  struct Reference {
    bool isActivation = false;
    std::uint32_t index = 0;
  };

  static Reference reference(const Handle& handle) {
    return Reference{handle.isActivation, handle.index};
  }

  Result<Handle> visit(std::uint32_t value, std::uint32_t context) {
    const auto key = std::make_pair(value, context);
    if (const auto found = m_handles.find(key); found != m_handles.end()) return found->second;
    if (++m_visits > kMaxVisits) {
      return Error{ErrorCode::Exhausted,
                   "A part of the network without activations has too many layers, at node " +
                       quoted(value == 0 ? "image" : m_graph.nodes[value - 1].name) + "."};
    }
    PILLARBOX_ASSIGN(Handle handle, visitNew(value, context));
    m_handles.emplace(key, handle);
    return handle;
  }

  Result<Handle> visitNew(std::uint32_t value, std::uint32_t context) {
    if (m_activationOf[value] >= 0) {
      if (context != 0) {
        return unsupported(
            "Node " + quoted(m_contextNames[context - 1]) +
            ": this batch norm or scaling has no layer with weights before it to be folded into. "
            "Put it directly after a Conv or Gemm.");
      }
      Handle handle;
      handle.isActivation = true;
      handle.index = static_cast<std::uint32_t>(m_activationOf[value]);
      handle.scale.bits = m_options.precisionBits;
      return handle;
    }
    const FloatNode& node = m_graph.nodes[value - 1];
    switch (node.kind) {
      case NodeKind::Convolution:
      case NodeKind::FullyConnected:
        return visitWeighted(node, context);
      case NodeKind::Affine:
        return visit(node.inputs[0], scaledContext(node, value, context));
      case NodeKind::AveragePool:
        return visitPool(node, context);
      case NodeKind::Add:
        return visitAdd(node, context);
      case NodeKind::Polynomial:
      case NodeKind::Relu:
        break;  // numbered in m_activationOf
    }
    throw std::logic_error("activation without a number");
  }

  /// The context that multiplies `context` by the scale of an Affine node.
  std::uint32_t scaledContext(const FloatNode& node, std::uint32_t value, std::uint32_t context) {
    const auto key = std::make_pair(value, context);
    if (const auto found = m_contexts.find(key); found != m_contexts.end()) return found->second;
    std::vector<double> factors = node.scale;
    if (context != 0) {
      for (std::size_t c = 0; c < factors.size(); ++c) factors[c] *= m_scaleFactors[context][c];
    }
    m_scaleFactors.push_back(std::move(factors));
    m_contextNames.push_back(node.name);
    const auto created = static_cast<std::uint32_t>(m_scaleFactors.size() - 1);
    m_contexts.emplace(key, created);
    return created;
  }

  Result<Handle> append(LinearOp op, std::vector<Reference> inputs) {
    m_totals->ops += 1;
    m_totals->elements += op.out.size();
    if (m_ops.size() >= Limits::kMaxOpsInStage || m_totals->ops > Limits::kMaxOps ||
        m_totals->elements > Limits::kMaxTotalElements) {
      return Error{ErrorCode::Exhausted,
                   "The network has too many or too large layers (those that several activations "
                   "share are counted again), at node " +
                       quoted(op.name) + "."};
    }
    m_ops.push_back(std::move(op));
    m_references.push_back(std::move(inputs));
    Handle handle;
    handle.index = static_cast<std::uint32_t>(m_ops.size() - 1);
    return handle;
  }

  static LinearOp windowOp(const FloatNode& node, OpKind kind) {
    LinearOp op;
    op.kind = kind;
    op.name = node.name;
    op.in = node.in;
    op.out = node.out;
    op.kernelH = node.kernelH;
    op.kernelW = node.kernelW;
    op.strideH = node.strideH;
    op.strideW = node.strideW;
    op.padTop = node.padTop;
    op.padLeft = node.padLeft;
    op.padBottom = node.padBottom;
    op.padRight = node.padRight;
    return op;
  }

  Result<Handle> visitWeighted(const FloatNode& node, std::uint32_t context) {
    PILLARBOX_ASSIGN(const Handle input, visit(node.inputs[0], 0));
    if (input.weighted) {
      return unsupported("Node " + quoted(node.name) + " follows node " +
                         quoted(input.weightedName) +
                         " without an activation between them. Put a polynomial activation between "
                         "them, or merge them into one layer.");
    }
    const std::uint32_t extra = floorLog2(input.scale.divisor);
    const std::uint32_t bits = m_options.weightBits + extra;
    const double factor =
        std::ldexp(1.0, static_cast<int>(bits)) / static_cast<double>(input.scale.divisor);
    LinearOp op = windowOp(
        node, node.kind == NodeKind::Convolution ? OpKind::Convolution : OpKind::FullyConnected);
    op.weightIndex = static_cast<std::uint32_t>(m_weights->weights.size());
    m_totals->weights += node.weights.size();
    if (m_totals->weights > Limits::kMaxWeights) {
      return Error{ErrorCode::Exhausted, "The network has more than " +
                                             std::to_string(Limits::kMaxWeights) +
                                             " weights, at node " + quoted(node.name) + "."};
    }
    const std::size_t perChannel = node.weights.size() / node.out.channels;
    std::vector<std::int32_t> quantised(node.weights.size());
    for (std::size_t c = 0; c < node.out.channels; ++c) {
      const double channel = context == 0 ? factor : factor * m_scaleFactors[context][c];
      for (std::size_t i = c * perChannel; i < (c + 1) * perChannel; ++i) {
        const double scaled = std::nearbyint(static_cast<double>(node.weights[i]) * channel);
        if (!(std::abs(scaled) < static_cast<double>(kMaxWeight))) {
          return Error{ErrorCode::Format,
                       "Node " + quoted(node.name) + ": a weight of " +
                           std::to_string(scaled / std::ldexp(1.0, static_cast<int>(bits))) +
                           " (batch norm included) is too large for " + std::to_string(bits) +
                           " fraction bits. Train with weight decay, check the batch norm's "
                           "variance, or lower pillarbox.weight_bits."};
        }
        quantised[i] = static_cast<std::int32_t>(scaled);
      }
    }
    m_weights->weights.push_back(std::move(quantised));
    PILLARBOX_ASSIGN(Handle handle, append(std::move(op), {reference(input)}));
    handle.scale.bits = input.scale.bits + bits;
    handle.weighted = true;
    handle.weightedName = node.name;
    return handle;
  }

  Result<Handle> visitPool(const FloatNode& node, std::uint32_t context) {
    PILLARBOX_ASSIGN(const Handle input, visit(node.inputs[0], context));
    const std::uint64_t window = std::uint64_t{node.kernelH} * node.kernelW;
    if (input.scale.divisor > (std::uint64_t{1} << 20) / window) {
      return unsupported("Node " + quoted(node.name) +
                         ": the pooling windows in front of it multiply to more than 2^20.");
    }
    // Both factors are bounded: no overflow.
    m_totals->poolAdditions += node.out.size() * window;
    if (m_totals->poolAdditions > kMaxPoolAdditions) {
      return Error{ErrorCode::Exhausted, "The network's poolings take more than " +
                                             std::to_string(kMaxPoolAdditions) +
                                             " additions, at node " + quoted(node.name) +
                                             ". Use smaller windows or larger strides."};
    }
    const auto twos = static_cast<std::uint32_t>(std::countr_zero(window));
    PILLARBOX_ASSIGN(Handle handle, append(windowOp(node, OpKind::SumPool), {reference(input)}));
    handle.scale.bits = input.scale.bits + twos;
    handle.scale.divisor = input.scale.divisor * (window >> twos);
    handle.weighted = input.weighted;
    handle.weightedName = input.weightedName;
    return handle;
  }

  Result<Handle> visitAdd(const FloatNode& node, std::uint32_t context) {
    std::vector<Handle> terms;
    std::vector<Division> divisions;
    std::uint32_t bits = 0;
    for (std::uint32_t input : node.inputs) {
      PILLARBOX_ASSIGN(Handle term, visit(input, context));
      const Division division = divisionBy(term.scale.divisor, m_options.weightBits);
      bits = std::max(bits, term.scale.bits + division.bits);
      terms.push_back(std::move(term));
      divisions.push_back(division);
    }
    LinearOp op;
    op.kind = OpKind::Combine;
    op.name = node.name;
    op.in = node.in;
    op.out = node.out;
    std::vector<Reference> inputs;
    Handle result;
    for (std::size_t i = 0; i < terms.size(); ++i) {
      const std::uint32_t shift = bits - terms[i].scale.bits - divisions[i].bits;
      if (shift > 30 || (divisions[i].multiplier << shift) > Limits::kMaxMultiplier) {
        return unsupported("Node " + quoted(node.name) +
                           ": the scales of its terms are too far apart.");
      }
      op.multipliers.push_back(divisions[i].multiplier << shift);
      inputs.push_back(reference(terms[i]));
      if (terms[i].weighted) {
        result.weighted = true;
        result.weightedName = terms[i].weightedName;
      }
    }
    PILLARBOX_ASSIGN(Handle handle, append(std::move(op), std::move(inputs)));
    handle.scale.bits = bits;
    handle.weighted = result.weighted;
    handle.weightedName = result.weightedName;
    return handle;
  }

  /// Clears z's divisor and, in a stage without weights, gives z the scale that truncation needs.
  Status finish(Handle z, const std::string& name) {
    const Division division = divisionBy(z.scale.divisor, m_options.weightBits);
    std::int64_t multiplier = division.multiplier;
    std::uint32_t bits = z.scale.bits + division.bits;
    // An activation of activations or of pooled activations: weights of 1, so to say.
    const std::uint32_t wanted = m_options.precisionBits + m_options.weightBits;
    if (bits < wanted) {
      multiplier <<= wanted - bits;
      bits = wanted;
    }
    if (multiplier != 1 || z.isActivation) {
      LinearOp op;
      op.kind = OpKind::Combine;
      op.name = name;
      op.in = z.isActivation ? m_graph.shape(valueOfActivation(z.index)) : m_ops[z.index].out;
      op.out = op.in;
      op.multipliers.push_back(multiplier);
      PILLARBOX_ASSIGN(const Handle scaled, append(std::move(op), {reference(z)}));
      static_cast<void>(scaled);
    }
    m_zBits = bits;
    return {};
  }

  std::uint32_t valueOfActivation(std::uint32_t number) const {
    for (std::size_t value = 0; value < m_activationOf.size(); ++value) {
      if (m_activationOf[value] == static_cast<std::int64_t>(number)) {
        return static_cast<std::uint32_t>(value);
      }
    }
    throw std::logic_error("unknown activation number");
  }

  void renumber(Stage* stage) const {
    for (const auto& references : m_references) {
      for (const Reference& r : references) {
        if (r.isActivation) stage->inputs.push_back(r.index);
      }
    }
    std::sort(stage->inputs.begin(), stage->inputs.end());
    stage->inputs.erase(std::unique(stage->inputs.begin(), stage->inputs.end()),
                        stage->inputs.end());
    const auto inputCount = static_cast<std::uint32_t>(stage->inputs.size());
    for (std::size_t i = 0; i < stage->ops.size(); ++i) {
      for (const Reference& r : m_references[i]) {
        if (r.isActivation) {
          const auto place = std::lower_bound(stage->inputs.begin(), stage->inputs.end(), r.index);
          stage->ops[i].inputs.push_back(static_cast<std::uint32_t>(place - stage->inputs.begin()));
        } else {
          stage->ops[i].inputs.push_back(inputCount + r.index);
        }
      }
    }
  }

  /// The real value of every element of `value` when all activations are zero; empty means zero.
  const std::vector<double>& response(std::uint32_t value) {
    if (const auto found = m_responses.find(value); found != m_responses.end()) {
      return found->second;
    }
    std::vector<double> result;
    if (m_activationOf[value] < 0) {
      const FloatNode& node = m_graph.nodes[value - 1];
      const std::size_t area = std::size_t{node.out.height} * node.out.width;
      switch (node.kind) {
        case NodeKind::Convolution:
        case NodeKind::FullyConnected:
          // Its input holds no constant: nothing that has one may come before weights.
          result.resize(node.out.size());
          for (std::size_t c = 0; c < node.out.channels; ++c) {
            std::fill_n(result.begin() + static_cast<std::ptrdiff_t>(c * area), area, node.bias[c]);
          }
          break;
        case NodeKind::Affine: {
          result = response(node.inputs[0]);
          result.resize(node.out.size(), 0.0);
          for (std::size_t i = 0; i < result.size(); ++i) {
            result[i] = result[i] * node.scale[i / area] + node.bias[i / area];
          }
          break;
        }
        case NodeKind::AveragePool:
          result = pooled(node, response(node.inputs[0]));
          break;
        case NodeKind::Add:
          for (std::uint32_t input : node.inputs) {
            const std::vector<double>& term = response(input);
            if (term.empty()) continue;
            result.resize(term.size(), 0.0);
            for (std::size_t i = 0; i < term.size(); ++i) result[i] += term[i];
          }
          break;
        case NodeKind::Polynomial:
        case NodeKind::Relu:
          break;
      }
    }
    return m_responses.emplace(value, std::move(result)).first->second;
  }

  static std::vector<double> pooled(const FloatNode& node, const std::vector<double>& in) {
    if (in.empty()) return {};
    std::vector<double> out(node.out.size(), 0.0);
    const double window = static_cast<double>(node.kernelH) * node.kernelW;
    std::size_t at = 0;
    for (std::uint32_t c = 0; c < node.out.channels; ++c) {
      const double* plane = in.data() + std::size_t{c} * node.in.height * node.in.width;
      for (std::uint32_t y = 0; y < node.out.height; ++y) {
        for (std::uint32_t x = 0; x < node.out.width; ++x, ++at) {
          const std::int64_t top = std::int64_t{y} * node.strideH - node.padTop;
          const std::int64_t left = std::int64_t{x} * node.strideW - node.padLeft;
          const auto yEnd = std::min<std::int64_t>(top + node.kernelH, node.in.height);
          const auto xEnd = std::min<std::int64_t>(left + node.kernelW, node.in.width);
          double sum = 0.0;
          for (std::int64_t v = std::max<std::int64_t>(top, 0); v < yEnd; ++v) {
            for (std::int64_t u = std::max<std::int64_t>(left, 0); u < xEnd; ++u) {
              sum += plane[v * node.in.width + u];
            }
          }
          out[at] = sum / window;
        }
      }
    }
    return out;
  }

  Status addBias(std::uint32_t value, const std::string& name) {
    const Shape& shape = m_graph.shape(value);
    const std::vector<double>& real = response(value);
    if (real.empty()) {
      m_weights->bias.emplace_back(shape.channels, 0);
      return {};
    }
    std::vector<std::int64_t> bias(real.size());
    for (std::size_t i = 0; i < real.size(); ++i) {
      const double scaled = std::nearbyint(std::ldexp(real[i], static_cast<int>(m_zBits)));
      if (!(std::abs(scaled) < 0x1p60)) {
        return Error{ErrorCode::Format, "Node " + quoted(name) + ": a bias of " +
                                            std::to_string(real[i]) + " is too large."};
      }
      bias[i] = static_cast<std::int64_t>(scaled);
    }
    const std::size_t area = std::size_t{shape.height} * shape.width;
    bool perChannel = true;
    for (std::size_t i = 0; i < bias.size() && perChannel; ++i) {
      perChannel = bias[i] == bias[i / area * area];
    }
    if (perChannel) {
      for (std::size_t c = 0; c < shape.channels; ++c) bias[c] = bias[c * area];
      bias.resize(shape.channels);
    }
    m_weights->bias.push_back(std::move(bias));
    return {};
  }

  const FloatGraph& m_graph;
  const QuantiseOptions& m_options;
  const std::vector<std::int64_t>& m_activationOf;
  Totals* m_totals;
  ModelWeights* m_weights;
  std::vector<LinearOp> m_ops;
  std::vector<std::vector<Reference>> m_references;  ///< by op
  std::map<std::pair<std::uint32_t, std::uint32_t>, Handle> m_handles;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> m_contexts;
  std::vector<std::vector<double>> m_scaleFactors;  ///< by context; 0 is "no scale"
  std::vector<std::string> m_contextNames;          ///< by context - 1
  std::map<std::uint32_t, std::vector<double>> m_responses;
  std::size_t m_visits = 0;
  std::uint32_t m_zBits = 0;
};

/// Which values the output depends on.
std::vector<bool> neededValues(const FloatGraph& graph) {
  std::vector<bool> needed(graph.nodes.size() + 1, false);
  needed[graph.output] = true;
  for (std::size_t value = graph.nodes.size(); value > 0; --value) {
    if (!needed[value]) continue;
    for (std::uint32_t input : graph.nodes[value - 1].inputs) needed[input] = true;
  }
  return needed;
}

}  // namespace

Result<QuantisedNetwork> quantise(const FloatGraph& graph, const QuantiseOptions& options) {
  if (graph.output > graph.nodes.size()) throw std::logic_error("graph without its output");
  const std::vector<bool> needed = neededValues(graph);
  if (!needed[0]) return unsupported("The network's output does not depend on its input.");
  if (graph.output == 0 || graph.nodes[graph.output - 1].kind == NodeKind::Polynomial) {
    return unsupported("The network ends with an activation" +
                       (graph.output == 0
                            ? std::string(" or is empty")
                            : " (node " + quoted(graph.nodes[graph.output - 1].name) + ")") +
                       "; its output must be the logits of a linear layer.");
  }
  QuantisedNetwork network;
  network.precisionBits = options.precisionBits;
  network.outputBits = options.outputBits;
  std::vector<std::int64_t> activationOf(graph.nodes.size() + 1, -1);
  activationOf[0] = 0;
  Totals totals;
  const auto addStage = [&](std::uint32_t z, const std::string& name,
                            std::uint32_t targetBits) -> Status {
    if (network.stages.size() >= Limits::kMaxStages) {
      return Error{ErrorCode::Exhausted, "The network has more than " +
                                             std::to_string(Limits::kMaxStages) +
                                             " activations, at node " + quoted(name) + "."};
    }
    StageBuilder builder(graph, options, activationOf, &totals, &network.weights);
    PILLARBOX_ASSIGN(Stage stage, builder.build(z, name, targetBits));
    network.stages.push_back(std::move(stage));
    return {};
  };
  for (std::uint32_t value = 1; value <= graph.nodes.size(); ++value) {
    const FloatNode& node = graph.nodes[value - 1];
    if (!needed[value] || node.kind != NodeKind::Polynomial) continue;
    PILLARBOX_TRY(addStage(node.inputs[0], node.name, options.precisionBits));
    network.stages.back().activation = node.polynomial;
    activationOf[value] = static_cast<std::int64_t>(network.stages.size());
  }
  PILLARBOX_TRY(addStage(graph.output, graph.nodes[graph.output - 1].name, options.outputBits));
  return network;
}

}  // namespace pillarbox::models

// Plaintext evaluation, in floats and in exact integers; see oracle.h.
//
// The integer convolution runs in double precision where that is exact: a sum of products of
// integers is exact in doubles as long as sum |w| * max |y| < 2^53, which is checked for every op
// and input; otherwise a plain 64-bit loop takes over. Doubles because every vector unit multiplies
// them. Four output channels and four neighbouring outputs are accumulated in registers; inputs are
// copied once into padded rows with the columns of each stride phase side by side, so that all
// loads are contiguous.
#include "models/oracle.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "engine/core/int128.h"

namespace pillarbox::models {

namespace {

using Integers = std::vector<std::int64_t>;

constexpr std::size_t kLanes = 4;     ///< outputs side by side
constexpr std::size_t kChannels = 4;  ///< output channels at once
using Vector __attribute__((vector_size(kLanes * sizeof(double)))) = double;

std::int64_t wrappingAdd(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}

std::int64_t wrappingMultiply(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
}

std::int64_t plus(std::int64_t a, std::int64_t b) {
  return wrappingAdd(a, b);
}
double plus(double a, double b) {
  return a + b;
}

double largestMagnitude(const Integers& values) {
  std::int64_t low = 0;
  std::int64_t high = 0;
  for (std::int64_t v : values) {
    low = std::min(low, v);
    high = std::max(high, v);
  }
  return std::max(-static_cast<double>(low), static_cast<double>(high));
}

/// The part of a window that lies inside the input, for output `at` along one axis.
struct Overlap {
  std::uint32_t first = 0;  ///< kernel positions [first, last)
  std::uint32_t last = 0;
  std::int64_t origin = 0;  ///< input coordinate of kernel position 0, may be negative
};

Overlap overlap(std::uint32_t at, std::uint32_t stride, std::uint32_t pad, std::uint32_t kernel,
                std::uint32_t size) {
  Overlap result;
  result.origin = std::int64_t{at} * stride - pad;
  result.first = static_cast<std::uint32_t>(std::max<std::int64_t>(0, -result.origin));
  result.last = static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(std::int64_t{size} - result.origin, result.first, kernel));
  return result;
}

/// Sums windows; T is double (exact reals) or std::int64_t.
template <typename T, typename Op>
std::vector<T> sumPool(const Op& op, const std::vector<T>& in) {
  std::vector<T> out(op.out.size());
  std::size_t index = 0;
  for (std::uint32_t c = 0; c < op.out.channels; ++c) {
    const T* plane = in.data() + std::size_t{c} * op.in.height * op.in.width;
    for (std::uint32_t y = 0; y < op.out.height; ++y) {
      const Overlap rows = overlap(y, op.strideH, op.padTop, op.kernelH, op.in.height);
      for (std::uint32_t x = 0; x < op.out.width; ++x) {
        const Overlap columns = overlap(x, op.strideW, op.padLeft, op.kernelW, op.in.width);
        T sum{};
        for (std::uint32_t v = rows.first; v < rows.last; ++v) {
          const T* row = plane + (rows.origin + v) * op.in.width + columns.origin;
          for (std::uint32_t u = columns.first; u < columns.last; ++u) sum = plus(sum, row[u]);
        }
        out[index++] = sum;
      }
    }
  }
  return out;
}

/// Plain convolution; `multiplyAdd(sum, weight, value)` says how.
template <typename T, typename W, typename Op, typename MultiplyAdd>
void convolvePlainly(const Op& op, const W* weights, const std::vector<T>& in, std::vector<T>* out,
                     MultiplyAdd multiplyAdd) {
  const std::size_t area = std::size_t{op.out.height} * op.out.width;
  const std::size_t kernel = std::size_t{op.kernelH} * op.kernelW;
  for (std::uint32_t o = 0; o < op.out.channels; ++o) {
    T* target = out->data() + o * area;
    for (std::uint32_t i = 0; i < op.in.channels; ++i) {
      const T* plane = in.data() + std::size_t{i} * op.in.height * op.in.width;
      const W* w = weights + (std::size_t{o} * op.in.channels + i) * kernel;
      for (std::uint32_t y = 0; y < op.out.height; ++y) {
        const Overlap rows = overlap(y, op.strideH, op.padTop, op.kernelH, op.in.height);
        for (std::uint32_t v = rows.first; v < rows.last; ++v) {
          const T* row = plane + (rows.origin + v) * op.in.width;
          for (std::uint32_t u = 0; u < op.kernelW; ++u) {
            // Outputs whose column x * stride + u - pad lies inside the input.
            const std::int64_t shift = std::int64_t{u} - op.padLeft;
            const std::int64_t low =
                shift >= 0 ? 0 : (-shift + op.strideW - 1) / std::int64_t{op.strideW};
            const std::int64_t high = std::min<std::int64_t>(
                op.out.width,
                (std::int64_t{op.in.width} - shift + op.strideW - 1) / std::int64_t{op.strideW});
            const W factor = w[v * op.kernelW + u];
            T* line = target + std::size_t{y} * op.out.width;
            for (std::int64_t x = low; x < high; ++x) {
              line[x] = multiplyAdd(line[x], factor, row[x * op.strideW + shift]);
            }
          }
        }
      }
    }
  }
}

/// An op's weights, arranged for the fast loop.
struct PackedWeights {
  /// Convolution: [block][in][kernelH][kernelW][kChannels], zeros beyond the last channel.
  std::vector<double> values;
  double largestRow = 0;  ///< greatest sum of magnitudes of an output's weights
};

PackedWeights pack(const LinearOp& op, const std::vector<std::int32_t>& weights) {
  PackedWeights packed;
  const std::size_t row = weights.size() / op.out.channels;
  for (std::size_t o = 0; o < op.out.channels; ++o) {
    double sum = 0;
    for (std::size_t i = 0; i < row; ++i) {
      sum += std::abs(static_cast<double>(weights[o * row + i]));
    }
    packed.largestRow = std::max(packed.largestRow, sum);
  }
  if (op.kind != OpKind::Convolution) return packed;
  const std::size_t blocks = (op.out.channels + kChannels - 1) / kChannels;
  packed.values.assign(blocks * row * kChannels, 0.0);
  for (std::size_t o = 0; o < op.out.channels; ++o) {
    double* block = packed.values.data() + o / kChannels * row * kChannels;
    for (std::size_t i = 0; i < row; ++i) {
      block[i * kChannels + o % kChannels] = static_cast<double>(weights[o * row + i]);
    }
  }
  return packed;
}

/// Exact as long as every sum of products stays below 2^53 in magnitude.
Integers convolveInDoubles(const LinearOp& op, const PackedWeights& weights, const Integers& in) {
  const std::size_t outWidth = (op.out.width + kLanes - 1) / kLanes * kLanes;
  const std::size_t phases = op.strideW;
  const std::size_t run = outWidth + (op.kernelW - 1) / op.strideW;  // columns of one phase
  const std::size_t rowSize = phases * run;
  const std::size_t paddedHeight = std::size_t{op.in.height} + op.padTop + op.padBottom;
  const std::size_t planeSize = paddedHeight * rowSize;
  std::vector<double> padded(op.in.channels * planeSize, 0.0);
  for (std::size_t c = 0; c < op.in.channels; ++c) {
    for (std::size_t y = 0; y < op.in.height; ++y) {
      const std::int64_t* source = in.data() + (c * op.in.height + y) * op.in.width;
      double* target = padded.data() + c * planeSize + (y + op.padTop) * rowSize;
      for (std::size_t x = 0; x < op.in.width; ++x) {
        const std::size_t column = x + op.padLeft;
        if (column / phases >= run) continue;  // right of every window
        target[column % phases * run + column / phases] = static_cast<double>(source[x]);
      }
    }
  }
  // Where the value for kernel column u starts within a row.
  std::vector<std::size_t> offsets(op.kernelW);
  for (std::size_t u = 0; u < op.kernelW; ++u) offsets[u] = u % phases * run + u / phases;

  Integers out(op.out.size());
  const std::size_t blockSize = std::size_t{op.in.channels} * op.kernelH * op.kernelW * kChannels;
  const std::size_t area = std::size_t{op.out.height} * op.out.width;
  for (std::size_t first = 0; first < op.out.channels; first += kChannels) {
    const double* block = weights.values.data() + first / kChannels * blockSize;
    for (std::size_t y = 0; y < op.out.height; ++y) {
      for (std::size_t x = 0; x < op.out.width; x += kLanes) {
        Vector sums[kChannels] = {};
        const double* w = block;
        for (std::size_t c = 0; c < op.in.channels; ++c) {
          const double* row = padded.data() + c * planeSize + y * op.strideH * rowSize + x;
          for (std::size_t v = 0; v < op.kernelH; ++v, row += rowSize) {
            for (std::size_t u = 0; u < op.kernelW; ++u, w += kChannels) {
              Vector value;
              std::memcpy(&value, row + offsets[u], sizeof value);
              for (std::size_t k = 0; k < kChannels; ++k) sums[k] += value * w[k];
            }
          }
        }
        const std::size_t channels = std::min<std::size_t>(kChannels, op.out.channels - first);
        const std::size_t lanes = std::min<std::size_t>(kLanes, op.out.width - x);
        for (std::size_t k = 0; k < channels; ++k) {
          std::int64_t* target = out.data() + (first + k) * area + y * op.out.width + x;
          for (std::size_t lane = 0; lane < lanes; ++lane) {
            target[lane] = static_cast<std::int64_t>(sums[k][lane]);
          }
        }
      }
    }
  }
  return out;
}

Integers multiplyInDoubles(const LinearOp& op, const std::vector<std::int32_t>& weights,
                           const Integers& in) {
  const std::vector<double> values(in.begin(), in.end());
  Integers out(op.out.size());
  for (std::size_t o = 0; o < out.size(); ++o) {
    const std::int32_t* row = weights.data() + o * values.size();
    Vector sums = {};
    std::size_t i = 0;
    for (; i + kLanes <= values.size(); i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        sums[lane] += static_cast<double>(row[i + lane]) * values[i + lane];
      }
    }
    double sum = 0;
    for (std::size_t lane = 0; lane < kLanes; ++lane) sum += sums[lane];
    for (; i < values.size(); ++i) sum += static_cast<double>(row[i]) * values[i];
    out[o] = static_cast<std::int64_t>(sum);
  }
  return out;
}

Integers applyWeights(const LinearOp& op, const std::vector<std::int32_t>& weights,
                      const PackedWeights& packed, const Integers& in) {
  const bool exactInDoubles = packed.largestRow * largestMagnitude(in) < 0x1p53;
  if (op.kind == OpKind::Convolution) {
    if (exactInDoubles) return convolveInDoubles(op, packed, in);
    Integers out(op.out.size(), 0);
    convolvePlainly(op, weights.data(), in, &out,
                    [](std::int64_t sum, std::int32_t w, std::int64_t v) {
                      return wrappingAdd(sum, wrappingMultiply(w, v));
                    });
    return out;
  }
  if (exactInDoubles) return multiplyInDoubles(op, weights, in);
  Integers out(op.out.size(), 0);
  for (std::size_t o = 0; o < out.size(); ++o) {
    for (std::size_t i = 0; i < in.size(); ++i) {
      out[o] = wrappingAdd(out[o], wrappingMultiply(weights[o * in.size() + i], in[i]));
    }
  }
  return out;
}

}  // namespace

// --------------------------------------------------------------------------------------- floats

std::vector<double> evaluateFloat(const FloatGraph& graph, std::span<const float> image) {
  if (image.size() != graph.input.size()) throw std::logic_error("image of the wrong size");
  std::vector<std::uint32_t> uses(graph.nodes.size() + 1, 0);
  for (const FloatNode& node : graph.nodes) {
    for (std::uint32_t input : node.inputs) ++uses[input];
  }
  ++uses[graph.output];
  std::vector<std::vector<double>> values(graph.nodes.size() + 1);
  values[0].assign(image.begin(), image.end());
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const FloatNode& node = graph.nodes[n];
    const std::vector<double>& in = values[node.inputs[0]];
    const std::size_t area = std::size_t{node.out.height} * node.out.width;
    std::vector<double> out;
    switch (node.kind) {
      case NodeKind::Convolution:
        out.resize(node.out.size());
        for (std::size_t i = 0; i < out.size(); ++i) out[i] = node.bias[i / area];
        convolvePlainly(node, node.weights.data(), in, &out, [](double sum, float w, double v) {
          return sum + static_cast<double>(w) * v;
        });
        break;
      case NodeKind::FullyConnected:
        out = node.bias;
        for (std::size_t o = 0; o < out.size(); ++o) {
          for (std::size_t i = 0; i < in.size(); ++i) {
            out[o] += static_cast<double>(node.weights[o * in.size() + i]) * in[i];
          }
        }
        break;
      case NodeKind::Affine:
        out = in;
        for (std::size_t i = 0; i < out.size(); ++i) {
          out[i] = out[i] * node.scale[i / area] + node.bias[i / area];
        }
        break;
      case NodeKind::AveragePool: {
        out = sumPool(node, in);
        const double window = static_cast<double>(node.kernelH) * node.kernelW;
        for (double& v : out) v /= window;
        break;
      }
      case NodeKind::Add:
        out = in;
        for (std::size_t i = 1; i < node.inputs.size(); ++i) {
          const std::vector<double>& term = values[node.inputs[i]];
          for (std::size_t k = 0; k < out.size(); ++k) out[k] += term[k];
        }
        break;
      case NodeKind::Relu:
        out = in;
        for (double& v : out) v = std::max(v, 0.0);
        break;
      case NodeKind::Polynomial: {
        const std::vector<std::int64_t>& c = node.polynomial.coefficients;
        const double unit = std::ldexp(1.0, -static_cast<int>(node.polynomial.fractionBits));
        out = in;
        for (double& v : out) {
          double sum = 0;
          for (std::size_t j = c.size(); j-- > 0;) sum = sum * v + static_cast<double>(c[j]) * unit;
          v = sum;
        }
        break;
      }
    }
    values[n + 1] = std::move(out);
    for (std::uint32_t input : node.inputs) {
      if (--uses[input] == 0) values[input] = {};
    }
  }
  return std::move(values[graph.output]);
}

// -------------------------------------------------------------------------------------- integers

std::int64_t evaluatePolynomial(const Polynomial& polynomial, std::int64_t z,
                                std::uint32_t precisionBits) {
  const std::uint32_t degree = polynomial.degree();
  // Horner on values scaled by 2^(f * steps): after all of them the scale is d * f + f_c.
  U128 sum = 0;
  const auto factor = static_cast<U128>(static_cast<I128>(z));
  for (std::uint32_t j = degree + 1; j-- > 0;) {
    const auto c = static_cast<U128>(static_cast<I128>(polynomial.coefficients[j]));
    sum = sum * factor + (c << (precisionBits * (degree - j)));
  }
  const std::uint32_t drop = degree * precisionBits + polynomial.fractionBits - precisionBits;
  return static_cast<std::int64_t>(
      static_cast<std::uint64_t>(static_cast<U128>(static_cast<I128>(sum) >> drop)));
}

struct FixedPointOracle::State {
  PublicModel model;
  ModelWeights weights;
  std::vector<PackedWeights> packed;
  double range = 0;

  Integers linear(const Stage& stage, const std::vector<Integers>& activations) const {
    std::vector<Integers> owned;
    owned.reserve(stage.ops.size());
    std::vector<const Integers*> values;
    for (std::uint32_t input : stage.inputs) values.push_back(&activations[input]);
    for (const LinearOp& op : stage.ops) {
      const Integers& in = *values[op.inputs[0]];
      switch (op.kind) {
        case OpKind::Convolution:
        case OpKind::FullyConnected:
          owned.push_back(
              applyWeights(op, weights.weights[op.weightIndex], packed[op.weightIndex], in));
          break;
        case OpKind::SumPool:
          owned.push_back(sumPool(op, in));
          break;
        case OpKind::Combine: {
          Integers sum(op.out.size(), 0);
          for (std::size_t i = 0; i < op.inputs.size(); ++i) {
            const Integers& term = *values[op.inputs[i]];
            for (std::size_t k = 0; k < sum.size(); ++k) {
              sum[k] = wrappingAdd(sum[k], wrappingMultiply(op.multipliers[i], term[k]));
            }
          }
          owned.push_back(std::move(sum));
          break;
        }
      }
      values.push_back(&owned.back());
    }
    return std::move(owned.back());
  }
};

FixedPointOracle::FixedPointOracle(PublicModel model, ModelWeights weights, double range)
    : m_state(std::make_unique<State>()) {
  m_state->model = std::move(model);
  m_state->weights = std::move(weights);
  m_state->range = range;
  m_state->packed.resize(m_state->weights.weights.size());
  for (const Stage& stage : m_state->model.stages) {
    for (const LinearOp& op : stage.ops) {
      if (!op.hasWeights()) continue;
      m_state->packed.at(op.weightIndex) = pack(op, m_state->weights.weights.at(op.weightIndex));
    }
  }
}

FixedPointOracle::~FixedPointOracle() = default;
FixedPointOracle::FixedPointOracle(FixedPointOracle&&) noexcept = default;
FixedPointOracle& FixedPointOracle::operator=(FixedPointOracle&&) noexcept = default;

std::vector<std::int64_t> FixedPointOracle::toFixed(std::span<const float> image) const {
  std::vector<std::int64_t> fixed(image.size());
  const int bits = static_cast<int>(m_state->model.precisionBits);
  for (std::size_t i = 0; i < image.size(); ++i) {
    fixed[i] = std::llround(std::ldexp(static_cast<double>(image[i]), bits));
  }
  return fixed;
}

FixedPointResult FixedPointOracle::evaluate(std::span<const float> image,
                                            FixedPointTrace* trace) const {
  return evaluateFixed(toFixed(image), trace);
}

FixedPointResult FixedPointOracle::evaluateFixed(std::span<const std::int64_t> image,
                                                 FixedPointTrace* trace) const {
  const PublicModel& model = m_state->model;
  if (image.size() != model.input.size()) throw std::logic_error("image of the wrong size");
  // The last stage that reads each activation, so that memory stays that of the live ones.
  std::vector<std::size_t> lastUse(model.stages.size() + 1, 0);
  for (std::size_t s = 0; s < model.stages.size(); ++s) {
    for (std::uint32_t input : model.stages[s].inputs) lastUse[input] = s;
  }
  FixedPointResult result;
  std::vector<Integers> activations(model.stages.size() + 1);
  activations[0].assign(image.begin(), image.end());
  for (std::size_t s = 0; s < model.stages.size(); ++s) {
    const Stage& stage = model.stages[s];
    Integers z = m_state->linear(stage, activations);
    const std::vector<std::int64_t>& bias = m_state->weights.bias[s];
    const std::size_t perBias = z.size() / bias.size();
    for (std::size_t i = 0; i < z.size(); ++i) z[i] = wrappingAdd(z[i], bias[i / perBias]);
    if (trace != nullptr) trace->z.push_back(z);
    for (std::int64_t& v : z) v >>= stage.truncation;

    StageStatistics statistics;
    const std::uint32_t bits = stage.activation ? model.precisionBits : model.outputBits;
    statistics.largest = std::ldexp(largestMagnitude(z), -static_cast<int>(bits));
    if (stage.activation) {
      const double limit = std::ldexp(m_state->range, static_cast<int>(bits));
      for (std::int64_t& v : z) {
        if (std::abs(static_cast<double>(v)) > limit) ++statistics.outOfRange;
        v = evaluatePolynomial(*stage.activation, v, model.precisionBits);
      }
    }
    result.stages.push_back(statistics);
    if (trace != nullptr) trace->outputs.push_back(z);
    activations[s + 1] = std::move(z);
    for (std::uint32_t input : stage.inputs) {
      if (lastUse[input] == s) activations[input] = {};
    }
  }
  result.logits = std::move(activations.back());
  return result;
}

std::vector<FixedPointResult> FixedPointOracle::evaluateAll(
    std::span<const std::vector<float>> images, unsigned threads) const {
  if (threads == 0) threads = std::max(1u, std::thread::hardware_concurrency());
  threads = static_cast<unsigned>(std::min<std::size_t>(threads, images.size()));
  std::vector<FixedPointResult> results(images.size());
  std::atomic<std::size_t> next{0};
  std::exception_ptr failure;
  std::mutex failureMutex;
  const auto work = [&] {
    for (std::size_t i = next++; i < images.size(); i = next++) {
      try {
        results[i] = evaluate(images[i]);
      } catch (...) {
        const std::lock_guard lock(failureMutex);
        failure = std::current_exception();
        return;
      }
    }
  };
  std::vector<std::jthread> workers;
  for (unsigned t = 1; t < threads; ++t) workers.emplace_back(work);
  work();
  workers.clear();
  if (failure) std::rethrow_exception(failure);
  return results;
}

std::size_t largestIndex(std::span<const std::int64_t> logits) {
  return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

std::size_t largestIndex(std::span<const double> logits) {
  return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace pillarbox::models

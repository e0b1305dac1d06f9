#include "engine/kernels/packed.h"

#include <algorithm>
#include <stdexcept>

#include "engine/kernels/cpu/features.h"
#if defined(__x86_64__)
#include "engine/kernels/cpu/pair_linear.h"
#include "engine/kernels/cpu/tile_linear.h"
#else
namespace pillarbox::kernels::cpu {
class PairWeights {};
class TileWeights {};
}  // namespace pillarbox::kernels::cpu
#endif

namespace pillarbox::kernels {

namespace {

Method fastest(const models::LinearOp& op, std::span<const std::int32_t> weights) {
#if defined(__x86_64__)
  if (cpu::hasAmx() && cpu::fitTiles(op, weights)) return Method::Tiles;
  if (cpu::hasVnni() && cpu::fitPairs(op, weights)) return Method::Vnni;
  if (cpu::hasAvx2() && cpu::fitPairs(op, weights)) return Method::Madd;
#else
  static_cast<void>(op);
  static_cast<void>(weights);
#endif
  return wordMethod();
}

}  // namespace

PackedWeights::PackedWeights(const models::LinearOp& op, std::span<const std::int32_t> weights)
    : PackedWeights(op, weights, fastest(op, weights)) {}

PackedWeights::PackedWeights(const models::LinearOp& op, std::span<const std::int32_t> weights,
                             Method method)
    : m_op(op), m_method(method) {
  if (weights.size() != op.weightCount()) {
    throw std::logic_error("the weights do not fit the operation " + op.name);
  }
#if defined(__x86_64__)
  switch (method) {
    case Method::Tiles:
      // Asking for the tiles is also what makes the system grant them.
      if (!cpu::hasAmx()) throw std::logic_error("this processor has no tiles");
      if (cpu::fitTiles(op, weights)) {
        m_tiles = std::make_unique<cpu::TileWeights>(op, weights);
        m_scratchBytes = m_tiles->scratchBytes();
        return;
      }
      m_method = Method::Avx512;
      break;
    case Method::Vnni:
    case Method::Madd:
      if (cpu::fitPairs(op, weights)) {
        m_pairs = std::make_unique<cpu::PairWeights>(
            op, weights, method == Method::Vnni ? cpu::pairKernelVnni : cpu::pairKernelAvx2);
        m_scratchBytes = m_pairs->scratchBytes();
        return;
      }
      m_method = method == Method::Vnni ? Method::Avx512 : Method::Avx2;
      break;
    default:
      break;
  }
#endif
  m_weights.assign(weights.begin(), weights.end());
}

PackedWeights::~PackedWeights() = default;
PackedWeights::PackedWeights(PackedWeights&&) noexcept = default;
PackedWeights& PackedWeights::operator=(PackedWeights&&) noexcept = default;

void PackedWeights::checkSizes(std::size_t in, std::size_t scratch, std::size_t out) const {
  if (in != m_op.in.size() || out != m_op.out.size() || scratch < m_scratchBytes) {
    throw std::logic_error("tensor sizes do not fit the operation " + m_op.name);
  }
}

std::size_t PackedWeights::inputUnit() const {
#if defined(__x86_64__)
  // Joining the digits' sums costs as much as eight taps, and a few channels have many more.
  if (m_pairs != nullptr) return 16;
#endif
  return m_op.in.channels;
}

std::size_t PackedWeights::outputUnit() const {
#if defined(__x86_64__)
  if (m_pairs != nullptr) return cpu::kPairChannels;
#endif
  return m_op.out.channels;
}

void PackedWeights::applyPart(std::span<const std::uint64_t> in, std::span<std::uint8_t> scratch,
                              const Part& part, std::span<std::uint64_t> out, Team* team) const {
  checkSizes(in.size(), scratch.size(), out.size());
  const auto fits = [](std::size_t first, std::size_t count, std::size_t unit, std::size_t all) {
    const std::size_t end = first + count;
    return first % unit == 0 && end <= all && (end % unit == 0 || end == all);
  };
  if (!fits(part.firstIn, part.ins, inputUnit(), m_op.in.channels) ||
      !fits(part.firstOut, part.outs, outputUnit(), m_op.out.channels)) {
    throw std::logic_error("the operation " + m_op.name + " cannot be taken apart like this");
  }
#if defined(__x86_64__)
  if (m_pairs != nullptr) return m_pairs->apply(in, scratch.data(), part, out, team);
#endif
  apply(in, scratch, out, team);
}

void PackedWeights::apply(std::span<const std::uint64_t> in, std::span<std::uint8_t> scratch,
                          std::span<std::uint64_t> out, Team* team) const {
  checkSizes(in.size(), scratch.size(), out.size());
#if defined(__x86_64__)
  if (m_tiles != nullptr) return m_tiles->apply(in, scratch.data(), out);
  if (m_pairs != nullptr) {
    return m_pairs->apply(in, scratch.data(),
                          {0, m_op.in.channels, 0, m_op.out.channels, false, true}, out, team);
  }
#endif
  const std::span<const std::int32_t> weights = m_weights;
  if (m_op.kind == models::OpKind::Convolution) {
    convolution(m_op, in, weights, out, m_method);
  } else {
    fullyConnected(m_op, in, weights, out);
  }
}

std::span<std::uint8_t> Workspace::bytes(std::size_t count) {
  if (m_bytes.size() < count) m_bytes.resize(count);
  return {m_bytes.data(), count};
}

std::span<std::uint64_t> Workspace::tensor(std::size_t index, std::size_t words) {
  if (m_tensors.size() <= index) m_tensors.resize(index + 1);
  if (m_tensors[index].size() < words) m_tensors[index].resize(words);
  return {m_tensors[index].data(), words};
}

}  // namespace pillarbox::kernels

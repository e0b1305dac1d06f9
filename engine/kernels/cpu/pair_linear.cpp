#include "engine/kernels/cpu/pair_linear.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace pillarbox::kernels::cpu {

namespace {

constexpr std::size_t kDigits = 5;
constexpr unsigned kShift[kDigits] = {0, 11, 22, 32, 48};
constexpr std::size_t kExactDigits = 3;
constexpr std::int64_t kExactBits = 11;
/// What a thread takes of a shared op at a time, in taps of a block: some 40 microseconds.
constexpr std::size_t kSharedTaps = 600;

/// The digits of a word, as 16 bits each.
struct Digits {
  std::uint32_t digit[kDigits];
  explicit Digits(std::uint64_t word) {
    digit[0] = static_cast<std::uint32_t>(word) & 0x7ff;
    digit[1] = static_cast<std::uint32_t>(word >> 11) & 0x7ff;
    digit[2] = static_cast<std::uint32_t>(word >> 22) & 0x3ff;
    digit[3] = static_cast<std::uint32_t>(word >> 32) & 0xffff;
    // As a signed number digit 3 lacks 2^16 where its top bit is set.
    digit[4] = static_cast<std::uint32_t>((word + (std::uint64_t{1} << 47)) >> 48) & 0xffff;
  }
};

}  // namespace

bool fitPairs(const models::LinearOp& op, std::span<const std::int32_t> weights) {
  const std::uint64_t pixels = std::uint64_t{op.out.height + op.kernelH} * op.strideH *
                               (std::uint64_t{op.out.width} + op.kernelW) * op.strideW;
  return op.kind == models::OpKind::Convolution &&
         pixels < (std::uint64_t{1} << 31) / (op.in.channels / 2 + 1) &&
         std::all_of(weights.begin(), weights.end(),
                     [](std::int32_t w) { return w >= -32767 && w <= 32767; });
}

PairWeights::PairWeights(const models::LinearOp& op, std::span<const std::int32_t> weights,
                         PairKernel kernel)
    : m_op(op), m_kernel(kernel) {
  if (weights.size() != op.weightCount() || !fitPairs(op, weights)) {
    throw std::logic_error("pairs of 16 bits cannot compute " + op.name);
  }
  std::int64_t largest = 1;
  for (const std::int32_t w : weights) largest = std::max<std::int64_t>(largest, std::abs(w));
  const std::int64_t products = ((std::int64_t{1} << 31) - 1) / (largest << kExactBits);
  m_exactTaps = static_cast<std::size_t>(products / 2);  // two products a tap; 15 at least

  const std::size_t sh = m_op.strideH, sw = m_op.strideW, kh = m_op.kernelH, kw = m_op.kernelW;
  m_pairs = (m_op.in.channels + 1) / 2;
  m_rows = m_op.out.height + (kh - 1) / sh;
  m_pitch = m_op.out.width + (kw - 1) / sw;
  m_phases = std::min(sh, kh) * std::min(sw, kw);
  m_planeWords = m_pairs * m_phases * m_rows * m_pitch;

  const std::size_t taps = m_pairs * kh * kw;
  for (std::size_t pair = 0; pair < m_pairs; ++pair) {
    for (std::size_t ky = 0; ky < kh; ++ky) {
      for (std::size_t kx = 0; kx < kw; ++kx) {
        const std::size_t phase = (ky % sh) * std::min(sw, kw) + kx % sw;
        const std::size_t row = (pair * m_phases + phase) * m_rows + ky / sh;
        m_offsets.push_back(static_cast<std::uint32_t>(row * m_pitch + kx / sw));
      }
    }
  }
  const std::size_t blocks = (m_op.out.channels + kPairChannels - 1) / kPairChannels;
  m_packed.assign(blocks * taps * kPairChannels, 0);
  for (std::size_t o = 0; o < m_op.out.channels; ++o) {
    for (std::size_t t = 0; t < taps; ++t) {
      const std::size_t pair = t / (kh * kw), position = t % (kh * kw);
      const auto weight = [&](std::size_t channel) {
        if (channel >= m_op.in.channels) return std::uint32_t{0};
        const std::size_t index = (o * m_op.in.channels + channel) * kh * kw + position;
        return static_cast<std::uint32_t>(weights[index]) & 0xffff;
      };
      m_packed[((o / kPairChannels) * taps + t) * kPairChannels + o % kPairChannels] =
          static_cast<std::int32_t>(weight(2 * pair) | weight(2 * pair + 1) << 16);
    }
  }
}

std::size_t PairWeights::scratchBytes() const {
  return (kDigits * m_planeWords + kPairPositions) * sizeof(std::int32_t);
}

void PairWeights::spread(std::span<const std::uint64_t> in, std::size_t firstPair,
                         std::size_t endPair, std::int32_t* planes) const {
  const std::size_t sh = m_op.strideH, sw = m_op.strideW;
  const std::size_t phasesH = std::min<std::size_t>(sh, m_op.kernelH);
  const std::size_t phasesW = std::min<std::size_t>(sw, m_op.kernelW);
  const std::size_t image = std::size_t{m_op.in.height} * m_op.in.width;
  const std::size_t pairWords = m_phases * m_rows * m_pitch;
  for (std::size_t d = 0; d < kDigits; ++d) {
    std::memset(planes + d * m_planeWords + firstPair * pairWords, 0,
                (endPair - firstPair) * pairWords * sizeof(std::int32_t));
  }
  for (std::size_t pair = firstPair; pair < endPair; ++pair) {
    const bool both = 2 * pair + 1 < m_op.in.channels;
    for (std::size_t py = 0; py < phasesH; ++py) {
      for (std::size_t px = 0; px < phasesW; ++px) {
        const std::size_t phase = (pair * m_phases + py * phasesW + px) * m_rows;
        for (std::size_t row = 0; row < m_rows; ++row) {
          const std::int64_t y = static_cast<std::int64_t>(row * sh + py) - m_op.padTop;
          if (y < 0 || y >= m_op.in.height) continue;
          const std::uint64_t* first =
              in.data() + 2 * pair * image + static_cast<std::size_t>(y) * m_op.in.width;
          std::int32_t* line = planes + (phase + row) * m_pitch;
          for (std::size_t column = 0; column < m_pitch; ++column) {
            const std::int64_t x = static_cast<std::int64_t>(column * sw + px) - m_op.padLeft;
            if (x < 0 || x >= m_op.in.width) continue;
            const Digits a(first[x]), b(both ? first[image + static_cast<std::size_t>(x)] : 0);
            for (std::size_t d = 0; d < kDigits; ++d) {
              line[d * m_planeWords + column] =
                  static_cast<std::int32_t>(a.digit[d] | b.digit[d] << 16);
            }
          }
        }
      }
    }
  }
}

void PairWeights::block(const std::int32_t* planes, const Part& part, std::size_t start,
                        std::size_t first, std::span<std::uint64_t> out) const {
  const std::size_t taps = m_offsets.size();
  const std::size_t window = std::size_t{m_op.kernelH} * m_op.kernelW;
  const std::size_t firstTap = part.firstIn / 2 * window;
  const std::size_t endTap = (part.firstIn + part.ins + 1) / 2 * window;
  const std::size_t width = m_op.out.width, outSize = width * m_op.out.height;
  const std::size_t length = (m_op.out.height - 1) * m_pitch + width;
  alignas(64) std::int32_t acc[kPairChannels][kPairPositions];
  alignas(64) std::uint64_t sums[kPairChannels][kPairPositions];
  const std::int32_t* weights = m_packed.data() + first * taps;
  std::memset(sums, 0, sizeof sums);
  for (std::size_t d = 0; d < kDigits; ++d) {
    const std::size_t step = d < kExactDigits ? m_exactTaps : taps;
    for (std::size_t t = firstTap; t < endTap; t += step) {
      m_kernel(planes + d * m_planeWords + start, m_offsets.data() + t, weights + t * kPairChannels,
               std::min(step, endTap - t), acc);
      for (std::size_t c = 0; c < kPairChannels; ++c) {
        for (std::size_t i = 0; i < kPairPositions; ++i) {
          sums[c][i] += static_cast<std::uint64_t>(std::int64_t{acc[c][i]}) << kShift[d];
        }
      }
    }
  }
  // Copy the values that are outputs; those between the rows are dropped.
  const std::size_t channels = std::min(kPairChannels, part.firstOut + part.outs - first);
  const std::size_t end = std::min(start + kPairPositions, length);
  for (std::size_t i = start; i < end;) {
    const std::size_t row = i / m_pitch, column = i % m_pitch;
    if (column >= width) {
      i = (row + 1) * m_pitch;
      continue;
    }
    const std::size_t run = std::min(end - i, width - column);
    for (std::size_t c = 0; c < channels; ++c) {
      std::uint64_t* place = out.data() + (first + c) * outSize + row * width + column;
      const std::uint64_t* values = sums[c] + (i - start);
      if (part.add) {
        for (std::size_t j = 0; j < run; ++j) place[j] += values[j];
      } else {
        std::memcpy(place, values, run * sizeof(std::uint64_t));
      }
    }
    i += run;
  }
}

void PairWeights::apply(std::span<const std::uint64_t> in, std::uint8_t* scratch, const Part& part,
                        std::span<std::uint64_t> out, Team* team) const {
  if (in.size() != m_op.in.size() || out.size() != m_op.out.size()) {
    throw std::logic_error("tensor sizes do not fit the operation " + m_op.name);
  }
  auto* planes = reinterpret_cast<std::int32_t*>(scratch);
  const std::size_t firstPair = part.firstIn / 2, endPair = (part.firstIn + part.ins + 1) / 2;
  if (part.spread) {
    spread(in, firstPair, endPair, planes);
    std::memset(planes + kDigits * m_planeWords, 0, kPairPositions * sizeof(std::int32_t));
  }
  // Blocks in the order in which a core reads what is in its caches: positions outside, so that
  // their part of the planes stays there.
  const std::size_t length = (m_op.out.height - 1) * m_pitch + m_op.out.width;
  const std::size_t starts = (length + kPairPositions - 1) / kPairPositions;
  const std::size_t blocks = (part.outs + kPairChannels - 1) / kPairChannels;
  const auto compute = [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      block(planes, part, i / blocks * kPairPositions, part.firstOut + i % blocks * kPairChannels,
            out);
    }
  };
  const std::size_t each = kSharedTaps / ((endPair - firstPair) * m_op.kernelH * m_op.kernelW) + 1,
                    all = starts * blocks;
  if (team == nullptr || all <= each) return compute(0, all);
  team->run((all + each - 1) / each,
            [&](std::size_t i) { compute(i * each, std::min(all, (i + 1) * each)); });
}

}  // namespace pillarbox::kernels::cpu

#include "engine/kernels/cuda/weights.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace pillarbox::kernels::cuda {

namespace {

using models::LinearOp;
using models::OpKind;

// A step adds at most 32 * 2 * 255 * 128 to a sum of 32 bits, and a warp of four has a quarter of
// the steps at least.
constexpr std::uint64_t kMaxSteps = 1024 * kWarps;
constexpr std::uint64_t kWorthTiles = std::uint64_t{1} << 20;  // multiply-adds

std::size_t roundUp(std::size_t value, std::size_t unit) {
  return (value + unit - 1) / unit * unit;
}

std::vector<std::byte> packTiles(const LinearOp& op, std::span<const std::int32_t> weights) {
  const std::size_t taps = std::size_t{op.kernelH} * op.kernelW;
  const std::size_t blocks = roundUp(op.in.channels, kStepChannels) / kStepChannels;
  const std::size_t columns = roundUp(op.out.channels, kTileChannels);
  // [8 output channels][tap][32 input channels][lane][digit][8 input channels]
  std::vector<std::byte> packed(columns * taps * blocks * kStepChannels * 2);
  for (std::size_t o = 0; o < op.out.channels; ++o) {
    for (std::size_t c = 0; c < op.in.channels; ++c) {
      for (std::size_t tap = 0; tap < taps; ++tap) {
        const std::int32_t weight = weights[(o * op.in.channels + c) * taps + tap];
        const auto low = static_cast<std::int8_t>(weight & 255);
        const auto high = static_cast<std::int8_t>((weight - low) / 256);
        const std::size_t step = (o / 8 * taps + tap) * blocks + c / kStepChannels;
        const std::size_t lane = o % 8 * 4 + c % kStepChannels / 8;
        std::byte* const place = packed.data() + (step * 32 + lane) * 16 + c % 8;
        place[0] = static_cast<std::byte>(low);
        place[8] = static_cast<std::byte>(high);
      }
    }
  }
  return packed;
}

/// [8 output channels][input channel][tap][output channel]
std::vector<std::int32_t> packWords(const LinearOp& op, std::span<const std::int32_t> weights) {
  const std::size_t taps = std::size_t{op.in.channels} * op.kernelH * op.kernelW;
  std::vector<std::int32_t> packed(roundUp(op.out.channels, kWordChannels) * taps);
  for (std::size_t o = 0; o < op.out.channels; ++o) {
    for (std::size_t tap = 0; tap < taps; ++tap) {
      packed[(o / kWordChannels * taps + tap) * kWordChannels + o % kWordChannels] =
          weights[o * taps + tap];
    }
  }
  return packed;
}

std::vector<std::byte> bytesOf(std::span<const std::int32_t> words) {
  const auto bytes = std::as_bytes(words);
  return {bytes.begin(), bytes.end()};
}

}  // namespace

std::uint64_t tileSteps(const LinearOp& op) {
  return std::uint64_t{op.kernelH} * op.kernelW *
         (roundUp(op.in.channels, kStepChannels) / kStepChannels);
}

std::size_t planeBytes(const LinearOp& op) {
  return std::size_t{op.in.height} * op.in.width * roundUp(op.in.channels, kStepChannels) * 8;
}

bool fitTiles(const LinearOp& op, std::span<const std::int32_t> weights) {
  return op.kind == OpKind::Convolution && tileSteps(op) <= kMaxSteps &&
         std::all_of(weights.begin(), weights.end(),
                     [](std::int32_t w) { return w >= -128 * 257 && w <= 127 * 257; });
}

Method methodFor(const LinearOp& op, std::span<const std::int32_t> weights) {
  if (op.kind == OpKind::FullyConnected) return Method::Rows;
  const std::uint64_t multiplyAdds = op.weightCount() * op.out.height * op.out.width;
  const bool worth = op.in.channels >= kStepChannels / 2 && multiplyAdds >= kWorthTiles;
  return worth && fitTiles(op, weights) ? Method::Tiles : Method::Words;
}

std::vector<std::byte> pack(const LinearOp& op, std::span<const std::int32_t> weights,
                            Method method) {
  if (weights.size() != op.weightCount() || (method == Method::Tiles && !fitTiles(op, weights)) ||
      (method == Method::Rows) != (op.kind == OpKind::FullyConnected)) {
    throw std::logic_error("the weights do not fit the operation " + op.name);
  }
  switch (method) {
    case Method::Tiles:
      return packTiles(op, weights);
    case Method::Words:
      return bytesOf(packWords(op, weights));
    case Method::Rows:
      break;
  }
  return bytesOf(weights);
}

}  // namespace pillarbox::kernels::cuda

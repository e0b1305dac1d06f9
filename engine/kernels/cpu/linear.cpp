#include "engine/kernels/linear.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "engine/core/secure_vector.h"
#include "engine/kernels/cpu/features.h"
#include "engine/kernels/cpu/row_kernel.h"

namespace pillarbox::kernels {

namespace cpu {

RowKernel rowKernel(Method method) {
  switch (method) {
#if defined(__x86_64__)
    case Method::Avx512:
      return rowKernelAvx512;
    case Method::Avx2:
      return rowKernelAvx2;
#endif
    default:
      return rowKernelPortable;
  }
}

}  // namespace cpu

const char* methodName(Method method) {
  switch (method) {
    case Method::Tiles:
      return "amx";
    case Method::Vnni:
      return "vnni";
    case Method::Madd:
      return "avx2-madd";
    case Method::Avx512:
      return "avx512";
    case Method::Avx2:
      return "avx2";
    case Method::Portable:
      return "portable";
  }
  return "unknown";
}

std::vector<Method> availableMethods() {
  std::vector<Method> methods;
  if (cpu::hasAmx()) methods.push_back(Method::Tiles);
  if (cpu::hasVnni()) methods.push_back(Method::Vnni);
  if (cpu::hasAvx2()) methods.push_back(Method::Madd);
  if (cpu::hasAvx512()) methods.push_back(Method::Avx512);
  if (cpu::hasAvx2()) methods.push_back(Method::Avx2);
  methods.push_back(Method::Portable);
  return methods;
}

Method wordMethod() {
  static const Method kMethod = cpu::hasAvx512() ? Method::Avx512
                                : cpu::hasAvx2() ? Method::Avx2
                                                 : Method::Portable;
  return kMethod;
}

namespace {

/// The padded input, split into the phases of the stride: phase (py, px) holds rows py, py +
/// strideH,
/// ... and columns px, px + strideW, ..., each phase `rows` x `pitch` words.
struct PhasedInput {
  std::size_t rows = 0, pitch = 0;    // of one phase of one channel
  std::size_t phases = 0;             // strideH * strideW
  SecureVector<std::uint64_t> words;  // [channel][phase][rows][pitch], then slack

  PhasedInput(const models::LinearOp& op, std::span<const std::uint64_t> in) {
    const std::size_t sh = op.strideH, sw = op.strideW;
    rows = op.out.height + (op.kernelH - 1) / sh;
    pitch = op.out.width + (op.kernelW - 1) / sw;
    phases = sh * sw;
    words.resize(op.in.channels * phases * rows * pitch + cpu::kRowBlock);
    std::memset(words.data(), 0, words.size() * sizeof(std::uint64_t));
    for (std::size_t c = 0; c < op.in.channels; ++c) {
      for (std::size_t py = 0; py < sh; ++py) {
        for (std::size_t px = 0; px < sw; ++px) {
          std::uint64_t* phase = words.data() + ((c * phases) + py * sw + px) * rows * pitch;
          for (std::size_t row = 0; row < rows; ++row) {
            const std::int64_t y = static_cast<std::int64_t>(row * sh + py) - op.padTop;
            if (y < 0 || y >= op.in.height) continue;
            const std::uint64_t* source =
                in.data() + (c * op.in.height + static_cast<std::size_t>(y)) * op.in.width;
            for (std::size_t column = 0; column < pitch; ++column) {
              const std::int64_t x = static_cast<std::int64_t>(column * sw + px) - op.padLeft;
              if (x >= 0 && x < op.in.width) {
                phase[row * pitch + column] = source[static_cast<std::size_t>(x)];
              }
            }
          }
        }
      }
    }
  }
};

void checkSizes(const models::LinearOp& op, std::size_t in, std::size_t weights, std::size_t out) {
  if (in != op.in.size() || out != op.out.size() || weights != op.weightCount()) {
    throw std::logic_error("tensor sizes do not fit the operation " + op.name);
  }
}

template <typename Weight>
void convolve(const models::LinearOp& op, std::span<const std::uint64_t> in,
              std::span<const Weight> weights, Method method, std::span<std::uint64_t> out) {
  using cpu::kChannelBlock, cpu::kRowBlock;
  checkSizes(op, in.size(), weights.size(), out.size());
  const PhasedInput input(op, in);
  const std::size_t taps = std::size_t{op.in.channels} * op.kernelH * op.kernelW;

  std::vector<std::uint32_t> offsets;
  offsets.reserve(taps);
  const std::size_t phaseSize = input.rows * input.pitch;
  for (std::size_t c = 0; c < op.in.channels; ++c) {
    for (std::size_t ky = 0; ky < op.kernelH; ++ky) {
      for (std::size_t kx = 0; kx < op.kernelW; ++kx) {
        const std::size_t phase = (ky % op.strideH) * op.strideW + kx % op.strideW;
        offsets.push_back(static_cast<std::uint32_t>((c * input.phases + phase) * phaseSize +
                                                     (ky / op.strideH) * input.pitch +
                                                     kx / op.strideW));
      }
    }
  }

  const cpu::RowKernel kernel = cpu::rowKernel(method);
  const std::size_t length = (op.out.height - 1) * input.pitch + op.out.width;
  SecureVector<std::uint64_t> packed(taps * kChannelBlock);
  alignas(64) std::uint64_t acc[kChannelBlock][kRowBlock];
  for (std::size_t first = 0; first < op.out.channels; first += kChannelBlock) {
    const std::size_t channels = std::min<std::size_t>(kChannelBlock, op.out.channels - first);
    for (std::size_t t = 0; t < taps; ++t) {
      for (std::size_t c = 0; c < kChannelBlock; ++c) {
        packed[t * kChannelBlock + c] =
            c < channels ? static_cast<std::uint64_t>(
                               static_cast<std::int64_t>(weights[(first + c) * taps + t]))
                         : 0;
      }
    }
    for (std::size_t start = 0; start < length; start += kRowBlock) {
      kernel(input.words.data() + start, offsets.data(), packed.data(), taps, acc);
      // Copy the values that are outputs; those between the rows are dropped.
      const std::size_t end = std::min(start + kRowBlock, length);
      for (std::size_t i = start; i < end;) {
        const std::size_t row = i / input.pitch, column = i % input.pitch;
        if (column >= op.out.width) {
          i = (row + 1) * input.pitch;
          continue;
        }
        const std::size_t run = std::min(end - i, op.out.width - column);
        for (std::size_t c = 0; c < channels; ++c) {
          std::memcpy(out.data() + ((first + c) * op.out.height + row) * op.out.width + column,
                      acc[c] + (i - start), run * sizeof(std::uint64_t));
        }
        i += run;
      }
    }
  }
}

template <typename Weight>
[[gnu::always_inline]] inline std::uint64_t dotLoop(const Weight* weights, const std::uint64_t* in,
                                                    std::size_t count) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    sum += static_cast<std::uint64_t>(static_cast<std::int64_t>(weights[i])) * in[i];
  }
  return sum;
}

template <typename Weight>
std::uint64_t dot(const Weight* weights, const std::uint64_t* in, std::size_t count) {
  return dotLoop(weights, in, count);
}

#if defined(__x86_64__)
template <typename Weight>
__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl"))) std::uint64_t dotAvx512(
    const Weight* weights, const std::uint64_t* in, std::size_t count) {
  return dotLoop(weights, in, count);
}
#endif

template <typename Weight>
void multiply(const models::LinearOp& op, std::span<const std::uint64_t> in,
              std::span<const Weight> weights, std::span<std::uint64_t> out) {
  checkSizes(op, in.size(), weights.size(), out.size());
  auto* product = dot<Weight>;
#if defined(__x86_64__)
  if (cpu::hasAvx512()) product = dotAvx512<Weight>;
#endif
  for (std::size_t o = 0; o < out.size(); ++o) {
    out[o] = product(weights.data() + o * in.size(), in.data(), in.size());
  }
}

}  // namespace

void convolution(const models::LinearOp& op, std::span<const std::uint64_t> in,
                 std::span<const std::int32_t> weights, std::span<std::uint64_t> out,
                 Method method) {
  convolve(op, in, weights, method, out);
}

void convolution(const models::LinearOp& op, std::span<const std::uint64_t> in,
                 std::span<const std::uint64_t> weights, std::span<std::uint64_t> out,
                 Method method) {
  convolve(op, in, weights, method, out);
}

void fullyConnected(const models::LinearOp& op, std::span<const std::uint64_t> in,
                    std::span<const std::int32_t> weights, std::span<std::uint64_t> out) {
  multiply(op, in, weights, out);
}

void fullyConnected(const models::LinearOp& op, std::span<const std::uint64_t> in,
                    std::span<const std::uint64_t> weights, std::span<std::uint64_t> out) {
  multiply(op, in, weights, out);
}

void sumPool(const models::LinearOp& op, std::span<const std::uint64_t> in,
             std::span<std::uint64_t> out, std::size_t firstChannel, std::size_t endChannel) {
  checkSizes(op, in.size(), 0, out.size());
  std::size_t next = firstChannel * op.out.height * op.out.width;
  for (std::size_t c = firstChannel; c < endChannel; ++c) {
    const std::uint64_t* channel = in.data() + c * op.in.height * op.in.width;
    for (std::size_t y = 0; y < op.out.height; ++y) {
      const std::int64_t top = static_cast<std::int64_t>(y * op.strideH) - op.padTop;
      const std::int64_t y0 = std::max<std::int64_t>(top, 0);
      const std::int64_t y1 = std::min<std::int64_t>(top + op.kernelH, op.in.height);
      for (std::size_t x = 0; x < op.out.width; ++x) {
        const std::int64_t left = static_cast<std::int64_t>(x * op.strideW) - op.padLeft;
        const std::int64_t x0 = std::max<std::int64_t>(left, 0);
        const std::int64_t x1 = std::min<std::int64_t>(left + op.kernelW, op.in.width);
        std::uint64_t sum = 0;
        for (std::int64_t iy = y0; iy < y1; ++iy) {
          for (std::int64_t ix = x0; ix < x1; ++ix) sum += channel[iy * op.in.width + ix];
        }
        out[next++] = sum;
      }
    }
  }
}

}  // namespace pillarbox::kernels

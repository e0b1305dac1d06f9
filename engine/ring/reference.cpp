#include "engine/ring/reference.h"

namespace pillarbox::ring::reference {

namespace {

/// The element at (c, y, x), or zero outside the image.
std::uint64_t at(const models::Shape& shape, std::span<const std::uint64_t> tensor, std::uint32_t c,
                 std::int64_t y, std::int64_t x) {
  if (y < 0 || x < 0 || y >= shape.height || x >= shape.width) return 0;
  return tensor[(std::size_t{c} * shape.height + static_cast<std::size_t>(y)) * shape.width +
                static_cast<std::size_t>(x)];
}

}  // namespace

std::vector<std::uint64_t> convolution(const models::LinearOp& op,
                                       std::span<const std::uint64_t> in,
                                       std::span<const std::uint64_t> weights) {
  std::vector<std::uint64_t> out;
  out.reserve(op.out.size());
  for (std::uint32_t o = 0; o < op.out.channels; ++o) {
    for (std::uint32_t y = 0; y < op.out.height; ++y) {
      for (std::uint32_t x = 0; x < op.out.width; ++x) {
        std::uint64_t sum = 0;
        for (std::uint32_t i = 0; i < op.in.channels; ++i) {
          for (std::uint32_t ky = 0; ky < op.kernelH; ++ky) {
            for (std::uint32_t kx = 0; kx < op.kernelW; ++kx) {
              const std::size_t w =
                  ((std::size_t{o} * op.in.channels + i) * op.kernelH + ky) * op.kernelW + kx;
              sum += weights[w] * at(op.in, in, i, std::int64_t{y} * op.strideH + ky - op.padTop,
                                     std::int64_t{x} * op.strideW + kx - op.padLeft);
            }
          }
        }
        out.push_back(sum);
      }
    }
  }
  return out;
}

std::vector<std::uint64_t> fullyConnected(const models::LinearOp& op,
                                          std::span<const std::uint64_t> in,
                                          std::span<const std::uint64_t> weights) {
  std::vector<std::uint64_t> out(op.out.size(), 0);
  for (std::size_t o = 0; o < out.size(); ++o) {
    for (std::size_t i = 0; i < in.size(); ++i) out[o] += weights[o * in.size() + i] * in[i];
  }
  return out;
}

std::vector<std::uint64_t> sumPool(const models::LinearOp& op, std::span<const std::uint64_t> in) {
  std::vector<std::uint64_t> out;
  out.reserve(op.out.size());
  for (std::uint32_t c = 0; c < op.out.channels; ++c) {
    for (std::uint32_t y = 0; y < op.out.height; ++y) {
      for (std::uint32_t x = 0; x < op.out.width; ++x) {
        std::uint64_t sum = 0;
        for (std::uint32_t ky = 0; ky < op.kernelH; ++ky) {
          for (std::uint32_t kx = 0; kx < op.kernelW; ++kx) {
            sum += at(op.in, in, c, std::int64_t{y} * op.strideH + ky - op.padTop,
                      std::int64_t{x} * op.strideW + kx - op.padLeft);
          }
        }
        out.push_back(sum);
      }
    }
  }
  return out;
}

U128 polynomial(const models::Polynomial& polynomial, std::uint32_t f, std::int64_t z) {
  const std::uint32_t degree = polynomial.degree();
  U128 sum = 0;
  U128 power = 1;
  for (std::uint32_t j = 0; j <= degree; ++j) {
    sum +=
        (static_cast<U128>(static_cast<I128>(polynomial.coefficients[j])) << (f * (degree - j))) *
        power;
    power *= static_cast<U128>(static_cast<I128>(z));
  }
  return sum;
}

}  // namespace pillarbox::ring::reference

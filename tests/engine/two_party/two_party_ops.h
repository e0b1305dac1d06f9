// Weighted ops for the tests of the two-party linear phase.
#pragma once

#include <array>
#include <cstdint>

#include "models/description.h"

namespace pillarbox::testing {

/// @param pad  top, left, bottom, right
inline models::LinearOp convolution(models::Shape in, std::uint32_t outputs, std::uint32_t kernelH,
                                    std::uint32_t kernelW, std::uint32_t strideH,
                                    std::uint32_t strideW, std::array<std::uint32_t, 4> pad) {
  models::LinearOp op;
  op.kind = models::OpKind::Convolution;
  op.name = "convolution";
  op.in = in;
  op.kernelH = kernelH;
  op.kernelW = kernelW;
  op.strideH = strideH;
  op.strideW = strideW;
  op.padTop = pad[0];
  op.padLeft = pad[1];
  op.padBottom = pad[2];
  op.padRight = pad[3];
  op.out = {outputs, (in.height + pad[0] + pad[2] - kernelH) / strideH + 1,
            (in.width + pad[1] + pad[3] - kernelW) / strideW + 1};
  return op;
}

inline models::LinearOp fullyConnected(models::Shape in, std::uint32_t outputs) {
  models::LinearOp op;
  op.kind = models::OpKind::FullyConnected;
  op.name = "dense";
  op.in = in;
  op.out = {outputs, 1, 1};
  return op;
}

}  // namespace pillarbox::testing

// Weights as the device's linear kernels read them, and which kernel is for which op.
//
//   Tiles  tensor cores, on bytes: weights of two signed digits, w = w_0 + 2^8 w_1
//   Words  64-bit multiply-adds, one thread for eight output channels at a position
//   Rows   matrix times vector, a warp for each output
//
// See linear.cuh for what they do. Not yet measured: the choice below follows from counting.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/kernels/cuda/ring_table.h"
#include "models/description.h"

namespace pillarbox::kernels::cuda {

enum class Method : std::uint8_t { Tiles, Words, Rows };

/// Steps of the sum that a convolution by tiles takes: taps times blocks of input channels.
std::uint64_t tileSteps(const models::LinearOp& op);

/// Whether tiles can compute a convolution: weights from -32896 to 32639, and so few steps that no
/// sum of bytes leaves 32 bits.
bool fitTiles(const models::LinearOp& op, std::span<const std::int32_t> weights);

/// The method for an op: Rows for fully connected ones; Tiles where they fit, at least half of a
/// step's channels are used, and the work is worth the extra pass over the input.
Method methodFor(const models::LinearOp& op, std::span<const std::int32_t> weights);

/// The weights in a method's order.
std::vector<std::byte> pack(const models::LinearOp& op, std::span<const std::int32_t> weights,
                            Method method);

/// Bytes of the planes that Tiles reads instead of the input.
std::size_t planeBytes(const models::LinearOp& op);

}  // namespace pillarbox::kernels::cuda

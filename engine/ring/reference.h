// Slow reference operations on ring tensors: the ground truth that every kernel is tested against.
// Written to be read, one output element at a time, with bounds checks instead of padding.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/ring/fixed_point.h"
#include "models/description.h"

namespace pillarbox::ring::reference {

/// out[o, y, x] = sum over i, ky, kx of weights[o, i, ky, kx] * in[i, y*stride + ky - pad, ...]
/// mod 2^64, zeros outside. Weights are ring elements (negative ones in two's complement).
std::vector<std::uint64_t> convolution(const models::LinearOp& op,
                                       std::span<const std::uint64_t> in,
                                       std::span<const std::uint64_t> weights);

/// out[o] = sum over i of weights[o, i] * in[i] mod 2^64.
std::vector<std::uint64_t> fullyConnected(const models::LinearOp& op,
                                          std::span<const std::uint64_t> in,
                                          std::span<const std::uint64_t> weights);

/// Sum over each window, zeros outside, mod 2^64.
std::vector<std::uint64_t> sumPool(const models::LinearOp& op, std::span<const std::uint64_t> in);

/// p(z) * 2^(d*f + f_c) over the integers mod 2^128, for z with f fraction bits:
/// sum_j C_j * 2^(f*(d-j)) * z^j.
U128 polynomial(const models::Polynomial& polynomial, std::uint32_t f, std::int64_t z);

}  // namespace pillarbox::ring::reference

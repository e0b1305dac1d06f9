// Linear kernels on Z_2^64 tensors: what the engine does to ŷ with its weights, and what dealer and
// client do to r with 64-bit masked weights. One interface; cpu/ (and later cuda/) behind it.
//
// Source of the convolution's layout: a padded image whose rows lie one after the other turns a
// stride-1 convolution into kernelH * kernelW shifted multiply-adds over one long row, at the price
// of computing a few values between the rows that are dropped. A stride becomes several such images
// (its phases), each sampled at every stride-th row and column.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/description.h"

namespace pillarbox::kernels {

/// How an op with weights is computed. All give the same words.
enum class Method {
  Tiles,     ///< AMX tiles on byte planes (cpu/tile_linear.h); small weights only
  Vnni,      ///< AVX-512 VNNI on pairs of digits (cpu/pair_linear.h); convolutions, 16-bit weights
  Madd,      ///< the same with AVX2's vpmaddwd
  Avx512,    ///< 64-bit products, eight at a time
  Avx2,      ///< 64-bit products from 32-bit ones, four at a time
  Portable,  ///< plain C++
};
const char* methodName(Method method);

/// A part of an op with weights: some input channels' contribution to some output channels.
struct Part {
  std::size_t firstIn = 0, ins = 0;
  std::size_t firstOut = 0, outs = 0;
  bool add = false;    ///< to what the output holds; else overwrite
  bool spread = true;  ///< false: the scratch is as the last call left it, for the same inputs
};

/// Those that this processor runs, the usually fastest first.
std::vector<Method> availableMethods();

/// The fastest available one for 64-bit weights: Avx512, Avx2 or Portable.
Method wordMethod();

/// Convolution mod 2^64. @param in op.in.size() words, @param out op.out.size() words, overwritten,
/// @param weights [outC][inC][kernelH][kernelW]: small integers, or full ring elements
/// @param method  Avx512, Avx2 or Portable
/// Cost: op.out.size() * inC * kernelH * kernelW multiply-adds; a scratch copy of the padded input.
void convolution(const models::LinearOp& op, std::span<const std::uint64_t> in,
                 std::span<const std::int32_t> weights, std::span<std::uint64_t> out,
                 Method method = wordMethod());
void convolution(const models::LinearOp& op, std::span<const std::uint64_t> in,
                 std::span<const std::uint64_t> weights, std::span<std::uint64_t> out,
                 Method method = wordMethod());

/// Matrix product mod 2^64, weights [out][in].
void fullyConnected(const models::LinearOp& op, std::span<const std::uint64_t> in,
                    std::span<const std::int32_t> weights, std::span<std::uint64_t> out);
void fullyConnected(const models::LinearOp& op, std::span<const std::uint64_t> in,
                    std::span<const std::uint64_t> weights, std::span<std::uint64_t> out);

/// Window sums mod 2^64, of the channels [firstChannel, endChannel) of the whole tensors.
void sumPool(const models::LinearOp& op, std::span<const std::uint64_t> in,
             std::span<std::uint64_t> out, std::size_t firstChannel, std::size_t endChannel);

}  // namespace pillarbox::kernels

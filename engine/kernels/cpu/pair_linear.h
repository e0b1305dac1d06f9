// Convolution of 64-bit words with small weights on 16-bit multiply-adds: for
// processors without tiles (AVX-512 VNNI, AVX2).
//
// The arithmetic. A word is cut into five digits of 11, 11, 10, 16 and 16 bits,
//
//   x = x_0 + 2^11 x_1 + 2^22 x_2 + 2^32 x_3 + 2^48 x_4,
//
// so that a product with a weight of up to 16 signed bits is a 16 x 16 bit one. The instruction
// multiplies two such pairs and adds both products to a 32-bit sum; here a pair is two neighbouring
// input channels. The sums of x_3 and x_4 are only wanted mod 2^32 (their shift is 32 or more) and
// may wrap; these two digits may be read as signed, if what x_3 then lacks is carried to x_4. The
// sums of x_0..x_2 must be exact: with |w| < 2^12 they hold 256 taps of 11 bits, then they are
// added to 64-bit sums and start again. Five products instead of the 64-bit product's ten partial
// ones.
//
// The layout. As in linear.cpp: a padded image whose rows lie one after the other, in phases of the
// stride, so that a tap is a shift; one such image for each digit and pair of channels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/core/secure_vector.h"
#include "engine/kernels/linear.h"
#include "engine/kernels/team.h"
#include "models/description.h"

namespace pillarbox::kernels::cpu {

/// Positions and output channels computed together by a pair kernel, whatever the vectors' length.
inline constexpr std::size_t kPairPositions = 32;
inline constexpr std::size_t kPairChannels = 8;

/// acc[c][i] = sum over t < taps of the two products of the 16-bit halves of base[offsets[t] + i]
/// with those of weights[t * kPairChannels + c], mod 2^32.
using PairKernel = void (*)(const std::int32_t* base, const std::uint32_t* offsets,
                            const std::int32_t* weights, std::size_t taps,
                            std::int32_t (*acc)[kPairPositions]);
#if defined(__x86_64__)
void pairKernelAvx2(const std::int32_t*, const std::uint32_t*, const std::int32_t*, std::size_t,
                    std::int32_t (*)[kPairPositions]);
void pairKernelVnni(const std::int32_t*, const std::uint32_t*, const std::int32_t*, std::size_t,
                    std::int32_t (*)[kPairPositions]);
#endif

/// Whether pairs can compute an op: a convolution with weights of 16 bits, -2^15 excluded.
bool fitPairs(const models::LinearOp& op, std::span<const std::int32_t> weights);

/// Weights of one convolution, packed in pairs.
class PairWeights {
 public:
  /// @param weights  as TileWeights. Throws std::logic_error where fitPairs() says no.
  PairWeights(const models::LinearOp& op, std::span<const std::int32_t> weights, PairKernel kernel);
  std::size_t scratchBytes() const;
  /// A part of the op, see PackedWeights::applyPart. Input channels begin at a multiple of two and
  /// end there or at the last; output channels likewise with kPairChannels.
  void apply(std::span<const std::uint64_t> in, std::uint8_t* scratch, const Part& part,
             std::span<std::uint64_t> out, Team* team = nullptr) const;

 private:
  void spread(std::span<const std::uint64_t> in, std::size_t firstPair, std::size_t endPair,
              std::int32_t* planes) const;
  /// Output channels from `first` on, kPairChannels of them, at kPairPositions positions from
  /// `start` on.
  void block(const std::int32_t* planes, const Part& part, std::size_t start, std::size_t first,
             std::span<std::uint64_t> out) const;

  models::LinearOp m_op;
  PairKernel m_kernel;
  std::size_t m_pairs = 0;                            ///< of input channels
  std::size_t m_rows = 0, m_pitch = 0, m_phases = 0;  ///< of an image of one pair and digit
  std::size_t m_planeWords = 0;                       ///< of one digit
  std::size_t m_exactTaps = 0;                        ///< that a sum of x_0..x_2 holds
  std::vector<std::uint32_t> m_offsets;               ///< of the taps in a plane
  std::vector<std::int32_t> m_packed;                 ///< [channel block][tap][kPairChannels]
};

}  // namespace pillarbox::kernels::cpu

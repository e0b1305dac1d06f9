// Convolution and matrix product of 64-bit words with small weights on AMX tiles.
//
// The arithmetic. A word is x = sum_i x_i 2^(8i) with eight unsigned bytes; a weight of up to 16
// bits is w = w_0 + 2^8 w_1 with two *signed* bytes (balanced digits). Then
//
//   x w mod 2^64 = sum_{s<8} 2^(8s) g_s,   g_s = x_s w_0 + x_(s-1) w_1
//
// which is 15 products of bytes: what an AMX tile multiplies, 16 positions x 64 channels x 16
// output channels at a time, summing in 32 bits. One tap adds at most 2 * 255 * 128 = 65280 to a
// |g_s|, so 32768 taps (kMaxTaps) fit; longer sums are cut. Of g_4..g_7 only the low 32 bits
// matter, so they join in 32-bit arithmetic; g_0..g_3 in 64 bits. Weights beyond 16 bits have four
// digits and are treated as w = low + 2^16 high, two such passes over the same bytes.
//
// The layout. The input's bytes are spread into planes, [64 channels][plane][row][column][channel]:
// the 16 positions of a tile are then 16 equidistant rows of up to 64 contiguous bytes, at an
// address that moves with the tap. No matrix of patches is built. Two forms:
//
//   direct    the padded image; a tile is 16 neighbours in one output row. With fewer than 64
//             channels a tap is a whole row of the window, kernelW * channels contiguous bytes.
//   expanded  for narrow images: one copy of the image for each kernel column, already shifted and
//             sampled at the stride, so that all output positions lie one after the other and a
//             tile may run over the end of a row. kernelW times the bytes, no wasted positions.
//
// The image is processed in strips of output rows whose planes stay in the second-level cache.
// Weights are packed once, in the order in which the tiles are loaded.
//
// A matrix-vector product turns the roles around: the eight planes of the vector are the rows of
// one tile, and each of the two digits has its own sum; then the weights stream through once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/core/secure_vector.h"
#include "models/description.h"

namespace pillarbox::kernels::cpu {

/// Whether tiles can compute an op: windows up to 512 positions, weights that four balanced
/// base-256 digits hold (up to 127 * (1 + 2^8 + 2^16 + 2^24) = 2139062143).
bool fitTiles(const models::LinearOp& op, std::span<const std::int32_t> weights);

/// Up to 64 input channels of a packed convolution: their planes and their taps.
struct ChannelBlock {
  std::size_t firstChannel = 0, channels = 0;
  std::size_t width = 0;         ///< bytes of one channel vector: channels rounded up to 4
  std::size_t cell = 0;          ///< bytes from one position to the next
  std::size_t rowStride = 0;     ///< bytes between the rows of a tile
  std::size_t columnStride = 0;  ///< expanded: from one kernel column's copy to the next
  std::size_t rowBytes = 0;      ///< of one row of positions
  std::size_t planeStride = 0;
  std::size_t offset = 0;         ///< of plane 0 in the scratch
  std::vector<std::size_t> taps;  ///< offsets in a plane, one for each tile of 64 bytes
};

/// Weights of one convolution or fully connected layer, packed for tiles.
class TileWeights {
 public:
  /// @param weights  [outC][inC][kernelH][kernelW] (or [out][in]). Throws std::logic_error
  /// where fitTiles() says no.
  TileWeights(const models::LinearOp& op, std::span<const std::int32_t> weights);

  /// Bytes of scratch that apply() needs.
  std::size_t scratchBytes() const { return m_scratchBytes; }

  /// out = the op applied to `in`, mod 2^64. Needs hasAmx().
  /// @param scratch  scratchBytes() bytes, 64-byte aligned; contents don't matter
  void apply(std::span<const std::uint64_t> in, std::uint8_t* scratch,
             std::span<std::uint64_t> out) const;

 private:
  /// Blocks whose sums fit 32 bits together.
  struct Segment {
    std::size_t firstBlock = 0, blocks = 0;
    std::size_t firstTile = 0;  ///< along the sum
  };

  void planConvolution();
  void planVector();
  void pack(std::span<const std::int32_t> weights);
  void spread(std::span<const std::uint64_t> in, std::size_t firstRow, std::size_t rows,
              std::uint8_t* scratch) const;
  void applyConvolution(std::span<const std::uint64_t> in, std::uint8_t* scratch,
                        std::span<std::uint64_t> out) const;
  void applyVector(std::span<const std::uint64_t> in, std::uint8_t* scratch,
                   std::span<std::uint64_t> out) const;

  models::LinearOp m_op;
  bool m_vector = false;
  bool m_expanded = false;
  std::size_t m_parts = 1;      ///< 1: weights of 16 bits; 2: of 32
  std::size_t m_columns = 0;    ///< positions in a row of the planes
  std::size_t m_phases = 1;     ///< expanded: row phases of the stride that are used
  std::size_t m_phaseRows = 0;  ///< expanded: rows of one phase in a strip
  std::size_t m_stripRows = 0;  ///< output rows of a strip
  std::size_t m_depth = 0;      ///< tiles along the sum
  std::size_t m_outBlocks = 0;  ///< 16 output channels each
  std::size_t m_scratchBytes = 0;
  std::vector<ChannelBlock> m_blocks;
  std::vector<Segment> m_segments;
  std::vector<std::int8_t, SecureAllocator<std::int8_t>>
      m_packed;  // [part][outBlock][depth][digit][1 KiB]
};

}  // namespace pillarbox::kernels::cpu

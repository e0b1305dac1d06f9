// Where the elements of a weighted op's tensors lie in polynomials: the planner of the two-party
// linear phase. Everything here is public and follows from the op's shape alone, so that client and
// engine derive the same plan; nothing depends on a weight.
//
// The idea (Cheetah's, with the channels interleaved). The product of two polynomials in
// R = Z_2^64[X]/(X^n + 1) computes sums of products; the art is to place a tensor so that the
// wanted sums land on known coefficients.
//
// 1. *Stride away.* A convolution with stride t reads the rows y·t + ky − pad; sorted by their
//    remainder mod t (and the columns likewise) the input becomes t² images a channel, its
//    *phases*, on which the kernel has stride 1. A phase of an input channel that some tap reads is
//    a *virtual channel*; V of them. A fully connected op is a 1x1 convolution of a 1x1 image.
// 2. *Flatten.* Row y, column x of such an image lies at position y·S + x, the row length S just so
//    long that what a kernel reads beyond a row's end falls on positions that hold zero. A tap
//    (dy, dx) then is one offset, dy·S + dx, for all outputs. Output (y, x) has position y·S + x
//    too.
// 3. *Tile.* A tile is a range [first, end) of output positions together with the input positions
//    that it reads, laid modulo P positions (a power of two; the sign of a wrapped one is flipped).
//    P is at most n. All tiles with one P make a *pass*; a plan has one or two of them (what a
//    multiple of a great P would leave nearly empty goes into smaller tiles).
// 4. *Interleave.* g virtual channels (a power of two, g·P <= n) share a ciphertext; m = n / (g·P)
//    outputs share a product:
//        input  of channel c at position p:         X^((p − lo)·m·g + c)
//        weight of channel c, offset o, output j:   X^(−o·m·g − c + j·g)
//        output j at position p:                    X^((p − lo)·m·g + j·g)
//    (lo: the tile's first input position). Two different channels c, c' meet at a remainder
//    c − c' mod g that is not 0, so the coefficients at the multiples of g are sums over the g
//    channels, without a rotation; ciphertexts of further channels are added.
// 5. *Pack.* The other coefficients are worthless. 2^k products (k <= log2 g), each a *leaf* with m
//    outputs, are put into one reply: leaf l is moved by X^(l·g/2^k), after Galois automorphisms
//    have made room for it (linear.h). A reply holds a *block* of m·2^k outputs.
//
// The planner tries every P, g and pair of passes and takes what costs least: times of the parts,
// measured (see the constants in plan.cpp), and bytes at a fixed price. The plan states its bytes
// and its operations exactly.
//
// Sources: Cheetah (eprint 2022/207, coefficient encoding); Chen, Dai, Kim, Song (eprint 2020/015,
// packing); "interleaving" instead of Cheetah's whole images: one leaf then needs log2 g
// automorphisms at most instead of log2 n.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/core/result.h"
#include "engine/he/parameters.h"
#include "models/description.h"

namespace pillarbox::offline::two_party {

/// Most merges in a row, k above: a bound on the error that key switching adds (linear.h).
inline constexpr std::uint32_t kMaxLevels = 10;

/// What a plan must know about ciphertexts.
struct CiphertextSizes {
  std::uint32_t degree = 0;              ///< n, a power of two
  std::uint64_t requestBytes = 0;        ///< a fresh ciphertext on the wire
  std::uint64_t replyFixedBytes = 0;     ///< a reply without its c0 coefficients
  std::vector<std::uint32_t> replyBits;  ///< of the residues of a c0 coefficient
  static CiphertextSizes of(const he::Parameters& parameters);
};

/// A range of output positions, and the input position that lies at index 0.
struct Tile {
  std::int64_t first = 0, end = 0;
  std::int64_t origin = 0;    ///< lo
  std::int64_t inputEnd = 0;  ///< one after the last input position
};

/// The image that a pass works on: a strip of the op's output columns (nearly always all of them)
/// and the input that it reads.
struct Geometry {
  std::int64_t firstColumn = 0, columns = 0;     ///< of the output
  std::int64_t rowLength = 0;                    ///< S
  std::int64_t leftmost = 0, rightmost = 0;      ///< input columns read, relative to firstColumn
  std::int64_t inputFirst = 0, inputLast = 0;    ///< hull of the input's positions
  std::int64_t offsetFirst = 0, offsetLast = 0;  ///< hull of the taps' offsets
};

/// Tiles of one size.
struct Pass {
  Geometry geometry;
  std::uint32_t positions = 0;  ///< P
  std::uint32_t channels = 0;   ///< g
  std::uint32_t outputs = 0;    ///< m
  std::uint32_t levels = 0;     ///< k
  std::uint32_t groups = 0;     ///< ciphertexts a tile in a request: ceil(V / g)
  std::uint32_t leaves = 0;     ///< of all blocks: ceil(output channels / m)
  std::uint32_t blocks = 0;     ///< replies a tile: ceil(leaves / 2^k)
  std::vector<Tile> tiles;

  std::uint32_t leavesOf(std::uint32_t block) const;
};

/// One op's plan. An immutable value; a few kilobytes.
class LinearPlan {
 public:
  /// @param op  Convolution or FullyConnected, from a valid description
  /// Errors: Unsupported if not even one column's taps fit a polynomial, or only more ciphertexts
  /// would do than are reasonable (gigabytes). Cost: well below a second for any valid description.
  static Result<LinearPlan> make(const models::LinearOp& op, const CiphertextSizes& sizes);

  const models::LinearOp& op() const { return m_op; }
  const CiphertextSizes& sizes() const { return m_sizes; }
  const std::vector<Pass>& passes() const { return m_passes; }
  std::uint32_t outputChannels() const { return m_outputChannels; }
  std::uint32_t virtualChannels() const { return static_cast<std::uint32_t>(m_channels.size()); }

  /// Exact costs of one evaluation.
  std::uint64_t requestBytes() const { return m_cost.requests * m_sizes.requestBytes; }
  std::uint64_t replyBytes() const { return m_cost.replyBytes; }
  struct Cost {
    std::uint64_t requests = 0;  ///< ciphertexts, client to engine
    std::uint64_t replies = 0;   ///< ciphertexts, engine to client
    std::uint64_t replyBytes = 0;
    std::uint64_t transforms = 0;  ///< weight polynomials
    std::uint64_t products = 0;    ///< ciphertext times weight polynomial
    std::uint64_t keySwitches = 0;
    std::uint32_t levels = 0;  ///< the most that a pass has
  };
  const Cost& cost() const { return m_cost; }

  /// The polynomial that a tile's request ciphertext number `group` encrypts.
  /// @param input  op.in.size() words; @param polynomial  n words, overwritten
  void gather(const Pass& pass, const Tile& tile, std::uint32_t group,
              std::span<const std::uint64_t> input, std::span<std::uint64_t> polynomial) const;

  /// Coefficient `index` of a leaf's weight polynomial is weights[leaf * weightsPerLeaf() +
  /// source], times −1 if `negative`, and 0 where the weights have no such element (the last leaf
  /// may have fewer outputs). Structural: the same entries whatever the weights are.
  struct WeightEntry {
    std::uint32_t index;
    bool negative;
    std::uint32_t source;
  };
  /// The entries for a group, the same for all leaves, by rising index. An index occurs twice only
  /// where both taps read nothing but padding; either of them may then be taken.
  std::vector<WeightEntry> weightEntries(const Pass& pass, std::uint32_t group) const;
  std::uint64_t weightsPerLeaf(const Pass& pass) const {
    return std::uint64_t{pass.outputs} * m_inputChannels * m_kernelSize;
  }

  /// Coefficient `index` of a reply is output element `element`, times −1 if `negative`.
  struct OutputEntry {
    std::uint32_t index;
    bool negative;
    std::uint32_t element;
  };
  /// The wanted coefficients of a tile's reply for a block, in the order in which they are sent.
  /// Over all passes, tiles and blocks every output element occurs once.
  std::vector<OutputEntry> outputEntries(const Pass& pass, const Tile& tile,
                                         std::uint32_t block) const;
  std::uint64_t outputCount(const Pass& pass, const Tile& tile, std::uint32_t block) const;
  /// Bytes of a reply with so many wanted coefficients.
  std::uint64_t replyBytes(std::uint64_t coefficients) const;

 private:
  struct VirtualChannel {
    std::uint32_t channel, phaseY, phaseX;
  };
  /// One weight of a kernel as a tap of the phase that it reads.
  struct Tap {
    std::uint32_t kernelIndex;
    std::int64_t dy, dx;
  };

  LinearPlan() = default;
  Geometry geometryOf(std::int64_t firstColumn, std::int64_t columns) const;
  std::vector<Tile> cover(const Geometry& geometry, std::int64_t first,
                          std::uint32_t positions) const;
  std::vector<Pass> passesOf(const Geometry& geometry, std::uint32_t positions,
                             std::span<const Tile> tiles) const;
  std::vector<Pass> plan(const Geometry& geometry) const;
  Cost costOf(std::span<const Pass> passes) const;
  double price(const Cost& cost) const;

  models::LinearOp m_op;
  CiphertextSizes m_sizes;
  std::uint32_t m_outputChannels = 0;
  std::int64_t m_outHeight = 1, m_outWidth = 1;
  std::int64_t m_inHeight = 1, m_inWidth = 1;  ///< of the input as this op reads it (1 x 1 if flat)
  std::uint32_t m_strideY = 1, m_strideX = 1;
  std::uint32_t m_kernelSize = 1;
  std::uint32_t m_inputChannels = 0;
  std::vector<VirtualChannel> m_channels;
  std::vector<std::vector<Tap>> m_taps;  ///< by phase number: phaseY * strideX + phaseX
  std::int64_t m_dyFirst = 0, m_dyLast = 0, m_dxFirst = 0, m_dxLast = 0;
  std::vector<Pass> m_passes;
  Cost m_cost;
};

}  // namespace pillarbox::offline::two_party

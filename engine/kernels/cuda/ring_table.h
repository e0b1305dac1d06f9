// The ring kernels of the device: what engine/kernels and engine/protocol do on the processor, with
// the same results word by word.
//
// Every function sends work to a stream and returns null, or a sentence (engine/device/table.h).
// All pointers are addresses on the device. Arguments are copied by the call.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/core/int128.h"
#include "engine/device/table.h"

namespace pillarbox::kernels::cuda {

/// Masked values as they arrive, in seven bytes each, and what the engine adds to them.
struct ArriveArguments {
  const std::byte* packed;   ///< 8-byte aligned, readable up to a multiple of 8 bytes
  const std::uint64_t* own;  ///< added before the signed representative is taken; or null
  std::uint64_t* out;
  std::uint32_t count;
};

/// As kernels::finishShare: share = truncate(share + mask + bias) + opening, then maybe narrow.
struct FinishArguments {
  std::uint64_t* share;
  const std::uint64_t* mask;
  const std::int64_t* bias;
  const std::uint64_t* opening;  ///< or null
  std::uint32_t count;
  std::uint32_t run;  ///< elements that share a bias
  std::uint32_t truncation;
  bool narrow;
};

/// As ring::pack: the low 56 bits of each word.
struct PackArguments {
  const std::uint64_t* words;
  std::byte* packed;  ///< 8-byte aligned, writable up to a multiple of 8 bytes
  std::uint32_t count;
};

struct Window {
  std::uint32_t inHeight, inWidth, outHeight, outWidth;
  std::uint32_t kernelHeight, kernelWidth, strideHeight, strideWidth;
  std::int32_t padTop, padLeft;
};

/// As kernels::sumPool, of all channels.
struct PoolArguments {
  const std::uint64_t* in;
  std::uint64_t* out;
  std::uint32_t channels;
  Window window;
};

/// out = sum of factors[i] * inputs[i], added to what is there if `add`.
struct CombineArguments {
  static constexpr std::uint32_t kMaxInputs = 8;
  const std::uint64_t* inputs[kMaxInputs];
  std::uint64_t factors[kMaxInputs];
  std::uint32_t inputCount;
  bool add;
  std::uint64_t* out;
  std::uint32_t count;
};

// How the linear kernels cut their work, and so how weights are packed.
inline constexpr std::uint32_t kStepChannels = 32;  ///< input channels of a product of tiles
inline constexpr std::uint32_t kTileChannels = 16;  ///< output channels of a warp's tile
inline constexpr std::uint32_t kTilePositions = 16;
inline constexpr std::uint32_t kWordChannels = 8;  ///< output channels of a thread of Words
inline constexpr std::uint32_t kWarps = 4;         ///< of a block, of all linear kernels

/// A convolution with weights packed by engine/kernels/cuda/weights.h.
struct ConvolutionArguments {
  const std::uint64_t* in;
  std::uint64_t* out;   ///< the whole output; only the wanted channels are written
  const void* weights;  ///< as the method packs them
  std::byte* planes;    ///< tiles only: what spread() made of the input
  std::uint32_t inChannels, outChannels;
  std::uint32_t firstOut, outs;  ///< the wanted output channels; firstOut a multiple of 16
  Window window;
};

/// A matrix-vector product, weights [outs][ins].
struct VectorArguments {
  const std::uint64_t* in;
  std::uint64_t* out;
  const std::int32_t* weights;
  std::uint32_t ins, outs;
};

/// The engine's HoneyBadger step: protocol::HoneyBadger::evaluateEngine.
struct PolynomialArguments {
  static constexpr std::uint32_t kMaxDegree = 8;
  const std::uint64_t* opening;
  const U128* coefficients[kMaxDegree];  ///< shares of R_0 .. R_{degree-1}
  std::uint64_t* out;                    ///< may be `opening`
  std::uint32_t count, degree, truncation;
  U128 leading;  ///< C_degree
};

/// Measurements of what the device can do at best (peak.cuh).
struct PeakArguments {
  static constexpr std::uint32_t kTiles = 8;   ///< products of tiles of a warp in a round
  static constexpr std::uint32_t kWords = 16;  ///< multiply-adds of a thread in a round
  std::uint64_t* out;    ///< tiles and words: a word for each of blocks * 32 * kWarps threads
  std::uint32_t blocks;  ///< tiles and words
  std::uint32_t rounds;  ///< tiles and words
  std::uint64_t count;   ///< copy: words of `out`, a multiple of four
};

struct RingTable {
  device::Sentence (*arrive)(device::Stream stream, const ArriveArguments& arguments);
  device::Sentence (*finish)(device::Stream stream, const FinishArguments& arguments);
  device::Sentence (*pack)(device::Stream stream, const PackArguments& arguments);
  device::Sentence (*pool)(device::Stream stream, const PoolArguments& arguments);
  device::Sentence (*combine)(device::Stream stream, const CombineArguments& arguments);
  /// Cuts the input of a convolution by tiles into bytes: fills `planes`.
  device::Sentence (*spread)(device::Stream stream, const ConvolutionArguments& arguments);
  /// Method Tiles, after spread(); Method Words; Method Rows (linear.cuh).
  device::Sentence (*convolveTiles)(device::Stream stream, const ConvolutionArguments& arguments);
  device::Sentence (*convolveWords)(device::Stream stream, const ConvolutionArguments& arguments);
  device::Sentence (*multiplyVector)(device::Stream stream, const VectorArguments& arguments);
  device::Sentence (*polynomial)(device::Stream stream, const PolynomialArguments& arguments);
  /// Products of bytes on the tensor cores, 16 * 8 * 32 a product of tiles; multiply-adds of words
  /// with weights; copies within the device's memory, reading one half and writing the other.
  device::Sentence (*peakTiles)(device::Stream stream, const PeakArguments& arguments);
  device::Sentence (*peakWords)(device::Stream stream, const PeakArguments& arguments);
  device::Sentence (*peakCopy)(device::Stream stream, const PeakArguments& arguments);
};

extern const RingTable kRingTable;

/// Loads the code of the kernels that the table launches. Inside the plugin; throws CudaError.
void loadKernels();

}  // namespace pillarbox::kernels::cuda

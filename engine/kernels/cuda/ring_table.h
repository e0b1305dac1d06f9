// The ring kernels of the device: what engine/kernels and engine/protocol do on the processor, with
// the same results word by word.
//
// Every function sends work to a stream and returns null, or a sentence (engine/device/table.h).
// All pointers are addresses on the device. Arguments are copied by the call.
#pragma once

#include <cstddef>
#include <cstdint>

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

struct RingTable {
  device::Sentence (*arrive)(device::Stream stream, const ArriveArguments& arguments);
  device::Sentence (*finish)(device::Stream stream, const FinishArguments& arguments);
  device::Sentence (*pack)(device::Stream stream, const PackArguments& arguments);
  device::Sentence (*pool)(device::Stream stream, const PoolArguments& arguments);
  device::Sentence (*combine)(device::Stream stream, const CombineArguments& arguments);
};

extern const RingTable kRingTable;

}  // namespace pillarbox::kernels::cuda

// Who does the engine's arithmetic on the ciphertexts of linear layers: the processor or a GPU.
//
// The unit is a pass of an op: requests in, replies out. What is used again stays where the
// arithmetic is done: the weights of an op, a client's keys. Both back ends give the same replies
// byte for byte if they are given the same seeds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/core/result.h"
#include "engine/device/device.h"
#include "engine/device/ledger.h"
#include "engine/offline/two_party/plan.h"
#include "engine/random/random.h"

namespace pillarbox::offline::two_party {

class LinearContext;
struct LinearKeys;

/// One pass in the making.
class PassWork {
 public:
  virtual ~PassWork() = default;
  /// Ciphertext `number` of the pass, tile by tile; from several threads at once, before replies().
  /// Errors: those of he::parseSeededCiphertext.
  virtual Status takeRequest(std::size_t number, std::span<const std::byte> bytes) = 0;
  /// How many blocks replies() takes best at a time.
  virtual std::uint32_t wave() const = 0;
  /// Replies to the next blocks, `first` .. `first` + `blocks` − 1, serialised, block by block and
  /// in a block tile by tile. From one thread.
  /// @param mask     of the whole op
  /// @param secrets  fresh, one for each reply
  /// Errors: Internal (no randomness).
  virtual Result<std::vector<std::vector<std::byte>>> replies(
      std::uint32_t first, std::uint32_t blocks, std::span<const std::uint64_t> mask,
      std::span<const random::Seed> secrets) = 0;
};

/// One op and its weights. Usable from several threads.
class OpWork {
 public:
  virtual ~OpWork() = default;
  /// @param keys     must outlive the result
  /// @param threads  of the processor, at most so many at a time
  virtual std::unique_ptr<PassWork> begin(const Pass& pass, const LinearKeys& keys,
                                          unsigned threads) const = 0;
};

/// A client's keys where a back end wants them.
class KeptKeys {
 public:
  virtual ~KeptKeys() = default;
};

/// All functions of these classes but OpWork::begin and keep() may throw device::DeviceError where
/// there is a device.
class LinearBackend {
 public:
  virtual ~LinearBackend() = default;
  /// @param plan, weights  must outlive the result
  virtual std::shared_ptr<const OpWork> prepare(const LinearPlan& plan,
                                                std::span<const std::int32_t> weights) const = 0;
  /// For LinearKeys::kept; null where the keys are used as they are.
  virtual std::shared_ptr<const KeptKeys> keep(const LinearKeys& keys) const = 0;
};

std::shared_ptr<const LinearBackend> processorBackend(std::shared_ptr<const LinearContext> context);
/// What the device takes at a time, and so how much of its memory. The default is for 16 GB and
/// more: at most about 2 GB for each set in the making, beside its requests (0.4 MB each).
struct DeviceBatches {
  std::size_t ciphertexts = 512;  ///< products of leaves, all tiles together; 0.5 MB each
  std::size_t factors = 2048;     ///< weight polynomials; 0.2 MB each
  std::size_t merges = 256;       ///< 1.5 MB each
  std::size_t replies = 128;      ///< 2 MB each
};

/// A pass that the device cannot begin, mostly for want of memory, is the processor's.
/// @param keptBytes  device memory for weights that are kept transformed, of all ops together;
///                   beside it, the integers are kept
/// @param ledger     written as device::Purpose::Preparation
std::shared_ptr<const LinearBackend> deviceBackend(
    std::shared_ptr<const LinearContext> context, device::DevicePtr device, std::uint64_t keptBytes,
    const DeviceBatches& batches = {},
    std::shared_ptr<device::Ledger> ledger = std::make_shared<device::Ledger>());

}  // namespace pillarbox::offline::two_party

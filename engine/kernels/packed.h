// Linear ops with small plaintext weights, the engine's online work: weights packed once when a
// model is loaded, for the fastest method that this processor has for the op; memory for the
// intermediate values kept by the session, so that an inference allocates nothing here.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/core/secure_vector.h"
#include "engine/kernels/linear.h"
#include "engine/kernels/team.h"
#include "models/description.h"

namespace pillarbox::kernels {

namespace cpu {
class PairWeights;
class TileWeights;
}  // namespace cpu

/// The weights of one convolution or fully connected op, ready to be applied. Immutable.
class PackedWeights {
 public:
  /// Packs for the fastest available method. @param weights  op.weightCount() integers of any size
  PackedWeights(const models::LinearOp& op, std::span<const std::int32_t> weights);
  /// Packs for a certain method, which must be available. Where it cannot compute the op, the
  /// 64-bit products of the same instruction set stand in.
  PackedWeights(const models::LinearOp& op, std::span<const std::int32_t> weights, Method method);
  ~PackedWeights();
  PackedWeights(PackedWeights&&) noexcept;
  PackedWeights& operator=(PackedWeights&&) noexcept;

  /// The method in use.
  Method method() const { return m_method; }
  std::size_t scratchBytes() const { return m_scratchBytes; }

  /// out = the op applied to `in`, mod 2^64, without bias.
  /// @param in, out  the op's tensors, not overlapping
  /// @param scratch  at least scratchBytes(), 64-byte aligned; contents don't matter
  /// @param team     whose helpers may take a share; null: nobody
  void apply(std::span<const std::uint64_t> in, std::span<std::uint8_t> scratch,
             std::span<std::uint64_t> out, Team* team = nullptr) const;

  /// How an op can be taken apart at no great loss: applyPart()'s channels begin at multiples of
  /// these and end there or at the last. As many as there are: not at all (tiles, which are fast
  /// enough to wait, and the word methods, which few ops need).
  std::size_t inputUnit() const;
  std::size_t outputUnit() const;
  /// The contribution of part.ins input channels to part.outs output channels. `in` and `out` are
  /// the whole tensors; nothing else of them is read or written.
  void applyPart(std::span<const std::uint64_t> in, std::span<std::uint8_t> scratch,
                 const Part& part, std::span<std::uint64_t> out, Team* team = nullptr) const;

 private:
  void checkSizes(std::size_t in, std::size_t scratch, std::size_t out) const;

  models::LinearOp m_op;
  Method m_method;
  std::size_t m_scratchBytes = 0;
  std::unique_ptr<cpu::TileWeights> m_tiles;
  std::unique_ptr<cpu::PairWeights> m_pairs;
  std::vector<std::int32_t> m_weights;
};

/// A tensor inside a stage: where it is, and whether an op with weights lies behind it.
struct StageValue {
  std::span<const std::uint64_t> words;
  bool weighted = false;
};

/// Memory that one session reuses from stage to stage; grows to what the largest stage needs.
class Workspace {
 public:
  std::span<std::uint8_t> bytes(std::size_t count);
  /// Intermediate tensor `index` of a stage. Stays valid until the next call with this index.
  std::span<std::uint64_t> tensor(std::size_t index, std::size_t words);
  std::vector<StageValue>& values() { return m_values; }
  /// Who may help to compute; null: nobody. It must outlive the use of this.
  Team* team = nullptr;

 private:
  std::vector<StageValue> m_values;
  SecureVector<std::uint8_t> m_bytes;
  std::vector<SecureVector<std::uint64_t>> m_tensors;
};

}  // namespace pillarbox::kernels

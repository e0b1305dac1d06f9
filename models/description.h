// The public description of a model: everything the client may know, and no weight.
//
// A network is cut into *stages*. A stage is one linear map (any sum of convolutions, fully
// connected layers, poolings and shortcuts over activations that exist already) followed by one
// polynomial activation; the last stage has none. One stage costs one round trip. Activations are
// numbered: 0 is the image, k the output of stage k-1.
//
// Scales. An activation has `precisionBits` (f) fraction bits. Every op has a public scale; a
// stage's output z has f + truncation fraction bits (the last stage: outputBits + truncation), and
// dropping `truncation` bits brings it back to f. Poolings are sums: their division by the window
// size is folded into the weights that follow or, where it is a power of two, into the scale, so
// that no rounding happens inside a stage. Shortcuts are multiplied by public integers that align
// the scales.
//
// The description is what the client receives from an engine; its SHA-256 over serialize() is the
// model's identity on the wire. See models/FORMAT.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/core/result.h"

namespace pillarbox::models {

/// Channels, height, width; tensors are stored in that order, width fastest.
struct Shape {
  std::uint32_t channels = 0;
  std::uint32_t height = 1;
  std::uint32_t width = 1;
  std::uint64_t size() const { return std::uint64_t{channels} * height * width; }
  bool operator==(const Shape&) const = default;
};

/// p(x) = sum_j coefficients[j] / 2^fractionBits * x^j, constant term first.
struct Polynomial {
  std::uint32_t fractionBits = 10;
  std::vector<std::int64_t> coefficients;
  std::uint32_t degree() const { return static_cast<std::uint32_t>(coefficients.size()) - 1; }
  bool operator==(const Polynomial&) const = default;
};

enum class OpKind : std::uint8_t {
  Convolution = 1,     ///< one input; weights [outC][inC][kernelH][kernelW]
  FullyConnected = 2,  ///< one input, read flat; weights [out][in]; output shape {out, 1, 1}
  SumPool = 3,         ///< one input; sums each window (zeros outside)
  Combine = 4,         ///< one or more inputs of one shape: sum_i multipliers[i] * input_i
};

/// One linear op of a stage. Value numbers: 0..inputs-1 are the stage's inputs in order, then the
/// ops' outputs in order.
struct LinearOp {
  OpKind kind = OpKind::Convolution;
  std::string name;  ///< the ONNX node's name, for messages
  std::vector<std::uint32_t> inputs;
  Shape in;  ///< of the first input
  Shape out;
  std::uint32_t kernelH = 1, kernelW = 1;
  std::uint32_t strideH = 1, strideW = 1;
  std::uint32_t padTop = 0, padLeft = 0, padBottom = 0, padRight = 0;
  std::uint32_t weightIndex = 0;  ///< Convolution, FullyConnected: into ModelWeights, in op order
  std::vector<std::int64_t> multipliers;  ///< Combine only
  bool hasWeights() const { return kind == OpKind::Convolution || kind == OpKind::FullyConnected; }
  /// Number of weights (0 for the kinds that have none).
  std::uint64_t weightCount() const;
  bool operator==(const LinearOp&) const = default;
};

/// One round trip. Every path from an input to the last op passes at most one op with weights.
struct Stage {
  std::string name;
  std::vector<std::uint32_t> inputs;     ///< activation numbers, each below this stage's index + 1
  std::vector<LinearOp> ops;             ///< the last one's output is z
  std::uint32_t truncation = 12;         ///< bits to drop from z, at least Limits::kMinTruncation
  std::optional<Polynomial> activation;  ///< absent in the last stage, and only there
  Shape output;
  bool operator==(const Stage&) const = default;
};

struct PublicModel {
  std::string name;
  Shape input;
  std::vector<float> mean, std;      ///< one a channel; pixels scaled to 0..1
  std::uint32_t precisionBits = 12;  ///< f
  std::uint32_t outputBits = 12;     ///< fraction bits of the logits that are revealed
  std::vector<std::string> labels;
  std::vector<Stage> stages;

  std::uint64_t activationCount() const;  ///< values through a polynomial in one inference
  std::uint64_t weightCount() const;
  bool operator==(const PublicModel&) const = default;
};

/// What only the engine has.
struct ModelWeights {
  /// By LinearOp::weightIndex; integers at the op's weight scale.
  std::vector<std::vector<std::int32_t>> weights;
  /// By stage: what z is when all its inputs are zero, at z's scale; one value a channel, or one an
  /// element where it differs inside a channel.
  std::vector<std::vector<std::int64_t>> bias;
};

/// The version that serialize() writes and the only one that parsePublicModel() reads.
inline constexpr std::uint32_t kDescriptionVersion = 1;

/// What validate() allows. They bound what a peer's description can make this program allocate or
/// compute; ResNet-50 at 224 pixels stays below each by a factor of at least four.
struct Limits {
  static constexpr std::size_t kMaxDescriptionBytes = std::size_t{1} << 20;
  static constexpr std::size_t kMaxNameBytes = 256;
  static constexpr std::size_t kMaxLabels = 16384;
  static constexpr std::size_t kMaxStages = 1024;
  static constexpr std::size_t kMaxInputs = 64;  ///< of a stage or of an op
  static constexpr std::size_t kMaxOpsInStage = 256;
  static constexpr std::size_t kMaxOps = 8192;
  static constexpr std::uint32_t kMaxDimension = 16384;
  static constexpr std::uint64_t kMaxTensorElements = std::uint64_t{1} << 24;
  static constexpr std::uint64_t kMaxTotalElements = std::uint64_t{1} << 27;  ///< all ops' outputs
  static constexpr std::uint64_t kMaxWeights = std::uint64_t{1} << 28;
  static constexpr std::uint64_t kMaxMultiplications = std::uint64_t{1} << 38;  ///< an inference
  static constexpr std::int64_t kMaxMultiplier = std::int64_t{1} << 30;
  static constexpr std::uint32_t kMinPrecisionBits = 4;
  static constexpr std::uint32_t kMaxPrecisionBits = 24;
  static constexpr std::uint32_t kMinOutputBits = 4;
  static constexpr std::uint32_t kMinTruncation = 4;  ///< keeps a truncated share below 2^59
  static constexpr std::uint32_t kMaxStageBits = 52;  ///< precisionBits + truncation
  static constexpr std::uint32_t kMaxDegree = 8;
  static constexpr std::uint32_t kMaxCoefficientFractionBits = 32;
  static constexpr std::int64_t kMaxCoefficient = std::int64_t{1} << 40;
  /// degree * precisionBits + fractionBits of the polynomial
  static constexpr std::uint32_t kMaxPolynomialBits = 116;
};

using Sha256 = std::array<std::uint8_t, 32>;

/// Deterministic bytes (Protocol Buffers, models/description.proto).
std::string serialize(const PublicModel& model);

/// Parses and validates untrusted bytes: shapes, scales, limits, numbering, memory an inference
/// would take. Errors: Format (with the place), Version, Exhausted (over a limit).
Result<PublicModel> parsePublicModel(std::span<const std::byte> bytes);

/// Checks every rule above on a description that was built rather than parsed. Errors: Format.
Status validate(const PublicModel& model);

/// Checks that `weights` has the tensors and biases that `model`, itself valid, asks for.
/// Errors: Format.
Status validate(const PublicModel& model, const ModelWeights& weights);

/// The model's identity: SHA-256 of serialize(model).
Sha256 modelHash(const PublicModel& model);

/// Lower-case hexadecimal.
std::string toHex(std::span<const std::uint8_t> bytes);

}  // namespace pillarbox::models

// Reads a model file: ONNX with Pillarbox's metadata. models/FORMAT.md is the specification.
//
// The file is data from a stranger. Nothing in it is executed, no other file is opened on its
// behalf, and what it can make this program allocate is bounded by the file's own size and by
// models::Limits before it is allocated.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "models/loaded_model.h"

namespace pillarbox::models {

inline constexpr std::size_t kMaxModelFileBytes = std::size_t{512} << 20;
/// Everything in the file but the numbers of its tensors.
inline constexpr std::size_t kMaxModelStructureBytes = std::size_t{8} << 20;
/// The value of the metadata key pillarbox.format that this program reads.
inline constexpr int kModelFormat = 1;

/// Reads, checks and quantises a model file.
/// Errors: NotFound, Io, InvalidArgument (not a regular file), Exhausted (over a limit), Format
/// (damaged or contradictory), Version, Unsupported (a network that this program cannot evaluate);
/// each names the node or metadata key and what to do about it.
/// Cost: about 2 s and 1.5 GB for 100 million weights.
Result<LoadedModel> loadOnnx(const std::filesystem::path& path);

/// The same from memory; `origin` (a file's name) begins every message.
Result<LoadedModel> loadOnnx(std::span<const std::byte> bytes, const std::string& origin);

/// A network that is to be trained on, not evaluated privately yet: as PyTorch exports it, without
/// metadata. Beside the operators of model files it may have those that models/FORMAT.md lists
/// under networks to train on. What metadata there is is given.
struct TrainableGraph {
  FloatGraph graph;
  std::vector<std::string> labels;  ///< empty: not in the file
  std::vector<float> mean, std;     ///< the same
};
/// Errors: as loadOnnx.
Result<TrainableGraph> readForTraining(const std::filesystem::path& path);

/// Whether an ONNX file says that it is a model file of ours, well formed or not.
/// Errors: NotFound, Io, InvalidArgument, Exhausted, Format (not an ONNX file).
Result<bool> isModelFile(const std::filesystem::path& path);

}  // namespace pillarbox::models

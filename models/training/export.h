// From a trained (or freshly drawn) network to a model file.
#pragma once

#include <filesystem>

#include "engine/core/result.h"
#include "models/loaded_model.h"
#include "models/training/network.h"
#include "models/training/onnx_writer.h"
#include "models/training/run_folder.h"

namespace pillarbox::training {

/// The bytes of a model file for a network; its batch norms' running statistics are folded in.
/// Errors: those of makeOnnx; Unsupported for a ReLU network.
Result<std::string> exportNetwork(const Network& network, const ModelFacts& facts);

/// Exports the moving average of a run's checkpoint ("last" or "best") and reads the result back
/// with the engine's own reader, so that what is written is known to load. The file's metadata
/// holds a report (models/training/model_report.h).
/// Errors: NotFound, Format, Unsupported, Io.
struct ReportOptions {
  const data::ImageSet* test = nullptr;  ///< for the accuracy in fixed point; left out if null
  std::size_t images = 200;              ///< of them
};
Result<models::LoadedModel> exportRun(const RunFolder& run, const std::string& checkpoint,
                                      const std::filesystem::path& out,
                                      const ReportOptions& report = {});

/// Random images, normalised, with structure at several scales as photographs have: noise alone
/// averages out in every pooling, and a network that is tuned to it overreacts to brightness.
torch::Tensor syntheticImages(std::int64_t count, std::int64_t side);

/// A network with random weights whose activations are in range: weights are drawn, then batch
/// norms see a few batches of such images as in training. For benchmarks and protocol tests.
/// Errors: those of makeArchitecture.
Result<Network> randomNetwork(const std::string& architecture, int classes, std::uint32_t imageSize,
                              std::uint64_t seed);

/// Facts for such a network: labels "class 0", ..., a plain normalisation.
ModelFacts randomFacts(const Network& network, std::uint64_t seed);

}  // namespace pillarbox::training

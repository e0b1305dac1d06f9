// A training run on disk.
//
//   config.json      the settings (models/training/config.h)
//   data.json        classes, normalisation and numbers of images, once the data has been read
//   log.jsonl        one JSON object a line: events as main.cpp lists them
//   last.pt          the newest checkpoint: network, moving average, optimiser, position
//   best.pt          the same of the epoch with the best test accuracy
//   skipped.txt      files that could not be used, with the reason
//
// A checkpoint is written beside its place, flushed to the disk and renamed over the old one: a run
// may be killed at any moment and resumes from a whole file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "engine/core/result.h"
#include "models/data/image_set.h"
#include "models/training/config.h"
#include "models/training/network.h"

namespace pillarbox::training {

/// What export and evaluation need to know of the data.
struct DataFacts {
  std::vector<std::string> classes;
  data::Normalisation normalisation;
  std::uint64_t trainImages = 0;
  std::uint64_t testImages = 0;
};

nlohmann::json toJson(const DataFacts& facts);
/// Throws nlohmann::json::exception for what toJson did not write.
DataFacts dataFactsFromJson(const nlohmann::json& value);

/// Where a run stands. Sums are of the epoch that is under way.
struct TrainingState {
  int epoch = 0;  ///< epochs finished
  std::int64_t stepInEpoch = 0;
  double lossSum = 0;  ///< over images
  double penaltySum = 0;
  std::uint64_t correct = 0;
  std::uint64_t seen = 0;
  double seconds = 0;    ///< of training, all epochs
  double rateScale = 1;  ///< halved at every recovery from a divergence
  double bestAccuracy = 0;
  nlohmann::json evaluation;  ///< of the last finished epoch (see toJson(Evaluation))
};

/// Everything that a checkpoint holds; modules are written to and read in place.
struct CheckpointParts {
  Network network{nullptr};
  Network average{nullptr};
  torch::optim::Optimizer* optimizer = nullptr;  ///< null: not read
  TrainingState state;
};

class RunFolder {
 public:
  /// Makes a new run. Errors: Refused (the folder has a run already), Io.
  static Result<RunFolder> create(const std::filesystem::path& path, const TrainingConfig& config);
  /// Opens an existing one. Errors: NotFound, Format.
  static Result<RunFolder> open(const std::filesystem::path& path);
  /// For a process that follows another one's lead (models/training/group.h):
  /// settings only, there is nothing on disk and nothing may be read or
  /// written.
  static RunFolder follower(const TrainingConfig& config) { return RunFolder({}, config); }

  const std::filesystem::path& path() const { return m_path; }
  const TrainingConfig& config() const { return m_config; }

  /// Changes the length of the run, and with it the schedule of what is left.
  /// Errors: InvalidArgument, Io.
  Status setEpochs(int epochs);

  Status saveData(const DataFacts& facts, const std::vector<data::SkippedFile>& skipped);
  Result<DataFacts> loadData() const;

  /// Adds a line to log.jsonl. Errors: Io.
  Status log(const nlohmann::json& event) const;

  bool hasCheckpoint(const std::string& name) const;
  /// Atomic. `name` is "last" or "best". Errors: Io.
  Status saveCheckpoint(const std::string& name, const CheckpointParts& parts) const;
  /// Errors: NotFound, Format (damaged, or of another network).
  Status loadCheckpoint(const std::string& name, CheckpointParts& parts) const;

  /// A checkpoint's bytes, for processes that cannot read the folder. Errors:
  /// NotFound, Io.
  Result<std::string> readCheckpoint(const std::string& name) const;
  /// Errors: Format; `origin` begins the message.
  static Status parseCheckpoint(const std::string& bytes, const std::string& origin,
                                CheckpointParts& parts);

 private:
  RunFolder(std::filesystem::path path, TrainingConfig config)
      : m_path(std::move(path)), m_config(std::move(config)) {}
  std::filesystem::path m_path;
  TrainingConfig m_config;
};

/// Writes a whole file beside its place, flushes it and renames it. Errors: Io.
Status writeFileAtomically(const std::filesystem::path& path, const std::string& bytes);

}  // namespace pillarbox::training

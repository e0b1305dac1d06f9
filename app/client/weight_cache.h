// Masked weights on disk, so that E = W - A is downloaded once and not once a session.
//
// Files are named by their content hash, mode 0600, checked when they are loaded; one that is
// damaged is deleted and fetched again. E is the weights under a uniform mask and reveals nothing
// by itself, but a dealer's new registration makes a new E, so old files are pruned.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "engine/offline/dealing.h"

namespace pillarbox::client {

class WeightCache {
 public:
  /// What is kept on disk at most; the least recently used files go first.
  static constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 30;

  /// @param directory  created when something is stored; empty: nothing is cached
  explicit WeightCache(std::filesystem::path directory) : m_directory(std::move(directory)) {}

  /// The weights with this hash, or nothing where they are not here or were damaged.
  std::optional<offline::WideWeights> load(const models::PublicModel& model,
                                           const models::Sha256& hash) const;
  /// Errors: Io. The program works without a cache.
  Status store(const offline::WideWeights& weights, const models::Sha256& hash) const;

 private:
  std::filesystem::path file(const models::Sha256& hash) const;
  void prune(std::uint64_t incoming) const;
  std::filesystem::path m_directory;
};

}  // namespace pillarbox::client

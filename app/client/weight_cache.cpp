#include "app/client/weight_cache.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <system_error>
#include <vector>

#include "engine/core/files.h"
#include "engine/offline/content_hash.h"

namespace pillarbox::client {

namespace fs = std::filesystem;

fs::path WeightCache::file(const models::Sha256& hash) const {
  return m_directory / (models::toHex(hash) + ".weights");
}

std::optional<offline::WideWeights> WeightCache::load(const models::PublicModel& model,
                                                      const models::Sha256& hash) const {
  if (m_directory.empty()) return std::nullopt;
  const fs::path path = file(hash);
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return std::nullopt;
  std::ifstream stream(path, std::ios::binary);
  auto weights = offline::WideWeights::fromWords(model, [&](std::span<std::uint64_t> words) {
    stream.read(reinterpret_cast<char*>(words.data()),
                static_cast<std::streamsize>(words.size_bytes()));
    return stream ? Status() : Status(Error{ErrorCode::Format, path.string() + " is too short"});
  });
  if (weights.ok()) {
    const auto found = offline::contentHash(*weights);
    if (found.ok() && *found == hash) {
      fs::last_write_time(path, fs::file_time_type::clock::now(), error);
      return std::move(weights).value();
    }
  }
  fs::remove(path, error);
  return std::nullopt;
}

Status WeightCache::store(const offline::WideWeights& weights, const models::Sha256& hash) const {
  if (m_directory.empty()) return {};
  PILLARBOX_TRY(makePrivateDirectory(m_directory));
  SecureVector<std::uint64_t> words;
  PILLARBOX_TRY(weights.toWords([&words](std::span<const std::uint64_t> piece) -> Status {
    words.insert(words.end(), piece.begin(), piece.end());
    return {};
  }));
  prune(words.size() * sizeof(std::uint64_t));
  return writePrivateFile(file(hash), std::as_bytes(std::span<const std::uint64_t>(words)));
}

void WeightCache::prune(std::uint64_t incoming) const {
  struct Kept {
    fs::path path;
    fs::file_time_type used;
    std::uint64_t bytes;
  };
  std::error_code error;
  std::vector<Kept> files;
  for (fs::directory_iterator it(m_directory, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    if (it->path().extension() != ".weights") continue;
    std::error_code unknown;
    const auto bytes = it->file_size(unknown);
    const auto used = it->last_write_time(unknown);
    if (!unknown) files.push_back({it->path(), used, bytes});
  }
  std::sort(files.begin(), files.end(),
            [](const Kept& a, const Kept& b) { return a.used > b.used; });
  std::uint64_t total = incoming;
  for (const Kept& kept : files) {
    total += kept.bytes;
    if (total > kMaxBytes) fs::remove(kept.path, error);
  }
}

}  // namespace pillarbox::client

// Standard data sets from the internet.
//
// A data set is a .tar.gz file at a known address with a known SHA-256. It is fetched by libcurl
// (HTTPS with the system's certificates; redirects only to HTTPS) into a file beside its place,
// continued there if an earlier attempt was cut off, checked, and unpacked: only the plain files
// that a reader of the set wants, without their folders, so that no name in an archive decides
// where anything is written.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/core/result.h"

namespace pillarbox::data {

struct Download {
  std::string name;     ///< "cifar10", "cifar100"
  std::string url;      ///< https, http (the checksum protects the content) or file
  std::string sha256;   ///< of the archive, 64 lower-case hexadecimal digits
  std::uint64_t bytes;  ///< about, for people; 0 if not known
};

/// The data sets known by name.
const std::vector<Download>& downloadList();

/// Bytes so far and in all (0: not known). Called a few times a second.
using DownloadProgress = std::function<void(std::uint64_t, std::uint64_t)>;

/// Fetches, checks and unpacks into `folder`, which then is what readDataset takes. Nothing is
/// fetched where an archive with the right checksum lies in the folder already; the archive is
/// removed at the end. Setting `*stop` ends it; what was fetched stays for the next attempt.
/// Errors: Unreachable (no internet, no such host, refused; what to do by hand is in the message),
/// Format (wrong checksum, damaged archive), Io, Cancelled.
Status download(const Download& what, const std::filesystem::path& folder,
                const DownloadProgress& progress = {}, const std::atomic<bool>* stop = nullptr);

/// SHA-256 of a file, in hexadecimal. Errors: Io.
Result<std::string> sha256OfFile(const std::filesystem::path& path);

/// Unpacks the .bin and .txt files of a .tar.gz file into `folder`, flat.
/// Errors: Format (damaged, or without such files), Io.
Status unpack(const std::filesystem::path& archive, const std::filesystem::path& folder);

}  // namespace pillarbox::data

// Where training images come from: the CIFAR binary distributions, and images in folders or zips.
//
//   CIFAR-10    a folder with data_batch_*.bin and test_batch.bin (records of 1 + 3072 bytes)
//   CIFAR-100   a folder with train.bin and test.bin (records of 2 + 3072 bytes: coarse, fine)
//   images      a folder or .zip file with split/class/file, or with class/file alone; several may
//               be given and are merged. split is "train" or "training", or else "test", "testing",
//               "val", "valid" or "validation", which all count as test. One leading folder common
//               to all entries is allowed. Where there is no test split, one is made: a fifth of
//               every class, chosen by a hash of the file's name, so that it is the same every
//               time.
//
// JPEG files are decoded by libjpeg-turbo with its accurate integer transform and smooth chroma
// upsampling, which are also what Qt's decoder uses, so that the app feeds a network the pixels it
// was trained on. Other formats go through stb_image. Images of another size than asked for are
// scaled and cropped as the app does it (models/preprocess.h). Files that do not decode are skipped
// with a reason: one bad file never ends a run.
//
// Files are read and decoded on all cores, and the result is kept in a cache, keyed by the names,
// sizes and times of the files, so that the next run starts at once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "engine/core/result.h"
#include "models/data/image_set.h"

namespace pillarbox::data {

/// Pixels of one decoded file: RGB, 8 bits, row after row.
struct DecodedImage {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::vector<std::uint8_t> pixels;
};

/// Largest image that is decoded, in pixels.
inline constexpr std::uint64_t kMaxPixels = std::uint64_t{1} << 26;

/// Decodes JPEG, PNG, BMP, GIF (first frame), PNM or TGA bytes. Transparency is dropped.
/// Errors: Format (with the decoder's reason), Exhausted (over kMaxPixels).
Result<DecodedImage> decodeImage(std::span<const std::byte> bytes);

struct ReadOptions {
  std::uint32_t size = 32;              ///< height and width that images shall have
  bool trainToo = true;                 ///< false reads the test split only
  bool resize = true;                   ///< false skips images of another size
  std::filesystem::path cacheFolder{};  ///< where decoded images are kept; none if empty
  /// Called from time to time, from any thread but never from two at once, with the number of
  /// files decoded so far and in all.
  std::function<void(std::size_t, std::size_t)> progress{};
};

/// Reads and merges everything that `paths` name.
/// Errors: NotFound, Io, Format (nothing usable; a class that only one of the sources has is fine).
Result<Dataset> readDataset(const std::vector<std::filesystem::path>& paths,
                            const ReadOptions& options);

/// $XDG_CACHE_HOME/pillarbox/images, or the same under ~/.cache; empty if there is neither.
std::filesystem::path defaultImageCache();

}  // namespace pillarbox::data

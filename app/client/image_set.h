// Labelled images for `pillarbox-cli evaluate`: a folder or a zip of class/file or
// split/class/file images.
//
// The order is fixed by the names alone: classes in the model's order, files sorted within each,
// and then one of each class in turn, so that the first N of them are balanced for every N.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <QByteArray>

#include "engine/core/result.h"

namespace pillarbox::client {

struct LabelledImage {
  std::string name;         ///< path inside the folder or zip
  std::size_t label = 0;    ///< index into the model's labels
  std::uint64_t entry = 0;  ///< for ImageSet::read
};

class ImageSet {
 public:
  /// @param source  a folder, or a file that is a zip
  /// @param split   which first-level folder to use where the layout has splits
  /// @param labels  the model's; a class folder is named like a label (any case) or like its index
  /// Errors: NotFound, Io; Format where the layout is neither of the two, a class is unknown, or a
  /// limit on entries is exceeded.
  static Result<ImageSet> open(const std::filesystem::path& source, const std::string& split,
                               const std::vector<std::string>& labels);
  ~ImageSet();
  ImageSet(ImageSet&&) noexcept;
  ImageSet& operator=(ImageSet&&) noexcept;

  const std::vector<LabelledImage>& images() const { return m_images; }
  /// The bytes of one image's file. Errors: Io, Exhausted.
  Result<QByteArray> read(const LabelledImage& image) const;

 private:
  struct Archive;
  ImageSet();
  std::filesystem::path m_folder;
  std::unique_ptr<Archive> m_archive;
  std::vector<LabelledImage> m_images;
};

}  // namespace pillarbox::client

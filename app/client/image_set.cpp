#include "app/client/image_set.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>
#include <set>
#include <system_error>

#include <zip.h>

#include "engine/core/files.h"

namespace pillarbox::client {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxImageBytes = std::size_t{512} << 20;
constexpr std::size_t kMaxEntries = 4'000'000;

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

std::vector<std::string> components(const std::string& path) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (begin <= path.size()) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    if (end > begin) parts.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

bool isImageName(const std::string& name) {
  static const std::set<std::string> kExtensions = {
      ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".webp", ".tif", ".tiff"};
  return kExtensions.contains(lower(fs::path(name).extension().string()));
}

struct Entry {
  std::vector<std::string> parts;
  std::string path;
  std::uint64_t number = 0;
};

/// Drops what is no image, and hidden files and folders (also those that macOS puts into zips).
bool isWanted(const std::vector<std::string>& parts) {
  if (parts.empty() || !isImageName(parts.back())) return false;
  return std::none_of(parts.begin(), parts.end(), [](const std::string& part) {
    return part.front() == '.' || part == "__MACOSX";
  });
}

std::string list(const std::set<std::string>& names) {
  std::string text;
  std::size_t count = 0;
  for (const std::string& name : names) {
    if (++count > 12) return text + ", ...";
    text += (text.empty() ? "" : ", ") + name;
  }
  return text;
}

/// The label that a folder's name stands for, or labels.size().
std::size_t labelOf(const std::string& folder, const std::vector<std::string>& labels) {
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (lower(labels[i]) == lower(folder)) return i;
  }
  std::size_t index = 0;
  const auto [end, failure] = std::from_chars(folder.data(), folder.data() + folder.size(), index);
  if (failure == std::errc() && end == folder.data() + folder.size()) {
    return std::min(index, labels.size());
  }
  return labels.size();
}

Result<std::vector<LabelledImage>> arrange(std::vector<Entry> entries, const std::string& source,
                                           const std::string& split,
                                           const std::vector<std::string>& labels) {
  const Error layout{ErrorCode::Format,
                     source + " is not laid out as class/file or split/class/file"};
  if (entries.empty()) return Error{ErrorCode::Format, source + " holds no images"};
  // A single folder around everything, as zips often have, unless it is the only split there is.
  static const std::set<std::string> kSplits = {"train", "training", "test",      "testing",
                                                "val",   "valid",    "validation"};
  while (entries.front().parts.size() > 2 &&
         !kSplits.contains(lower(entries.front().parts.front())) &&
         std::all_of(entries.begin(), entries.end(),
                     [&](const Entry& entry) {
                       return entry.parts.size() == entries.front().parts.size() &&
                              entry.parts.front() == entries.front().parts.front();
                     }) &&
         entries.front().parts.front() != split) {
    for (Entry& entry : entries) entry.parts.erase(entry.parts.begin());
  }
  const std::size_t depth = entries.front().parts.size();
  for (const Entry& entry : entries) {
    if (entry.parts.size() != depth) return layout;
  }
  if (depth == 3) {
    std::set<std::string> splits;
    for (const Entry& entry : entries) splits.insert(entry.parts.front());
    if (!splits.contains(split)) {
      return Error{ErrorCode::NotFound, source + " has no split \"" + split +
                                            "\"; choose one with --split: " + list(splits)};
    }
    std::erase_if(entries, [&](const Entry& entry) { return entry.parts.front() != split; });
  } else if (depth != 2) {
    return layout;
  }
  std::map<std::size_t, std::vector<Entry*>> classes;
  std::set<std::string> unknown;
  for (Entry& entry : entries) {
    const std::string& folder = entry.parts[depth - 2];
    const std::size_t label = labelOf(folder, labels);
    if (label == labels.size()) unknown.insert(folder);
    classes[label].push_back(&entry);
  }
  if (!unknown.empty()) {
    return Error{ErrorCode::Format,
                 source + " has classes that the model does not know: " + list(unknown) +
                     "; it knows " + list(std::set<std::string>(labels.begin(), labels.end()))};
  }
  std::size_t longest = 0;
  for (auto& [label, files] : classes) {
    std::sort(files.begin(), files.end(),
              [](const Entry* a, const Entry* b) { return a->path < b->path; });
    longest = std::max(longest, files.size());
  }
  std::vector<LabelledImage> images;
  images.reserve(entries.size());
  for (std::size_t rank = 0; rank < longest; ++rank) {
    for (const auto& [label, files] : classes) {
      if (rank < files.size()) images.push_back({files[rank]->path, label, files[rank]->number});
    }
  }
  return images;
}

}  // namespace

struct ImageSet::Archive {
  zip_t* zip = nullptr;
  ~Archive() {
    if (zip != nullptr) zip_discard(zip);
  }
};

ImageSet::ImageSet() = default;
ImageSet::~ImageSet() = default;
ImageSet::ImageSet(ImageSet&&) noexcept = default;
ImageSet& ImageSet::operator=(ImageSet&&) noexcept = default;

Result<ImageSet> ImageSet::open(const fs::path& source, const std::string& split,
                                const std::vector<std::string>& labels) {
  ImageSet set;
  std::vector<Entry> entries;
  std::error_code error;
  const auto facts = fs::status(source, error);
  if (!fs::exists(facts)) {
    return Error{ErrorCode::NotFound, "there is no folder or zip " + source.string()};
  }
  const auto add = [&entries](const std::string& path, std::uint64_t number) -> Status {
    auto parts = components(path);
    if (!isWanted(parts)) return {};
    if (entries.size() == kMaxEntries) {
      return Error{ErrorCode::Exhausted,
                   "there are more than " + std::to_string(kMaxEntries) + " images"};
    }
    entries.push_back({std::move(parts), path, number});
    return {};
  };
  if (fs::is_directory(facts)) {
    set.m_folder = source;
    fs::recursive_directory_iterator it(source, error);
    for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
      if (it.depth() > 4) it.disable_recursion_pending();
      std::error_code unknown;
      if (it->is_regular_file(unknown)) {
        PILLARBOX_TRY(add(it->path().lexically_relative(source).generic_string(), 0));
      }
    }
    if (error) {
      return Error{ErrorCode::Io, source.string() + " cannot be listed: " + error.message()};
    }
  } else {
    int code = 0;
    set.m_archive = std::make_unique<Archive>();
    set.m_archive->zip = zip_open(source.c_str(), ZIP_RDONLY, &code);
    if (set.m_archive->zip == nullptr) {
      zip_error_t reason;
      zip_error_init_with_code(&reason, code);
      const std::string text = zip_error_strerror(&reason);
      zip_error_fini(&reason);
      return Error{ErrorCode::Format, source.string() + " is no folder and no zip: " + text};
    }
    const zip_int64_t count = zip_get_num_entries(set.m_archive->zip, 0);
    for (zip_int64_t i = 0; i < count; ++i) {
      const char* name = zip_get_name(set.m_archive->zip, static_cast<zip_uint64_t>(i), 0);
      if (name != nullptr) PILLARBOX_TRY(add(name, static_cast<zip_uint64_t>(i)));
    }
  }
  PILLARBOX_ASSIGN(set.m_images, arrange(std::move(entries), source.string(), split, labels));
  return set;
}

Result<QByteArray> ImageSet::read(const LabelledImage& image) const {
  if (!m_archive) {
    PILLARBOX_ASSIGN(const std::string bytes, readFile(m_folder / image.name, kMaxImageBytes));
    return QByteArray(bytes.data(), static_cast<qsizetype>(bytes.size()));
  }
  const Error unreadable{ErrorCode::Io, image.name + " cannot be read from the zip"};
  zip_stat_t facts;
  if (zip_stat_index(m_archive->zip, image.entry, 0, &facts) != 0 ||
      (facts.valid & ZIP_STAT_SIZE) == 0) {
    return unreadable;
  }
  if (facts.size > kMaxImageBytes) {
    return Error{ErrorCode::Exhausted, image.name + " is too large for an image"};
  }
  const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(
      zip_fopen_index(m_archive->zip, image.entry, 0), &zip_fclose);
  if (!file) return unreadable;
  // Grows with what the entry really yields: a zip's directory can promise anything.
  QByteArray bytes;
  char buffer[65536];
  for (;;) {
    const zip_int64_t count = zip_fread(file.get(), buffer, sizeof buffer);
    if (count < 0 || static_cast<std::size_t>(bytes.size()) > facts.size) return unreadable;
    if (count == 0) return bytes;
    bytes.append(buffer, static_cast<qsizetype>(count));
  }
}

}  // namespace pillarbox::client

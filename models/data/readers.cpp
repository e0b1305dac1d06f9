#include "models/data/readers.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <thread>

#include <turbojpeg.h>
#include <zip.h>

#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_STDIO
#define STBI_NO_JPEG
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_NO_PSD
#define STBI_NO_PIC
#define STBI_MAX_DIMENSIONS 65536
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace pillarbox::data {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 28;

bool isJpeg(std::span<const std::byte> bytes) {
  return bytes.size() > 2 && bytes[0] == std::byte{0xff} && bytes[1] == std::byte{0xd8};
}

Result<DecodedImage> decodeJpeg(std::span<const std::byte> bytes) {
  const std::unique_ptr<void, int (*)(tjhandle)> decoder(tjInitDecompress(), tjDestroy);
  if (!decoder) return Error{ErrorCode::Internal, "the JPEG decoder could not be started"};
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  int width = 0, height = 0, subsampling = 0, colours = 0;
  if (tjDecompressHeader3(decoder.get(), data, bytes.size(), &width, &height, &subsampling,
                          &colours) != 0) {
    return Error{ErrorCode::Format, tjGetErrorStr2(decoder.get())};
  }
  if (static_cast<std::uint64_t>(width) * static_cast<std::uint64_t>(height) > kMaxPixels) {
    return Error{ErrorCode::Exhausted, "the image is larger than 64 megapixels"};
  }
  DecodedImage image{static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height), {}};
  image.pixels.resize(std::size_t{3} * image.width * image.height);
  // A truncated file is a warning to the decoder, which fills the rest with grey; here it is bad.
  if (tjDecompress2(decoder.get(), data, bytes.size(), image.pixels.data(), width, 0, height,
                    TJPF_RGB, TJFLAG_ACCURATEDCT) != 0) {
    return Error{ErrorCode::Format, tjGetErrorStr2(decoder.get())};
  }
  return image;
}

Result<DecodedImage> decodeOther(std::span<const std::byte> bytes) {
  const auto* data = reinterpret_cast<const stbi_uc*>(bytes.data());
  const int length = static_cast<int>(bytes.size());
  int width = 0, height = 0, channels = 0;
  if (stbi_info_from_memory(data, length, &width, &height, &channels) == 0) {
    return Error{ErrorCode::Format, std::string("not an image: ") + stbi_failure_reason()};
  }
  if (static_cast<std::uint64_t>(width) * static_cast<std::uint64_t>(height) > kMaxPixels) {
    return Error{ErrorCode::Exhausted, "the image is larger than 64 megapixels"};
  }
  // Of these raw formats the decoder does not notice the end.
  const bool raw = length > 2 && data[0] == 'P' && (data[1] == '5' || data[1] == '6');
  if (raw && static_cast<std::uint64_t>(length) < std::uint64_t{1} * static_cast<unsigned>(width) *
                                                      static_cast<unsigned>(height) *
                                                      static_cast<unsigned>(channels)) {
    return Error{ErrorCode::Format, "damaged: the file ends early"};
  }
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load_from_memory(data, length, &width, &height, &channels, 3), stbi_image_free);
  if (!pixels) return Error{ErrorCode::Format, std::string("damaged: ") + stbi_failure_reason()};
  DecodedImage image{static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height), {}};
  image.pixels.assign(pixels.get(), pixels.get() + std::size_t{3} * image.width * image.height);
  return image;
}

enum class Split { Train, Test };

// One file of a folder or zip, still encoded.
struct Entry {
  std::string path;  // as shown to people
  Split split;
  std::string className;
  std::vector<std::byte> bytes;
};

// Which split and class a path names; false if it is not split/class/file.
bool classify(const std::string& path, std::string_view root, Split& split, std::string& name) {
  std::string_view rest = path;
  if (!root.empty()) {
    if (!rest.starts_with(root)) return false;
    rest.remove_prefix(root.size());
  }
  const auto first = rest.find('/');
  const auto second = first == std::string_view::npos ? first : rest.find('/', first + 1);
  if (second == std::string_view::npos || second + 1 == rest.size()) return false;
  const std::string_view folder = rest.substr(0, first);
  if (folder == "train") {
    split = Split::Train;
  } else if (folder == "test" || folder == "val" || folder == "valid") {
    split = Split::Test;
  } else {
    return false;
  }
  name = rest.substr(first + 1, second - first - 1);
  return !name.empty() && rest.find('/', second + 1) == std::string_view::npos;
}

// "photos/" when every path begins so and none is itself split/class/file.
std::string commonRoot(const std::vector<std::string>& paths) {
  std::string root;
  for (const std::string& path : paths) {
    const auto slash = path.find('/');
    if (slash == std::string::npos) continue;
    const std::string first = path.substr(0, slash + 1);
    if (first == "train/" || first == "test/" || first == "val/" || first == "valid/") return "";
    if (root.empty()) root = first;
    if (root != first) return "";
  }
  return root;
}

Status readZip(const fs::path& path, const ReadOptions& options, std::vector<Entry>& entries,
               std::vector<SkippedFile>& skipped) {
  int code = 0;
  const std::unique_ptr<zip_t, void (*)(zip_t*)> archive(zip_open(path.c_str(), ZIP_RDONLY, &code),
                                                         [](zip_t* z) { zip_discard(z); });
  if (!archive) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string reason = zip_error_strerror(&error);
    zip_error_fini(&error);
    return Error{ErrorCode::Format, "Cannot read " + path.string() + ": " + reason + "."};
  }
  const zip_int64_t count = zip_get_num_entries(archive.get(), 0);
  std::vector<std::string> names;
  for (zip_int64_t i = 0; i < count; ++i) {
    const char* name = zip_get_name(archive.get(), static_cast<zip_uint64_t>(i), 0);
    names.emplace_back(name ? name : "");
  }
  const std::string root = commonRoot(names);
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty() || names[i].back() == '/') continue;
    Entry entry;
    entry.path = path.filename().string() + ":" + names[i];
    if (!classify(names[i], root, entry.split, entry.className)) continue;
    if (entry.split == Split::Train && !options.trainToo) continue;
    zip_stat_t stat;
    if (zip_stat_index(archive.get(), i, 0, &stat) != 0 || stat.size > kMaxFileBytes) {
      skipped.push_back({entry.path, "larger than 256 MB or without a size"});
      continue;
    }
    const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(
        zip_fopen_index(archive.get(), i, 0), zip_fclose);
    entry.bytes.resize(stat.size);
    if (!file || zip_fread(file.get(), entry.bytes.data(), stat.size) !=
                     static_cast<zip_int64_t>(stat.size)) {
      skipped.push_back({entry.path, "damaged in the archive"});
      continue;
    }
    entries.push_back(std::move(entry));
  }
  return {};
}

Result<std::vector<std::byte>> readFile(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) return Error{ErrorCode::Io, error.message()};
  if (size > kMaxFileBytes) return Error{ErrorCode::Exhausted, "larger than 256 MB"};
  std::vector<std::byte> bytes(size);
  std::ifstream in(path, std::ios::binary);
  in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  if (!in) return Error{ErrorCode::Io, "could not be read"};
  return bytes;
}

Status readFolder(const fs::path& path, const ReadOptions& options, std::vector<Entry>& entries,
                  std::vector<SkippedFile>& skipped) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::recursive_directory_iterator it(path, error), end; !error && it != end;
       it.increment(error)) {
    if (it->is_regular_file(error)) names.push_back(it->path().lexically_relative(path).string());
  }
  if (error) {
    return Error{ErrorCode::Io, "Cannot list " + path.string() + ": " + error.message() + "."};
  }
  std::sort(names.begin(), names.end());
  const std::string root = commonRoot(names);
  for (const std::string& name : names) {
    Entry entry;
    entry.path = (path / name).string();
    if (!classify(name, root, entry.split, entry.className)) continue;
    if (entry.split == Split::Train && !options.trainToo) continue;
    auto bytes = readFile(path / name);
    if (!bytes.ok()) {
      skipped.push_back({entry.path, bytes.error().message});
      continue;
    }
    entry.bytes = std::move(bytes).value();
    entries.push_back(std::move(entry));
  }
  return {};
}

// Decodes on all cores; the result's order is that of the entries.
void decodeAll(const std::vector<Entry>& entries, const ReadOptions& options, Dataset& dataset) {
  std::vector<std::vector<std::uint8_t>> pixels(entries.size());
  std::vector<std::string> reasons(entries.size());
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    constexpr std::size_t kChunk = 64;
    for (std::size_t from = next.fetch_add(kChunk); from < entries.size();
         from = next.fetch_add(kChunk)) {
      for (std::size_t i = from; i < std::min(from + kChunk, entries.size()); ++i) {
        auto image = decodeImage(entries[i].bytes);
        if (!image.ok()) {
          reasons[i] = image.error().message;
        } else if (image->width != options.size || image->height != options.size) {
          reasons[i] = std::to_string(image->width) + "x" + std::to_string(image->height) +
                       " pixels instead of " + std::to_string(options.size) + "x" +
                       std::to_string(options.size);
        } else {
          pixels[i] = std::move(image->pixels);
        }
      }
    }
  };
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < std::max(1U, std::thread::hardware_concurrency()); ++t) {
    threads.emplace_back(work);
  }
  threads.clear();  // joins

  std::map<std::string, std::uint16_t> numbers;
  for (std::size_t i = 0; i < dataset.classes.size(); ++i) {
    numbers[dataset.classes[i]] = static_cast<std::uint16_t>(i);
  }
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (!reasons[i].empty()) {
      dataset.skipped.push_back({entries[i].path, reasons[i]});
      continue;
    }
    ImageSet& set = entries[i].split == Split::Train ? dataset.train : dataset.test;
    set.pixels.insert(set.pixels.end(), pixels[i].begin(), pixels[i].end());
    set.labels.push_back(numbers.at(entries[i].className));
    pixels[i] = {};
  }
}

struct CifarLayout {
  std::vector<std::string> train, test;
  std::size_t labelBytes = 1;
  std::size_t classes = 10;
  std::string names;  // file with one class name a line
};

std::optional<CifarLayout> cifarLayout(const fs::path& folder) {
  std::error_code error;
  CifarLayout layout;
  for (int i = 1; i <= 99; ++i) {
    const std::string name = "data_batch_" + std::to_string(i) + ".bin";
    if (fs::exists(folder / name, error)) layout.train.push_back(name);
  }
  if (fs::exists(folder / "test_batch.bin", error)) layout.test.push_back("test_batch.bin");
  if (!layout.train.empty() || !layout.test.empty()) {
    layout.names = "batches.meta.txt";
    return layout;
  }
  if (fs::exists(folder / "train.bin", error)) layout.train.push_back("train.bin");
  if (fs::exists(folder / "test.bin", error)) layout.test.push_back("test.bin");
  if (layout.train.empty() && layout.test.empty()) return std::nullopt;
  layout.labelBytes = 2;
  layout.classes = 100;
  layout.names = "fine_label_names.txt";
  return layout;
}

Status readCifarFile(const fs::path& path, const CifarLayout& layout, ImageSet& set,
                     std::vector<SkippedFile>& skipped) {
  constexpr std::size_t kPlane = 1024;
  auto read = readFile(path);
  if (!read.ok()) {
    return Error{read.error().code, "Cannot read " + path.string() + ": " + read.error().message};
  }
  const std::vector<std::byte>& bytes = *read;
  const std::size_t record = layout.labelBytes + 3 * kPlane;
  if (bytes.size() % record != 0) {
    skipped.push_back({path.string(), "ends inside a record; the part after the last whole one"});
  }
  for (std::size_t at = 0; at + record <= bytes.size(); at += record) {
    const auto label = static_cast<std::uint16_t>(bytes[at + layout.labelBytes - 1]);
    if (label >= layout.classes) {
      skipped.push_back({path.string() + " at byte " + std::to_string(at),
                         "class " + std::to_string(label) + " does not exist"});
      continue;
    }
    const auto* planes =
        reinterpret_cast<const std::uint8_t*>(bytes.data()) + at + layout.labelBytes;
    for (std::size_t i = 0; i < kPlane; ++i) {
      for (std::size_t c = 0; c < 3; ++c) set.pixels.push_back(planes[c * kPlane + i]);
    }
    set.labels.push_back(label);
  }
  return {};
}

Status readCifar(const fs::path& folder, const CifarLayout& layout, const ReadOptions& options,
                 Dataset& dataset) {
  if (options.size != 32) {
    return Error{ErrorCode::InvalidArgument,
                 "CIFAR images have 32 x 32 pixels, the network wants " +
                     std::to_string(options.size) + "."};
  }
  std::ifstream names(folder / layout.names);
  for (std::string line; std::getline(names, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty()) dataset.classes.push_back(line);
  }
  for (std::size_t i = dataset.classes.size(); i < layout.classes; ++i) {
    dataset.classes.push_back("class " + std::to_string(i));
  }
  if (dataset.classes.size() != layout.classes) {
    return Error{ErrorCode::Format, (folder / layout.names).string() + " names " +
                                        std::to_string(dataset.classes.size()) +
                                        " classes instead of " + std::to_string(layout.classes) +
                                        "."};
  }
  if (options.trainToo) {
    for (const auto& name : layout.train) {
      PILLARBOX_TRY(readCifarFile(folder / name, layout, dataset.train, dataset.skipped));
    }
  }
  for (const auto& name : layout.test) {
    PILLARBOX_TRY(readCifarFile(folder / name, layout, dataset.test, dataset.skipped));
  }
  return {};
}

}  // namespace

Result<DecodedImage> decodeImage(std::span<const std::byte> bytes) {
  if (bytes.size() > kMaxFileBytes) {
    return Error{ErrorCode::Exhausted, "the file is larger than 256 MB"};
  }
  return isJpeg(bytes) ? decodeJpeg(bytes) : decodeOther(bytes);
}

Result<Dataset> readDataset(const std::vector<fs::path>& paths, const ReadOptions& options) {
  Dataset dataset;
  dataset.train.size = dataset.test.size = options.size;
  std::vector<Entry> entries;
  bool cifar = false;
  for (const fs::path& path : paths) {
    std::error_code error;
    if (fs::is_directory(path, error)) {
      if (const auto layout = cifarLayout(path)) {
        if (cifar) {
          return Error{ErrorCode::InvalidArgument, "Only one CIFAR folder can be read at a time."};
        }
        cifar = true;
        PILLARBOX_TRY(readCifar(path, *layout, options, dataset));
      } else {
        PILLARBOX_TRY(readFolder(path, options, entries, dataset.skipped));
      }
    } else if (fs::is_regular_file(path, error)) {
      PILLARBOX_TRY(readZip(path, options, entries, dataset.skipped));
    } else {
      return Error{ErrorCode::NotFound, "There is no folder or zip file " + path.string() + "."};
    }
  }
  if (cifar && !entries.empty()) {
    return Error{ErrorCode::InvalidArgument,
                 "A CIFAR folder cannot be mixed with folders or zips of images."};
  }
  if (!cifar) {
    std::set<std::string> names;
    for (const Entry& entry : entries) names.insert(entry.className);
    if (names.size() > 65535) return Error{ErrorCode::Exhausted, "There are over 65535 classes."};
    dataset.classes.assign(names.begin(), names.end());
    decodeAll(entries, options, dataset);
  }
  if (dataset.test.count() == 0 || (options.trainToo && dataset.train.count() == 0)) {
    std::string message = "No usable ";
    message += dataset.test.count() == 0 ? "test" : "training";
    message +=
        " images: expected a CIFAR binary folder, or a folder or zip with "
        "train/<class>/<file> and test/<class>/<file>";
    if (!dataset.skipped.empty()) {
      message += "; " + std::to_string(dataset.skipped.size()) +
                 " files were skipped, the first (" + dataset.skipped.front().path +
                 ") because: " + dataset.skipped.front().reason;
    }
    return Error{ErrorCode::Format, message + "."};
  }
  return dataset;
}

}  // namespace pillarbox::data

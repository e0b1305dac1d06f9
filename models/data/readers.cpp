#include "models/data/readers.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include <nlohmann/json.hpp>
#include <turbojpeg.h>
#include <zip.h>

#include "models/preprocess.h"

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

// One file of a folder or zip, not read yet.
struct Entry {
  std::string path;  // as shown to people
  std::string name;  // within its source, without what all names have in common
  Split split = Split::Train;
  std::string className;
  std::size_t source = 0;   // which of the paths
  std::uint64_t index = 0;  // in a zip
  std::uint64_t size = 0;
  std::int64_t time = 0;
};

bool isSplit(std::string_view folder, Split& split) {
  std::string name(folder);
  for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  static const std::set<std::string> kTrain = {"train", "training"};
  static const std::set<std::string> kTest = {"test", "testing", "val", "valid", "validation"};
  split = kTrain.contains(name) ? Split::Train : Split::Test;
  return kTrain.contains(name) || kTest.contains(name);
}

std::vector<std::string_view> partsOf(std::string_view path) {
  std::vector<std::string_view> parts;
  for (std::size_t from = 0; from <= path.size();) {
    const std::size_t to = std::min(path.find('/', from), path.size());
    parts.push_back(path.substr(from, to - from));
    from = to + 1;
  }
  return parts;
}

// Hidden files, and what archivers of other systems add.
bool isImage(std::string_view path) {
  for (const std::string_view part : partsOf(path)) {
    if (part.empty() || part.front() == '.' || part == "__MACOSX") return false;
  }
  return true;
}

// The folder, if there is one, that all files lie in besides those of their split and class:
// "photos/" in photos/cats/1.jpg, also where there is a photos/README beside.
std::string commonRoot(const std::vector<std::string>& names) {
  std::string root;
  bool deep = false;
  for (const std::string& name : names) {
    const auto parts = partsOf(name);
    if (parts.size() < 2) continue;
    Split split{};
    if (isSplit(parts[0], split)) return "";
    const std::string first = std::string(parts[0]) + "/";
    if (root.empty()) root = first;
    if (root != first) return "";
    deep = deep || parts.size() > 2;
  }
  return deep ? root : "";
}

// Adds the files among `names` that lie in class folders. Which layout it is, split/class/file or
// class/file, is one decision for the whole source.
void addEntries(const std::vector<std::string>& names, std::size_t source,
                const std::function<Entry(std::size_t)>& describe, std::vector<Entry>& entries) {
  std::vector<std::string> images;
  for (const auto& name : names) {
    if (isImage(name)) images.push_back(name);
  }
  const std::string root = commonRoot(images);
  const auto partsBelow = [&](const std::string& name) {
    return partsOf(std::string_view(name).substr(name.starts_with(root) ? root.size() : 0));
  };
  bool splits = false;
  Split split{};
  for (const auto& name : images) {
    const auto parts = partsBelow(name);
    splits = splits || (parts.size() == 3 && isSplit(parts[0], split));
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!isImage(names[i])) continue;
    const auto parts = partsBelow(names[i]);
    if (parts.size() != (splits ? 3U : 2U)) continue;
    split = Split::Train;
    if (splits && !isSplit(parts[0], split)) continue;
    Entry entry = describe(i);
    entry.source = source;
    entry.split = split;
    entry.className = parts[parts.size() - 2];
    entry.name = std::string(parts[parts.size() - 2]) + "/" + std::string(parts.back());
    entries.push_back(std::move(entry));
  }
}

using Archive = std::unique_ptr<zip_t, void (*)(zip_t*)>;

Result<Archive> openZip(const fs::path& path) {
  int code = 0;
  Archive archive(zip_open(path.c_str(), ZIP_RDONLY, &code), [](zip_t* z) { zip_discard(z); });
  if (archive) return archive;
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  const std::string reason = zip_error_strerror(&error);
  zip_error_fini(&error);
  return Error{ErrorCode::Format, "Cannot read " + path.string() + ": " + reason + "."};
}

Status listZip(const fs::path& path, std::size_t source, std::vector<Entry>& entries) {
  PILLARBOX_ASSIGN(const Archive archive, openZip(path));
  std::error_code error;
  const auto time = fs::last_write_time(path, error).time_since_epoch().count();
  const zip_int64_t count = zip_get_num_entries(archive.get(), 0);
  std::vector<std::string> names;
  for (zip_int64_t i = 0; i < count; ++i) {
    const char* name = zip_get_name(archive.get(), static_cast<zip_uint64_t>(i), 0);
    names.emplace_back(name ? name : "");
  }
  const auto describe = [&](std::size_t i) {
    Entry entry;
    entry.path = path.filename().string() + ":" + names[i];
    entry.index = i;
    entry.time = static_cast<std::int64_t>(time);
    zip_stat_t stat;
    zip_stat_init(&stat);
    const bool known =
        zip_stat_index(archive.get(), i, 0, &stat) == 0 && (stat.valid & ZIP_STAT_SIZE) != 0;
    entry.size = known ? stat.size : kMaxFileBytes + 1;
    return entry;
  };
  addEntries(names, source, describe, entries);
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

Status listFolder(const fs::path& path, std::size_t source, std::vector<Entry>& entries) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::recursive_directory_iterator it(path, error), end; !error && it != end;
       it.increment(error)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored)) names.push_back(it->path().lexically_relative(path).string());
  }
  if (error) {
    return Error{ErrorCode::Io, "Cannot list " + path.string() + ": " + error.message() + "."};
  }
  std::sort(names.begin(), names.end());
  const auto describe = [&](std::size_t i) {
    Entry entry;
    entry.path = (path / names[i]).string();
    std::error_code ignored;
    entry.size = fs::file_size(entry.path, ignored);
    entry.time = static_cast<std::int64_t>(
        fs::last_write_time(entry.path, ignored).time_since_epoch().count());
    return entry;
  };
  addEntries(names, source, describe, entries);
  return {};
}

// FNV-1a: stable everywhere, for choosing and naming, not against anybody.
std::uint64_t hashOf(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash ^ (hash >> 29);
}

// Makes a test split where there is none. True if it did.
bool makeSplit(std::vector<Entry>& entries) {
  for (const Entry& entry : entries) {
    if (entry.split == Split::Test) return false;
  }
  std::map<std::string, std::vector<Entry*>> classes;
  for (Entry& entry : entries) classes[entry.className].push_back(&entry);
  for (auto& [name, members] : classes) {
    std::sort(members.begin(), members.end(), [](const Entry* a, const Entry* b) {
      const auto x = hashOf(a->name), y = hashOf(b->name);
      return x != y ? x < y : a->path < b->path;
    });
    const std::size_t count = members.size() < 2 ? 0 : std::max<std::size_t>(1, members.size() / 5);
    for (std::size_t i = 0; i < count; ++i) members[i]->split = Split::Test;
  }
  return true;
}

// Reads and decodes one file; archives are opened once a thread.
class Decoder {
 public:
  Decoder(const std::vector<fs::path>& paths, const ReadOptions& options)
      : m_paths(paths), m_options(options) {}

  Result<std::vector<std::uint8_t>> decode(const Entry& entry) {
    if (entry.size > kMaxFileBytes) {
      return Error{ErrorCode::Exhausted, "larger than 256 MB or without a size"};
    }
    std::error_code error;
    const bool folder = fs::is_directory(m_paths[entry.source], error);
    auto bytes = folder ? readFile(entry.path) : fromZip(entry);
    if (!bytes.ok()) return bytes.error();
    auto image = decodeImage(*bytes);
    if (!image.ok()) return image.error();
    if (image->width == m_options.size && image->height == m_options.size) {
      return std::move(image->pixels);
    }
    if (!m_options.resize) {
      return Error{ErrorCode::Format, std::to_string(image->width) + "x" +
                                          std::to_string(image->height) + " pixels instead of " +
                                          std::to_string(m_options.size) + "x" +
                                          std::to_string(m_options.size)};
    }
    return models::resizeToCover(
        {image->pixels.data(), image->width, image->height, std::size_t{3} * image->width},
        m_options.size, m_options.size);
  }

 private:
  Result<std::vector<std::byte>> fromZip(const Entry& entry) {
    auto found = m_archives.find(entry.source);
    if (found == m_archives.end()) {
      PILLARBOX_ASSIGN(Archive archive, openZip(m_paths[entry.source]));
      found = m_archives.emplace(entry.source, std::move(archive)).first;
    }
    const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(
        zip_fopen_index(found->second.get(), entry.index, 0), zip_fclose);
    std::vector<std::byte> bytes(entry.size);
    if (!file || zip_fread(file.get(), bytes.data(), bytes.size()) !=
                     static_cast<zip_int64_t>(bytes.size())) {
      return Error{ErrorCode::Format, "damaged in the archive"};
    }
    return bytes;
  }

  const std::vector<fs::path>& m_paths;
  const ReadOptions& m_options;
  std::map<std::size_t, Archive> m_archives;
};

// Decodes on all cores; the result's order is that of the entries.
void decodeAll(const std::vector<fs::path>& paths, const std::vector<Entry>& entries,
               const ReadOptions& options, Dataset& dataset) {
  std::vector<std::vector<std::uint8_t>> pixels(entries.size());
  std::vector<std::string> reasons(entries.size());
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::size_t done = 0;
  const auto work = [&] {
    constexpr std::size_t kChunk = 64;
    Decoder decoder(paths, options);
    for (std::size_t from = next.fetch_add(kChunk); from < entries.size();
         from = next.fetch_add(kChunk)) {
      const std::size_t to = std::min(from + kChunk, entries.size());
      for (std::size_t i = from; i < to; ++i) {
        auto image = decoder.decode(entries[i]);
        if (image.ok()) {
          pixels[i] = std::move(image).value();
        } else {
          reasons[i] = image.error().message;
        }
      }
      const std::lock_guard lock(mutex);
      done += to - from;
      if (options.progress) options.progress(done, entries.size());
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

// A cache file: a line with the version, a line of JSON, then the training and the test set's
// pixels and labels.
constexpr const char* kCacheVersion = "pillarbox images 1";
constexpr std::size_t kCachedSets = 6;  // the newest are kept

std::string cacheName(const std::vector<Entry>& entries, const ReadOptions& options) {
  std::uint64_t sums[2] = {hashOf("a"), hashOf("b")};
  const auto add = [&](const std::string& text) {
    sums[0] = hashOf(std::to_string(sums[0]) + text);
    sums[1] = hashOf(text + std::to_string(sums[1]));
  };
  add(std::to_string(options.size) + (options.trainToo ? " both" : " test") +
      (options.resize ? " resized" : ""));
  for (const Entry& e : entries) {
    add(e.path + "|" + std::to_string(e.size) + "|" + std::to_string(e.time) + "|" +
        std::to_string(static_cast<int>(e.split)));
  }
  char name[48];
  std::snprintf(name, sizeof name, "%016llx%016llx.images",
                static_cast<unsigned long long>(sums[0]), static_cast<unsigned long long>(sums[1]));
  return name;
}

bool readCache(const fs::path& file, const ReadOptions& options, Dataset& dataset) {
  std::ifstream in(file, std::ios::binary);
  std::string version, header;
  if (!std::getline(in, version) || version != kCacheVersion || !std::getline(in, header)) {
    return false;
  }
  const auto facts = nlohmann::json::parse(header, nullptr, false);
  if (facts.is_discarded()) return false;
  Dataset read;
  try {
    facts.at("classes").get_to(read.classes);
    for (const auto& item : facts.at("skipped")) read.skipped.push_back({item.at(0), item.at(1)});
    std::uint64_t expected = 0;
    for (ImageSet* set : {&read.train, &read.test}) {
      set->size = options.size;
      const auto count = facts.at(set == &read.train ? "train" : "test").get<std::uint64_t>();
      if (count > (std::uint64_t{1} << 32)) return false;
      expected += count * (set->bytesPerImage() + 2);
    }
    std::error_code error;
    const std::uint64_t offset = static_cast<std::uint64_t>(in.tellg());
    if (fs::file_size(file, error) != offset + expected || error) return false;
    for (ImageSet* set : {&read.train, &read.test}) {
      const auto count = facts.at(set == &read.train ? "train" : "test").get<std::size_t>();
      set->pixels.resize(count * set->bytesPerImage());
      set->labels.resize(count);
      in.read(reinterpret_cast<char*>(set->pixels.data()),
              static_cast<std::streamsize>(set->pixels.size()));
      in.read(reinterpret_cast<char*>(set->labels.data()), static_cast<std::streamsize>(2 * count));
      for (const auto label : set->labels) {
        if (label >= read.classes.size()) return false;
      }
    }
  } catch (const std::exception&) {
    return false;
  }
  if (!in) return false;
  std::error_code error;
  fs::last_write_time(file, fs::file_time_type::clock::now(), error);  // used now
  read.splitMade = dataset.splitMade;
  dataset = std::move(read);
  return true;
}

// Failing to write a cache is no error: the next run decodes again.
void writeCache(const fs::path& file, const Dataset& dataset) {
  std::error_code error;
  fs::create_directories(file.parent_path(), error);
  nlohmann::json skipped = nlohmann::json::array();
  for (const auto& one : dataset.skipped) skipped.push_back({one.path, one.reason});
  const nlohmann::json facts = {{"classes", dataset.classes},
                                {"skipped", skipped},
                                {"train", dataset.train.count()},
                                {"test", dataset.test.count()}};
  const fs::path temporary = file.string() + "." + std::to_string(::getpid());
  {
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    out << kCacheVersion << "\n"
        << facts.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
    for (const ImageSet* set : {&dataset.train, &dataset.test}) {
      out.write(reinterpret_cast<const char*>(set->pixels.data()),
                static_cast<std::streamsize>(set->pixels.size()));
      out.write(reinterpret_cast<const char*>(set->labels.data()),
                static_cast<std::streamsize>(2 * set->labels.size()));
    }
    if (!out.flush()) error = std::make_error_code(std::errc::io_error);
  }
  if (!error) fs::rename(temporary, file, error);
  if (error) fs::remove(temporary, error);
  std::vector<std::pair<fs::file_time_type, fs::path>> sets;
  for (fs::directory_iterator it(file.parent_path(), error), end; !error && it != end;
       it.increment(error)) {
    std::error_code ignored;
    if (it->path().extension() == ".images") {
      sets.emplace_back(it->last_write_time(ignored), it->path());
    }
  }
  std::sort(sets.rbegin(), sets.rend());
  for (std::size_t i = kCachedSets; i < sets.size(); ++i) fs::remove(sets[i].second, error);
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
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const fs::path& path = paths[i];
    std::error_code error;
    if (fs::is_directory(path, error)) {
      if (const auto layout = cifarLayout(path)) {
        if (cifar) {
          return Error{ErrorCode::InvalidArgument, "Only one CIFAR folder can be read at a time."};
        }
        cifar = true;
        PILLARBOX_TRY(readCifar(path, *layout, options, dataset));
      } else {
        PILLARBOX_TRY(listFolder(path, i, entries));
      }
    } else if (fs::is_regular_file(path, error)) {
      PILLARBOX_TRY(listZip(path, i, entries));
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
    dataset.splitMade = makeSplit(entries) && !entries.empty();
    if (!options.trainToo) {
      std::erase_if(entries, [](const Entry& entry) { return entry.split == Split::Train; });
    }
    const fs::path cached = options.cacheFolder.empty()
                                ? fs::path()
                                : options.cacheFolder / cacheName(entries, options);
    if (cached.empty() || !readCache(cached, options, dataset)) {
      decodeAll(paths, entries, options, dataset);
      if (!cached.empty()) writeCache(cached, dataset);
    }
  }
  if (dataset.test.count() == 0 || (options.trainToo && dataset.train.count() == 0)) {
    std::string message = "No usable ";
    message += dataset.test.count() == 0 ? "test" : "training";
    message +=
        " images: expected a CIFAR binary folder, or a folder or zip with "
        "<class>/<file>, or train/<class>/<file> and test/<class>/<file>";
    if (!dataset.skipped.empty()) {
      message += "; " + std::to_string(dataset.skipped.size()) +
                 " files were skipped, the first (" + dataset.skipped.front().path +
                 ") because: " + dataset.skipped.front().reason;
    }
    return Error{ErrorCode::Format, message + "."};
  }
  return dataset;
}

fs::path defaultImageCache() {
  if (const char* folder = std::getenv("XDG_CACHE_HOME"); folder && *folder) {
    return fs::path(folder) / "pillarbox" / "images";
  }
  if (const char* home = std::getenv("HOME"); home && *home) {
    return fs::path(home) / ".cache" / "pillarbox" / "images";
  }
  return {};
}

}  // namespace pillarbox::data

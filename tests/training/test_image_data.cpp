// The readers of training images, damaged files included, and the batches made of them.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>

#include <turbojpeg.h>
#include <zip.h>

#include "models/data/readers.h"
#include "tests/training/expect.h"

namespace {

namespace fs = std::filesystem;
using namespace pillarbox;
using namespace pillarbox::data;
using pillarbox::test::TemporaryFolder;

std::vector<std::uint8_t> picture(int size, int seed) {
  std::vector<std::uint8_t> pixels;
  for (int y = 0; y < size; ++y) {
    for (int x = 0; x < size; ++x) {
      for (int c = 0; c < 3; ++c) {
        pixels.push_back(static_cast<std::uint8_t>((x * 5 + y * 3 + c * 40 + seed * 11) % 256));
      }
    }
  }
  return pixels;
}

std::string ppm(int size, int seed) {
  const auto pixels = picture(size, seed);
  return "P6\n" + std::to_string(size) + " " + std::to_string(size) + "\n255\n" +
         std::string(pixels.begin(), pixels.end());
}

std::string jpeg(int size, int seed) {
  const auto pixels = picture(size, seed);
  tjhandle encoder = tjInitCompress();
  unsigned char* bytes = nullptr;
  unsigned long length = 0;
  tjCompress2(encoder, pixels.data(), size, 0, size, TJPF_RGB, &bytes, &length, TJSAMP_420, 75, 0);
  std::string result(reinterpret_cast<char*>(bytes), length);
  tjFree(bytes);
  tjDestroy(encoder);
  return result;
}

void write(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

void readsFolders() {
  TemporaryFolder folder;
  write(folder.path() / "train/b/1.ppm", ppm(16, 1));
  write(folder.path() / "train/a/1.ppm", ppm(16, 2));
  write(folder.path() / "train/a/2.jpg", jpeg(16, 3));
  write(folder.path() / "test/a/1.ppm", ppm(16, 4));
  write(folder.path() / "notes.txt", "not an image, and in no class");
  const auto set = readDataset({folder.path()}, {16, true});
  EXPECT(set.ok());
  if (!set.ok()) return;
  EXPECT_EQUAL(set->classes.size(), 2U);
  EXPECT_EQUAL(set->classes[0], "a");
  EXPECT_EQUAL(set->train.count(), 3U);
  EXPECT_EQUAL(set->test.count(), 1U);
  EXPECT_EQUAL(set->skipped.size(), 0U);
  const auto expected = picture(16, 2);
  EXPECT(std::equal(expected.begin(), expected.end(), set->train.image(0).begin()));
  EXPECT_EQUAL(set->train.labels[2], 1);
}

void skipsDamagedFiles() {
  TemporaryFolder folder;
  const std::string good = jpeg(16, 1);
  write(folder.path() / "train/a/good.jpg", good);
  write(folder.path() / "test/a/good.ppm", ppm(16, 1));
  write(folder.path() / "train/a/cut.jpg", good.substr(0, good.size() / 2));
  write(folder.path() / "train/a/cut.ppm", ppm(16, 1).substr(0, 100));
  write(folder.path() / "train/a/empty.png", "");
  write(folder.path() / "train/a/noise.jpg", "\xff\xd8\xff this is no JPEG");
  write(folder.path() / "train/b/large.ppm", ppm(20, 1));
  const auto set = readDataset({folder.path()}, {16, true, false});
  EXPECT(set.ok());
  if (!set.ok()) return;
  EXPECT_EQUAL(set->train.count(), 1U);
  EXPECT_EQUAL(set->skipped.size(), 5U);
  for (const auto& file : set->skipped) {
    EXPECT(!file.reason.empty());
    const bool large = file.path.find("large.ppm") != std::string::npos;
    EXPECT_EQUAL(file.reason.find("20x20 pixels instead of 16x16") != std::string::npos, large);
  }
}

void makesASplit() {
  TemporaryFolder folder;
  for (int i = 0; i < 23; ++i) {
    write(folder.path() / "photos/cats" / (std::to_string(i) + ".ppm"), ppm(16, i));
    if (i < 3) write(folder.path() / "photos/dogs" / (std::to_string(i) + ".ppm"), ppm(16, i));
  }
  write(folder.path() / "photos/.hidden", "nothing");
  const auto set = readDataset({folder.path()}, {16, true});
  EXPECT(set.ok());
  if (!set.ok()) return;
  EXPECT(set->splitMade && set->skipped.empty());
  EXPECT((set->classes == std::vector<std::string>{"cats", "dogs"}));
  EXPECT_EQUAL(set->test.count(), 5U);  // a fifth of 23, and one of three
  EXPECT_EQUAL(set->train.count(), 21U);
  EXPECT_EQUAL(std::count(set->test.labels.begin(), set->test.labels.end(), 1), 1);
  // The same choice every time, also where only the test images are read or others are added.
  const auto again = readDataset({folder.path()}, {16, false});
  EXPECT(again.ok() && again->train.count() == 0 && again->test.pixels == set->test.pixels);
  // Training images alone: the split comes out of them. A given test split stays.
  fs::rename(folder.path() / "photos", folder.path() / "train");
  const auto moved = readDataset({folder.path()}, {16, true});
  EXPECT(moved.ok() && moved->splitMade && moved->test.pixels == set->test.pixels);
  write(folder.path() / "Validation/cats/a.ppm", ppm(16, 9));
  const auto given = readDataset({folder.path()}, {16, true});
  EXPECT(given.ok() && !given->splitMade && given->test.count() == 1);
}

void resizes() {
  TemporaryFolder folder;
  // Left half dark, right half bright, twice as wide as high: the crop keeps the middle.
  std::string wide = "P6\n64 32\n255\n";
  for (int y = 0; y < 32; ++y) {
    for (int x = 0; x < 64; ++x) wide += std::string(3, x < 32 ? 10 : static_cast<char>(200));
  }
  write(folder.path() / "train/a/wide.ppm", wide);
  write(folder.path() / "test/a/same.ppm", ppm(16, 1));
  const auto set = readDataset({folder.path()}, {16, true});
  EXPECT(set.ok());
  if (!set.ok()) return;
  EXPECT_EQUAL(set->train.count(), 1U);
  const auto image = set->train.image(0);
  EXPECT_EQUAL(int{image[3 * (16 * 5 + 2)]}, 10);
  EXPECT_EQUAL(int{image[3 * (16 * 5 + 13)]}, 200);
}

void caches() {
  TemporaryFolder folder;
  const auto pictures = folder.path() / "pictures";
  for (int i = 0; i < 10; ++i) {
    write(pictures / "a" / (std::to_string(i) + ".ppm"), ppm(16, i));
    write(pictures / "b" / (std::to_string(i) + ".ppm"), ppm(16, 20 + i));
  }
  write(pictures / "b/broken.jpg", "no picture");
  std::size_t decoded = 0;
  ReadOptions options;
  options.size = 16;
  options.cacheFolder = folder.path() / "cache";
  options.progress = [&](std::size_t done, std::size_t all) {
    decoded = done;
    EXPECT_EQUAL(all, 21U);
  };
  const auto first = readDataset({pictures}, options);
  EXPECT(first.ok() && decoded == 21);
  decoded = 0;
  const auto second = readDataset({pictures}, options);
  EXPECT(second.ok());
  if (!first.ok() || !second.ok()) return;
  EXPECT_EQUAL(decoded, 0U);
  EXPECT(second->train.pixels == first->train.pixels && second->test.labels == first->test.labels);
  EXPECT(second->classes == first->classes && second->splitMade);
  EXPECT_EQUAL(second->skipped.size(), 1U);
  // A changed file, and a damaged cache, are noticed.
  write(pictures / "a/3.ppm", ppm(16, 99) + "x");
  EXPECT(readDataset({pictures}, options).ok());
  EXPECT_EQUAL(decoded, 21U);
  for (const auto& file : fs::directory_iterator(options.cacheFolder)) {
    fs::resize_file(file.path(), fs::file_size(file.path()) - 1);
  }
  decoded = 0;
  const auto third = readDataset({pictures}, options);
  EXPECT(third.ok() && decoded == 21 && third->train.count() == first->train.count());
}

void readsZips() {
  TemporaryFolder folder;
  const fs::path path = folder.path() / "images.zip";
  const std::vector<std::pair<std::string, std::string>> files = {
      {"set/train/cat/1.jpg", jpeg(8, 1)},
      {"set/train/dog/1.jpg", jpeg(8, 2)},
      {"set/test/dog/1.jpg", jpeg(8, 3)},
      {"set/test/dog/broken.jpg", "\xff\xd8"},
      {"set/README", "nothing"}};
  int code = 0;
  zip_t* archive = zip_open(path.c_str(), ZIP_CREATE, &code);
  for (const auto& [name, bytes] : files) {
    zip_source_t* source = zip_source_buffer(archive, bytes.data(), bytes.size(), 0);
    zip_file_add(archive, name.c_str(), source, 0);
  }
  EXPECT_EQUAL(zip_close(archive), 0);
  const auto set = readDataset({path}, {8, true});
  EXPECT(set.ok());
  if (!set.ok()) return;
  EXPECT_EQUAL(set->train.count(), 2U);
  EXPECT_EQUAL(set->test.count(), 1U);
  EXPECT_EQUAL(set->test.labels[0], 1);
  EXPECT_EQUAL(set->skipped.size(), 1U);
  EXPECT(set->skipped[0].path.find("broken.jpg") != std::string::npos);
  const auto testOnly = readDataset({path}, {8, false});
  EXPECT(testOnly.ok() && testOnly->train.count() == 0 && testOnly->test.count() == 1);
}

void readsCifar() {
  TemporaryFolder folder;
  std::string records;
  for (int i = 0; i < 3; ++i) {
    records += static_cast<char>(i);
    for (int j = 0; j < 3072; ++j) records += static_cast<char>((i + j / 1024 * 50 + j) % 256);
  }
  std::string bad = records;
  bad[3073] = 77;  // the second image's class
  write(folder.path() / "data_batch_1.bin", records);
  write(folder.path() / "data_batch_2.bin", bad + "cut");
  write(folder.path() / "test_batch.bin", records);
  write(folder.path() / "batches.meta.txt",
        "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n"
        "\n");
  const auto set = readDataset({folder.path()}, {32, true});
  EXPECT(set.ok());
  if (!set.ok()) return;
  EXPECT_EQUAL(set->classes.size(), 10U);
  EXPECT_EQUAL(set->classes[9], "truck");
  EXPECT_EQUAL(set->train.count(), 5U);
  EXPECT_EQUAL(set->skipped.size(), 2U);
  EXPECT_EQUAL(set->train.labels[1], 1);
  // Planes become interleaved: pixel 7 of image 1.
  const auto image = set->train.image(1);
  for (int c = 0; c < 3; ++c) {
    EXPECT_EQUAL(int{image[static_cast<std::size_t>(21 + c)]}, (1 + c * 50 + c * 1024 + 7) % 256);
  }
}

void explainsWhatIsMissing() {
  TemporaryFolder folder;
  const auto missing = readDataset({folder.path() / "nowhere"}, {});
  EXPECT(!missing.ok() && missing.error().code == ErrorCode::NotFound);
  const auto empty = readDataset({folder.path()}, {});
  EXPECT(!empty.ok() && empty.error().code == ErrorCode::Format);
  write(folder.path() / "not.zip", "PK but not really");
  const auto damaged = readDataset({folder.path() / "not.zip"}, {});
  EXPECT(!damaged.ok() && damaged.error().code == ErrorCode::Format);
}

ImageSet numbered(std::size_t count, std::uint32_t size) {
  ImageSet set;
  set.size = size;
  for (std::size_t i = 0; i < count; ++i) {
    const auto pixels = picture(static_cast<int>(size), static_cast<int>(i));
    set.pixels.insert(set.pixels.end(), pixels.begin(), pixels.end());
    set.labels.push_back(static_cast<std::uint16_t>(i % 10));
  }
  return set;
}

void normalises() {
  const ImageSet set = numbered(50, 12);
  const Normalisation n = normalisationOf(set);
  const Batch batch = gather(set, 0, 50, n);
  for (int c = 0; c < 3; ++c) {
    const torch::Tensor channel = batch.images.select(1, c);
    EXPECT(std::abs(channel.mean().item<double>()) < 1e-3);
    EXPECT(std::abs(channel.std().item<double>() - 1) < 1e-2);
  }
  const double expected = (set.image(3)[3 * (12 * 4 + 5) + 2] / 255.0 - n.mean[2]) / n.std[2];
  EXPECT(std::abs(batch.images[3][2][4][5].item<double>() - expected) < 1e-5);
  EXPECT_EQUAL(batch.labels[13].item<std::int64_t>(), 3);
}

void augmentation() {
  const ImageSet set = numbered(64, 12);
  const Normalisation n = normalisationOf(set);
  std::vector<std::uint32_t> indices(64);
  std::iota(indices.begin(), indices.end(), 0U);
  const torch::Tensor plain = gather(set, 0, 64, n).images;
  // Without a crop, every image is itself or its mirror image, and changes sides every epoch.
  const Augmentation flipOnly{0, true};
  const torch::Tensor even = gatherAugmented(set, indices, n, flipOnly, 5, 0).images;
  const torch::Tensor odd = gatherAugmented(set, indices, n, flipOnly, 5, 1).images;
  int mirrored = 0;
  for (int i = 0; i < 64; ++i) {
    const torch::Tensor mirror = plain[i].flip({2});
    const bool isMirror = torch::equal(even[i], mirror);
    mirrored += isMirror;
    EXPECT(isMirror || torch::equal(even[i], plain[i]));
    EXPECT(torch::equal(odd[i], isMirror ? plain[i] : mirror));
  }
  EXPECT(mirrored > 16 && mirrored < 48);
  // A crop is a shifted window over the zero-padded image, and every shift occurs.
  const torch::Tensor crops = gatherAugmented(set, indices, n, {2, false}, 5, 0).images;
  const torch::Tensor padded = torch::constant_pad_nd(plain, {2, 2, 2, 2});
  std::vector<int> shifts(25, 0);
  for (int i = 0; i < 64; ++i) {
    int found = 0;
    for (int s = 0; s < 25; ++s) {
      const torch::Tensor window =
          padded[i].slice(1, s / 5, s / 5 + 12).slice(2, s % 5, s % 5 + 12);
      if (torch::equal(crops[i], window)) {
        ++found;
        ++shifts[static_cast<std::size_t>(s)];
      }
    }
    EXPECT_EQUAL(found, 1);
  }
  EXPECT(std::count(shifts.begin(), shifts.end(), 0) < 8);
  // Depends on seed and epoch only.
  const torch::Tensor again = gatherAugmented(set, indices, n, {2, false}, 5, 0).images;
  const torch::Tensor other = gatherAugmented(set, indices, n, {2, false}, 6, 0).images;
  EXPECT(torch::equal(crops, again));
  EXPECT(!torch::equal(crops, other));
}

void order() {
  auto first = shuffledOrder(1000, 1, 0);
  EXPECT(first == shuffledOrder(1000, 1, 0));
  EXPECT(first != shuffledOrder(1000, 1, 1));
  EXPECT(first != shuffledOrder(1000, 2, 0));
  std::sort(first.begin(), first.end());
  for (std::uint32_t i = 0; i < 1000; ++i) EXPECT(first[i] == i);
}

void augmentsAnywhere() {
  // The gathering for GPUs, here on the CPU, gives the same batches.
  ImageSet set;
  set.size = 9;
  std::uint32_t state = 5;
  for (int i = 0; i < 12; ++i) {
    set.labels.push_back(static_cast<std::uint16_t>(i % 4));
    for (int p = 0; p < 3 * 81; ++p) {
      state = state * 1664525U + 1013904223U;
      set.pixels.push_back(static_cast<std::uint8_t>(state >> 24));
    }
  }
  const std::vector<std::uint32_t> indices{7, 0, 11, 3, 3, 5};
  const Normalisation n{{0.4F, 0.5F, 0.6F}, {0.2F, 0.25F, 0.3F}};
  const auto there = toDevice(set, torch::kCPU);
  for (const int padding : {0, 3}) {
    for (int epoch = 0; epoch < 3; ++epoch) {
      const auto a = gatherAugmented(set, indices, n, {padding, true}, 17, epoch);
      const auto b = gatherAugmented(there, indices, n, {padding, true}, 17, epoch);
      EXPECT(torch::equal(a.labels, b.labels));
      EXPECT(torch::allclose(a.images, b.images, 1e-5, 1e-5));
    }
  }
}

}  // namespace

int main() {
  return pillarbox::test::run({{"folders", readsFolders},
                               {"damaged files are skipped", skipsDamagedFiles},
                               {"a split is made where there is none", makesASplit},
                               {"images of other sizes are scaled", resizes},
                               {"decoded images are cached", caches},
                               {"zips", readsZips},
                               {"CIFAR binaries", readsCifar},
                               {"errors", explainsWhatIsMissing},
                               {"normalisation", normalises},
                               {"augmentation", augmentation},
                               {"order", order},
                               {"images on a device are augmented alike", augmentsAnywhere}});
}

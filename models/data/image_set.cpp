#include "models/data/image_set.h"

#include <cmath>
#include <numeric>
#include <stdexcept>
#include <utility>

#include <ATen/Parallel.h>

namespace pillarbox::data {
namespace {

// SplitMix64's finaliser: reproducible everywhere, unlike the distributions of <random>.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

std::uint32_t below(std::uint64_t random, std::uint32_t bound) {
  return static_cast<std::uint32_t>(((random >> 32) * bound) >> 32);
}

using Table = std::array<std::array<float, 256>, 3>;

Table tableOf(const Normalisation& n) {
  Table table;
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t v = 0; v < 256; ++v) {
      table[c][v] = (static_cast<float>(v) / 255.0F - n.mean[c]) / n.std[c];
    }
  }
  return table;
}

void copyImage(const std::uint8_t* pixels, int size, int dx, int dy, bool flip, const Table& table,
               float* out) {
  const int plane = size * size;
  for (int y = 0; y < size; ++y) {
    const int fromY = y + dy;
    const std::uint8_t* row = pixels + std::ptrdiff_t{3} * size * fromY;
    for (int x = 0; x < size; ++x, ++out) {
      const int fromX = (flip ? size - 1 - x : x) + dx;
      const bool inside = fromY >= 0 && fromY < size && fromX >= 0 && fromX < size;
      for (int c = 0; c < 3; ++c) {
        out[c * plane] = inside ? table[static_cast<std::size_t>(c)][row[3 * fromX + c]] : 0.0F;
      }
    }
  }
}

Batch emptyBatch(std::size_t count, std::uint32_t size) {
  const auto n = static_cast<std::int64_t>(count);
  return {torch::empty({n, 3, size, size}), torch::empty({n}, torch::kLong)};
}

}  // namespace

Normalisation normalisationOf(const ImageSet& images) {
  if (images.count() == 0) throw std::logic_error("no images to take a mean of");
  std::array<std::uint64_t, 3> sum{};
  std::array<std::uint64_t, 3> squares{};
  for (std::size_t i = 0; i < images.pixels.size(); i += 3) {
    for (std::size_t c = 0; c < 3; ++c) {
      const std::uint64_t v = images.pixels[i + c];
      sum[c] += v;
      squares[c] += v * v;
    }
  }
  const double n = static_cast<double>(images.pixels.size() / 3);
  Normalisation result;
  for (std::size_t c = 0; c < 3; ++c) {
    const double mean = static_cast<double>(sum[c]) / n;
    const double variance = static_cast<double>(squares[c]) / n - mean * mean;
    // Four decimals: the values travel as text, and must be the same everywhere.
    result.mean[c] = static_cast<float>(std::round(mean / 255 * 1e4) / 1e4);
    result.std[c] =
        static_cast<float>(std::max(1e-3, std::round(std::sqrt(variance) / 255 * 1e4) / 1e4));
  }
  return result;
}

std::vector<std::uint32_t> shuffledOrder(std::size_t count, std::uint64_t seed, int epoch) {
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0U);
  std::uint64_t state = mix(mix(seed) ^ (static_cast<std::uint64_t>(epoch) << 32));
  for (std::size_t i = count; i > 1; --i) {
    state = mix(state);
    std::swap(order[i - 1], order[below(state, static_cast<std::uint32_t>(i))]);
  }
  return order;
}

Batch gatherAugmented(const ImageSet& images, std::span<const std::uint32_t> indices,
                      const Normalisation& normalisation, const Augmentation& augmentation,
                      std::uint64_t seed, int epoch) {
  const int size = static_cast<int>(images.size);
  if (augmentation.cropPadding < 0 || augmentation.cropPadding >= size) {
    throw std::invalid_argument("the crop padding must be smaller than the image");
  }
  const Table table = tableOf(normalisation);
  Batch batch = emptyBatch(indices.size(), images.size);
  float* out = batch.images.data_ptr<float>();
  auto* labels = batch.labels.data_ptr<std::int64_t>();
  at::parallel_for(
      0, static_cast<std::int64_t>(indices.size()), 16, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const std::uint32_t index = indices[static_cast<std::size_t>(i)];
          const std::uint64_t own = mix(mix(seed + 1) ^ index);
          const std::uint64_t now = mix(own ^ (static_cast<std::uint64_t>(epoch + 1) << 32));
          const int p = augmentation.cropPadding;
          const auto span = static_cast<std::uint32_t>(2 * p + 1);
          const int dx = static_cast<int>(below(now, span)) - p;
          const int dy = static_cast<int>(below(mix(now), span)) - p;
          const bool flip = augmentation.flip && ((own ^ static_cast<unsigned>(epoch)) & 1U) != 0;
          copyImage(images.image(index).data(), size, dx, dy, flip, table,
                    out + static_cast<std::size_t>(i) * images.bytesPerImage());
          labels[i] = images.labels[index];
        }
      });
  return batch;
}

Batch gather(const ImageSet& images, std::size_t first, std::size_t count,
             const Normalisation& normalisation) {
  const Table table = tableOf(normalisation);
  Batch batch = emptyBatch(count, images.size);
  float* out = batch.images.data_ptr<float>();
  auto* labels = batch.labels.data_ptr<std::int64_t>();
  at::parallel_for(
      0, static_cast<std::int64_t>(count), 16, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const std::size_t index = first + static_cast<std::size_t>(i);
          copyImage(images.image(index).data(), static_cast<int>(images.size), 0, 0, false, table,
                    out + static_cast<std::size_t>(i) * images.bytesPerImage());
          labels[i] = images.labels[index];
        }
      });
  return batch;
}

}  // namespace pillarbox::data

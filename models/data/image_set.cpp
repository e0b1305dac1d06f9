#include "models/data/image_set.h"

#include <algorithm>
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

// How an image is cropped and mirrored in an epoch.
struct Placement {
  int dx = 0, dy = 0;
  bool flip = false;
};

Placement placementOf(std::uint32_t index, const Augmentation& augmentation, std::uint64_t seed,
                      int epoch) {
  const std::uint64_t own = mix(mix(seed + 1) ^ index);
  const std::uint64_t now = mix(own ^ (static_cast<std::uint64_t>(epoch + 1) << 32));
  const int p = augmentation.cropPadding;
  const auto span = static_cast<std::uint32_t>(2 * p + 1);
  return {static_cast<int>(below(now, span)) - p, static_cast<int>(below(mix(now), span)) - p,
          augmentation.flip && ((own ^ static_cast<unsigned>(epoch)) & 1U) != 0};
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
  at::parallel_for(0, static_cast<std::int64_t>(indices.size()), 16,
                   [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t i = begin; i < end; ++i) {
                       const std::uint32_t index = indices[static_cast<std::size_t>(i)];
                       const Placement at = placementOf(index, augmentation, seed, epoch);
                       copyImage(images.image(index).data(), size, at.dx, at.dy, at.flip, table,
                                 out + static_cast<std::size_t>(i) * images.bytesPerImage());
                       labels[i] = images.labels[index];
                     }
                   });
  return batch;
}

DeviceImages toDevice(const ImageSet& images, const torch::Device& device) {
  const auto n = static_cast<std::int64_t>(images.count());
  const torch::Tensor pixels = torch::empty({n, images.size, images.size, 3}, torch::kByte);
  std::copy(images.pixels.begin(), images.pixels.end(), pixels.data_ptr<std::uint8_t>());
  const torch::Tensor labels = torch::empty({n}, torch::kLong);
  std::copy(images.labels.begin(), images.labels.end(), labels.data_ptr<std::int64_t>());
  return {pixels.to(device), labels.to(device)};
}

Batch gatherAugmented(const DeviceImages& images, std::span<const std::uint32_t> indices,
                      const Normalisation& normalisation, const Augmentation& augmentation,
                      std::uint64_t seed, int epoch) {
  const std::int64_t size = images.pixels.size(1);
  std::vector<std::int64_t> which, dx, dy, flips;
  for (const std::uint32_t index : indices) {
    const Placement at = placementOf(index, augmentation, seed, epoch);
    which.push_back(index);
    dx.push_back(at.dx);
    dy.push_back(at.dy);
    flips.push_back(at.flip ? 1 : 0);
  }
  const torch::Device device = images.pixels.device();
  const auto column = [&](const std::vector<std::int64_t>& values) {
    return torch::tensor(values, torch::kLong).to(device).view({-1, 1});
  };
  const torch::Tensor side = torch::arange(size, torch::kLong).to(device).view({1, -1});
  const torch::Tensor rows = side + column(dy);  // [n, size], where each row comes from
  const torch::Tensor columns = torch::where(column(flips) > 0, size - 1 - side, side) + column(dx);
  const auto within = [&](const torch::Tensor& at) { return (at >= 0).logical_and(at < size); };
  const torch::Tensor picked =
      images.pixels.index({column(which).unsqueeze(2), rows.clamp(0, size - 1).unsqueeze(2),
                           columns.clamp(0, size - 1).unsqueeze(1)});
  const auto channels = [&](const std::array<float, 3>& values) {
    return torch::tensor(std::vector<float>(values.begin(), values.end())).to(device);
  };
  torch::Tensor out =
      (picked.to(torch::kFloat) / 255 - channels(normalisation.mean)) / channels(normalisation.std);
  const torch::Tensor inside = within(rows).unsqueeze(2).logical_and(within(columns).unsqueeze(1));
  out = out * inside.unsqueeze(3);
  return {out.permute({0, 3, 1, 2}).contiguous(), images.labels.index({column(which).view({-1})})};
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

// Scaling, cropping, normalising; see preprocess.h. Only what the crop keeps is computed.
#include "models/preprocess.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace pillarbox::models {

namespace {

constexpr std::uint32_t kMaxSide = std::uint32_t{1} << 24;
constexpr std::size_t kColours = 3;

/// Which source pixels make one output pixel along an axis, and how much of each.
struct Taps {
  std::uint32_t first = 0;
  std::vector<double> weights;  ///< sum to one
};

/// One axis: `source` pixels scaled to `scaled`, of which [offset, offset + count) are kept.
std::vector<Taps> tapsFor(std::uint32_t source, std::uint64_t scaled, std::uint64_t offset,
                          std::uint32_t count) {
  const double ratio = static_cast<double>(source) / static_cast<double>(scaled);
  const double support = std::max(ratio, 1.0);  // half the triangle's base
  std::vector<Taps> taps(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const double centre = (static_cast<double>(offset + i) + 0.5) * ratio;
    const auto low = static_cast<std::int64_t>(std::floor(centre - support));
    const auto high = static_cast<std::int64_t>(std::ceil(centre + support));
    const std::int64_t first = std::clamp<std::int64_t>(low, 0, source - 1);
    const std::int64_t last = std::clamp<std::int64_t>(high, first + 1, source);
    Taps& tap = taps[i];
    tap.first = static_cast<std::uint32_t>(first);
    double sum = 0;
    for (std::int64_t x = first; x < last; ++x) {
      const double distance = std::abs(static_cast<double>(x) + 0.5 - centre) / support;
      tap.weights.push_back(std::max(0.0, 1.0 - distance));
      sum += tap.weights.back();
    }
    for (double& w : tap.weights) w /= sum;
  }
  return taps;
}

/// The crop as real numbers 0..255, [row][column][colour].
std::vector<double> scaleAndCrop(const RgbImage& image, std::uint32_t width, std::uint32_t height) {
  // The smaller scaling factor that covers both sides; the other side is rounded down.
  std::uint64_t scaledWidth = width;
  std::uint64_t scaledHeight = height;
  if (std::uint64_t{image.width} * height > std::uint64_t{image.height} * width) {
    scaledWidth =
        std::max<std::uint64_t>(width, std::uint64_t{image.width} * height / image.height);
  } else {
    scaledHeight =
        std::max<std::uint64_t>(height, std::uint64_t{image.height} * width / image.width);
  }
  const auto columns = tapsFor(image.width, scaledWidth, (scaledWidth - width) / 2, width);
  const auto rows = tapsFor(image.height, scaledHeight, (scaledHeight - height) / 2, height);

  const std::uint32_t firstRow = rows.front().first;
  const std::uint32_t endRow =
      rows.back().first + static_cast<std::uint32_t>(rows.back().weights.size());
  const std::size_t rowSize = std::size_t{width} * kColours;
  std::vector<double> narrow((endRow - firstRow) * rowSize);
  for (std::uint32_t y = firstRow; y < endRow; ++y) {
    const std::uint8_t* source = image.pixels + y * image.stride;
    double* target = narrow.data() + (y - firstRow) * rowSize;
    for (const Taps& tap : columns) {
      std::array<double, kColours> sum{};
      const std::uint8_t* pixel = source + std::size_t{tap.first} * kColours;
      for (double weight : tap.weights) {
        for (std::size_t c = 0; c < kColours; ++c) sum[c] += weight * *pixel++;
      }
      target = std::copy(sum.begin(), sum.end(), target);
    }
  }
  std::vector<double> result(height * rowSize, 0.0);
  for (std::uint32_t y = 0; y < height; ++y) {
    const double* source = narrow.data() + (rows[y].first - firstRow) * rowSize;
    for (double weight : rows[y].weights) {
      for (std::size_t i = 0; i < rowSize; ++i) result[y * rowSize + i] += weight * source[i];
      source += rowSize;
    }
  }
  return result;
}

Status check(const RgbImage& image) {
  if (image.pixels == nullptr || image.width == 0 || image.height == 0) {
    return Error{ErrorCode::InvalidArgument, "The picture is empty."};
  }
  if (image.width > kMaxSide || image.height > kMaxSide ||
      image.stride < std::size_t{image.width} * kColours) {
    return Error{ErrorCode::InvalidArgument, "The picture's size makes no sense."};
  }
  return {};
}

}  // namespace

Result<std::vector<std::uint8_t>> resizeToCover(const RgbImage& image, std::uint32_t width,
                                                std::uint32_t height) {
  PILLARBOX_TRY(check(image));
  if (width == 0 || height == 0 || width > kMaxSide || height > kMaxSide) {
    return Error{ErrorCode::InvalidArgument, "The size to scale to makes no sense."};
  }
  const std::vector<double> pixels = scaleAndCrop(image, width, height);
  std::vector<std::uint8_t> bytes(pixels.size());
  std::transform(pixels.begin(), pixels.end(), bytes.begin(), [](double v) {
    return static_cast<std::uint8_t>(std::clamp(std::lround(v), 0L, 255L));
  });
  return bytes;
}

Result<std::vector<float>> preprocess(const RgbImage& image, const PublicModel& model) {
  return preprocess(image, model.input, model.mean, model.std);
}

Result<std::vector<float>> preprocess(const RgbImage& image, const Shape& input,
                                      std::span<const float> mean, std::span<const float> std) {
  PILLARBOX_TRY(check(image));
  if (input.channels != 1 && input.channels != kColours) {
    return Error{ErrorCode::Unsupported,
                 "The model takes " + std::to_string(input.channels) +
                     " channels; pictures can be given to models with one or three."};
  }
  if (mean.size() != input.channels || std.size() != input.channels || input.size() == 0) {
    return Error{ErrorCode::InvalidArgument,
                 "The model needs one mean and one standard deviation a channel."};
  }
  std::vector<double> pixels;
  if (image.width == input.width && image.height == input.height) {
    pixels.reserve(std::size_t{image.width} * image.height * kColours);
    for (std::uint32_t y = 0; y < image.height; ++y) {
      const std::uint8_t* row = image.pixels + y * image.stride;
      pixels.insert(pixels.end(), row, row + std::size_t{image.width} * kColours);
    }
  } else {
    pixels = scaleAndCrop(image, input.width, input.height);
  }
  const std::size_t area = std::size_t{input.height} * input.width;
  std::vector<float> result(input.size());
  for (std::size_t i = 0; i < area; ++i) {
    const double* rgb = pixels.data() + i * kColours;
    for (std::size_t c = 0; c < input.channels; ++c) {
      const double value =
          input.channels == 1 ? 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] : rgb[c];
      result[c * area + i] = static_cast<float>((value / 255.0 - static_cast<double>(mean[c])) /
                                                static_cast<double>(std[c]));
    }
  }
  return result;
}

}  // namespace pillarbox::models

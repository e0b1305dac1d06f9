// From a decoded picture to the numbers that a network takes. The trainer, the command line and the
// app all go through here, so that a picture means the same everywhere.
//
// Steps: scale until the picture just covers the network's input (aspect ratio kept), cut out the
// centre, divide by 255, subtract the mean and divide by the standard deviation of each channel.
//
// Scaling is by the triangle filter, widened by the reduction factor so that every source pixel
// counts (the "bilinear with antialiasing" of common image libraries), in one horizontal and one
// vertical pass without rounding between. A picture that has the input's size already is not
// touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "models/description.h"

namespace pillarbox::models {

/// Pixels as a decoder leaves them: red, green, blue bytes, rows from the top. Alpha, palettes,
/// 16-bit channels, grey and EXIF rotation are the caller's to convert.
struct RgbImage {
  const std::uint8_t* pixels = nullptr;
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::size_t stride = 0;  ///< bytes from one row to the next, at least 3 * width
};

/// The network's input: model.input.size() floats, channels first, normalised. A network with one
/// channel gets the luma 0.299 R + 0.587 G + 0.114 B.
///
/// Cost: one pass over the part of the picture that is kept; memory for its height times the
/// network's width.
/// Errors: InvalidArgument (an empty picture, a stride below its width), Unsupported (a network
/// with other than one or three channels).
Result<std::vector<float>> preprocess(const RgbImage& image, const PublicModel& model);

/// The same from what it needs of the model; `mean` and `std` have one value a channel.
Result<std::vector<float>> preprocess(const RgbImage& image, const Shape& input,
                                      std::span<const float> mean, std::span<const float> std);

/// The picture scaled and cropped as above to width x height, as bytes again (rounded to the
/// nearest): red, green, blue, rows from the top. For training sets, which keep bytes.
/// Errors: InvalidArgument.
Result<std::vector<std::uint8_t>> resizeToCover(const RgbImage& image, std::uint32_t width,
                                                std::uint32_t height);

}  // namespace pillarbox::models

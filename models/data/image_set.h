// Labelled images in memory, and the batches that training takes from them.
//
// Pixels stay 8-bit (50,000 CIFAR images are 150 MB); a batch is normalised while it is gathered,
// through a table of 256 floats a channel. Augmentation (a random crop, a horizontal flip) is only
// index arithmetic in that same copy; what a crop shows beyond the border is the mean colour, zero
// after normalisation, as a convolution's padding is.
//
// Every random choice is a hash of (seed, epoch, image): a run gives the same batches whatever the
// number of threads, and a resumed run continues with the batches it would have seen.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <torch/torch.h>

namespace pillarbox::data {

/// Images of one size with their classes. Pixels are RGB, 8 bits, row after row.
struct ImageSet {
  std::uint32_t size = 0;  ///< height and width
  std::vector<std::uint8_t> pixels;
  std::vector<std::uint16_t> labels;

  std::size_t count() const { return labels.size(); }
  std::size_t bytesPerImage() const { return std::size_t{3} * size * size; }
  std::span<const std::uint8_t> image(std::size_t i) const {
    return {pixels.data() + i * bytesPerImage(), bytesPerImage()};
  }
};

/// A file that was skipped, and why.
struct SkippedFile {
  std::string path;
  std::string reason;
};

/// A training and a test set over the same classes.
struct Dataset {
  std::vector<std::string> classes;
  ImageSet train;
  ImageSet test;
  std::vector<SkippedFile> skipped;
  bool splitMade = false;  ///< there was no test split; a fifth of every class was set aside
};

/// Per channel, for pixels scaled to 0..1.
struct Normalisation {
  std::array<float, 3> mean{0.5F, 0.5F, 0.5F};
  std::array<float, 3> std{0.25F, 0.25F, 0.25F};
};

/// Mean and standard deviation of every pixel of a set, channel by channel. The set must not be
/// empty.
Normalisation normalisationOf(const ImageSet& images);

struct Augmentation {
  int cropPadding = 4;  ///< the crop moves by up to this many pixels each way; 0 for none
  bool flip = true;     ///< mirror left to right in every second epoch, starting at random
};

/// A minibatch on the CPU: images [n, 3, size, size] float32 contiguous, labels [n] int64.
struct Batch {
  torch::Tensor images;
  torch::Tensor labels;
};

/// The order of `count` images in an epoch: a permutation that depends on seed and epoch only.
std::vector<std::uint32_t> shuffledOrder(std::size_t count, std::uint64_t seed, int epoch);

/// Gathers and augments the images with the given indices.
Batch gatherAugmented(const ImageSet& images, std::span<const std::uint32_t> indices,
                      const Normalisation& normalisation, const Augmentation& augmentation,
                      std::uint64_t seed, int epoch);

/// A set's pixels on a GPU (or wherever `device` is): what fits there need not
/// travel with every batch, and is augmented where it lies.
struct DeviceImages {
  torch::Tensor pixels;  ///< [n, size, size, 3] uint8
  torch::Tensor labels;  ///< [n] int64
};
DeviceImages toDevice(const ImageSet& images, const torch::Device& device);

/// The same batch as the one above makes, on the device of the pixels.
Batch gatherAugmented(const DeviceImages& images, std::span<const std::uint32_t> indices,
                      const Normalisation& normalisation, const Augmentation& augmentation,
                      std::uint64_t seed, int epoch);

/// Gathers images first .. first + count - 1 as they are.
Batch gather(const ImageSet& images, std::size_t first, std::size_t count,
             const Normalisation& normalisation);

}  // namespace pillarbox::data

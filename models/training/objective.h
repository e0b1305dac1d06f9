// What a network is asked to do with a batch: mixed images, soft targets, a teacher's answers.
//
// - Mixup (Zhang and others, 2018) blends every image with another of the batch, cutmix (Yun and
//   others, 2019) pastes a rectangle of another into it; labels are blended in the same proportion.
//   With both on, a coin decides for every batch. The partner of image i is image n - 1 - i.
// - Distillation (Hinton and others, 2015): the student also imitates a ReLU network's softened
//   answers on the very images it gets. With weight w and temperature T the loss is
//   (1 - w) * cross entropy + w * T^2 * KL(teacher softened by T || student softened by T).
// - Class weights: an image of class c counts (images / classes) / (images of c) in the cross
//   entropy, so that every class as a whole counts the same.
//
// Random choices are a function of (seed, epoch, step), as the batches are.
#pragma once

#include <cstdint>
#include <vector>

#include <torch/torch.h>

#include "models/data/image_set.h"

namespace pillarbox::training {

struct MixingOptions {
  double mixup = 0;   ///< alpha of the Beta distribution of the proportion; 0: no mixup
  double cutmix = 0;  ///< the same
};

/// A batch whose image i is `share` of label[i] and 1 - share of partner[i].
struct MixedBatch {
  torch::Tensor images;   ///< [n, 3, h, w]
  torch::Tensor labels;   ///< [n] int64
  torch::Tensor partner;  ///< [n] int64
  double share = 1;
};

/// Mixes a batch, or passes it on where nothing is asked for.
MixedBatch mix(const torch::Tensor& images, const torch::Tensor& labels,
               const MixingOptions& options, std::uint64_t seed, int epoch, std::int64_t step);

/// One weight a class, as above; a class without images gets 0. [classes] float32.
torch::Tensor balancedWeights(const std::vector<std::uint16_t>& labels, std::size_t classes);

struct ObjectiveOptions {
  double labelSmoothing = 0;
  double temperature = 4;      ///< T
  double teacherWeight = 0;    ///< w, 0 to 1
  torch::Tensor classWeights;  ///< undefined: all alike
};

/// The mean loss of a batch, a scalar.
/// @param logits   [n, classes] of the student
/// @param teacher  [n, classes] of the teacher on the same images; undefined where there is none
torch::Tensor objective(const torch::Tensor& logits, const MixedBatch& batch,
                        const torch::Tensor& teacher, const ObjectiveOptions& options);

}  // namespace pillarbox::training

#include "models/training/objective.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace pillarbox::training {
namespace {

// A proportion from Beta(alpha, alpha).
double drawShare(std::mt19937_64& random, double alpha) {
  std::gamma_distribution<double> gamma(alpha, 1.0);
  const double a = gamma(random), b = gamma(random);
  return a + b > 0 ? a / (a + b) : 0.5;
}

}  // namespace

MixedBatch mix(const torch::Tensor& images, const torch::Tensor& labels,
               const MixingOptions& options, std::uint64_t seed, int epoch, std::int64_t step) {
  MixedBatch batch{images, labels, labels, 1.0};
  if (options.mixup <= 0 && options.cutmix <= 0) return batch;
  std::seed_seq sequence{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32),
                         static_cast<std::uint32_t>(epoch), static_cast<std::uint32_t>(step)};
  std::mt19937_64 random(sequence);
  const bool both = options.mixup > 0 && options.cutmix > 0;
  const bool cut = options.mixup <= 0 || (both && (random() >> 63) != 0);
  const double share = drawShare(random, cut ? options.cutmix : options.mixup);
  const torch::Tensor other = images.flip(0);
  batch.partner = labels.flip(0);
  if (!cut) {
    batch.images = images * share + other * (1 - share);
    batch.share = share;
    return batch;
  }
  const std::int64_t height = images.size(2), width = images.size(3);
  const double side = std::sqrt(1 - share);
  const auto extent = [&](std::int64_t full, std::int64_t& from, std::int64_t& to) {
    const auto centre = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(full));
    const auto half = static_cast<std::int64_t>(side * static_cast<double>(full) / 2);
    from = std::max<std::int64_t>(0, centre - half);
    to = std::min(full, centre + half);
  };
  std::int64_t top = 0, bottom = 0, left = 0, right = 0;
  extent(height, top, bottom);
  extent(width, left, right);
  batch.images = images.clone();
  batch.images.slice(2, top, bottom)
      .slice(3, left, right)
      .copy_(other.slice(2, top, bottom).slice(3, left, right));
  // The rectangle may have been cut off at the border: what counts is what was pasted.
  batch.share = 1 - static_cast<double>((bottom - top) * (right - left)) /
                        static_cast<double>(height * width);
  return batch;
}

torch::Tensor balancedWeights(const std::vector<std::uint16_t>& labels, std::size_t classes) {
  std::vector<float> counts(classes, 0);
  for (const auto label : labels) ++counts.at(label);
  const float fair = static_cast<float>(labels.size()) / static_cast<float>(classes);
  for (float& c : counts) c = c > 0 ? fair / c : 0;
  return torch::tensor(counts);
}

torch::Tensor objective(const torch::Tensor& logits, const MixedBatch& batch,
                        const torch::Tensor& teacher, const ObjectiveOptions& options) {
  const torch::Tensor scores = logits.to(torch::kFloat);
  const auto entropy = [&](const torch::Tensor& labels) {
    auto settings =
        torch::nn::functional::CrossEntropyFuncOptions().label_smoothing(options.labelSmoothing);
    if (options.classWeights.defined()) settings.weight(options.classWeights);
    return torch::nn::functional::cross_entropy(scores, labels, settings);
  };
  torch::Tensor loss;
  if (!teacher.defined() || options.teacherWeight < 1) {
    loss = batch.share * entropy(batch.labels);
    if (batch.share < 1) loss = loss + (1 - batch.share) * entropy(batch.partner);
  }
  if (!teacher.defined() || options.teacherWeight <= 0) return loss;
  const double t = options.temperature;
  const torch::Tensor wanted = torch::log_softmax(teacher.detach().to(torch::kFloat) / t, 1);
  const torch::Tensor given = torch::log_softmax(scores / t, 1);
  const torch::Tensor divergence =
      (wanted.exp() * (wanted - given)).sum(1).mean() * (t * t * options.teacherWeight);
  return loss.defined() ? (1 - options.teacherWeight) * loss + divergence : divergence;
}

}  // namespace pillarbox::training

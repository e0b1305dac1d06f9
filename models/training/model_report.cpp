#include "models/training/model_report.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "models/oracle.h"

namespace pillarbox::training {
namespace {

using nlohmann::json;

/// Bytes of a value: online, of the scores, and dealt. tests/training/test_export.cpp holds them
/// against what the two parties count.
constexpr std::uint64_t kOnline = 7, kScore = 8, kDealt = 8;

std::uint64_t multiplyAddsOf(const models::LinearOp& op) {
  switch (op.kind) {
    case models::OpKind::Convolution:
      return std::uint64_t{op.out.size()} * op.in.channels * op.kernelH * op.kernelW;
    case models::OpKind::FullyConnected:
      return std::uint64_t{op.out.size()} * op.in.size();
    default:
      return 0;
  }
}

}  // namespace

double InferenceCost::seconds(const Link& link) const {
  return rounds * link.roundTrip +
         8.0 * static_cast<double>(bytesToEngine + bytesToClient) / link.bandwidth +
         static_cast<double>(multiplyAdds) / kMultiplyAddsPerSecond;
}

json toJson(const InferenceCost& cost) {
  const auto rounded = [](double v) { return std::round(v * 1e4) / 1e4; };
  return {{"rounds", cost.rounds},
          {"bytes_to_engine", cost.bytesToEngine},
          {"bytes_to_client", cost.bytesToClient},
          {"dealer_bytes_to_client", cost.offlineToClient},
          {"dealer_bytes_from_client", cost.offlineFromClient},
          {"multiply_adds", cost.multiplyAdds},
          {"seconds_at_0.25ms_1gbit", rounded(cost.seconds(kNearLink))},
          {"seconds_at_100ms_100mbit", rounded(cost.seconds(kFarLink))}};
}

InferenceCost inferenceCost(const models::PublicModel& model) {
  InferenceCost cost;
  cost.rounds = static_cast<std::uint32_t>(model.stages.size());
  cost.bytesToEngine = kOnline * model.input.size();
  for (std::size_t i = 0; i < model.stages.size(); ++i) {
    const std::uint64_t values = model.stages[i].output.size();
    cost.bytesToClient += (model.stages[i].activation ? kOnline : kScore) * values;
    cost.offlineToClient += kDealt * values;
    if (const auto& activation = model.stages[i].activation) {
      cost.bytesToEngine += kOnline * values;
      cost.offlineFromClient += kDealt * values;
      cost.offlineToClient += kDealt * values * 2 * (activation->coefficients.size() - 1);
    }
    for (const auto& op : model.stages[i].ops) cost.multiplyAdds += multiplyAddsOf(op);
  }
  return cost;
}

InferenceCost inferenceCost(const architectures::Architecture& architecture, std::uint32_t degree) {
  const auto counts = architectures::countsOf(architecture);
  const std::uint64_t logits = static_cast<std::uint64_t>(architecture.classes);
  InferenceCost cost;
  cost.rounds = static_cast<std::uint32_t>(counts.rounds);
  cost.bytesToEngine = kOnline * (architecture.input.size() + counts.activations);
  cost.bytesToClient = kOnline * counts.activations + kScore * logits;
  cost.offlineToClient = kDealt * (counts.activations * (1 + 2 * std::uint64_t{degree}) + logits);
  cost.offlineFromClient = kDealt * counts.activations;
  cost.multiplyAdds = counts.multiplyAdds;
  return cost;
}

FixedPointAccuracy fixedPointAccuracy(const models::LoadedModel& model, const data::ImageSet& test,
                                      const data::Normalisation& normalisation, std::size_t count) {
  count = std::min(count, test.count());
  std::vector<std::vector<float>> images;
  std::vector<std::size_t> labels;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = i * test.count() / count;
    const data::Batch one = data::gather(test, at, 1, normalisation);
    const float* pixels = one.images.data_ptr<float>();
    images.emplace_back(pixels, pixels + one.images.numel());
    labels.push_back(test.labels[at]);
  }
  const models::FixedPointOracle oracle(model.model, model.weights, model.range);
  const auto results = oracle.evaluateAll(images);
  FixedPointAccuracy accuracy;
  accuracy.images = count;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t answer = models::largestIndex(results[i].logits);
    if (answer == labels[i]) ++accuracy.correct;
    if (answer == models::largestIndex(models::evaluateFloat(model.graph, images[i]))) {
      ++accuracy.agree;
    }
  }
  return accuracy;
}

json modelReport(const models::LoadedModel& model, const json& evaluation,
                 const FixedPointAccuracy& fixed) {
  json report = toJson(inferenceCost(model.model));
  report["truncation_failure_bound"] = model.failure.total();
  if (evaluation.is_object()) {
    report["float_accuracy"] = evaluation.value("accuracy", 0.0);
    report["float_images"] = evaluation.value("images", 0);
    report["out_of_range_ratio"] = evaluation.value("out_of_range", 0.0);
    report["lost_images"] = evaluation.value("lost_images", 0);
  }
  if (fixed.images > 0) {
    report["fixed_point_accuracy"] =
        static_cast<double>(fixed.correct) / static_cast<double>(fixed.images);
    report["fixed_point_images"] = fixed.images;
    report["fixed_point_agreement"] =
        static_cast<double>(fixed.agree) / static_cast<double>(fixed.images);
  }
  return report;
}

}  // namespace pillarbox::training

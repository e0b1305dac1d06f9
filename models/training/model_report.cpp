#include "models/training/model_report.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "engine/inference/executor.h"
#include "engine/offline/dealing.h"
#include "models/architectures/graph.h"
#include "models/oracle.h"

namespace pillarbox::training {
namespace {

using nlohmann::json;

double wireSeconds(std::uint64_t toEngine, std::uint64_t toClient, const Link& link) {
  return 8.0 * static_cast<double>(std::max(toEngine, toClient)) / link.bandwidth;
}

}  // namespace

double NetworkCost::seconds(const Link& link) const {
  return rounds * link.roundTrip + wireSeconds(bytesToEngine, bytesToClient, link) +
         static_cast<double>(multiplyAdds) / kMultiplyAddsPerSecond;
}

double NetworkCost::preparationSeconds(const Link& link) const {
  if (!preparation) return 0;
  const auto& p = *preparation;
  const auto linear = static_cast<double>(p.linearBytesToEngine + p.linearBytesToClient);
  const auto all = static_cast<double>(p.bytesToEngine + p.bytesToClient);
  return p.rounds * link.roundTrip + wireSeconds(p.bytesToEngine, p.bytesToClient, link) +
         (linear * kLinearSecondsPerByte + (all - linear) * kPowersSecondsPerByte) / 2;
}

json toJson(const NetworkCost& cost) {
  const auto rounded = [](double v) { return std::round(v * 1e4) / 1e4; };
  json result = {{"rounds", cost.rounds},
                 {"bytes_to_engine", cost.bytesToEngine},
                 {"bytes_to_client", cost.bytesToClient},
                 {"multiply_adds", cost.multiplyAdds},
                 {"seconds_at_0.25ms_1gbit", rounded(cost.seconds(kNearLink))},
                 {"seconds_at_100ms_100mbit", rounded(cost.seconds(kFarLink))},
                 {"dealer_bytes_to_client", cost.dealerBytesToClient},
                 {"dealer_bytes_from_client", cost.dealerBytesFromClient}};
  if (!cost.preparation) {
    result["preparation_refused"] = cost.unprepared;
    return result;
  }
  result["preparation_rounds"] = cost.preparation->rounds;
  result["preparation_bytes_to_engine"] = cost.preparation->bytesToEngine;
  result["preparation_bytes_to_client"] = cost.preparation->bytesToClient;
  result["session_key_bytes"] = cost.preparation->keyBytes;
  result["weights_hidden_bits"] = std::floor(10 * cost.preparation->hidingBits) / 10;
  result["preparation_seconds_at_0.25ms_1gbit"] = rounded(cost.preparationSeconds(kNearLink));
  result["preparation_seconds_at_100ms_100mbit"] = rounded(cost.preparationSeconds(kFarLink));
  return result;
}

NetworkCost networkCost(const models::PublicModel& model) {
  NetworkCost cost;
  const auto online = inference::onlineCost(model);
  cost.rounds = online.rounds;
  cost.bytesToEngine = online.bytesToEngine;
  cost.bytesToClient = online.bytesToClient;
  cost.multiplyAdds = online.multiplyAdds;
  const auto plan =
      offline::two_party::SetPlan::create(std::make_shared<const models::PublicModel>(model));
  if (plan.ok()) {
    cost.preparation = (*plan)->cost();
  } else {
    cost.unprepared = plan.error().message;
  }
  const auto dealt = offline::offlineCost(model);
  cost.dealerBytesToClient = dealt.correctionWords * sizeof(std::uint64_t);
  cost.dealerBytesFromClient = dealt.clientWords * sizeof(std::uint64_t);
  return cost;
}

Result<NetworkCost> networkCost(const architectures::Architecture& architecture,
                                std::uint32_t degree) {
  // Which coefficients does not matter.
  models::Polynomial polynomial;
  polynomial.coefficients.assign(degree + 1, 1);
  PILLARBOX_ASSIGN(const models::PublicModel model,
                   architectures::publicModelOf(architecture, polynomial));
  return networkCost(model);
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
  json report = toJson(networkCost(model.model));
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

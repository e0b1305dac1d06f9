#include "engine/inference/activations.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace pillarbox::inference {

namespace {

Error refuse(const models::PublicModel& model, offline::Protocol protocol, const std::string& why) {
  return {ErrorCode::Unsupported, "the model " + model.name + " cannot be evaluated by " +
                                      offline::toString(protocol) + ": " + why};
}

}  // namespace

Result<std::shared_ptr<const Activations>> Activations::make(const models::PublicModel& model,
                                                             offline::Protocol protocol) {
  auto result = std::make_shared<Activations>();
  result->m_correlations.protocol = protocol;
  if (protocol == offline::Protocol::HoneyBadger) {
    return std::shared_ptr<const Activations>(std::move(result));
  }
  for (const models::Stage& stage : model.stages) {
    if (!stage.activation) continue;
    try {
      result->m_stages.push_back(protocol::Activation::make(protocol, *stage.activation,
                                                            model.precisionBits, kActivationBound));
    } catch (const std::logic_error& error) {
      return refuse(model, protocol, error.what());
    }
    const protocol::Activation& activation = *result->m_stages.back();
    result->m_correlations.products.push_back(*activation.products());
    result->m_failure += static_cast<double>(stage.output.size()) * activation.failureBound();
  }
  if (result->m_failure > kMostSpoiled) {
    const auto images = static_cast<long long>(std::ceil(1 / std::min(1.0, result->m_failure)));
    return refuse(model, protocol,
                  "its 64-bit shares would spoil about one image in " + std::to_string(images));
  }
  return std::shared_ptr<const Activations>(std::move(result));
}

}  // namespace pillarbox::inference

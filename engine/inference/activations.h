// How a session evaluates its network's activations: the protocol and, for every stage, what that
// needs. Public; both parties and the dealer derive the same from the model's description.
#pragma once

#include <memory>
#include <vector>

#include "engine/core/result.h"
#include "engine/offline/products.h"
#include "engine/protocol/activation.h"
#include "models/description.h"

namespace pillarbox::inference {

/// Values before an activation are taken to stay below this, the paper's range. It decides about
/// ESPN's working precision, and what the protocols' error and failure bounds are given for; values
/// beyond are computed too, with errors and risks that grow with their powers.
inline constexpr double kActivationBound = 5;

/// A model is refused to a protocol by which more of its images than this would be spoiled by
/// shares that wrap. (HoneyBadger's own limit is much stricter: models/accuracy_bound.h.)
inline constexpr double kMostSpoiled = 0x1p-6;

/// Immutable, shared by sessions.
class Activations {
 public:
  /// Errors: Unsupported where this protocol's arithmetic is too narrow for the model; the sentence
  /// says why.
  static Result<std::shared_ptr<const Activations>> make(const models::PublicModel& model,
                                                         offline::Protocol protocol);

  offline::Protocol protocol() const { return m_correlations.protocol; }
  /// What the sets must hold.
  const offline::CorrelationPlan& correlations() const { return m_correlations; }
  /// Of a stage that has one; by every protocol but HoneyBadger, which the executor streams.
  const protocol::Activation& of(std::size_t stage) const { return *m_stages.at(stage); }
  /// Union bound over one inference.
  double failureBound() const { return m_failure; }

 private:
  offline::CorrelationPlan m_correlations;
  std::vector<std::unique_ptr<const protocol::Activation>> m_stages;
  double m_failure = 0;
};

}  // namespace pillarbox::inference

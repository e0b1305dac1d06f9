// What a model file holds once it is read and checked.
#pragma once

#include <string>

#include "models/accuracy_bound.h"
#include "models/description.h"
#include "models/float_graph.h"

namespace pillarbox::models {

struct LoadedModel {
  PublicModel model;     ///< for both parties
  ModelWeights weights;  ///< for the engine alone
  FloatGraph graph;      ///< the network in real numbers, as the file states it
  std::uint32_t weightBits = 12;
  double range = 5.0;    ///< the activation was fitted on [-range, range]
  std::string training;  ///< JSON object of facts about the training, or empty
  FailureBound failure;  ///< at |z| <= 2 * range
};

}  // namespace pillarbox::models

// A network that has no weights yet, as what model files are read into.
//
// What an inference costs, and what its preparation costs, follows from the public description
// alone. So both are known before anything has been trained: the list of layers becomes the same
// graph that a reader makes of an exported file, with weights that do not matter, and that graph
// becomes stages by the same rules (models/quantise.h).
#pragma once

#include <functional>
#include <vector>

#include "models/architectures/architecture.h"
#include "models/description.h"
#include "models/float_graph.h"

namespace pillarbox::architectures {

/// Fills the weights and the bias of a Convolution or FullyConnected node, whose name (the
/// layer's), shapes and window are set.
using WeightsFor = std::function<void(models::FloatNode& node)>;

/// The network with its batch norms folded away and `activation` in every activation layer.
/// @param architecture  well formed, as inferShapes() finds
models::FloatGraph graphOf(const Architecture& architecture, const models::Polynomial& activation,
                           const WeightsFor& weights);

/// The public description that an exported network of this architecture would have (its labels and
/// normalisation aside), with the usual precision.
/// Cost: memory and time of its weights, some tenths of a second for twenty million.
/// Errors: those of inferShapes and models::quantise.
Result<models::PublicModel> publicModelOf(const Architecture& architecture,
                                          const models::Polynomial& activation);

}  // namespace pillarbox::architectures

// The name of masked weights: SHA-256 of E as little-endian words. The engine announces it, the
// client checks what it downloads or finds in its cache against it.
#pragma once

#include "engine/offline/dealing.h"

namespace pillarbox::offline {

/// SHA-256 over the words of toWords(), each as 8 little-endian bytes. Cost: one pass.
Result<models::Sha256> contentHash(const WideWeights& weights);

}  // namespace pillarbox::offline

// Tensors that travel or are worked on in pieces.
#pragma once

#include <algorithm>
#include <cstddef>

#include "engine/core/result.h"

namespace pillarbox {

/// Calls step(first, count) for consecutive pieces of [0, total), each of at most `piece`; stops at
/// the first error.
template <typename Step>
Status inPieces(std::size_t total, std::size_t piece, const Step& step) {
  for (std::size_t first = 0; first < total; first += piece) {
    PILLARBOX_TRY(step(first, std::min(piece, total - first)));
  }
  return {};
}

}  // namespace pillarbox

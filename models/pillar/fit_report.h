// What fit-poly shows of a polynomial fit: numbers, a plot, and a cache that answers the same
// question at once the second time.
//
// The plot is PILLAR's figure 11: ReLU, the best real polynomial with its coefficients rounded
// ("truncated"), and the best polynomial among those with quantised coefficients, over a little
// more than the range, so that one sees where they leave ReLU. It is a plain SVG file, readable in
// light and dark surroundings.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "models/pillar/polynomial_fit.h"

namespace pillarbox::models::pillar {

/// The best real coefficients, each rounded to the nearest integer over 2^fractionBits.
std::vector<std::int64_t> roundedCoefficients(const FitRequest& request, const FitOutcome& outcome);

/// The plot as an SVG document of 720 x 480 units.
std::string plotSvg(const FitRequest& request, const FitOutcome& outcome);

/// Fits ReLU, or takes the answer from `cacheFolder` (none if empty) where the same request was
/// answered with a proof before. A damaged cache entry is ignored and replaced; one that cannot be
/// written is not an error.
/// Errors: those of fitPolynomial.
Result<FitOutcome> fitReluCached(const FitRequest& request,
                                 const std::filesystem::path& cacheFolder);

/// $XDG_CACHE_HOME/pillarbox/fits, or the same under ~/.cache; empty if there is neither.
std::filesystem::path defaultFitCache();

}  // namespace pillarbox::models::pillar

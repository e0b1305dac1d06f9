// The union bound of accuracy_bound.h.
#include "models/accuracy_bound.h"

#include <algorithm>
#include <cmath>

namespace pillarbox::models {

namespace {

/// Largest |p(z)| on a grid of 4,097 points over [-bound, bound].
double largestValue(const Polynomial& polynomial, double bound) {
  constexpr int kSteps = 2048;
  double largest = 0;
  for (int i = -kSteps; i <= kSteps; ++i) {
    const double z = bound * i / kSteps;
    double value = 0;
    for (std::size_t j = polynomial.coefficients.size(); j-- > 0;) {
      value = value * z + static_cast<double>(polynomial.coefficients[j]);
    }
    largest = std::max(largest, std::abs(value));
  }
  return std::ldexp(largest, -static_cast<int>(polynomial.fractionBits));
}

}  // namespace

FailureBound truncationFailureBound(const PublicModel& model, double zBound) {
  FailureBound bound;
  const int f = static_cast<int>(model.precisionBits);
  bound.opening = static_cast<double>(model.input.size()) * std::ldexp(kPixelBound, f - 55);
  for (const Stage& stage : model.stages) {
    const auto elements = static_cast<double>(stage.output.size());
    const int truncation = static_cast<int>(stage.truncation);
    if (!stage.activation) {
      const int bits = static_cast<int>(model.outputBits) + truncation;
      bound.linear += elements * std::ldexp(std::max(kLogitBound, zBound), bits - 64);
      continue;
    }
    const Polynomial& polynomial = *stage.activation;
    const int polynomialBits =
        static_cast<int>(polynomial.degree()) * f + static_cast<int>(polynomial.fractionBits);
    bound.linear += elements * std::ldexp(zBound, f + truncation - 64);
    // The opening, and the activation's own value on its way to the engine.
    const double largest = largestValue(polynomial, zBound);
    bound.opening += elements * std::ldexp(zBound + largest, f - 55);
    bound.polynomial += elements * std::ldexp(largest, polynomialBits - 128);
  }
  return bound;
}

}  // namespace pillarbox::models

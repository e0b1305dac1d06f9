// Quantisation-aware polynomial fitting.
//
// The protocol evaluates sum_j k_j / 2^p * (x / s)^j with *integers* k_j. Rounding the coefficients
// of a real least-squares fit is not the best such polynomial: the high powers are so steep on
// [-B, B] that half a unit in k_4 costs more than the rest gains. So the integers are searched for,
// as PILLAR does with a mixed-integer program (section 4.1 of the paper), and the answer comes with
// a proof: the best value that any integers could have, which is the same one when the search
// ended.
//
// - Least squares is a closest-vector problem in at most nine dimensions: with the QR decomposition
//   of the basis, integers are enumerated from the last to the first coefficient, nearest first,
//   and a branch is cut when the part of the error that is fixed already exceeds the best found
//   (Schnorr and Euchner 1994).
// - L1 and L-infinity are linear programs in real coefficients; integers come from branch and bound
//   over GLPK's simplex. Every candidate is rounded and evaluated again from scratch before it
//   counts, because a solver's "integer" may be one to within 1e-5 only.
//
// Only the even part is fitted where the odd part is representable. If t(x) - c*x is even for a c
// that is a multiple of 2^-p, replacing the error e(x) by its even part (e(x) + e(-x)) / 2 lowers
// no symmetric norm's optimum (triangle inequality), so an optimal polynomial has c as its only odd
// coefficient. ReLU(x) = x/2 + |x|/2 is such a function.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/core/result.h"

namespace pillarbox::models::pillar {

enum class FitNorm { LeastSquares, L1, LInfinity };
const char* toString(FitNorm norm);  ///< "l2", "l1", "linf"

struct FitRequest {
  std::uint32_t degree = 4;         ///< 1..8
  std::uint32_t fractionBits = 10;  ///< p, 0..24
  double range = 5.0;               ///< B: the fit is over [-B, B]
  /// s: the basis is (x/s)^j; a power of two, so that the division is free in fixed point.
  double scale = 1.0;
  FitNorm norm = FitNorm::LeastSquares;
  std::uint32_t points = 1001;  ///< equally spaced samples, odd, at least 3 * (degree + 1)
  double secondsLimit = 60;     ///< the search stops here with the best found and its gap
};

/// The mean over the samples of |error|^2 (LeastSquares) or |error| (L1), or the greatest |error|.
struct FitOutcome {
  std::vector<std::int64_t> coefficients;  ///< k_j, constant term first
  double error = 0;                        ///< of these integers, in the request's norm
  double bound = 0;                        ///< no integers have a smaller one
  double realError = 0;                    ///< of the best real coefficients
  double roundedError = 0;                 ///< of those, rounded to integers
  std::vector<double> realCoefficients;    ///< times 1 (not 2^p)
  std::uint64_t nodes = 0;                 ///< of the search
  double seconds = 0;
  bool optimal() const { return bound >= error * (1 - 1e-9); }
};

/// Fits `target`. Errors: InvalidArgument with the limit that is broken.
/// Cost: milliseconds (least squares) to seconds (L1, L-infinity).
Result<FitOutcome> fitPolynomial(const FitRequest& request,
                                 const std::function<double(double)>& target);

/// The same for a function given by its values at equally spaced points of [-range, range], of
/// which there must be request.points.
Result<FitOutcome> fitPolynomial(const FitRequest& request, const std::vector<double>& values);

/// sum_j coefficients[j] / 2^fractionBits * (x / scale)^j.
double evaluateFit(const FitRequest& request, const std::vector<std::int64_t>& coefficients,
                   double x);

/// max(x, 0).
double relu(double x);

}  // namespace pillarbox::models::pillar

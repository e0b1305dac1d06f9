// An activation's polynomial and penalty as the loops over its values want them: in single
// precision, with what can be computed once computed. Knows neither LibTorch nor CUDA, so that the
// processor's loops and the GPU's kernels share it.
#pragma once

namespace pillarbox::pillar {

/// Beyond this multiple of the penalty's range the penalty grows linearly.
inline constexpr double kPenaltyKnee = 3.0;

inline constexpr int kMaxCoefficients = 9;
inline constexpr int kMaxExponent = 16;

struct Constants {
  float coefficients[kMaxCoefficients] = {};  ///< constant term first
  float derivative[kMaxCoefficients] = {};    ///< of the polynomial
  int degree = 4;                             ///< 1 to 8
  float range = 5;                            ///< beyond it a value is out of range
  float clipTo = 5;                           ///< infinity where nothing is clipped
  float inversePenaltyRange = 1;
  int exponent = 0;  ///< of the penalty: even, 2 to 16; 0 where none is taken
};

}  // namespace pillarbox::pillar

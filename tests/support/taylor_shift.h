// What the coefficients of p(δ + λ) as a polynomial in δ must be, by another way than the
// product's.
#pragma once

#include <vector>

#include "engine/core/int128.h"
#include "models/description.h"

namespace pillarbox::testing {

/// The coefficients of p(X + shift) 2^(d f + f_c), mod 2^128, for X and shift in units of 2^-f: by
/// repeated synthetic division.
inline std::vector<U128> taylorShift(const models::Polynomial& polynomial, std::uint32_t f,
                                     U128 shift) {
  const std::uint32_t degree = polynomial.degree();
  std::vector<U128> c;
  for (std::uint32_t j = 0; j <= degree; ++j) {
    c.push_back(static_cast<U128>(static_cast<I128>(polynomial.coefficients[j]))
                << (f * (degree - j)));
  }
  for (std::uint32_t i = 0; i < degree; ++i) {
    for (std::uint32_t j = degree; j-- > i;) c[j] += shift * c[j + 1];
  }
  return c;
}

}  // namespace pillarbox::testing

#include "engine/he/noise.h"

#include <cmath>
#include <numbers>

#include "engine/he/sampling.h"

namespace pillarbox::he {

namespace {

constexpr double kErrorProxy = 10.5, kRoundingProxy = 1.0 / 12;

/// Exceeded with probability below 2^-80 by a sum of variance proxy v.
double tail(double v) {
  return std::sqrt(2 * 81 * std::numbers::ln2 * v);
}

/// Sum of (q_i / P)^power.
double digitRatios(const Parameters& parameters, int power) {
  double sum = 0;
  for (std::size_t i = 0; i < parameters.q().count(); ++i) {
    const double bits = std::log2(static_cast<double>(parameters.q().modulus(i).value()));
    sum += std::exp2(power * (bits - parameters.special().bits()));
  }
  return sum;
}

}  // namespace

double keySwitchNoise(const Parameters& parameters) {
  const auto n = static_cast<double>(parameters.degree());
  return tail(kErrorProxy * n * digitRatios(parameters, 2)) + tail(kRoundingProxy * (n + 1));
}

double keySwitchNoiseCertain(const Parameters& parameters) {
  const auto n = static_cast<double>(parameters.degree());
  return static_cast<double>(kErrorBound) * n * digitRatios(parameters, 1) + (n + 1) / 2;
}

double zeroNoise(const Parameters& parameters) {
  return tail(kErrorProxy * (2 * static_cast<double>(parameters.degree()) + 1));
}

double productNoiseMean(double norm1, double norm2) {
  return norm1 / 2 + kErrorDeviation * norm2;
}

double keySwitchNoiseMean(const Parameters& parameters) {
  const auto n = static_cast<double>(parameters.degree());
  return kErrorDeviation * std::sqrt(n * digitRatios(parameters, 2)) + std::sqrt(n / 6) + 0.5;
}

double zeroNoiseMean(const Parameters& parameters) {
  return kErrorDeviation * std::sqrt(1 + 4 * static_cast<double>(parameters.degree()) / 3);
}

double roundingNoise(const Parameters& parameters) {
  return tail(kRoundingProxy * (static_cast<double>(parameters.degree()) + 1));
}

double replyNoise(const Parameters& parameters, double resultNoise, std::uint32_t floodingBits) {
  const double before = resultNoise + zeroNoise(parameters) + 0.5 + std::exp2(floodingBits - 1.0);
  return before * std::exp2(parameters.returned().bits() - parameters.q().bits()) +
         roundingNoise(parameters);
}

double decodableNoise(const Parameters& parameters, double messageBits) {
  return std::exp2(parameters.returned().bits() - messageBits - 1);
}

double hidingBits(double secretNoise, std::uint32_t floodingBits) {
  return floodingBits - std::log2(secretNoise);
}

}  // namespace pillarbox::he

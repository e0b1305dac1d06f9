#include "engine/ring/fixed_point.h"

#include <cmath>

namespace pillarbox::ring {

std::uint64_t encode(double value, std::uint32_t bits) {
  return static_cast<std::uint64_t>(std::llround(std::ldexp(value, static_cast<int>(bits))));
}

double decode(std::uint64_t element, std::uint32_t bits) {
  return std::ldexp(static_cast<double>(static_cast<std::int64_t>(element)),
                    -static_cast<int>(bits));
}

void truncateClient(std::span<std::uint64_t> share, std::uint32_t bits) {
  for (std::uint64_t& value : share) value = truncateClient(value, bits);
}

void truncateEngine(std::span<std::uint64_t> share, std::uint32_t bits) {
  for (std::uint64_t& value : share) value = truncateEngine(value, bits);
}

}  // namespace pillarbox::ring

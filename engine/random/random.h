// Randomness: seeds from OpenSSL's CSPRNG, expanded by AES-256 in counter mode.
//
// Everything random in a protocol comes from here. A 32-byte seed names one stream per label;
// expanding the same seed and label gives the same words on both sides of a wire, on any machine
// (little-endian words of the AES-CTR key stream). The initial counter block is the label (8 bytes,
// little-endian) followed by a 64-bit big-endian block counter that starts at zero, so the streams
// of one seed never overlap. AES-CTR is a pseudorandom generator under the usual assumption that
// AES is a pseudorandom permutation, for streams far shorter than 2^64 blocks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "engine/core/int128.h"
#include "engine/core/result.h"

namespace pillarbox::random {

/// 32 secret bytes; overwritten when it goes out of scope.
struct Seed {
  std::array<std::uint8_t, 32> bytes{};
  Seed() = default;
  Seed(const Seed&) = default;
  Seed& operator=(const Seed&) = default;
  ~Seed();
};

/// Fills with bytes from OpenSSL's CSPRNG, which the operating system seeds.
/// Errors: Internal if the generator cannot be seeded (never continue then).
Status systemRandom(std::span<std::uint8_t> bytes);

/// A fresh seed. Errors: as systemRandom.
Result<Seed> freshSeed();

/// One stream of a seed.
class Expander {
 public:
  /// @param stream  which of the seed's streams, one a tensor; never reuse one for two purposes
  Expander(const Seed& seed, std::uint64_t stream);
  ~Expander();
  Expander(Expander&&) noexcept;
  Expander& operator=(Expander&&) noexcept;

  /// The next `words.size()` uniform words of the stream.
  void fill(std::span<std::uint64_t> words);
  /// The next uniform 128-bit values, low word first.
  void fill(std::span<U128> values);

 private:
  struct State;
  std::unique_ptr<State> m_state;
};

}  // namespace pillarbox::random

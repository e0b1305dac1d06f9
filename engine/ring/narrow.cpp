#include "engine/ring/narrow.h"

#include <bit>
#include <cstring>
#include <stdexcept>

namespace pillarbox::ring {

static_assert(std::endian::native == std::endian::little,
              "words are packed as they lie in memory; a big-endian machine needs a swap here");

void narrow(std::span<std::uint64_t> values) {
  for (std::uint64_t& value : values) value = narrow(value);
}

// All but the last word move eight bytes at a time: the next one overwrites the eighth.
void pack(std::span<const std::uint64_t> words, std::span<std::byte> bytes) {
  if (bytes.size() != kNarrowBytes * words.size())
    throw std::logic_error("packed words do not fit");
  std::byte* out = bytes.data();
  for (std::size_t i = 0; i + 1 < words.size(); ++i, out += kNarrowBytes) {
    std::memcpy(out, &words[i], 8);
  }
  if (!words.empty()) std::memcpy(out, &words.back(), kNarrowBytes);
}

void unpack(std::span<const std::byte> bytes, std::span<std::uint64_t> words) {
  if (bytes.size() != kNarrowBytes * words.size())
    throw std::logic_error("packed words do not fit");
  const std::byte* in = bytes.data();
  for (std::size_t i = 0; i + 1 < words.size(); ++i, in += kNarrowBytes) {
    std::uint64_t word = 0;
    std::memcpy(&word, in, 8);
    words[i] = narrow(word);
  }
  if (words.empty()) return;
  std::uint64_t word = 0;
  std::memcpy(&word, in, kNarrowBytes);
  words.back() = narrow(word);
}

}  // namespace pillarbox::ring

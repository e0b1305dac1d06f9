// Masked values in seven bytes.
//
// What travels online is a small value behind a uniform mask, m = v - r, and the receiver wants v -
// r in a ring that is far wider than v: Z_2^64 for activations, the integers for openings. It is
// enough to send it modulo 2^56. If r is a signed number of 56 bits (its low 56 bits uniform, sign
// extended), the receiver takes the signed representative of m mod 2^56; that is v - r itself,
// unless r lies within |v| of an end of its range, which happens with probability |v| / 2^56.
//
// What is seen: m mod 2^56 is uniform whatever v is. The hiding is perfect, as in 64 bits; what the
// eighth byte bought was fewer wrong results, and truncation in Z_2^64 is wrong more often than
// this (models/accuracy_bound.h adds both up). Six bytes would not do: see docs/network.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace pillarbox::ring {

constexpr std::uint32_t kNarrowBits = 56;
constexpr std::size_t kNarrowBytes = kNarrowBits / 8;

/// The signed representative modulo 2^56, as a word.
constexpr std::uint64_t narrow(std::uint64_t value) {
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(value << (64 - kNarrowBits)) >>
                                    (64 - kNarrowBits));
}
void narrow(std::span<std::uint64_t> values);

/// The low 56 bits of each word, little-endian, one after the other.
/// @param bytes  kNarrowBytes for each word
void pack(std::span<const std::uint64_t> words, std::span<std::byte> bytes);

/// Their signed representatives. @param bytes  kNarrowBytes for each word
void unpack(std::span<const std::byte> bytes, std::span<std::uint64_t> words);

}  // namespace pillarbox::ring

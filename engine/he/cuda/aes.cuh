// AES-256 in counter mode without tables: 32 bytes, two blocks, in eight words of 32 bits.
//
// Word i holds bit i of every byte; the byte in row r and column c of block b sits at bit
// 16 b + 4 c + r. SubBytes is a circuit of 113 gates on the words, ShiftRows and MixColumns are
// shifts and masks; nothing is looked up and nothing branches, so that neither timing nor addresses
// depend on the key. The key stream is that of random::Expander: block number j encrypts the stream
// number (8 bytes, little-endian) followed by j (8 bytes, big-endian).
//
// Sources: FIPS 197; J. Boyar and R. Peralta, "A depth-16 circuit for the AES S-box", eprint
// 2011/332 (the circuit); H. Warren, "Hacker's Delight" (the transposition).
#pragma once

#include <cstdint>

namespace pillarbox::he::cuda {

/// Bit c of byte r becomes bit r of byte c.
__host__ __device__ inline std::uint64_t transposeBits(std::uint64_t x) {
  std::uint64_t t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AA;
  x ^= t ^ (t << 7);
  t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCC;
  x ^= t ^ (t << 14);
  t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0;
  return x ^ t ^ (t << 28);
}

/// The S-box on every byte; word 7 is the most significant bit.
__host__ __device__ inline void subBytes(std::uint32_t* q) {
  const std::uint32_t x0 = q[7], x1 = q[6], x2 = q[5], x3 = q[4], x4 = q[3], x5 = q[2], x6 = q[1],
                      x7 = q[0];
  // To the tower of fields.
  const std::uint32_t y14 = x3 ^ x5, y13 = x0 ^ x6, y9 = x0 ^ x3, y8 = x0 ^ x5, a = x1 ^ x2;
  const std::uint32_t y1 = a ^ x7, y4 = y1 ^ x3, y12 = y13 ^ y14, y2 = y1 ^ x0, y5 = y1 ^ x6;
  const std::uint32_t y3 = y5 ^ y8, b = x4 ^ y12, y15 = b ^ x5, y20 = b ^ x1, y6 = y15 ^ x7;
  const std::uint32_t y10 = y15 ^ a, y11 = y20 ^ y9, y7 = x7 ^ y11, y17 = y10 ^ y11;
  const std::uint32_t y19 = y10 ^ y8, y16 = a ^ y11, y21 = y13 ^ y16, y18 = x0 ^ y16;
  // Inversion.
  const std::uint32_t t2 = y12 & y15, t4 = (y3 & y6) ^ t2, t6 = (y4 & x7) ^ t2, t7 = y13 & y16;
  const std::uint32_t t9 = (y5 & y1) ^ t7, t11 = (y2 & y7) ^ t7, t12 = y9 & y11;
  const std::uint32_t t14 = (y14 & y17) ^ t12, t16 = (y8 & y10) ^ t12;
  const std::uint32_t t21 = t4 ^ t14 ^ y20, t22 = t6 ^ t16 ^ y19;
  const std::uint32_t t23 = t9 ^ t14 ^ y21, t24 = t11 ^ t16 ^ y18;
  const std::uint32_t t25 = t21 ^ t22, t26 = t21 & t23, t27 = t24 ^ t26, t29 = (t25 & t27) ^ t22;
  const std::uint32_t t33 = ((t22 ^ t26) & (t23 ^ t24)) ^ t24, t36 = t24 & (t27 ^ t33);
  const std::uint32_t t37 = t36 ^ t23 ^ t33, t38 = t27 ^ t36, t40 = t25 ^ (t29 & t38);
  const std::uint32_t t41 = t40 ^ t37, t42 = t29 ^ t33, t43 = t29 ^ t40, t44 = t33 ^ t37;
  const std::uint32_t t45 = t42 ^ t41;
  const std::uint32_t z0 = t44 & y15, z1 = t37 & y6, z2 = t33 & x7, z3 = t43 & y16, z4 = t40 & y1;
  const std::uint32_t z5 = t29 & y7, z6 = t42 & y11, z7 = t45 & y17, z8 = t41 & y10, z9 = t44 & y12;
  const std::uint32_t z10 = t37 & y3, z11 = t33 & y4, z12 = t43 & y13, z13 = t40 & y5;
  const std::uint32_t z14 = t29 & y2, z15 = t42 & y9, z16 = t45 & y14, z17 = t41 & y8;
  // Back, and the affine map.
  const std::uint32_t t46 = z15 ^ z16, t48 = z5 ^ z13, t53 = z0 ^ z3, t54 = z6 ^ z7;
  const std::uint32_t t57 = z2 ^ z12 ^ t53, t58 = z4 ^ t46, t59 = z3 ^ t54, t60 = t46 ^ t57;
  const std::uint32_t t62 = z7 ^ z8 ^ t58, t63 = z9 ^ z10 ^ t58, t64 = z4 ^ t59;
  const std::uint32_t t65 = z14 ^ t57 ^ t62, t66 = z1 ^ t63, s3 = t53 ^ t66;
  q[7] = t59 ^ t63;
  q[6] = t64 ^ ~s3;
  q[5] = z16 ^ z17 ^ ~(t64 ^ t65);
  q[4] = s3;
  q[3] = z2 ^ z5 ^ t66;
  q[2] = z10 ^ z11 ^ t65;
  q[1] = z12 ^ t48 ^ ~t62;
  q[0] = t48 ^ ~t60;
}

/// Row r moves left by r columns, in both halves.
__host__ __device__ inline std::uint32_t shiftRows(std::uint32_t q) {
  return (q & 0x11111111) | ((q >> 4) & 0x02220222) | ((q << 12) & 0x20002000) |
         ((q >> 8) & 0x00440044) | ((q << 8) & 0x44004400) | ((q >> 12) & 0x00080008) |
         ((q << 4) & 0x88808880);
}

__host__ __device__ inline void mixColumns(std::uint32_t* q) {
  std::uint32_t pair[8], rest[8];  // a[r] + a[r+1], and the other three bytes' sum less a[r+1]'s
  for (int i = 0; i < 8; ++i) {
    const std::uint32_t next = ((q[i] >> 1) & 0x77777777) | ((q[i] << 3) & 0x88888888);
    pair[i] = q[i] ^ next;
    rest[i] = next ^ ((pair[i] >> 2) & 0x33333333) ^ ((pair[i] << 2) & 0xCCCCCCCC);
  }
  const std::uint32_t top = pair[7];
  for (int i = 7; i > 0; --i) q[i] = pair[i - 1] ^ rest[i];
  q[0] = top ^ rest[0];
  q[1] ^= top;
  q[3] ^= top;
  q[4] ^= top;
}

/// The S-box on four bytes.
__host__ __device__ inline std::uint32_t subWord(std::uint32_t word) {
  const std::uint64_t bits = transposeBits(word);
  std::uint32_t q[8];
  for (int i = 0; i < 8; ++i) q[i] = static_cast<std::uint32_t>(bits >> (8 * i)) & 0xFF;
  subBytes(q);
  std::uint64_t back = 0;
  for (int i = 0; i < 8; ++i) back |= static_cast<std::uint64_t>(q[i] & 0xFF) << (8 * i);
  return static_cast<std::uint32_t>(transposeBits(back));
}

/// Two blocks of two words each (bytes in order from the low end) as bits, and back.
__host__ __device__ inline void toBits(const std::uint64_t* words, std::uint32_t* q) {
  for (int i = 0; i < 8; ++i) q[i] = 0;
  for (int w = 0; w < 4; ++w) {
    const std::uint64_t bits = transposeBits(words[w]);
    for (int i = 0; i < 8; ++i) {
      q[i] |= (static_cast<std::uint32_t>(bits >> (8 * i)) & 0xFF) << (8 * w);
    }
  }
}
__host__ __device__ inline void fromBits(const std::uint32_t* q, std::uint64_t* words) {
  for (int w = 0; w < 4; ++w) {
    std::uint64_t bits = 0;
    for (int i = 0; i < 8; ++i) {
      bits |= static_cast<std::uint64_t>((q[i] >> (8 * w)) & 0xFF) << (8 * i);
    }
    words[w] = transposeBits(bits);
  }
}

/// The round keys of a 32-byte key, each for both blocks: eight words a round.
__host__ __device__ inline void keySchedule(const std::uint8_t* key, std::uint32_t* schedule) {
  std::uint32_t words[60];
  for (int i = 0; i < 8; ++i) {
    words[i] = 0;
    for (int b = 0; b < 4; ++b) words[i] |= static_cast<std::uint32_t>(key[4 * i + b]) << (8 * b);
  }
  std::uint32_t constant = 1;
  for (int i = 8; i < 60; ++i) {
    std::uint32_t word = words[i - 1];
    if (i % 8 == 0) {
      word = subWord((word >> 8) | (word << 24)) ^ constant;
      constant <<= 1;
    } else if (i % 8 == 4) {
      word = subWord(word);
    }
    words[i] = words[i - 8] ^ word;
  }
  for (int round = 0; round < 15; ++round) {
    const std::uint32_t* w = words + 4 * round;
    const std::uint64_t low = w[0] | static_cast<std::uint64_t>(w[1]) << 32;
    const std::uint64_t high = w[2] | static_cast<std::uint64_t>(w[3]) << 32;
    const std::uint64_t both[4] = {low, high, low, high};
    toBits(both, schedule + 8 * round);
  }
  // Volatile, or the compiler leaves it out: the array lies in memory.
  for (volatile std::uint32_t& word : words) word = 0;
}

/// Encrypts two blocks in place.
__host__ __device__ inline void encryptBlocks(const std::uint32_t* schedule, std::uint64_t* words) {
  std::uint32_t q[8];
  toBits(words, q);
  for (int i = 0; i < 8; ++i) q[i] ^= schedule[i];
  for (int round = 1; round < 15; ++round) {
    subBytes(q);
    for (int i = 0; i < 8; ++i) q[i] = shiftRows(q[i]);
    if (round < 14) mixColumns(q);
    for (int i = 0; i < 8; ++i) q[i] ^= schedule[8 * round + i];
  }
  fromBits(q, words);
}

/// Words 4 * quad to 4 * quad + 3 of a stream.
__host__ __device__ inline void streamWords(const std::uint32_t* schedule, std::uint64_t stream,
                                            std::uint64_t quad, std::uint64_t* words) {
  for (int block = 0; block < 2; ++block) {
    std::uint64_t counter = 2 * quad + static_cast<std::uint64_t>(block);
    counter = ((counter & 0x00FF00FF00FF00FF) << 8) | ((counter >> 8) & 0x00FF00FF00FF00FF);
    counter = ((counter & 0x0000FFFF0000FFFF) << 16) | ((counter >> 16) & 0x0000FFFF0000FFFF);
    words[2 * block] = stream;
    words[2 * block + 1] = (counter << 32) | (counter >> 32);
  }
  encryptBlocks(schedule, words);
}

}  // namespace pillarbox::he::cuda

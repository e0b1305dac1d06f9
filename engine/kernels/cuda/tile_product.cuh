// One product of small matrices of bytes on the tensor cores, the only place that knows how the
// instruction spreads them over a warp.
#pragma once

#include <cstdint>

namespace pillarbox::kernels::cuda {

// acc (16 x 8, 32-bit) += a (16 x 32, unsigned bytes) * b (32 x 8, signed bytes), mod 2^32. With
// group = lane / 4 and quad = lane % 4, a lane holds, four bytes a register, the lowest first:
//
//   a[0], a[1]  row group, row group + 8; columns 4 quad .. 4 quad + 3
//   a[2], a[3]  the same rows; columns 16 + 4 quad ..
//   b[0], b[1]  rows 4 quad .., rows 16 + 4 quad ..; column group
//   acc[0..3]   (group, 2 quad), (group, 2 quad + 1), (group + 8, 2 quad), (group + 8, 2 quad + 1)
//
// Source: PTX ISA, matrix fragments for mma.m16n8k32 with .u8/.s8.
#ifdef __CUDACC__
__device__ inline void multiplyTile(std::int32_t (&acc)[4], const std::uint32_t (&a)[4],
                                    const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(acc[0]), "+r"(acc[1]), "+r"(acc[2]), "+r"(acc[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#else
using testing::multiplyTile;
#endif

}  // namespace pillarbox::kernels::cuda

// HoneyBadger's step in Z_2^128, the engine's side: engine/protocol/honeybadger.h, word by word.
// One thread a value. For degree 4 it reads 72 bytes a value and does 4 products, so that memory
// decides its speed.
#pragma once

#include "engine/kernels/cuda/elementwise.cuh"

namespace pillarbox::kernels::cuda {

__global__ void polynomialKernel(PolynomialArguments a) {
  const std::uint32_t i = threadNumber();
  if (i >= a.count) return;
  const auto opening =
      static_cast<U128>(static_cast<I128>(static_cast<std::int64_t>(a.opening[i])));
  U128 sum = a.leading;
  for (std::uint32_t j = a.degree; j-- > 0;) sum = sum * opening + a.coefficients[j][i];
  // The engine's truncation; see ring::truncateEngine.
  const U128 share = 0 - static_cast<U128>(static_cast<I128>(0 - sum) >> a.truncation);
  a.out[i] = static_cast<std::uint64_t>(share);
}

inline void polynomial(device::Stream stream, const PolynomialArguments& a) {
  device::launch(stream, polynomialKernel, blocksFor(a.count, kThreads), kThreads, a);
}

}  // namespace pillarbox::kernels::cuda

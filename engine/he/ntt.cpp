#include "engine/he/ntt.h"

#include <bit>
#include <stdexcept>

#include "engine/he/cpu/kernels.h"

namespace pillarbox::he {

namespace {

std::size_t reverseBits(std::size_t i, unsigned bits) {
  std::size_t result = 0;
  for (unsigned b = 0; b < bits; ++b) result |= ((i >> b) & 1) << (bits - 1 - b);
  return result;
}

/// The least primitive 2n-th root of unity that a search from 2 upwards finds; deterministic.
std::uint64_t primitiveRoot(const Modulus& q, std::size_t degree) {
  for (std::uint64_t g = 2; g < 1000; ++g) {
    const std::uint64_t root = q.power(g, (q.value() - 1) / (2 * degree));
    if (q.power(root, degree) == q.value() - 1) return root;
  }
  throw std::logic_error("modulus " + std::to_string(q.value()) + " has no root of order " +
                         std::to_string(2 * degree));
}

}  // namespace

Ntt::Ntt(std::size_t degree, const Modulus& modulus) {
  if (degree < 32 || degree > 65536 || !std::has_single_bit(degree) ||
      (modulus.value() - 1) % (2 * degree) != 0) {
    throw std::logic_error("no negacyclic transform of degree " + std::to_string(degree) + " mod " +
                           std::to_string(modulus.value()));
  }
  NttTables& t = m_tables;
  t.modulus = modulus;
  t.degree = degree;
  const auto bits = static_cast<unsigned>(std::bit_width(degree) - 1);
  const std::uint64_t root = primitiveRoot(modulus, degree);
  const std::uint64_t inverseRoot = modulus.inverse(root);
  for (auto* table : {&t.roots, &t.rootsShoup, &t.inverseRoots, &t.inverseRootsShoup}) {
    table->assign(degree + 8, 0);
  }
  std::uint64_t power = 1, inversePower = 1;
  for (std::size_t i = 0; i < degree; ++i) {
    const std::size_t place = reverseBits(i, bits);
    t.roots[place] = power;
    t.rootsShoup[place] = modulus.shoup(power);
    t.inverseRoots[place] = inversePower;
    t.inverseRootsShoup[place] = modulus.shoup(inversePower);
    power = modulus.multiply(power, root);
    inversePower = modulus.multiply(inversePower, inverseRoot);
  }
  t.inverseDegree = modulus.inverse(degree);
  t.inverseDegreeShoup = modulus.shoup(t.inverseDegree);
}

std::vector<const Kernels*> availableKernels() {
  std::vector<const Kernels*> result{&cpu::portableKernels()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    result.push_back(&cpu::avx2Kernels());
  }
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512ifma")) {
    result.push_back(&cpu::avx512Kernels());
  }
#endif
  return result;
}

const Kernels& kernels() {
  static const Kernels& kBest = *availableKernels().back();
  return kBest;
}

}  // namespace pillarbox::he

#include "engine/kernels/cpu/features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace pillarbox::kernels::cpu {

#if defined(__x86_64__)

bool hasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

bool hasVnni() {
  return hasAvx512() && __builtin_cpu_supports("avx512vnni");
}

bool hasAvx2() {
  return __builtin_cpu_supports("avx2");
}

namespace {
bool requestTiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kAmxTile = 1U << 24, kAmxInt8 = 1U << 25;  // leaf 7, EDX
  if ((d & kAmxTile) == 0 || (d & kAmxInt8) == 0) return false;
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
}  // namespace

bool hasAmx() {
  static const bool kHas = hasAvx512() && __builtin_cpu_supports("avx512vbmi") && requestTiles();
  return kHas;
}

#else

bool hasVnni() {
  return false;
}
bool hasAvx512() {
  return false;
}
bool hasAvx2() {
  return false;
}
bool hasAmx() {
  return false;
}

#endif

}  // namespace pillarbox::kernels::cpu

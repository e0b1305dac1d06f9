// The implementations of he::Kernels; which of them run is decided in ntt.cpp.
#pragma once

#include "engine/he/ntt.h"

namespace pillarbox::he::cpu {

const Kernels& portableKernels();
const Kernels& avx2Kernels();
const Kernels& avx512Kernels();

}  // namespace pillarbox::he::cpu

// What this processor and this operating system let the kernels use, asked once.
#pragma once

namespace pillarbox::kernels::cpu {

/// AVX-512 F, DQ, BW and VL.
bool hasAvx512();
/// hasAvx512() and VNNI.
bool hasVnni();
bool hasAvx2();
/// AMX int8 tiles with AVX-512 VBMI, which feeds them. Linux gives a process the tile registers
/// on request only; the first call asks for this process and all threads it will ever have.
bool hasAmx();

}  // namespace pillarbox::kernels::cpu

// 128-bit integers (a compiler extension that g++ and clang share).
#pragma once

namespace pillarbox {

__extension__ typedef unsigned __int128 U128;
__extension__ typedef __int128 I128;

}  // namespace pillarbox

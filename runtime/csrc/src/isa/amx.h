// AMX: sums of products between tiles of weights and of operands, in the registers of the CPU.
#pragma once

#include <immintrin.h>

#include "isa/amx_config.h"
#include "isa/avx512.h"

namespace dsf {

// The intrinsics want the numbers of tiles as literals, and those of GCC do not say that they read memory: the
// instructions are written out.
struct Amx : Avx512Bf16 {
  static constexpr const char* NAME = "amx";
  static constexpr bool has_amx = true;
  static constexpr float LOOKUP_COST = 6.0f;  // by what the instructions promise: not measured

  DSF_INLINE void set_tiles(const AmxConfig& config) { __asm__ volatile("ldtilecfg\t%0" ::"m"(config)); }
  DSF_INLINE void release_tiles() { __asm__ volatile("tilerelease"); }

  template <int TILE>
  DSF_INLINE void zero_tile() {
    __asm__ volatile("tilezero\t%%tmm%c0" ::"i"(TILE));
  }
  template <int TILE>
  DSF_INLINE void load_tile(const void* p, int64_t stride) {
    __asm__ volatile("{tileloadd\t(%0,%1,1), %%tmm%c2|tileloadd\t%%tmm%c2, [%0+%1*1]}" ::"r"(p), "r"(stride), "i"(TILE)
                     : "memory");
  }
  template <int TILE>
  DSF_INLINE void store_tile(void* p, int64_t stride) {
    __asm__ volatile("{tilestored\t%%tmm%c2, (%0,%1,1)|tilestored\t[%0+%1*1], %%tmm%c2}" ::"r"(p), "r"(stride),
                     "i"(TILE)
                     : "memory");
  }

  // SUMS += the products of A, signed bytes or bfloat16 row by row, with B, unsigned bytes or bfloat16 word by word.
  template <int SUMS, int A, int B>
  DSF_INLINE void dot_tiles() {
    __asm__ volatile("{tdpbsud\t%%tmm%c2, %%tmm%c1, %%tmm%c0|tdpbsud\t%%tmm%c0, %%tmm%c1, %%tmm%c2}" ::"i"(SUMS),
                     "i"(A), "i"(B));
  }
  // The same with A unsigned and B signed.
  template <int SUMS, int A, int B>
  DSF_INLINE void dot_unsigned_tiles() {
    __asm__ volatile("{tdpbusd\t%%tmm%c2, %%tmm%c1, %%tmm%c0|tdpbusd\t%%tmm%c0, %%tmm%c1, %%tmm%c2}" ::"i"(SUMS),
                     "i"(A), "i"(B));
  }
  template <int SUMS, int A, int B>
  DSF_INLINE void dot_pair_tiles() {
    __asm__ volatile("{tdpbf16ps\t%%tmm%c2, %%tmm%c1, %%tmm%c0|tdpbf16ps\t%%tmm%c0, %%tmm%c1, %%tmm%c2}" ::"i"(SUMS),
                     "i"(A), "i"(B));
  }
};

}  // namespace dsf

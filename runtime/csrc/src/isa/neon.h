// ARM's NEON, and with dot products of bytes.
#pragma once

#include <arm_neon.h>

#include "isa/portable.h"

namespace dsf {

struct Neon : Portable {
  static constexpr const char* NAME = "neon";
  static constexpr int REGISTERS = 32;

  // One instruction looks 16 bytes up in 64.
  typedef uint8x16x4_t Bank;
  DSF_INLINE Bank load_bank(const uint8_t* p) {
    return {{vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)}};
  }
  DSF_INLINE Uints look_up_bank(Bank bank, Uints where) { return (Uints)vqtbl4q_u8(bank, (uint8x16_t)where); }
};

#if defined(__ARM_FEATURE_DOTPROD)

struct NeonDot : Neon {
  static constexpr const char* NAME = "neon_dot";
  static constexpr bool has_dot = true, has_signed_dot = true;
  static constexpr float LOOKUP_COST = 3.0f;  // by what the instructions promise: not measured

  // Sums of products of signed bytes with signed ones.
  DSF_INLINE Ints signed_dot(Ints sums, Uints bytes, Uints weights) {
    return (Ints)vdotq_s32((int32x4_t)sums, (int8x16_t)bytes, (int8x16_t)weights);
  }

  // An unsigned byte is a signed one plus 128.
  DSF_INLINE Ints dot(Ints sums, Uints bytes, Uints weights) {
    const Uints half = Uints{} + 0x40404040u;
    const Ints rest = signed_dot(signed_dot(Ints{}, half, weights), half, weights);
    return signed_dot(sums, bytes ^ (half + half), weights) + rest;
  }
  DSF_INLINE Ints8 dot8(Ints8 sums, Uints8 bytes, Uints8 weights) {
    Ints s[2];
    Uints b[2], w[2];
    __builtin_memcpy(s, &sums, sizeof s);
    __builtin_memcpy(b, &bytes, sizeof b);
    __builtin_memcpy(w, &weights, sizeof w);
    for (int i = 0; i < 2; i++) s[i] = dot(s[i], b[i], w[i]);
    __builtin_memcpy(&sums, s, sizeof s);
    return sums;
  }
};

#endif

}  // namespace dsf

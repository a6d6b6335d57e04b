// AVX-512 (F, BW, VL, DQ), with VNNI, and with BF16 and VBMI.
#pragma once

#include <immintrin.h>

#include "isa/avx2.h"
#include "isa/simd.h"

namespace dsf {

struct Avx512 : Simd<16> {
  static constexpr const char* NAME = "avx512";
  static constexpr int REGISTERS = 32;
  static constexpr bool has_lookup = true, has_dot_looked_up = true;

  using Simd::load_as;
  // Compilers do not know the short way from bytes to floats.
  DSF_INLINE Floats load_as(const int8_t* p) {
    return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }

  DSF_INLINE void store_uint8(uint8_t* to, Floats v) {
    const __m512i whole = _mm512_cvtps_epi32(_mm512_max_ps((__m512)v, _mm512_setzero_ps()));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtusepi32_epi8(whole));
  }

  // As of AVX2.
  DSF_INLINE Ints dot_halves(Ints sums, __m512i even, __m512i odd, __m512i weights) {
    return sums + (Ints)_mm512_madd_epi16(even, _mm512_srai_epi16(_mm512_slli_epi16(weights, 8), 8)) +
           (Ints)_mm512_madd_epi16(odd, _mm512_srai_epi16(weights, 8));
  }
  DSF_INLINE Ints dot(Ints sums, Uints bytes, Uints weights) {
    const __m512i x = (__m512i)bytes;
    return dot_halves(sums, _mm512_and_si512(x, _mm512_set1_epi16(255)), _mm512_srli_epi16(x, 8), (__m512i)weights);
  }
  DSF_INLINE Ints8 dot8(Ints8 sums, Uints8 bytes, Uints8 weights) { return Avx2::dot8(sums, bytes, weights); }

  // A row of bytes, and two of them interleaved within quarters of a register.
  typedef __m512i ByteRow;
  DSF_INLINE ByteRow interleave_low8(ByteRow a, ByteRow b) { return _mm512_unpacklo_epi8(a, b); }
  DSF_INLINE ByteRow interleave_high8(ByteRow a, ByteRow b) { return _mm512_unpackhi_epi8(a, b); }
  DSF_INLINE ByteRow interleave_low16(ByteRow a, ByteRow b) { return _mm512_unpacklo_epi16(a, b); }
  DSF_INLINE ByteRow interleave_high16(ByteRow a, ByteRow b) { return _mm512_unpackhi_epi16(a, b); }
  DSF_INLINE ByteRow interleave_low32(ByteRow a, ByteRow b) { return _mm512_unpacklo_epi32(a, b); }
  DSF_INLINE ByteRow interleave_high32(ByteRow a, ByteRow b) { return _mm512_unpackhi_epi32(a, b); }
  DSF_INLINE ByteRow interleave_low64(ByteRow a, ByteRow b) { return _mm512_unpacklo_epi64(a, b); }
  DSF_INLINE ByteRow interleave_high64(ByteRow a, ByteRow b) { return _mm512_unpackhi_epi64(a, b); }

  // As of AVX2.
  typedef __m512i Bank;
  static constexpr int LOOKUP = 16;
  static constexpr float LOOKUP_COST = 1.5f;
  DSF_INLINE Bank load_bank(const uint8_t* p) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  DSF_INLINE Uints look_up_bank(Bank bank, Uints where) { return (Uints)_mm512_shuffle_epi8(bank, (__m512i)where); }

  // `dot` of what is looked up: zeros between bytes come with it, since bit 7 of an index makes one.
  DSF_INLINE Ints dot_looked_up(Ints sums, Bank bank, Uints where, Uints weights) {
    const __m512i nothing = _mm512_set1_epi16(int16_t(0x8000));
    const __m512i even = _mm512_shuffle_epi8(bank, (__m512i)(where) | nothing);
    const __m512i odd = _mm512_shuffle_epi8(bank, _mm512_srli_epi16((__m512i)where, 8) | nothing);
    return dot_halves(sums, even, odd, (__m512i)weights);
  }

  // As of Portable.
  DSF_INLINE Uints transpose_bytes(Uints v) {
    const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    return (Uints)_mm512_shuffle_epi8((__m512i)v, order);
  }

  DSF_INLINE Uints to_uint8(Floats a, Floats b, Floats c, Floats d) {
    const __m512i ab = _mm512_packs_epi32(_mm512_cvtps_epi32((__m512)a), _mm512_cvtps_epi32((__m512)b));
    const __m512i cd = _mm512_packs_epi32(_mm512_cvtps_epi32((__m512)c), _mm512_cvtps_epi32((__m512)d));
    return (Uints)_mm512_packus_epi16(ab, cd);
  }

  // 32 floats in two registers are a table; one instruction looks sixteen of them up.
  DSF_INLINE Ints load_lanes(const uint8_t* p) {
    return (Ints)_mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
  }
  DSF_INLINE Floats look_up(const float* table, Ints lanes) {
    return (Floats)_mm512_permutex2var_ps(_mm512_loadu_ps(table), (__m512i)lanes, _mm512_loadu_ps(table + 16));
  }
};

struct Avx512Vnni : Avx512 {
  static constexpr const char* NAME = "avx512_vnni";
  static constexpr bool has_dot = true, has_dot_in_place = true, has_dot_looked_up = false;
  static constexpr float LOOKUP_COST = 2.3f;

  // With the intrinsic GCC 12 copies sums from register to register, and runs out of them.
  DSF_INLINE void dot_in_place(Ints& sums, Uints bytes, Uints weights) {
    __asm__("{vpdpbusd\t%2, %1, %0|vpdpbusd\t%0, %1, %2}" : "+v"(sums) : "v"(bytes), "v"(weights));
  }

  DSF_INLINE Ints dot(Ints sums, Uints bytes, Uints weights) {
    return (Ints)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)bytes, (__m512i)weights);
  }
  DSF_INLINE Ints8 dot8(Ints8 sums, Uints8 bytes, Uints8 weights) {
    return (Ints8)_mm256_dpbusd_epi32((__m256i)sums, (__m256i)bytes, (__m256i)weights);
  }
};

struct Avx512Bf16 : Avx512Vnni {
  static constexpr const char* NAME = "avx512_bf16";
  static constexpr bool has_pairs = true, has_int8_lookup = true;

  // One instruction looks 64 bytes up in as many.
  static constexpr int LOOKUP = 64;
  static constexpr float LOOKUP_COST = 1.4f;
  DSF_INLINE Bank load_bank(const uint8_t* p) { return _mm512_loadu_si512(p); }
  DSF_INLINE Uints look_up_bank(Bank bank, Uints where) { return (Uints)_mm512_permutexvar_epi8((__m512i)where, bank); }

  // 128 bytes in two registers are a table; one instruction looks 64 of them up.
  DSF_INLINE Uints look_up_bytes(ByteRow low, ByteRow high, ByteRow where) {
    return (Uints)_mm512_permutex2var_epi8(low, where, high);
  }

  // Lane by lane two numbers of bfloat16, the first one below.
  typedef __m512bh Pairs;
  DSF_INLINE Pairs broadcast_pair(uint32_t pair) { return (Pairs)_mm512_set1_epi32(int(pair)); }
  DSF_INLINE Floats dot_pairs(Floats sums, Pairs x, Pairs weights) {
    return (Floats)_mm512_dpbf16_ps((__m512)sums, x, weights);
  }
  // In place, as dot_in_place; the pair is broadcast from memory.
  DSF_INLINE void add_pair_products(Floats& sums, Pairs x, const float* pair) {
    __asm__("{vdpbf16ps\t%2%{1to16%}, %1, %0|vdpbf16ps\t%0, %1, %2%{1to16%}}" : "+v"(sums) : "v"(x), "m"(*pair));
  }
  DSF_INLINE Pairs to_pairs(Floats first, Floats second) {
    const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (Pairs)_mm512_permutexvar_epi16(order, halves);
  }

  // Two vectors of tokens of a row rounded to bfloat16, in the order that `interleave_first` wants; or the last one.
  DSF_INLINE void store_rounded(uint16_t* to, Floats first, Floats second) {
    const __m512i order = _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);
    const __m512bh halves = _mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi64(order, (__m512i)halves));
  }
  DSF_INLINE void store_rounded(uint16_t* to, Floats last) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh((__m512)last));
  }

  // Two rows so rounded: pairs of their numbers, of the first vector of tokens and of the second; or of the last one.
  DSF_INLINE ByteRow load_rounded(const uint16_t* p) { return _mm512_loadu_si512(p); }
  DSF_INLINE Pairs interleave_first(ByteRow one, ByteRow other) { return (Pairs)_mm512_unpacklo_epi16(one, other); }
  DSF_INLINE Pairs interleave_second(ByteRow one, ByteRow other) { return (Pairs)_mm512_unpackhi_epi16(one, other); }
  DSF_INLINE Pairs interleave_last(const uint16_t* one, const uint16_t* other) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(one));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(other));
    const __m512i order = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6,
                                           37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    return (Pairs)_mm512_permutex2var_epi16(_mm512_castsi256_si512(a), order, _mm512_castsi256_si512(b));
  }
};

}  // namespace dsf

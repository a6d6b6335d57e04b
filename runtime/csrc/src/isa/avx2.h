// AVX2 with FMA, and with AVX-VNNI.
#pragma once

#include <immintrin.h>

#include "isa/simd.h"

namespace dsf {

struct Avx2 : Simd<8> {
  static constexpr const char* NAME = "avx2";
  static constexpr int REGISTERS = 16;
  static constexpr bool has_dot_looked_up = true;

  using Simd::load_as;
  // Compilers do not know the short way from bytes to floats.
  DSF_INLINE Floats load_as(const int8_t* p) {
    return (Floats)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }

  // Products of 16-bit numbers with signed bytes, the even ones and the odd ones, are added up in pairs.
  DSF_INLINE Ints8 dot_halves(Ints8 sums, __m256i even, __m256i odd, __m256i weights) {
    return sums + (Ints8)_mm256_madd_epi16(even, _mm256_srai_epi16(_mm256_slli_epi16(weights, 8), 8)) +
           (Ints8)_mm256_madd_epi16(odd, _mm256_srai_epi16(weights, 8));
  }

  // Lane by lane, sums of products of four unsigned and four signed bytes, by products of 16-bit numbers in two halves:
  // those of bytes at once would saturate.
  DSF_INLINE Ints8 dot8(Ints8 sums, Uints8 bytes, Uints8 weights) {
    const __m256i x = (__m256i)bytes;
    return dot_halves(sums, _mm256_and_si256(x, _mm256_set1_epi16(255)), _mm256_srli_epi16(x, 8), (__m256i)weights);
  }
  DSF_INLINE Ints dot(Ints sums, Uints bytes, Uints weights) { return dot8(sums, bytes, weights); }

  // A row of bytes, and two of them interleaved within quarters (128 bits) of a register.
  typedef __m256i ByteRow;
  DSF_INLINE ByteRow interleave_low8(ByteRow a, ByteRow b) { return _mm256_unpacklo_epi8(a, b); }
  DSF_INLINE ByteRow interleave_high8(ByteRow a, ByteRow b) { return _mm256_unpackhi_epi8(a, b); }
  DSF_INLINE ByteRow interleave_low16(ByteRow a, ByteRow b) { return _mm256_unpacklo_epi16(a, b); }
  DSF_INLINE ByteRow interleave_high16(ByteRow a, ByteRow b) { return _mm256_unpackhi_epi16(a, b); }
  DSF_INLINE ByteRow interleave_low32(ByteRow a, ByteRow b) { return _mm256_unpacklo_epi32(a, b); }
  DSF_INLINE ByteRow interleave_high32(ByteRow a, ByteRow b) { return _mm256_unpackhi_epi32(a, b); }
  DSF_INLINE ByteRow interleave_low64(ByteRow a, ByteRow b) { return _mm256_unpacklo_epi64(a, b); }
  DSF_INLINE ByteRow interleave_high64(ByteRow a, ByteRow b) { return _mm256_unpackhi_epi64(a, b); }

  // As of Portable, of 16 bytes: to look up in 64 takes four such instructions.
  typedef __m256i Bank;
  static constexpr int LOOKUP = 16;
  static constexpr float LOOKUP_COST = 1.5f;
  DSF_INLINE Bank load_bank(const uint8_t* p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  DSF_INLINE Uints look_up_bank(Bank bank, Uints where) { return (Uints)_mm256_shuffle_epi8(bank, (__m256i)where); }

  // `dot` of what is looked up: zeros between bytes come with it, since bit 7 of an index makes one.
  DSF_INLINE Ints dot_looked_up(Ints sums, Bank bank, Uints where, Uints weights) {
    const __m256i nothing = _mm256_set1_epi16(int16_t(0x8000));
    const __m256i even = _mm256_shuffle_epi8(bank, (__m256i)(where) | nothing);
    const __m256i odd = _mm256_shuffle_epi8(bank, _mm256_srli_epi16((__m256i)where, 8) | nothing);
    return dot_halves(sums, even, odd, (__m256i)weights);
  }

  // As of Portable.
  DSF_INLINE Uints transpose_bytes(Uints v) {
    const __m256i order =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    return (Uints)_mm256_shuffle_epi8((__m256i)v, order);
  }

  DSF_INLINE Uints to_uint8(Floats a, Floats b, Floats c, Floats d) {
    const __m256i ab = _mm256_packs_epi32(_mm256_cvtps_epi32((__m256)a), _mm256_cvtps_epi32((__m256)b));
    const __m256i cd = _mm256_packs_epi32(_mm256_cvtps_epi32((__m256)c), _mm256_cvtps_epi32((__m256)d));
    return (Uints)_mm256_packus_epi16(ab, cd);
  }
};

struct AvxVnni : Avx2 {
  static constexpr const char* NAME = "avx_vnni";
  static constexpr bool has_dot = true, has_dot_looked_up = false;
  static constexpr float LOOKUP_COST = 2.3f;  // as of AVX512-VNNI

  DSF_INLINE Ints8 dot8(Ints8 sums, Uints8 bytes, Uints8 weights) {
    return (Ints8)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)bytes, (__m256i)weights);
  }
  DSF_INLINE Ints dot(Ints sums, Uints bytes, Uints weights) { return dot8(sums, bytes, weights); }
};

}  // namespace dsf

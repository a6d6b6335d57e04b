// Four lanes by what the compiler makes of plain C++: any CPU.
#pragma once

#include "isa/simd.h"

namespace dsf {

struct Portable : Simd<4> {
  static constexpr const char* NAME = "portable";
  static constexpr int REGISTERS = 16;

  using Simd::load_as;
  DSF_INLINE Floats load_as(const int8_t* p) {
    return __builtin_convertvector(*reinterpret_cast<const Types::UnalignedInt8s*>(p), Floats);
  }

  // Lane by lane, sums of products of four unsigned and four signed bytes. The products are written out: four
  // multiplications for what other sets do in one or two.
  template <class Sums, class Words>
  DSF_INLINE Sums dot_of(Sums sums, Words bytes, Words weights) {
#pragma GCC unroll 4
    for (int shift = 0; shift < 32; shift += 8)
      sums += (Sums)((bytes >> shift) & 255u) * ((Sums)(weights << (24 - shift)) >> 24);
    return sums;
  }
  DSF_INLINE Ints dot(Ints sums, Uints bytes, Uints weights) { return dot_of(sums, bytes, weights); }
  DSF_INLINE Ints8 dot8(Ints8 sums, Uints8 bytes, Uints8 weights) { return dot_of(sums, bytes, weights); }

  // A row of bytes, and two of them interleaved within quarters of a register: here, the whole of it.
  typedef uint8_t ByteRow __attribute__((vector_size(16)));
  typedef uint16_t ByteRow16 __attribute__((vector_size(16)));
  DSF_INLINE ByteRow interleave_low8(ByteRow a, ByteRow b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  }
  DSF_INLINE ByteRow interleave_high8(ByteRow a, ByteRow b) {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  }
  DSF_INLINE ByteRow interleave_low16(ByteRow a, ByteRow b) {
    return (ByteRow)__builtin_shufflevector((ByteRow16)a, (ByteRow16)b, 0, 8, 1, 9, 2, 10, 3, 11);
  }
  DSF_INLINE ByteRow interleave_high16(ByteRow a, ByteRow b) {
    return (ByteRow)__builtin_shufflevector((ByteRow16)a, (ByteRow16)b, 4, 12, 5, 13, 6, 14, 7, 15);
  }
  DSF_INLINE ByteRow interleave_low32(ByteRow a, ByteRow b) {
    return (ByteRow)__builtin_shufflevector((Uints)a, (Uints)b, 0, 4, 1, 5);
  }
  DSF_INLINE ByteRow interleave_high32(ByteRow a, ByteRow b) {
    return (ByteRow)__builtin_shufflevector((Uints)a, (Uints)b, 2, 6, 3, 7);
  }
  DSF_INLINE ByteRow interleave_low64(ByteRow a, ByteRow b) {
    return (ByteRow)__builtin_shufflevector((Uints)a, (Uints)b, 0, 1, 4, 5);
  }
  DSF_INLINE ByteRow interleave_high64(ByteRow a, ByteRow b) {
    return (ByteRow)__builtin_shufflevector((Uints)a, (Uints)b, 2, 3, 6, 7);
  }

  // 64 bytes that are looked up in: a byte of the result for every byte of `where`, which are below 64.
  typedef const uint8_t* Bank;
  DSF_INLINE Bank load_bank(const uint8_t* p) { return p; }
  DSF_INLINE Uints look_up_bank(Bank bank, Uints where) {
    uint8_t places[16], found[16];
    __builtin_memcpy(places, &where, 16);
    for (int i = 0; i < 16; i++) found[i] = bank[places[i]];
    Uints words;
    __builtin_memcpy(&words, found, 16);
    return words;
  }

  // Within every quarter of a register, bytes 4 i + v to 4 v + i.
  DSF_INLINE Uints transpose_bytes(Uints v) {
    return (Uints)__builtin_shufflevector((ByteRow)v, (ByteRow)v, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  }

  // The nearest whole numbers of four vectors as bytes, those out of range as the nearest in it. Quarter l of the
  // result has four numbers of `a`, four of `b`, ..., those of their own quarters l.
  DSF_INLINE Uints to_uint8(Floats a, Floats b, Floats c, Floats d) {
    uint8_t bytes[16];
    const Floats all_of_them[4] = {a, b, c, d};
    for (int v = 0; v < 4; v++) {
      const Uints q = nearest_uint8(all_of_them[v]);
      for (int i = 0; i < 4; i++) bytes[4 * v + i] = uint8_t(q[i]);
    }
    Uints packed;
    __builtin_memcpy(&packed, bytes, sizeof packed);
    return packed;
  }
};

}  // namespace dsf

// Vectors of LANES floats, and what every instruction set does alike with them. The compiler's own vector types serve
// all sets.
//
// This header is compiled for several sets, and the linker keeps one copy of what has one name: a set's copy of a
// function must never be what another set calls. So everything here and in the headers of the sets is inlined where it
// is used, nothing calls templates of the standard library, and kernels are templates on a type that no other file
// sees (make_kernels.h says how).
#pragma once

#include <cstdint>

#define DSF_INLINE static inline __attribute__((always_inline))
#define DSF_METHOD inline __attribute__((always_inline))

// Where inline assembly finds a vector.
#if defined(__AVX512F__)
#define DSF_REGISTER "v"
#elif defined(__x86_64__)
#define DSF_REGISTER "x"
#elif defined(__aarch64__)
#define DSF_REGISTER "w"
#else
#define DSF_REGISTER "m"
#endif

namespace dsf {

// A macro, not one template: GCC 12 drops `may_alias` where a size depends on a parameter, and takes such a vector for
// a plain number inside of the same template.
template <int LANES>
struct VectorTypes;

#define DSF_VECTOR_TYPES(LANES)                                                                      \
  template <>                                                                                        \
  struct VectorTypes<LANES> {                                                                        \
    typedef float Floats __attribute__((vector_size(4 * LANES)));                                    \
    typedef float UnalignedFloats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));    \
    typedef uint32_t Uints __attribute__((vector_size(4 * LANES)));                                  \
    typedef int32_t Ints __attribute__((vector_size(4 * LANES)));                                    \
    typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));                                 \
    typedef uint16_t UnalignedHalves __attribute__((vector_size(2 * LANES), aligned(2), may_alias)); \
    typedef uint8_t Uint8s __attribute__((vector_size(LANES)));                                      \
    typedef int8_t UnalignedInt8s __attribute__((vector_size(LANES), aligned(1), may_alias));        \
  };
DSF_VECTOR_TYPES(4)
DSF_VECTOR_TYPES(8)
DSF_VECTOR_TYPES(16)
#undef DSF_VECTOR_TYPES

// Eight and four lanes whatever the set: tiles are eight or four rows high.
typedef float Floats8 __attribute__((vector_size(32)));
typedef float UnalignedFloats8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t Ints8 __attribute__((vector_size(32)));
typedef uint32_t Uints8 __attribute__((vector_size(32)));
typedef float Floats4 __attribute__((vector_size(16)));
typedef float UnalignedFloats4 __attribute__((vector_size(16), aligned(4), may_alias));

// A number as a type, which a generic lambda takes as a constant.
template <int VALUE>
struct Constant {
  static constexpr int value = VALUE;
};

template <int LANE_COUNT>
struct Simd {
  static constexpr int LANES = LANE_COUNT;
  using Types = VectorTypes<LANES>;
  using Floats = typename Types::Floats;
  using Uints = typename Types::Uints;
  using Ints = typename Types::Ints;
  using Halves = typename Types::Halves;
  using Uint8s = typename Types::Uint8s;

  // What a set has beyond vectors; see Kernels.
  static constexpr bool has_lookup = false, has_int8_lookup = false, has_pairs = false, has_amx = false;
  // has_dot: one instruction multiplies four pairs of bytes in a lane; has_signed_dot: of signed ones alone.
  // has_dot_looked_up: `dot_looked_up` is shorter than a lookup and a product.
  static constexpr bool has_dot = false, has_signed_dot = false, has_dot_in_place = false, has_dot_looked_up = false;
  // Bytes that `look_up_bank` looks up in, and what a product with what it finds costs, in dense products (measured
  // with 960 tokens, where not said otherwise).
  static constexpr int LOOKUP = 64;
  static constexpr float LOOKUP_COST = 4.0f;

  DSF_INLINE Floats load(const float* p) { return *reinterpret_cast<const typename Types::UnalignedFloats*>(p); }
  DSF_INLINE void store(float* p, Floats v) { *reinterpret_cast<typename Types::UnalignedFloats*>(p) = v; }
  // Less zero: any number is then what it was, which -0 plus zero is not.
  DSF_INLINE Floats broadcast(float x) { return x - Floats{}; }
  DSF_INLINE Uints broadcast_word(uint32_t word) { return Uints{} + word; }

  DSF_INLINE Floats8 load8(const float* p) { return *reinterpret_cast<const UnalignedFloats8*>(p); }
  DSF_INLINE void store8(float* p, Floats8 v) { *reinterpret_cast<UnalignedFloats8*>(p) = v; }
  DSF_INLINE Floats8 broadcast8(float x) { return x - Floats8{}; }
  DSF_INLINE Floats4 load4(const float* p) { return *reinterpret_cast<const UnalignedFloats4*>(p); }
  DSF_INLINE void store4(float* p, Floats4 v) { *reinterpret_cast<UnalignedFloats4*>(p) = v; }
  DSF_INLINE Floats4 broadcast4(float x) { return x - Floats4{}; }

  DSF_INLINE Floats minimum(Floats a, Floats b) { return a < b ? a : b; }
  DSF_INLINE Floats maximum(Floats a, Floats b) { return a > b ? a : b; }

  // Of bfloat16.
  DSF_INLINE Floats widen(Halves v) { return (Floats)(__builtin_convertvector(v, Uints) << 16); }

  // To the nearest bfloat16, ties to even; any NaN becomes a quiet one.
  DSF_INLINE Halves narrow(Floats v) {
    const Uints bits = (Uints)v;
    const Uints rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const Ints nan = v != v;
    const Uints quiet = (bits >> 16) | 0x40u;
    return __builtin_convertvector((Uints)((nan & (Ints)quiet) | (~nan & (Ints)rounded)), Halves);
  }

  DSF_INLINE Floats load_as(const float* p) { return load(p); }
  DSF_INLINE Floats load_as(const uint16_t* p) {
    return widen(*reinterpret_cast<const typename Types::UnalignedHalves*>(p));
  }
  DSF_INLINE void store_as(float* p, Floats v) { store(p, v); }
  DSF_INLINE void store_as(uint16_t* p, Floats v) {
    *reinterpret_cast<typename Types::UnalignedHalves*>(p) = narrow(v);
  }

  DSF_INLINE Ints load_ints(const int32_t* p) {
    Ints v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
  }
  DSF_INLINE Uints load_words(const uint32_t* p) {
    Uints v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
  }
  DSF_INLINE void store_words(void* p, Uints v) { __builtin_memcpy(p, &v, sizeof v); }

  DSF_INLINE Floats interleave_low(Floats a, Floats b) {
    if constexpr (LANES == 16)
      return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    else if constexpr (LANES == 8)
      return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
    else
      return __builtin_shufflevector(a, b, 0, 4, 1, 5);
  }

  DSF_INLINE Floats interleave_high(Floats a, Floats b) {
    if constexpr (LANES == 16)
      return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    else if constexpr (LANES == 8)
      return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
    else
      return __builtin_shufflevector(a, b, 2, 6, 3, 7);
  }

  // The nearest whole numbers as bytes, those out of range as the nearest in it.
  DSF_INLINE void store_uint8(uint8_t* to, Floats v) {
    const Uint8s bytes = __builtin_convertvector(nearest_uint8(v), Uint8s);
    __builtin_memcpy(to, &bytes, sizeof bytes);
  }

  // Adding it to a small number leaves the nearest whole one in the lowest bits.
  static constexpr float TO_WHOLE = 12582912.0f;
  DSF_INLINE Floats nearest(Floats v) { return (v + broadcast(TO_WHOLE)) - broadcast(TO_WHOLE); }
  DSF_INLINE Uints nearest_uint8(Floats v) {
    return (Uints)(minimum(maximum(v, broadcast(0.0f)), broadcast(255.0f)) + broadcast(TO_WHOLE)) & 255u;
  }
};

}  // namespace dsf

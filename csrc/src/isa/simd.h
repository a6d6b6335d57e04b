// Vectors of the instruction set this file is compiled for. Include it inside that set's namespace only: a function of
// the same name compiled for another set would be merged with this one by the linker. For the same reason nothing here
// calls templates of the standard library.
//
// The compiler's own vector types serve every set; DSF_LANES is how many floats a register holds, DSF_REGISTERS how
// many registers there are.

#define DSF_INLINE static inline __attribute__((always_inline))
#define DSF_METHOD inline __attribute__((always_inline))

constexpr int W = DSF_LANES;

typedef float vf __attribute__((vector_size(4 * DSF_LANES)));
typedef float vf_any __attribute__((vector_size(4 * DSF_LANES), aligned(4), may_alias));
typedef uint32_t vu __attribute__((vector_size(4 * DSF_LANES)));
typedef int32_t vi __attribute__((vector_size(4 * DSF_LANES)));
typedef uint16_t vh __attribute__((vector_size(2 * DSF_LANES)));
typedef uint16_t vh_any __attribute__((vector_size(2 * DSF_LANES), aligned(2), may_alias));
typedef int8_t vb_any __attribute__((vector_size(DSF_LANES), aligned(1), may_alias));

// Eight floats whatever the set: packs are eight rows high.
typedef float v8 __attribute__((vector_size(32)));
typedef float v8_any __attribute__((vector_size(32), aligned(4), may_alias));
typedef float v4 __attribute__((vector_size(16)));
typedef float v4_any __attribute__((vector_size(16), aligned(4), may_alias));

DSF_INLINE vf load(const float* p) { return *reinterpret_cast<const vf_any*>(p); }
DSF_INLINE void store(float* p, vf v) { *reinterpret_cast<vf_any*>(p) = v; }

DSF_INLINE vf all(float x) {
#if DSF_LANES == 16
  return vf{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
#elif DSF_LANES == 8
  return vf{x, x, x, x, x, x, x, x};
#else
  return vf{x, x, x, x};
#endif
}

DSF_INLINE v8 load8(const float* p) { return *reinterpret_cast<const v8_any*>(p); }
DSF_INLINE void store8(float* p, v8 v) { *reinterpret_cast<v8_any*>(p) = v; }
DSF_INLINE v8 all8(float x) { return v8{x, x, x, x, x, x, x, x}; }
DSF_INLINE v4 load4(const float* p) { return *reinterpret_cast<const v4_any*>(p); }
DSF_INLINE void store4(float* p, v4 v) { *reinterpret_cast<v4_any*>(p) = v; }
DSF_INLINE v4 all4(float x) { return v4{x, x, x, x}; }

DSF_INLINE vf smaller(vf a, vf b) { return a < b ? a : b; }
DSF_INLINE vf larger(vf a, vf b) { return a > b ? a : b; }

DSF_INLINE vf widen(vh v) { return (vf)(__builtin_convertvector(v, vu) << 16); }

// To the nearest bfloat16, ties to even; any NaN becomes a quiet one.
DSF_INLINE vh narrow(vf v) {
  vu bits = (vu)v;
  vu rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  vi nan = v != v;
  vu quiet = (bits >> 16) | 0x40u;
  return __builtin_convertvector((vu)((nan & (vi)quiet) | (~nan & (vi)rounded)), vh);
}

DSF_INLINE vf load_as(const float* p) { return load(p); }
DSF_INLINE vf load_as(const uint16_t* p) { return widen(*reinterpret_cast<const vh_any*>(p)); }
// Compilers do not know the short way from bytes to floats.
DSF_INLINE vf load_as(const int8_t* p) {
#if DSF_LANES == 16
  return (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif DSF_LANES == 8
  return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#else
  return __builtin_convertvector(*reinterpret_cast<const vb_any*>(p), vf);
#endif
}
DSF_INLINE void store_as(float* p, vf v) { store(p, v); }
DSF_INLINE void store_as(uint16_t* p, vf v) { *reinterpret_cast<vh_any*>(p) = narrow(v); }

template <class T>
DSF_INLINE vf load_some(const T* p, int count) {
  T some[W] = {};
  for (int i = 0; i < count; i++) some[i] = p[i];
  return load_as(some);
}

template <class T>
DSF_INLINE void store_some(T* p, vf v, int count) {
  T some[W];
  store_as(some, v);
  for (int i = 0; i < count; i++) p[i] = some[i];
}

DSF_INLINE vf low_halves(vf a, vf b) {
#if DSF_LANES == 16
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#elif DSF_LANES == 8
  return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#else
  return __builtin_shufflevector(a, b, 0, 4, 1, 5);
#endif
}

DSF_INLINE vf high_halves(vf a, vf b) {
#if DSF_LANES == 16
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif DSF_LANES == 8
  return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  return __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}

// W x W: log2(W) rounds of riffling the two halves.
DSF_INLINE void transpose(vf (&rows)[W]) {
  vf other[W];
#pragma GCC unroll 4
  for (int round = 1; round < W; round *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < W / 2; i++) {
      other[2 * i] = low_halves(rows[i], rows[i + W / 2]);
      other[2 * i + 1] = high_halves(rows[i], rows[i + W / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) rows[i] = other[i];
  }
}

// Rational approximations of erf and tanh in single precision (those of Eigen, accurate to a few units in the last
// place). Beyond the clamps the result is made exactly one: a large argument would be multiplied by the difference.
DSF_INLINE vf saturated(vf x, float limit, vf inside) {
  return x <= all(-limit) ? all(-1.0f) : x >= all(limit) ? all(1.0f) : inside;
}

DSF_INLINE vf erf_of(vf argument) {
  vf x = smaller(larger(argument, all(-4.0f)), all(4.0f));
  vf s = x * x;
  vf p = s * -2.72614225801306e-10f + 2.77068142495902e-08f;
  p = p * s + -2.10102402082508e-06f;
  p = p * s + -5.69250639462346e-05f;
  p = p * s + -7.34990630326855e-04f;
  p = p * s + -2.95459980854025e-03f;
  p = p * s + -1.60960333262415e-02f;
  vf q = s * -1.45660718464996e-05f + -2.13374055278905e-04f;
  q = q * s + -1.68282697438203e-03f;
  q = q * s + -7.37332916720468e-03f;
  q = q * s + -1.42647390514189e-02f;
  return saturated(argument, 4.0f, x * p / q);
}

DSF_INLINE vf tanh_of(vf argument) {
  vf x = smaller(larger(argument, all(-7.90531110763549805f)), all(7.90531110763549805f));
  vf s = x * x;
  vf p = s * -2.76076847742355e-16f + 2.00018790482477e-13f;
  p = p * s + -8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  vf q = s * 1.19825839466702e-06f + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return saturated(argument, 7.90531110763549805f, x * p / q);
}

// Comparisons with NaN are false, and clamping would lose it: it is put back.
template <int ACTIVATION>
DSF_INLINE vf activate(vf x) {
  if (ACTIVATION == 1) {
    vf y = 0.5f * x * (1.0f + erf_of(x * 0.70710678118654752f));
    return x == x ? y : x;
  }
  if (ACTIVATION == 2) {
    vf y = 0.5f * x * (1.0f + tanh_of(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    return x == x ? y : x;
  }
  if (ACTIVATION == 3) return x < all(0.0f) ? all(0.0f) : x;
  return x;
}

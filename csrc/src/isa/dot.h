// Sums of products of four unsigned and four signed bytes, lane by lane. Included inside the namespace of an
// instruction set.

typedef int32_t v8i __attribute__((vector_size(32)));
typedef uint32_t v8u __attribute__((vector_size(32)));

#if DSF_VNNI && DSF_LANES == 8

DSF_INLINE v8i dot8(v8i sums, v8u bytes, v8u weights) {
  return (v8i)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)bytes, (__m256i)weights);
}
DSF_INLINE vi dot(vi sums, vu bytes, vu weights) { return dot8(sums, bytes, weights); }

#elif DSF_VNNI

DSF_INLINE vi dot(vi sums, vu bytes, vu weights) {
  return (vi)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)bytes, (__m512i)weights);
}
DSF_INLINE v8i dot8(v8i sums, v8u bytes, v8u weights) {
  return (v8i)_mm256_dpbusd_epi32((__m256i)sums, (__m256i)bytes, (__m256i)weights);
}

#elif DSF_LANES >= 8

// Products of 16-bit numbers, in two halves: those of bytes at once would saturate.
DSF_INLINE v8i dot8(v8i sums, v8u bytes, v8u weights) {
  const __m256i w = (__m256i)weights, x = (__m256i)bytes;
  const __m256i even = _mm256_madd_epi16(_mm256_and_si256(x, _mm256_set1_epi16(255)),
                                         _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8));
  const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(x, 8), _mm256_srai_epi16(w, 8));
  return sums + (v8i)even + (v8i)odd;
}

#if DSF_LANES == 16
DSF_INLINE vi dot(vi sums, vu bytes, vu weights) {
  const __m512i w = (__m512i)weights, x = (__m512i)bytes;
  const __m512i even = _mm512_madd_epi16(_mm512_and_si512(x, _mm512_set1_epi16(255)),
                                         _mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8));
  const __m512i odd = _mm512_madd_epi16(_mm512_srli_epi16(x, 8), _mm512_srai_epi16(w, 8));
  return sums + (vi)even + (vi)odd;
}
#else
DSF_INLINE vi dot(vi sums, vu bytes, vu weights) { return dot8(sums, bytes, weights); }
#endif

#else

// The products written out: four multiplications for what other sets do in one or two.
template <class Sums, class Words>
DSF_INLINE Sums dot_of(Sums sums, Words bytes, Words weights) {
#pragma GCC unroll 4
  for (int shift = 0; shift < 32; shift += 8)
    sums += (Sums)((bytes >> shift) & 255u) * ((Sums)(weights << (24 - shift)) >> 24);
  return sums;
}

DSF_INLINE vi dot(vi sums, vu bytes, vu weights) { return dot_of(sums, bytes, weights); }
DSF_INLINE v8i dot8(v8i sums, v8u bytes, v8u weights) { return dot_of(sums, bytes, weights); }

#endif

static int32_t plain_dot(int32_t sum, uint32_t bytes, uint32_t weights) {
  for (int shift = 0; shift < 32; shift += 8)
    sum += int32_t(uint8_t(bytes >> shift)) * int32_t(int8_t(weights >> shift));
  return sum;
}

// Whether sums of products of bytes are what they should be.
static bool dots_work() {
  vi sums;
  vu bytes, weights;
  for (int i = 0; i < W; i++) {
    sums[i] = 1 - i;
    bytes[i] = 0xff7f0180u * uint32_t(i + 3);
    weights[i] = 0x80ff0103u * uint32_t(i + 1);
  }
  // The compiler is not to know them.
  __asm__ volatile("" : "+m"(sums), "+m"(bytes), "+m"(weights));
  const vi found = dot(sums, bytes, weights);
  bool right = true;
  for (int i = 0; i < W; i++) right = right && found[i] == plain_dot(sums[i], bytes[i], weights[i]);
  return right;
}

// Rows of bytes, one to a register, and their parts riffled within quarters of it.
#if DSF_LANES == 16
typedef __m512i Row;
#define DSF_WIDE(OPERATION) _mm512_##OPERATION
#elif DSF_LANES == 8
typedef __m256i Row;
#define DSF_WIDE(OPERATION) _mm256_##OPERATION
#endif

#if DSF_LANES >= 8
DSF_INLINE Row low_bytes(Row a, Row b) { return DSF_WIDE(unpacklo_epi8)(a, b); }
DSF_INLINE Row high_bytes(Row a, Row b) { return DSF_WIDE(unpackhi_epi8)(a, b); }
DSF_INLINE Row low_words(Row a, Row b) { return DSF_WIDE(unpacklo_epi16)(a, b); }
DSF_INLINE Row high_words(Row a, Row b) { return DSF_WIDE(unpackhi_epi16)(a, b); }
DSF_INLINE Row low_words32(Row a, Row b) { return DSF_WIDE(unpacklo_epi32)(a, b); }
DSF_INLINE Row high_words32(Row a, Row b) { return DSF_WIDE(unpackhi_epi32)(a, b); }
DSF_INLINE Row low_words64(Row a, Row b) { return DSF_WIDE(unpacklo_epi64)(a, b); }
DSF_INLINE Row high_words64(Row a, Row b) { return DSF_WIDE(unpackhi_epi64)(a, b); }
#else
typedef uint8_t Row __attribute__((vector_size(16)));
typedef uint16_t RowWords __attribute__((vector_size(16)));
DSF_INLINE Row low_bytes(Row a, Row b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
DSF_INLINE Row high_bytes(Row a, Row b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
DSF_INLINE Row low_words(Row a, Row b) {
  return (Row)__builtin_shufflevector((RowWords)a, (RowWords)b, 0, 8, 1, 9, 2, 10, 3, 11);
}
DSF_INLINE Row high_words(Row a, Row b) {
  return (Row)__builtin_shufflevector((RowWords)a, (RowWords)b, 4, 12, 5, 13, 6, 14, 7, 15);
}
DSF_INLINE Row low_words32(Row a, Row b) { return (Row)__builtin_shufflevector((vu)a, (vu)b, 0, 4, 1, 5); }
DSF_INLINE Row high_words32(Row a, Row b) { return (Row)__builtin_shufflevector((vu)a, (vu)b, 2, 6, 3, 7); }
DSF_INLINE Row low_words64(Row a, Row b) { return (Row)__builtin_shufflevector((vu)a, (vu)b, 0, 1, 4, 5); }
DSF_INLINE Row high_words64(Row a, Row b) { return (Row)__builtin_shufflevector((vu)a, (vu)b, 2, 3, 6, 7); }
#endif

DSF_INLINE Row load_row(const uint8_t* p) {
  Row row;
  __builtin_memcpy(&row, p, sizeof row);
  return row;
}

// Four rows as quads: U of four vectors, from vector FIRST on.
template <int FIRST, int U>
DSF_INLINE void quads_of(Row a, Row b, Row c, Row d, vu (&quads)[U]) {
  if (FIRST < 2) {
    const Row ab = low_bytes(a, b), cd = low_bytes(c, d);
    if (FIRST == 0) quads[0] = (vu)low_words(ab, cd);
    if (FIRST + U > 1) quads[1 - FIRST < U ? 1 - FIRST : 0] = (vu)high_words(ab, cd);
  }
  if (FIRST + U > 2) {
    const Row ab = high_bytes(a, b), cd = high_bytes(c, d);
    if (FIRST <= 2) quads[2 - FIRST < U ? 2 - FIRST : 0] = (vu)low_words(ab, cd);
    if (FIRST + U > 3) quads[3 - FIRST < U ? 3 - FIRST : 0] = (vu)high_words(ab, cd);
  }
}

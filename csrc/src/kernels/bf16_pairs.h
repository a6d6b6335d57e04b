// Products of bfloat16, two at a time, with sums in single precision. Included inside the namespace of an instruction
// set that has them.

// Lane by lane two numbers rounded to bfloat16, the first one below.
DSF_INLINE __m512bh paired(vf one, vf other) {
  const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh((__m512)other, (__m512)one);
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return (__m512bh)_mm512_permutexvar_epi16(order, halves);
}

template <int R, int U>
DSF_INLINE void add_pair(vf (&sums)[R][U], const uint32_t* w, const float* one, const float* other) {
  __m512bh x[U];
#pragma GCC unroll 3
  for (int u = 0; u < U; u++) x[u] = paired(load(one + u * W), load(other + u * W));
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
    const __m512bh weights = (__m512bh)_mm512_set1_epi32(int(w[r]));
#pragma GCC unroll 3
    for (int u = 0; u < U; u++) sums[r][u] = (vf)_mm512_dpbf16_ps((__m512)sums[r][u], x[u], weights);
  }
}

// As pack_tile, two columns at a time.
template <int R, int U, bool INDEXED>
DSF_INLINE void pair_tile(const uint32_t* w, const uint32_t* columns, int64_t count, const float* z, int64_t ld,
                          float* y, bool accumulate) {
  vf sums[R][U];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 3
    for (int u = 0; u < U; u++) sums[r][u] = accumulate ? load(y + r * ld + u * W) : vf{};
  }
  int64_t k = 0;
  for (; k + 2 <= count; k += 2, w += R) {
    const float* one = z + (INDEXED ? int64_t(columns[k]) : k) * ld;
    add_pair<R, U>(sums, w, one, INDEXED ? z + int64_t(columns[k + 1]) * ld : one + ld);
  }
  if (k < count) {
    const float* last = z + (INDEXED ? int64_t(columns[k]) : k) * ld;
    add_pair<R, U>(sums, w, last, last);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 3
    for (int u = 0; u < U; u++) store(y + r * ld + u * W, sums[r][u]);
  }
}

template <int R, int U>
struct PairedInputs {
  __m512bh rows[R / 2][U];

  DSF_METHOD void load_from(const float* x, int64_t ld) {
#pragma GCC unroll 4
    for (int r = 0; r < R / 2; r++) {
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) rows[r][u] = paired(load(x + 2 * r * ld + u * W), load(x + (2 * r + 1) * ld + u * W));
    }
  }

  DSF_METHOD void add_to(vf (&sums)[U], const uint32_t* w) const {
#pragma GCC unroll 4
    for (int r = 0; r < R / 2; r++) {
      const __m512bh weights = (__m512bh)_mm512_set1_epi32(int(w[r]));
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) sums[u] = (vf)_mm512_dpbf16_ps((__m512)sums[u], rows[r][u], weights);
    }
  }
};

// A panel rounded to bfloat16, for loads half as wide. Of every two vectors the tokens lie such that interleaving two
// rows within quarters of a register gives the first vector from the lower halves, the second from the upper.
static void round_panel(const float* panel, int64_t rows, int vectors, uint16_t* to) {
  const __m512i order = _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);
  for (int64_t row = 0; row < rows; row++, panel += int64_t(vectors) * W, to += int64_t(vectors) * W) {
    int u = 0;
    for (; u + 2 <= vectors; u += 2) {
      const __m512bh halves = _mm512_cvtne2ps_pbh((__m512)load(panel + (u + 1) * W), (__m512)load(panel + u * W));
      _mm512_storeu_si512(to + u * W, _mm512_permutexvar_epi64(order, (__m512i)halves));
    }
    if (u < vectors) _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + u * W),
                                         (__m256i)_mm512_cvtneps_pbh((__m512)load(panel + u * W)));
  }
}

template <int U>
DSF_INLINE void add_pair_of_rows(vf (&sums)[U], uint32_t weights, const uint16_t* one, const uint16_t* other) {
  const __m512bh w = (__m512bh)_mm512_set1_epi32(int(weights));
#pragma GCC unroll 3
  for (int u = 0; u + 2 <= U; u += 2) {
    const __m512i a = _mm512_loadu_si512(one + u * W), b = _mm512_loadu_si512(other + u * W);
    sums[u] = (vf)_mm512_dpbf16_ps((__m512)sums[u], (__m512bh)_mm512_unpacklo_epi16(a, b), w);
    sums[u + 1] = (vf)_mm512_dpbf16_ps((__m512)sums[u + 1], (__m512bh)_mm512_unpackhi_epi16(a, b), w);
  }
  if (U % 2) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(one + (U - 1) * W));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(other + (U - 1) * W));
    const __m512i order = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6,
                                           37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i both = _mm512_permutex2var_epi16(_mm512_castsi256_si512(a), order, _mm512_castsi256_si512(b));
    sums[U - 1] = (vf)_mm512_dpbf16_ps((__m512)sums[U - 1], (__m512bh)both, w);
  }
}

// Entries of rows with supports of their own, two at a time, from a rounded panel.
template <int U>
struct Doubles {
  typedef uint16_t Number;
  static constexpr uint32_t SIZE = 2;
  static constexpr uint32_t SETS = U <= 2 ? 4 : U <= 4 ? 2 : 1;
  const uint32_t* pairs;
  const uint16_t* offsets;

  explicit DSF_METHOD Doubles(const Sparse& m) : pairs(m.pairs.data()), offsets(m.offsets.data()) {}

  DSF_METHOD void add_to(vf (&sums)[U], uint32_t k, const uint16_t* z) const {
    constexpr int64_t LD = int64_t(U) * W;
    add_pair_of_rows<U>(sums, pairs[k / 2], z + offsets[k] * LD, z + offsets[k + 1] * LD);
  }
};

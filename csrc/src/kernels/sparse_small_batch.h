// Products of free codes with a few tokens. Included inside the namespace of an instruction set.

#if DSF_LOOKUP

// 32 activations in two registers are a table; one instruction looks sixteen of them up.
DSF_INLINE __m512 look_up(const float* table, __m512i lanes) {
  return _mm512_permutex2var_ps(_mm512_loadu_ps(table), lanes, _mm512_loadu_ps(table + 16));
}

template <int T>
DSF_INLINE void sixteen_few(const Sparse& m, int64_t sixteen, const float* z, int64_t ldz, float* y, int64_t ldy,
                            bool accumulate) {
  constexpr int SETS = T == 1 ? 4 : T == 2 ? 2 : 1;
  __m512 sums[SETS][T] = {};
  uint32_t k = m.steps[sixteen];
  const uint32_t end = m.steps[sixteen + 1];
  for (; k < end; k += SETS) {  // the number of steps is padded to a multiple of four
#pragma GCC unroll 4
    for (int s = 0; s < SETS; s++) {
      const int64_t at = int64_t(k + s) * 16;
      const __m512 weight = _mm512_load_ps(m.lane_values.data() + at);
      const __m512i lanes =
          _mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(m.lanes.data() + at)));
      const float* table = z + int64_t(m.windows[k + s]) * WINDOW_STEP;
#pragma GCC unroll 8
      for (int t = 0; t < T; t++)
        sums[s][t] = _mm512_fmadd_ps(weight, look_up(table + t * ldz, lanes), sums[s][t]);
    }
  }
  const uint32_t* rows = m.lane_rows.data() + sixteen * 16;
#pragma GCC unroll 8
  for (int t = 0; t < T; t++) {
    __m512 sum = sums[0][t];
#pragma GCC unroll 4
    for (int s = 1; s < SETS; s++) sum = _mm512_add_ps(sum, sums[s][t]);
    float some[16];
    _mm512_storeu_ps(some, sum);
    for (int i = 0; i < 16; i++) {
      if (rows[i] >= m.rows) continue;
      float* to = y + t * ldy + rows[i];
      *to = accumulate ? *to + some[i] : some[i];
    }
  }
}

static void sparse_few(const Sparse& m, int64_t first, int64_t last, const float* z, int64_t ldz, int64_t tokens,
                       float* y, int64_t ldy, bool accumulate) {
  for (int64_t sixteen = first; sixteen < last; sixteen++) {
    for_few<8>(tokens, [&](int64_t t, auto count) __attribute__((always_inline)) {
      sixteen_few<decltype(count)::value>(m, sixteen, z + t * ldz, ldz, y + t * ldy, ldy, accumulate);
    });
  }
}

#else

static void sparse_few(const Sparse& m, int64_t first, int64_t last, const float* z, int64_t ldz, int64_t tokens,
                       float* y, int64_t ldy, bool accumulate) {
  for (int64_t token = 0; token < tokens; token++) {
    for (int64_t row = first; row < last; row++) {
      float* to = y + token * ldy + row;
      float sums[4] = {accumulate ? *to : 0.0f, 0, 0, 0};
      for (int64_t block = 0; block < m.blocks; block++) {
        const uint32_t* starts = m.starts.data() + block * (m.rows + 1);
        const float* from = z + token * ldz + block * m.block_columns;
        uint32_t k = starts[row];
        for (; k + 4 <= starts[row + 1]; k += 4) {
          for (int s = 0; s < 4; s++) sums[s] += m.values[k + s] * from[m.offsets[k + s]];
        }
        for (; k < starts[row + 1]; k++) sums[0] += m.values[k] * from[m.offsets[k]];
      }
      *to = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }
  }
}

#endif

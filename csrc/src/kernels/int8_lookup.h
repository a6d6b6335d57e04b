// Products of rows of bytes with supports of their own with a few tokens. Included inside the namespace of an instruction
// set.

#if DSF_BYTE_LOOKUP

// 128 activations in two registers are a table; one instruction looks 64 of them up.
template <int T>
DSF_INLINE void sixteen_rows(const Quads& m, int64_t sixteen, const Bytes& bytes, int64_t ld, float* y, int64_t ldy,
                             bool accumulate) {
  const ByteLookup& lookup = m.lookup;
  const uint8_t* lanes = lookup.lanes.data();
  const uint32_t *words = lookup.words.data(), *steps = lookup.steps.data();
  constexpr int SETS = T <= 2 ? 2 : 1;
  __m512i sums[SETS][T] = {};
  for (uint32_t run = lookup.runs[sixteen]; run < lookup.runs[sixteen + 1]; run++) {
    const uint8_t* from = bytes.rows + int64_t(lookup.windows[run]) * BYTE_WINDOW_STEP;
    __m512i low[T], high[T];
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) {
      low[t] = _mm512_loadu_si512(from + t * ld);
      high[t] = _mm512_loadu_si512(from + t * ld + 64);
    }
    const auto take = [&](__m512i (&to)[T], uint32_t k) __attribute__((always_inline)) {
      const __m512i where = _mm512_loadu_si512(lanes + int64_t(k) * 64), w = _mm512_loadu_si512(words + int64_t(k) * 16);
#pragma GCC unroll 8
      for (int t = 0; t < T; t++)
        to[t] = _mm512_dpbusd_epi32(to[t], _mm512_permutex2var_epi8(low[t], where, high[t]), w);
    };
    uint32_t k = steps[run];
    for (; k + SETS <= steps[run + 1]; k += SETS) {
#pragma GCC unroll 2
      for (int s = 0; s < SETS; s++) take(sums[s], k + s);
    }
    if (k < steps[run + 1]) take(sums[0], k);
  }
  const uint32_t* rows = lookup.lane_rows.data() + sixteen * 16;
#pragma GCC unroll 8
  for (int t = 0; t < T; t++) {
    int32_t some[16];
    _mm512_storeu_si512(some, SETS == 1 ? sums[0][t] : _mm512_add_epi32(sums[0][t], sums[SETS - 1][t]));
    for (int i = 0; i < 16; i++) {
      if (rows[i] >= m.rows) continue;
      store_sum(m, rows[i], bytes, t, some[i], y + t * ldy + rows[i], accumulate);
    }
  }
}

// `y` begins with row 0.
static void rows_few(const Quads& m, int64_t first, int64_t last, const Bytes& bytes, int64_t ld, int64_t tokens,
                     float* y, int64_t ldy, bool add) {
  for (int64_t sixteen = first; sixteen < last; sixteen++) {
    for_few<8>(tokens, [&](int64_t t, auto count) __attribute__((always_inline)) {
      sixteen_rows<decltype(count)::value>(m, sixteen, token_of(bytes, t, ld), ld, y + t * ldy, ldy, add);
    });
  }
}

#endif

static void quads_few(const Quads& m, int64_t first, int64_t last, const Bytes& bytes, int64_t ld, int64_t tokens,
                      float* y, int64_t ldy, bool add) {
#if DSF_BYTE_LOOKUP
  if (m.lookup.sixteens) return rows_few(m, first / 16, (last + 15) / 16, bytes, ld, tokens, y - first, ldy, add);
#endif
  const auto run = m.source == Quads::DENSE     ? quads_few_of<8, Quads::DENSE>
                   : m.source == Quads::ALIGNED ? quads_few_of<1, Quads::ALIGNED>
                   : m.height == 8              ? quads_few_of<8, Quads::GATHERED>
                   : m.height == 4              ? quads_few_of<4, Quads::GATHERED>
                                                : quads_few_of<1, Quads::GATHERED>;
  run(m, first, last, bytes, ld, tokens, y, ldy, add);
}

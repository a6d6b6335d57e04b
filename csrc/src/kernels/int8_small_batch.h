// Products of bytes with a few tokens. Included inside the namespace of an instruction set.

static void round_bytes_few(const float* z, int64_t ldz, int64_t features, int64_t tokens, const Bytes& to,
                            int64_t ld) {
  for (int64_t t = 0; t < tokens; t++) {
    const float* from = z + t * ldz;
    uint8_t* bytes = to.rows + t * ld;
    const Reach<float> reach = reach_of(from, features);
    const Rounding rounding(all(reach.low), all(reach.high));
    to.scales[t] = rounding.scale[0] + reach.bad;
    to.zeros[t] = int32_t(rounding.zero[0]);
    for (int64_t f = 0; f < features; f += W) {
      const bool whole_vector = features - f >= W;
      const vf v = whole_vector ? load(from + f) : load_some(from + f, int(features - f));
      typedef uint8_t narrow_bytes __attribute__((vector_size(W)));
      const narrow_bytes q = __builtin_convertvector(byte_of(v, rounding.inverse, rounding.zero), narrow_bytes);
      __builtin_memcpy(bytes + f, &q, sizeof q);
    }
  }
}

// From token t on.
DSF_INLINE Bytes token_of(const Bytes& bytes, int64_t t, int64_t ld) {
  return {bytes.scales + t, bytes.zeros + t, nullptr, bytes.rows + t * ld};
}

// What the sum of a row's products with a token stands for.
DSF_INLINE void store_sum(const Quads& m, int64_t row, const Bytes& bytes, int t, int32_t sum, float* to,
                          bool accumulate) {
  const float v = float(sum - bytes.zeros[t] * m.sums[row]) * (bytes.scales[t] * m.scales[row]);
  *to = accumulate ? *to + v : v;
}

// What a quad reads, of a token whose bytes these are.
template <Quads::Source SOURCE>
DSF_INLINE uint32_t quad_few(const uint8_t* bytes, const uint32_t* columns, uint32_t first, uint32_t k) {
  uint32_t word;
  if (SOURCE == Quads::GATHERED) {
    const uint32_t* four = columns + int64_t(k) * 4;
    word = bytes[four[0]] | uint32_t(bytes[four[1]]) << 8 | uint32_t(bytes[four[2]]) << 16 |
           uint32_t(bytes[four[3]]) << 24;
  } else {
    __builtin_memcpy(&word, bytes + 4 * int64_t(SOURCE == Quads::ALIGNED ? columns[k] : k - first), 4);
  }
  return word;
}

// Eight lanes hold the rows of a pack, as many times as they fit: that many quads are taken at a time.
template <int R, Quads::Source SOURCE, int T>
DSF_INLINE void quads_pack_few(const Quads& m, int64_t pack, const Bytes& bytes, int64_t ld, float* y, int64_t ldy,
                               bool accumulate) {
  constexpr uint32_t AT_ONCE = 8 / R;
  constexpr int SETS = T == 1 ? 4 : 2;
  const uint32_t *columns = m.columns.data(), first = m.starts[pack], last = m.starts[pack + 1];
  const uint32_t* words = m.words.data();
  v8i sums[SETS][T] = {};
  const auto take = [&](v8i (&to)[T], uint32_t k, v8u weights, uint32_t count) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) {
      v8u x = {};
#pragma GCC unroll 8
      for (uint32_t i = 0; i < AT_ONCE; i++) {
        if (i >= count) break;
        const uint32_t word = quad_few<SOURCE>(bytes.rows + t * ld, columns, first, k + i);
        if (R == 8) x = v8u{} + word;
        if (R == 4) x = i ? __builtin_shufflevector(x, v8u{} + word, 0, 1, 2, 3, 8, 9, 10, 11) : v8u{} + word;
        if (R == 1) x[i] = word;
      }
      to[t] = dot8(to[t], x, weights);
    }
  };
  uint32_t k = first;
  for (; k + SETS * AT_ONCE <= last; k += SETS * AT_ONCE) {
#pragma GCC unroll 4
    for (uint32_t s = 0; s < SETS; s++) {
      v8u weights;
      __builtin_memcpy(&weights, words + int64_t(k + s * AT_ONCE) * R, sizeof weights);
      take(sums[s], k + s * AT_ONCE, weights, AT_ONCE);
    }
  }
  for (; k < last; k += AT_ONCE) {
    const uint32_t count = last - k < AT_ONCE ? last - k : AT_ONCE;
    v8u weights = {};
    __builtin_memcpy(&weights, words + int64_t(k) * R, count * R * sizeof(uint32_t));
    take(sums[0], k, weights, count);
  }
#pragma GCC unroll 4
  for (int t = 0; t < T; t++) {
    v8i sum = sums[0][t];
#pragma GCC unroll 4
    for (int s = 1; s < SETS; s++) sum += sums[s][t];
    if (R <= 4) sum += __builtin_shufflevector(sum, sum, 4, 5, 6, 7, 0, 1, 2, 3);
    if (R == 1) {
      sum += __builtin_shufflevector(sum, sum, 2, 3, 0, 1, 6, 7, 4, 5);
      sum += __builtin_shufflevector(sum, sum, 1, 0, 3, 2, 5, 4, 7, 6);
    }
    for (int r = 0; r < R; r++) store_sum(m, pack * R + r, bytes, t, sum[r], y + t * ldy + r, accumulate);
  }
}

template <int R, Quads::Source SOURCE>
static void quads_few_of(const Quads& m, int64_t first, int64_t last, const Bytes& bytes, int64_t ld, int64_t tokens,
                         float* y, int64_t ldy, bool add) {
  for (int64_t pack = first; pack < last; pack++) {
    for_few<4>(tokens, [&](int64_t t, auto count) __attribute__((always_inline)) {
      quads_pack_few<R, SOURCE, decltype(count)::value>(m, pack, token_of(bytes, t, ld), ld,
                                                        y + t * ldy + (pack - first) * R, ldy, add);
    });
  }
}

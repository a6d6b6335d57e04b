// Products of bytes with panels of tokens. Included inside the namespace of an instruction set.

// Adding it to a small number leaves the nearest whole one in the lowest bits.
constexpr float WHOLE = 12582912.0f;
// Activations that differ by less are all zero.
constexpr float SMALLEST_RANGE = 1e-30f;

DSF_INLINE vf nearest(vf v) { return (v + all(WHOLE)) - all(WHOLE); }

// From the least and the largest number of every lane (or zero) to what a byte stands for.
struct Rounding {
  vf scale, inverse, zero;

  DSF_METHOD Rounding(vf low, vf high) {
    const vf range = high - low;
    const vi some = range > all(SMALLEST_RANGE);
    inverse = (vf)(some & (vi)(all(255.0f) / range));
    scale = (vf)(some & (vi)(range * (1.0f / 255.0f)));
    zero = nearest(smaller(larger(-low * inverse, all(0.0f)), all(255.0f)));  // whatever is not a number becomes one
  }
};

DSF_INLINE vu nearest_byte(vf v) {
  return (vu)(smaller(larger(v, all(0.0f)), all(255.0f)) + all(WHOLE)) & 255u;
}

DSF_INLINE vu byte_of(vf v, vf inverse, vf zero) { return nearest_byte(v * inverse + zero); }

// Of one token, or of a lane: the least and the largest number (or zero), and NaN unless all are finite,
// which makes all the results of the token so.
template <class V>
struct Reach {
  V low = {}, high = {}, bad = {};
};

DSF_INLINE void see(Reach<vf>& reach, vf v) {
  reach.low = smaller(v, reach.low);
  reach.high = larger(v, reach.high);
  reach.bad += v * all(0.0f);
}

DSF_INLINE vi whole(vf v) { return __builtin_convertvector(v, vi); }

// Within every quarter of a register, bytes 4 i + v to 4 v + i.
DSF_INLINE vu riffle_bytes(vu v) {
#if DSF_LANES == 16
  const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  return (vu)_mm512_shuffle_epi8((__m512i)v, order);
#elif DSF_LANES == 8
  const __m256i order =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  return (vu)_mm256_shuffle_epi8((__m256i)v, order);
#else
  return (vu)__builtin_shufflevector((Row)v, (Row)v, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
#endif
}

DSF_INLINE void store_words(void* p, vu v) { __builtin_memcpy(p, &v, sizeof v); }

template <int U>
static void round_bytes_of(const float* panel, int64_t rows, const Bytes& to) {
  constexpr int64_t LD = U * W;
  Reach<vf> reach[U];
  for (int64_t row = 0; row < rows; row++) {
#pragma GCC unroll 4
    for (int u = 0; u < U; u++) see(reach[u], load(panel + row * LD + u * W));
  }
  vf scale[U], inverse[U], zero[U];
#pragma GCC unroll 4
  for (int u = 0; u < U; u++) {
    const Rounding rounding(reach[u].low, reach[u].high);
    scale[u] = rounding.scale, inverse[u] = rounding.inverse, zero[u] = rounding.zero;
    store(to.scales + u * W, scale[u] + reach[u].bad);
    store_words(to.zeros + u * W, (vu)whole(zero[u]));
  }
  for (int64_t row = 0; row < rows; row += 4) {
    vu q[4][U];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
#pragma GCC unroll 4
      for (int u = 0; u < U; u++) {
        const vf v = row + i < rows ? load(panel + (row + i) * LD + u * W) : vf{};
        q[i][u] = byte_of(v, inverse[u], zero[u]);
      }
    }
    if (to.quads) {
#pragma GCC unroll 4
      for (int u = 0; u < U; u++)
        store_words(to.quads + row / 4 * LD + u * W, q[0][u] | q[1][u] << 8 | q[2][u] << 16 | q[3][u] << 24);
    }
    if (to.rows) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        if (row + i == rows) break;
        vu both = q[i][0];
#pragma GCC unroll 4
        for (int u = 1; u < U; u++) both |= q[i][u] << (8 * u);
        store_words(to.rows + (row + i) * 4 * W, riffle_bytes(both));
      }
    }
  }
}

static void round_bytes(const float* panel, int64_t rows, int vectors, const Bytes& to) {
  switch (vectors) {
    case 1: return round_bytes_of<1>(panel, rows, to);
    case 2: return round_bytes_of<2>(panel, rows, to);
    case 3: return round_bytes_of<3>(panel, rows, to);
    default: return round_bytes_of<4>(panel, rows, to);
  }
}

// Vectors FIRST and on of what a quad's four columns hold.
template <Quads::Source SOURCE, int FIRST, int U>
struct QuadReader {
  const uint32_t *quads, *columns;
  const uint8_t* rows;
  int64_t ld;

  DSF_METHOD QuadReader(const Quads& m, const Bytes& bytes, int vectors)
      : quads(bytes.quads + FIRST * W), columns(m.columns.data()), rows(bytes.rows), ld(int64_t(vectors) * W) {}

  DSF_METHOD void read(vu (&x)[U], uint32_t first, uint32_t k) const {
    if (SOURCE == Quads::GATHERED) {
      const uint32_t* four = columns + int64_t(k) * 4;
      quads_of<FIRST, U>(load_row(rows + int64_t(four[0]) * 4 * W), load_row(rows + int64_t(four[1]) * 4 * W),
                         load_row(rows + int64_t(four[2]) * 4 * W), load_row(rows + int64_t(four[3]) * 4 * W), x);
      return;
    }
    const uint32_t* from = quads + int64_t(SOURCE == Quads::ALIGNED ? columns[k] : k - first) * ld;
#pragma GCC unroll 4
    for (int u = 0; u < U; u++) __builtin_memcpy(&x[u], from + u * W, sizeof x[u]);
  }
};

DSF_INLINE vu all_words(uint32_t word) { return vu{} + word; }

template <int R, int U>
DSF_INLINE void add_quad(vi (&sums)[R][U], const vu (&x)[U], const uint32_t* words) {
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
    const vu weights = all_words(words[r]);
#pragma GCC unroll 4
    for (int u = 0; u < U; u++) sums[r][u] = dot(sums[r][u], x[u], weights);
  }
}

template <int R, Quads::Source SOURCE, int FIRST, int U>
DSF_INLINE void quads_tile(const Quads& m, int64_t pack, const Bytes& bytes, int vectors, float* y, bool accumulate) {
  // Rows on their own: enough sums under way at a time.
  constexpr int SETS = R > 1 ? 1 : U <= 2 ? 4 : 2;
  const QuadReader<SOURCE, FIRST, U> reader(m, bytes, vectors);
  const int64_t ld = int64_t(vectors) * W;
  const int32_t* own = m.sums.data() + pack * R;
  vi sums[SETS][R][U] = {};
#pragma GCC unroll 4
  for (int u = 0; u < U; u++) {
    vi zero;
    __builtin_memcpy(&zero, bytes.zeros + (FIRST + u) * W, sizeof zero);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) sums[0][r][u] = zero * -own[r];
  }
  const uint32_t first = m.starts[pack], last = m.starts[pack + 1];
  const uint32_t* words = m.words.data() + int64_t(first) * R;
  uint32_t k = first;
  for (; k + SETS <= last; k += SETS) {
#pragma GCC unroll 4
    for (int s = 0; s < SETS; s++, words += R) {
      vu x[U];
      reader.read(x, first, k + s);
      add_quad<R, U>(sums[s], x, words);
    }
  }
  for (; SETS > 1 && k < last; k++, words += R) {
    vu x[U];
    reader.read(x, first, k);
    add_quad<R, U>(sums[0], x, words);
  }
#pragma GCC unroll 4
  for (int u = 0; u < U; u++) {
    const vf scale = load(bytes.scales + (FIRST + u) * W);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      vi sum = sums[0][r][u];
#pragma GCC unroll 4
      for (int s = 1; s < SETS; s++) sum += sums[s][r][u];
      float* to = y + r * ld + (FIRST + u) * W;
      const vf v = __builtin_convertvector(sum, vf) * (scale * all(m.scales[pack * R + r]));
      store(to, accumulate ? load(to) + v : v);
    }
  }
}

// Tiles of what the registers hold: of rows on their own, all vectors at once.
template <int R, Quads::Source SOURCE>
static void quads_panel_of(const Quads& m, int64_t first, int64_t last, const Bytes& bytes, int vectors, float* y,
                           bool add, Ahead& ahead) {
  const int64_t ld = int64_t(vectors) * W;
  for (int64_t pack = first; pack < last; pack++, y += R * ld) {
    ahead.step();
    if (R == 1) {
      switch (vectors) {
        case 1: quads_tile<R, SOURCE, 0, 1>(m, pack, bytes, vectors, y, add); break;
        case 2: quads_tile<R, SOURCE, 0, 2>(m, pack, bytes, vectors, y, add); break;
        case 3: quads_tile<R, SOURCE, 0, 3>(m, pack, bytes, vectors, y, add); break;
        default: quads_tile<R, SOURCE, 0, 4>(m, pack, bytes, vectors, y, add);
      }
      continue;
    }
#if DSF_REGISTERS == 32
    if (vectors == 1)
      quads_tile<R, SOURCE, 0, 1>(m, pack, bytes, vectors, y, add);
    else
      quads_tile<R, SOURCE, 0, 2>(m, pack, bytes, vectors, y, add);
    if (vectors == 3) quads_tile<R, SOURCE, 2, 1>(m, pack, bytes, vectors, y, add);
    if (vectors == 4) quads_tile<R, SOURCE, 2, 2>(m, pack, bytes, vectors, y, add);
#else
    quads_tile<R, SOURCE, 0, 1>(m, pack, bytes, vectors, y, add);
    if (vectors > 1) quads_tile<R, SOURCE, 1, 1>(m, pack, bytes, vectors, y, add);
    if (vectors > 2) quads_tile<R, SOURCE, 2, 1>(m, pack, bytes, vectors, y, add);
    if (vectors > 3) quads_tile<R, SOURCE, 3, 1>(m, pack, bytes, vectors, y, add);
#endif
  }
}

static void quads_panel(const Quads& m, int64_t first, int64_t last, const Bytes& bytes, int vectors, float* y,
                        bool add, Ahead& ahead) {
  const auto run = m.source == Quads::DENSE     ? quads_panel_of<8, Quads::DENSE>
                   : m.source == Quads::ALIGNED ? quads_panel_of<1, Quads::ALIGNED>
                   : m.height == 8              ? quads_panel_of<8, Quads::GATHERED>
                   : m.height == 4              ? quads_panel_of<4, Quads::GATHERED>
                                                : quads_panel_of<1, Quads::GATHERED>;
  run(m, first, last, bytes, vectors, y, add, ahead);
}

// Products with a few tokens: weights are read once, activations come from the first-level cache. Included inside the
// namespace of an instruction set.

// Tokens at most MOST at a time; how many is a constant for the compiler.
template <int MOST, class F>
DSF_INLINE void for_few(int64_t tokens, F&& run) {
  int64_t t = 0;
  for (; MOST >= 8 && tokens - t >= 8; t += 8) run(t, Width<MOST >= 8 ? 8 : 1>{});
  for (; tokens - t >= 4; t += 4) run(t, Width<4>{});
  for (; tokens - t >= 2; t += 2) run(t, Width<2>{});
  for (; t < tokens; t++) run(t, Width<1>{});
}

template <int R>
struct Lanes;

template <>
struct Lanes<8> {
  typedef v8 type;
  typedef uint32_t words __attribute__((vector_size(32)));
  typedef uint16_t halves __attribute__((vector_size(16)));
  DSF_INLINE v8 load(const float* p) { return load8(p); }
  DSF_INLINE v8 all(float x) { return all8(x); }
  DSF_INLINE void store(float* p, v8 v) { store8(p, v); }
};

template <>
struct Lanes<4> {
  typedef v4 type;
  typedef uint32_t words __attribute__((vector_size(16)));
  typedef uint16_t halves __attribute__((vector_size(8)));
  DSF_INLINE v4 load(const float* p) { return load4(p); }
  DSF_INLINE v4 all(float x) { return all4(x); }
  DSF_INLINE void store(float* p, v4 v) { store4(p, v); }
};

// Rows of a pack lie across the lanes; several columns at a time, so that sums do not wait for each other.
template <int R, int T, bool INDEXED>
DSF_INLINE void pack_few(const float* w, const uint32_t* columns, int64_t count, const float* z, int64_t ldz, float* y,
                         int64_t ldy, bool accumulate) {
  typedef Lanes<R> L;
  constexpr int SETS = T == 1 ? 8 : T == 2 ? 4 : 2;
  typename L::type sums[SETS][T] = {};
  int64_t k = 0;
  for (; k + SETS <= count; k += SETS) {
#pragma GCC unroll 8
    for (int s = 0; s < SETS; s++) {
      const typename L::type weight = L::load(w + (k + s) * R);
      const int64_t column = INDEXED ? int64_t(columns[k + s]) : k + s;
#pragma GCC unroll 4
      for (int t = 0; t < T; t++) sums[s][t] += weight * L::all(z[t * ldz + column]);
    }
  }
  for (; k < count; k++) {
    const typename L::type weight = L::load(w + k * R);
    const int64_t column = INDEXED ? int64_t(columns[k]) : k;
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) sums[0][t] += weight * L::all(z[t * ldz + column]);
  }
#pragma GCC unroll 4
  for (int t = 0; t < T; t++) {
    typename L::type sum = sums[0][t];
#pragma GCC unroll 8
    for (int s = 1; s < SETS; s++) sum += sums[s][t];
    float* to = y + t * ldy;
    L::store(to, accumulate ? L::load(to) + sum : sum);
  }
}

#if DSF_PAIRS
// As pack_few. Weights are widened rather than activations rounded: it costs less, being done once for all tokens.
template <int R, int T, bool INDEXED>
DSF_INLINE void pair_few(const uint32_t* w, const uint32_t* columns, int64_t count, const float* z, int64_t ldz,
                         float* y, int64_t ldy, bool accumulate) {
  typedef Lanes<R> L;
  typedef typename L::type lanes;
  typedef typename L::words words;
  constexpr int SETS = T == 1 ? 4 : 2;
  lanes sums[SETS][T][2] = {};
  const auto add = [&](lanes (&to)[T][2], int64_t k, int64_t next) __attribute__((always_inline)) {
    words both;
    __builtin_memcpy(&both, w + k / 2 * R, sizeof both);
    const lanes one = (lanes)(both << 16), other = (lanes)(both & 0xffff0000u);
    const int64_t first = INDEXED ? int64_t(columns[k]) : k, second = INDEXED ? int64_t(columns[next]) : next;
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) {
      to[t][0] += one * L::all(z[t * ldz + first]);
      to[t][1] += other * L::all(z[t * ldz + second]);
    }
  };
  int64_t k = 0;
  for (; k + 2 * SETS <= count; k += 2 * SETS) {
#pragma GCC unroll 4
    for (int s = 0; s < SETS; s++) add(sums[s], k + 2 * s, k + 2 * s + 1);
  }
  for (; k < count; k += 2) add(sums[0], k, k + 1 < count ? k + 1 : k);
#pragma GCC unroll 4
  for (int t = 0; t < T; t++) {
    lanes sum = sums[0][t][0] + sums[0][t][1];
#pragma GCC unroll 4
    for (int s = 1; s < SETS; s++) sum += sums[s][t][0] + sums[s][t][1];
    float* to = y + t * ldy;
    L::store(to, accumulate ? L::load(to) + sum : sum);
  }
}
#endif

template <int T, int R, bool INDEXED>
DSF_INLINE void one_pack_few(const Packs& m, int64_t pack, const float* z, int64_t ldz, float* y, int64_t ldy,
                             bool accumulate) {
  const uint32_t* columns = INDEXED ? m.columns.data() + pack * m.stride() : nullptr;
#if DSF_PAIRS
  if (m.paired) {
    const uint32_t* w = m.pairs.data() + pack * m.pair_count() * R;
    return pair_few<R, T, INDEXED>(w, columns, m.count, z, ldz, y, ldy, accumulate);
  }
#endif
  pack_few<R, T, INDEXED>(m.values.data() + pack * m.count * R, columns, m.count, z, ldz, y, ldy, accumulate);
}

template <int R, bool INDEXED>
static void packs_few_of(const Packs& m, int64_t first, int64_t last, const float* z, int64_t ldz, int64_t tokens,
                         float* y, int64_t ldy, bool accumulate) {
  for (int64_t pack = first; pack < last; pack++) {
    for_few<4>(tokens, [&](int64_t t, auto count) __attribute__((always_inline)) {
      one_pack_few<decltype(count)::value, R, INDEXED>(m, pack, z + t * ldz, ldz, y + t * ldy + (pack - first) * R, ldy,
                                                       accumulate);
    });
  }
}

static void packs_few(const Packs& m, int64_t first, int64_t last, const float* z, int64_t ldz, int64_t tokens,
                      float* y, int64_t ldy, bool accumulate) {
  if (m.height == 8)
    (m.indexed ? packs_few_of<8, true> : packs_few_of<8, false>)(m, first, last, z, ldz, tokens, y, ldy, accumulate);
  else
    (m.indexed ? packs_few_of<4, true> : packs_few_of<4, false>)(m, first, last, z, ldz, tokens, y, ldy, accumulate);
}

// Dot products of successive rows of R numbers with one row: every addition halves two vectors into one.
template <int R>
struct Dots;

template <>
struct Dots<4> {
  static constexpr int COUNT = 4;
  DSF_INLINE v4 merge(v4 a, v4 b) {
    return __builtin_shufflevector(a, b, 0, 4, 2, 6) + __builtin_shufflevector(a, b, 1, 5, 3, 7);
  }
  DSF_INLINE void run(const float* w, const float* x, float* sums) {
    const v4 inputs = load4(x);
    const v4 a = merge(load4(w) * inputs, load4(w + 4) * inputs);
    const v4 b = merge(load4(w + 8) * inputs, load4(w + 12) * inputs);
    store4(sums, __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7));
  }
};

#if DSF_LANES == 16

// Two entries to a vector.
template <>
struct Dots<8> {
  static constexpr int COUNT = 16;
  DSF_INLINE vf first(vf a, vf b) {
    return __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
           __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
  }
  DSF_INLINE vf second(vf a, vf b) {
    return __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
           __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  }
  // Brings entries back into their order: halves hold those with even and odd numbers.
  DSF_INLINE vf third(vf a, vf b) {
    return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11, 16, 24, 17, 25, 18, 26, 19, 27) +
           __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15, 20, 28, 21, 29, 22, 30, 23, 31);
  }
  DSF_INLINE void run(const float* w, const float* x, float* sums) {
    const v8 half = load8(x);
    const vf inputs = __builtin_shufflevector(half, half, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
    vf p[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) p[i] = load(w + 16 * i) * inputs;
    const vf a = second(first(p[0], p[1]), first(p[2], p[3]));
    const vf b = second(first(p[4], p[5]), first(p[6], p[7]));
    store(sums, third(a, b));
  }
};

#else

template <>
struct Dots<8> {
  static constexpr int COUNT = 8;
  DSF_INLINE v8 first(v8 a, v8 b) {
    return __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14) +
           __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
  }
  DSF_INLINE v8 second(v8 a, v8 b) {
    return __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13) +
           __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
  }
  DSF_INLINE void run(const float* w, const float* x, float* sums) {
    const v8 inputs = load8(x);
    v8 p[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) p[i] = load8(w + 8 * i) * inputs;
    const v8 a = second(first(p[0], p[1]), first(p[2], p[3]));
    const v8 b = second(first(p[4], p[5]), first(p[6], p[7]));
    store8(sums, __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11) +
                     __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15));
  }
};

#endif

// Every input of a group has sums of its own, side by side; they are added up when all groups are done.
template <int R, class Weights>
static void scatter_few_of(const Scatter& m, Weights weights, int64_t block, const float* x, int64_t ldx,
                           int64_t tokens, float* sums, float* y, int64_t ldy) {
  typedef Lanes<R> L;
  constexpr int64_t COUNT = Dots<R>::COUNT;
  const int64_t first = block * m.block_rows;
  const int64_t rows = m.rows - first < m.block_rows ? m.rows - first : m.block_rows;
  const int64_t size = (rows + 16) * R;
  for (int64_t i = 0; i < tokens * size; i += 4) store4(sums + i, v4{});
  const uint32_t* starts = m.starts.data() + block * (m.groups + 1);
  const uint32_t* entry_rows = m.entry_rows.data();
  const int64_t groups = m.groups;
  for (int64_t group = 0; group < groups; group++) {
    const uint32_t begin = starts[group], end = starts[group + 1];
    for (int64_t t = 0; t < tokens; t++) {
      const typename L::type inputs = L::load(x + t * ldx + group * R);
      float* from = sums + t * size - first * R;
#pragma GCC unroll 4
      for (uint32_t k = begin; k < end; k++) {
        float* sum = from + int64_t(entry_rows[k]) * R;
        L::store(sum, L::load(sum) + weights(k) * inputs);
      }
    }
  }
  const float ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  for (int64_t t = 0; t < tokens; t++) {
    for (int64_t row = 0; row < rows; row += COUNT) {
      float dots[COUNT];
      Dots<R>::run(sums + t * size + row * R, ones, dots);
      for (int64_t i = 0; i < COUNT && row + i < rows; i++) y[t * ldy + first + row + i] = dots[i];
    }
  }
}

template <int R>
static void scatter_few_by(const Scatter& m, int64_t block, const float* x, int64_t ldx, int64_t tokens, float* sums,
                           float* y, int64_t ldy) {
  typedef Lanes<R> L;
#if DSF_PAIRS
  if (m.paired) {
    const uint32_t* pairs = m.pairs.data();
    const auto widened = [pairs](int64_t k) __attribute__((always_inline)) {
      typename L::halves halves;
      __builtin_memcpy(&halves, pairs + k * (R / 2), sizeof halves);
      return (typename L::type)(__builtin_convertvector(halves, typename L::words) << 16);
    };
    return scatter_few_of<R>(m, widened, block, x, ldx, tokens, sums, y, ldy);
  }
#endif
  const float* values = m.values.data();
  const auto own = [values](int64_t k) __attribute__((always_inline)) { return L::load(values + k * R); };
  scatter_few_of<R>(m, own, block, x, ldx, tokens, sums, y, ldy);
}

static void scatter_few(const Scatter& m, int64_t block, const float* x, int64_t ldx, int64_t tokens, float* sums,
                        float* y, int64_t ldy) {
  (m.height == 8 ? scatter_few_by<8> : scatter_few_by<4>)(m, block, x, ldx, tokens, sums, y, ldy);
}

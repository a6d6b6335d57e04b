// Products with panels of tokens. Included inside the namespace of an instruction set.

// Accumulators, the operand's vectors and a broadcast weight have to fit the registers.
constexpr int TILE = DSF_REGISTERS == 32 ? 3 : 1;

template <int R, int U, bool INDEXED>
DSF_INLINE void pack_tile(const float* w, const uint32_t* columns, int64_t count, const float* z, int64_t ld, float* y,
                          bool accumulate) {
  vf sums[R][U];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 3
    for (int u = 0; u < U; u++) sums[r][u] = accumulate ? load(y + r * ld + u * W) : vf{};
  }
  for (int64_t k = 0; k < count; k++, w += R) {
    const float* row = z + (INDEXED ? int64_t(columns[k]) : k) * ld;
    vf x[U];
#pragma GCC unroll 3
    for (int u = 0; u < U; u++) x[u] = load(row + u * W);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const vf weight = all(w[r]);
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) sums[r][u] += weight * x[u];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 3
    for (int u = 0; u < U; u++) store(y + r * ld + u * W, sums[r][u]);
  }
}

template <int U>
struct Width {
  static constexpr int value = U;
};

// Tokens of a panel in tiles of at most TILE vectors, no tile much narrower than the others. The width of a tile is a
// constant for the compiler.
template <class F>
DSF_INLINE void for_tiles(int vectors, F&& run) {
  const int tiles = (vectors + TILE - 1) / TILE;
  for (int tile = 0, at = 0; tile < tiles; tile++) {
    const int width = (vectors - at + tiles - tile - 1) / (tiles - tile);
    if (TILE > 1 && width == 2)
      run(at * W, Width<TILE < 2 ? 1 : 2>{});
    else if (TILE > 2 && width == 3)
      run(at * W, Width<TILE < 3 ? 1 : 3>{});
    else
      run(at * W, Width<1>{});
    at += width;
  }
}

template <int R, bool INDEXED>
static void packs_panel_of(const Packs& m, int64_t first, int64_t last, Range part, const float* z, int vectors,
                           float* y, bool accumulate, Ahead& ahead) {
  const int64_t ld = int64_t(vectors) * W;
  for (int64_t pack = first; pack < last; pack++) {
    ahead.step();
    const int64_t count = part.last - part.first;
    const uint32_t* columns = INDEXED ? m.columns.data() + pack * m.stride() + part.first : nullptr;
    float* to = y + (pack - first) * R * ld;
#if DSF_PAIRS
    if (m.paired) {
      const uint32_t* w = m.pairs.data() + (pack * m.pair_count() + part.first / 2) * R;
      for_tiles(vectors, [&](int at, auto width) __attribute__((always_inline)) {
        pair_tile<R, decltype(width)::value, INDEXED>(w, columns, count, z + at, ld, to + at, accumulate);
      });
      continue;
    }
#endif
    const float* w = m.values.data() + (pack * m.count + part.first) * R;
    for_tiles(vectors, [&](int at, auto width) __attribute__((always_inline)) {
      pack_tile<R, decltype(width)::value, INDEXED>(w, columns, count, z + at, ld, to + at, accumulate);
    });
  }
}

static void packs_panel(const Packs& m, int64_t first, int64_t last, Range part, const float* z, int vectors, float* y,
                        bool accumulate, Ahead& ahead) {
  if (m.height == 8)
    (m.indexed ? packs_panel_of<8, true> : packs_panel_of<8, false>)(m, first, last, part, z, vectors, y, accumulate,
                                                                      ahead);
  else
    (m.indexed ? packs_panel_of<4, true> : packs_panel_of<4, false>)(m, first, last, part, z, vectors, y, accumulate,
                                                                      ahead);
}

// What rows with supports of their own are made of: SIZE entries at a time, from a panel of Number.
template <int U>
struct Singles {
  typedef float Number;
  static constexpr uint32_t SIZE = 1;
  static constexpr uint32_t SETS = U <= 2 ? 4 : 2 * U + 2 <= DSF_REGISTERS ? 2 : 1;
  const float* values;
  const uint16_t* offsets;

  explicit DSF_METHOD Singles(const Sparse& m) : values(m.values.data()), offsets(m.offsets.data()) {}

  DSF_METHOD void add_to(vf (&sums)[U], uint32_t k, const float* z) const {
    const vf w = all(values[k]);
    const float* row = z + offsets[k] * int64_t(U) * W;
#pragma GCC unroll 6
    for (int u = 0; u < U; u++) sums[u] += w * load(row + u * W);
  }
};

// One load feeds one multiplication here, so loads are the limit, provided that enough sums are under way at a time:
// successive entries have accumulators of their own.
template <int U, template <int> class Steps>
static void sparse_panel_of(const Sparse& m, int64_t first, int64_t last, Range part, const void* panel, float* y,
                            bool accumulate, Ahead& ahead) {
  constexpr int64_t LD = int64_t(U) * W;
  constexpr uint32_t SETS = Steps<U>::SETS, SIZE = Steps<U>::SIZE;
  const Steps<U> steps(m);
  const auto* z = static_cast<const typename Steps<U>::Number*>(panel);
  const int64_t block_columns = m.block_columns;
  for (int64_t block = part.first; block < part.last; block++, z += block_columns * LD) {
    const uint32_t* starts = m.starts.data() + block * (m.rows + 1);
    const bool add = accumulate || block > part.first;
    for (int64_t row = first; row < last; row++) {
      ahead.step();
      float* to = y + (row - first) * LD;
      vf sums[SETS][U];
#pragma GCC unroll 6
      for (int u = 0; u < U; u++) {
        sums[0][u] = add ? load(to + u * W) : vf{};
#pragma GCC unroll 4
        for (uint32_t s = 1; s < SETS; s++) sums[s][u] = vf{};
      }
      uint32_t k = starts[row];
      const uint32_t end = starts[row + 1];
      for (; k + SETS * SIZE <= end; k += SETS * SIZE) {
#pragma GCC unroll 4
        for (uint32_t s = 0; s < SETS; s++) steps.add_to(sums[s], k + s * SIZE, z);
      }
#pragma GCC unroll 4
      for (uint32_t s = 0; s + 1 < SETS; s++)
        if (k + s * SIZE < end) steps.add_to(sums[s], k + s * SIZE, z);
#pragma GCC unroll 6
      for (int u = 0; u < U; u++) {
        vf sum = sums[0][u];
#pragma GCC unroll 4
        for (uint32_t s = 1; s < SETS; s++) sum += sums[s][u];
        store(to + u * W, sum);
      }
    }
  }
}

template <template <int> class Steps>
static void sparse_panel_by(const Sparse& m, int64_t first, int64_t last, Range part, const void* z, int vectors,
                            float* y, bool accumulate, Ahead& ahead) {
  switch (vectors) {
    case 1: return sparse_panel_of<1, Steps>(m, first, last, part, z, y, accumulate, ahead);
    case 2: return sparse_panel_of<2, Steps>(m, first, last, part, z, y, accumulate, ahead);
    case 3: return sparse_panel_of<3, Steps>(m, first, last, part, z, y, accumulate, ahead);
    case 4: return sparse_panel_of<4, Steps>(m, first, last, part, z, y, accumulate, ahead);
    case 5: return sparse_panel_of<5, Steps>(m, first, last, part, z, y, accumulate, ahead);
    default: return sparse_panel_of<6, Steps>(m, first, last, part, z, y, accumulate, ahead);
  }
}

static void sparse_panel(const Sparse& m, int64_t first, int64_t last, Range part, const void* z, int vectors,
                         float* y, bool accumulate, Ahead& ahead) {
#if DSF_PAIRS
  if (m.paired) return sparse_panel_by<Doubles>(m, first, last, part, z, vectors, y, accumulate, ahead);
#endif
  sparse_panel_by<Singles>(m, first, last, part, z, vectors, y, accumulate, ahead);
}

// What a group reads, in registers, and its products with the weights of one entry.
template <int R, int U>
struct Inputs {
  vf rows[R][U];

  DSF_METHOD void load_from(const float* x, int64_t ld) {
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) rows[r][u] = load(x + r * ld + u * W);
    }
  }

  DSF_METHOD void add_to(vf (&sums)[U], const float* w) const {
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const vf weight = all(w[r]);
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) sums[u] += weight * rows[r][u];
    }
  }
};

// The inputs of a group stay in registers while its rows are loaded, added to and stored. An entry's weights are
// `SIZE` words.
template <int R, int U, int SIZE, class In, class Weight>
DSF_INLINE void scatter_tile(const Scatter& m, const Weight* weights, int64_t block, Range part, const float* x,
                             int64_t ld, float* y, Ahead& ahead, bool at_start) {
  // In variables, because the compiler must take every store for a change of the matrix.
  const uint32_t* starts = m.starts.data() + block * (m.groups + 1);
  const uint32_t* entry_rows = m.entry_rows.data();
  for (int64_t group = part.first; group < part.last; group++, x += R * ld) {
    const uint32_t end = starts[group + 1];
    if (starts[group] == end) continue;
    if (at_start) ahead.step();
    In inputs;
    inputs.load_from(x, ld);
    // What the next group reads is not in the first-level cache, and nothing runs far enough ahead to ask for it early.
#pragma GCC unroll 8
    for (int r = 0; U > 1 && r < R; r++) {
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) __builtin_prefetch(x + (R + r) * ld + u * W);
    }
    for (uint32_t k = starts[group]; k < end; k++) {
      float* to = y + entry_rows[k] * ld;
      vf sums[U];
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) sums[u] = load(to + u * W);
      inputs.add_to(sums, weights + int64_t(k) * SIZE);
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) store(to + u * W, sums[u]);
    }
  }
}

template <int R>
static void scatter_panel_of(const Scatter& m, int64_t block, Range part, const float* x, int vectors, float* y,
                             Ahead& ahead) {
  const int64_t ld = int64_t(vectors) * W;
#if DSF_PAIRS
  if (m.paired) {
    const uint32_t* pairs = m.pairs.data();
    return for_tiles(vectors, [&](int at, auto width) __attribute__((always_inline)) {
      constexpr int U = decltype(width)::value;
      scatter_tile<R, U, R / 2, PairedInputs<R, U>>(m, pairs, block, part, x + at, ld, y + at, ahead, at == 0);
    });
  }
#endif
  const float* values = m.values.data();
  for_tiles(vectors, [&](int at, auto width) __attribute__((always_inline)) {
    constexpr int U = decltype(width)::value;
    scatter_tile<R, U, R, Inputs<R, U>>(m, values, block, part, x + at, ld, y + at, ahead, at == 0);
  });
}

static void scatter_panel(const Scatter& m, int64_t block, Range part, const float* x, int vectors, float* y,
                          Ahead& ahead) {
  (m.height == 8 ? scatter_panel_of<8> : scatter_panel_of<4>)(m, block, part, x, vectors, y, ahead);
}

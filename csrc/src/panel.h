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
    const float* w = m.values.data() + (pack * m.count + part.first) * R;
    const uint32_t* columns = INDEXED ? m.columns.data() + pack * m.count + part.first : nullptr;
    float* to = y + (pack - first) * R * ld;
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

template <int U>
DSF_INLINE void add_row(vf (&sums)[U], float weight, const float* row) {
  const vf w = all(weight);
#pragma GCC unroll 6
  for (int u = 0; u < U; u++) sums[u] += w * load(row + u * W);
}

// One load feeds one multiplication here, so loads are the limit, provided that enough sums are under way at a time:
// successive entries have accumulators of their own.
template <int U>
static void sparse_panel_of(const Sparse& m, int64_t first, int64_t last, Range part, const float* z, float* y,
                            bool accumulate, Ahead& ahead) {
  constexpr int64_t LD = int64_t(U) * W;
  constexpr uint32_t SETS = U <= 2 ? 4 : 2 * U + 2 <= DSF_REGISTERS ? 2 : 1;
  const float* values = m.values.data();
  const uint16_t* offsets = m.offsets.data();
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
      for (; k + SETS <= end; k += SETS) {
#pragma GCC unroll 4
        for (uint32_t s = 0; s < SETS; s++) add_row<U>(sums[s], values[k + s], z + offsets[k + s] * LD);
      }
#pragma GCC unroll 4
      for (uint32_t s = 0; s + 1 < SETS; s++)
        if (k + s < end) add_row<U>(sums[s], values[k + s], z + offsets[k + s] * LD);
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

static void sparse_panel(const Sparse& m, int64_t first, int64_t last, Range part, const float* z, int vectors,
                         float* y, bool accumulate, Ahead& ahead) {
  switch (vectors) {
    case 1: return sparse_panel_of<1>(m, first, last, part, z, y, accumulate, ahead);
    case 2: return sparse_panel_of<2>(m, first, last, part, z, y, accumulate, ahead);
    case 3: return sparse_panel_of<3>(m, first, last, part, z, y, accumulate, ahead);
    case 4: return sparse_panel_of<4>(m, first, last, part, z, y, accumulate, ahead);
    case 5: return sparse_panel_of<5>(m, first, last, part, z, y, accumulate, ahead);
    default: return sparse_panel_of<6>(m, first, last, part, z, y, accumulate, ahead);
  }
}

// The inputs of a group stay in registers while its rows are loaded, added to and stored.
template <int R, int U>
DSF_INLINE void scatter_tile(const Scatter& m, int64_t block, Range part, const float* x, int64_t ld, float* y,
                             Ahead& ahead, bool at_start) {
  // In variables, because the compiler must take every store for a change of the matrix.
  const uint32_t* starts = m.starts.data() + block * (m.groups + 1);
  const uint32_t* entry_rows = m.entry_rows.data();
  const float* values = m.values.data();
  for (int64_t group = part.first; group < part.last; group++, x += R * ld) {
    const uint32_t end = starts[group + 1];
    if (starts[group] == end) continue;
    if (at_start) ahead.step();
    vf inputs[R][U];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) inputs[r][u] = load(x + r * ld + u * W);
    }
    // What the next group reads is not in the first-level cache, and nothing runs far enough ahead to ask for it early.
#pragma GCC unroll 8
    for (int r = 0; U > 1 && r < R; r++) {
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) __builtin_prefetch(x + (R + r) * ld + u * W);
    }
    for (uint32_t k = starts[group]; k < end; k++) {
      float* to = y + entry_rows[k] * ld;
      const float* w = values + int64_t(k) * R;
      vf sums[U];
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) sums[u] = load(to + u * W);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        const vf weight = all(w[r]);
#pragma GCC unroll 3
        for (int u = 0; u < U; u++) sums[u] += weight * inputs[r][u];
      }
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) store(to + u * W, sums[u]);
    }
  }
}

template <int R>
static void scatter_panel_of(const Scatter& m, int64_t block, Range part, const float* x, int vectors, float* y,
                             Ahead& ahead) {
  const int64_t ld = int64_t(vectors) * W;
  for_tiles(vectors, [&](int at, auto width) __attribute__((always_inline)) {
    scatter_tile<R, decltype(width)::value>(m, block, part, x + at, ld, y + at, ahead, at == 0);
  });
}

static void scatter_panel(const Scatter& m, int64_t block, Range part, const float* x, int vectors, float* y,
                          Ahead& ahead) {
  (m.height == 8 ? scatter_panel_of<8> : scatter_panel_of<4>)(m, block, part, x, vectors, y, ahead);
}

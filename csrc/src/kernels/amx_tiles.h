// Products of matrices in tiles with panels of tokens. Included inside the namespace of an instruction set.
//
// A tile of weights (up to 16 rows by 16 words of two or four columns) is multiplied with one to four tiles of
// operands (16 such words by a vector of tokens each): four sums under way hide how long one product takes, and a
// product waits for little more than one load. Dense matrices take two packs of 8 rows at a time.

constexpr int TILE_WORDS = 16, TILE_VECTORS = 4, TILE_SIZE = 256;
// Blocks of 16 words of a panel brought into pairs at a time, for all rows: as many as the first-level cache holds.
constexpr int64_t PAIR_BLOCKS = 8;

// Sixteen words of as many vectors of tokens as there are.
struct alignas(64) Operands {
  uint32_t words[TILE_VECTORS][TILE_WORDS][W];
};

// Numbers of the tile with its sums and of the one with its operands.
#define DSF_EVERY_VECTOR(DO) \
  DO(0, 5)                   \
  if (vectors > 1) DO(1, 6)  \
  if (vectors > 2) DO(2, 7)  \
  if (vectors > 3) DO(3, 5)

DSF_INLINE void zero_sums(int vectors) {
#define DSF_ZERO(V, _) DSF_TILE_ZERO(V);
  DSF_EVERY_VECTOR(DSF_ZERO)
#undef DSF_ZERO
}

DSF_INLINE void load_sums(const float* y, int64_t ld, int vectors) {
#define DSF_LOAD(V, _) { DSF_TILE_LOAD(V, y + V * W, ld * 4); }
  DSF_EVERY_VECTOR(DSF_LOAD)
#undef DSF_LOAD
}

DSF_INLINE void store_sums(void* y, int64_t ld, int vectors) {
#define DSF_STORE(V, _) DSF_TILE_STORE(V, static_cast<float*>(y) + V * W, ld * 4);
  DSF_EVERY_VECTOR(DSF_STORE)
#undef DSF_STORE
}

// `stride` bytes between the words of a vector, `apart` words between vectors.
DSF_INLINE void add_byte_tiles(const uint32_t* weights, const uint32_t* words, int64_t stride, int64_t apart,
                               int vectors) {
  DSF_TILE_LOAD(4, weights, 64);
#define DSF_ADD(V, X)                            \
  {                                              \
    DSF_TILE_LOAD(X, words + V * apart, stride); \
    DSF_TILE_BYTES(V, 4, X);                     \
  }
  DSF_EVERY_VECTOR(DSF_ADD)
#undef DSF_ADD
}

DSF_INLINE void add_pair_tiles(const uint32_t* weights, const Operands& from, int vectors) {
  DSF_TILE_LOAD(4, weights, 64);
#define DSF_ADD(V, X)                    \
  {                                      \
    DSF_TILE_LOAD(X, from.words[V], 64); \
    DSF_TILE_PAIRS(V, 4, X);             \
  }
  DSF_EVERY_VECTOR(DSF_ADD)
#undef DSF_ADD
}

// What the sums of a tile of bytes stand for.
static void finish_bytes(const Quads& m, int64_t row, int height, const Bytes& bytes, int vectors, float* y,
                         bool accumulate) {
  const int64_t ld = int64_t(vectors) * W;
  alignas(64) int32_t sums[16][TILE_VECTORS * W];
  store_sums(sums, TILE_VECTORS * W, vectors);
  for (int v = 0; v < vectors; v++) {
    const int64_t token = int64_t(v) * W;
    const vf scale = load(bytes.scales + token);
    vi zero;
    __builtin_memcpy(&zero, bytes.zeros + token, sizeof zero);
    for (int r = 0; r < height; r++) {
      vi sum;
      __builtin_memcpy(&sum, &sums[r][v * W], sizeof sum);
      sum -= zero * m.sums[row + r];
      float* to = y + r * ld + token;
      const vf number = __builtin_convertvector(sum, vf) * (scale * all(m.scales[row + r]));
      store(to, accumulate ? load(to) + number : number);
    }
  }
}

// Packs [first, last), of which `height` rows are taken at a time, all of the same quads in a row.
static void dense_byte_tiles(const Quads& m, int64_t first, int64_t last, int height, const Bytes& bytes, int vectors,
                             float* y, bool accumulate, Ahead& ahead) {
  const int64_t ld = int64_t(vectors) * W, quads = m.starts[1], blocks = m.tile_starts[1], whole = quads / TILE_WORDS;
  Operands rest = {};
  for (int v = 0; v < vectors; v++)
    for (int64_t k = whole * TILE_WORDS; k < quads; k++)
      __builtin_memcpy(rest.words[v][k - whole * TILE_WORDS], bytes.quads + k * ld + v * W, sizeof rest.words[v][0]);
  set_tiles(TileShapes(height));
  for (int64_t pack = first; pack < last; pack += height / m.height) {
    ahead.step();
    ahead.step();
    // Weights are kept sixteen rows to a tile.
    const uint32_t* weights = m.tiles.data() + pack / 2 * blocks * TILE_SIZE;
    zero_sums(vectors);
    for (int64_t block = 0; block < whole; block++, weights += TILE_SIZE)
      add_byte_tiles(weights, bytes.quads + block * TILE_WORDS * ld, ld * 4, W, vectors);
    if (whole < blocks) add_byte_tiles(weights, rest.words[0][0], 64, TILE_WORDS * W, vectors);
    finish_bytes(m, pack * m.height, height, bytes, vectors, y + (pack - first) * m.height * ld, accumulate);
  }
}

DSF_INLINE void gather_quads(Operands& to, const uint8_t* rows, const uint32_t* columns, int64_t count) {
  for (int64_t k = 0; k < count; k++, columns += 4) {
    vu quads[TILE_VECTORS];
    quads_of<0, TILE_VECTORS>(load_row(rows + int64_t(columns[0]) * 4 * W), load_row(rows + int64_t(columns[1]) * 4 * W),
                              load_row(rows + int64_t(columns[2]) * 4 * W), load_row(rows + int64_t(columns[3]) * 4 * W),
                              quads);
#pragma GCC unroll 4
    for (int v = 0; v < TILE_VECTORS; v++) __builtin_memcpy(to.words[v][k], &quads[v], sizeof quads[v]);
  }
  for (int v = 0; v < TILE_VECTORS; v++)
    __builtin_memset(to.words[v][count], 0, (TILE_WORDS - count) * sizeof to.words[v][0]);
}

static void gathered_byte_tiles(const Quads& m, int64_t first, int64_t last, const Bytes& bytes, int vectors, float* y,
                                bool accumulate, Ahead& ahead) {
  const int64_t ld = int64_t(vectors) * W;
  Operands from;
  set_tiles(TileShapes(m.height));
  for (int64_t pack = first; pack < last; pack++) {
    ahead.step();
    const uint32_t* weights = m.tiles.data() + int64_t(m.tile_starts[pack]) * m.height * TILE_WORDS;
    zero_sums(vectors);
    for (int64_t k = m.starts[pack], end = m.starts[pack + 1]; k < end; k += TILE_WORDS) {
      gather_quads(from, bytes.rows, m.columns.data() + 4 * k, end - k < TILE_WORDS ? end - k : TILE_WORDS);
      add_byte_tiles(weights, from.words[0][0], 64, TILE_WORDS * W, vectors);
      weights += m.height * TILE_WORDS;
    }
    finish_bytes(m, pack * m.height, m.height, bytes, vectors, y + (pack - first) * m.height * ld, accumulate);
  }
}

static void quads_panel_tiles(const Quads& m, int64_t first, int64_t last, const Bytes& bytes, int vectors, float* y,
                              bool add, Ahead& ahead) {
  if (!m.tiles.size() || first % 2) return quads_panel(m, first, last, bytes, vectors, y, add, ahead);
  if (m.source == Quads::DENSE) {
    const int64_t even = last - (last - first) % 2;
    if (even > first) dense_byte_tiles(m, first, even, 16, bytes, vectors, y, add, ahead);
    if (even < last)
      dense_byte_tiles(m, even, last, 8, bytes, vectors, y + (even - first) * 8 * vectors * W, add, ahead);
  } else {
    gathered_byte_tiles(m, first, last, bytes, vectors, y, add, ahead);
  }
  release_tiles();
}

// Columns of pairs [first, first + 16) of a pack, or as many as there are before `last`.
template <class RowOf>
DSF_INLINE void gather_pairs(Operands& to, int64_t first, int64_t last, int vectors, RowOf row_of) {
  for (int64_t k = 0; k < TILE_WORDS; k++) {
    const int64_t one = first + 2 * k, other = one + 1 < last ? one + 1 : one;
    for (int v = 0; v < vectors; v++) {
      const __m512bh words = one < last ? paired(load(row_of(one) + v * W), load(row_of(other) + v * W)) : __m512bh{};
      __builtin_memcpy(to.words[v][k], &words, sizeof words);
    }
  }
}

// Packs [first, last), `height` rows at a time, from up to four vectors of a panel.
static void dense_pair_tiles(const Packs& m, int64_t first, int64_t last, int height, Range part, const float* z,
                             int64_t ld, int vectors, float* y, bool accumulate, Ahead& ahead) {
  const int64_t count = part.last - part.first, blocks = (m.pair_count() + TILE_WORDS - 1) / TILE_WORDS;
  const int64_t first_block = part.first / (2 * TILE_WORDS), used = (count + 2 * TILE_WORDS - 1) / (2 * TILE_WORDS);
  Operands from[PAIR_BLOCKS];
  set_tiles(TileShapes(height));
  for (int64_t start = 0; start == 0 || start < used; start += PAIR_BLOCKS) {
    const int64_t there = used - start < PAIR_BLOCKS ? used - start : PAIR_BLOCKS;
    for (int64_t block = 0; block < there; block++)
      gather_pairs(from[block], (start + block) * 2 * TILE_WORDS, count, vectors,
                   [&](int64_t k) __attribute__((always_inline)) { return z + k * ld; });
    for (int64_t pack = first; pack < last; pack += height / m.height) {
      if (start == 0) {
        ahead.step();
        ahead.step();
      }
      const uint32_t* weights = m.tiles.data() + (pack / 2 * blocks + first_block + start) * TILE_SIZE;
      float* to = y + (pack - first) * m.height * ld;
      if (accumulate || start > 0)
        load_sums(to, ld, vectors);
      else
        zero_sums(vectors);
      for (int64_t block = 0; block < there; block++, weights += TILE_SIZE)
        add_pair_tiles(weights, from[block], vectors);
      store_sums(to, ld, vectors);
    }
  }
}

static void gathered_pair_tiles(const Packs& m, int64_t first, int64_t last, const float* z, int64_t ld, int vectors,
                                float* y, bool accumulate, Ahead& ahead) {
  const int64_t blocks = (m.pair_count() + TILE_WORDS - 1) / TILE_WORDS;
  Operands from;
  set_tiles(TileShapes(m.height));
  for (int64_t pack = first; pack < last; pack++) {
    ahead.step();
    const uint32_t* columns = m.columns.data() + pack * m.stride();
    const uint32_t* weights = m.tiles.data() + pack * blocks * m.height * TILE_WORDS;
    float* to = y + (pack - first) * m.height * ld;
    if (accumulate)
      load_sums(to, ld, vectors);
    else
      zero_sums(vectors);
    for (int64_t block = 0; block < blocks; block++, weights += m.height * TILE_WORDS) {
      gather_pairs(from, block * 2 * TILE_WORDS, m.count, vectors,
                   [&](int64_t k) __attribute__((always_inline)) { return z + int64_t(columns[k]) * ld; });
      add_pair_tiles(weights, from, vectors);
    }
    store_sums(to, ld, vectors);
  }
}

static void packs_panel_tiles(const Packs& m, int64_t first, int64_t last, Range part, const float* z, int vectors,
                              float* y, bool accumulate, Ahead& ahead) {
  if (!m.tiles.size() || first % 2 || part.first % (2 * TILE_WORDS))
    return packs_panel(m, first, last, part, z, vectors, y, accumulate, ahead);
  const int64_t ld = int64_t(vectors) * W, even = last - (last - first) % 2;
  for (int v = 0; v < vectors; v += TILE_VECTORS) {
    const int width = vectors - v < TILE_VECTORS ? vectors - v : TILE_VECTORS;
    if (m.indexed) {
      gathered_pair_tiles(m, first, last, z + v * W, ld, width, y + v * W, accumulate, ahead);
      continue;
    }
    if (even > first)
      dense_pair_tiles(m, first, even, 16, part, z + v * W, ld, width, y + v * W, accumulate, ahead);
    if (even < last)
      dense_pair_tiles(m, even, last, 8, part, z + v * W, ld, width, y + (even - first) * 8 * ld + v * W, accumulate,
                       ahead);
  }
  release_tiles();
}

// Whether tiles give the sums they should.
static bool tiles_work() {
  alignas(64) uint32_t weights[TILE_SIZE], expected[TILE_SIZE], sums[TILE_SIZE];
  Operands from = {};
  for (int i = 0; i < TILE_SIZE; i++) {
    weights[i] = 0x80ff0103u * uint32_t(i + 1);
    from.words[0][i / 16][i % 16] = 0xff7f0180u * uint32_t(i + 3);
  }
  for (int row = 0; row < 16; row++)
    for (int column = 0; column < 16; column++) {
      int32_t sum = 0;
      for (int k = 0; k < 16; k++) sum = plain_dot(sum, from.words[0][k][column], weights[16 * row + k]);
      expected[16 * row + column] = uint32_t(sum);
    }
  set_tiles(TileShapes(16));
  zero_sums(1);
  add_byte_tiles(weights, from.words[0][0], 64, 0, 1);
  store_sums(sums, 16, 1);
  bool right = !__builtin_memcmp(sums, expected, sizeof sums);
  for (int i = 0; i < TILE_SIZE; i++) {
    weights[i] = 0x40003f80u;
    from.words[0][i / 16][i % 16] = 0x3f804000u;
  }
  zero_sums(1);
  add_pair_tiles(weights, from, 1);
  store_sums(sums, 16, 1);
  release_tiles();
  for (uint32_t sum : sums) right = right && sum == 0x42800000u;  // 16 * (1 * 2 + 2 * 1)
  return right;
}

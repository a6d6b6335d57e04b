// Tiles: eight registers of up to 16 rows of 64 bytes each, and sums of products between them. Included inside the
// namespace of an instruction set.
//
// DSF_TILES 1: those of the CPU (AMX). 2: the same written out, so that what is built on them can be tested where the
// CPU has none.

// Tiles 0 to 4 (sums, weights) have so many rows, tiles 5 to 7 (operands) sixteen; all have rows of 64 bytes.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {};

  explicit TileShapes(int height) {
    for (int i = 0; i < 5; i++) rows[i] = uint8_t(height);
    for (int i = 5; i < 8; i++) rows[i] = 16;
  }
};

#if DSF_TILES == 1

// The intrinsics of GCC do not say that they read memory: what is to be read must have been written before them.
DSF_INLINE void written() { __asm__ volatile("" ::: "memory"); }

DSF_INLINE void set_tiles(const TileShapes& shapes) {
  written();
  _tile_loadconfig(&shapes);
}
DSF_INLINE void release_tiles() { _tile_release(); }
// The compiler wants the numbers of tiles as literals.
#define DSF_TILE_ZERO(T) _tile_zero(T)
#define DSF_TILE_LOAD(T, P, STRIDE) \
  written();                        \
  _tile_loadd(T, P, STRIDE)
#define DSF_TILE_STORE(T, P, STRIDE) _tile_stored(T, P, STRIDE)
// Sums T += the products of A, signed bytes or bfloat16 row by row, with B, unsigned bytes or bfloat16 word by word.
#define DSF_TILE_BYTES(T, A, B) _tile_dpbsud(T, A, B)
#define DSF_TILE_PAIRS(T, A, B) _tile_dpbf16ps(T, A, B)

#else

struct Tile {
  uint32_t words[16][16];
};
static thread_local Tile tiles[8];
static thread_local TileShapes tile_shapes(0);

DSF_INLINE void set_tiles(const TileShapes& shapes) {
  tile_shapes = shapes;
  __builtin_memset(tiles, 0, sizeof tiles);
}
DSF_INLINE void release_tiles() { tile_shapes = TileShapes(0); }

DSF_INLINE void move_tile(int t, char* p, int64_t stride, bool store) {
  for (int row = 0; row < tile_shapes.rows[t]; row++) {
    void* there = p + row * stride;
    if (store)
      __builtin_memcpy(there, tiles[t].words[row], 64);
    else
      __builtin_memcpy(tiles[t].words[row], there, 64);
  }
}

DSF_INLINE uint32_t add_bytes(uint32_t sum, uint32_t a, uint32_t b) {
  for (int shift = 0; shift < 32; shift += 8)
    sum += uint32_t(int32_t(int8_t(a >> shift)) * int32_t(uint8_t(b >> shift)));
  return sum;
}

DSF_INLINE float number_of(uint32_t bits) {
  float number;
  __builtin_memcpy(&number, &bits, 4);
  return number;
}

DSF_INLINE uint32_t add_pairs(uint32_t sum, uint32_t a, uint32_t b) {
  const float low = number_of(a << 16) * number_of(b << 16);
  const float high = number_of(a & 0xffff0000u) * number_of(b & 0xffff0000u);
  const float total = number_of(sum) + high + low;
  __builtin_memcpy(&sum, &total, 4);
  return sum;
}

template <class Add>
DSF_INLINE void add_tiles(int t, int a, int b, Add add) {
  for (int row = 0; row < tile_shapes.rows[t]; row++)
    for (int k = 0; k < 16; k++)
      for (int column = 0; column < 16; column++)
        tiles[t].words[row][column] = add(tiles[t].words[row][column], tiles[a].words[row][k], tiles[b].words[k][column]);
}

#define DSF_TILE_ZERO(T) __builtin_memset(&tiles[T], 0, sizeof(Tile))
#define DSF_TILE_LOAD(T, P, STRIDE) move_tile(T, (char*)(P), STRIDE, false)
#define DSF_TILE_STORE(T, P, STRIDE) move_tile(T, (char*)(P), STRIDE, true)
#define DSF_TILE_BYTES(T, A, B) add_tiles(T, A, B, add_bytes)
#define DSF_TILE_PAIRS(T, A, B) add_tiles(T, A, B, add_pairs)

#endif

// What every instruction set provides.
#pragma once

#include "kernels/encoder/row_kernels.h"
#include "pack/matrices.h"

namespace dsf {

struct Range {
  int64_t first, last;
};

// Lines of memory to fetch while computing: the next panel's input, and where results will go. Panels fall out of
// the caches between calls; waiting for them would take up to half as long as the products.
struct Prefetch {
  struct Lines {
    const char* row = nullptr;
    int64_t stride = 0, rows = 0;           // bytes between rows; rows left
    int64_t lines = 0, line = 0, step = 0;  // lines of a row; the one to come; how many at a time
  };
  Lines reads, writes;

  static void set(Lines& lines, const void* base, int64_t stride, int64_t rows, int64_t bytes, int64_t steps) {
    lines.row = static_cast<const char*>(base);
    lines.stride = stride;
    lines.rows = rows;
    lines.lines = (bytes + 63) / 64;
    lines.line = 0;
    lines.step = steps > 0 ? (lines.lines * rows + steps - 1) / steps : 0;
  }

  template <int WRITE>
  __attribute__((always_inline)) static void fetch(Lines& lines) {
    for (int64_t i = 0; i < lines.step && lines.rows > 0; i++) {
      __builtin_prefetch(lines.row + lines.line * 64, WRITE, WRITE ? 3 : 2);
      if (++lines.line == lines.lines) {
        lines.line = 0;
        lines.rows--;
        lines.row += lines.stride;
      }
    }
  }

  __attribute__((always_inline)) void step() {
    fetch<0>(reads);
    fetch<1>(writes);
  }
};

// Vectors of tokens in a panel.
constexpr int MAX_VECTORS = 6;
constexpr int MAX_INT8_VECTORS = 4;

// Panels are feature-major, `vectors * lanes` tokens a row and nothing between rows. Rows of small batches are tokens,
// `ld` floats apart. Products write their first row to row (or column) 0 of y; `accumulate` adds to what is there. A
// step of `Prefetch` is taken for every tile, every row and block of a sparse matrix, and every group and block of a
// scatter.
struct Kernels {
  const char* name;
  int lanes;

  // Small batches are worth the second copy of free codes that makes them fast.
  bool has_lookup, has_int8_lookup;
  // Products of bfloat16, two at a time: tiles of such numbers are paired.
  bool has_pairs;
  // Rows that share columns are multiplied sixteen words at a time, and packed for that too.
  bool has_amx;
  // Whether products come out right on this CPU, which must have what the set is compiled for: instructions that no
  // machine of ours has are tried before they are relied on.
  bool (*works)();

  // x (tokens, features), token-major -> rows destination[f] (null: f) of a panel; missing tokens become zero.
  void (*load_panel)(const void* x, int dtype, int64_t stride, int64_t tokens, int64_t first, int64_t last,
                     const uint32_t* destination, int vectors, float* panel);
  // Features [first, last) of a panel -> y (tokens, ...), whose column 0 is feature `first`; so is row 0 of the panel,
  // unless the epilogue says where features are.
  void (*store_panel)(const float* panel, int vectors, const Epilogue&, int64_t first, int64_t last, int64_t tokens,
                      void* y, int dtype, int64_t stride);

  // `columns` only, the first of which is row 0 of z. Of paired tiles it is even.
  void (*dense_panel)(const DenseTiles&, int64_t first_tile, int64_t last_tile, Range columns, const float* z,
                      int vectors, float* y, bool accumulate, Prefetch&);
  // Blocks of columns likewise. z is a rounded panel if the matrix is paired.
  void (*sparse_panel)(const Sparse&, int64_t first_row, int64_t last_row, Range blocks, const void* z, int vectors,
                       float* y, bool accumulate, Prefetch&);
  // Null without pairs.
  void (*round_panel)(const float* panel, int64_t rows, int vectors, uint16_t* rounded);
  // Rows of one block, groups of columns as above; always adds.
  void (*scatter_panel)(const Scatter&, int64_t block, Range groups, const float* z, int vectors, float* y, Prefetch&);

  // x (tokens, features), token-major -> bytes, in the orders there is room for; missing tokens are zero.
  void (*load_uint8)(const void* x, int dtype, int64_t stride, int64_t tokens, int64_t features, int vectors,
                     const Uint8Batch&);
  // Rounds rows [0, rows) of a panel of at most MAX_INT8_VECTORS to bytes, in the orders there is room for.
  void (*round_uint8)(const float* panel, int64_t rows, int vectors, const Uint8Batch&);
  // Rows of tiles [first, last) from bytes. A step of `Prefetch` is taken for every tile.
  void (*int8_panel)(const Int8Groups&, int64_t first_tile, int64_t last_tile, const Uint8Batch&, int vectors, float* y,
                     bool accumulate, Prefetch&);

  void (*load_small_batch)(const void* x, int dtype, int64_t stride, int64_t tokens, int64_t features,
                           const uint32_t* destination, float* z, int64_t ld);
  void (*store_small_batch)(const float* z, int64_t ld, const Epilogue&, int64_t first, int64_t last, int64_t tokens,
                            void* y, int dtype, int64_t stride);
  void (*dense_small_batch)(const DenseTiles&, int64_t first_tile, int64_t last_tile, const float* z, int64_t ldz,
                            int64_t tokens, float* y, int64_t ldy, bool accumulate);
  // first and last count blocks of 16 rows where there is a lookup, else rows; column 0 of y is row 0 of the matrix.
  void (*sparse_small_batch)(const Sparse&, int64_t first, int64_t last, const float* z, int64_t ldz, int64_t tokens,
                             float* y, int64_t ldy, bool accumulate);
  // Overwrites y; `sums` has room for tokens * (rows of the block + 16) * height floats.
  void (*scatter_small_batch)(const Scatter&, int64_t block, const float* x, int64_t ldx, int64_t tokens, float* sums,
                              float* y, int64_t ldy);
  // y (width) = sum of `count` rows of a table (float32, bfloat16 or int8) times their weights.
  void (*mix)(const void* rows, int dtype, int64_t width, const uint32_t* which, const float* weights, int64_t count,
              float* y);
  // As for panels; `rows` of the bytes are tokens, `ld` apart.
  void (*round_uint8_small_batch)(const float* z, int64_t ldz, int64_t features, int64_t tokens, const Uint8Batch&,
                                  int64_t ld);
  // Tiles of height 1 in multiples of 16, but for the last. Rows of a lookup that are not in order leave [first, last).
  void (*int8_small_batch)(const Int8Groups&, int64_t first_tile, int64_t last_tile, const Uint8Batch&, int64_t ld,
                           int64_t tokens, float* y, int64_t ldy, bool accumulate);

  RowKernels rows;
};

// Null where the compiler cannot build it.
const Kernels* amx_kernels();
const Kernels* amx_emulated_kernels();
const Kernels* avx512_bf16_kernels();
const Kernels* avx512_vnni_kernels();
const Kernels* avx512_kernels();
const Kernels* avx_vnni_kernels();
const Kernels* avx2_kernels();
const Kernels* neon_dot_kernels();
const Kernels* neon_kernels();
const Kernels* portable_kernels();

// The set that new plans use.
const Kernels* current_kernels();

}  // namespace dsf

// What every instruction set provides.
#pragma once

#include "pack/matrices.h"

namespace dsf {

struct Range {
  int64_t first, last;
};

// Lines of memory to fetch while computing: the next panel's input, and where results will go. Panels fall out of
// the caches between calls; waiting for them would take up to half as long as the products.
struct Ahead {
  struct Lines {
    const char* row = nullptr;
    int64_t stride = 0, rows = 0;          // bytes between rows; rows left
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

// In a panel.
constexpr int MOST_VECTORS = 6;
constexpr int MOST_BYTE_VECTORS = 4;

// Panels are feature-major, `vectors * lanes` tokens a row and nothing between rows. Rows of few-token operands are
// tokens, `ld` floats apart. Products write their first row to row (or column) 0 of y; `accumulate` adds to what is
// there. A step of `Ahead` is taken for every pack, every row and block of a sparse matrix, and every group and block
// of a scatter.
struct Kernels {
  const char* name;
  int lanes;

  // Few tokens are worth the second copy of free codes that makes them fast.
  bool has_lookup, has_byte_lookup;
  // Products of bfloat16, two at a time: packs of such numbers are paired.
  bool has_pairs;
  // Rows that share columns are multiplied sixteen words at a time, and packed for that too.
  bool has_tiles;
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

  // Columns (blocks of them, groups) `part` only, the first of which is row 0 of z. Of paired packs it is even.
  void (*packs_panel)(const Packs&, int64_t first_pack, int64_t last_pack, Range part, const float* z, int vectors,
                      float* y, bool accumulate, Ahead&);
  // z is a rounded panel if the matrix is paired.
  void (*sparse_panel)(const Sparse&, int64_t first_row, int64_t last_row, Range part, const void* z, int vectors,
                       float* y, bool accumulate, Ahead&);
  // Null without pairs.
  void (*round_panel)(const float* panel, int64_t rows, int vectors, uint16_t* rounded);
  // Rows of one block; always adds.
  void (*scatter_panel)(const Scatter&, int64_t block, Range part, const float* z, int vectors, float* y, Ahead&);

  // x (tokens, features), token-major -> bytes, in the orders there is room for; missing tokens are zero.
  void (*load_bytes)(const void* x, int dtype, int64_t stride, int64_t tokens, int64_t features, int vectors,
                     const Bytes&);
  // Rounds rows [0, rows) of a panel of at most MOST_BYTE_VECTORS to bytes, in the orders there is room for.
  void (*round_bytes)(const float* panel, int64_t rows, int vectors, const Bytes&);
  // Rows of packs [first, last) from bytes. A step of `Ahead` is taken for every pack.
  void (*quads_panel)(const Quads&, int64_t first_pack, int64_t last_pack, const Bytes&, int vectors, float* y,
                      bool accumulate, Ahead&);

  void (*load_few)(const void* x, int dtype, int64_t stride, int64_t tokens, int64_t features,
                   const uint32_t* destination, float* z, int64_t ld);
  void (*store_few)(const float* z, int64_t ld, const Epilogue&, int64_t first, int64_t last, int64_t tokens, void* y,
                    int dtype, int64_t stride);
  void (*packs_few)(const Packs&, int64_t first_pack, int64_t last_pack, const float* z, int64_t ldz, int64_t tokens,
                    float* y, int64_t ldy, bool accumulate);
  // first and last count sixteens of rows where there is a lookup, else rows; column 0 of y is row 0 of the matrix.
  void (*sparse_few)(const Sparse&, int64_t first, int64_t last, const float* z, int64_t ldz, int64_t tokens, float* y,
                     int64_t ldy, bool accumulate);
  // Overwrites y; `sums` has room for tokens * (rows of the block + 16) * height floats.
  void (*scatter_few)(const Scatter&, int64_t block, const float* x, int64_t ldx, int64_t tokens, float* sums, float* y,
                      int64_t ldy);
  // y (width) = sum of `count` rows of a table (float32, bfloat16 or int8) times their weights.
  void (*mix)(const void* rows, int dtype, int64_t width, const uint32_t* which, const float* weights, int64_t count,
              float* y);
  // As for panels; `rows` of the bytes are tokens, `ld` apart.
  void (*round_bytes_few)(const float* z, int64_t ldz, int64_t features, int64_t tokens, const Bytes&, int64_t ld);
  // Packs of height 1 in multiples of 16, but for the last. Rows of a lookup that are not in order leave [first, last).
  void (*quads_few)(const Quads&, int64_t first_pack, int64_t last_pack, const Bytes&, int64_t ld, int64_t tokens,
                    float* y, int64_t ldy, bool accumulate);
};

// Null where the compiler cannot build it.
const Kernels* amx_kernels();
const Kernels* amx_emulated_kernels();
const Kernels* avx512_bf16_kernels();
const Kernels* avx512_vnni_kernels();
const Kernels* avx512_kernels();
const Kernels* avx_vnni_kernels();
const Kernels* avx2_kernels();
const Kernels* neon_kernels();
const Kernels* portable_kernels();

// The set that new plans use.
const Kernels* current_kernels();

}  // namespace dsf

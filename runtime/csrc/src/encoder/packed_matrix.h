// A matrix as the kernels with rows in lanes read it: a vector has LANES rows of one token's result.
#pragma once

#include <cstdint>

#include "pack/matrices.h"

namespace dsf {

// Bytes of a token that stand together: as many as one permutation of AVX-512 VBMI reads.
constexpr int64_t BANK = 64;

// Rows are in groups of up to DENSE_VECTORS vectors (dense) or in tiles of one vector (banked); rows that fill up the
// last one are zero. Columns are filled up to a multiple of four, of a bank where there are banks.
struct PackedMatrix {
  enum Kind { NONE, DENSE_FLOAT, DENSE_BFLOAT, DENSE_INT8, BANKED_INT8 };
  Kind kind = NONE;
  int64_t rows = 0, columns = 0;
  Buffer<float> floats;      // DENSE_FLOAT: (group, column, row of the group)
  Buffer<uint16_t> bfloats;  // DENSE_BFLOAT: likewise
  Buffer<int8_t> words;      // DENSE_INT8: (group, columns / 4, row of the group, 4); BANKED_INT8: (quad, row, 4)
  Buffer<uint8_t> lanes;     // BANKED_INT8: like `words`, the column within the bank
  Buffer<uint32_t> starts;   // BANKED_INT8: (tiles + 1) quads
  Buffer<uint16_t> banks;    // BANKED_INT8: of every quad; a bank has as many columns as the set looks up in
  Buffer<float> scales;      // of int8 rows, what a weight of 1 stands for
  Buffer<int32_t> totals;    // of int8 rows, the sum of the weights
  Buffer<float> sums;        // of int8 rows, the same times the scale

  explicit operator bool() const { return kind != NONE; }
  bool reads_bytes() const { return kind == DENSE_INT8 || kind == BANKED_INT8; }
  int64_t bytes() const {
    return int64_t(floats.bytes() + bfloats.bytes() + words.bytes() + lanes.bytes() + starts.bytes() + banks.bytes() +
                   scales.bytes() + totals.bytes() + sums.bytes());
  }
};

}  // namespace dsf

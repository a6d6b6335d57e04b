// Four rows of bytes as words of four bytes, in the order that dot products want.
#pragma once

#include "kernels/vector_ops.h"

namespace dsf {

template <class Isa>
struct Int8Words : VectorOps<Isa> {
  using typename Isa::ByteRow, typename Isa::Uints;

  DSF_INLINE ByteRow load_row(const uint8_t* p) {
    ByteRow row;
    __builtin_memcpy(&row, p, sizeof row);
    return row;
  }

  // Rows columns[0] to columns[3]: U of their four vectors of words, from vector FIRST on.
  template <int FIRST, int U>
  DSF_INLINE void interleave(const uint8_t* rows, const uint32_t* columns, Uints (&words)[U]) {
    constexpr int64_t LD = 4 * Isa::LANES;
    const ByteRow a = load_row(rows + columns[0] * LD), b = load_row(rows + columns[1] * LD);
    const ByteRow c = load_row(rows + columns[2] * LD), d = load_row(rows + columns[3] * LD);
    if constexpr (FIRST < 2) {
      const ByteRow ab = Isa::interleave_low8(a, b), cd = Isa::interleave_low8(c, d);
      if constexpr (FIRST == 0) words[0] = (Uints)Isa::interleave_low16(ab, cd);
      if constexpr (FIRST + U > 1) words[1 - FIRST] = (Uints)Isa::interleave_high16(ab, cd);
    }
    if constexpr (FIRST + U > 2) {
      const ByteRow ab = Isa::interleave_high8(a, b), cd = Isa::interleave_high8(c, d);
      if constexpr (FIRST <= 2) words[2 - FIRST] = (Uints)Isa::interleave_low16(ab, cd);
      if constexpr (FIRST + U > 3) words[3 - FIRST] = (Uints)Isa::interleave_high16(ab, cd);
    }
  }
};

}  // namespace dsf

// Products of groups of columns that have the same rows with a small batch.
#pragma once

#include "kernels/kernels.h"
#include "kernels/tile_vector.h"

namespace dsf {

// Sums of successive rows of R numbers, COUNT of them: every addition halves two vectors into one.
template <class Isa, int R>
struct RowSums;

template <class Isa>
struct RowSums<Isa, 4> : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  static constexpr int COUNT = 4;

  DSF_INLINE void run(const float* rows, float* sums) {
    const Floats4 a = merge(V::load4(rows), V::load4(rows + 4)), b = merge(V::load4(rows + 8), V::load4(rows + 12));
    V::store4(sums, __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7));
  }

 private:
  DSF_INLINE Floats4 merge(Floats4 a, Floats4 b) {
    return __builtin_shufflevector(a, b, 0, 4, 2, 6) + __builtin_shufflevector(a, b, 1, 5, 3, 7);
  }
};

template <class Isa>
struct RowSums<Isa, 8> : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using typename V::Floats;
  // With sixteen lanes, two rows to a vector.
  static constexpr bool TWO = V::LANES == 16;
  static constexpr int COUNT = TWO ? 16 : 8;

  DSF_INLINE void run(const float* rows, float* sums) {
    if constexpr (TWO) {
      Floats p[8];
#pragma GCC unroll 8
      for (int i = 0; i < 8; i++) p[i] = V::load(rows + 16 * i);
      const Floats a = second(first(p[0], p[1]), first(p[2], p[3]));
      const Floats b = second(first(p[4], p[5]), first(p[6], p[7]));
      V::store(sums, third(a, b));
    } else {
      Floats8 p[8];
#pragma GCC unroll 8
      for (int i = 0; i < 8; i++) p[i] = V::load8(rows + 8 * i);
      const Floats8 a = second8(first8(p[0], p[1]), first8(p[2], p[3]));
      const Floats8 b = second8(first8(p[4], p[5]), first8(p[6], p[7]));
      V::store8(sums, __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11) +
                          __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15));
    }
  }

 private:
  DSF_INLINE Floats8 first8(Floats8 a, Floats8 b) {
    return __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14) +
           __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
  }
  DSF_INLINE Floats8 second8(Floats8 a, Floats8 b) {
    return __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13) +
           __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
  }

  DSF_INLINE Floats first(Floats a, Floats b) {
    return __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
           __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
  }
  DSF_INLINE Floats second(Floats a, Floats b) {
    return __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
           __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  }
  // Brings rows back into their order: halves hold those with even and odd numbers.
  DSF_INLINE Floats third(Floats a, Floats b) {
    return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11, 16, 24, 17, 25, 18, 26, 19, 27) +
           __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15, 20, 28, 21, 29, 22, 30, 23, 31);
  }
};

template <class Isa>
struct ScatterSmallBatch : VectorOps<Isa> {
  static void run(const Scatter& m, int64_t block, const float* x, int64_t ldx, int64_t tokens, float* sums, float* y,
                  int64_t ldy) {
    (m.height == 8 ? run_by<8> : run_by<4>)(m, block, x, ldx, tokens, sums, y, ldy);
  }

 private:
  template <int R>
  static void run_by(const Scatter& m, int64_t block, const float* x, int64_t ldx, int64_t tokens, float* sums,
                     float* y, int64_t ldy) {
    using Rows = TileVector<Isa, R>;
    if constexpr (Isa::has_pairs) {
      if (m.paired) {
        const uint32_t* pairs = m.pairs.data();
        const auto widened = [pairs](int64_t k) __attribute__((always_inline)) {
          typename Rows::Halves halves;
          __builtin_memcpy(&halves, pairs + k * (R / 2), sizeof halves);
          return (typename Rows::Floats)(__builtin_convertvector(halves, typename Rows::Uints) << 16);
        };
        return run_of<R>(m, widened, block, x, ldx, tokens, sums, y, ldy);
      }
    }
    const float* values = m.values.data();
    const auto own = [values](int64_t k) __attribute__((always_inline)) { return Rows::load(values + k * R); };
    run_of<R>(m, own, block, x, ldx, tokens, sums, y, ldy);
  }

  // Every input of a group has sums of its own, side by side; they are added up when all groups are done.
  template <int R, class Weights>
  static void run_of(const Scatter& m, Weights weights, int64_t block, const float* x, int64_t ldx, int64_t tokens,
                     float* sums, float* y, int64_t ldy) {
    using Rows = TileVector<Isa, R>;
    const int64_t first = block * m.block_rows;
    const int64_t rows = m.rows - first < m.block_rows ? m.rows - first : m.block_rows;
    const int64_t size = (rows + 16) * R;
    for (int64_t i = 0; i < tokens * size; i += 4) Isa::store4(sums + i, Floats4{});
    const uint32_t* starts = m.starts.data() + block * (m.groups + 1);
    const uint32_t* entry_rows = m.entry_rows.data();
    const int64_t groups = m.groups;
    for (int64_t group = 0; group < groups; group++) {
      const uint32_t begin = starts[group], end = starts[group + 1];
      for (int64_t t = 0; t < tokens; t++) {
        const auto inputs = Rows::load(x + t * ldx + group * R);
        float* from = sums + t * size - first * R;
#pragma GCC unroll 4
        for (uint32_t k = begin; k < end; k++) {
          float* sum = from + int64_t(entry_rows[k]) * R;
          Rows::store(sum, Rows::load(sum) + weights(k) * inputs);
        }
      }
    }
    constexpr int64_t COUNT = RowSums<Isa, R>::COUNT;
    for (int64_t t = 0; t < tokens; t++) {
      for (int64_t row = 0; row < rows; row += COUNT) {
        float dots[COUNT];
        RowSums<Isa, R>::run(sums + t * size + row * R, dots);
        for (int64_t i = 0; i < COUNT && row + i < rows; i++) y[t * ldy + first + row + i] = dots[i];
      }
    }
  }
};

}  // namespace dsf

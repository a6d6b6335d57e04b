// Products of tiles of rows that read the same columns with a small batch: weights are read once, activations come from
// the first-level cache.
#pragma once

#include "kernels/kernels.h"
#include "kernels/tile_vector.h"

namespace dsf {

template <class Isa>
struct DenseSmallBatch : VectorOps<Isa> {
  static void run(const DenseTiles& m, int64_t first, int64_t last, const float* z, int64_t ldz, int64_t tokens,
                  float* y, int64_t ldy, bool accumulate) {
    const auto run_tiles = m.height == 8 ? (m.indexed ? run_of<8, true> : run_of<8, false>)
                                         : (m.indexed ? run_of<4, true> : run_of<4, false>);
    run_tiles(m, first, last, z, ldz, tokens, y, ldy, accumulate);
  }

 private:
  template <int R, bool INDEXED>
  static void run_of(const DenseTiles& m, int64_t first, int64_t last, const float* z, int64_t ldz, int64_t tokens,
                     float* y, int64_t ldy, bool accumulate) {
    for (int64_t tile = first; tile < last; tile++) {
      for_tokens<4>(tokens, [&](int64_t t, auto count) __attribute__((always_inline)) {
        one_tile<decltype(count)::value, R, INDEXED>(m, tile, z + t * ldz, ldz, y + t * ldy + (tile - first) * R, ldy,
                                                     accumulate);
      });
    }
  }

  template <int T, int R, bool INDEXED>
  DSF_INLINE void one_tile(const DenseTiles& m, int64_t tile, const float* z, int64_t ldz, float* y, int64_t ldy,
                           bool accumulate) {
    const uint32_t* columns = INDEXED ? m.columns.data() + tile * m.stride() : nullptr;
    if constexpr (Isa::has_pairs) {
      if (m.paired) {
        const uint32_t* w = m.pairs.data() + tile * m.pair_count() * R;
        return multiply_pairs<R, T, INDEXED>(w, columns, m.count, z, ldz, y, ldy, accumulate);
      }
    }
    multiply<R, T, INDEXED>(m.values.data() + tile * m.count * R, columns, m.count, z, ldz, y, ldy, accumulate);
  }

  // Rows of a tile lie across the lanes; several columns at a time, so that sums do not wait for each other.
  template <int R, int T, bool INDEXED>
  DSF_INLINE void multiply(const float* w, const uint32_t* columns, int64_t count, const float* z, int64_t ldz,
                           float* y, int64_t ldy, bool accumulate) {
    using Rows = TileVector<Isa, R>;
    using Floats = typename Rows::Floats;
    constexpr int SETS = T == 1 ? 8 : T == 2 ? 4 : 2;
    Floats sums[SETS][T] = {};
    int64_t k = 0;
    for (; k + SETS <= count; k += SETS) {
#pragma GCC unroll 8
      for (int s = 0; s < SETS; s++) {
        const Floats weight = Rows::load(w + (k + s) * R);
        const int64_t column = INDEXED ? int64_t(columns[k + s]) : k + s;
#pragma GCC unroll 4
        for (int t = 0; t < T; t++) sums[s][t] += weight * Rows::broadcast(z[t * ldz + column]);
      }
    }
    for (; k < count; k++) {
      const Floats weight = Rows::load(w + k * R);
      const int64_t column = INDEXED ? int64_t(columns[k]) : k;
#pragma GCC unroll 4
      for (int t = 0; t < T; t++) sums[0][t] += weight * Rows::broadcast(z[t * ldz + column]);
    }
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) {
      Floats sum = sums[0][t];
#pragma GCC unroll 8
      for (int s = 1; s < SETS; s++) sum += sums[s][t];
      float* to = y + t * ldy;
      Rows::store(to, accumulate ? Rows::load(to) + sum : sum);
    }
  }

  // As `multiply`. Weights are widened rather than activations rounded: it costs less, being done once for all tokens.
  template <int R, int T, bool INDEXED>
  DSF_INLINE void multiply_pairs(const uint32_t* w, const uint32_t* columns, int64_t count, const float* z, int64_t ldz,
                                 float* y, int64_t ldy, bool accumulate) {
    using Rows = TileVector<Isa, R>;
    using Floats = typename Rows::Floats;
    using Uints = typename Rows::Uints;
    constexpr int SETS = T == 1 ? 4 : 2;
    Floats sums[SETS][T][2] = {};
    const auto add = [&](Floats(&to)[T][2], int64_t k, int64_t next) __attribute__((always_inline)) {
      Uints both;
      __builtin_memcpy(&both, w + k / 2 * R, sizeof both);
      const Floats one = (Floats)(both << 16), other = (Floats)(both & 0xffff0000u);
      const int64_t first = INDEXED ? int64_t(columns[k]) : k, second = INDEXED ? int64_t(columns[next]) : next;
#pragma GCC unroll 4
      for (int t = 0; t < T; t++) {
        to[t][0] += one * Rows::broadcast(z[t * ldz + first]);
        to[t][1] += other * Rows::broadcast(z[t * ldz + second]);
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
      Floats sum = sums[0][t][0] + sums[0][t][1];
#pragma GCC unroll 4
      for (int s = 1; s < SETS; s++) sum += sums[s][t][0] + sums[s][t][1];
      float* to = y + t * ldy;
      Rows::store(to, accumulate ? Rows::load(to) + sum : sum);
    }
  }
};

}  // namespace dsf

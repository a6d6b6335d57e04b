// Products of tiles of rows that read the same columns with panels of tokens.
#pragma once

#include "kernels/kernels.h"
#include "kernels/register_tiles.h"

namespace dsf {

template <class Isa>
struct DensePanel : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::LANES, V::broadcast, V::load, V::store;
  using typename V::Floats;

  static void run(const DenseTiles& m, int64_t first, int64_t last, Range columns, const float* z, int vectors,
                  float* y, bool accumulate, Prefetch& prefetch) {
    const auto run_tiles = m.height == 8 ? (m.indexed ? run_of<8, true> : run_of<8, false>)
                                         : (m.indexed ? run_of<4, true> : run_of<4, false>);
    run_tiles(m, first, last, columns, z, vectors, y, accumulate, prefetch);
  }

 private:
  template <int R, bool INDEXED>
  static void run_of(const DenseTiles& m, int64_t first, int64_t last, Range range, const float* z, int vectors,
                     float* y, bool accumulate, Prefetch& prefetch) {
    const int64_t ld = int64_t(vectors) * LANES;
    for (int64_t tile = first; tile < last; tile++) {
      prefetch.step();
      const int64_t count = range.last - range.first;
      const uint32_t* columns = INDEXED ? m.columns.data() + tile * m.stride() + range.first : nullptr;
      float* to = y + (tile - first) * R * ld;
      if constexpr (Isa::has_pairs) {
        if (m.paired) {
          const uint32_t* w = m.pairs.data() + (tile * m.pair_count() + range.first / 2) * R;
          for_register_tiles<Isa>(vectors, [&](int at, auto width) __attribute__((always_inline)) {
            multiply_pairs<R, decltype(width)::value, INDEXED>(w, columns, count, z + at, ld, to + at, accumulate);
          });
          continue;
        }
      }
      const float* w = m.values.data() + (tile * m.count + range.first) * R;
      for_register_tiles<Isa>(vectors, [&](int at, auto width) __attribute__((always_inline)) {
        multiply<R, decltype(width)::value, INDEXED>(w, columns, count, z + at, ld, to + at, accumulate);
      });
    }
  }

  template <int R, int U>
  DSF_INLINE void load_sums(Floats (&sums)[R][U], const float* y, int64_t ld, bool accumulate) {
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) sums[r][u] = accumulate ? load(y + r * ld + u * LANES) : Floats{};
    }
  }

  template <int R, int U>
  DSF_INLINE void store_sums(const Floats (&sums)[R][U], float* y, int64_t ld) {
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) store(y + r * ld + u * LANES, sums[r][u]);
    }
  }

  template <int R, int U, bool INDEXED>
  DSF_INLINE void multiply(const float* w, const uint32_t* columns, int64_t count, const float* z, int64_t ld, float* y,
                           bool accumulate) {
    Floats sums[R][U];
    load_sums(sums, y, ld, accumulate);
    for (int64_t k = 0; k < count; k++, w += R) {
      const float* row = z + (INDEXED ? int64_t(columns[k]) : k) * ld;
      Floats x[U];
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) x[u] = load(row + u * LANES);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        const Floats weight = broadcast(w[r]);
#pragma GCC unroll 3
        for (int u = 0; u < U; u++) sums[r][u] += weight * x[u];
      }
    }
    store_sums(sums, y, ld);
  }

  // Two columns at a time.
  template <int R, int U, bool INDEXED>
  DSF_INLINE void multiply_pairs(const uint32_t* w, const uint32_t* columns, int64_t count, const float* z, int64_t ld,
                                 float* y, bool accumulate) {
    Floats sums[R][U];
    load_sums(sums, y, ld, accumulate);
    int64_t k = 0;
    for (; k + 2 <= count; k += 2, w += R) {
      const float* one = z + (INDEXED ? int64_t(columns[k]) : k) * ld;
      add_pair<R, U>(sums, w, one, INDEXED ? z + int64_t(columns[k + 1]) * ld : one + ld);
    }
    if (k < count) {
      const float* last = z + (INDEXED ? int64_t(columns[k]) : k) * ld;
      add_pair<R, U>(sums, w, last, last);
    }
    store_sums(sums, y, ld);
  }

  template <int R, int U>
  DSF_INLINE void add_pair(Floats (&sums)[R][U], const uint32_t* w, const float* one, const float* other) {
    typename Isa::Pairs x[U];
#pragma GCC unroll 3
    for (int u = 0; u < U; u++) x[u] = Isa::to_pairs(load(one + u * LANES), load(other + u * LANES));
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const auto weights = Isa::broadcast_pair(w[r]);
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) sums[r][u] = Isa::dot_pairs(sums[r][u], x[u], weights);
    }
  }
};

}  // namespace dsf

// Products of groups of columns that have the same rows with panels of tokens.
#pragma once

#include "kernels/kernels.h"
#include "kernels/register_tiles.h"

namespace dsf {

// What a group of R columns reads, in registers, and its products with the weights of one entry: SIZE words of Weight.
template <class Isa, int R, int U>
struct GroupInputs : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::LANES;
  using typename V::Floats;
  typedef float Weight;
  static constexpr int SIZE = R;
  Floats rows[R][U];

  DSF_METHOD void load_from(const float* x, int64_t ld) {
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) rows[r][u] = V::load(x + r * ld + u * LANES);
    }
  }

  DSF_METHOD void add_to(Floats (&sums)[U], const float* w) const {
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const Floats weight = V::broadcast(w[r]);
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) sums[u] += weight * rows[r][u];
    }
  }
};

template <class Isa, int R, int U>
struct GroupPairInputs : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::LANES;
  using typename V::Floats;
  typedef uint32_t Weight;
  static constexpr int SIZE = R / 2;
  typename Isa::Pairs rows[R / 2][U];

  DSF_METHOD void load_from(const float* x, int64_t ld) {
#pragma GCC unroll 4
    for (int r = 0; r < R / 2; r++) {
#pragma GCC unroll 3
      for (int u = 0; u < U; u++)
        rows[r][u] = Isa::to_pairs(V::load(x + 2 * r * ld + u * LANES), V::load(x + (2 * r + 1) * ld + u * LANES));
    }
  }

  DSF_METHOD void add_to(Floats (&sums)[U], const uint32_t* w) const {
#pragma GCC unroll 4
    for (int r = 0; r < R / 2; r++) {
      const auto weights = Isa::broadcast_pair(w[r]);
#pragma GCC unroll 3
      for (int u = 0; u < U; u++) sums[u] = Isa::dot_pairs(sums[u], rows[r][u], weights);
    }
  }
};

template <class Isa>
struct ScatterPanel : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::LANES, V::load, V::store;
  using typename V::Floats;

  static void run(const Scatter& m, int64_t block, Range groups, const float* x, int vectors, float* y,
                  Prefetch& prefetch) {
    (m.height == 8 ? run_of<8> : run_of<4>)(m, block, groups, x, vectors, y, prefetch);
  }

 private:
  template <int R>
  static void run_of(const Scatter& m, int64_t block, Range groups, const float* x, int vectors, float* y,
                     Prefetch& prefetch) {
    const int64_t ld = int64_t(vectors) * LANES;
    if constexpr (Isa::has_pairs) {
      if (m.paired) {
        const uint32_t* pairs = m.pairs.data();
        return for_register_tiles<Isa>(vectors, [&](int at, auto width) __attribute__((always_inline)) {
          using Inputs = GroupPairInputs<Isa, R, decltype(width)::value>;
          multiply<R, decltype(width)::value, Inputs>(m, pairs, block, groups, x + at, ld, y + at, prefetch, at == 0);
        });
      }
    }
    const float* values = m.values.data();
    for_register_tiles<Isa>(vectors, [&](int at, auto width) __attribute__((always_inline)) {
      using Inputs = GroupInputs<Isa, R, decltype(width)::value>;
      multiply<R, decltype(width)::value, Inputs>(m, values, block, groups, x + at, ld, y + at, prefetch, at == 0);
    });
  }

  // The inputs of a group stay in registers while its rows are loaded, added to and stored.
  template <int R, int U, class Inputs>
  DSF_INLINE void multiply(const Scatter& m, const typename Inputs::Weight* weights, int64_t block, Range groups,
                           const float* x, int64_t ld, float* y, Prefetch& prefetch, bool at_start) {
    // In variables, because the compiler must take every store for a change of the matrix.
    const uint32_t* starts = m.starts.data() + block * (m.groups + 1);
    const uint32_t* entry_rows = m.entry_rows.data();
    for (int64_t group = groups.first; group < groups.last; group++, x += R * ld) {
      const uint32_t end = starts[group + 1];
      if (starts[group] == end) continue;
      if (at_start) prefetch.step();
      Inputs inputs;
      inputs.load_from(x, ld);
      // What the next group reads is not in the first-level cache, and nothing runs far enough ahead to ask for it
      // early.
#pragma GCC unroll 8
      for (int r = 0; U > 1 && r < R; r++) {
#pragma GCC unroll 3
        for (int u = 0; u < U; u++) __builtin_prefetch(x + (R + r) * ld + u * LANES);
      }
      for (uint32_t k = starts[group]; k < end; k++) {
        float* to = y + entry_rows[k] * ld;
        Floats sums[U];
#pragma GCC unroll 3
        for (int u = 0; u < U; u++) sums[u] = load(to + u * LANES);
        inputs.add_to(sums, weights + int64_t(k) * Inputs::SIZE);
#pragma GCC unroll 3
        for (int u = 0; u < U; u++) store(to + u * LANES, sums[u]);
      }
    }
  }
};

}  // namespace dsf

// Products of rows with supports of their own with panels of tokens.
#pragma once

#include "kernels/kernels.h"
#include "kernels/vector_ops.h"

namespace dsf {

// What rows are made of: SIZE entries at a time, from a panel of Number.
template <class Isa, int U>
struct SingleEntries : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::LANES;
  using typename V::Floats;
  typedef float Number;
  static constexpr uint32_t SIZE = 1;
  static constexpr uint32_t SETS = U <= 2 ? 4 : 2 * U + 2 <= Isa::REGISTERS ? 2 : 1;
  const float* values;
  const uint16_t* offsets;

  explicit DSF_METHOD SingleEntries(const Sparse& m) : values(m.values.data()), offsets(m.offsets.data()) {}

  DSF_METHOD void add_to(Floats (&sums)[U], uint32_t k, const float* z) const {
    const Floats w = V::broadcast(values[k]);
    const float* row = z + offsets[k] * int64_t(U) * LANES;
#pragma GCC unroll 6
    for (int u = 0; u < U; u++) sums[u] += w * V::load(row + u * LANES);
  }
};

// Two entries at a time, from a rounded panel.
template <class Isa, int U>
struct PairEntries : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::LANES;
  using typename V::Floats;
  typedef uint16_t Number;
  static constexpr uint32_t SIZE = 2;
  static constexpr uint32_t SETS = U <= 2 ? 4 : U <= 4 ? 2 : 1;
  const uint32_t* pairs;
  const uint16_t* offsets;

  explicit DSF_METHOD PairEntries(const Sparse& m) : pairs(m.pairs.data()), offsets(m.offsets.data()) {}

  DSF_METHOD void add_to(Floats (&sums)[U], uint32_t k, const uint16_t* z) const {
    constexpr int64_t LD = int64_t(U) * LANES;
    add_rows(sums, pairs[k / 2], z + offsets[k] * LD, z + offsets[k + 1] * LD);
  }

 private:
  DSF_INLINE void add_rows(Floats (&sums)[U], uint32_t weights, const uint16_t* one, const uint16_t* other) {
    const auto w = Isa::broadcast_pair(weights);
#pragma GCC unroll 3
    for (int u = 0; u + 2 <= U; u += 2) {
      const auto a = Isa::load_rounded(one + u * LANES), b = Isa::load_rounded(other + u * LANES);
      sums[u] = Isa::dot_pairs(sums[u], Isa::interleave_first(a, b), w);
      sums[u + 1] = Isa::dot_pairs(sums[u + 1], Isa::interleave_second(a, b), w);
    }
    if constexpr (U % 2 == 1)
      sums[U - 1] =
          Isa::dot_pairs(sums[U - 1], Isa::interleave_last(one + (U - 1) * LANES, other + (U - 1) * LANES), w);
  }
};

template <class Isa>
struct SparsePanel : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::LANES, V::load, V::store;
  using typename V::Floats;

  static void run(const Sparse& m, int64_t first, int64_t last, Range blocks, const void* z, int vectors, float* y,
                  bool accumulate, Prefetch& prefetch) {
    if constexpr (Isa::has_pairs) {
      if (m.paired) return run_by<PairEntries>(m, first, last, blocks, z, vectors, y, accumulate, prefetch);
    }
    run_by<SingleEntries>(m, first, last, blocks, z, vectors, y, accumulate, prefetch);
  }

  // A panel rounded to bfloat16, for loads half as wide. Of every two vectors the tokens lie such that interleaving two
  // rows within quarters of a register gives the first vector from the lower halves, the second from the upper.
  static void round(const float* panel, int64_t rows, int vectors, uint16_t* to) {
    for (int64_t row = 0; row < rows; row++, panel += int64_t(vectors) * LANES, to += int64_t(vectors) * LANES) {
      int u = 0;
      for (; u + 2 <= vectors; u += 2)
        Isa::store_rounded(to + u * LANES, load(panel + u * LANES), load(panel + (u + 1) * LANES));
      if (u < vectors) Isa::store_rounded(to + u * LANES, load(panel + u * LANES));
    }
  }

 private:
  template <template <class, int> class Entries>
  static void run_by(const Sparse& m, int64_t first, int64_t last, Range blocks, const void* z, int vectors, float* y,
                     bool accumulate, Prefetch& prefetch) {
    switch (vectors) {
      case 1: return run_of<1, Entries<Isa, 1>>(m, first, last, blocks, z, y, accumulate, prefetch);
      case 2: return run_of<2, Entries<Isa, 2>>(m, first, last, blocks, z, y, accumulate, prefetch);
      case 3: return run_of<3, Entries<Isa, 3>>(m, first, last, blocks, z, y, accumulate, prefetch);
      case 4: return run_of<4, Entries<Isa, 4>>(m, first, last, blocks, z, y, accumulate, prefetch);
      case 5: return run_of<5, Entries<Isa, 5>>(m, first, last, blocks, z, y, accumulate, prefetch);
      default: return run_of<6, Entries<Isa, 6>>(m, first, last, blocks, z, y, accumulate, prefetch);
    }
  }

  // One load feeds one multiplication here, so loads are the limit, provided that enough sums are under way at a time:
  // successive entries have accumulators of their own.
  template <int U, class Entries>
  static void run_of(const Sparse& m, int64_t first, int64_t last, Range blocks, const void* panel, float* y,
                     bool accumulate, Prefetch& prefetch) {
    constexpr int64_t LD = int64_t(U) * LANES;
    constexpr uint32_t SETS = Entries::SETS, SIZE = Entries::SIZE;
    const Entries entries(m);
    const auto* z = static_cast<const typename Entries::Number*>(panel);
    const int64_t block_columns = m.block_columns;
    for (int64_t block = blocks.first; block < blocks.last; block++, z += block_columns * LD) {
      const uint32_t* starts = m.starts.data() + block * (m.rows + 1);
      const bool add = accumulate || block > blocks.first;
      for (int64_t row = first; row < last; row++) {
        prefetch.step();
        float* to = y + (row - first) * LD;
        Floats sums[SETS][U];
#pragma GCC unroll 6
        for (int u = 0; u < U; u++) {
          sums[0][u] = add ? load(to + u * LANES) : Floats{};
#pragma GCC unroll 4
          for (uint32_t s = 1; s < SETS; s++) sums[s][u] = Floats{};
        }
        uint32_t k = starts[row];
        const uint32_t end = starts[row + 1];
        for (; k + SETS * SIZE <= end; k += SETS * SIZE) {
#pragma GCC unroll 4
          for (uint32_t s = 0; s < SETS; s++) entries.add_to(sums[s], k + s * SIZE, z);
        }
#pragma GCC unroll 4
        for (uint32_t s = 0; s + 1 < SETS; s++)
          if (k + s * SIZE < end) entries.add_to(sums[s], k + s * SIZE, z);
#pragma GCC unroll 6
        for (int u = 0; u < U; u++) {
          Floats sum = sums[0][u];
#pragma GCC unroll 4
          for (uint32_t s = 1; s < SETS; s++) sum += sums[s][u];
          store(to + u * LANES, sum);
        }
      }
    }
  }
};

}  // namespace dsf

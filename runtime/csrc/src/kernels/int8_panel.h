// Products of int8 with panels of tokens as unsigned bytes.
#pragma once

#include "kernels/int8_words.h"
#include "kernels/kernels.h"

namespace dsf {

// Vectors FIRST and on of what the four columns of a group hold.
template <class Isa, Int8Groups::Source SOURCE, int FIRST, int U>
struct Int8Reader : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using typename V::Uints;
  const uint32_t *words, *columns;
  const uint8_t* rows;
  int64_t ld;

  DSF_METHOD Int8Reader(const Int8Groups& m, const Uint8Batch& x, int vectors)
      : words(x.words + FIRST * V::LANES), columns(m.columns.data()), rows(x.rows), ld(int64_t(vectors) * V::LANES) {}

  DSF_METHOD void read(Uints (&x)[U], uint32_t first, uint32_t k) const {
    if constexpr (SOURCE == Int8Groups::GATHERED) {
      Int8Words<Isa>::template interleave<FIRST, U>(rows, columns + int64_t(k) * 4, x);
    } else {
      const uint32_t* from = words + int64_t(SOURCE == Int8Groups::ALIGNED ? columns[k] : k - first) * ld;
#pragma GCC unroll 4
      for (int u = 0; u < U; u++) x[u] = V::load_words(from + u * V::LANES);
    }
  }
};

template <class Isa>
struct Int8Panel : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::LANES, V::broadcast, V::load, V::store;
  using typename V::Floats, typename V::Ints, typename V::Uints;

  static void run(const Int8Groups& m, int64_t first, int64_t last, const Uint8Batch& x, int vectors, float* y,
                  bool accumulate, Prefetch& prefetch) {
    const auto run_tiles = m.source == Int8Groups::DENSE     ? run_of<8, Int8Groups::DENSE>
                           : m.source == Int8Groups::ALIGNED ? run_of<1, Int8Groups::ALIGNED>
                           : m.height == 8                   ? run_of<8, Int8Groups::GATHERED>
                           : m.height == 4                   ? run_of<4, Int8Groups::GATHERED>
                                                             : run_of<1, Int8Groups::GATHERED>;
    run_tiles(m, first, last, x, vectors, y, accumulate, prefetch);
  }

 private:
  // Vectors of what the registers hold: of rows on their own, all at once.
  template <int R, Int8Groups::Source SOURCE>
  static void run_of(const Int8Groups& m, int64_t first, int64_t last, const Uint8Batch& x, int vectors, float* y,
                     bool add, Prefetch& prefetch) {
    const int64_t ld = int64_t(vectors) * LANES;
    for (int64_t tile = first; tile < last; tile++, y += R * ld) {
      prefetch.step();
      if constexpr (R == 1) {
        switch (vectors) {
          case 1: multiply<R, SOURCE, 0, 1>(m, tile, x, vectors, y, add); break;
          case 2: multiply<R, SOURCE, 0, 2>(m, tile, x, vectors, y, add); break;
          case 3: multiply<R, SOURCE, 0, 3>(m, tile, x, vectors, y, add); break;
          default: multiply<R, SOURCE, 0, 4>(m, tile, x, vectors, y, add);
        }
      } else if constexpr (Isa::REGISTERS == 32) {
        if (vectors == 1)
          multiply<R, SOURCE, 0, 1>(m, tile, x, vectors, y, add);
        else
          multiply<R, SOURCE, 0, 2>(m, tile, x, vectors, y, add);
        if (vectors == 3) multiply<R, SOURCE, 2, 1>(m, tile, x, vectors, y, add);
        if (vectors == 4) multiply<R, SOURCE, 2, 2>(m, tile, x, vectors, y, add);
      } else {
        multiply<R, SOURCE, 0, 1>(m, tile, x, vectors, y, add);
        if (vectors > 1) multiply<R, SOURCE, 1, 1>(m, tile, x, vectors, y, add);
        if (vectors > 2) multiply<R, SOURCE, 2, 1>(m, tile, x, vectors, y, add);
        if (vectors > 3) multiply<R, SOURCE, 3, 1>(m, tile, x, vectors, y, add);
      }
    }
  }

  template <int R, Int8Groups::Source SOURCE, int FIRST, int U>
  DSF_INLINE void multiply(const Int8Groups& m, int64_t tile, const Uint8Batch& x, int vectors, float* y,
                           bool accumulate) {
    // Rows on their own: enough sums under way at a time.
    constexpr int SETS = R > 1 ? 1 : U <= 2 ? 4 : 2;
    const Int8Reader<Isa, SOURCE, FIRST, U> reader(m, x, vectors);
    const int64_t ld = int64_t(vectors) * LANES;
    const int32_t* row_sums = m.sums.data() + tile * R;
    Ints sums[SETS][R][U] = {};
#pragma GCC unroll 4
    for (int u = 0; u < U; u++) {
      const Ints zero = V::load_ints(x.zeros + (FIRST + u) * LANES);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) sums[0][r][u] = zero * -row_sums[r];
    }
    const uint32_t first = m.starts[tile], last = m.starts[tile + 1];
    const uint32_t* words = m.words.data() + int64_t(first) * R;
    uint32_t k = first;
    for (; k + SETS <= last; k += SETS) {
#pragma GCC unroll 4
      for (int s = 0; s < SETS; s++, words += R) {
        Uints inputs[U];
        reader.read(inputs, first, k + s);
        add_group<R, U>(sums[s], inputs, words);
      }
    }
    for (; SETS > 1 && k < last; k++, words += R) {
      Uints inputs[U];
      reader.read(inputs, first, k);
      add_group<R, U>(sums[0], inputs, words);
    }
    finish<SETS, R, FIRST, U>(sums, m, tile, x, y, ld, accumulate);
  }

  template <int R, int U>
  DSF_INLINE void add_group(Ints (&sums)[R][U], const Uints (&x)[U], const uint32_t* words) {
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const Uints weights = V::broadcast_word(words[r]);
#pragma GCC unroll 4
      for (int u = 0; u < U; u++) sums[r][u] = Isa::dot(sums[r][u], x[u], weights);
    }
  }

  // What the sums stand for.
  template <int SETS, int R, int FIRST, int U>
  DSF_INLINE void finish(const Ints (&sums)[SETS][R][U], const Int8Groups& m, int64_t tile, const Uint8Batch& x,
                         float* y, int64_t ld, bool accumulate) {
#pragma GCC unroll 4
    for (int u = 0; u < U; u++) {
      const Floats scale = load(x.scales + (FIRST + u) * LANES);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        Ints sum = sums[0][r][u];
#pragma GCC unroll 4
        for (int s = 1; s < SETS; s++) sum += sums[s][r][u];
        float* to = y + r * ld + (FIRST + u) * LANES;
        const Floats v = __builtin_convertvector(sum, Floats) * (scale * broadcast(m.scales[tile * R + r]));
        store(to, accumulate ? load(to) + v : v);
      }
    }
  }
};

}  // namespace dsf

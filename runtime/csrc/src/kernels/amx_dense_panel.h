// Products of pairs of bfloat16 with panels of tokens, by tiles of AMX.
#pragma once

#include "kernels/amx_tiles.h"
#include "kernels/dense_panel.h"

namespace dsf {

template <class Isa>
struct AmxDensePanel : AmxTiles<Isa> {
  using A = AmxTiles<Isa>;
  using A::LANES, A::load;
  using typename A::Operands;

  static void run(const DenseTiles& m, int64_t first, int64_t last, Range columns, const float* z, int vectors,
                  float* y, bool accumulate, Prefetch& prefetch) {
    if (!m.amx_words.size() || first % 2 || columns.first % (2 * AMX_WORDS))
      return DensePanel<Isa>::run(m, first, last, columns, z, vectors, y, accumulate, prefetch);
    const int64_t ld = int64_t(vectors) * LANES, even = last - (last - first) % 2;
    for (int v = 0; v < vectors; v += AMX_VECTORS) {
      const int width = vectors - v < AMX_VECTORS ? vectors - v : AMX_VECTORS;
      const float* from = z + v * LANES;
      float* to = y + v * LANES;
      if (m.indexed) {
        gathered(m, first, last, from, ld, width, to, accumulate, prefetch);
        continue;
      }
      if (even > first) dense(m, first, even, 16, columns, from, ld, width, to, accumulate, prefetch);
      if (even < last)
        dense(m, even, last, 8, columns, from, ld, width, to + (even - first) * 8 * ld, accumulate, prefetch);
    }
    Isa::release_tiles();
  }

 private:
  // Blocks of 16 words of a panel brought into pairs at a time, for all rows: as many as the first-level cache holds.
  static constexpr int64_t PAIR_BLOCKS = 8;

  // Tiles [first, last), `height` rows at a time, from up to four vectors of a panel.
  static void dense(const DenseTiles& m, int64_t first, int64_t last, int height, Range columns, const float* z,
                    int64_t ld, int vectors, float* y, bool accumulate, Prefetch& prefetch) {
    const int64_t count = columns.last - columns.first, blocks = (m.pair_count() + AMX_WORDS - 1) / AMX_WORDS;
    const int64_t first_block = columns.first / (2 * AMX_WORDS);
    const int64_t used = (count + 2 * AMX_WORDS - 1) / (2 * AMX_WORDS);
    Operands from[PAIR_BLOCKS];
    Isa::set_tiles(AmxConfig(height));
    for (int64_t start = 0; start == 0 || start < used; start += PAIR_BLOCKS) {
      const int64_t there = used - start < PAIR_BLOCKS ? used - start : PAIR_BLOCKS;
      for (int64_t block = 0; block < there; block++)
        gather(from[block], (start + block) * 2 * AMX_WORDS, count, vectors,
               [&](int64_t k) __attribute__((always_inline)) { return z + k * ld; });
      for (int64_t tile = first; tile < last; tile += height / m.height) {
        if (start == 0) {
          prefetch.step();
          prefetch.step();
        }
        const uint32_t* weights = m.amx_words.data() + (tile / 2 * blocks + first_block + start) * AMX_SIZE;
        float* to = y + (tile - first) * m.height * ld;
        begin_sums(to, ld, vectors, accumulate || start > 0);
        for (int64_t block = 0; block < there; block++, weights += AMX_SIZE)
          A::add_pair_products(weights, from[block], vectors);
        A::store_sums(to, ld, vectors);
      }
    }
  }

  static void gathered(const DenseTiles& m, int64_t first, int64_t last, const float* z, int64_t ld, int vectors,
                       float* y, bool accumulate, Prefetch& prefetch) {
    const int64_t blocks = (m.pair_count() + AMX_WORDS - 1) / AMX_WORDS;
    Operands from;
    Isa::set_tiles(AmxConfig(m.height));
    for (int64_t tile = first; tile < last; tile++) {
      prefetch.step();
      const uint32_t* columns = m.columns.data() + tile * m.stride();
      const uint32_t* weights = m.amx_words.data() + tile * blocks * m.height * AMX_WORDS;
      float* to = y + (tile - first) * m.height * ld;
      begin_sums(to, ld, vectors, accumulate);
      for (int64_t block = 0; block < blocks; block++, weights += m.height * AMX_WORDS) {
        gather(from, block * 2 * AMX_WORDS, m.count, vectors,
               [&](int64_t k) __attribute__((always_inline)) { return z + int64_t(columns[k]) * ld; });
        A::add_pair_products(weights, from, vectors);
      }
      A::store_sums(to, ld, vectors);
    }
  }

  DSF_INLINE void begin_sums(const float* y, int64_t ld, int vectors, bool accumulate) {
    if (accumulate)
      A::load_sums(y, ld, vectors);
    else
      A::zero_sums(vectors);
  }

  // Columns of pairs [first, first + 16) of a tile, or as many as there are before `last`.
  template <class RowOf>
  DSF_INLINE void gather(Operands& to, int64_t first, int64_t last, int vectors, RowOf row_of) {
    for (int64_t k = 0; k < AMX_WORDS; k++) {
      const int64_t one = first + 2 * k, other = one + 1 < last ? one + 1 : one;
      for (int v = 0; v < vectors; v++) {
        typename Isa::Pairs words = {};
        if (one < last) words = Isa::to_pairs(load(row_of(one) + v * LANES), load(row_of(other) + v * LANES));
        __builtin_memcpy(to.words[v][k], &words, sizeof words);
      }
    }
  }
};

}  // namespace dsf

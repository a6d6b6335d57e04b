// Products of int8 with panels of tokens, by tiles of AMX.
#pragma once

#include "kernels/amx_tiles.h"
#include "kernels/int8_panel.h"

namespace dsf {

template <class Isa>
struct AmxInt8Panel : AmxTiles<Isa> {
  using A = AmxTiles<Isa>;
  using A::LANES, A::broadcast, A::load, A::store;
  using typename A::Floats, typename A::Ints, typename A::Uints, typename A::Operands;

  static void run(const Int8Groups& m, int64_t first, int64_t last, const Uint8Batch& x, int vectors, float* y,
                  bool add, Prefetch& prefetch) {
    if (!m.amx_words.size() || first % 2) return Int8Panel<Isa>::run(m, first, last, x, vectors, y, add, prefetch);
    if (m.source == Int8Groups::DENSE) {
      const int64_t even = last - (last - first) % 2;
      if (even > first) dense(m, first, even, 16, x, vectors, y, add, prefetch);
      if (even < last) dense(m, even, last, 8, x, vectors, y + (even - first) * 8 * vectors * LANES, add, prefetch);
    } else {
      gathered(m, first, last, x, vectors, y, add, prefetch);
    }
    Isa::release_tiles();
  }

 private:
  // Tiles [first, last), of which `height` rows are taken at a time, all of the same groups in a row.
  static void dense(const Int8Groups& m, int64_t first, int64_t last, int height, const Uint8Batch& x, int vectors,
                    float* y, bool accumulate, Prefetch& prefetch) {
    const int64_t ld = int64_t(vectors) * LANES, groups = m.starts[1], blocks = m.amx_starts[1];
    const int64_t whole = groups / AMX_WORDS;
    Operands rest = {};
    for (int v = 0; v < vectors; v++)
      for (int64_t k = whole * AMX_WORDS; k < groups; k++)
        __builtin_memcpy(rest.words[v][k - whole * AMX_WORDS], x.words + k * ld + v * LANES, sizeof rest.words[v][0]);
    Isa::set_tiles(AmxConfig(height));
    for (int64_t tile = first; tile < last; tile += height / m.height) {
      prefetch.step();
      prefetch.step();
      // Weights are kept sixteen rows to a tile.
      const uint32_t* weights = m.amx_words.data() + tile / 2 * blocks * AMX_SIZE;
      A::zero_sums(vectors);
      for (int64_t block = 0; block < whole; block++, weights += AMX_SIZE)
        A::add_products(weights, x.words + block * AMX_WORDS * ld, ld * 4, LANES, vectors);
      if (whole < blocks) A::add_products(weights, rest.words[0][0], 64, AMX_WORDS * LANES, vectors);
      finish(m, tile * m.height, height, x, vectors, y + (tile - first) * m.height * ld, accumulate);
    }
  }

  static void gathered(const Int8Groups& m, int64_t first, int64_t last, const Uint8Batch& x, int vectors, float* y,
                       bool accumulate, Prefetch& prefetch) {
    const int64_t ld = int64_t(vectors) * LANES;
    Operands from;
    Isa::set_tiles(AmxConfig(m.height));
    for (int64_t tile = first; tile < last; tile++) {
      prefetch.step();
      const uint32_t* weights = m.amx_words.data() + int64_t(m.amx_starts[tile]) * m.height * AMX_WORDS;
      A::zero_sums(vectors);
      for (int64_t k = m.starts[tile], end = m.starts[tile + 1]; k < end; k += AMX_WORDS) {
        gather(from, x.rows, m.columns.data() + 4 * k, end - k < AMX_WORDS ? end - k : AMX_WORDS);
        A::add_products(weights, from.words[0][0], 64, AMX_WORDS * LANES, vectors);
        weights += m.height * AMX_WORDS;
      }
      finish(m, tile * m.height, m.height, x, vectors, y + (tile - first) * m.height * ld, accumulate);
    }
  }

  DSF_INLINE void gather(Operands& to, const uint8_t* rows, const uint32_t* columns, int64_t count) {
    for (int64_t k = 0; k < count; k++, columns += 4) {
      Uints words[AMX_VECTORS];
      Int8Words<Isa>::template interleave<0, AMX_VECTORS>(rows, columns, words);
#pragma GCC unroll 4
      for (int v = 0; v < AMX_VECTORS; v++) __builtin_memcpy(to.words[v][k], &words[v], sizeof words[v]);
    }
    for (int v = 0; v < AMX_VECTORS; v++)
      __builtin_memset(to.words[v][count], 0, (AMX_WORDS - count) * sizeof to.words[v][0]);
  }

  // What the sums of a tile stand for.
  static void finish(const Int8Groups& m, int64_t row, int height, const Uint8Batch& x, int vectors, float* y,
                     bool accumulate) {
    const int64_t ld = int64_t(vectors) * LANES;
    alignas(64) int32_t sums[16][AMX_VECTORS * LANES];
    A::store_sums(sums, AMX_VECTORS * LANES, vectors);
    for (int v = 0; v < vectors; v++) {
      const int64_t token = int64_t(v) * LANES;
      const Floats scale = load(x.scales + token);
      const Ints zero = A::load_ints(x.zeros + token);
      for (int r = 0; r < height; r++) {
        const Ints sum = A::load_ints(&sums[r][v * LANES]) - zero * m.sums[row + r];
        float* to = y + r * ld + token;
        const Floats number = __builtin_convertvector(sum, Floats) * (scale * broadcast(m.scales[row + r]));
        store(to, accumulate ? load(to) + number : number);
      }
    }
  }
};

}  // namespace dsf

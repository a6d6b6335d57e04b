// Dense products of bytes with rows in lanes, by tiles of AMX: 16 tokens by 64 columns, a bank, by 16 rows. A quad of
// columns is a line of a tile of weights, so that both are loaded as they stand.
#pragma once

#include "isa/amx_config.h"
#include "kernels/encoder/row_products.h"

namespace dsf {

template <class Isa>
struct AmxRowProducts : RowProducts<Isa> {
  using P = RowProducts<Isa>;
  using P::LANES, P::at;
  using typename P::Ints;

  // Tokens and quads of a tile, rows of a group.
  static constexpr int TILE = 16, GROUP = P::VECTORS * LANES;
  // Fewer tokens than this are not worth a tile.
  static constexpr int64_t FEW = 4;
  // What follows the weights is read with the last columns, and multiplied by zero.
  static constexpr int64_t SLACK = int64_t(TILE) * 4 * GROUP;

  static void multiply_dense(const PackedMatrix& m, const ByteRows& x, int64_t tokens, const Finish& f) {
    const int64_t whole = tokens / TILE * TILE, left = tokens - whole;
    if (whole) multiply_tiles(m, x, whole, TILE, f);
    if (left >= FEW) return multiply_tiles(m, at(x, whole), left, int(left), at(f, whole));
    if (left) P::multiply_dense(m, at(x, whole), left, at(f, whole));
  }

 private:
  // Tokens in tiles of so many.
  static void multiply_tiles(const PackedMatrix& m, const ByteRows& x, int64_t tokens, int height, const Finish& f) {
    Isa::set_tiles(AmxConfig(height));
    P::for_groups(m, [&](int64_t row, auto vectors) __attribute__((always_inline)) {
      constexpr int U = decltype(vectors)::value;
      int64_t t = 0;
      for (; t + 2 * TILE <= tokens; t += 2 * TILE) multiply_two<U>(m, row, at(x, t), at(f, t));
      for (; t < tokens; t += height) multiply_one<U>(m, row, height, at(x, t), at(f, t));
    });
    Isa::release_tiles();
  }

  // Two tiles of tokens, so that weights are loaded half as often: with two vectors of rows at a time.
  template <int U>
  __attribute__((noinline)) static void multiply_two(const PackedMatrix& m, int64_t row, ByteRows x, const Finish& f) {
    alignas(64) int32_t sums[2 * TILE * GROUP];
    add_up<2, (U < 2 ? 1 : 2), U>(m, row, 0, x, sums);
    if constexpr (U > 2) add_up<2, U - 2, U>(m, row, 2, x, sums);
    finish<U>(sums, 2 * TILE, m, row, x, f);
  }

  template <int U>
  __attribute__((noinline)) static void multiply_one(const PackedMatrix& m, int64_t row, int height, ByteRows x,
                                                     const Finish& f) {
    alignas(64) int32_t sums[TILE * GROUP];
    add_up<1, U, U>(m, row, 0, x, sums);
    finish<U>(sums, height, m, row, x, f);
  }

  // Sums of T tiles of tokens and W vectors of rows, from vector `first` on of the U of a group.
  template <int T, int W, int U>
  DSF_INLINE void add_up(const PackedMatrix& m, int64_t row, int first, const ByteRows& x, int32_t* sums) {
    static_assert(T * W <= 4);
    const int64_t quads = (m.columns + 3) / 4;
    const int8_t* w = m.words.data() + row * 4 * quads + first * 4 * LANES;
    each<T * W>([&](auto i) __attribute__((always_inline)) { Isa::template zero_tile<decltype(i)::value>(); });
    const uint8_t* bank = x.bytes;
    for (int64_t q = 0; q < quads; q += TILE, bank += x.bank_stride, w += TILE * 4 * U * LANES) {
      each<T>([&](auto t) __attribute__((always_inline)) {
        Isa::template load_tile<4 + decltype(t)::value>(bank + decltype(t)::value * TILE * BANK, BANK);
      });
      each<W>([&](auto vector) __attribute__((always_inline)) {
        constexpr int V = decltype(vector)::value, WEIGHTS = T == 2 ? 6 + V : 5 + V % 3;
        Isa::template load_tile<WEIGHTS>(w + V * 4 * LANES, 4 * U * LANES);
        each<T>([&](auto t) __attribute__((always_inline)) {
          Isa::template dot_unsigned_tiles<decltype(t)::value * W + V, 4 + decltype(t)::value, WEIGHTS>();
        });
      });
    }
    each<T * W>([&](auto i) __attribute__((always_inline)) {
      constexpr int I = decltype(i)::value;
      Isa::template store_tile<I>(sums + I / W * TILE * GROUP + (first + I % W) * LANES, 4 * GROUP);
    });
  }

  // As other tiles do it, so that results are alike.
  template <int U>
  DSF_INLINE void finish(const int32_t* sums, int64_t tokens, const PackedMatrix& m, int64_t row, const ByteRows& x,
                         const Finish& f) {
    Finish plain = f;
    plain.activation = DSF_IDENTITY;
    for (int64_t t = 0; t < tokens; t++) {
      Ints own[1][U];
#pragma GCC unroll 4
      for (int v = 0; v < U; v++) own[0][v] = P::load_ints(sums + t * GROUP + v * LANES);
      P::put_sums(own, m, row, at(x, t), at(plain, t));
    }
    if (f.activation != DSF_IDENTITY)
      RowActivations<Isa>::activate(f.y + row, f.stride, U * LANES, tokens, f.activation);
  }

  template <int COUNT, class F>
  DSF_INLINE void each(F&& run) {
    run(Constant<0>{});
    if constexpr (COUNT > 1) run(Constant<1>{});
    if constexpr (COUNT > 2) run(Constant<2>{});
    if constexpr (COUNT > 3) run(Constant<3>{});
  }
};

}  // namespace dsf

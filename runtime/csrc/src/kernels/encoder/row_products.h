// Products with a matrix, rows in lanes: four inputs of a token are broadcast, or looked up, for a vector of rows.
#pragma once

#include "kernels/encoder/row_activations.h"

namespace dsf {

template <class Isa>
struct RowProducts : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::LANES, V::broadcast, V::load, V::store;
  using typename V::Floats, typename V::Ints, typename V::Uints;

  // So many sums fit into the registers, beside what they are made of.
  static constexpr int VECTORS = Isa::REGISTERS == 32 ? 4 : 2, TOKENS = Isa::REGISTERS == 32 ? 6 : 4;
  static constexpr int DENSE_TOKENS = Isa::has_dot ? TOKENS : 4, BANKED_TOKENS = Isa::REGISTERS == 32 ? 16 : 8;

  static void multiply_floats(const PackedMatrix& m, FloatRows x, int64_t tokens, const Finish& f) {
    for_groups(m, [&](int64_t row, auto vectors) __attribute__((always_inline)) {
      constexpr int U = decltype(vectors)::value;
      for_tiles<TOKENS>(tokens, [&](int64_t t, auto count) __attribute__((always_inline)) {
        constexpr int T = decltype(count)::value;
        const float* from = x.numbers + t * x.stride;
        if (m.kind == PackedMatrix::DENSE_FLOAT)
          float_tile<T, U>(m, row, m.floats.data() + row * m.columns, from, x.stride, at(f, t));
        else
          float_tile<T, U>(m, row, m.bfloats.data() + row * m.columns, from, x.stride, at(f, t));
      });
    });
  }

  static void multiply_dense(const PackedMatrix& m, const ByteRows& x, int64_t tokens, const Finish& f) {
    const int64_t quads = (m.columns + 3) / 4;
    for_groups(m, [&](int64_t row, auto vectors) __attribute__((always_inline)) {
      constexpr int U = decltype(vectors)::value;
      const int8_t* w = m.words.data() + row * 4 * quads;
      for_tiles<DENSE_TOKENS>(tokens, [&](int64_t t, auto count) __attribute__((always_inline)) {
        dense_tile<decltype(count)::value, U>(m, row, w, quads, at(x, t), at(f, t));
      });
    });
  }

  static void multiply_banked(const PackedMatrix& m, const ByteRows& x, int64_t tokens, const Finish& f) {
    for (int64_t tile = 0; tile * LANES < m.rows; tile++)
      for_tiles<BANKED_TOKENS>(tokens, [&](int64_t t, auto count) __attribute__((always_inline)) {
        banked_tile<decltype(count)::value>(m, tile, at(x, t), at(f, t));
      });
  }

 protected:
  DSF_INLINE Finish at(Finish f, int64_t t) {
    f.y += t * f.stride;
    if (f.add) f.add += t * f.stride;
    return f;
  }
  DSF_INLINE ByteRows at(ByteRows x, int64_t t) {
    return {x.bytes + t * BANK, x.bank_stride, x.scales + t, x.offsets + t};
  }

  // The first row of every group, and how many vectors it has.
  template <class F>
  DSF_INLINE void for_groups(const PackedMatrix& m, F&& run) {
    constexpr int64_t ROWS = VECTORS * LANES;
    int64_t row = 0;
    for (; row + ROWS <= m.rows; row += ROWS) run(row, Constant<VECTORS>{});
    const int64_t left = (m.rows - row + LANES - 1) / LANES;
    if (left == 4) run(row, Constant<(VECTORS < 4 ? 1 : 4)>{});
    if (left == 3) run(row, Constant<(VECTORS < 3 ? 1 : 3)>{});
    if (left == 2) run(row, Constant<2>{});
    if (left == 1) run(row, Constant<1>{});
  }

  // Tokens in tiles of MOST, the rest in smaller ones.
  template <int MOST, class F>
  DSF_INLINE void for_tiles(int64_t tokens, F&& run) {
    int64_t t = 0;
    for (; t + MOST <= tokens; t += MOST) run(t, Constant<MOST>{});
    if constexpr (MOST > 4)
      for (; t + 4 <= tokens; t += 4) run(t, Constant<4>{});
    for (; t + 2 <= tokens; t += 2) run(t, Constant<2>{});
    for (; t < tokens; t++) run(t, Constant<1>{});
  }

  template <int T, int U>
  DSF_INLINE void put(Floats (&y)[T][U], int64_t row, const Finish& f) {
#pragma GCC unroll 32
    for (int t = 0; t < T; t++) {
#pragma GCC unroll 4
      for (int v = 0; v < U; v++) {
        const int64_t i = t * f.stride + row + v * LANES;
        Floats result = y[t][v];
        if (f.bias) result += load(f.bias + row + v * LANES);
        if (f.add) result += load(f.add + i);
        store(f.y + i, result);
      }
    }
    if (f.activation != DSF_IDENTITY) RowActivations<Isa>::activate(f.y + row, f.stride, U * LANES, T, f.activation);
  }

  // Sums of products of bytes to numbers: a token is bytes * scale + offset, a row weights * scale.
  template <int T, int U>
  DSF_INLINE void put_sums(Ints (&sums)[T][U], const PackedMatrix& m, int64_t row, const ByteRows& x, const Finish& f) {
    Floats y[T][U];
#pragma GCC unroll 4
    for (int v = 0; v < U; v++) {
      const Floats scales = load(m.scales.data() + row + v * LANES), totals = load(m.sums.data() + row + v * LANES);
      if constexpr (Isa::has_signed_dot) {
#pragma GCC unroll 32
        for (int t = 0; t < T; t++) sums[t][v] += Isa::load_ints(m.totals.data() + row + v * LANES) * 128;
      }
#pragma GCC unroll 32
      for (int t = 0; t < T; t++)
        y[t][v] = added(totals * broadcast(x.offsets[t]), __builtin_convertvector(sums[t][v], Floats) * scales,
                        broadcast(x.scales[t]));
    }
    put(y, row, f);
  }

 private:
  // a + b * c, and not with the product in `a` fused: every tile has to round alike.
  DSF_INLINE Floats added(Floats a, Floats b, Floats c) {
    __asm__("" : "+" DSF_REGISTER(a));
    return a + b * c;
  }

  // Functions of their own: inlined into one another, their sums would not stay in registers.
  template <int T, int U, class Number>
  __attribute__((noinline)) static void float_tile(const PackedMatrix& m, int64_t row, const Number* w, const float* x,
                                                   int64_t stride, const Finish& f) {
    Floats sums[T][U] = {};
    for (int64_t k = 0; k < m.columns; k++, w += U * LANES) {
      Floats weights[U];
#pragma GCC unroll 4
      for (int v = 0; v < U; v++) weights[v] = V::load_as(w + v * LANES);
#pragma GCC unroll 32
      for (int t = 0; t < T; t++) {
        const Floats number = broadcast(x[t * stride + k]);
#pragma GCC unroll 4
        for (int v = 0; v < U; v++) sums[t][v] += number * weights[v];
      }
    }
    put(sums, row, f);
  }

  template <int T, int U>
  __attribute__((noinline)) static void dense_tile(const PackedMatrix& m, int64_t row, const int8_t* w, int64_t quads,
                                                   ByteRows x, const Finish& f) {
    Ints sums[T][U] = {};
    for (const uint8_t* bank = x.bytes; quads > 0; quads -= BANK / 4, bank += x.bank_stride) {
      const uint8_t* end = bank + 4 * (quads < BANK / 4 ? quads : BANK / 4);
      for (const uint8_t* from = bank; from < end; from += 4, w += 4 * U * LANES) {
        Uints weights[U];
#pragma GCC unroll 4
        for (int v = 0; v < U; v++) __builtin_memcpy(&weights[v], w + 4 * v * LANES, sizeof weights[v]);
#pragma GCC unroll 32
        for (int t = 0; t < T; t++) {
          const Uints bytes = word_at(from + t * BANK);
#pragma GCC unroll 4
          for (int v = 0; v < U; v++) V::add_row_dot(sums[t][v], bytes, weights[v]);
        }
      }
    }
    put_sums(sums, m, row, x, f);
  }

  template <int T>
  __attribute__((noinline)) static void banked_tile(const PackedMatrix& m, int64_t tile, ByteRows x, const Finish& f) {
    const int64_t first = m.starts[tile], last = m.starts[tile + 1];
    const int8_t* w = m.words.data() + first * 4 * LANES;
    const uint8_t* lanes = m.lanes.data() + first * 4 * LANES;
    Ints sums[T][1] = {};
    for (int64_t q = first; q < last; q++, w += 4 * LANES, lanes += 4 * LANES) {
      constexpr int PARTS = BANK / Isa::LOOKUP;
      const uint8_t* bank = x.bytes + m.banks[q] / PARTS * x.bank_stride + m.banks[q] % PARTS * Isa::LOOKUP;
      Uints weights, where;
      __builtin_memcpy(&weights, w, sizeof weights);
      __builtin_memcpy(&where, lanes, sizeof where);
#pragma GCC unroll 32
      for (int t = 0; t < T; t++) V::add_dot_looked_up(sums[t][0], Isa::load_bank(bank + t * BANK), where, weights);
    }
    put_sums(sums, m, tile * LANES, x, f);
  }

  DSF_INLINE Uints word_at(const uint8_t* p) {
    uint32_t word;
    __builtin_memcpy(&word, p, 4);
    return V::broadcast_word(word);
  }
};

}  // namespace dsf

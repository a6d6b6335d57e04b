// What is built on the operations of an instruction set, for all of them alike.
#pragma once

#include "isa/simd.h"

namespace dsf {

// The least and the largest number seen of one token, or of those of every lane (or zero); and NaN unless all were
// finite, which makes all the results of the token so.
template <class V>
struct MinMax {
  V low = {}, high = {}, bad = {};
};

template <class Isa>
struct VectorOps : Isa {
  using Isa::LANES, Isa::broadcast, Isa::load, Isa::store, Isa::load_as, Isa::store_as;
  using typename Isa::Floats, typename Isa::Ints, typename Isa::Uints;

  template <class T>
  DSF_INLINE Floats load_partial(const T* p, int count) {
    T some[LANES] = {};
    for (int i = 0; i < count; i++) some[i] = p[i];
    return load_as(some);
  }

  template <class T>
  DSF_INLINE void store_partial(T* p, Floats v, int count) {
    T some[LANES];
    store_as(some, v);
    for (int i = 0; i < count; i++) p[i] = some[i];
  }

  // LANES x LANES: log2(LANES) rounds of interleaving the two halves.
  DSF_INLINE void transpose(Floats (&rows)[LANES]) {
    Floats other[LANES];
#pragma GCC unroll 4
    for (int round = 1; round < LANES; round *= 2) {
#pragma GCC unroll 16
      for (int i = 0; i < LANES / 2; i++) {
        other[2 * i] = Isa::interleave_low(rows[i], rows[i + LANES / 2]);
        other[2 * i + 1] = Isa::interleave_high(rows[i], rows[i + LANES / 2]);
      }
#pragma GCC unroll 16
      for (int i = 0; i < LANES; i++) rows[i] = other[i];
    }
  }

  DSF_INLINE void include(MinMax<Floats>& range, Floats v) {
    range.low = Isa::minimum(v, range.low);
    range.high = Isa::maximum(v, range.high);
    range.bad += v * broadcast(0.0f);
  }

  DSF_INLINE Ints to_ints(Floats v) { return __builtin_convertvector(v, Ints); }

  DSF_INLINE void add_dot(Ints& sums, Uints bytes, Uints weights) {
    if constexpr (Isa::has_dot_in_place)
      Isa::dot_in_place(sums, bytes, weights);
    else
      sums = Isa::dot(sums, bytes, weights);
  }

  // Of bytes that are less by 128, where the set multiplies signed ones (has_signed_dot).
  DSF_INLINE void add_row_dot(Ints& sums, Uints bytes, Uints weights) {
    if constexpr (Isa::has_signed_dot)
      sums = Isa::signed_dot(sums, bytes, weights);
    else
      add_dot(sums, bytes, weights);
  }

  DSF_INLINE void add_dot_looked_up(Ints& sums, typename Isa::Bank bank, Uints where, Uints weights) {
    if constexpr (Isa::has_dot_looked_up)
      sums = Isa::dot_looked_up(sums, bank, where, weights);
    else
      add_row_dot(sums, Isa::look_up_bank(bank, where), weights);
  }

  // Two to the power of numbers of at most 126 (of less than -126: as of that), with a relative error of 1e-7.
  DSF_INLINE Floats power_of_two(Floats x) {
    x = Isa::maximum(x, broadcast(-126.0f));
    const Floats shifted = x + broadcast(Isa::TO_WHOLE), r = x - (shifted - broadcast(Isa::TO_WHOLE));
    Floats p = r * 0.0013276470126584172f + 0.009675540961325169f;
    p = p * r + 0.05550713092088699f;
    p = p * r + 0.24022120237350464f;
    p = p * r + 0.6931469440460205f;
    p = p * r + 1.0000001192092896f;
    return (Floats)((Ints)p + ((Ints)shifted << 23));
  }

  DSF_INLINE float sum_of(Floats v) {
    float lanes[LANES];
    store(lanes, v);
#pragma GCC unroll 4
    for (int step = LANES / 2; step; step /= 2)
      for (int i = 0; i < step; i++) lanes[i] += lanes[i + step];
    return lanes[0];
  }
};

// Tokens at most MAX at a time; how many is a constant for the compiler.
template <int MAX, class F>
DSF_INLINE void for_tokens(int64_t tokens, F&& run) {
  int64_t t = 0;
  for (; MAX >= 8 && tokens - t >= 8; t += 8) run(t, Constant<MAX >= 8 ? 8 : 1>{});
  for (; tokens - t >= 4; t += 4) run(t, Constant<4>{});
  for (; tokens - t >= 2; t += 2) run(t, Constant<2>{});
  for (; t < tokens; t++) run(t, Constant<1>{});
}

}  // namespace dsf

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

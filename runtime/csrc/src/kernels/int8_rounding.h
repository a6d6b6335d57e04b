// From panels and small batches of fp32 to unsigned bytes, a scale for every token.
#pragma once

#include "kernels/vector_ops.h"
#include "pack/matrices.h"

namespace dsf {

// From the least and the largest number of every lane (or zero) to what a byte stands for.
template <class Isa>
struct Rounding : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::broadcast;
  using typename V::Floats, typename V::Ints;
  // Activations that differ by less are all zero.
  static constexpr float SMALLEST_RANGE = 1e-30f;
  Floats scale, inverse, zero;

  DSF_METHOD Rounding(Floats low, Floats high) {
    const Floats range = high - low;
    const Ints some = range > broadcast(SMALLEST_RANGE);
    inverse = (Floats)(some & (Ints)(broadcast(255.0f) / range));
    scale = (Floats)(some & (Ints)(range * (1.0f / 255.0f)));
    // Whatever is not a number becomes one.
    zero = V::nearest(V::minimum(V::maximum(-low * inverse, broadcast(0.0f)), broadcast(255.0f)));
  }
};

template <class Isa>
struct Int8Rounding : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::LANES, V::broadcast, V::load, V::store, V::load_as, V::load_partial, V::store_words;
  using typename V::Floats, typename V::Uints;

  static void round_panel(const float* panel, int64_t rows, int vectors, const Uint8Batch& to) {
    switch (vectors) {
      case 1: return round_panel_of<1>(panel, rows, to);
      case 2: return round_panel_of<2>(panel, rows, to);
      case 3: return round_panel_of<3>(panel, rows, to);
      default: return round_panel_of<4>(panel, rows, to);
    }
  }

  static void round_small_batch(const float* z, int64_t ldz, int64_t features, int64_t tokens, const Uint8Batch& to,
                                int64_t ld) {
    for (int64_t t = 0; t < tokens; t++) {
      const float* from = z + t * ldz;
      uint8_t* bytes = to.rows + t * ld;
      const MinMax<float> range = range_of(from, features);
      const Rounding<Isa> rounding(broadcast(range.low), broadcast(range.high));
      to.scales[t] = rounding.scale[0] + range.bad;
      to.zeros[t] = int32_t(rounding.zero[0]);
      for (int64_t f = 0; f < features; f += LANES) {
        const bool complete = features - f >= LANES;
        const Floats v = complete ? load(from + f) : load_partial(from + f, int(features - f));
        const typename V::Uint8s q =
            __builtin_convertvector(byte_of(v, rounding.inverse, rounding.zero), typename V::Uint8s);
        __builtin_memcpy(bytes + f, &q, sizeof q);
      }
    }
  }

  // The least and the largest number of a token.
  template <class T>
  static MinMax<float> range_of(const T* x, int64_t features) {
    MinMax<Floats> ranges[2];
    int64_t f = 0;
    for (; f + 2 * LANES <= features; f += 2 * LANES) {
      __builtin_prefetch(x + f + 8 * LANES);
      V::include(ranges[0], load_as(x + f));
      V::include(ranges[1], load_as(x + f + LANES));
    }
    for (; f < features; f += LANES)
      V::include(ranges[0], features - f >= LANES ? load_as(x + f) : load_partial(x + f, int(features - f)));
    MinMax<float> whole;
    for (int i = 0; i < 2 * LANES; i++) {
      const MinMax<Floats>& own = ranges[i / LANES];
      whole.low = own.low[i % LANES] < whole.low ? own.low[i % LANES] : whole.low;
      whole.high = own.high[i % LANES] > whole.high ? own.high[i % LANES] : whole.high;
      whole.bad += own.bad[i % LANES];
    }
    return whole;
  }

 private:
  DSF_INLINE Uints byte_of(Floats v, Floats inverse, Floats zero) { return V::nearest_uint8(v * inverse + zero); }

  template <int U>
  static void round_panel_of(const float* panel, int64_t rows, const Uint8Batch& to) {
    constexpr int64_t LD = U * LANES;
    MinMax<Floats> ranges[U];
    for (int64_t row = 0; row < rows; row++) {
#pragma GCC unroll 4
      for (int u = 0; u < U; u++) V::include(ranges[u], load(panel + row * LD + u * LANES));
    }
    Floats scale[U], inverse[U], zero[U];
#pragma GCC unroll 4
    for (int u = 0; u < U; u++) {
      const Rounding<Isa> rounding(ranges[u].low, ranges[u].high);
      scale[u] = rounding.scale, inverse[u] = rounding.inverse, zero[u] = rounding.zero;
      store(to.scales + u * LANES, scale[u] + ranges[u].bad);
      store_words(to.zeros + u * LANES, (Uints)V::to_ints(zero[u]));
    }
    for (int64_t row = 0; row < rows; row += 4) {
      Uints q[4][U];
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
#pragma GCC unroll 4
        for (int u = 0; u < U; u++) {
          const Floats v = row + i < rows ? load(panel + (row + i) * LD + u * LANES) : Floats{};
          q[i][u] = byte_of(v, inverse[u], zero[u]);
        }
      }
      if (to.words) {
#pragma GCC unroll 4
        for (int u = 0; u < U; u++)
          store_words(to.words + row / 4 * LD + u * LANES, q[0][u] | q[1][u] << 8 | q[2][u] << 16 | q[3][u] << 24);
      }
      if (to.rows) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
          if (row + i == rows) break;
          Uints both = q[i][0];
#pragma GCC unroll 4
          for (int u = 1; u < U; u++) both |= q[i][u] << (8 * u);
          store_words(to.rows + (row + i) * 4 * LANES, Isa::transpose_bytes(both));
        }
      }
    }
  }
};

}  // namespace dsf

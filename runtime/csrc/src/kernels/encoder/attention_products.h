// Products of attention: scores of some keys for the queries in lanes, weighted sums of values.
#pragma once

#include "kernels/encoder/row_kernels.h"
#include "kernels/vector_ops.h"

namespace dsf {

template <class Isa>
struct AttentionProducts : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::LANES, V::broadcast, V::load, V::store;
  using typename V::Floats;

  // Keys of a tile; keys and queries that the inner loops work on at once.
  static constexpr int64_t TILE = 252;
  static constexpr int KEYS = Isa::REGISTERS == 32 ? 12 : 6;
  static constexpr int QUERIES = LANES >= 8 && Isa::REGISTERS == 32 ? 8 : 4;

  static int64_t scratch_size(int64_t length, int64_t head_size, bool relative) {
    const int64_t width = padded(head_size), rows = length + KEYS;
    const int64_t positions = relative ? 2 * head_size * relative_width(length) : 0;
    return 2 * rows * width + 4 * LANES * width + (TILE + KEYS) * LANES + positions + 16 * LANES;
  }

  DSF_INLINE int64_t padded(int64_t n) { return (n + LANES - 1) / LANES * LANES; }
  DSF_INLINE int64_t relative_width(int64_t length) { return padded(2 * length + LANES); }

  // Two numbers of bfloat16 in the place of one.
  DSF_INLINE void store_pairs(float* to, Floats first, Floats second) {
    const auto pairs = Isa::to_pairs(first, second);
    __builtin_memcpy(to, &pairs, sizeof pairs);
  }

  // KEYS keys, `stride` apart, by the queries in lanes: (size, LANES).
  __attribute__((noinline)) static void score_keys(const float* queries, const float* keys, int64_t size,
                                                   int64_t stride, float* to) {
    Floats sums[KEYS] = {};
    for (int64_t p = 0; p < size; p++) {
      const Floats q = load(queries + p * LANES);
#pragma GCC unroll 16
      for (int i = 0; i < KEYS; i++) sums[i] += q * broadcast(keys[i * stride + p]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < KEYS; i++) store(to + i * LANES, sums[i]);
  }

  // The same with pairs of numbers.
  __attribute__((noinline)) static void score_pairs(const float* queries, const float* keys, int64_t size,
                                                    int64_t stride, float* to) {
    Floats sums[KEYS] = {};
    for (int64_t p = 0; p < (size + 1) / 2; p++) {
      typename Isa::Pairs q;
      __builtin_memcpy(&q, queries + p * LANES, sizeof q);
#pragma GCC unroll 16
      for (int i = 0; i < KEYS; i++) Isa::add_pair_products(sums[i], q, keys + i * stride + p);
    }
#pragma GCC unroll 16
    for (int i = 0; i < KEYS; i++) store(to + i * LANES, sums[i]);
  }

  // Sums of values (count, stride) with weights (count, LANES), U vectors of each for QUERIES queries, are added to
  // what is in `out` times the factors. PAIRED: weights and values are pairs, of two keys.
  template <int U, bool PAIRED>
  __attribute__((noinline)) static void mix_values(const float* weights, const float* values, int64_t stride,
                                                   int64_t count, const float* factors, float* out) {
    Floats sums[QUERIES][U] = {};
    for (int64_t j = 0; j < count; j++) {
      if constexpr (PAIRED) {
        typename Isa::Pairs v[U];
#pragma GCC unroll 2
        for (int u = 0; u < U; u++) __builtin_memcpy(&v[u], values + j * stride + u * LANES, sizeof v[u]);
#pragma GCC unroll 8
        for (int q = 0; q < QUERIES; q++) {
#pragma GCC unroll 2
          for (int u = 0; u < U; u++) Isa::add_pair_products(sums[q][u], v[u], weights + j * LANES + q);
        }
      } else {
        Floats v[U];
#pragma GCC unroll 2
        for (int u = 0; u < U; u++) v[u] = load(values + j * stride + u * LANES);
#pragma GCC unroll 8
        for (int q = 0; q < QUERIES; q++) {
          const Floats w = broadcast(weights[j * LANES + q]);
#pragma GCC unroll 2
          for (int u = 0; u < U; u++) sums[q][u] += w * v[u];
        }
      }
    }
#pragma GCC unroll 8
    for (int q = 0; q < QUERIES; q++) {
#pragma GCC unroll 2
      for (int u = 0; u < U; u++) {
        float* to = out + q * stride + u * LANES;
        store(to, load(to) * broadcast(factors[q]) + sums[q][u]);
      }
    }
  }
};

}  // namespace dsf

// What the products of AMX have in common.
//
// A tile of weights (up to 16 rows by 16 words of two or four columns) is multiplied with one to four tiles of
// operands (16 such words by a vector of tokens each): four sums under way hide how long one product takes, and a
// product waits for little more than one load. Dense matrices take two tiles of 8 rows at a time.
#pragma once

#include "isa/amx_config.h"
#include "kernels/vector_ops.h"

namespace dsf {

constexpr int AMX_WORDS = 16, AMX_VECTORS = 4, AMX_SIZE = 256;

template <class Isa>
struct AmxTiles : VectorOps<Isa> {
  static constexpr int LANES = Isa::LANES;

  // Sixteen words of as many vectors of tokens as there are.
  struct alignas(64) Operands {
    uint32_t words[AMX_VECTORS][AMX_WORDS][LANES];
  };

  DSF_INLINE void zero_sums(int vectors) {
    for_vectors(vectors,
                [&](auto v, auto) __attribute__((always_inline)) { Isa::template zero_tile<decltype(v)::value>(); });
  }

  DSF_INLINE void load_sums(const float* y, int64_t ld, int vectors) {
    for_vectors(vectors, [&](auto v, auto) __attribute__((always_inline)) {
      constexpr int V = decltype(v)::value;
      Isa::template load_tile<V>(y + V * LANES, ld * 4);
    });
  }

  DSF_INLINE void store_sums(void* y, int64_t ld, int vectors) {
    for_vectors(vectors, [&](auto v, auto) __attribute__((always_inline)) {
      constexpr int V = decltype(v)::value;
      Isa::template store_tile<V>(static_cast<float*>(y) + V * LANES, ld * 4);
    });
  }

  // `stride` bytes between the words of a vector, `apart` words between vectors.
  DSF_INLINE void add_products(const uint32_t* weights, const uint32_t* words, int64_t stride, int64_t apart,
                               int vectors) {
    Isa::template load_tile<WEIGHTS>(weights, 64);
    for_vectors(vectors, [&](auto v, auto operand) __attribute__((always_inline)) {
      constexpr int V = decltype(v)::value, OPERAND = decltype(operand)::value;
      Isa::template load_tile<OPERAND>(words + V * apart, stride);
      Isa::template dot_tiles<V, WEIGHTS, OPERAND>();
    });
  }

  DSF_INLINE void add_pair_products(const uint32_t* weights, const Operands& from, int vectors) {
    Isa::template load_tile<WEIGHTS>(weights, 64);
    for_vectors(vectors, [&](auto v, auto operand) __attribute__((always_inline)) {
      constexpr int V = decltype(v)::value, OPERAND = decltype(operand)::value;
      Isa::template load_tile<OPERAND>(from.words[V], 64);
      Isa::template dot_pair_tiles<V, WEIGHTS, OPERAND>();
    });
  }

 private:
  static constexpr int WEIGHTS = 4;

  // The numbers of the tile with a vector's sums, and of the one with its operands.
  template <class F>
  DSF_INLINE void for_vectors(int vectors, F&& run) {
    run(Constant<0>{}, Constant<5>{});
    if (vectors > 1) run(Constant<1>{}, Constant<6>{});
    if (vectors > 2) run(Constant<2>{}, Constant<7>{});
    if (vectors > 3) run(Constant<3>{}, Constant<5>{});
  }
};

}  // namespace dsf

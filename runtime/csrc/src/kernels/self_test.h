// Whether a set's products come out right on this CPU.
#pragma once

#include "kernels/amx_tiles.h"
#include "kernels/vector_ops.h"

namespace dsf {

template <class Isa>
struct SelfTest : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::LANES;
  using typename V::Ints, typename V::Uints;

  static bool passes() {
    if constexpr (Isa::has_amx)
      return dots_work() && tiles_work() && unsigned_tiles_work();
    else
      return dots_work();
  }

 private:
  static int32_t scalar_dot(int32_t sum, uint32_t bytes, uint32_t weights) {
    for (int shift = 0; shift < 32; shift += 8)
      sum += int32_t(uint8_t(bytes >> shift)) * int32_t(int8_t(weights >> shift));
    return sum;
  }

  static bool dots_work() {
    Ints sums;
    Uints bytes, weights;
    for (int i = 0; i < LANES; i++) {
      sums[i] = 1 - i;
      bytes[i] = 0xff7f0180u * uint32_t(i + 3);
      weights[i] = 0x80ff0103u * uint32_t(i + 1);
    }
    // The compiler is not to know them.
    __asm__ volatile("" : "+m"(sums), "+m"(bytes), "+m"(weights));
    const Ints found = Isa::dot(sums, bytes, weights);
    bool right = true;
    for (int i = 0; i < LANES; i++) right = right && found[i] == scalar_dot(sums[i], bytes[i], weights[i]);
    return right;
  }

  static bool tiles_work() {
    using A = AmxTiles<Isa>;
    alignas(64) uint32_t weights[AMX_SIZE], expected[AMX_SIZE], sums[AMX_SIZE];
    typename A::Operands from = {};
    for (int i = 0; i < AMX_SIZE; i++) {
      weights[i] = 0x80ff0103u * uint32_t(i + 1);
      from.words[0][i / 16][i % 16] = 0xff7f0180u * uint32_t(i + 3);
    }
    for (int row = 0; row < 16; row++)
      for (int column = 0; column < 16; column++) {
        int32_t sum = 0;
        for (int k = 0; k < 16; k++) sum = scalar_dot(sum, from.words[0][k][column], weights[16 * row + k]);
        expected[16 * row + column] = uint32_t(sum);
      }
    Isa::set_tiles(AmxConfig(16));
    A::zero_sums(1);
    A::add_products(weights, from.words[0][0], 64, 0, 1);
    A::store_sums(sums, 16, 1);
    bool right = !__builtin_memcmp(sums, expected, sizeof sums);
    for (int i = 0; i < AMX_SIZE; i++) {
      weights[i] = 0x40003f80u;
      from.words[0][i / 16][i % 16] = 0x3f804000u;
    }
    A::zero_sums(1);
    A::add_pair_products(weights, from, 1);
    A::store_sums(sums, 16, 1);
    Isa::release_tiles();
    for (uint32_t sum : sums) right = right && sum == 0x42800000u;  // 16 * (1 * 2 + 2 * 1)
    return right;
  }

  // Tiles of tokens by tiles of weights, as AmxRowProducts has them.
  static bool unsigned_tiles_work() {
    alignas(64) uint32_t bytes[16][16], weights[16][16], sums[16][16];
    for (uint32_t i = 0; i < 16; i++)
      for (uint32_t k = 0; k < 16; k++) {
        bytes[i][k] = 0xff7f0180u * (16 * i + k + 3);
        weights[i][k] = 0x80ff0103u * (16 * k + i + 1);
      }
    Isa::set_tiles(AmxConfig(16));
    Isa::template zero_tile<0>();
    Isa::template load_tile<4>(bytes, 64);
    Isa::template load_tile<5>(weights, 64);
    Isa::template dot_unsigned_tiles<0, 4, 5>();
    Isa::template store_tile<0>(sums, 64);
    Isa::release_tiles();
    bool right = true;
    for (int row = 0; row < 16; row++)
      for (int column = 0; column < 16; column++) {
        int32_t sum = 0;
        for (int k = 0; k < 16; k++) sum = scalar_dot(sum, bytes[row][k], weights[k][column]);
        right = right && int32_t(sums[row][column]) == sum;
      }
    return right;
  }
};

}  // namespace dsf

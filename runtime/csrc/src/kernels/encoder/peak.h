// As many products of bytes as the set can do, from registers: what the speed of the kernels is compared with.
#pragma once

#include "isa/amx_config.h"
#include "kernels/vector_ops.h"

namespace dsf {

template <class Isa>
struct Peak : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::LANES;
  using typename V::Ints, typename V::Uints;
  // Enough sums under way to hide how long one product takes.
  static constexpr int SUMS = Isa::REGISTERS == 32 ? 16 : 8;

  // Returns how many products that was.
  static int64_t run(int64_t rounds) {
    if constexpr (Isa::has_amx)
      return run_tiles(rounds);
    else
      return run_vectors(rounds);
  }

 private:
  static int64_t run_vectors(int64_t rounds) {
    Ints sums[SUMS] = {};
    Uints bytes = V::broadcast_word(0x01020304), weights = V::broadcast_word(0x04030201);
    for (int64_t i = 0; i < rounds; i++) {
      // The compiler is not to know that nothing changes.
      __asm__ volatile("" : "+" DSF_REGISTER(bytes), "+" DSF_REGISTER(weights));
#pragma GCC unroll 16
      for (int s = 0; s < SUMS; s++) V::add_row_dot(sums[s], bytes, weights);
    }
#pragma GCC unroll 16
    for (int s = 0; s < SUMS; s++) __asm__ volatile("" ::DSF_REGISTER(sums[s]));
    return rounds * SUMS * LANES * 4;
  }

  static int64_t run_tiles(int64_t rounds) {
    Isa::set_tiles(AmxConfig(16));
    for (int64_t i = 0; i < rounds; i++) {
      Isa::template dot_unsigned_tiles<0, 4, 6>();
      Isa::template dot_unsigned_tiles<1, 4, 7>();
      Isa::template dot_unsigned_tiles<2, 5, 6>();
      Isa::template dot_unsigned_tiles<3, 5, 7>();
    }
    Isa::release_tiles();
    return rounds * 4 * 16 * 16 * 64;
  }
};

}  // namespace dsf

// How many vectors of tokens the products with shared columns take at a time.
#pragma once

#include "kernels/vector_ops.h"

namespace dsf {

// Accumulators of eight rows, the operand's vectors and a broadcast weight have to fit the registers.
template <class Isa>
constexpr int MAX_TILE_VECTORS = Isa::REGISTERS == 32 ? 3 : 1;

// Tokens of a panel in tiles of at most MAX_TILE_VECTORS, no tile much narrower than the others. The width of a tile is
// a constant for the compiler.
template <class Isa, class F>
DSF_INLINE void for_register_tiles(int vectors, F&& run) {
  constexpr int MAX = MAX_TILE_VECTORS<Isa>;
  const int tiles = (vectors + MAX - 1) / MAX;
  for (int tile = 0, at = 0; tile < tiles; tile++) {
    const int width = (vectors - at + tiles - tile - 1) / (tiles - tile);
    if (MAX > 1 && width == 2)
      run(at * Isa::LANES, Constant<(MAX < 2) ? 1 : 2>{});
    else if (MAX > 2 && width == 3)
      run(at * Isa::LANES, Constant<(MAX < 3) ? 1 : 3>{});
    else
      run(at * Isa::LANES, Constant<1>{});
    at += width;
  }
}

}  // namespace dsf

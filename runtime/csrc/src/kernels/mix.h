// Sums of rows of a table, of whatever type they are stored in.
#pragma once

#include "dsformer.h"
#include "kernels/vector_ops.h"

namespace dsf {

template <class Isa>
struct Mix : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::LANES, V::broadcast, V::load_as, V::load_partial;
  using typename V::Floats;

  static void run(const void* rows, int dtype, int64_t width, const uint32_t* which, const float* weights,
                  int64_t count, float* y) {
    switch (dtype) {
      case DSF_FLOAT32: return run_of(static_cast<const float*>(rows), width, which, weights, count, y);
      case DSF_BFLOAT16: return run_of(static_cast<const uint16_t*>(rows), width, which, weights, count, y);
      default: return run_of(static_cast<const int8_t*>(rows), width, which, weights, count, y);
    }
  }

 private:
  template <class T>
  static void run_of(const T* rows, int64_t width, const uint32_t* which, const float* weights, int64_t count,
                     float* y) {
    int64_t column = 0;
    for (; column + 8 * LANES <= width; column += 8 * LANES)
      mix_columns<8>(rows + column, width, which, weights, count, y + column);
    for (; column + LANES <= width; column += LANES)
      mix_columns<1>(rows + column, width, which, weights, count, y + column);
    if (column == width) return;
    Floats sum = {};
    for (int64_t k = 0; k < count; k++)
      sum += broadcast(weights[k]) * load_partial(rows + int64_t(which[k]) * width + column, int(width - column));
    V::store_partial(y + column, sum, int(width - column));
  }

  template <int U, class T>
  DSF_INLINE void mix_columns(const T* rows, int64_t width, const uint32_t* which, const float* weights, int64_t count,
                              float* y) {
    Floats sums[U] = {};
    for (int64_t k = 0; k < count; k++) {
      const T* row = rows + int64_t(which[k]) * width;
      const Floats weight = broadcast(weights[k]);
#pragma GCC unroll 8
      for (int u = 0; u < U; u++) sums[u] += weight * load_as(row + u * LANES);
    }
#pragma GCC unroll 8
    for (int u = 0; u < U; u++) V::store(y + u * LANES, sums[u]);
  }
};

}  // namespace dsf

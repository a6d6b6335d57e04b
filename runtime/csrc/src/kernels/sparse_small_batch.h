// Products of rows with supports of their own with a small batch.
#pragma once

#include "kernels/kernels.h"
#include "kernels/vector_ops.h"

namespace dsf {

template <class Isa>
struct SparseSmallBatch : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using typename V::Floats;

  static void run(const Sparse& m, int64_t first, int64_t last, const float* z, int64_t ldz, int64_t tokens, float* y,
                  int64_t ldy, bool accumulate) {
    if constexpr (Isa::has_lookup) {
      for (int64_t block = first; block < last; block++) {
        for_tokens<8>(tokens, [&](int64_t t, auto count) __attribute__((always_inline)) {
          look_up_block<decltype(count)::value>(m, block, z + t * ldz, ldz, y + t * ldy, ldy, accumulate);
        });
      }
    } else {
      row_by_row(m, first, last, z, ldz, tokens, y, ldy, accumulate);
    }
  }

 private:
  // Sixteen rows, one to a lane.
  template <int T>
  DSF_INLINE void look_up_block(const Sparse& m, int64_t block, const float* z, int64_t ldz, float* y, int64_t ldy,
                                bool accumulate) {
    constexpr int SETS = T == 1 ? 4 : T == 2 ? 2 : 1;
    const FloatLookup& lookup = m.lookup;
    Floats sums[SETS][T] = {};
    uint32_t k = lookup.steps[block];
    const uint32_t end = lookup.steps[block + 1];
    for (; k < end; k += SETS) {  // the number of steps is padded to a multiple of four
#pragma GCC unroll 4
      for (int s = 0; s < SETS; s++) {
        const int64_t at = int64_t(k + s) * 16;
        const Floats weight = V::load(lookup.values.data() + at);
        const auto lanes = Isa::load_lanes(lookup.lanes.data() + at);
        const float* table = z + int64_t(lookup.windows[k + s]) * WINDOW_STEP;
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) sums[s][t] += weight * Isa::look_up(table + t * ldz, lanes);
      }
    }
    const uint32_t* rows = lookup.lane_rows.data() + block * 16;
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) {
      Floats sum = sums[0][t];
#pragma GCC unroll 4
      for (int s = 1; s < SETS; s++) sum += sums[s][t];
      float some[16];
      V::store(some, sum);
      for (int i = 0; i < 16; i++) {
        if (rows[i] >= m.rows) continue;
        float* to = y + t * ldy + rows[i];
        *to = accumulate ? *to + some[i] : some[i];
      }
    }
  }

  static void row_by_row(const Sparse& m, int64_t first, int64_t last, const float* z, int64_t ldz, int64_t tokens,
                         float* y, int64_t ldy, bool accumulate) {
    for (int64_t token = 0; token < tokens; token++) {
      for (int64_t row = first; row < last; row++) {
        float* to = y + token * ldy + row;
        float sums[4] = {accumulate ? *to : 0.0f, 0, 0, 0};
        for (int64_t block = 0; block < m.blocks; block++) {
          const uint32_t* starts = m.starts.data() + block * (m.rows + 1);
          const float* from = z + token * ldz + block * m.block_columns;
          uint32_t k = starts[row];
          for (; k + 4 <= starts[row + 1]; k += 4) {
            for (int s = 0; s < 4; s++) sums[s] += m.values[k + s] * from[m.offsets[k + s]];
          }
          for (; k < starts[row + 1]; k++) sums[0] += m.values[k] * from[m.offsets[k]];
        }
        *to = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      }
    }
  }
};

}  // namespace dsf

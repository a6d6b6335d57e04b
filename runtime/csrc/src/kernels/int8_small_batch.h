// Products of int8 with a small batch of tokens as unsigned bytes.
#pragma once

#include "kernels/kernels.h"
#include "kernels/vector_ops.h"

namespace dsf {

template <class Isa>
struct Int8SmallBatch : VectorOps<Isa> {
  static void run(const Int8Groups& m, int64_t first, int64_t last, const Uint8Batch& x, int64_t ld, int64_t tokens,
                  float* y, int64_t ldy, bool accumulate) {
    if constexpr (Isa::has_int8_lookup) {
      if (m.lookup.blocks) {
        // `y` begins with row `first`; the rows of a lookup may lie anywhere.
        for (int64_t block = first / 16; block < (last + 15) / 16; block++) {
          for_tokens<8>(tokens, [&](int64_t t, auto count) __attribute__((always_inline)) {
            look_up_block<decltype(count)::value>(m, block, from_token(x, t, ld), ld, y - first + t * ldy, ldy,
                                                  accumulate);
          });
        }
        return;
      }
    }
    const auto run_tiles = m.source == Int8Groups::DENSE     ? run_of<8, Int8Groups::DENSE>
                           : m.source == Int8Groups::ALIGNED ? run_of<1, Int8Groups::ALIGNED>
                           : m.height == 8                   ? run_of<8, Int8Groups::GATHERED>
                           : m.height == 4                   ? run_of<4, Int8Groups::GATHERED>
                                                             : run_of<1, Int8Groups::GATHERED>;
    run_tiles(m, first, last, x, ld, tokens, y, ldy, accumulate);
  }

 private:
  template <int R, Int8Groups::Source SOURCE>
  static void run_of(const Int8Groups& m, int64_t first, int64_t last, const Uint8Batch& x, int64_t ld, int64_t tokens,
                     float* y, int64_t ldy, bool accumulate) {
    for (int64_t tile = first; tile < last; tile++) {
      for_tokens<4>(tokens, [&](int64_t t, auto count) __attribute__((always_inline)) {
        one_tile<R, SOURCE, decltype(count)::value>(m, tile, from_token(x, t, ld), ld, y + t * ldy + (tile - first) * R,
                                                    ldy, accumulate);
      });
    }
  }

  DSF_INLINE Uint8Batch from_token(const Uint8Batch& x, int64_t t, int64_t ld) {
    return {.scales = x.scales + t, .zeros = x.zeros + t, .words = nullptr, .rows = x.rows + t * ld};
  }

  // What the sum of a row's products with a token stands for.
  DSF_INLINE void store_sum(const Int8Groups& m, int64_t row, const Uint8Batch& x, int t, int32_t sum, float* to,
                            bool accumulate) {
    const float v = float(sum - x.zeros[t] * m.sums[row]) * (x.scales[t] * m.scales[row]);
    *to = accumulate ? *to + v : v;
  }

  // What a group reads, of a token whose bytes these are.
  template <Int8Groups::Source SOURCE>
  DSF_INLINE uint32_t read_group(const uint8_t* bytes, const uint32_t* columns, uint32_t first, uint32_t k) {
    uint32_t word;
    if constexpr (SOURCE == Int8Groups::GATHERED) {
      const uint32_t* four = columns + int64_t(k) * 4;
      word = bytes[four[0]] | uint32_t(bytes[four[1]]) << 8 | uint32_t(bytes[four[2]]) << 16 |
             uint32_t(bytes[four[3]]) << 24;
    } else {
      __builtin_memcpy(&word, bytes + 4 * int64_t(SOURCE == Int8Groups::ALIGNED ? columns[k] : k - first), 4);
    }
    return word;
  }

  // Eight lanes hold the rows of a tile, as many times as they fit: that many groups are taken at a time.
  template <int R, Int8Groups::Source SOURCE, int T>
  DSF_INLINE void one_tile(const Int8Groups& m, int64_t tile, const Uint8Batch& x, int64_t ld, float* y, int64_t ldy,
                           bool accumulate) {
    constexpr uint32_t AT_ONCE = 8 / R;
    constexpr int SETS = T == 1 ? 4 : 2;
    const uint32_t *columns = m.columns.data(), first = m.starts[tile], last = m.starts[tile + 1];
    const uint32_t* words = m.words.data();
    Ints8 sums[SETS][T] = {};
    const auto take = [&](Ints8(&to)[T], uint32_t k, Uints8 weights, uint32_t count) __attribute__((always_inline)) {
#pragma GCC unroll 4
      for (int t = 0; t < T; t++) {
        Uints8 inputs = {};
#pragma GCC unroll 8
        for (uint32_t i = 0; i < AT_ONCE; i++) {
          if (i >= count) break;
          const uint32_t word = read_group<SOURCE>(x.rows + t * ld, columns, first, k + i);
          if constexpr (R == 8) inputs = Uints8{} + word;
          if constexpr (R == 4)
            inputs = i ? __builtin_shufflevector(inputs, Uints8{} + word, 0, 1, 2, 3, 8, 9, 10, 11) : Uints8{} + word;
          if constexpr (R == 1) inputs[i] = word;
        }
        to[t] = Isa::dot8(to[t], inputs, weights);
      }
    };
    uint32_t k = first;
    for (; k + SETS * AT_ONCE <= last; k += SETS * AT_ONCE) {
#pragma GCC unroll 4
      for (uint32_t s = 0; s < SETS; s++) {
        Uints8 weights;
        __builtin_memcpy(&weights, words + int64_t(k + s * AT_ONCE) * R, sizeof weights);
        take(sums[s], k + s * AT_ONCE, weights, AT_ONCE);
      }
    }
    for (; k < last; k += AT_ONCE) {
      const uint32_t count = last - k < AT_ONCE ? last - k : AT_ONCE;
      Uints8 weights = {};
      __builtin_memcpy(&weights, words + int64_t(k) * R, count * R * sizeof(uint32_t));
      take(sums[0], k, weights, count);
    }
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) {
      Ints8 sum = sums[0][t];
#pragma GCC unroll 4
      for (int s = 1; s < SETS; s++) sum += sums[s][t];
      if constexpr (R <= 4) sum += __builtin_shufflevector(sum, sum, 4, 5, 6, 7, 0, 1, 2, 3);
      if constexpr (R == 1) {
        sum += __builtin_shufflevector(sum, sum, 2, 3, 0, 1, 6, 7, 4, 5);
        sum += __builtin_shufflevector(sum, sum, 1, 0, 3, 2, 5, 4, 7, 6);
      }
      for (int r = 0; r < R; r++) store_sum(m, tile * R + r, x, t, sum[r], y + t * ldy + r, accumulate);
    }
  }

  // Sixteen rows with supports of their own, one to a lane. `y` begins with row 0.
  template <int T>
  DSF_INLINE void look_up_block(const Int8Groups& m, int64_t block, const Uint8Batch& x, int64_t ld, float* y,
                                int64_t ldy, bool accumulate) {
    using Ints = typename Isa::Ints;
    using ByteRow = typename Isa::ByteRow;
    const Int8Lookup& lookup = m.lookup;
    const uint8_t* lanes = lookup.lanes.data();
    const uint32_t *words = lookup.words.data(), *steps = lookup.steps.data();
    constexpr int SETS = T <= 2 ? 2 : 1;
    Ints sums[SETS][T] = {};
    for (uint32_t run = lookup.runs[block]; run < lookup.runs[block + 1]; run++) {
      const uint8_t* from = x.rows + int64_t(lookup.windows[run]) * INT8_WINDOW_STEP;
      ByteRow low[T], high[T];
#pragma GCC unroll 8
      for (int t = 0; t < T; t++) {
        __builtin_memcpy(&low[t], from + t * ld, 64);
        __builtin_memcpy(&high[t], from + t * ld + 64, 64);
      }
      const auto take = [&](Ints(&to)[T], uint32_t k) __attribute__((always_inline)) {
        ByteRow where;
        __builtin_memcpy(&where, lanes + int64_t(k) * 64, 64);
        const auto weights = Isa::load_words(words + int64_t(k) * 16);
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) to[t] = Isa::dot(to[t], Isa::look_up_bytes(low[t], high[t], where), weights);
      };
      uint32_t k = steps[run];
      for (; k + SETS <= steps[run + 1]; k += SETS) {
#pragma GCC unroll 2
        for (int s = 0; s < SETS; s++) take(sums[s], k + s);
      }
      if (k < steps[run + 1]) take(sums[0], k);
    }
    const uint32_t* rows = lookup.lane_rows.data() + block * 16;
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) {
      int32_t some[16];
      const Ints sum = SETS == 1 ? sums[0][t] : sums[0][t] + sums[SETS - 1][t];
      __builtin_memcpy(some, &sum, sizeof some);
      for (int i = 0; i < 16; i++) {
        if (rows[i] >= m.rows) continue;
        store_sum(m, rows[i], x, t, some[i], y + t * ldy + rows[i], accumulate);
      }
    }
  }
};

}  // namespace dsf

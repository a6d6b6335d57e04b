// LayerNorm of rows, and rows to bytes.
#pragma once

#include "kernels/encoder/row_kernels.h"
#include "kernels/int8_rounding.h"

namespace dsf {

template <class Isa>
struct RowTransforms : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::LANES, V::broadcast, V::load, V::store, V::load_partial;
  using typename V::Floats;

  static void quantize(FloatRows x, int64_t width, int64_t tokens, const ByteRows& to) {
    for (int64_t t = 0; t < tokens; t++) {
      const float* from = x.numbers + t * x.stride;
      const MinMax<float> range = Int8Rounding<Isa>::range_of(from, width);
      const Rounding<Isa> rounding(broadcast(range.low), broadcast(range.high));
      to.scales[t] = rounding.scale[0] + range.bad;
      to.offsets[t] = -rounding.zero[0] * to.scales[t];
      uint8_t* bytes = to.bytes + t * BANK;
      int64_t i = 0;
      for (; i + BANK <= width; i += BANK, bytes += to.bank_stride) {
#pragma GCC unroll 16
        for (int v = 0; v < BANK; v += LANES) store_bytes(bytes + v, load(from + i + v), rounding);
      }
      if (i < width) store_partial_bank(bytes, from + i, width - i, rounding);
      if constexpr (Isa::has_signed_dot) make_signed(to, t, width);
    }
  }

  static void normalize(FloatRows x, int64_t width, int64_t tokens, const NormWeights& norm, float* y,
                        int64_t y_stride) {
    const float portion = 1.0f / float(width);
    const int64_t whole = width / LANES * LANES;
    const int left = int(width - whole);
    for (int64_t t = 0; t < tokens; t++) {
      const float* from = x.numbers + t * x.stride;
      float* to = y + t * y_stride;
      Floats sum[2] = {}, squares[2] = {};
      for (int64_t i = 0; i < whole; i += LANES) sum[i / LANES % 2] += load(from + i);
      if (left) sum[0] += load_partial(from + whole, left);
      const Floats mean = broadcast(V::sum_of(sum[0] + sum[1]) * portion);
      for (int64_t i = 0; i < whole; i += LANES) {
        const Floats d = load(from + i) - mean;
        squares[i / LANES % 2] += d * d;
      }
      float total = V::sum_of(squares[0] + squares[1]);
      for (int64_t i = whole; i < width; i++) total += (from[i] - mean[0]) * (from[i] - mean[0]);
      const Floats factor = broadcast(1.0f / __builtin_sqrtf(total * portion + norm.epsilon));
      for (int64_t i = 0; i < width; i += LANES) {
        Floats v = (load(from + i) - mean) * factor;
        if (norm.gain) v *= load(norm.gain + i);
        if (norm.shift) v += load(norm.shift + i);
        store(to + i, v);
      }
    }
  }

 private:
  // The bytes of a token less by 128.
  DSF_INLINE void make_signed(const ByteRows& rows, int64_t t, int64_t width) {
    uint8_t* bytes = rows.bytes + t * BANK;
    for (int64_t i = 0; i < width; i += BANK, bytes += rows.bank_stride)
      for (int64_t k = 0; k < BANK; k++) bytes[k] ^= 0x80;
  }

  DSF_INLINE void store_partial_bank(uint8_t* to, const float* from, int64_t count, const Rounding<Isa>& rounding) {
    for (int64_t i = 0; i < count; i += LANES)
      store_bytes(to + i, count - i < LANES ? load_partial(from + i, int(count - i)) : load(from + i), rounding);
    __builtin_memset(to + count, 0, size_t(BANK - count));
  }

  DSF_INLINE void store_bytes(uint8_t* to, Floats v, const Rounding<Isa>& rounding) {
    Isa::store_uint8(to, v * rounding.inverse + rounding.zero);
  }
};

}  // namespace dsf

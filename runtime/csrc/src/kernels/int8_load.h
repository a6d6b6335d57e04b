// From token-major tensors to unsigned bytes, without a panel of fp32 in between.
#pragma once

#include "dsformer.h"
#include "kernels/int8_rounding.h"
#include "kernels/kernels.h"

namespace dsf {

template <class Isa>
struct Int8Load : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::LANES, V::broadcast, V::load, V::store, V::load_as, V::load_partial, V::store_words;
  using typename V::Floats, typename V::Uints, typename Isa::ByteRow;

  static void run(const void* x, int dtype, int64_t stride, int64_t tokens, int64_t features, int vectors,
                  const Uint8Batch& to) {
    if (dtype == DSF_FLOAT32)
      run_of(static_cast<const float*>(x), stride, tokens, features, vectors, to);
    else
      run_of(static_cast<const uint16_t*>(x), stride, tokens, features, vectors, to);
  }

 private:
  template <class T>
  static void run_of(const T* x, int64_t stride, int64_t tokens, int64_t features, int vectors, const Uint8Batch& to) {
    const int64_t ld = int64_t(vectors) * LANES;
    float steps[MAX_INT8_VECTORS * LANES], starts[MAX_INT8_VECTORS * LANES];
    for (int v = 0; v < vectors; v++) {
      const int64_t token = int64_t(v) * LANES, there = tokens - token < LANES ? tokens - token : LANES;
      find_rounding(x + token * stride, stride, there, features, to.scales + token, to.zeros + token, steps + token,
                    starts + token);
    }
    for (int64_t f = 0; f < features; f += 4 * LANES) {
      const int64_t left = features - f, words = left >= 4 * LANES ? LANES : (left + 3) / 4;
      Uints block[LANES][4];
      for (int v = 0; v < vectors; v++) {
        const int64_t token = int64_t(v) * LANES, there = tokens - token < LANES ? tokens - token : LANES;
        Floats rows[LANES];
        load_words_of(x + token * stride + f, stride, there, left, steps + token, starts + token, rows);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
          const int word = LANES / 4 * (i % 4) + i / 4;
          if (to.words && word < words) store_words(to.words + (f / 4 + word) * ld + token, (Uints)rows[i]);
          if (to.rows) block[word][v] = (Uints)rows[i];
        }
      }
      if (!to.rows) continue;
      for (int64_t word = 0; word < words; word++) {
        for (int v = vectors; v < 4; v++) block[word][v] = Uints{};
        split_words(block[word], to.rows + (f + 4 * word) * 4 * LANES, left - 4 * word);
      }
    }
  }

  // How the numbers of up to LANES tokens are rounded.
  template <class T>
  static void find_rounding(const T* x, int64_t stride, int64_t tokens, int64_t features, float* scales, int32_t* zeros,
                            float* steps, float* starts) {
    float lows[LANES] = {}, highs[LANES] = {}, bads[LANES] = {};
    for (int64_t token = 0; token < tokens; token++) {
      const MinMax<float> range = Int8Rounding<Isa>::range_of(x + token * stride, features);
      lows[token] = range.low, highs[token] = range.high, bads[token] = range.bad;
    }
    const Rounding<Isa> rounding(load(lows), load(highs));
    store(scales, rounding.scale + load(bads));
    store_words(zeros, (Uints)V::to_ints(rounding.zero));
    store(steps, rounding.inverse);
    store(starts, rounding.zero);
  }

  // 4 LANES features of LANES tokens (or as many as there are) as LANES words of four, each a row of tokens.
  template <class T>
  DSF_INLINE void load_words_of(const T* x, int64_t stride, int64_t tokens, int64_t features, const float* steps,
                                const float* starts, Floats (&rows)[LANES]) {
    const bool complete = features >= 4 * LANES;
    for (int i = 0; i < LANES; i++) {
      if (i >= tokens) {
        rows[i] = Floats{};
        continue;
      }
      const Floats step = broadcast(steps[i]), start = broadcast(starts[i]);
      Floats v[4];
#pragma GCC unroll 4
      for (int part = 0; part < 4; part++) {
        const int64_t there = features - part * LANES;
        const T* from = x + i * stride + part * LANES;
        const Floats number = complete || there >= LANES ? load_as(from)
                              : there > 0                ? load_partial(from, int(there))
                                                         : Floats{};
        v[part] = number * step + start;
      }
      rows[i] = (Floats)Isa::to_uint8(v[0], v[1], v[2], v[3]);
    }
    V::transpose(rows);
  }

  // Four features of every token, a vector of words each, as four rows.
  DSF_INLINE void split_words(const Uints (&words)[4], uint8_t* rows, int64_t features) {
    ByteRow part[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) part[v] = (ByteRow)Isa::transpose_bytes(words[v]);
    const ByteRow low[2] = {Isa::interleave_low32(part[0], part[1]), Isa::interleave_low32(part[2], part[3])};
    const ByteRow high[2] = {Isa::interleave_high32(part[0], part[1]), Isa::interleave_high32(part[2], part[3])};
    const ByteRow four[4] = {Isa::interleave_low64(low[0], low[1]), Isa::interleave_high64(low[0], low[1]),
                             Isa::interleave_low64(high[0], high[1]), Isa::interleave_high64(high[0], high[1])};
    for (int64_t f = 0; f < 4 && f < features; f++) __builtin_memcpy(rows + f * 4 * LANES, &four[f], sizeof four[f]);
  }
};

}  // namespace dsf

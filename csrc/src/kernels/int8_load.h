// From token-major tensors to bytes. Included inside the namespace of an instruction set.

// The nearest whole numbers of four vectors as bytes, those out of range as the nearest in it. Quad V / 4 i + l of the
// result, counting the vectors' own, is in word 4 l + i.
DSF_INLINE vu pack_whole(vf a, vf b, vf c, vf d) {
#if DSF_LANES >= 8
  typedef decltype(DSF_WIDE(setzero_ps)()) Floats;
  const auto whole_of = [](vf v) __attribute__((always_inline)) { return DSF_WIDE(cvtps_epi32)(Floats(v)); };
  const Row ab = DSF_WIDE(packs_epi32)(whole_of(a), whole_of(b)), cd = DSF_WIDE(packs_epi32)(whole_of(c), whole_of(d));
  return (vu)DSF_WIDE(packus_epi16)(ab, cd);
#else
  uint8_t bytes[16];
  const vf all_of_them[4] = {a, b, c, d};
  for (int v = 0; v < 4; v++) {
    const vu q = nearest_byte(all_of_them[v]);
    for (int i = 0; i < 4; i++) bytes[4 * v + i] = uint8_t(q[i]);
  }
  vu packed;
  __builtin_memcpy(&packed, bytes, sizeof packed);
  return packed;
#endif
}

template <class T>
static Reach<float> reach_of(const T* x, int64_t features) {
  Reach<vf> reach[2];
  int64_t f = 0;
  for (; f + 2 * W <= features; f += 2 * W) {
    __builtin_prefetch(x + f + 8 * W);
    see(reach[0], load_as(x + f));
    see(reach[1], load_as(x + f + W));
  }
  for (; f < features; f += W) see(reach[0], features - f >= W ? load_as(x + f) : load_some(x + f, int(features - f)));
  Reach<float> whole;
  for (int i = 0; i < 2 * W; i++) {
    const Reach<vf>& own = reach[i / W];
    whole.low = own.low[i % W] < whole.low ? own.low[i % W] : whole.low;
    whole.high = own.high[i % W] > whole.high ? own.high[i % W] : whole.high;
    whole.bad += own.bad[i % W];
  }
  return whole;
}

// How the numbers of up to W tokens are rounded.
template <class T>
static void rounding_of(const T* x, int64_t stride, int64_t tokens, int64_t features, float* scales, int32_t* zeros,
                        float* steps, float* starts) {
  float lows[W] = {}, highs[W] = {}, bads[W] = {};
  for (int64_t token = 0; token < tokens; token++) {
    const Reach<float> reach = reach_of(x + token * stride, features);
    lows[token] = reach.low, highs[token] = reach.high, bads[token] = reach.bad;
  }
  const Rounding rounding(load(lows), load(highs));
  store(scales, rounding.scale + load(bads));
  store_words(zeros, (vu)whole(rounding.zero));
  store(steps, rounding.inverse);
  store(starts, rounding.zero);
}

// 4 W features of W tokens (or as many as there are) as W quads, each a row of tokens.
template <class T>
DSF_INLINE void load_quads(const T* x, int64_t stride, int64_t tokens, int64_t features, const float* steps,
                           const float* starts, vf (&rows)[W]) {
  const bool complete = features >= 4 * W;
  for (int i = 0; i < W; i++) {
    if (i >= tokens) {
      rows[i] = vf{};
      continue;
    }
    const vf step = all(steps[i]), start = all(starts[i]);
    vf v[4];
#pragma GCC unroll 4
    for (int part = 0; part < 4; part++) {
      const int64_t there = features - part * W;
      const T* from = x + i * stride + part * W;
      const vf number = complete || there >= W ? load_as(from) : there > 0 ? load_some(from, int(there)) : vf{};
      v[part] = number * step + start;
    }
    rows[i] = (vf)pack_whole(v[0], v[1], v[2], v[3]);
  }
  transpose(rows);
}

// Four features of every token, a vector of quads each, as four rows.
DSF_INLINE void split_quads(const vu (&quads)[4], uint8_t* rows, int64_t features) {
  Row part[4];
#pragma GCC unroll 4
  for (int v = 0; v < 4; v++) part[v] = (Row)riffle_bytes(quads[v]);
  const Row low[2] = {low_words32(part[0], part[1]), low_words32(part[2], part[3])};
  const Row high[2] = {high_words32(part[0], part[1]), high_words32(part[2], part[3])};
  const Row four[4] = {low_words64(low[0], low[1]), high_words64(low[0], low[1]), low_words64(high[0], high[1]),
                       high_words64(high[0], high[1])};
  for (int64_t f = 0; f < 4 && f < features; f++) __builtin_memcpy(rows + f * 4 * W, &four[f], sizeof four[f]);
}

template <class T>
static void load_bytes_of(const T* x, int64_t stride, int64_t tokens, int64_t features, int vectors, const Bytes& to) {
  const int64_t ld = int64_t(vectors) * W;
  float steps[MOST_BYTE_VECTORS * W], starts[MOST_BYTE_VECTORS * W];
  for (int v = 0; v < vectors; v++) {
    const int64_t token = int64_t(v) * W, there = tokens - token < W ? tokens - token : W;
    rounding_of(x + token * stride, stride, there, features, to.scales + token, to.zeros + token, steps + token,
                starts + token);
  }
  for (int64_t f = 0; f < features; f += 4 * W) {
    const int64_t left = features - f, quads = left >= 4 * W ? W : (left + 3) / 4;
    vu block[W][4];
    for (int v = 0; v < vectors; v++) {
      const int64_t token = int64_t(v) * W, there = tokens - token < W ? tokens - token : W;
      vf rows[W];
      load_quads(x + token * stride + f, stride, there, left, steps + token, starts + token, rows);
#pragma GCC unroll 16
      for (int i = 0; i < W; i++) {
        const int quad = W / 4 * (i % 4) + i / 4;
        if (to.quads && quad < quads) store_words(to.quads + (f / 4 + quad) * ld + token, (vu)rows[i]);
        if (to.rows) block[quad][v] = (vu)rows[i];
      }
    }
    if (!to.rows) continue;
    for (int64_t quad = 0; quad < quads; quad++) {
      for (int v = vectors; v < 4; v++) block[quad][v] = vu{};
      split_quads(block[quad], to.rows + (f + 4 * quad) * 4 * W, left - 4 * quad);
    }
  }
}

static void load_bytes(const void* x, int dtype, int64_t stride, int64_t tokens, int64_t features, int vectors,
                       const Bytes& to) {
  if (dtype == 0)
    load_bytes_of(static_cast<const float*>(x), stride, tokens, features, vectors, to);
  else
    load_bytes_of(static_cast<const uint16_t*>(x), stride, tokens, features, vectors, to);
}

// Attention of one head over one text: queries in lanes, keys a few hundred at a time, the softmax carried along
// (Milakov and Gimelshein, arXiv 1805.02867; tiles as in FlashAttention, arXiv 2205.14135). Scores are logarithms to
// the base two.
#pragma once

#include "kernels/encoder/attention_products.h"

namespace dsf {

// ROUNDED: queries, keys, values and weights are rounded to bfloat16, sums are not.
template <class Isa, bool ROUNDED>
struct AttentionHead : AttentionProducts<Isa> {
  using P = AttentionProducts<Isa>;
  using P::LANES, P::broadcast, P::load, P::store, P::KEYS, P::QUERIES;
  using typename P::Floats;

  static constexpr bool PAIRED = ROUNDED && Isa::has_pairs;
  static constexpr int64_t TILE = P::TILE;
  static constexpr float LOG2_E = 1.44269504088896341f, NOTHING = -1e30f;

  const AttentionCall& call;
  const int64_t size, width;  // of a head; in whole vectors
  float *keys, *values, *queries, *rows, *outputs, *scores;
  float *relative_keys = nullptr, *relative_queries = nullptr;  // (head_size, relative_width): distance i - j
  Floats top, sum;

  DSF_METHOD explicit AttentionHead(const AttentionCall& c)
      : call(c), size(c.head_size), width(P::padded(c.head_size)) {
    keys = c.scratch;
    values = keys + (c.length + KEYS) * width;
    queries = values + (c.length + KEYS) * width;
    rows = queries + LANES * width;
    outputs = rows + 2 * LANES * width;
    scores = outputs + LANES * width;
    if (c.relative_index) spread_relative(scores + (TILE + KEYS) * LANES);
    copy_keys();
    copy_values();
  }

  DSF_METHOD void run() {
    for (int64_t t = 0; t < call.length; t += LANES) attend(t);
  }

 private:
  DSF_INLINE Floats rounded(Floats v) {
    if constexpr (ROUNDED)
      return Isa::widen(Isa::narrow(v));
    else
      return v;
  }

  // A query or key, its pairs of numbers turned by the angles of its position, with zeros behind it.
  DSF_METHOD void copy_turned(const float* from, int64_t position, float factor, float* to) const {
    if (!call.cosines) {
      for (int64_t p = 0; p < width; p += LANES) store(to + p, part_of(from, p) * factor);
      return;
    }
    const int64_t half = size / 2;
    const float *cosine = call.cosines + position * half, *sine = call.sines + position * half;
    for (int64_t p = 0; p < half; p++) {
      to[p] = (from[p] * cosine[p] - from[p + half] * sine[p]) * factor;
      to[p + half] = (from[p + half] * cosine[p] + from[p] * sine[p]) * factor;
    }
    for (int64_t p = size; p < width; p++) to[p] = 0;
  }

  // Numbers p to p + LANES of a row of the head, with zeros behind its last one.
  DSF_METHOD Floats part_of(const float* row, int64_t p) const {
    return p + LANES <= size ? load(row + p) : P::load_partial(row + p, int(size - p));
  }

  DSF_METHOD void copy_keys() {
    for (int64_t j = 0; j < call.length; j++) {
      float* row = PAIRED ? rows : keys + j * width;
      copy_turned(call.keys + j * call.stride, j, 1.0f, row);
      for (int64_t p = 0; ROUNDED && p < width; p += LANES) {
        if constexpr (PAIRED)
          Isa::store_rounded(reinterpret_cast<uint16_t*>(keys) + j * width + p, load(row + p));
        else
          store(row + p, rounded(load(row + p)));
      }
    }
  }

  DSF_METHOD void copy_values() {
    for (int64_t j = 0; j < call.length; j += 1 + PAIRED) {
      const float* row = call.values + j * call.stride;
      for (int64_t p = 0; p < width; p += LANES) {
        if constexpr (PAIRED)
          P::store_pairs(values + j / 2 * width + p, part_of(row, p),
                         j + 1 < call.length ? part_of(row + call.stride, p) : Floats{});
        else
          store(values + j * width + p, rounded(part_of(row, p)));
      }
    }
  }

  // Projected relative positions by distance, so that those of neighbouring queries lie side by side.
  DSF_METHOD void spread_relative(float* to) {
    const int64_t ld = P::relative_width(call.length), count = 2 * call.length - 1;
    const auto spread = [&](const float* from, float factor, float*& made) {
      if (!from) return;
      made = to;
      to += size * ld;
      for (int64_t d = 0; d < ld; d++) {
        const int64_t distance = (d < count ? d : count - 1) - (call.length - 1);
        const float* row = from + call.relative_index[distance] * call.relative_stride;
        for (int64_t p = 0; p < size; p++) made[p * ld + d] = row[p] * factor;
      }
    };
    spread(call.relative_keys, 1.0f, relative_keys);
    spread(call.relative_queries, call.scale * LOG2_E, relative_queries);
  }

  DSF_METHOD void attend(int64_t t) {
    const int64_t count = call.length - t < LANES ? call.length - t : LANES;
    load_queries(t, count);
    top = broadcast(NOTHING);
    sum = Floats{};
    for (int64_t i = 0; i < LANES * width; i += LANES) store(outputs + i, Floats{});
    const int64_t window = call.window ? call.window : call.length;
    // Values may be in pairs.
    const int64_t first = t - window > 0 ? (t - window) / 2 * 2 : 0;
    const int64_t last = t + LANES + window < call.length ? t + LANES + window : call.length;
    for (int64_t j = first; j < last; j += TILE) {
      const int64_t end = last - j < TILE ? last : j + TILE;
      mix(j, end, count, weigh(end - j, score(t, j, end)));
    }
    float factors[LANES];
    store(factors, broadcast(1.0f) / sum);
    for (int64_t l = 0; l < count; l++) {
      float* out = call.out + (t + l) * call.out_stride;
      int64_t p = 0;
      for (; p + LANES <= size; p += LANES) store(out + p, load(outputs + l * width + p) * broadcast(factors[l]));
      for (; p < size; p++) out[p] = outputs[l * width + p] * factors[l];
    }
  }

  // Queries [t, t + count), transposed.
  DSF_METHOD void load_queries(int64_t t, int64_t count) {
    for (int64_t i = count * width; i < LANES * width; i += LANES) store(rows + i, Floats{});
    for (int64_t l = 0; l < count; l++)
      copy_turned(call.queries + (t + l) * call.stride, t + l, call.scale * LOG2_E, rows + l * width);
    for (int64_t p = 0; p < width; p += LANES) {
      Floats block[LANES];
#pragma GCC unroll 16
      for (int l = 0; l < LANES; l++) block[l] = load(rows + l * width + p);
      P::transpose(block);
      if constexpr (PAIRED) {
#pragma GCC unroll 16
        for (int l = 0; l < LANES; l += 2) P::store_pairs(queries + (p + l) / 2 * LANES, block[l], block[l + 1]);
      } else {
#pragma GCC unroll 16
        for (int l = 0; l < LANES; l++) store(queries + (p + l) * LANES, rounded(block[l]));
      }
    }
  }

  // Scores of keys [first, last) and the largest of each query.
  DSF_METHOD Floats score(int64_t t, int64_t first, int64_t last) {
    Floats most = broadcast(NOTHING);
    for (int64_t j = first; j < last; j += KEYS) {
      float* to = scores + (j - first) * LANES;
      if (call.relative_index)
        for (int64_t i = 0; i < KEYS && j + i < last; i++) store(to + i * LANES, relative_score(t, j + i));
      else if constexpr (PAIRED)
        P::score_pairs(queries, keys + j * width / 2, size, width / 2, to);
      else
        P::score_keys(queries, keys + j * width, size, width, to);
      for (int64_t i = 0; i < KEYS && j + i < last; i++) {
        Floats s = load(to + i * LANES);
        if (call.bias) s += load(call.bias + t - (j + i)) * LOG2_E;
        if (call.window) s = inside_window(t - (j + i), s);
        if (call.bias || call.window) store(to + i * LANES, s);
        most = P::maximum(most, s);
      }
    }
    return most;
  }

  DSF_METHOD Floats inside_window(int64_t distance, Floats s) const {
    Floats from;
#pragma GCC unroll 16
    for (int l = 0; l < LANES; l++) from[l] = float(distance + l);
    const Floats limit = broadcast(float(call.window));
    s = from > limit ? broadcast(NOTHING) : s;
    return from < -limit ? broadcast(NOTHING) : s;
  }

  DSF_METHOD Floats relative_score(int64_t t, int64_t j) const {
    const int64_t ld = P::relative_width(call.length), place = t - j + call.length - 1;
    const float* key = keys + j * width;
    Floats s = {};
    for (int64_t p = 0; p < size; p++) {
      Floats against = broadcast(key[p]);
      if (relative_queries) s += against * load(relative_queries + p * ld + place);
      if (relative_keys) against += load(relative_keys + p * ld + place);
      s += load(queries + p * LANES) * against;
    }
    return s;
  }

  // Scores to weights. Returns what sums of earlier tiles are to be multiplied by.
  DSF_METHOD Floats weigh(int64_t count, Floats most) {
    const Floats highest = P::maximum(top, most), correction = P::power_of_two(top - highest);
    Floats sums[2] = {};
    for (int64_t i = 0; i < count; i += 2) {
      const Floats first = P::power_of_two(load(scores + i * LANES) - highest);
      const Floats second = i + 1 < count ? P::power_of_two(load(scores + (i + 1) * LANES) - highest) : Floats{};
      sums[0] += first, sums[1] += second;
      if constexpr (PAIRED) {
        P::store_pairs(scores + i / 2 * LANES, first, second);
      } else {
        store(scores + i * LANES, rounded(first));
        store(scores + (i + 1) * LANES, rounded(second));
      }
    }
    sum = sum * correction + (sums[0] + sums[1]);
    top = highest;
    return correction;
  }

  DSF_METHOD void mix(int64_t first, int64_t last, int64_t count, Floats correction) {
    float factors[LANES];
    store(factors, correction);
    const int64_t rows_of_values = PAIRED ? (last - first + 1) / 2 : last - first;
    const float* from = values + (PAIRED ? first / 2 : first) * width;
    for (int64_t l = 0; l < count; l += QUERIES) {
      int64_t p = 0;
      for (; p + 2 * LANES <= width; p += 2 * LANES)
        P::template mix_values<2, PAIRED>(scores + l, from + p, width, rows_of_values, factors + l,
                                          outputs + l * width + p);
      for (; p < width; p += LANES)
        P::template mix_values<1, PAIRED>(scores + l, from + p, width, rows_of_values, factors + l,
                                          outputs + l * width + p);
    }
  }
};

template <class Isa>
struct Attention : AttentionProducts<Isa> {
  static void run(const AttentionCall& call) {
    if (call.rounded && !call.relative_index)
      AttentionHead<Isa, true>(call).run();
    else
      AttentionHead<Isa, false>(call).run();
  }
};

}  // namespace dsf

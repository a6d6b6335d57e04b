// Tokens on their way through a plan of int8.
#pragma once

#include <algorithm>

#include "run/pipeline.h"

namespace dsf {

class Int8Pipeline : Pipeline {
 public:
  // As of FloatPipeline.
  Int8Pipeline(const Call& call, int64_t token, int64_t tokens, int vectors, float* scratch, bool single_thread,
               int64_t next_token = 0, int64_t next_tokens = 0)
      : Pipeline(call, token, tokens, vectors, next_token, next_tokens),
        int8_(call.plan.int8),
        single_thread_(single_thread) {
    const Layout layout(plan_, tokens, vectors);
    ldz_ = small_batch_ld(plan_.in_features);
    ldu_ = small_batch_ld(int8_.rows);
    z_ = scratch;
    u_ = z_ + layout.z;
    float* next = u_ + layout.u;
    x_ = take(next, layout.tokens, layout.x, layout.x_words, layout.x_rows);
    p_ = take(next, layout.tokens, layout.p, layout.p_words, layout.p_rows);
  }

  static int64_t scratch_floats(const dsf_plan& plan, int64_t tokens, int vectors) {
    const Layout layout(plan, tokens, vectors);
    return layout.z + layout.u + layout.x + layout.p + 64;
  }

  static constexpr int PHASES = 6;
  int64_t items(int phase) const { return (this->*phase_at(phase).items)(); }
  void run(int phase, int64_t item) const { (this->*phase_at(phase).run)(item); }

 private:
  struct Phase {
    int64_t (Int8Pipeline::*items)() const;
    void (Int8Pipeline::*run)(int64_t item) const;
  };

  static const Phase& phase_at(int phase) {
    using P = Int8Pipeline;
    static constexpr Phase ALL[PHASES] = {{&P::load_items, &P::load},
                                          {&P::input_rounding_items, &P::round_input},
                                          {&P::first_round_items, &P::first_round},
                                          {&P::product_rounding_items, &P::round_product},
                                          {&P::second_round_items, &P::second_round},
                                          {&P::store_items, &P::store}};
    return ALL[phase];
  }

  int64_t load_items() const {
    if (!vectors_) return 1;
    return loads_directly() ? 0 : parts(plan_.in_features, ROWS_PER_ITEM);
  }
  int64_t input_rounding_items() const { return 1; }
  int64_t first_round_items() const { return product_items(0) + product_items(1) + product_items(2); }
  int64_t product_rounding_items() const { return int8_.second[0].rows ? 1 : 0; }
  int64_t second_round_items() const { return has_second() ? parts(plan_.out_features, ROWS_PER_ITEM) : 0; }
  int64_t store_items() const { return stores_apart() ? parts(plan_.out_features, ROWS_PER_ITEM) : 0; }

  // Sizes of the buffers in floats, whole vectors each.
  struct Layout {
    int64_t tokens, z, u, x, p, x_words = 0, x_rows = 0, p_words = 0, p_rows = 0;

    Layout(const dsf_plan& plan, int64_t count, int vectors) {
      const Int8Plan& b = plan.int8;
      if (vectors) {
        tokens = int64_t(vectors) * plan.kernels->lanes;
        z = plan.destinations.data() ? plan.in_features * tokens : 0;
        u = b.rows * tokens;
        const int64_t rows = int64_t(MAX_INT8_VECTORS) * plan.kernels->lanes / 4;
        if (b.reads_x_words) x_words = parts(plan.in_features, 4) * tokens;
        if (b.reads_x_rows) x_rows = plan.in_features * rows;
        if (b.reads_p_words) p_words = parts(b.p_rows, 4) * tokens;
        if (b.reads_p_rows) p_rows = b.p_rows * rows;
      } else {
        tokens = round_up(count, 16);
        z = small_batch_ld(plan.in_features) * count;
        u = small_batch_ld(b.rows) * count;
        x_rows = small_batch_ld(plan.in_features) / 4 * count;
        p_rows = small_batch_ld(b.rows) / 4 * count;
      }
      for (int64_t* size : {&z, &u, &x_words, &x_rows, &p_words, &p_rows}) *size = round_up(*size, 16);
      x = 2 * tokens + x_words + x_rows;
      p = 2 * tokens + p_words + p_rows;
    }
  };

  static int64_t small_batch_ld(int64_t rows) { return round_up(rows, 64) + 64; }

  static Uint8Batch take(float*& next, int64_t tokens, int64_t all, int64_t words, int64_t rows) {
    Uint8Batch batch;
    batch.scales = next;
    batch.zeros = reinterpret_cast<int32_t*>(next + tokens);
    if (words) batch.words = reinterpret_cast<uint32_t*>(next + 2 * tokens);
    if (rows) batch.rows = reinterpret_cast<uint8_t*>(next + 2 * tokens + words);
    next += all;
    return batch;
  }

  // Features in another order go by way of a panel.
  bool loads_directly() const { return vectors_ && !plan_.destinations.data(); }
  bool has_second() const { return int8_.second[0].rows || int8_.second[1].rows; }
  bool stores_apart() const { return !has_second() || !plan_.any_order; }
  static int64_t tiles_per_item(const Int8Groups& m) { return ROWS_PER_ITEM / m.height; }
  int64_t product_items(int which) const {
    const Int8Groups& m = int8_.first[which];
    return m.rows ? parts(m.tiles, tiles_per_item(m)) : 0;
  }

  void load(int64_t item) const { read(item, z_, ldz_); }

  void round_input(int64_t) const {
    if (!loads_directly()) return round(z_, ldz_, plan_.in_features, x_);
    const char* x = call_.x + token_ * call_.x_stride * call_.item_size();
    kernels_.load_uint8(x, plan_.dtype, call_.x_stride, tokens_, plan_.in_features, vectors_, x_);
  }

  void round_product(int64_t) const { round(u_, ldu_, int8_.p_rows, p_); }

  void round(const float* from, int64_t ld, int64_t features, const Uint8Batch& to) const {
    if (vectors_)
      kernels_.round_uint8(from, features, vectors_, to);
    else
      kernels_.round_uint8_small_batch(from, ld, features, tokens_, to, ld);
  }

  void multiply(const Int8Groups& m, int64_t first, int64_t last, const Uint8Batch& from, int64_t ld, float* y,
                bool add, Prefetch& prefetch) const {
    if (vectors_)
      kernels_.int8_panel(m, first, last, from, vectors_, y, add, prefetch);
    else
      kernels_.int8_small_batch(m, first, last, from, ld, tokens_, y, ldu_, add);
  }

  void first_round(int64_t item) const {
    Prefetch prefetch;
    const int64_t whole_item = item;
    int which = 0;
    while (item >= product_items(which)) item -= product_items(which++);
    const Int8Groups& m = int8_.first[which];
    const int64_t step = tiles_per_item(m), first = item * step, last = std::min(first + step, m.tiles);
    fetch_input(prefetch, whole_item, first_round_items(), last - first);
    multiply(m, first, last, x_, ldz_, u_ + (int8_.first_rows[which] + first * m.height) * row_, false, prefetch);
  }

  void second_round(int64_t item) const {
    const int64_t first = item * ROWS_PER_ITEM, last = std::min(first + ROWS_PER_ITEM, plan_.out_features);
    // One thread, results that leave at once: the same few rows serve all of them.
    const bool same_rows = single_thread_ && vectors_ && !stores_apart() && !int8_.adds;
    float* to = u_ + (int8_.u_row + (same_rows ? 0 : first)) * row_;
    bool add = int8_.adds;
    Prefetch prefetch;
    int64_t steps = 0;
    for (const Int8Groups& m : int8_.second) steps += m.rows ? parts(last - first, m.height) : 0;
    fetch_output(prefetch, first, last, steps);
    if (first_round_items() == 0) fetch_input(prefetch, item, second_round_items(), steps);
    for (int which = 0; which < 2; which++) {
      const Int8Groups& m = int8_.second[which];
      if (!m.rows) continue;
      multiply(m, first / m.height, parts(last, m.height), which ? x_ : p_, which ? ldz_ : ldu_, to, add, prefetch);
      add = true;
    }
    if (!stores_apart()) write(first, last, to, ldu_);
  }

  void store(int64_t item) const {
    const int64_t first = item * ROWS_PER_ITEM, last = std::min(first + ROWS_PER_ITEM, plan_.out_features);
    const float* all = u_ + int8_.u_row * row_;
    write(first, last, plan_.any_order ? all + first * row_ : all, ldu_);
  }

  const Int8Plan& int8_;
  bool single_thread_;
  int64_t ldz_, ldu_;  // between tokens of small batches
  float *z_, *u_;
  Uint8Batch x_, p_;  // the input and the product, rounded
};

}  // namespace dsf

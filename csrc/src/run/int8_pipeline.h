// Some tokens on their way through a plan in bytes: phases of items that do not depend on each other.
#pragma once

#include "run/pipeline.h"

namespace dsf {

class BytePart : Tokens {
 public:
  // As of Part.
  BytePart(const Call& call, int64_t token, int64_t tokens, int vectors, float* scratch, bool alone,
           int64_t next_token = 0, int64_t next_tokens = 0)
      : Tokens(call, token, tokens, vectors, next_token, next_tokens), bytes_(call.plan.bytes), alone_(alone) {
    const Layout layout(plan_, tokens, vectors);
    ldz_ = few_ld(plan_.in_features);
    ldu_ = few_ld(bytes_.rows);
    z_ = scratch;
    u_ = z_ + layout.z;
    float* next = u_ + layout.u;
    x_ = take(next, layout.tokens, layout.x, layout.x_quads, layout.x_rows);
    p_ = take(next, layout.tokens, layout.p, layout.p_quads, layout.p_rows);
  }

  static int64_t scratch_floats(const dsf_plan& plan, int64_t tokens, int vectors) {
    const Layout layout(plan, tokens, vectors);
    return layout.z + layout.u + layout.x + layout.p + 64;
  }

  static constexpr int PHASES = 6;

  int64_t items(int phase) const {
    switch (phase) {
      case 0: return vectors_ ? (loads_bytes() ? 0 : parts(plan_.in_features, ROWS_PER_ITEM)) : 1;
      case 1: return 1;
      case 2: return first_items(0) + first_items(1) + first_items(2);
      case 3: return bytes_.second[0].rows ? 1 : 0;
      case 4: return has_second() ? parts(plan_.out_features, ROWS_PER_ITEM) : 0;
      default: return stores_apart() ? parts(plan_.out_features, ROWS_PER_ITEM) : 0;
    }
  }

  void run(int phase, int64_t item) const {
    switch (phase) {
      case 0: return read(item, z_, ldz_);
      case 1: return loads_bytes() ? load() : round(z_, ldz_, plan_.in_features, x_);
      case 2: return first(item);
      case 3: return round(u_, ldu_, bytes_.p_rows, p_);
      case 4: return second(item);
      default: return write_apart(item);
    }
  }

 private:
  // Sizes of the buffers in floats, whole vectors each.
  struct Layout {
    int64_t tokens, z, u, x, p, x_quads = 0, x_rows = 0, p_quads = 0, p_rows = 0;

    Layout(const dsf_plan& plan, int64_t count, int vectors) {
      const BytePlan& b = plan.bytes;
      if (vectors) {
        tokens = int64_t(vectors) * plan.kernels->lanes;
        z = plan.destinations.data() ? plan.in_features * tokens : 0;
        u = b.rows * tokens;
        const int64_t rows = int64_t(MOST_BYTE_VECTORS) * plan.kernels->lanes / 4;
        if (b.x_quads) x_quads = parts(plan.in_features, 4) * tokens;
        if (b.x_rows) x_rows = plan.in_features * rows;
        if (b.p_quads) p_quads = parts(b.p_rows, 4) * tokens;
        if (b.p_bytes) p_rows = b.p_rows * rows;
      } else {
        tokens = round_up(count, 16);
        z = few_ld(plan.in_features) * count;
        u = few_ld(b.rows) * count;
        x_rows = few_ld(plan.in_features) / 4 * count;
        p_rows = few_ld(b.rows) / 4 * count;
      }
      for (int64_t* size : {&z, &u, &x_quads, &x_rows, &p_quads, &p_rows}) *size = round_up(*size, 16);
      x = 2 * tokens + x_quads + x_rows;
      p = 2 * tokens + p_quads + p_rows;
    }
  };

  static int64_t few_ld(int64_t rows) { return round_up(rows, 64) + 64; }

  static Bytes take(float*& next, int64_t tokens, int64_t all, int64_t quads, int64_t rows) {
    Bytes bytes;
    bytes.scales = next;
    bytes.zeros = reinterpret_cast<int32_t*>(next + tokens);
    if (quads) bytes.quads = reinterpret_cast<uint32_t*>(next + 2 * tokens);
    if (rows) bytes.rows = reinterpret_cast<uint8_t*>(next + 2 * tokens + quads);
    next += all;
    return bytes;
  }

  // Features in another order go by way of a panel.
  bool loads_bytes() const { return vectors_ && !plan_.destinations.data(); }
  bool has_second() const { return bytes_.second[0].rows || bytes_.second[1].rows; }
  bool stores_apart() const { return !has_second() || !plan_.any_order; }
  static int64_t packs_per_item(const Quads& m) { return ROWS_PER_ITEM / m.height; }
  int64_t first_items(int which) const {
    const Quads& m = bytes_.first[which];
    return m.rows ? parts(m.packs, packs_per_item(m)) : 0;
  }

  void load() const {
    const char* x = call_.x + token_ * call_.x_stride * call_.item_size();
    kernels_.load_bytes(x, plan_.dtype, call_.x_stride, tokens_, plan_.in_features, vectors_, x_);
  }

  void round(const float* from, int64_t ld, int64_t features, const Bytes& to) const {
    if (vectors_)
      kernels_.round_bytes(from, features, vectors_, to);
    else
      kernels_.round_bytes_few(from, ld, features, tokens_, to, ld);
  }

  void quads(const Quads& m, int64_t first, int64_t last, const Bytes& from, int64_t ld, float* y, bool add,
             Ahead& ahead) const {
    if (vectors_)
      kernels_.quads_panel(m, first, last, from, vectors_, y, add, ahead);
    else
      kernels_.quads_few(m, first, last, from, ld, tokens_, y, ldu_, add);
  }

  void first(int64_t item) const {
    Ahead ahead;
    const int64_t whole_item = item;
    int which = 0;
    while (item >= first_items(which)) item -= first_items(which++);
    const Quads& m = bytes_.first[which];
    const int64_t step = packs_per_item(m), first = item * step, last = std::min(first + step, m.packs);
    fetch_input(ahead, whole_item, items(2), last - first);
    quads(m, first, last, x_, ldz_, u_ + (bytes_.first_rows[which] + first * m.height) * row_, false, ahead);
  }

  void second(int64_t item) const {
    const int64_t first = item * ROWS_PER_ITEM, last = std::min(first + ROWS_PER_ITEM, plan_.out_features);
    // One thread, results that leave at once: the same few rows serve all of them.
    const bool same_rows = alone_ && vectors_ && !stores_apart() && !bytes_.adds;
    float* to = u_ + (bytes_.u_row + (same_rows ? 0 : first)) * row_;
    bool add = bytes_.adds;
    Ahead ahead;
    int64_t steps = 0;
    for (const Quads& m : bytes_.second) steps += m.rows ? parts(last - first, m.height) : 0;
    fetch_output(ahead, first, last, steps);
    if (!items(2)) fetch_input(ahead, item, items(4), steps);
    for (int which = 0; which < 2; which++) {
      const Quads& m = bytes_.second[which];
      if (!m.rows) continue;
      quads(m, first / m.height, parts(last, m.height), which ? x_ : p_, which ? ldz_ : ldu_, to, add, ahead);
      add = true;
    }
    if (!stores_apart()) write(first, last, to, ldu_);
  }

  void write_apart(int64_t item) const {
    const int64_t first = item * ROWS_PER_ITEM, last = std::min(first + ROWS_PER_ITEM, plan_.out_features);
    const float* all = u_ + bytes_.u_row * row_;
    write(first, last, plan_.any_order ? all + first * row_ : all, ldu_);
  }

  const BytePlan& bytes_;
  bool alone_;
  int64_t ldz_, ldu_;  // between tokens of few
  float *z_, *u_;
  Bytes x_, p_;  // the input and the product, rounded
};

}  // namespace dsf

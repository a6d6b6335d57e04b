// Tokens on their way through a plan of fp32 or bfloat16.
#pragma once

#include <algorithm>

#include "run/pipeline.h"

namespace dsf {

// Every item brings the activations into the first-level cache anew, a block of positions at a time.
constexpr int64_t SPARSE_ROWS_PER_ITEM = 256;
// Of x taken at a time where blocks of positions do not decide; whole groups.
constexpr int64_t STREAMED_COLUMNS = 256;
// Of an input dictionary.
constexpr int64_t TILES_PER_ITEM = 4;
// Of the core of an output dictionary.
constexpr int64_t CORE_TILES_PER_ITEM = 8;

class FloatPipeline : Pipeline {
 public:
  // `single_thread`: one runs all items in order; results that leave at once can then share the same few rows.
  FloatPipeline(const Call& call, int64_t token, int64_t tokens, int vectors, float* scratch, bool single_thread,
                int64_t next_token = 0, int64_t next_tokens = 0)
      : Pipeline(call, token, tokens, vectors, next_token, next_tokens), single_thread_(single_thread) {
    z_ = scratch;
    rounded_ = reinterpret_cast<uint16_t*>(scratch + z_floats(plan_, tokens, vectors));
    u_ = scratch + z_floats(plan_, tokens, vectors) + rounded_floats(plan_, vectors);
    ldz_ = small_batch_ld(plan_.z_rows);
    ldu_ = small_batch_ld(plan_.u_rows);
  }

  static int64_t scratch_floats(const dsf_plan& plan, int64_t tokens, int vectors) {
    if (vectors)
      return z_floats(plan, tokens, vectors) + rounded_floats(plan, vectors) +
             plan.u_rows * vectors * plan.kernels->lanes + 64;
    const int64_t sums = plan.has_scatter ? plan.scatter.blocks * sums_floats(plan, tokens) : 0;
    return z_floats(plan, tokens, vectors) + small_batch_ld(plan.u_rows) * tokens + sums + 64;
  }

  // Phases, one after the other, of items that do not depend on each other.
  static constexpr int PHASES = 6;
  int64_t items(int phase) const { return (this->*phase_at(phase).items)(); }
  void run(int phase, int64_t item) const { (this->*phase_at(phase).run)(item); }

 private:
  struct Phase {
    int64_t (FloatPipeline::*items)() const;
    void (FloatPipeline::*run)(int64_t item) const;
  };

  static const Phase& phase_at(int phase) {
    using P = FloatPipeline;
    static constexpr Phase ALL[PHASES] = {{&P::load_items, &P::load},
                                          {&P::input_dictionary_items, &P::input_dictionary},
                                          {&P::rounding_items, &P::round},
                                          {&P::code_items, &P::codes},
                                          {&P::output_dictionary_items, &P::output_dictionary},
                                          {&P::store_items, &P::store}};
    return ALL[phase];
  }

  int64_t load_items() const { return streams() ? 0 : vectors_ ? parts(plan_.in_features, ROWS_PER_ITEM) : 1; }
  int64_t input_dictionary_items() const {
    return plan_.output_dictionary || !plan_.has_dictionary ? 0 : parts(plan_.dictionary.tiles, TILES_PER_ITEM);
  }
  int64_t rounding_items() const { return rounds() && !streams() ? parts(plan_.z_rows, ROWS_PER_ITEM) : 0; }
  int64_t code_items() const {
    if (streams()) return parts(plan_.in_features, stream_columns());
    return plan_.output_dictionary ? dense_items() + sparse_items() : parts(plan_.out_features, code_rows());
  }
  int64_t output_dictionary_items() const {
    return plan_.output_dictionary && plan_.has_dictionary ? parts(plan_.out_features, ROWS_PER_ITEM) : 0;
  }
  int64_t store_items() const { return stores_apart() ? parts(plan_.out_features, ROWS_PER_ITEM) : 0; }

  void load(int64_t item) const { read(item, z_ + plan_.x_row * row_, ldz_); }

  // Lookups read whole windows, up to 32 columns beyond the last.
  static int64_t small_batch_ld(int64_t rows) { return round_up(rows, 16) + 48; }

  static int64_t z_floats(const dsf_plan& plan, int64_t tokens, int vectors) {
    return vectors ? plan.z_rows * vectors * plan.kernels->lanes : small_batch_ld(plan.z_rows) * tokens;
  }

  static int64_t rounded_floats(const dsf_plan& plan, int vectors) {
    return plan.sparse.paired ? round_up(plan.z_rows * vectors * plan.kernels->lanes / 2, 16) : 0;
  }

  static int64_t sums_floats(const dsf_plan& plan, int64_t tokens) {
    return tokens * (plan.scatter.block_rows + 16) * plan.scatter.height;
  }

  bool rounds() const { return vectors_ && plan_.sparse.paired; }
  bool stores_apart() const { return plan_.output_dictionary ? !plan_.has_dictionary : !plan_.any_order; }
  // Some columns of x after the other are read and used up at once, so that x as a whole need not stay in any cache.
  bool streams() const { return single_thread_ && vectors_ && plan_.output_dictionary && !plan_.destinations.data(); }
  int64_t stream_columns() const { return plan_.has_sparse ? plan_.sparse.block_columns : STREAMED_COLUMNS; }
  int64_t code_rows() const { return plan_.has_sparse ? SPARSE_ROWS_PER_ITEM : ROWS_PER_ITEM; }
  int64_t dense_items() const { return plan_.has_dense ? parts(plan_.dense.tiles, CORE_TILES_PER_ITEM) : 0; }
  int64_t sparse_items() const {
    if (plan_.has_scatter) return plan_.scatter.blocks;
    return plan_.has_sparse ? parts(plan_.sparse.rows, SPARSE_ROWS_PER_ITEM) : 0;
  }

  void input_dictionary(int64_t item) const {
    Prefetch none;
    const int64_t first = item * TILES_PER_ITEM, last = std::min(first + TILES_PER_ITEM, plan_.dictionary.tiles);
    dense(plan_.dictionary, first, last, z_ + first * 8 * row_, false, none);
  }

  void dense(const DenseTiles& m, int64_t first, int64_t last, float* y, bool add, Prefetch& prefetch) const {
    const bool output = plan_.output_dictionary;
    const float* from = &m == &plan_.dictionary ? (output ? u_ : z_ + plan_.x_row * row_) : z_;
    if (vectors_)
      kernels_.dense_panel(m, first, last, {0, m.count}, from, vectors_, y, add, prefetch);
    else
      kernels_.dense_small_batch(m, first, last, from, from == u_ ? ldu_ : ldz_, tokens_, y, y >= u_ ? ldu_ : ldz_,
                                 add);
  }

  void round(int64_t item) const {
    const int64_t first = item * ROWS_PER_ITEM, last = std::min(first + ROWS_PER_ITEM, plan_.z_rows);
    kernels_.round_panel(z_ + first * row_, last - first, vectors_, rounded_ + first * row_);
  }

  // What the sparse part reads.
  const void* sparse_input() const { return rounds() ? static_cast<const void*>(rounded_) : z_; }

  void sparse(int64_t first, int64_t last, float* y, bool add, Prefetch& prefetch) const {
    if (vectors_) {
      kernels_.sparse_panel(plan_.sparse, first, last, {0, plan_.sparse.blocks}, sparse_input(), vectors_, y, add,
                            prefetch);
    } else if (kernels_.has_lookup) {
      kernels_.sparse_small_batch(plan_.sparse, first / 16, parts(last, 16), z_, ldz_, tokens_, y - first, ldu_, add);
    } else {
      kernels_.sparse_small_batch(plan_.sparse, first, last, z_, ldz_, tokens_, y - first, ldu_, add);
    }
  }

  void codes(int64_t item) const {
    if (streams())
      stream_codes(item);
    else if (plan_.output_dictionary)
      output_codes(item);
    else
      input_codes(item);
  }

  void input_codes(int64_t item) const {
    const int64_t first = item * code_rows(), last = std::min(first + code_rows(), plan_.out_features);
    const int height = plan_.dense.height;
    int64_t steps = plan_.has_dense ? parts(last - first, height) : 0;
    if (plan_.has_sparse) steps += (last - first) * plan_.sparse.blocks;
    Prefetch prefetch;
    fetch_input(prefetch, item, code_items(), steps);
    fetch_output(prefetch, first, last, steps);
    float* to = single_thread_ && vectors_ && !stores_apart() ? u_ : u_ + first * row_;
    if (plan_.has_dense) dense(plan_.dense, first / height, parts(last, height), to, false, prefetch);
    if (plan_.has_sparse) sparse(first, last, to, plan_.sparse_adds, prefetch);
    if (!stores_apart()) write(first, last, to, ldu_);
  }

  void output_codes(int64_t item) const {
    Prefetch prefetch;
    if (item < dense_items()) {
      const int64_t first = item * CORE_TILES_PER_ITEM;
      const int64_t last = std::min(first + CORE_TILES_PER_ITEM, plan_.dense.tiles);
      fetch_input(prefetch, item, code_items(), last - first);
      dense(plan_.dense, first, last, u_ + first * plan_.dense.height * row_, false, prefetch);
      return;
    }
    const int64_t whole_item = item;
    item -= dense_items();
    float* to = u_ + plan_.sparse_row * row_;
    if (plan_.has_sparse) {
      const int64_t first = item * SPARSE_ROWS_PER_ITEM;
      const int64_t last = std::min(first + SPARSE_ROWS_PER_ITEM, plan_.sparse.rows);
      fetch_input(prefetch, whole_item, code_items(), (last - first) * plan_.sparse.blocks);
      sparse(first, last, to + first * row_, false, prefetch);
      return;
    }
    const Scatter& m = plan_.scatter;
    if (vectors_) {
      const int64_t first = item * m.block_rows, last = std::min(first + m.block_rows, m.rows);
      std::fill(to + first * row_, to + last * row_, 0.0f);
      fetch_input(prefetch, whole_item, code_items(), m.groups);
      kernels_.scatter_panel(m, item, {0, m.groups}, z_, vectors_, to, prefetch);
      return;
    }
    float* sums = u_ + small_batch_ld(plan_.u_rows) * tokens_ + item * sums_floats(plan_, tokens_);
    kernels_.scatter_small_batch(m, item, z_, ldz_, tokens_, sums, to, ldu_);
  }

  void stream_codes(int64_t item) const {
    const int64_t size = call_.item_size(), stride = call_.x_stride, columns = stream_columns();
    const int64_t first = item * columns, last = std::min(first + columns, plan_.in_features);
    const char* x = call_.x + token_ * stride * size;
    kernels_.load_panel(x + first * size, plan_.dtype, stride, tokens_, 0, last - first, nullptr, vectors_, z_);
    if (rounds()) kernels_.round_panel(z_, last - first, vectors_, rounded_);
    const Scatter& m = plan_.scatter;
    const Range groups = {first / m.height, last / m.height};
    int64_t steps = plan_.has_dense ? plan_.dense.tiles : 0;
    steps += plan_.has_sparse ? plan_.sparse.rows : plan_.has_scatter ? m.blocks * (groups.last - groups.first) : 0;
    Prefetch prefetch;
    if (last < plan_.in_features)
      Prefetch::set(prefetch.reads, x + last * size, stride * size, tokens_, columns * size, steps);
    else
      Prefetch::set(prefetch.reads, call_.x + next_token_ * stride * size, stride * size, next_tokens_, columns * size,
                    steps);
    const bool add = item > 0;
    // A dense part without columns is there for the zeros it writes.
    const Range used = {std::min(first, plan_.dense.count), std::min(last, plan_.dense.count)};
    if (plan_.has_dense) kernels_.dense_panel(plan_.dense, 0, plan_.dense.tiles, used, z_, vectors_, u_, add, prefetch);
    float* to = u_ + plan_.sparse_row * row_;
    if (plan_.has_sparse)
      kernels_.sparse_panel(plan_.sparse, 0, plan_.sparse.rows, {item, item + 1}, sparse_input(), vectors_, to, add,
                            prefetch);
    if (!plan_.has_scatter) return;
    if (!add) std::fill(to, to + m.rows * row_, 0.0f);
    for (int64_t block = 0; block < m.blocks; block++)
      kernels_.scatter_panel(m, block, groups, z_, vectors_, to, prefetch);
  }

  void output_dictionary(int64_t item) const {
    const int64_t first = item * ROWS_PER_ITEM, last = std::min(first + ROWS_PER_ITEM, plan_.out_features);
    Prefetch prefetch;
    fetch_output(prefetch, first, last, parts(last - first, 8));
    float* to = u_ + (plan_.result_row + first) * row_;
    dense(plan_.dictionary, first / 8, parts(last, 8), to, plan_.dictionary_adds, prefetch);
    write(first, last, to, ldu_);
  }

  void store(int64_t item) const {
    const int64_t first = item * ROWS_PER_ITEM, last = std::min(first + ROWS_PER_ITEM, plan_.out_features);
    const float* all = u_ + plan_.result_row * row_;
    write(first, last, plan_.any_order ? all + first * row_ : all, ldu_);
  }

  bool single_thread_;
  float *z_, *u_;
  uint16_t* rounded_;  // z as bfloat16
  int64_t ldz_, ldu_;  // between tokens of small batches
};

}  // namespace dsf

// Some tokens of a call on their way through a plan: where they are read from and written to.
#pragma once

#include <algorithm>

#include "pack/pack.h"
#include "pack/plan.h"

namespace dsf {

constexpr int64_t ROWS_PER_ITEM = 64;

struct Call {
  const dsf_plan& plan;
  const char* x;
  int64_t tokens, x_stride;
  void* const* y;
  const int64_t* y_strides;

  int64_t item_size() const { return plan.dtype == DSF_FLOAT32 ? 4 : 2; }
};

// `vectors` 0: buffers are token-major, for the kernels for small batches; else panels.
class Pipeline {
 protected:
  // `next_tokens` from `next_token` on will probably be wanted after these.
  Pipeline(const Call& call, int64_t token, int64_t tokens, int vectors, int64_t next_token, int64_t next_tokens)
      : call_(call),
        plan_(call.plan),
        kernels_(*call.plan.kernels),
        token_(token),
        tokens_(tokens),
        next_token_(next_token),
        next_tokens_(next_tokens),
        vectors_(vectors),
        row_(vectors ? int64_t(vectors) * kernels_.lanes : 1) {}

  static int64_t parts(int64_t whole, int64_t size) { return (whole + size - 1) / size; }

  // Item of features, or all of a small batch; `ld` is what token-major buffers have between tokens.
  void read(int64_t item, float* to, int64_t ld) const {
    const int64_t size = call_.item_size(), stride = call_.x_stride;
    const char* x = call_.x + token_ * stride * size;
    const uint32_t* destinations = plan_.destinations.data();
    if (!vectors_) {
      kernels_.load_small_batch(x, plan_.dtype, stride, tokens_, plan_.in_features, destinations, to, ld);
      return;
    }
    const int64_t first = item * ROWS_PER_ITEM, last = std::min(first + ROWS_PER_ITEM, plan_.in_features);
    kernels_.load_panel(x, plan_.dtype, stride, tokens_, first, last, destinations, vectors_, to);
  }

  // Rows of the next input, shared out among so many items.
  void fetch_input(Prefetch& prefetch, int64_t item, int64_t items, int64_t steps) const {
    const int64_t size = call_.item_size();
    const int64_t first = item * next_tokens_ / items, last = (item + 1) * next_tokens_ / items;
    const char* x = call_.x + (next_token_ + first) * call_.x_stride * size;
    Prefetch::set(prefetch.reads, x, call_.x_stride * size, last - first, plan_.in_features * size, steps);
  }

  // Where features [first, last) will be written; of several layers, those of the first.
  void fetch_output(Prefetch& prefetch, int64_t first, int64_t last, int64_t steps) const {
    const size_t member = member_of(first);
    const int64_t size = call_.item_size(), stride = call_.y_strides[member], start = plan_.member_starts[member];
    const char* y = static_cast<char*>(call_.y[member]) + (token_ * stride + first - start) * size;
    last = std::min(last, plan_.member_starts[member + 1]);
    Prefetch::set(prefetch.writes, y, stride * size, tokens_, (last - first) * size, steps);
  }

  size_t member_of(int64_t feature) const {
    const std::vector<int64_t>& starts = plan_.member_starts;
    return std::upper_bound(starts.begin(), starts.end(), feature) - starts.begin() - 1;
  }

  // `result` is where feature `first` is, or where all are if they have another order.
  void write(int64_t first, int64_t last, const float* result, int64_t ld) const {
    const Epilogue epilogue{plan_.bias.data(), plan_.sources.data(), plan_.activation};
    const std::vector<int64_t>& starts = plan_.member_starts;
    for (size_t member = member_of(first); first < last; member++) {
      const int64_t end = std::min(last, starts[member + 1]), stride = call_.y_strides[member];
      char* y = static_cast<char*>(call_.y[member]) + (token_ * stride + first - starts[member]) * call_.item_size();
      if (vectors_)
        kernels_.store_panel(result, vectors_, epilogue, first, end, tokens_, y, plan_.dtype, stride);
      else
        kernels_.store_small_batch(result, ld, epilogue, first, end, tokens_, y, plan_.dtype, stride);
      if (plan_.any_order) result += (end - first) * row_;
      first = end;
    }
  }

  const Call& call_;
  const dsf_plan& plan_;
  const Kernels& kernels_;
  int64_t token_, tokens_, next_token_, next_tokens_;
  int vectors_;
  int64_t row_;  // floats between rows of a panel
};

}  // namespace dsf

// A linear layer, dense or of factors, packed; and running it on some tokens.
#pragma once

#include <memory>
#include <vector>

#include "dsformer_encoder.h"
#include "encoder/packed_matrix.h"
#include "kernels/kernels.h"

struct dsf_linear {
  const dsf::Kernels* kernels = nullptr;
  int64_t in_features = 0, out_features = 0;
  // y = outer (inner x) + direct x + bias. Sparse matrices of floats are one plan.
  dsf::PackedMatrix inner, outer, direct;
  std::unique_ptr<dsf_plan, void (*)(dsf_plan*)> plan{nullptr, dsf_plan_free};
  dsf::Buffer<float> bias;

  bool reads_bytes() const;
  bool has_inner() const { return bool(inner); }
};

namespace dsf {

// Error of dsf_error; `linear` is filled when there is none.
int pack_linear(const dsf_linear_spec& spec, dsf_linear& linear);

// A thread's buffers for linear layers of up to so many tokens.
struct LinearScratch {
  Buffer<uint8_t> x_bytes, z_bytes;
  Buffer<float> z, numbers;  // numbers: scale and offset of every token of x, then of z
  // Grows to what a layer needs.
  void reserve(const dsf_linear& linear, int64_t tokens);
};

// y (tokens, out) = activation(linear(x) + add); `add` has the stride of y, which has room for whole vectors.
void run_linear(const dsf_linear& linear, FloatRows x, int64_t tokens, float* y, int64_t y_stride, const float* add,
                int activation, LinearScratch& scratch);

// From one row to the next, with room for whole vectors.
inline int64_t row_stride(int64_t width) {
  const int64_t lines = (width + 63) / 64 * 4 + 1;  // an odd number of cache lines: rows do not meet in one set
  return lines * 16;
}

}  // namespace dsf

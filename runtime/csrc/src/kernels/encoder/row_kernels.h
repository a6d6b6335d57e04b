// What every instruction set provides to run a whole encoder. Activations are token-major: a token is a row.
#pragma once

#include "encoder/packed_matrix.h"

namespace dsf {

// Buffers have so many numbers after the last row's last one, and rows are a multiple of it apart: vectors may be read
// and written whole.
constexpr int64_t ROOM = 64;

// Tokens as bytes: token t is bytes[t] * scale[t] + offset[t]; where the set multiplies signed bytes (has_signed_dot),
// they are less by 128. Bank after bank: a bank has 64 bytes of every token, so
// that tokens are a constant apart whatever their width.
struct ByteRows {
  uint8_t* bytes = nullptr;
  int64_t bank_stride = 0;
  float *scales = nullptr, *offsets = nullptr;
};

struct FloatRows {
  const float* numbers = nullptr;
  int64_t stride = 0;
};

// y = activation(product + bias + add), where the last two are there. A row of `add` is as far from the next as of y.
struct Finish {
  float* y = nullptr;
  int64_t stride = 0;
  const float* bias = nullptr;
  const float* add = nullptr;
  int activation = 0;
};

struct NormWeights {
  const float *gain = nullptr, *shift = nullptr;  // or 1 and 0
  float epsilon = 0;
};

// One head of one text. Numbers of a token are `stride` from those of the next.
struct AttentionCall {
  const float *queries, *keys, *values;
  int64_t stride, length, head_size;
  float scale;     // of the products
  bool rounded;    // queries, keys, values and weights may be rounded to bfloat16
  int64_t window;  // keys further from a query are not seen; 0: all are
  // (longest, head_size / 2) cosines, then as many sines, of the angles that pairs i, i + head_size / 2 are turned by.
  const float *cosines, *sines;
  // Added to the score of query i and key j, at [i - j].
  const float* bias;
  // DeBERTa: index[i - j] is the row of relative position; rows are `relative_stride` apart.
  const int32_t* relative_index;
  const float *relative_keys, *relative_queries;
  int64_t relative_stride;
  float* out;
  int64_t out_stride;
  float* scratch;
};

struct RowKernels {
  int lanes;
  int dense_vectors;    // of a group of rows
  int64_t dense_slack;  // bytes behind the weights of a dense matrix that may be read
  int lookup;           // columns that a quad of a banked matrix takes its inputs from
  float lookup_cost;    // of such a quad, in quads of a dense one

  void (*multiply_floats)(const PackedMatrix&, FloatRows x, int64_t tokens, const Finish&);
  void (*multiply_dense)(const PackedMatrix&, const ByteRows& x, int64_t tokens, const Finish&);
  void (*multiply_banked)(const PackedMatrix&, const ByteRows& x, int64_t tokens, const Finish&);
  // x (tokens, width) -> bytes; what follows the last one, up to a whole bank, is zero.
  void (*quantize)(FloatRows x, int64_t width, int64_t tokens, const ByteRows&);
  void (*normalize)(FloatRows x, int64_t width, int64_t tokens, const NormWeights&, float* y, int64_t y_stride);
  // x (tokens, 2 width): y = activation(first half) * second half.
  void (*gate)(FloatRows x, int64_t width, int64_t tokens, int activation, float* y, int64_t y_stride);
  // x = activation(x + add); null: nothing is added.
  void (*finish)(float* x, int64_t stride, const float* add, int64_t width, int64_t tokens, int activation);
  void (*attend)(const AttentionCall&);
  // Floats of scratch that `attend` needs for texts of this length.
  int64_t (*attention_scratch)(int64_t length, int64_t head_size, bool relative);
  // Multiplies bytes in registers; returns how many products that was.
  int64_t (*peak)(int64_t rounds);
};

}  // namespace dsf

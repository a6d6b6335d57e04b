#include "encoder/linear.h"

#include <algorithm>

#include "api/errors.h"
#include "pack/pack.h"
#include "run/parallel.h"

bool dsf_linear::reads_bytes() const {
  return inner.reads_bytes() || direct.reads_bytes();
}

namespace dsf {
namespace {

int64_t bytes_of_token(int64_t width) { return round_up(width, BANK); }

// What matrices multiply: numbers, and the same as bytes where there are bytes to be read.
struct Operand {
  FloatRows numbers;
  ByteRows bytes;
};

void multiply(const RowKernels& kernels, const PackedMatrix& m, const Operand& x, int64_t tokens, const Finish& f) {
  switch (m.kind) {
    case PackedMatrix::DENSE_FLOAT:
    case PackedMatrix::DENSE_BFLOAT: return kernels.multiply_floats(m, x.numbers, tokens, f);
    case PackedMatrix::DENSE_INT8: return kernels.multiply_dense(m, x.bytes, tokens, f);
    case PackedMatrix::BANKED_INT8: return kernels.multiply_banked(m, x.bytes, tokens, f);
    case PackedMatrix::NONE: return;
  }
}

ByteRows quantized(const RowKernels& kernels, FloatRows x, int64_t width, int64_t tokens, uint8_t* bytes,
                   float* numbers) {
  const ByteRows rows{bytes, tokens * BANK, numbers, numbers + tokens};
  kernels.quantize(x, width, tokens, rows);
  return rows;
}

}  // namespace

void LinearScratch::reserve(const dsf_linear& linear, int64_t tokens) {
  x_bytes.grow(tokens * bytes_of_token(linear.in_features) + ROOM);
  z_bytes.grow(tokens * bytes_of_token(linear.inner.rows) + ROOM);
  z.grow(tokens * row_stride(linear.inner.rows) + ROOM);
  numbers.grow(4 * tokens);
}

void run_linear(const dsf_linear& linear, FloatRows x, int64_t tokens, float* y, int64_t y_stride, const float* add,
                int activation, LinearScratch& scratch) {
  const RowKernels& kernels = linear.kernels->rows;
  if (linear.plan) {
    void* outputs[] = {y};
    dsf_plan_run(linear.plan.get(), x.numbers, tokens, x.stride, outputs, &y_stride, 1);
    return kernels.finish(y, y_stride, add, linear.out_features, tokens, activation);
  }
  scratch.reserve(linear, tokens);
  Operand input{x, {}};
  if (linear.reads_bytes())
    input.bytes = quantized(kernels, x, linear.in_features, tokens, scratch.x_bytes.data(), scratch.numbers.data());
  const float* bias = linear.bias.data();
  if (!linear.has_inner()) return multiply(kernels, linear.direct, input, tokens, {y, y_stride, bias, add, activation});
  if (linear.direct) {
    multiply(kernels, linear.direct, input, tokens, {y, y_stride, nullptr, add, DSF_IDENTITY});
    add = y;
  }
  const int64_t stride = row_stride(linear.inner.rows);
  multiply(kernels, linear.inner, input, tokens, {scratch.z.data(), stride, nullptr, nullptr, DSF_IDENTITY});
  Operand between{{scratch.z.data(), stride}, {}};
  if (linear.outer.reads_bytes())
    between.bytes = quantized(kernels, between.numbers, linear.inner.rows, tokens, scratch.z_bytes.data(),
                              scratch.numbers.data() + 2 * tokens);
  multiply(kernels, linear.outer, between, tokens, {y, y_stride, bias, add, activation});
}

namespace {

// A linear layer by itself, panels shared out among threads.
struct LinearCall {
  static constexpr int64_t PANEL = 96;
  const dsf_linear& linear;
  const float* x;
  int64_t tokens;
  int activation;
  float* y;
  std::atomic<int64_t> next{0};
  SharedError error{};

  static void work(void* state) {
    LinearCall& call = *static_cast<LinearCall*>(state);
    call.error.guard([&] { call.run_panels(); });
  }

  void run_panels() {
    LinearScratch scratch;
    const int64_t in = linear.in_features, out = linear.out_features, stride = row_stride(out);
    Buffer<float> inputs(size_t(PANEL * in + ROOM)), results(size_t(PANEL * stride + ROOM));
    for (int64_t t; (t = next.fetch_add(PANEL)) < tokens;) {
      const int64_t count = std::min(PANEL, tokens - t);
      std::copy(x + t * in, x + (t + count) * in, inputs.data());
      run_linear(linear, {inputs.data(), in}, count, results.data(), stride, nullptr, activation, scratch);
      for (int64_t i = 0; i < count; i++)
        std::copy_n(results.data() + i * stride, out, y + (t + i) * out);
    }
  }
};

}  // namespace
}  // namespace dsf

extern "C" {

dsf_linear* dsf_linear_create(const dsf_linear_spec* spec, int* error) {
  std::unique_ptr<dsf_linear> linear;
  const int code = dsf::guarded([&] {
    if (!spec || spec->struct_size != sizeof(dsf_linear_spec)) return int(DSF_BAD_ARGUMENT);
    linear = std::make_unique<dsf_linear>();
    return dsf::pack_linear(*spec, *linear);
  });
  if (error) *error = code;
  return code == DSF_OK ? linear.release() : nullptr;
}

void dsf_linear_free(dsf_linear* linear) { delete linear; }

int64_t dsf_linear_bytes(const dsf_linear* linear) {
  return linear->inner.bytes() + linear->outer.bytes() + linear->direct.bytes() +
         (linear->plan ? dsf_plan_bytes(linear->plan.get()) : 0);
}

int64_t dsf_peak_products(int64_t rounds) { return dsf::current_kernels()->rows.peak(rounds); }

int dsf_linear_run(const dsf_linear* linear, const float* x, int64_t tokens, int activation, float* y, int threads) {
  if (!linear || !x || !y || tokens < 0 || threads < 1) return DSF_BAD_ARGUMENT;
  dsf::LinearCall call{*linear, x, tokens, activation, y};
  dsf::run_parallel(threads, dsf::LinearCall::work, &call);
  return call.error.error();
}
}

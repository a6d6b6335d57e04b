// Runs an encoder. Tokens of all texts stand one after another, without padding. Texts are processed about a
// thousand tokens at a time, so that what a run needs beside its results is bounded. In every phase threads take panels of
// tokens, or heads of texts.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>

#include "api/errors.h"
#include "encoder/encoder.h"
#include "encoder/words.h"
#include "run/parallel.h"
#include "run/phases.h"

namespace dsf {
namespace {

// Tokens of a panel at most: what a layer makes of them stays in the second cache. Kernels take 16 or 6 at a time.
constexpr int64_t PANEL = 96, TILE = 16;
// Tokens that are processed together, unless a text or the share of the threads is more.
constexpr int64_t TOGETHER = 1024;

struct Batch {
  const int32_t *ids, *types;
  const int64_t* starts;
  int64_t texts;
  int pooling;
  bool normalize;
  float* out;
};

// Texts [first, last) of a batch, from their ids to their results.
class Chunk {
 public:
  Chunk(const dsf_encoder& encoder, const Batch& batch, int64_t first, int64_t last, int threads, Workspace& space)
      : e_(encoder), spec_(encoder.spec), kernels_(encoder.kernels->rows), batch_(batch), first_(first), last_(last),
        start_(batch.starts[first]), tokens_(batch.starts[last] - start_), space_(space),
        x_stride_(row_stride(spec_.width)) {
    const int64_t share = (tokens_ + threads - 1) / threads;
    const int64_t panels = (share + PANEL - 1) / PANEL * threads;
    panel_ = (tokens_ + panels - 1) / panels;
    if (panel_ > TILE) panel_ = std::min(PANEL, (panel_ + TILE - 1) / TILE * TILE);
    reserve(threads);
  }

  // Embeddings; queries, keys and values, attention, and the rest of every layer; results.
  int phases() const { return 2 + 3 * int(e_.layers.size()); }

  int64_t items(int phase) const {
    if (phase == phases() - 1) return last_ - first_;
    if (phase && (phase - 1) % 3 == 1) return (last_ - first_) * layer(phase).heads;
    return (tokens_ + panel_ - 1) / panel_;
  }

  void run(int phase, int64_t item, int thread) {
    ThreadScratch& scratch = space_.threads[size_t(thread)];
    if (phase == phases() - 1) return pool(first_ + item);
    const int64_t t = item * panel_, count = std::min(panel_, tokens_ - t);
    if (phase == 0) return embed(t, count, scratch);
    switch ((phase - 1) % 3) {
      case 0: return project(layer(phase), t, count, scratch);
      case 1: return attend(layer(phase), item, scratch);
      default: return finish(layer(phase), t, count, scratch);
    }
  }

 private:
  const Layer& layer(int phase) const { return e_.layers[size_t((phase - 1) / 3)]; }
  float* x(int64_t t) const { return space_.x.data() + t * x_stride_; }

  void reserve(int threads) {
    int64_t projected = 0, attended = 0, inner = 0, longest = 0;
    for (const Layer& l : e_.layers) {
      projected = std::max(projected, row_stride(3 * l.heads * spec_.head_size));
      attended = std::max(attended, row_stride(l.heads * spec_.head_size));
      inner = std::max(inner, row_stride(l.inner));
    }
    for (int64_t i = first_; i < last_; i++) longest = std::max(longest, batch_.starts[i + 1] - batch_.starts[i]);
    space_.x.grow(tokens_ * x_stride_ + ROOM);
    space_.query_key_value.grow(tokens_ * projected + ROOM);
    space_.context.grow(tokens_ * attended + ROOM);
    if (int(space_.threads.size()) < threads) space_.threads.resize(size_t(threads));
    const int64_t row = std::max(x_stride_, row_stride(spec_.embedding_size));
    for (int i = 0; i < threads; i++) {
      ThreadScratch& own = space_.threads[size_t(i)];
      own.rows.grow(panel_ * row + ROOM);
      own.inner.grow(panel_ * inner + ROOM);
      if (spec_.gated) own.gated.grow(panel_ * inner + ROOM);
      own.attention.grow(kernels_.attention_scratch(longest, spec_.head_size, e_.relative));
    }
  }

  void embed(int64_t t, int64_t count, ThreadScratch& scratch) {
    const int64_t size = spec_.embedding_size, stride = spec_.projection ? row_stride(size) : x_stride_;
    float* rows = spec_.projection ? scratch.rows.data() : x(t);
    read_words(spec_, batch_.ids + start_ + t, count, rows, stride);
    const int64_t* text = std::upper_bound(batch_.starts + first_, batch_.starts + last_, start_ + t) - 1;
    for (int64_t i = 0; i < count; i++) {
      const int64_t token = start_ + t + i;
      while (token >= text[1]) text++;
      if (spec_.positions) add(rows + i * stride, spec_.positions + (token - *text) * size, size);
      if (spec_.types) add(rows + i * stride, spec_.types + (batch_.types ? batch_.types[token] : 0) * size, size);
    }
    if (e_.embedding_norm.present)
      kernels_.normalize({rows, stride}, size, count, e_.embedding_norm.weights, rows, stride);
    if (spec_.projection)
      run_linear(*spec_.projection, {rows, stride}, count, x(t), x_stride_, nullptr, DSF_IDENTITY, scratch.linear);
  }

  static void add(float* to, const float* from, int64_t count) {
    for (int64_t i = 0; i < count; i++) to[i] += from[i];
  }

  // What a block of a layer reads: x, or with norms before blocks the normalized x.
  FloatRows input_of(const Norm& norm, int64_t t, int64_t count, ThreadScratch& scratch) const {
    if (!spec_.pre_norm || !norm.present) return {x(t), x_stride_};
    kernels_.normalize({x(t), x_stride_}, spec_.width, count, norm.weights, scratch.rows.data(), x_stride_);
    return {scratch.rows.data(), x_stride_};
  }

  static void run_all(const std::vector<const dsf_linear*>& linears, FloatRows from, int64_t count, float* to,
                      int64_t stride, int activation, ThreadScratch& scratch) {
    for (const dsf_linear* linear : linears) {
      run_linear(*linear, from, count, to, stride, nullptr, activation, scratch.linear);
      to += linear->out_features;
    }
  }

  // x becomes the linear layer's result plus x, normalized where norms come after blocks.
  void add_result(const dsf_linear& linear, FloatRows from, const Norm& norm, int64_t t, int64_t count,
                  ThreadScratch& scratch) const {
    const bool normalizes = !spec_.pre_norm && norm.present;
    float* to = normalizes ? scratch.rows.data() : x(t);
    run_linear(linear, from, count, to, x_stride_, x(t), DSF_IDENTITY, scratch.linear);
    if (normalizes) kernels_.normalize({to, x_stride_}, spec_.width, count, norm.weights, x(t), x_stride_);
  }

  void project(const Layer& l, int64_t t, int64_t count, ThreadScratch& scratch) {
    const int64_t stride = row_stride(3 * l.heads * spec_.head_size);
    run_all(l.query_key_value, input_of(l.attention_norm, t, count, scratch), count,
            space_.query_key_value.data() + t * stride, stride, DSF_IDENTITY, scratch);
  }

  void attend(const Layer& l, int64_t item, ThreadScratch& scratch) {
    const int64_t text = first_ + item / l.heads, head = item % l.heads, size = spec_.head_size;
    const int64_t from = batch_.starts[text] - start_, features = l.heads * size;
    AttentionCall call{};
    call.stride = row_stride(3 * features);
    call.queries = space_.query_key_value.data() + from * call.stride + head * size;
    call.keys = call.queries + features;
    call.values = call.keys + features;
    call.length = batch_.starts[text + 1] - batch_.starts[text];
    call.head_size = size;
    call.scale = spec_.scale;
    call.rounded = l.rounded;
    call.window = l.window;
    if (l.rotary) {
      call.cosines = l.rotary->cosines.data();
      call.sines = l.rotary->sines.data();
    }
    if (e_.bias_stride) call.bias = e_.bias.data() + head * e_.bias_stride + spec_.longest - 1;
    if (!l.relative_index.empty()) {
      call.relative_index = l.relative_index.data() + spec_.longest - 1;
      call.relative_stride = features;
      call.relative_keys = l.relative_keys ? l.relative_keys + head * size : nullptr;
      call.relative_queries = l.relative_queries ? l.relative_queries + head * size : nullptr;
    }
    call.out_stride = row_stride(features);
    call.out = space_.context.data() + from * call.out_stride + head * size;
    call.scratch = scratch.attention.data();
    kernels_.attend(call);
  }

  void finish(const Layer& l, int64_t t, int64_t count, ThreadScratch& scratch) {
    const int64_t context = row_stride(l.heads * spec_.head_size), inner = row_stride(l.inner);
    add_result(*l.attention_output, {space_.context.data() + t * context, context}, l.attention_norm, t, count,
               scratch);
    const FloatRows from = input_of(l.output_norm, t, count, scratch);
    FloatRows between{scratch.inner.data(), inner};
    run_all(l.up, from, count, scratch.inner.data(), inner, spec_.gated ? DSF_IDENTITY : spec_.activation, scratch);
    if (spec_.gated) {
      kernels_.gate(between, l.inner / 2, count, spec_.activation, scratch.gated.data(), inner);
      between.numbers = scratch.gated.data();
    }
    add_result(*l.down, between, l.output_norm, t, count, scratch);
  }

  void pool(int64_t text) {
    const int64_t from = batch_.starts[text] - start_, count = batch_.starts[text + 1] - batch_.starts[text];
    const int64_t width = spec_.width;
    const bool first_only = batch_.pooling == DSF_POOL_FIRST;
    if (e_.final_norm.present)
      kernels_.normalize({x(from), x_stride_}, width, first_only ? 1 : count, e_.final_norm.weights, x(from),
                         x_stride_);
    if (batch_.pooling == DSF_POOL_NONE) {
      for (int64_t t = 0; t < count; t++)
        std::memcpy(batch_.out + (batch_.starts[text] + t) * width, x(from + t), size_t(width) * 4);
      return;
    }
    float* out = batch_.out + text * width;
    std::memcpy(out, x(from), size_t(width) * 4);
    for (int64_t t = 1; t < count && !first_only; t++)
      for (int64_t i = 0; i < width; i++)
        out[i] = batch_.pooling == DSF_POOL_MAX ? std::max(out[i], x(from + t)[i]) : out[i] + x(from + t)[i];
    if (batch_.pooling == DSF_POOL_MEAN)
      for (int64_t i = 0; i < width; i++) out[i] /= float(count);
    if (batch_.normalize) normalize(out, width);
  }

  static void normalize(float* out, int64_t width) {
    float squares = 0;
    for (int64_t i = 0; i < width; i++) squares += out[i] * out[i];
    const float length = std::max(std::sqrt(squares), 1e-12f);
    for (int64_t i = 0; i < width; i++) out[i] /= length;
  }

  const dsf_encoder& e_;
  const dsf_encoder_spec& spec_;
  const RowKernels& kernels_;
  const Batch& batch_;
  const int64_t first_, last_, start_, tokens_;
  Workspace& space_;
  const int64_t x_stride_;
  int64_t panel_ = 0;
};

int check(const dsf_encoder& e, const Batch& batch) {
  for (int64_t i = 0; i < batch.texts; i++) {
    const int64_t length = batch.starts[i + 1] - batch.starts[i];
    if (length < 1 || length > e.spec.longest) return DSF_BAD_ARGUMENT;
  }
  for (int64_t t = batch.starts[0]; t < batch.starts[batch.texts]; t++) {
    if (batch.ids[t] < 0 || batch.ids[t] >= e.spec.word_rows) return DSF_BAD_INDEX;
    if (batch.types && (batch.types[t] < 0 || (e.spec.types && batch.types[t] >= e.spec.type_rows)))
      return DSF_BAD_INDEX;
  }
  return DSF_OK;
}

int run(const dsf_encoder& encoder, const Batch& batch, int threads) {
  const int64_t most = std::max(TOGETHER, threads * PANEL);
  std::unique_ptr<Workspace> space = encoder.workspaces.take();
  int error = DSF_OK;
  for (int64_t first = 0, last; first < batch.texts && error == DSF_OK; first = last) {
    for (last = first + 1; last < batch.texts && batch.starts[last + 1] - batch.starts[first] <= most;) last++;
    Chunk chunk(encoder, batch, first, last, threads, *space);
    error = run_phases(chunk, threads);
  }
  encoder.workspaces.give_back(std::move(space));
  return error;
}

}  // namespace
}  // namespace dsf

extern "C" {

dsf_encoder* dsf_encoder_create(const dsf_encoder_spec* spec, int* error) {
  std::unique_ptr<dsf_encoder> encoder;
  const int code = dsf::guarded([&] {
    if (!spec || spec->struct_size != sizeof(dsf_encoder_spec)) return int(DSF_BAD_ARGUMENT);
    encoder = std::make_unique<dsf_encoder>();
    return dsf::build_encoder(*spec, *encoder);
  });
  if (error) *error = code;
  return code == DSF_OK ? encoder.release() : nullptr;
}

void dsf_encoder_free(dsf_encoder* encoder) { delete encoder; }

int dsf_encoder_run(const dsf_encoder* encoder, const int32_t* ids, const int32_t* types, const int64_t* starts,
                    int64_t texts, int pooling, int normalize, float* out, int threads) {
  if (!encoder || texts < 0 || threads < 1 || pooling < DSF_POOL_NONE || pooling > DSF_POOL_MAX)
    return DSF_BAD_ARGUMENT;
  if (texts == 0) return DSF_OK;
  if (!ids || !starts || !out) return DSF_BAD_ARGUMENT;
  const dsf::Batch batch{ids, types, starts, texts, pooling, normalize != 0, out};
  const int error = dsf::check(*encoder, batch);
  if (error != DSF_OK) return error;
  return dsf::guarded([&] { return dsf::run(*encoder, batch, threads); });
}
}

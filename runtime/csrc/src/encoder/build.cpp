// From the caller's encoder to ours. Sizes are checked against each other: no file may make a kernel read outside its
// buffers.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "encoder/encoder.h"

namespace dsf {
namespace {

constexpr int64_t LARGEST = int64_t(1) << 20;

void copy_padded(Buffer<float>& to, const float* from, int64_t count) {
  to.resize(size_t(count + ROOM));
  std::memcpy(to.data(), from, size_t(count) * 4);
}

void build_norm(const dsf_norm& norm, int64_t width, Norm& to) {
  to.present = norm.present != 0;
  if (!to.present) return;
  to.weights.epsilon = norm.epsilon;
  if (norm.gain) copy_padded(to.gain, norm.gain, width);
  if (norm.shift) copy_padded(to.shift, norm.shift, width);
  to.weights.gain = norm.gain ? to.gain.data() : nullptr;
  to.weights.shift = norm.shift ? to.shift.data() : nullptr;
}

void build_rotary(double base, const dsf_encoder_spec& spec, Rotary& to) {
  const int64_t half = spec.head_size / 2;
  to.cosines.resize(size_t(spec.longest * half));
  to.sines.resize(size_t(spec.longest * half));
  for (int64_t i = 0; i < half; i++) {
    const float frequency = float(1.0 / std::pow(base, double(2 * i) / double(spec.head_size)));
    for (int64_t t = 0; t < spec.longest; t++) {
      const float angle = float(t) * frequency;
      to.cosines[size_t(t * half + i)] = float(std::cos(double(angle)));
      to.sines[size_t(t * half + i)] = float(std::sin(double(angle)));
    }
  }
}

bool all_read(const std::vector<const dsf_linear*>& linears, int64_t features) {
  return !linears.empty() && std::all_of(linears.begin(), linears.end(), [&](const dsf_linear* l) {
    return l && l->in_features == features;
  });
}

bool maps(const dsf_linear* linear, int64_t from, int64_t to) {
  return linear && linear->in_features == from && linear->out_features == to;
}

int build_relative(const dsf_layer& raw, int64_t longest, Layer& to) {
  if (!raw.relative_index) return DSF_OK;
  to.relative_index.assign(raw.relative_index, raw.relative_index + 2 * longest - 1);
  for (const int32_t row : to.relative_index)
    if (row < 0 || row >= raw.relative_rows) return DSF_BAD_INDEX;
  to.relative_keys = raw.relative_keys;
  to.relative_queries = raw.relative_queries;
  return DSF_OK;
}

int build_layer(const dsf_layer& raw, const dsf_encoder_spec& spec, dsf_encoder& encoder, Layer& to) {
  if (raw.query_key_value_count < 1 || raw.up_count < 1 || !raw.query_key_value || !raw.up) return DSF_BAD_ARGUMENT;
  to.query_key_value.assign(raw.query_key_value, raw.query_key_value + raw.query_key_value_count);
  to.up.assign(raw.up, raw.up + raw.up_count);
  to.attention_output = raw.attention_output;
  to.down = raw.down;
  if (!all_read(to.query_key_value, spec.width) || !all_read(to.up, spec.width)) return DSF_BAD_ARGUMENT;
  const int64_t projected = outputs_of(to.query_key_value), up = outputs_of(to.up);
  if (projected % (3 * spec.head_size) || (spec.gated && up % 2) || raw.window < 0) return DSF_BAD_ARGUMENT;
  to.heads = projected / (3 * spec.head_size);
  to.inner = up;
  if (!maps(to.attention_output, projected / 3, spec.width) || !maps(to.down, spec.gated ? up / 2 : up, spec.width))
    return DSF_BAD_ARGUMENT;
  build_norm(raw.attention_norm, spec.width, to.attention_norm);
  build_norm(raw.output_norm, spec.width, to.output_norm);
  to.rounded = std::any_of(to.query_key_value.begin(), to.query_key_value.end(),
                           [](const dsf_linear* l) { return l->reads_bytes(); });
  to.window = raw.window;
  if (raw.rotary > 0) {
    if (spec.head_size % 2) return DSF_BAD_ARGUMENT;
    Rotary& rotary = encoder.rotaries[raw.rotary];
    if (!rotary.cosines.size()) build_rotary(raw.rotary, spec, rotary);
    to.rotary = &rotary;
  }
  return build_relative(raw, spec.longest, to);
}

// Queries of neighbouring lanes read neighbouring numbers: distances ascend with the query.
int build_bias(const dsf_encoder_spec& spec, dsf_encoder& encoder) {
  if (!spec.bias) return DSF_OK;
  for (const Layer& layer : encoder.layers)
    if (layer.heads > spec.bias_heads) return DSF_BAD_ARGUMENT;
  const int64_t count = 2 * spec.longest - 1;
  encoder.bias_stride = count + ROOM;
  encoder.bias.resize(size_t(spec.bias_heads * encoder.bias_stride));
  for (int64_t h = 0; h < spec.bias_heads; h++)
    for (int64_t d = 0; d < count; d++)
      encoder.bias[size_t(h * encoder.bias_stride + d)] = spec.bias[h * count + (count - 1 - d)];
  return DSF_OK;
}

bool possible(const dsf_encoder_spec& s) {
  const int64_t sizes[] = {s.width, s.embedding_size, s.head_size, s.longest, s.word_rows};
  if (*std::min_element(std::begin(sizes), std::end(sizes)) < 1) return false;
  if (s.width > LARGEST || s.embedding_size > LARGEST || s.head_size > 1024 || s.longest > LARGEST) return false;
  if (s.layer_count < 0 || s.layer_count > 10000 || (s.layer_count && !s.layers)) return false;
  if (s.table && (s.table->width != s.embedding_size || s.table->units != s.word_rows)) return false;
  if (!s.table && (!s.words || s.word_type < DSF_FLOATS || s.word_type > DSF_BFLOATS)) return false;
  if (!s.table && s.word_type == DSF_BYTES && !s.word_scales) return false;
  if (s.types && s.type_rows < 1) return false;
  return s.projection ? maps(s.projection, s.embedding_size, s.width) : s.embedding_size == s.width;
}

}  // namespace

int64_t outputs_of(const std::vector<const dsf_linear*>& linears) {
  int64_t count = 0;
  for (const dsf_linear* linear : linears) count += linear->out_features;
  return count;
}

int build_encoder(const dsf_encoder_spec& spec, dsf_encoder& encoder) {
  if (!possible(spec)) return DSF_BAD_ARGUMENT;
  encoder.spec = spec;
  encoder.kernels = current_kernels();
  if (spec.table) {
    encoder.table = *spec.table;
    encoder.spec.table = &encoder.table;
  }
  build_norm(spec.embedding_norm, spec.embedding_size, encoder.embedding_norm);
  build_norm(spec.final_norm, spec.width, encoder.final_norm);
  encoder.layers.resize(size_t(spec.layer_count));
  for (int64_t i = 0; i < spec.layer_count; i++) {
    Layer& layer = encoder.layers[size_t(i)];
    const int error = build_layer(spec.layers[i], spec, encoder, layer);
    if (error != DSF_OK) return error;
    encoder.relative = encoder.relative || !layer.relative_index.empty();
  }
  return build_bias(spec, encoder);
}

}  // namespace dsf

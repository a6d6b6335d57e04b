// An encoder: what the caller gave, checked, with norms and tables as the kernels read them.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "dsformer_encoder.h"
#include "encoder/linear.h"
#include "encoder/workspace.h"

namespace dsf {

// Gains and shifts with room for whole vectors.
struct Norm {
  bool present = false;
  Buffer<float> gain, shift;
  NormWeights weights;
};

// Cosines, then sines, of the angles by which pairs of numbers are turned: (longest, head_size / 2) of each.
struct Rotary {
  Buffer<float> cosines, sines;
};

struct Layer {
  std::vector<const dsf_linear*> query_key_value, up;
  const dsf_linear *attention_output = nullptr, *down = nullptr;
  Norm attention_norm, output_norm;
  int64_t window = 0, heads = 0, inner = 0;  // inner: outputs of `up`
  bool rounded = false;  // its products read bytes: attention need not be more exact
  const Rotary* rotary = nullptr;
  std::vector<int32_t> relative_index;  // at [i - j + longest - 1]
  const float *relative_keys = nullptr, *relative_queries = nullptr;
};

// Outputs of linear layers one after another.
int64_t outputs_of(const std::vector<const dsf_linear*>& linears);

}  // namespace dsf

struct dsf_encoder {
  dsf_encoder_spec spec;
  dsf_table table;
  const dsf::Kernels* kernels = nullptr;
  std::vector<dsf::Layer> layers;
  dsf::Norm embedding_norm, final_norm;
  std::map<double, dsf::Rotary> rotaries;
  dsf::Buffer<float> bias;  // (heads, 2 longest - 1 + room) at [i - j + longest - 1]: the caller's, reversed
  int64_t bias_stride = 0;
  bool relative = false;
  mutable dsf::WorkspacePool workspaces;
};

namespace dsf {

// Error of dsf_error; `encoder` is filled when there is none.
int build_encoder(const dsf_encoder_spec& spec, dsf_encoder& encoder);

}  // namespace dsf

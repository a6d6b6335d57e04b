// From the caller's form to a plan, and what a plan says of itself.
#include <memory>

#include "api/errors.h"
#include "dsformer.h"
#include "pack/form.h"
#include "pack/pack.h"
#include "pack/pack_float.h"
#include "pack/pack_int8.h"
#include "pack/plan.h"

namespace dsf {
namespace {

// Up to how many tokens the kernels for small batches are faster.
int32_t usual_small_tokens(const dsf_form& form) {
  const bool grouped = form.group % 4 == 0 && form.nonzeros > 0, free = !grouped && form.nonzeros > 0;
  if (form.weights != DSF_INT8) return grouped && form.orientation == DSF_OUTPUT_DICTIONARY ? 3 : 8;
  return free ? (current_kernels()->has_int8_lookup ? 12 : -1) : 3;
}

dsf_tuning with_defaults(const dsf_tuning* given, const dsf_form& form) {
  dsf_tuning tuning = given ? *given : dsf_tuning{};
  const bool sparse = form.group % 4 != 0 && form.nonzeros > 0, bytes = form.weights == DSF_INT8;
  const int most = bytes ? MAX_INT8_VECTORS : MAX_VECTORS;
  if (tuning.panel_vectors <= 0) tuning.panel_vectors = bytes ? most : sparse ? 4 : 3;
  if (tuning.panel_vectors > most) tuning.panel_vectors = most;
  if (tuning.small_tokens == 0) tuning.small_tokens = usual_small_tokens(form);
  if (tuning.small_tokens > 64) tuning.small_tokens = 64;
  if (tuning.block_bytes <= 0) tuning.block_bytes = 48 * 1024;
  return tuning;
}

void pack_epilogue(const Form& form, dsf_plan& plan) {
  plan.activation = form.raw.activation;
  plan.member_starts.assign(1, 0);
  for (int32_t m = 0; m < form.raw.members; m++)
    plan.member_starts.push_back(plan.member_starts.back() + form.raw.member_sizes[m]);
  if (!form.bias.empty()) copy(plan.bias, form.bias);
}

int create(const dsf_form* raw, const dsf_tuning* tuning, std::unique_ptr<dsf_plan>& plan) {
  Form form;
  if (int error = check(raw, form)) return error;
  plan = std::make_unique<dsf_plan>();
  plan->kernels = current_kernels();
  plan->tuning = with_defaults(tuning, form.raw);
  plan->dtype = form.raw.dtype;
  plan->output_dictionary = form.output();
  plan->in_features = form.in_features;
  plan->out_features = form.raw.out_features;
  pack_epilogue(form, *plan);
  if (form.int8())
    pack_int8(form, *plan);
  else
    pack_float(form, *plan);
  return DSF_OK;
}

template <class... Buffers>
int64_t bytes_in(const Buffers&... buffers) {
  return int64_t((buffers.bytes() + ...));
}

int64_t bytes_of(const DenseTiles& m) { return bytes_in(m.values, m.pairs, m.columns, m.amx_words); }

int64_t bytes_of(const Sparse& m) {
  const FloatLookup& lookup = m.lookup;
  return bytes_in(m.starts, m.offsets, m.values, m.pairs) +
         bytes_in(lookup.steps, lookup.lane_rows, lookup.windows, lookup.lanes, lookup.values);
}

int64_t bytes_of(const Scatter& m) { return bytes_in(m.starts, m.entry_rows, m.values, m.pairs); }

int64_t bytes_of(const Int8Groups& m) {
  const Int8Lookup& lookup = m.lookup;
  return bytes_in(m.starts, m.words, m.columns, m.sums, m.scales, m.amx_words, m.amx_starts) +
         bytes_in(lookup.runs, lookup.steps, lookup.windows, lookup.lanes, lookup.words, lookup.lane_rows);
}

}  // namespace
}  // namespace dsf

double dsf_plan::multiplications() const {
  if (is_int8) {
    size_t words = 0;
    for (const dsf::Int8Groups* m : int8.all()) words += m->words.size();
    return double(words);  // of four multiplications that take as long as one of fp32
  }
  return double(dictionary.tiles * dictionary.count * dictionary.height) +
         double(dense.tiles * dense.count * dense.height) + double(sparse.offsets.size()) +
         double(scatter.entry_rows.size() * scatter.height);
}

extern "C" {

dsf_plan* dsf_plan_create(const dsf_form* form, const dsf_tuning* tuning, int* error) {
  std::unique_ptr<dsf_plan> plan;
  const int code = dsf::guarded([&] { return dsf::create(form, tuning, plan); });
  if (error) *error = code;
  return code == DSF_OK ? plan.release() : nullptr;
}

void dsf_plan_free(dsf_plan* plan) { delete plan; }

dsf_tuning dsf_plan_tuning(const dsf_plan* plan) { return plan->tuning; }

int64_t dsf_plan_bytes(const dsf_plan* plan) {
  int64_t bytes = dsf::bytes_of(plan->dictionary) + dsf::bytes_of(plan->dense) + dsf::bytes_of(plan->sparse) +
                  dsf::bytes_of(plan->scatter) + dsf::bytes_in(plan->destinations, plan->sources, plan->bias);
  for (const dsf::Int8Groups* m : plan->int8.all()) bytes += dsf::bytes_of(*m);
  return bytes;
}
}

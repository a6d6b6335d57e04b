#include "pack/form.h"

#include <algorithm>
#include <cstring>

namespace dsf {
namespace {

// Sizes are bounded so that no product of three of them overflows and 32-bit offsets reach everything.
constexpr int64_t MAX_SIZE = int64_t(1) << 18;
// What codes read must be within reach of 16-bit windows, and is padded to whole vectors.
constexpr int64_t MAX_POSITIONS = MAX_SIZE - 64;
constexpr int64_t MAX_VALUES = int64_t(1) << 31;
// Products of unsigned bytes and int8 are at most 255 * 128: so many fit a sum.
constexpr int64_t MAX_INT8_SIZE = int64_t(1) << 16;

bool within(int64_t value, int64_t low, int64_t high) { return low <= value && value <= high; }

bool sizes_fit(const dsf_form& f) {
  const int64_t sizes[] = {f.units, f.width, f.atoms, f.core, f.nonzeros, f.out_features};
  for (int64_t size : sizes)
    if (!within(size, 0, MAX_SIZE)) return false;
  const int64_t read = f.orientation == DSF_INPUT_DICTIONARY ? f.atoms + f.width : f.units;
  if (read > MAX_POSITIONS) return false;
  if (f.units < 1 || f.width < 1 || f.core > f.atoms || (f.atoms == 0 && !f.canonical)) return false;
  if (!within(f.group, 1, f.units) || f.units % f.group) return false;
  if (f.nonzeros > f.atoms - f.core + (f.canonical ? f.width : 0)) return false;
  if (f.out_features != (f.orientation == DSF_INPUT_DICTIONARY ? f.units : f.width)) return false;
  return f.units * (f.core + f.nonzeros) < MAX_VALUES && f.atoms * f.width < MAX_VALUES;
}

bool members_fit(const dsf_form& f) {
  if (!within(f.members, 1, 1024) || !f.member_sizes) return false;
  int64_t total = 0;
  for (int32_t m = 0; m < f.members; m++) {
    if (!within(f.member_sizes[m], 1, MAX_SIZE)) return false;
    total += f.member_sizes[m];
  }
  return total == f.out_features;
}

std::vector<float> as_float(const void* data, int64_t count, int dtype) {
  std::vector<float> result(count);
  if (dtype == DSF_FLOAT32) {
    if (count) std::memcpy(result.data(), data, count * sizeof(float));
    return result;
  }
  if (dtype == DSF_INT8) {
    const int8_t* bytes = static_cast<const int8_t*>(data);
    std::copy_n(bytes, count, result.begin());
    return result;
  }
  const uint16_t* halves = static_cast<const uint16_t*>(data);
  for (int64_t i = 0; i < count; i++) {
    const uint32_t bits = uint32_t(halves[i]) << 16;
    std::memcpy(&result[i], &bits, sizeof bits);
  }
  return result;
}

// Kernels read what the indices say without looking at it again, and rely on their order.
bool indices_fit(const Form& form) {
  const dsf_form& f = form.raw;
  for (int64_t group = 0; group < form.groups; group++) {
    int64_t before = -1;
    for (int64_t k = 0; k < f.nonzeros; k++) {
      const int64_t index = f.indices[group * f.nonzeros + k];
      if (index <= before || index >= form.candidates) return false;
      before = index;
    }
  }
  return true;
}

bool permutation_fits(const Form& form) {
  std::vector<bool> seen(form.raw.units, false);
  for (int64_t unit : form.unit_of_code) {
    if (!within(unit, 0, form.raw.units - 1) || seen[unit]) return false;
    seen[unit] = true;
  }
  return true;
}

}  // namespace

int check(const dsf_form* raw, Form& form) {
  if (!raw || raw->struct_size != sizeof(dsf_form)) return DSF_BAD_ARGUMENT;
  const dsf_form& f = form.raw = *raw;
  if (!within(f.orientation, 0, 1) || !within(f.dtype, 0, 1) || !within(f.activation, 0, 3)) return DSF_BAD_ARGUMENT;
  if (f.weights != f.dtype && f.weights != DSF_INT8) return DSF_BAD_ARGUMENT;
  if (!sizes_fit(f) || !members_fit(f)) return DSF_BAD_ARGUMENT;
  form.kept = f.core + f.nonzeros;
  form.groups = f.units / f.group;
  form.candidates = f.atoms - f.core + (f.canonical ? f.width : 0);
  form.in_features = form.output() ? f.units : f.width;
  if ((f.atoms && !f.dictionary) || (form.kept && !f.values) || (f.nonzeros && !f.indices)) return DSF_BAD_ARGUMENT;
  if (form.int8()) {
    if ((f.atoms && !f.dictionary_scales) || !f.value_scales) return DSF_BAD_ARGUMENT;
    if (std::max(f.atoms, std::max(f.units, f.width)) > MAX_INT8_SIZE) return DSF_UNSUPPORTED;
  }
  if (!indices_fit(form)) return DSF_BAD_INDEX;
  form.unit_of_code.resize(f.units);
  for (int64_t i = 0; i < f.units; i++) form.unit_of_code[i] = f.permutation ? f.permutation[i] : i;
  if (!permutation_fits(form)) return DSF_BAD_PERMUTATION;
  form.dictionary = as_float(f.dictionary, f.atoms * f.width, f.weights);
  form.values = as_float(f.values, f.units * form.kept, f.weights);
  int64_t selected = 0;
  for (int64_t code = 0; code < f.units; code++)
    for (int64_t k = f.core; k < form.kept; k++) selected += form.holds(code, k);
  form.selected = double(selected) / double(f.units);
  if (f.bias) form.bias = as_float(f.bias, f.out_features, f.dtype);
  return DSF_OK;
}

}  // namespace dsf

// Whole forms: what a packed plan computes is the form's matrix.
#include <algorithm>
#include <new>
#include <numeric>
#include <stdexcept>
#include <tuple>

#include "api/errors.h"
#include "check.h"
#include "pack/form.h"
#include "pack/pack_float.h"
#include "pack/pack_int8.h"
#include "pack/plan.h"
#include "unpack.h"

namespace dsf::test {
namespace {

// Small whole numbers: sums of their products are exact in any order.
struct RandomForm {
  dsf_form raw{};
  std::vector<float> dictionary, values;
  std::vector<int8_t> dictionary8, values8;
  std::vector<float> dictionary_scales, value_scales;
  std::vector<int32_t> indices;
  std::vector<int64_t> permutation;
  int64_t members[1];

  RandomForm(Random& random, bool int8) {
    const int64_t groups[] = {1, 1, 4, 8};
    raw.struct_size = sizeof raw;
    raw.orientation = random.chance(50) ? DSF_INPUT_DICTIONARY : DSF_OUTPUT_DICTIONARY;
    raw.weights = int8 ? DSF_INT8 : DSF_FLOAT32;
    raw.group = groups[random.below(4)];
    raw.units = raw.group * random.between(1, 6) * (raw.group == 1 ? 4 : 1);
    raw.width = random.chance(25) ? random.between(100, 400) : random.between(1, 40);
    raw.atoms = random.chance(20) ? 0 : random.between(1, 30);
    raw.canonical = raw.atoms == 0 || random.chance(50);
    raw.core = random.chance(50) ? 0 : raw.atoms / 3;
    const int64_t candidates = raw.atoms - raw.core + (raw.canonical ? raw.width : 0);
    raw.nonzeros = random.between(0, random.chance(50) ? candidates : candidates / 3);
    const bool input = raw.orientation == DSF_INPUT_DICTIONARY;
    members[0] = raw.out_features = input ? raw.units : raw.width;
    raw.members = 1;
    raw.member_sizes = members;
    for (int64_t i = 0; i < raw.atoms * raw.width; i++) dictionary.push_back(float(random.between(-9, 9)));
    for (int64_t i = 0; i < raw.units * (raw.core + raw.nonzeros); i++) values.push_back(float(random.between(-9, 9)));
    for (int64_t group = 0; group < raw.units / raw.group; group++) {
      std::vector<int32_t> all(static_cast<size_t>(candidates));
      std::iota(all.begin(), all.end(), 0);
      for (int64_t i = 0; i < raw.nonzeros; i++) std::swap(all[i], all[i + random.below(candidates - i)]);
      std::sort(all.begin(), all.begin() + raw.nonzeros);
      indices.insert(indices.end(), all.begin(), all.begin() + raw.nonzeros);
    }
    permutation.resize(raw.units);
    std::iota(permutation.begin(), permutation.end(), 0);
    if (random.chance(50))
      for (int64_t i = 0; i < raw.units; i++) std::swap(permutation[i], permutation[i + random.below(raw.units - i)]);
    dictionary8.assign(dictionary.begin(), dictionary.end());
    values8.assign(values.begin(), values.end());
    // Powers of two, of rows of the dictionary as it lies and of units or positions.
    for (int64_t i = 0; i < (input ? raw.atoms : raw.width); i++)
      dictionary_scales.push_back(float(1 << random.below(3)));
    for (int64_t i = 0; i < (input ? raw.units : raw.atoms + (raw.canonical ? raw.width : 0)); i++)
      value_scales.push_back(float(1 << random.below(3)));
    raw.dictionary = int8 ? static_cast<const void*>(dictionary8.data()) : dictionary.data();
    raw.values = int8 ? static_cast<const void*>(values8.data()) : values.data();
    raw.indices = indices.data();
    raw.permutation = permutation.data();
    raw.dictionary_scales = int8 ? dictionary_scales.data() : nullptr;
    raw.value_scales = int8 ? value_scales.data() : nullptr;
  }

  // (units, positions), without scales.
  Plain codes() const {
    Plain plain(raw.units, raw.atoms + (raw.canonical ? raw.width : 0));
    const int64_t kept = raw.core + raw.nonzeros;
    for (int64_t code = 0; code < raw.units; code++)
      for (int64_t k = 0; k < kept; k++) {
        const int64_t index = k < raw.core ? 0 : indices[code / raw.group * raw.nonzeros + k - raw.core];
        plain.at(code, k < raw.core ? k : raw.core + index) = values[code * kept + k];
      }
    return plain;
  }
};

Plain transposed(Plain m) {
  Plain other(m.columns, m.rows);
  for (int64_t row = 0; row < m.rows; row++)
    for (int64_t column = 0; column < m.columns; column++) other.at(column, row) = m.at(row, column);
  return other;
}

int64_t nonzeros(const Plain& m) {
  return int64_t(m.values.size()) - std::count(m.values.begin(), m.values.end(), 0.0);
}

// A part of rows of `from` added to rows of `to`.
void add(Plain& to, Plain from, int64_t first_row) {
  for (int64_t row = 0; row < from.rows; row++)
    for (int64_t column = 0; column < from.columns; column++)
      if (from.at(row, column) != 0.0) to.at(first_row + row, column) += from.at(row, column);
}

// What the codes of a plan of floats make of z, in rows of u.
Plain codes_of(const dsf_plan& plan) {
  Plain u(plan.u_rows + 8, plan.z_rows + 1);
  if (plan.has_dense) add(u, unpack(plan.dense, plan.z_rows + 1), 0);
  if (plan.has_sparse) {
    const Plain blocks = unpack(plan.sparse);
    CHECK(blocks == unpack(plan.sparse.lookup, plan.sparse.rows, plan.sparse.columns));
    add(u, blocks, plan.sparse_row);
  }
  if (plan.has_scatter) add(u, unpack(plan.scatter), plan.sparse_row);
  return u;
}

Kernels kernels_with_everything() {
  Kernels kernels{};
  kernels.lanes = 16;
  kernels.has_lookup = kernels.has_int8_lookup = kernels.has_amx = true;
  return kernels;
}

void fill(dsf_plan& plan, const Kernels& kernels, const Form& form) {
  plan.kernels = &kernels;
  plan.tuning = {.panel_vectors = 4, .small_tokens = 8, .block_bytes = 4096, .unpaired = 0};
  plan.dtype = form.raw.dtype;
  plan.output_dictionary = form.output();
  plan.in_features = form.in_features;
  plan.out_features = form.raw.out_features;
}

TEST(plans_of_floats_hold_the_codes) {
  const Kernels kernels = kernels_with_everything();
  for (uint64_t seed = 0; seed < 300; seed++) {
    Random random(seed);
    const RandomForm given(random, false);
    Form form;
    CHECK(check(&given.raw, form) == DSF_OK);
    dsf_plan plan;
    fill(plan, kernels, form);
    pack_float(form, plan);
    Plain expected = given.codes(), u = codes_of(plan);
    CHECK(nonzeros(u) == nonzeros(expected));
    const bool input = !plan.output_dictionary;
    if (!input) expected = transposed(expected);
    // Where positions and units are: of u and z, the other way round with an output dictionary.
    for (int64_t code = 0; code < given.raw.units; code++)
      for (int64_t position = 0; position < (input ? expected.columns : expected.rows); position++) {
        const int64_t unit = given.permutation[code];
        if (input) {
          const int64_t row = plan.sources.size() ? plan.sources[unit] : unit;
          const int64_t column = position < given.raw.atoms ? position : plan.x_row + position - given.raw.atoms;
          CHECK(u.at(row, column) == expected.at(code, position));
          continue;
        }
        const int64_t column = plan.destinations.size() ? plan.destinations[unit] : unit;
        const int64_t core = (given.raw.core + 7) / 8 * 8;
        const int64_t row = position < given.raw.core    ? position
                            : position < given.raw.atoms ? core + position - given.raw.core
                                                         : plan.result_row + position - given.raw.atoms;
        CHECK(u.at(row, column) == expected.at(position, code));
      }
  }
}

TEST(plans_of_floats_hold_the_dictionary) {
  const Kernels kernels = kernels_with_everything();
  for (uint64_t seed = 0; seed < 100; seed++) {
    Random random(seed);
    const RandomForm given(random, false);
    const dsf_form& raw = given.raw;
    Form form;
    CHECK(check(&raw, form) == DSF_OK);
    dsf_plan plan;
    fill(plan, kernels, form);
    pack_float(form, plan);
    const bool input = !plan.output_dictionary;
    const int64_t rows = input ? raw.atoms : raw.width, columns = input ? raw.width : raw.atoms;
    const int64_t used = input ? columns : raw.nonzeros ? raw.atoms : raw.core;
    CHECK(plan.has_dictionary == (rows > 0 && used > 0));
    if (!plan.has_dictionary) continue;
    Plain dictionary = unpack(plan.dictionary, columns + 16);
    const int64_t core = (raw.core + 7) / 8 * 8;
    for (int64_t row = 0; row < rows; row++)
      for (int64_t k = 0; k < used; k++) {
        const int64_t column = input || k < raw.core ? k : k - raw.core + core;
        CHECK(dictionary.at(row, column) == given.dictionary[row * columns + k]);
      }
  }
}

TEST(plans_of_int8_hold_the_weights) {
  const Kernels kernels = kernels_with_everything();
  for (uint64_t seed = 0; seed < 300; seed++) {
    Random random(seed);
    const RandomForm given(random, true);
    Form form;
    CHECK(check(&given.raw, form) == DSF_OK);
    dsf_plan plan;
    fill(plan, kernels, form);
    pack_int8(form, plan);
    double weights = 0.0, expected = 0.0;
    for (const Int8Groups* m : plan.int8.all()) {
      if (!m->rows) continue;
      Plain plain = unpack(*m, 4 * 128);
      if (m->amx_words.size()) CHECK(unpack(*m, 4 * 128, true) == plain);
      if (m->lookup.blocks) CHECK(unpack(m->lookup, plain.rows, 4 * 128) == plain);
      for (int64_t row = 0; row < m->rows; row++) {
        double sum = 0.0;
        for (int64_t column = 0; column < plain.columns; column++) sum += plain.at(row, column);
        CHECK(sum == double(m->sums[row]));
        weights += sum * m->scales[row];
      }
    }
    // All weights are there once, each with its scale.
    const bool input = !plan.output_dictionary;
    const dsf_form& raw = given.raw;
    const bool used = input || raw.nonzeros || raw.core;
    Plain codes = given.codes();
    for (int64_t code = 0; code < codes.rows; code++)
      for (int64_t p = 0; p < codes.columns; p++) expected += codes.at(code, p) * given.value_scales[input ? code : p];
    const int64_t columns = input ? raw.width : raw.atoms, read = input ? columns : raw.nonzeros ? raw.atoms : raw.core;
    for (int64_t row = 0; used && row < (input ? raw.atoms : raw.width); row++)
      for (int64_t k = 0; k < read; k++) expected += given.dictionary[row * columns + k] * given.dictionary_scales[row];
    CHECK(weights == expected);
  }
}

TEST(forms_that_cannot_be_are_refused) {
  Random random(1);
  RandomForm given(random, false);
  Form form;
  dsf_form raw = given.raw;
  raw.struct_size--;
  CHECK(check(&raw, form) == DSF_BAD_ARGUMENT);
  raw = given.raw;
  raw.core = raw.atoms + 1;
  CHECK(check(&raw, form) == DSF_BAD_ARGUMENT);
  raw = given.raw;
  std::vector<int64_t> twice(raw.units, 0);
  raw.permutation = twice.data();
  CHECK(check(&raw, form) == (raw.units > 1 ? DSF_BAD_PERMUTATION : DSF_OK));
  CHECK(check(nullptr, form) == DSF_BAD_ARGUMENT);
  dsf_form two = {.struct_size = sizeof two, .units = 1, .width = 4, .nonzeros = 2, .group = 1, .out_features = 1};
  const int64_t member = 1;
  const float values[] = {1.0f, 2.0f};
  two.canonical = two.members = 1;
  two.member_sizes = &member;
  two.values = values;
  for (const auto& [first, second, error] : {std::tuple{1, 3, DSF_OK},
                                             {3, 1, DSF_BAD_INDEX},
                                             {1, 1, DSF_BAD_INDEX},
                                             {0, 4, DSF_BAD_INDEX},
                                             {-1, 2, DSF_BAD_INDEX}}) {
    const int32_t indices[] = {first, second};
    two.indices = indices;
    CHECK(check(&two, form) == error);
  }
}

TEST(exceptions_become_errors) {
  CHECK(guarded([]() -> int { throw std::bad_alloc(); }) == DSF_NO_MEMORY);
  CHECK(guarded([]() -> int { throw std::runtime_error("a defect"); }) == DSF_INTERNAL_ERROR);
  CHECK(guarded([] { return int(DSF_BAD_INDEX); }) == DSF_BAD_INDEX);
  SharedError shared;
  shared.guard([] {});
  CHECK(shared.error() == DSF_OK);
  shared.guard([] { throw std::bad_alloc(); });
  shared.guard([] {});
  CHECK(shared.error() == DSF_NO_MEMORY);
}

}  // namespace
}  // namespace dsf::test

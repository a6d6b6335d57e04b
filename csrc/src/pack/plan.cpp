#include "pack/plan.h"

#include <algorithm>
#include <memory>

#include "pack/form.h"
#include "pack/pack.h"
#include "pack/pack_int8.h"

namespace dsf {
namespace {

// From this density on, a dense product with the zeros is faster than one that looks up what is there.
constexpr double DENSE_FROM = 0.7;

class Packer {
 public:
  Packer(const Form& form, dsf_plan& plan) : form_(form), raw_(form.raw), plan_(plan) {}

  void pack() {
    pack_epilogue();
    if (form_.bytes()) return pack_bytes(form_, plan_);
    place();
    if (form_.output())
      pack_output();
    else
      pack_input();
    if (paired()) {
      pair_columns(plan_.dictionary);
      pair_columns(plan_.dense);
      pair_columns(plan_.scatter);
    }
    if (plan_.kernels->has_tiles) {
      pack_tiles(plan_.dictionary);
      pack_tiles(plan_.dense);
    }
  }

 private:
  bool paired() const { return raw_.dtype == DSF_BFLOAT16 && plan_.kernels->has_pairs; }
  bool grouped() const { return raw_.group % 4 == 0 && raw_.nonzeros > 0; }
  int height() const { return raw_.group % 8 == 0 ? 8 : 4; }
  bool mostly_full() const {
    return raw_.group % 4 != 0 && raw_.nonzeros > 0 && form_.selected >= DENSE_FROM * double(form_.candidates);
  }
  // Which code belongs to unit i; grouped codes stay in their own order, and inputs or outputs are reordered instead.
  int64_t code_of(int64_t unit) const { return grouped() ? unit : code_of_unit_[unit]; }

  void place() {
    code_of_unit_.resize(raw_.units);
    for (int64_t code = 0; code < raw_.units; code++) code_of_unit_[form_.unit_of_code[code]] = code;
    in_order_ = std::is_sorted(form_.unit_of_code.begin(), form_.unit_of_code.end());
  }

  void pack_input() {
    const int64_t r = raw_.atoms, learned = round_up(r, 8);
    plan_.x_row = learned;
    plan_.z_rows = learned + raw_.width;
    plan_.u_rows = round_up(raw_.units, 16);
    if (r) {
      plan_.has_dictionary = true;
      pack_dense(plan_.dictionary, r, raw_.width, 8,
                 [&](int64_t row, int64_t k) { return form_.dictionary[row * raw_.width + k]; });
    }
    const auto column = [&](int64_t position) { return position < r ? position : position - r + learned; };
    if (grouped()) {
      plan_.has_dense = true;
      pack_dense(plan_.dense, raw_.units, form_.kept, height(),
                 [&](int64_t row, int64_t k) { return form_.value(row, k); });
      pack_columns(plan_.dense,
                   [&](int64_t pack, int64_t k) { return column(form_.position(pack * height(), k)); });
      if (!in_order_) {
        plan_.any_order = false;
        plan_.sources.resize(raw_.units);
        for (int64_t unit = 0; unit < raw_.units; unit++) plan_.sources[unit] = uint32_t(code_of_unit_[unit]);
      }
      return;
    }
    if (mostly_full()) {
      const std::vector<float> full = dense_codes();
      const int64_t positions = raw_.core + form_.candidates;
      plan_.has_dense = true;
      pack_dense(plan_.dense, raw_.units, positions, 8,
                 [&](int64_t row, int64_t k) { return full[code_of(row) * positions + k]; });
      if (learned != r) pack_columns(plan_.dense, [&](int64_t, int64_t k) { return column(k); });
      return;
    }
    plan_.sparse_adds = raw_.core > 0;
    if (raw_.core > 0 || raw_.nonzeros == 0) {
      plan_.has_dense = true;
      pack_dense(plan_.dense, raw_.units, raw_.core, 8,
                 [&](int64_t row, int64_t k) { return form_.value(code_of(row), k); });
    }
    if (raw_.nonzeros == 0) return;
    std::vector<Entries> rows(raw_.units);
    for (int64_t row = 0; row < raw_.units; row++)
      for (int64_t k = raw_.core; k < form_.kept; k++) {
        if (!form_.holds(code_of(row), k)) continue;
        rows[row].columns.push_back(uint32_t(column(form_.position(code_of(row), k))));
        rows[row].values.push_back(form_.value(code_of(row), k));
      }
    pack_rows(rows, plan_.z_rows, false);
  }

  void pack_output() {
    const int64_t r = raw_.atoms, core = round_up(raw_.core, 8);
    const int64_t learned = round_up(core + r - raw_.core, 8);
    const int64_t written = raw_.canonical ? learned + round_up(raw_.width, 8) : learned;
    plan_.z_rows = raw_.units;
    plan_.result_row = learned;
    plan_.u_rows = learned + round_up(raw_.width, 16);
    const auto row_of = [&](int64_t position) {
      return position < raw_.core ? position : position < r ? position - raw_.core + core : position - r + learned;
    };
    if (mostly_full()) {
      pack_full_output(written, row_of);
    } else {
      pack_core_output();
      plan_.sparse_row = core;
      if (grouped()) pack_scattered(written - core, core, row_of);
      if (!grouped() && raw_.nonzeros) {
        std::vector<Entries> rows(written - core);
        for (int64_t unit = 0; unit < raw_.units; unit++)
          for (int64_t k = raw_.core; k < form_.kept; k++) {
            if (!form_.holds(code_of(unit), k)) continue;
            Entries& row = rows[row_of(form_.position(code_of(unit), k)) - core];
            row.columns.push_back(uint32_t(unit));
            row.values.push_back(form_.value(code_of(unit), k));
          }
        pack_rows(rows, plan_.z_rows, true);
      }
    }
    // Atoms that no unit has would be read from rows that nobody writes.
    const int64_t used = raw_.nonzeros ? r : raw_.core;
    if (!used) return;
    plan_.has_dictionary = true;
    plan_.dictionary_adds = raw_.canonical && raw_.nonzeros;
    pack_dense(plan_.dictionary, raw_.width, used, 8,
               [&](int64_t row, int64_t k) { return form_.dictionary[row * r + k]; });
    if (core != raw_.core) pack_columns(plan_.dictionary, [&](int64_t, int64_t k) { return row_of(k); });
  }

  void pack_core_output() {
    if (raw_.core > 0) {
      plan_.has_dense = true;
      pack_dense(plan_.dense, raw_.core, raw_.units, 8,
                 [&](int64_t row, int64_t unit) { return form_.value(code_of(unit), row); });
    } else if (raw_.nonzeros == 0) {
      plan_.has_dense = true;  // writes the zeros of a weight that is zero
      pack_dense(plan_.dense, plan_.u_rows, 0, 8, [](int64_t, int64_t) { return 0.0f; });
    }
  }

  template <class RowOf>
  void pack_full_output(int64_t written, RowOf row_of) {
    const std::vector<float> full = dense_codes();
    const int64_t positions = raw_.core + form_.candidates;
    std::vector<int64_t> position_of(written, -1);
    for (int64_t p = 0; p < positions; p++) position_of[row_of(p)] = p;
    plan_.has_dense = true;
    pack_dense(plan_.dense, written, raw_.units, 8, [&](int64_t row, int64_t unit) {
      return position_of[row] < 0 ? 0.0f : full[code_of(unit) * positions + position_of[row]];
    });
  }

  template <class RowOf>
  void pack_scattered(int64_t rows, int64_t first_row, RowOf row_of) {
    std::vector<GroupRows> groups(raw_.units / height());
    for (size_t group = 0; group < groups.size(); group++) {
      const int64_t code = int64_t(group) * height();
      for (int64_t k = raw_.core; k < form_.kept; k++) {
        groups[group].rows.push_back(uint32_t(row_of(form_.position(code, k)) - first_row));
        for (int r = 0; r < height(); r++) groups[group].values.push_back(form_.value(code + r, k));
      }
    }
    plan_.has_scatter = true;
    pack_scatter(plan_.scatter, groups, rows, height(), block_rows());
    if (in_order_) return;
    plan_.destinations.resize(raw_.units);
    for (int64_t unit = 0; unit < raw_.units; unit++) plan_.destinations[unit] = uint32_t(code_of_unit_[unit]);
  }

  void pack_rows(const std::vector<Entries>& rows, int64_t columns, bool by_length) {
    plan_.has_sparse = true;
    pack_sparse(plan_.sparse, rows, columns, block_rows(), paired() && !plan_.tuning.unpaired);
    if (plan_.kernels->has_lookup) pack_lookup(plan_.sparse, rows, by_length);
  }

  int64_t block_rows() const {
    const int64_t row_bytes = int64_t(plan_.tuning.panel_vectors) * plan_.kernels->lanes * 4;
    return std::min<int64_t>(std::max<int64_t>(plan_.tuning.block_bytes / row_bytes, 16), 65536);
  }

  std::vector<float> dense_codes() const {
    const int64_t positions = raw_.core + form_.candidates;
    std::vector<float> full(raw_.units * positions, 0.0f);
    for (int64_t code = 0; code < raw_.units; code++)
      for (int64_t k = 0; k < form_.kept; k++)
        full[code * positions + form_.position(code, k)] = form_.value(code, k);
    return full;
  }

  void pack_epilogue() {
    plan_.activation = raw_.activation;
    plan_.member_starts.assign(1, 0);
    for (int32_t m = 0; m < raw_.members; m++)
      plan_.member_starts.push_back(plan_.member_starts.back() + raw_.member_sizes[m]);
    if (form_.bias.empty()) return;
    plan_.bias.resize(form_.bias.size());
    std::copy(form_.bias.begin(), form_.bias.end(), plan_.bias.data());
  }

  const Form& form_;
  const dsf_form& raw_;
  dsf_plan& plan_;
  std::vector<int64_t> code_of_unit_;
  bool in_order_ = true;
};

// Up to how many tokens the kernels for few are faster.
int32_t usual_small_tokens(const dsf_form& form) {
  const bool grouped = form.group % 4 == 0 && form.nonzeros > 0, free = !grouped && form.nonzeros > 0;
  if (form.weights != DSF_INT8) return grouped && form.orientation == DSF_OUTPUT_DICTIONARY ? 3 : 8;
  return free ? (current_kernels()->has_byte_lookup ? 12 : -1) : 3;
}

dsf_tuning with_defaults(const dsf_tuning* given, const dsf_form& form) {
  dsf_tuning tuning = given ? *given : dsf_tuning{};
  const bool sparse = form.group % 4 != 0 && form.nonzeros > 0, bytes = form.weights == DSF_INT8;
  const int most = bytes ? MOST_BYTE_VECTORS : MOST_VECTORS;
  if (tuning.panel_vectors <= 0) tuning.panel_vectors = bytes ? most : sparse ? 4 : 3;
  if (tuning.panel_vectors > most) tuning.panel_vectors = most;
  if (tuning.small_tokens == 0) tuning.small_tokens = usual_small_tokens(form);
  if (tuning.small_tokens > 64) tuning.small_tokens = 64;
  if (tuning.block_bytes <= 0) tuning.block_bytes = 48 * 1024;
  return tuning;
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
  Packer(form, *plan).pack();
  return DSF_OK;
}

int64_t bytes_of(const BytePlan& b) {
  int64_t bytes = 0;
  for (const Quads* m : b.all())
    bytes += m->starts.bytes() + m->words.bytes() + m->columns.bytes() + m->sums.bytes() + m->scales.bytes() +
             m->tiles.bytes() + m->tile_starts.bytes() +
             m->lookup.lanes.bytes() + m->lookup.words.bytes() + m->lookup.steps.bytes() + m->lookup.lane_rows.bytes();
  return bytes;
}

int64_t bytes_of(const Packs& m) { return m.values.bytes() + m.pairs.bytes() + m.tiles.bytes() + m.columns.bytes(); }

}  // namespace
}  // namespace dsf

double dsf_plan::multiplications() const {
  if (in_bytes) {
    size_t words = 0;
    for (const dsf::Quads* m : bytes.all()) words += m->words.size();
    return double(words);  // of four multiplications that take as long as one of fp32
  }
  return double(dictionary.packs * dictionary.count * dictionary.height) +
         double(dense.packs * dense.count * dense.height) + double(sparse.offsets.size()) +
         double(scatter.entry_rows.size() * scatter.height);
}

extern "C" {

dsf_plan* dsf_plan_create(const dsf_form* form, const dsf_tuning* tuning, int* error) {
  std::unique_ptr<dsf_plan> plan;
  int code;
  try {
    code = dsf::create(form, tuning, plan);
  } catch (...) {
    code = DSF_NO_MEMORY;
  }
  if (error) *error = code;
  return code == DSF_OK ? plan.release() : nullptr;
}

void dsf_plan_free(dsf_plan* plan) { delete plan; }

dsf_tuning dsf_plan_tuning(const dsf_plan* plan) { return plan->tuning; }

int64_t dsf_plan_bytes(const dsf_plan* plan) {
  const dsf::Sparse& s = plan->sparse;
  const dsf::Scatter& c = plan->scatter;
  return dsf::bytes_of(plan->bytes) + dsf::bytes_of(plan->dictionary) + dsf::bytes_of(plan->dense) +
         s.starts.bytes() + s.offsets.bytes() +
         s.pairs.bytes() + s.values.bytes() + s.steps.bytes() + s.lane_rows.bytes() + s.windows.bytes() +
         s.lanes.bytes() + s.lane_values.bytes() + c.values.bytes() + c.pairs.bytes() + c.starts.bytes() +
         c.entry_rows.bytes() + plan->destinations.bytes() + plan->sources.bytes() + plan->bias.bytes();
}
}

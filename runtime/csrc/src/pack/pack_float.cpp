#include "pack/pack_float.h"

#include <algorithm>

#include "pack/pack.h"

namespace dsf {
namespace {

// From this density on, a dense product with the zeros is faster than one that looks up what is there.
constexpr double DENSE_FROM = 0.7;

class FloatPacker {
 public:
  FloatPacker(const Form& form, dsf_plan& plan) : form_(form), raw_(form.raw), plan_(plan) {}

  void pack() {
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
    if (plan_.kernels->has_amx) {
      pack_amx(plan_.dictionary);
      pack_amx(plan_.dense);
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
    const int64_t r = raw_.atoms;
    plan_.x_row = round_up(r, 8);
    plan_.z_rows = plan_.x_row + raw_.width;
    plan_.u_rows = round_up(raw_.units, 16);
    if (r) {
      plan_.has_dictionary = true;
      pack_dense(plan_.dictionary, r, raw_.width, 8,
                 [&](int64_t row, int64_t k) { return form_.dictionary[row * raw_.width + k]; });
    }
    if (grouped())
      pack_grouped_input();
    else if (mostly_full())
      pack_full_input();
    else
      pack_sparse_input();
  }

  // The row of z that a position reads.
  int64_t column_of(int64_t position) const {
    return position < raw_.atoms ? position : position - raw_.atoms + plan_.x_row;
  }

  void pack_grouped_input() {
    plan_.has_dense = true;
    pack_dense(plan_.dense, raw_.units, form_.kept, height(),
               [&](int64_t row, int64_t k) { return form_.value(row, k); });
    pack_columns(plan_.dense, [&](int64_t tile, int64_t k) { return column_of(form_.position(tile * height(), k)); });
    if (in_order_) return;
    plan_.any_order = false;
    plan_.sources.resize(raw_.units);
    for (int64_t unit = 0; unit < raw_.units; unit++) plan_.sources[unit] = uint32_t(code_of_unit_[unit]);
  }

  void pack_full_input() {
    const std::vector<float> full = dense_codes();
    const int64_t positions = raw_.core + form_.candidates;
    plan_.has_dense = true;
    pack_dense(plan_.dense, raw_.units, positions, 8,
               [&](int64_t row, int64_t k) { return full[code_of(row) * positions + k]; });
    if (plan_.x_row != raw_.atoms) pack_columns(plan_.dense, [&](int64_t, int64_t k) { return column_of(k); });
  }

  void pack_sparse_input() {
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
        rows[row].columns.push_back(uint32_t(column_of(form_.position(code_of(row), k))));
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
      if (grouped())
        pack_scattered(written - core, core, row_of);
      else if (raw_.nonzeros)
        pack_sparse_output(written - core, core, row_of);
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
  void pack_sparse_output(int64_t rows, int64_t first_row, RowOf row_of) {
    std::vector<Entries> entries(rows);
    for (int64_t unit = 0; unit < raw_.units; unit++)
      for (int64_t k = raw_.core; k < form_.kept; k++) {
        if (!form_.holds(code_of(unit), k)) continue;
        Entries& row = entries[row_of(form_.position(code_of(unit), k)) - first_row];
        row.columns.push_back(uint32_t(unit));
        row.values.push_back(form_.value(code_of(unit), k));
      }
    pack_rows(entries, plan_.z_rows, true);
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
    if (plan_.kernels->has_lookup) pack_lookup(plan_.sparse.lookup, rows, by_length);
  }

  int64_t block_rows() const {
    const int64_t row_bytes = int64_t(plan_.tuning.panel_vectors) * plan_.kernels->lanes * 4;
    return std::min<int64_t>(std::max<int64_t>(plan_.tuning.block_bytes / row_bytes, 16), 65536);
  }

  std::vector<float> dense_codes() const {
    const int64_t positions = raw_.core + form_.candidates;
    std::vector<float> full(raw_.units * positions, 0.0f);
    for (int64_t code = 0; code < raw_.units; code++)
      for (int64_t k = 0; k < form_.kept; k++) full[code * positions + form_.position(code, k)] = form_.value(code, k);
    return full;
  }

  const Form& form_;
  const dsf_form& raw_;
  dsf_plan& plan_;
  std::vector<int64_t> code_of_unit_;
  bool in_order_ = true;
};

}  // namespace

void pack_float(const Form& form, dsf_plan& plan) { FloatPacker(form, plan).pack(); }

}  // namespace dsf

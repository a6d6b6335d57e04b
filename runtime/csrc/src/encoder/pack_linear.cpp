// From plain matrices to what the encoder's kernels read.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "encoder/linear.h"
#include "pack/pack.h"

namespace dsf {
namespace {

constexpr int64_t MOST = int64_t(1) << 22;

bool possible(const dsf_matrix& m) {
  if (m.type == DSF_NO_NUMBERS) return true;
  const bool typed = m.type == DSF_FLOATS || m.type == DSF_BFLOATS || (m.type == DSF_BYTES && m.scales);
  return typed && m.rows > 0 && m.columns > 0 && m.rows < MOST && m.columns < MOST && m.values;
}

bool possible(const dsf_linear_spec& s) {
  if (!possible(s.inner) || !possible(s.outer) || !possible(s.direct)) return false;
  if ((s.inner.type == DSF_NO_NUMBERS) != (s.outer.type == DSF_NO_NUMBERS)) return false;
  if (s.inner.type == DSF_NO_NUMBERS) return s.direct.type != DSF_NO_NUMBERS;
  if (s.inner.rows != s.outer.columns) return false;
  return s.direct.type == DSF_NO_NUMBERS || (s.direct.rows == s.outer.rows && s.direct.columns == s.inner.columns);
}

int8_t byte_at(const dsf_matrix& m, int64_t row, int64_t column) {
  if (row >= m.rows || column >= m.columns) return 0;
  return static_cast<const int8_t*>(m.values)[row * m.columns + column];
}

// Calls run(first row, rows) for every group of rows that a dense product works on at once.
template <class F>
void for_groups(int64_t rows, const RowKernels& kernels, F&& run) {
  const int64_t most = kernels.lanes * kernels.dense_vectors;
  for (int64_t row = 0; row < rows; row += most) run(row, std::min(most, round_up(rows - row, kernels.lanes)));
}

template <class T>
void pack_floats(const dsf_matrix& m, const RowKernels& kernels, Buffer<T>& to) {
  to.resize(size_t(round_up(m.rows, kernels.lanes) * m.columns));
  const T* values = static_cast<const T*>(m.values);
  for_groups(m.rows, kernels, [&](int64_t first, int64_t rows) {
    T* at = to.data() + first * m.columns;
    for (int64_t i = 0; i < std::min(rows, m.rows - first); i++)
      for (int64_t k = 0; k < m.columns; k++) at[k * rows + i] = values[(first + i) * m.columns + k];
  });
}

void pack_dense(const dsf_matrix& m, const RowKernels& kernels, PackedMatrix& to) {
  to.kind = PackedMatrix::DENSE_INT8;
  const int64_t columns = round_up(m.columns, 4);
  to.words.resize(size_t(round_up(m.rows, kernels.lanes) * columns + kernels.dense_slack));
  for_groups(m.rows, kernels, [&](int64_t first, int64_t rows) {
    int8_t* at = to.words.data() + first * columns;
    for (int64_t k = 0; k < columns; k += 4)
      for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < 4; c++) *at++ = byte_at(m, first + i, k + c);
  });
}

// The columns of a row's non-zeros within a bank.
struct Places {
  std::array<uint8_t, BANK> columns;
  int64_t count = 0;
};

Places places_in(const dsf_matrix& m, int64_t row, int64_t bank, int64_t size) {
  Places places;
  for (int64_t i = 0; i < size; i++)
    if (byte_at(m, row, bank * size + i)) places.columns[size_t(places.count++)] = uint8_t(i);
  return places;
}

// Every row of a tile takes as many quads of a bank as the row with most of them.
void pack_banked(const dsf_matrix& m, const RowKernels& kernels, PackedMatrix& to) {
  to.kind = PackedMatrix::BANKED_INT8;
  const int64_t lanes = kernels.lanes, size = kernels.lookup, tiles = round_up(m.rows, lanes) / lanes;
  const int64_t banks = round_up(m.columns, size) / size;
  std::vector<int8_t> words;
  std::vector<uint8_t> where;
  std::vector<uint16_t> banks_of;
  to.starts.resize(size_t(tiles + 1));
  std::vector<Places> rows(static_cast<size_t>(lanes));
  for (int64_t tile = 0; tile < tiles; tile++) {
    for (int64_t bank = 0; bank < banks; bank++) {
      int64_t quads = 0;
      for (int64_t r = 0; r < lanes; r++) {
        rows[size_t(r)] = places_in(m, tile * lanes + r, bank, size);
        quads = std::max(quads, (rows[size_t(r)].count + 3) / 4);
      }
      for (int64_t k = 0; k < 4 * quads; k += 4)
        for (int64_t r = 0; r < lanes; r++)
          for (int64_t c = k; c < k + 4; c++) {
            const Places& own = rows[size_t(r)];
            const uint8_t column = c < own.count ? own.columns[size_t(c)] : 0;
            where.push_back(column);
            words.push_back(c < own.count ? byte_at(m, tile * lanes + r, bank * size + column) : 0);
          }
      banks_of.insert(banks_of.end(), size_t(quads), uint16_t(bank));
    }
    to.starts[size_t(tile + 1)] = uint32_t(banks_of.size());
  }
  copy(to.banks, banks_of);
  copy(to.words, words);
  copy(to.lanes, where);
}

// As a banked matrix, unless that would be slower than a dense one. Their results are the same bit for bit.
void pack_sparse(const dsf_matrix& m, const RowKernels& kernels, PackedMatrix& to) {
  pack_banked(m, kernels, to);
  const int64_t dense_quads = round_up(m.rows, kernels.lanes) / kernels.lanes * (round_up(m.columns, 4) / 4);
  if (double(to.banks.size()) * double(kernels.lookup_cost) <= double(dense_quads)) return;
  to.lanes = {};
  to.starts = {};
  to.banks = {};
  pack_dense(m, kernels, to);
}

void pack_scales(const dsf_matrix& m, const RowKernels& kernels, PackedMatrix& to) {
  const size_t rows = size_t(round_up(m.rows, kernels.lanes * kernels.dense_vectors));
  to.scales.resize(rows);
  to.totals.resize(rows);
  to.sums.resize(rows);
  for (int64_t row = 0; row < m.rows; row++) {
    int32_t& total = to.totals[size_t(row)];
    for (int64_t k = 0; k < m.columns; k++) total += byte_at(m, row, k);
    to.scales[size_t(row)] = m.scales[row];
    to.sums[size_t(row)] = m.scales[row] * float(total);
  }
}

void pack_matrix(const dsf_matrix& m, const RowKernels& kernels, PackedMatrix& to) {
  if (m.type == DSF_NO_NUMBERS) return;
  to.rows = m.rows;
  to.columns = m.columns;
  if (m.type == DSF_FLOATS || m.type == DSF_BFLOATS) {
    to.kind = m.type == DSF_FLOATS ? PackedMatrix::DENSE_FLOAT : PackedMatrix::DENSE_BFLOAT;
    return m.type == DSF_FLOATS ? pack_floats(m, kernels, to.floats) : pack_floats(m, kernels, to.bfloats);
  }
  if (m.sparse)
    pack_sparse(m, kernels, to);
  else
    pack_dense(m, kernels, to);
  pack_scales(m, kernels, to);
}

// Sparse products of floats run as plans do: codes of an input dictionary or an output one, or alone.
class FloatForm {
 public:
  explicit FloatForm(const dsf_linear_spec& spec) : spec_(spec) {
    output_ = spec.inner.type != DSF_NO_NUMBERS && spec.inner.sparse;
    atoms_ = spec.inner.type == DSF_NO_NUMBERS ? 0 : spec.inner.rows;
    out_ = atoms_ ? spec.outer.rows : spec.direct.rows;
    in_ = atoms_ ? spec.inner.columns : spec.direct.columns;
    canonical_ = spec.direct.type != DSF_NO_NUMBERS;
    collect();
  }

  dsf_plan* plan(int* error) const {
    const int64_t members[] = {out_};
    dsf_form form{};
    form.struct_size = sizeof form;
    form.orientation = output_ ? DSF_OUTPUT_DICTIONARY : DSF_INPUT_DICTIONARY;
    form.units = output_ ? in_ : out_;
    form.width = output_ ? out_ : in_;
    form.atoms = atoms_;
    form.nonzeros = most_;
    form.group = 1;
    form.out_features = out_;
    form.canonical = canonical_;
    form.members = 1;
    form.member_sizes = members;
    form.dictionary = atoms_ ? (output_ ? spec_.outer : spec_.inner).values : nullptr;
    form.values = values_.data();
    form.indices = indices_.data();
    form.bias = spec_.bias;
    // Few tokens are summed in the same order as many: by panels alone, and those of up to two vectors add up alike.
    dsf_tuning tuning{};
    tuning.small_tokens = -1;
    tuning.panel_vectors = 2;
    return dsf_plan_create(&form, &tuning, error);
  }

 private:
  // The code of a unit for candidate c: a learned atom or behind them a unit vector.
  float code(int64_t unit, int64_t c) const {
    const bool learned = c < atoms_;
    const dsf_matrix& m = !learned ? spec_.direct : output_ ? spec_.inner : spec_.outer;
    const int64_t position = learned ? c : c - atoms_;
    const int64_t row = output_ ? position : unit, column = output_ ? unit : position;
    return static_cast<const float*>(m.values)[row * m.columns + column];
  }

  // Units with fewer non-zeros than others have zeros at further candidates.
  void collect() {
    const int64_t units = output_ ? in_ : out_, candidates = atoms_ + (canonical_ ? (output_ ? out_ : in_) : 0);
    std::vector<std::vector<int32_t>> kept{size_t(units)};
    for (int64_t u = 0; u < units; u++) {
      for (int64_t c = 0; c < candidates; c++)
        if (code(u, c) != 0.0f) kept[size_t(u)].push_back(int32_t(c));
      most_ = std::max(most_, int64_t(kept[size_t(u)].size()));
    }
    for (int64_t u = 0; u < units; u++) {
      std::vector<int32_t>& own = kept[size_t(u)];
      for (int32_t c = 0; int64_t(own.size()) < most_; c++)
        if (code(u, c) == 0.0f) own.push_back(c);
      std::sort(own.begin(), own.end());
      for (const int32_t c : own) {
        indices_.push_back(c);
        values_.push_back(code(u, c));
      }
    }
  }

  const dsf_linear_spec& spec_;
  bool output_, canonical_;
  int64_t atoms_, out_, in_, most_ = 0;
  std::vector<float> values_;
  std::vector<int32_t> indices_;
};

bool is_sparse_float(const dsf_linear_spec& spec) {
  const auto sparse = [](const dsf_matrix& m) { return m.type == DSF_FLOATS && m.sparse; };
  const auto floats = [](const dsf_matrix& m) { return m.type != DSF_BYTES; };
  const bool all_floats = floats(spec.inner) && floats(spec.outer) && floats(spec.direct);
  return all_floats && (sparse(spec.inner) != sparse(spec.outer) || (sparse(spec.direct) && !spec.inner.type));
}

}  // namespace

int pack_linear(const dsf_linear_spec& spec, dsf_linear& linear) {
  if (!possible(spec)) return DSF_BAD_ARGUMENT;
  linear.kernels = current_kernels();
  const dsf_matrix& reads = spec.direct.type ? spec.direct : spec.inner;
  linear.in_features = reads.columns;
  linear.out_features = spec.direct.type ? spec.direct.rows : spec.outer.rows;
  if (is_sparse_float(spec)) {
    int error = DSF_OK;
    linear.plan.reset(FloatForm(spec).plan(&error));
    return error;
  }
  const RowKernels& kernels = linear.kernels->rows;
  pack_matrix(spec.inner, kernels, linear.inner);
  pack_matrix(spec.outer, kernels, linear.outer);
  pack_matrix(spec.direct, kernels, linear.direct);
  if (spec.bias) {
    linear.bias.resize(size_t(round_up(linear.out_features, 64)));
    std::memcpy(linear.bias.data(), spec.bias, size_t(linear.out_features) * 4);
  }
  return DSF_OK;
}

}  // namespace dsf

#include "pack/pack_int8.h"

#include <algorithm>

#include "pack/pack.h"

namespace dsf {
namespace {

// What the rows of a pack have in common: the columns they read, and their weights there.
struct Pack {
  std::vector<uint32_t> columns;  // of quads where they are aligned
  std::vector<int8_t> weights;    // (columns, height), or (quads, height, 4) where they are aligned
};

uint32_t word_of(const int8_t* weights, int64_t stride, int64_t count) {
  uint32_t word = 0;
  for (int64_t i = 0; i < count; i++) word |= uint32_t(uint8_t(weights[i * stride])) << (8 * i);
  return word;
}

void append_quads(const Pack& pack, Quads::Source source, int height, std::vector<uint32_t>& words,
                  std::vector<uint32_t>& columns) {
  const int64_t step = source == Quads::ALIGNED ? 1 : 4, count = int64_t(pack.columns.size());
  for (int64_t k = 0; k < count; k += step) {
    const int64_t there = std::min(step, count - k);
    for (int r = 0; r < height; r++)
      words.push_back(source == Quads::ALIGNED ? word_of(&pack.weights[(k * height + r) * 4], 1, 4)
                                               : word_of(&pack.weights[k * height + r], height, there));
    if (source == Quads::ALIGNED) columns.push_back(pack.columns[k]);
    if (source == Quads::GATHERED)
      for (int64_t i = 0; i < 4; i++) columns.push_back(pack.columns[k + std::min(i, there - 1)]);
  }
}

// `scale(row)` of those below `rows`; there are as many packs as they need.
template <class Scale>
void pack_quads(Quads& m, Quads::Source source, int64_t rows, int height, const std::vector<Pack>& packs,
                Scale scale) {
  m.source = source;
  m.rows = rows;
  m.height = height;
  m.packs = int64_t(packs.size());
  m.starts.resize(m.packs + 1);
  m.sums.resize(m.packs * height);
  m.scales.resize(m.packs * height);
  std::vector<uint32_t> words, columns;
  for (int64_t pack = 0; pack < m.packs; pack++) {
    append_quads(packs[pack], source, height, words, columns);
    m.starts[pack + 1] = uint32_t(words.size() / height);
  }
  for (int64_t pack = 0; pack < m.packs; pack++)
    for (uint32_t k = m.starts[pack]; k < m.starts[pack + 1]; k++)
      for (int r = 0; r < height; r++)
        for (int shift = 0; shift < 32; shift += 8)
          m.sums[pack * height + r] += int8_t(words[size_t(k) * height + r] >> shift);
  for (int64_t row = 0; row < rows; row++) m.scales[row] = scale(row);
  copy(m.words, words);
  copy(m.columns, columns);
}

// Sixteen rows of a lookup.
struct LookupSteps {
  std::vector<uint32_t> runs{0}, steps{0}, words;
  std::vector<uint16_t> windows;
  std::vector<uint8_t> lanes;

  void take(const std::vector<const Pack*>& rows) {
    std::vector<size_t> next(rows.size(), 0);
    for (int64_t window; (window = window_of(rows, next, BYTE_WINDOW_STEP)) >= 0;) {
      windows.push_back(uint16_t(window));
      while (step(rows, next, window * BYTE_WINDOW_STEP)) {
      }
      steps.push_back(uint32_t(words.size() / 16));
    }
    runs.push_back(uint32_t(windows.size()));
  }

 private:
  bool step(const std::vector<const Pack*>& rows, std::vector<size_t>& next, int64_t first) {
    uint8_t where[64] = {};
    int8_t weights[64] = {};
    bool any = false;
    for (size_t lane = 0; lane < rows.size(); lane++) {
      const Pack& row = *rows[lane];
      for (int i = 0; i < 4; i++) {
        size_t& k = next[lane];
        if (k == row.columns.size() || row.columns[k] >= first + 2 * BYTE_WINDOW_STEP) break;
        where[4 * lane + i] = uint8_t(row.columns[k] - first);
        weights[4 * lane + i] = row.weights[k++];
        any = true;
      }
    }
    if (!any) return false;
    lanes.insert(lanes.end(), where, where + 64);
    for (int lane = 0; lane < 16; lane++) words.push_back(word_of(weights + 4 * lane, 1, 4));
    return true;
  }
};

void pack_lookup(ByteLookup& m, const std::vector<Pack>& rows, bool by_length) {
  m.sixteens = (int64_t(rows.size()) + 15) / 16;
  LookupSteps steps;
  by_sixteens(rows, by_length, m.lane_rows,
              [&](int64_t, const std::vector<const Pack*>& lanes) { steps.take(lanes); });
  copy(m.runs, steps.runs);
  copy(m.steps, steps.steps);
  copy(m.windows, steps.windows);
  copy(m.lanes, steps.lanes);
  copy(m.words, steps.words);
}

// `value(row, k)` for every row and column.
template <class Value, class Scale>
void pack_dense(Quads& m, int64_t rows, int64_t count, Value value, Scale scale) {
  constexpr int HEIGHT = 8;
  std::vector<Pack> packs((rows + HEIGHT - 1) / HEIGHT);
  for (size_t pack = 0; pack < packs.size(); pack++) {
    packs[pack].columns.resize(count);
    packs[pack].weights.resize(count * HEIGHT);
    for (int64_t r = 0; r < HEIGHT && int64_t(pack) * HEIGHT + r < rows; r++)
      for (int64_t k = 0; k < count; k++) packs[pack].weights[k * HEIGHT + r] = int8_t(value(pack * HEIGHT + r, k));
  }
  pack_quads(m, Quads::DENSE, rows, HEIGHT, packs, scale);
}

class Packer {
 public:
  Packer(const Form& form, dsf_plan& plan) : form_(form), raw_(form.raw), plan_(plan), to_(plan.bytes) {}

  void pack() {
    in_order_ = std::is_sorted(form_.unit_of_code.begin(), form_.unit_of_code.end());
    if (form_.output())
      pack_output();
    else
      pack_input();
    for (const Quads& m : to_.first) note(m, to_.x_quads, to_.x_rows);
    note(to_.second[0], to_.p_quads, to_.p_bytes);
    note(to_.second[1], to_.x_quads, to_.x_rows);
    if (!plan_.kernels->has_tiles) return;
    for (Quads& m : to_.first) pack_tiles(m);
    for (Quads& m : to_.second) pack_tiles(m);
  }

 private:
  static void note(const Quads& m, bool& quads, bool& rows) {
    if (m.rows) (m.source == Quads::GATHERED ? rows : quads) = true;
  }
  int group_height() const { return !raw_.nonzeros || raw_.group % 4 ? 1 : raw_.group % 8 ? 4 : 8; }
  float code_scale(int64_t row) const { return raw_.value_scales[row]; }
  float dictionary_scale(int64_t row) const { return raw_.dictionary_scales[row]; }

  void place(int64_t p_rows, int64_t results) {
    to_.p_rows = p_rows;
    to_.u_row = round_up(p_rows, 8);
    to_.rows = to_.u_row + round_up(results, 16);
  }

  void pack_input() {
    const int64_t r = raw_.atoms;
    place(r, raw_.units);
    if (r)
      pack_dense(
          to_.first[0], r, raw_.width, [&](int64_t row, int64_t k) { return form_.dictionary[row * raw_.width + k]; },
          [&](int64_t row) { return dictionary_scale(row); });
    if (raw_.nonzeros == 0)
      pack_dense(
          to_.second[0], raw_.units, raw_.core, [&](int64_t code, int64_t k) { return form_.value(code, k); },
          [&](int64_t code) { return code_scale(code); });
    else
      pack_codes();
    if (in_order_) return;
    plan_.any_order = false;
    plan_.sources.resize(raw_.units);
    for (int64_t code = 0; code < raw_.units; code++) plan_.sources[form_.unit_of_code[code]] = uint32_t(code);
  }

  // What codes read of the product and of the input is rounded differently, and so summed apart.
  void pack_codes() {
    const int height = group_height();
    std::vector<Pack> parts[2];
    for (auto& part : parts) part.resize(raw_.units / height);
    for (int64_t pack = 0; pack < raw_.units / height; pack++)
      for (int64_t k = 0; k < form_.kept; k++) {
        const int64_t code = pack * height, position = form_.position(code, k);
        if (height == 1 && !form_.holds(code, k)) continue;
        const bool learned = position < raw_.atoms;
        Pack& to = parts[learned ? 0 : 1][pack];
        to.columns.push_back(uint32_t(learned ? position : position - raw_.atoms));
        for (int r = 0; r < height; r++) to.weights.push_back(int8_t(form_.value(code + r, k)));
      }
    const auto scale = [&](int64_t code) { return code_scale(code); };
    if (raw_.atoms) pack_gathered(to_.second[0], raw_.units, height, parts[0], scale, false);
    if (raw_.canonical) pack_gathered(to_.second[1], raw_.units, height, parts[1], scale, false);
  }

  template <class Scale>
  void pack_gathered(Quads& m, int64_t rows, int height, const std::vector<Pack>& packs, Scale scale, bool by_length) {
    pack_quads(m, Quads::GATHERED, rows, height, packs, scale);
    if (height == 1 && plan_.kernels->has_byte_lookup) pack_lookup(m.lookup, packs, by_length);
  }

  void pack_output() {
    const int64_t used = raw_.nonzeros ? raw_.atoms : raw_.core;
    place(used, raw_.width);
    if (!in_order_) {
      plan_.destinations.resize(raw_.units);
      for (int64_t code = 0; code < raw_.units; code++) plan_.destinations[form_.unit_of_code[code]] = uint32_t(code);
    }
    if (raw_.core)
      pack_dense(
          to_.first[0], raw_.core, raw_.units, [&](int64_t row, int64_t code) { return form_.value(code, row); },
          [&](int64_t row) { return code_scale(row); });
    const std::vector<Pack> selected = selected_rows();
    const Quads::Source source = group_height() > 1 ? Quads::ALIGNED : Quads::GATHERED;
    // The rows of atoms, then those of unit vectors; of a weight that is zero, the zeros.
    const auto pack_rows = [&](Quads& m, int64_t first, int64_t last) {
      const std::vector<Pack> packs(selected.begin() + first, selected.begin() + last);
      const auto scale = [&](int64_t row) { return code_scale(first + row); };
      if (source == Quads::GATHERED) return pack_gathered(m, last - first, 1, packs, scale, true);
      pack_quads(m, source, last - first, 1, packs, scale);
    };
    to_.first_rows[1] = raw_.core;
    to_.first_rows[2] = to_.u_row;
    if (raw_.nonzeros && raw_.atoms > raw_.core) pack_rows(to_.first[1], raw_.core, raw_.atoms);
    if (raw_.canonical && raw_.nonzeros)
      pack_rows(to_.first[2], raw_.atoms, raw_.atoms + raw_.width);
    else if (!used)
      pack_quads(to_.first[2], source, raw_.width, 1, std::vector<Pack>(raw_.width), [](int64_t) { return 0.0f; });
    to_.adds = to_.first[2].rows > 0;
    if (used)
      pack_dense(
          to_.second[0], raw_.width, used,
          [&](int64_t row, int64_t k) { return form_.dictionary[row * raw_.atoms + k]; },
          [&](int64_t row) { return dictionary_scale(row); });
  }

  // By position, the codes that have it.
  std::vector<Pack> selected_rows() const {
    std::vector<Pack> rows(raw_.atoms + (raw_.canonical ? raw_.width : 0));
    const int height = group_height();
    const int64_t step = height > 1 ? 4 : 1;
    for (int64_t code = 0; code < raw_.units; code += step)
      for (int64_t k = raw_.core; k < form_.kept; k++) {
        if (step == 1 && !form_.holds(code, k)) continue;
        Pack& row = rows[form_.position(code, k)];
        row.columns.push_back(uint32_t(code / step));
        for (int64_t i = 0; i < step; i++) row.weights.push_back(int8_t(form_.value(code + i, k)));
      }
    return rows;
  }

  const Form& form_;
  const dsf_form& raw_;
  dsf_plan& plan_;
  BytePlan& to_;
  bool in_order_ = true;
};

}  // namespace

void pack_bytes(const Form& form, dsf_plan& plan) {
  plan.in_bytes = true;
  Packer(form, plan).pack();
}

}  // namespace dsf

#include "pack/pack_int8.h"

#include <algorithm>

#include "pack/lookup.h"
#include "pack/pack.h"

namespace dsf {
namespace {

// What the rows of a tile have in common: the columns they read, and their weights there.
struct Tile {
  std::vector<uint32_t> columns;  // of groups where they are aligned
  std::vector<int8_t> weights;    // (columns, height), or (groups, height, 4) where they are aligned
};

uint32_t word_of(const int8_t* weights, int64_t stride, int64_t count) {
  uint32_t word = 0;
  for (int64_t i = 0; i < count; i++) word |= uint32_t(uint8_t(weights[i * stride])) << (8 * i);
  return word;
}

void append_groups(const Tile& tile, Int8Groups::Source source, int height, std::vector<uint32_t>& words,
                   std::vector<uint32_t>& columns) {
  const int64_t step = source == Int8Groups::ALIGNED ? 1 : 4, count = int64_t(tile.columns.size());
  for (int64_t k = 0; k < count; k += step) {
    const int64_t there = std::min(step, count - k);
    for (int r = 0; r < height; r++)
      words.push_back(source == Int8Groups::ALIGNED ? word_of(&tile.weights[(k * height + r) * 4], 1, 4)
                                                    : word_of(&tile.weights[k * height + r], height, there));
    if (source == Int8Groups::ALIGNED) columns.push_back(tile.columns[k]);
    if (source == Int8Groups::GATHERED)
      for (int64_t i = 0; i < 4; i++) columns.push_back(tile.columns[k + std::min(i, there - 1)]);
  }
}

// `scale(row)` of those below `rows`; there are as many tiles as they need.
template <class Scale>
void pack_groups(Int8Groups& m, Int8Groups::Source source, int64_t rows, int height, const std::vector<Tile>& tiles,
                 Scale scale) {
  m.source = source;
  m.rows = rows;
  m.height = height;
  m.tiles = int64_t(tiles.size());
  m.starts.resize(m.tiles + 1);
  m.sums.resize(m.tiles * height);
  m.scales.resize(m.tiles * height);
  std::vector<uint32_t> words, columns;
  for (int64_t tile = 0; tile < m.tiles; tile++) {
    append_groups(tiles[tile], source, height, words, columns);
    m.starts[tile + 1] = uint32_t(words.size() / height);
  }
  for (int64_t tile = 0; tile < m.tiles; tile++)
    for (uint32_t k = m.starts[tile]; k < m.starts[tile + 1]; k++)
      for (int r = 0; r < height; r++)
        for (int shift = 0; shift < 32; shift += 8)
          m.sums[tile * height + r] += int8_t(words[size_t(k) * height + r] >> shift);
  for (int64_t row = 0; row < rows; row++) m.scales[row] = scale(row);
  copy(m.words, words);
  copy(m.columns, columns);
}

// Of successive blocks of 16 rows.
struct LookupSteps {
  std::vector<uint32_t> runs{0}, steps{0}, words;
  std::vector<uint16_t> windows;
  std::vector<uint8_t> lanes;

  void take(const std::vector<const Tile*>& rows) {
    std::vector<size_t> next(rows.size(), 0);
    for (int64_t window; (window = window_of(rows, next, INT8_WINDOW_STEP)) >= 0;) {
      windows.push_back(uint16_t(window));
      while (step(rows, next, window * INT8_WINDOW_STEP)) {
      }
      steps.push_back(uint32_t(words.size() / 16));
    }
    runs.push_back(uint32_t(windows.size()));
  }

 private:
  bool step(const std::vector<const Tile*>& rows, std::vector<size_t>& next, int64_t first) {
    uint8_t where[64] = {};
    int8_t weights[64] = {};
    bool any = false;
    for (size_t lane = 0; lane < rows.size(); lane++) {
      const Tile& row = *rows[lane];
      for (int i = 0; i < 4; i++) {
        size_t& k = next[lane];
        if (k == row.columns.size() || row.columns[k] >= first + 2 * INT8_WINDOW_STEP) break;
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

void pack_lookup(Int8Lookup& m, const std::vector<Tile>& rows, bool by_length) {
  m.blocks = (int64_t(rows.size()) + 15) / 16;
  LookupSteps steps;
  by_blocks_of_16(rows, by_length, m.lane_rows,
                  [&](int64_t, const std::vector<const Tile*>& lanes) { steps.take(lanes); });
  copy(m.runs, steps.runs);
  copy(m.steps, steps.steps);
  copy(m.windows, steps.windows);
  copy(m.lanes, steps.lanes);
  copy(m.words, steps.words);
}

// `value(row, k)` for every row and column.
template <class Value, class Scale>
void pack_dense(Int8Groups& m, int64_t rows, int64_t count, Value value, Scale scale) {
  constexpr int HEIGHT = 8;
  std::vector<Tile> tiles((rows + HEIGHT - 1) / HEIGHT);
  for (size_t tile = 0; tile < tiles.size(); tile++) {
    tiles[tile].columns.resize(count);
    tiles[tile].weights.resize(count * HEIGHT);
    for (int64_t r = 0; r < HEIGHT && int64_t(tile) * HEIGHT + r < rows; r++)
      for (int64_t k = 0; k < count; k++) tiles[tile].weights[k * HEIGHT + r] = int8_t(value(tile * HEIGHT + r, k));
  }
  pack_groups(m, Int8Groups::DENSE, rows, HEIGHT, tiles, scale);
}

class Int8Packer {
 public:
  Int8Packer(const Form& form, dsf_plan& plan) : form_(form), raw_(form.raw), plan_(plan), to_(plan.int8) {}

  void pack() {
    in_order_ = std::is_sorted(form_.unit_of_code.begin(), form_.unit_of_code.end());
    if (form_.output())
      pack_output();
    else
      pack_input();
    for (const Int8Groups& m : to_.first) note(m, to_.reads_x_words, to_.reads_x_rows);
    note(to_.second[0], to_.reads_p_words, to_.reads_p_rows);
    note(to_.second[1], to_.reads_x_words, to_.reads_x_rows);
    if (!plan_.kernels->has_amx) return;
    for (Int8Groups& m : to_.first) pack_amx(m);
    for (Int8Groups& m : to_.second) pack_amx(m);
  }

 private:
  static void note(const Int8Groups& m, bool& words, bool& rows) {
    if (m.rows) (m.source == Int8Groups::GATHERED ? rows : words) = true;
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
    std::vector<Tile> parts[2];
    for (auto& part : parts) part.resize(raw_.units / height);
    for (int64_t tile = 0; tile < raw_.units / height; tile++)
      for (int64_t k = 0; k < form_.kept; k++) {
        const int64_t code = tile * height, position = form_.position(code, k);
        if (height == 1 && !form_.holds(code, k)) continue;
        const bool learned = position < raw_.atoms;
        Tile& to = parts[learned ? 0 : 1][tile];
        to.columns.push_back(uint32_t(learned ? position : position - raw_.atoms));
        for (int r = 0; r < height; r++) to.weights.push_back(int8_t(form_.value(code + r, k)));
      }
    const auto scale = [&](int64_t code) { return code_scale(code); };
    if (raw_.atoms) pack_gathered(to_.second[0], raw_.units, height, parts[0], scale, false);
    if (raw_.canonical) pack_gathered(to_.second[1], raw_.units, height, parts[1], scale, false);
  }

  template <class Scale>
  void pack_gathered(Int8Groups& m, int64_t rows, int height, const std::vector<Tile>& tiles, Scale scale,
                     bool by_length) {
    pack_groups(m, Int8Groups::GATHERED, rows, height, tiles, scale);
    if (height == 1 && plan_.kernels->has_int8_lookup) pack_lookup(m.lookup, tiles, by_length);
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
    const std::vector<Tile> selected = selected_rows();
    const Int8Groups::Source source = group_height() > 1 ? Int8Groups::ALIGNED : Int8Groups::GATHERED;
    // The rows of atoms, then those of unit vectors; of a weight that is zero, the zeros.
    const auto pack_rows = [&](Int8Groups& m, int64_t first, int64_t last) {
      const std::vector<Tile> tiles(selected.begin() + first, selected.begin() + last);
      const auto scale = [&](int64_t row) { return code_scale(first + row); };
      if (source == Int8Groups::GATHERED) return pack_gathered(m, last - first, 1, tiles, scale, true);
      pack_groups(m, source, last - first, 1, tiles, scale);
    };
    to_.first_rows[1] = raw_.core;
    to_.first_rows[2] = to_.u_row;
    if (raw_.nonzeros && raw_.atoms > raw_.core) pack_rows(to_.first[1], raw_.core, raw_.atoms);
    if (raw_.canonical && raw_.nonzeros)
      pack_rows(to_.first[2], raw_.atoms, raw_.atoms + raw_.width);
    else if (!used)
      pack_groups(to_.first[2], source, raw_.width, 1, std::vector<Tile>(raw_.width), [](int64_t) { return 0.0f; });
    to_.adds = to_.first[2].rows > 0;
    if (used)
      pack_dense(
          to_.second[0], raw_.width, used,
          [&](int64_t row, int64_t k) { return form_.dictionary[row * raw_.atoms + k]; },
          [&](int64_t row) { return dictionary_scale(row); });
  }

  // By position, the codes that have it.
  std::vector<Tile> selected_rows() const {
    std::vector<Tile> rows(raw_.atoms + (raw_.canonical ? raw_.width : 0));
    const int height = group_height();
    const int64_t step = height > 1 ? 4 : 1;
    for (int64_t code = 0; code < raw_.units; code += step)
      for (int64_t k = raw_.core; k < form_.kept; k++) {
        if (step == 1 && !form_.holds(code, k)) continue;
        Tile& row = rows[form_.position(code, k)];
        row.columns.push_back(uint32_t(code / step));
        for (int64_t i = 0; i < step; i++) row.weights.push_back(int8_t(form_.value(code + i, k)));
      }
    return rows;
  }

  const Form& form_;
  const dsf_form& raw_;
  dsf_plan& plan_;
  Int8Plan& to_;
  bool in_order_ = true;
};

}  // namespace

void pack_int8(const Form& form, dsf_plan& plan) {
  plan.is_int8 = true;
  Int8Packer(form, plan).pack();
}

}  // namespace dsf

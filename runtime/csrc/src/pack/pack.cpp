#include "pack/pack.h"

#include <algorithm>
#include <cstring>

#include "pack/lookup.h"

namespace dsf {

namespace {

uint32_t upper_half(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits >> 16;
}

uint32_t pair_of(const float* values) { return upper_half(values[0]) | upper_half(values[1]) << 16; }

}  // namespace

void pair_columns(DenseTiles& m) {
  const int64_t pairs = m.pair_count(), height = m.height;
  m.pairs.resize(m.tiles * pairs * height);
  const auto half = [&](int64_t tile, int64_t k, int64_t r) {
    return k < m.count ? upper_half(m.values[(tile * m.count + k) * height + r]) : 0;
  };
  for (int64_t tile = 0; tile < m.tiles; tile++)
    for (int64_t p = 0; p < pairs; p++)
      for (int64_t r = 0; r < height; r++)
        m.pairs[(tile * pairs + p) * height + r] = half(tile, 2 * p, r) | half(tile, 2 * p + 1, r) << 16;
  if (m.indexed) {
    Buffer<uint32_t> columns(m.tiles * pairs * 2);
    for (int64_t tile = 0; tile < m.tiles; tile++)
      for (int64_t k = 0; k < 2 * pairs; k++)
        columns[tile * 2 * pairs + k] = m.columns[tile * m.count + std::min(k, m.count - 1)];
    m.columns = std::move(columns);
  }
  m.values.resize(0);
  m.paired = true;
}

void pair_columns(Scatter& m) {
  const size_t pairs = m.entry_rows.size() * m.height / 2;
  m.pairs.resize(pairs);
  for (size_t i = 0; i < pairs; i++) m.pairs[i] = pair_of(m.values.data() + 2 * i);
  m.values.resize(0);
  m.paired = true;
}

void pack_sparse(Sparse& m, const std::vector<Entries>& rows, int64_t columns, int64_t max_block_columns, bool paired) {
  m.rows = int64_t(rows.size());
  m.columns = columns;
  m.blocks = std::max<int64_t>(1, (columns + max_block_columns - 1) / max_block_columns);
  // Even: dense columns that are streamed with these come in pairs.
  m.block_columns = round_up((columns + m.blocks - 1) / m.blocks, 2);
  m.paired = paired;
  m.starts.resize(m.blocks * (m.rows + 1));
  std::vector<uint16_t> offsets;
  std::vector<float> values;
  std::vector<size_t> next(rows.size(), 0);
  for (int64_t block = 0; block < m.blocks; block++) {
    uint32_t* starts = m.starts.data() + block * (m.rows + 1);
    const int64_t first = block * m.block_columns, last = first + m.block_columns;
    for (int64_t row = 0; row < m.rows; row++) {
      starts[row] = uint32_t(offsets.size());
      const Entries& entries = rows[row];
      for (size_t& k = next[row]; k < entries.columns.size() && entries.columns[k] < last; k++) {
        offsets.push_back(uint16_t(entries.columns[k] - first));
        values.push_back(entries.values[k]);
      }
      if (paired && (offsets.size() - starts[row]) % 2) {
        offsets.push_back(offsets.back());
        values.push_back(0.0f);
      }
    }
    starts[m.rows] = uint32_t(offsets.size());
  }
  m.offsets.resize(offsets.size());
  std::copy(offsets.begin(), offsets.end(), m.offsets.data());
  if (paired) {
    m.pairs.resize(values.size() / 2);
    for (size_t i = 0; i < m.pairs.size(); i++) m.pairs[i] = pair_of(values.data() + 2 * i);
  } else {
    m.values.resize(values.size());
    std::copy(values.begin(), values.end(), m.values.data());
  }
}

namespace {

// Of successive blocks of 16 rows.
struct LookupSteps {
  std::vector<uint16_t> windows;
  std::vector<uint8_t> lanes;
  std::vector<float> values;

  void rest(size_t count) {
    windows.resize(windows.size() + count, 0);
    lanes.resize(windows.size() * 16, 0);
    values.resize(windows.size() * 16, 0.0f);
  }

  void take(const std::vector<const Entries*>& rows) {
    std::vector<size_t> next(rows.size(), 0);
    for (int64_t window; (window = window_of(rows, next, WINDOW_STEP)) >= 0;) {
      const size_t step = windows.size();
      rest(1);
      windows[step] = uint16_t(window);
      for (size_t lane = 0; lane < rows.size(); lane++) {
        const Entries& row = *rows[lane];
        size_t& k = next[lane];
        if (k == row.columns.size() || row.columns[k] >= window * WINDOW_STEP + 32) continue;
        lanes[step * 16 + lane] = uint8_t(row.columns[k] - window * WINDOW_STEP);
        values[step * 16 + lane] = row.values[k];
        k++;
      }
    }
  }
};

}  // namespace

void pack_lookup(FloatLookup& m, const std::vector<Entries>& rows, bool by_length) {
  m.blocks = (int64_t(rows.size()) + 15) / 16;
  m.steps.resize(m.blocks + 1);
  LookupSteps steps;
  by_blocks_of_16(rows, by_length, m.lane_rows, [&](int64_t block, const std::vector<const Entries*>& lanes) {
    steps.take(lanes);
    steps.rest((4 - steps.windows.size() % 4) % 4);  // kernels take four steps at a time
    m.steps[block + 1] = uint32_t(steps.windows.size());
  });
  copy(m.windows, steps.windows);
  copy(m.lanes, steps.lanes);
  copy(m.values, steps.values);
}

void pack_scatter(Scatter& m, const std::vector<GroupRows>& groups, int64_t rows, int height, int64_t max_block_rows) {
  m.rows = rows;
  m.groups = int64_t(groups.size());
  m.columns = m.groups * height;
  m.height = height;
  m.blocks = std::max<int64_t>(1, (rows + max_block_rows - 1) / max_block_rows);
  m.block_rows = (rows + m.blocks - 1) / m.blocks;

  size_t total = 0;
  for (const GroupRows& group : groups) total += group.rows.size();
  m.values.resize((total + 16) * height);
  m.entry_rows.resize(total);
  m.starts.resize(m.blocks * (m.groups + 1));
  std::vector<size_t> next(groups.size(), 0);
  uint32_t at = 0;
  for (int64_t block = 0; block < m.blocks; block++) {
    uint32_t* starts = m.starts.data() + block * (m.groups + 1);
    for (int64_t group = 0; group < m.groups; group++) {
      starts[group] = at;
      const GroupRows& own = groups[group];
      for (size_t& k = next[group]; k < own.rows.size() && own.rows[k] < (block + 1) * m.block_rows; k++, at++) {
        m.entry_rows[at] = own.rows[k];
        std::copy_n(own.values.data() + k * height, height, m.values.data() + size_t(at) * height);
      }
    }
    starts[m.groups] = at;
  }
}

}  // namespace dsf

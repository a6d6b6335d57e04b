// From plain matrices to what the kernels read.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "pack/matrices.h"

namespace dsf {

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

template <class T, class U>
void copy(Buffer<T>& to, const std::vector<U>& from) {
  to.resize(from.size());
  std::copy(from.begin(), from.end(), to.data());
}

// Lookups: the window, in steps of columns, at which the lane that lags most goes on; -1: all are done.
template <class Row>
int64_t window_of(const std::vector<const Row*>& lanes, const std::vector<size_t>& next, int64_t step) {
  int64_t window = -1;
  for (size_t lane = 0; lane < lanes.size(); lane++) {
    if (next[lane] == lanes[lane]->columns.size()) continue;
    const int64_t own = lanes[lane]->columns[next[lane]] / step;
    if (window < 0 || own < window) window = own;
  }
  return window;
}

// Rows by sixteens, one to a lane: in order or the longest first, so that lanes end together.
template <class Row, class Take>
void by_sixteens(const std::vector<Row>& rows, bool by_length, Buffer<uint32_t>& lane_rows, Take take) {
  std::vector<uint32_t> order(rows.size());
  std::iota(order.begin(), order.end(), 0u);
  if (by_length)
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return rows[a].columns.size() > rows[b].columns.size(); });
  const int64_t sixteens = (int64_t(rows.size()) + 15) / 16;
  lane_rows.resize(sixteens * 16);
  for (int64_t sixteen = 0; sixteen < sixteens; sixteen++) {
    std::vector<const Row*> lanes;
    for (int64_t lane = 0; lane < 16; lane++) {
      const size_t i = sixteen * 16 + lane;
      lane_rows[i] = i < order.size() ? order[i] : UINT32_MAX;
      if (i < order.size()) lanes.push_back(&rows[order[i]]);
    }
    take(sixteen, lanes);
  }
}

// A row's entries, columns ascending.
struct Entries {
  std::vector<uint32_t> columns;
  std::vector<float> values;
};

// `value(row, k)` for rows below `rows`; `columns(pack, k)` where the packs are indexed.
template <class Value>
void pack_dense(Packs& m, int64_t rows, int64_t count, int height, Value value) {
  m.rows = rows;
  m.height = height;
  m.packs = (rows + height - 1) / height;
  m.count = count;
  m.values.resize(m.packs * count * height);
  for (int64_t row = 0; row < rows; row++) {
    float* to = m.values.data() + row / height * count * height + row % height;
    for (int64_t k = 0; k < count; k++) to[k * height] = value(row, k);
  }
}

template <class Column>
void pack_columns(Packs& m, Column column) {
  m.indexed = true;
  m.columns.resize(m.packs * m.count);
  for (int64_t pack = 0; pack < m.packs; pack++)
    for (int64_t k = 0; k < m.count; k++) m.columns[pack * m.count + k] = uint32_t(column(pack, k));
}

// Two columns to a word, for values that bfloat16 can hold.
void pair_columns(Packs& m);
void pair_columns(Scatter& m);

// Sixteen words of rows that share columns to a tile, after everything else; nothing where there are none.
void pack_tiles(Packs& m);
void pack_tiles(Quads& m);

void pack_sparse(Sparse& m, const std::vector<Entries>& rows, int64_t columns, int64_t most_block_columns,
                 bool paired);
void pack_lookup(Sparse& m, const std::vector<Entries>& rows, bool by_length);

// rows[group] lists a group's rows, ascending; value(group, k, r) is that of its k-th row and r-th column.
struct GroupRows {
  std::vector<uint32_t> rows;
  std::vector<float> values;  // (rows, height)
};
void pack_scatter(Scatter& m, const std::vector<GroupRows>& groups, int64_t rows, int height,
                  int64_t most_block_rows);

}  // namespace dsf

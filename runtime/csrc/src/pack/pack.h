// From plain matrices to what the kernels read.
#pragma once

#include <algorithm>
#include <vector>

#include "pack/matrices.h"

namespace dsf {

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

template <class T, class U>
void copy(Buffer<T>& to, const std::vector<U>& from) {
  to.resize(from.size());
  std::copy(from.begin(), from.end(), to.data());
}

// A row's entries, columns ascending.
struct Entries {
  std::vector<uint32_t> columns;
  std::vector<float> values;
};

// `value(row, k)` for rows below `rows`; `column(tile, k)` where the tiles are indexed.
template <class Value>
void pack_dense(DenseTiles& m, int64_t rows, int64_t count, int height, Value value) {
  m.rows = rows;
  m.height = height;
  m.tiles = (rows + height - 1) / height;
  m.count = count;
  m.values.resize(m.tiles * count * height);
  for (int64_t row = 0; row < rows; row++) {
    float* to = m.values.data() + row / height * count * height + row % height;
    for (int64_t k = 0; k < count; k++) to[k * height] = value(row, k);
  }
}

template <class Column>
void pack_columns(DenseTiles& m, Column column) {
  m.indexed = true;
  m.columns.resize(m.tiles * m.count);
  for (int64_t tile = 0; tile < m.tiles; tile++)
    for (int64_t k = 0; k < m.count; k++) m.columns[tile * m.count + k] = uint32_t(column(tile, k));
}

// Two columns to a word, for values that bfloat16 can hold.
void pair_columns(DenseTiles& m);
void pair_columns(Scatter& m);

// For tiles of AMX, sixteen words of rows that share columns to each, after everything else; nothing where there are
// none.
void pack_amx(DenseTiles& m);
void pack_amx(Int8Groups& m);

void pack_sparse(Sparse& m, const std::vector<Entries>& rows, int64_t columns, int64_t max_block_columns, bool paired);
void pack_lookup(FloatLookup& m, const std::vector<Entries>& rows, bool by_length);

// rows[group] lists a group's rows, ascending; value(group, k, r) is that of its k-th row and r-th column.
struct GroupRows {
  std::vector<uint32_t> rows;
  std::vector<float> values;  // (rows, height)
};
void pack_scatter(Scatter& m, const std::vector<GroupRows>& groups, int64_t rows, int height, int64_t max_block_rows);

}  // namespace dsf

// From plain matrices to what the kernels read.
#pragma once

#include <vector>

#include "packed.h"

namespace dsf {

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

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

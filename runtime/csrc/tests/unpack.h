// Packed matrices read back as plain ones, number by number as matrices.h says they lie.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "check.h"
#include "pack/matrices.h"

namespace dsf::test {

struct Plain {
  int64_t rows, columns;
  std::vector<double> values;
  double outside = 0.0;

  Plain(int64_t row_count, int64_t column_count)
      : rows(row_count), columns(column_count), values(size_t(row_count * column_count), 0.0) {}
  double& at(int64_t row, int64_t column) {
    const bool inside = 0 <= row && row < rows && 0 <= column && column < columns;
    CHECK(inside);
    return inside ? values[size_t(row * columns + column)] : outside;
  }
  bool operator==(const Plain&) const = default;
};

inline float low_half(uint32_t pair) {
  const uint32_t bits = pair << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
inline float high_half(uint32_t pair) { return low_half(pair >> 16); }

// Weight k of a word of four.
inline int8_t weight_of(uint32_t word, int k) { return int8_t(word >> (8 * k)); }

// `from_amx`: from the second copy.
inline Plain unpack(const DenseTiles& m, int64_t columns, bool from_amx = false) {
  Plain plain(m.tiles * m.height, columns);
  const int64_t together = m.indexed ? 1 : 16 / m.height, blocks = (m.pair_count() + 15) / 16;
  for (int64_t tile = 0; tile < m.tiles; tile++)
    for (int64_t k = 0; k < m.stride(); k++)
      for (int64_t r = 0; r < m.height; r++) {
        const int64_t column = m.indexed ? m.columns[tile * m.stride() + k] : k;
        float value;
        if (from_amx) {
          const int64_t row = tile % together * m.height + r, block = tile / together * blocks + k / 32;
          const uint32_t pair = m.amx_words[(block * together * m.height + row) * 16 + k / 2 % 16];
          value = k % 2 ? high_half(pair) : low_half(pair);
        } else if (m.paired) {
          const uint32_t pair = m.pairs[(tile * m.pair_count() + k / 2) * m.height + r];
          value = k % 2 ? high_half(pair) : low_half(pair);
        } else {
          value = m.values[(tile * m.count + k) * m.height + r];
        }
        if (value != 0.0f) plain.at(tile * m.height + r, column) += value;
      }
  return plain;
}

inline Plain unpack(const Sparse& m) {
  Plain plain(m.rows, m.columns);
  for (int64_t block = 0; block < m.blocks; block++)
    for (int64_t row = 0; row < m.rows; row++) {
      const uint32_t first = m.starts[block * (m.rows + 1) + row], last = m.starts[block * (m.rows + 1) + row + 1];
      if (m.paired) CHECK(first % 2 == 0 && last % 2 == 0);
      for (uint32_t k = first; k < last; k++) {
        const float value = !m.paired ? m.values[k] : k % 2 ? high_half(m.pairs[k / 2]) : low_half(m.pairs[k / 2]);
        CHECK(m.offsets[k] < m.block_columns);
        plain.at(row, block * m.block_columns + m.offsets[k]) += value;
      }
    }
  return plain;
}

inline Plain unpack(const FloatLookup& m, int64_t rows, int64_t columns) {
  Plain plain(rows, columns);
  for (int64_t block = 0; block < m.blocks; block++) {
    CHECK((m.steps[block + 1] - m.steps[block]) % 4 == 0);
    for (uint32_t step = m.steps[block]; step < m.steps[block + 1]; step++)
      for (int64_t lane = 0; lane < 16; lane++) {
        const float value = m.values[step * 16 + lane];
        CHECK(m.lanes[step * 16 + lane] < 32);
        if (value == 0.0f) continue;
        plain.at(m.lane_rows[block * 16 + lane], m.windows[step] * WINDOW_STEP + m.lanes[step * 16 + lane]) += value;
      }
  }
  return plain;
}

inline Plain unpack(const Scatter& m) {
  Plain plain(m.rows, m.columns);
  for (int64_t block = 0; block < m.blocks; block++)
    for (int64_t group = 0; group < m.groups; group++)
      for (uint32_t k = m.starts[block * (m.groups + 1) + group]; k < m.starts[block * (m.groups + 1) + group + 1];
           k++) {
        CHECK(m.entry_rows[k] / m.block_rows == block);
        for (int64_t r = 0; r < m.height; r++) {
          const uint32_t* pair = m.pairs.data() + (k * m.height + r) / 2;
          const float value = !m.paired ? m.values[k * m.height + r] : r % 2 ? high_half(*pair) : low_half(*pair);
          plain.at(m.entry_rows[k], group * m.height + r) += value;
        }
      }
  return plain;
}

// Weights without their scales.
inline Plain unpack(const Int8Groups& m, int64_t columns, bool from_amx = false) {
  Plain plain(m.tiles * m.height, columns);
  const int64_t together = m.source == Int8Groups::DENSE ? 16 / m.height : 1;
  for (int64_t tile = 0; tile < m.tiles; tile++)
    for (int64_t k = m.starts[tile]; k < m.starts[tile + 1]; k++)
      for (int64_t r = 0; r < m.height; r++) {
        const int64_t within = k - m.starts[tile], row = tile % together * m.height + r;
        uint32_t word = m.words[k * m.height + r];
        if (from_amx) {
          const int64_t block = m.amx_starts[tile - tile % together] / together + within / 16;
          word = m.amx_words[(block * together * m.height + row) * 16 + within % 16];
        }
        for (int i = 0; i < 4; i++) {
          if (weight_of(word, i) == 0) continue;
          const int64_t column = m.source == Int8Groups::GATHERED  ? m.columns[4 * k + i]
                                 : m.source == Int8Groups::ALIGNED ? 4 * m.columns[k] + i
                                                                   : 4 * within + i;
          plain.at(tile * m.height + r, column) += weight_of(word, i);
        }
      }
  return plain;
}

inline Plain unpack(const Int8Lookup& m, int64_t rows, int64_t columns) {
  Plain plain(rows, columns);
  for (int64_t block = 0; block < m.blocks; block++)
    for (uint32_t run = m.runs[block]; run < m.runs[block + 1]; run++)
      for (uint32_t step = m.steps[run]; step < m.steps[run + 1]; step++)
        for (int64_t lane = 0; lane < 16; lane++)
          for (int i = 0; i < 4; i++) {
            const int8_t weight = weight_of(m.words[step * 16 + lane], i);
            CHECK(m.lanes[step * 64 + lane * 4 + i] < 128);
            if (weight == 0) continue;
            const int64_t column = m.windows[run] * INT8_WINDOW_STEP + m.lanes[step * 64 + lane * 4 + i];
            plain.at(m.lane_rows[block * 16 + lane], column) += weight;
          }
  return plain;
}

}  // namespace dsf::test

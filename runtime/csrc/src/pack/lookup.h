// Which rows and columns the steps of a lookup take.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "pack/matrices.h"

namespace dsf {

// The window, in steps of columns, at which the lane that lags most goes on; -1: all are done.
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

// Blocks of 16 rows, one to a lane: in order or the longest first, so that lanes end together.
template <class Row, class Take>
void by_blocks_of_16(const std::vector<Row>& rows, bool by_length, Buffer<uint32_t>& lane_rows, Take take) {
  std::vector<uint32_t> order(rows.size());
  std::iota(order.begin(), order.end(), 0u);
  if (by_length)
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return rows[a].columns.size() > rows[b].columns.size(); });
  const int64_t blocks = (int64_t(rows.size()) + 15) / 16;
  lane_rows.resize(blocks * 16);
  for (int64_t block = 0; block < blocks; block++) {
    std::vector<const Row*> lanes;
    for (int64_t lane = 0; lane < 16; lane++) {
      const size_t i = block * 16 + lane;
      lane_rows[i] = i < order.size() ? order[i] : UINT32_MAX;
      if (i < order.size()) lanes.push_back(&rows[order[i]]);
    }
    take(block, lanes);
  }
}

}  // namespace dsf

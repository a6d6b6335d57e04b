// Every packed format, read back.
#include "check.h"
#include "pack/pack.h"
#include "unpack.h"

namespace dsf::test {
namespace {

// Numbers that bfloat16 can hold, never zero.
float number(Random& random) { return float(random.between(1, 100)) * (random.chance(50) ? 0.25f : -0.5f); }

std::vector<Entries> random_rows(Random& random, int64_t rows, int64_t columns, int percent) {
  std::vector<Entries> all(static_cast<size_t>(rows));
  for (Entries& row : all)
    for (int64_t column = 0; column < columns; column++) {
      if (!random.chance(percent)) continue;
      row.columns.push_back(uint32_t(column));
      row.values.push_back(number(random));
    }
  return all;
}

Plain plain_of(const std::vector<Entries>& rows, int64_t columns) {
  Plain plain(int64_t(rows.size()), columns);
  for (size_t row = 0; row < rows.size(); row++)
    for (size_t k = 0; k < rows[row].columns.size(); k++)
      plain.at(int64_t(row), rows[row].columns[k]) = rows[row].values[k];
  return plain;
}

TEST(dense_tiles_hold_their_rows) {
  for (uint64_t seed = 0; seed < 40; seed++) {
    Random random(seed);
    const int height = random.chance(50) ? 8 : 4;
    const int64_t rows = random.between(1, 40), columns = random.between(1, 70);
    const bool indexed = random.chance(50);
    Plain expected((rows + height - 1) / height * height, indexed ? 2 * columns : columns);
    DenseTiles m;
    const auto column = [&](int64_t tile, int64_t k) { return 2 * k + (tile + k) % 2; };
    pack_dense(m, rows, columns, height, [&](int64_t row, int64_t k) {
      const float value = number(random);
      expected.at(row, indexed ? column(row / height, k) : k) = value;
      return value;
    });
    if (indexed) pack_columns(m, column);
    CHECK(m.rows == rows && m.count == columns);
    CHECK(unpack(m, expected.columns) == expected);
    pair_columns(m);
    CHECK(m.paired && m.values.size() == 0);
    CHECK(unpack(m, expected.columns) == expected);
    pack_amx(m);
    CHECK(unpack(m, expected.columns, true) == expected);
  }
}

TEST(amx_wants_pairs) {
  DenseTiles m;
  pack_dense(m, 16, 8, 8, [](int64_t, int64_t) { return 1.0f; });
  pack_amx(m);
  CHECK(m.amx_words.size() == 0);
}

TEST(sparse_rows_come_back_from_blocks_and_lookups) {
  for (uint64_t seed = 0; seed < 40; seed++) {
    Random random(seed);
    const int64_t count = random.between(1, 60), columns = random.between(1, 300);
    const std::vector<Entries> rows = random_rows(random, count, columns, int(random.between(0, 60)));
    const Plain expected = plain_of(rows, columns);
    for (const bool paired : {false, true}) {
      Sparse m;
      pack_sparse(m, rows, columns, random.between(16, 200), paired);
      CHECK(m.block_columns % 2 == 0 && m.blocks * m.block_columns >= columns);
      CHECK(unpack(m) == expected);
    }
    for (const bool by_length : {false, true}) {
      FloatLookup lookup;
      pack_lookup(lookup, rows, by_length);
      CHECK(unpack(lookup, count, columns) == expected);
    }
  }
}

TEST(lanes_of_a_lookup_end_together) {
  Random random(3);
  std::vector<Entries> rows;
  for (int i = 0; i < 32; i++) rows.push_back(random_rows(random, 1, 400, i % 2 ? 5 : 60)[0]);
  FloatLookup in_order, by_length;
  pack_lookup(in_order, rows, false);
  pack_lookup(by_length, rows, true);
  CHECK(by_length.steps[2] < in_order.steps[2]);
  for (uint32_t i = 0; i < 32; i++) CHECK(in_order.lane_rows[i] == i);
  for (int i = 1; i < 32; i++)
    CHECK(rows[by_length.lane_rows[i - 1]].columns.size() >= rows[by_length.lane_rows[i]].columns.size());
}

TEST(scattered_groups_come_back) {
  for (uint64_t seed = 0; seed < 40; seed++) {
    Random random(seed);
    const int height = random.chance(50) ? 8 : 4;
    const int64_t rows = random.between(1, 80), group_count = random.between(1, 20);
    Plain expected(rows, group_count * height);
    std::vector<GroupRows> groups(static_cast<size_t>(group_count));
    for (size_t group = 0; group < groups.size(); group++)
      for (int64_t row = 0; row < rows; row++) {
        if (random.chance(60)) continue;
        groups[group].rows.push_back(uint32_t(row));
        for (int r = 0; r < height; r++) {
          groups[group].values.push_back(number(random));
          expected.at(row, int64_t(group) * height + r) = groups[group].values.back();
        }
      }
    Scatter m;
    pack_scatter(m, groups, rows, height, random.between(1, 50));
    CHECK(unpack(m) == expected);
    pair_columns(m);
    CHECK(unpack(m) == expected);
  }
}

}  // namespace
}  // namespace dsf::test

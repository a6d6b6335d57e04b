#include "pack/pack.h"

namespace dsf {
namespace {

constexpr int64_t WORDS = 16, ROWS = 16;

int64_t blocks_of(int64_t words) { return (words + WORDS - 1) / WORDS; }

}  // namespace

void pack_amx(DenseTiles& m) {
  if (!m.paired || m.count == 0) return;
  const int64_t tiles_together = m.indexed ? 1 : ROWS / m.height, rows = m.height * tiles_together;
  const int64_t pairs = m.pair_count(), blocks = blocks_of(pairs);
  m.amx_words.resize((m.tiles + tiles_together - 1) / tiles_together * blocks * rows * WORDS);
  for (int64_t tile = 0; tile < m.tiles; tile++)
    for (int64_t p = 0; p < pairs; p++)
      for (int64_t r = 0; r < m.height; r++) {
        const int64_t row = tile % tiles_together * m.height + r, block = tile / tiles_together * blocks + p / WORDS;
        m.amx_words[(block * rows + row) * WORDS + p % WORDS] = m.pairs[(tile * pairs + p) * m.height + r];
      }
}

void pack_amx(Int8Groups& m) {
  if (m.words.size() == 0 || m.height == 1) return;
  const int64_t tiles_together = m.source == Int8Groups::DENSE ? ROWS / m.height : 1, rows = m.height * tiles_together;
  m.amx_starts.resize(m.tiles + 1);
  for (int64_t tile = 0; tile < m.tiles; tile++)
    m.amx_starts[tile + 1] = m.amx_starts[tile] + uint32_t(blocks_of(m.starts[tile + 1] - m.starts[tile]));
  m.amx_words.resize((m.amx_starts[m.tiles] + blocks_of(m.starts[1])) * m.height * WORDS);
  for (int64_t tile = 0; tile < m.tiles; tile++)
    for (int64_t k = m.starts[tile]; k < m.starts[tile + 1]; k++)
      for (int64_t r = 0; r < m.height; r++) {
        const int64_t q = k - m.starts[tile], row = tile % tiles_together * m.height + r;
        const int64_t block = m.amx_starts[tile - tile % tiles_together] / tiles_together + q / WORDS;
        m.amx_words[(block * rows + row) * WORDS + q % WORDS] = m.words[k * m.height + r];
      }
}

}  // namespace dsf

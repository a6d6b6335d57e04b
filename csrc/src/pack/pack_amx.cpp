#include "pack/pack.h"

namespace dsf {
namespace {

constexpr int64_t WORDS = 16, ROWS = 16;

int64_t blocks_of(int64_t words) { return (words + WORDS - 1) / WORDS; }

}  // namespace

void pack_tiles(Packs& m) {
  if (!m.paired || m.count == 0) return;
  const int64_t packs_a_tile = m.indexed ? 1 : ROWS / m.height, rows = m.height * packs_a_tile;
  const int64_t pairs = m.pair_count(), blocks = blocks_of(pairs);
  m.tiles.resize((m.packs + packs_a_tile - 1) / packs_a_tile * blocks * rows * WORDS);
  for (int64_t pack = 0; pack < m.packs; pack++)
    for (int64_t p = 0; p < pairs; p++)
      for (int64_t r = 0; r < m.height; r++) {
        const int64_t row = pack % packs_a_tile * m.height + r, block = pack / packs_a_tile * blocks + p / WORDS;
        m.tiles[(block * rows + row) * WORDS + p % WORDS] = m.pairs[(pack * pairs + p) * m.height + r];
      }
}

void pack_tiles(Quads& m) {
  if (m.words.size() == 0 || m.height == 1) return;
  const int64_t packs_a_tile = m.source == Quads::DENSE ? ROWS / m.height : 1, rows = m.height * packs_a_tile;
  m.tile_starts.resize(m.packs + 1);
  for (int64_t pack = 0; pack < m.packs; pack++)
    m.tile_starts[pack + 1] = m.tile_starts[pack] + uint32_t(blocks_of(m.starts[pack + 1] - m.starts[pack]));
  m.tiles.resize((m.tile_starts[m.packs] + blocks_of(m.starts[1])) * m.height * WORDS);
  for (int64_t pack = 0; pack < m.packs; pack++)
    for (int64_t k = m.starts[pack]; k < m.starts[pack + 1]; k++)
      for (int64_t r = 0; r < m.height; r++) {
        const int64_t q = k - m.starts[pack], row = pack % packs_a_tile * m.height + r;
        const int64_t block = m.tile_starts[pack - pack % packs_a_tile] / packs_a_tile + q / WORDS;
        m.tiles[(block * rows + row) * WORDS + q % WORDS] = m.words[k * m.height + r];
      }
}

}  // namespace dsf

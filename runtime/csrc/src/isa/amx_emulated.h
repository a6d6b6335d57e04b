// The tiles of AMX written out, so that what is built on them can be tested where the CPU has none.
#pragma once

#include "isa/amx_config.h"
#include "isa/avx512.h"

namespace dsf {

// Registers belong to a thread. SELF is a type that no other file sees, as of kernels, and so are they.
template <class SELF>
struct AmxEmulated : Avx512Bf16 {
  static constexpr const char* NAME = "amx_emulated";
  static constexpr bool has_amx = true;

  struct Tile {
    uint32_t words[16][16];
  };
  static inline thread_local Tile tiles[8];
  static inline thread_local AmxConfig shapes{0};

  DSF_INLINE void set_tiles(const AmxConfig& config) {
    shapes = config;
    __builtin_memset(tiles, 0, sizeof tiles);
  }
  DSF_INLINE void release_tiles() { shapes = AmxConfig(0); }

  template <int TILE>
  DSF_INLINE void zero_tile() {
    __builtin_memset(&tiles[TILE], 0, sizeof(Tile));
  }
  template <int TILE>
  DSF_INLINE void load_tile(const void* p, int64_t stride) {
    for (int row = 0; row < shapes.rows[TILE]; row++)
      __builtin_memcpy(tiles[TILE].words[row], static_cast<const char*>(p) + row * stride, 64);
  }
  template <int TILE>
  DSF_INLINE void store_tile(void* p, int64_t stride) {
    for (int row = 0; row < shapes.rows[TILE]; row++)
      __builtin_memcpy(static_cast<char*>(p) + row * stride, tiles[TILE].words[row], 64);
  }

  template <int SUMS, int A, int B>
  DSF_INLINE void dot_tiles() {
    add_products<SUMS, A, B>(add_bytes);
  }
  template <int SUMS, int A, int B>
  DSF_INLINE void dot_unsigned_tiles() {
    add_products<SUMS, A, B>(add_unsigned);
  }
  template <int SUMS, int A, int B>
  DSF_INLINE void dot_pair_tiles() {
    add_products<SUMS, A, B>(add_pairs);
  }

 private:
  DSF_INLINE uint32_t add_bytes(uint32_t sum, uint32_t a, uint32_t b) {
    for (int shift = 0; shift < 32; shift += 8)
      sum += uint32_t(int32_t(int8_t(a >> shift)) * int32_t(uint8_t(b >> shift)));
    return sum;
  }

  DSF_INLINE uint32_t add_unsigned(uint32_t sum, uint32_t a, uint32_t b) { return add_bytes(sum, b, a); }

  DSF_INLINE float number_of(uint32_t bits) {
    float number;
    __builtin_memcpy(&number, &bits, 4);
    return number;
  }

  DSF_INLINE uint32_t add_pairs(uint32_t sum, uint32_t a, uint32_t b) {
    const float low = number_of(a << 16) * number_of(b << 16);
    const float high = number_of(a & 0xffff0000u) * number_of(b & 0xffff0000u);
    const float total = number_of(sum) + high + low;
    __builtin_memcpy(&sum, &total, 4);
    return sum;
  }

  template <int SUMS, int A, int B, class Add>
  DSF_INLINE void add_products(Add add) {
    for (int row = 0; row < shapes.rows[SUMS]; row++)
      for (int k = 0; k < 16; k++)
        for (int column = 0; column < 16; column++) {
          uint32_t& sum = tiles[SUMS].words[row][column];
          sum = add(sum, tiles[A].words[row][k], tiles[B].words[k][column]);
        }
  }
};

}  // namespace dsf

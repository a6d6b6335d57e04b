// Shapes of the eight tile registers, of up to 16 rows of 64 bytes each, as the CPU wants them.
#pragma once

#include <cstdint>

namespace dsf {

// Tiles 0 to 4 (sums, weights) have so many rows, tiles 5 to 7 (operands) sixteen; all have rows of 64 bytes.
struct alignas(64) AmxConfig {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {};

  constexpr __attribute__((always_inline)) explicit AmxConfig(int height) {
    for (int i = 0; i < 5; i++) rows[i] = uint8_t(height);
    for (int i = 5; i < 8; i++) rows[i] = 16;
  }
};
static_assert(sizeof(AmxConfig) == 64);

}  // namespace dsf

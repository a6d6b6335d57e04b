// Numbers of bfloat16, one at a time.
#pragma once

#include <cstdint>
#include <cstring>

namespace dsf {

inline float number_of(uint32_t bits) {
  float number;
  std::memcpy(&number, &bits, 4);
  return number;
}

inline float from_bfloat(uint16_t bits) { return number_of(uint32_t(bits) << 16); }

}  // namespace dsf

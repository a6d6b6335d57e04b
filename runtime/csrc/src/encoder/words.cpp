#include "encoder/words.h"

#include <cmath>
#include <cstring>

#include "pack/bfloat.h"

namespace dsf {
namespace {

float from_half(uint16_t half) {
  const uint32_t exponent = half >> 10 & 31, fraction = half & 1023, sign = uint32_t(half & 0x8000) << 16;
  if (exponent == 0) return (sign ? -1.0f : 1.0f) * std::ldexp(float(fraction), -24);
  return number_of(sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13);
}

void read_word(const dsf_encoder_spec& spec, int64_t id, float* y) {
  const int64_t size = spec.embedding_size, at = id * size;
  const auto* halves = static_cast<const uint16_t*>(spec.words) + at;
  switch (spec.word_type) {
    case DSF_FLOATS: std::memcpy(y, static_cast<const float*>(spec.words) + at, size_t(size) * 4); return;
    case DSF_BYTES:
      for (int64_t i = 0; i < size; i++)
        y[i] = float(static_cast<const int8_t*>(spec.words)[at + i]) * spec.word_scales[id];
      return;
    default:
      for (int64_t i = 0; i < size; i++) y[i] = spec.word_type == DSF_HALVES ? from_half(halves[i]) : from_bfloat(halves[i]);
  }
}

}  // namespace

void read_words(const dsf_encoder_spec& spec, const int32_t* ids, int64_t count, float* y, int64_t stride) {
  for (int64_t i = 0; i < count; i++) {
    const int64_t id = ids[i];
    if (spec.table)
      dsf_table_read(spec.table, &id, 1, y + i * stride, 1);
    else
      read_word(spec, id, y + i * stride);
  }
}

}  // namespace dsf

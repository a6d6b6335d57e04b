// Sums of rows of a table, of whatever type they are stored in. Included inside the namespace of an instruction set.

template <int U, class T>
DSF_INLINE void mix_columns(const T* rows, int64_t width, const uint32_t* which, const float* weights, int64_t count,
                            float* y) {
  vf sums[U] = {};
  for (int64_t k = 0; k < count; k++) {
    const T* row = rows + int64_t(which[k]) * width;
    const vf weight = all(weights[k]);
#pragma GCC unroll 8
    for (int u = 0; u < U; u++) sums[u] += weight * load_as(row + u * W);
  }
#pragma GCC unroll 8
  for (int u = 0; u < U; u++) store(y + u * W, sums[u]);
}

template <class T>
static void mix_of(const T* rows, int64_t width, const uint32_t* which, const float* weights, int64_t count, float* y) {
  int64_t column = 0;
  for (; column + 8 * W <= width; column += 8 * W) mix_columns<8>(rows + column, width, which, weights, count, y + column);
  for (; column + W <= width; column += W) mix_columns<1>(rows + column, width, which, weights, count, y + column);
  if (column == width) return;
  vf sum = {};
  for (int64_t k = 0; k < count; k++)
    sum += all(weights[k]) * load_some(rows + int64_t(which[k]) * width + column, int(width - column));
  store_some(y + column, sum, int(width - column));
}

static void mix(const void* rows, int dtype, int64_t width, const uint32_t* which, const float* weights, int64_t count,
                float* y) {
  if (dtype == 0) return mix_of(static_cast<const float*>(rows), width, which, weights, count, y);
  if (dtype == 1) return mix_of(static_cast<const uint16_t*>(rows), width, which, weights, count, y);
  mix_of(static_cast<const int8_t*>(rows), width, which, weights, count, y);
}

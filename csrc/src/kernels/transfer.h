// Between token-major tensors and what the kernels work on. Included inside the namespace of an instruction set.

template <class T>
static void load_panel_of(const T* x, int64_t stride, int64_t tokens, int64_t first, int64_t last,
                          const uint32_t* destination, int vectors, float* panel) {
  const int64_t ld = int64_t(vectors) * W;
  for (int64_t f = first; f < last; f += W) {
    const int width = last - f < W ? int(last - f) : W;
    for (int tile = 0; tile < vectors; tile++) {
      const int64_t token = int64_t(tile) * W;
      vf rows[W];
      if (width == W && token + W <= tokens) {
#pragma GCC unroll 16
        for (int i = 0; i < W; i++) {
          const T* from = x + (token + i) * stride + f;
          __builtin_prefetch(from + 4 * W);
          rows[i] = load_as(from);
        }
      } else {
        for (int i = 0; i < W; i++)
          rows[i] = token + i < tokens ? load_some(x + (token + i) * stride + f, width) : vf{};
      }
      transpose(rows);
      float* to = panel + token;
      if (width == W && !destination) {
#pragma GCC unroll 16
        for (int i = 0; i < W; i++) store(to + (f + i) * ld, rows[i]);
      } else {
        for (int i = 0; i < width; i++) store(to + (destination ? destination[f + i] : f + i) * ld, rows[i]);
      }
    }
  }
}

static void load_panel(const void* x, int dtype, int64_t stride, int64_t tokens, int64_t first, int64_t last,
                       const uint32_t* destination, int vectors, float* panel) {
  if (dtype == 0)
    load_panel_of(static_cast<const float*>(x), stride, tokens, first, last, destination, vectors, panel);
  else
    load_panel_of(static_cast<const uint16_t*>(x), stride, tokens, first, last, destination, vectors, panel);
}

template <int ACTIVATION, class T>
static void store_panel_of(const float* panel, int vectors, const Epilogue& epilogue, int64_t first, int64_t last,
                           int64_t tokens, T* y, int64_t stride) {
  const int64_t ld = int64_t(vectors) * W;
  for (int64_t f = first; f < last; f += W) {
    const int width = last - f < W ? int(last - f) : W;
    for (int64_t token = 0; token < tokens; token += W) {
      vf rows[W];
#pragma GCC unroll 16
      for (int i = 0; i < W; i++) {
        const int64_t feature = f + (i < width ? i : 0);
        const int64_t row = epilogue.source ? epilogue.source[feature] : feature - first;
        vf v = load(panel + row * ld + token);
        if (epilogue.bias) v += all(epilogue.bias[feature]);
        rows[i] = activate<ACTIVATION>(v);
      }
      transpose(rows);
      T* to = y + token * stride + (f - first);
      if (width == W && token + W <= tokens) {
#pragma GCC unroll 16
        for (int i = 0; i < W; i++) store_as(to + i * stride, rows[i]);
      } else {
        for (int i = 0; i < W && token + i < tokens; i++) store_some(to + i * stride, rows[i], width);
      }
    }
  }
}

template <int ACTIVATION, class T>
static void store_few_of(const float* z, int64_t ld, const Epilogue& epilogue, int64_t first, int64_t last,
                         int64_t tokens, T* y, int64_t stride) {
  for (int64_t token = 0; token < tokens; token++) {
    const float* from = z + token * ld;
    T* to = y + token * stride;
    for (int64_t f = first; f < last; f += W) {
      const int width = last - f < W ? int(last - f) : W;
      vf v;
      if (epilogue.source) {
        float some[W] = {};
        for (int i = 0; i < width; i++) some[i] = from[epilogue.source[f + i]];
        v = load(some);
      } else {
        v = width == W ? load(from + (f - first)) : load_some(from + (f - first), width);
      }
      if (epilogue.bias) v += width == W ? load(epilogue.bias + f) : load_some(epilogue.bias + f, width);
      v = activate<ACTIVATION>(v);
      if (width == W)
        store_as(to + (f - first), v);
      else
        store_some(to + (f - first), v, width);
    }
  }
}

#define DSF_BY_ACTIVATION(FUNCTION, T, ...)                                   \
  switch (epilogue.activation) {                                              \
    case 1: return FUNCTION<1, T>(__VA_ARGS__);                               \
    case 2: return FUNCTION<2, T>(__VA_ARGS__);                               \
    case 3: return FUNCTION<3, T>(__VA_ARGS__);                               \
    default: return FUNCTION<0, T>(__VA_ARGS__);                              \
  }

static void store_panel(const float* panel, int vectors, const Epilogue& epilogue, int64_t first, int64_t last,
                        int64_t tokens, void* y, int dtype, int64_t stride) {
  if (dtype == 0) {
    DSF_BY_ACTIVATION(store_panel_of, float, panel, vectors, epilogue, first, last, tokens, static_cast<float*>(y),
                      stride)
  }
  DSF_BY_ACTIVATION(store_panel_of, uint16_t, panel, vectors, epilogue, first, last, tokens,
                    static_cast<uint16_t*>(y), stride)
}

static void store_few(const float* z, int64_t ld, const Epilogue& epilogue, int64_t first, int64_t last,
                      int64_t tokens, void* y, int dtype, int64_t stride) {
  if (dtype == 0) {
    DSF_BY_ACTIVATION(store_few_of, float, z, ld, epilogue, first, last, tokens, static_cast<float*>(y), stride)
  }
  DSF_BY_ACTIVATION(store_few_of, uint16_t, z, ld, epilogue, first, last, tokens, static_cast<uint16_t*>(y), stride)
}

template <class T>
static void load_few_of(const T* x, int64_t stride, int64_t tokens, int64_t features, const uint32_t* destination,
                        float* z, int64_t ld) {
  for (int64_t token = 0; token < tokens; token++) {
    const T* from = x + token * stride;
    float* to = z + token * ld;
    for (int64_t f = 0; f < features; f += W) {
      const int width = features - f < W ? int(features - f) : W;
      vf v = width == W ? load_as(from + f) : load_some(from + f, width);
      if (!destination && width == W) {
        store(to + f, v);
        continue;
      }
      float some[W];
      store(some, v);
      for (int i = 0; i < width; i++) to[destination ? destination[f + i] : f + i] = some[i];
    }
  }
}

static void load_few(const void* x, int dtype, int64_t stride, int64_t tokens, int64_t features,
                     const uint32_t* destination, float* z, int64_t ld) {
  if (dtype == 0)
    load_few_of(static_cast<const float*>(x), stride, tokens, features, destination, z, ld);
  else
    load_few_of(static_cast<const uint16_t*>(x), stride, tokens, features, destination, z, ld);
}

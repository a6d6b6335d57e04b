// Between token-major tensors and what the kernels work on.
#pragma once

#include "dsformer.h"
#include "kernels/activations.h"
#include "pack/matrices.h"

namespace dsf {

template <class Isa>
struct Transfer : Activations<Isa> {
  using A = Activations<Isa>;
  using A::LANES, A::broadcast, A::load, A::store, A::load_as, A::store_as, A::load_partial, A::store_partial,
      A::transpose, A::with_activation;
  using typename A::Floats;

  static void load_panel(const void* x, int dtype, int64_t stride, int64_t tokens, int64_t first, int64_t last,
                         const uint32_t* destination, int vectors, float* panel) {
    if (dtype == DSF_FLOAT32)
      load_panel_of(static_cast<const float*>(x), stride, tokens, first, last, destination, vectors, panel);
    else
      load_panel_of(static_cast<const uint16_t*>(x), stride, tokens, first, last, destination, vectors, panel);
  }

  static void store_panel(const float* panel, int vectors, const Epilogue& epilogue, int64_t first, int64_t last,
                          int64_t tokens, void* y, int dtype, int64_t stride) {
    with_activation(epilogue.activation, [&](auto activation) __attribute__((always_inline)) {
      constexpr int ACTIVATION = decltype(activation)::value;
      if (dtype == DSF_FLOAT32)
        store_panel_of<ACTIVATION>(panel, vectors, epilogue, first, last, tokens, static_cast<float*>(y), stride);
      else
        store_panel_of<ACTIVATION>(panel, vectors, epilogue, first, last, tokens, static_cast<uint16_t*>(y), stride);
    });
  }

  static void load_small_batch(const void* x, int dtype, int64_t stride, int64_t tokens, int64_t features,
                               const uint32_t* destination, float* z, int64_t ld) {
    if (dtype == DSF_FLOAT32)
      load_small_batch_of(static_cast<const float*>(x), stride, tokens, features, destination, z, ld);
    else
      load_small_batch_of(static_cast<const uint16_t*>(x), stride, tokens, features, destination, z, ld);
  }

  static void store_small_batch(const float* z, int64_t ld, const Epilogue& epilogue, int64_t first, int64_t last,
                                int64_t tokens, void* y, int dtype, int64_t stride) {
    with_activation(epilogue.activation, [&](auto activation) __attribute__((always_inline)) {
      constexpr int ACTIVATION = decltype(activation)::value;
      if (dtype == DSF_FLOAT32)
        store_small_batch_of<ACTIVATION>(z, ld, epilogue, first, last, tokens, static_cast<float*>(y), stride);
      else
        store_small_batch_of<ACTIVATION>(z, ld, epilogue, first, last, tokens, static_cast<uint16_t*>(y), stride);
    });
  }

 private:
  template <class T>
  static void load_panel_of(const T* x, int64_t stride, int64_t tokens, int64_t first, int64_t last,
                            const uint32_t* destination, int vectors, float* panel) {
    const int64_t ld = int64_t(vectors) * LANES;
    for (int64_t f = first; f < last; f += LANES) {
      const int width = last - f < LANES ? int(last - f) : LANES;
      for (int vector = 0; vector < vectors; vector++) {
        const int64_t token = int64_t(vector) * LANES;
        Floats rows[LANES];
        if (width == LANES && token + LANES <= tokens) {
#pragma GCC unroll 16
          for (int i = 0; i < LANES; i++) {
            const T* from = x + (token + i) * stride + f;
            __builtin_prefetch(from + 4 * LANES);
            rows[i] = load_as(from);
          }
        } else {
          for (int i = 0; i < LANES; i++)
            rows[i] = token + i < tokens ? load_partial(x + (token + i) * stride + f, width) : Floats{};
        }
        transpose(rows);
        float* to = panel + token;
        if (width == LANES && !destination) {
#pragma GCC unroll 16
          for (int i = 0; i < LANES; i++) store(to + (f + i) * ld, rows[i]);
        } else {
          for (int i = 0; i < width; i++) store(to + (destination ? destination[f + i] : f + i) * ld, rows[i]);
        }
      }
    }
  }

  template <int ACTIVATION, class T>
  static void store_panel_of(const float* panel, int vectors, const Epilogue& epilogue, int64_t first, int64_t last,
                             int64_t tokens, T* y, int64_t stride) {
    const int64_t ld = int64_t(vectors) * LANES;
    for (int64_t f = first; f < last; f += LANES) {
      const int width = last - f < LANES ? int(last - f) : LANES;
      for (int64_t token = 0; token < tokens; token += LANES) {
        Floats rows[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
          const int64_t feature = f + (i < width ? i : 0);
          const int64_t row = epilogue.source ? epilogue.source[feature] : feature - first;
          Floats v = load(panel + row * ld + token);
          if (epilogue.bias) v += broadcast(epilogue.bias[feature]);
          rows[i] = A::template activate<ACTIVATION>(v);
        }
        transpose(rows);
        T* to = y + token * stride + (f - first);
        if (width == LANES && token + LANES <= tokens) {
#pragma GCC unroll 16
          for (int i = 0; i < LANES; i++) store_as(to + i * stride, rows[i]);
        } else {
          for (int i = 0; i < LANES && token + i < tokens; i++) store_partial(to + i * stride, rows[i], width);
        }
      }
    }
  }

  template <class T>
  static void load_small_batch_of(const T* x, int64_t stride, int64_t tokens, int64_t features,
                                  const uint32_t* destination, float* z, int64_t ld) {
    for (int64_t token = 0; token < tokens; token++) {
      const T* from = x + token * stride;
      float* to = z + token * ld;
      for (int64_t f = 0; f < features; f += LANES) {
        const int width = features - f < LANES ? int(features - f) : LANES;
        const Floats v = width == LANES ? load_as(from + f) : load_partial(from + f, width);
        if (!destination && width == LANES) {
          store(to + f, v);
          continue;
        }
        float some[LANES];
        store(some, v);
        for (int i = 0; i < width; i++) to[destination ? destination[f + i] : f + i] = some[i];
      }
    }
  }

  template <int ACTIVATION, class T>
  static void store_small_batch_of(const float* z, int64_t ld, const Epilogue& epilogue, int64_t first, int64_t last,
                                   int64_t tokens, T* y, int64_t stride) {
    for (int64_t token = 0; token < tokens; token++) {
      const float* from = z + token * ld;
      T* to = y + token * stride;
      for (int64_t f = first; f < last; f += LANES) {
        const int width = last - f < LANES ? int(last - f) : LANES;
        Floats v;
        if (epilogue.source) {
          float some[LANES] = {};
          for (int i = 0; i < width; i++) some[i] = from[epilogue.source[f + i]];
          v = load(some);
        } else {
          v = width == LANES ? load(from + (f - first)) : load_partial(from + (f - first), width);
        }
        if (epilogue.bias) v += width == LANES ? load(epilogue.bias + f) : load_partial(epilogue.bias + f, width);
        v = A::template activate<ACTIVATION>(v);
        if (width == LANES)
          store_as(to + (f - first), v);
        else
          store_partial(to + (f - first), v, width);
      }
    }
  }
};

}  // namespace dsf

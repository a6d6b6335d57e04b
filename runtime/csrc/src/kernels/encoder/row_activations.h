// Activations over rows of activations, and what is added before.
#pragma once

#include "kernels/activations.h"
#include "kernels/encoder/row_kernels.h"

namespace dsf {

template <class Isa>
struct RowActivations : Activations<Isa> {
  using A = Activations<Isa>;
  using A::LANES, A::broadcast, A::load, A::store;
  using typename A::Floats;

  // Whole vectors from `y` on, `width` numbers rounded up.
  static void activate(float* y, int64_t stride, int64_t width, int64_t tokens, int activation) {
    with_any_activation(activation, [&](auto constant) __attribute__((always_inline)) {
      for (int64_t t = 0; t < tokens; t++)
        for (int64_t i = 0; i < width; i += LANES)
          store(y + t * stride + i, apply<decltype(constant)::value>(load(y + t * stride + i)));
    });
  }

  static void finish(float* x, int64_t stride, const float* add, int64_t width, int64_t tokens, int activation) {
    if (add)
      for (int64_t t = 0; t < tokens; t++)
        for (int64_t i = 0; i < width; i += LANES)
          store(x + t * stride + i, load(x + t * stride + i) + load(add + t * stride + i));
    if (activation != DSF_IDENTITY) activate(x, stride, width, tokens, activation);
  }

  static void gate(FloatRows x, int64_t width, int64_t tokens, int activation, float* y, int64_t y_stride) {
    with_any_activation(activation, [&](auto constant) __attribute__((always_inline)) {
      for (int64_t t = 0; t < tokens; t++) {
        const float *first = x.numbers + t * x.stride, *second = first + width;
        for (int64_t i = 0; i < width; i += LANES)
          store(y + t * y_stride + i, apply<decltype(constant)::value>(load(first + i)) * load(second + i));
      }
    });
  }

 private:
  // Of those that plans have, and of those that they have not.
  template <class F>
  DSF_INLINE void with_any_activation(int activation, F&& run) {
    switch (activation) {
      case DSF_SILU: return run(Constant<DSF_SILU>{});
      case DSF_TANH: return run(Constant<DSF_TANH>{});
      default: return A::with_activation(activation, run);
    }
  }

  template <int ACTIVATION>
  DSF_INLINE Floats apply(Floats x) {
    if constexpr (ACTIVATION == DSF_GELU)
      return gelu(x);
    else
      return A::template activate<ACTIVATION>(x);
  }

  // The exact GELU to 1.5e-6: the normal distribution less a half is x times a polynomial of x squared on [-5, 5].
  DSF_INLINE Floats gelu(Floats x) {
    constexpr float FACTORS[] = {-0.00151412316f, 0.00200194153f, -0.00291574324f, 0.00616536079f,
                                 -0.0109731743f,  0.0164976827f,  -0.0233367511f,  0.0314262253f,
                                 -0.0404329467f,  0.0515214211f,  -0.0702966525f,  0.14136378f};
    const Floats y = A::maximum(A::minimum(x, broadcast(5.0f)), broadcast(-5.0f));
    const Floats u = y * y * (2.0f / 25.0f) - 1.0f;
    Floats q = u * 0.000492935086f + FACTORS[0];
#pragma GCC unroll 16
    for (int i = 1; i < 12; i++) q = q * u + FACTORS[i];
    return x * (y * q + 0.5f);
  }
};

}  // namespace dsf

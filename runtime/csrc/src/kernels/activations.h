// Activation functions.
#pragma once

#include "dsformer.h"
#include "kernels/vector_ops.h"

namespace dsf {

template <class Isa>
struct Activations : VectorOps<Isa> {
  using V = VectorOps<Isa>;
  using V::broadcast, V::minimum, V::maximum;
  using typename V::Floats;

  // Calls run with the activation of a plan as a constant.
  template <class F>
  DSF_INLINE void with_activation(int activation, F&& run) {
    switch (activation) {
      case DSF_GELU: return run(Constant<DSF_GELU>{});
      case DSF_GELU_TANH: return run(Constant<DSF_GELU_TANH>{});
      case DSF_RELU: return run(Constant<DSF_RELU>{});
      default: return run(Constant<DSF_IDENTITY>{});
    }
  }

  // Comparisons with NaN are false, and clamping would lose it: it is put back.
  template <int ACTIVATION>
  DSF_INLINE Floats activate(Floats x) {
    if constexpr (ACTIVATION == DSF_GELU) {
      const Floats y = 0.5f * x * (1.0f + erf(x * 0.70710678118654752f));
      return x == x ? y : x;
    } else if constexpr (ACTIVATION == DSF_GELU_TANH) {
      const Floats y = 0.5f * x * (1.0f + tanh(0.79788456080286536f * (x + 0.044715f * x * x * x)));
      return x == x ? y : x;
    } else if constexpr (ACTIVATION == DSF_RELU) {
      return x < broadcast(0.0f) ? broadcast(0.0f) : x;
    } else if constexpr (ACTIVATION == DSF_SILU) {
      const Floats y = x / (1.0f + V::power_of_two(minimum(x * -1.44269504088896341f, broadcast(126.0f))));
      return x == x ? y : x;
    } else if constexpr (ACTIVATION == DSF_TANH) {
      const Floats y = tanh(x);
      return x == x ? y : x;
    } else {
      return x;
    }
  }

 private:
  // Rational approximations of erf and tanh in single precision (those of Eigen, accurate to a few units in the last
  // place). Beyond the clamps the result is made exactly one: a large argument would be multiplied by the difference.
  DSF_INLINE Floats saturated(Floats x, float limit, Floats inside) {
    return x <= broadcast(-limit) ? broadcast(-1.0f) : x >= broadcast(limit) ? broadcast(1.0f) : inside;
  }

  DSF_INLINE Floats erf(Floats argument) {
    const Floats x = minimum(maximum(argument, broadcast(-4.0f)), broadcast(4.0f));
    const Floats s = x * x;
    Floats p = s * -2.72614225801306e-10f + 2.77068142495902e-08f;
    p = p * s + -2.10102402082508e-06f;
    p = p * s + -5.69250639462346e-05f;
    p = p * s + -7.34990630326855e-04f;
    p = p * s + -2.95459980854025e-03f;
    p = p * s + -1.60960333262415e-02f;
    Floats q = s * -1.45660718464996e-05f + -2.13374055278905e-04f;
    q = q * s + -1.68282697438203e-03f;
    q = q * s + -7.37332916720468e-03f;
    q = q * s + -1.42647390514189e-02f;
    return saturated(argument, 4.0f, x * p / q);
  }

  DSF_INLINE Floats tanh(Floats argument) {
    const Floats x = minimum(maximum(argument, broadcast(-7.90531110763549805f)), broadcast(7.90531110763549805f));
    const Floats s = x * x;
    Floats p = s * -2.76076847742355e-16f + 2.00018790482477e-13f;
    p = p * s + -8.60467152213735e-11f;
    p = p * s + 5.12229709037114e-08f;
    p = p * s + 1.48572235717979e-05f;
    p = p * s + 6.37261928875436e-04f;
    p = p * s + 4.89352455891786e-03f;
    Floats q = s * 1.19825839466702e-06f + 1.18534705686654e-04f;
    q = q * s + 2.26843463243900e-03f;
    q = q * s + 4.89352518554385e-03f;
    return saturated(argument, 7.90531110763549805f, x * p / q);
  }
};

}  // namespace dsf

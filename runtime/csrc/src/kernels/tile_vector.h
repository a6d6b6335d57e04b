// The rows of a tile, eight or four, as the lanes of a vector whatever the set: for small batches, whose tokens would
// not fill a register.
#pragma once

#include "kernels/vector_ops.h"

namespace dsf {

template <class Isa, int R>
struct TileVector;

template <class Isa>
struct TileVector<Isa, 8> {
  typedef Floats8 Floats;
  typedef Uints8 Uints;
  typedef uint16_t Halves __attribute__((vector_size(16)));
  DSF_INLINE Floats load(const float* p) { return Isa::load8(p); }
  DSF_INLINE Floats broadcast(float x) { return Isa::broadcast8(x); }
  DSF_INLINE void store(float* p, Floats v) { Isa::store8(p, v); }
};

template <class Isa>
struct TileVector<Isa, 4> {
  typedef Floats4 Floats;
  typedef uint32_t Uints __attribute__((vector_size(16)));
  typedef uint16_t Halves __attribute__((vector_size(8)));
  DSF_INLINE Floats load(const float* p) { return Isa::load4(p); }
  DSF_INLINE Floats broadcast(float x) { return Isa::broadcast4(x); }
  DSF_INLINE void store(float* p, Floats v) { Isa::store4(p, v); }
};

}  // namespace dsf

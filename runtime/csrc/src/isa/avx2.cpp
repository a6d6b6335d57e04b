#include "kernels/kernels.h"

#if defined(__AVX2__) && defined(__FMA__)

#include "isa/avx2.h"
#include "kernels/make_kernels.h"

namespace dsf {
namespace {

// Of this file alone, and with it every kernel: see make_kernels.h.
struct Isa : Avx2 {};

constexpr Kernels KERNELS = make_kernels<Isa>();

}  // namespace

const Kernels* avx2_kernels() { return &KERNELS; }

}  // namespace dsf

#else

namespace dsf {

const Kernels* avx2_kernels() { return nullptr; }

}  // namespace dsf

#endif

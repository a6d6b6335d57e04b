#include "kernels/kernels.h"

#if defined(__aarch64__)

#include "isa/neon.h"
#include "kernels/make_kernels.h"

namespace dsf {
namespace {

// Of this file alone, and with it every kernel: see make_kernels.h.
struct Isa : Neon {};

constexpr Kernels KERNELS = make_kernels<Isa>();

}  // namespace

const Kernels* neon_kernels() { return &KERNELS; }

}  // namespace dsf

#else

namespace dsf {

const Kernels* neon_kernels() { return nullptr; }

}  // namespace dsf

#endif

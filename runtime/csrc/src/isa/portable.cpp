#include "kernels/kernels.h"

#include "isa/portable.h"
#include "kernels/make_kernels.h"

namespace dsf {
namespace {

// Of this file alone, and with it every kernel: see make_kernels.h.
struct Isa : Portable {};

constexpr Kernels KERNELS = make_kernels<Isa>();

}  // namespace

const Kernels* portable_kernels() { return &KERNELS; }

}  // namespace dsf

#include "kernels/kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__) && \
    defined(__AVX512VNNI__)

#include "isa/avx512.h"
#include "kernels/make_kernels.h"

namespace dsf {
namespace {

// Of this file alone, and with it every kernel: see make_kernels.h.
struct Isa : Avx512Vnni {};

constexpr Kernels KERNELS = make_kernels<Isa>();

}  // namespace

const Kernels* avx512_vnni_kernels() { return &KERNELS; }

}  // namespace dsf

#else

namespace dsf {

const Kernels* avx512_vnni_kernels() { return nullptr; }

}  // namespace dsf

#endif

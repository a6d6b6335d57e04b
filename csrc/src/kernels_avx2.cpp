#include "kernels.h"

#if defined(__AVX2__) && defined(__FMA__)
namespace dsf {
namespace avx2 {

#define DSF_NAME "avx2"
#define DSF_LANES 8
#define DSF_REGISTERS 16
#define DSF_LOOKUP 0
// clang-format off: each needs the ones before
#include "simd.h"
#include "transfer.h"
#include "panel.h"
#include "few.h"
#include "table.h"
// clang-format on

}  // namespace avx2
const Kernels* avx2_kernels() { return &avx2::table; }
}  // namespace dsf
#else
namespace dsf {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace dsf
#endif

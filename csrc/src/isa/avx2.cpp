#include "kernels/kernels.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

namespace dsf {
namespace avx2 {

#define DSF_NAME "avx2"
#define DSF_LANES 8
#define DSF_REGISTERS 16
#define DSF_LOOKUP 0
#define DSF_PAIRS 0
#define DSF_VNNI 0
#define DSF_BYTE_LOOKUP 0
#define DSF_TILES 0
#include "kernels/set.h"

}  // namespace avx2
const Kernels* avx2_kernels() { return &avx2::table; }
}  // namespace dsf
#else
namespace dsf {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace dsf
#endif

#include "kernels/kernels.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__AVXVNNI__)
#include <immintrin.h>

namespace dsf {
namespace avx_vnni {

#define DSF_NAME "avx_vnni"
#define DSF_LANES 8
#define DSF_REGISTERS 16
#define DSF_LOOKUP 0
#define DSF_PAIRS 0
#define DSF_VNNI 1
#define DSF_BYTE_LOOKUP 0
#define DSF_TILES 0
#include "kernels/set.h"

}  // namespace avx_vnni
const Kernels* avx_vnni_kernels() { return &avx_vnni::table; }
}  // namespace dsf
#else
namespace dsf {
const Kernels* avx_vnni_kernels() { return nullptr; }
}  // namespace dsf
#endif

#include "kernels/kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__) && \
    defined(__AVX512VNNI__)
#include <immintrin.h>

namespace dsf {
namespace avx512_vnni {

#define DSF_NAME "avx512_vnni"
#define DSF_LANES 16
#define DSF_REGISTERS 32
#define DSF_LOOKUP 1
#define DSF_PAIRS 0
#define DSF_VNNI 1
#define DSF_BYTE_LOOKUP 0
#define DSF_TILES 0
#include "kernels/set.h"

}  // namespace avx512_vnni
const Kernels* avx512_vnni_kernels() { return &avx512_vnni::table; }
}  // namespace dsf
#else
namespace dsf {
const Kernels* avx512_vnni_kernels() { return nullptr; }
}  // namespace dsf
#endif

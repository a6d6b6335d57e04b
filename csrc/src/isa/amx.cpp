#include "kernels/kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__) && \
    defined(__AVX512BF16__) && defined(__AVX512VNNI__) && defined(__AVX512VBMI__) && \
    defined(__AMX_TILE__) && defined(__AMX_INT8__) && defined(__AMX_BF16__)
#include <immintrin.h>

namespace dsf {
namespace amx {

#define DSF_NAME "amx"
#define DSF_LANES 16
#define DSF_REGISTERS 32
#define DSF_LOOKUP 1
#define DSF_PAIRS 1
#define DSF_VNNI 1
#define DSF_BYTE_LOOKUP 1
#define DSF_TILES 1
#include "kernels/set.h"

}  // namespace amx
const Kernels* amx_kernels() { return &amx::table; }
}  // namespace dsf
#else
namespace dsf {
const Kernels* amx_kernels() { return nullptr; }
}  // namespace dsf
#endif

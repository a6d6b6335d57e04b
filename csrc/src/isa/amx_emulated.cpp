#include "kernels/kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__) && \
    defined(__AVX512BF16__) && defined(__AVX512VNNI__) && defined(__AVX512VBMI__)
#include <immintrin.h>

namespace dsf {
namespace amx_emulated {

#define DSF_NAME "amx_emulated"
#define DSF_LANES 16
#define DSF_REGISTERS 32
#define DSF_LOOKUP 1
#define DSF_PAIRS 1
#define DSF_VNNI 1
#define DSF_BYTE_LOOKUP 1
#define DSF_TILES 2
#include "kernels/set.h"

}  // namespace amx_emulated
const Kernels* amx_emulated_kernels() { return &amx_emulated::table; }
}  // namespace dsf
#else
namespace dsf {
const Kernels* amx_emulated_kernels() { return nullptr; }
}  // namespace dsf
#endif

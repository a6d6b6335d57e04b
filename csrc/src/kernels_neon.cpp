#include "kernels.h"

#if defined(__aarch64__)
namespace dsf {
namespace neon {

#define DSF_NAME "neon"
#define DSF_LANES 4
#define DSF_REGISTERS 32
#define DSF_LOOKUP 0
// clang-format off: each needs the ones before
#include "simd.h"
#include "transfer.h"
#include "panel.h"
#include "few.h"
#include "table.h"
// clang-format on

}  // namespace neon
const Kernels* neon_kernels() { return &neon::table; }
}  // namespace dsf
#else
namespace dsf {
const Kernels* neon_kernels() { return nullptr; }
}  // namespace dsf
#endif

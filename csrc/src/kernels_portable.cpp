#include "kernels.h"

#if 1
namespace dsf {
namespace portable {

#define DSF_NAME "portable"
#define DSF_LANES 4
#define DSF_REGISTERS 16
#define DSF_LOOKUP 0
// clang-format off: each needs the ones before
#include "simd.h"
#include "transfer.h"
#include "panel.h"
#include "few.h"
#include "table.h"
// clang-format on

}  // namespace portable
const Kernels* portable_kernels() { return &portable::table; }
}  // namespace dsf
#else
namespace dsf {
const Kernels* portable_kernels() { return nullptr; }
}  // namespace dsf
#endif

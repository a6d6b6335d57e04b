#include "kernels/kernels.h"

#if defined(__aarch64__)
namespace dsf {
namespace neon {

#define DSF_NAME "neon"
#define DSF_LANES 4
#define DSF_REGISTERS 32
#define DSF_LOOKUP 0
#define DSF_PAIRS 0
#define DSF_VNNI 0
#define DSF_BYTE_LOOKUP 0
#define DSF_TILES 0
#include "kernels/set.h"

}  // namespace neon
const Kernels* neon_kernels() { return &neon::table; }
}  // namespace dsf
#else
namespace dsf {
const Kernels* neon_kernels() { return nullptr; }
}  // namespace dsf
#endif

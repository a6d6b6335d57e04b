#include "kernels/kernels.h"

namespace dsf {
namespace portable {

#define DSF_NAME "portable"
#define DSF_LANES 4
#define DSF_REGISTERS 16
#define DSF_LOOKUP 0
#define DSF_PAIRS 0
#define DSF_VNNI 0
#define DSF_BYTE_LOOKUP 0
#define DSF_TILES 0
#include "kernels/set.h"

}  // namespace portable
const Kernels* portable_kernels() { return &portable::table; }
}  // namespace dsf

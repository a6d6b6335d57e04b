// Everything an instruction set needs, compiled for it. Included inside its namespace, once its macros are defined.

// clang-format off: each needs the ones before
#include "isa/simd.h"
#include "kernels/transfer.h"
#if DSF_PAIRS
#include "kernels/bf16_pairs.h"
#endif
#include "kernels/panel.h"
#include "kernels/small_batch.h"
#include "kernels/sparse_small_batch.h"
#include "kernels/mix.h"
#include "isa/dot.h"
#include "kernels/int8_panel.h"
#include "kernels/int8_load.h"
#include "kernels/int8_small_batch.h"
#include "kernels/int8_lookup.h"
#if DSF_TILES
#include "isa/amx.h"
#include "kernels/amx_tiles.h"
#endif
#include "kernels/table.h"
// clang-format on

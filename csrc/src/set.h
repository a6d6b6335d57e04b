// Everything an instruction set needs, compiled for it. Included inside its namespace, once its macros are defined.

// clang-format off: each needs the ones before
#include "simd.h"
#include "transfer.h"
#if DSF_PAIRS
#include "pairs.h"
#endif
#include "panel.h"
#include "few.h"
#include "lookup.h"
#include "mix.h"
#include "dot.h"
#include "bytes.h"
#include "bytes_load.h"
#include "bytes_few.h"
#include "bytes_lookup.h"
#if DSF_TILES
#include "tile.h"
#include "tiles.h"
#endif
#include "entries.h"
// clang-format on

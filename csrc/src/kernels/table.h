// The kernels of one instruction set as a table. Included inside its namespace, after everything else.

#if DSF_PAIRS
#define DSF_ROUND_PANEL round_panel
#else
#define DSF_ROUND_PANEL nullptr
#endif
#if DSF_TILES
#define DSF_TILED(PRODUCT) PRODUCT##_tiles
static bool works() { return dots_work() && tiles_work(); }
#else
#define DSF_TILED(PRODUCT) PRODUCT
static bool works() { return dots_work(); }
#endif

static const Kernels table = {
    DSF_NAME,   W,          DSF_LOOKUP,   DSF_BYTE_LOOKUP,        DSF_PAIRS,    DSF_TILES > 0,   works,
    load_panel, store_panel, DSF_TILED(packs_panel), sparse_panel, DSF_ROUND_PANEL, scatter_panel,
    load_bytes, round_bytes, DSF_TILED(quads_panel), load_few,     store_few,       packs_few,
    sparse_few, scatter_few, mix,                    round_bytes_few, quads_few,
};

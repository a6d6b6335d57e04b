// The kernels of one instruction set as a table. Included inside its namespace, after everything else.

#if DSF_PAIRS
#define DSF_ROUND_PANEL round_panel
#else
#define DSF_ROUND_PANEL nullptr
#endif

static const Kernels table = {
    DSF_NAME,     W,          DSF_LOOKUP, DSF_BYTE_LOOKUP, DSF_PAIRS,  load_panel, store_panel, packs_panel, sparse_panel,
    DSF_ROUND_PANEL, scatter_panel, load_bytes, round_bytes, quads_panel, load_few, store_few, packs_few, sparse_few, scatter_few,
    round_bytes_few, quads_few,
};

// The kernels of one instruction set as a table. Included inside its namespace, after everything else.

static const Kernels table = {
    DSF_NAME,     W,          DSF_LOOKUP,    load_panel, store_panel, packs_panel, sparse_panel,
    scatter_panel, load_few, store_few, packs_few,  sparse_few,  scatter_few,
};

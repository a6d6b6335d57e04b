// The kernels of one instruction set as a table.
#pragma once

#include "kernels/amx_dense_panel.h"
#include "kernels/amx_int8_panel.h"
#include "kernels/dense_panel.h"
#include "kernels/dense_small_batch.h"
#include "kernels/encoder/make_row_kernels.h"
#include "kernels/int8_load.h"
#include "kernels/int8_panel.h"
#include "kernels/int8_rounding.h"
#include "kernels/int8_small_batch.h"
#include "kernels/kernels.h"
#include "kernels/mix.h"
#include "kernels/scatter_panel.h"
#include "kernels/scatter_small_batch.h"
#include "kernels/self_test.h"
#include "kernels/sparse_panel.h"
#include "kernels/sparse_small_batch.h"
#include "kernels/transfer.h"

namespace dsf {

// Isa must be a type of the including file's own: whatever is made for it then belongs to that file alone, and the
// linker cannot take it for another set's.
template <class Isa>
constexpr Kernels make_kernels() {
  Kernels kernels = {
      .name = Isa::NAME,
      .lanes = Isa::LANES,
      .has_lookup = Isa::has_lookup,
      .has_int8_lookup = Isa::has_int8_lookup,
      .has_pairs = Isa::has_pairs,
      .has_amx = Isa::has_amx,
      .works = SelfTest<Isa>::passes,
      .load_panel = Transfer<Isa>::load_panel,
      .store_panel = Transfer<Isa>::store_panel,
      .dense_panel = DensePanel<Isa>::run,
      .sparse_panel = SparsePanel<Isa>::run,
      .round_panel = nullptr,
      .scatter_panel = ScatterPanel<Isa>::run,
      .load_uint8 = Int8Load<Isa>::run,
      .round_uint8 = Int8Rounding<Isa>::round_panel,
      .int8_panel = Int8Panel<Isa>::run,
      .load_small_batch = Transfer<Isa>::load_small_batch,
      .store_small_batch = Transfer<Isa>::store_small_batch,
      .dense_small_batch = DenseSmallBatch<Isa>::run,
      .sparse_small_batch = SparseSmallBatch<Isa>::run,
      .scatter_small_batch = ScatterSmallBatch<Isa>::run,
      .mix = Mix<Isa>::run,
      .round_uint8_small_batch = Int8Rounding<Isa>::round_small_batch,
      .int8_small_batch = Int8SmallBatch<Isa>::run,
      .rows = make_row_kernels<Isa>(),
  };
  if constexpr (Isa::has_pairs) kernels.round_panel = SparsePanel<Isa>::round;
  if constexpr (Isa::has_amx) {
    kernels.dense_panel = AmxDensePanel<Isa>::run;
    kernels.int8_panel = AmxInt8Panel<Isa>::run;
  }
  return kernels;
}

}  // namespace dsf

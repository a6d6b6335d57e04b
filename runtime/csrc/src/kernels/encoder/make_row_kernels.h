// The encoder's kernels of one instruction set as a table; see make_kernels.h.
#pragma once

#include "kernels/encoder/amx_row_products.h"
#include "kernels/encoder/attention.h"
#include "kernels/encoder/peak.h"
#include "kernels/encoder/row_activations.h"
#include "kernels/encoder/row_kernels.h"
#include "kernels/encoder/row_products.h"
#include "kernels/encoder/row_transforms.h"

namespace dsf {

template <class Isa>
constexpr RowKernels make_row_kernels() {
  RowKernels kernels = {
      .lanes = Isa::LANES,
      .dense_vectors = RowProducts<Isa>::VECTORS,
      .dense_slack = 0,
      .lookup = Isa::LOOKUP,
      .lookup_cost = Isa::LOOKUP_COST,
      .multiply_floats = RowProducts<Isa>::multiply_floats,
      .multiply_dense = RowProducts<Isa>::multiply_dense,
      .multiply_banked = RowProducts<Isa>::multiply_banked,
      .quantize = RowTransforms<Isa>::quantize,
      .normalize = RowTransforms<Isa>::normalize,
      .gate = RowActivations<Isa>::gate,
      .finish = RowActivations<Isa>::finish,
      .attend = Attention<Isa>::run,
      .attention_scratch = Attention<Isa>::scratch_size,
      .peak = Peak<Isa>::run,
  };
  if constexpr (Isa::has_amx) {
    kernels.dense_slack = AmxRowProducts<Isa>::SLACK;
    kernels.multiply_dense = AmxRowProducts<Isa>::multiply_dense;
  }
  return kernels;
}

}  // namespace dsf

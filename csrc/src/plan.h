// A block, checked and packed.
#pragma once

#include <vector>

#include "../include/dsformer.h"
#include "kernels.h"

struct dsf_plan {
  const dsf::Kernels* kernels = nullptr;
  dsf_tuning tuning{};
  int dtype = DSF_FLOAT32;
  bool output_dictionary = false;
  int64_t in_features = 0, out_features = 0;
  std::vector<int64_t> member_starts;  // one more than members

  // Every sum of products of a run:
  //   input dictionary   z = [D x; x],  u = codes z,            y = u
  //   output dictionary  z = x,         u = codes z = [a; b],   y = D a + b
  // `codes` has a dense part (core atoms, grouped codes) and a sparse part; each may be empty.
  dsf::Packs dictionary, dense;
  dsf::Sparse sparse;
  dsf::Scatter scatter;
  bool has_dictionary = false, has_dense = false, has_sparse = false, has_scatter = false;

  int64_t z_rows = 0, u_rows = 0;  // of the two buffers
  int64_t x_row = 0;               // of z, where x begins
  int64_t sparse_row = 0;          // of u, where the rows of the sparse part begin
  int64_t result_row = 0;          // of u, where the result begins
  bool dictionary_adds = false;    // to rows of u that are there already
  bool sparse_adds = false;        // likewise
  bool any_order = true;           // rows of u are output features in order: they can leave as they are made

  dsf::Buffer<uint32_t> destinations;  // rows of z for the features of x; empty: in order
  dsf::Buffer<uint32_t> sources;       // rows of u for the output features; empty: in order
  dsf::Buffer<float> bias;
  int activation = DSF_IDENTITY;

  double multiplications() const;  // per token
};

// A block, checked and packed.
#pragma once

#include <array>
#include <vector>

#include "dsformer.h"
#include "kernels/kernels.h"

namespace dsf {

// The weights of an int8 plan. Two rounds of sums, what they read being rounded in between:
//   input dictionary   first: p = D x                 second: u = codes [p; x]
//   output dictionary  first: [p; u] = codes x        second: u += D p
struct Int8Plan {
  Int8Groups first[3], second[2];           // second[0] reads p, second[1] x; those without rows are not there
  int64_t first_rows[3] = {};               // of the buffer [p; u], where the results of each begin
  int64_t p_rows = 0, u_row = 0, rows = 0;  // rows of p; where u begins; of the whole buffer
  bool adds = false;                        // to rows of u that are there already
  // Orders of activations that are read; see Uint8Batch.
  bool reads_x_words = false, reads_x_rows = false, reads_p_words = false, reads_p_rows = false;

  std::array<const Int8Groups*, 5> all() const { return {&first[0], &first[1], &first[2], &second[0], &second[1]}; }
};

}  // namespace dsf

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
  dsf::DenseTiles dictionary, dense;
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

  bool is_int8 = false;
  dsf::Int8Plan int8;

  dsf::Buffer<uint32_t> destinations;  // rows of z for the features of x; empty: in order
  dsf::Buffer<uint32_t> sources;       // rows of u for the output features; empty: in order
  dsf::Buffer<float> bias;
  int activation = DSF_IDENTITY;

  int max_vectors() const { return is_int8 ? dsf::MAX_INT8_VECTORS : dsf::MAX_VECTORS; }
  double multiplications() const;  // per token
};

// Rows of the embedding of tokens, as numbers.
#pragma once

#include "dsformer_encoder.h"

namespace dsf {

// Rows `ids` of the encoder's embedding to y, rows of which are `stride` apart.
void read_words(const dsf_encoder_spec& spec, const int32_t* ids, int64_t count, float* y, int64_t stride);

}  // namespace dsf

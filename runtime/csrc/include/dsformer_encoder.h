/* C interface of whole encoders: token ids in, hidden states or pooled vectors out. All numbers are fp32; int8 weights
 * multiply inputs that are rounded to 8 bits, a scale for every token. */
#ifndef DSFORMER_ENCODER_H
#define DSFORMER_ENCODER_H

#include "dsformer.h"

#ifdef __cplusplus
extern "C" {
#endif

enum dsf_number { DSF_NO_NUMBERS = 0, DSF_FLOATS = 1, DSF_BYTES = 2, DSF_HALVES = 3, DSF_BFLOATS = 4 };

/* (rows, columns), row-major, zeros where a sparse matrix stores nothing.
 *   type    DSF_FLOATS, DSF_BFLOATS, or DSF_BYTES (signed) with `scales` (rows): what a weight of 1 stands for
 *   sparse  1: only what is not zero is multiplied; not of DSF_BFLOATS */
typedef struct dsf_matrix {
  int32_t type;
  int32_t sparse;
  int64_t rows;
  int64_t columns;
  const void* values;
  const float* scales;
} dsf_matrix;

/* y = outer (inner x) + direct x + bias. inner and outer are both there or neither. Everything is copied. */
typedef struct dsf_linear_spec {
  uint32_t struct_size;
  dsf_matrix inner;  /* (atoms, in) */
  dsf_matrix outer;  /* (out, atoms) */
  dsf_matrix direct; /* (out, in) */
  const float* bias; /* (out) or NULL */
} dsf_linear_spec;

typedef struct dsf_linear dsf_linear;

/* LayerNorm; `present` 0: there is none. gain and shift (width) may be NULL: 1 and 0. */
typedef struct dsf_norm {
  int32_t present;
  float epsilon;
  const float* gain;
  const float* shift;
} dsf_norm;

/* One layer. Outputs of the linear layers of a list stand one after another.
 *   query_key_value  queries of all heads, keys, values
 *   up               what the activation is applied to, and where gated, as many factors
 *   window           keys further from a query are not seen; 0: all are
 *   rotary           base of rotary positions; 0: none
 *   relative_index   DeBERTa's rows of relative positions, (2 longest - 1), at [i - j + longest - 1]; NULL: none
 *   relative_keys, relative_queries  (rows, heads * head_size) or NULL */
typedef struct dsf_layer {
  const dsf_linear* const* query_key_value;
  int64_t query_key_value_count;
  const dsf_linear* attention_output;
  dsf_norm attention_norm;
  const dsf_linear* const* up;
  int64_t up_count;
  const dsf_linear* down;
  dsf_norm output_norm;
  int64_t window;
  double rotary;
  const int32_t* relative_index;
  int64_t relative_rows;
  const float* relative_keys;
  const float* relative_queries;
} dsf_layer;

/* An encoder. Linear layers and arrays must stay where they are while it lives; norms and the bias are copied.
 *   table        a compressed embedding of tokens, or NULL: `words` (word_rows, embedding_size) of word_type
 *   word_scales  (word_rows), of DSF_BYTES
 *   positions    (longest, embedding_size) or NULL; types (type_rows, embedding_size) or NULL
 *   projection   from embedding_size to width, or NULL
 *   bias         (heads, 2 longest - 1) added to the score of query i and key j, at [j - i + longest - 1], or NULL */
typedef struct dsf_encoder_spec {
  uint32_t struct_size;
  int32_t activation;
  int32_t gated;
  int32_t pre_norm;
  int64_t width;
  int64_t embedding_size;
  int64_t head_size;
  int64_t longest;
  float scale;
  int32_t word_type;
  int64_t word_rows;
  const void* words;
  const float* word_scales;
  const dsf_table* table;
  const float* positions;
  const float* types;
  int64_t type_rows;
  dsf_norm embedding_norm;
  const dsf_linear* projection;
  const dsf_layer* layers;
  int64_t layer_count;
  dsf_norm final_norm;
  const float* bias;
  int64_t bias_heads;
} dsf_encoder_spec;

typedef struct dsf_encoder dsf_encoder;

/* What is returned: hidden states of all tokens (tokens, width), or one vector for every text (texts, width). */
enum dsf_pooling { DSF_POOL_NONE = 0, DSF_POOL_MEAN = 1, DSF_POOL_FIRST = 2, DSF_POOL_MAX = 3 };

/* NULL with *error set when something is wrong. */
DSF_API dsf_linear* dsf_linear_create(const dsf_linear_spec* spec, int* error);
DSF_API void dsf_linear_free(dsf_linear* linear);
DSF_API int64_t dsf_linear_bytes(const dsf_linear* linear);
/* y (tokens, out) = activation(linear(x)), x (tokens, in). */
DSF_API int dsf_linear_run(const dsf_linear* linear, const float* x, int64_t tokens, int activation, float* y,
                           int threads);

/* Multiplies bytes in registers and does nothing else; returns how many products that was. For benchmarks. */
DSF_API int64_t dsf_peak_products(int64_t rounds);

DSF_API dsf_encoder* dsf_encoder_create(const dsf_encoder_spec* spec, int* error);
DSF_API void dsf_encoder_free(dsf_encoder* encoder);

/* ids of all texts one after another, texts + 1 `starts` of them; types like ids, or NULL: all 0. Texts are neither
 * empty nor longer than `longest`. Where `normalize` is 1 vectors get length 1. Any number of threads may run one
 * encoder at a time; results depend neither on them nor on the other texts.
 * DSF_BAD_INDEX, and nothing written, where an id or a type is not there. */
DSF_API int dsf_encoder_run(const dsf_encoder* encoder, const int32_t* ids, const int32_t* types,
                            const int64_t* starts, int64_t texts, int pooling, int normalize, float* out, int threads);

#ifdef __cplusplus
}
#endif
#endif

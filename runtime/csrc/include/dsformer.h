/* C interface of the native CPU kernels. No types of Python or PyTorch: one build serves every version of both. */
#ifndef DSFORMER_H
#define DSFORMER_H

#include <stdint.h>

#if defined(_WIN32)
#define DSF_API __declspec(dllexport)
#elif defined(__GNUC__)
#define DSF_API __attribute__((visibility("default")))
#else
#define DSF_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Raised whenever a caller built for the old interface would misbehave. */
#define DSF_ABI_VERSION 5

enum dsf_orientation { DSF_INPUT_DICTIONARY = 0, DSF_OUTPUT_DICTIONARY = 1 };

/* Sums are always fp32, of int8 weights int32: inputs are then rounded to 8 bits, a scale for every token. */
enum dsf_dtype { DSF_FLOAT32 = 0, DSF_BFLOAT16 = 1, DSF_INT8 = 2 };

/* Applied after the bias. GELU is the exact one (erf). */
enum dsf_activation { DSF_IDENTITY = 0, DSF_GELU = 1, DSF_GELU_TANH = 2, DSF_RELU = 3,
                      DSF_SILU = 4, DSF_TANH = 5 };

enum dsf_error {
  DSF_OK = 0,
  DSF_BAD_ARGUMENT = 1,
  DSF_BAD_INDEX = 2,
  DSF_BAD_PERMUTATION = 3,
  DSF_UNSUPPORTED = 4,
  DSF_NO_MEMORY = 5,
  DSF_INTERNAL_ERROR = 6
};

/* One block. Input dictionary: units are output rows and width the input's length; output dictionary: units are input
 * columns and width = out_features. Everything is row-major and copied when a plan is made.
 *
 *   dtype       of x, y and bias: not int8
 *   weights     type of dictionary and values: dtype or int8
 *   dictionary  (atoms, width) for an input dictionary, (width, atoms) for an output one; NULL without atoms
 *   values      (units, core + nonzeros); units with fewer selected atoms than others have zeros, which cost nothing
 *               where units have supports of their own
 *   dictionary_scales, value_scales  for int8 weights, what a weight of 1 stands for: one for every row of the
 *               dictionary; one for every unit of an input dictionary, for every position of an output one
 *   indices     (units / group, nonzeros), candidates as in dsformer.factorization.Form
 *   permutation (units) or NULL: the unit of the weight that code i belongs to
 *   bias        (out_features) or NULL
 *   members     stacked layers; member_sizes are their out_features, and each has its own output in dsf_plan_run
 */
typedef struct dsf_form {
  uint32_t struct_size; /* sizeof(dsf_form) of the caller */
  int32_t orientation;
  int32_t dtype;
  int32_t weights;
  int32_t activation;
  int64_t units;
  int64_t width;
  int64_t atoms;
  int64_t core;
  int64_t nonzeros;
  int64_t group;
  int64_t out_features;
  int32_t canonical;
  int32_t members;
  const int64_t* member_sizes;
  const void* dictionary;
  const void* values;
  const int32_t* indices;
  const int64_t* permutation;
  const void* bias;
  const float* dictionary_scales;
  const float* value_scales;
} dsf_form;

/* How a plan runs; zeros mean the library's choice. */
typedef struct dsf_tuning {
  int32_t panel_vectors; /* token vectors per panel, 1 to 6 */
  int32_t small_tokens;  /* up to this many tokens run on the kernels for small batches; -1: never */
  int32_t block_bytes;   /* of activations that free codes read before going on to the next block of positions */
  int32_t unpaired;      /* 1: bfloat16 of free codes one at a time, in single precision, where it could be by pairs */
} dsf_tuning;

typedef struct dsf_plan dsf_plan;

/* An embedding as it is stored, an input dictionary whose units are the rows. Nothing is copied: everything must stay
 * where it is while rows are read.
 *
 *   dtype       of y
 *   weights     type of dictionary and values: dtype or int8
 *   dictionary  (atoms, width), values (units, core + nonzeros)
 *   dictionary_scales, value_scales  with int8 weights, of every atom and every unit: bits of bfloat16
 *   support     bits, lowest first, group after group: one for every candidate (field_bits 0), or a field for every
 *               non-zero; NULL when all candidates are on. With of_set > 0 there are `sets` strided sets of candidates
 *               with so many on in each, and a field says which of its set.
 *   code_of     (units) the code that describes a row, or NULL: its own
 */
typedef struct dsf_table {
  uint32_t struct_size; /* sizeof(dsf_table) of the caller */
  int32_t dtype;
  int32_t weights;
  int32_t canonical;
  int64_t units;
  int64_t width;
  int64_t atoms;
  int64_t core;
  int64_t nonzeros;
  int64_t group;
  int32_t field_bits;
  int32_t of_set;
  int64_t sets;
  int64_t support_bytes;
  const void* dictionary;
  const void* values;
  const uint8_t* support;
  const int64_t* code_of;
  const uint16_t* dictionary_scales;
  const uint16_t* value_scales;
} dsf_table;

DSF_API int dsf_abi_version(void);
DSF_API const char* dsf_error_string(int error);

/* Instruction set of plans made from now on: "amx", "avx512_bf16", "avx512_vnni", "avx512", "avx_vnni", "avx2",
 * "neon_dot", "neon", "portable", or for tests "amx_emulated"; NULL: the best one.
 * DSF_UNSUPPORTED, and no change, where the build or the CPU lacks it. */
DSF_API int dsf_set_isa(const char* name);
DSF_API const char* dsf_isa_name(void);

/* Address of GOMP_parallel in the OpenMP runtime whose threads are to be used; NULL: threads of the library. */
DSF_API void dsf_set_parallel(void* gomp_parallel);

/* Checks and packs a block. NULL with *error set when something is wrong. `tuning` may be NULL. */
DSF_API dsf_plan* dsf_plan_create(const dsf_form* form, const dsf_tuning* tuning, int* error);
DSF_API void dsf_plan_free(dsf_plan* plan);
DSF_API dsf_tuning dsf_plan_tuning(const dsf_plan* plan);
DSF_API int64_t dsf_plan_bytes(const dsf_plan* plan);

/* y[m] (tokens, member_sizes[m]) for x (tokens, in); strides count elements between tokens. Plans never change: any
 * number of threads may run one at a time. */
DSF_API int dsf_plan_run(const dsf_plan* plan, const void* x, int64_t tokens, int64_t x_stride, void* const* y,
                         const int64_t* y_strides, int threads);

/* Rows `ids` of an embedding to y (count, width). DSF_BAD_INDEX, and nothing written, where one is not there. */
DSF_API int dsf_table_read(const dsf_table* table, const int64_t* ids, int64_t count, void* y, int threads);

#ifdef __cplusplus
}
#endif
#endif

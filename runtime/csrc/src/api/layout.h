// Where the fields of the C interface's structs are, where pointers have 64 bits. ops/cpu/library.py mirrors
// the structs: what changes here has to change there, and with it DSF_ABI_VERSION.
#pragma once

#include <cstddef>

#include "dsformer.h"

// clang-format off
#define DSF_FORM_FIELDS(FIELD)                                                                                    \
  FIELD(dsf_form, struct_size, 0) FIELD(dsf_form, orientation, 4) FIELD(dsf_form, dtype, 8)                       \
  FIELD(dsf_form, weights, 12) FIELD(dsf_form, activation, 16) FIELD(dsf_form, units, 24)                         \
  FIELD(dsf_form, width, 32) FIELD(dsf_form, atoms, 40) FIELD(dsf_form, core, 48) FIELD(dsf_form, nonzeros, 56)   \
  FIELD(dsf_form, group, 64) FIELD(dsf_form, out_features, 72) FIELD(dsf_form, canonical, 80)                     \
  FIELD(dsf_form, members, 84) FIELD(dsf_form, member_sizes, 88) FIELD(dsf_form, dictionary, 96)                  \
  FIELD(dsf_form, values, 104) FIELD(dsf_form, indices, 112) FIELD(dsf_form, permutation, 120)                    \
  FIELD(dsf_form, bias, 128) FIELD(dsf_form, dictionary_scales, 136) FIELD(dsf_form, value_scales, 144)

#define DSF_TUNING_FIELDS(FIELD)                                                                                  \
  FIELD(dsf_tuning, panel_vectors, 0) FIELD(dsf_tuning, small_tokens, 4) FIELD(dsf_tuning, block_bytes, 8)        \
  FIELD(dsf_tuning, unpaired, 12)

#define DSF_TABLE_FIELDS(FIELD)                                                                                   \
  FIELD(dsf_table, struct_size, 0) FIELD(dsf_table, dtype, 4) FIELD(dsf_table, weights, 8)                        \
  FIELD(dsf_table, canonical, 12) FIELD(dsf_table, units, 16) FIELD(dsf_table, width, 24)                         \
  FIELD(dsf_table, atoms, 32) FIELD(dsf_table, core, 40) FIELD(dsf_table, nonzeros, 48) FIELD(dsf_table, group, 56) \
  FIELD(dsf_table, field_bits, 64) FIELD(dsf_table, of_set, 68) FIELD(dsf_table, sets, 72)                        \
  FIELD(dsf_table, support_bytes, 80) FIELD(dsf_table, dictionary, 88) FIELD(dsf_table, values, 96)               \
  FIELD(dsf_table, support, 104) FIELD(dsf_table, code_of, 112) FIELD(dsf_table, dictionary_scales, 120)          \
  FIELD(dsf_table, value_scales, 128)

#define DSF_ALL_FIELDS(FIELD) DSF_FORM_FIELDS(FIELD) DSF_TUNING_FIELDS(FIELD) DSF_TABLE_FIELDS(FIELD)
// clang-format on

namespace dsf {

constexpr bool HAS_64_BITS = sizeof(void*) == 8;

#define DSF_CHECK_OFFSET(STRUCT, FIELD, OFFSET) static_assert(!HAS_64_BITS || offsetof(STRUCT, FIELD) == (OFFSET));
DSF_ALL_FIELDS(DSF_CHECK_OFFSET)
#undef DSF_CHECK_OFFSET

static_assert(!HAS_64_BITS || sizeof(dsf_form) == 152);
static_assert(sizeof(dsf_tuning) == 16);
static_assert(!HAS_64_BITS || sizeof(dsf_table) == 136);

}  // namespace dsf

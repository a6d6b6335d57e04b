// The caller's form, checked, with its numbers (of int8 weights without their scales) as fp32.
#pragma once

#include <vector>

#include "dsformer.h"

namespace dsf {

struct Form {
  dsf_form raw;
  int64_t kept, groups, candidates, in_features;
  double selected;                    // values of the selected atoms that are not zero, for every unit
  std::vector<int64_t> unit_of_code;  // the permutation, or 0, 1, 2, ...
  std::vector<float> dictionary, values, bias;

  bool int8() const { return raw.weights == DSF_INT8; }
  bool output() const { return raw.orientation == DSF_OUTPUT_DICTIONARY; }
  float value(int64_t code, int64_t k) const { return values[code * kept + k]; }
  // Whether a code has the value: one of zero, which is there because others have more, is left out.
  bool holds(int64_t code, int64_t k) const { return value(code, k) != 0.0f; }
  // The position, among learned atoms and then canonical ones, of a code's k-th value.
  int64_t position(int64_t code, int64_t k) const {
    return k < raw.core ? k : raw.core + raw.indices[code / raw.group * raw.nonzeros + (k - raw.core)];
  }
};

// An error of dsf_error; `form` is filled when there is none.
int check(const dsf_form* raw, Form& form);

}  // namespace dsf

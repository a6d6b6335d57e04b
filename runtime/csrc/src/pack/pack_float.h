// From a form to the fp32 or bfloat16 weights its plan multiplies.
#pragma once

#include "pack/form.h"
#include "pack/plan.h"

namespace dsf {

// Fills everything of a plan but its epilogue.
void pack_float(const Form& form, dsf_plan& plan);

}  // namespace dsf

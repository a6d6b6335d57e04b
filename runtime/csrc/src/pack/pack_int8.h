// From a form to the int8 weights its plan multiplies.
#pragma once

#include "pack/form.h"
#include "pack/plan.h"

namespace dsf {

// Fills everything of a plan but its epilogue.
void pack_int8(const Form& form, dsf_plan& plan);

}  // namespace dsf

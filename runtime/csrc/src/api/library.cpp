// The library itself: version and errors.
#include "api/layout.h"
#include "dsformer.h"

extern "C" {

int dsf_abi_version(void) { return DSF_ABI_VERSION; }

const char* dsf_error_string(int error) {
  switch (error) {
    case DSF_OK: return "no error";
    case DSF_BAD_ARGUMENT: return "sizes or settings that no form can have";
    case DSF_BAD_INDEX: return "indices out of range or not ascending";
    case DSF_BAD_PERMUTATION: return "not a permutation of the units";
    case DSF_UNSUPPORTED: return "not supported by this build or this CPU";
    case DSF_NO_MEMORY: return "out of memory";
    case DSF_INTERNAL_ERROR: return "a defect of the library";
    default: return "unknown error";
  }
}
}

// Runs the tests; with `--layout`, prints where the fields of the C interface's structs are, for
// tests/ops/test_csrc.py.
#include <cstring>

#include "api/layout.h"
#include "check.h"

static void print_layout() {
#define DSF_PRINT(STRUCT, FIELD, _) \
  std::printf("%s %s %zu %zu\n", #STRUCT, #FIELD, offsetof(STRUCT, FIELD), sizeof(STRUCT::FIELD));
  DSF_ALL_FIELDS(DSF_PRINT)
#undef DSF_PRINT
  std::printf("dsf_form . 0 %zu\ndsf_tuning . 0 %zu\ndsf_table . 0 %zu\n", sizeof(dsf_form), sizeof(dsf_tuning),
              sizeof(dsf_table));
  std::printf("version . 0 %d\n", DSF_ABI_VERSION);
}

int main(int count, char** arguments) {
  if (count > 1 && !std::strcmp(arguments[1], "--layout")) {
    print_layout();
    return 0;
  }
  for (const dsf::test::Case& test : dsf::test::cases()) {
    const int before = dsf::test::failures;
    test.run();
    std::printf("%s %s\n", dsf::test::failures == before ? "passed" : "FAILED", test.name);
  }
  return dsf::test::failures ? 1 : 0;
}

// The library itself: version, errors, instruction set, threads.
#include <atomic>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

#include "dsformer.h"
#include "kernels/kernels.h"
#include "run/parallel.h"

namespace dsf {
namespace {

#if defined(__x86_64__)
bool has_avx_vnni() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4);
}

// Whether there are tiles for bytes and bfloat16, and the system lets this process use them.
bool has_tiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr unsigned TILE = 1u << 24, INT8 = 1u << 25, BF16 = 1u << 22;
  constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & (TILE | INT8 | BF16)) != (TILE | INT8 | BF16)) return false;
  return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
  return false;
#endif
}
#endif

bool cpu_has([[maybe_unused]] const Kernels* kernels) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (kernels->lanes == 16)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("fma") &&
           (!std::strcmp(kernels->name, "avx512") || __builtin_cpu_supports("avx512vnni")) &&
           (!kernels->has_byte_lookup || __builtin_cpu_supports("avx512vbmi")) &&
           (!kernels->has_pairs || __builtin_cpu_supports("avx512bf16")) &&
           (kernels != amx_kernels() || has_tiles());
  if (kernels->lanes == 8)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           (kernels != avx_vnni_kernels() || has_avx_vnni());
#endif
  return true;
}

bool cpu_runs(const Kernels* kernels) { return kernels && cpu_has(kernels) && kernels->works(); }

// Best first, then what is only for tests; null: there is none of that name.
const Kernels* find(const char* name) {
  const Kernels* every[] = {amx_kernels(),      avx512_bf16_kernels(), avx512_vnni_kernels(),
                            avx512_kernels(),   avx_vnni_kernels(),    avx2_kernels(),
                            neon_kernels(),     portable_kernels(),    amx_emulated_kernels()};
  for (const Kernels* kernels : every)
    if (cpu_runs(kernels) && (!name || !std::strcmp(kernels->name, name))) return kernels;
  return nullptr;
}

const Kernels* first_choice() {
  const char* wanted = std::getenv("DSFORMER_ISA");
  const Kernels* kernels = wanted && *wanted ? find(wanted) : nullptr;
  return kernels ? kernels : find(nullptr);
}

std::atomic<const Kernels*>& current() {
  static std::atomic<const Kernels*> kernels{first_choice()};
  return kernels;
}

typedef void (*GompParallel)(void (*)(void*), void*, unsigned, unsigned);
std::atomic<GompParallel> gomp_parallel{nullptr};

}  // namespace

const Kernels* current_kernels() { return current().load(); }

bool parallel_available() { return gomp_parallel.load() != nullptr; }

void run_parallel(int threads, void (*work)(void*), void* argument) {
  const GompParallel parallel = gomp_parallel.load();
  if (threads > 1 && parallel)
    parallel(work, argument, unsigned(threads), 0);
  else
    work(argument);
}

}  // namespace dsf

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
    default: return "unknown error";
  }
}

int dsf_set_isa(const char* name) {
  const dsf::Kernels* kernels = dsf::find(name);
  if (!kernels) return DSF_UNSUPPORTED;
  dsf::current().store(kernels);
  return DSF_OK;
}

const char* dsf_isa_name(void) { return dsf::current_kernels()->name; }

void dsf_set_parallel(void* gomp_parallel) {
  dsf::gomp_parallel.store(reinterpret_cast<dsf::GompParallel>(gomp_parallel));
}
}

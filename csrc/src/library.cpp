// The library itself: version, errors, instruction set, threads.
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "../include/dsformer.h"
#include "kernels.h"
#include "parallel.h"

namespace dsf {
namespace {

bool cpu_runs(const Kernels* kernels) {
  if (!kernels) return false;
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
  if (!std::strncmp(kernels->name, "avx512", 6))
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("fma") &&
           (!std::strcmp(kernels->name, "avx512") || __builtin_cpu_supports("avx512vnni")) &&
           (!kernels->has_byte_lookup || __builtin_cpu_supports("avx512vbmi")) &&
           (!kernels->has_pairs || __builtin_cpu_supports("avx512bf16"));
  if (!std::strcmp(kernels->name, "avx2")) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return true;
}

// Best first; null: there is none of that name.
const Kernels* find(const char* name) {
  const Kernels* every[] = {avx512_bf16_kernels(), avx512_vnni_kernels(), avx512_kernels(),
                            avx2_kernels(),        neon_kernels(),        portable_kernels()};
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

#include "run/parallel.h"

#include <atomic>

#include "dsformer.h"

namespace dsf {
namespace {

typedef void (*GompParallel)(void (*)(void*), void*, unsigned, unsigned);
std::atomic<GompParallel> gomp_parallel{nullptr};

}  // namespace

bool parallel_available() { return gomp_parallel.load() != nullptr; }

void run_parallel(int threads, void (*work)(void*), void* argument) {
  const GompParallel parallel = gomp_parallel.load();
  if (threads > 1 && parallel)
    parallel(work, argument, unsigned(threads), 0);
  else
    work(argument);
}

}  // namespace dsf

extern "C" void dsf_set_parallel(void* gomp_parallel) {
  dsf::gomp_parallel.store(reinterpret_cast<dsf::GompParallel>(gomp_parallel));
}

// Work in phases, whose items several threads take. Nobody waits for an item that no running thread has taken, so fewer
// threads than asked for do no harm.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "api/errors.h"
#include "run/parallel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace dsf {

// Another thread's item is usually about to end. When it is not, a core may have been taken away: then sleep.
inline void wait_for(const std::atomic<int32_t>& done, int32_t count) {
  for (int spins = 0; done.load(std::memory_order_acquire) < count; spins++) {
#if defined(__x86_64__)
    _mm_pause();
#endif
    if (spins < 4000) continue;
    const int32_t now = done.load(std::memory_order_acquire);
    if (now < count) done.wait(now, std::memory_order_acquire);
  }
}

template <class Work>
class Phases {
 public:
  explicit Phases(Work& work) : work_(work), next_(size_t(work.phases())), done_(size_t(work.phases())) {}

  static void take_part(void* state) {
    Phases& self = *static_cast<Phases*>(state);
    self.run(self.threads_.fetch_add(1));
  }
  int error() const { return error_.error(); }

 private:
  void run(int thread) {
    for (int phase = 0; phase < work_.phases(); phase++) {
      const int32_t items = int32_t(work_.items(phase));
      int32_t own = 0;
      for (int32_t item; (item = next_[size_t(phase)].fetch_add(1)) < items; own++)
        error_.guard([&] { work_.run(phase, item, thread); });
      std::atomic<int32_t>& done = done_[size_t(phase)];
      if (own && done.fetch_add(own, std::memory_order_release) + own == items) done.notify_all();
      wait_for(done, items);
    }
  }

  Work& work_;
  std::vector<std::atomic<int32_t>> next_, done_;
  std::atomic<int> threads_{0};
  SharedError error_{};
};

// Calls work.run(phase, item, thread) for all items of every phase; `thread` is below `threads`.
template <class Work>
int run_phases(Work& work, int threads) {
  Phases<Work> phases(work);
  run_parallel(threads, Phases<Work>::take_part, &phases);
  return phases.error();
}

}  // namespace dsf

#include "run/parallel.h"

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <unistd.h>
#endif

#include "dsformer.h"

namespace dsf {
namespace {

typedef void (*Work)(void*);
typedef void (*GompParallel)(void (*)(void*), void*, unsigned, unsigned);

int process() {
#if defined(_WIN32)
  return 0;
#else
  return int(getpid());
#endif
}

std::atomic<GompParallel> gomp_parallel{nullptr};
std::atomic<int> gomp_process{0};

// Threads that sleep until there is work. One call has them at a time.
class Pool {
 public:
  explicit Pool(int process) : process_(process) {}

  int process_of() const { return process_; }

  // False where another call has the threads.
  bool run(int threads, Work work, void* argument) {
    const std::unique_lock lock(busy_, std::try_to_lock);
    if (!lock) return false;
    grow(threads - 1);
    work_ = work;
    argument_ = argument;
    open_.store(threads - 1);
    jobs_.fetch_add(1);
    jobs_.notify_all();
    work(argument);
    // Whoever has not begun stays away; whoever has is waited for.
    open_.store(-CLOSED);
    for (int32_t active; (active = active_.load()) > 0;) active_.wait(active);
    return true;
  }

 private:
  static constexpr int32_t CLOSED = 1 << 20;

  void grow(int threads) {
    while (int(count_) < threads) {
      std::thread(&Pool::serve, this).detach();
      count_++;
    }
  }

  void serve() {
    for (int32_t seen = 0;;) {
      jobs_.wait(seen);
      seen = jobs_.load();
      active_.fetch_add(1);
      if (open_.fetch_sub(1) > 0) work_(argument_);
      if (active_.fetch_sub(1) == 1) active_.notify_all();
    }
  }

  const int process_;
  std::mutex busy_;
  int count_ = 0;
  Work work_ = nullptr;
  void* argument_ = nullptr;
  std::atomic<int32_t> open_{0}, jobs_{0}, active_{0};
};

// A fork has none of its parent's threads, and perhaps its locks: it gets a pool of its own. No pool is ever deleted,
// since its threads may outlive everything else.
Pool& pool() {
  static std::atomic<Pool*> current{nullptr};
  Pool* found = current.load();
  while (!found || found->process_of() != process()) {
    Pool* made = new Pool(process());
    if (current.compare_exchange_strong(found, made)) return *made;
    delete made;
  }
  return *found;
}

}  // namespace

void run_parallel(int threads, void (*work)(void*), void* argument) {
  if (threads < 2) return work(argument);
  const GompParallel parallel = gomp_parallel.load();
  // OpenMP's threads do not survive a fork.
  if (parallel && gomp_process.load() == process()) return parallel(work, argument, unsigned(threads), 0);
  if (!pool().run(threads, work, argument)) work(argument);
}

}  // namespace dsf

extern "C" void dsf_set_parallel(void* gomp_parallel) {
  dsf::gomp_process.store(dsf::process());
  dsf::gomp_parallel.store(reinterpret_cast<dsf::GompParallel>(gomp_parallel));
}

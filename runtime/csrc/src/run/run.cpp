// Runs a plan: panels shared out among threads, or where there are few of them, the items of one.
#include <algorithm>
#include <atomic>
#include <thread>

#include "api/errors.h"
#include "run/float_pipeline.h"
#include "run/int8_pipeline.h"
#include "run/parallel.h"

namespace dsf {
namespace {

float* scratch(int64_t floats) {
  thread_local Buffer<float> buffer;
  buffer.grow(floats);
  return buffer.data();
}

template <class Pipe>
void run_all(const Pipe& pipe) {
  for (int phase = 0; phase < Pipe::PHASES; phase++)
    for (int64_t item = 0, items = pipe.items(phase); item < items; item++) pipe.run(phase, item);
}

// Panels of one call, taken by whichever thread is free.
template <class Pipe>
struct Panels {
  const Call& call;
  int64_t vectors, panels;
  std::atomic<int64_t> next{0};
  SharedError error{};

  int64_t start(int64_t panel) const { return panel * vectors / panels; }

  void work() {
    error.guard([&] {
      for (int64_t i; (i = next.fetch_add(1)) < panels;) run_panel(i);
    });
  }

  void run_panel(int64_t i) {
    const int lanes = call.plan.kernels->lanes;
    const int64_t after = std::min(next.load(), panels - 1);
    const int64_t token = start(i) * lanes, tokens = std::min(start(i + 1) * lanes, call.tokens) - token;
    const int64_t next_token = start(after) * lanes;
    const int64_t next_tokens = after > i ? std::min(start(after + 1) * lanes, call.tokens) - next_token : 0;
    const int width = int(start(i + 1) - start(i));
    float* buffers = scratch(Pipe::scratch_floats(call.plan, tokens, width));
    run_all(Pipe(call, token, tokens, width, buffers, true, next_token, next_tokens));
  }
};

// One pipeline whose items several threads take. Nobody waits for an item that no running thread has taken, so fewer
// threads than asked for do no harm.
template <class Pipe>
struct Shared {
  const Pipe& pipe;
  std::atomic<int64_t> next[Pipe::PHASES] = {};
  std::atomic<int64_t> done[Pipe::PHASES] = {};

  void work() {
    for (int phase = 0; phase < Pipe::PHASES; phase++) {
      const int64_t items = pipe.items(phase);
      for (int64_t item; (item = next[phase].fetch_add(1)) < items;) {
        pipe.run(phase, item);
        done[phase].fetch_add(1, std::memory_order_release);
      }
      for (int spins = 0; done[phase].load(std::memory_order_acquire) < items; spins++)
        if (spins > 1000) std::this_thread::yield();
    }
  }
};

template <class T>
void work_on(void* state) {
  static_cast<T*>(state)->work();
}

template <class Pipe>
int run_shared(const Call& call, int vectors, int threads) {
  float* buffers = scratch(Pipe::scratch_floats(call.plan, call.tokens, vectors));
  const Pipe pipe(call, 0, call.tokens, vectors, buffers, threads == 1);
  if (threads == 1) {
    run_all(pipe);
    return DSF_OK;
  }
  Shared<Pipe> shared{pipe};
  run_parallel(threads, work_on<Shared<Pipe>>, &shared);
  return DSF_OK;
}

template <class Pipe>
int run(const Call& call, int threads) {
  const dsf_plan& plan = call.plan;
  if (plan.multiplications() * double(call.tokens) < WORTH_A_THREAD) threads = 1;
  if (call.tokens <= plan.tuning.small_tokens) return run_shared<Pipe>(call, 0, threads);
  const int64_t vectors = (call.tokens + plan.kernels->lanes - 1) / plan.kernels->lanes;
  if (vectors < threads && vectors <= plan.max_vectors()) return run_shared<Pipe>(call, int(vectors), threads);
  int64_t panels = (vectors + plan.tuning.panel_vectors - 1) / plan.tuning.panel_vectors;
  if (panels < 8 * threads) panels = std::min(vectors, round_up(panels, threads));
  Panels<Pipe> state{call, vectors, panels};
  run_parallel(threads, work_on<Panels<Pipe>>, &state);
  return state.error.error();
}

}  // namespace
}  // namespace dsf

extern "C" int dsf_plan_run(const dsf_plan* plan, const void* x, int64_t tokens, int64_t x_stride, void* const* y,
                            const int64_t* y_strides, int threads) {
  if (!plan || tokens < 0 || threads < 1) return DSF_BAD_ARGUMENT;
  if (tokens == 0) return DSF_OK;
  if (!x || !y || !y_strides) return DSF_BAD_ARGUMENT;
  return dsf::guarded([&] {
    const dsf::Call call{*plan, static_cast<const char*>(x), tokens, x_stride, y, y_strides};
    return plan->is_int8 ? dsf::run<dsf::Int8Pipeline>(call, threads) : dsf::run<dsf::FloatPipeline>(call, threads);
  });
}

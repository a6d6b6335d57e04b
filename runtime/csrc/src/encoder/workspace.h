// Buffers of one run, kept for the next one.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "encoder/linear.h"

namespace dsf {

// Of a thread, for a panel of tokens; and for attention.
struct ThreadScratch {
  LinearScratch linear;
  Buffer<float> rows, inner, gated, attention;
};

// Of all tokens that are processed together.
struct Workspace {
  Buffer<float> x, query_key_value, context;
  std::vector<ThreadScratch> threads;
};

// Any number of threads may run an encoder: each takes a workspace of its own. Nobody waits for the lock, which a fork
// may find taken for ever.
class WorkspacePool {
 public:
  std::unique_ptr<Workspace> take() {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock || idle_.empty()) return std::make_unique<Workspace>();
    std::unique_ptr<Workspace> workspace = std::move(idle_.back());
    idle_.pop_back();
    return workspace;
  }
  void give_back(std::unique_ptr<Workspace> workspace) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (lock && idle_.size() < KEPT) idle_.push_back(std::move(workspace));
  }

 private:
  static constexpr size_t KEPT = 4;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace dsf

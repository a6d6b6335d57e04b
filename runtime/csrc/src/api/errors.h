// From exceptions to what the C interface returns: none may leave the library.
#pragma once

#include <atomic>
#include <new>

#include "dsformer.h"

namespace dsf {

// What `run` returns, or why it could not.
template <class F>
int guarded(F&& run) noexcept {
  try {
    return run();
  } catch (const std::bad_alloc&) {
    return DSF_NO_MEMORY;
  } catch (...) {
    return DSF_INTERNAL_ERROR;
  }
}

// The error of whichever of several threads had one.
class SharedError {
 public:
  template <class F>
  void guard(F&& run) noexcept {
    const int error = guarded([&] {
      run();
      return int(DSF_OK);
    });
    if (error != DSF_OK) error_ = error;
  }
  int error() const { return error_; }

 private:
  std::atomic<int> error_{DSF_OK};
};

}  // namespace dsf

// Threads: those of the OpenMP runtime that the caller has loaded, or the library's own. Two pools would compete for
// the cores.
#pragma once

namespace dsf {

// Waking threads costs about as much as this many multiplications.
constexpr double WORTH_A_THREAD = 5e5;

// Runs `work(argument)` on up to `threads` threads at once, possibly fewer.
void run_parallel(int threads, void (*work)(void*), void* argument);

}  // namespace dsf

// Threads of the OpenMP runtime the caller has loaded; a second pool would compete with it for the cores.
#pragma once

namespace dsf {

// Runs `work(argument)` on up to `threads` threads at once, possibly fewer.
void run_parallel(int threads, void (*work)(void*), void* argument);
bool parallel_available();

}  // namespace dsf

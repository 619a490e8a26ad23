// parallel_for: loops over fixed chunks. The chunks depend on the range and the grain alone, never on the number of threads,
// so whatever is accumulated per chunk is the same for 1 thread and for 64.
#pragma once
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

namespace vitrine {

inline void set_threads(int n) { omp_set_num_threads(n); }
inline int threads() { return omp_get_max_threads(); }

inline int64_t chunk_count(int64_t n, int64_t grain) { return (n + grain - 1) / grain; }

// body(chunk) for every chunk in [0, chunks), each by one thread. The first exception is rethrown to the caller; chunks
// that have not begun by then do not run.
template <class Body>
void parallel_chunks(int64_t chunks, Body&& body) {
  if (chunks <= 1 || threads() == 1 || omp_in_parallel()) {
    for (int64_t c = 0; c < chunks; ++c) body(c);
    return;
  }
  std::exception_ptr failure;
  std::atomic<bool> failed = false;
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t c = 0; c < chunks; ++c) {
    if (failed) continue;
    try {
      body(c);
    } catch (...) {
#pragma omp critical(vitrine_parallel_failure)
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

// body(begin, end) over [0, n) in chunks of `grain`.
template <class Body>
void parallel_for(int64_t n, int64_t grain, Body&& body) {
  parallel_chunks(chunk_count(n, grain), [&](int64_t c) { body(c * grain, std::min(n, (c + 1) * grain)); });
}

// The same chunks, the last first: what an earlier pass over the same memory has left in the cache is used before it is gone.
template <class Body>
void parallel_for_backwards(int64_t n, int64_t grain, Body&& body) {
  const int64_t last = chunk_count(n, grain) - 1;
  parallel_chunks(last + 1, [&](int64_t c) { body((last - c) * grain, std::min(n, (last - c + 1) * grain)); });
}

}  // namespace vitrine

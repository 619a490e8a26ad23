#include "bench/peak.h"

#include <algorithm>
#include <ctime>
#include <vector>

#include "engine/core/parallel.h"
#include "engine/cpu/isa.h"

namespace vitrine::bench {
namespace {

constexpr int kTries = 15;

double seconds() {
  timespec t;
  clock_gettime(use_cpu_time() ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Best rate over the tries; work(thread) returns how much it did.
template <class Work>
double best_rate(Work&& work) {
  double best = 0;
  for (int i = 0; i < kTries; ++i) {
    double done = 0, start = seconds();
#pragma omp parallel reduction(+ : done)
    done += work(omp_get_thread_num());
    best = std::max(best, done / (seconds() - start));
  }
  return best;
}

}  // namespace

bool& use_cpu_time() {
  static bool on = false;
  return on;
}

namespace {

double register_peak(int64_t (*rounds)(int64_t, float*)) {
  return best_rate([&](int) {
    volatile float sink;
    float keep;
    auto done = static_cast<double>(rounds(3'000'000, &keep));
    sink = keep, static_cast<void>(sink);
    return done;
  });
}

}  // namespace

double fma_peak() {
  if (cpu::best_isa() == cpu::Isa::plain) return 0;
  return register_peak(cpu::best_isa() >= cpu::Isa::avx512 ? fma_rounds_avx512 : fma_rounds_avx2);
}

double code_peak() { return cpu::best_isa() >= cpu::Isa::vnni ? register_peak(dot_rounds_vnni) : 0; }

double read_bandwidth() {
  auto read = cpu::best_isa() >= cpu::Isa::avx512 ? read_all_avx512 : read_all_avx2;
  if (cpu::best_isa() == cpu::Isa::plain) return 0;
  constexpr int64_t kFloats = int64_t{64} << 20;  // 256 MB in all
  std::vector<float> memory(kFloats, 1.0f);
  const int64_t share = kFloats / threads() / 64 * 64;
  return best_rate([&](int thread) {
    volatile float sink = read(memory.data() + thread * share, share);
    static_cast<void>(sink);
    return static_cast<double>(share * 4);
  });
}

}  // namespace vitrine::bench

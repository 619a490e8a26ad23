#include <algorithm>
#include <mutex>
#include <tuple>

#include "engine/cpu/loops.h"
#include "quant/ops/observe_rule.h"

namespace vitrine::quant {
namespace {

constexpr int64_t kShort = 4 * cpu::kGrain, kLong = int64_t{1} << 20;  // elements per chunk, without and with a histogram each

template <class T>
std::pair<T, T> widened(const T* x, int64_t n, T lo, T hi) {
  const T lo0 = lo, hi0 = hi;
  std::mutex joining;
  parallel_for(n, kShort, [&](int64_t begin, int64_t end) {
    T low = lo0, high = hi0;
    extremes(x + begin, end - begin, &low, &high);
    std::lock_guard lock(joining);
    lo = std::min(lo, low), hi = std::max(hi, high);
  });
  return {lo, hi};
}

template <class T, class Bin>
std::vector<int64_t> histogram(const T* x, int64_t n, int64_t bins, const Bin& bin) {
  std::vector<int64_t> all(bins);
  std::mutex joining;
  parallel_for(n, kLong, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> own(bins);
    for (int64_t i = begin; i < end; ++i)
      if (int64_t b = bin(static_cast<float>(x[i])); b >= 0) ++own[b];
    std::lock_guard lock(joining);
    for (int64_t b = 0; b < bins; ++b) all[b] += own[b];
  });
  return all;
}

template <class T>
struct Source {
  const T* x;
  int64_t n;
  std::pair<float, float> extremes() const { return widened(x, n, T(0), T(0)); }
  template <class Bin>
  std::vector<int64_t> histogram(int64_t bins, const Bin& bin) const {
    return quant::histogram(x, n, bins, bin);
  }
};

KernelFor kernel("observe", Device::cpu, [](const Call& c) {
  auto& a = c.as<ObserveAttrs>();
  cpu::by_float(c.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    const T *x = c.in[0].data<T>(), *range = c.in[1].data<T>();
    T* out = c.out[0].data<T>();
    int64_t n = c.in[0].numel();
    if (a.rule == ObserveAttrs::minmax) {
      std::tie(out[0], out[1]) = widened(x, n, range[0], range[1]);
      return;
    }
    auto [lo, hi] = target(Source<T>{x, n}, a);
    float step = observe_step(lo, hi, range[0] == 0 && range[1] == 0, a.momentum);
    auto move = [&](T from, float to) { return static_cast<float>(from) + step * (to - static_cast<float>(from)); };
    out[0] = move(range[0], lo), out[1] = move(range[1], hi);
  });
});

}  // namespace
}  // namespace vitrine::quant

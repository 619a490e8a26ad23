// Extremes and integer counts are gathered on the device; neither depends on an order. Where a rule
// needs the extremes alone, the range never leaves the device; the others take counts to the host, where the rules stand.
#include "quant/ops/extremes.cuh"
#include "quant/ops/observe_rule.h"

namespace vitrine::quant {
namespace {

using cuda::each, cuda::ptr;

template <class T>
struct Source {
  const T* x;
  int64_t n;
  std::pair<float, float> extremes() const {
    Tensor range = Tensor::zeros({2}, dtype_of<T>(), Device::cuda);
    const T* from = x;
    widen(
        n, [=] __device__(int64_t i) { return from[i]; }, ptr<T>(range));
    auto v = range.values();
    return {static_cast<float>(v[0]), static_cast<float>(v[1])};
  }
  template <class Bin>
  std::vector<int64_t> histogram(int64_t bins, Bin bin) const {
    Tensor counts = Tensor::zeros({bins}, Dtype::i64, Device::cuda);
    auto* count = reinterpret_cast<unsigned long long*>(ptr<int64_t>(counts));
    const T* from = x;
    each(n, [=] __device__(int64_t i) {
      const int64_t b = bin(static_cast<float>(from[i]));
      if (b >= 0) atomicAdd(count + b, 1ull);  // integers: any order gives the same count
    });
    return counts.values<int64_t>();
  }
};

template <class T>
void observe(const Call& c) {
  auto& a = c.as<ObserveAttrs>();
  const T *x = ptr<T>(c.in[0]), *range = ptr<T>(c.in[1]);
  T* out = ptr<T>(c.out[0]);
  const int64_t n = c.in[0].numel();
  const auto value = [=] __device__(int64_t i) { return x[i]; };
  if (a.rule == ObserveAttrs::minmax) {
    each(2, [=] __device__(int64_t i) { out[i] = range[i]; });
    return widen(n, value, out);
  }
  if (a.rule == ObserveAttrs::ema) {
    each(2, [=] __device__(int64_t i) { out[i] = 0; });
    widen(n, value, out);
  } else {
    const auto [lo, hi] = target(Source<T>{x, n}, a);
    const float low = lo, high = hi;
    each(2, [=] __device__(int64_t i) { out[i] = i == 0 ? low : high; });
  }
  const double momentum = a.momentum;
  each(1, [=] __device__(int64_t) {
    const float to[2] = {static_cast<float>(out[0]), static_cast<float>(out[1])};
    const float step = observe_step(to[0], to[1], range[0] == 0 && range[1] == 0, momentum);
    for (int i = 0; i < 2; ++i) out[i] = static_cast<float>(range[i]) + step * (to[i] - static_cast<float>(range[i]));
  });
}
KernelFor kernel("observe", Device::cuda, [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { observe<decltype(t)>(c); }); });

}  // namespace
}  // namespace vitrine::quant

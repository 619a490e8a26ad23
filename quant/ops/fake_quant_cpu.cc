// The fast loops clamp before they round, which gives the same codes because both bounds are integers, and round by adding and taking
// away 1.5 * 2^23, which is rint() for |v| <= 2^22. An f64 tensor is quantized through f32, the published arithmetic.
#include <cmath>
#include <limits>
#include <mutex>

#include "engine/cpu/loops.h"
#include "quant/ops/fake_quant.h"

namespace vitrine::quant {
namespace {

constexpr float kRound = 12582912.0f;  // 1.5 * 2^23

VITRINE_CLONES void quantize(const float* __restrict x, float* __restrict y, int64_t n, float scale, float zp, float low, float high) {
  for (int64_t i = 0; i < n; ++i) {
    float v = scale * x[i] - zp;
    v = v < low ? low : v;
    v = v > high ? high : v;
    v = (v + kRound) - kRound;
    y[i] = (v + zp) / scale;
  }
}
void quantize(const double* x, double* y, int64_t n, float scale, float zp, float low, float high) {
  QuantParams p{scale, zp, low, high};
  for (int64_t i = 0; i < n; ++i) y[i] = dequantize(quantize_code(static_cast<float>(x[i]), p), p);
}

// Extremes do not depend on the order, so sixteen run side by side.
VITRINE_CLONES void extremes(const float* __restrict x, int64_t n, float* lo, float* hi) {
  constexpr int kLanes = 16;
  float low[kLanes], high[kLanes];
  for (int k = 0; k < kLanes; ++k) low[k] = *lo, high[k] = *hi;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int k = 0; k < kLanes; ++k) {
      low[k] = x[i + k] < low[k] ? x[i + k] : low[k];
      high[k] = x[i + k] > high[k] ? x[i + k] : high[k];
    }
  for (; i < n; ++i) {
    low[0] = x[i] < low[0] ? x[i] : low[0];
    high[0] = x[i] > high[0] ? x[i] : high[0];
  }
  for (int k = 0; k < kLanes; ++k) {
    *lo = low[k] < *lo ? low[k] : *lo;
    *hi = high[k] > *hi ? high[k] : *hi;
  }
}
void extremes(const double* x, int64_t n, double* lo, double* hi) {
  for (int64_t i = 0; i < n; ++i) {
    *lo = x[i] < *lo ? x[i] : *lo;
    *hi = x[i] > *hi ? x[i] : *hi;
  }
}

template <class T>
void quantize_all(const T* x, T* y, int64_t n, const QuantParams& p) {
  parallel_for(n, cpu::kGrain,
               [&](int64_t begin, int64_t end) { quantize(x + begin, y + begin, end - begin, p.scale, p.zp, p.low, p.high); });
}

KernelFor kernel("fake_quant", Device::cpu, [](const Call& c) {
  cpu::by_float(c.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    const T* range = c.in[1].data<T>();
    auto p = quant_params(static_cast<float>(range[0]), static_cast<float>(range[1]), c.as<FakeQuantAttrs>().bits);
    quantize_all(c.in[0].data<T>(), c.out[0].data<T>(), c.in[0].numel(), p);
  });
});

KernelFor weight_kernel("fake_quant_weight", Device::cpu, [](const Call& c) {
  auto& a = c.as<FakeQuantWeightAttrs>();
  cpu::by_float(c.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    const T* w = c.in[0].data<T>();
    T* y = c.out[0].data<T>();
    int64_t rows = a.per_channel ? c.in[0].shape()[0] : 1, n = rows ? c.in[0].numel() / rows : 0;
    parallel_for(n ? rows : 0, cpu::row_grain(n), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        T lo = std::numeric_limits<T>::infinity(), hi = -lo;
        extremes(w + r * n, n, &lo, &hi);
        auto p = quant_params(static_cast<float>(lo), static_cast<float>(hi), a.bits);
        quantize(w + r * n, y + r * n, n, p.scale, p.zp, p.low, p.high);
      }
    });
  });
});

KernelFor observe_kernel("observe", Device::cpu, [](const Call& c) {
  cpu::by_float(c.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    const T *x = c.in[0].data<T>(), *range = c.in[1].data<T>();
    T lo = range[0], hi = range[1];
    std::mutex joining;
    parallel_for(c.in[0].numel(), 4 * cpu::kGrain, [&](int64_t begin, int64_t end) {
      T low = range[0], high = range[1];
      extremes(x + begin, end - begin, &low, &high);
      std::lock_guard lock(joining);
      lo = std::min(lo, low), hi = std::max(hi, high);
    });
    c.out[0].data<T>()[0] = lo, c.out[0].data<T>()[1] = hi;
  });
});

}  // namespace
}  // namespace vitrine::quant

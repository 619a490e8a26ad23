// The fast loops clamp before they round, which gives the same codes because both bounds are integers, and round by adding and taking
// away 1.5 * 2^23, which is rint() for |v| <= 2^22. Least squared errors of ranges are sought in f32 for either.
#include <limits>
#include <tuple>

#include "engine/cpu/loops.h"
#include "quant/ops/loops.h"

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
// Extremes do not depend on the order, so sixteen run side by side.
VITRINE_CLONES void side_by_side(const float* __restrict x, int64_t n, float* lo, float* hi) {
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

}  // namespace

void quantize(const float* x, float* y, int64_t n, const QuantParams& p) { quantize(x, y, n, p.scale, p.zp, p.low, p.high); }
void quantize(const double* x, double* y, int64_t n, const QuantParamsOf<double>& p) {
  for (int64_t i = 0; i < n; ++i) y[i] = dequantize(quantize_code(x[i], p), p);
}

void extremes(const float* x, int64_t n, float* lo, float* hi) { side_by_side(x, n, lo, hi); }
void extremes(const double* x, int64_t n, double* lo, double* hi) {
  for (int64_t i = 0; i < n; ++i) {
    *lo = x[i] < *lo ? x[i] : *lo;
    *hi = x[i] > *hi ? x[i] : *hi;
  }
}

namespace {

// Eight chains of squares, added in order.
template <class T>
double squared_error(const T* x, const T* y, int64_t n) {
  double chain[8] = {}, sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    double d = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    chain[i % 8] += d * d;
  }
  for (double c : chain) sum += c;
  return sum;
}

template <class T>
QuantParamsOf<T> params_of(const T* w, T* spare, int64_t n, const FakeQuantWeightAttrs& a) {
  T lo = std::numeric_limits<T>::infinity(), hi = -lo;
  extremes(w, n, &lo, &hi);
  if (a.mse) {
    std::tie(lo, hi) = shrunken(static_cast<float>(lo), static_cast<float>(hi), [&](float from, float to) {
      quantize(w, spare, n, quant_params_of<T>(from, to, a.bits));
      return squared_error(w, spare, n);
    });
  }
  return quant_params_of<T>(lo, hi, a.bits);
}

// y = f(x, lo, hi, ...) for each element.
template <class F>
void by_element(const Call& c, const F& f) {
  cpu::by_float(c.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    const T *x = c.in[0].data<T>(), lo = c.in[1].data<T>()[0], hi = c.in[1].data<T>()[1], *g = c.in.back().data<T>();
    T* y = c.out[0].data<T>();
    parallel_for(c.out[0].numel(), cpu::kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) y[i] = f(x[i], lo, hi, g, i);
    });
  });
}

KernelFor kernel("fake_quant", Device::cpu, [](const Call& c) {
  cpu::by_float(c.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    const T* range = c.in[1].data<T>();
    auto p = quant_params_of<T>(range[0], range[1], c.as<FakeQuantAttrs>().bits);
    parallel_for(c.in[0].numel(), cpu::kGrain,
                 [&](int64_t begin, int64_t end) { quantize(c.in[0].data<T>() + begin, c.out[0].data<T>() + begin, end - begin, p); });
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
      for (int64_t r = begin; r < end; ++r) quantize(w + r * n, y + r * n, n, params_of(w + r * n, y + r * n, n, a));
    });
  });
});

KernelFor clip_kernel("clip", Device::cpu, [](const Call& c) {
  by_element(c, [](auto x, auto lo, auto hi, auto*, int64_t) { return x < lo ? lo : x > hi ? hi : x; });
});
KernelFor clip_grad_kernel("clip_grad", Device::cpu, [](const Call& c) {
  by_element(c, [](auto x, auto lo, auto hi, auto* g, int64_t i) { return x < lo || x > hi ? 0 : g[i]; });
});

}  // namespace

QuantParams row_params(const float* w, float* spare, int64_t n, const FakeQuantWeightAttrs& a) { return params_of(w, spare, n, a); }

}  // namespace vitrine::quant

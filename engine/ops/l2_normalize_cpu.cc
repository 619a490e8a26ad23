// Row sums are one f64 chain in ascending order; the norm is rounded to the dtype once and divided by.
#include "engine/ops/l2_normalize.h"

#include <algorithm>
#include <cmath>

#include "engine/core/op.h"
#include "engine/cpu/loops.h"

namespace vitrine {
namespace {

template <class T>
double dot(const T* a, const T* b, int64_t n) {
  double s = 0;
  for (int64_t i = 0; i < n; ++i) s += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return s;
}

KernelFor forward_kernel("l2_normalize", Device::cpu, [](const Call& c) {
  int64_t n = c.in[0].shape().back();
  cpu::by_float(c.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    parallel_for(c.in[0].shape().rows(), cpu::row_grain(n), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* x = c.in[0].data<T>() + r * n;
        T norm = static_cast<T>(std::max(std::sqrt(dot(x, x, n)), c.as<NormalizeAttrs>().eps));
        for (int64_t i = 0; i < n; ++i) c.out[0].data<T>()[r * n + i] = x[i] / norm;
      }
    });
  });
});

// y = x / max(|x|, eps): dx = (g - y (g . y)) / |x|, or g / eps where the row is shorter than eps.
KernelFor grad_kernel("l2_normalize_grad", Device::cpu, [](const Call& c) {
  int64_t n = c.in[0].shape().back();
  double eps = c.as<NormalizeAttrs>().eps;
  cpu::by_float(c.out[0].dtype(), [&](auto t) {
    using T = decltype(t);
    parallel_for(c.in[0].shape().rows(), cpu::row_grain(n), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T *x = c.in[0].data<T>() + r * n, *g = c.in[1].data<T>() + r * n;
        double norm = std::sqrt(dot(x, x, n)), along = norm > eps ? dot(x, g, n) / (norm * norm) : 0;
        norm = std::max(norm, eps);
        for (int64_t i = 0; i < n; ++i)
          c.out[0].data<T>()[r * n + i] = static_cast<T>((static_cast<double>(g[i]) - along * static_cast<double>(x[i])) / norm);
      }
    });
  });
});

}  // namespace
}  // namespace vitrine

#include "engine/cpu/loops.h"
#include "engine/ops/elementwise.h"
#include "engine/ops/shapes.h"

namespace vitrine {
namespace {

template <class F, class T>
void unary(const Call& c, T a, T b) {
  const T* x = c.in[0].data<T>();
  T* y = c.out[0].data<T>();
  parallel_for(c.out[0].numel(), cpu::kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = F()(x[i], a, b);
  });
}

template <class F, class T>
void unary_grad(const Call& c, T a, T b) {
  const T *x = c.in[0].data<T>(), *y = c.in[1].data<T>(), *g = c.in[2].data<T>();
  T* dx = c.out[0].data<T>();
  parallel_for(c.out[0].numel(), cpu::kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) dx[i] = F()(x[i], y[i], g[i], a, b);
  });
}

// One row of a broadcast pair; the strides sa and sb are 0 or 1.
template <class F, class T>
void row(const T* a, int64_t sa, const T* b, int64_t sb, T* y, int64_t n) {
  if (sa && sb)
    for (int64_t i = 0; i < n; ++i) y[i] = F()(a[i], b[i]);
  else if (sa)
    for (int64_t i = 0; i < n; ++i) y[i] = F()(a[i], *b);
  else
    for (int64_t i = 0; i < n; ++i) y[i] = F()(*a, b[i * sb]);
}

template <class F, class T>
void binary(const Call& c) {
  const T *a = c.in[0].data<T>(), *b = c.in[1].data<T>();
  T* y = c.out[0].data<T>();
  const Shape& shape = c.out[0].shape();
  if (c.in[0].shape() == c.in[1].shape()) {
    parallel_for(c.out[0].numel(), cpu::kGrain,
                 [&](int64_t begin, int64_t end) { row<F>(a + begin, 1, b + begin, 1, y + begin, end - begin); });
    return;
  }
  Shape sa = broadcast_strides(c.in[0].shape(), shape), sb = broadcast_strides(c.in[1].shape(), shape);
  int last = shape.rank() - 1;
  int64_t n = shape.back();
  parallel_for(n ? shape.rows() : 0, cpu::row_grain(n), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      int64_t ia = 0, ib = 0, rest = r;
      for (int axis = last - 1; axis >= 0; --axis) {
        int64_t position = rest % shape[axis];
        rest /= shape[axis];
        ia += position * sa[axis];
        ib += position * sb[axis];
      }
      row<F>(a + ia, sa[last], b + ib, sb[last], y + r * n, n);
    }
  });
}

#define UNARY(id, F, DF)                                                                                                                   \
  KernelFor id##_kernel(#id, Device::cpu,                                                                                                  \
                        [](const Call& c) { cpu::by_float(c.out[0].dtype(), [&](auto t) { unary<ew::id##_f, decltype(t)>(c, 0, 0); }); }); \
  KernelFor id##_grad_kernel(#id "_grad", Device::cpu, [](const Call& c) {                                                                 \
    cpu::by_float(c.out[0].dtype(), [&](auto t) { unary_grad<ew::id##_df, decltype(t)>(c, 0, 0); });                                       \
  });
#define UNARY_SCALARS(id, F, DF)                                                                                                   \
  KernelFor id##_kernel(#id, Device::cpu, [](const Call& c) {                                                                      \
    auto& s = c.as<ScalarAttrs>();                                                                                                 \
    cpu::by_float(c.out[0].dtype(), [&](auto t) { unary<ew::id##_f, decltype(t)>(c, decltype(t)(s.a), decltype(t)(s.b)); });       \
  });                                                                                                                              \
  KernelFor id##_grad_kernel(#id "_grad", Device::cpu, [](const Call& c) {                                                         \
    auto& s = c.as<ScalarAttrs>();                                                                                                 \
    cpu::by_float(c.out[0].dtype(), [&](auto t) { unary_grad<ew::id##_df, decltype(t)>(c, decltype(t)(s.a), decltype(t)(s.b)); }); \
  });
#define BINARY(id, F)                     \
  KernelFor id##_kernel(#id, Device::cpu, \
                        [](const Call& c) { cpu::by_float(c.out[0].dtype(), [&](auto t) { binary<ew::id##_f, decltype(t)>(c); }); });
#include "engine/ops/elementwise.def"

}  // namespace
}  // namespace vitrine

#include "engine/cuda/strided.cuh"
#include "engine/ops/elementwise.h"
#include "engine/ops/shapes.h"

namespace vitrine {
namespace {

using cuda::fill, cuda::ptr;

template <class F, class T>
void unary(const Call& c, ScalarAttrs s) {
  const T *x = ptr<T>(c.in[0]), a = T(s.a), b = T(s.b);
  fill(ptr<T>(c.out[0]), c.out[0].numel(), [=] __device__(int64_t i) { return F()(x[i], a, b); });
}

template <class F, class T>
void unary_grad(const Call& c, ScalarAttrs s) {
  const T *x = ptr<T>(c.in[0]), *y = ptr<T>(c.in[1]), *g = ptr<T>(c.in[2]), a = T(s.a), b = T(s.b);
  fill(ptr<T>(c.out[0]), c.out[0].numel(), [=] __device__(int64_t i) { return F()(x[i], y[i], g[i], a, b); });
}

template <class F, class T>
void binary(const Call& c) {
  const T *a = ptr<T>(c.in[0]), *b = ptr<T>(c.in[1]);
  T* y = ptr<T>(c.out[0]);
  const Shape& shape = c.out[0].shape();
  if (c.in[0].shape() == c.in[1].shape()) {
    fill(y, shape.numel(), [=] __device__(int64_t i) { return F()(a[i], b[i]); });
    return;
  }
  auto read = cuda::strided<2>(shape, {broadcast_strides(c.in[0].shape(), shape), broadcast_strides(c.in[1].shape(), shape)});
  fill(y, shape.numel(), [=] __device__(int64_t i) {
    uint32_t at[2];
    read.locate(static_cast<uint32_t>(i), at);
    return F()(a[at[0]], b[at[1]]);
  });
}

#define KERNEL(id, call) KernelFor id##_kernel(#id, Device::cuda, [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { call; }); });
#define UNARY(id, F, DF)                              \
  KERNEL(id, (unary<ew::id##_f, decltype(t)>(c, {}))) \
  KERNEL(id##_grad, (unary_grad<ew::id##_df, decltype(t)>(c, {})))
#define UNARY_SCALARS(id, F, DF)                                       \
  KERNEL(id, (unary<ew::id##_f, decltype(t)>(c, c.as<ScalarAttrs>()))) \
  KERNEL(id##_grad, (unary_grad<ew::id##_df, decltype(t)>(c, c.as<ScalarAttrs>())))
#define BINARY(id, F) KERNEL(id, (binary<ew::id##_f, decltype(t)>(c)))
#include "engine/ops/elementwise.def"

}  // namespace
}  // namespace vitrine

// concat and slice: one element, one thread.
#include "engine/cuda/launch.cuh"
#include "engine/ops/concat.h"

namespace vitrine {
namespace {

using cuda::each, cuda::ptr;

// Elements from the axis inward: of one step along the axes before it.
int64_t span(const Tensor& t, int64_t axis) { return t.shape().product(static_cast<int>(axis), t.shape().rank()); }

template <class T>
void concat(const Call& c) {
  const int64_t axis = c.as<ConcatAttrs>().axis, stride = span(c.out[0], axis);
  T* y = ptr<T>(c.out[0]);
  for (const Tensor& part : c.in) {
    const int64_t width = span(part, axis);
    const T* x = ptr<T>(part);
    each(part.numel(), [=] __device__(int64_t i) { y[i / width * stride + i % width] = x[i]; });
    y += width;
  }
}
KernelFor concat_kernel("concat", Device::cuda, [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { concat<decltype(t)>(c); }); });

template <class T>
void slice(const Call& c) {
  auto& a = c.as<SliceAttrs>();
  const int64_t stride = span(c.in[0], a.axis), width = span(c.out[0], a.axis);
  const T* x = ptr<T>(c.in[0]) + a.begin * c.in[0].shape().product(static_cast<int>(a.axis) + 1, c.in[0].shape().rank());
  T* y = ptr<T>(c.out[0]);
  each(c.out[0].numel(), [=] __device__(int64_t i) { y[i] = x[i / width * stride + i % width]; });
}
KernelFor slice_kernel("slice", Device::cuda, [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { slice<decltype(t)>(c); }); });

}  // namespace
}  // namespace vitrine

// Row sums in f64, by a block for each row (block.cuh); the norm is rounded to the dtype once and divided by.
#include "engine/ops/l2_normalize.h"

#include "engine/cuda/block.cuh"

namespace vitrine {
namespace {

using cuda::ptr;

template <class T>
__device__ double dot(const T* a, const T* b, int64_t n) {
  double s = 0;
  for (int64_t i = threadIdx.x; i < n; i += cuda::kBlock) s += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return cuda::block_reduce(s, cuda::Add());
}

template <class T>
void forward(const Call& c) {
  const int64_t n = c.in[0].shape().back();
  const double eps = c.as<NormalizeAttrs>().eps;
  const T* all = ptr<T>(c.in[0]);
  T* y = ptr<T>(c.out[0]);
  cuda::each_block(c.in[0].shape().rows(), [=] __device__(int64_t r) {
    const T* x = all + r * n;
    const double length = ::sqrt(dot(x, x, n));
    const T norm = static_cast<T>(length < eps ? eps : length);
    for (int64_t i = threadIdx.x; i < n; i += cuda::kBlock) y[r * n + i] = x[i] / norm;
  });
}

// dx = (g - y (g . y)) / |x|, or g / eps where the row is shorter than eps.
template <class T>
void gradient(const Call& c) {
  const int64_t n = c.in[0].shape().back();
  const double eps = c.as<NormalizeAttrs>().eps;
  const T *all = ptr<T>(c.in[0]), *grads = ptr<T>(c.in[1]);
  T* dx = ptr<T>(c.out[0]);
  cuda::each_block(c.in[0].shape().rows(), [=] __device__(int64_t r) {
    const T *x = all + r * n, *g = grads + r * n;
    const double length = ::sqrt(dot(x, x, n)), across = dot(x, g, n), along = length > eps ? across / (length * length) : 0,
                 norm = length < eps ? eps : length;
    for (int64_t i = threadIdx.x; i < n; i += cuda::kBlock)
      dx[r * n + i] = static_cast<T>((static_cast<double>(g[i]) - along * static_cast<double>(x[i])) / norm);
  });
}

KernelFor forward_kernel("l2_normalize", Device::cuda,
                         [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { forward<decltype(t)>(c); }); });
KernelFor grad_kernel("l2_normalize_grad", Device::cuda,
                      [](const Call& c) { by_float(c.out[0].dtype(), [&](auto t) { gradient<decltype(t)>(c); }); });

}  // namespace
}  // namespace vitrine
